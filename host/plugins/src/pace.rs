//! How often a handler calls the host. What is answered on the spot costs the handler its own running time, which has a
//! budget; what becomes a message to others has a rate: a handler that floods waits for its turn, without running.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// A token bucket, and a count of everything.
#[derive(Debug)]
pub(crate) struct Pace {
    calls: AtomicU64,
    /// Between two verbs of a flood; none: no limit.
    gap: Option<Duration>,
    /// How far a handler may be ahead of the gaps.
    credit: Duration,
    /// When the next verb would be due if all before it had kept the gaps.
    due: Option<Instant>,
}

impl Pace {
    /// So many verbs a second, after a burst of as many.
    pub(crate) fn new(verbs_per_second: u32) -> Self {
        let gap = Duration::from_secs(1).checked_div(verbs_per_second);
        Self { calls: AtomicU64::new(0), gap, credit: Duration::from_secs(1), due: None }
    }

    /// One call of any kind.
    pub(crate) fn count(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// All calls so far.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Counts a verb, and returns when it may go. Dropping it gives the turn back.
    pub(crate) async fn turn(&mut self) {
        self.count();
        let Some(gap) = self.gap else { return };
        let now = Instant::now();
        // Who was quiet for long starts over.
        let due = self.due.filter(|due| *due > now).unwrap_or(now);
        if let Some(wait) = (due - now).checked_sub(self.credit) {
            sleep_until(now + wait).await;
        }
        self.due = Some(due + gap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_waits_and_an_ordinary_handler_does_not() {
        let mut pace = Pace::new(100);
        let began = Instant::now();
        for _ in 0..100 {
            pace.turn().await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO, "a burst goes at once");
        for _ in 0..200 {
            pace.turn().await;
        }
        let took = began.elapsed();
        assert!((Duration::from_millis(1_900)..=Duration::from_millis(2_100)).contains(&took), "{took:?}");
        tokio::time::sleep(Duration::from_secs(5)).await;
        let later = Instant::now();
        for _ in 0..100 {
            pace.turn().await;
        }
        assert_eq!(later.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_of_zero_is_none() {
        let mut pace = Pace::new(0);
        for _ in 0..10_000 {
            pace.turn().await;
        }
    }
}
