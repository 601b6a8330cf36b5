//! Asterisk as a telephony back end: calls of its Stasis applications become legs of the host.
//!
//! | module | what is in it |
//! | --- | --- |
//! | [`options`] | what the operator chooses, with defaults |
//! | [`adapter`] | [`AsteriskAdapter`]: connects, runs, stops |
//! | `app` | one application: its events to its legs, in order; what a lost connection means |
//! | `registry` | which id at the PBX belongs to which leg |
//! | `leg` | the [`voxtra_core::Leg`] of one call: its verbs |
//! | `leg_task` | one task a leg: the order of its events, its prompts, its one end |
//! | `media_leg` | a call's audio: external media channel, bridge, socket; nothing of it is ever left behind |
//! | `reconcile` | after a blip: what the PBX has against what the host has |
//! | `names` | ids that the host chooses, and the checks on what a handler passes through |
//! | [`error`] | errors, and how ARI's become those of a call |
//!
//! It decides nothing about calls (that is the switchboard's) and moves no audio (that is [`crate::media`]'s).

pub mod adapter;
pub mod error;
pub mod options;

mod app;
mod leg;
mod leg_task;
mod media_leg;
mod names;
mod player;
mod reconcile;
mod registry;
#[cfg(test)]
mod tests;

pub use adapter::{AdapterStats, AppReport, AsteriskAdapter, ConnectReport};
pub use error::AsteriskError;
pub use options::{AsteriskOptions, MediaTransport, TimeLimits, UnknownCalls};
