//! The recording port: who keeps recordings, and gets them where the operator wants them, whatever happens to the host.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::BoxFuture;
use crate::error::CallError;
use crate::ids::{CallId, RecordingId, TenantId};
use crate::media::AudioSource;
use crate::telephony::Exchange;
use crate::verbs::{Recorder, RecordingInfo};

/// A recording that is to begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingStart {
    /// Its id, and at the PBX the name under which it is stored.
    pub id: RecordingId,
    /// Whose call it is.
    pub tenant: TenantId,
    /// The call.
    pub call: CallId,
    /// Its name for people; checked.
    pub name: String,
    /// Who records.
    pub recorder: Recorder,
    /// Which PBX has it when the PBX records; [`Exchange::name`].
    pub exchange: String,
    /// The sink's name; empty: the tenant's default.
    pub sink: String,
    /// When.
    pub started_at: SystemTime,
}

/// Keeps recordings.
pub trait RecordingDesk: Send + Sync {
    /// Notes that a recording begins, durably, before anything records. An unknown sink or a full disk is an error.
    fn open<'a>(&'a self, start: RecordingStart) -> BoxFuture<'a, Result<Arc<dyn OpenRecording>, CallError>>;
}

/// A recording that goes on. Dropping it without [`OpenRecording::finish`] finishes it with what is there.
pub trait OpenRecording: Send + Sync {
    /// Recording by the host begins: what the other side says, and what it hears, each until it ends. Both have the
    /// same rate. Called once; never blocks.
    fn capture(&self, said: Arc<dyn AudioSource>, heard: Arc<dyn AudioSource>, rate_hz: u32, limits: CaptureLimits);

    /// Recording by the host leaves out what follows, or goes on.
    fn set_paused(&self, paused: bool);

    /// Returns when recording by the host cannot or need not go on.
    fn stopped(&self) -> BoxFuture<'_, CaptureEnd>;

    /// Ends it and hands it to its sinks, which is done whatever happens to the host. The file is complete when this
    /// returns; the sinks' work goes on, and ends with the event `recording.finished` or `recording.failed`. Exactly
    /// once: a second finish gives the first one's outcome.
    fn finish(&self, end: RecordingEnd) -> BoxFuture<'_, Result<RecordingInfo, CallError>>;
}

/// When recording by the host ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaptureLimits {
    /// The longest, without pauses.
    pub max_duration: Duration,
    /// When nobody has spoken for so long; none: never.
    pub max_silence: Option<Duration>,
}

/// Why recording by the host has stopped by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaptureEnd {
    /// [`CaptureLimits::max_duration`]
    MaxDuration,
    /// [`CaptureLimits::max_silence`]
    MaxSilence,
    /// The audio has ended.
    AudioEnded,
    /// It cannot go on, such as on a full disk; a sentence.
    Failed(String),
}

/// How a recording is finished.
#[derive(Clone)]
pub enum RecordingEnd {
    /// The host has made it.
    ByHost,
    /// The PBX has made it, stored under the recording's id.
    ByPbx {
        /// Where it is fetched from.
        exchange: Arc<dyn Exchange>,
        /// Without pauses.
        duration_ms: u32,
    },
    /// It failed; a sentence. What there is of it is kept all the same when it can be.
    Failed(String),
}
