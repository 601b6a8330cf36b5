//! What a call owes the outside, whatever becomes of its owner task: its events in order, exactly one end, and its row
//! removed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value, json};
use uuid::Uuid;
use voxtra_core::{CallId, CallRecord, EndReason, Event, EventType, HandlerName};

use crate::call::CallShared;
use crate::dial::DialPermit;
use crate::host::Inner;
use crate::pump::Pump;

/// A call's account with the outside. Dropped before [`CallLife::close`], it makes up for what is missing.
pub(crate) struct CallLife {
    pub(crate) host: Arc<Inner>,
    pub(crate) shared: Arc<CallShared>,
    /// The call whose handler placed this one.
    parent: Option<CallId>,
    /// From the first event on that somebody filters: all that follow go the same way, so that they stay in order.
    pump: OnceLock<Pump>,
    /// Of a call that we placed: its share of the tenant's limit, given back when nothing of the call is left.
    _permit: Option<DialPermit>,
    begun: bool,
    /// Why, once that has been told.
    ended: Option<EndReason>,
    destroyed: bool,
}

impl CallLife {
    /// From now on the call's row is gone when this is.
    pub(crate) fn new(host: Arc<Inner>, shared: Arc<CallShared>) -> Self {
        host.counters.call_started();
        let pump = OnceLock::new();
        Self { host, shared, parent: None, pump, _permit: None, begun: false, ended: None, destroyed: false }
    }

    /// Of a call that we placed.
    pub(crate) fn placed(
        host: Arc<Inner>,
        shared: Arc<CallShared>,
        parent: Option<CallId>,
        permit: DialPermit,
    ) -> Self {
        let mut life = Self::new(host, shared);
        life.parent = parent;
        life._permit = Some(permit);
        life
    }

    /// Sends an event; `data` is an object.
    pub(crate) fn emit(&self, kind: EventType, data: Value) {
        let event = Event {
            id: Uuid::new_v4().simple().to_string(),
            kind,
            tenant: self.shared.info.tenant.clone(),
            session_id: self.shared.info.id.clone(),
            timestamp: self.shared.now(),
            data: match data {
                Value::Object(data) => data,
                _ => Map::new(),
            },
            metadata: self.shared.metadata.shared(),
        };
        let event = match self.pump() {
            Some(pump) => pump.push(&self.host, event),
            None => Some(event),
        };
        if let Some(event) = event {
            self.host.ports.sink.emit(event);
        }
    }

    fn pump(&self) -> Option<&Pump> {
        if self.pump.get().is_none() && self.host.asked.filters_of(&self.shared.info.tenant).is_empty() {
            return None;
        }
        Some(self.pump.get_or_init(|| Pump::start(&self.host)))
    }

    /// As [`CallLife::emit`], with the call that placed this one.
    fn emit_with_parent(&self, kind: EventType, mut data: Value) {
        if let (Some(parent), Some(data)) = (&self.parent, data.as_object_mut()) {
            data.insert("parent".to_owned(), parent.as_str().into());
        }
        self.emit(kind, data);
    }

    /// The call's first events.
    pub(crate) fn begin(&mut self, handler: &str, version: &str) {
        self.begun = true;
        let info = self.shared.info();
        let direction = info.direction.as_str();
        let started = json!({"caller_id": info.caller_id, "called_number": info.called_number, "direction": direction});
        self.emit_with_parent(EventType::CallStarted, started);
        let tenant = info.tenant.as_str();
        let created = json!({"tenant": tenant, "route": info.route, "handler": handler, "version": version});
        self.emit_with_parent(EventType::SessionCreated, created);
    }

    /// The call's last events, and its row is gone.
    pub(crate) fn close(mut self, reason: &EndReason) {
        self.end(reason);
    }

    fn end(&mut self, reason: &EndReason) {
        if self.ended.is_none() {
            self.ended = Some(reason.clone());
            self.host.counters.call_ended();
            if reason.final_state() == voxtra_core::CallState::Failed {
                let error = reason.detail().unwrap_or("the audio connection broke");
                self.emit(EventType::CallFailed, json!({"reason": reason.as_str(), "error": error}));
            }
            let mut ended = json!({"reason": reason.as_str(), "duration_ms": self.shared.duration_ms()});
            if let (Some(detail), Some(data)) = (reason.detail(), ended.as_object_mut()) {
                data.insert("detail".to_owned(), detail.into());
            }
            self.emit_with_parent(EventType::CallEnded, ended);
        }
        if !self.destroyed {
            self.destroyed = true;
            self.emit(EventType::SessionDestroyed, json!({}));
        }
    }
}

impl CallLife {
    /// Hands out what the call has used up.
    fn meter(&self) {
        let Some(meter) = &self.host.ports.meter else { return };
        let lost = || EndReason::TelephonyFailed("the host lost the call; this is a fault of the host".to_owned());
        let handler = self.host.holder(&self.shared.info.id);
        let info = self.shared.info();
        let record = CallRecord {
            call: info.id.clone(),
            tenant: info.tenant.clone(),
            handler: handler.as_ref().map_or_else(|| HandlerName::from(""), |handler| handler.name().clone()),
            version: handler.map(|handler| handler.version().to_owned()).unwrap_or_default(),
            direction: info.direction,
            parent: self.parent.clone(),
            started_at: self.shared.started_at,
            answered_at: self.shared.answered_at(),
            ended_at: self.shared.ended_at().unwrap_or_else(|| self.shared.now()),
            end: self.ended.clone().unwrap_or_else(lost),
            handler_failed: self.shared.account.has_failed(),
            usage: self.shared.account.total(),
        };
        // As above: who keeps records must not take the host down with it.
        if catch_unwind(AssertUnwindSafe(|| meter.record(record))).is_err() {
            tracing::error!(call = %info.id, "the record of a call could not be handed out; this is a fault of the host");
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
        // The record comes before the row is gone, so that who waits for the last call has every record.
        self.meter();
        self.host.remove(&self.shared.info.id);
    }
}
