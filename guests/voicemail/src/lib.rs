//! Takes a message: greets, beeps, records until `#`, lets the caller leave out a part with `5`, counts the mailbox's
//! messages in the tenant's store and tells the world with an event of its own.
//!
//! Notes that its route gives: `mailbox` (the called number when there is none). The event is `voicemail.left` with
//! `mailbox`, `recording`, `duration_ms` and `messages`.

use serde_json::json;
use voxtra_sdk::prelude::*;

/// The longest message.
const MAX_MESSAGE: Duration = Duration::from_secs(120);

/// It ends when nobody has spoken for so long.
const MAX_SILENCE: Duration = Duration::from_secs(6);

/// The key that leaves out what follows, and goes on.
const PAUSE: char = '5';

/// The key that ends it.
const DONE: char = '#';

#[handler]
fn handle(call: &Call) -> Result<()> {
    let mailbox = call.metadata("mailbox").unwrap_or_else(|| call.info().called_number);
    call.answer()?;
    call.play("sound:vm-intro")?;
    let options = RecordOptions::new().beep().max_duration(MAX_MESSAGE).max_silence(MAX_SILENCE);
    let recording = call.record(options)?;
    call.set_metadata("recording", recording.id())?;
    let Some(message) = take(call, recording)? else {
        call.play("sound:sorry")?;
        return Ok(());
    };
    let messages = count(&mailbox)?;
    tell(call, &mailbox, &message, &messages)?;
    call.play(["sound:auth-thankyou", "sound:vm-goodbye"])?;
    Ok(())
}

/// Waits for the message's end. A caller who hangs up has left one all the same: its end is the last that is heard of it,
/// before the call's. `None`: it could not be kept.
fn take(call: &Call, recording: Recording<'_>) -> Result<Option<Recorded>> {
    let mut paused = false;
    for event in call.events() {
        match event? {
            Event::Dtmf(key) if key.digit == DONE => return Ok(Some(recording.stop()?)),
            Event::Dtmf(key) if key.digit == PAUSE => {
                paused = !paused;
                if paused { recording.pause()? } else { recording.resume()? }
            }
            Event::RecordingFinished(message) => return Ok(Some(message)),
            Event::RecordingFailed { reason, .. } => {
                log::error!("the message was lost: {reason}");
                return Ok(None);
            }
            _ => {}
        }
    }
    Err(Error::HungUp.into())
}

/// One more message; how many there are now. Two callers at once are counted as two.
fn count(mailbox: &str) -> Result<String> {
    let key = format!("voicemail/{mailbox}/messages");
    Ok(store::update(&key, |old| store::parse(old).unwrap_or(0_u32).saturating_add(1).to_string())?)
}

fn tell(call: &Call, mailbox: &str, message: &Recorded, messages: &str) -> Result<()> {
    let data = json!({
        "mailbox": mailbox,
        "recording": message.id,
        "duration_ms": u64::try_from(message.duration.as_millis())?,
        "messages": messages.parse::<u32>()?,
    });
    call.set_metadata("messages", messages)?;
    call.share_metadata(&["messages", "recording"])?;
    call.emit("voicemail.left", &data.to_string())?;
    Ok(())
}
