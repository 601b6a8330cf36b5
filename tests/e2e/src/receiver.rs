//! A webhook's receiver: takes every request and keeps its event, as soon as it is told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// No event is near this.
const BODY_MAX_BYTES: usize = 1 << 20;

/// An address that nobody answers at until [`Receiver::open`]. Dropping it closes it.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    /// Holds the port: bound, but not listening.
    port: Option<TcpSocket>,
    events: Arc<Mutex<Vec<Value>>>,
    task: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Takes a port of loopback, and refuses whoever connects.
    ///
    /// # Errors
    /// When there is none.
    pub fn closed() -> Result<Self> {
        let port = TcpSocket::new_v4()?;
        port.bind(SocketAddr::from(([127, 0, 0, 1], 0))).context("no port is free")?;
        Ok(Self { address: port.local_addr()?, port: Some(port), events: Arc::default(), task: None })
    }

    /// Where events are to be sent.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// From now on requests are taken.
    ///
    /// # Errors
    /// When the port cannot be listened on.
    pub fn open(&mut self) -> Result<()> {
        let port = self.port.take().context("it is open already")?;
        let listener = port.listen(64).context("cannot listen")?;
        self.task = Some(tokio::spawn(accept(listener, Arc::clone(&self.events))));
        Ok(())
    }

    /// The events so far, in the order in which they came.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn accept(listener: TcpListener, events: Arc<Mutex<Vec<Value>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let events = Arc::clone(&events);
        // A connection ends by the host; what is wrong with a request shows as an event that is missing.
        tokio::spawn(async move { serve(stream, &events).await });
    }
}

async fn serve(stream: TcpStream, events: &Mutex<Vec<Value>>) -> Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse()?,
                None if line.trim_end().is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; usize::min(length, BODY_MAX_BYTES)];
        stream.read_exact(&mut body).await?;
        events.lock().unwrap_or_else(PoisonError::into_inner).push(serde_json::from_slice(&body)?);
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
    }
}
