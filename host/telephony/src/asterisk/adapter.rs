//! The adapter as a whole: what the host starts, asks and stops.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{UdpSocket, lookup_host};
use tokio::sync::{OnceCell, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use voxtra_ari::AriClient;
use voxtra_ari::audiosocket::{AudioSocketServer, ServerOptions};
use voxtra_ari::model::Module;
use voxtra_core::telephony::Exchange;
use voxtra_core::{CallError, Switchboard};

#[cfg(test)]
use super::app::App;
use super::apps::Apps;
use super::error::AsteriskError;
use super::exchange::AsteriskExchange;
use super::options::{AppOptions, AsteriskOptions, MediaTransport};
use crate::media::MediaThreads;

/// How long stopping waits for its calls to be hung up.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Connections of one listener that may not have named themselves yet: every call of a wave opens one at once.
const MAX_PENDING_CONNECTIONS: usize = 1024;
/// Asterisk's HTTP server, which also takes media WebSockets, has a listen backlog of 10 (measured, 22.10); what does
/// not fit is tried again by the kernel after a second only. Requests need the other places.
const CONNECTS_AT_ONCE: usize = 3;

/// One Asterisk and the applications of it that are served. Cloning shares it.
#[derive(Clone)]
pub struct AsteriskAdapter {
    core: Arc<Core>,
    apps: Arc<Apps>,
}

/// What all applications share.
pub(super) struct Core {
    pub(super) options: AsteriskOptions,
    pub(super) threads: Arc<MediaThreads>,
    pub(super) switchboard: Arc<dyn Switchboard>,
    /// One for each leg that there may be.
    pub(super) places: Arc<Semaphore>,
    pub(super) counters: Counters,
    /// Media WebSockets that may be connecting at one time.
    pub(super) connects: Semaphore,
    offers: Mutex<Option<Offers>>,
    connected: Mutex<Vec<String>>,
    listener: OnceCell<Listener>,
}

/// Where AudioSocket connections come.
pub(super) struct Listener {
    pub(super) server: AudioSocketServer,
    /// `host:port` as the PBX is told.
    pub(super) advertised: String,
}

/// A media transport that was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    AudioSocket,
    WebSocket,
}

/// The media modules that the PBX has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offers {
    audiosocket: bool,
    websocket: bool,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) refused_full: AtomicU64,
    pub(super) media_opened: AtomicU64,
    pub(super) media_failed: AtomicU64,
    pub(super) orphans: AtomicU64,
    pub(super) dropped_inputs: Arc<AtomicU64>,
}

/// What the adapter has done since it was made, and has now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdapterStats {
    /// Applications whose events connection stands now.
    pub connected_apps: Vec<String>,
    /// Legs there are now, those that are being taken down included.
    pub legs: usize,
    /// Calls that the switchboard took.
    pub accepted: u64,
    /// Calls that the switchboard refused.
    pub refused: u64,
    /// Calls turned away because [`AsteriskOptions::max_legs`] were up.
    pub refused_full: u64,
    /// Audio set up.
    pub media_opened: u64,
    /// Audio that could not be set up.
    pub media_failed: u64,
    /// Channels and bridges that nobody knew, taken down at the PBX.
    pub orphans: u64,
    /// Events of legs that were dropped because their task did not keep up.
    pub dropped_inputs: u64,
}

/// What [`AsteriskAdapter::connect`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectReport {
    /// Asterisk's version.
    pub version: String,
    /// Its entity id.
    pub entity_id: String,
    /// When it was started, ISO 8601.
    pub started_at: String,
    /// Whether it can do AudioSocket.
    pub audiosocket: bool,
    /// Whether it can do WebSocket media.
    pub websocket: bool,
    /// The transport that calls will use; never [`MediaTransport::Auto`].
    pub media_transport: MediaTransport,
    /// Where the PBX is told to bring AudioSocket connections, when that is the transport.
    pub audiosocket_address: Option<String>,
    /// The applications.
    pub apps: Vec<AppReport>,
}

/// One application in a [`ConnectReport`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppReport {
    /// Its name.
    pub name: String,
    /// Whether the PBX knows it already: another program serves it, or one did and left calls in it.
    pub known_to_pbx: bool,
}

