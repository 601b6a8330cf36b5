//! The media engine against peers that speak the plain protocols over loopback TCP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod audiosocket;
mod websocket;

use std::future::poll_fn;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use voxtra_core::media::{Frame, MediaLink, frame_bytes};

use super::MediaEvents;

/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Heard {
    lost: AtomicU32,
    keys: Mutex<Vec<(char, u32)>>,
}

impl MediaEvents for Heard {
    fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    fn dtmf(&self, digit: char, duration_ms: u32) {
        self.keys.lock().unwrap().push((digit, duration_ms));
    }
}

impl Heard {
    fn lost(&self) -> u32 {
        self.lost.load(Ordering::Relaxed)
    }

    async fn until_lost(&self) {
        within(async {
            while self.lost() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        // Once, not twice.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(self.lost(), 1);
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("it does not come to an end")
}

fn frame(value: u8, rate_hz: u32) -> Frame {
    Frame::new(Bytes::from(vec![value; frame_bytes(rate_hz)]))
}

async fn hear(link: &MediaLink) -> Option<Frame> {
    within(poll_fn(|cx| link.source.poll_frame(cx))).await
}

/// Says a frame as a well-behaved writer does: when there is room.
async fn say(link: &MediaLink, frame: Frame) {
    within(poll_fn(|cx| link.sink.poll_ready(cx))).await.unwrap();
    link.sink.push(frame).unwrap();
}

/// Says back what it hears, until the end.
async fn echo(link: MediaLink) {
    while let Some(frame) = poll_fn(|cx| link.source.poll_frame(cx)).await {
        if link.sink.push(frame).is_err() {
            return;
        }
    }
}
