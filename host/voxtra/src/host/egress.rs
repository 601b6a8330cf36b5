//! Handlers' HTTP: what the configuration lets out at all, and what each tenant's and each handler's file makes of it, as the
//! plugin directory says now.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Handle;
use voxtra_core::http::{CallHttp, Http, HttpOut, HttpUsage};
use voxtra_core::{HandlerName, TenantId};
use voxtra_directory::{Directory, HttpLimits, TenantPlan};
use voxtra_egress::{
    AllowEntry, AllowedNetwork, CallEgress, Egress, EgressLimits, EgressOptions, EgressPolicy, EntryError, Narrowing,
    Network, OperatorNetworks, Secrets, TenantCounters, TenantRules, certificates_of_pem,
};

use crate::config::{self, Config, ConfigError};
use crate::files;

/// A secret's file is one line, a certificates' file a few authorities.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Above it a call's session waits no longer for an answer.
const MAX_TOTAL_MS: u32 = 110_000;

/// What each handler that is there takes away from its tenant's rules.
type Narrowings = RwLock<HashMap<TenantId, HashMap<HandlerName, Arc<Narrowing>>>>;

/// The way out of all handlers.
pub(crate) struct HandlersHttp {
    egress: Egress,
    /// Values that the operator has written, by tenant.
    secrets: RwLock<BTreeMap<TenantId, Secrets>>,
    /// What was set last. Locked while rules are handed on, so that the last ones count.
    directory: Mutex<Arc<Directory>>,
    handlers: Arc<Narrowings>,
    /// Secrets that a tenant names and that have no value.
    missing: Mutex<BTreeSet<(TenantId, String)>>,
    /// Where requests run: nothing that a guest does delays them.
    runtime: Handle,
}

impl HandlersHttp {
    /// What the configuration says; no tenant may send anything before [`HandlersHttp::set`]. Blocking: reads the files of
    /// certificates and secrets.
    pub(crate) fn new(config: &Config, runtime: &Handle) -> anyhow::Result<Self> {
        let options = EgressOptions {
            networks: networks(config)?,
            extra_roots: certificates(config)?,
            concurrent: config.root.egress.max_concurrent,
            ..EgressOptions::default()
        };
        Ok(Self {
            secrets: RwLock::new(secrets(config)?),
            directory: Mutex::default(),
            egress: Egress::new(options).context("handlers' HTTP cannot be set up")?,
            handlers: Arc::default(),
            missing: Mutex::default(),
            runtime: runtime.clone(),
        })
    }

    /// From now on tenants may send what their files say, also in calls that are up; what a handler's file narrows counts for
    /// calls that have sent nothing yet, and for those that go over to another version of the handler.
    pub(crate) fn set(&self, directory: &Arc<Directory>) {
        let mut current = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        current.clone_from(directory);
        let narrowings = |plan: &TenantPlan| {
            let of = |name: &HandlerName, narrowing| (name.clone(), Arc::new(narrowing));
            plan.handlers.iter().map(|(name, handler)| of(name, narrowing(handler.grants.http.as_ref()))).collect()
        };
        let handlers = directory.tenants.iter().map(|(tenant, plan)| (tenant.clone(), narrowings(plan))).collect();
        *self.handlers.write().unwrap_or_else(PoisonError::into_inner) = handlers;
        for (tenant, _) in self.egress.counters() {
            if !directory.tenants.contains_key(&tenant) {
                self.egress.remove_tenant(&tenant);
            }
        }
        self.hand_on(&current);
    }

