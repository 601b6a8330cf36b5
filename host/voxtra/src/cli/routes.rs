//! `voxtra routes`: who would take a call, and why.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tracing::level_filters::LevelFilter;
use voxtra_core::store::FakeStore;
use voxtra_core::{CallId, CallInfo, Direction, TenantId};
use voxtra_plugins::Catalog;
use voxtra_plugins::rule::Decision;
use voxtra_services::database::Database;
use voxtra_services::store::{Quota, SqliteStore};
use voxtra_session::{Host, HostOptions, HostPorts, Router, Runtimes};

use super::{EXIT_FAILED, LogArgs, load_config};
use crate::config::{self, Config};
use crate::events::LogSink;
use crate::host::{self, Plan, handlers};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  voxtra routes                                      all routes, in their order
  voxtra routes --test --to 1000 --from +265888111   who takes that call, and why nobody else
  voxtra routes --test --to 1000 --tenant acme --json";

/// Show the routes, or explain where a call would go
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RoutesArgs {
    /// Explain one call
    #[arg(long, requires = "to")]
    test: bool,
    /// The number that is dialled
    #[arg(long, value_name = "NUMBER")]
    to: Option<String>,
    /// The caller's number; empty: withheld
    #[arg(long, value_name = "NUMBER", default_value = "")]
    from: String,
    /// Whose call it is
    #[arg(long, value_name = "NAME", default_value = TenantId::DEFAULT_NAME)]
    tenant: String,
    /// The configuration; by default ./voxtra.yaml where it is there
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of handlers, whatever the configuration says
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl RoutesArgs {
    fn plugin_dir(&self, config: &Config) -> PathBuf {
        self.plugins.clone().unwrap_or_else(|| config.plugin_dir())
    }
}

pub(super) fn run(args: RoutesArgs, log: LogArgs) -> anyhow::Result<ExitCode> {
    log.start(LevelFilter::WARN, true);
    let config = load_config(args.config.as_deref())?;
    match &args.to {
        Some(to) => explain(&args, &config, to),
        None => {
            let (directory, faults) = handlers::read(&config, args.plugin_dir(&config), &config::process_env)?;
            faults.iter().for_each(|fault| output::complaint(format_args!("not read: {fault}")));
            list(&args, &handlers::with_tenants(&config, &directory));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn list(args: &RoutesArgs, config: &Config) {
    let mut rows = Vec::new();
    for (tenant, section) in config.tenants() {
        for route in &section.routes {
            let or_any = |text: &str| if text.is_empty() { "any".to_owned() } else { text.to_owned() };
            rows.push(vec![
                tenant.clone(),
                or_any(&route.extension),
                or_any(&route.number),
                host::handler_of(route).to_owned(),
                route.name.clone(),
            ]);
        }
        let any = || "any".to_owned();
        rows.push(vec![tenant, any(), any(), host::DEFAULT_HANDLER.to_owned(), "(the rest)".to_owned()]);
    }
    let columns = ["tenant", "to", "from", "handler", "name"];
    if args.json {
        let object = |row: &Vec<String>| -> Value {
            Value::Object(columns.iter().zip(row).map(|(&column, cell)| (column.to_owned(), json!(cell))).collect())
        };
        output::json(&rows.iter().map(object).collect());
    } else {
        output::table(&columns, rows);
    }
}

fn explain(args: &RoutesArgs, config: &Config, to: &str) -> anyhow::Result<ExitCode> {
    let tenant = TenantId::new(args.tenant.as_str());
    let (snapshot, faults) = handlers::once(config, args.plugin_dir(config), &config::process_env)?;
    faults.iter().for_each(|fault| output::complaint(format_args!("not loaded: {fault}")));
    let config = &handlers::with_tenants(config, &snapshot.directory);
    let sections = config.tenants();
    let section = sections.iter().find(|(name, _)| *name == args.tenant);
    let app =
        &section.with_context(|| format!("there is no tenant `{}`; look at `voxtra routes`", args.tenant))?.1.app_name;
    let catalog = snapshot.catalog;
    let call = CallInfo {
        id: CallId::from("test"),
        tenant: tenant.clone(),
        caller_id: args.from.clone(),
        called_number: to.to_owned(),
        direction: Direction::Inbound,
        route: String::new(),
    };
    let database = config.database(&config::process_env);
    let asked = super::on_the_spot(ask_each(&catalog, &call, &database))?;
    let plan = Plan::of_config(config, catalog.clone())?;
    let told = Told::new(&asked, &plan.router, app, &call)?;
    let present = catalog.get(&tenant, &told.handler.as_str().into()).is_some();
    told.print(args.json, present);
    Ok(if present { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

/// What is said about one call.
struct Told {
    /// Name, what it was, why not.
    looked_at: Vec<(String, String, String)>,
    handler: String,
    route: String,
    metadata: Vec<(String, String)>,
}

impl Told {
    fn new(asked: &[Asked], router: &Router, app: &str, call: &CallInfo) -> anyhow::Result<Self> {
        let mut looked_at: Vec<_> = asked
            .iter()
            .map(|rule| (rule.name.clone(), "rule".to_owned(), rule.answer.clone().unwrap_or_else(|why| why)))
            .collect();
        if let Some(decision) = asked.iter().find_map(|rule| rule.decision.clone()) {
            let route = looked_at.last().map(|(name, ..)| name.clone()).unwrap_or_default();
            let (handler, metadata) = (decision.handler.to_string(), decision.metadata);
            return Ok(Self { looked_at, handler, route, metadata });
        }
        let explanation = router.explain(app, &call.caller_id, &call.called_number)?;
        for tried in explanation.tried {
            let why = tried.misfit.unwrap_or_else(|| "it fits".to_owned());
            looked_at.push((tried.route, "route".to_owned(), why));
        }
        let routed = explanation.routed;
        Ok(Self { looked_at, handler: routed.handler.to_string(), route: routed.route, metadata: routed.metadata })
    }

    fn print(&self, as_json: bool, present: bool) {
        if as_json {
            let looked_at: Vec<Value> = self
                .looked_at
                .iter()
                .map(|(name, kind, why)| json!({"name": name, "kind": kind, "why": why}))
                .collect();
            let metadata: Value =
                self.metadata.iter().map(|(k, v)| (k.clone(), json!(v))).collect::<serde_json::Map<_, _>>().into();
            output::json(&json!({
                "handler": self.handler, "present": present, "route": self.route,
                "metadata": metadata, "looked_at": looked_at,
            }));
            return;
        }
        for (name, kind, why) in &self.looked_at {
            output::line(format_args!("{kind:<6} {name:<20} {why}"));
        }
        output::line(format_args!("handler {} (by {})", self.handler, self.route));
        for (key, value) in &self.metadata {
            output::line(format_args!("  {key} = {value}"));
        }
        if !present {
            output::line(format_args!(
                "there is no {}.wasm: the call would be refused; add it to the tenant's folder",
                self.handler
            ));
        }
    }
}

/// What one router said of a call.
struct Asked {
    name: String,
    /// In words; an error is why it gave no answer.
    answer: Result<String, String>,
    decision: Option<Decision>,
}

/// Asks a tenant's routers in their order until one decides.
async fn ask_each(catalog: &Catalog, call: &CallInfo, database: &Path) -> anyhow::Result<Vec<Asked>> {
    if catalog.routers(&call.tenant).is_empty() {
        return Ok(Vec::new());
    }
    // No call ever comes to it: it only gives the routers their tenant.
    let mut ports = HostPorts::new(Arc::new(LogSink));
    ports.store = Some(match database.exists() {
        true => Arc::new(SqliteStore::new(Database::open(database)?, Quota::default()).await?),
        false => Arc::new(FakeStore::new()),
    });
    let (router, runtimes) = (Router::new([])?, Runtimes::single(Handle::current()));
    let host = Host::new(HostOptions::default(), Arc::new(Catalog::default()), router, ports, runtimes);
    let mut asked = Vec::new();
    for router in catalog.routers(&call.tenant) {
        let answer = router.route(host.tenant(&call.tenant), call).await;
        let decision = answer.as_ref().ok().cloned().flatten();
        asked.push(Asked {
            name: router.name().to_string(),
            answer: match &answer {
                Ok(Some(decision)) => Ok(format!("it chooses {}", decision.handler)),
                Ok(None) => Ok("it leaves the call to others".to_owned()),
                Err(why) => Err(format!("skipped: {why}")),
            },
            decision: decision.clone(),
        });
        if decision.is_some() {
            break;
        }
    }
    Ok(asked)
}