impl AsteriskAdapter {
    /// Makes an adapter; nothing is sent yet.
    ///
    /// # Errors
    /// [`AsteriskError::Options`] with an application twice; [`AsteriskError::Ari`] when the address,
    /// the user or an application's name cannot be right.
    pub fn new(
        options: AsteriskOptions,
        threads: Arc<MediaThreads>,
        switchboard: Arc<dyn Switchboard>,
    ) -> Result<Self, AsteriskError> {
        check(&options)?;
        let core = Arc::new(Core {
            places: Arc::new(Semaphore::new(options.max_legs.min(Semaphore::MAX_PERMITS))),
            options,
            threads,
            switchboard,
            counters: Counters::default(),
            connects: Semaphore::new(CONNECTS_AT_ONCE),
            offers: Mutex::new(None),
            connected: Mutex::new(Vec::new()),
            listener: OnceCell::new(),
        });
        let apps = Apps::new(Arc::clone(&core))?;
        Ok(Self { core, apps })
    }

    /// Looks whether everything is there: the address, user and password, the media modules, and (for AudioSocket) a
    /// place to listen. Whether a dialplan leads to the applications cannot be asked. [`AsteriskAdapter::run`] does not
    /// need it.
    ///
    /// # Errors
    /// The first thing that is wrong, as a sentence.
    pub async fn connect(&self) -> Result<ConnectReport, AsteriskError> {
        let all = self.apps.all();
        let Some(app) = all.first() else {
            return Err(AsteriskError::Options("no Stasis application is given; name at least one".to_owned()));
        };
        app.client.ping().await?;
        let info = app.client.info().await?;
        let offers = self.core.ask_for_offers(&app.client).await?;
        let transport = choose(self.core.options.media_transport, offers)?;
        let audiosocket_address = match transport {
            Transport::AudioSocket => Some(self.core.listener().await?.advertised.clone()),
            Transport::WebSocket => None,
        };
        let mut apps = Vec::new();
        for app in &all {
            let known_to_pbx = app.client.get(&["applications", &app.name], &[]).await.is_ok();
            apps.push(AppReport { name: app.name.clone(), known_to_pbx });
        }
        Ok(ConnectReport {
            version: info.system.version,
            entity_id: info.system.entity_id,
            started_at: info.status.startup_time,
            audiosocket: offers.audiosocket,
            websocket: offers.websocket,
            media_transport: match transport {
                Transport::AudioSocket => MediaTransport::AudioSocket,
                Transport::WebSocket => MediaTransport::WebSocket,
            },
            audiosocket_address,
            apps,
        })
    }

    /// Serves the applications until `shutdown` is ready: connects, for as long as it takes, and connects again for
    /// ever. At the end every call that is left ends with a failure and is hung up, within about 5 s. To be run once.
    pub async fn run(&self, shutdown: impl Future<Output = ()> + Send) {
        let (stop, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&self.apps).serve(stopping));
        shutdown.await;
        stop.send_replace(true);
        let all_ended = async {
            while tasks.join_next().await.is_some() {}
            let all = u32::try_from(self.core.options.max_legs).unwrap_or(u32::MAX);
            let _ = self.core.places.acquire_many(all).await;
        };
        if timeout(STOP_LIMIT, all_ended).await.is_err() {
            tracing::warn!(legs = self.stats().legs, "stopped before every call was hung up");
        }
    }

    /// From now on these applications are served, with these options, and no others; there may be none. One that is new
    /// gets an events connection of its own. One that is not named any more takes no new calls (they go where refused ones
    /// go), its calls go on, and its connection is closed when the last of them is gone. Options of one that stays count
    /// from the next verb on.
    ///
    /// # Errors
    /// As [`AsteriskAdapter::new`]; nothing has changed then.
    pub fn set_apps(&self, apps: impl IntoIterator<Item = (String, AppOptions)>) -> Result<(), AsteriskError> {
        self.apps.set(apps.into_iter().collect())
    }

    /// The applications that are served now, connected or not; those that only wait for their last calls are not in it.
    #[must_use]
    pub fn apps(&self) -> Vec<String> {
        self.apps.all().iter().map(|app| app.name.clone()).collect()
    }

    /// Where legs of an application are placed and joined; none when it is not one of this adapter's, or no more. To be
    /// called on the adapter's runtime.
    #[must_use]
    pub fn exchange(&self, app: &str) -> Option<Arc<dyn Exchange>> {
        Some(Arc::new(AsteriskExchange::new(self.apps.get(app)?)))
    }

    /// The counters.
    pub fn stats(&self) -> AdapterStats {
        let core = &self.core;
        let counters = &core.counters;
        AdapterStats {
            connected_apps: core.connected.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            legs: core.options.max_legs.saturating_sub(core.places.available_permits()),
            accepted: counters.accepted.load(Relaxed),
            refused: counters.refused.load(Relaxed),
            refused_full: counters.refused_full.load(Relaxed),
            media_opened: counters.media_opened.load(Relaxed),
            media_failed: counters.media_failed.load(Relaxed),
            orphans: counters.orphans.load(Relaxed),
            dropped_inputs: counters.dropped_inputs.load(Relaxed),
        }
    }

    #[cfg(test)]
    pub(super) fn app(&self, index: usize) -> Arc<App> {
        self.apps.all().swap_remove(index)
    }
}

