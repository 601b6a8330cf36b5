//! A recording desk that keeps nothing but what was asked of it.

use std::future::{pending, ready};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::BoxFuture;
use crate::error::CallError;
use crate::media::AudioSource;
use crate::recording::{CaptureEnd, CaptureLimits, OpenRecording, RecordingDesk, RecordingEnd, RecordingStart};
use crate::verbs::RecordingInfo;

/// What was asked of a [`FakeDesk`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeskVerb {
    /// [`RecordingDesk::open`]
    Open(RecordingStart),
    /// [`OpenRecording::capture`], with its rate
    Capture(u32),
    /// [`OpenRecording::set_paused`]
    Pause(bool),
    /// [`OpenRecording::finish`]; whether it is said to have gone well
    Finish(bool),
}

/// See the module. Finished recordings are said to be of 1,000 ms and 2,000 bytes.
#[derive(Default)]
pub struct FakeDesk {
    verbs: Arc<Mutex<Vec<DeskVerb>>>,
    refuses: Mutex<Option<CallError>>,
    stopped: Arc<Mutex<Option<CaptureEnd>>>,
}

impl FakeDesk {
    /// One that takes everything.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// From now on it opens nothing.
    pub fn refuse(&self, error: CallError) {
        *self.refuses.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Recordings that are opened from now on stop so as soon as they are asked.
    pub fn stop_with(&self, end: CaptureEnd) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }

    /// What was asked so far, in order.
    pub fn verbs(&self) -> Vec<DeskVerb> {
        locked(&self.verbs).clone()
    }
}

fn locked(verbs: &Mutex<Vec<DeskVerb>>) -> MutexGuard<'_, Vec<DeskVerb>> {
    verbs.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RecordingDesk for FakeDesk {
    fn open<'a>(&'a self, start: RecordingStart) -> BoxFuture<'a, Result<Arc<dyn OpenRecording>, CallError>> {
        if let Some(error) = self.refuses.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Box::pin(ready(Err(error)));
        }
        locked(&self.verbs).push(DeskVerb::Open(start.clone()));
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let open = FakeRecording { start, verbs: Arc::clone(&self.verbs), stopped };
        Box::pin(ready(Ok(Arc::new(open) as Arc<dyn OpenRecording>)))
    }
}

struct FakeRecording {
    start: RecordingStart,
    verbs: Arc<Mutex<Vec<DeskVerb>>>,
    stopped: Option<CaptureEnd>,
}

impl OpenRecording for FakeRecording {
    fn capture(&self, _said: Arc<dyn AudioSource>, _heard: Arc<dyn AudioSource>, rate_hz: u32, _limits: CaptureLimits) {
        locked(&self.verbs).push(DeskVerb::Capture(rate_hz));
    }

    fn set_paused(&self, paused: bool) {
        locked(&self.verbs).push(DeskVerb::Pause(paused));
    }

    fn stopped(&self) -> BoxFuture<'_, CaptureEnd> {
        match self.stopped.clone() {
            Some(end) => Box::pin(ready(end)),
            None => Box::pin(pending()),
        }
    }

    fn finish(&self, end: RecordingEnd) -> BoxFuture<'_, Result<RecordingInfo, CallError>> {
        let failed = match end {
            RecordingEnd::Failed(why) => Some(why),
            RecordingEnd::ByHost | RecordingEnd::ByPbx { .. } => None,
        };
        locked(&self.verbs).push(DeskVerb::Finish(failed.is_none()));
        let info = RecordingInfo {
            id: self.start.id.clone(),
            name: self.start.name.clone(),
            duration_ms: 1_000,
            size_bytes: 2_000,
        };
        Box::pin(ready(failed.map_or(Ok(info), |why| Err(CallError::Telephony(why)))))
    }
}
