//! One listener for the AudioSocket connections of all calls.
//!
//! Asterisk connects and names itself by a UUID, which is matched to a call that
//! expects it. Who is not expected, says nothing in time, or says something else,
//! is closed and counted. The table of expectations is no call state: it is
//! touched twice a call, never across a wait.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Sleep, sleep, timeout};
use uuid::Uuid;

use super::codec::CodecError;
use super::connection::{Connection, ConnectionError, read_hello};

/// How long to wait after `accept` failed (no file descriptors, for example).
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Limits of an [`AudioSocketServer`]. `Default` gives the values named below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerOptions {
    /// How long a new connection may take to name itself. Default 2 s.
    pub hello_timeout: Duration,
    /// Connections that have not named themselves yet; more are closed at once.
    /// Default 256.
    pub max_pending: usize,
    /// How long [`AudioSocketServer::expect`] waits for its connection. Default 5 s.
    pub expect_timeout: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self { hello_timeout: Duration::from_secs(2), max_pending: 256, expect_timeout: Duration::from_secs(5) }
    }
}

/// What has happened since the server was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections handed to whoever expected them.
    pub matched: u64,
    /// Connections closed because nobody expected their UUID (any more).
    pub unknown_uuid: u64,
    /// Connections closed because they did not name themselves in time.
    pub hello_timeouts: u64,
    /// Connections closed because their first frame is not a UUID, or they closed first.
    pub malformed: u64,
    /// Connections closed at once because too many had not named themselves.
    pub refused_full: u64,
    /// Failures of `accept`.
    pub accept_errors: u64,
}

/// Why an expected connection did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpectationError {
    /// It did not come in time.
    #[error("no AudioSocket connection named itself {uuid} within {limit_ms} ms; can Asterisk reach this address?")]
    Timeout {
        /// The UUID.
        uuid: Uuid,
        /// The limit, in milliseconds.
        limit_ms: u64,
    },
    /// The server was shut down.
    #[error("the AudioSocket server was shut down before {uuid} connected")]
    ServerGone {
        /// The UUID.
        uuid: Uuid,
    },
    /// The UUID is expected already.
    #[error("the AudioSocket connection {uuid} is expected already; give every call its own UUID")]
    Duplicate {
        /// The UUID.
        uuid: Uuid,
    },
}

/// A listener for all calls. Dropping it stops listening and closes connections
/// that were not handed out; those handed out live on.
#[derive(Debug)]
pub struct AudioSocketServer {
    shared: Arc<Shared>,
    local: SocketAddr,
    task: JoinHandle<()>,
}

impl AudioSocketServer {
    /// Listens on `address` (port 0: any free one).
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn bind(address: SocketAddr, options: ServerOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        let shared = Arc::new(Shared { options, table: Mutex::default(), counters: Counters::default() });
        let task = tokio::spawn(accept_all(listener, Arc::clone(&shared)));
        Ok(Self { shared, local, task })
    }

    /// The address in use: what to give to Asterisk.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Expects a connection of this UUID, from now on, within
    /// [`ServerOptions::expect_timeout`]. Dropping the future withdraws it.
    ///
    /// # Errors
    /// [`ExpectationError::Duplicate`]. What the future gives: a [`Connection`],
    /// [`ExpectationError::Timeout`] or [`ExpectationError::ServerGone`].
    pub fn expect(&self, uuid: Uuid) -> Result<Expectation, ExpectationError> {
        self.expect_within(uuid, self.shared.options.expect_timeout)
    }