    /// From now on tenants have the secrets that the configuration says by now, also in calls that are up. Those of a tenant
    /// with one that cannot be used stay as they were. Returns what is wrong, a sentence each. Blocking: reads the files that
    /// are named.
    pub(crate) fn reread(&self, config: &Config) -> Vec<String> {
        let (mut now, mut faults) = (BTreeMap::new(), Vec::new());
        for (tenant, section) in config.tenants() {
            match secrets_of(config, &tenant, &section) {
                Ok(known) => drop(now.insert(TenantId::new(tenant), known)),
                Err(error) => {
                    faults.push(error.to_string());
                    let tenant = TenantId::new(tenant);
                    let before = self.secrets.read().unwrap_or_else(PoisonError::into_inner).get(&tenant).cloned();
                    now.extend(before.map(|before| (tenant, before)));
                }
            }
        }
        let current = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *self.secrets.write().unwrap_or_else(PoisonError::into_inner), now);
        if before != *self.secrets.read().unwrap_or_else(PoisonError::into_inner) {
            tracing::info!("the configuration's secrets have been read again");
            self.hand_on(&current);
        }
        faults
    }

    fn hand_on(&self, directory: &Directory) {
        for (tenant, plan) in &directory.tenants {
            self.egress.set_tenant(tenant, self.rules(tenant, plan));
        }
        self.tell_missing(directory);
    }

    /// What each tenant's requests have come to, and how many are under way.
    pub(crate) fn counters(&self) -> Vec<(TenantId, TenantCounters)> {
        self.egress.counters()
    }

    /// A tenant's, whatever its file names.
    #[cfg(test)]
    pub(super) fn secrets_of(&self, tenant: &TenantId) -> Secrets {
        self.secrets.read().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned().unwrap_or_default()
    }

    fn rules(&self, tenant: &TenantId, plan: &TenantPlan) -> TenantRules {
        let Some(http) = &plan.settings.grants.http else { return TenantRules::default() };
        let names = plan.settings.secrets.iter().map(String::as_str);
        let known = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        let secrets = known.get(tenant).map(|known| known.only(names)).unwrap_or_default();
        drop(known);
        match EgressPolicy::parse(http.allow.iter().map(String::as_str), limits(&http.limits)) {
            Ok(policy) => TenantRules { policy, secrets },
            // The file was checked by the same parser when it was read.
            Err(error) => {
                tracing::error!(%tenant, %error, "the tenant's handlers may send nothing; this is a fault of the host");
                TenantRules::default()
            }
        }
    }

    /// Once for each: the directory is read again with each change.
    fn tell_missing(&self, directory: &Directory) {
        let known = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        let has = |tenant: &TenantId, name: &str| known.get(tenant).is_some_and(|known| known.contains(name));
        let missing = without_value(directory, has);
        let mut told = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        for (tenant, secret) in missing.difference(&told) {
            tracing::warn!(%tenant, secret, "tenant.toml names a secret without a value; write it into voxtra.yaml, under tenants.{tenant}.secrets");
        }
        *told = missing;
    }
}

impl HttpOut for HandlersHttp {
    fn of_call(&self, tenant: &TenantId) -> Arc<dyn CallHttp> {
        Arc::new(CallWay {
            tenant: tenant.clone(),
            way: self.egress.call(tenant, Arc::new(nothing())),
            handlers: Arc::clone(&self.handlers),
            runtime: self.runtime.clone(),
        })
    }
}

/// One call's.
struct CallWay {
    tenant: TenantId,
    /// Before any handler has asked: it may send nothing.
    way: CallEgress,
    handlers: Arc<Narrowings>,
    runtime: Handle,
}

impl CallHttp for CallWay {
    fn of_handler(&self, handler: &HandlerName) -> Arc<dyn Http> {
        let handlers = self.handlers.read().unwrap_or_else(PoisonError::into_inner);
        let known = handlers.get(&self.tenant).and_then(|handlers| handlers.get(handler)).cloned();
        drop(handlers);
        let narrowing = known.unwrap_or_else(|| Arc::new(nothing()));
        self.way.narrowed(narrowing).on(&self.runtime)
    }

    fn usage(&self) -> HttpUsage {
        self.way.usage()
    }
}

/// What a handler has that is not in the directory, or may not send.
fn nothing() -> Narrowing {
    Narrowing { allow: Some(Vec::new()), limits: EgressLimits::NONE }
}

