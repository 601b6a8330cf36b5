//! The side of the connection's task: requests to write, and who waits for which answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use super::Shared;
use super::message::RestResponse;

/// A request on its way to the socket.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(super) id: String,
    pub(crate) text: String,
    pub(super) reply: oneshot::Sender<RestResponse>,
}

/// What the connection's task knows of the requests. Nobody else touches it.
pub(crate) struct Exchange {
    queue: mpsc::Receiver<Outgoing>,
    waiting: HashMap<String, oneshot::Sender<RestResponse>>,
    shared: Arc<Shared>,
    outstanding: usize,
}

impl Exchange {
    pub(super) fn new(queue: mpsc::Receiver<Outgoing>, shared: Arc<Shared>, outstanding: usize) -> Self {
        Self { queue, waiting: HashMap::new(), shared, outstanding }
    }

    /// The text of the next request, whose answer is waited for from now on. Can be cancelled.
    pub(crate) async fn next(&mut self) -> String {
        loop {
            let Some(Outgoing { id, text, reply }) = self.queue.recv().await else {
                // All handles are gone.
                return std::future::pending().await;
            };
            // Whose time limit has passed while it waited here must not be carried out any more.
            if reply.is_closed() {
                continue;
            }
            if self.waiting.len() >= self.outstanding {
                // Those that were given up keep no place; of the others there are never more than turns.
                self.waiting.retain(|_, waiting| !waiting.is_closed());
            }
            self.waiting.insert(id, reply);
            return text;
        }
    }

    /// Is this message an answer? It is handed to who waits for it then, and is no event.
    pub(crate) fn takes(&mut self, message: &serde_json::Value) -> bool {
        if message.get("type").and_then(serde_json::Value::as_str) != Some("RESTResponse") {
            return false;
        }
        match RestResponse::deserialize(message) {
            Ok(answer) => self.answered(answer),
            // Whoever waits for it runs into the time limit.
            Err(error) => {
                self.shared.late.fetch_add(1, Relaxed);
                tracing::warn!(%error, "an answer on the events connection cannot be read");
            }
        }
        true
    }

    /// Hands an answer to who waits for it.
    fn answered(&mut self, answer: RestResponse) {
        let unwanted = match self.waiting.remove(&answer.request_id) {
            Some(reply) => reply.send(answer).is_err(),
            None => true,
        };
        if unwanted {
            self.shared.late.fetch_add(1, Relaxed);
        }
    }

    /// The connection has ended: no answer will come.
    pub(crate) fn lost(&mut self) {
        self.waiting.clear();
    }

    /// Refuses requests for as long as it runs, which is for ever.
    pub(crate) async fn refuse(&mut self) {
        while let Some(outgoing) = self.queue.recv().await {
            drop(outgoing);
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use crate::rest_ws::RestOverWebSocket;

    proptest! {
        #[test]
        fn no_message_makes_it_panic_and_only_answers_are_taken(kind in "RESTResponse|\\PC{0,20}", text in "\\PC{0,60}", number in any::<i64>()) {
            let (_rest, mut exchange) = RestOverWebSocket::new("u", Duration::from_secs(1), 1);
            for message in [
                json!({"type": kind, "request_id": text, "status_code": number, "message_body": text}),
                json!({"type": kind, "request_id": number, "status_code": text}),
                json!([kind, text]),
            ] {
                prop_assert_eq!(exchange.takes(&message), message.is_object() && kind == "RESTResponse");
            }
        }
    }
}
