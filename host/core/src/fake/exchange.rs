//! Where fake legs are: it keeps what was asked of it. Legs that are placed here are [`FakeLeg`]s that the test answers.

use std::collections::HashMap;
use std::future::ready;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{FakeAudio, FakeLeg};
use crate::BoxFuture;
use crate::error::CallError;
use crate::ids::{BridgeId, CallId, SnoopId};
use crate::media::MediaLink;
use crate::telephony::{Bridge, Exchange, Leg, LegEvents, PlacedLeg, Snoop};

/// See the module.
#[derive(Default)]
pub struct FakeExchange {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    placed: Vec<(PlacedLeg, Arc<FakeLeg>)>,
    refuses: Option<CallError>,
    bridges: Vec<Arc<FakeBridge>>,
    stored: HashMap<String, Vec<u8>>,
}

impl FakeExchange {
    /// One without legs, named `fake`, of the application `voxtra`.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// From now on legs cannot be placed.
    pub fn refuse(&self, error: CallError) {
        self.inner().refuses = Some(error);
    }

    /// The legs that were placed, in order.
    pub fn placed(&self) -> Vec<(PlacedLeg, Arc<FakeLeg>)> {
        self.inner().placed.clone()
    }

    /// The bridges that were made, in order.
    pub fn bridges(&self) -> Vec<Arc<FakeBridge>> {
        self.inner().bridges.clone()
    }

    /// It has a stored recording of this content.
    pub fn store(&self, name: &str, content: &[u8]) {
        self.inner().stored.insert(name.to_owned(), content.to_vec());
    }

    /// The names of the stored recordings.
    pub fn stored(&self) -> Vec<String> {
        self.inner().stored.keys().cloned().collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exchange for FakeExchange {
    fn name(&self) -> &str {
        "fake"
    }

    fn app(&self) -> &str {
        "voxtra"
    }

    fn originate<'a>(
        &'a self,
        leg: &'a PlacedLeg,
        events: Arc<dyn LegEvents>,
    ) -> BoxFuture<'a, Result<Arc<dyn Leg>, CallError>> {
        let mut inner = self.inner();
        if let Some(error) = inner.refuses.clone() {
            return Box::pin(ready(Err(error)));
        }
        let placed = FakeLeg::new();
        placed.connect(events);
        inner.placed.push((leg.clone(), Arc::clone(&placed)));
        Box::pin(ready(Ok(placed as Arc<dyn Leg>)))
    }

    fn has_leg<'a>(&'a self, id: &'a CallId) -> BoxFuture<'a, Result<bool, CallError>> {
        let known = self.inner().placed.iter().any(|(leg, _)| leg.id == *id);
        Box::pin(ready(Ok(known)))
    }

    fn create_bridge(&self) -> BoxFuture<'_, Result<Arc<dyn Bridge>, CallError>> {
        let mut inner = self.inner();
        let id = BridgeId::from(format!("bridge-{}", inner.bridges.len() + 1));
        let bridge = Arc::new(FakeBridge { id, verbs: Mutex::default() });
        inner.bridges.push(Arc::clone(&bridge));
        Box::pin(ready(Ok(bridge as Arc<dyn Bridge>)))
    }

    fn fetch_recording<'a>(
        &'a self,
        stored_name: &'a str,
        to: &'a Path,
    ) -> BoxFuture<'a, Result<Option<u64>, CallError>> {
        let content = self.inner().stored.get(stored_name).cloned();
        let written = content.map(|content| std::fs::write(to, &content).map(|()| content.len() as u64)).transpose();
        Box::pin(ready(written.map_err(|error| CallError::Telephony(error.to_string()))))
    }

    fn delete_recording<'a>(&'a self, stored_name: &'a str) -> BoxFuture<'a, Result<(), CallError>> {
        self.inner().stored.remove(stored_name);
        Box::pin(ready(Ok(())))
    }
}

