//! What has become different between two readings, and back.

use std::collections::BTreeMap;

use voxtra_core::{HandlerName, TenantId};

use crate::plan::{Directory, FileRef, HandlerPlan, RulePlan, Source, TenantPlan, TenantSettings};

/// One difference. Applied in their order they make the new of the old.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A tenant is new, with all that it has.
    TenantAdded(TenantId, Box<TenantPlan>),
    /// A tenant is gone, with all that it had.
    TenantRemoved(TenantId),
    /// What is the tenant's as a whole is different.
    TenantChanged(TenantId, Box<TenantSettings>),
    /// A handler is new.
    HandlerAdded(TenantId, Box<HandlerPlan>),
    /// A handler is gone.
    HandlerRemoved(TenantId, HandlerName),
    /// A handler has another component or another signature: there is a version to be loaded.
    HandlerContentChanged {
        /// Whose.
        tenant: TenantId,
        /// Which.
        name: HandlerName,
        /// Where the component comes from now.
        source: Source,
        /// Its signature now.
        signature: Option<FileRef>,
    },
    /// What is said about a handler is different, whatever its component is: routes, limits, capabilities and the like.
    HandlerPlanChanged(TenantId, Box<HandlerPlan>),
    /// The routers, their order or their content.
    RoutersChanged(TenantId, Vec<RulePlan>),
    /// The filters, their order or their content.
    FiltersChanged(TenantId, Vec<RulePlan>),
}

impl Change {
    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        match self {
            Self::TenantAdded(tenant, _)
            | Self::TenantRemoved(tenant)
            | Self::TenantChanged(tenant, _)
            | Self::HandlerAdded(tenant, _)
            | Self::HandlerRemoved(tenant, _)
            | Self::HandlerContentChanged { tenant, .. }
            | Self::HandlerPlanChanged(tenant, _)
            | Self::RoutersChanged(tenant, _)
            | Self::FiltersChanged(tenant, _) => tenant,
        }
    }
}

/// The changes from `old` to `new`: what goes before what comes, by tenant.
#[must_use]
pub fn diff(old: &Directory, new: &Directory) -> Vec<Change> {
    let gone = old.tenants.keys().filter(|tenant| !new.tenants.contains_key(*tenant));
    let mut changes: Vec<Change> = gone.cloned().map(Change::TenantRemoved).collect();
    for (tenant, plan) in &new.tenants {
        match old.tenants.get(tenant) {
            Some(before) => of_tenant(tenant, before, plan, &mut changes),
            None => changes.push(Change::TenantAdded(tenant.clone(), Box::new(plan.clone()))),
        }
    }
    changes
}

/// Applies changes; one of a tenant or a handler that is not there does nothing.
pub fn apply(directory: &mut Directory, changes: impl IntoIterator<Item = Change>) {
    for change in changes {
        apply_one(&mut directory.tenants, change);
    }
}

fn of_tenant(tenant: &TenantId, old: &TenantPlan, new: &TenantPlan, changes: &mut Vec<Change>) {
    if old.settings != new.settings {
        changes.push(Change::TenantChanged(tenant.clone(), Box::new(new.settings.clone())));
    }
    let gone = old.handlers.keys().filter(|name| !new.handlers.contains_key(*name));
    changes.extend(gone.map(|name| Change::HandlerRemoved(tenant.clone(), name.clone())));
    for (name, plan) in &new.handlers {
        match old.handlers.get(name) {
            Some(before) => of_handler(tenant, name, before, plan, changes),
            None => changes.push(Change::HandlerAdded(tenant.clone(), Box::new(plan.clone()))),
        }
    }
    if old.routers != new.routers {
        changes.push(Change::RoutersChanged(tenant.clone(), new.routers.clone()));
    }
    if old.filters != new.filters {
        changes.push(Change::FiltersChanged(tenant.clone(), new.filters.clone()));
    }
}

fn of_handler(tenant: &TenantId, name: &HandlerName, old: &HandlerPlan, new: &HandlerPlan, changes: &mut Vec<Change>) {
    let with_new_content = HandlerPlan { source: new.source.clone(), signature: new.signature.clone(), ..old.clone() };
    if with_new_content != *old {
        changes.push(Change::HandlerContentChanged {
            tenant: tenant.clone(),
            name: name.clone(),
            source: new.source.clone(),
            signature: new.signature.clone(),
        });
    }
    if with_new_content != *new {
        changes.push(Change::HandlerPlanChanged(tenant.clone(), Box::new(new.clone())));
    }
}

fn apply_one(tenants: &mut BTreeMap<TenantId, TenantPlan>, change: Change) {
    match change {
        Change::TenantAdded(tenant, plan) => drop(tenants.insert(tenant, *plan)),
        Change::TenantRemoved(tenant) => drop(tenants.remove(&tenant)),
        change => {
            if let Some(plan) = tenants.get_mut(&change.tenant().clone()) {
                apply_within(plan, change);
            }
        }
    }
}

fn apply_within(plan: &mut TenantPlan, change: Change) {
    match change {
        Change::TenantAdded(..) | Change::TenantRemoved(_) => {}
        Change::TenantChanged(_, settings) => plan.settings = *settings,
        Change::HandlerAdded(_, handler) => drop(plan.handlers.insert(handler.name.clone(), *handler)),
        Change::HandlerRemoved(_, name) => drop(plan.handlers.remove(&name)),
        Change::HandlerContentChanged { name, source, signature, .. } => {
            if let Some(handler) = plan.handlers.get_mut(&name) {
                (handler.source, handler.signature) = (source, signature);
            }
        }
        Change::HandlerPlanChanged(_, handler) => {
            if let Some(known) = plan.handlers.get_mut(&handler.name) {
                *known = *handler;
            }
        }
        Change::RoutersChanged(_, routers) => plan.routers = routers,
        Change::FiltersChanged(_, filters) => plan.filters = filters,
    }
}
