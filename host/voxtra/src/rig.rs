//! Simulated calls for `call` and `demo`: the same switchboard and the same handlers as for real calls, with a caller
//! made of a script, on a clock that does not wait.

mod recordings;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::runtime::{Builder, Handle, Runtime};
use voxtra_core::event::EventType;
use voxtra_core::{RecordingDesk, TenantId};
use voxtra_plugins::Handler;
use voxtra_session::{DialPolicy, Host, HostStats, Runtimes};
use voxtra_telephony::simulator::{
    CallReport, CallerEvent, CallerOptions, EndedBy, Simulator, SimulatorOptions, Timeline,
};

use crate::events::{Account, Heard};
use crate::files;
use crate::host::{self, Plan};
use recordings::OutDesk;

pub(crate) use recordings::Recording;

/// How long the host may take after the caller's end: its grace for the handler, and the hang-up hook.
const WIND_DOWN_LIMIT: Duration = Duration::from_secs(60);

/// More placed calls than these get no WAV file.
const MAX_PLACED_FILES: usize = 100;

/// A host with a simulator in front.
pub(crate) struct Rig {
    host: Arc<Host>,
    simulator: Simulator,
    account: Arc<Account>,
    desk: Option<Arc<OutDesk>>,
}

/// How a rig is made. The default: quiet, everybody answers but nobody may be called, and nothing is recorded.
#[derive(Debug, Default)]
pub(crate) struct RigOptions {
    /// Events are shown as they come.
    pub(crate) live: bool,
    /// The PBX.
    pub(crate) pbx: SimulatorOptions,
    /// Whom handlers may call; none: nobody, as of a tenant without `dial`.
    pub(crate) dial: Option<DialPolicy>,
    /// Where recordings go, and what their names begin with; none: this host keeps none.
    pub(crate) recordings: Option<(PathBuf, String)>,
}

/// A simulated call that is over.
pub(crate) struct Call {
    /// The caller's side.
    pub(crate) report: CallReport,
    /// The calls that its handler has placed, in their order: who was called.
    pub(crate) placed: Vec<CallReport>,
    /// The host's events.
    pub(crate) events: Vec<Heard>,
    /// What was recorded, of it and of those.
    pub(crate) recordings: Vec<Recording>,
    handler_failed: bool,
}

/// Where a call's recording and drawing are.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) wav: PathBuf,
    pub(crate) svg: PathBuf,
    /// Of each placed call, in their order; none: nobody was heard, or there are too many.
    pub(crate) placed: Vec<Option<PathBuf>>,
}

/// One thread for everything, so that nothing happens but what the clock says. With a virtual clock, time passes only
/// while everybody waits: a call of ten minutes takes as long as its computing does.
pub(crate) fn runtime(real_time: bool) -> anyhow::Result<Runtime> {
    let runtime = Builder::new_current_thread().enable_all().start_paused(!real_time).build();
    runtime.context("no runtime can be started; free memory")
}

impl Rig {
    /// A host for these handlers, whose calls come from a simulator. Reads the folders of prompts, and makes that of the
    /// recordings (blocking). To be made inside [`runtime`].
    pub(crate) fn new(plan: Plan, options: RigOptions) -> anyhow::Result<Self> {
        let account = Account::new(options.live);
        let desk = match options.recordings {
            Some((dir, name)) => Some(Arc::new(OutDesk::new(&dir, &name, account.clone())?)),
            None => None,
        };
        let mut ports = host::simulated_ports(account.clone());
        ports.desk = desk.clone().map(|desk| desk as Arc<dyn RecordingDesk>);
        let host = host::switchboard(plan, ports, Runtimes::single(Handle::current()));
        let policies = options.dial.map(|policy| (TenantId::default(), policy));
        host.set_dial_policies(policies).map_err(anyhow::Error::msg)?;
        let simulator = Simulator::new(options.pbx, host.clone())?;
        Ok(Self { host, simulator, account, desk })
    }

