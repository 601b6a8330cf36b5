//! A handler's log lines, made harmless: no control characters, and no more than a budget for each call.

use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use voxtra_core::verbs::LogLevel;
use voxtra_core::{CallId, TenantId};

/// What one call's handlers may write unless the tenant's limits say otherwise: enough for a chatty one, too little to fill a
/// disk.
const BUDGET_BYTES: u32 = 64 << 10;

/// One call's budget.
#[derive(Debug)]
pub(crate) struct GuestLog {
    budget_bytes: usize,
    used_bytes: AtomicUsize,
}

impl Default for GuestLog {
    fn default() -> Self {
        Self::new(None)
    }
}

impl GuestLog {
    /// So many bytes; `None`: 64 KiB.
    pub(crate) fn new(budget_bytes: Option<u32>) -> Self {
        let budget_bytes = usize::try_from(budget_bytes.unwrap_or(BUDGET_BYTES)).unwrap_or(usize::MAX);
        Self { budget_bytes, used_bytes: AtomicUsize::new(0) }
    }

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
        let budget_bytes = self.budget_bytes;
        let used_bytes = self.used_bytes.load(Ordering::Relaxed);
        if used_bytes > budget_bytes {
            return None;
        }
        // Escaping only makes it longer: what is too long as it is need not be copied to know that.
        let raw =
            fields.iter().fold(message.len(), |sum, (k, v)| sum.saturating_add(k.len()).saturating_add(v.len() + 2));
        let mut line = String::new();
        if raw <= budget_bytes - used_bytes {
            line.reserve(raw);
            escape(message, &mut line, budget_bytes);
            for (key, value) in fields {
                line.push(' ');
                escape(key, &mut line, budget_bytes);
                line.push('=');
                escape(value, &mut line, budget_bytes);
            }
        }
        // An empty line costs something too.
        let bytes = line.len().max(raw).saturating_add(1);
        let before = self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before > budget_bytes {
            return None;
        }
        let cut = before.saturating_add(bytes) > budget_bytes;
        Some(if cut { self.marker() } else { line })
    }

    /// Stands where the lines were cut.
    fn marker(&self) -> String {
        let kib = self.budget_bytes >> 10;
        format!("(the handler has logged {kib} KiB; what it logs from here on is left out)")
    }
}

/// Control characters, and those that reorder or break a line, come as `\n` or `\u{…}`. Stops at the budget.
fn escape(text: &str, into: &mut String, budget_bytes: usize) {
    for c in text.chars() {
        if into.len() > budget_bytes {
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
        assert_eq!(lines.iter().filter(|line| **line == log.marker()).count(), 1);
        assert_eq!(*lines.last().unwrap(), log.marker());
    }

    #[test]
    fn one_huge_line_is_cut_whole_and_empty_ones_count() {
        let log = GuestLog::default();
        assert_eq!(log.line(&"\u{1}".repeat(1 << 20), &[]).unwrap(), log.marker());
        assert_eq!(log.line("more", &[]), None);
        let log = GuestLog::default();
        assert_eq!((0..70_000).filter_map(|_| log.line("", &[])).count(), 65_537);
    }

    #[test]
    fn a_budget_can_be_another_and_a_line_that_is_longer_is_not_looked_at() {
        let log = GuestLog::new(Some(1 << 10));
        let fields = [("k".to_owned(), "v".repeat(1 << 20))];
        assert!(log.line("short", &[]).is_some());
        assert!(log.line("long", &fields).unwrap().contains("1 KiB"));
        assert_eq!(log.line("more", &[]), None);
        assert!(GuestLog::new(Some(0)).line("x", &[]).unwrap().contains("left out"));
    }
}
