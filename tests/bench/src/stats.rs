//! Percentiles and what a process has used up.

use std::time::Duration;

use anyhow::{Context, Result};

/// The value below which this share of the samples lies; 0 without samples. Sorts them.
pub(crate) fn percentile(samples: &mut [u64], share: f64) -> u64 {
    if samples.is_empty() {
        return 0;
    }
    samples.sort_unstable();
    let at = ((samples.len() - 1) as f64 * share).round() as usize;
    samples.get(at).copied().unwrap_or_default()
}

/// The CPU time that a process has used, user and system, from `/proc/PID/stat`.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the server has gone")?;
    // The name in parentheses may hold blanks; after it, utime and stime are the 12th and 13th fields.
    let after_name = stat.rsplit_once(')').context("/proc/PID/stat has no name")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<u64>().ok()).unwrap_or_default();
    Ok(Duration::from_millis((ticks(11) + ticks(12)) * 1000 / TICKS_PER_SECOND))
}

/// `sysconf(_SC_CLK_TCK)`, which is 100 on every Linux that this runs on.
const TICKS_PER_SECOND: u64 = 100;

/// The memory that a process keeps, from `/proc/PID/status`.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the server has gone")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("/proc/PID/status has no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn percentiles_are_where_they_should_be() {
        let mut samples: Vec<u64> = (0..=100).rev().collect();
        assert_eq!(percentile(&mut samples, 0.5), 50);
        assert_eq!(percentile(&mut samples, 0.99), 99);
        assert_eq!(percentile(&mut [], 0.5), 0);
    }

    #[test]
    fn this_process_has_used_memory() {
        assert!(resident_bytes(std::process::id()).unwrap() > 0);
        cpu_time(std::process::id()).unwrap();
    }
}
