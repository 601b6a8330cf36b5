//! Keeps the components that take calls as the plugin directory says, while calls are up: looks, waits until a file has
//! settled, checks its signature, has it compiled aside, starts it once, writes down that it is good, and only then gives
//! new calls the new version by handing over one [`Snapshot`]. Calls that are up keep theirs. Where a handler's manifest
//! says so, the new version gets a share of the calls first, and is gone again when too many of them fail.
//!
//! What fails at any of these steps changes nothing but what is told. It reads no component into the host that did not
//! pass them, routes no call and knows no PBX.

mod asked;
mod begin;
mod far;
mod fetch;
pub mod job;
pub mod loader;
mod mend;
pub mod news;
pub mod snapshot;
pub mod thread;
mod trials;
mod trust;
mod wanted;

pub use job::Refused;
pub use loader::{Loader, LoaderError, LoaderOptions};
pub use news::{News, Serving};
pub use snapshot::{Component, Snapshot, TrialVersion};
pub use thread::{Keeper, OperatorError, Reporter, TrialLine, VersionLine};
