//! Requests over HTTP: one pool of connections, one answer's limit, one time limit.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::AriConfig;
use super::recordings::DOWNLOADS_AT_ONCE;
use crate::address::Base;
use crate::error::AriError;

/// Longest answer that is read. A list of 1,000 channels has about 0.6 MB.
const ANSWER_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Below Asterisk's `session_keep_alive` (15 s unless configured), so that a
/// pooled connection is not one that Asterisk is just closing.
const POOL_IDLE_LIMIT: Duration = Duration::from_secs(8);
/// Requests under way at one time; more wait for their turn. Asterisk's HTTP server has a listen backlog of 10
/// (measured, 22.10): of a burst of new connections those that do not fit are dropped and tried again by the kernel
/// after a second, while few connections, kept open, carry thousands of requests a second. Less than the backlog,
/// because media WebSockets and other programs connect there too.
const REQUESTS_AT_ONCE: usize = 6;

/// Where Asterisk's HTTP server is, and the connections to it.
pub(crate) struct Http {
    pub(super) client: reqwest::Client,
    /// See [`REQUESTS_AT_ONCE`].
    pub(super) turns: Semaphore,
    /// See [`DOWNLOADS_AT_ONCE`].
    pub(super) downloads: Arc<Semaphore>,
    pub(super) base: Base,
    pub(crate) websocket_base: Base,
    pub(crate) authorization: HeaderValue,
}

impl Http {
    pub(super) fn new(config: &AriConfig) -> Result<Self, AriError> {
        let base = Base::parse("base_url", &config.base_url)?;
        let websocket_base = match &config.websocket_url {
            Some(url) => Base::parse("websocket_url", url)?,
            None => base.clone(),
        };
        if base.secure() || websocket_base.secure() {
            crate::tls::ensure_provider();
        }
        let mut builder = reqwest::Client::builder()
            .timeout(config.request_timeout)
            .pool_idle_timeout(POOL_IDLE_LIMIT)
            // Credentials go to the PBX and to nobody else.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if !base.secure() {
            let tls = crate::tls::trust_nobody().map_err(|error| AriError::transport("setting up HTTP", &error))?;
            builder = builder.tls_backend_preconfigured(tls);
        }
        let client = builder.build().map_err(|error| AriError::transport("setting up HTTP", &error))?;
        let authorization = basic_authorization(&client, &base, config)?;
        Ok(Self {
            client,
            turns: Semaphore::new(REQUESTS_AT_ONCE),
            downloads: Arc::new(Semaphore::new(DOWNLOADS_AT_ONCE)),
            base,
            websocket_base,
            authorization,
        })
    }

    pub(super) async fn request(
        &self,
        config: &AriConfig,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, AriError> {
        let limit = config.request_timeout;
        let (url, shown_path) = self.base.ari(path)?;
        let call = format!("{method} {shown_path}");
        // Never closed, so only the time limit can end the wait.
        let Ok(_turn) = timeout(limit, self.turns.acquire()).await else {
            return Err(AriError::timeout(&call, limit));
        };
        let mut request =
            self.client.request(method, url).header(reqwest::header::AUTHORIZATION, self.authorization.clone());
        if !query.is_empty() {
            request = request.query(query);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let failed = |error: reqwest::Error| {
            if error.is_timeout() {
                AriError::timeout(&call, limit)
            } else {
                AriError::transport(&call, &error.without_url())
            }
        };
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if answer.len().saturating_add(chunk.len()) > ANSWER_MAX_BYTES {
                return Err(AriError::malformed(&call, format!("longer than {ANSWER_MAX_BYTES} bytes")));
            }
            answer.extend_from_slice(&chunk);
        }
        outcome(&call, &config.username, status, &answer)
    }
}

/// What an answer of ARI means, however it came.
pub(crate) fn outcome(call: &str, user: &str, status: u16, answer: &[u8]) -> Result<Value, AriError> {
    if !(200..300).contains(&status) {
        return Err(AriError::from_status(call, user, status, answer));
    }
    if answer.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    serde_json::from_slice(answer).map_err(|error| AriError::malformed(call, format!("not JSON: {error}")))
}

/// The header as `reqwest` writes it, so that WebSockets send exactly the same.
fn basic_authorization(http: &reqwest::Client, base: &Base, config: &AriConfig) -> Result<HeaderValue, AriError> {
    let (url, _) = base.ari(&["asterisk", "ping"])?;
    let request = http
        .get(url)
        .basic_auth(&config.username, Some(&config.password))
        .build()
        .map_err(|error| AriError::transport("setting up HTTP", &error))?;
    let mut header = request
        .headers()
        .get(reqwest::header::AUTHORIZATION)
        .cloned()
        .ok_or_else(|| AriError::invalid("user and password cannot be sent in an HTTP header"))?;
    header.set_sensitive(true);
    Ok(header)
}
