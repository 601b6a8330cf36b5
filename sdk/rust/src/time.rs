//! Durations, as the contract counts them.

use std::time::Duration;

/// Whole milliseconds: upwards, so that a short time never becomes the 0 that means "the default"; at most `u32::MAX`
/// (49 days).
pub(crate) fn to_ms(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}

/// A duration of the contract.
pub(crate) fn from_ms(duration_ms: u32) -> Duration {
    Duration::from_millis(u64::from(duration_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_time_is_not_none() {
        assert_eq!(to_ms(Duration::ZERO), 0);
        assert_eq!(to_ms(Duration::from_nanos(1)), 1);
        assert_eq!(to_ms(Duration::from_micros(1_500)), 2);
    }

    #[test]
    fn a_long_time_is_cut_and_not_wrapped() {
        assert_eq!(to_ms(Duration::MAX), u32::MAX);
        assert_eq!(to_ms(from_ms(u32::MAX)), u32::MAX);
    }
}
