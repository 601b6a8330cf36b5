//! What the operator chooses about an Asterisk, with defaults.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// How a call's audio travels between the PBX and the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MediaTransport {
    /// What the PBX offers: AudioSocket, else WebSocket.
    #[default]
    Auto,
    /// AudioSocket: the PBX connects to the host over TCP (`chan_audiosocket`).
    AudioSocket,
    /// WebSocket: the host connects to the PBX's HTTP server (`chan_websocket`, Asterisk 20.16, 21.11, 22.6 or 23.0).
    WebSocket,
}

/// What is done with a call that is in one of our applications, though the host does not know it: one that was up
/// before the host was started, or came while the connection was down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownCalls {
    /// It is hung up: its caller would hear nothing for ever.
    #[default]
    HangUp,
    /// It is left as it is.
    Leave,
    /// It is given to the switchboard as a new call. A call that the host had placed is hung up all the same: who
    /// placed it asks for it by its id, and nobody else knows what it was for.
    Adopt,
}

/// What is done with a call that the switchboard refuses as congestion, which is how a host says that it is full or
/// stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RefusedCalls {
    /// It is hung up with that cause.
    #[default]
    Hangup,
    /// It goes on behind `Stasis()`, with the variable `VOXTRA_REFUSED` set to `congestion`, so that the dialplan can
    /// take it elsewhere.
    ContinueInDialplan,
}

/// What differs from one application, and so one tenant, to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppOptions {
    /// The dialplan context in which a transfer's extension is looked up. Default: the channel's variable
    /// `TRANSFER_CONTEXT` (Asterisk's own convention), else the context in which the channel is.
    pub transfer_context: Option<String>,
    /// The dialplan context in which a queue's name is an extension. Default `queues`.
    pub queue_context: String,
    /// The dialplan context whose extension `s` runs `AMD()` and comes back with `Stasis(APPLICATION,voxtra-amd)`.
    /// Default none: the PBX is not asked who answered.
    pub machine_detection_context: Option<String>,
    /// The contexts that a handler may name. Default: empty, which is any. Those above may always be used.
    pub allowed_contexts: Vec<String>,
    /// What is done with calls that are refused as congestion. Default: hung up.
    pub refused_calls: RefusedCalls,
}

impl Default for AppOptions {
    fn default() -> Self {
        Self {
            transfer_context: None,
            queue_context: "queues".to_owned(),
            machine_detection_context: None,
            allowed_contexts: Vec::new(),
            refused_calls: RefusedCalls::Hangup,
        }
    }
}

impl AppOptions {
    /// Whether a handler may name this context.
    pub(super) fn allows(&self, context: &str) -> bool {
        self.allowed_contexts.is_empty()
            || self.allowed_contexts.iter().any(|allowed| allowed == context)
            || self.transfer_context.as_deref() == Some(context)
            || self.queue_context == context
    }
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimits {
    /// One ARI request. Default 5 s.
    pub request: Duration,
    /// From asking for a media channel to its connection. Default 5 s.
    pub media_setup: Duration,
    /// For how long calls outlive a lost connection to the PBX. Default 10 s.
    pub pbx_lost_after: Duration,
    /// Longest wait between two attempts to reconnect. Default 1 s.
    pub reconnect_max: Duration,
    /// How often the host's calls are compared with the PBX's, in case an event was lost. Default 30 s.
    pub reconcile_every: Duration,
    /// How long an unknown call or channel may be unknown before something is done about it: its first event may be
    /// on its way. Default 1 s.
    pub unknown_grace: Duration,
    /// How often a prompt that plays is asked after; Asterisk says nothing about the end of some. Default 10 s.
    pub playback_check: Duration,
    /// How long an accepted transfer may take to show before the leg is hung up when it is ended. Default 2 s.
    pub transfer_grace: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(5),
            media_setup: Duration::from_secs(5),
            pbx_lost_after: Duration::from_secs(10),
            reconnect_max: Duration::from_secs(1),
            reconcile_every: Duration::from_secs(30),
            unknown_grace: Duration::from_secs(1),
            playback_check: Duration::from_secs(10),
            transfer_grace: Duration::from_secs(2),
        }
    }
}

