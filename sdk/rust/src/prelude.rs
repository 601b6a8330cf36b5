//! What nearly every handler uses: `use voxtra_sdk::prelude::*;`.
//!
//! [`Result`] and [`Error`] take the place of the standard library's names: `Result<()>` is a handler's result.

pub use std::time::Duration;

pub use crate::log;
pub use crate::{
    Audio, Call, CallState, Digits, DigitsEnd, EndReason, EndedCall, Error, Event, Gather, HangupCause, PlayOutcome,
    Result, handler, on_hangup,
};
