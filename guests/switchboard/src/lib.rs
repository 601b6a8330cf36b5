//! A warm transfer with consultation: the caller hears music while an agent is rung and told who waits; the agent takes
//! the call with a key, and both are bridged. When nobody takes it the caller is told so, and may leave it or try again.
//!
//! Notes that its route gives: `agent` (an endpoint or a number; `100` when there is none) and `music` (a class of the
//! PBX's). Notes that it leaves: `outcome`, one of `connected`, `busy` (the agent was busy, did not answer, or was
//! refused), `declined`, `gave-up`.

use voxtra_sdk::prelude::*;

/// The note that says how it went.
const OUTCOME: &str = "outcome";

/// Who is rung when the route does not say.
const DEFAULT_AGENT: &str = "100";

/// How long the agent's telephone may ring.
const RING: Duration = Duration::from_secs(20);

/// How long the agent has to take the call after it was announced.
const CONSULTATION: Duration = Duration::from_secs(10);

/// How often the agent is rung before the caller is let go.
const TRIES: u32 = 2;

/// How often it is looked whether one of two has hung up.
const LOOK: Duration = Duration::from_millis(200);

/// What became of ringing the agent.
enum Consulted {
    /// The agent takes the call.
    Takes(Call),
    /// The agent does not want it.
    Declines,
    /// The agent cannot be reached.
    Away,
}

#[handler]
fn handle(call: &Call) -> Result<()> {
    call.answer()?;
    for _ in 0..TRIES {
        call.play("sound:pls-hold-while-try")?;
        call.hold_with(&call.metadata("music").unwrap_or_default())?;
        let consulted = consult(call);
        call.unhold()?;
        match consulted? {
            Consulted::Takes(agent) => {
                call.set_metadata(OUTCOME, "connected")?;
                return connect(call, &agent);
            }
            Consulted::Declines => call.set_metadata(OUTCOME, "declined")?,
            Consulted::Away => call.set_metadata(OUTCOME, "busy")?,
        }
        let again = Gather::new().prompt(["sound:sorry", "sound:vm-press", "digits:1"]).first_timeout(CONSULTATION);
        if call.gather(again)?.as_str() != "1" {
            break;
        }
        call.set_metadata(OUTCOME, "gave-up")?;
    }
    call.play("sound:vm-goodbye")?;
    Ok(())
}

/// Rings the agent and says who waits. An agent who hangs up, or whom the PBX cannot reach, is away: that is no failure
/// of the caller's call.
fn consult(call: &Call) -> Result<Consulted> {
    let agent = call.metadata("agent").unwrap_or_else(|| DEFAULT_AGENT.to_owned());
    let placed = call
        .originate(Originate::to(agent).caller_id(call.info().caller_id).ring_timeout(RING).metadata("for", call.id()));
    let agent = match placed {
        Ok(agent) => agent,
        Err(Error::Telephony(why)) => {
            log::warn!("the agent could not be rung: {why}");
            return Ok(Consulted::Away);
        }
        Err(error) => return Err(error.into()),
    };
    if !agent.wait_for_answer(RING)? {
        agent.hangup()?;
        return Ok(Consulted::Away);
    }
    match announce(&agent, &call.info().caller_id) {
        Ok(true) => Ok(Consulted::Takes(agent)),
        Ok(false) => {
            agent.hangup()?;
            Ok(Consulted::Declines)
        }
        Err(Error::HungUp) => Ok(Consulted::Declines),
        Err(error) => Err(error.into()),
    }
}

/// "You have a call from 1, 0, 0; press 1": whether the agent takes it.
fn announce(agent: &Call, caller: &str) -> Result<bool, Error> {
    let digits: String = caller.chars().filter(char::is_ascii_digit).collect();
    let mut prompt = vec!["sound:vm-from-phonenumber".to_owned()];
    if !digits.is_empty() {
        prompt.push(format!("digits:{digits}"));
    }
    prompt.extend(["sound:vm-press".to_owned(), "digits:1".to_owned()]);
    let pressed = agent.gather(Gather::new().prompt(prompt).first_timeout(CONSULTATION))?;
    Ok(pressed.as_str() == "1")
}

/// Lets them talk until one of them hangs up.
fn connect(call: &Call, agent: &Call) -> Result<()> {
    let bridge = call.create_bridge()?;
    bridge.add(call)?;
    bridge.add(agent)?;
    while !is_over(call)? && !is_over(agent)? {}
    bridge.destroy()?;
    Ok(())
}

/// Waits a little for the call to end.
fn is_over(call: &Call) -> Result<bool, Error> {
    match call.next_event(LOOK) {
        Ok(Some(Event::Ended(_))) | Err(Error::HungUp) => Ok(true),
        Ok(_) => Ok(false),
        Err(error) => Err(error),
    }
}

#[on_hangup]
fn ended(call: &EndedCall) {
    let outcome = call.metadata(OUTCOME).unwrap_or("gave-up");
    log::info!("the caller was {outcome} after {:?}", call.duration; outcome = outcome);
}
