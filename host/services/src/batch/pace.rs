//! When the next call may begin.

use std::time::Duration;

/// What may be made up for at once when a call was begun late: less than anybody notices, and more than a timer's
/// imprecision (1 ms), so that the rate is exact over time.
const CATCH_UP: Duration = Duration::from_millis(100);

/// A token bucket, in the form that needs no refilling: it keeps when the next call is due. In any span `T` at most
/// `rate * (T + 100 ms) + 1` calls begin. Time is an argument, counted from any start.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    period: Duration,
    due: Duration,
}

impl Pace {
    /// `calls_per_second` was checked to be a positive number.
    pub(super) fn new(calls_per_second: f64) -> Self {
        let period = Duration::try_from_secs_f64(1.0 / calls_per_second).unwrap_or(Duration::MAX);
        Self { period, due: Duration::ZERO }
    }

    /// Begins a call now, or says when one may begin.
    pub(super) fn begin(&mut self, now: Duration) -> Result<(), Duration> {
        if now < self.due {
            return Err(self.due);
        }
        self.due = self.due.max(now.saturating_sub(CATCH_UP)).saturating_add(self.period);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whoever asks is late by up to 5 ms each time, as timers are.
        #[test]
        fn the_rate_is_exact_over_time(rate in 1u32..500, late_us in proptest::collection::vec(0u64..5_000, 1..50)) {
            let mut pace = Pace::new(f64::from(rate));
            let mut now = Duration::ZERO;
            let mut begun = 0u32;
            let mut late = late_us.iter().cycle();
            while now < Duration::from_secs(20) {
                match pace.begin(now) {
                    Ok(()) => begun += 1,
                    Err(at) => now = at + Duration::from_micros(*late.next().unwrap()),
                }
            }
            let meant = rate * 20;
            prop_assert!(begun.abs_diff(meant) <= 1 + rate / 8, "{} of {}", begun, meant);
        }

        #[test]
        fn no_span_has_more_calls_than_it_may(rate in 1u32..200, waits_ms in proptest::collection::vec(0u64..400, 1..200)) {
            let mut pace = Pace::new(f64::from(rate));
            let mut begun = Vec::new();
            let mut now = Duration::ZERO;
            for wait in waits_ms {
                now += Duration::from_millis(wait);
                while pace.begin(now).is_ok() {
                    begun.push(now);
                }
            }
            for (at, from) in begun.iter().enumerate() {
                for (upto, to) in begun.iter().enumerate().skip(at) {
                    let most = f64::from(rate) * ((*to - *from).as_secs_f64() + 0.1) + 1.0;
                    prop_assert!((upto - at + 1) as f64 <= most + 1e-6);
                }
            }
        }
    }
}
