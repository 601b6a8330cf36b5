//! A tenant's routers and filters, which are components, as the ports that a host asks.

use std::sync::Arc;

use serde_json::Value;
use voxtra_core::wire::timestamp;
use voxtra_core::{BoxFuture, CallInfo, Event, TenantId};
use voxtra_plugins::host::TenantHost;
use voxtra_plugins::{Catalog, FilterComponent, Guests, OutgoingEvent, RouterComponent, Verdict};

use crate::host::Host;
use crate::ports::{Decision, EventFilters, FilterVerdict, RoutingRules};
use crate::tenant::narrowed;

impl Host {
    /// From now on a catalog's routers and filters are asked, in their order, behind those of [`crate::HostPorts`]. Their
    /// code runs on the guests' runtime. As [`Host::set_rules`] and [`Host::set_filters`] otherwise.
    pub fn set_components(&self, catalog: &Catalog) {
        let (inner, guests) = (self.inner(), &self.inner().runtimes.guests);
        let mut rules = inner.ports.rules.clone();
        for router in catalog.all_routers() {
            let tenant = narrowed(inner.tenant(router.tenant()), router.capabilities(), None);
            rules.push(Arc::new(RouterRule { router: router.clone(), tenant, guests: guests.clone() }));
        }
        let mut filters = inner.ports.filters.clone();
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
        let (filter, question) = (self.filter.clone(), question(event));
        let asked = self.guests.spawn_for(self.filter.tenant(), async move { filter.filter(&question).await });
        Box::pin(async move {
            let named = |why: String| format!("the filter {}: {why}", self.filter.name());
            let answer = asked.await.map_err(|error| named(error.to_string()))?;
            let verdict = answer.map_err(|failure| named(failure.to_string()))?;
            verdict_of(verdict).map_err(named)
        })
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