fn narrowing(http: Option<&voxtra_directory::Http>) -> Narrowing {
    let Some(http) = http else { return nothing() };
    let entries = http.narrowed.as_ref().map(|entries| entries.iter().map(|entry| entry.parse()).collect());
    match entries.transpose() {
        Ok(allow) => Narrowing { allow, limits: limits(&http.limits) },
        Err::<_, EntryError>(error) => {
            tracing::error!(%error, "a handler may send nothing; this is a fault of the host");
            nothing()
        }
    }
}

fn limits(limits: &HttpLimits) -> EgressLimits {
    let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let bytes = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    EgressLimits {
        concurrent_per_tenant: count(limits.concurrent_per_tenant),
        concurrent_per_call: count(limits.concurrent_per_call),
        requests_per_minute: count(limits.requests_per_minute),
        requests_per_call: count(limits.requests_per_call),
        request_bytes: bytes(limits.request_bytes),
        response_bytes: bytes(limits.response_bytes),
        total_time: Duration::from_millis(limits.total_ms),
        connect_time: Duration::from_millis(limits.connect_ms),
        redirects: count(limits.redirects),
    }
}

/// The most that a tenant's file may ask for.
pub(crate) fn ceiling(config: &Config) -> HttpLimits {
    let most = &config.root.egress.ceiling;
    HttpLimits {
        concurrent_per_tenant: most.concurrent_per_tenant.into(),
        concurrent_per_call: most.concurrent_per_call.into(),
        requests_per_minute: most.requests_per_minute.into(),
        requests_per_call: most.requests_per_call.into(),
        request_bytes: most.request_bytes.into(),
        response_bytes: most.response_bytes.into(),
        total_ms: most.total_ms.into(),
        connect_ms: most.connect_ms.into(),
        redirects: most.redirects.into(),
    }
}

/// Whether the configuration's part can be used. Blocking: reads the files that it names.
pub(crate) fn check(config: &Config) -> Result<(), ConfigError> {
    networks(config)?;
    certificates(config)?;
    secrets(config).map(drop)
}

fn networks(config: &Config) -> Result<OperatorNetworks, ConfigError> {
    let egress = &config.root.egress;
    let (total_ms, redirects) = (egress.ceiling.total_ms, egress.ceiling.redirects);
    if total_ms > MAX_TOTAL_MS {
        let why = format!("{total_ms} is out of range; use at most {MAX_TOTAL_MS}");
        return Err(config.error_at(&["egress", "ceiling", "total_ms"], why));
    }
    if redirects > EgressLimits::REDIRECTS_MAX {
        let why = format!("{redirects} is out of range; use at most {}", EgressLimits::REDIRECTS_MAX);
        return Err(config.error_at(&["egress", "ceiling", "redirects"], why));
    }
    let read = |path: &[&str], texts: &[String]| -> Result<Vec<Network>, ConfigError> {
        let networks = texts.iter().map(|text| text.parse::<Network>());
        networks.collect::<Result<_, _>>().map_err(|error| config.error_at(path, error.to_string()))
    };
    let for_all = read(&["egress", "private_networks"], &egress.private_networks)?;
    let mut allowed: Vec<_> = for_all.into_iter().map(|network| AllowedNetwork { network, tenants: None }).collect();
    for (name, tenant) in &config.root.tenants {
        let tenants = Some(vec![TenantId::new(name.as_str())]);
        let own = read(&["tenants", name, "private_networks"], &tenant.private_networks)?;
        allowed.extend(own.into_iter().map(|network| AllowedNetwork { network, tenants: tenants.clone() }));
    }
    let refused = read(&["egress", "refused_networks"], &egress.refused_networks)?;
    Ok(OperatorNetworks { allowed, refused })
}

