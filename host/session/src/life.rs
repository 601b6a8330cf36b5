//! What a call owes the outside, whatever becomes of its owner task: its events in order, exactly one end, and its row
//! removed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use uuid::Uuid;
use voxtra_core::{EndReason, Event, EventType};

use crate::call::CallShared;
use crate::host::Inner;

/// A call's account with the outside. Dropped before [`CallLife::close`], it makes up for what is missing.
pub(crate) struct CallLife {
    pub(crate) host: Arc<Inner>,
    pub(crate) shared: Arc<CallShared>,
    begun: bool,
    ended: bool,
    destroyed: bool,
}

impl CallLife {
    pub(crate) fn new(host: Arc<Inner>, shared: Arc<CallShared>) -> Self {
        Self { host, shared, begun: false, ended: false, destroyed: false }
    }

    /// Sends an event; `data` is an object.
    pub(crate) fn emit(&self, kind: EventType, data: Value) {
        self.host.sink.emit(Event {
            id: Uuid::new_v4().simple().to_string(),
            kind,
            tenant: self.shared.info.tenant.clone(),
            session_id: self.shared.info.id.clone(),
            timestamp: self.shared.now(),
            data: match data {
                Value::Object(data) => data,
                _ => Map::new(),
            },
        });
    }

    /// The call's first events.
    pub(crate) fn begin(&mut self, handler: &str, version: &str) {
        self.begun = true;
        let info = &self.shared.info;
        let direction = info.direction.as_str();
        let started = json!({"caller_id": info.caller_id, "called_number": info.called_number, "direction": direction});
        self.emit(EventType::CallStarted, started);
        let tenant = info.tenant.as_str();
        let created = json!({"tenant": tenant, "route": info.route, "handler": handler, "version": version});
        self.emit(EventType::SessionCreated, created);
    }

    /// The call's last events, and its row is gone.
    pub(crate) fn close(mut self, reason: &EndReason) {
        self.end(reason);
    }

    fn end(&mut self, reason: &EndReason) {
        if !self.ended {
            self.ended = true;
            self.host.counters.call_ended();
            if reason.final_state() == voxtra_core::CallState::Failed {
                let error = reason.detail().unwrap_or("the audio connection broke");
                self.emit(EventType::CallFailed, json!({"reason": reason.as_str(), "error": error}));
            }
            let mut ended = json!({"reason": reason.as_str(), "duration_ms": self.shared.duration_ms()});
            if let (Some(detail), Some(data)) = (reason.detail(), ended.as_object_mut()) {
                data.insert("detail".to_owned(), detail.into());
            }
            self.emit(EventType::CallEnded, ended);
        }
        if !self.destroyed {
            self.destroyed = true;
            self.emit(EventType::SessionDestroyed, json!({}));
        }
    }
}

impl Drop for CallLife {
    fn drop(&mut self) {
        if !self.destroyed {
            let reason = EndReason::TelephonyFailed("the host lost the call; this is a fault of the host".to_owned());
            self.host.counters.call_lost();
            self.shared.set_over(reason.final_state());
            self.shared.mailbox.end(reason.clone());
            // A sink that panicked may be why we are here; a second panic would take the whole host down.
            let told = catch_unwind(AssertUnwindSafe(|| {
                if !self.begun {
                    self.begin("", "");
                }
                self.end(&reason);
            }));
            tracing::error!(call = %self.shared.info.id, told = told.is_ok(), "a call's owner vanished; its end was made up for");
        }
        self.host.remove(&self.shared.info.id);
    }
}
