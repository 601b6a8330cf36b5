//! A stream of events that reconnects for ever, in order, on a task of its own.
//!
//! The task reads, answers pings and notices a dead connection whether or not the
//! consumer keeps up. The queue between them is bounded; when it is full the task
//! stops reading, so TCP holds Asterisk back and nothing is dropped here.

use std::fmt;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::Error as WsError;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::backoff::Backoff;
use super::event::{Event, MalformedEvent};
use crate::client::AriClient;
use crate::error::{AriError, chain, quote};

/// What the events' WebSocket is called in errors.
const CALL: &str = "GET /ari/events";
/// Read buffer of the socket; events have 0.5 to 2 KiB.
const READ_BUFFER_BYTES: usize = 32 * 1024;
/// How long a polite end may take before the socket is simply dropped.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

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
    /// The connection ended. Reconnecting has begun.
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
        let target = Target { client: client.clone(), options: options.clone() };
        let socket = target.open().await?;
        let (sender, items) = mpsc::channel(options.queue_items.max(1));
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(run(target, socket, sender, stopped));
        Ok(Self { items, stop: Some(stop), task })
    }

    /// The next item; `None` after [`EventStream::shutdown`] only. Safe to cancel:
    /// an item is never lost.
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
        let mut url = self.client.websocket_base().events()?;
        url.query_pairs_mut()
            .append_pair("app", self.client.app())
            .append_pair("subscribeAll", if self.options.subscribe_all { "true" } else { "false" });
        let mut request = url.as_str().into_client_request().map_err(|error| AriError::transport(CALL, &error))?;
        request.headers_mut().insert(reqwest::header::AUTHORIZATION, self.client.authorization().clone());
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_message_size(Some(self.options.max_message_bytes))
            .max_frame_size(Some(self.options.max_message_bytes));
        match connect_async_with_config(request, Some(config), true).await {
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
async fn run(target: Target, socket: Socket, items: mpsc::Sender<StreamItem>, mut stopped: oneshot::Receiver<()>) {
    let mut current = Some(socket);
    tokio::select! {
        // Resolves when the sender is dropped: shutdown, or the stream's own drop.
        _ = &mut stopped => {}
        () = serve(&target, &mut current, &items) => {}
    }
    if let Some(mut socket) = current {
        let _ = timeout(CLOSE_LIMIT, socket.close(None)).await;
    }
}

/// Runs until the consumer is gone.
async fn serve(target: &Target, current: &mut Option<Socket>, items: &mpsc::Sender<StreamItem>) {
    let mut first = true;
    let mut backoff = Backoff::new(target.options.backoff_first, target.options.backoff_max);
    loop {
        if let Some(socket) = current.as_mut() {
            let connected_at = Instant::now();
            if items.send(StreamItem::Connected { first }).await.is_err() {
                return;
            }
            first = false;
            let Some(reason) = pump(socket, items, &target.options).await else {
                return;
            };
            tracing::warn!(app = target.client.app(), %reason, "ARI events disconnected");
            *current = None;
            // One that is accepted and dropped at once must not be retried at once for ever.
            if connected_at.elapsed() >= target.options.backoff_max {
                backoff.reset();
            }
            if items.send(StreamItem::Disconnected { reason }).await.is_err() {
                return;
            }
        }
        let Some(socket) = reconnect(target, items, &mut backoff).await else {
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

/// Serves one connection. Returns why it ended, `None` when the consumer is gone.
async fn pump<S>(
    socket: &mut WebSocketStream<S>,
    items: &mpsc::Sender<StreamItem>,
    options: &EventOptions,
) -> Option<DisconnectReason>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut ping = interval(options.ping_interval.max(Duration::from_millis(1)));
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        let message = tokio::select! {
            // What has already come counts before the clock does.
            biased;
            message = socket.next() => message,
            _ = ping.tick() => {
                let idle = heard.elapsed();
                if idle >= options.idle_limit {
                    return Some(DisconnectReason::Idle { idle_ms: millis(idle) });
                }
                let sent = timeout(options.idle_limit, socket.send(Message::Ping(Default::default())));
                match sent.await {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => return Some(ended_by(error)),
                    Err(_) => return Some(DisconnectReason::Idle { idle_ms: millis(heard.elapsed()) }),
                }
            }
        };
        let item = match message {
            None => return Some(DisconnectReason::Closed("no reason given".to_owned())),
            Some(Err(error)) => return Some(ended_by(error)),
            Some(Ok(Message::Close(frame))) => {
                let why = frame.map_or_else(
                    || "no reason given".to_owned(),
                    |frame| format!("{} {}", u16::from(frame.code), quote(&frame.reason)),
                );
                // Answers the close; nothing more comes.
                let _ = timeout(CLOSE_LIMIT, socket.flush()).await;
                return Some(DisconnectReason::Closed(why.trim_end().to_owned()));
            }
            Some(Ok(Message::Text(text))) => Some(read(&text)),
            Some(Ok(Message::Binary(_))) => Some(StreamItem::Malformed(MalformedEvent {
                reason: "a binary message".to_owned(),
                excerpt: String::new(),
            })),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => None,
        };
        if let Some(item) = item {
            items.send(item).await.ok()?;
        }
        // Taken after delivery: while the consumer was slow, nothing was read,
        // which says nothing about Asterisk.
        heard = Instant::now();
    }
}

fn read(text: &str) -> StreamItem {
    match Event::parse(text) {
        Ok(event) => StreamItem::Event(Box::new(event)),
        Err(malformed) => {
            tracing::warn!(%malformed, "ARI event skipped");
            StreamItem::Malformed(malformed)
        }
    }
}

fn ended_by(error: WsError) -> DisconnectReason {
    match &error {
        WsError::Io(_) | WsError::Tls(_) => DisconnectReason::Broken(chain(&error)),
        WsError::Protocol(tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            DisconnectReason::Broken("cut without a closing handshake".to_owned())
        }
        WsError::ConnectionClosed | WsError::AlreadyClosed => DisconnectReason::Closed("no reason given".to_owned()),
        _ => DisconnectReason::Protocol(chain(&error)),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio_tungstenite::tungstenite::protocol::Role;

    const EVENT: &str = r#"{"type":"Tick","n":1}"#;

    async fn pair(config: Option<WebSocketConfig>) -> (WebSocketStream<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(64 * 1024);
        (WebSocketStream::from_raw_socket(ours, Role::Client, config).await, theirs)
    }

    async fn server(stream: DuplexStream) -> WebSocketStream<DuplexStream> {
        WebSocketStream::from_raw_socket(stream, Role::Server, None).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_half_open_connection_is_given_up_after_the_idle_limit() {
        let (mut socket, mut theirs) = pair(None).await;
        let (sender, _items) = mpsc::channel(8);
        // Takes every byte, answers none: the other end of a dead link.
        let sink = tokio::spawn(async move {
            let mut taken = 0;
            let mut buffer = [0u8; 256];
            while let Ok(n) = theirs.read(&mut buffer).await {
                if n == 0 {
                    break;
                }
                taken += n;
            }
            taken
        });
        let began = Instant::now();
        let reason = pump(&mut socket, &sender, &EventOptions::default()).await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(15));
        assert_eq!(reason, DisconnectReason::Idle { idle_ms: 15_000 });
        drop(socket);
        assert!(sink.await.unwrap() >= 3 * 6, "pings were sent meanwhile");
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_connection_whose_peer_answers_pings_is_kept() {
        let (mut socket, theirs) = pair(None).await;
        let (sender, mut items) = mpsc::channel(8);
        let peer = tokio::spawn(async move {
            let mut ws = server(theirs).await;
            // Reading answers the pings.
            let _ = timeout(Duration::from_secs(600), async { while ws.next().await.is_some() {} }).await;
            ws.send(Message::text(EVENT)).await.unwrap();
            ws
        });
        let options = EventOptions::default();
        let pumping = pump(&mut socket, &sender, &options);
        let item = tokio::select! {
            reason = pumping => panic!("ended: {reason:?}"),
            item = items.recv() => item.unwrap(),
        };
        assert!(matches!(item, StreamItem::Event(_)), "{item:?}");
        drop(peer);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_consumer_loses_nothing_and_does_not_look_like_a_dead_link() {
        let (mut socket, theirs) = pair(None).await;
        let (sender, mut items) = mpsc::channel(1);
        let peer = tokio::spawn(async move {
            let mut ws = server(theirs).await;
            for n in 0..50 {
                ws.send(Message::text(format!(r#"{{"type":"Tick","n":{n}}}"#))).await.unwrap();
            }
            ws.close(None).await.unwrap();
            while ws.next().await.is_some() {}
        });
        let consumer = tokio::spawn(async move {
            let mut seen = Vec::new();
            while let Some(item) = items.recv().await {
                sleep(Duration::from_secs(20)).await;
                if let StreamItem::Event(event) = item
                    && let Event::Unknown(unknown) = *event
                {
                    seen.push(unknown.raw["n"].as_u64().unwrap());
                }
            }
            seen
        });
        let reason = pump(&mut socket, &sender, &EventOptions::default()).await.unwrap();
        drop(sender);
        assert!(matches!(reason, DisconnectReason::Closed(_)), "{reason:?}");
        assert_eq!(consumer.await.unwrap(), (0..50).collect::<Vec<u64>>());
        drop(peer);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_cut_in_the_middle_of_a_frame_is_broken_and_keeps_what_came_before() {
        let (mut socket, mut theirs) = pair(None).await;
        let (sender, mut items) = mpsc::channel(8);
        let length = u8::try_from(EVENT.len()).unwrap();
        theirs.write_all(&[0x81, length]).await.unwrap();
        theirs.write_all(EVENT.as_bytes()).await.unwrap();
        theirs.write_all(&[0x81, length]).await.unwrap();
        theirs.write_all(&EVENT.as_bytes()[..5]).await.unwrap();
        drop(theirs);
        let reason = pump(&mut socket, &sender, &EventOptions::default()).await.unwrap();
        assert!(matches!(reason, DisconnectReason::Broken(_)), "{reason:?}");
        assert!(matches!(items.recv().await, Some(StreamItem::Event(_))));
        drop(sender);
        assert_eq!(items.recv().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_too_long_ends_the_connection_with_that_reason() {
        let (mut socket, theirs) = pair(Some(WebSocketConfig::default().max_message_size(Some(1000)))).await;
        let (sender, _items) = mpsc::channel(8);
        let peer = tokio::spawn(async move {
            let mut ws = server(theirs).await;
            let _ = ws.send(Message::text("x".repeat(2000))).await;
            while ws.next().await.is_some() {}
        });
        let reason = pump(&mut socket, &sender, &EventOptions::default()).await.unwrap();
        assert!(matches!(reason, DisconnectReason::Protocol(_)), "{reason:?}");
        drop(peer);
    }

    #[tokio::test(start_paused = true)]
    async fn garbage_is_reported_and_the_next_event_still_comes() {
        let (mut socket, theirs) = pair(None).await;
        let (sender, mut items) = mpsc::channel(8);
        let peer = tokio::spawn(async move {
            let mut ws = server(theirs).await;
            ws.send(Message::text("{\"type\":")).await.unwrap();
            ws.send(Message::binary(vec![1, 2])).await.unwrap();
            ws.send(Message::text(EVENT)).await.unwrap();
            ws.close(None).await.unwrap();
            while ws.next().await.is_some() {}
        });
        pump(&mut socket, &sender, &EventOptions::default()).await.unwrap();
        assert!(matches!(items.recv().await, Some(StreamItem::Malformed(_))));
        assert!(matches!(items.recv().await, Some(StreamItem::Malformed(_))));
        assert!(matches!(items.recv().await, Some(StreamItem::Event(_))));
        drop(peer);
    }
}
