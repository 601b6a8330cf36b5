//! Bridges and snoops that go nowhere.

use std::sync::Arc;

use voxtra_core::fake::FakeAudio;
use voxtra_core::{BoxFuture, BridgeId, CallError, MediaLink, SnoopId};

use super::Journal;
use crate::host::{BridgeHost, SharedCall, SnoopHost};

fn at_once<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, Result<T, CallError>> {
    Box::pin(std::future::ready(Ok(value)))
}

/// A bridge. That it was dropped is written down too.
pub struct FakeBridge {
    id: BridgeId,
    journal: Journal,
}

impl FakeBridge {
    /// Of this id; what is asked of it is written there.
    pub fn new(id: impl Into<String>, journal: Journal) -> Self {
        Self { id: BridgeId::from(id.into()), journal }
    }

    fn done(&self, what: String) -> BoxFuture<'_, Result<(), CallError>> {
        self.journal.write(format!("{} {what}", self.id));
        at_once(())
    }
}

impl BridgeHost for FakeBridge {
    fn id(&self) -> &BridgeId {
        &self.id
    }

    fn add<'a>(&'a self, call: &'a SharedCall) -> BoxFuture<'a, Result<(), CallError>> {
        self.done(format!("add {}", call.info().id))
    }

    fn remove<'a>(&'a self, call: &'a SharedCall) -> BoxFuture<'a, Result<(), CallError>> {
        self.done(format!("remove {}", call.info().id))
    }

    fn add_snoop<'a>(&'a self, snoop: &'a Arc<dyn SnoopHost>) -> BoxFuture<'a, Result<(), CallError>> {
        self.done(format!("add-snoop {}", snoop.id()))
    }

    fn play(&self, media: Vec<String>) -> BoxFuture<'_, Result<(), CallError>> {
        self.done(format!("play {media:?}"))
    }

    fn destroy(&self) -> BoxFuture<'_, Result<(), CallError>> {
        self.done("destroy".into())
    }
}

impl Drop for FakeBridge {
    fn drop(&mut self) {
        self.journal.write(format!("{} dropped", self.id));
    }
}

/// A snoop. That it was dropped is written down too.
pub struct FakeSnoop {
    id: SnoopId,
    journal: Journal,
    audio: Arc<FakeAudio>,
}

impl FakeSnoop {
    /// Of this id; what is asked of it is written there.
    pub fn new(id: impl Into<String>, journal: Journal) -> Self {
        Self { id: SnoopId::from(id.into()), journal, audio: Arc::default() }
    }

    fn done(&self, what: String) -> BoxFuture<'_, Result<(), CallError>> {
        self.journal.write(format!("{} {what}", self.id));
        at_once(())
    }
}

impl SnoopHost for FakeSnoop {
    fn id(&self) -> &SnoopId {
        &self.id
    }

    fn play(&self, media: Vec<String>) -> BoxFuture<'_, Result<(), CallError>> {
        self.done(format!("play {media:?}"))
    }

    fn open_audio(&self, rate_hz: u32) -> BoxFuture<'_, Result<MediaLink, CallError>> {
        self.journal.write(format!("{} open-audio {rate_hz}", self.id));
        at_once(self.audio.link(rate_hz))
    }

    fn close_audio(&self) {
        self.journal.write(format!("{} close-audio", self.id));
        self.audio.close();
    }

    fn stop(&self) -> BoxFuture<'_, Result<(), CallError>> {
        self.done("stop".into())
    }
}

impl Drop for FakeSnoop {
    fn drop(&mut self) {
        self.journal.write(format!("{} dropped", self.id));
        self.audio.close();
    }
}
