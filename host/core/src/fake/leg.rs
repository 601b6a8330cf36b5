//! A leg that goes nowhere: it keeps what was asked of it, does what it was told to do with it, and reports what the
//! test says has happened. It knows no clock.

use std::collections::HashMap;
use std::future::{pending, ready};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{FakeAudio, FakeExchange, FakeSnoop};
use crate::BoxFuture;
use crate::call::{Direction, HangupCause};
use crate::error::CallError;
use crate::ids::{CallId, PlaybackId, RecordingId};
use crate::media::MediaLink;
use crate::telephony::{Leg, LegEvent, LegEvents, NewLeg, PbxRecording, Snoop};
use crate::verbs::{AnsweredBy, DialplanPlace, SnoopOptions};

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
    /// [`Leg::ring`]
    Ring,
    /// [`Leg::hold`]
    Hold(String),
    /// [`Leg::unhold`]
    Unhold,
    /// [`Leg::set_variable`]
    SetVariable(String, String),
    /// [`Leg::get_variable`]
    GetVariable(String),
    /// [`Leg::transfer_to_queue`]
    TransferToQueue(String, Vec<(String, String)>),
    /// [`Leg::continue_in_dialplan`]
    ContinueInDialplan(DialplanPlace),
    /// [`Leg::start_recording`]
    StartRecording(PbxRecording),
    /// [`Leg::pause_recording`]
    PauseRecording(bool),
    /// [`Leg::stop_recording`]
    StopRecording,
    /// [`Leg::snoop`]
    Snoop(SnoopOptions),
    /// [`Leg::detect_machine`]
    DetectMachine,
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
    /// [`Leg::ring`]
    Ring,
    /// [`Leg::hold`]
    Hold,
    /// [`Leg::unhold`]
    Unhold,
    /// [`Leg::set_variable`]
    SetVariable,
    /// [`Leg::get_variable`]
    GetVariable,
    /// [`Leg::transfer_to_queue`]
    TransferToQueue,
    /// [`Leg::continue_in_dialplan`]
    ContinueInDialplan,
    /// [`Leg::start_recording`]
    StartRecording,
    /// [`Leg::pause_recording`]
    PauseRecording,
    /// [`Leg::stop_recording`]
    StopRecording,
    /// [`Leg::snoop`]
    Snoop,
    /// [`Leg::detect_machine`]
    DetectMachine,
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
    variables: HashMap<String, String>,
    answered_by: Option<AnsweredBy>,
    snoops: Vec<Arc<FakeSnoop>>,
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
            exchange: FakeExchange::new(),
        }
    }

    /// This leg as [`FakeLeg::incoming`], at this exchange.
    pub fn incoming_at(self: &Arc<Self>, id: &str, exchange: &Arc<FakeExchange>) -> NewLeg {
        NewLeg { exchange: Arc::<FakeExchange>::clone(exchange), ..self.incoming(id) }
    }

    /// What [`Leg::detect_machine`] finds; [`AnsweredBy::NotSure`] when nothing was set.
    pub fn set_answered_by(&self, who: AnsweredBy) {
        self.inner().answered_by = Some(who);
    }

    /// The snoops that were made, in order.
    pub fn snoops(&self) -> Vec<Arc<FakeSnoop>> {
        self.inner().snoops.clone()
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

    fn ring(&self) -> BoxFuture<'_, Result<(), CallError>> {
        self.asked(VerbKind::Ring, LegVerb::Ring, || ())
    }

    fn hold<'a>(&'a self, music_class: &'a str) -> BoxFuture<'a, Result<(), CallError>> {
        self.asked(VerbKind::Hold, LegVerb::Hold(music_class.to_owned()), || ())
    }

    fn unhold(&self) -> BoxFuture<'_, Result<(), CallError>> {
        self.asked(VerbKind::Unhold, LegVerb::Unhold, || ())
    }

    fn set_variable<'a>(&'a self, name: &'a str, value: &'a str) -> BoxFuture<'a, Result<(), CallError>> {
        self.asked(VerbKind::SetVariable, LegVerb::SetVariable(name.to_owned(), value.to_owned()), || {
            self.inner().variables.insert(name.to_owned(), value.to_owned());
        })
    }

    fn get_variable<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<String>, CallError>> {
        self.asked(VerbKind::GetVariable, LegVerb::GetVariable(name.to_owned()), || {
            self.inner().variables.get(name).cloned()
        })
    }

    fn transfer_to_queue<'a>(
        &'a self,
        queue: &'a str,
        variables: &'a [(String, String)],
    ) -> BoxFuture<'a, Result<(), CallError>> {
        let verb = LegVerb::TransferToQueue(queue.to_owned(), variables.to_vec());
        self.asked(VerbKind::TransferToQueue, verb, || ())
    }

    fn continue_in_dialplan<'a>(&'a self, place: &'a DialplanPlace) -> BoxFuture<'a, Result<(), CallError>> {
        self.asked(VerbKind::ContinueInDialplan, LegVerb::ContinueInDialplan(place.clone()), || ())
    }

    fn start_recording<'a>(&'a self, recording: &'a PbxRecording) -> BoxFuture<'a, Result<(), CallError>> {
        self.asked(VerbKind::StartRecording, LegVerb::StartRecording(recording.clone()), || ())
    }

    fn pause_recording<'a>(&'a self, _id: &'a RecordingId, paused: bool) -> BoxFuture<'a, Result<(), CallError>> {
        self.asked(VerbKind::PauseRecording, LegVerb::PauseRecording(paused), || ())
    }

    fn stop_recording<'a>(&'a self, id: &'a RecordingId) -> BoxFuture<'a, Result<(), CallError>> {
        self.asked(VerbKind::StopRecording, LegVerb::StopRecording, || {
            self.deliver(LegEvent::RecordingFinished { id: id.clone(), outcome: Ok(1_000) });
        })
    }

    fn snoop(&self, options: SnoopOptions) -> BoxFuture<'_, Result<Arc<dyn Snoop>, CallError>> {
        self.asked(VerbKind::Snoop, LegVerb::Snoop(options), || {
            let mut inner = self.inner();
            let snoop = FakeSnoop::new(&format!("snoop-{}", inner.snoops.len() + 1));
            inner.snoops.push(Arc::clone(&snoop));
            snoop as Arc<dyn Snoop>
        })
    }

    fn detect_machine(&self) -> BoxFuture<'_, Result<AnsweredBy, CallError>> {
        self.asked(VerbKind::DetectMachine, LegVerb::DetectMachine, || {
            self.inner().answered_by.unwrap_or(AnsweredBy::NotSure)
        })
    }

    fn open_media(&self, rate_hz: u32) -> BoxFuture<'_, Result<MediaLink, CallError>> {
        self.asked(VerbKind::OpenMedia, LegVerb::OpenMedia(rate_hz), || {
            let audio = Arc::new(FakeAudio::default());
            self.inner().audio = Some(Arc::clone(&audio));
            audio.link(rate_hz)
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
