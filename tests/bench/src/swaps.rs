//! How soon a new version takes calls: from the last byte of its file to the first call that gets it, through the watch on
//! the directory, the wait for the file to settle, the compiler's child and the exchange.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::runtime::Builder;
use tokio::time::sleep;
use voxtra_core::{Event, EventSink, EventType, Switchboard};
use voxtra_loader::{Keeper, Loader, LoaderOptions, News, Serving, Snapshot};
use voxtra_plugins::{Aside, CompileLimits, GuestThreads, Runtime, RuntimeOptions};
use voxtra_session::{BreakerOptions, Host, HostOptions, Router, Runtimes};
use voxtra_test_support::files::TempDir;

use crate::host_side::{Desk, StandIn, new_leg};
use crate::many::numbered;
use crate::stats::percentile;

const SWAPS: usize = 40;
const APP: &str = "swaps";

/// Between two calls that ask which version there is.
const CALL_EVERY: Duration = Duration::from_millis(2);

/// Between two swaps.
const BETWEEN: Duration = Duration::from_millis(100);

const LONG: Duration = Duration::from_secs(30);

/// In milliseconds.
#[derive(Debug)]
pub(crate) struct Swaps {
    pub(crate) ms_p50: u64,
    pub(crate) ms_p99: u64,
}

/// After that may the first call of 1 in 100 versions come.
const MOST_MS: u64 = 1_000;

impl Swaps {
    /// What is not as claimed.
    pub(crate) fn fault(&self) -> Option<String> {
        let p99 = self.ms_p99;
        (p99 > MOST_MS).then(|| format!("1 in 100 versions takes calls {p99} ms after its last byte, not {MOST_MS}"))
    }
}

pub(crate) fn measure(guest: &Path) -> Result<Swaps> {
    let wasm = crate::read_guest(guest)?;
    let folder = TempDir::new("swaps")?;
    let plugins = folder.path().join("plugins");
    std::fs::create_dir(&plugins)?;
    std::fs::write(plugins.join("default.wasm"), &wasm)?;
    let guests = GuestThreads::default().start()?;
    let control = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // This program compiles for itself, as the product's does.
    let compiler = Aside { program: std::env::current_exe()?, args: Vec::new(), limits: CompileLimits::default() };
    let cache_dir = Some(folder.path().join("cache"));
    let runtime = Runtime::new(RuntimeOptions { compiler: Some(compiler), cache_dir, ..RuntimeOptions::default() })?;
    let options = LoaderOptions::new(&plugins, folder.path().join("versions"));
    let mut loader = Loader::open(runtime, guests.handle().clone(), options)?;
    loader.begin(&mut Served(None))?;
    let seen: Arc<Seen> = Arc::default();
    let runtimes = Runtimes { control: control.handle().clone(), guests: guests.guests() };
    let handlers = Arc::new(loader.snapshot().catalog);
    // The stand-in plays nothing, so that its calls fail: they only ask which version they get.
    let breaker = BreakerOptions { failures: 0, ..BreakerOptions::default() };
    let options = HostOptions { breaker, ..HostOptions::default() };
    let host = Host::new(options, handlers, Router::single(APP), Arc::clone(&seen), runtimes);
    let _keeper = Keeper::start(loader, Box::new(Served(Some(Arc::clone(&host)))), Default::default())?;
    let desk = control.block_on(Desk::open())?;
    let mut took_ms = Vec::new();
    let mut calls = 0;
    while seen.version().is_empty() {
        control.block_on(call(&host, &desk, &mut calls));
    }
    for n in 1..=SWAPS {
        // The calls of the last one are told by now.
        std::thread::sleep(BETWEEN);
        let before = seen.version();
        std::fs::write(plugins.join("default.wasm"), numbered(&wasm, n))?;
        let written = Instant::now();
        control.block_on(async {
            while seen.version() == before {
                ensure!(written.elapsed() < LONG, "version {n} takes no calls");
                call(&host, &desk, &mut calls).await;
            }
            Ok(())
        })?;
        took_ms.push(u64::try_from(written.elapsed().as_millis())?);
    }
    Ok(Swaps { ms_p50: percentile(&mut took_ms, 0.5), ms_p99: percentile(&mut took_ms, 0.99) })
}

async fn call(host: &Host, desk: &Desk, calls: &mut usize) {
    *calls += 1;
    let leg = StandIn::alone(*calls, desk);
    // A host that is full takes the next one.
    if let Ok(line) = host.incoming(new_leg(&leg, format!("swap-{calls}"), APP, "1")) {
        leg.report_to(&line);
    }
    sleep(CALL_EVERY).await;
}

/// Hands on what takes calls, once there is a host.
struct Served(Option<Arc<Host>>);

impl Serving for Served {
    fn serve(&mut self, snapshot: Snapshot) {
        if let Some(host) = &self.0 {
            host.set_handlers(Arc::new(snapshot.catalog));
        }
    }

    fn news(&mut self, _news: News) {}
}

/// The version of the latest call.
#[derive(Default)]
struct Seen(Mutex<String>);

impl Seen {
    fn version(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl EventSink for Seen {
    fn emit(&self, event: Event) {
        if event.kind == EventType::SessionCreated {
            let version = event.data.get("version").and_then(|version| version.as_str()).unwrap_or_default();
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = version.to_owned();
        }
    }
}
