//! A handler that breaks in every fifth of its calls, counted in its tenant's store, as a new version with a rare fault
//! would: on trial it must be gone again before many callers have met it.

// It is here to panic.
#![allow(clippy::panic)]

use voxtra_sdk::prelude::*;
use voxtra_sdk::store;

/// One call of so many breaks.
const BREAKS_EVERY: u32 = 5;

/// Where its calls are counted.
const CALLS: &str = "unreliable/calls";

#[handler]
fn handle(call: &Call) -> Result<()> {
    let calls = store::update(CALLS, |old| store::parse(old).unwrap_or(0_u32).saturating_add(1).to_string())?;
    call.answer()?;
    if calls.parse::<u32>().is_ok_and(|calls| calls.is_multiple_of(BREAKS_EVERY)) {
        panic!("call {calls} is one too many");
    }
    Ok(())
}
