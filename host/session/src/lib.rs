//! One call from start to end: it is routed, its handler runs, and it ends exactly once.
//!
//! [`Host`] takes legs from a telephony adapter (it is a [`voxtra_core::Switchboard`]) and gives each call an owner
//! task, which alone changes what the call is; the handler's verbs, the leg's events and the timers reach it as
//! messages. This crate knows no adapter and no configuration file, moves no audio, and runs guest code only where
//! [`Runtimes::guests`] says.

mod account;
mod asked;
pub mod breaker;
mod call;
pub mod canary;
mod check;
mod components;
pub mod dial;
mod filtered;
mod gather;
mod guest_log;
pub mod handlers;
pub mod host;
mod inbox;
mod joined;
mod life;
pub mod limits;
mod mailbox;
mod metadata;
pub mod options;
pub mod place;
pub mod ports;
mod pressure;
mod pump;
mod recording_id;
pub mod router;
mod rows;
pub mod stats;
mod task;
mod tenant;
mod withheld;
mod words;

#[cfg(test)]
mod tests;

pub use breaker::BreakerOptions;
pub use canary::{CanaryPlan, CanaryWatcher, Proved, TrialCounts, TrialStatus, Withdrawn};
pub use dial::DialPolicy;
pub use filtered::FilteredSink;
pub use handlers::{HandlerInstance, HandlerVersion, Handlers};
pub use host::{ActiveCall, Host};
pub use limits::{TenantLimits, VersionLimits};
pub use options::{HostOptions, OnFailure, Runtimes, Then};
pub use place::{ExchangeOf, HostDialler, PlaceCall, PlacedCall, PlacedEnd};
pub use ports::{
    Batches, Decision, EventFilters, FilterVerdict, HostPorts, MachineListener, PromptAudio, RoutingRules,
    TenantPrompts,
};
pub use router::{Explanation, Route, RouteError, Routed, Router, TenantRoutes, TriedRoute};
pub use stats::HostStats;
pub use voxtra_core::wire::event_json;
pub use voxtra_plugins::Succession;
