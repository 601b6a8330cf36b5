//! Says back what it hears, at 8 kHz, until the caller hangs up: raw audio in its shortest form.

use voxtra_sdk::prelude::*;

/// What a telephone line carries: the host has nothing to resample.
const RATE_HZ: u32 = 8_000;

#[handler]
fn handle(call: &Call) -> Result<()> {
    call.answer()?;
    let audio = call.open_audio(RATE_HZ)?;
    while let Some(pcm) = audio.read()? {
        audio.write(&pcm)?;
    }
    Ok(())
}