fn certificates(config: &Config) -> Result<Vec<voxtra_egress::CertificateDer<'static>>, ConfigError> {
    let mut all = Vec::new();
    for file in &config.root.egress.ca_files {
        let path = config.folder(file);
        let read = read_file(&path).and_then(|bytes| certificates_of_pem(&bytes).map_err(|error| error.to_string()));
        let fail = |why: String| config.error_at(&["egress", "ca_files"], format!("{}: {why}", path.display()));
        all.extend(read.map_err(fail)?);
    }
    Ok(all)
}

/// Secrets that tenants' own files name and the configuration has no value for, a sentence each.
pub(crate) fn notes(config: &Config, directory: &Directory) -> Vec<String> {
    let written = config.tenants();
    let has = |tenant: &TenantId, name: &str| {
        written.iter().any(|(of, section)| of == tenant.as_str() && section.secrets.contains_key(name))
    };
    let sentence = |(tenant, secret)| {
        format!(
            "the tenant `{tenant}`: tenant.toml names the secret `{secret}`, which has no value; write it into voxtra.yaml, under tenants.{tenant}.secrets"
        )
    };
    without_value(directory, has).into_iter().map(sentence).collect()
}

fn without_value(directory: &Directory, has: impl Fn(&TenantId, &str) -> bool) -> BTreeSet<(TenantId, String)> {
    let named = directory
        .tenants
        .iter()
        .flat_map(|(tenant, plan)| plan.settings.secrets.iter().map(move |name| (tenant.clone(), name.clone())));
    named.filter(|(tenant, name)| !has(tenant, name)).collect()
}

fn secrets(config: &Config) -> Result<BTreeMap<TenantId, Secrets>, ConfigError> {
    let of = |(tenant, section): (String, config::Tenant)| {
        secrets_of(config, &tenant, &section).map(|known| (TenantId::new(tenant), known))
    };
    config.tenants().into_iter().map(of).collect()
}

fn secrets_of(config: &Config, tenant: &str, section: &config::Tenant) -> Result<Secrets, ConfigError> {
    let mut known = Secrets::new();
    for (name, secret) in &section.secrets {
        add_secret(config, tenant, name, secret, &mut known)?;
    }
    Ok(known)
}

