//! `voxtra check`: whether the host would work, found out without taking a call.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use serde_json::json;
use tracing::level_filters::LevelFilter;
use voxtra_core::telephony::{LegEvents, NewLeg, Refusal, Switchboard};
use voxtra_core::{HandlerName, HangupCause, TenantId};
use voxtra_telephony::asterisk::{ConnectReport, MediaTransport};
use voxtra_telephony::media::MediaThreads;

use super::{EXIT_BAD_INPUT, LogArgs, load_config};
use crate::config::{self, Config};
use crate::host::pbx::Pbx;
use crate::host::{self, egress, handlers, pbx, services, tenants};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  voxtra check                          ./voxtra.yaml, its handlers, and Asterisk
  voxtra check -c pbx2.yaml --offline   without Asterisk
  voxtra check --json                   {\"ok\": true, \"findings\": [...]}";

/// Check the configuration, the handlers and the connection to Asterisk
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckArgs {
    /// The configuration; by default ./voxtra.yaml where it is there
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of handlers, whatever the configuration says
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Leave Asterisk out
    #[arg(long)]
    offline: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: CheckArgs, log: LogArgs) -> anyhow::Result<ExitCode> {
    log.start(LevelFilter::WARN, true);
    let mut findings = Findings::default();
    match load_config(args.config.as_deref()) {
        Err(error) => findings.bad("configuration", error),
        Ok(config) => check_all(&args, &config, &mut findings)?,
    }
    findings.print(args.json);
    Ok(if findings.all_good() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_BAD_INPUT) })
}

fn check_all(args: &CheckArgs, config: &Config, findings: &mut Findings) -> anyhow::Result<()> {
    let plugins = args.plugins.clone().unwrap_or_else(|| config.plugin_dir());
    check_configuration(config, &plugins, findings);
    check_handlers(args, config, plugins, findings)?;
    if args.offline {
        findings.note("connection", "not looked at (--offline)");
        return Ok(());
    }
    check_connection(config, findings)
}

fn check_configuration(config: &Config, plugins: &Path, findings: &mut Findings) {
    let checked = pbx::check_choices(config)
        .and_then(|()| pbx::check_port(config))
        .and_then(|()| services::targets(config).map(drop))
        .and_then(|()| services::dial_policies(config).map(drop))
        .and_then(|()| services::check_sinks(config))
        .and_then(|()| egress::check(config))
        .and_then(|()| config.check_apart(plugins, &config::process_env));
    match (&config.file, checked) {
        (_, Err(error)) => findings.bad("configuration", error),
        (Some(file), Ok(())) => findings.good("configuration", format!("{} is right", file.display())),
        (None, Ok(())) => findings.good("configuration", "no voxtra.yaml here: defaults and environment"),
    }
    config.unused().into_iter().for_each(|note| findings.note("configuration", note));
}

fn check_handlers(args: &CheckArgs, config: &Config, dir: PathBuf, findings: &mut Findings) -> anyhow::Result<()> {
    let is_named = args.plugins.is_some() || !config.root.plugins.dir.is_empty();
    if args.offline && !is_named && !dir.exists() {
        // A file of 0.3.1 knows no such folder, and the file is what is looked at.
        findings.note(
            "handlers",
            format!("there is no folder {} yet; put the handlers into it before `voxtra start`", dir.display()),
        );
        return Ok(());
    }
    match handlers::once(config, dir, &config::process_env) {
        Err(error) => findings.bad("handlers", format!("{error:#}")),
        Ok((snapshot, faults)) => {
            snapshot.catalog.handlers().for_each(|handler| findings.good("handlers", host::describe(handler)));
            faults.iter().for_each(|fault| findings.bad("handlers", fault));
            let tenants = handlers::with_tenants(config, &snapshot.directory);
            let notes = tenants::notes(&snapshot.directory).into_iter();
            let notes = notes.chain(egress::notes(config, &snapshot.directory)).chain(services::sink_notes(&tenants));
            notes.for_each(|note| findings.note("handlers", note));
            let missing = missing_handlers(&tenants, |tenant, name| snapshot.catalog.get(tenant, name).is_some());
            missing.into_iter().for_each(|note| findings.note("handlers", note));
        }
    }
    Ok(())
}

