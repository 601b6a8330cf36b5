//! Who is asked about calls and events: the rules and filters as they are now. They are exchanged while calls are up; a
//! question that is under way stays with whom it was put to.

use std::sync::{Arc, PoisonError, RwLock};

use voxtra_core::TenantId;

use crate::ports::{EventFilters, HostPorts, RoutingRules};

type Rules = Arc<[Arc<dyn RoutingRules>]>;
type Filters = Arc<[Arc<dyn EventFilters>]>;

/// See the module.
pub(crate) struct Asked {
    rules: RwLock<Rules>,
    filters: RwLock<Filters>,
}

impl Asked {
    pub(crate) fn new(ports: &HostPorts) -> Self {
        Self { rules: RwLock::new(ports.rules.clone().into()), filters: RwLock::new(ports.filters.clone().into()) }
    }

    pub(crate) fn set_rules(&self, rules: Vec<Arc<dyn RoutingRules>>) {
        let rules = rules.into();
        // What was there before is dropped when the lock is free again: it may be the last of a component.
        let before = std::mem::replace(&mut *self.rules.write().unwrap_or_else(PoisonError::into_inner), rules);
        drop(before);
    }

    pub(crate) fn set_filters(&self, filters: Vec<Arc<dyn EventFilters>>) {
        let filters = filters.into();
        let before = std::mem::replace(&mut *self.filters.write().unwrap_or_else(PoisonError::into_inner), filters);
        drop(before);
    }

    /// Those that are asked about a tenant's new calls, in order.
    pub(crate) fn rules_of(&self, tenant: &TenantId) -> Vec<Arc<dyn RoutingRules>> {
        let rules = Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner));
        rules.iter().filter(|rules| rules.applies(tenant)).cloned().collect()
    }

    /// Those that see a tenant's events, in order.
    pub(crate) fn filters_of(&self, tenant: &TenantId) -> Vec<Arc<dyn EventFilters>> {
        let filters = Arc::clone(&self.filters.read().unwrap_or_else(PoisonError::into_inner));
        filters.iter().filter(|filters| filters.applies(tenant)).cloned().collect()
    }
}