fn add_secret(
    config: &Config,
    tenant: &str,
    name: &str,
    secret: &config::HttpSecret,
    known: &mut Secrets,
) -> Result<(), ConfigError> {
    let of_default = tenant == TenantId::DEFAULT_NAME && config.root.secrets.contains_key(name);
    let section: &[&str] = if of_default { &["secrets"] } else { &["tenants", tenant, "secrets"] };
    let fail = |key: &str, why: String| Err(config.error_at(&[section, &[name, key]].concat(), why));
    let value = match (secret.value.0.as_str(), secret.file.as_str()) {
        ("", "") => return fail("value", "a secret needs a `value`, or a `file` that holds it; write one".to_owned()),
        (value, "") => value.to_owned(),
        ("", file) => match read_file(&config.folder(file)).map(String::from_utf8) {
            Ok(Ok(text)) => text.trim_end_matches(['\r', '\n']).to_owned(),
            Ok(Err(_)) => return fail("file", format!("{file} holds no text; write the value into it")),
            Err(why) => return fail("file", format!("{file}: {why}")),
        },
        _ => return fail("file", "there is a `value` as well; remove one of them".to_owned()),
    };
    let servers: Result<Vec<AllowEntry>, EntryError> = secret.servers.iter().map(|text| text.parse()).collect();
    let servers = match servers {
        Ok(servers) => servers,
        Err(error) => return fail("servers", error.to_string()),
    };
    known.insert(name, value, servers).or_else(|error| fail("servers", error.to_string()))
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    files::read(path, MAX_FILE_BYTES)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use voxtra_core::http::{HttpRequest, Reason};
    use voxtra_directory::{Checks, HostCeiling, Scanner};

    use super::super::checks;
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text, Some(Path::new("voxtra.yaml")), &|name| (name == "CRM").then(|| "env-value-1".into()))
            .unwrap()
    }

    fn why(text: &str) -> String {
        check(&config(text)).unwrap_err().to_string()
    }

    #[test]
    fn secrets_belong_to_their_tenant_and_come_from_the_environment() {
        let text = "
secrets:
  crm: {value: '${CRM}', servers: ['https://crm.example.com']}
tenants:
  acme:
    secrets:
      other: {value: another-value, servers: [api.example.com]}
";
        let secrets = secrets(&config(text)).unwrap();
        let (default, acme) = (&secrets[&TenantId::default()], &secrets[&TenantId::new("acme")]);
        assert!(default.contains("crm") && !default.contains("other"));
        assert!(acme.contains("other") && !acme.contains("crm"));
        assert!(!format!("{:?} {:?}", config(text).root, secrets).contains("env-value-1"));
    }

    #[test]
    fn a_wrong_secret_is_told_with_its_line_and_without_its_value() {
        for (wrong, line, wanted) in [
            ("{value: short, servers: [a.example]}", 2, "8"),
            ("{value: long-enough-1}", 2, "names no server"),
            ("{servers: [a.example]}", 2, "needs a `value`"),
            ("{value: long-enough-1, servers: ['ftp://x']}", 2, "no entry of an allow-list"),
            ("{file: /nowhere/at/all, servers: [a.example]}", 2, "cannot be read"),
            ("{value: long-enough-1, file: x, servers: [a.example]}", 2, "remove one"),
        ] {
            let why = why(&format!("secrets:\n  crm: {wrong}\n"));
            assert!(why.starts_with(&format!("voxtra.yaml:{line}:")) && why.contains(wanted), "{wrong}: {why}");
            assert!(!why.contains("short,") && !why.contains("long-enough-1"), "{why}");
        }
    }

    #[test]
    fn networks_are_read_with_whom_they_are_for() {
        let text = "egress: {private_networks: [10.1.0.0/16], refused_networks: [203.0.113.0/24]}\n\
                    tenants: {acme: {private_networks: [192.168.7.0/24]}}\n";
        let networks = networks(&config(text)).unwrap();
        let (acme, other) = (TenantId::new("acme"), TenantId::default());
        let may = |tenant: &TenantId, address: &str| networks.check(tenant, address.parse().unwrap()).is_ok();
        assert!(may(&acme, "10.1.2.3") && may(&other, "10.1.2.3"));
        assert!(may(&acme, "192.168.7.9") && !may(&other, "192.168.7.9"));
        assert!(!may(&acme, "127.0.0.1") && !may(&acme, "203.0.113.7"));
        assert!(why("egress: {private_networks: [10.1.0.1/16]}").contains("is no network"));
        assert!(why("egress: {ceiling: {total_ms: 200000}}").contains("110000"));
        assert!(why("egress: {ca_files: [/nowhere/at/all.pem]}").contains("/nowhere/at/all.pem"));
    }

    /// A plugin directory of these files, as it is read.
    fn directory(files: &[(&str, &str)]) -> Arc<Directory> {
        let root = std::env::temp_dir().join(format!("voxtra-egress-{}", uuid::Uuid::new_v4()));
        for (place, text) in files {
            let path = root.join(place);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let host = HostCeiling {
            http: ceiling(&config("")),
            checks: Checks { http_entry: checks::http_entry, ..Checks::default() },
            ..HostCeiling::default()
        };
        let scan = Scanner::new(&root, host).scan(&Directory::default()).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(scan.problems.len(), 0, "{:?}", scan.problems);
        Arc::new(scan.directory)
    }

    /// What becomes of a request: nothing leaves the machine, since what is allowed here is not public.
    async fn refusal(http: &HandlersHttp, tenant: &str, handler: &str, url: &str) -> (Reason, String) {
        let way = http.of_call(&TenantId::new(tenant)).of_handler(&HandlerName::new(handler));
        let error = way.send(HttpRequest::new("GET", url)).await.unwrap_err();
        (error.reason(), error.to_string())
    }

    #[tokio::test]
    async fn tenants_and_handlers_may_what_their_files_say_and_what_is_gone_may_nothing() {
        const ONE: &str = "http://10.0.0.1/";
        const TWO: &str = "http://10.0.0.2/";

        let http = HandlersHttp::new(&config(""), &Handle::current()).unwrap();
        assert_eq!(refusal(&http, "acme", "wide", ONE).await.0, Reason::Off, "before anything was read");
        http.set(&directory(&[
            (
                "acme/tenant.toml",
                "[capabilities]\nstore = true\nhttp = { allow = ['http://10.0.0.1', 'http://10.0.0.2'] }\n",
            ),
            ("acme/wide.wasm", "w"),
            ("acme/narrow.wasm", "n"),
            ("acme/narrow.toml", "[capabilities.http]\nallow = ['http://10.0.0.1']\n"),
            ("acme/none.wasm", "0"),
            ("acme/none.toml", "[capabilities]\nstore = true\n"),
            ("beta/default.wasm", "b"),
        ]));
        assert_eq!(refusal(&http, "acme", "wide", ONE).await.0, Reason::Address);
        assert_eq!(refusal(&http, "acme", "wide", TWO).await.0, Reason::Address);
        assert_eq!(refusal(&http, "acme", "narrow", ONE).await.0, Reason::Address);
        let (reason, why) = refusal(&http, "acme", "narrow", TWO).await;
        assert!(reason == Reason::Host && why.contains("the handler's"), "{why}");
        for (tenant, handler) in [("acme", "none"), ("acme", "unknown"), ("beta", "default"), ("gamma", "wide")] {
            assert_eq!(refusal(&http, tenant, handler, ONE).await.0, Reason::Off, "{tenant}/{handler}");
        }
        let call = http.of_call(&TenantId::new("acme")).of_handler(&HandlerName::new("wide"));
        http.set(&directory(&[("beta/default.wasm", "b")]));
        let error = call.send(HttpRequest::new("GET", ONE)).await.unwrap_err();
        assert_eq!(error.reason(), Reason::Off, "a call that is up");
    }

    #[tokio::test]
    async fn a_call_that_goes_over_sends_by_its_handlers_new_manifest_and_what_it_has_sent_stays_counted() {
        const ONE: &str = "http://10.0.0.1/";
        const TWO: &str = "http://10.0.0.2/";
        const TENANT: (&str, &str) =
            ("acme/tenant.toml", "[capabilities]\nhttp = { allow = ['http://10.0.0.1', 'http://10.0.0.2'] }\n");
        async fn sent(way: &Arc<dyn Http>, url: &str) -> Reason {
            way.send(HttpRequest::new("GET", url)).await.unwrap_err().reason()
        }

        let http = HandlersHttp::new(&config(""), &Handle::current()).unwrap();
        let serve = |manifest: &str| {
            http.set(&directory(&[TENANT, ("acme/support.wasm", "s"), ("acme/support.toml", manifest)]));
        };
        serve("[capabilities.http]\nallow = ['http://10.0.0.1']\n");
        let (call, support) = (http.of_call(&TenantId::new("acme")), HandlerName::new("support"));
        let before = call.of_handler(&support);
        assert_eq!((sent(&before, ONE).await, sent(&before, TWO).await), (Reason::Address, Reason::Host));
        serve("[capabilities.http]\nallow = ['http://10.0.0.2']\n");
        let after = call.of_handler(&support);
        assert_eq!((sent(&after, ONE).await, sent(&after, TWO).await), (Reason::Host, Reason::Address));
        // Whoever has not gone over keeps what it had.
        assert_eq!((sent(&before, ONE).await, sent(&before, TWO).await), (Reason::Address, Reason::Host));
        serve("[capabilities]\nhttp = false\n");
        let after = call.of_handler(&support);
        assert_eq!((sent(&after, ONE).await, sent(&after, TWO).await), (Reason::Off, Reason::Off));
        assert_eq!(call.usage().errors, 8);
    }
}
