//! Requests to Asterisk past the host: what is left there, and whether it still answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use voxtra_test_support::Asterisk;

/// No request may take this long; one that does is stuck.
pub const STUCK_AFTER: Duration = Duration::from_secs(2);

/// ARI's REST interface, one connection a request.
#[derive(Debug, Clone)]
pub struct Ari {
    host: String,
    key: String,
}

impl Ari {
    /// Of this Asterisk.
    #[must_use]
    pub fn of(pbx: &Asterisk) -> Self {
        let host = pbx.ari_url().trim_start_matches("http://").to_owned();
        Self { host, key: format!("{}:{}", pbx.user(), pbx.password()) }
    }

    /// GETs a resource, such as `bridges`, or `channels/ID/variable?variable=NAME`.
    ///
    /// # Errors
    /// When it takes longer than [`STUCK_AFTER`], or the answer is no 200 with JSON.
    pub async fn get(&self, resource: &str) -> Result<Value> {
        self.request("GET", resource).await
    }

    /// Places a call past the host: from an endpoint such as `Local/100@stasis-APP` to an extension of a context.
    ///
    /// # Errors
    /// As [`Ari::get`].
    pub async fn originate(&self, endpoint: &str, extension: &str, context: &str) -> Result<()> {
        let to = format!("channels?endpoint={endpoint}&extension={extension}&context={context}&priority=1");
        self.request("POST", &to).await.map(drop)
    }

    async fn request(&self, method: &str, resource: &str) -> Result<Value> {
        let answer = timeout(STUCK_AFTER, self.ask(method, resource)).await;
        let answer = answer.with_context(|| format!("{method} {resource} is stuck for {STUCK_AFTER:?}"))??;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer without an end of its head")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{method} {resource}: {}", head.lines().next().unwrap_or(""));
        serde_json::from_str(body).with_context(|| format!("{method} {resource}: {body}"))
    }

    /// Where Asterisk listens for the audio of every SIP call that is up.
    ///
    /// # Errors
    /// As [`Ari::get`]. A call that goes meanwhile is left out.
    pub async fn audio_ports(&self) -> Result<Vec<(String, SocketAddr)>> {
        let channels = self.get("channels").await?;
        let mut ports = Vec::new();
        for channel in channels.as_array().into_iter().flatten() {
            let text = |key: &str| channel.get(key).and_then(Value::as_str).unwrap_or("");
            if !text("name").starts_with("PJSIP/") {
                continue;
            }
            let variable = format!("channels/{}/variable?variable=CHANNEL(rtp,src)", text("id"));
            let Ok(answer) = self.get(&variable).await else { continue };
            let address = answer.get("value").and_then(Value::as_str).and_then(|value| value.parse().ok());
            ports.extend(address.map(|address| (text("id").to_owned(), address)));
        }
        Ok(ports)
    }

    async fn ask(&self, method: &str, resource: &str) -> Result<String> {
        let mut connection = TcpStream::connect(&self.host).await?;
        let (host, key) = (&self.host, &self.key);
        let separator = if resource.contains('?') { '&' } else { '?' };
        let request = format!(
            "{method} /ari/{resource}{separator}api_key={key} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        connection.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

/// Asks for `asterisk/ping` all along, and times every answer.
#[derive(Debug)]
pub struct Probe {
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counts {
    done: AtomicBool,
    asked: AtomicU64,
    failed: AtomicU64,
    slowest_us: AtomicU64,
    total_us: AtomicU64,
}

/// What a [`Probe`] has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answers {
    /// Requests made.
    pub asked: u64,
    /// Of those, answered with an error or not within [`STUCK_AFTER`].
    pub failed: u64,
    /// The mean time of all.
    pub mean: Duration,
    /// The longest.
    pub slowest: Duration,
}

impl Probe {
    /// Starts asking, ten times a second.
    #[must_use]
    pub fn start(ari: Ari) -> Self {
        let counts = Arc::<Counts>::default();
        let task = tokio::spawn(ask_all_along(ari, Arc::clone(&counts)));
        Self { counts, task }
    }

    /// Ends it.
    ///
    /// # Errors
    /// When its task was lost.
    pub async fn finish(mut self) -> Result<Answers> {
        self.counts.done.store(true, Ordering::Relaxed);
        (&mut self.task).await?;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let asked = count(&self.counts.asked);
        Ok(Answers {
            asked,
            failed: count(&self.counts.failed),
            mean: Duration::from_micros(count(&self.counts.total_us) / asked.max(1)),
            slowest: Duration::from_micros(count(&self.counts.slowest_us)),
        })
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ask_all_along(ari: Ari, counts: Arc<Counts>) {
    const EVERY: Duration = Duration::from_millis(100);
    while !counts.done.load(Ordering::Relaxed) {
        let began = Instant::now();
        if let Err(e) = ari.get("asterisk/ping").await {
            eprintln!("the probe: {e:#}");
            counts.failed.fetch_add(1, Ordering::Relaxed);
        }
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        counts.asked.fetch_add(1, Ordering::Relaxed);
        counts.total_us.fetch_add(took_us, Ordering::Relaxed);
        counts.slowest_us.fetch_max(took_us, Ordering::Relaxed);
        sleep(EVERY).await;
    }
}
