//! A leg that goes nowhere, for tests of whoever drives legs: it keeps what was asked of it, does what it was told to
//! do with it, and reports what the test says has happened. It knows no clock.

use std::collections::HashMap;
use std::future::{pending, ready};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::BoxFuture;
use crate::call::{Direction, HangupCause};
use crate::error::CallError;
use crate::ids::{CallId, PlaybackId};
use crate::media::{AudioSink, AudioSource, Frame, LinkClosed, MediaLink};
use crate::telephony::{Leg, LegEvent, LegEvents, NewLeg};

/// What was asked of a [`FakeLeg`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LegVerb {
    /// [`Leg::answer`]
    Answer,
    /// [`Leg::play`]
    Play(Vec<String>),
    /// [`Leg::stop_playback`]
    StopPlayback,
    /// [`Leg::send_dtmf`]
    SendDtmf(String),
    /// [`Leg::transfer`]
    Transfer(String),
    /// [`Leg::open_media`]
    OpenMedia(u32),
    /// [`Leg::close_media`]
    CloseMedia,
    /// [`Leg::end`]
    End(HangupCause),
}

/// A kind of verb, to say what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VerbKind {
    /// [`Leg::answer`]
    Answer,
    /// [`Leg::play`]
    Play,
    /// [`Leg::stop_playback`]
    StopPlayback,
    /// [`Leg::send_dtmf`]
    SendDtmf,
    /// [`Leg::transfer`]
    Transfer,
    /// [`Leg::open_media`]
    OpenMedia,
    /// [`Leg::end`]
    End,
}

/// What becomes of a verb that is not simply done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It gives this error.
    Fails(CallError),
    /// It never returns.
    Hangs,
}

/// Called when a playing begins.
type OnPlay = Arc<dyn Fn(&PlaybackId, &[String]) + Send + Sync>;

/// See the module.
#[derive(Default)]
pub struct FakeLeg {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    events: Option<Arc<dyn LegEvents>>,
    verbs: Vec<LegVerb>,
    fates: HashMap<VerbKind, Fate>,
    playing: Vec<PlaybackId>,
    on_play: Option<OnPlay>,
    audio: Option<Arc<FakeAudio>>,
}

impl FakeLeg {
    /// A leg whose every verb succeeds at once, and whose prompts play until [`FakeLeg::finish_prompt`].
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// This leg as one that comes in from `100`, dialling `200`, not answered, at the application `voxtra`.
    pub fn incoming(self: &Arc<Self>, id: &str) -> NewLeg {
        NewLeg {
            id: CallId::from(id),
            app: "voxtra".to_owned(),
            caller_id: "100".to_owned(),
            called_number: "200".to_owned(),
            direction: Direction::Inbound,
            answered: false,
            leg: Arc::<Self>::clone(self),
        }
    }

    /// Where [`FakeLeg::deliver`] goes.
    pub fn connect(&self, events: Arc<dyn LegEvents>) {
        self.inner().events = Some(events);
    }

    /// Lets go of what [`FakeLeg::connect`] gave, as an adapter does when a leg is over.
    pub fn disconnect(&self) {
        let events = self.inner().events.take();
        drop(events);
    }

    /// From now on this becomes of a verb.
    pub fn set_fate(&self, verb: VerbKind, fate: Fate) {
        self.inner().fates.insert(verb, fate);
    }

    /// Called whenever a playing has begun, with its id and its prompts.
    pub fn on_play(&self, called: impl Fn(&PlaybackId, &[String]) + Send + Sync + 'static) {
        self.inner().on_play = Some(Arc::new(called));
    }

    /// Reports an event of the leg.
    pub fn deliver(&self, event: LegEvent) {
        // Not under the lock: the receiver may ask the leg something.
        let events = self.inner().events.clone();
        if let Some(events) = events {
            events.deliver(event);
        }
    }

    /// The oldest playing ends so; false when nothing plays.
    pub fn finish_prompt(&self, outcome: Result<(), String>) -> bool {
        let id = {
            let mut inner = self.inner();
            if inner.playing.is_empty() {
                return false;
            }
            inner.playing.remove(0)
        };
        self.deliver(LegEvent::PlaybackFinished { id, outcome });
        true
    }

    /// This playing ends well; nothing happens when it does not play.
    pub fn finish(&self, id: &PlaybackId) {
        if self.inner().take_playing(id) {
            self.deliver(LegEvent::PlaybackFinished { id: id.clone(), outcome: Ok(()) });
        }
    }

