//! What the operator chooses about an Asterisk, with defaults.

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

/// How to reach an Asterisk and how to work with it.
#[derive(Clone)]
pub struct AsteriskOptions {
    /// ARI's address, such as `http://127.0.0.1:8088`.
    pub base_url: String,
    /// The user of `ari.conf`.
    pub username: String,
    /// The user's password.
    pub password: String,
    /// The Stasis applications to serve, one a tenant; at least one.
    pub apps: Vec<String>,
    /// Where the WebSockets (events, media) are when not at `base_url`. Default none.
    pub websocket_url: Option<String>,
    /// How audio travels. Default [`MediaTransport::Auto`].
    pub media_transport: MediaTransport,
    /// Where to listen for AudioSocket. Default: any free port of the address by which the PBX is reached.
    pub audiosocket_listen: Option<SocketAddr>,
    /// `host:port` that the PBX is told to connect to for AudioSocket. Default: where the host listens.
    pub audiosocket_advertise: Option<String>,
    /// The dialplan context in which a transfer's extension is looked up. Default: the channel's variable
    /// `TRANSFER_CONTEXT` (Asterisk's own convention), else the context in which the channel is.
    pub transfer_context: Option<String>,
    /// Legs at one time; further calls are turned away as congestion. Default 2,000.
    pub max_legs: usize,
    /// What is done with calls that the host does not know. Default: hung up.
    pub unknown_calls: UnknownCalls,
    /// Time limits.
    pub limits: TimeLimits,
}

impl AsteriskOptions {
    /// Options with every default. `apps` has at least one name.
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
            base_url: base_url.into(),
            username: username.into(),
            password: password.into(),
            apps: apps.into_iter().map(Into::into).collect(),
            websocket_url: None,
            media_transport: MediaTransport::Auto,
            audiosocket_listen: None,
            audiosocket_advertise: None,
            transfer_context: None,
            max_legs: 2_000,
            unknown_calls: UnknownCalls::HangUp,
            limits: TimeLimits::default(),
        }
    }
}

impl fmt::Debug for AsteriskOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsteriskOptions")
            .field("base_url", &self.base_url)
            .field("username", &self.username)
            .field("password", &"…")
            .field("apps", &self.apps)
            .field("websocket_url", &self.websocket_url)
            .field("media_transport", &self.media_transport)
            .field("audiosocket_listen", &self.audiosocket_listen)
            .field("audiosocket_advertise", &self.audiosocket_advertise)
            .field("transfer_context", &self.transfer_context)
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
