//! Who is asked about calls and events: the rules and filters as they are now. They are exchanged while calls are up; a
//! question that is under way stays with whom it was put to.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;
use voxtra_core::TenantId;

use crate::ports::{EventFilters, HostPorts, RoutingRules};

type Rules = Arc<[Arc<dyn RoutingRules>]>;
type Filters = Arc<[Arc<dyn EventFilters>]>;

/// See the module.
pub(crate) struct Asked {
    rules: RwLock<Rules>,
    filters: watch::Sender<Filters>,
}

impl Asked {
    pub(crate) fn new(ports: &HostPorts) -> Self {
        Self {
            rules: RwLock::new(ports.rules.clone().into()),
            filters: watch::Sender::new(ports.filters.clone().into()),
        }
    }

    pub(crate) fn set_rules(&self, rules: Vec<Arc<dyn RoutingRules>>) {
        let rules = rules.into();
        // What was there before is dropped when the lock is free again: it may be the last of a component.
        let before = std::mem::replace(&mut *self.rules.write().unwrap_or_else(PoisonError::into_inner), rules);
        drop(before);
    }

    pub(crate) fn set_filters(&self, filters: Vec<Arc<dyn EventFilters>>) {
        drop(self.filters.send_replace(filters.into()));
    }

    /// Those that are asked about a tenant's new calls, in order.
    pub(crate) fn rules_of(&self, tenant: &TenantId) -> Vec<Arc<dyn RoutingRules>> {
        let rules = Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner));
        rules.iter().filter(|rules| rules.applies(tenant)).cloned().collect()
    }

    /// Those that see a tenant's events, in order.
    pub(crate) fn filters_of(&self, tenant: &TenantId) -> Vec<Arc<dyn EventFilters>> {
        let filters = Arc::clone(&self.filters.borrow());
        filters.iter().filter(|filters| filters.applies(tenant)).cloned().collect()
    }

    /// Says when the filters, of any tenant, are others than at this moment.
    pub(crate) fn filter_changes(&self) -> watch::Receiver<Filters> {
        self.filters.subscribe()
    }
}
