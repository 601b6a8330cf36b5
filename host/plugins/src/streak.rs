//! A handler version that only traps is not started for ever: after so many traps in a row it is left alone for a while,
//! and then one instance tries it again. Whoever has the calls may be less patient.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::options::RuntimeOptions;

/// One version's.
#[derive(Debug)]
pub(crate) struct Streak {
    most: u32,
    pause: Duration,
    traps: AtomicU32,
    origin: Instant,
    /// Until then, since `origin`, it is left alone.
    open_until_ms: AtomicU64,
}

impl Streak {
    pub(crate) fn new(options: &RuntimeOptions) -> Self {
        Self {
            most: options.traps_in_a_row,
            pause: options.trap_pause,
            traps: AtomicU32::new(0),
            origin: Instant::now(),
            open_until_ms: AtomicU64::new(0),
        }
    }

    /// Whether an instance may be made; the sentence says why not.
    pub(crate) fn check(&self) -> Result<(), String> {
        let traps = self.traps.load(Ordering::Relaxed);
        if self.most == 0 || traps < self.most {
            return Ok(());
        }
        let now_ms = self.now_ms();
        let tries = |until_ms: u64| (until_ms <= now_ms).then(|| now_ms.saturating_add(self.pause_ms()));
        if self.open_until_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, tries).is_ok() {
            return Ok(());
        }
        Err(format!("limit-exceeded: this version has trapped {traps} times in a row; it is left alone for a while"))
    }

    /// It returned.
    pub(crate) fn returned(&self) {
        // Nearly always there is nothing to change.
        if self.traps.load(Ordering::Relaxed) > 0 {
            self.traps.store(0, Ordering::Relaxed);
        }
    }

    /// It was stopped, or did not start.
    pub(crate) fn trapped(&self) {
        let more = |traps: u32| Some(traps.saturating_add(1));
        let before = self.traps.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        if before.is_ok_and(|before| before.saturating_add(1) >= self.most) {
            self.open_until_ms.store(self.now_ms().saturating_add(self.pause_ms()), Ordering::Relaxed);
        }
    }

    fn pause_ms(&self) -> u64 {
        u64::try_from(self.pause.as_millis()).unwrap_or(u64::MAX)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streak(traps_in_a_row: u32) -> Streak {
        Streak::new(&RuntimeOptions { traps_in_a_row, ..RuntimeOptions::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn one_tries_it_again_after_the_pause_and_a_good_end_forgives_all() {
        let streak = streak(3);
        (0..2).for_each(|_| streak.trapped());
        streak.check().unwrap();
        streak.trapped();
        assert!(streak.check().unwrap_err().contains("3 times in a row"));
        tokio::time::advance(Duration::from_secs(5)).await;
        streak.check().unwrap();
        assert!(streak.check().is_err(), "only one");
        streak.trapped();
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(streak.check().is_err());
        tokio::time::advance(Duration::from_secs(1)).await;
        streak.check().unwrap();
        streak.returned();
        (0..100).for_each(|_| streak.check().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn none_is_too_many_when_the_operator_says_so() {
        let streak = streak(0);
        (0..1_000).for_each(|_| streak.trapped());
        streak.check().unwrap();
    }
}
