//! The Wasm runtime: it checks, compiles, keeps and runs components: handlers in one sandbox a call, routers and filters
//! in one a question.
//!
//! A component is built for a world of the contract (`wit/`). This crate knows what each kind may import, what it may
//! use up, and how to say why it stopped; it reaches a call only through [`host::CallHost`], a tenant's store and
//! batches only through [`host::TenantHost`], and knows nothing of telephony.

pub mod aside;
mod bindings;
pub mod catalog;
pub mod fake;
pub mod host;
pub mod inspect;
pub mod instance;
pub mod load;
pub mod open_files;
mod options;
pub mod powers;
pub mod rule;
pub mod runtime;
mod scratch;
pub mod tenant;
pub mod threads;
pub mod trap;

mod cache;
mod imports;
mod lines;
mod meter;
mod outgoing;
mod output;
mod pace;
mod precompiled;
mod retained;
mod store;
mod streak;
mod trial;
mod turns;

pub use aside::{Aside, CompileLimits, compile_as_child};
pub use catalog::Catalog;
pub use host::{BridgeHost, CallHost, Inherited, SharedCall, SnoopHost, TenantHost};
pub use imports::Kind;
pub use inspect::Inspection;
pub use instance::{Instance, MAX_STATE_BYTES, Outcome, StartError};
pub use load::{Handler, LoadError, Succession};
pub use options::{Limits, RuntimeOptions};
pub use powers::Power;
pub use rule::{ComponentLog, Decision, FilterComponent, OutgoingEvent, RouterComponent, RuleFailure, Verdict};
pub use runtime::{PoolUsage, Runtime, RuntimeError};
pub use tenant::{TenantShare, TenantUse};
pub use threads::{GuestRuntime, GuestThreads, Guests};
pub use trap::{Trap, TrapKind};
