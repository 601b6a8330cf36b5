//! Simulated calls for `call` and `demo`: the same switchboard and the same handlers as for real calls, with a caller
//! made of a script, on a clock that does not wait.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::runtime::{Builder, Handle, Runtime};
use voxtra_core::event::EventType;
use voxtra_plugins::Handler;
use voxtra_session::{Host, HostStats, Runtimes};
use voxtra_telephony::simulator::{
    CallReport, CallerEvent, CallerOptions, EndedBy, Simulator, SimulatorOptions, Timeline,
};

use crate::events::{Account, Heard};
use crate::host::{self, Plan};

/// How long the host may take after the caller's end: its grace for the handler, and the hang-up hook.
const WIND_DOWN_LIMIT: Duration = Duration::from_secs(60);

/// A host with a simulator in front.
pub(crate) struct Rig {
    host: Arc<Host>,
    simulator: Simulator,
    account: Arc<Account>,
}

/// A simulated call that is over.
pub(crate) struct Call {
    /// The caller's side.
    pub(crate) report: CallReport,
    /// The host's events.
    pub(crate) events: Vec<Heard>,
    handler_failed: bool,
}

/// Where a call's recording and drawing are.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) wav: PathBuf,
    pub(crate) svg: PathBuf,
}

/// One thread for everything, so that nothing happens but what the clock says. With a virtual clock, time passes only
/// while everybody waits: a call of ten minutes takes as long as its computing does.
pub(crate) fn runtime(real_time: bool) -> anyhow::Result<Runtime> {
    let runtime = Builder::new_current_thread().enable_all().start_paused(!real_time).build();
    runtime.context("no runtime can be started; free memory")
}

impl Rig {
    /// A host for these handlers, whose calls come from a simulator. To be made inside [`runtime`].
    pub(crate) fn new(plan: Plan, live: bool) -> anyhow::Result<Self> {
        let account = Account::new(live);
        let host = host::switchboard(plan, host::simulated_ports(account.clone()), Runtimes::single(Handle::current()));
        let simulator = Simulator::new(SimulatorOptions::default(), host.clone())?;
        Ok(Self { host, simulator, account })
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
        if tokio::time::timeout(WIND_DOWN_LIMIT, self.host.idle()).await.is_err() {
            let limit_s = WIND_DOWN_LIMIT.as_secs();
            bail!("the host still has the call {limit_s} s after the caller's end; this is a fault of the host");
        }
        let handler_failed = self.host.stats().handler_failures > failures_before;
        Ok(Call { report, events: self.account.heard(), handler_failed })
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
        let failed = self.events.iter().find(|heard| heard.event.kind == EventType::CallFailed);
        let said = failed.and_then(|failed| failed.event.data.get("error")).and_then(|error| error.as_str());
        match said {
            Some(said) => Some(said.to_owned()),
            None if failed.is_some() || self.handler_failed => Some("its log says why".to_owned()),
            None => None,
        }
    }

    /// Writes `NAME.wav` (the caller left, what is heard right) and `NAME.svg` into a folder, which is made.
    pub(crate) fn write(&self, dir: &Path, name: &str, title: &str) -> anyhow::Result<Files> {
        fs::create_dir_all(dir)
            .with_context(|| format!("{}: the folder cannot be made; name another with --out", dir.display()))?;
        let events = self.events.iter().map(|heard| (heard.at, heard.label()));
        let drawing = Timeline::new(&self.report).title(title).events(events).to_svg();
        let files = Files { wav: dir.join(format!("{name}.wav")), svg: dir.join(format!("{name}.svg")) };
        write_file(&files.wav, &self.report.to_wav())?;
        write_file(&files.svg, drawing.as_bytes())?;
        Ok(files)
    }
}

/// A handler for the title of a drawing.
pub(crate) fn name_and_version(handler: &Handler) -> String {
    format!("{} {}", handler.name(), handler.version())
}

fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fs::write(path, bytes)
        .with_context(|| format!("{}: the file cannot be written; name another folder with --out", path.display()))
}
