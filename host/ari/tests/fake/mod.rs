//! A stand-in for Asterisk's HTTP port: it says exactly what a test tells it to,
//! also what Asterisk never should.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, unreachable_pub, clippy::result_large_err)]

use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use voxtra_ari::{AriClient, AriConfig};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `POST /ari/channels/x?y=z`
    pub line: String,
    /// All headers, lower-case.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Seen {
    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What to do with a request.
pub enum Reply {
    /// Status and body, well-formed.
    Http(u16, String),
    /// Exactly these bytes, then close.
    Raw(Vec<u8>),
    /// Say nothing and keep the connection open.
    Hang,
}

/// A well-formed answer.
pub fn http(status: u16, body: &str) -> Reply {
    Reply::Http(status, body.to_owned())
}

/// What the fake does with an events connection after its handshake.
pub type Script = Box<dyn FnOnce(WebSocketStream<TcpStream>) -> BoxFuture<'static, ()> + Send>;

/// Makes a script of an async closure.
pub fn script<F, Fut>(f: F) -> Script
where
    F: FnOnce(WebSocketStream<TcpStream>) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Box::new(|ws| Box::pin(f(ws)))
}

/// How an events connection is received.
pub enum Events {
    /// With a handshake, then the script.
    Accept(Script),
    /// With an HTTP answer instead.
    Refuse(u16, &'static str),
}

/// The stand-in. Dropping it stops it.
pub struct FakePbx {
    pub base_url: String,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for FakePbx {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakePbx {
    /// Answers REST with `reply`; receives events connections with `events`, one
    /// after the other, and refuses further ones with 503.
    pub async fn start(reply: impl Fn(&Seen) -> Reply + Send + Sync + 'static, events: Vec<Events>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let reply = Arc::new(reply);
        let mut events = events.into_iter();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                if starts_with(&stream, b"GET /ari/events").await {
                    let how = events.next().unwrap_or(Events::Refuse(503, "{}"));
                    connections.spawn(serve_events(stream, how, Arc::clone(&log)));
                } else {
                    connections.spawn(serve_rest(stream, Arc::clone(&reply), Arc::clone(&log)));
                }
            }
        });
        Self { base_url, seen, task }
    }

    /// REST only.
    pub async fn rest(reply: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(reply, Vec::new()).await
    }

    /// Events only.
    pub async fn events(events: Vec<Events>) -> Self {
        Self::start(|_| http(404, "{}"), events).await
    }

    /// A client of it.
    pub fn client(&self) -> AriClient {
        AriClient::new(AriConfig::new(&self.base_url, "bob", "s3cret", "my app")).unwrap()
    }

    /// The last request.
    pub fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().unwrap().clone()
    }
}

async fn starts_with(stream: &TcpStream, prefix: &[u8]) -> bool {
    let mut head = [0u8; 15];
    loop {
        match stream.peek(&mut head).await {
            Ok(n) if n >= prefix.len() => return head.starts_with(prefix),
            Ok(0) | Err(_) => return false,
            Ok(_) => tokio::task::yield_now().await,
        }
    }
}

async fn serve_events(mut stream: TcpStream, how: Events, log: Arc<Mutex<Vec<Seen>>>) {
    match how {
        Events::Refuse(status, body) => {
            read_request(&mut stream, &log).await;
            let answer =
                format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        Events::Accept(script) => {
            let mut line = String::new();
            let mut head = String::new();
            let callback = |request: &tokio_tungstenite::tungstenite::handshake::server::Request, response| {
                line = format!("GET {}", request.uri());
                for (name, value) in request.headers() {
                    head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
                }
                Ok(response)
            };
            let ws = tokio_tungstenite::accept_hdr_async(stream, callback).await.unwrap();
            log.lock().unwrap().push(Seen { line, head, body: String::new() });
            script(ws).await;
        }
    }
}

async fn serve_rest<F>(mut stream: TcpStream, reply: Arc<F>, log: Arc<Mutex<Vec<Seen>>>)
where
    F: Fn(&Seen) -> Reply,
{
    while let Some(request) = read_request(&mut stream, &log).await {
        match reply(&request) {
            Reply::Http(status, body) => {
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            Reply::Raw(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Reply::Hang => std::future::pending().await,
        }
    }
}

async fn read_request(stream: &mut TcpStream, log: &Mutex<Vec<Seen>>) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return None;
        }
    };
    let text = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let (line, head) = text.split_once("\r\n").unwrap();
    let head = head
        .lines()
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            format!("{}:{value}\r\n", name.to_lowercase())
        })
        .collect::<String>();
    let length: usize = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(0, |value| value.trim().parse().unwrap());
    let mut body = bytes[end + 4..].to_vec();
    while body.len() < length {
        if stream.read_buf(&mut body).await.unwrap_or(0) == 0 {
            return None;
        }
    }
    let seen =
        Seen { line: line.trim_end_matches(" HTTP/1.1").to_owned(), head, body: String::from_utf8(body).unwrap() };
    log.lock().unwrap().push(seen.clone());
    Some(seen)
}
