//! Asterisk as the configuration describes it.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use voxtra_ari::AriError;
use voxtra_core::{Exchange, Switchboard, TenantId};
use voxtra_telephony::asterisk::{
    AppOptions, AsteriskAdapter, AsteriskError, AsteriskOptions, MediaTransport, RefusedCalls, UnknownCalls,
};
use voxtra_telephony::media::MediaThreads;

use crate::config::{self, Ari, Config, ConfigError, FIRST_PBX, Refused, Tenant, Transport};

const ASTERISK: &[&str] = &["telephony", "asterisk"];
const LISTEN: &[&str] = &["media", "audiosocket_listen"];

/// One Asterisk.
pub(crate) struct Pbx {
    /// As the configuration calls it.
    pub(crate) name: String,
    pub(crate) base_url: String,
    /// Its applications are those of the tenants that there are; there may be none.
    pub(crate) adapter: AsteriskAdapter,
}

/// An adapter for every Asterisk of the configuration; nothing is sent yet.
pub(crate) fn all(
    config: &Config,
    threads: &Arc<MediaThreads>,
    switchboard: &Arc<dyn Switchboard>,
) -> Result<Vec<Pbx>, ConfigError> {
    check_choices(config)?;
    let mut all = Vec::new();
    for (name, ari) in config.pbxs() {
        let (options, base_url) = (options(config, &name, &ari)?, ari.base_url.clone());
        let adapter = AsteriskAdapter::new(options, Arc::clone(threads), Arc::clone(switchboard));
        let adapter = adapter.map_err(|error| in_config(config, &name, &error))?;
        all.push(Pbx { name, base_url, adapter });
    }
    Ok(all)
}

/// Which tenants are served where, and so where their calls can be placed. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Exchanges {
    adapters: Arc<[(String, AsteriskAdapter)]>,
    tenants: Arc<RwLock<Tenants>>,
}

/// Each tenant's application, and the PBXs that it is served on.
type Tenants = HashMap<TenantId, (String, Vec<String>)>;

impl Exchanges {
    pub(crate) fn new(config: &Config, pbxs: &[Pbx]) -> Self {
        let adapters: Arc<[_]> = pbxs.iter().map(|pbx| (pbx.name.clone(), pbx.adapter.clone())).collect();
        let tenants = Arc::new(RwLock::new(tenants(config, &adapters)));
        Self { adapters, tenants }
    }

    /// From now on these tenants are served, each on its PBXs, and no others. The calls of those that are gone go on.
    pub(crate) fn set_tenants(&self, config: &Config) {
        for (pbx, adapter) in self.adapters.iter() {
            let served = config.tenants_of(pbx).into_iter();
            let apps = served.map(|(_, tenant)| (tenant.app_name.clone(), app_options(config, &tenant)));
            if let Err(error) = adapter.set_apps(apps) {
                tracing::error!(pbx, %error, "the PBX's applications stay as they were");
            }
        }
        *self.tenants.write().unwrap_or_else(PoisonError::into_inner) = tenants(config, &self.adapters);
    }

    /// Whether there is such a tenant.
    pub(crate) fn has_tenant(&self, tenant: &TenantId) -> bool {
        self.tenants().contains_key(tenant)
    }

    fn tenants(&self) -> RwLockReadGuard<'_, Tenants> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a tenant's calls are placed: at the first PBX of its that is connected now.
    pub(crate) fn of_tenant(&self, tenant: &TenantId) -> Option<Arc<dyn Exchange>> {
        let (app, served) = self.tenants().get(tenant)?.clone();
        let connected = |name: &String| {
            let (_, adapter) = self.adapters.iter().find(|(other, _)| other == name)?;
            adapter.stats().connected_apps.contains(&app).then(|| adapter.exchange(&app)).flatten()
        };
        served.iter().find_map(connected)
    }

    /// Any application's exchange at a PBX: recordings are the PBX's.
    pub(crate) fn of_pbx(&self, name: &str) -> Option<Arc<dyn Exchange>> {
        let (_, adapter) = self.adapters.iter().find(|(other, _)| other == name)?;
        adapter.exchange(adapter.apps().first()?)
    }
}

fn tenants(config: &Config, adapters: &[(String, AsteriskAdapter)]) -> Tenants {
    let mut all = Tenants::new();
    for (name, tenant) in config.tenants() {
        let is_served = |pbx: &String| tenant.pbx.is_empty() || tenant.pbx.contains(pbx);
        let served = adapters.iter().map(|(pbx, _)| pbx).filter(|pbx| is_served(pbx)).cloned().collect();
        all.insert(TenantId::new(name), (tenant.app_name, served));
    }
    all
}

/// What is configured and cannot be had.
pub(crate) fn check_choices(config: &Config) -> Result<(), ConfigError> {
    let provider = config.root.telephony.provider.as_str();
    if provider != "asterisk" {
        let problem = format!("`{provider}` is not compiled into this host; write `asterisk`");
        return Err(config.error_at(&["telephony", "provider"], problem));
    }
    Ok(())
}

