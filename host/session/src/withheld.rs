//! Events that do not leave because a filter that is to see them does not: counted by tenant, and told without a flood. A
//! filter takes out what must not leave, so nothing leaves past it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use voxtra_core::{Event, TenantId};

/// How often it is told of one tenant, at most.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Withheld(Mutex<BTreeMap<TenantId, OfTenant>>);

#[derive(Debug, Default)]
struct OfTenant {
    events: u64,
    /// Of those, what was not told yet.
    untold: u64,
    told: Option<Instant>,
}

impl Withheld {
    /// This event does not leave. The log has a line for it, as it has of every event, and nothing of what is in it.
    pub(crate) fn note(&self, event: &Event, why: &str) {
        let (kind, call, tenant) = (event.kind.as_str(), event.session_id.as_str(), event.tenant.as_str());
        tracing::info!(target: "voxtra::events", event = kind, call, tenant, withheld = true);
        if let Some(events) = self.count(&event.tenant) {
            tracing::warn!(
                tenant,
                events,
                why,
                "events are dropped because a filter did not see them; put a version into the plugin directory that works"
            );
        }
    }

    /// By tenant, since the start.
    pub(crate) fn by_tenant(&self) -> Vec<(TenantId, u64)> {
        let tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.iter().map(|(tenant, withheld)| (tenant.clone(), withheld.events)).collect()
    }

    /// One more; how many are to be told of now.
    fn count(&self, tenant: &TenantId) -> Option<u64> {
        let mut tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (withheld, now) = (tenants.entry(tenant.clone()).or_default(), Instant::now());
        withheld.events += 1;
        withheld.untold += 1;
        if withheld.told.is_some_and(|told| now < told + TELL_EVERY) {
            return None;
        }
        withheld.told = Some(now);
        Some(std::mem::take(&mut withheld.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_withheld_events_is_told_once_a_minute_of_each_tenant_and_counted_whole() {
        let (withheld, acme, beta) = (Withheld::default(), TenantId::from("acme"), TenantId::from("beta"));
        let told: Vec<_> = (0..1_000).filter_map(|_| withheld.count(&acme)).collect();
        assert_eq!(told, [1]);
        assert_eq!(withheld.count(&beta), Some(1));
        tokio::time::advance(TELL_EVERY).await;
        assert_eq!(withheld.count(&acme), Some(1_000));
        assert_eq!(withheld.by_tenant(), [(acme, 1_001), (beta, 1)]);
    }
}
