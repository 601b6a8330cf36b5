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
    /// What was said of the files as they were, so that it is not said again with each change of another file.
    pub(crate) said: Arc<Mutex<BTreeSet<String>>>,
}

impl TenantServices {
    /// From now on tenants have what these say. `config` is with the tenants' own files; what is wrong with those goes
    /// into the log.
    pub(crate) fn serve(&self, config: &Config, directory: &Directory) {
        self.store.set_quotas(quotas(directory));
        self.prompts.set_places(prompt_places(config));
        let unknown = self.desk.set_tenant_sinks(recording_sinks(config)).into_iter();
        let unknown = unknown.map(|(tenant, error)| format!("the tenant `{tenant}`: {error}"));
        let sentences: BTreeSet<String> = unknown.chain(notes(directory)).collect();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        sentences.difference(&said).for_each(|sentence| tracing::warn!("{sentence}"));
        *said = sentences;
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::{Path, PathBuf};

    use voxtra_directory::{HostCeiling, Scanner};

    use super::*;
    use crate::host::handlers;

    /// A plugin directory that goes with the test.
    struct Plugins(PathBuf);

    impl Plugins {
        fn new(files: &[(&str, &str)]) -> Self {
            let dir = std::env::temp_dir().join(format!("voxtra-tenants-{}", uuid::Uuid::new_v4()));
            let plugins = Self(dir);
            for (name, text) in files {
                let file = plugins.0.join(name);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, text).unwrap();
            }
            plugins
        }

        fn read(&self) -> Directory {
            let scan = Scanner::new(&self.0, HostCeiling::default()).scan(&Directory::default()).unwrap();
            assert!(scan.problems.is_empty(), "{:?}", scan.problems);
            scan.directory
        }
    }

    impl Drop for Plugins {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    const OWN: &str = "
recording_sinks = [\"own\"]
prompts = { dir = \"wav\", urls = [\"https://a.example/\"] }
dialplan = { transfer_context = \"acme-transfers\", queue_context = \"acme-queues\" }
limits = { max_keys = 7, stored_mib = 3 }
providers = { llm = \"openai\" }
";

    fn config(text: &str) -> Config {
        Config::parse(text, Some(Path::new("/etc/voxtra.yaml")), &|_| None).unwrap()
    }

    #[test]
    fn a_tenants_own_file_says_where_its_prompts_and_recordings_are_and_what_it_may_keep() {
        let plugins = Plugins::new(&[("acme/tenant.toml", OWN), ("acme/wav/hello.wav", "x"), ("beta/a.txt", "")]);
        let directory = plugins.read();
        let config = handlers::with_tenants(&config(""), &directory);
        let (acme, beta) = (TenantId::new("acme"), TenantId::new("beta"));
        let places = prompt_places(&config);
        let own = &places[&acme];
        assert_eq!((own.dir.as_deref(), own.is_own), (Some(plugins.0.join("acme/wav").as_path()), true));
        assert_eq!(own.urls, ["https://a.example/"]);
        assert_eq!(places[&beta].dir, None);
        assert_eq!(recording_sinks(&config), [(acme.clone(), vec!["own".to_owned()])]);
        let quotas: HashMap<_, _> = quotas(&directory).collect();
        assert_eq!(quotas[&acme], Quota { max_keys: 7, max_bytes: 3 << 20 });
        assert_eq!(quotas[&beta], Quota::default());
        let note = "providers of `acme`: accepted; this version has no AI providers yet";
        assert_eq!(notes(&directory), [note]);
        let dialplan = &config.root.tenants["acme"].dialplan;
        assert_eq!(dialplan.transfer_context, "acme-transfers");
    }

    #[test]
    fn what_the_hosts_file_says_of_a_tenant_counts_before_its_own() {
        let plugins = Plugins::new(&[("acme/tenant.toml", OWN), ("acme/wav/hello.wav", "x")]);
        let written = config(
            "
tenants:
  acme:
    prompts: {dir: theirs}
    recording_sinks: [theirs]
    dialplan: {queue_context: theirs}
",
        );
        let config = handlers::with_tenants(&written, &plugins.read());
        let acme = TenantId::new("acme");
        let place = &prompt_places(&config)[&acme];
        assert_eq!((place.dir.as_deref(), place.is_own), (Some(Path::new("/etc/theirs")), false));
        assert_eq!(place.urls, ["https://a.example/"], "each key by itself");
        assert_eq!(recording_sinks(&config), [(acme, vec!["theirs".to_owned()])]);
        let dialplan = &config.root.tenants["acme"].dialplan;
        assert_eq!((dialplan.transfer_context.as_str(), dialplan.queue_context.as_str()), ("acme-transfers", "theirs"));
    }

    #[test]
    fn routes_of_the_hosts_file_come_before_those_of_manifests() {
        let manifest = "[[routes]]\nextension = \"1\"\n";
        for (place, written) in [
            ("default", "routes: [{extension: '1', handler: theirs}]"),
            ("default", "tenants: {default: {routes: [{extension: '1', handler: theirs}]}}"),
            ("acme", "tenants: {acme: {routes: [{extension: '1', handler: theirs}]}}"),
        ] {
            let (component, text) = (format!("{place}/own.wasm"), format!("{place}/own.toml"));
            let directory = Plugins::new(&[(component.as_str(), "x"), (text.as_str(), manifest)]).read();
            let tenants = handlers::with_tenants(&config(written), &directory).tenants();
            let (_, tenant) = tenants.into_iter().find(|(name, _)| name == place).unwrap();
            let handlers: Vec<_> = tenant.routes.iter().map(|route| route.handler.as_str()).collect();
            assert_eq!(handlers, ["theirs", "own"], "{written}");
        }
    }

    #[test]
    fn whom_the_tenant_default_may_call_is_said_by_the_hosts_file_where_it_says_so() {
        let own = "[capabilities.dial]\npatterns = ['1.']\nendpoint = 'PJSIP/{number}@own'\nmax_per_day = 3\n";
        let directory = Plugins::new(&[("default/tenant.toml", own)]).read();
        let default = &directory.tenants[&TenantId::default()];
        for (written, endpoint, is_written) in [
            ("", "PJSIP/{number}@own", false),
            ("dial: {patterns: ['2.'], endpoint: 'PJSIP/{number}@theirs'}", "PJSIP/{number}@theirs", true),
            (
                "tenants: {default: {dial: {patterns: ['2.'], endpoint: 'PJSIP/{number}@theirs'}}}",
                "PJSIP/{number}@theirs",
                true,
            ),
        ] {
            let written = config(written);
            let (name, tenant) = handlers::with_tenants(&written, &directory).tenants().remove(0);
            assert_eq!((name.as_str(), tenant.dial.unwrap().endpoint.as_str()), ("default", endpoint));
            assert_eq!(handlers::says_whom_to_dial(&written, &TenantId::default()), is_written);
            assert!(handlers::own_dial(default).is_some());
        }
    }
}
