//! What the host keeps and delivers, as the configuration describes it: the database, webhooks, recordings, batches.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Handle;
use voxtra_core::event::{Event, EventSink};
use voxtra_core::{CallRecord, MeterSink, TenantId};
use voxtra_services::batch::Batches;
use voxtra_services::database::Database;
use voxtra_services::metering::{MeterStore, Meters};
use voxtra_services::metrics::Registry;
use voxtra_services::recordings::{
    Desk, DeskError, DeskOptions, LocalSink, S3Options, S3Sink, Sink, WebhookSink as RecordingHook,
};
use voxtra_services::store::{Quota, SqliteStore};
use voxtra_services::webhooks::{Letters, OutboxOptions, Secret, WebhookSink, WebhookTarget, http_client};
use voxtra_session::{DialPolicy, FilteredSink, HostPorts};

use super::batches::{BatchDesk, ForHandlers, Rights};
use super::listener::Listener;
use super::metering;
use super::prompts::Prompts;
use super::tenants::{self, TenantServices};
use crate::config::{Config, ConfigError, Dial, Lookup, RecordingSink, SinkKind, Tenant};

/// The sink of recordings when none is configured.
const DEFAULT_SINK: &str = "local";

/// How often what has expired in the store is removed.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// See the module.
pub(crate) struct Services {
    pub(crate) webhooks: Arc<WebhookSink>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) batches: Arc<BatchDesk>,
    /// What recordings and batches tell.
    pub(crate) beside_calls: Arc<FilteredSink>,
    /// What each tenant has of them.
    pub(crate) tenants: TenantServices,
    /// What calls have used up.
    pub(crate) meters: MeterStore,
    /// What Prometheus reads.
    pub(crate) registry: Arc<Registry>,
    /// What waits for webhooks.
    pub(crate) letters: Arc<Letters>,
    pub(crate) ports: HostPorts,
}

impl Services {
    /// Opens everything; `log` gets every event too.
    pub(crate) async fn start(
        config: &Config,
        lookup: Lookup<'_>,
        log: Arc<dyn EventSink>,
        runtime: &Handle,
    ) -> anyhow::Result<Self> {
        let client = http_client().context("the system's certificates cannot be read; install ca-certificates")?;
        let file = config.database(lookup);
        let database = tokio::task::block_in_place(|| Database::open(&file));
        let database = database.map_err(|error| config.error_at(&["state_dir"], error.to_string()))?;
        // What goes wrong with it says what, and not where.
        let unusable = || format!("the database {}", file.display());
        let targets = targets(config)?;
        let webhooks =
            WebhookSink::start(database.clone(), targets, client.clone(), OutboxOptions::default(), runtime).await;
        let webhooks = Arc::new(webhooks.with_context(unusable)?);
        let sink: Arc<dyn EventSink> = Arc::new(Both(log, Arc::<WebhookSink>::clone(&webhooks)));
        let beside_calls = FilteredSink::new(Arc::clone(&sink));
        let desk = desk(config, lookup, &client, Arc::<FilteredSink>::clone(&beside_calls), runtime)?;
        let store = SqliteStore::new(database.clone(), quota(config)).await.with_context(unusable)?;
        runtime.spawn(sweep(store.clone()));
        let meters = metering::open(config, database.clone(), runtime).await.with_context(unusable)?;
        let registry = Arc::new(Registry::new());
        end_lost_calls(&webhooks, &meters).await.with_context(unusable)?;
        let letters = Arc::new(Letters::open(database.clone()).await.with_context(unusable)?);
        let batches = BatchDesk::new(
            Batches::open(database).await.with_context(unusable)?,
            batch_rights(config, &dial_policies(config)?),
            Arc::<FilteredSink>::clone(&beside_calls),
            runtime.clone(),
        );
        let prompts = Arc::new(Prompts::new(tenants::prompt_places(config), client));
        let tenants = TenantServices {
            store: store.clone(),
            prompts: Arc::clone(&prompts),
            desk: Arc::clone(&desk),
            said: Arc::default(),
        };
        let mut ports = HostPorts::new(sink);
        let counted = Arc::<Registry>::clone(&registry);
        let over = Arc::<WebhookSink>::clone(&webhooks);
        ports.meter = Some(Arc::new(Meters::new(vec![Arc::new(meters.clone()), counted, over])));
        ports.desk = Some(Arc::<Desk>::clone(&desk));
        ports.store = Some(Arc::new(store));
        ports.prompts = Some(prompts);
        ports.batches = Some(Arc::new(ForHandlers(Arc::clone(&batches))));
        ports.machine_listener = Some(Arc::new(Listener));
        Ok(Self { webhooks, desk, batches, beside_calls, tenants, meters, registry, letters, ports })
    }
}

/// An event to two sinks.
struct Both(Arc<dyn EventSink>, Arc<dyn EventSink>);

impl EventSink for Both {
    fn emit(&self, event: Event) {
        self.0.emit(event.clone());
        self.1.emit(event);
    }
}

