//! What nearly every component uses: `use voxtra_sdk::prelude::*;`.
//!
//! [`Result`] and [`Error`] take the place of the standard library's names: `Result<()>` is a handler's result.

pub use std::time::Duration;

pub use crate::log;
pub use crate::{
    AnsweredBy, Audio, Bridge, Call, CallInfo, CallState, Decision, Digits, DigitsEnd, EndReason, EndedCall, Error,
    Event, Gather, HangupCause, MachineDetector, Originate, OutgoingEvent, PlayOutcome, Playback, RecordOptions,
    Recorded, Recorder, Recording, Result, Sides, Snoop, Verdict, filter, handler, health_check, http, on_hangup,
    router, store, upgrade,
};
