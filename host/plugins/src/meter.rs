//! Time that a guest runs. Epochs say *when to look*; this says *how long it was*: only the polls of the guest's own
//! future count, never its waiting.
//!
//! A poll is nearly always a few microseconds, so it is timed with the cheap clock of the wall. One that has gone on for
//! an epoch is timed with its thread's own clock from there on: on a machine that is too busy, a guest does not pay for
//! the others.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// How often the epoch moves on. Fine enough to catch a spinning guest soon, coarse enough to cost nothing.
pub(crate) const EPOCH_MS: u64 = 5;

const EPOCH_NS: u64 = EPOCH_MS * 1_000_000;

/// How long a guest may run before another gets its turn on the same thread.
const SLICE_NS: u64 = 2 * EPOCH_NS;

/// The running time of one instance. Only the thread that polls it writes.
#[derive(Debug)]
pub(crate) struct CpuMeter {
    origin: Instant,
    budget_ns: u64,
    used_ns: AtomicU64,
    /// When the poll that is under way began, since `origin`.
    poll_began_ns: AtomicU64,
    /// What the thread's clock said when that poll was found to be a long one; 0 while it is short.
    long_since_ns: AtomicU64,
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
            long_since_ns: AtomicU64::new(0),
        })
    }

    /// Called while the guest runs.
    pub(crate) fn verdict(&self) -> Verdict {
        let ran_ns = self.ran_in_this_poll();
        if self.used_ns.load(Ordering::Relaxed).saturating_add(ran_ns) > self.budget_ns {
            Verdict::Stop
        } else if ran_ns >= SLICE_NS {
            Verdict::Yield
        } else {
            Verdict::GoOn
        }
    }

    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.used_ns.load(Ordering::Relaxed))
    }

    fn begin_poll(&self) {
        self.poll_began_ns.store(self.now_ns(), Ordering::Relaxed);
        self.long_since_ns.store(0, Ordering::Relaxed);
    }

    fn end_poll(&self) {
        self.used_ns.fetch_add(self.ran_in_this_poll(), Ordering::Relaxed);
    }

    /// The first epoch of a poll by the wall, the rest by the thread.
    fn ran_in_this_poll(&self) -> u64 {
        let long_since_ns = self.long_since_ns.load(Ordering::Relaxed);
        if long_since_ns > 0 {
            return EPOCH_NS + thread_ns().saturating_sub(long_since_ns);
        }
        let elapsed_ns = self.now_ns().saturating_sub(self.poll_began_ns.load(Ordering::Relaxed));
        if elapsed_ns < EPOCH_NS {
            return elapsed_ns;
        }
        self.long_since_ns.store(thread_ns().max(1), Ordering::Relaxed);
        EPOCH_NS
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What this thread has run since it began. A poll begins and ends on one thread.
fn thread_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(now.tv_sec).unwrap_or_default() * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or_default()
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
        self.meter.begin_poll();
        let polled = self.inner.as_mut().poll(cx);
        self.meter.end_poll();
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
    fn being_put_aside_by_the_machine_is_not_running() {
        let meter = CpuMeter::new(Duration::from_millis(20));
        meter.begin_poll();
        std::thread::sleep(Duration::from_millis(EPOCH_MS));
        assert_eq!(meter.verdict(), Verdict::GoOn);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(meter.verdict(), Verdict::GoOn);
    }

    #[test]
    fn a_spent_budget_stops() {
        let meter = CpuMeter::new(Duration::ZERO);
        meter.begin_poll();
        assert_eq!(meter.verdict(), Verdict::Stop);
    }

    #[test]
    fn a_short_run_goes_on() {
        let meter = CpuMeter::new(Duration::from_secs(100));
        meter.begin_poll();
        assert_eq!(meter.verdict(), Verdict::GoOn);
    }
}
