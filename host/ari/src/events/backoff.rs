//! How long to wait before the next attempt to connect.

use std::time::Duration;

/// Doubling waits with jitter, so that many hosts that lost one Asterisk do not
/// come back in the same millisecond.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    cap: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, next: first.min(cap) }
    }

    /// The next wait: between half of the current step and all of it.
    pub(crate) fn wait(&mut self) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(self.cap);
        jitter(step, getrandom::u32().unwrap_or(u32::MAX))
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.first.min(self.cap);
    }
}

fn jitter(step: Duration, random: u32) -> Duration {
    let half = step / 2;
    half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_start_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        for step_ms in [100, 200, 400, 800, 1600, 2000, 2000] {
            let wait = backoff.wait();
            assert!(wait >= Duration::from_millis(step_ms / 2), "{wait:?} of {step_ms}");
            assert!(wait <= Duration::from_millis(step_ms), "{wait:?} of {step_ms}");
        }
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_millis(100));
    }

    #[test]
    fn jitter_uses_the_whole_upper_half() {
        let step = Duration::from_secs(2);
        assert_eq!(jitter(step, 0), Duration::from_secs(1));
        assert_eq!(jitter(step, u32::MAX), step);
    }
}
