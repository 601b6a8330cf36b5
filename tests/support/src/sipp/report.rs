//! What SIPp's statistics file says in its last line.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};

/// How a run of SIPp went.
#[derive(Debug, Clone, PartialEq)]
pub struct SippReport {
    /// 0: every call was as the scenario wants; 1: some were not; `None`: killed.
    pub exit_code: Option<i32>,
    /// Calls that were made.
    pub made: u64,
    /// Calls that went as the scenario wants.
    pub successful: u64,
    /// Calls that did not.
    pub failed: u64,
    /// Messages sent again for want of an answer.
    pub retransmissions: u64,
    /// The mean time from INVITE to 200.
    pub answered_after: Duration,
    /// The reasons of failed calls, as SIPp gives them, and its complaints.
    pub errors: String,
}

impl SippReport {
    /// Whether every one of so many calls went as the scenario wants.
    #[must_use]
    pub fn is_clean(&self, calls: u64) -> bool {
        self.exit_code == Some(0) && self.successful == calls && self.failed == 0
    }

    /// The file has a line of names and then one of values for every second, `;` between them.
    pub(super) fn read(statistics: &str, exit_code: Option<i32>, errors: String) -> Result<Self> {
        let mut lines = statistics.lines().filter(|line| !line.is_empty());
        let names = lines.next().context("SIPp's statistics are empty")?.split(';');
        let values = lines.next_back().context("SIPp's statistics have no values")?.split(';');
        let values: HashMap<&str, &str> = names.zip(values).collect();
        let value = |name: &str| values.get(name).with_context(|| format!("SIPp's statistics have no {name}"));
        let number = |name: &str| -> Result<u64> { Ok(value(name)?.trim().parse()?) };
        Ok(Self {
            exit_code,
            made: number("TotalCallCreated")?,
            successful: number("SuccessfulCall(C)")?,
            failed: number("FailedCall(C)")?,
            retransmissions: number("Retransmissions(C)")?,
            answered_after: value("ResponseTime1(C)").ok().and_then(|text| span(text)).unwrap_or_default(),
            errors,
        })
    }
}

/// `hours:minutes:seconds`, then `:` or `.`, then microseconds or milliseconds, by their number of digits.
fn span(text: &str) -> Option<Duration> {
    let mut parts = text.trim().split([':', '.']);
    let mut whole = 0_u64;
    for _ in 0..3 {
        whole = whole.checked_mul(60)?.checked_add(parts.next()?.parse().ok()?)?;
    }
    let fraction = parts.next().unwrap_or("0");
    let micros: u64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    Some(Duration::from_secs(whole) + Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_last_line_counts() {
        let file = "A;TotalCallCreated;SuccessfulCall(C);FailedCall(C);Retransmissions(C);ResponseTime1(C);\n\
                    x;1;0;0;0;00:00:00:000000;\nx;20;18;2;3;00:01:02:003000;\n";
        let report = SippReport::read(file, Some(1), String::new()).unwrap();
        assert_eq!((report.made, report.successful, report.failed, report.retransmissions), (20, 18, 2, 3));
        assert_eq!(report.answered_after, Duration::from_millis(62_003));
        assert!(!report.is_clean(20));
        assert!(SippReport::read("", None, String::new()).is_err());
        assert!(SippReport::read("A;B\n1;2\n", None, String::new()).is_err());
    }
}
