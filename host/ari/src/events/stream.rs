//! A stream of events that reconnects for ever, in order, on a task of its own.
//!
//! The task reads, answers pings and notices a dead connection whether or not the
//! consumer keeps up. The queue between them is bounded; when it is full the task
//! stops reading, so TCP holds Asterisk back and nothing is dropped here.

use std::fmt;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::Error as WsError;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::backoff::Backoff;
use super::connection::{CLOSE_LIMIT, pump, socket_config};
use super::event::{Event, MalformedEvent};
use crate::client::AriClient;
use crate::error::{AriError, chain};
use crate::rest_ws::{Exchange, OUTSTANDING_DEFAULT, RestOverWebSocket};

/// What the events' WebSocket is called in errors.
const CALL: &str = "GET /ari/events";

/// How the events connection behaves. `Default` gives the values named below.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventOptions {
    /// Also events of channels and bridges that are not the application's own,
    /// such as ChannelDestroyed of one that left it. Default false.
    pub subscribe_all: bool,
    /// Limit for one attempt to connect. Default 5 s.
    pub connect_timeout: Duration,
    /// Wait before the first attempt to reconnect, doubled each time. Default 100 ms.
    pub backoff_first: Duration,
    /// Longest wait between two attempts. Default 2 s.
    pub backoff_max: Duration,
    /// How often a ping is sent. Default 5 s.
    pub ping_interval: Duration,
    /// A connection on which nothing came for this long is dead. Default 15 s.
    pub idle_limit: Duration,
    /// Longest message; a longer one ends the connection. Default 1 MiB.
    pub max_message_bytes: usize,
    /// Items that wait for the consumer before reading stops. Default 4,096.
    pub queue_items: usize,
    /// Requests of [`EventStream::rest`] under way at one time. Default 64.
    pub rest_outstanding: usize,
}

impl Default for EventOptions {
    fn default() -> Self {
        Self {
            subscribe_all: false,
            connect_timeout: Duration::from_secs(5),
            backoff_first: Duration::from_millis(100),
            backoff_max: Duration::from_secs(2),
            ping_interval: Duration::from_secs(5),
            idle_limit: Duration::from_secs(15),
            max_message_bytes: 1024 * 1024,
            queue_items: 4096,
            rest_outstanding: OUTSTANDING_DEFAULT,
        }
    }
}

/// What comes out of an [`EventStream`], in the order in which it happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum StreamItem {
    /// The connection stands. Events of calls that ended while it did not stand
    /// never come: after any but the first, compare with `list_channels`.
    Connected {
        /// True for the one that [`EventStream::connect`] made.
        first: bool,
    },
    /// An event.
    Event(Box<Event>),
    /// A message that is no event; it was skipped.
    Malformed(MalformedEvent),
    /// The connection ended. Reconnecting has begun; but a connection that Asterisk
    /// had opened is over, and [`EventStream::next`] says `None` from then on.
    Disconnected {
        /// Why.
        reason: DisconnectReason,
    },
    /// An attempt to reconnect failed; the next follows, for ever.
    ReconnectFailed {
        /// How many have failed in a row.
        attempts: u32,
        /// Why, for example [`AriError::Unauthorised`] when the password was changed.
        error: AriError,
    },
}

/// Why the events connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// Asterisk closed it in due form.
    #[error("Asterisk closed the events connection ({0}); it stops, or took too long to be read")]
    Closed(String),
    /// Nothing came for so long, not even the answer to a ping.
    #[error("nothing came from Asterisk for {idle_ms} ms; the connection is half-open or Asterisk hangs")]
    Idle {
        /// How long, in milliseconds.
        idle_ms: u64,
    },
    /// It broke: reset, cut in the middle of a frame, TLS failure.
    #[error("the events connection broke ({0}); Asterisk or the network between went away")]
    Broken(String),
    /// What came was no WebSocket, or a message was longer than allowed.
    #[error("the events connection was given up ({0}); what came is not valid")]
    Protocol(String),
}

