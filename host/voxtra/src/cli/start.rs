//! `voxtra start`: takes calls from Asterisk until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::level_filters::LevelFilter;
use voxtra_core::{HandlerName, Switchboard, TenantId};
use voxtra_loader::Keeper;
use voxtra_plugins::Guests;
use voxtra_services::recordings::Desk;
use voxtra_session::{Host, HostDialler, Runtimes};
use voxtra_telephony::asterisk::{AsteriskAdapter, ConnectReport};
use voxtra_telephony::media::MediaThreads;

use super::{LogArgs, check, load_config};
use crate::admin::Door;
use crate::config::{self, Config, ConfigError};
use crate::events::LogSink;
use crate::host::batches::BatchDesk;
use crate::host::egress::HandlersHttp;
use crate::host::handlers::{self, Begun};
use crate::host::live::Live;
use crate::host::metrics::Told;
use crate::host::operator::Operator;
use crate::host::pbx::{Exchanges, Pbx};
use crate::host::services::{self, Services};
use crate::host::state_lock::StateLock;
use crate::host::trials::TrialReports;
use crate::host::{self, Plan, follow, hooks, metering, metrics, open_files, pbx};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  voxtra start                                   ./voxtra.yaml where it is there, ./plugins
  voxtra start -c /etc/voxtra/voxtra.yaml
  VOXTRA_ARI_URL=http://pbx:8088 VOXTRA_ARI_USER=voxtra VOXTRA_ARI_PASSWORD=secret \\
      voxtra start --plugins ./plugins           no configuration at all

SIGTERM takes no more calls, lets those that are up finish (drain.limit_ms), and ends the program (code 0); SIGINT ends all
calls first. A second signal ends it at once (code 1).";

/// How long to wait before Asterisk is tried again that was not there.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// How long calls may take to end when the host stops.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// How long webhooks that are under way may take when the host stops; the others wait for its next start.
const WEBHOOKS_GRACE: Duration = Duration::from_secs(5);

/// How long the other PBXs are waited for when the first is there.
const OTHERS_PATIENCE: Duration = Duration::from_secs(3);

/// How often to look whether the events connections stand.
const READY_POLL: Duration = Duration::from_millis(20);

/// One thread moves the audio of hundreds of calls.
const MEDIA_THREADS: usize = 1;

/// Take calls from Asterisk
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct StartArgs {
    /// The configuration; by default ./voxtra.yaml where it is there, else the environment alone
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of handlers, whatever the configuration says
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// The same as -v
    #[arg(long)]
    debug: bool,
}

impl StartArgs {
    fn plugin_dir(&self, config: &Config) -> PathBuf {
        self.plugins.clone().unwrap_or_else(|| config.plugin_dir())
    }
}

pub(super) fn run(args: StartArgs, mut log: LogArgs) -> anyhow::Result<ExitCode> {
    let config = load_config(args.config.as_deref())?;
    log.verbose = log.verbose.max(u8::from(args.debug || config.root.server.debug));
    log.start(LevelFilter::INFO, true);
    pbx::check_choices(&config)?;
    pbx::check_port(&config)?;
    config.check_apart(&args.plugin_dir(&config), &config::process_env)?;
    // Before anything is opened: two hosts must not work on one state, of which the versions of handlers are a part.
    let _lock = StateLock::take(&config.state_dir(&config::process_env))?;
    open_files::raise(config.root.limits.max_calls).iter().for_each(|note| tracing::warn!("{note}"));
    let control = host::control_runtime()?;
    let guests = host::guest_runtime()?;
    let begun = load_handlers(&args, &config, guests.handle(), control.handle())?;
    let runtime = Arc::clone(&begun.runtime);
    let code = control.block_on(serve(&config, begun, guests.guests()));
    runtime.stop_compiling();
    // Whatever a guest still does, it has had its time.
    guests.shutdown_background();
    control.shutdown_background();
    code
}

fn load_handlers(args: &StartArgs, config: &Config, guests: &Handle, network: &Handle) -> anyhow::Result<Begun> {
    let begun = handlers::begin(config, args.plugin_dir(config), &config::process_env, guests, network)?;
    config.unused().iter().for_each(|note| tracing::warn!("{note}"));
    let tenants = handlers::with_tenants(config, &begun.snapshot.directory);
    // What the directory names and does not serve has been told of, or is being compiled.
    let plans = &begun.snapshot.directory.tenants;
    let is_named =
        |tenant: &TenantId, name: &HandlerName| plans.get(tenant).is_some_and(|plan| plan.handlers.contains_key(name));
    check::missing_handlers(&tenants, is_named).iter().for_each(|note| tracing::warn!("{note}"));
    Ok(begun)
}

