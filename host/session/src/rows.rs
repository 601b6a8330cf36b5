//! The calls that are up, and how many of them each tenant and handler has.

use std::collections::HashMap;
use std::sync::Arc;

use voxtra_core::{CallId, Exchange};

use crate::call::CallShared;
use crate::handlers::HandlerVersion;
use crate::limits::{Occupancy, TenantLimits};

/// One call that is up.
pub(crate) struct Row {
    pub(crate) shared: Arc<CallShared>,
    /// Who has it, or whose handler placed it; none: nobody.
    pub(crate) handler: Option<Arc<dyn HandlerVersion>>,
    pub(crate) exchange: Arc<dyn Exchange>,
    pub(crate) parent: Option<CallId>,
    /// Whether another version of its handler took new calls when that was looked at last.
    pub(crate) outdated: bool,
}

impl Row {
    /// Who starts for it: not for a call whose handler is at work in another.
    fn starts(&self) -> Option<&dyn HandlerVersion> {
        self.handler.as_deref().filter(|_| self.parent.is_none())
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct Rows {
    calls: HashMap<CallId, Row>,
    occupancy: Occupancy,
}

impl Rows {
    /// One call more, or why it is one too many.
    pub(crate) fn enter(&mut self, row: Row, limits: TenantLimits) -> Result<(), String> {
        let info = &row.shared.info;
        if self.calls.contains_key(&info.id) {
            return Err(format!("the call {} is here already", info.id));
        }
        let starts = row.starts().map(|handler| (handler.name(), handler.limits()));
        self.occupancy.enter(&info.tenant, limits.calls_at_once, starts)?;
        self.calls.insert(info.id.clone(), row);
        Ok(())
    }

    /// Another handler has the call now, unless it has as many as it may have.
    pub(crate) fn hand_over(&mut self, id: &CallId, handler: Arc<dyn HandlerVersion>) -> Result<(), String> {
        let Some(row) = self.calls.get_mut(id) else { return Ok(()) };
        let tenant = &row.shared.info.tenant;
        let same = row.starts().is_some_and(|before| before.name() == handler.name());
        if !same && row.parent.is_none() {
            self.occupancy.enter_handler(tenant, handler.name(), handler.limits())?;
            if let Some(before) = row.starts() {
                self.occupancy.leave_handler(tenant, before.name());
            }
        }
        row.handler = Some(handler);
        Ok(())
    }

    /// Nothing is left of a call.
    pub(crate) fn leave(&mut self, id: &CallId) {
        if let Some(row) = self.calls.remove(id) {
            self.occupancy.leave(&row.shared.info.tenant, row.starts().map(HandlerVersion::name));
        }
    }

    pub(crate) fn get(&self, id: &CallId) -> Option<&Row> {
        self.calls.get(id)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Row> {
        self.calls.values_mut()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Row> {
        self.calls.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }
}
