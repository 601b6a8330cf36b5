//! What is left of a simulated call: what happened when, and both sides' audio.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use voxtra_core::verbs::{Sides, SnoopOptions};
use voxtra_core::{BridgeId, CallId, Direction, HangupCause};

use super::LINE_RATE_HZ;

/// A call from the first ring to its end. Times count from the first ring.
#[derive(Clone, PartialEq, Eq)]
pub struct CallReport {
    /// The call's id, as the host saw it.
    pub call: CallId,
    /// The number that the caller showed.
    pub caller_id: String,
    /// The number that was dialled; of a call that the host placed, the endpoint.
    pub called_number: String,
    /// Who placed it. Of a call that the host placed, "the caller" in what follows is who was called.
    pub direction: Direction,
    /// When the first ring was, since the first call of the simulator.
    pub began: Duration,
    /// When it was answered.
    pub answered_at: Option<Duration>,
    /// From the first ring to the end.
    pub duration: Duration,
    /// Who ended it.
    pub ended_by: EndedBy,
    /// What happened, in order.
    pub events: Vec<TimedEvent>,
    /// What was played to the caller, in order; one entry for each entry of a list of media.
    pub prompts: Vec<PlayedPrompt>,
    /// What the caller heard: signed 16-bit mono at [`LINE_RATE_HZ`], from the first ring on.
    pub heard: Vec<i16>,
    /// What the caller said; as long as `heard`.
    pub said: Vec<i16>,
    /// Frames of the caller's voice that the host did not read in time.
    pub dropped_frames: u64,
    /// What a script expected and did not get, a sentence each.
    pub missed: Vec<String>,
    /// How many steps of the script had not begun when the call ended.
    pub steps_left: usize,
    /// The call's variables at the PBX, as they were at its end.
    pub variables: BTreeMap<String, String>,
}

/// Who ended a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndedBy {
    /// The caller, by the script or by [`SimulatedCall::hang_up`](super::SimulatedCall::hang_up).
    Caller,
    /// The caller, because nobody answered.
    NoAnswer,
    /// The caller, because the call reached the longest time that it may last.
    TimeLimit,
    /// The host.
    Host(HangupCause),
    /// The host handed the caller to this target: an extension or endpoint, a queue as `queue NAME`, or a place in the
    /// dialplan as `EXTENSION@CONTEXT` (and `,PRIORITY` where it is not 1).
    Transferred(String),
    /// Who was called hung up; only of a call that the host placed.
    Callee,
    /// A call that the host placed was not answered.
    NotAnswered(HangupCause),
    /// The host did not take the call.
    Refused {
        /// Its sentence.
        reason: String,
        /// What the caller was told.
        cause: HangupCause,
    },
}

impl fmt::Display for EndedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caller => f.write_str("the caller hung up"),
            Self::NoAnswer => f.write_str("the caller gave up: nobody answered"),
            Self::TimeLimit => f.write_str("the caller hung up: the call was as long as it may be"),
            Self::Host(HangupCause::Normal) => f.write_str("the host hung up"),
            Self::Host(cause) => write!(f, "the host hung up (cause {})", cause.q850()),
            Self::Transferred(target) => write!(f, "transferred to {target}"),
            Self::Callee => f.write_str("who was called hung up"),
            Self::NotAnswered(cause) => write!(f, "not answered: {} (cause {})", cause.as_str(), cause.q850()),
            Self::Refused { reason, cause } => write!(f, "refused (cause {}): {reason}", cause.q850()),
        }
    }
}

/// Something that happened, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedEvent {
    /// Since the first ring.
    pub at: Duration,
    /// What.
    pub event: CallerEvent,
}

/// What happens on the caller's side of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallerEvent {
    /// It rings at the host.
    Ringing,
    /// The host answered.
    Answered,
    /// The caller pressed a key.
    Pressed(char),
    /// The caller begins to say something of this name.
    SpeechStarted(String),
    /// The caller has said it.
    SpeechEnded,
    /// A prompt (an entry of a list of media) begins.
    PromptStarted(String),
    /// A prompt is over.
    PromptEnded(String, PromptEnd),
    /// The host sends these keys.
    DigitsSent(String),
    /// The host opened the audio, at this rate in hertz.
    AudioOpened(u32),
    /// The host closed the audio.
    AudioClosed,
    /// The caller hears that it rings.
    RingToneStarted,
    /// The host put the call on hold: the caller hears music, of this class; empty: the default.
    Held(String),
    /// The host took it back.
    Unheld,
    /// The call is in a bridge, or who else is in it has changed.
    Bridged {
        /// Which.
        bridge: BridgeId,
        /// The others' numbers.
        with: Vec<String>,
    },
    /// The call is in no bridge any more.
    Unbridged(BridgeId),
    /// The host listens to the call, or speaks into it, by a snoop.
    Snooped(SnoopOptions),
    /// The PBX records, under this name.
    RecordingStarted(String),
    /// The PBX has recorded so many milliseconds, or failed; a sentence.
    RecordingEnded(Result<u32, String>),
    /// The host set a variable.
    VariableSet(String, String),
    /// The script did not get what it expected; a sentence.
    Missed(String),
    /// The call is over.
    Ended(EndedBy),
}

