//! The events that wait for a handler: bounded, the oldest go first, the end never goes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use voxtra_core::verbs::HandlerEvent;
use voxtra_core::{CallError, EndReason};

/// How many events wait at most; of more, the oldest go.
const MAX_WAITING: usize = 256;

/// More tasks than this never wait at once; the one that waits longest is asked to look again.
const MAX_WAKERS: usize = 4;

/// See the module. The owner task writes, the handler reads.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<HandlerEvent>,
    ended: Option<EndReason>,
    /// The end was read: nothing ever comes after it.
    drained: bool,
    wakers: Vec<Waker>,
    upgrade: Upgrade,
}

/// Whether a new version waits for the call. It is no event among the others: it may be withdrawn, and is never dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Upgrade {
    #[default]
    None,
    Ready,
    /// The handler knows.
    Heard,
}

impl Mailbox {
    /// Adds an event. Returns whether an older one had to go for it.
    pub(crate) fn push(&self, event: HandlerEvent) -> bool {
        let mut inner = self.inner();
        if inner.ended.is_some() {
            return false;
        }
        let full = inner.waiting.len() >= MAX_WAITING;
        if full {
            inner.waiting.pop_front();
        }
        inner.waiting.push_back(event);
        wake(inner);
        full
    }

    /// Adds the last event; only the first end counts.
    pub(crate) fn end(&self, reason: EndReason) {
        let mut inner = self.inner();
        inner.ended.get_or_insert(reason);
        if inner.upgrade == Upgrade::Ready {
            inner.upgrade = Upgrade::None;
        }
        wake(inner);
    }

    /// The next event; after the end, that there is none.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Result<HandlerEvent, CallError>> {
        let mut inner = self.inner();
        if inner.upgrade == Upgrade::Ready {
            inner.upgrade = Upgrade::Heard;
            return Poll::Ready(Ok(HandlerEvent::UpgradeReady));
        }
        if let Some(event) = inner.waiting.pop_front() {
            return Poll::Ready(Ok(event));
        }
        if inner.drained {
            return Poll::Ready(Err(CallError::HungUp));
        }
        if let Some(reason) = inner.ended.clone() {
            inner.drained = true;
            return Poll::Ready(Ok(HandlerEvent::Ended(reason)));
        }
        inner.wait(cx);
        Poll::Pending
    }

    /// Ready when [`Mailbox::poll_next`] would be; takes nothing.
    pub(crate) fn poll_waiting(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.inner();
        if !inner.waiting.is_empty() || inner.ended.is_some() || inner.upgrade == Upgrade::Ready {
            return Poll::Ready(());
        }
        inner.wait(cx);
        Poll::Pending
    }

    /// A new version waits. One that the handler has heard of already is not told again.
    pub(crate) fn offer_upgrade(&self) {
        let mut inner = self.inner();
        if inner.upgrade == Upgrade::None && inner.ended.is_none() {
            inner.upgrade = Upgrade::Ready;
            wake(inner);
        }
    }

    /// None waits any more. A handler that has heard of it may return all the same.
    pub(crate) fn withdraw_upgrade(&self) {
        let mut inner = self.inner();
        if inner.upgrade == Upgrade::Ready {
            inner.upgrade = Upgrade::None;
        }
    }

    /// The handler has returned for it: of the next one it is told again.
    pub(crate) fn forget_upgrade(&self) {
        self.inner().upgrade = Upgrade::None;
    }

    /// Whether one waits; then the handler has heard of it.
    pub(crate) fn hear_of_upgrade(&self) -> bool {
        let mut inner = self.inner();
        if inner.upgrade == Upgrade::Ready {
            inner.upgrade = Upgrade::Heard;
        }
        inner.upgrade == Upgrade::Heard
    }

    /// Whether one waits that the handler has not heard of.
    pub(crate) fn has_unheard_upgrade(&self) -> bool {
        self.inner().upgrade == Upgrade::Ready
    }

    /// Whether the handler has heard of one and has not returned for it yet.
    pub(crate) fn heard_of_upgrade(&self) -> bool {
        self.inner().upgrade == Upgrade::Heard
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn wait(&mut self, cx: &Context<'_>) {
        if self.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            return;
        }
        if self.wakers.len() >= MAX_WAKERS {
            self.wakers.remove(0).wake();
        }
        self.wakers.push(cx.waker().clone());
    }
}

/// Not under the lock: a woken task may run at once.
fn wake(mut inner: MutexGuard<'_, Inner>) {
    let wakers = std::mem::take(&mut inner.wakers);
    drop(inner);
    wakers.into_iter().for_each(Waker::wake);
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use voxtra_core::verbs::Dtmf;

    use super::*;

    fn key(n: usize) -> HandlerEvent {
        HandlerEvent::Dtmf(Dtmf { digit: '1', duration_ms: u32::try_from(n).unwrap_or_default() })
    }

    fn now(mailbox: &Mailbox) -> Poll<Result<HandlerEvent, CallError>> {
        mailbox.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn the_oldest_go_when_it_is_full_and_the_end_never_does() {
        let mailbox = Mailbox::default();
        let dropped = (0..300).filter(|n| mailbox.push(key(*n))).count();
        mailbox.end(EndReason::CallerHungUp);
        assert_eq!(dropped, 300 - MAX_WAITING);
        for n in dropped..300 {
            assert_eq!(now(&mailbox), Poll::Ready(Ok(key(n))));
        }
        assert_eq!(now(&mailbox), Poll::Ready(Ok(HandlerEvent::Ended(EndReason::CallerHungUp))));
    }

    #[test]
    fn after_the_end_nothing_comes_and_nobody_waits() {
        let mailbox = Mailbox::default();
        mailbox.end(EndReason::CallerHungUp);
        mailbox.end(EndReason::MediaLost);
        assert!(!mailbox.push(HandlerEvent::Answered));
        assert_eq!(now(&mailbox), Poll::Ready(Ok(HandlerEvent::Ended(EndReason::CallerHungUp))));
        assert_eq!(now(&mailbox), Poll::Ready(Err(CallError::HungUp)));
        assert_eq!(mailbox.poll_waiting(&mut Context::from_waker(Waker::noop())), Poll::Ready(()));
    }

    #[tokio::test]
    async fn a_reader_and_a_poller_are_both_woken() {
        let mailbox = Arc::new(Mailbox::default());
        let (reader, poller) = (Arc::clone(&mailbox), Arc::clone(&mailbox));
        let read = tokio::spawn(async move { poll_fn(|cx| reader.poll_next(cx)).await });
        let polled = tokio::spawn(async move { poll_fn(|cx| poller.poll_waiting(cx)).await });
        tokio::task::yield_now().await;
        mailbox.end(EndReason::HostStopping);
        assert!(polled.await.is_ok());
        assert_eq!(read.await.ok(), Some(Ok(HandlerEvent::Ended(EndReason::HostStopping))));
    }
}