/// Routes that lead nowhere, and tenants without a handler for the rest of their calls.
pub(super) fn missing_handlers(config: &Config, is_there: impl Fn(&TenantId, &HandlerName) -> bool) -> Vec<String> {
    let mut notes = Vec::new();
    for (name, tenant) in config.tenants() {
        let has = |handler: &str| is_there(&TenantId::new(name.as_str()), &HandlerName::new(handler));
        for route in &tenant.routes {
            let handler = host::handler_of(route);
            if !has(handler) {
                notes.push(format!("the tenant `{name}` has a route to `{handler}`, but no {handler}.wasm; add it, or calls on that route fail"));
            }
        }
        if !has(host::DEFAULT_HANDLER) {
            notes.push(format!("the tenant `{name}` has no default.wasm: calls that no route takes are refused"));
        }
    }
    notes
}

fn check_connection(config: &Config, findings: &mut Findings) -> anyhow::Result<()> {
    let control = host::control_runtime()?;
    let threads = MediaThreads::start(1).context("no thread can be started; free memory")?;
    let nobody: Arc<dyn Switchboard> = Arc::new(NobodyHome);
    let pbxs = match pbx::all(config, &threads, &nobody) {
        Ok(pbxs) => pbxs,
        // Said already.
        Err(_) if pbx::check_choices(config).is_err() => return Ok(()),
        Err(error) => {
            findings.bad("connection", error);
            return Ok(());
        }
    };
    for pbx in &pbxs {
        match control.block_on(pbx.adapter.connect()) {
            Err(error) => findings.bad("connection", pbx::in_config(config, &pbx.name, &error)),
            Ok(report) => tell_of(pbx, report, findings),
        }
    }
    Ok(())
}

fn tell_of(pbx: &Pbx, report: ConnectReport, findings: &mut Findings) {
    findings.good("connection", format!("Asterisk {} at {} takes the password", report.version, pbx.base_url));
    let offers = [("audiosocket", report.audiosocket), ("websocket", report.websocket)];
    let offers: Vec<_> = offers.into_iter().filter_map(|(name, has)| has.then_some(name)).collect();
    let chosen = match report.media_transport {
        MediaTransport::WebSocket => "websocket".to_owned(),
        _ => format!("audiosocket, on {}", report.audiosocket_address.unwrap_or_default()),
    };
    findings.good("media", format!("Asterisk offers {}; calls will use {chosen}", offers.join(" and ")));
    for app in report.apps.iter().filter(|app| app.known_to_pbx) {
        let note =
            format!("the application `{}` is served by a program now; it would lose its calls to this host", app.name);
        findings.note("connection", note);
    }
}

/// A check takes no calls.
struct NobodyHome;

impl Switchboard for NobodyHome {
    fn incoming(&self, _: NewLeg) -> Result<Arc<dyn LegEvents>, Refusal> {
        Err(Refusal { reason: "this host only checks its configuration".to_owned(), cause: HangupCause::Congestion })
    }
}

/// What was found, in order.
#[derive(Debug, Default)]
struct Findings(Vec<(Verdict, &'static str, String)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    Note,
    Bad,
}

impl Findings {
    fn good(&mut self, about: &'static str, text: impl ToString) {
        self.0.push((Verdict::Good, about, text.to_string()));
    }

    fn note(&mut self, about: &'static str, text: impl ToString) {
        self.0.push((Verdict::Note, about, text.to_string()));
    }

    fn bad(&mut self, about: &'static str, text: impl ToString) {
        self.0.push((Verdict::Bad, about, text.to_string()));
    }

    fn all_good(&self) -> bool {
        self.0.iter().all(|(verdict, ..)| *verdict != Verdict::Bad)
    }

    fn print(&self, as_json: bool) {
        if as_json {
            let findings = self
                .0
                .iter()
                .map(|(verdict, about, text)| json!({"verdict": verdict.name(), "about": about, "text": text}));
            output::json(&json!({"ok": self.all_good(), "findings": findings.collect::<Vec<_>>()}));
            return;
        }
        for (verdict, about, text) in &self.0 {
            output::line(format_args!("{:<5} {about:<14} {text}", verdict.name()));
        }
    }
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Note => "note",
            Self::Bad => "bad",
        }
    }
}
