//! What the end-to-end tests and `xtask` share: a real Asterisk and SIPp in a private folder, a small telephone, test
//! signals, and the measures that say whether one recording contains another.
//!
//! The crate tests the host from the outside, so it uses none of the host's crates: its G.711, RTP and SIP are its own,
//! and a mistake in the host's cannot hide behind the same mistake here. It stays light on purpose (see `Cargo.toml`).

pub mod apt;
pub mod asterisk;
pub mod files;
mod fourier;
pub mod g711;
pub mod host;
pub mod match_audio;
pub mod phone;
pub mod process;
mod random;
pub mod rtp;
pub mod signals;
pub mod sipp;
pub mod skips;

pub use asterisk::{Asterisk, AsteriskOptions, PbxUnderTest};
pub use host::Host;
pub use match_audio::Match;
pub use phone::{ActiveCall, CallError, CallOptions, Phone};
pub use rtp::RtpEndpoint;
pub use sipp::{Scenario, Sipp, SippReport};