/// The events of one Stasis application. Dropping it ends the connection.
pub struct EventStream {
    items: mpsc::Receiver<StreamItem>,
    rest: RestOverWebSocket,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("waiting", &self.items.len()).finish_non_exhaustive()
    }
}

impl EventStream {
    /// Connects and registers the client's application. The first item is
    /// `Connected { first: true }`. From then on it reconnects by itself.
    ///
    /// # Errors
    /// Those of the first attempt: [`AriError::Unauthorised`],
    /// [`AriError::Malformed`] (no ARI at this address), [`AriError::BadRequest`],
    /// [`AriError::Transport`], [`AriError::Timeout`].
    pub async fn connect(client: &AriClient, options: EventOptions) -> Result<Self, AriError> {
        let (rest, exchange) = RestOverWebSocket::new(
            &client.config().username,
            client.config().request_timeout,
            options.rest_outstanding,
        );
        let target = Target { client: client.clone(), options: options.clone() };
        let socket = target.open().await?;
        let (sender, items) = mpsc::channel(options.queue_items.max(1));
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(run(target, socket, sender, exchange, stopped));
        Ok(Self { items, rest, stop: Some(stop), task })
    }

    /// Serves a connection that Asterisk has opened, until it ends.
    pub(crate) fn of_accepted(
        socket: WebSocketStream<TcpStream>,
        options: EventOptions,
        request_timeout: Duration,
        user: &str,
        while_it_lasts: impl Send + 'static,
    ) -> Self {
        let (rest, exchange) = RestOverWebSocket::new(user, request_timeout, options.rest_outstanding);
        let (sender, items) = mpsc::channel(options.queue_items.max(1));
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            run_accepted(socket, options, sender, exchange, stopped).await;
            drop(while_it_lasts);
        });
        Self { items, rest, stop: Some(stop), task }
    }

    /// REST over this very connection, in every one of its lives.
    #[must_use]
    pub fn rest(&self) -> RestOverWebSocket {
        self.rest.clone()
    }

    /// The next item; `None` after [`EventStream::shutdown`], and after the end of a
    /// connection that Asterisk had opened. Safe to cancel: an item is never lost.
    pub async fn next(&mut self) -> Option<StreamItem> {
        self.items.recv().await
    }

    /// Closes the connection in due form, within about a second. Items that were
    /// not taken are dropped.
    pub async fn shutdown(mut self) {
        self.stop.take();
        self.items.close();
        if timeout(CLOSE_LIMIT * 2, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        // The task sees the sender go, and closes the socket.
        self.stop.take();
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

struct Target {
    client: AriClient,
    options: EventOptions,
}

impl Target {
    async fn open(&self) -> Result<Socket, AriError> {
        let limit = self.options.connect_timeout;
        match timeout(limit, self.open_unlimited()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(AriError::timeout(CALL, limit)),
        }
    }

    async fn open_unlimited(&self) -> Result<Socket, AriError> {
        let http = self.client.http()?;
        let mut url = http.websocket_base.events()?;
        url.query_pairs_mut()
            .append_pair("app", self.client.app())
            .append_pair("subscribeAll", if self.options.subscribe_all { "true" } else { "false" });
        let mut request = url.as_str().into_client_request().map_err(|error| AriError::transport(CALL, &error))?;
        request.headers_mut().insert(reqwest::header::AUTHORIZATION, http.authorization.clone());
        match connect_async_with_config(request, Some(socket_config(&self.options)), true).await {
            Ok((socket, _)) => Ok(socket),
            Err(error) => Err(self.refused(error)),
        }
    }

    fn refused(&self, error: WsError) -> AriError {
        match error {
            WsError::Http(response) => AriError::from_status(
                CALL,
                &self.client.config().username,
                response.status().as_u16(),
                response.body().as_deref().unwrap_or_default(),
            ),
            WsError::Protocol(_) | WsError::Capacity(_) | WsError::Utf8(_) | WsError::HttpFormat(_) => {
                AriError::malformed(CALL, chain(&error))
            }
            other => AriError::transport(CALL, &other),
        }
    }
}

/// The task: serves one connection after the other until the stream is dropped.
async fn run(
    target: Target,
    socket: Socket,
    items: mpsc::Sender<StreamItem>,
    mut exchange: Exchange,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut current = Some(socket);
    tokio::select! {
        // Resolves when the sender is dropped: shutdown, or the stream's own drop.
        _ = &mut stopped => {}
        () = serve(&target, &mut current, &items, &mut exchange) => {}
    }
    if let Some(mut socket) = current {
        let _ = timeout(CLOSE_LIMIT, socket.close(None)).await;
    }
}

/// The task of a connection that Asterisk has opened: serves it, once.
async fn run_accepted(
    mut socket: WebSocketStream<TcpStream>,
    options: EventOptions,
    items: mpsc::Sender<StreamItem>,
    mut exchange: Exchange,
    mut stopped: oneshot::Receiver<()>,
) {
    let served = async {
        if items.send(StreamItem::Connected { first: true }).await.is_err() {
            return;
        }
        if let Some(reason) = pump(&mut socket, &items, &mut exchange, &options).await {
            exchange.lost();
            tracing::warn!(%reason, "ARI events that Asterisk had connected are disconnected");
            tokio::select! {
                _ = items.send(StreamItem::Disconnected { reason }) => {}
                () = exchange.refuse() => {}
            }
        }
    };
    tokio::select! {
        _ = &mut stopped => {}
        () = served => {}
    }
    let _ = timeout(CLOSE_LIMIT, socket.close(None)).await;
}

/// Runs until the consumer is gone.
async fn serve(
    target: &Target,
    current: &mut Option<Socket>,
    items: &mpsc::Sender<StreamItem>,
    exchange: &mut Exchange,
) {
    let mut first = true;
    let mut backoff = Backoff::new(target.options.backoff_first, target.options.backoff_max);
    loop {
        if let Some(socket) = current.as_mut() {
            let connected_at = Instant::now();
            if items.send(StreamItem::Connected { first }).await.is_err() {
                return;
            }
            first = false;
            let Some(reason) = pump(socket, items, exchange, &target.options).await else {
                return;
            };
            exchange.lost();
            tracing::warn!(app = target.client.app(), %reason, "ARI events disconnected");
            *current = None;
            // One that is accepted and dropped at once must not be retried at once for ever.
            if connected_at.elapsed() >= target.options.backoff_max {
                backoff.reset();
            }
            let reported = tokio::select! {
                sent = items.send(StreamItem::Disconnected { reason }) => sent,
                () = exchange.refuse() => return,
            };
            if reported.is_err() {
                return;
            }
        }
        let reconnected = tokio::select! {
            socket = reconnect(target, items, &mut backoff) => socket,
            () = exchange.refuse() => return,
        };
        let Some(socket) = reconnected else {
            return;
        };
        tracing::info!(app = target.client.app(), "ARI events connected again");
        *current = Some(socket);
    }
}

/// Tries for ever, with growing waits; `None` when the consumer is gone.
async fn reconnect(target: &Target, items: &mpsc::Sender<StreamItem>, backoff: &mut Backoff) -> Option<Socket> {
    let mut attempts: u32 = 0;
    loop {
        sleep(backoff.wait()).await;
        match target.open().await {
            Ok(socket) => return Some(socket),
            Err(error) => {
                attempts = attempts.saturating_add(1);
                if attempts == 1 {
                    tracing::warn!(app = target.client.app(), %error, "cannot reconnect to ARI events yet");
                }
                let item = StreamItem::ReconnectFailed { attempts, error };
                if items.send(item).await.is_err() {
                    return None;
                }
            }
        }
    }
}
