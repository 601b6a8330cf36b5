//! ARI over HTTP: one cheap-to-clone client, typed verbs, raw verbs for the rest.
//!
//! Arguments of `POST` requests travel in a JSON body, not in the query: Asterisk
//! reads both, but its HTTP server cuts request lines at 4 KiB, a query cannot
//! hold a media name with a comma, and `variables` in a query are dropped silently.

mod asterisk;
mod bridges;
mod channels;
mod params;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderValue;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::address::Base;
use crate::error::AriError;
pub use params::{BridgeType, ContinueTo, Encapsulation, ExternalMedia, HangupReason, Originate, Play, SendDtmf};

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

/// How to reach an Asterisk, and as whom.
#[derive(Clone)]
#[non_exhaustive]
pub struct AriConfig {
    /// `http://host:8088`; a trailing `/` or `/ari` is ignored. `https` works too.
    pub base_url: String,
    /// The user of `ari.conf`.
    pub username: String,
    /// The user's password.
    pub password: String,
    /// The Stasis application that this client is.
    pub app: String,
    /// Limit for one request, from connecting to the last byte. Default 10 s.
    pub request_timeout: Duration,
    /// Where the WebSockets are when not at `base_url` (a proxy between). Default none.
    pub websocket_url: Option<String>,
}

impl AriConfig {
    /// The configuration with a request limit of 10 s.
    pub fn new(
        base_url: impl Into<String>,
        username: impl Into<String>,
        password: impl Into<String>,
        app: impl Into<String>,
    ) -> Self {
        Self {
            base_url: base_url.into(),
            username: username.into(),
            password: password.into(),
            app: app.into(),
            request_timeout: Duration::from_secs(10),
            websocket_url: None,
        }
    }
}

impl fmt::Debug for AriConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AriConfig")
            .field("base_url", &self.base_url)
            .field("username", &self.username)
            .field("password", &"…")
            .field("app", &self.app)
            .field("request_timeout", &self.request_timeout)
            .field("websocket_url", &self.websocket_url)
            .finish()
    }
}

/// A client of one Asterisk's ARI. Cloning shares the connections.
#[derive(Clone)]
pub struct AriClient {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    /// See [`REQUESTS_AT_ONCE`].
    turns: Semaphore,
    base: Base,
    websocket_base: Base,
    authorization: HeaderValue,
    config: AriConfig,
}

impl fmt::Debug for AriClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AriClient").field(&self.inner.config).finish()
    }
}

impl AriClient {
    /// Makes a client. Nothing is sent yet: use [`AriClient::ping`] to see whether
    /// Asterisk is there.
    ///
    /// # Errors
    /// [`AriError::InvalidInput`] when the address, the user or the application
    /// cannot be right; [`AriError::Transport`] when TLS cannot be set up.
    pub fn new(config: AriConfig) -> Result<Self, AriError> {
        let base = Base::parse("base_url", &config.base_url)?;
        let websocket_base = match &config.websocket_url {
            Some(url) => Base::parse("websocket_url", url)?,
            None => base.clone(),
        };
        check_credentials(&config)?;
        check_app(&config.app)?;
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
        let http = builder.build().map_err(|error| AriError::transport("setting up HTTP", &error))?;
        let authorization = basic_authorization(&http, &base, &config)?;
        Ok(Self {
            inner: Arc::new(Inner {
                http,
                turns: Semaphore::new(REQUESTS_AT_ONCE),
                base,
                websocket_base,
                authorization,
                config,
            }),
        })
    }

    /// What this client was made with.
    #[must_use]
    pub fn config(&self) -> &AriConfig {
        &self.inner.config
    }

    /// The Stasis application of this client.
    #[must_use]
    pub fn app(&self) -> &str {
        &self.inner.config.app
    }

    /// The URL of a `chan_websocket` connection in server mode, by the value of the
    /// channel's variable `MEDIA_WEBSOCKET_CONNECTION_ID`.
    ///
    /// # Errors
    /// [`AriError::InvalidInput`] when the id cannot be one.
    pub fn media_url(&self, connection_id: &str) -> Result<String, AriError> {
        Ok(self.inner.websocket_base.media(connection_id)?.to_string())
    }

    /// `GET` of `/ari/` + `path`, each element one segment (encoded here), with query.
    ///
    /// # Errors
    /// Any [`AriError`]. An empty answer is [`Value::Null`].
    pub async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, AriError> {
        self.request(Method::GET, path, query, None).await
    }

