//! How often a handler calls the host. What is answered on the spot costs the handler its own running time, which has a
//! budget; what becomes work for others has a rate, each class its own: a handler that floods waits for its turn, without
//! running, or is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::options::Limits;

/// How far a handler may be ahead of its rate.
const BURST: Duration = Duration::from_secs(1);

/// The clock is looked at once for so many calls, or for a sixteenth of a second's, if that is less.
const MAX_LEASE: u32 = 16;

/// What waits when there is too much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// What becomes a message to the call's owner.
    Verb,
    /// A read or write of audio.
    Audio,
    /// A read or write of the store.
    Store,
    /// A request to a provider or another host.
    Provider,
}

/// A token bucket for each class, and a count of everything.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Only the instance's own thread writes.
    calls: AtomicU64,
    verbs: Bucket,
    audio: Bucket,
    store: Bucket,
    provider: SharedBucket,
    events: Bucket,
}

impl Pace {
    /// With the rates of these limits.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            calls: AtomicU64::new(0),
            verbs: Bucket::new(limits.verbs_per_second),
            audio: Bucket::new(limits.audio_calls_per_second),
            store: Bucket::new(limits.store_calls_per_second),
            provider: SharedBucket::new(limits.provider_calls_per_second),
            events: Bucket::new(limits.events_per_second),
        }
    }

    /// One call of any kind. Where the contract is linked, and `wasi:http`: nowhere else.
    pub(crate) fn count(&self) {
        // There is no other writer, so that this need not be one operation.
        self.calls.store(self.calls.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// All calls so far.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Returns when a verb may go. Dropping it gives the turn back.
    pub(crate) async fn turn(&mut self) {
        self.turn_of(Class::Verb).await;
    }

    /// Returns when a call of a class may go. Dropping it gives the turn back.
    pub(crate) async fn turn_of(&mut self, class: Class) {
        let bucket = match class {
            Class::Verb => &mut self.verbs,
            Class::Audio => &mut self.audio,
            Class::Store => &mut self.store,
            Class::Provider => return self.provider.next().await,
        };
        bucket.turn().await;
    }

    /// The turns of [`Class::Provider`], for requests that leave while the instance goes on.
    pub(crate) fn provider(&self) -> SharedBucket {
        self.provider.clone()
    }

    /// Whether an event of the handler's own may go now. It does not wait.
    pub(crate) fn event(&mut self) -> bool {
        self.events.take()
    }
}

/// A bucket that several wait at, one after the other. Whoever holds the lock waits for the next turn, and so the others for him.
#[derive(Debug, Clone)]
pub(crate) struct SharedBucket(Arc<Mutex<Bucket>>);

impl SharedBucket {
    /// 0: any number.
    pub(crate) fn new(per_second: u32) -> Self {
        Self(Arc::new(Mutex::new(Bucket::new(per_second))))
    }

    /// Returns when one may go. Dropping it gives the turn back.
    pub(crate) async fn next(&self) {
        self.0.lock().await.turn().await;
    }
}

/// So many in a second, after a burst of as many.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// Calls that may go without a look at the clock.
    leased: u32,
    lease: u32,
    /// Between two calls of a flood; zero: no limit.
    gap: Duration,
    /// When the next lease would be due if all before it had kept the gaps.
    due: Option<Instant>,
}

impl Bucket {
    /// 0: any number.
    pub(crate) fn new(per_second: u32) -> Self {
        let gap = Duration::from_secs(1).checked_div(per_second).unwrap_or_default();
        let lease = if gap.is_zero() { u32::MAX } else { (per_second / MAX_LEASE).clamp(1, MAX_LEASE) };
        Self { leased: 0, lease, gap, due: None }
    }

    /// Whether one may go now.
    pub(crate) fn take(&mut self) -> bool {
        self.take_leased() || self.renew(Instant::now()).is_none()
    }

    fn take_leased(&mut self) -> bool {
        match self.leased.checked_sub(1) {
            Some(left) => {
                self.leased = left;
                true
            }
            None => false,
        }
    }

    async fn turn(&mut self) {
        if self.take_leased() {
            return;
        }
        while let Some(wait) = self.renew(Instant::now()) {
            sleep(wait).await;
        }
    }

    /// Takes a lease, one call of which goes now; or how long there is none.
    fn renew(&mut self, now: Instant) -> Option<Duration> {
        // Who was quiet for long starts over.
        let due = self.due.filter(|due| *due > now).unwrap_or(now);
        let wait = due.duration_since(now).saturating_sub(BURST);
        if !wait.is_zero() {
            return Some(wait);
        }
        self.due = Some(due + self.gap.saturating_mul(self.lease));
        self.leased = self.lease - 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verbs(per_second: u32) -> Pace {
        Pace::new(&Limits { verbs_per_second: per_second, ..Limits::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_waits_and_an_ordinary_handler_does_not() {
        let mut pace = verbs(100);
        let began = Instant::now();
        for _ in 0..100 {
            pace.turn().await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO, "a burst goes at once");
        for _ in 0..200 {
            pace.turn().await;
        }
        let took = began.elapsed();
        assert!((Duration::from_millis(1_850)..=Duration::from_millis(2_150)).contains(&took), "{took:?}");
        tokio::time::sleep(Duration::from_secs(5)).await;
        let later = Instant::now();
        for _ in 0..100 {
            pace.turn().await;
        }
        assert_eq!(later.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn each_class_has_a_rate_of_its_own() {
        for (class, per_second) in [(Class::Verb, 200), (Class::Audio, 400), (Class::Store, 100), (Class::Provider, 10)]
        {
            let mut pace = Pace::new(&Limits::default());
            let began = Instant::now();
            for _ in 0..per_second * 3 {
                pace.turn_of(class).await;
            }
            let took = began.elapsed();
            assert!((1_800..=2_100).contains(&took.as_millis()), "{class:?}: {took:?}");
            // A flood of one leaves the others alone.
            let other = if class == Class::Audio { Class::Verb } else { Class::Audio };
            pace.turn_of(other).await;
            assert_eq!(began.elapsed(), took, "{class:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn events_are_refused_and_come_again() {
        let mut pace = Pace::new(&Limits { events_per_second: 10, ..Limits::default() });
        let now = (0..1_000).filter(|_| pace.event()).count();
        assert!((10..=12).contains(&now), "{now}");
        tokio::time::sleep(Duration::from_millis(500)).await;
        let later = (0..1_000).filter(|_| pace.event()).count();
        assert!((4..=6).contains(&later), "{later}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_of_zero_is_none() {
        let mut pace = verbs(0);
        for _ in 0..10_000 {
            pace.turn().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_is_not_waited_for_is_given_back() {
        let mut pace = verbs(1);
        pace.turn().await;
        pace.turn().await;
        for _ in 0..100 {
            assert!(tokio::time::timeout(Duration::from_millis(1), pace.turn()).await.is_err());
        }
        let began = Instant::now();
        pace.turn().await;
        assert!(began.elapsed() <= Duration::from_secs(1), "{:?}", began.elapsed());
    }
}
