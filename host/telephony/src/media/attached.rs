//! What the owner of a connection holds, and the state that it shares with the media thread.

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Context;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use voxtra_core::media::MediaLink;

/// How long [`AttachedMedia::close`] waits for a media thread: far more than closing takes.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// Told what happens on a connection. Called on the media thread: must not block.
pub trait MediaEvents: Send + Sync {
    /// The connection is gone though nobody closed it. Once at most, after the socket is closed.
    fn lost(&self);

    /// The other side pressed a key: `0`-`9`, `*`, `#`, `A`-`D`; for so many milliseconds, 0 when that is not said.
    fn dtmf(&self, digit: char, duration_ms: u32);
}

/// A connection that a media thread moves the audio of. Dropping it closes the connection too, without waiting.
pub struct AttachedMedia {
    /// Its audio. Once the connection is closed, what was heard before can still be read, and nothing can be said.
    pub link: MediaLink,
    state: Arc<State>,
    /// Its sender lives as long as the socket.
    closed: watch::Receiver<()>,
}

impl AttachedMedia {
    pub(super) fn new(link: MediaLink, state: Arc<State>, closed: watch::Receiver<()>) -> Self {
        Self { link, state, closed }
    }

    /// Says the end to the other side, closes the socket, and returns when it is closed: usually within a millisecond,
    /// never later than a second. Can be called again, and by several at once.
    pub async fn close(&self) {
        self.state.ask_to_close();
        let mut closed = self.closed.clone();
        let gone = async { while closed.changed().await.is_ok() {} };
        if timeout(CLOSE_LIMIT, gone).await.is_err() {
            tracing::error!("a media connection did not close within a second: its media thread hangs");
        }
    }

    /// Whether the socket is closed.
    pub fn is_closed(&self) -> bool {
        self.closed.has_changed().is_err()
    }
}

impl Drop for AttachedMedia {
    fn drop(&mut self) {
        self.state.ask_to_close();
    }
}

impl fmt::Debug for AttachedMedia {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachedMedia").field("link", &self.link).field("closed", &self.is_closed()).finish()
    }
}

/// Time since the media threads were started: what the pacers count in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(super) fn now(self) -> Duration {
        self.start.elapsed()
    }
}

/// Nobody wants it closed.
const OPEN: u8 = 0;
/// Its owner wants it closed.
const ASKED: u8 = 1;
/// It failed first.
const LOST: u8 = 2;

/// What ends a connection, and when its tick has something to do.
#[derive(Debug)]
pub(super) struct State {
    phase: AtomicU8,
    /// Why sending failed; found by whoever sent.
    failure: Mutex<Option<String>>,
    failed: AtomicU8,
    /// The connection's task.
    task: AtomicWaker,
    due_ns: AtomicU64,
}

/// Why a connection's task stops.
#[derive(Debug)]
pub(super) enum End {
    /// Its owner asked for it.
    Asked,
    /// The other side did it, or it failed; the sentence says how.
    Lost(String),
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            phase: AtomicU8::new(OPEN),
            failure: Mutex::new(None),
            failed: AtomicU8::new(0),
            task: AtomicWaker::new(),
            due_ns: AtomicU64::new(0),
        }
    }

    fn ask_to_close(&self) {
        if self.phase.compare_exchange(OPEN, ASKED, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.task.wake();
        }
    }

    /// Whether the end was not asked for: whoever gets `true` tells it.
    pub(super) fn lose(&self) -> bool {
        self.phase.compare_exchange(OPEN, LOST, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Sending has failed: the task is to end it.
    pub(super) fn fail(&self, reason: String) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
        self.failed.store(1, Ordering::Release);
        self.task.wake();
    }

    /// Whether the task has to stop; if not, it is woken when it has to.
    pub(super) fn end(&self, cx: &Context<'_>) -> Option<End> {
        self.task.register(cx.waker());
        if self.phase.load(Ordering::Acquire) == ASKED {
            return Some(End::Asked);
        }
        if self.failed.load(Ordering::Acquire) == 0 {
            return None;
        }
        let reason = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(End::Lost(reason.unwrap_or_default()))
    }

    /// Wakes the task.
    pub(super) fn wake(&self) {
        self.task.wake();
    }

    /// When the next tick has something to do here.
    pub(super) fn set_due(&self, due: Duration) {
        self.due_ns.store(u64::try_from(due.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn is_due(&self, now: Duration) -> bool {
        u128::from(self.due_ns.load(Ordering::Relaxed)) <= now.as_nanos()
    }
}
