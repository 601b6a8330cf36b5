//! What a call owes the outside, whatever becomes of its owner task: its events in order, exactly one end, and its row
//! removed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use uuid::Uuid;
use voxtra_core::{CallId, EndReason, Event, EventType};

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
    pump: Option<Pump>,
    /// Of a call that we placed: its share of the tenant's limit, given back when nothing of the call is left.
    _permit: Option<DialPermit>,
    begun: bool,
    ended: bool,
    destroyed: bool,
}

impl CallLife {
    /// From now on the call's row is gone when this is.
    pub(crate) fn new(host: Arc<Inner>, shared: Arc<CallShared>) -> Self {
        let filters = host.ports.filters.iter().filter(|filters| filters.applies(&shared.info.tenant));
        let filters: Vec<_> = filters.cloned().collect();
        let pump = (!filters.is_empty()).then(|| Pump::start(&host, filters));
        host.counters.call_started();
        Self { host, shared, parent: None, pump, _permit: None, begun: false, ended: false, destroyed: false }
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
        let event = match &self.pump {
            Some(pump) => pump.push(&self.host, event),
            None => Some(event),
        };
        if let Some(event) = event {
            self.host.ports.sink.emit(event);
        }
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
            self.emit_with_parent(EventType::CallEnded, ended);
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
