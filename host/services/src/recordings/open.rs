//! A recording that goes on.

use std::fs::File;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::OnceCell;
use voxtra_core::media::AudioSource;
use voxtra_core::recording::{CaptureEnd, CaptureLimits, OpenRecording, RecordingEnd};
use voxtra_core::verbs::RecordingInfo;
use voxtra_core::{BoxFuture, CallError};

use super::capture::{Capture, Sides};
use super::delivery;
use super::desk::{Inner, Lost};
use super::journal::{Entry, State};

/// See the module. Whoever drops it without having finished it finishes it with what is there.
pub(super) struct Open {
    shared: Arc<Shared>,
}

struct Shared {
    desk: Arc<Inner>,
    entry: Entry,
    /// The host's own file, until the capture has it.
    file: Mutex<Option<File>>,
    capture: OnceLock<Capture>,
    finished: OnceCell<Result<RecordingInfo, CallError>>,
}

impl Open {
    pub(super) fn new(desk: Arc<Inner>, entry: Entry, file: Option<File>) -> Self {
        let (file, capture, finished) = (Mutex::new(file), OnceLock::new(), OnceCell::new());
        Self { shared: Arc::new(Shared { desk, entry, file, capture, finished }) }
    }
}

impl OpenRecording for Open {
    fn capture(&self, said: Arc<dyn AudioSource>, heard: Arc<dyn AudioSource>, rate_hz: u32, limits: CaptureLimits) {
        let file = self.shared.file.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(file) = file {
            let _runtime = self.shared.desk.runtime.enter();
            let capture = Capture::start(file, Sides { said, heard, rate_hz }, limits, self.shared.desk.room().watch());
            // The file is there once, so this is set once.
            let _ = self.shared.capture.set(capture);
        }
    }

    fn set_paused(&self, paused: bool) {
        if let Some(capture) = self.shared.capture.get() {
            capture.paused.store(paused, Ordering::Relaxed);
        }
    }

    fn stopped(&self) -> BoxFuture<'_, CaptureEnd> {
        Box::pin(async move {
            match self.shared.capture.get() {
                Some(capture) => capture.ended().await,
                None => std::future::pending().await,
            }
        })
    }

    fn finish(&self, end: RecordingEnd) -> BoxFuture<'_, Result<RecordingInfo, CallError>> {
        // On a task of its own: it is done whether or not anybody waits.
        let shared = Arc::clone(&self.shared);
        let task = self.shared.desk.runtime.spawn(async move { shared.finish(end).await });
        Box::pin(async move {
            task.await.unwrap_or_else(|error| Err(CallError::Telephony(format!("the recording was lost ({error})"))))
        })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.shared.finished.initialized() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let end = match shared.capture.get() {
            Some(_) => RecordingEnd::ByHost,
            None => RecordingEnd::Failed("the recording was given up".to_owned()),
        };
        self.shared.desk.runtime.spawn(async move { shared.finish(end).await });
    }
}

impl Shared {
    async fn finish(&self, end: RecordingEnd) -> Result<RecordingInfo, CallError> {
        self.finished.get_or_init(|| self.finish_once(end)).await.clone()
    }

    async fn finish_once(&self, end: RecordingEnd) -> Result<RecordingInfo, CallError> {
        let mut entry = self.entry.clone();
        if let Some(capture) = self.capture.get()
            && let CaptureEnd::Failed(why) = capture.finish().await
        {
            entry.failure = Some(why);
        }
        let whole = match end {
            RecordingEnd::ByHost => self.desk.mend(entry).await,
            RecordingEnd::ByPbx { exchange, duration_ms } => {
                self.desk.fetch(entry, &*exchange, Some(duration_ms)).await
            }
            RecordingEnd::Failed(why) => {
                entry.failure = Some(why.clone());
                match self.capture.get() {
                    Some(_) => self.desk.mend(entry).await,
                    None => Err(Lost::new(entry, why, false)),
                }
            }
        };
        match whole {
            Ok(entry) => {
                let outcome = info(&entry);
                let desk = Arc::clone(&self.desk);
                self.desk.runtime.spawn(delivery::deliver(desk, entry));
                outcome
            }
            Err(lost) => {
                let why = lost.why.clone();
                self.desk.lose(*lost).await;
                Err(CallError::Telephony(why))
            }
        }
    }
}

fn info(entry: &Entry) -> Result<RecordingInfo, CallError> {
    let (duration_ms, size_bytes) = match entry.state {
        State::Complete { duration_ms, size_bytes, .. } => (duration_ms, size_bytes),
        State::Recording => (0, 0),
    };
    match &entry.failure {
        Some(why) => Err(CallError::Telephony(why.clone())),
        None => {
            Ok(RecordingInfo { id: entry.start.id.clone(), name: entry.start.name.clone(), duration_ms, size_bytes })
        }
    }
}
