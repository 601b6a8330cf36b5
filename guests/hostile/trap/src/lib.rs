//! A handler that breaks: answers, then panics three functions deep. The host must say so, with these functions' names,
//! and the caller must not be dropped.

// It is here to panic.
#![allow(clippy::panic)]

use voxtra_sdk::prelude::*;

#[handler]
fn handle(call: &Call) -> Result<()> {
    call.answer()?;
    look_up_the_account(&call.info().caller_id);
    Ok(())
}

// Not inlined, so that both are in the backtrace.
#[inline(never)]
fn look_up_the_account(caller: &str) {
    divide_the_bill(caller, std::hint::black_box(0));
}

#[inline(never)]
fn divide_the_bill(caller: &str, people: u32) {
    if people == 0 {
        panic!("nobody pays for {caller:?}");
    }
    log::info!("{} each", 100 / people);
}
