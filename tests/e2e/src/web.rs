//! A web server that handlers may ask, or must not reach: it keeps what it was asked and answers as a test says.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// No request is near this.
const BODY_MAX_BYTES: usize = 2 << 20;

/// A request as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Such as `GET`.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Names in small letters, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Asked {
    /// A header's value; empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// More headers than the length.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// 200 with this text.
    #[must_use]
    pub fn ok(text: impl Into<String>) -> Self {
        Self { status: 200, headers: Vec::new(), body: text.into().into_bytes() }
    }

    /// 302 to somewhere else.
    #[must_use]
    pub fn to(place: impl Into<String>) -> Self {
        Self { status: 302, headers: vec![("location", place.into())], body: Vec::new() }
    }
}

type Answers = Arc<dyn Fn(&Asked) -> Answer + Send + Sync>;

#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    asked: Vec<Asked>,
}

/// See the module. Dropping it closes it.
#[derive(Debug)]
pub struct WebServer {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl WebServer {
    /// Listens on a free port of this address, which is one of this machine's own.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start(at: IpAddr, answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Result<Self> {
        let listener = TcpListener::bind((at, 0)).await.with_context(|| format!("no port is free at {at}"))?;
        let (address, seen) = (listener.local_addr()?, Arc::<Mutex<Seen>>::default());
        let task = tokio::spawn(accept(listener, Arc::clone(&seen), Arc::new(answer)));
        Ok(Self { address, seen, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address for requests, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).asked.clone()
    }

    /// How many have connected, whether or not they asked anything.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).connections
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, seen: Arc<Mutex<Seen>>, answer: Answers) {
    while let Ok((stream, _)) = listener.accept().await {
        seen.lock().unwrap_or_else(PoisonError::into_inner).connections += 1;
        let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
        // A connection ends by the other side; what is wrong with a request shows as one that is missing.
        tokio::spawn(async move { serve(stream, &seen, &answer).await });
    }
}

async fn serve(stream: TcpStream, seen: &Mutex<Seen>, answer: &Answers) -> Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = read(&mut stream).await? {
        let answer = answer(&asked);
        seen.lock().unwrap_or_else(PoisonError::into_inner).asked.push(asked);
        let headers: String = answer.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = answer.body.len();
        let head = format!("HTTP/1.1 {} X\r\n{headers}content-length: {length}\r\n\r\n", answer.status);
        // In one piece: two would wait for each other's acknowledgement.
        stream.write_all(&[head.as_bytes(), &answer.body].concat()).await?;
    }
    Ok(())
}

async fn read(stream: &mut BufReader<TcpStream>) -> Result<Option<Asked>> {
    let mut first = String::new();
    if stream.read_line(&mut first).await? == 0 {
        return Ok(None);
    }
    let mut words = first.split_whitespace().map(str::to_owned);
    let mut asked =
        Asked { method: words.next().unwrap_or_default(), path: words.next().unwrap_or_default(), ..Asked::default() };
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => asked.headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    let length = asked.header("content-length").parse().unwrap_or(0);
    asked.body = vec![0; usize::min(length, BODY_MAX_BYTES)];
    stream.read_exact(&mut asked.body).await?;
    Ok(Some(asked))
}
