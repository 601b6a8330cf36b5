//! One event as one request, and what its answer means.

use std::sync::Once;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use tokio::time::timeout;

use super::outbox::Row;
use super::target::{Secret, WebhookTarget};
use crate::signature::signature;

/// An answer that is no longer than this is read, so that its connection can be used again.
const ANSWER_MAX_BYTES: usize = 16 << 10;
/// And takes no longer.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);

static PROVIDER: Once = Once::new();

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A 2xx.
    Delivered,
    /// It will not get better: a 4xx, or a redirection, which is never followed.
    Refused(String),
    /// It may: a 5xx, or no answer.
    Failed(String),
}

/// A client for the operator's servers: it follows no redirection.
///
/// # Errors
/// The library's words, when the system's certificates cannot be read.
pub fn http_client() -> Result<Client, reqwest::Error> {
    PROVIDER.call_once(|| {
        // An error means that a provider is installed already: that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    Client::builder().redirect(Policy::none()).user_agent("voxtra-webhook/1").no_proxy().build()
}

/// Sends it once. Only the answer's status counts.
pub(super) async fn send(client: &Client, target: &WebhookTarget, row: &Row) -> Outcome {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut request = client
        .post(target.url.clone())
        .timeout(target.timeout)
        .header("Content-Type", "application/json")
        .header("X-Voxtra-Event", &*row.kind)
        .header("X-Voxtra-Event-Id", &*row.event_id)
        .header("X-Voxtra-Session-Id", &*row.session_id)
        .header("X-Voxtra-Timestamp", now);
    if let Some(secret) = &target.secret {
        request = request
            .header("X-Voxtra-Signature", signature(secret.as_bytes(), &row.body))
            .header("X-Voxtra-Signature-V2", timestamped(secret, now, &row.body));
    }
    match request.body(row.body.clone()).send().await {
        Ok(answer) => {
            let outcome = judge(answer.status());
            finish(answer).await;
            outcome
        }
        Err(error) if error.is_builder() => {
            Outcome::Refused(format!("it cannot be sent ({})", chain(&error.without_url())))
        }
        Err(error) if error.is_timeout() => {
            Outcome::Failed(format!("no answer within {} ms", target.timeout.as_millis()))
        }
        Err(error) => Outcome::Failed(chain(&error.without_url())),
    }
}

/// Reads a short answer to its end; a long or slow one costs its connection.
async fn finish(mut answer: Response) {
    let mut left_bytes = ANSWER_MAX_BYTES;
    let read = async {
        while let Ok(Some(part)) = answer.chunk().await {
            match left_bytes.checked_sub(part.len()) {
                Some(left) => left_bytes = left,
                None => return,
            }
        }
    };
    // Whether it was read does not matter for the event.
    let _ = timeout(ANSWER_LIMIT, read).await;
}

fn judge(status: StatusCode) -> Outcome {
    match status {
        status if status.is_success() => Outcome::Delivered,
        status if status.is_redirection() => {
            Outcome::Refused(format!("it answered {status}; redirections are not followed, configure the new address"))
        }
        status if status.is_client_error() => Outcome::Refused(format!("it answered {status}")),
        status => Outcome::Failed(format!("it answered {status}")),
    }
}

fn timestamped(secret: &Secret, unix_s: u64, body: &[u8]) -> String {
    let mut signed = format!("{unix_s}.").into_bytes();
    signed.extend_from_slice(body);
    format!("t={unix_s},v1={}", signature(secret.as_bytes(), &signed))
}

/// The error and its causes, each once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_4xx_and_a_redirection_are_final_and_a_5xx_is_not() {
        assert_eq!(judge(StatusCode::NO_CONTENT), Outcome::Delivered);
        for status in [StatusCode::BAD_REQUEST, StatusCode::TOO_MANY_REQUESTS, StatusCode::TEMPORARY_REDIRECT] {
            assert!(matches!(judge(status), Outcome::Refused(_)), "{status}");
        }
        assert!(matches!(judge(StatusCode::BAD_GATEWAY), Outcome::Failed(_)));
    }

    #[test]
    fn the_second_signature_covers_the_time() {
        let secret = Secret::new("s");
        let first = timestamped(&secret, 1_700_000_000, b"{}");
        assert!(first.starts_with("t=1700000000,v1=") && first.ends_with(&signature(b"s", b"1700000000.{}")));
        assert_ne!(first.rsplit('=').next(), timestamped(&secret, 1_700_000_001, b"{}").rsplit('=').next());
    }
}
