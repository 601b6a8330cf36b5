//! What a handler asks of a call, as values; the contract's records are turned into these, whatever their version.

use std::time::Duration;

use crate::call::{CallInfo, EndReason};

/// The keys of a telephone.
pub const DTMF_DIGITS: &str = "0123456789*#ABCD";

/// The most digits that one verb takes or sends.
pub const MAX_DIGITS: u32 = 64;

/// How long to wait for the first key of a gather when the handler does not say.
pub const DEFAULT_FIRST_TIMEOUT: Duration = Duration::from_millis(5_000);

/// How long to wait for each further key when the handler does not say.
pub const DEFAULT_INTER_DIGIT_TIMEOUT: Duration = Duration::from_millis(3_000);

/// A key that was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dtmf {
    /// One of [`DTMF_DIGITS`].
    pub digit: char,
    /// How long it was held; zero when the network does not say.
    pub duration_ms: u32,
}

/// How a prompt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlayOutcome {
    /// It was played to its end.
    Finished,
    /// The caller pressed this key, which stays to be taken.
    Interrupted(char),
}

/// How keys are to be gathered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gather {
    /// Prompts, in order; the first key stops them.
    pub prompt: Vec<String>,
    /// Fewer keys than this count as a time-out.
    pub min_digits: u32,
    /// It ends at this many keys; 1 to [`MAX_DIGITS`].
    pub max_digits: u32,
    /// Keys that end it and are not part of it.
    pub terminators: String,
    /// From the end of the prompts to the first key.
    pub first_timeout: Duration,
    /// From one key to the next.
    pub inter_digit_timeout: Duration,
    /// For all of it, counted from its start; none: no such limit.
    pub total_timeout: Option<Duration>,
}

/// What ended a listening for keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigitsEnd {
    /// As many keys as were asked for.
    Maximum,
    /// A terminator.
    Terminator,
    /// The time has passed.
    Timeout,
}

/// The keys that were pressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digits {
    /// Without the terminator.
    pub digits: String,
    /// What ended it.
    pub ended_by: DigitsEnd,
}

/// An event of a call as its handler sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandlerEvent {
    /// The call was answered.
    Answered,
    /// A key was pressed.
    Dtmf(Dtmf),
    /// Audio flows from now on.
    MediaStarted,
    /// Audio has stopped.
    MediaStopped,
    /// The call is over; the last event.
    Ended(EndReason),
}

/// How loud a handler's log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// For whoever writes the handler.
    Trace,
    /// For whoever looks for a fault.
    Debug,
    /// For whoever runs it.
    Info,
    /// Something is odd.
    Warn,
    /// Something failed.
    Error,
}

/// What is left of a call for the hang-up hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedCall {
    /// The call.
    pub info: CallInfo,
    /// Why it ended.
    pub reason: EndReason,
    /// From the answer to the end; 0 when it was never answered.
    pub duration_ms: u32,
    /// The metadata as it was at the end.
    pub metadata: Vec<(String, String)>,
}
