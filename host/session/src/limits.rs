//! How much of the host a tenant and a handler may have: calls at once, how long they last, their log, and calls placed in a
//! day. What instances use up is the Wasm runtime's to limit.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use voxtra_core::{CallError, HandlerName, TenantId};

/// Over which time placed calls are counted. It begins with the first of them.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What one tenant may have. None: as much as the host allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TenantLimits {
    /// Calls of the tenant's at one time, those that it has placed included.
    pub calls_at_once: Option<u32>,
    /// How long one of its calls may last, from its start; never longer than [`crate::HostOptions::call_limit`].
    pub call_limit: Option<Duration>,
    /// Calls placed in 24 hours, whoever asked for them. Counted from the start of the process.
    pub originated_per_day: Option<u32>,
    /// How long a handler may go on after its call's end; never longer than [`crate::HostOptions::handler_grace`].
    pub handler_grace: Option<Duration>,
    /// How long a hang-up hook may take; never longer than [`crate::HostOptions::hook_limit`].
    pub hook_limit: Option<Duration>,
    /// Bytes of log of one call, all of its handlers together. None: 64 KiB.
    pub log_bytes: Option<u32>,
}

/// What a handler's version allows itself, within what its tenant has. None: as much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VersionLimits {
    /// Calls that the handler, in all of its versions, has at one time; those that it has placed not counted.
    pub calls_at_once: Option<u32>,
    /// How long one of its calls may last, from its start.
    pub call_limit: Option<Duration>,
    /// How long it may go on after its call's end.
    pub handler_grace: Option<Duration>,
    /// How long its hang-up hook may take.
    pub hook_limit: Option<Duration>,
}

/// All tenants' limits as they are now, and what they have placed.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    others: TenantLimits,
    tenants: HashMap<TenantId, TenantLimits>,
    placed: HashMap<TenantId, PlacedToday>,
}

#[derive(Debug)]
struct PlacedToday {
    since: Instant,
    calls: u32,
}

impl Limits {
    pub(crate) fn set(&self, others: TenantLimits, tenants: impl IntoIterator<Item = (TenantId, TenantLimits)>) {
        let tenants = tenants.into_iter().collect();
        let mut inner = self.inner();
        inner.others = others;
        inner.tenants = tenants;
    }

    pub(crate) fn of(&self, tenant: &TenantId) -> TenantLimits {
        let inner = self.inner();
        inner.tenants.get(tenant).copied().unwrap_or(inner.others)
    }

    /// Counts a call that is to be placed, or says why it may not be.
    pub(crate) fn count_placed(&self, tenant: &TenantId) -> Result<(), CallError> {
        let mut inner = self.inner();
        let most = inner.tenants.get(tenant).unwrap_or(&inner.others).originated_per_day;
        let now = Instant::now();
        let today = inner.placed.entry(tenant.clone()).or_insert_with(|| PlacedToday { since: now, calls: 0 });
        if now.duration_since(today.since) >= DAY {
            *today = PlacedToday { since: now, calls: 0 };
        }
        if let Some(most) = most.filter(|most| today.calls >= *most) {
            return Err(CallError::LimitExceeded(format!(
                "the tenant {tenant} has placed {} calls in 24 hours and may place {most}; wait, or raise `max_per_day`",
                today.calls
            )));
        }
        today.calls = today.calls.saturating_add(1);
        Ok(())
    }