    /// What was asked so far, in order.
    pub fn verbs(&self) -> Vec<LegVerb> {
        self.inner().verbs.clone()
    }

    /// How many verbs of this kind were asked.
    pub fn count(&self, is: impl Fn(&LegVerb) -> bool) -> usize {
        self.inner().verbs.iter().filter(|verb| is(verb)).count()
    }

    /// The audio that is open.
    pub fn audio(&self) -> Option<Arc<FakeAudio>> {
        self.inner().audio.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close_audio(&self) {
        let audio = self.inner().audio.take();
        if let Some(audio) = audio {
            audio.close();
        }
    }

    /// Keeps the verb; `done` is what it gives unless something else was set.
    fn asked<'a, T: Send + 'a>(
        &self,
        kind: VerbKind,
        verb: LegVerb,
        done: impl FnOnce() -> T,
    ) -> BoxFuture<'a, Result<T, CallError>> {
        let fate = {
            let mut inner = self.inner();
            inner.verbs.push(verb);
            inner.fates.get(&kind).cloned()
        };
        match fate {
            None => Box::pin(ready(Ok(done()))),
            Some(Fate::Fails(error)) => Box::pin(ready(Err(error))),
            Some(Fate::Hangs) => Box::pin(pending()),
        }
    }
}

impl Inner {
    fn take_playing(&mut self, id: &PlaybackId) -> bool {
        let before = self.playing.len();
        self.playing.retain(|playing| playing != id);
        self.playing.len() < before
    }
}

impl Leg for FakeLeg {
    fn answer(&self) -> BoxFuture<'_, Result<(), CallError>> {
        self.asked(VerbKind::Answer, LegVerb::Answer, || self.deliver(LegEvent::Answered))
    }

    fn play<'a>(&'a self, id: &'a PlaybackId, media: &'a [String]) -> BoxFuture<'a, Result<(), CallError>> {
        self.asked(VerbKind::Play, LegVerb::Play(media.to_vec()), || {
            let on_play = {
                let mut inner = self.inner();
                inner.playing.push(id.clone());
                inner.on_play.clone()
            };
            if let Some(on_play) = on_play {
                on_play(id, media);
            }
        })
    }

    fn stop_playback<'a>(&'a self, id: &'a PlaybackId) -> BoxFuture<'a, Result<(), CallError>> {
        self.asked(VerbKind::StopPlayback, LegVerb::StopPlayback, || self.finish(id))
    }

    fn send_dtmf<'a>(&'a self, digits: &'a str) -> BoxFuture<'a, Result<(), CallError>> {
        self.asked(VerbKind::SendDtmf, LegVerb::SendDtmf(digits.to_owned()), || ())
    }

    fn transfer<'a>(&'a self, target: &'a str) -> BoxFuture<'a, Result<(), CallError>> {
        self.asked(VerbKind::Transfer, LegVerb::Transfer(target.to_owned()), || ())
    }

    fn open_media(&self, rate_hz: u32) -> BoxFuture<'_, Result<MediaLink, CallError>> {
        self.asked(VerbKind::OpenMedia, LegVerb::OpenMedia(rate_hz), || {
            let audio = Arc::new(FakeAudio::default());
            self.inner().audio = Some(Arc::clone(&audio));
            MediaLink { rate_hz, source: Arc::clone(&audio) as Arc<dyn AudioSource>, sink: audio }
        })
    }

    fn close_media(&self) -> BoxFuture<'_, ()> {
        self.inner().verbs.push(LegVerb::CloseMedia);
        self.close_audio();
        Box::pin(ready(()))
    }

    fn end(&self, cause: HangupCause) -> BoxFuture<'_, Result<(), CallError>> {
        self.close_audio();
        self.asked(VerbKind::End, LegVerb::End(cause), || ())
    }
}

/// The audio of a [`FakeLeg`]: silent until it closes, and it swallows what is said.
#[derive(Debug, Default)]
pub struct FakeAudio {
    inner: Mutex<AudioInner>,
}

#[derive(Debug, Default)]
struct AudioInner {
    closed: bool,
    said: Vec<Frame>,
    waker: Option<Waker>,
}

impl FakeAudio {
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
        self.poll_readable(cx).map(|()| None)
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.inner();
        if inner.closed {
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
