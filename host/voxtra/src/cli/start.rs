//! `voxtra start`: takes calls from Asterisk until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;
use tracing::level_filters::LevelFilter;
use voxtra_plugins::Catalog;
use voxtra_session::Runtimes;
use voxtra_telephony::asterisk::{AsteriskAdapter, ConnectReport};
use voxtra_telephony::media::MediaThreads;

use super::{LogArgs, check, load_config};
use crate::config::{self, Config, ConfigError};
use crate::events::LogSink;
use crate::host::{self, Plan, pbx};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  voxtra start                                   ./voxtra.yaml where it is there, ./plugins
  voxtra start -c /etc/voxtra/voxtra.yaml
  VOXTRA_ARI_URL=http://pbx:8088 VOXTRA_ARI_USER=voxtra VOXTRA_ARI_PASSWORD=secret \\
      voxtra start --plugins ./plugins           no configuration at all

SIGTERM or SIGINT ends all calls and then the program (code 0); a second one ends it at once (code 1).";

/// How long to wait before Asterisk is tried again that was not there.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// How long calls may take to end when the host stops.
const STOP_GRACE: Duration = Duration::from_secs(10);

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

pub(super) fn run(args: StartArgs, mut log: LogArgs) -> anyhow::Result<ExitCode> {
    let config = load_config(args.config.as_deref())?;
    log.verbose = log.verbose.max(u8::from(args.debug || config.root.server.debug));
    log.start(LevelFilter::INFO, true);
    pbx::check_choices(&config)?;
    pbx::check_port(&config)?;
    let catalog = load_handlers(&args, &config)?;
    let control = host::control_runtime()?;
    let guests = host::guest_runtime()?;
    let code = control.block_on(serve(&config, catalog, guests.handle().clone()));
    // Whatever a guest still does, it has had its time.
    guests.shutdown_background();
    control.shutdown_background();
    code
}

fn load_handlers(args: &StartArgs, config: &Config) -> anyhow::Result<Catalog> {
    let dir = args.plugins.clone().unwrap_or_else(|| config.plugin_dir());
    let runtime = host::wasm_runtime(config, &config::process_env)?;
    let (catalog, errors) = Catalog::load_dir(&runtime, &dir)?;
    catalog.handlers().for_each(|handler| tracing::info!("loaded {}", host::describe(handler)));
    errors.iter().for_each(|error| tracing::warn!("not loaded: {error}"));
    config.unused().iter().for_each(|note| tracing::warn!("{note}"));
    check::missing_handlers(config, &catalog).iter().for_each(|note| tracing::warn!("{note}"));
    Ok(catalog)
}

async fn serve(config: &Config, catalog: Catalog, guests: Handle) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let handlers = catalog.handlers().count();
    let runtimes = Runtimes { control: Handle::current(), guests };
    let host = host::switchboard(Plan::of_config(config, catalog)?, Arc::new(LogSink), runtimes);
    let threads = MediaThreads::start(MEDIA_THREADS).context("the audio's thread cannot be started; free memory")?;
    let adapter = pbx::adapter(config, Arc::clone(&threads), host.clone())?;
    let report = tokio::select! {
        report = connect(config, &adapter) => report?,
        () = signals.stop() => return Ok(ExitCode::SUCCESS),
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn({
        let adapter = adapter.clone();
        async move {
            adapter.run(async { drop(stopped.await) }).await;
        }
    });
    let apps: Vec<String> = config.tenants().into_iter().map(|(_, tenant)| tenant.app_name).collect();
    tokio::select! {
        () = all_connected(&adapter, apps.len()) => {
            let media = report.audiosocket_address.map_or("websocket".to_owned(), |at| format!("audiosocket on {at}"));
            output::line(format_args!(
                "voxtra: ready, Asterisk {} at {}, applications {}, handlers {handlers}, media {media}",
                report.version, config.asterisk.base_url, apps.join(", "),
            ));
            signals.stop().await;
        }
        () = signals.stop() => {}
    }
    tracing::info!(calls = host.active(), "stopping");
    let wind_down = async {
        let left = host.shutdown(STOP_GRACE).await;
        if left > 0 {
            tracing::error!(calls = left, "calls could not be ended");
        }
        drop(stop);
        drop(running.await);
    };
    tokio::select! {
        () = wind_down => {
            tracing::info!(calls = ?host.stats(), adapter = ?adapter.stats(), media = ?threads.stats(), "stopped");
            Ok(ExitCode::SUCCESS)
        }
        () = signals.stop() => {
            tracing::warn!("stopped at once");
            Ok(ExitCode::from(super::EXIT_FAILED))
        }
    }
}

/// Waits for Asterisk as long as it takes. What waiting does not mend ends the program with a sentence.
async fn connect(config: &Config, adapter: &AsteriskAdapter) -> Result<ConnectReport, ConfigError> {
    let mut said = String::new();
    loop {
        match adapter.connect().await {
            Ok(report) => return Ok(report),
            Err(error) if pbx::may_pass(&error) => {
                let sentence = error.to_string();
                if sentence != said {
                    tracing::warn!("{sentence}; trying again until it works");
                    said = sentence;
                }
            }
            Err(error) => return Err(pbx::in_config(config, &error)),
        }
        sleep(RETRY_EVERY).await;
    }
}

async fn all_connected(adapter: &AsteriskAdapter, apps: usize) {
    while adapter.stats().connected_apps.len() < apps {
        sleep(READY_POLL).await;
    }
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

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
