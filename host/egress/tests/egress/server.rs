//! A server that answers as it is told, byte by byte, and remembers what it was asked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// Longer than anything takes when it works.
const PATIENCE: Duration = Duration::from_secs(20);

/// What it does once it has read a request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Writes this; the connection stays open.
    Write(Vec<u8>),
    /// Writes this and closes.
    WriteAndClose(Vec<u8>),
    /// Writes the first, and then the second again and again, with these pauses, until nobody reads any more.
    Drip(Vec<u8>, Vec<u8>, Duration),
    /// Writes nothing.
    Hang,
}

/// A whole answer.
pub(crate) fn ok(body: &str) -> Reply {
    answer("200 OK", &[], body)
}

pub(crate) fn answer(status: &str, headers: &[&str], body: &str) -> Reply {
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    Reply::Write(format!("HTTP/1.1 {status}\r\n{lines}content-length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

pub(crate) fn redirect(status: u16, location: &str) -> Reply {
    answer(&format!("{status} Moved"), &[&format!("location: {location}")], "")
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<String>>,
    connections: AtomicUsize,
    open: AtomicUsize,
}

/// The server. It stops with the test's runtime.
#[derive(Clone)]
pub(crate) struct Server {
    seen: Arc<Seen>,
    address: SocketAddr,
}

pub(crate) type Behaviour = Arc<dyn Fn(&str) -> Reply + Send + Sync>;

impl Server {
    /// On this loopback address and a free port, in the clear.
    pub(crate) async fn start(ip: &str, behave: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let server = Self { seen: Arc::default(), address: listener.local_addr().unwrap() };
        let (seen, behave): (_, Behaviour) = (server.seen.clone(), Arc::new(behave));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                seen.connections.fetch_add(1, Ordering::SeqCst);
                let (seen, behave) = (seen.clone(), behave.clone());
                tokio::spawn(async move { seen.serve(socket, behave).await });
            }
        });
        server
    }

    /// The same over TLS.
    pub(crate) async fn start_tls(
        ip: &str,
        tls: tokio_rustls::TlsAcceptor,
        behave: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let server = Self { seen: Arc::default(), address: listener.local_addr().unwrap() };
        let (seen, behave): (_, Behaviour) = (server.seen.clone(), Arc::new(behave));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                seen.connections.fetch_add(1, Ordering::SeqCst);
                let (seen, behave, tls) = (seen.clone(), behave.clone(), tls.clone());
                tokio::spawn(async move {
                    if let Ok(socket) = tls.accept(socket).await {
                        seen.serve(socket, behave).await;
                    }
                });
            }
        });
        server
    }

    pub(crate) fn ip(&self) -> String {
        self.address.ip().to_string()
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Every request, head and body.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Waits until every connection was closed from the other side.
    pub(crate) async fn all_closed(&self) {
        let closed = async {
            while self.seen.open.load(Ordering::SeqCst) > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, closed).await.expect("a connection stayed open");
    }

    /// Waits until this many requests have come.
    pub(crate) async fn requested(&self, count: usize) {
        let come = async {
            while self.requests().len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, come).await.expect("no request came");
    }
}

impl Seen {
    async fn serve(&self, mut socket: impl AsyncRead + AsyncWrite + Unpin, behave: Behaviour) {
        self.open.fetch_add(1, Ordering::SeqCst);
        while let Some(request) = read_request(&mut socket).await {
            self.requests.lock().unwrap().push(request.clone());
            if !act(&mut socket, behave(&request)).await {
                break;
            }
        }
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether the connection goes on.
async fn act(socket: &mut (impl AsyncRead + AsyncWrite + Unpin), reply: Reply) -> bool {
    match reply {
        Reply::Write(bytes) => socket.write_all(&bytes).await.is_ok() && socket.flush().await.is_ok(),
        Reply::WriteAndClose(bytes) => {
            let _ = socket.write_all(&bytes).await;
            let _ = socket.shutdown().await;
            false
        }
        Reply::Drip(first, more, pause) => {
            let mut written = socket.write_all(&first).await;
            while written.is_ok() {
                tokio::time::sleep(pause).await;
                written = socket.write_all(&more).await;
            }
            false
        }
        Reply::Hang => {
            let _ = socket.read(&mut [0; 1]).await;
            false
        }
    }
}

async fn read_request(socket: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0_usize) {
                return Some(text);
            }
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
