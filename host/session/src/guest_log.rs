//! A handler's log lines, made harmless: no control characters, and no more than a budget for each call.

use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use voxtra_core::verbs::LogLevel;
use voxtra_core::{CallId, TenantId};

/// What one call's handlers may write: enough for a chatty one, too little to fill a disk.
const BUDGET_BYTES: usize = 64 << 10;

/// Stands where the lines were cut.
const CUT: &str = "(the handler has logged 64 KiB; what it logs from here on is left out)";

/// One call's budget.
#[derive(Debug, Default)]
pub(crate) struct GuestLog {
    used_bytes: AtomicUsize,
}

impl GuestLog {
    /// Writes a line to the host's log, with the target `handler`.
    pub(crate) fn write(
        &self,
        (tenant, handler, call): (&TenantId, &str, &CallId),
        level: LogLevel,
        message: &str,
        fields: &[(String, String)],
    ) {
        let Some(line) = self.line(message, fields) else { return };
        let (tenant, call) = (tenant.as_str(), call.as_str());
        match level {
            LogLevel::Trace => tracing::trace!(target: "handler", tenant, handler, call, "{line}"),
            LogLevel::Debug => tracing::debug!(target: "handler", tenant, handler, call, "{line}"),
            LogLevel::Info => tracing::info!(target: "handler", tenant, handler, call, "{line}"),
            LogLevel::Warn => tracing::warn!(target: "handler", tenant, handler, call, "{line}"),
            LogLevel::Error => tracing::error!(target: "handler", tenant, handler, call, "{line}"),
        }
    }

    /// What is to be written of a line: all of it, the marker where the budget ends, nothing after that.
    fn line(&self, message: &str, fields: &[(String, String)]) -> Option<String> {
        if self.used_bytes.load(Ordering::Relaxed) > BUDGET_BYTES {
            return None;
        }
        let mut line = String::with_capacity(message.len().min(BUDGET_BYTES));
        escape(message, &mut line);
        for (key, value) in fields {
            line.push(' ');
            escape(key, &mut line);
            line.push('=');
            escape(value, &mut line);
        }
        // An empty line costs something too.
        let bytes = line.len() + 1;
        let before = self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before > BUDGET_BYTES {
            return None;
        }
        Some(if before + bytes > BUDGET_BYTES { CUT.to_owned() } else { line })
    }
}

/// Control characters, and those that reorder or break a line, come as `\n` or `\u{…}`. Stops at the budget.
fn escape(text: &str, into: &mut String) {
    for c in text.chars() {
        if into.len() > BUDGET_BYTES {
            return;
        }
        let unsafe_here = c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if unsafe_here {
            // Writing to a string cannot fail.
            let _ = write!(into, "{}", c.escape_default());
        } else {
            into.push(c);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        let fields = [("k\u{1b}[0m".to_owned(), "\u{202e}v".to_owned())];
        let line = GuestLog::default().line("a\r\nb", &fields).unwrap();
        assert_eq!(line, "a\\r\\nb k\\u{1b}[0m=\\u{202e}v");
    }

    #[test]
    fn past_the_budget_there_is_one_marker_and_then_nothing() {
        let log = GuestLog::default();
        let kilobyte = "x".repeat(1023);
        let lines: Vec<_> = (0..100).filter_map(|_| log.line(&kilobyte, &[])).collect();
        assert_eq!(lines.len(), 65);
        assert_eq!(lines.iter().filter(|line| *line == CUT).count(), 1);
        assert_eq!(lines.last().unwrap(), CUT);
    }

    #[test]
    fn one_huge_line_is_cut_whole_and_empty_ones_count() {
        let log = GuestLog::default();
        assert_eq!(log.line(&"\u{1}".repeat(1 << 20), &[]).unwrap(), CUT);
        assert_eq!(log.line("more", &[]), None);
        let log = GuestLog::default();
        assert_eq!((0..70_000).filter_map(|_| log.line("", &[])).count(), BUDGET_BYTES + 1);
    }
}
