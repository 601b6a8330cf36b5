//! How what happens outside of a call reaches its owner task: a bounded queue for what may be lost, and one place for
//! what may not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, mpsc};
use voxtra_core::telephony::LegEnd;
use voxtra_core::{LegEvent, LegEvents};

use crate::stats::Counters;

/// How many events of a leg wait at most.
pub(crate) const LEG_EVENTS_MAX: usize = 256;

/// Places that keys leave free: what a caller types never displaces the end of a prompt.
const RESERVED: usize = 64;

/// What must reach the owner. Each is a fact that stays true, so that one place for each is enough.
#[derive(Debug, Default)]
pub(crate) struct Raised {
    /// The leg is over; the first report counts.
    pub(crate) leg_ended: Option<LegEnd>,
    /// The audio is gone.
    pub(crate) media_lost: bool,
    /// Somebody outside wants the call to end; the first counts.
    pub(crate) hangup: Option<HangupBy>,
    /// The host wants the call to end after these prompts.
    pub(crate) farewell: Option<Arc<[String]>>,
    /// The handler has let go of its audio.
    pub(crate) close_audio: bool,
    /// A verb is not waited for any more.
    pub(crate) verb_dropped: bool,
    /// New calls get other versions of handlers than before.
    pub(crate) versions_changed: bool,
    /// Another version of the handler has the call.
    pub(crate) took_over: bool,
    /// Another version of the handler has the call that has placed this one.
    pub(crate) parent_went_over: bool,
}

/// Who outside wants a call to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HangupBy {
    Operator,
    /// The call that placed it, whose handler is done.
    Parent,
}

impl Raised {
    fn is_any(&self) -> bool {
        self.leg_ended.is_some()
            || self.media_lost
            || self.hangup.is_some()
            || self.farewell.is_some()
            || self.close_audio
            || self.verb_dropped
            || self.versions_changed
            || self.took_over
            || self.parent_went_over
    }
}

/// Where facts are raised for the owner.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    raised: Mutex<Raised>,
    wake: Notify,
}

impl Signals {
    /// Adds a fact and wakes the owner. Never blocks longer than another `raise` takes.
    pub(crate) fn raise(&self, fact: impl FnOnce(&mut Raised)) {
        fact(&mut self.raised.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_one();
    }

    /// What has been raised since the last time. Can be dropped at any point without losing anything.
    pub(crate) async fn next(&self) -> Raised {
        loop {
            let raised = std::mem::take(&mut *self.raised.lock().unwrap_or_else(PoisonError::into_inner));
            if raised.is_any() {
                return raised;
            }
            self.wake.notified().await;
        }
    }
}

/// Where a leg's adapter delivers.
pub(crate) struct LegInbox {
    events: mpsc::Sender<LegEvent>,
    signals: Arc<Signals>,
    counters: Arc<Counters>,
    ended: AtomicBool,
}

impl LegInbox {
    pub(crate) fn new(signals: Arc<Signals>, counters: Arc<Counters>) -> (Self, mpsc::Receiver<LegEvent>) {
        let (events, receiver) = mpsc::channel(LEG_EVENTS_MAX);
        (Self { events, signals, counters, ended: AtomicBool::new(false) }, receiver)
    }

    fn end(&self, end: LegEnd) {
        self.ended.store(true, Ordering::Relaxed);
        self.signals.raise(|raised| {
            raised.leg_ended.get_or_insert(end);
        });
    }

    fn queue(&self, event: LegEvent) {
        let reserved = matches!(event, LegEvent::Dtmf(_)) && self.events.capacity() <= RESERVED;
        if reserved || self.events.try_send(event).is_err() {
            // Of a call that is over, nothing is wanted.
            if !self.events.is_closed() {
                self.counters.leg_event_dropped();
            }
        }
    }
}

impl LegEvents for LegInbox {
    fn deliver(&self, event: LegEvent) {
        match event {
            LegEvent::Ended(end) => self.end(end),
            LegEvent::MediaLost => self.signals.raise(|raised| raised.media_lost = true),
            event => self.queue(event),
        }
    }
}

impl Drop for LegInbox {
    fn drop(&mut self) {
        if !self.ended.load(Ordering::Relaxed) {
            self.end(LegEnd::Failed("the telephony adapter has let go of the call".to_owned()));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use voxtra_core::PlaybackId;
    use voxtra_core::verbs::Dtmf;

    use super::*;

    fn inbox() -> (LegInbox, mpsc::Receiver<LegEvent>, Arc<Signals>, Arc<Counters>) {
        let (signals, counters) = (Arc::<Signals>::default(), Arc::<Counters>::default());
        let (inbox, events) = LegInbox::new(Arc::clone(&signals), Arc::clone(&counters));
        (inbox, events, signals, counters)
    }

    #[tokio::test]
    async fn keys_are_dropped_before_anything_else_and_the_end_never_is() {
        let (inbox, mut events, signals, counters) = inbox();
        for _ in 0..1_000 {
            inbox.deliver(LegEvent::Dtmf(Dtmf { digit: '1', duration_ms: 0 }));
        }
        let finished = LegEvent::PlaybackFinished { id: PlaybackId::from("p"), outcome: Ok(()) };
        inbox.deliver(finished.clone());
        inbox.deliver(LegEvent::Ended(LegEnd::HungUp));
        inbox.deliver(LegEvent::Ended(LegEnd::Transferred));
        assert_eq!(signals.next().await.leg_ended, Some(LegEnd::HungUp));
        let mut last = None;
        while let Ok(event) = events.try_recv() {
            last = Some(event);
        }
        assert_eq!(last, Some(finished));
        assert_eq!(counters.snapshot().dropped_leg_events, 1_000 - (LEG_EVENTS_MAX - RESERVED) as u64);
    }

    #[tokio::test]
    async fn an_adapter_that_vanishes_ends_the_call() {
        let (inbox, _events, signals, _counters) = inbox();
        drop(inbox);
        assert!(matches!(signals.next().await.leg_ended, Some(LegEnd::Failed(_))));
    }
}
