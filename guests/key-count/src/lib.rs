//! Counts the keys of a call until `#`, and keeps the count when a new version of it takes the call over.

use std::cell::Cell;

use voxtra_sdk::prelude::*;

health_check!(init);
upgrade!(save, restore);

/// The state's form: what a version of it cannot read it refuses.
const FORM: u8 = 1;

thread_local! {
    /// The count, for `save`; none: the call is over for this handler.
    static COUNT: Cell<Option<u32>> = const { Cell::new(None) };
}

fn init() -> Result<()> {
    match written(7).as_slice() {
        [FORM, ..] => Ok(()),
        other => Err(format!("a state of {} bytes cannot be read again", other.len()).into()),
    }
}

#[handler]
fn handle(call: &Call) -> Result<()> {
    call.answer()?;
    count(call, 0)
}

fn save() -> Option<Vec<u8>> {
    COUNT.get().map(written)
}

fn restore(call: &Call, state: &[u8]) -> Result<()> {
    let keys = match state {
        [FORM, keys @ ..] => u32::from_le_bytes(keys.try_into()?),
        _ => return Err("this state was saved by a version that is unknown here".into()),
    };
    log::info!("goes on at {keys} keys");
    count(call, keys)
}

fn written(keys: u32) -> Vec<u8> {
    [[FORM].as_slice(), &keys.to_le_bytes()].concat()
}

fn count(call: &Call, mut keys: u32) -> Result<()> {
    COUNT.set(None);
    for event in call.events() {
        match event? {
            Event::Dtmf(key) if key.digit == '#' => {
                call.set_metadata("keys", &keys.to_string())?;
                call.emit("keys-counted", &format!(r#"{{"keys":{keys}}}"#))?;
                call.play(format!("number:{keys}"))?;
                return Ok(());
            }
            Event::Dtmf(_) => keys = keys.saturating_add(1),
            Event::UpgradeReady => {
                COUNT.set(Some(keys));
                return Ok(());
            }
            _ => {}
        }
    }
    Ok(())
}
