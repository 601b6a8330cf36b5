//! What is counted: requests under way, requests lately, bytes, refusals. Whoever holds a [`Permit`] and drops it, by
//! whatever way, frees its place.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::port::{HttpError, HttpUsage, Reason};

/// Requests under way.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    under_way: AtomicU32,
}

/// A place at a gate.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Gate>);

impl Gate {
    /// A place, if there are fewer than `limit` taken.
    pub(crate) fn enter(self: &Arc<Self>, limit: u32) -> Option<Permit> {
        let more = |taken: u32| (taken < limit).then(|| taken.saturating_add(1));
        self.under_way.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok().map(|_| Permit(self.clone()))
    }

    pub(crate) fn under_way(&self) -> u32 {
        self.under_way.load(Ordering::Acquire)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A token bucket, in the form that needs no refilling: it keeps when it will be full again.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    full_at: Mutex<Option<Instant>>,
}

/// What share of a minute's requests may come at once.
const BURST_SHARE: u32 = 6;

impl Bucket {
    /// Takes one, or says how long until there is one.
    pub(crate) fn take(&self, per_minute: u32) -> Result<(), Duration> {
        let Some(period) = Duration::from_secs(60).checked_div(per_minute) else { return Err(Duration::from_secs(60)) };
        let room = period.saturating_mul((per_minute / BURST_SHARE).max(1));
        let now = Instant::now();
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = full_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now)).saturating_add(period);
        match missing.checked_sub(room).filter(|wait| !wait.is_zero()) {
            Some(wait) => Err(wait),
            None => {
                *full_at = now.checked_add(missing);
                Ok(())
            }
        }
    }
}

/// Counters of a call or a tenant.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) requests: AtomicU64,
    pub(crate) in_bytes: AtomicU64,
    pub(crate) out_bytes: AtomicU64,
    errors: [AtomicU64; Reason::ALL.len()],
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, amount: usize) {
        counter.fetch_add(u64::try_from(amount).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn error(&self, error: &HttpError) {
        if let Some(counter) = self.errors.get(error.reason() as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn usage(&self) -> HttpUsage {
        HttpUsage {
            requests: self.requests.load(Ordering::Relaxed),
            errors: self.errors.iter().fold(0, |sum, one| sum.saturating_add(one.load(Ordering::Relaxed))),
            in_bytes: self.in_bytes.load(Ordering::Relaxed),
            out_bytes: self.out_bytes.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn by_reason(&self) -> Vec<(Reason, u64)> {
        let pairs = Reason::ALL.iter().zip(&self.errors);
        pairs.map(|(reason, count)| (*reason, count.load(Ordering::Relaxed))).collect()
    }
}

/// What a tenant has used since the host started, for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantCounters {
    /// The sums.
    pub usage: HttpUsage,
    /// Requests that ended with an error, for every reason there is.
    pub errors: Vec<(Reason, u64)>,
    /// Requests under way now.
    pub under_way: u32,
}

impl TenantCounters {
    /// How many ended for this reason.
    pub fn errors_for(&self, reason: Reason) -> u64 {
        self.errors.iter().find(|(one, _)| *one == reason).map_or(0, |(_, count)| *count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;
    use tokio::time::advance;

    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_permit_is_dropped() {
        let gate = Arc::new(Gate::default());
        let first = gate.enter(2).unwrap();
        let _second = gate.enter(2).unwrap();
        assert!(gate.enter(2).is_none());
        drop(first);
        assert!(gate.enter(2).is_some());
        assert!(gate.enter(0).is_none());
        assert_eq!(gate.under_way(), 1);
    }

    fn rt() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
    }

    proptest! {
        /// In any span, at most the burst and what the rate gives in that time.
        #[test]
        fn no_span_has_more_requests_than_it_may(per_minute in 1u32..1_000, waits_ms in proptest::collection::vec(0u64..2_000, 1..120)) {
            rt().block_on(async {
                let bucket = Bucket::default();
                let start = Instant::now();
                let mut taken = Vec::new();
                for wait in waits_ms {
                    advance(Duration::from_millis(wait)).await;
                    while bucket.take(per_minute).is_ok() {
                        taken.push(start.elapsed());
                    }
                }
                let burst = f64::from((per_minute / BURST_SHARE).max(1));
                for (at, from) in taken.iter().enumerate() {
                    for (upto, to) in taken.iter().enumerate().skip(at) {
                        let most = burst + (*to - *from).as_secs_f64() * f64::from(per_minute) / 60.0;
                        assert!((upto - at + 1) as f64 <= most + 0.01, "{} in {:?}", upto - at + 1, *to - *from);
                    }
                }
            });
        }

        #[test]
        fn whoever_waits_as_long_as_told_gets_one(per_minute in 1u32..1_000) {
            rt().block_on(async {
                let bucket = Bucket::default();
                for _ in 0..50 {
                    if let Err(wait) = bucket.take(per_minute) {
                        // Timers are exact to a millisecond.
                        tokio::time::sleep(wait + Duration::from_millis(1)).await;
                        assert_eq!(bucket.take(per_minute), Ok(()));
                    }
                }
            });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_of_none_allows_none() {
        assert!(Bucket::default().take(0).is_err());
        assert!(Bucket::default().take(u32::MAX).is_ok());
    }
}
