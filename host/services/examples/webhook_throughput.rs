//! How many events a second go through the outbox to a receiver on this machine: kept on disk, sent, taken, removed.
//!
//! `cargo run --release -p voxtra-services --example webhook_throughput [EVENTS] [CONCURRENCY]`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use serde_json::{Map, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use voxtra_core::event::{Event, EventSink, EventType};
use voxtra_services::database::Database;
use voxtra_services::webhooks::{OutboxOptions, Secret, WebhookSink, WebhookTarget, http_client};

/// Calls that the events are spread over.
const CALLS: usize = 100;

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let events: usize = args.next().map_or(20_000, |text| text.parse().unwrap());
    let concurrency: usize = args.next().map_or(16, |text| text.parse().unwrap());
    let dir = std::env::temp_dir().join(format!("voxtra-throughput-{}", uuid::Uuid::new_v4()));
    let database = Database::open(&dir.join("host.db")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(take(stream));
        }
    });
    let target =
        WebhookTarget { concurrency, secret: Some(Secret::new("secret")), ..WebhookTarget::new("a", &url).unwrap() };
    let options = OutboxOptions::default();
    let client = http_client().unwrap();
    let sink = WebhookSink::start(database, vec![target], client, options, &Handle::current()).await.unwrap();
    let begun = Instant::now();
    for n in 0..events {
        let data = Map::from_iter([("digit".to_owned(), json!("1"))]);
        let call = format!("1700000000.{}", n % CALLS);
        sink.emit(Event::new(format!("{n:032x}"), EventType::DtmfReceived, "acme".into(), call.as_str().into(), data));
        // As calls do: not faster than they can be kept.
        if n % 1_000 == 999 {
            while (n as u64).saturating_sub(sink.stats().delivered) > 8_000 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    while sink.stats().delivered + sink.stats().lost < events as u64 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let per_second = events as f64 / begun.elapsed().as_secs_f64();
    println!("{}", json!({"webhook_events_per_second": per_second.round(), "lost": sink.stats().lost}));
    sink.stop(Duration::from_secs(5)).await;
    std::fs::remove_dir_all(dir).unwrap();
}

/// Answers `200` with a few bytes to everything.
async fn take(mut stream: TcpStream) {
    let mut have = Vec::new();
    loop {
        let Some(end) = have.windows(4).position(|four| four == b"\r\n\r\n") else {
            match stream.read_buf(&mut have).await {
                Ok(read) if read > 0 => continue,
                _ => return,
            }
        };
        let head = String::from_utf8_lossy(&have[..end]).to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap().trim();
        let whole = end + 4 + length.parse::<usize>().unwrap();
        while have.len() < whole {
            if stream.read_buf(&mut have).await.unwrap_or(0) == 0 {
                return;
            }
        }
        have.drain(..whole);
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"ok\":true}").await.is_err() {
            return;
        }
    }
}
