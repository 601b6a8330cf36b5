//! The smallest handler: answers, says hello, hangs up.

use voxtra_sdk::prelude::*;

#[handler]
fn handle(call: &Call) -> Result<()> {
    call.answer()?;
    call.play("sound:hello-world")?;
    call.hangup()?;
    Ok(())
}