/// Whether the port for AudioSocket is free. The adapter opens it when the PBX answers; by then nobody may look any more.
pub(crate) fn check_port(config: &Config) -> Result<(), ConfigError> {
    let Some(address) = config.audiosocket_listen()? else { return Ok(()) };
    if config.root.media.transport == Transport::Websocket {
        return Ok(());
    }
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) => {
            let problem = format!(
                "cannot listen on {address} ({error}); write a free port of this machine, or stop what uses it"
            );
            Err(config.error_at(LISTEN, problem))
        }
    }
}

fn options(config: &Config, name: &str, ari: &Ari) -> Result<AsteriskOptions, ConfigError> {
    let tenants = config.tenants_of(name);
    let apps = tenants.iter().map(|(_, tenant)| tenant.app_name.clone());
    let mut options = AsteriskOptions::new(&ari.base_url, &ari.username, &ari.password.0, apps);
    options.name = name.to_owned();
    options.per_app =
        tenants.iter().map(|(_, tenant)| (tenant.app_name.clone(), app_options(config, tenant))).collect();
    options.websocket_url = events_base(config, name);
    options.unknown_calls = match config.root.telephony.unknown_calls {
        config::UnknownCalls::Hangup => UnknownCalls::HangUp,
        config::UnknownCalls::Adopt => UnknownCalls::Adopt,
        config::UnknownCalls::Leave => UnknownCalls::Leave,
    };
    options.media_transport = match config.root.media.transport {
        Transport::Audiosocket => MediaTransport::AudioSocket,
        Transport::Websocket => MediaTransport::WebSocket,
        Transport::Auto | Transport::Rtp | Transport::Livekit => MediaTransport::Auto,
    };
    // One port cannot be listened on twice: the further ones choose their own.
    if name == FIRST_PBX {
        options.audiosocket_listen = config.audiosocket_listen()?;
        let advertise = config.root.media.audiosocket_advertise.clone();
        options.audiosocket_advertise = Some(advertise).filter(|address| !address.is_empty());
    }
    Ok(options)
}

fn app_options(config: &Config, tenant: &Tenant) -> AppOptions {
    let dialplan = &tenant.dialplan;
    let written = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let defaults = AppOptions::default();
    AppOptions {
        transfer_context: written(&dialplan.transfer_context),
        queue_context: written(&dialplan.queue_context).unwrap_or(defaults.queue_context),
        machine_detection_context: written(&dialplan.machine_detection_context),
        allowed_contexts: tenant.dial.as_ref().map(|dial| dial.contexts.clone()).unwrap_or_default(),
        refused_calls: match config.root.drain.refused {
            Refused::Hangup => RefusedCalls::Hangup,
            Refused::Dialplan => RefusedCalls::ContinueInDialplan,
        },
    }
}

/// 0.3.1 wrote `ws://HOST/ari/events?app=NAME`; the application goes into each connection by itself here.
fn events_base(config: &Config, pbx: &str) -> Option<String> {
    let telephony = &config.root.telephony;
    let section = if pbx == FIRST_PBX { telephony.asterisk.as_ref() } else { telephony.more.get(pbx) };
    let written = section.map(|a| a.websocket_url.as_str()).unwrap_or_default();
    let base = written.split('?').next().unwrap_or_default();
    (!base.is_empty()).then(|| base.to_owned())
}

/// The adapter's error as one about the configuration, with the key that is to be changed.
pub(crate) fn in_config(config: &Config, pbx: &str, error: &AsteriskError) -> ConfigError {
    let base_url =
        config.pbxs().into_iter().find(|(name, _)| name == pbx).map(|(_, ari)| ari.base_url).unwrap_or_default();
    if pbx != FIRST_PBX {
        return config.error_at(&["telephony", "more", pbx], format!("{base_url}: {error}"));
    }
    let path = match error {
        AsteriskError::Ari(AriError::Unauthorised { .. } | AriError::Forbidden { .. }) => ASTERISK,
        AsteriskError::Ari(_) => &["telephony", "asterisk", "base_url"],
        AsteriskError::Listen { .. } => LISTEN,
        AsteriskError::MediaUnavailable(_) => &["media", "transport"],
        AsteriskError::Options(_) => ASTERISK,
    };
    // An address that may be wrong is worth reading again. (One that holds a password is refused before it is used.)
    match error {
        error if may_pass(error) => config.error_at(path, format!("{base_url}: {error}")),
        error => config.error_at(path, error.to_string()),
    }
}

/// Whether waiting may help: the PBX is not up yet, or too busy.
pub(crate) fn may_pass(error: &AsteriskError) -> bool {
    matches!(error, AsteriskError::Ari(error) if error.transient())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_places_in_the_dialplan_reach_its_application() {
        let text = "
tenants:
  acme:
    app_name: acme
    dialplan: {transfer_context: t, queue_context: q, machine_detection_context: m}
    dial: {patterns: ['1'], endpoint: 'PJSIP/{number}', contexts: [c]}
";
        let config = Config::parse(text, None, &|_| None).unwrap();
        let options = options(&config, FIRST_PBX, &config.asterisk).unwrap();
        let acme = &options.per_app["acme"];
        assert_eq!(acme.transfer_context.as_deref(), Some("t"));
        assert_eq!((acme.queue_context.as_str(), acme.machine_detection_context.as_deref()), ("q", Some("m")));
        assert_eq!(acme.allowed_contexts, ["c"]);
        let default = &options.per_app["voxtra"];
        assert_eq!(default.queue_context, AppOptions::default().queue_context);
    }
}
