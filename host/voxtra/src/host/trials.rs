//! Versions on trial, between those who keep versions and those who take calls.

use std::sync::{Arc, OnceLock};

use voxtra_artifacts::HandlerKey;
use voxtra_core::{HandlerName, TenantId};
use voxtra_directory::Canary;
use voxtra_loader::{Reporter, TrialVersion};
use voxtra_session::{CanaryPlan, CanaryWatcher, HandlerVersion, Host, Proved, Withdrawn};

/// Tells the loader how trials went, once there is one.
#[derive(Debug, Default)]
pub(crate) struct TrialReports {
    loader: OnceLock<Reporter>,
}

impl TrialReports {
    /// From now on this loader is told. Only the first counts.
    pub(crate) fn tell(&self, loader: Reporter) {
        let _ = self.loader.set(loader);
    }

    /// Who to tell about what; `None`: nobody keeps versions.
    fn of(&self, tenant: &TenantId, handler: &HandlerName) -> Option<(&Reporter, HandlerKey)> {
        Some((self.loader.get()?, HandlerKey::new(tenant, handler).ok()?))
    }
}

impl CanaryWatcher for TrialReports {
    fn withdrawn(&self, withdrawn: &Withdrawn) {
        if let Some((loader, key)) = self.of(&withdrawn.tenant, &withdrawn.handler) {
            loader.withdrawn(key, &withdrawn.version, &withdrawn.why);
        }
    }

    fn proved(&self, proved: &Proved) {
        if let Some((loader, key)) = self.of(&proved.tenant, &proved.handler) {
            let counts = proved.counts;
            let why = format!("{} of its {} calls on trial failed", counts.failures, counts.calls);
            loader.proved(key, &proved.version, &why);
        }
    }
}

/// Puts these versions on trial, and no others.
pub(crate) fn set(host: &Host, trials: &[TrialVersion]) {
    let trial = |trial: &TrialVersion| {
        let version: Arc<dyn HandlerVersion> = Arc::new(trial.handler.clone());
        (trial.handler.tenant().clone(), version, plan(trial.plan))
    };
    if let Err(why) = host.set_canaries(trials.iter().map(trial).collect()) {
        tracing::error!(why, "what is on trial stays as it was");
    }
}

fn plan(plan: Canary) -> CanaryPlan {
    let percent = |n: u32, most: u8| u8::try_from(n).unwrap_or(most).min(most);
    CanaryPlan {
        share_percent: percent(plan.percent, 100),
        min_calls: plan.min_calls,
        max_failures_percent: percent(plan.max_failures_percent, 99),
        promote_calls: plan.promote_calls,
    }
}
