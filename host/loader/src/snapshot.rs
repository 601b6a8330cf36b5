//! What takes calls from now on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use voxtra_artifacts::HandlerKey;
use voxtra_core::{HandlerName, TenantId};
use voxtra_directory::{Canary, Directory, Grants, HandlerPlan, Upgrade};
use voxtra_plugins::{Catalog, FilterComponent, Handler, Kind, Limits, RouterComponent, Succession};

use crate::trials::OnTrial;

/// A component that has passed every check.
#[derive(Clone)]
pub enum Component {
    /// Does what a call does.
    Handler(Handler),
    /// Chooses a handler.
    Router(RouterComponent),
    /// Sees events before they leave.
    Filter(FilterComponent),
}

impl Component {
    /// The first 12 hexadecimal digits of its content's SHA-256.
    #[must_use]
    pub fn version(&self) -> &str {
        match self {
            Self::Handler(handler) => handler.version(),
            Self::Router(router) => router.version(),
            Self::Filter(filter) => filter.version(),
        }
    }
}

/// A version that gets a share of its handler's calls; the one in the catalog gets the rest.
#[derive(Clone)]
pub struct TrialVersion {
    /// Within its limits and capabilities.
    pub handler: Handler,
    /// How it is tried.
    pub plan: Canary,
}

/// The directory and the components that serve it: everything that a new call needs, in one piece.
#[derive(Clone)]
pub struct Snapshot {
    /// What the plugin directory says.
    pub directory: Arc<Directory>,
    /// The components, each within its limits and capabilities.
    pub catalog: Catalog,
    /// The versions on trial.
    pub trials: Vec<TrialVersion>,
}

impl Snapshot {
    /// Of the components that are loaded, those that the directory still names, narrowed to what it gives them.
    /// `unread_filters` are those of tenants that the directory leaves out.
    pub(crate) fn new(
        directory: &Arc<Directory>,
        loaded: &BTreeMap<HandlerKey, Component>,
        on_trial: &BTreeMap<HandlerKey, OnTrial>,
        unread_filters: Vec<(TenantId, HandlerName)>,
    ) -> Self {
        let (mut handlers, mut routers, mut filters, mut trials) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut withheld, mut absent_filters) = (Vec::new(), unread_filters);
        for (tenant, plan) in &directory.tenants {
            let key = |name: &str| HandlerKey::new(tenant, &name.into()).ok();
            let of = |name: &str| loaded.get(&key(name)?);
            let tried = |name: &str| Some(&on_trial.get(&key(name)?)?.component);
            let (must_be_signed, grants) = (plan.settings.signatures.required, &plan.settings.grants);
            for plan in plan.handlers.values() {
                if let Some(Component::Handler(handler)) = of(plan.name.as_str()) {
                    handlers.push(within(handler, plan, grants));
                } else if must_be_signed {
                    withheld.push((tenant.clone(), plan.name.clone()));
                }
                if let (Some(Component::Handler(handler)), Some(canary)) = (tried(plan.name.as_str()), plan.canary) {
                    trials.push(TrialVersion { handler: within(handler, plan, grants), plan: canary });
                }
            }
            routers.extend(plan.routers.iter().filter_map(|rule| match of(&rule_name(Kind::Router, &rule.name))? {
                Component::Router(router) => Some(router.clone().narrowed(plan.settings.grants.capabilities())),
                _ => None,
            }));
            for rule in &plan.filters {
                match of(&rule_name(Kind::Filter, &rule.name)) {
                    Some(Component::Filter(filter)) => filters.push(filter.clone()),
                    _ => absent_filters.push((tenant.clone(), rule.name.as_str().into())),
                }
            }
            absent_filters.extend(plan.unread_filters.iter().map(|name| (tenant.clone(), name.as_str().into())));
        }
        let catalog = Catalog::from_handlers(handlers).with_withheld(withheld);
        let catalog = catalog.with_routers(routers).with_filters(filters).with_absent_filters(absent_filters);
        Self { directory: Arc::clone(directory), catalog, trials }
    }
}

/// What a rule is called among the handlers: it may have a handler's name.
pub(crate) fn rule_name(kind: Kind, name: &str) -> String {
    match kind {
        Kind::Handler => name.to_owned(),
        Kind::Router => format!("{name}.router"),
        Kind::Filter => format!("{name}.filter"),
    }
}

/// A handler with what its manifest says, and leaves of what its tenant has.
fn within(handler: &Handler, plan: &HandlerPlan, tenants: &Grants) -> Handler {
    let dial = plan.grants.dial.as_ref().zip(tenants.dial.as_ref()).and_then(|(own, tenants)| own.narrowing(tenants));
    let narrowed = handler.clone().narrowed(limits(plan), plan.grants.capabilities());
    narrowed.dialling(dial).succeeded(succession(plan))
}

/// What becomes of calls that are up when another version comes.
fn succession(plan: &HandlerPlan) -> Succession {
    Succession {
        mid_call: plan.upgrade == Upgrade::MidCall,
        drain_limit: plan.drain_limit_ms.map(Duration::from_millis),
    }
}

fn limits(plan: &HandlerPlan) -> Limits {
    let limits = &plan.limits;
    let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let rate = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let time = |ms: u64| Some(Duration::from_millis(ms));
    Limits {
        memory_bytes: count(limits.memory_mib << 20),
        table_elements: count(limits.table_elements),
        cpu: Duration::from_millis(limits.cpu_ms),
        host_call_bytes: count(limits.host_call_bytes),
        handles: count(limits.handles),
        verbs_per_second: rate(limits.verbs_per_second),
        audio_calls_per_second: rate(limits.audio_calls_per_second),
        store_calls_per_second: rate(limits.store_calls_per_second),
        provider_calls_per_second: rate(limits.provider_calls_per_second),
        events_per_second: rate(limits.events_per_second),
        log_lines_per_second: rate(limits.log_lines_per_second),
        log_bytes: count(limits.log_bytes),
        retained_bytes: count(limits.retained_bytes),
        call: time(limits.call_ms),
        grace: time(limits.handler_grace_ms),
        hook: time(limits.hook_ms),
    }
}
