//! Who has taken calls before this scanner was there.

use std::collections::{BTreeMap, BTreeSet};

use voxtra_core::{HandlerName, TenantId};

/// Tenants and their handlers; also such as are gone by now.
#[derive(Debug, Default)]
pub(super) struct Served(BTreeMap<TenantId, BTreeSet<HandlerName>>);

impl Served {
    pub(super) fn has_tenant(&self, tenant: &TenantId) -> bool {
        self.0.contains_key(tenant)
    }

    pub(super) fn has(&self, tenant: &TenantId, handler: &HandlerName) -> bool {
        self.0.get(tenant).is_some_and(|handlers| handlers.contains(handler))
    }
}

impl FromIterator<(TenantId, HandlerName)> for Served {
    fn from_iter<I: IntoIterator<Item = (TenantId, HandlerName)>>(handlers: I) -> Self {
        let mut served = Self::default();
        for (tenant, handler) in handlers {
            served.0.entry(tenant).or_default().insert(handler);
        }
        served
    }
}
