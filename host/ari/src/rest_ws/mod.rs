//! REST over the events WebSocket: requests and answers as messages between the events.
//!
//! Asterisk has it in 20.14, 21.9, 22.4 and later. A request is a `RESTRequest` with an id of ours, its answer the
//! `RESTResponse` with the same id; `rest-api/events.json` describes both. The task that reads the events connection also
//! writes the requests and hands out the answers, so they share its fate: when the connection ends, so do they.

mod exchange;
mod message;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use crate::client::outcome;
use crate::error::AriError;
pub(crate) use exchange::Exchange;
use exchange::Outgoing;
pub use message::REQUEST_MAX_BYTES;

/// Requests under way at one time unless [`crate::EventOptions::rest_outstanding`] says otherwise. Asterisk carries them
/// out one after the other, in a thread of the connection.
pub(crate) const OUTSTANDING_DEFAULT: usize = 64;

/// ARI's verbs over an events connection: [`crate::EventStream::rest`] gives it, and [`crate::AriClient::over_websocket`]
/// and [`crate::AriClient::of_websocket`] put the typed verbs on it. Cloning shares the connection.
///
/// What holds for every request:
///
/// - It has a time limit, which includes the wait for its turn. When it has passed, whether Asterisk carried the request
///   out is unknown; an answer that comes later is dropped and counted.
/// - So many are under way at one time; more wait for their turn.
/// - While the connection does not stand, it is [`AriError::Transport`] at once; when it ends before the answer, too, and
///   then whether Asterisk carried it out is unknown.
/// - Answers come between the events, in the order of the connection. Who does not take events for so long that the
///   stream's queue is full gets no answers either, until the time limit: take events on a task of their own.
/// - An answer is a message, so [`crate::EventOptions::max_message_bytes`] holds for it. A longer one ends the
///   connection. Lists of a thousand channels and recordings' files belong on HTTP.
#[derive(Clone)]
pub struct RestOverWebSocket {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Outgoing>,
}

struct Shared {
    turns: Semaphore,
    limit: Duration,
    /// As whom Asterisk has let the connection in, for errors.
    user: String,
    next_id: AtomicU64,
    late: AtomicU64,
}

impl fmt::Debug for RestOverWebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestOverWebSocket")
            .field("free_turns", &self.shared.turns.available_permits())
            .field("late_answers", &self.late_answers())
            .finish_non_exhaustive()
    }
}

impl RestOverWebSocket {
    /// The handle, and what the connection's task serves it with.
    pub(crate) fn new(user: &str, limit: Duration, outstanding: usize) -> (Self, Exchange) {
        let outstanding = outstanding.clamp(1, Semaphore::MAX_PERMITS);
        let shared = Arc::new(Shared {
            turns: Semaphore::new(outstanding),
            limit,
            user: user.to_owned(),
            next_id: AtomicU64::new(1),
            late: AtomicU64::new(0),
        });
        let (requests, queue) = mpsc::channel(outstanding);
        let exchange = Exchange::new(queue, Arc::clone(&shared), outstanding);
        (Self { shared, requests }, exchange)
    }

    /// The limit for one request, its turn included.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        self.shared.limit
    }

    /// Answers that came when nobody waited for them any more, or that nobody had asked for.
    #[must_use]
    pub fn late_answers(&self) -> u64 {
        self.shared.late.load(Relaxed)
    }

    /// `GET` of `/ari/` + `path`, each element one segment (encoded here), with query.
    ///
    /// # Errors
    /// Any [`AriError`], as by HTTP; [`AriError::InvalidInput`] when the request is longer than [`REQUEST_MAX_BYTES`].
    /// An empty answer is [`Value::Null`].
    pub async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, AriError> {
        self.request(&Method::GET, path, query, None).await
    }

    /// `POST`, as [`RestOverWebSocket::get`], with an optional JSON body.
    ///
    /// # Errors
    /// As [`RestOverWebSocket::get`].
    pub async fn post(&self, path: &[&str], query: &[(&str, &str)], body: Option<&Value>) -> Result<Value, AriError> {
        self.request(&Method::POST, path, query, body).await
    }

    /// `PUT`, as [`RestOverWebSocket::get`], with an optional JSON body.
    ///
    /// # Errors
    /// As [`RestOverWebSocket::get`].
    pub async fn put(&self, path: &[&str], query: &[(&str, &str)], body: Option<&Value>) -> Result<Value, AriError> {
        self.request(&Method::PUT, path, query, body).await
    }

    /// `DELETE`, as [`RestOverWebSocket::get`].
    ///
    /// # Errors
    /// As [`RestOverWebSocket::get`].
    pub async fn delete(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, AriError> {
        self.request(&Method::DELETE, path, query, None).await
    }

    pub(crate) async fn request(
        &self,
        method: &Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, AriError> {
        let uri = message::uri(path, query)?;
        // Without the query, which may hold what is nobody's business.
        let call = format!("{method} /ari/{}", uri.split('?').next().unwrap_or_default());
        let limit = self.shared.limit;
        match timeout(limit, self.exchange(&call, method, &uri, body)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(AriError::timeout(&call, limit)),
        }
    }

    async fn exchange(&self, call: &str, method: &Method, uri: &str, body: Option<&Value>) -> Result<Value, AriError> {
        let id = self.shared.next_id.fetch_add(1, Relaxed).to_string();
        let text = message::request(&id, method, uri, body)?;
        // Never closed, so only the time limit can end the wait.
        let _turn = self.shared.turns.acquire().await;
        let (reply, answer) = oneshot::channel();
        let ended = |why: &str| AriError::Transport { call: call.to_owned(), detail: why.to_owned() };
        self.requests
            .send(Outgoing { id, text, reply })
            .await
            .map_err(|_| ended("the events connection has been closed here"))?;
        let answer =
            answer.await.map_err(|_| ended("the events connection does not stand, or ended before the answer"))?;
        outcome(call, &self.shared.user, answer.status_code, answer.message_body.as_bytes())
    }
}
