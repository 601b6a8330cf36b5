//! What a handler asks of a call, as values; the contract's records are turned into these, whatever their version.

use std::time::Duration;

use crate::call::{CallInfo, EndReason};
use crate::ids::{PlaybackId, RecordingId};

/// The keys of a telephone.
pub const DTMF_DIGITS: &str = "0123456789*#ABCD";

/// Whether this is the name of a sound below the PBX's own folder: letters, digits, `-`, `_`, `+` and `.`, with `/` between
/// folders. A PBX may play any file that it can read, so that nothing else is one.
pub fn is_sound_name(name: &str) -> bool {
    name.split('/').all(|part| {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
        !part.is_empty() && !part.starts_with('.') && part.chars().all(fits)
    })
}

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
    /// It was stopped.
    Stopped,
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
    /// The other side of a call that we placed rings.
    Ringing,
    /// The call was answered.
    Answered,
    /// A key was pressed.
    Dtmf(Dtmf),
    /// Audio flows from now on.
    MediaStarted,
    /// Audio has stopped.
    MediaStopped,
    /// A playing that nobody waited for is over; an error is a sentence.
    PlaybackFinished(PlaybackId, Result<PlayOutcome, String>),
    /// A recording has ended.
    RecordingFinished(RecordingInfo),
    /// A recording failed; the sentence says why.
    RecordingFailed(RecordingId, String),
    /// Who answered.
    AnsweredBy(AnsweredBy),
    /// A new version of the handler waits to take the call over.
    UpgradeReady,
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

/// Who has answered a call that we placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnsweredBy {
    /// A person.
    Human,
    /// An answering machine.
    Machine,
    /// Neither could be told in the time given.
    NotSure,
}

impl AnsweredBy {
    /// The wire value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Machine => "machine",
            Self::NotSure => "not-sure",
        }
    }
}

/// Who finds out whether a machine has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineDetector {
    /// The host, on the audio.
    Host,
    /// The PBX.
    Pbx,
}

/// A place in the PBX's dialplan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DialplanPlace {
    /// Empty: the tenant's own, or where the call came from.
    pub context: String,
    /// Empty: the number that was dialled.
    pub extension: String,
    /// 0: 1.
    pub priority: u32,
}

/// Who makes a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recorder {
    /// The host: stereo, the other side left, what it hears right.
    Host,
    /// The PBX: both sides mixed.
    Pbx,
}

/// How a call is to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordOptions {
    /// Letters, digits, `-`, `_` and `.`, at most 64; empty: made by the host.
    pub name: String,
    /// Who records.
    pub recorder: Recorder,
    /// Whether a tone tells the caller.
    pub beep: bool,
    /// The longest; none: the host's own limit.
    pub max_duration: Option<Duration>,
    /// It ends when nobody has spoken for so long; none: never.
    pub max_silence: Option<Duration>,
    /// The sink's name in the configuration; empty: the default one.
    pub sink: String,
}

/// A recording that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingInfo {
    /// Its id.
    pub id: RecordingId,
    /// Its name.
    pub name: String,
    /// Without the pauses.
    pub duration_ms: u32,
    /// Of the file.
    pub size_bytes: u64,
}

/// A call that a handler places.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OriginateOptions {
    /// A number, an extension, or an endpoint such as `PJSIP/100`.
    pub to: String,
    /// Empty: the tenant's.
    pub caller_id: String,
    /// How long it may ring; none: [`DEFAULT_RING_TIMEOUT`].
    pub ring_timeout: Option<Duration>,
    /// Variables of the new call at the PBX.
    pub variables: Vec<(String, String)>,
    /// Metadata of the new call.
    pub metadata: Vec<(String, String)>,
}

/// How long a placed call may ring when nobody says.
pub const DEFAULT_RING_TIMEOUT: Duration = Duration::from_secs(30);

/// Sides of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sides {
    /// Neither.
    #[default]
    None,
    /// What the other side says.
    In,
    /// What the other side hears.
    Out,
    /// All of it.
    Both,
}

/// How a call is snooped at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SnoopOptions {
    /// What is listened to.
    pub spy: Sides,
    /// Who hears what is said into it: [`Sides::Out`] is the call itself, [`Sides::In`] those that it speaks with.
    pub whisper: Sides,
}

/// One number of a batch that a handler starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRow {
    /// What is dialled.
    pub number: String,
    /// Metadata of its call.
    pub metadata: Vec<(String, String)>,
}

/// A batch of calls that a handler starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRequest {
    /// For people.
    pub name: String,
    /// The tenant's handler that takes the answered calls.
    pub handler: String,
    /// Calls at one time; 0: 1.
    pub concurrency: u32,
    /// Calls begun in ten seconds; 0: 10.
    pub calls_per_10_s: u32,
    /// Such as `busy=2@5m,no-answer=1@1h`; empty: none is tried again.
    pub retries: String,
    /// Whether to find out if a machine answers.
    pub detect_machine: bool,
    /// The numbers.
    pub rows: Vec<BatchRow>,
}

/// How a batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchStatus {
    /// Numbers.
    pub total: u32,
    /// Numbers with a final outcome.
    pub done: u32,
    /// Calls that are up.
    pub live: u32,
    /// Numbers that were answered.
    pub answered: u32,
    /// Numbers that were not, finally.
    pub failed: u32,
    /// Nothing is left to be done.
    pub finished: bool,
}
