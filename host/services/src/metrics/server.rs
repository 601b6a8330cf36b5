//! `GET /metrics` and `GET /healthz` over HTTP/1.1.
//!
//! There is no authentication: whoever reaches the address reads tenants' names and numbers. So it is loopback's unless the
//! operator says otherwise. One request a connection; few connections at one time, each with an end.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::registry::Registry;

/// Where metrics are told when nothing else is said: loopback, at the port that exporters of OpenTelemetry have made usual.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// Connections at one time; others wait in the system's queue. A few scrapers, a probe, and somebody with a browser.
const CONNECTIONS_MAX: usize = 16;

/// How long a request's head may take to come.
const HEAD_LIMIT: Duration = Duration::from_secs(5);

/// How long a connection may last altogether: it is a few megabytes at most.
const CONNECTION_LIMIT: Duration = Duration::from_secs(20);

/// The longest head of a request; hyper takes no less than 8 KiB.
const HEAD_MAX_BYTES: usize = 16 << 10;

/// The pause after a connection could not be taken, when files have run out for instance.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The text format's type.
const TEXT_FORMAT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD");

/// Serves until it is dropped, which ends its connections too. `/metrics` is [`Registry::text`]; `/healthz` is 200 `ok`, or
/// 503 with what [`Registry::wrongs`] says; anything else is 404, and any method but GET and HEAD 405.
pub async fn serve(listener: TcpListener, registry: Arc<Registry>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let registry = Arc::clone(&registry);
                connections.spawn(async move {
                    converse(stream, registry).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the address of the metrics");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, registry: Arc<Registry>) {
    let service = service_fn(move |request| {
        let registry = Arc::clone(&registry);
        async move { Ok::<_, Infallible>(answer(&registry, &request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(HEAD_MAX_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_LIMIT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a scrape"),
        Err(_) => tracing::debug!("a scrape took too long"),
    }
}

async fn answer(registry: &Registry, request: &Request<Incoming>) -> Response<String> {
    let path = request.uri().path();
    if !matches!(path, "/metrics" | "/healthz") {
        return plain(StatusCode::NOT_FOUND, "There are /metrics and /healthz here.\n".to_owned());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "This can only be read.\n".to_owned());
        response.headers_mut().insert(ALLOW, METHODS);
        return response;
    }
    if path == "/metrics" {
        let mut response = plain(StatusCode::OK, registry.text().await);
        response.headers_mut().insert(CONTENT_TYPE, TEXT_FORMAT);
        return response;
    }
    match registry.wrongs().as_slice() {
        [] => plain(StatusCode::OK, "ok\n".to_owned()),
        wrongs => plain(StatusCode::SERVICE_UNAVAILABLE, wrongs.join("\n") + "\n"),
    }
}

fn plain(status: StatusCode, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, PLAIN);
    response
}