    /// How many calls a tenant has placed in its day.
    pub(crate) fn placed_today(&self, tenant: &TenantId) -> u32 {
        let inner = self.inner();
        let today = inner.placed.get(tenant).filter(|today| today.since.elapsed() < DAY);
        today.map_or(0, |today| today.calls)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many calls each tenant and each handler has now.
#[derive(Debug, Default)]
pub(crate) struct Occupancy {
    tenants: HashMap<TenantId, Occupied>,
}

#[derive(Debug, Default)]
struct Occupied {
    calls: u32,
    handlers: HashMap<HandlerName, u32>,
}

impl Occupancy {
    /// Counts one call more, or says why it is one too many. `handler`: who starts for it, and what it allows itself.
    pub(crate) fn enter(
        &mut self,
        tenant: &TenantId,
        most: Option<u32>,
        handler: Option<(&HandlerName, VersionLimits)>,
    ) -> Result<(), String> {
        let calls = self.tenants.get(tenant).map_or(0, |occupied| occupied.calls);
        if let Some(most) = most.filter(|most| calls >= *most) {
            return Err(format!(
                "{calls} calls of the tenant {tenant} are up and {most} may be; raise its `limits.max_calls`"
            ));
        }
        if let Some((name, limits)) = handler {
            self.enter_handler(tenant, name, limits)?;
        }
        self.tenants.entry(tenant.clone()).or_default().calls += 1;
        Ok(())
    }

    /// Counts one call more of a handler's, or says why it is one too many.
    pub(crate) fn enter_handler(
        &mut self,
        tenant: &TenantId,
        name: &HandlerName,
        limits: VersionLimits,
    ) -> Result<(), String> {
        let occupied = self.tenants.get(tenant);
        let calls = occupied.and_then(|occupied| occupied.handlers.get(name)).copied().unwrap_or(0);
        if let Some(most) = limits.calls_at_once.filter(|most| calls >= *most) {
            return Err(format!(
                "the handler {name} of the tenant {tenant} has {calls} calls and may have {most}; wait for one to end"
            ));
        }
        *self.tenants.entry(tenant.clone()).or_default().handlers.entry(name.clone()).or_default() += 1;
        Ok(())
    }

    /// A call is gone.
    pub(crate) fn leave(&mut self, tenant: &TenantId, handler: Option<&HandlerName>) {
        if let Some(name) = handler {
            self.leave_handler(tenant, name);
        }
        if let Some(occupied) = self.tenants.get_mut(tenant) {
            occupied.calls = occupied.calls.saturating_sub(1);
            if occupied.calls == 0 {
                self.tenants.remove(tenant);
            }
        }
    }

    /// A handler has a call no more.
    pub(crate) fn leave_handler(&mut self, tenant: &TenantId, name: &HandlerName) {
        let Some(occupied) = self.tenants.get_mut(tenant) else { return };
        if let Some(calls) = occupied.handlers.get_mut(name) {
            *calls = calls.saturating_sub(1);
            if *calls == 0 {
                occupied.handlers.remove(name);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_and_a_handler_have_as_many_calls_as_they_may_and_get_them_back() {
        let (acme, other, support) = (TenantId::from("acme"), TenantId::from("other"), HandlerName::from("support"));
        let narrow = VersionLimits { calls_at_once: Some(1), ..VersionLimits::default() };
        let mut occupancy = Occupancy::default();
        occupancy.enter(&acme, Some(2), Some((&support, narrow))).unwrap();
        let why = occupancy.enter(&acme, Some(2), Some((&support, narrow))).unwrap_err();
        assert!(why.contains("support") && why.contains("may have 1"), "{why}");
        occupancy.enter(&acme, Some(2), None).unwrap();
        let why = occupancy.enter(&acme, Some(2), None).unwrap_err();
        assert!(why.contains("acme") && why.contains("2 may be"), "{why}");
        occupancy.enter(&other, Some(2), Some((&support, narrow))).unwrap();
        occupancy.leave(&acme, Some(&support));
        occupancy.enter(&acme, Some(2), Some((&support, narrow))).unwrap();
        occupancy.leave(&acme, Some(&support));
        occupancy.leave(&acme, None);
        occupancy.leave(&other, Some(&support));
        assert!(occupancy.tenants.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn placed_calls_are_counted_for_a_day() {
        let limits = Limits::default();
        let (acme, other) = (TenantId::from("acme"), TenantId::from("other"));
        let two = TenantLimits { originated_per_day: Some(2), ..TenantLimits::default() };
        limits.set(TenantLimits::default(), [(acme.clone(), two)]);
        limits.count_placed(&acme).unwrap();
        tokio::time::advance(DAY / 2).await;
        limits.count_placed(&acme).unwrap();
        let why = limits.count_placed(&acme).unwrap_err();
        assert!(why.kind() == "limit-exceeded" && why.to_string().contains("max_per_day"), "{why}");
        limits.count_placed(&other).unwrap();
        tokio::time::advance(DAY / 2).await;
        limits.count_placed(&acme).unwrap();
    }
}
