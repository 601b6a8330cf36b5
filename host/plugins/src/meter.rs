//! Time that a guest runs. Epochs say *when to look*; this says *how long it was*: only the polls of the guest's own
//! future count, never its waiting.
//!
//! A poll is nearly always a few microseconds, so it is timed with the cheap clock of the wall. One that has gone on for
//! an epoch is timed with its thread's own clock from there on: on a machine that is too busy, a guest does not pay for
//! the others.
//!
//! What an instance has run is told to its tenant ([`crate::tenant`]) now and then; a guest that runs on and on needs a turn
//! for it ([`crate::turns`]).

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::tenant::TenantQuota;
use crate::turns::Turn;

/// How often the epoch moves on. Fine enough to catch a spinning guest soon, coarse enough to cost nothing.
pub(crate) const EPOCH_MS: u64 = 5;

const EPOCH_NS: u64 = EPOCH_MS * 1_000_000;

/// How long a guest may run before another gets its turn on the same thread.
const SLICE_NS: u64 = 2 * EPOCH_NS;

/// What may have been run and not be told to the tenant: so that most polls touch nothing that others touch.
const UNTOLD_NS: u64 = 200_000;

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
    /// Of `used_ns`, what the tenant does not know yet.
    untold_ns: AtomicU64,
    tenant: Arc<TenantQuota>,
    /// Set while it makes room for others: it is going to run on.
    resting: AtomicBool,
    has_turn: AtomicBool,
    turn: Mutex<Option<Turn>>,
}

/// What the epoch's callback is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has only just begun to run.
    GoOn,
    /// Others wait, or its tenant has used up what it has for now.
    Rest,
    /// The budget is spent.
    Stop,
}

impl CpuMeter {
    pub(crate) fn new(budget: Duration, tenant: Arc<TenantQuota>) -> Arc<Self> {
        Arc::new(Self {
            origin: Instant::now(),
            budget_ns: u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX),
            used_ns: AtomicU64::new(0),
            poll_began_ns: AtomicU64::new(0),
            long_since_ns: AtomicU64::new(0),
            untold_ns: AtomicU64::new(0),
            tenant,
            resting: AtomicBool::new(false),
            has_turn: AtomicBool::new(false),
            turn: Mutex::default(),
        })
    }

    /// Called while the guest runs.
    pub(crate) fn verdict(&self) -> Verdict {
        let ran_ns = self.ran_in_this_poll();
        if self.used_ns.load(Ordering::Relaxed).saturating_add(ran_ns) > self.budget_ns {
            Verdict::Stop
        } else if ran_ns >= SLICE_NS || self.is_too_much_for_its_tenant() {
            Verdict::Rest
        } else {
            Verdict::GoOn
        }
    }

    fn is_too_much_for_its_tenant(&self) -> bool {
        self.tenant.debt().is_some() || (!self.has_turn.load(Ordering::Relaxed) && self.tenant.is_over_its_share())
    }

    /// Makes room for others and returns when the guest may run on. No thread is held meanwhile. The verdict was
    /// [`Verdict::Rest`].
    pub(crate) async fn rest(self: Arc<Self>) {
        self.resting.store(true, Ordering::Relaxed);
        self.settle();
        self.begin_poll();
        if self.tenant.debt().is_some() {
            self.give_turn_back();
            self.tenant.paid().await;
        }
        let had = self.turn().take();
        let turn = self.tenant.turns().next(&self.tenant, had).await;
        *self.turn() = Some(turn);
        self.has_turn.store(true, Ordering::Relaxed);
        // tokio's own yield: timers and sockets of the same thread come first, then the other guests.
        tokio::task::yield_now().await;
        self.resting.store(false, Ordering::Relaxed);
    }

    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.used_ns.load(Ordering::Relaxed))
    }

    fn begin_poll(&self) {
        self.poll_began_ns.store(self.now_ns(), Ordering::Relaxed);
        self.long_since_ns.store(0, Ordering::Relaxed);
    }

    fn end_poll(&self) {
        self.settle();
        if self.has_turn.load(Ordering::Relaxed) && !self.resting.load(Ordering::Relaxed) {
            // It waits for something: nobody needs a turn for that.
            self.give_turn_back();
        }
    }

    /// Counts what was run since the poll began.
    fn settle(&self) {
        let ran_ns = self.ran_in_this_poll();
        self.used_ns.fetch_add(ran_ns, Ordering::Relaxed);
        let untold_ns = self.untold_ns.load(Ordering::Relaxed).saturating_add(ran_ns);
        if untold_ns >= UNTOLD_NS {
            self.tenant.charge(untold_ns);
        }
        self.untold_ns.store(if untold_ns >= UNTOLD_NS { 0 } else { untold_ns }, Ordering::Relaxed);
    }

    /// Nothing runs any more.
    fn leave(&self) {
        self.resting.store(false, Ordering::Relaxed);
        self.give_turn_back();
        let untold_ns = self.untold_ns.swap(0, Ordering::Relaxed);
        if untold_ns > 0 {
            self.tenant.charge(untold_ns);
        }
    }

    fn give_turn_back(&self) {
        if self.has_turn.swap(false, Ordering::Relaxed) {
            let turn = self.turn().take();
            drop(turn);
        }
    }

    fn turn(&self) -> MutexGuard<'_, Option<Turn>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
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

impl<F> Drop for Metered<F> {
    fn drop(&mut self) {
        self.meter.leave();
    }
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
    use crate::tenant::Tenants;

    fn meter(budget: Duration) -> Arc<CpuMeter> {
        CpuMeter::new(budget, Tenants::new(1).of(&"acme".into()))
    }

    #[test]
    fn waiting_is_not_running() {
        let meter = meter(Duration::from_secs(1));
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(meter.used(), Duration::ZERO);
    }

    #[test]
    fn being_put_aside_by_the_machine_is_not_running() {
        let meter = meter(Duration::from_millis(20));
        meter.begin_poll();
        std::thread::sleep(Duration::from_millis(EPOCH_MS));
        assert_eq!(meter.verdict(), Verdict::GoOn);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(meter.verdict(), Verdict::GoOn);
    }

    #[test]
    fn a_spent_budget_stops() {
        let meter = meter(Duration::ZERO);
        meter.begin_poll();
        assert_eq!(meter.verdict(), Verdict::Stop);
    }

    #[test]
    fn a_short_run_goes_on() {
        let meter = meter(Duration::from_secs(100));
        meter.begin_poll();
        assert_eq!(meter.verdict(), Verdict::GoOn);
    }
}