impl fmt::Debug for AsteriskAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsteriskAdapter").field("options", &self.core.options).field("stats", &self.stats()).finish()
    }
}

impl Core {
    /// Notes whether an application's events connection stands. One that stands again may lead to another Asterisk.
    pub(super) fn connected(&self, app: &str, stands: bool) {
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        connected.retain(|name| name != app);
        if stands {
            connected.push(app.to_owned());
            *self.offers.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// The transport for a call's audio.
    pub(super) async fn transport(&self, client: &AriClient) -> Result<Transport, CallError> {
        match self.options.media_transport {
            MediaTransport::AudioSocket => return Ok(Transport::AudioSocket),
            MediaTransport::WebSocket => return Ok(Transport::WebSocket),
            MediaTransport::Auto => {}
        }
        let known = *self.offers.lock().unwrap_or_else(PoisonError::into_inner);
        let offers = match known {
            Some(offers) => offers,
            None => {
                let asked = self.ask_for_offers(client).await;
                asked.map_err(|e| CallError::Telephony(format!("asking the PBX for its media failed: {e}")))?
            }
        };
        choose(MediaTransport::Auto, offers).map_err(|e| CallError::NotConfigured(e.to_string()))
    }

    async fn ask_for_offers(&self, client: &AriClient) -> Result<Offers, AsteriskError> {
        let (channel, resource, websocket) = tokio::join!(
            client.module("chan_audiosocket.so"),
            client.module("res_audiosocket.so"),
            client.module("chan_websocket.so"),
        );
        let runs = |module: Option<Module>| module.is_some_and(|module| module.running());
        let offers = Offers { audiosocket: runs(channel?) && runs(resource?), websocket: runs(websocket?) };
        *self.offers.lock().unwrap_or_else(PoisonError::into_inner) = Some(offers);
        Ok(offers)
    }

    /// The one AudioSocket listener; opened by whoever needs it first.
    pub(super) async fn listener(&self) -> Result<&Listener, AsteriskError> {
        self.listener.get_or_try_init(|| self.listen()).await
    }

    async fn listen(&self) -> Result<Listener, AsteriskError> {
        let options = &self.options;
        let failed = |address: String, e: std::io::Error| AsteriskError::Listen { address, detail: e.to_string() };
        let (address, reached_by) = match options.audiosocket_listen {
            Some(address) if !address.ip().is_unspecified() || options.audiosocket_advertise.is_some() => {
                (address, address.ip())
            }
            chosen => {
                let local = local_address(&options.base_url).await.map_err(|e| failed(options.base_url.clone(), e))?;
                (chosen.unwrap_or(SocketAddr::new(local, 0)), local)
            }
        };
        let mut limits = ServerOptions::default();
        limits.max_pending = MAX_PENDING_CONNECTIONS;
        limits.expect_timeout = options.limits.media_setup;
        let server = AudioSocketServer::bind(address, limits).await.map_err(|e| failed(address.to_string(), e))?;
        let advertised = match &options.audiosocket_advertise {
            Some(advertised) => advertised.clone(),
            None => SocketAddr::new(reached_by, server.local_addr().port()).to_string(),
        };
        tracing::info!(listening = %server.local_addr(), advertised, "AudioSocket listener open");
        Ok(Listener { server, advertised })
    }
}

fn check(options: &AsteriskOptions) -> Result<(), AsteriskError> {
    let refuse = |why: String| Err(AsteriskError::Options(why));
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if options.name.is_empty() || options.name.len() > 32 || !options.name.chars().all(plain) {
        return refuse(format!(
            "the PBX's name {:?} is not one; use letters, digits, - and _, at most 32",
            options.name
        ));
    }
    if let Some(advertised) = &options.audiosocket_advertise {
        let port =
            advertised.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(1..))) {
            return refuse(format!(
                "the AudioSocket address {advertised:?} is not host:port; write it like 192.0.2.7:9092"
            ));
        }
    }
    Ok(())
}

