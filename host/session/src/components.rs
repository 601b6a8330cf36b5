//! A tenant's routers and filters, which are components, as the ports that a host asks.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;
use voxtra_core::wire::timestamp;
use voxtra_core::{BoxFuture, CallInfo, Event, HandlerName, TenantId};
use voxtra_plugins::host::TenantHost;
use voxtra_plugins::{Catalog, FilterComponent, Guests, OutgoingEvent, RouterComponent, RuleFailure, Verdict};

use crate::host::Host;
use crate::ports::{Decision, EventFilters, FilterVerdict, RoutingRules};
use crate::tenant::narrowed;

/// How soon a filter is asked again when all places for instances are taken.
const BUSY_AGAIN_AFTER: Duration = Duration::from_millis(20);

impl Host {
    /// From now on a catalog's routers and filters are asked, in their order, behind those of [`crate::HostPorts`]. Their
    /// code runs on the guests' runtime. Events of a tenant with a filter that cannot or may not run do not leave
    /// ([`Catalog::absent_filters`]). As [`Host::set_rules`] and [`Host::set_filters`] otherwise.
    pub fn set_components(&self, catalog: &Catalog) {
        let (inner, guests) = (self.inner(), &self.inner().runtimes.guests);
        let mut rules = inner.ports.rules.clone();
        for router in catalog.all_routers() {
            let tenant = narrowed(inner.tenant(router.tenant()), router.capabilities(), None);
            rules.push(Arc::new(RouterRule { router: router.clone(), tenant, guests: guests.clone() }));
        }
        let mut filters = inner.ports.filters.clone();
        for (tenant, name) in catalog.absent_filters() {
            filters.push(Arc::new(AbsentFilter { tenant: tenant.clone(), name: name.clone() }));
        }
        for filter in catalog.all_filters() {
            filters.push(Arc::new(ComponentFilter { filter: filter.clone(), guests: guests.clone() }));
        }
        self.set_rules(rules);
        self.set_filters(filters);
    }
}

struct RouterRule {
    router: RouterComponent,
    tenant: Arc<dyn TenantHost>,
    guests: Guests,
}

impl RoutingRules for RouterRule {
    fn applies(&self, tenant: &TenantId) -> bool {
        self.router.tenant() == tenant
    }

    fn decide<'a>(
        &'a self,
        _tenant: &'a TenantId,
        call: &'a CallInfo,
    ) -> BoxFuture<'a, Result<Option<Decision>, String>> {
        let (router, tenant, call) = (self.router.clone(), Arc::clone(&self.tenant), call.clone());
        let asked = self.guests.spawn_for(self.router.tenant(), async move { router.route(tenant, &call).await });
        Box::pin(async move {
            let named = |why: String| format!("the router {}: {why}", self.router.name());
            let answer = asked.await.map_err(|error| named(error.to_string()))?;
            let decided = answer.map_err(|failure| named(failure.to_string()))?;
            Ok(decided.map(|decision| Decision { handler: decision.handler, metadata: decision.metadata }))
        })
    }
}

struct ComponentFilter {
    filter: FilterComponent,
    guests: Guests,
}

impl EventFilters for ComponentFilter {
    fn applies(&self, tenant: &TenantId) -> bool {
        self.filter.tenant() == tenant
    }

    fn filter<'a>(&'a self, event: &'a Event) -> BoxFuture<'a, Result<FilterVerdict, String>> {
        let question = Arc::new(question(event));
        Box::pin(async move {
            let named = |why: String| format!("the filter {}: {why}", self.filter.name());
            loop {
                let (filter, question) = (self.filter.clone(), Arc::clone(&question));
                let asked = self.guests.spawn_for(self.filter.tenant(), async move { filter.filter(&question).await });
                match asked.await.map_err(|error| named(error.to_string()))? {
                    // Who asks has a limit on how long it waits.
                    Err(RuleFailure::Busy) => sleep(BUSY_AGAIN_AFTER).await,
                    Err(failure) => return Err(named(failure.to_string())),
                    Ok(verdict) => return verdict_of(verdict).map_err(named),
                }
            }
        })
    }
}

/// Stands where a filter is that cannot or may not run.
struct AbsentFilter {
    tenant: TenantId,
    name: HandlerName,
}

impl EventFilters for AbsentFilter {
    fn applies(&self, tenant: &TenantId) -> bool {
        self.tenant == *tenant
    }

    fn absent(&self) -> Option<String> {
        Some(format!("no version of the filter {} can or may run", self.name))
    }

    fn filter<'a>(&'a self, _event: &'a Event) -> BoxFuture<'a, Result<FilterVerdict, String>> {
        Box::pin(async move { Err(self.absent().unwrap_or_default()) })
    }
}

fn question(event: &Event) -> OutgoingEvent {
    OutgoingEvent {
        id: event.id.clone(),
        kind: event.kind.as_str().to_owned(),
        session_id: event.session_id.as_str().to_owned(),
        timestamp: timestamp(event.timestamp),
        data_json: Value::Object(event.data.clone()).to_string(),
    }
}

fn verdict_of(verdict: Verdict) -> Result<FilterVerdict, String> {
    match verdict {
        Verdict::Keep => Ok(FilterVerdict::Keep),
        Verdict::Drop => Ok(FilterVerdict::Drop),
        Verdict::Change(data) => match serde_json::from_str(&data) {
            Ok(Value::Object(data)) => Ok(FilterVerdict::Change(data)),
            Ok(_) => Err("it changed the data to JSON that is no object".to_owned()),
            Err(error) => Err(format!("it changed the data to something that is no JSON ({error})")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_object_can_take_the_place_of_an_events_data() {
        assert!(
            matches!(verdict_of(Verdict::Change("{\"a\":1}".into())), Ok(FilterVerdict::Change(data)) if data.len() == 1)
        );
        for bad in ["", "[]", "null", "{"] {
            assert!(verdict_of(Verdict::Change(bad.into())).is_err());
        }
        assert_eq!(verdict_of(Verdict::Drop), Ok(FilterVerdict::Drop));
    }
}
