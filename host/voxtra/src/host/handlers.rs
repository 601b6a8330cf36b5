//! The handlers that run, as the plugin directory says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Handle;
use voxtra_artifacts::HandlerKey;
use voxtra_artifacts::store::VersionStore;
use voxtra_core::{Capabilities, Capability, TenantId};
use voxtra_directory::{
    Applications, Checks, Dial, Directory, Grants, HostCeiling, Limits, Scanner, TenantPlan, WatchOptions,
};
use voxtra_loader::{Keeper, Loader, LoaderOptions, News, Serving, Snapshot};
use voxtra_plugins::Runtime;

use super::live::Live;
use super::trials::TrialReports;
use super::{checks, describe, egress, registries};
use crate::config::{self, Config, Lookup};

/// Everything of the plugin directory that is good has been loaded.
pub(crate) struct Begun {
    loader: Loader,
    /// What takes calls at first.
    pub(crate) snapshot: Snapshot,
    /// What runs them.
    pub(crate) runtime: Arc<Runtime>,
}

/// Loads the directory, and tells of each component.
pub(crate) fn begin(
    config: &Config,
    dir: PathBuf,
    lookup: Lookup<'_>,
    guests: &Handle,
    network: &Handle,
) -> anyhow::Result<Begun> {
    check_there(&dir)?;
    let runtime = super::wasm_runtime(config, lookup)?;
    let mut options = LoaderOptions::new(dir, versions(config, lookup));
    options.ceiling = ceiling(config);
    options.registries = registries::options(config)?;
    options.network = Some(network.clone());
    options.start_limit = Some(Duration::from_millis(config.root.plugins.start_ms.into()));
    let mut loader = Loader::open(Arc::clone(&runtime), guests.clone(), options)
        .map_err(|error| registries::named(config, error))?;
    let mut first = First::default();
    loader.begin(&mut first)?;
    let snapshot = first.snapshot.unwrap_or_else(|| loader.snapshot());
    snapshot.catalog.handlers().for_each(|handler| tracing::info!("loaded {}", describe(handler)));
    first.faults.iter().for_each(|fault| tracing::warn!("not loaded: {fault}"));
    first.troubles.iter().for_each(|trouble| tracing::error!("{trouble}"));
    Ok(Begun { loader, snapshot, runtime })
}

/// At the start there has to be a directory; later, one that is gone may come back.
fn check_there(dir: &Path) -> anyhow::Result<()> {
    match std::fs::read_dir(dir) {
        Ok(_) => Ok(()),
        Err(error) => anyhow::bail!(
            "the plugin directory {} cannot be read ({error}); create it, or name another with --plugins",
            dir.display()
        ),
    }
}

/// Loads the directory for a look, and keeps nothing of it. Returns what was wrong, a sentence each.
pub(crate) fn once(config: &Config, dir: PathBuf, lookup: Lookup<'_>) -> anyhow::Result<(Snapshot, Vec<String>)> {
    check_there(&dir)?;
    let served = served(config, lookup);
    let versions = std::env::temp_dir().join(format!("voxtra-look-{}", uuid::Uuid::new_v4()));
    let guests = super::guest_runtime()?;
    let mut options = LoaderOptions::new(dir, &versions);
    options.served = served;
    options.ceiling = ceiling(config);
    options.registries = registries::options(config)?;
    options.waits_for_registries = true;
    options.start_limit = None;
    let mut first = First::default();
    let loaded = super::wasm_runtime(config, lookup).and_then(|runtime| {
        let loader = Loader::open(runtime, guests.handle().clone(), options);
        let mut loader = loader.map_err(|error| registries::named(config, error))?;
        loader.begin(&mut first)?;
        Ok(loader.snapshot())
    });
    guests.shutdown_background();
    let _ = std::fs::remove_dir_all(&versions);
    first.faults.append(&mut first.troubles);
    Ok((loaded?, first.faults))
}

/// Reads what the directory says and loads nothing; one that is not there says nothing. Returns what was wrong, a sentence
/// each.
pub(crate) fn read(config: &Config, dir: PathBuf, lookup: Lookup<'_>) -> anyhow::Result<(Directory, Vec<String>)> {
    if !dir.exists() {
        return Ok(Default::default());
    }
    let served = served(config, lookup).into_iter().map(|key| (key.tenant().clone(), key.handler().clone()));
    let scan = Scanner::new(dir, ceiling(config)).that_served(served).scan(&Directory::default())?;
    Ok((scan.directory, scan.problems.iter().map(ToString::to_string).collect()))
}