/// The name of a PBX when it is the only one.
pub(super) const DEFAULT_NAME: &str = "asterisk";

/// How to reach an Asterisk and how to work with it.
#[derive(Clone)]
pub struct AsteriskOptions {
    /// The operator's name for this PBX, unlike that of any other of the same host: letters, digits, `-` and `_`.
    /// Default `asterisk`. With any other name, the ids of the calls that come from there begin with it, because two
    /// PBXs can give two channels the same id.
    pub name: String,
    /// ARI's address, such as `http://127.0.0.1:8088`.
    pub base_url: String,
    /// The user of `ari.conf`.
    pub username: String,
    /// The user's password.
    pub password: String,
    /// The Stasis applications to serve at first, one a tenant; see [`super::AsteriskAdapter::set_apps`].
    pub apps: Vec<String>,
    /// Where the WebSockets (events, media) are when not at `base_url`. Default none.
    pub websocket_url: Option<String>,
    /// How audio travels. Default [`MediaTransport::Auto`].
    pub media_transport: MediaTransport,
    /// Where to listen for AudioSocket. Default: any free port of the address by which the PBX is reached.
    pub audiosocket_listen: Option<SocketAddr>,
    /// `host:port` that the PBX is told to connect to for AudioSocket. Default: where the host listens.
    pub audiosocket_advertise: Option<String>,
    /// What holds for each application that is not in `per_app`.
    pub defaults: AppOptions,
    /// What holds for single applications.
    pub per_app: BTreeMap<String, AppOptions>,
    /// Legs at one time; further calls are turned away as congestion. Default 2,000.
    pub max_legs: usize,
    /// What is done with calls that the host does not know. Default: hung up.
    pub unknown_calls: UnknownCalls,
    /// Time limits.
    pub limits: TimeLimits,
}

impl AsteriskOptions {
    /// Options with every default.
    pub fn new<I, S>(
        base_url: impl Into<String>,
        username: impl Into<String>,
        password: impl Into<String>,
        apps: I,
    ) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Self {
            name: DEFAULT_NAME.to_owned(),
            base_url: base_url.into(),
            username: username.into(),
            password: password.into(),
            apps: apps.into_iter().map(Into::into).collect(),
            websocket_url: None,
            media_transport: MediaTransport::Auto,
            audiosocket_listen: None,
            audiosocket_advertise: None,
            defaults: AppOptions::default(),
            per_app: BTreeMap::new(),
            max_legs: 2_000,
            unknown_calls: UnknownCalls::HangUp,
            limits: TimeLimits::default(),
        }
    }

    /// What holds for an application.
    #[must_use]
    pub fn of_app(&self, app: &str) -> &AppOptions {
        self.per_app.get(app).unwrap_or(&self.defaults)
    }
}

impl fmt::Debug for AsteriskOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsteriskOptions")
            .field("name", &self.name)
            .field("base_url", &self.base_url)
            .field("username", &self.username)
            .field("password", &"…")
            .field("apps", &self.apps)
            .field("websocket_url", &self.websocket_url)
            .field("media_transport", &self.media_transport)
            .field("audiosocket_listen", &self.audiosocket_listen)
            .field("audiosocket_advertise", &self.audiosocket_advertise)
            .field("defaults", &self.defaults)
            .field("per_app", &self.per_app)
            .field("max_legs", &self.max_legs)
            .field("unknown_calls", &self.unknown_calls)
            .field("limits", &self.limits)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_never_printed() {
        let options = AsteriskOptions::new("http://h", "u", "topsecret", ["a"]);
        assert!(!format!("{options:?}").contains("topsecret"));
    }
}
