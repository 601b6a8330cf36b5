//! Asterisk as a telephony back end: calls of its Stasis applications become legs of the host.
//!
//! | module | what is in it |
//! | --- | --- |
//! | [`options`] | what the operator chooses, with defaults |
//! | [`adapter`] | [`AsteriskAdapter`]: connects, runs, stops |
//! | `apps` | the applications, which come and go |
//! | `app` | one application: its events to its legs, in order; what a lost connection means |
//! | `registry` | which id at the PBX belongs to which leg |
//! | `exchange` | the [`voxtra_core::telephony::Exchange`] of one application: legs that the host places |
//! | `leg` | the [`voxtra_core::Leg`] of one call: its verbs |
//! | `leg_task` | one task a leg: the order of its events, its prompts, its one end |
//! | `handover` | a leg that leaves the application: transfer, queue, dialplan, machine detection |
//! | `recording` | recordings that the PBX makes, of both sides |
//! | `stored` | fetching these |
//! | `snoop` | a hidden ear and mouth at a leg |
//! | `bridge` | legs that hear each other |
//! | `playing` | prompts on a bridge or a snoop, to their end |
//! | `line` | what audio can be opened on, and which bridge it is in |
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
mod apps;
mod bridge;
mod exchange;
mod handover;
mod leg;
mod leg_task;
mod line;
mod media_leg;
mod names;
mod player;
mod playing;
mod reconcile;
mod recording;
mod registry;
mod snoop;
mod stored;
#[cfg(test)]
mod tests;

pub use adapter::{AdapterStats, AppReport, AsteriskAdapter, ConnectReport};
pub use error::AsteriskError;
pub use options::{AppOptions, AsteriskOptions, MediaTransport, RefusedCalls, TimeLimits, UnknownCalls};