async fn serve(written: &Config, begun: Begun, guests: Guests) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let config = &handlers::with_tenants(written, &begun.snapshot.directory);
    let parts = Parts::put_together(written, config, begun, guests).await?;
    let (stop, stopped) = watch::channel(false);
    let mut serving = Serving::default();
    let came_up = tokio::select! {
        up = come_up(config, &parts.pbxs, &stopped, &mut serving) => Some(up?),
        _ = signals.stop() => None,
    };
    let stopping = match came_up {
        Some(up) => {
            serving.after.push(tokio::spawn(parts.begin_work()));
            parts.say_ready(config, &up);
            signals.stop().await
        }
        None => Stop::Now,
    };
    let (host, threads, webhooks) = (parts.host.clone(), parts.threads.clone(), parts.services.webhooks.clone());
    let adapters: Vec<_> = parts.pbxs.iter().map(|pbx| (pbx.name.clone(), pbx.adapter.clone())).collect();
    tokio::select! {
        () = parts.wind_down(config, stopping, stop, serving) => {
            let adapters: Vec<_> = adapters.iter().map(|(name, adapter)| (name, adapter.stats())).collect();
            tracing::info!(calls = ?host.stats(), ?adapters, media = ?threads.stats(), webhooks = ?webhooks.stats(), "stopped");
            Ok(ExitCode::SUCCESS)
        }
        _ = signals.stop() => {
            tracing::warn!("stopped at once");
            Ok(ExitCode::from(super::EXIT_FAILED))
        }
    }
}

/// A whole host. Nothing is served before its PBXs come up.
struct Parts {
    host: Arc<Host>,
    services: Services,
    threads: Arc<MediaThreads>,
    pbxs: Vec<Pbx>,
    exchanges: Exchanges,
    /// At first.
    handlers: usize,
    keeper: Keeper,
    door: Door,
    _told: Option<Told>,
}

impl Parts {
    /// `config` is `written` with the tenants' own files. The start hooks have run when it returns.
    async fn put_together(written: &Config, config: &Config, begun: Begun, guests: Guests) -> anyhow::Result<Self> {
        let control = Handle::current();
        let (catalog, runtime) = (begun.snapshot.catalog.clone(), begun.runtime.clone());
        let handlers = catalog.handlers().count();
        let socket = config.admin_socket(&config::process_env)?;
        let services = Services::start(config, &config::process_env, Arc::new(LogSink), &control).await?;
        let http = Arc::new(tokio::task::block_in_place(|| HandlersHttp::new(written, &control))?);
        let reports = Arc::<TrialReports>::default();
        let mut ports = services.ports.clone();
        ports.canary = Some(Arc::<TrialReports>::clone(&reports));
        ports.http = Some(Arc::<HandlersHttp>::clone(&http));
        let host = host::switchboard(Plan::of_config(config, catalog)?, ports, Runtimes { control, guests });
        services.beside_calls.filter_as(&host);
        host.set_dial_policies(services::dial_policies(config)?).map_err(|why| config.error_at(&["dial"], why))?;
        let threads =
            MediaThreads::start(MEDIA_THREADS).context("the audio's thread cannot be started; free memory")?;
        let switchboard: Arc<dyn Switchboard> = host.clone();
        let pbxs = pbx::all(config, &threads, &switchboard)?;
        metrics::Parts::new(&host, Arc::clone(&runtime), &pbxs, &threads, &services, &http).add_to(&services.registry);
        hooks::run("start", &config.root.hooks.start, hook_limit(config)).await?;
        let exchanges = Exchanges::new(config, &pbxs);
        tokio::spawn(follow::follow(written.clone(), Arc::clone(&http), Arc::clone(&services.webhooks)));
        let live = Live {
            host: Arc::clone(&host),
            http,
            tenants: services.tenants.clone(),
            batches: Arc::clone(&services.batches),
            runtime,
            exchanges: exchanges.clone(),
            config: written.clone(),
        };
        let keeper = begun.keep(live, &reports)?;
        let operator = Operator {
            host: Arc::clone(&host),
            keeper: keeper.clone(),
            batches: Arc::clone(&services.batches),
            webhooks: Arc::clone(&services.webhooks),
            exchanges: exchanges.clone(),
        };
        let door = Door::open(&socket, Arc::new(operator))?;
        let told = metrics::listen(config, &services.registry).await;
        Ok(Self { host, services, threads, pbxs, exchanges, handlers, keeper, door, _told: told })
    }

    /// What can only be done when calls can be placed.
    fn begin_work(&self) -> impl Future<Output = ()> + use<> {
        let (desk, batches) = (Arc::clone(&self.services.desk), Arc::clone(&self.services.batches));
        begin_work(Arc::clone(&self.host), desk, batches, self.exchanges.clone())
    }

    fn say_ready(&self, config: &Config, up: &Up) {
        let apps: Vec<String> = config.tenants().into_iter().map(|(_, tenant)| tenant.app_name).collect();
        output::line(format_args!(
            "voxtra: ready, {}, applications {}, handlers {}, media {}",
            up.pbxs.join(" and "),
            apps.join(", "),
            self.handlers,
            up.media.join(" and "),
        ));
    }

