//! Where the host's events go: the log, and for simulated calls their account.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use voxtra_core::CallId;
use voxtra_core::event::{Event, EventSink, EventType};

use crate::output;

/// Writes every event to the log.
#[derive(Debug, Default)]
pub(crate) struct LogSink;

impl EventSink for LogSink {
    fn emit(&self, event: Event) {
        let data = Value::Object(event.data);
        let (kind, call, tenant) = (event.kind.as_str(), event.session_id.as_str(), event.tenant.as_str());
        match event.kind {
            // One each 20 ms.
            EventType::AudioFrameReceived | EventType::AudioFrameSent => {
                tracing::trace!(target: "voxtra::events", event = kind, call, tenant, %data);
            }
            EventType::CallFailed | EventType::Error => {
                tracing::warn!(target: "voxtra::events", event = kind, call, tenant, %data);
            }
            _ => tracing::info!(target: "voxtra::events", event = kind, call, tenant, %data),
        }
    }
}

/// An event, and when it came by the clock of the simulated call.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) at: Duration,
    pub(crate) event: Event,
    /// Of an event of a call that a handler has placed: who was called.
    pub(crate) callee: Option<String>,
}

impl Heard {
    /// The event in a few words: whose it is when it is not the caller's own, its wire name, and the values that go with
    /// it, of which some speak for themselves, and some to machines only.
    pub(crate) fn label(&self) -> String {
        const BARE: [&str; 2] = ["digit", "reason"];
        const LEFT_OUT: [&str; 4] = ["format", "locations", "recording_id", "sha256"];
        let id = self.event.data.get("recording_id");
        // A recording that was given no name has its id for one.
        let is_shown = |key: &str, value: &Value| !LEFT_OUT.contains(&key) && (key != "name" || Some(value) != id);
        let data = self.event.data.iter().filter(|(key, value)| is_shown(key, value));
        let (bare, named): (Vec<_>, Vec<_>) = data.partition(|(key, _)| BARE.contains(&key.as_str()));
        let whose = self.callee.iter().map(|callee| format!("{callee}: ")).collect::<String>();
        let mut label = format!("{whose}{}", self.event.kind.as_str());
        for (key, value) in bare.into_iter().chain(named) {
            let text = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            match BARE.contains(&key.as_str()) {
                _ if value.is_null() || text.is_empty() => {}
                true => label.push_str(&format!(" {text}")),
                false => label.push_str(&format!(" {key}={text}")),
            }
        }
        label.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

/// Keeps the events of simulated calls, with their times, and shows them as they come when asked to.
#[derive(Debug)]
pub(crate) struct Account {
    live: bool,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// When the call that goes on now began to ring.
    since: Instant,
    heard: Vec<Heard>,
    /// Who is called, of the calls that handlers have placed.
    callees: HashMap<CallId, String>,
    started: u64,
    ended: u64,
}

impl Account {
    /// An empty one. To be made inside the runtime whose clock counts.
    pub(crate) fn new(live: bool) -> Arc<Self> {
        let inner = Inner { since: Instant::now(), heard: Vec::new(), callees: HashMap::new(), started: 0, ended: 0 };
        Arc::new(Self { live, inner: Mutex::new(inner) })
    }

    /// A new call begins now: times count from here, events of the one before are forgotten.
    pub(crate) fn begin(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.since = Instant::now();
        inner.heard.clear();
        inner.callees.clear();
    }

    /// The events of the call.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).heard.clone()
    }

    /// How many calls have begun and how many have ended, by their events.
    pub(crate) fn calls(&self) -> (u64, u64) {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        (inner.started, inner.ended)
    }

    /// Shows something of the caller's side.
    pub(crate) fn show(&self, at: Duration, what: &str) {
        if self.live {
            output::line(format_args!("{} {what}", stamp(at)));
        }
    }
}

impl EventSink for Account {
    fn emit(&self, event: Event) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match event.kind {
            EventType::CallStarted => inner.started += 1,
            EventType::CallEnded => inner.ended += 1,
            EventType::AudioFrameReceived | EventType::AudioFrameSent => return,
            _ => {}
        }
        let text = |key: &str| event.data.get(key).and_then(Value::as_str);
        if event.kind == EventType::CallStarted && text("direction") == Some("outbound") {
            let callee = text("called_number").unwrap_or_default().to_owned();
            inner.callees.insert(event.session_id.clone(), callee);
        }
        let callee = inner.callees.get(&event.session_id).cloned();
        let heard = Heard { at: inner.since.elapsed(), event, callee };
        self.show(heard.at, &heard.label());
        inner.heard.push(heard);
    }
}

/// `[  1.240s]`
pub(crate) fn stamp(at: Duration) -> String {
    format!("[{:>7.3}s]", at.as_secs_f64())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::SystemTime;

    use serde_json::json;
    use voxtra_core::{CallId, TenantId};

    use super::*;

    fn event(kind: EventType) -> Event {
        Event {
            id: "0".into(),
            kind,
            tenant: TenantId::default(),
            session_id: CallId::from("sim-1"),
            timestamp: SystemTime::UNIX_EPOCH,
            data: json!({"digit": "1", "note": null, "text": "a\nb"}).as_object().unwrap().clone(),
            metadata: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_counts_calls_by_their_events_and_times_them() {
        let account = Account::new(false);
        account.emit(event(EventType::CallStarted));
        tokio::time::advance(Duration::from_millis(1_240)).await;
        account.emit(event(EventType::CallEnded));
        assert_eq!(account.calls(), (1, 1));
        let heard = account.heard();
        assert_eq!(stamp(heard.last().unwrap().at), "[  1.240s]");
        account.begin();
        assert!(account.heard().is_empty());
    }

    #[tokio::test]
    async fn a_label_stays_on_its_line() {
        let heard = Heard { at: Duration::ZERO, event: event(EventType::DtmfReceived), callee: None };
        assert_eq!(heard.label(), "dtmf.received 1 text=a b");
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_of_a_placed_call_says_whose_it_is() {
        let account = Account::new(false);
        let placed = |kind: EventType, data: Value| Event {
            session_id: CallId::from("other"),
            data: data.as_object().unwrap().clone(),
            ..event(kind)
        };
        account.emit(placed(EventType::CallStarted, json!({"direction": "outbound", "called_number": "PJSIP/1"})));
        account.emit(placed(EventType::CallAnswered, json!({})));
        account.emit(event(EventType::CallAnswered));
        account.emit(placed(EventType::RecordingStarted, json!({"recording_id": "7", "name": "7", "recorder": "pbx"})));
        let labels: Vec<_> = account.heard().iter().map(Heard::label).collect();
        let wanted = ["PJSIP/1: call.answered", "call.answered 1 text=a b", "PJSIP/1: recording.started recorder=pbx"];
        assert_eq!(labels.get(1..).unwrap(), wanted);
    }
}