    /// Places a call and waits until nothing of it is left.
    pub(crate) async fn call(&self, mut caller: CallerOptions) -> anyhow::Result<Call> {
        self.account.begin();
        let account = self.account.clone();
        caller.on_event = Some(Arc::new(move |event| {
            // What the host does shows in its own events.
            if !matches!(event.event, CallerEvent::Ringing | CallerEvent::Answered) {
                account.show(event.at, &format!("· {}", event.event));
            }
        }));
        let failures_before = self.host.stats().handler_failures;
        let report = self.simulator.place_call(caller).await?;
        let Ok(mut placed) = tokio::time::timeout(WIND_DOWN_LIMIT, self.wind_down()).await else {
            let limit_s = WIND_DOWN_LIMIT.as_secs();
            bail!("the host still has the call {limit_s} s after the caller's end; this is a fault of the host");
        };
        let handler_failed = self.host.stats().handler_failures > failures_before;
        let events = self.account.heard();
        // Those that were placed at one time come in the order of their ends.
        placed.sort_by_key(|placed| events.iter().position(|heard| heard.event.session_id == placed.call));
        let recordings = Recording::of(&events);
        Ok(Call { report, placed, events, recordings, handler_failed })
    }

    /// Waits for everything that goes on after the caller's end; gives the calls that the host has placed.
    async fn wind_down(&self) -> Vec<CallReport> {
        self.host.idle().await;
        let placed = self.simulator.placed_calls().await;
        if let Some(desk) = &self.desk {
            desk.settled().await;
        }
        placed
    }

    /// The host's counters.
    pub(crate) fn stats(&self) -> HostStats {
        self.host.stats()
    }

    /// Calls that have begun, and that have ended, by their events.
    pub(crate) fn calls(&self) -> (u64, u64) {
        self.account.calls()
    }
}

impl Call {
    /// Why the handler failed, when it did, or why it got no call.
    pub(crate) fn handler_failure(&self) -> Option<String> {
        if let EndedBy::Refused { reason, .. } = &self.report.ended_by {
            return Some(reason.clone());
        }
        // One that it placed and nobody answered has failed too, which is no failure of the handler's.
        let is_own = |heard: &&Heard| heard.event.session_id == self.report.call;
        let failed = self.events.iter().filter(is_own).find(|heard| heard.event.kind == EventType::CallFailed);
        let said = failed.and_then(|failed| failed.event.data.get("error")).and_then(|error| error.as_str());
        match said {
            Some(said) => Some(said.to_owned()),
            None if failed.is_some() || self.handler_failed => Some("its log says why".to_owned()),
            None => None,
        }
    }

    /// Writes `NAME.wav` (the caller left, what is heard right), `NAME-callee-1.wav` and so on for who was called and
    /// answered, and `NAME.svg` into a folder, which is made.
    pub(crate) fn write(&self, dir: &Path, name: &str, title: &str) -> anyhow::Result<Files> {
        fs::create_dir_all(dir)
            .with_context(|| format!("{}: the folder cannot be made; name another with --out", dir.display()))?;
        let (wav, svg) = (dir.join(format!("{name}.wav")), dir.join(format!("{name}.svg")));
        write_file(&wav, &self.report.to_wav())?;
        write_file(&svg, self.drawing(title).as_bytes())?;
        let mut placed = Vec::with_capacity(self.placed.len());
        for (index, report) in self.placed.iter().enumerate() {
            let is_kept = report.answered_at.is_some() && index < MAX_PLACED_FILES;
            let file = is_kept.then(|| dir.join(format!("{name}-callee-{}.wav", index + 1)));
            if let Some(file) = &file {
                write_file(file, &report.to_wav())?;
            }
            placed.push(file);
        }
        Ok(Files { wav, svg, placed })
    }

    fn drawing(&self, title: &str) -> String {
        let events = self.events.iter().map(|heard| (heard.at, heard.label()));
        let recordings = self.recordings.iter().map(|recording| {
            let end = self.report.duration.max(recording.from);
            (recording.from, recording.to.unwrap_or(end), self.recording_label(recording))
        });
        Timeline::new(&self.report)
            .title(title)
            .events(events)
            .placed_calls(&self.placed)
            .recordings(recordings)
            .to_svg()
    }

    /// What a recording is called in the drawing and for people: who records what.
    pub(crate) fn recording_label(&self, recording: &Recording) -> String {
        let recorder = if recording.recorder == "pbx" { "PBX" } else { "host" };
        let mut label = format!("by the {recorder}");
        if recording.name != recording.id {
            label = format!("{}, {label}", recording.name);
        }
        if let Some(placed) = self.placed.iter().find(|placed| placed.call == recording.call) {
            label.push_str(&format!(", of {}", placed.called_number));
        }
        label
    }
}

/// A handler for the title of a drawing.
pub(crate) fn name_and_version(handler: &Handler) -> String {
    format!("{} {}", handler.name(), handler.version())
}

fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    files::write(path, bytes, 0o666)
        .with_context(|| format!("{}: the file cannot be written; name another folder with --out", path.display()))
}