/// Calls that were up when an earlier run died are over: their records are kept and the webhooks told. The log has a line
/// for each and no event: a call that is adopted begins anew in it.
async fn end_lost_calls(webhooks: &WebhookSink, meters: &MeterStore) -> anyhow::Result<()> {
    let lost = webhooks.lost_calls().await?;
    if lost.is_empty() {
        return Ok(());
    }
    for CallRecord { call, tenant, handler, .. } in &lost {
        tracing::warn!(%call, %tenant, %handler, "a call was up when an earlier run of this host died; it is told as ended");
    }
    // The records first: one that is there already stays as it is, and so dying here does no harm.
    lost.iter().for_each(|call| meters.record(call.clone()));
    meters.flush().await?;
    webhooks.end_lost_calls(&lost).await?;
    Ok(())
}

async fn sweep(store: SqliteStore) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        if let Err(error) = store.sweep().await {
            tracing::warn!(%error, "what has expired in the store cannot be removed");
        }
    }
}

fn quota(config: &Config) -> Quota {
    let store = &config.root.store;
    Quota { max_keys: store.max_keys.into(), max_bytes: u64::from(store.max_mib) << 20 }
}

/// 0.3.1's webhook and ours.
pub(crate) fn targets(config: &Config) -> Result<Vec<WebhookTarget>, ConfigError> {
    let seeds = config.root.backend.webhook.iter().map(|hook| (hook, vec!["backend".to_owned(), "webhook".to_owned()]));
    let ours = config.root.webhooks.iter().enumerate();
    let ours = ours.map(|(index, hook)| (hook, vec!["webhooks".to_owned(), index.to_string()]));
    let mut targets: Vec<WebhookTarget> = Vec::new();
    for (hook, path) in seeds.chain(ours) {
        // 0.3.1 took an empty address for none.
        if hook.url.is_empty() {
            continue;
        }
        let at = |key: &'static str| [path.iter().map(String::as_str).collect::<Vec<_>>(), vec![key]].concat();
        let fail = |key: &'static str, why: String| config.error_at(&at(key), why);
        let name = if hook.name.is_empty() { default_name(targets.len()) } else { hook.name.clone() };
        if targets.iter().any(|other| other.name == name) {
            return Err(fail("name", format!("there are two webhooks `{name}`; give each a name of its own")));
        }
        let mut target = WebhookTarget::new(&name, &hook.url).map_err(|error| fail("url", error.to_string()))?;
        target.events = WebhookTarget::kinds(&hook.events).map_err(|error| fail("events", error.to_string()))?;
        target.tenant = hook.tenant.as_deref().map(TenantId::new);
        target.secret = (!hook.signing_secret.0.is_empty()).then(|| Secret::new(hook.signing_secret.0.clone()));
        target.timeout = seconds(hook.timeout_seconds, 0.1, 600.0);
        target.max_retries =
            hook.max_retries.map_or(target.max_retries, |n| u32::try_from(n.clamp(0, 1_000)).unwrap_or(0));
        target.retry_backoff = seconds(hook.retry_backoff, 0.1, 600.0);
        target.concurrency = usize::try_from(hook.concurrency).unwrap_or(1).clamp(1, 64);
        targets.push(target);
    }
    Ok(targets)
}

fn default_name(index: usize) -> String {
    if index == 0 { "webhook".to_owned() } else { format!("webhook-{}", index + 1) }
}

fn seconds(written: f64, least: f64, most: f64) -> Duration {
    let written = if written.is_finite() { written } else { most };
    Duration::from_secs_f64(written.clamp(least, most))
}

fn desk(
    config: &Config,
    lookup: Lookup<'_>,
    client: &reqwest::Client,
    events: Arc<dyn EventSink>,
    runtime: &Handle,
) -> anyhow::Result<Arc<Desk>> {
    let recordings = &config.root.recordings;
    let mut sinks: Vec<Arc<dyn Sink>> = Vec::new();
    let mut composites = HashMap::new();
    for (name, sink) in &recordings.sinks {
        match recording_sink(config, name, sink, client, runtime)? {
            Some(sink) => sinks.push(sink),
            None => drop(composites.insert(name.clone(), sink.sinks.clone())),
        }
    }
    if recordings.sinks.is_empty() {
        let dir = config.state_dir(lookup).join("recordings");
        sinks.push(Arc::new(LocalSink::new(DEFAULT_SINK, dir, None)));
    }
    let mut options = DeskOptions::new(config.recording_spool(lookup), DEFAULT_SINK);
    options.default_sinks = match (&recordings.default, recordings.sinks.keys().next()) {
        (named, _) if !named.is_empty() => named.clone(),
        (_, Some(first)) => vec![first.clone()],
        (_, None) => options.default_sinks,
    };
    options.composites = composites;
    options.min_free_bytes = u64::from(recordings.min_free_mib) << 20;
    check_sinks(config)?;
    let desk = tokio::task::block_in_place(|| Desk::new(options, sinks, events, runtime.clone()));
    Ok(Arc::new(desk.map_err(|error| config.error_at(&["recordings"], error.to_string()))?))
}