/// Where the host keeps the versions that were good.
fn versions(config: &Config, lookup: Lookup<'_>) -> PathBuf {
    config.state_dir(lookup).join("versions")
}

/// Who has taken calls on this host, so that a look says of two that claim the same what the host does. Where it may not be
/// read, as by another user, nobody has.
fn served(config: &Config, lookup: Lookup<'_>) -> Vec<HandlerKey> {
    VersionStore::handlers_in(&versions(config, lookup)).unwrap_or_default()
}

impl Begun {
    /// From now on what changes in the directory is what new calls get, and what is on trial gets its share.
    pub(crate) fn keep(self, mut live: Live, reports: &TrialReports) -> anyhow::Result<Keeper> {
        live.serve(self.snapshot);
        let keeper = Keeper::start(self.loader, Box::new(live), WatchOptions::default())?;
        reports.tell(keeper.reporter());
        Ok(keeper)
    }
}

/// A configuration with what the tenants' own files say. Where both speak of a tenant, `voxtra.yaml` counts.
pub(crate) fn with_tenants(config: &Config, directory: &Directory) -> Config {
    let mut all = config.clone();
    // Those of the tenant `default` at the file's top come before manifests' too.
    let routes = std::mem::take(&mut all.root.routes);
    all.root.tenants.entry(TenantId::DEFAULT_NAME.to_owned()).or_default().routes.extend(routes);
    for (name, plan) in &directory.tenants {
        let tenant = all.root.tenants.entry(name.as_str().to_owned()).or_default();
        add(tenant, plan);
        if !says_whom_to_dial(config, name) {
            tenant.dial = own_dial(plan).map(dial);
        }
    }
    all
}

/// Whether `voxtra.yaml` says whom a tenant may call.
pub(super) fn says_whom_to_dial(config: &Config, tenant: &TenantId) -> bool {
    let is_default = tenant.as_str() == TenantId::DEFAULT_NAME;
    (is_default && config.root.dial.is_some())
        || config.root.tenants.get(tenant.as_str()).is_some_and(|written| written.dial.is_some())
}

/// Whom a tenant's own file lets it call, where it names anybody.
pub(super) fn own_dial(plan: &TenantPlan) -> Option<&Dial> {
    let says_whom = |dial: &&Dial| !(dial.patterns.is_empty() && dial.endpoints.is_empty() && dial.contexts.is_empty());
    plan.settings.grants.dial.as_ref().filter(says_whom)
}

fn add(tenant: &mut config::Tenant, plan: &TenantPlan) {
    let settings = &plan.settings;
    if tenant.app_name.is_empty() {
        tenant.app_name = settings.app_name.clone().unwrap_or_default();
    }
    if tenant.pbx.is_empty() {
        tenant.pbx.clone_from(&settings.pbx);
    }
    if tenant.recording_sinks.is_empty() {
        tenant.recording_sinks.clone_from(&settings.recording_sinks);
    }
    tenant.on_failure = tenant.on_failure.take().or_else(|| settings.on_failure.as_ref().map(on_failure));
    for (own, theirs) in [
        (&mut tenant.dialplan.transfer_context, &settings.dialplan.transfer_context),
        (&mut tenant.dialplan.queue_context, &settings.dialplan.queue_context),
        (&mut tenant.dialplan.machine_detection_context, &settings.dialplan.machine_detection_context),
    ] {
        if own.is_empty() {
            own.clone_from(theirs);
        }
    }
    if tenant.prompts.dir.is_empty() {
        tenant.prompts.own_dir.clone_from(&settings.prompts.dir);
    }
    if tenant.prompts.urls.is_empty() {
        tenant.prompts.urls.clone_from(&settings.prompts.urls);
    }
    for handler in plan.handlers.values() {
        tenant.routes.extend(handler.routes.iter().map(|route| {
            let mut metadata = handler.metadata.clone();
            metadata.extend(route.metadata.clone());
            config::Route {
                extension: route.extension.clone(),
                number: route.number.clone(),
                handler: handler.name.as_str().to_owned(),
                metadata: metadata.into_iter().collect::<serde_json::Map<String, Value>>(),
                name: route.name.clone(),
                on_failure: handler.on_failure.as_ref().map(on_failure),
                ..config::Route::default()
            }
        }));
    }
}

