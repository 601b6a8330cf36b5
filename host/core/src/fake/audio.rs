//! Audio that goes nowhere.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::media::{AudioSink, AudioSource, Frame, LinkClosed, MediaLink};

/// The audio of a [`FakeLeg`](super::FakeLeg): what a test lets it hear, and it keeps what is said.
#[derive(Debug, Default)]
pub struct FakeAudio {
    inner: Mutex<AudioInner>,
}

#[derive(Debug, Default)]
struct AudioInner {
    closed: bool,
    said: Vec<Frame>,
    heard: VecDeque<Frame>,
    waker: Option<Waker>,
}

impl FakeAudio {
    /// As an open link.
    pub fn link(self: &Arc<Self>, rate_hz: u32) -> MediaLink {
        MediaLink { rate_hz, source: Arc::<Self>::clone(self), sink: Arc::<Self>::clone(self) }
    }

    /// The other side says something.
    pub fn hear(&self, frame: Frame) {
        let waker = {
            let mut inner = self.inner();
            inner.heard.push_back(frame);
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The link is gone.
    pub fn close(&self) {
        let waker = {
            let mut inner = self.inner();
            inner.closed = true;
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether it is gone.
    pub fn is_closed(&self) -> bool {
        self.inner().closed
    }

    /// The frames that were said.
    pub fn said(&self) -> Vec<Frame> {
        self.inner().said.clone()
    }

    fn inner(&self) -> MutexGuard<'_, AudioInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AudioSource for FakeAudio {
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        self.poll_readable(cx).map(|()| self.inner().heard.pop_front())
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.inner();
        if inner.closed || !inner.heard.is_empty() {
            return Poll::Ready(());
        }
        inner.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn dropped_frames(&self) -> u64 {
        0
    }
}

impl AudioSink for FakeAudio {
    fn poll_ready(&self, _cx: &mut Context<'_>) -> Poll<Result<(), LinkClosed>> {
        Poll::Ready(if self.inner().closed { Err(LinkClosed) } else { Ok(()) })
    }

    fn push(&self, frame: Frame) -> Result<(), LinkClosed> {
        let mut inner = self.inner();
        if inner.closed {
            return Err(LinkClosed);
        }
        inner.said.push(frame);
        Ok(())
    }

    fn clear(&self) {}

    fn queued_ms(&self) -> u32 {
        0
    }
}
