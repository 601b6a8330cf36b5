//! Where a simulated call's recordings go: the same desk as for real calls, with one sink, the folder of the call's own
//! recording. It runs on the call's clock; the disk is not waited for by that clock.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::watch;
use voxtra_core::event::{Event, EventSink, EventType};
use voxtra_core::recording::{OpenRecording, RecordingDesk, RecordingStart};
use voxtra_core::{BoxFuture, CallError, CallId, RecordingId};
use voxtra_services::recordings::sinks::Finished;
use voxtra_services::recordings::{Desk, DeskOptions, Sink, SinkError};

use crate::events::Heard;
use crate::files;

/// The one sink's name.
const SINK: &str = "out";

/// A recording of a call, or of one that its handler has placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recording {
    pub(crate) id: String,
    /// For people; the id when the handler has given none.
    pub(crate) name: String,
    /// Whose.
    pub(crate) call: CallId,
    /// `host` or `pbx`.
    pub(crate) recorder: String,
    /// When it began, since the caller's first ring.
    pub(crate) from: Duration,
    /// When it was over; none: it never was.
    pub(crate) to: Option<Duration>,
    /// Of the file, without pauses.
    pub(crate) duration_ms: u64,
    pub(crate) size_bytes: u64,
    pub(crate) file: Option<PathBuf>,
    /// Why it failed; a sentence.
    pub(crate) failure: Option<String>,
}

impl Recording {
    /// The recordings that these events tell of, in the order in which they began.
    pub(crate) fn of(events: &[Heard]) -> Vec<Self> {
        let mut recordings: Vec<Self> = Vec::new();
        for Heard { at, event, .. } in events {
            let text = |key: &str| event.data.get(key).and_then(Value::as_str);
            let Some(id) = text("recording_id") else { continue };
            let index = match recordings.iter().position(|recording| recording.id == id) {
                Some(index) => index,
                None => {
                    recordings.push(Self {
                        id: id.to_owned(),
                        name: text("name").unwrap_or(id).to_owned(),
                        call: event.session_id.clone(),
                        recorder: text("recorder").unwrap_or_default().to_owned(),
                        from: *at,
                        to: None,
                        duration_ms: 0,
                        size_bytes: 0,
                        file: None,
                        failure: None,
                    });
                    recordings.len() - 1
                }
            };
            let Some(recording) = recordings.get_mut(index) else { continue };
            if matches!(event.kind, EventType::RecordingFinished | EventType::RecordingFailed) {
                let number = |key: &str| event.data.get(key).and_then(Value::as_u64).unwrap_or_default();
                let location = event.data.get("locations").and_then(|locations| locations.get(SINK));
                recording.to = Some(*at);
                recording.duration_ms = number("duration_ms");
                recording.size_bytes = number("size_bytes");
                recording.file = location.and_then(Value::as_str).map(PathBuf::from);
                recording.failure = text("reason").map(str::to_owned);
            }
        }
        recordings
    }
}

/// The desk of a simulated call. The spool goes with it.
pub(super) struct OutDesk {
    desk: Desk,
    open: Arc<watch::Sender<Vec<RecordingId>>>,
    numbers: Arc<Numbers>,
    spool: PathBuf,
}

impl OutDesk {
    /// One whose recordings become `DIR/NAME-recording-1.wav` and so on; its events go to `events`. Blocks while the
    /// folders are made. To be made inside the runtime whose clock counts.
    pub(super) fn new(dir: &Path, name: &str, events: Arc<dyn EventSink>) -> anyhow::Result<Self> {
        let spool = dir.join(format!(".recordings-{}", std::process::id()));
        let open = Arc::new(watch::Sender::new(Vec::new()));
        let numbers = Arc::<Numbers>::default();
        let sink = Folder { dir: dir.to_owned(), name: name.to_owned(), numbers: Arc::clone(&numbers) };
        // Nobody makes room while a simulated call waits for it.
        let options = DeskOptions { max_attempts: 1, ..DeskOptions::new(&spool, SINK) };
        let events = Arc::new(Watched { events, open: Arc::clone(&open) });
        let desk = Desk::new(options, [Arc::new(sink) as Arc<dyn Sink>], events, Handle::current());
        let desk = desk.with_context(|| {
            format!("recordings cannot be kept in {}; name another folder with --out", dir.display())
        })?;
        Ok(Self { desk, open, numbers, spool })
    }

    /// Waits until every recording is where it is kept, or lost.
    pub(super) async fn settled(&self) {
        // The sender is ours, so that it cannot be gone.
        let _ = self.open.subscribe().wait_for(Vec::is_empty).await;
    }
}

impl RecordingDesk for OutDesk {
    fn open<'a>(&'a self, start: RecordingStart) -> BoxFuture<'a, Result<Arc<dyn OpenRecording>, CallError>> {
        Box::pin(async move {
            let id = start.id.clone();
            // Which sinks the operator has is not known here; a call that names one is to be tried all the same.
            let open = self.desk.open(RecordingStart { sink: String::new(), ..start }).await?;
            self.numbers.of(&id);
            self.open.send_modify(|ids| ids.push(id));
            Ok(open)
        })
    }
}

impl Drop for OutDesk {
    fn drop(&mut self) {
        // Of what is whole there is a copy in the folder; it may not be there at all.
        let _ = fs::remove_dir_all(&self.spool);
    }
}

/// Hears which recordings are over.
struct Watched {
    events: Arc<dyn EventSink>,
    open: Arc<watch::Sender<Vec<RecordingId>>>,
}

impl EventSink for Watched {
    fn emit(&self, event: Event) {
        let is_over = matches!(event.kind, EventType::RecordingFinished | EventType::RecordingFailed);
        let id = event.data.get("recording_id").and_then(Value::as_str).filter(|_| is_over).map(RecordingId::from);
        self.events.emit(event);
        if let Some(id) = id {
            self.open.send_modify(|ids| ids.retain(|open| *open != id));
        }
    }
}

/// The recordings' numbers, from 1, in the order in which they began.
#[derive(Debug, Default)]
struct Numbers(Mutex<Vec<RecordingId>>);

impl Numbers {
    /// Always the same for the same one.
    fn of(&self, id: &RecordingId) -> usize {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = ids.iter().position(|other| other == id).unwrap_or_else(|| {
            ids.push(id.clone());
            ids.len() - 1
        });
        index + 1
    }
}

/// The sink: a folder with a file for each recording.
struct Folder {
    dir: PathBuf,
    name: String,
    numbers: Arc<Numbers>,
}

impl Sink for Folder {
    fn name(&self) -> &str {
        SINK
    }

    fn keep<'a>(&'a self, recording: &'a Finished<'a>) -> BoxFuture<'a, Result<String, SinkError>> {
        let number = self.numbers.of(&recording.start.id);
        let (from, to) = (recording.file.to_owned(), self.dir.join(format!("{}-recording-{number}.wav", self.name)));
        Box::pin(async move {
            let failed = |why: String| SinkError { why, lasting: true };
            let path = to.clone();
            let copied = tokio::task::spawn_blocking(move || files::copy(&from, &path, 0o666)).await;
            match copied {
                Ok(Ok(_)) => Ok(to.display().to_string()),
                Ok(Err(error)) => {
                    Err(failed(format!("{} cannot be written ({error}); name another --out", to.display())))
                }
                Err(error) => Err(failed(error.to_string())),
            }
        })
    }
}
