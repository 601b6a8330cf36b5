//! The listener, and the connections that it gives out.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::accept_hdr_async_with_config;

use super::handshake::{Check, Credentials, Refusal, Shown};
use crate::error::{AriError, chain};
use crate::events::{EventOptions, EventStream, socket_config};
use crate::rest_ws::RestOverWebSocket;

/// How long to wait after `accept` failed (no file descriptors, for example).
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// How an [`OutboundListener`] behaves. The limits have the defaults named below.
#[derive(Clone)]
#[non_exhaustive]
pub struct OutboundOptions {
    /// `username` of `websocket_client.conf`; not empty, without a colon.
    pub username: String,
    /// `password` of `websocket_client.conf`; not empty.
    pub password: String,
    /// Connections at one time, from the handshake to their end; more are refused with 503. Each Asterisk has one for
    /// every `outbound_websocket` of its `ari.conf`, with `per_call_config` one for every call. Default 16.
    pub max_connections: usize,
    /// Connections in the middle of their handshake; more are closed at once. Default 32.
    pub max_pending: usize,
    /// Limit for the handshake. Default 5 s.
    pub handshake_timeout: Duration,
    /// Limit for one request of [`OutboundConnection::rest`]. Default 10 s.
    pub request_timeout: Duration,
    /// How each connection behaves: message size, queue, pings. What is about connecting and about `subscribe_all` has
    /// no meaning here: Asterisk's own configuration says that.
    pub events: EventOptions,
}

impl OutboundOptions {
    /// The options with this user and password, and the limits' defaults.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            username: username.into(),
            password: password.into(),
            max_connections: 16,
            max_pending: 32,
            handshake_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            events: EventOptions::default(),
        }
    }
}

impl fmt::Debug for OutboundOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundOptions")
            .field("username", &self.username)
            .field("password", &"…")
            .field("max_connections", &self.max_connections)
            .field("max_pending", &self.max_pending)
            .field("handshake_timeout", &self.handshake_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("events", &self.events)
            .finish()
    }
}

/// What has happened since the listener was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboundStats {
    /// TCP connections accepted.
    pub accepted: u64,
    /// Of those, the ones that became events connections.
    pub connected: u64,
    /// Refused with 401: user or password is wrong or missing.
    pub refused_credentials: u64,
    /// Refused with 400: they did not ask for the subprotocol `ari`.
    pub refused_subprotocol: u64,
    /// Refused with 503, or closed at once: too many.
    pub refused_full: u64,
    /// Closed because the handshake was not over in time.
    pub handshake_timeouts: u64,
    /// Closed because what came was no WebSocket handshake, or they closed first.
    pub malformed: u64,
    /// Failures of `accept`.
    pub accept_errors: u64,
}

/// Listens for Asterisks that open their events connections themselves. Dropping it stops listening and closes the
/// connections that were not taken by [`OutboundListener::accept`]; those taken live on.
pub struct OutboundListener {
    local: SocketAddr,
    connections: mpsc::Receiver<OutboundConnection>,
    counters: Arc<Counters>,
    task: JoinHandle<()>,
}

impl fmt::Debug for OutboundListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundListener").field("local", &self.local).finish_non_exhaustive()
    }
}

impl OutboundListener {
    /// Listens on `address` (port 0: any free one).
    ///
    /// # Errors
    /// [`AriError::InvalidInput`] when user or password cannot be right, or the address cannot be listened on.
    pub async fn bind(address: SocketAddr, options: OutboundOptions) -> Result<Self, AriError> {
        check(&options)?;
        let cannot = |error: std::io::Error| {
            AriError::invalid(format!("{address} cannot be listened on ({error}); give a free address of this machine"))
        };
        let listener = TcpListener::bind(address).await.map_err(cannot)?;
        let local = listener.local_addr().map_err(cannot)?;
        let places = options.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        // As many as there are places, so that handing one over never waits.
        let (sender, connections) = mpsc::channel(places);
        let counters = Arc::new(Counters::default());
        let door = Arc::new(Door {
            credentials: Credentials::new(&options.username, &options.password),
            options,
            places: Arc::new(Semaphore::new(places)),
            counters: Arc::clone(&counters),
            connections: sender,
        });
        Ok(Self { local, connections, counters, task: tokio::spawn(accept_all(listener, door)) })
    }

