//! Very many handlers: how soon a host has them from its cache, what they keep while nothing happens, and calls over all of
//! them on a clock that does not wait.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::runtime::Builder;
use voxtra_core::TenantId;
use voxtra_loader::{Loader, LoaderOptions, News, Serving, Snapshot};
use voxtra_plugins::{GuestThreads, Runtime, RuntimeOptions};
use voxtra_session::{Host, HostOptions, Route, Router, Runtimes, TenantRoutes};
use voxtra_telephony::simulator::{CallerOptions, EndedBy, Simulator, SimulatorOptions};
use voxtra_test_support::files::TempDir;

use crate::host_side::Nowhere;
use crate::stats::{percentile, resident_bytes};

pub(crate) const TENANTS: usize = 100;
pub(crate) const HANDLERS: usize = 10;

/// Calls over each of them.
const CALLS: usize = 10;

/// Calls that are up at one time.
const AT_ONCE: usize = 500;

/// How often the host is started from its cache.
const STARTS: usize = 5;

/// A host that has nothing to do for so long is idle.
const IDLE_AFTER: Duration = Duration::from_secs(1);

/// What was measured.
#[derive(Debug)]
pub(crate) struct Many {
    pub(crate) handlers: usize,
    /// From nothing to all of them taking calls, engine included; the median of the starts.
    pub(crate) start_ms: u64,
    pub(crate) slowest_start_ms: u64,
    /// Resident, after the start.
    pub(crate) idle_bytes: u64,
    /// Of that, what the host keeps without any handler.
    pub(crate) empty_bytes: u64,
    pub(crate) calls: u64,
    /// What all of them took in real time.
    pub(crate) calls_ms: u64,
    /// How long they lasted for their callers, added up.
    pub(crate) talked_s: u64,
}

/// So many handlers, each a version of its own of this guest, in so many tenants.
pub(crate) fn measure(guest: &Path, tenants: usize, handlers: usize) -> Result<Many> {
    let wasm = crate::read_guest(guest)?;
    let root = TempDir::new("many")?;
    let empty = root.path().join("empty");
    fs::create_dir_all(empty.join("plugins"))?;
    for tenant in 0..tenants {
        let folder = root.path().join("plugins").join(tenant_name(tenant));
        fs::create_dir_all(&folder)?;
        for handler in 0..handlers {
            let number = tenant * handlers + handler;
            fs::write(folder.join(handler_name(handler)).with_extension("wasm"), numbered(&wasm, number))?;
        }
    }
    let wanted = tenants * handlers;
    // The first start compiles.
    child(root.path(), "start", wanted)?;
    let mut starts = Vec::new();
    let mut idle_bytes = 0;
    for _ in 0..STARTS {
        let said = child(root.path(), "start", wanted)?;
        starts.push(said[0]);
        idle_bytes = said[1];
    }
    let empty_bytes = child(&empty, "start", 0)?[1];
    let called = child(root.path(), "call", wanted)?;
    Ok(Many {
        handlers: wanted,
        start_ms: percentile(&mut starts, 0.5),
        slowest_start_ms: percentile(&mut starts, 1.0),
        idle_bytes,
        empty_bytes,
        calls: called[0],
        calls_ms: called[1],
        talked_s: called[2],
    })
}

/// A component with one more custom section, which nobody reads: another version of it.
pub(crate) fn numbered(wasm: &[u8], number: usize) -> Vec<u8> {
    let text = format!("\x06number{number:08}");
    // Id 0, and a size below 128.
    let header = [0, u8::try_from(text.len()).unwrap_or(u8::MAX)];
    [wasm, &header, text.as_bytes()].concat()
}

fn tenant_name(n: usize) -> String {
    format!("tenant-{n:03}")
}

fn handler_name(n: usize) -> String {
    format!("handler-{n}")
}

/// A process of its own, for what it keeps. Returns the numbers that it says.
fn child(root: &Path, what: &str, wanted: usize) -> Result<Vec<u64>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("serve-many").arg(root).args([what, &wanted.to_string()]).stderr(Stdio::inherit());
    let output = command.output()?;
    ensure!(output.status.success(), "the host with {wanted} handlers ended with {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<u64> = text.split_whitespace().map_while(|word| word.parse().ok()).collect();
    ensure!(numbers.len() >= 2, "the host with {wanted} handlers says {text:?}");
    Ok(numbers)
}

