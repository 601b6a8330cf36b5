//! Asterisk as the configuration describes it.

use std::net::TcpListener;
use std::sync::Arc;

use voxtra_ari::AriError;
use voxtra_core::Switchboard;
use voxtra_telephony::asterisk::{AsteriskAdapter, AsteriskError, AsteriskOptions, MediaTransport};
use voxtra_telephony::media::MediaThreads;

use crate::config::{Config, ConfigError, Transport};

const ASTERISK: &[&str] = &["telephony", "asterisk"];
const LISTEN: &[&str] = &["media", "audiosocket_listen"];

/// The adapter for this configuration; nothing is sent yet.
pub(crate) fn adapter(
    config: &Config,
    threads: Arc<MediaThreads>,
    switchboard: Arc<dyn Switchboard>,
) -> Result<AsteriskAdapter, ConfigError> {
    check_choices(config)?;
    let options = options(config)?;
    AsteriskAdapter::new(options, threads, switchboard).map_err(|error| in_config(config, &error))
}

/// What is configured and cannot be had.
pub(crate) fn check_choices(config: &Config) -> Result<(), ConfigError> {
    let provider = config.root.telephony.provider.as_str();
    if provider != "asterisk" {
        let problem = format!("`{provider}` is not compiled into this host; write `asterisk`");
        return Err(config.error_at(&["telephony", "provider"], problem));
    }
    let not_here = |name: &str| {
        let problem = format!(
            "{name} between Asterisk and the host is not supported; write `auto`, `audiosocket` or `websocket`"
        );
        Err(config.error_at(&["media", "transport"], problem))
    };
    match config.root.media.transport {
        Transport::Rtp => not_here("`rtp`"),
        Transport::Livekit => not_here("`livekit`"),
        Transport::Auto | Transport::Audiosocket | Transport::Websocket => Ok(()),
    }
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

fn options(config: &Config) -> Result<AsteriskOptions, ConfigError> {
    let ari = &config.asterisk;
    let apps = config.tenants().into_iter().map(|(_, tenant)| tenant.app_name);
    let mut options = AsteriskOptions::new(&ari.base_url, &ari.username, &ari.password.0, apps);
    options.websocket_url = events_base(config);
    options.media_transport = match config.root.media.transport {
        Transport::Audiosocket => MediaTransport::AudioSocket,
        Transport::Websocket => MediaTransport::WebSocket,
        Transport::Auto | Transport::Rtp | Transport::Livekit => MediaTransport::Auto,
    };
    options.audiosocket_listen = config.audiosocket_listen()?;
    options.audiosocket_advertise = Some(config.root.media.audiosocket_advertise.clone()).filter(|a| !a.is_empty());
    Ok(options)
}

/// 0.3.1 wrote `ws://HOST/ari/events?app=NAME`; the application goes into each connection by itself here.
fn events_base(config: &Config) -> Option<String> {
    let written = config.root.telephony.asterisk.as_ref().map(|a| a.websocket_url.as_str()).unwrap_or_default();
    let base = written.split('?').next().unwrap_or_default();
    (!base.is_empty()).then(|| base.to_owned())
}

/// The adapter's error as one about the configuration, with the key that is to be changed.
pub(crate) fn in_config(config: &Config, error: &AsteriskError) -> ConfigError {
    let path = match error {
        AsteriskError::Ari(AriError::Unauthorised { .. } | AriError::Forbidden { .. }) => ASTERISK,
        AsteriskError::Ari(_) => &["telephony", "asterisk", "base_url"],
        AsteriskError::Listen { .. } => LISTEN,
        AsteriskError::MediaUnavailable(_) => &["media", "transport"],
        AsteriskError::Options(_) => ASTERISK,
    };
    // An address that may be wrong is worth reading again. (One that holds a password is refused before it is used.)
    match error {
        error if may_pass(error) => config.error_at(path, format!("{}: {error}", config.asterisk.base_url)),
        error => config.error_at(path, error.to_string()),
    }
}

/// Whether waiting may help: the PBX is not up yet, or too busy.
pub(crate) fn may_pass(error: &AsteriskError) -> bool {
    matches!(error, AsteriskError::Ari(error) if error.transient())
}
