//! A server of the operator's that is told of each recording: the metadata, not the audio.

use std::time::Duration;

use voxtra_core::BoxFuture;

use super::{Finished, Sink, SinkError};
use crate::signature::signature;

/// POSTs JSON in the form of Voxtra 0.3's recording sink: `session_id`, `name`, `file_path`, `duration_seconds`,
/// `format` and `extra`, in which the rest is. With a secret, `X-Voxtra-Signature` is the lower-case hexadecimal
/// HMAC-SHA256 of the body. `X-Voxtra-Recording-Id` is the same whenever the same recording is told again.
pub struct WebhookSink {
    name: String,
    url: String,
    secret: Option<String>,
    client: reqwest::Client,
}

impl WebhookSink {
    /// A sink that tells this address; each attempt takes at most `timeout`.
    pub fn new(name: &str, url: &str, secret: Option<String>, client: reqwest::Client) -> Self {
        Self { name: name.to_owned(), url: url.to_owned(), secret, client }
    }

    async fn tell(&self, recording: &Finished<'_>) -> Result<String, SinkError> {
        let body = serde_json::json!({
            "session_id": recording.start.call,
            "name": recording.start.name,
            "file_path": recording.file_name(),
            "duration_seconds": f64::from(recording.duration_ms) / 1_000.0,
            "format": "wav",
            "extra": recording.metadata(),
        })
        .to_string();
        let mut request = self
            .client
            .post(&self.url)
            .header("Content-Type", "application/json")
            .header("User-Agent", "voxtra-webhook/1")
            .header("X-Voxtra-Recording-Id", recording.start.id.as_str());
        if let Some(secret) = &self.secret {
            request = request.header("X-Voxtra-Signature", signature(secret.as_bytes(), body.as_bytes()));
        }
        let answer = request.timeout(ATTEMPT_LIMIT).body(body).send().await;
        let answer =
            answer.map_err(|error| SinkError::passing(format!("it cannot be told ({})", error.without_url())))?;
        let status = answer.status();
        match status {
            status if status.is_success() => Ok(self.url.clone()),
            status => Err(SinkError {
                why: format!("it answered {status}"),
                lasting: status.is_client_error() || status.is_redirection(),
            }),
        }
    }
}

/// The longest that one telling may take.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);

impl Sink for WebhookSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn keep<'a>(&'a self, recording: &'a Finished<'a>) -> BoxFuture<'a, Result<String, SinkError>> {
        Box::pin(self.tell(recording))
    }
}