    /// The address in use: what goes into `uri` of `websocket_client.conf`.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The next connection. Safe to cancel: a connection is never lost. `None` cannot come while the listener's runtime
    /// lives.
    pub async fn accept(&mut self) -> Option<OutboundConnection> {
        self.connections.recv().await
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> OutboundStats {
        let counters = &self.counters;
        OutboundStats {
            accepted: counters.accepted.load(Relaxed),
            connected: counters.connected.load(Relaxed),
            refused_credentials: counters.refused_credentials.load(Relaxed),
            refused_subprotocol: counters.refused_subprotocol.load(Relaxed),
            refused_full: counters.refused_full.load(Relaxed),
            handshake_timeouts: counters.handshake_timeouts.load(Relaxed),
            malformed: counters.malformed.load(Relaxed),
            accept_errors: counters.accept_errors.load(Relaxed),
        }
    }
}

impl Drop for OutboundListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An events connection that an Asterisk has opened: one life, at the end of which the stream ends. Asterisk opens the
/// next one itself. Dropping it closes the connection.
#[derive(Debug)]
pub struct OutboundConnection {
    peer: SocketAddr,
    target: String,
    events: EventStream,
}

impl OutboundConnection {
    /// Where Asterisk connected from.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The path and query of the `uri` in `websocket_client.conf`, `/` when it has none: a way to tell several Asterisks
    /// from each other. At most 512 characters.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// REST over this connection, with the rights of its `local_ari_user`;
    /// [`AriClient::of_websocket`](crate::AriClient::of_websocket) puts the typed verbs on it.
    #[must_use]
    pub fn rest(&self) -> RestOverWebSocket {
        self.events.rest()
    }

    /// The events: first [`StreamItem::Connected`](crate::StreamItem::Connected), last
    /// [`StreamItem::Disconnected`](crate::StreamItem::Disconnected). Dropping the stream closes the connection.
    #[must_use]
    pub fn into_events(self) -> EventStream {
        self.events
    }
}

fn check(options: &OutboundOptions) -> Result<(), AriError> {
    let (username, password) = (&options.username, &options.password);
    if username.is_empty() || password.is_empty() {
        return Err(AriError::invalid(
            "username or password is empty; give those of Asterisk's websocket_client.conf, so that nobody else connects",
        ));
    }
    if username.contains(':') || username.chars().chain(password.chars()).any(char::is_control) {
        return Err(AriError::invalid(
            "username holds a colon, or username or password a control character; HTTP Basic cannot carry that, choose others",
        ));
    }
    Ok(())
}

/// What every handshake needs.
struct Door {
    options: OutboundOptions,
    credentials: Credentials,
    places: Arc<Semaphore>,
    counters: Arc<Counters>,
    connections: mpsc::Sender<OutboundConnection>,
}

#[derive(Debug, Default)]
struct Counters {
    accepted: AtomicU64,
    connected: AtomicU64,
    refused_credentials: AtomicU64,
    refused_subprotocol: AtomicU64,
    refused_full: AtomicU64,
    handshake_timeouts: AtomicU64,
    malformed: AtomicU64,
    accept_errors: AtomicU64,
}

/// Accepts for ever; dropping the set at the end closes what is in its handshake.
async fn accept_all(listener: TcpListener, door: Arc<Door>) {
    let mut pending = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    add(&door.counters.accepted);
                    while pending.try_join_next().is_some() {}
                    if pending.len() >= door.options.max_pending.max(1) {
                        add(&door.counters.refused_full);
                        tracing::warn!(%peer, "outbound ARI connection closed: too many are in their handshake");
                        continue;
                    }
                    pending.spawn(admit(stream, peer, Arc::clone(&door)));
                }
                Err(error) => {
                    add(&door.counters.accept_errors);
                    tracing::warn!(%error, "outbound ARI connection could not be accepted");
                    sleep(ACCEPT_RETRY).await;
                }
            },
            Some(_) = pending.join_next(), if !pending.is_empty() => {}
        }
    }
}

/// One handshake. Its outcome is counted, and handed over when it is a connection.
async fn admit(stream: TcpStream, peer: SocketAddr, door: Arc<Door>) {
    let counters = &door.counters;
    let options = &door.options;
    // Small requests must not wait for each other's acknowledgements.
    let _ = stream.set_nodelay(true);
    let mut shown = Shown::default();
    let check = Check { credentials: &door.credentials, places: &door.places, shown: &mut shown };
    let handshake = accept_hdr_async_with_config(stream, check, Some(socket_config(&options.events)));
    let outcome = timeout(options.handshake_timeout, handshake).await;
    if let Some(refusal) = shown.refusal {
        add(match refusal {
            Refusal::Credentials => &counters.refused_credentials,
            Refusal::Subprotocol => &counters.refused_subprotocol,
            Refusal::Full => &counters.refused_full,
        });
        tracing::warn!(%peer, ?refusal, "outbound ARI connection refused");
        return;
    }
    let socket = match outcome {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) => {
            add(&counters.malformed);
            tracing::warn!(%peer, error = chain(&error), "outbound ARI connection closed: no handshake");
            return;
        }
        Err(_) => {
            add(&counters.handshake_timeouts);
            tracing::warn!(%peer, "outbound ARI connection closed: no handshake in time");
            return;
        }
    };
    let events = EventStream::of_accepted(
        socket,
        options.events.clone(),
        options.request_timeout,
        &options.username,
        shown.place,
    );
    // Counted first: whoever has the connection sees the count.
    add(&counters.connected);
    tracing::info!(%peer, target = shown.target, "outbound ARI connection");
    // There is room, unless some that have ended since were never taken: then it waits, within `max_pending`.
    let _ = door.connections.send(OutboundConnection { peer, target: shown.target, events }).await;
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