fn on_failure(policy: &voxtra_directory::OnFailure) -> config::OnFailure {
    let then = match &policy.then {
        voxtra_directory::Then::HangUp => config::Then::HangUp,
        voxtra_directory::Then::Transfer(target) => config::Then::Transfer(target.clone()),
        voxtra_directory::Then::Handler(name) => config::Then::Handler(name.as_str().to_owned()),
    };
    config::OnFailure { play: policy.play.clone(), then }
}

pub(super) fn dial(dial: &Dial) -> config::Dial {
    let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    config::Dial {
        patterns: dial.patterns.clone(),
        endpoint: dial.endpoint.clone(),
        endpoints: dial.endpoints.clone(),
        caller_ids: dial.caller_ids.clone(),
        contexts: dial.contexts.clone(),
        max_concurrent: count(dial.limits.max_concurrent),
        max_per_minute: count(dial.limits.max_per_minute),
        batches: dial.batches,
    }
}

/// What the configuration allows at most, and what a tenant has that says nothing.
pub(super) fn ceiling(config: &Config) -> HostCeiling {
    let written = &config.root.limits;
    let mut limits = Limits::default();
    for (figure, value) in [
        (&mut limits.memory_mib, written.memory_mib),
        (&mut limits.cpu_ms, written.cpu_ms),
        (&mut limits.table_elements, written.table_elements),
        (&mut limits.host_call_bytes, written.host_call_bytes),
        (&mut limits.handles, written.handles),
        (&mut limits.call_ms, written.call_ms),
        (&mut limits.handler_grace_ms, written.handler_grace_ms),
        (&mut limits.hook_ms, written.hook_ms),
        (&mut limits.max_calls, written.max_calls),
        (&mut limits.verbs_per_second, written.verbs_per_second),
        (&mut limits.audio_calls_per_second, written.audio_calls_per_second),
        (&mut limits.store_calls_per_second, written.store_calls_per_second),
        (&mut limits.provider_calls_per_second, written.provider_calls_per_second),
        (&mut limits.events_per_second, written.events_per_second),
        (&mut limits.log_lines_per_second, written.log_lines_per_second),
        (&mut limits.log_bytes, written.log_bytes),
        (&mut limits.retained_bytes, written.retained_bytes),
        (&mut limits.cpu_ms_per_second, written.cpu_ms_per_second),
        (&mut limits.total_memory_mib, written.total_memory_mib),
        (&mut limits.max_components, written.max_components),
        (&mut limits.max_keys, config.root.store.max_keys),
        (&mut limits.stored_mib, config.root.store.max_mib),
    ] {
        *figure = value.into();
    }
    // Whom a tenant may call is said by its section `dial`, in either file; without one it calls nobody.
    let plain = Capabilities::ALL.without(Capability::Http).without(Capability::Dial);
    let grants = Grants { plain, dial: Some(Dial::default()), http: None };
    HostCeiling {
        limits,
        defaults: limits,
        grants,
        http: egress::ceiling(config),
        max_component_bytes: u64::from(config.root.plugins.max_component_mib) << 20,
        pbxs: config.pbxs().into_iter().map(|(name, _)| name).collect(),
        applications: applications(config),
        checks: Checks {
            oci: checks::oci,
            signing_key: checks::signing_key,
            http_entry: checks::http_entry,
            prompts: checks::prompts,
            metadata: checks::metadata,
            dial: checks::dial,
        },
        ..HostCeiling::default()
    }
}

/// The tenants' Stasis applications as [`Config::tenants`] has them.
fn applications(config: &Config) -> Applications {
    let written = config.root.tenants.iter();
    let given = |app_name: &String| Some(app_name.clone()).filter(|name| !name.is_empty());
    let mut tenants = BTreeMap::from([(TenantId::default(), None)]);
    tenants.extend(written.map(|(name, tenant)| (TenantId::new(name.as_str()), given(&tenant.app_name))));
    Applications { base: config.asterisk.app.clone(), tenants }
}

/// What is served before there is a host.
#[derive(Default)]
struct First {
    snapshot: Option<Snapshot>,
    faults: Vec<String>,
    /// What concerns more than one component, or what is served all the same.
    troubles: Vec<String>,
}

impl Serving for First {
    fn serve(&mut self, snapshot: Snapshot) {
        self.snapshot = Some(snapshot);
    }

    fn news(&mut self, news: News) {
        match news {
            News::Refused { why, .. } | News::Barred { why, .. } | News::Late(why) => self.faults.push(why),
            News::Trouble(why) => self.troubles.push(why),
            News::Problem(problem) => self.faults.push(problem.to_string()),
            _ => {}
        }
    }
}
