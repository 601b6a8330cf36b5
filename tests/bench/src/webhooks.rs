//! Events a second through the outbox to a receiver: kept on disk, signed, sent, taken, removed. Beside it the same
//! requests from the same client without the outbox.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::time::sleep;
use voxtra_core::event::{Event, EventSink, EventType};
use voxtra_core::wire;
use voxtra_services::database::Database;
use voxtra_services::webhooks::{OutboxOptions, Secret, WebhookSink, WebhookTarget, http_client};

/// Calls that the events are spread over: of one call they go one after the other.
const CALLS: usize = 100;

const EVENTS: usize = 30_000;

/// Requests at one time.
const CONCURRENCY: usize = 16;

/// Events that may wait: calls do not make them faster than they can be kept.
const IN_FLIGHT: u64 = 8_000;

/// Longer than any machine needs.
const LIMIT: Duration = Duration::from_secs(120);

/// Both ways, events a second.
#[derive(Debug)]
pub(crate) struct Webhooks {
    pub(crate) host_per_second: u64,
    pub(crate) bare_per_second: u64,
}

pub(crate) fn measure() -> Result<Webhooks> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let receiver = tokio::spawn(serve(listener));
        let host_per_second = through_the_outbox(&url).await?;
        let bare_per_second = straight(&url).await?;
        receiver.abort();
        Ok(Webhooks { host_per_second, bare_per_second })
    })
}

fn event(n: usize) -> Event {
    let data = Map::from_iter([("digit".to_owned(), json!("1"))]);
    let call = format!("1700000000.{}", n % CALLS);
    Event::new(format!("{n:032x}"), EventType::DtmfReceived, "acme".into(), call.as_str().into(), data)
}

async fn through_the_outbox(url: &str) -> Result<u64> {
    let dir = std::env::temp_dir().join(format!("voxtra-bench-{}", uuid::Uuid::new_v4()));
    let database = Database::open(&dir.join("host.db"))?;
    let secret = Some(Secret::new("secret"));
    let target = WebhookTarget { concurrency: CONCURRENCY, secret, ..WebhookTarget::new("a", url)? };
    let options = OutboxOptions::default();
    let sink = WebhookSink::start(database, vec![target], http_client()?, options, &Handle::current()).await?;
    let began = Instant::now();
    for n in 0..EVENTS {
        sink.emit(event(n));
        if n % 1_000 == 999 {
            while (n as u64).saturating_sub(sink.stats().delivered) > IN_FLIGHT {
                sleep(Duration::from_millis(1)).await;
                ensure!(began.elapsed() < LIMIT, "the outbox does not get on: {:?}", sink.stats());
            }
        }
    }
    while sink.stats().delivered < EVENTS as u64 {
        ensure!(sink.stats().lost == 0 && began.elapsed() < LIMIT, "events are missing: {:?}", sink.stats());
        sleep(Duration::from_millis(1)).await;
    }
    let rate = per_second(began);
    sink.stop(Duration::from_secs(5)).await;
    std::fs::remove_dir_all(dir)?;
    Ok(rate)
}

/// As many requests at one time, nothing kept, nothing signed.
async fn straight(url: &str) -> Result<u64> {
    let client = http_client()?;
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let workers: Vec<_> = (0..CONCURRENCY)
        .map(|_| {
            let (client, next, url) = (client.clone(), Arc::clone(&next), url.to_owned());
            tokio::spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= EVENTS {
                        return Ok::<_, anyhow::Error>(());
                    }
                    let body = wire::event_json(&event(n)).to_string();
                    let request = client.post(&url).header("Content-Type", "application/json").body(body);
                    request.send().await?.error_for_status()?.bytes().await?;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await??;
    }
    Ok(per_second(began))
}

fn per_second(began: Instant) -> u64 {
    (EVENTS as f64 / began.elapsed().as_secs_f64()).round() as u64
}

/// Takes everything that is sent there.
pub(crate) async fn serve(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(take(stream));
    }
}

/// Answers `200` with a few bytes to everything.
async fn take(mut stream: TcpStream) -> Result<()> {
    let mut have = Vec::new();
    loop {
        let Some(end) = have.windows(4).position(|four| four == b"\r\n\r\n") else {
            if stream.read_buf(&mut have).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let head = String::from_utf8_lossy(have.get(..end).unwrap_or_default()).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let whole = end + 4 + length.context("a request without a length")?.trim().parse::<usize>()?;
        while have.len() < whole {
            ensure!(stream.read_buf(&mut have).await? > 0, "a request is cut off");
        }
        have.drain(..whole);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"ok\":true}").await?;
    }
}