/// Whether there are the sinks that the configuration gives tenants: a wrong name in a tenant's own file is that tenant's.
pub(crate) fn check_sinks(config: &Config) -> Result<(), ConfigError> {
    match unknown_sinks(config).find(|(tenant, _)| config.is_set(&sinks_of(tenant))) {
        Some((tenant, sink)) => {
            let why = format!("there is no recording sink `{sink}`; add it under recordings.sinks, or take it out");
            Err(config.error_at(&sinks_of(tenant), why))
        }
        None => Ok(()),
    }
}

/// Sinks that tenants' own files name and that are not there, a sentence each. `config` is with those files.
pub(crate) fn sink_notes(config: &Config) -> Vec<String> {
    let own = unknown_sinks(config).filter(|(tenant, _)| !config.is_set(&sinks_of(tenant)));
    own.map(|(tenant, sink)| format!("the tenant `{tenant}`: {}", DeskError::UnknownSink(sink.to_owned()))).collect()
}

fn unknown_sinks(config: &Config) -> impl Iterator<Item = (&str, &str)> {
    let sinks = &config.root.recordings.sinks;
    let is_known = |sink: &str| sinks.contains_key(sink) || (sinks.is_empty() && sink == DEFAULT_SINK);
    let named =
        config.root.tenants.iter().flat_map(|(tenant, section)| {
            section.recording_sinks.iter().map(move |sink| (tenant.as_str(), sink.as_str()))
        });
    named.filter(move |(_, sink)| !is_known(sink))
}

fn sinks_of(tenant: &str) -> [&str; 3] {
    ["tenants", tenant, "recording_sinks"]
}

/// A sink; none: it stands for others.
fn recording_sink(
    config: &Config,
    name: &str,
    sink: &RecordingSink,
    client: &reqwest::Client,
    runtime: &Handle,
) -> Result<Option<Arc<dyn Sink>>, ConfigError> {
    let fail = |key: &str, why: &str| Err(config.error_at(&["recordings", "sinks", name, key], why));
    match sink.kind {
        SinkKind::Local if sink.dir.is_empty() => fail("dir", "a local sink needs a folder; write one"),
        SinkKind::Local => {
            let retain = sink.retain_days.map(|days| DAY.saturating_mul(days));
            let local = LocalSink::new(name, config.folder(&sink.dir), retain);
            runtime.spawn(local.clone().sweep());
            Ok(Some(Arc::new(local)))
        }
        SinkKind::Webhook if WebhookTarget::new(name, &sink.url).is_err() => {
            fail("url", "a webhook sink needs an address that begins with https:// or http://; write one")
        }
        SinkKind::Webhook => {
            let secret = (!sink.signing_secret.0.is_empty()).then(|| sink.signing_secret.0.clone());
            Ok(Some(Arc::new(RecordingHook::new(name, &sink.url, secret, client.clone()))))
        }
        SinkKind::S3 => {
            let options = S3Options {
                endpoint: sink.endpoint.clone(),
                region: sink.region.clone(),
                bucket: sink.bucket.clone(),
                prefix: sink.prefix.clone(),
                access_key: sink.access_key.clone(),
                secret_key: sink.secret_key.0.clone(),
                path_style: sink.path_style,
            };
            match S3Sink::new(name, options, client.clone()) {
                Ok(sink) => Ok(Some(Arc::new(sink))),
                Err(why) => fail("endpoint", &why),
            }
        }
        SinkKind::Composite if sink.sinks.is_empty() => {
            fail("sinks", "a composite sink needs the names of others; write a list")
        }
        SinkKind::Composite => Ok(None),
    }
}

/// Whom each tenant may call.
pub(crate) fn dial_policies(config: &Config) -> Result<Vec<(TenantId, DialPolicy)>, ConfigError> {
    let mut policies = Vec::new();
    for (name, tenant) in config.tenants() {
        let Some(dial) = &tenant.dial else { continue };
        let policy = policy(dial);
        let path: &[&str] = if name == TenantId::DEFAULT_NAME { &["dial"] } else { &["tenants", &name, "dial"] };
        policy.check().map_err(|why| config.error_at(path, why))?;
        policies.push((TenantId::new(name), policy));
    }
    Ok(policies)
}

pub(super) fn policy(dial: &Dial) -> DialPolicy {
    DialPolicy {
        patterns: dial.patterns.clone(),
        template: dial.endpoint.clone(),
        endpoints: dial.endpoints.clone(),
        caller_ids: dial.caller_ids.clone(),
        contexts: dial.contexts.clone(),
        max_concurrent: dial.max_concurrent,
        max_per_minute: dial.max_per_minute,
    }
}

/// Who may begin batches of calls to whom; the policies are [`dial_policies`].
pub(super) fn batch_rights(config: &Config, policies: &[(TenantId, DialPolicy)]) -> Rights {
    let may = |tenant: &Tenant| tenant.dial.as_ref().is_some_and(|dial| dial.batches);
    let handlers = config.tenants().into_iter().filter(|(_, tenant)| may(tenant));
    Rights {
        policies: policies.iter().cloned().collect(),
        handlers: handlers.map(|(name, _)| TenantId::new(name)).collect(),
    }
}
