//! A PBX that goes nowhere, for tests of whoever drives legs.

mod audio;
mod exchange;
mod leg;
mod recording;

pub use audio::FakeAudio;
pub use exchange::{BridgeVerb, FakeBridge, FakeExchange, FakeSnoop, SnoopVerb};
pub use leg::{FakeLeg, Fate, LegVerb, VerbKind};
pub use recording::{DeskVerb, FakeDesk};