/// The child: loads what is in `ROOT/plugins`, says how long that took and what it keeps, or what became of its calls.
pub(crate) fn serve(mut args: impl Iterator<Item = String>) -> Result<()> {
    let root = PathBuf::from(args.next().context("no folder")?);
    let (what, wanted) = (args.next().unwrap_or_default(), args.next().unwrap_or_default());
    let wanted: usize = wanted.parse()?;
    let began = Instant::now();
    let guests = GuestThreads::default().start()?;
    let options = RuntimeOptions { cache_dir: Some(root.join("cache")), ..RuntimeOptions::default() };
    let runtime = Runtime::new(options)?;
    let mut options = LoaderOptions::new(root.join("plugins"), root.join("versions"));
    // The first start compiles all of them.
    options.start_limit = None;
    let mut loader = Loader::open(runtime, guests.handle().clone(), options)?;
    let mut first = First::default();
    loader.begin(&mut first)?;
    let start_ms = began.elapsed().as_millis();
    let snapshot = first.snapshot.context("nothing is served")?;
    let loaded = snapshot.catalog.handlers().count();
    ensure!(loaded == wanted && first.faults.is_empty(), "{loaded} of {wanted} are loaded: {:?}", first.faults);
    match what.as_str() {
        "start" => {
            std::thread::sleep(IDLE_AFTER);
            println!("{start_ms} {}", resident_bytes(std::process::id())?);
        }
        "call" => {
            let tokio = Builder::new_current_thread().enable_all().start_paused(true).build()?;
            let began = Instant::now();
            let (calls, talked) = tokio.block_on(call_all(snapshot))?;
            println!("{calls} {} {}", began.elapsed().as_millis(), talked.as_secs());
        }
        other => bail!("{other:?} is nothing to do"),
    }
    Ok(())
}

#[derive(Default)]
struct First {
    snapshot: Option<Snapshot>,
    faults: Vec<String>,
}

impl Serving for First {
    fn serve(&mut self, snapshot: Snapshot) {
        self.snapshot = Some(snapshot);
    }

    fn news(&mut self, news: News) {
        if !matches!(news, News::Swapped { .. }) {
            self.faults.push(format!("{news:?}"));
        }
    }
}

/// Ten calls over each handler, in turn. Each has to be answered, to hear the prompt and to be hung up.
async fn call_all(snapshot: Snapshot) -> Result<(u64, Duration)> {
    let mut tenants: BTreeMap<TenantId, Vec<String>> = BTreeMap::new();
    for handler in snapshot.catalog.handlers() {
        tenants.entry(handler.tenant().clone()).or_default().push(handler.name().to_string());
    }
    let routes = tenants.iter().map(|(tenant, handlers)| TenantRoutes {
        tenant: tenant.clone(),
        app: tenant.to_string(),
        routes: handlers
            .iter()
            .map(|name| Route { extension: name.clone(), handler: name.clone(), ..Route::default() })
            .collect(),
        ..TenantRoutes::default()
    });
    let router = Router::new(routes)?;
    let runtimes = Runtimes::single(tokio::runtime::Handle::current());
    let host = Host::new(HostOptions::default(), Arc::new(snapshot.catalog), router, Arc::new(Nowhere), runtimes);
    let simulator = Simulator::new(SimulatorOptions::default(), Arc::clone(&host) as _)?;
    let all: Vec<(String, String)> = (0..CALLS)
        .flat_map(|_| tenants.iter())
        .flat_map(|(tenant, names)| names.iter().map(move |name| (tenant.to_string(), name.clone())))
        .collect();
    let (mut calls, mut talked) = (0, Duration::ZERO);
    for some in all.chunks(AT_ONCE) {
        let caller = |(app, called_number): &(String, String)| {
            let options =
                CallerOptions { app: app.clone(), called_number: called_number.clone(), ..Default::default() };
            simulator.place_call(options)
        };
        let placed: Vec<_> = some.iter().map(caller).collect();
        for call in placed {
            let report = call.await?;
            ensure!(
                matches!(report.ended_by, EndedBy::Host(_))
                    && report.answered_at.is_some()
                    && !report.prompts.is_empty(),
                "a call of {} ended by {:?}, {} prompts heard",
                report.called_number,
                report.ended_by,
                report.prompts.len()
            );
            calls += 1;
            talked += report.duration;
        }
    }
    host.idle().await;
    let stats = host.stats();
    ensure!(stats.handler_failures == 0, "{} handlers have failed", stats.handler_failures);
    Ok((calls, talked))
}
