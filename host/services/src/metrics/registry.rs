//! Everything that is told, and who is asked for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout_at};
use voxtra_core::{BoxFuture, CallRecord, MeterSink};

use super::calls::CallCounters;
use super::samples::{Kind, Samples};

/// How long all sources together may take; what is later is left out. Prometheus gives up after 10 s by default.
const SOURCES_LIMIT: Duration = Duration::from_secs(3);

/// Something that knows numbers when it is asked: a part of the host.
pub trait Source: Send + Sync {
    /// Tells what is so now. Runs on a thread of the runtime and must not block; one that takes longer than 3 s is left
    /// out of the scrape.
    fn collect<'a>(&'a self, samples: &'a mut Samples) -> BoxFuture<'a, ()>;
}

/// A check's words when something is wrong.
type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// See the module. Shared as an `Arc`.
#[derive(Default)]
pub struct Registry {
    calls: Arc<CallCounters>,
    sources: RwLock<Vec<Arc<dyn Source>>>,
    checks: RwLock<Vec<(&'static str, Check)>>,
    failures: AtomicU64,
    /// One scrape at a time: however many ask, the host has other work.
    turn: Mutex<()>,
}

impl Registry {
    /// With the counters of calls and nothing else.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks this one too from now on.
    pub fn add(&self, source: impl Source + 'static) {
        self.sources.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(source));
    }

    /// Tells a number that goes up and down. `read` must not block.
    pub fn gauge(&self, name: &'static str, help: &'static str, read: impl Fn() -> f64 + Send + Sync + 'static) {
        self.add(Reading { name, help, kind: Kind::Gauge, read });
    }

    /// Tells a number that only grows; its name ends with `_total`. `read` must not block.
    pub fn counter(&self, name: &'static str, help: &'static str, read: impl Fn() -> f64 + Send + Sync + 'static) {
        self.add(Reading { name, help, kind: Kind::Counter, read });
    }

    /// Has `/healthz` say that something is wrong as long as `check` does, in a sentence. It must not block.
    pub fn check(&self, name: &'static str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.checks.write().unwrap_or_else(PoisonError::into_inner).push((name, Box::new(check)));
    }

    /// What is wrong now, a line each: `name: sentence`.
    pub fn wrongs(&self) -> Vec<String> {
        let checks = self.checks.read().unwrap_or_else(PoisonError::into_inner);
        checks.iter().filter_map(|(name, check)| check().err().map(|why| format!("{name}: {why}"))).collect()
    }

    /// Everything, in Prometheus' text format 0.0.4. Must be called inside a runtime. Asks all sources at one time; one
    /// that panics or is late is left out and counted.
    pub async fn text(&self) -> String {
        let _turn = self.turn.lock().await;
        let mut samples = self.ask_sources().await;
        samples.counter(
            "voxtra_metrics_source_failures_total",
            "Sources that were late or broken when they were asked.",
            &[],
            self.failures.load(Ordering::Relaxed) as f64,
        );
        let calls = Arc::clone(&self.calls);
        // With a thousand tenants it is some megabytes of text: no work for a thread that serves others.
        let text = spawn_blocking(move || {
            // First, so that a source cannot take a name from them.
            let mut all = Samples::default();
            calls.tell(&mut all);
            all.merge(samples);
            let help = "Samples of this scrape that had no room, or a name that is something else.";
            all.put("voxtra_metrics_dropped_samples", help, Kind::Gauge, &[], all.dropped().to_string());
            all.text()
        });
        text.await.unwrap_or_default()
    }

    async fn ask_sources(&self) -> Samples {
        let deadline = Instant::now() + SOURCES_LIMIT;
        let asked: Vec<_> = {
            let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
            sources.iter().map(|source| Asked(tokio::spawn(ask(Arc::clone(source))))).collect()
        };
        let mut samples = Samples::default();
        for mut source in asked {
            match timeout_at(deadline, &mut source.0).await {
                Ok(Ok(told)) => samples.merge(told),
                Ok(Err(_)) | Err(_) => drop(self.failures.fetch_add(1, Ordering::Relaxed)),
            }
        }
        samples
    }
}

impl MeterSink for Registry {
    fn record(&self, record: CallRecord) {
        self.calls.count(&record);
    }
}

async fn ask(source: Arc<dyn Source>) -> Samples {
    let mut samples = Samples::default();
    source.collect(&mut samples).await;
    samples
}

/// A source's task; it ends with the scrape that wanted it.
struct Asked(JoinHandle<Samples>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One number from a closure.
struct Reading<F> {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    read: F,
}

impl<F: Fn() -> f64 + Send + Sync> Source for Reading<F> {
    fn collect<'a>(&'a self, samples: &'a mut Samples) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            match self.kind {
                Kind::Counter => samples.counter(self.name, self.help, &[], (self.read)()),
                Kind::Gauge => samples.gauge(self.name, self.help, &[], (self.read)()),
            }
        })
    }
}