    /// `POST`, as [`AriClient::get`], with an optional JSON body.
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn post(&self, path: &[&str], query: &[(&str, &str)], body: Option<&Value>) -> Result<Value, AriError> {
        self.request(Method::POST, path, query, body).await
    }

    /// `PUT`, as [`AriClient::get`], with an optional JSON body.
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn put(&self, path: &[&str], query: &[(&str, &str)], body: Option<&Value>) -> Result<Value, AriError> {
        self.request(Method::PUT, path, query, body).await
    }

    /// `DELETE`, as [`AriClient::get`].
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn delete(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, AriError> {
        self.request(Method::DELETE, path, query, None).await
    }

    pub(crate) fn authorization(&self) -> &HeaderValue {
        &self.inner.authorization
    }

    pub(crate) fn websocket_base(&self) -> &Base {
        &self.inner.websocket_base
    }

    async fn get_typed<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, AriError> {
        typed(path, self.get(path, &[]).await?)
    }

    async fn post_done(&self, path: &[&str], body: Option<&Value>) -> Result<(), AriError> {
        self.post(path, &[], body).await.map(drop)
    }

    async fn post_typed<T: DeserializeOwned>(&self, path: &[&str], body: &Value) -> Result<T, AriError> {
        typed(path, self.post(path, &[], Some(body)).await?)
    }

    async fn request(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, AriError> {
        let inner = &*self.inner;
        let limit = inner.config.request_timeout;
        let (url, shown_path) = inner.base.ari(path)?;
        let call = format!("{method} {shown_path}");
        // Never closed, so only the time limit can end the wait.
        let Ok(_turn) = timeout(limit, inner.turns.acquire()).await else {
            return Err(AriError::timeout(&call, limit));
        };
        let mut request =
            inner.http.request(method, url).header(reqwest::header::AUTHORIZATION, inner.authorization.clone());
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
        let status = response.status();
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if answer.len().saturating_add(chunk.len()) > ANSWER_MAX_BYTES {
                return Err(AriError::malformed(&call, format!("longer than {ANSWER_MAX_BYTES} bytes")));
            }
            answer.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            let user = &inner.config.username;
            return Err(AriError::from_status(&call, user, status.as_u16(), &answer));
        }
        if answer.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer).map_err(|error| AriError::malformed(&call, format!("not JSON: {error}")))
    }
}

fn typed<T: DeserializeOwned>(path: &[&str], value: Value) -> Result<T, AriError> {
    serde_json::from_value(value).map_err(|error| {
        let call = format!("/ari/{}", path.join("/"));
        AriError::malformed(&crate::error::quote(&call), crate::error::quote(&error.to_string()))
    })
}

fn check_credentials(config: &AriConfig) -> Result<(), AriError> {
    if config.username.is_empty() {
        return Err(AriError::invalid("username is empty; give the name of a user in ari.conf"));
    }
    if config.username.contains(':') {
        // RFC 7617: the first colon ends the user.
        return Err(AriError::invalid(
            "username holds a colon, which HTTP Basic authentication cannot carry; rename the user in ari.conf",
        ));
    }
    if config.username.chars().chain(config.password.chars()).any(char::is_control) {
        return Err(AriError::invalid(
            "username or password holds a control character (a line end, perhaps); remove it",
        ));
    }
    Ok(())
}

fn check_app(app: &str) -> Result<(), AriError> {
    if app.is_empty() || app.chars().any(|c| c.is_control() || c == ',') {
        // A comma separates applications in Asterisk's own list and in Stasis().
        return Err(AriError::invalid(format!(
            "app {:?} is not the name of one Stasis application; give one name without a comma",
            crate::error::quote(app)
        )));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_configuration_that_cannot_work_is_refused_before_anything_is_sent() {
        for (user, app, about) in [
            ("", "app", "username"),
            ("a:b", "app", "colon"),
            ("a\n", "app", "control"),
            ("a", "", "app"),
            ("a", "x,y", "comma"),
        ] {
            let error = AriClient::new(AriConfig::new("http://h", user, "p", app)).unwrap_err();
            assert!(error.to_string().contains(about), "{error}");
        }
    }

    #[test]
    fn the_password_is_never_printed() {
        let client = AriClient::new(AriConfig::new("http://h", "u", "topsecret", "a")).unwrap();
        assert!(!format!("{client:?}").contains("topsecret"));
        assert!(!format!("{:?}", client.authorization()).contains("dTp0"));
    }
}
