//! The host's log (`--log-format json`), read as it grows: events of calls, and the other lines.

use std::collections::BTreeMap;

use serde_json::Value;
use voxtra_test_support::Host;

/// An event of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct HostEvent {
    /// Its wire name, such as `call.ended`.
    pub kind: String,
    /// The call's id.
    pub call: String,
    /// What goes with it.
    pub data: Value,
}

impl HostEvent {
    /// A text that goes with it; empty when there is none.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.data.get(key).and_then(Value::as_str).unwrap_or("")
    }
}

/// A line of a handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerLine {
    /// The call's id.
    pub call: String,
    /// What was logged, fields included.
    pub message: String,
}

/// What has been read of the log so far.
#[derive(Debug, Default)]
pub struct HostLog {
    read: usize,
    events: Vec<HostEvent>,
    handlers: Vec<HandlerLine>,
    panics: Vec<String>,
}

impl HostLog {
    /// Reads on.
    pub fn follow(&mut self, host: &Host) {
        for line in host.lines_from(self.read) {
            self.read += 1;
            self.take(&line.text);
        }
    }

    fn take(&mut self, text: &str) {
        let Ok(line) = serde_json::from_str::<Value>(text) else {
            // A handler's panic is a line of the log; the host's own is not.
            if text.contains("panicked at") {
                self.panics.push(text.to_owned());
            }
            return;
        };
        let field = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        match field("target").as_str() {
            "voxtra::events" => {
                let data = serde_json::from_str(&field("data")).unwrap_or(Value::Null);
                self.events.push(HostEvent { kind: field("event"), call: field("call"), data });
            }
            "handler" => self.handlers.push(HandlerLine { call: field("call"), message: field("message") }),
            _ => {}
        }
    }

    /// All events so far, in order.
    #[must_use]
    pub fn events(&self) -> &[HostEvent] {
        &self.events
    }

    /// The events of one kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a HostEvent> {
        self.events.iter().filter(move |event| event.kind == kind)
    }

    /// How many events of one kind.
    #[must_use]
    pub fn count(&self, kind: &str) -> usize {
        self.of_kind(kind).count()
    }

    /// How many calls ended for each reason.
    #[must_use]
    pub fn reasons(&self) -> BTreeMap<String, usize> {
        let mut reasons = BTreeMap::new();
        for event in self.of_kind("call.ended") {
            *reasons.entry(event.text("reason").to_owned()).or_default() += 1;
        }
        reasons
    }

    /// Lines of handlers that hold this text.
    pub fn handler_lines<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a HandlerLine> {
        self.handlers.iter().filter(move |line| line.message.contains(text))
    }

    /// Lines in which a panic was reported.
    #[must_use]
    pub fn panics(&self) -> &[String] {
        &self.panics
    }

    /// Whether every call that has begun is over to its last event.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.count("call.started") <= self.count("session.destroyed")
    }

    /// What is wrong with the beginnings and the ends of calls: each must have exactly one of each.
    #[must_use]
    pub fn account(&self) -> Vec<String> {
        const ONCE: [&str; 4] = ["call.started", "session.created", "call.ended", "session.destroyed"];
        let mut calls: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
        for event in &self.events {
            let counts = calls.entry(&event.call).or_default();
            for (count, _) in counts.iter_mut().zip(ONCE).filter(|(_, kind)| *kind == event.kind) {
                *count += 1;
            }
        }
        // Of a call that a killed host had, the next one tells only what became of its recording.
        let wrong = calls.iter().filter(|(_, counts)| **counts != [1; 4] && **counts != [0; 4]);
        wrong.map(|(call, counts)| format!("call {call}: {ONCE:?} came {counts:?} times")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: &str, call: &str, data: &str) -> String {
        serde_json::json!({"target": "voxtra::events", "event": kind, "call": call, "data": data}).to_string()
    }

    #[test]
    fn a_call_that_ends_twice_or_never_is_found() {
        let mut log = HostLog::default();
        for (call, ends) in [("a", 1), ("b", 2), ("c", 0)] {
            log.take(&line("call.started", call, "{}"));
            log.take(&line("session.created", call, "{}"));
            for _ in 0..ends {
                log.take(&line("call.ended", call, r#"{"reason":"caller-hung-up"}"#));
            }
            log.take(&line("session.destroyed", call, "{}"));
        }
        log.take("no JSON at all");
        let wrong = log.account();
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong.iter().all(|w| w.contains("call b") || w.contains("call c")), "{wrong:?}");
        assert_eq!(log.reasons().get("caller-hung-up"), Some(&3));
    }
}
