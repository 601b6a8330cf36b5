//! A conference that is called together: rings the members that its route lists, puts whoever answers into one bridge
//! with the caller, says into it how many have come, and takes a member out who presses `*`.
//!
//! Notes that its route gives: `members` (endpoints or numbers with spaces between, at most 8). Notes that it leaves:
//! `joined`, how many answered.

use voxtra_sdk::prelude::*;

/// More members than this are not rung.
const MAX_MEMBERS: usize = 8;

/// How long the members' telephones may ring, all at once.
const RING: Duration = Duration::from_secs(20);

/// How long each is listened to before the next is.
const LOOK: Duration = Duration::from_millis(50);

/// The key that leaves.
const LEAVE: char = '*';

#[handler]
fn handle(call: &Call) -> Result<()> {
    call.answer()?;
    call.play("sound:conf-placeintoconf")?;
    let bridge = call.create_bridge()?;
    bridge.add(call)?;
    let mut members = gather_members(call, &bridge)?;
    call.set_metadata("joined", &members.len().to_string())?;
    bridge.play(["sound:conf-thereare".to_owned(), format!("number:{}", members.len().saturating_add(1))])?;

    while !members.is_empty() && stays(call, &bridge)? {
        members.retain(|member| match stays(member, &bridge) {
            Ok(stays) => stays,
            Err(error) => {
                log::warn!("a member is gone: {error}");
                false
            }
        });
    }
    call.play("sound:vm-goodbye")?;
    Ok(())
}

/// Rings all at once, and puts each into the bridge who answers in time.
fn gather_members(call: &Call, bridge: &Bridge) -> Result<Vec<Call>> {
    let list = call.metadata("members").unwrap_or_default();
    let ringing: Vec<Call> = list.split_whitespace().take(MAX_MEMBERS).filter_map(|to| ring(call, to)).collect();
    let mut members = Vec::new();
    for member in ringing {
        if member.wait_for_answer(RING)? {
            bridge.add(&member)?;
            members.push(member);
        } else {
            member.hangup()?;
        }
    }
    Ok(members)
}

/// A member who cannot be rung is left out.
fn ring(call: &Call, to: &str) -> Option<Call> {
    let member = Originate::to(to).ring_timeout(RING).metadata("conference", call.id());
    call.originate(member).map_err(|error| log::warn!("{to} cannot be rung: {error}")).ok()
}

/// Whether the call is still in after what has happened on it by now.
fn stays(call: &Call, bridge: &Bridge) -> Result<bool, Error> {
    match call.next_event(LOOK) {
        Ok(Some(Event::Dtmf(key))) if key.digit == LEAVE => {
            bridge.remove(call)?;
            call.play("sound:vm-goodbye")?;
            call.hangup()?;
            Ok(false)
        }
        Ok(Some(Event::Ended(_))) | Err(Error::HungUp) => Ok(false),
        Ok(_) => Ok(true),
        Err(error) => Err(error),
    }
}
