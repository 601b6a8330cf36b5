//! Events that leave the host. The wire values are a contract with those who receive Voxtra 0.3's events.

use std::time::SystemTime;

use serde_json::{Map, Value};

use crate::ids::{CallId, TenantId};

/// The kinds of event.
macro_rules! event_types {
    ($($(#[$doc:meta])* $name:ident = $wire:literal,)*) => {
        /// What an event tells.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum EventType {
            $($(#[$doc])* $name,)*
        }

        impl EventType {
            /// Every kind of event.
            pub const ALL: &'static [EventType] = &[$(EventType::$name,)*];

            /// The wire value.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(EventType::$name => $wire,)*
                }
            }
        }
    };
}

event_types! {
    /// A call has come in or was placed.
    CallStarted = "call.started",
    /// It rings.
    CallRinging = "call.ringing",
    /// It was answered.
    CallAnswered = "call.answered",
    /// It is over; exactly one for each call.
    CallEnded = "call.ended",
    /// It failed; before `call.ended`.
    CallFailed = "call.failed",
    /// It was handed to somebody else.
    CallTransferred = "call.transferred",
    /// Audio flows to and from the handler; `data` has its `rate_hz`. A call that goes over to a new version of its handler
    /// keeps its audio connection, so that another `media.started` comes only after a `media.stopped`.
    MediaStarted = "media.started",
    /// Audio has stopped: one for each `media.started`, at the call's end at the latest; `data` has the `dropped_frames`.
    MediaStopped = "media.stopped",
    /// An audio frame came.
    AudioFrameReceived = "audio.frame.received",
    /// An audio frame went.
    AudioFrameSent = "audio.frame.sent",
    /// The caller began to speak.
    UserSpeechStarted = "user.speech.started",
    /// The caller stopped speaking.
    UserSpeechEnded = "user.speech.ended",
    /// What the caller said.
    UserTranscript = "user.transcript",
    /// What the caller seems to be saying.
    UserTranscriptPartial = "user.transcript.partial",
    /// The model was asked.
    AgentThinking = "agent.thinking",
    /// The model answered.
    AgentResponse = "agent.response",
    /// The answer is being spoken.
    AgentSpeechStarted = "agent.speech.started",
    /// It was spoken.
    AgentSpeechEnded = "agent.speech.ended",
    /// A key was pressed.
    DtmfReceived = "dtmf.received",
    /// The caller spoke or pressed a key while a prompt played.
    BargeIn = "barge_in",
    /// Nobody speaks.
    SilenceDetected = "silence.detected",
    /// A turn of the conversation is over.
    TurnEnded = "turn.ended",
    /// Something failed inside the host or at a provider.
    Error = "error",
    /// A session was made for the call.
    SessionCreated = "session.created",
    /// The session is gone; the last event of a call but for what becomes of its recordings.
    SessionDestroyed = "session.destroyed",
    /// Ours: an event of a handler's own; `data` has its `name` and its `data`.
    Custom = "custom",
    /// Ours: who answered, as `detect-machine` found out.
    AnsweredBy = "call.answered_by",
    /// Ours: a recording has begun.
    RecordingStarted = "recording.started",
    /// Ours: a recording is over and kept; `data` says where.
    RecordingFinished = "recording.finished",
    /// Ours: a recording failed or could not be kept.
    RecordingFailed = "recording.failed",
    /// Ours: a batch of calls is over, or was stopped.
    BatchFinished = "batch.finished",
    /// Ours: a new version of a handler failed too often and takes no more calls; `data` says which, and why.
    HandlerWithdrawn = "handler.withdrawn",
    /// Ours: the call went over to a new version of its handler; `data` says from which (`from`) and to which (`version`).
    HandlerUpgraded = "handler.upgraded",
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// A version 4 UUID in 32 hexadecimal digits.
    pub id: String,
    /// What it tells.
    pub kind: EventType,
    /// Whose call it is. Not part of the wire form.
    pub tenant: TenantId,
    /// The call.
    pub session_id: CallId,
    /// When, in UTC.
    pub timestamp: SystemTime,
    /// What goes with it.
    pub data: Map<String, Value>,
    /// The call's metadata that its handler shares with webhooks, as `call.metadata` of the wire form; none: no `call`.
    pub metadata: Option<Map<String, Value>>,
}

impl Event {
    /// An event that happens now, without metadata. `id`: see [`Event::id`].
    pub fn new(id: String, kind: EventType, tenant: TenantId, session_id: CallId, data: Map<String, Value>) -> Self {
        Self { id, kind, tenant, session_id, timestamp: SystemTime::now(), data, metadata: None }
    }
}

/// Where events go. Implementations must not block: the caller is a call's owner task.
pub trait EventSink: Send + Sync {
    /// Takes one event; those of one call come in order.
    fn emit(&self, event: Event);
}

/// Keeps every event, for tests.
#[derive(Debug, Default)]
pub struct RecordingEventSink {
    events: std::sync::Mutex<Vec<Event>>,
}

impl RecordingEventSink {
    /// What has come so far.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().map(|e| e.clone()).unwrap_or_default()
    }

    /// How many events of a kind have come for a call.
    pub fn count(&self, call: &CallId, kind: EventType) -> usize {
        self.events().iter().filter(|e| e.session_id == *call && e.kind == kind).count()
    }
}

impl EventSink for RecordingEventSink {
    fn emit(&self, event: Event) {
        if let Ok(mut events) = self.events.lock() {
            events.push(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_values_are_distinct() {
        let mut names: Vec<_> = EventType::ALL.iter().map(|t| t.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), EventType::ALL.len());
    }
}