fn choose(wanted: MediaTransport, offers: Offers) -> Result<Transport, AsteriskError> {
    let missing = |why: &str| Err(AsteriskError::MediaUnavailable(why.to_owned()));
    match wanted {
        MediaTransport::Auto | MediaTransport::AudioSocket if offers.audiosocket => Ok(Transport::AudioSocket),
        MediaTransport::Auto | MediaTransport::WebSocket if offers.websocket => Ok(Transport::WebSocket),
        MediaTransport::Auto => missing(
            "this Asterisk has no media transport for the host; load chan_audiosocket and res_audiosocket, or chan_websocket",
        ),
        MediaTransport::AudioSocket => missing(
            "this Asterisk cannot do AudioSocket; load chan_audiosocket and res_audiosocket, or choose websocket",
        ),
        MediaTransport::WebSocket => missing(
            "this Asterisk cannot do WebSocket media; load chan_websocket (20.16, 21.11, 22.6, 23.0 or later), or choose audiosocket",
        ),
    }
}

/// The address of this machine from which the PBX is reached. Nothing is sent: a UDP socket that is connected has
/// asked for the route only.
async fn local_address(base_url: &str) -> std::io::Result<std::net::IpAddr> {
    let unknown = || std::io::Error::other(format!("no address is known for {base_url}"));
    let (host, port) = host_and_port(base_url).ok_or_else(unknown)?;
    let pbx = lookup_host((host.as_str(), port)).await?.next().ok_or_else(unknown)?;
    let any: SocketAddr = if pbx.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(pbx).await?;
    Ok(socket.local_addr()?.ip())
}

/// Host and port of an address that the ARI client has accepted.
fn host_and_port(base_url: &str) -> Option<(String, u16)> {
    let (scheme, rest) = base_url.trim().split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?.rsplit('@').next()?;
    let default_port = if matches!(scheme.to_ascii_lowercase().as_str(), "https" | "wss") { 443 } else { 80 };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        _ => (authority, default_port),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod unit_tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn host_and_port_are_found_in_every_form_of_an_address() {
        for (text, host, port) in [
            ("http://127.0.0.1:8088", "127.0.0.1", 8088),
            ("http://pbx.example/ari/", "pbx.example", 80),
            ("https://pbx.example", "pbx.example", 443),
            ("http://[::1]:8088/x", "::1", 8088),
            ("http://[::1]", "::1", 80),
        ] {
            assert_eq!(host_and_port(text), Some((host.to_owned(), port)), "{text}");
        }
        assert_eq!(host_and_port("nonsense"), None);
    }

    #[test]
    fn the_transport_is_what_is_wanted_if_the_pbx_has_it() {
        let both = Offers { audiosocket: true, websocket: true };
        let (only_ws, none) = (Offers { audiosocket: false, ..both }, Offers { audiosocket: false, websocket: false });
        assert_eq!(choose(MediaTransport::Auto, both).unwrap(), Transport::AudioSocket);
        assert_eq!(choose(MediaTransport::Auto, only_ws).unwrap(), Transport::WebSocket);
        assert_eq!(choose(MediaTransport::WebSocket, both).unwrap(), Transport::WebSocket);
        for wanted in [MediaTransport::Auto, MediaTransport::AudioSocket, MediaTransport::WebSocket] {
            assert!(matches!(choose(wanted, none), Err(AsteriskError::MediaUnavailable(_))));
        }
    }

    #[test]
    fn options_that_cannot_work_are_refused_with_a_sentence() {
        let mut options = AsteriskOptions::new("http://h", "u", "p", ["a", "b"]);
        assert!(check(&options).is_ok());
        for wrong in ["host", ":9", "host:0", "host:x", ""] {
            options.audiosocket_advertise = Some(wrong.into());
            assert!(check(&options).is_err(), "{wrong:?}");
        }
        options.audiosocket_advertise = Some("[::1]:9092".into());
        assert!(check(&options).is_ok());
    }
}
