//! Whether handlers can begin in time: how long the oldest beginning waits for the guests' runtime, and whether the pool
//! of instances was found full. A call that would be served late is refused before it is taken. One tenant's handlers that
//! are slow to begin are its own affair: they speak for the machine only together with another's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use voxtra_core::TenantId;

/// What is known of the guests' runtime. Looked at once for each call, written twice for each beginning.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    /// Beginnings that have not come to their handler, the oldest first.
    beginning: BTreeMap<u64, (TenantId, Instant)>,
    /// When the pool was last found full, unless an instance has gone since.
    full_since: Option<Instant>,
}

/// One handler on its way to its beginning; it is there, or has given up, when this is dropped.
#[derive(Debug)]
pub(crate) struct Beginning {
    pressure: Arc<Pressure>,
    number: u64,
}

impl Drop for Beginning {
    fn drop(&mut self) {
        self.pressure.inner().beginning.remove(&self.number);
    }
}

impl Pressure {
    /// A handler of the tenant's is to begin now.
    pub(crate) fn begins(self: &Arc<Self>, tenant: &TenantId) -> Beginning {
        let mut inner = self.inner();
        let number = inner.next;
        inner.next += 1;
        inner.beginning.insert(number, (tenant.clone(), Instant::now()));
        Beginning { pressure: Arc::clone(self), number }
    }

    /// The pool had no place.
    pub(crate) fn pool_full(&self) {
        self.inner().full_since = Some(Instant::now());
    }

    /// An instance has gone, and its place with it.
    pub(crate) fn instance_gone(&self) {
        self.inner().full_since = None;
    }

    /// Why a handler of the tenant's that was to begin now would not do so within `budget`, as far as can be told.
    pub(crate) fn too_busy(&self, tenant: &TenantId, budget: Duration) -> Option<String> {
        let mut inner = self.inner();
        let now = Instant::now();
        if let Some(since) = inner.full_since {
            if now.duration_since(since) < budget {
                return Some("busy: all of the host's handler instances are in use; add a host".to_owned());
            }
            // Places that others than calls had may be free again: try.
            inner.full_since = None;
        }
        let waits = |began: &Instant| now.duration_since(*began);
        let mut late = inner.beginning.values().take_while(|(_, began)| waits(began) >= budget);
        let (first, began) = late.next()?;
        let waits_ms = waits(began).as_millis();
        if first == tenant || late.any(|(other, _)| other != first) {
            return Some(format!("busy: a handler has waited for {waits_ms} ms for its turn to begin; add a host"));
        }
        None
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Duration = Duration::from_millis(500);

    #[tokio::test(start_paused = true)]
    async fn the_oldest_beginning_tells_how_late_the_next_would_be() {
        let (pressure, acme) = (Arc::<Pressure>::default(), TenantId::from("acme"));
        assert_eq!(pressure.too_busy(&acme, BUDGET), None);
        let first = pressure.begins(&acme);
        tokio::time::advance(Duration::from_millis(400)).await;
        let second = pressure.begins(&acme);
        assert_eq!(pressure.too_busy(&acme, BUDGET), None);
        tokio::time::advance(Duration::from_millis(100)).await;
        let why = pressure.too_busy(&acme, BUDGET);
        assert!(why.is_some_and(|why| why.starts_with("busy") && why.contains("500 ms")));
        drop(first);
        assert_eq!(pressure.too_busy(&acme, BUDGET), None);
        drop(second);
        tokio::time::advance(BUDGET).await;
        assert_eq!(pressure.too_busy(&acme, BUDGET), None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_tenants_slow_beginnings_refuse_nobody_elses_calls() {
        let pressure = Arc::<Pressure>::default();
        let [acme, beta, gamma] = ["acme", "beta", "gamma"].map(TenantId::from);
        let slow: Vec<_> = (0..100).map(|_| pressure.begins(&acme)).collect();
        tokio::time::advance(BUDGET).await;
        assert!(pressure.too_busy(&acme, BUDGET).is_some());
        assert_eq!(pressure.too_busy(&beta, BUDGET), None);
        let of_beta = pressure.begins(&beta);
        assert_eq!(pressure.too_busy(&gamma, BUDGET), None);
        // Two of them are late: it is the machine.
        tokio::time::advance(BUDGET).await;
        assert!(pressure.too_busy(&gamma, BUDGET).is_some());
        drop(slow);
        assert_eq!(pressure.too_busy(&gamma, BUDGET), None);
        assert!(pressure.too_busy(&beta, BUDGET).is_some());
        drop(of_beta);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_pool_refuses_until_an_instance_goes_or_the_budget_is_over() {
        let (pressure, acme) = (Arc::<Pressure>::default(), TenantId::from("acme"));
        pressure.pool_full();
        assert!(pressure.too_busy(&acme, BUDGET).is_some_and(|why| why.starts_with("busy")));
        pressure.instance_gone();
        assert_eq!(pressure.too_busy(&acme, BUDGET), None);
        pressure.pool_full();
        tokio::time::advance(BUDGET).await;
        assert_eq!(pressure.too_busy(&acme, BUDGET), None);
    }
}