    /// Ends the calls, then what they need, then what tells of them.
    async fn wind_down(self, config: &Config, stopping: Stop, stop: watch::Sender<bool>, serving: Serving) {
        let drain = &config.root.drain;
        let drain_limit = match stopping {
            Stop::Drain => Duration::from_millis(drain.limit_ms.into()),
            Stop::Now => Duration::ZERO,
        };
        let calls = self.host.active();
        tracing::info!(calls, limit_ms = drain_limit.as_millis(), "stopping: no more calls are taken");
        self.services.batches.stop();
        if stopping == Stop::Drain {
            let cut = self.host.drain(drain_limit, drain.prompt.clone()).await;
            if cut > 0 {
                tracing::warn!(calls = cut, "calls were cut short at the drain's limit");
            }
        }
        let left = self.host.shutdown(STOP_GRACE).await;
        if left > 0 {
            tracing::error!(calls = left, "calls could not be ended");
        }
        drop(self.door);
        drop(self.keeper);
        stop.send_replace(true);
        serving.end().await;
        self.services.webhooks.stop(WEBHOOKS_GRACE).await;
        metering::flush(&self.services.meters).await;
        if let Err(error) = hooks::run("stop", &config.root.hooks.stop, hook_limit(config)).await {
            tracing::error!("{error:#}");
        }
    }
}

fn hook_limit(config: &Config) -> Duration {
    Duration::from_millis(config.root.hooks.limit_ms.into())
}

/// The tasks that serve the PBXs, and those that follow.
#[derive(Default)]
struct Serving {
    adapters: JoinSet<()>,
    after: Vec<JoinHandle<()>>,
}

impl Serving {
    /// Waits for the adapters, which have been told to stop, and leaves the rest.
    async fn end(mut self) {
        self.after.iter().for_each(JoinHandle::abort);
        while self.adapters.join_next().await.is_some() {}
    }
}

/// Starts to serve every PBX and waits until the first of them is served, and a moment for the others, which come when
/// they can. A password that is wrong, or the like, ends it. Returns what is to be said of those that are there.
async fn come_up(
    config: &Config,
    pbxs: &[Pbx],
    stopped: &watch::Receiver<bool>,
    serving: &mut Serving,
) -> Result<Up, ConfigError> {
    let mut coming = FuturesUnordered::new();
    for pbx in pbxs {
        let (adapter, mut stopped) = (pbx.adapter.clone(), stopped.clone());
        // Nobody is served there before a tenant is added.
        if !pbx.adapter.apps().is_empty() {
            coming.push(async move {
                let report = connect(config, pbx).await?;
                Ok::<_, ConfigError>((pbx, report))
            });
        }
        serving.adapters.spawn(async move {
            let stop = async {
                // Its loss is a stop too.
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            adapter.run(stop).await;
        });
    }
    let mut up = Up::default();
    let mut patience = Duration::MAX;
    while let Ok(Some(report)) = timeout(patience, coming.next()).await {
        let (pbx, report) = report?;
        all_connected(&pbx.adapter).await;
        up.pbxs.push(format!("Asterisk {} at {}", report.version, pbx.base_url));
        up.media.push(report.audiosocket_address.map_or("websocket".to_owned(), |at| format!("audiosocket on {at}")));
        patience = OTHERS_PATIENCE;
    }
    Ok(up)
}

/// What is said of the PBXs that are there, each in its own words.
#[derive(Default)]
struct Up {
    pbxs: Vec<String>,
    media: Vec<String>,
}

/// What can only be done when calls can be placed: recordings that a PBX has still, and batches that are not over.
async fn begin_work(host: Arc<Host>, desk: Arc<Desk>, batches: Arc<BatchDesk>, exchanges: Exchanges) {
    let by_name = exchanges.clone();
    match desk.recover(move |pbx| by_name.of_pbx(pbx)).await {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "recordings of an earlier run are being finished"),
        Err(error) => tracing::error!(%error, "recordings of an earlier run"),
    }
    let dialler = HostDialler::new(host, Arc::new(move |tenant| exchanges.of_tenant(tenant)));
    match batches.begin(Arc::new(dialler)).await {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "batches of an earlier run go on"),
        Err(error) => tracing::error!(%error, "batches of an earlier run"),
    }
}

/// Waits for Asterisk as long as it takes. What waiting does not mend ends the program with a sentence.
async fn connect(config: &Config, pbx: &Pbx) -> Result<ConnectReport, ConfigError> {
    let mut said = String::new();
    loop {
        match pbx.adapter.connect().await {
            Ok(report) => return Ok(report),
            Err(error) if pbx::may_pass(&error) => {
                let sentence = error.to_string();
                if sentence != said {
                    tracing::warn!("{sentence}; trying again until it works");
                    said = sentence;
                }
            }
            Err(error) => return Err(pbx::in_config(config, &pbx.name, &error)),
        }
        sleep(RETRY_EVERY).await;
    }
}

async fn all_connected(adapter: &AsteriskAdapter) {
    let connected = || {
        let connected = adapter.stats().connected_apps;
        adapter.apps().iter().all(|app| connected.contains(app))
    };
    while !connected() {
        sleep(READY_POLL).await;
    }
}

/// How the host is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// SIGTERM: calls may finish.
    Drain,
    /// SIGINT: somebody waits at the keyboard.
    Now,
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be received");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn stop(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Drain,
            _ = self.interrupt.recv() => Stop::Now,
        }
    }
}
