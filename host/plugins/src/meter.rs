//! Time that a guest runs. Epochs say *when to look*; this says *how long it was*: only the polls of the guest's own
//! future count, never its waiting.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// How often the epoch moves on. Fine enough to catch a spinning guest soon, coarse enough to cost nothing.
pub(crate) const EPOCH_MS: u64 = 5;

/// How long a guest may run before another gets its turn on the same thread.
const SLICE: Duration = Duration::from_millis(2 * EPOCH_MS);

/// The running time of one instance.
#[derive(Debug)]
pub(crate) struct CpuMeter {
    origin: Instant,
    budget_ns: u64,
    used_ns: AtomicU64,
    /// When the poll that is under way began, in nanoseconds since `origin`.
    poll_began_ns: AtomicU64,
}

/// What the epoch's callback is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has only just begun to run.
    GoOn,
    /// Others wait.
    Yield,
    /// The budget is spent.
    Stop,
}

impl CpuMeter {
    pub(crate) fn new(budget: Duration) -> Arc<Self> {
        Arc::new(Self {
            origin: Instant::now(),
            budget_ns: u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX),
            used_ns: AtomicU64::new(0),
            poll_began_ns: AtomicU64::new(0),
        })
    }

    /// Called while the guest runs.
    pub(crate) fn verdict(&self) -> Verdict {
        let running_ns = self.now_ns().saturating_sub(self.poll_began_ns.load(Ordering::Relaxed));
        if self.used_ns.load(Ordering::Relaxed).saturating_add(running_ns) > self.budget_ns {
            Verdict::Stop
        } else if running_ns >= SLICE.as_nanos() as u64 {
            Verdict::Yield
        } else {
            Verdict::GoOn
        }
    }

    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.used_ns.load(Ordering::Relaxed))
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A guest's future, with its polls counted.
pub(crate) struct Metered<F> {
    inner: Pin<Box<F>>,
    meter: Arc<CpuMeter>,
}

impl<F: Future> Metered<F> {
    pub(crate) fn new(inner: F, meter: Arc<CpuMeter>) -> Self {
        Self { inner: Box::pin(inner), meter }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let began_ns = self.meter.now_ns();
        self.meter.poll_began_ns.store(began_ns, Ordering::Relaxed);
        let polled = self.inner.as_mut().poll(cx);
        let ran_ns = self.meter.now_ns().saturating_sub(began_ns);
        self.meter.used_ns.fetch_add(ran_ns, Ordering::Relaxed);
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_not_running() {
        let meter = CpuMeter::new(Duration::from_secs(1));
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(meter.used(), Duration::ZERO);
    }

    #[test]
    fn a_spent_budget_stops() {
        let meter = CpuMeter::new(Duration::ZERO);
        std::thread::sleep(Duration::from_micros(10));
        assert_eq!(meter.verdict(), Verdict::Stop);
    }

    #[test]
    fn a_short_run_goes_on() {
        let meter = CpuMeter::new(Duration::from_secs(100));
        meter.poll_began_ns.store(meter.now_ns(), Ordering::Relaxed);
        assert_eq!(meter.verdict(), Verdict::GoOn);
    }
}
