//! A component's log, cut before anything is copied: a budget of bytes, and a rate of lines. What is cut is counted.

use std::sync::{Mutex, MutexGuard, PoisonError};

use voxtra_core::verbs::LogLevel;

use crate::options::Limits;
use crate::pace::Bucket;
use crate::store::Owner;

/// Where an instance's lines go, whether it logs or prints them.
pub(crate) struct Lines {
    owner: Owner,
    budget_bytes: usize,
    lines_per_second: u32,
    gate: Mutex<Gate>,
}

struct Gate {
    used_bytes: usize,
    rate: Bucket,
    /// Lines that were too fast since the last that was not.
    skipped: u64,
    cut: Cut,
}

/// What was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cut {
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
}

/// What becomes of a line.
enum Passage {
    /// It goes on, after so many that did not.
    Open(u64),
    /// It does not, and from here on none does.
    Closing,
    Closed,
}

impl Lines {
    pub(crate) fn new(owner: Owner, limits: &Limits) -> Self {
        let gate =
            Gate { used_bytes: 0, rate: Bucket::new(limits.log_lines_per_second), skipped: 0, cut: Cut::default() };
        Self {
            owner,
            budget_bytes: limits.log_bytes,
            lines_per_second: limits.log_lines_per_second,
            gate: Mutex::new(gate),
        }
    }

    /// One line, or that it was left out.
    pub(crate) fn log(&self, level: LogLevel, message: &str, fields: &[(String, String)]) {
        let bytes =
            fields.iter().fold(message.len(), |sum, (k, v)| sum.saturating_add(k.len()).saturating_add(v.len()));
        // An empty line costs something too.
        match self.gate().pass(bytes.saturating_add(1), self.budget_bytes) {
            Passage::Open(skipped) => {
                if skipped > 0 {
                    let rate = self.lines_per_second;
                    let told = format!("({skipped} lines of the log are left out: more than {rate} a second)");
                    self.owner.log(LogLevel::Warn, &told, &[]);
                }
                self.owner.log(level, message, fields);
            }
            Passage::Closing => {
                let kib = self.budget_bytes >> 10;
                let told = format!("(the component has logged {kib} KiB; what it logs from here on is left out)");
                self.owner.log(LogLevel::Warn, &told, &[]);
            }
            Passage::Closed => {}
        }
    }

    /// Whether the budget is spent: what is printed then need not even be put together.
    pub(crate) fn is_spent(&self) -> bool {
        self.gate().used_bytes > self.budget_bytes
    }

    /// Bytes that were printed when the budget was spent.
    pub(crate) fn count_cut(&self, bytes: usize) {
        let cut = &mut self.gate().cut;
        cut.bytes = cut.bytes.saturating_add(bytes as u64);
    }

    /// What was left out so far.
    pub(crate) fn cut(&self) -> Cut {
        self.gate().cut
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    fn pass(&mut self, bytes: usize, budget_bytes: usize) -> Passage {
        if self.used_bytes > budget_bytes {
            self.count_cut(bytes);
            return Passage::Closed;
        }
        if !self.rate.take() {
            self.skipped = self.skipped.saturating_add(1);
            self.count_cut(bytes);
            return Passage::Closed;
        }
        self.used_bytes = self.used_bytes.saturating_add(bytes);
        if self.used_bytes > budget_bytes {
            self.count_cut(bytes);
            return Passage::Closing;
        }
        Passage::Open(std::mem::take(&mut self.skipped))
    }

    fn count_cut(&mut self, bytes: usize) {
        self.cut.lines = self.cut.lines.saturating_add(1);
        self.cut.bytes = self.cut.bytes.saturating_add(bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::fake::FakeCall;

    fn lines(limits: &Limits) -> (Arc<FakeCall>, Lines) {
        let call = Arc::new(FakeCall::new());
        let lines = Lines::new(Owner::Call(call.clone()), limits);
        (call, lines)
    }

    #[test]
    fn past_the_budget_there_is_one_marker_and_then_nothing() {
        let (call, lines) = lines(&Limits { log_lines_per_second: 0, log_bytes: 1_024, ..Limits::default() });
        for _ in 0..100 {
            lines.log(LogLevel::Info, &"x".repeat(255), &[]);
        }
        assert!(lines.is_spent());
        let logs = call.logs();
        assert_eq!(logs.len(), 5);
        assert!(logs[4].contains("has logged 1 KiB"), "{}", logs[4]);
        assert_eq!(lines.cut(), Cut { lines: 96, bytes: 96 * 256 });
    }

    #[test]
    fn fields_and_empty_lines_count() {
        let (call, lines) = lines(&Limits { log_lines_per_second: 0, log_bytes: 10, ..Limits::default() });
        lines.log(LogLevel::Info, "", &[("k".repeat(5), "v".repeat(5))]);
        assert!(call.logs()[0].contains("is left out"));
        let (call, lines) = self::lines(&Limits { log_lines_per_second: 0, log_bytes: 10, ..Limits::default() });
        (0..100).for_each(|_| lines.log(LogLevel::Info, "", &[]));
        assert_eq!(call.logs().len(), 11);
    }

    #[tokio::test(start_paused = true)]
    async fn lines_that_come_too_fast_are_left_out_and_counted() {
        let (call, lines) = lines(&Limits { log_lines_per_second: 10, ..Limits::default() });
        for _ in 0..1_000 {
            lines.log(LogLevel::Info, "x", &[]);
        }
        let first = call.logs().len();
        assert!((10..=12).contains(&first), "{first}");
        assert_eq!(lines.cut().lines, 1_000 - first as u64);
        tokio::time::sleep(Duration::from_secs(1)).await;
        lines.log(LogLevel::Info, "later", &[]);
        let logs = call.logs();
        assert_eq!(logs[logs.len() - 1], "later");
        assert!(logs[logs.len() - 2].contains("lines of the log are left out"), "{logs:?}");
    }
}
