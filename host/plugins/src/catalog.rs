//! A plugin directory's components: handlers by tenant and name, routers and filters of a tenant in their order.

use std::collections::{BTreeMap, BTreeSet};

use voxtra_core::{HandlerName, TenantId};

use crate::load::Handler;
use crate::rule::{FilterComponent, RouterComponent};

/// The handlers that can take calls, and the rules that go before them.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    handlers: BTreeMap<(TenantId, HandlerName), Handler>,
    routers: BTreeMap<TenantId, Vec<RouterComponent>>,
    filters: BTreeMap<TenantId, Vec<FilterComponent>>,
    absent_filters: Vec<(TenantId, HandlerName)>,
    withheld: BTreeSet<(TenantId, HandlerName)>,
}

impl Catalog {
    /// A catalog of handlers that are loaded already; of two with the same tenant and name, the later one counts.
    pub fn from_handlers(handlers: impl IntoIterator<Item = Handler>) -> Self {
        let mut catalog = Self::default();
        handlers.into_iter().for_each(|handler| catalog.insert(handler));
        catalog
    }

    /// A tenant's handler.
    pub fn get(&self, tenant: &TenantId, name: &HandlerName) -> Option<Handler> {
        self.handlers.get(&(tenant.clone(), name.clone())).cloned()
    }

    /// All of them, by tenant and name.
    pub fn handlers(&self) -> impl Iterator<Item = &Handler> {
        self.handlers.values()
    }

    /// Names handlers that the directory has, but of which no version may take calls.
    pub fn with_withheld(mut self, names: impl IntoIterator<Item = (TenantId, HandlerName)>) -> Self {
        self.withheld.extend(names);
        self
    }

    /// Whether a handler is there, but no version of it may take calls.
    pub fn is_withheld(&self, tenant: &TenantId, name: &HandlerName) -> bool {
        !self.withheld.is_empty() && self.withheld.contains(&(tenant.clone(), name.clone()))
    }

    /// Adds routers that are loaded already, behind those that their tenants have.
    pub fn with_routers(mut self, routers: impl IntoIterator<Item = RouterComponent>) -> Self {
        routers.into_iter().for_each(|router| self.insert_router(router));
        self
    }

    /// Adds filters that are loaded already, behind those that their tenants have.
    pub fn with_filters(mut self, filters: impl IntoIterator<Item = FilterComponent>) -> Self {
        filters.into_iter().for_each(|filter| self.insert_filter(filter));
        self
    }

    /// Names filters that the directory has, but of which no version can or may run: no event of these tenants is to leave
    /// without them.
    pub fn with_absent_filters(mut self, names: impl IntoIterator<Item = (TenantId, HandlerName)>) -> Self {
        self.absent_filters.extend(names);
        self
    }

    /// Filters that are there and cannot or may not run, by tenant and name.
    pub fn absent_filters(&self) -> impl Iterator<Item = (&TenantId, &HandlerName)> {
        self.absent_filters.iter().map(|(tenant, name)| (tenant, name))
    }

    /// A tenant's routers, in the order in which they are asked.
    pub fn routers(&self, tenant: &TenantId) -> &[RouterComponent] {
        self.routers.get(tenant).map_or(&[], Vec::as_slice)
    }

    /// A tenant's filters, in the order in which an event passes them.
    pub fn filters(&self, tenant: &TenantId) -> &[FilterComponent] {
        self.filters.get(tenant).map_or(&[], Vec::as_slice)
    }

    /// All routers, by tenant, in their order.
    pub fn all_routers(&self) -> impl Iterator<Item = &RouterComponent> {
        self.routers.values().flatten()
    }

    /// All filters, by tenant, in their order.
    pub fn all_filters(&self) -> impl Iterator<Item = &FilterComponent> {
        self.filters.values().flatten()
    }

    fn insert_router(&mut self, router: RouterComponent) {
        self.routers.entry(router.tenant().clone()).or_default().push(router);
    }

    fn insert_filter(&mut self, filter: FilterComponent) {
        self.filters.entry(filter.tenant().clone()).or_default().push(filter);
    }

    fn insert(&mut self, handler: Handler) {
        self.handlers.insert((handler.tenant().clone(), handler.name().clone()), handler);
    }
}