/// What was asked of a [`FakeBridge`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BridgeVerb {
    /// [`Bridge::add`]
    Add(CallId),
    /// [`Bridge::remove`]
    Remove(CallId),
    /// [`Bridge::add_snoop`]
    AddSnoop(SnoopId),
    /// [`Bridge::play`]
    Play(Vec<String>),
    /// [`Bridge::destroy`]
    Destroy,
}

/// A bridge that joins nobody.
pub struct FakeBridge {
    id: BridgeId,
    verbs: Mutex<Vec<BridgeVerb>>,
}

impl FakeBridge {
    /// What was asked so far, in order.
    pub fn verbs(&self) -> Vec<BridgeVerb> {
        self.verbs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn asked(&self, verb: BridgeVerb) -> BoxFuture<'_, Result<(), CallError>> {
        self.verbs.lock().unwrap_or_else(PoisonError::into_inner).push(verb);
        Box::pin(ready(Ok(())))
    }
}

impl Bridge for FakeBridge {
    fn id(&self) -> &BridgeId {
        &self.id
    }

    fn add<'a>(&'a self, leg: &'a CallId) -> BoxFuture<'a, Result<(), CallError>> {
        self.asked(BridgeVerb::Add(leg.clone()))
    }

    fn remove<'a>(&'a self, leg: &'a CallId) -> BoxFuture<'a, Result<(), CallError>> {
        self.asked(BridgeVerb::Remove(leg.clone()))
    }

    fn add_snoop<'a>(&'a self, snoop: &'a SnoopId) -> BoxFuture<'a, Result<(), CallError>> {
        self.asked(BridgeVerb::AddSnoop(snoop.clone()))
    }

    fn play<'a>(&'a self, media: &'a [String]) -> BoxFuture<'a, Result<(), CallError>> {
        self.asked(BridgeVerb::Play(media.to_vec()))
    }

    fn destroy(&self) -> BoxFuture<'_, Result<(), CallError>> {
        self.asked(BridgeVerb::Destroy)
    }
}

/// What was asked of a [`FakeSnoop`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnoopVerb {
    /// [`Snoop::open_media`]
    OpenMedia(u32),
    /// [`Snoop::close_media`]
    CloseMedia,
    /// [`Snoop::play`]
    Play(Vec<String>),
    /// [`Snoop::stop`]
    Stop,
}

/// A snoop that hears what the test lets its audio hear.
pub struct FakeSnoop {
    id: SnoopId,
    audio: Arc<FakeAudio>,
    verbs: Mutex<Vec<SnoopVerb>>,
}

impl FakeSnoop {
    /// One of this id.
    pub fn new(id: &str) -> Arc<Self> {
        Arc::new(Self { id: SnoopId::from(id), audio: Arc::default(), verbs: Mutex::default() })
    }

    /// What it hears and says.
    pub fn audio(&self) -> &Arc<FakeAudio> {
        &self.audio
    }

    /// What was asked so far, in order.
    pub fn verbs(&self) -> Vec<SnoopVerb> {
        self.verbs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn asked<T: Send + 'static>(&self, verb: SnoopVerb, done: T) -> BoxFuture<'_, T> {
        self.verbs.lock().unwrap_or_else(PoisonError::into_inner).push(verb);
        Box::pin(ready(done))
    }
}

impl Snoop for FakeSnoop {
    fn id(&self) -> &SnoopId {
        &self.id
    }

    fn open_media(&self, rate_hz: u32) -> BoxFuture<'_, Result<MediaLink, CallError>> {
        self.asked(SnoopVerb::OpenMedia(rate_hz), Ok(self.audio.link(rate_hz)))
    }

    fn close_media(&self) -> BoxFuture<'_, ()> {
        self.audio.close();
        self.asked(SnoopVerb::CloseMedia, ())
    }

    fn play<'a>(&'a self, media: &'a [String]) -> BoxFuture<'a, Result<(), CallError>> {
        self.asked(SnoopVerb::Play(media.to_vec()), Ok(()))
    }

    fn stop(&self) -> BoxFuture<'_, Result<(), CallError>> {
        self.audio.close();
        self.asked(SnoopVerb::Stop, Ok(()))
    }
}
