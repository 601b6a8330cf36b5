//! What of the services each tenant has: as `voxtra.yaml` and the tenants' own files say, while the host runs.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use voxtra_core::TenantId;
use voxtra_directory::{Directory, Providers, TenantSettings};
use voxtra_services::recordings::Desk;
use voxtra_services::store::{Quota, SqliteStore};

use super::prompts::{PromptPlaces, Prompts};
use crate::config::{self, Config};

/// See the module. Cloning shares it.
#[derive(Clone)]
pub(crate) struct TenantServices {
    pub(crate) store: SqliteStore,
    pub(crate) prompts: Arc<Prompts>,
    pub(crate) desk: Arc<Desk>,
    /// Sentences that were said, so that each is said once.
    pub(crate) said: Arc<Mutex<BTreeSet<String>>>,
}

impl TenantServices {
    /// From now on tenants have what these say. `config` is with the tenants' own files; what is wrong with those goes
    /// into the log.
    pub(crate) fn serve(&self, config: &Config, directory: &Directory) {
        self.store.set_quotas(quotas(directory));
        self.prompts.set_places(prompt_places(config));
        for (tenant, error) in self.desk.set_tenant_sinks(recording_sinks(config)) {
            self.say_once(format!("the tenant `{tenant}`: {error}"));
        }
        notes(directory).into_iter().for_each(|note| self.say_once(note));
    }

    fn say_once(&self, sentence: String) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if !said.contains(&sentence) {
            tracing::warn!("{sentence}");
            said.insert(sentence);
        }
    }
}

/// Keys of tenants' own files that this version does nothing with, and why.
pub(crate) fn notes(directory: &Directory) -> Vec<String> {
    let chooses = |settings: &TenantSettings| settings.providers != Providers::default();
    let choosers = directory.tenants.iter().filter(|(_, plan)| chooses(&plan.settings));
    let names: Vec<String> = choosers.map(|(name, _)| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => Vec::new(),
        names => {
            vec![format!("providers of {}: accepted; this version has no AI providers yet", names.join(", "))]
        }
    }
}

fn quotas(directory: &Directory) -> impl Iterator<Item = (TenantId, Quota)> {
    directory.tenants.iter().map(|(name, plan)| {
        let limits = &plan.settings.limits;
        let quota = Quota { max_keys: limits.max_keys, max_bytes: limits.stored_mib.saturating_mul(1 << 20) };
        (name.clone(), quota)
    })
}

fn recording_sinks(config: &Config) -> Vec<(TenantId, Vec<String>)> {
    let own = config.tenants().into_iter().filter(|(_, tenant)| !tenant.recording_sinks.is_empty());
    own.map(|(name, tenant)| (TenantId::new(name), tenant.recording_sinks)).collect()
}

/// Where each tenant's prompts are.
pub(crate) fn prompt_places(config: &Config) -> HashMap<TenantId, PromptPlaces> {
    let places = |tenant: config::Tenant| {
        let named = (!tenant.prompts.dir.is_empty()).then(|| config.folder(&tenant.prompts.dir));
        let is_own = named.is_none();
        PromptPlaces { dir: named.or(tenant.prompts.own_dir), is_own, urls: tenant.prompts.urls }
    };
    config.tenants().into_iter().map(|(name, tenant)| (TenantId::new(name), places(tenant))).collect()
}