impl fmt::Display for CallerEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ringing => f.write_str("ringing"),
            Self::Answered => f.write_str("answered"),
            Self::Pressed(key) => write!(f, "the caller presses {key}"),
            Self::SpeechStarted(name) => write!(f, "the caller says {name}"),
            Self::SpeechEnded => f.write_str("the caller has spoken"),
            Self::PromptStarted(media) => write!(f, "the caller hears {media}"),
            Self::PromptEnded(media, end) => write!(f, "{media}: {end}"),
            Self::DigitsSent(digits) => write!(f, "the host sends {digits}"),
            Self::AudioOpened(rate_hz) => write!(f, "audio is open at {rate_hz} Hz"),
            Self::AudioClosed => f.write_str("audio is closed"),
            Self::RingToneStarted => f.write_str("the caller hears that it rings"),
            Self::Held(class) if class.is_empty() => f.write_str("on hold: the caller hears music"),
            Self::Held(class) => write!(f, "on hold: the caller hears music ({class})"),
            Self::Unheld => f.write_str("no longer on hold"),
            Self::Bridged { bridge, with } if with.is_empty() => write!(f, "alone in {bridge}"),
            Self::Bridged { bridge, with } => write!(f, "in {bridge} with {}", with.join(", ")),
            Self::Unbridged(bridge) => write!(f, "out of {bridge}"),
            Self::Snooped(options) => {
                write!(f, "a snoop listens ({}) and whispers ({})", word(options.spy), word(options.whisper))
            }
            Self::RecordingStarted(name) => write!(f, "the PBX records {name}"),
            Self::RecordingEnded(Ok(ms)) => write!(f, "the PBX has recorded {ms} ms"),
            Self::RecordingEnded(Err(why)) => write!(f, "the recording failed: {why}"),
            Self::VariableSet(name, value) => write!(f, "{name} is set to {value}"),
            Self::Missed(what) => f.write_str(what),
            Self::Ended(by) => by.fmt(f),
        }
    }
}

fn word(sides: Sides) -> &'static str {
    match sides {
        Sides::None => "none",
        Sides::In => "in",
        Sides::Out => "out",
        Sides::Both => "both",
    }
}

/// One prompt that the caller heard, or should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlayedPrompt {
    /// As the host wrote it.
    pub media: String,
    /// When it began.
    pub from: Duration,
    /// When it was over.
    pub to: Duration,
    /// How.
    pub end: PromptEnd,
}

/// How a prompt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptEnd {
    /// Played to its end.
    Finished,
    /// The host stopped it.
    Stopped,
    /// The call ended first.
    CallEnded,
    /// It could not be played; the sentence says why.
    Failed(String),
}

impl fmt::Display for PromptEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "played to its end",
            Self::Stopped => "stopped",
            Self::CallEnded => "cut off by the end of the call",
            Self::Failed(why) => why,
        })
    }
}

impl CallReport {
    /// When events like this happened.
    pub fn times_of(&self, wanted: impl Fn(&CallerEvent) -> bool) -> Vec<Duration> {
        self.events.iter().filter(|e| wanted(&e.event)).map(|e| e.at).collect()
    }

    /// The media of the prompts that the caller heard, in order.
    pub fn prompts_heard(&self) -> Vec<&str> {
        let heard = self.prompts.iter().filter(|p| !matches!(p.end, PromptEnd::Failed(_)));
        heard.map(|p| p.media.as_str()).collect()
    }

    /// The recording of the call as a WAV file: stereo, 16 bits, [`LINE_RATE_HZ`]; what the caller says is left, what
    /// the caller hears is right.
    pub fn to_wav(&self) -> Vec<u8> {
        super::sounds::stereo_wav(&self.said, &self.heard)
    }
}

impl fmt::Debug for CallReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallReport")
            .field("call", &self.call)
            .field("duration", &self.duration)
            .field("answered_at", &self.answered_at)
            .field("ended_by", &self.ended_by)
            .field("events", &self.events)
            .field("prompts", &self.prompts)
            .field("seconds_recorded", &(self.heard.len() / LINE_RATE_HZ as usize))
            .field("dropped_frames", &self.dropped_frames)
            .field("missed", &self.missed)
            .field("steps_left", &self.steps_left)
            .field("variables", &self.variables)
            .finish_non_exhaustive()
    }
}