    /// As [`AudioSocketServer::expect`], with a limit of its own.
    ///
    /// # Errors
    /// As [`AudioSocketServer::expect`].
    pub fn expect_within(&self, uuid: Uuid, limit: Duration) -> Result<Expectation, ExpectationError> {
        let (sender, receiver) = oneshot::channel();
        let mut table = self.shared.table();
        if table.waiting.contains_key(&uuid) {
            return Err(ExpectationError::Duplicate { uuid });
        }
        table.tickets = table.tickets.wrapping_add(1);
        let ticket = table.tickets;
        table.waiting.insert(uuid, Waiting { ticket, sender });
        drop(table);
        Ok(Expectation {
            shared: Arc::clone(&self.shared),
            uuid,
            ticket,
            receiver,
            limit,
            sleep: Box::pin(sleep(limit)),
        })
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> ServerStats {
        let counters = &self.shared.counters;
        ServerStats {
            accepted: counters.accepted.load(Relaxed),
            matched: counters.matched.load(Relaxed),
            unknown_uuid: counters.unknown_uuid.load(Relaxed),
            hello_timeouts: counters.hello_timeouts.load(Relaxed),
            malformed: counters.malformed.load(Relaxed),
            refused_full: counters.refused_full.load(Relaxed),
            accept_errors: counters.accept_errors.load(Relaxed),
        }
    }
}

impl Drop for AudioSocketServer {
    fn drop(&mut self) {
        self.task.abort();
        self.shared.table().waiting.clear();
    }
}

/// A connection that is expected. See [`AudioSocketServer::expect`].
#[derive(Debug)]
#[must_use = "dropping it withdraws the expectation"]
pub struct Expectation {
    shared: Arc<Shared>,
    uuid: Uuid,
    ticket: u64,
    receiver: oneshot::Receiver<Connection>,
    limit: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl Expectation {
    /// The UUID that is expected.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }
}

impl Future for Expectation {
    type Output = Result<Connection, ExpectationError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let uuid = self.uuid;
        if let Poll::Ready(outcome) = Pin::new(&mut self.receiver).poll(cx) {
            return Poll::Ready(outcome.map_err(|_| ExpectationError::ServerGone { uuid }));
        }
        ready!(self.sleep.as_mut().poll(cx));
        let limit_ms = u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX);
        Poll::Ready(Err(ExpectationError::Timeout { uuid, limit_ms }))
    }
}

impl Drop for Expectation {
    fn drop(&mut self) {
        let mut table = self.shared.table();
        // The same UUID may have been matched and expected anew meanwhile.
        if table.waiting.get(&self.uuid).is_some_and(|waiting| waiting.ticket == self.ticket) {
            table.waiting.remove(&self.uuid);
        }
    }
}

#[derive(Debug)]
struct Shared {
    options: ServerOptions,
    table: Mutex<Table>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Table {
    waiting: HashMap<Uuid, Waiting>,
    tickets: u64,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    sender: oneshot::Sender<Connection>,
}

#[derive(Debug, Default)]
struct Counters {
    accepted: AtomicU64,
    matched: AtomicU64,
    unknown_uuid: AtomicU64,
    hello_timeouts: AtomicU64,
    malformed: AtomicU64,
    refused_full: AtomicU64,
    accept_errors: AtomicU64,
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing inside can leave it half-changed.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accepts for ever; dropping the set at the end closes what is not identified.
async fn accept_all(listener: TcpListener, shared: Arc<Shared>) {
    let mut pending = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    add(&shared.counters.accepted);
                    while pending.try_join_next().is_some() {}
                    if pending.len() >= shared.options.max_pending {
                        add(&shared.counters.refused_full);
                        tracing::warn!(%peer, "AudioSocket connection refused: too many have not named themselves");
                        continue;
                    }
                    pending.spawn(identify(stream, peer, Arc::clone(&shared)));
                }
                Err(error) => {
                    add(&shared.counters.accept_errors);
                    tracing::warn!(%error, "AudioSocket connection could not be accepted");
                    sleep(ACCEPT_RETRY).await;
                }
            },
            Some(_) = pending.join_next(), if !pending.is_empty() => {}
        }
    }
}

async fn identify(mut stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    let counters = &shared.counters;
    if let Err(error) = stream.set_nodelay(true) {
        add(&counters.malformed);
        tracing::warn!(%peer, %error, "AudioSocket connection closed: TCP_NODELAY cannot be set");
        return;
    }
    let (uuid, buffer) = match timeout(shared.options.hello_timeout, read_hello(&mut stream)).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(error)) => {
            add(&counters.malformed);
            let reason = hello_problem(&error);
            tracing::warn!(%peer, reason, "AudioSocket connection closed");
            return;
        }
        Err(_) => {
            add(&counters.hello_timeouts);
            tracing::warn!(%peer, "AudioSocket connection closed: it did not name itself in time");
            return;
        }
    };
    let waiting = shared.table().waiting.remove(&uuid);
    let connection = Connection::new(stream, buffer, uuid, peer);
    if let Some(waiting) = waiting {
        // Counted first: whoever has the connection sees the count.
        add(&counters.matched);
        if waiting.sender.send(connection).is_ok() {
            return;
        }
        counters.matched.fetch_sub(1, Relaxed);
    }
    add(&counters.unknown_uuid);
    tracing::warn!(%peer, %uuid, "AudioSocket connection closed: nobody expects it");
}

fn hello_problem(error: &ConnectionError) -> String {
    match error {
        ConnectionError::Codec(CodecError::UnknownType(kind)) => {
            format!("its first frame has type {kind:#04x} instead of a UUID")
        }
        other => other.to_string(),
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
