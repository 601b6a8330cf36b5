//! How calls are placed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use voxtra_core::{CallId, Exchange, Switchboard};

use super::callee::Callee;
use super::exchange::{Floor, SimulatedExchange};
use super::line::Line;
use super::report::{CallReport, TimedEvent};
use super::script::Script;
use super::sounds::{Sounds, SoundsError};

/// The longest that a call may last, whatever its options say: its recording is kept in memory, 32 kB a second.
pub(super) const MAX_CALL: Duration = Duration::from_secs(3600);

/// What a simulator is made with.
#[derive(Debug, Clone, Default)]
pub struct SimulatorOptions {
    /// Directories with WAV files: `sound:acme/menu` is `acme/menu.wav` in one of them. An earlier directory goes
    /// before a later one, all of them before the shipped prompts.
    pub prompt_directories: Vec<PathBuf>,
    /// Who is called, by endpoint (`PJSIP/100@trunk`) or by number (`100`).
    pub callees: BTreeMap<String, Callee>,
    /// Everybody else who is called; default: answers after 2 s and listens.
    pub other_callees: Callee,
    /// Queues that this PBX does not have; every other one is there.
    pub absent_queues: Vec<String>,
    /// Extensions (`100`) and places (`100@sales`) that this PBX does not have; every other one is there.
    pub absent_places: Vec<String>,
}

/// A PBX that exists only in memory.
pub struct Simulator {
    floor: Arc<Floor>,
    switchboard: Arc<dyn Switchboard>,
    calls: AtomicU64,
}

/// Who is told of a caller's events as they happen.
pub type EventListener = Arc<dyn Fn(&TimedEvent) + Send + Sync>;

/// One caller.
#[derive(Clone)]
pub struct CallerOptions {
    /// The number that the caller shows; default `1000`. Empty: withheld.
    pub caller_id: String,
    /// The number that is dialled; default `100`.
    pub called_number: String,
    /// The application at the PBX that the call comes to; default `voxtra`.
    pub app: String,
    /// What the caller does; default: only listens.
    pub script: Script,
    /// How long it may ring before the caller gives up; default 60 s.
    pub ring_limit: Duration,
    /// How long the call may last, ringing included, before the caller hangs up; default 10 minutes, at most an hour.
    pub max_length: Duration,
    /// Variables of the call that the dialplan has set; default: none.
    pub variables: BTreeMap<String, String>,
    /// Called with each event as it happens, on the call's task; it must not block.
    pub on_event: Option<EventListener>,
}

impl Default for CallerOptions {
    fn default() -> Self {
        Self {
            caller_id: "1000".to_owned(),
            called_number: "100".to_owned(),
            app: "voxtra".to_owned(),
            script: Script::new(),
            ring_limit: Duration::from_secs(60),
            max_length: Duration::from_secs(600),
            variables: BTreeMap::new(),
            on_event: None,
        }
    }
}

impl fmt::Debug for CallerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerOptions")
            .field("caller_id", &self.caller_id)
            .field("called_number", &self.called_number)
            .field("app", &self.app)
            .field("script", &self.script)
            .field("ring_limit", &self.ring_limit)
            .field("max_length", &self.max_length)
            .field("variables", &self.variables)
            .finish_non_exhaustive()
    }
}

impl Simulator {
    /// A simulator whose calls come to this switchboard. Reads the prompt directories (blocking).
    pub fn new(options: SimulatorOptions, switchboard: Arc<dyn Switchboard>) -> Result<Self, SoundsError> {
        let sounds = Arc::new(Sounds::with_directories(&options.prompt_directories)?);
        Ok(Self { floor: Floor::new(sounds, options), switchboard, calls: AtomicU64::new(0) })
    }

    /// Places a call. Its task runs on the tokio runtime that this is called in, whether the call is awaited or not.
    /// Ids count up from `sim-1`, so that equal runs give equal reports.
    ///
    /// # Panics
    /// Outside of a tokio runtime with its clock enabled.
    pub fn place_call(&self, mut options: CallerOptions) -> SimulatedCall {
        options.max_length = options.max_length.min(MAX_CALL);
        let id = CallId::from(format!("sim-{}", self.calls.fetch_add(1, Ordering::Relaxed) + 1));
        let (hang_up, hung_up) = oneshot::channel();
        let (finished, report) = oneshot::channel();
        let line = Line::new(id.clone(), options, self.floor.clone());
        let switchboard = self.switchboard.clone();
        tokio::spawn(async move {
            // Nobody may want the report any more.
            let _ = finished.send(line.run(&*switchboard, hung_up).await);
        });
        SimulatedCall { id, hang_up: Some(hang_up), report }
    }

    /// Where the host can place and join legs itself; each call brings one of its own application with it.
    pub fn exchange(&self, app: impl Into<String>) -> Arc<dyn Exchange> {
        Arc::new(SimulatedExchange::new(app.into(), self.floor.clone()))
    }

    /// The reports of the calls that the host has placed, in their order, each once. Waits until all of them are over;
    /// a callee hangs up after 10 minutes at the latest. Of more than 500 that nobody took, the later ones are lost.
    pub async fn placed_calls(&self) -> Vec<CallReport> {
        self.floor.placed_calls().await
    }

    /// The names of the recordings that the PBX has stored, sorted.
    pub fn stored_recordings(&self) -> Vec<String> {
        self.floor.sounds().stored().names()
    }
}

/// A call that goes on; gives its report when it is over. Dropping it makes the caller hang up.
#[derive(Debug)]
pub struct SimulatedCall {
    id: CallId,
    hang_up: Option<oneshot::Sender<()>>,
    report: oneshot::Receiver<CallReport>,
}

/// The call's task is gone: its runtime was shut down, or what [`CallerOptions::on_event`] called has panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the simulated call was lost with its runtime; keep the runtime until the call is over")]
pub struct CallLost;

impl SimulatedCall {
    /// The call's id, as the host sees it.
    pub fn id(&self) -> &CallId {
        &self.id
    }

    /// Makes the caller hang up now, whatever the script says.
    pub fn hang_up(&mut self) {
        if let Some(hang_up) = self.hang_up.take() {
            // The call may be over.
            let _ = hang_up.send(());
        }
    }
}

impl Future for SimulatedCall {
    type Output = Result<CallReport, CallLost>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.report).poll(cx).map_err(|_| CallLost)
    }
}
