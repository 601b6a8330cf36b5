//! The Wasm runtime: it checks, compiles, keeps and runs handlers, one sandbox a call.
//!
//! A handler is a component that was built for a world of the contract (`wit/`). This crate knows what a handler may
//! import, what it may use up, and how to say why it stopped; it reaches a call only through [`host::CallHost`] and
//! knows nothing of telephony.

mod bindings;
pub mod catalog;
pub mod fake;
pub mod host;
pub mod instance;
pub mod load;
pub mod options;
pub mod runtime;
pub mod trap;

mod cache;
mod imports;
mod meter;
mod output;
mod precompiled;
mod store;

pub use catalog::{Catalog, CatalogError};
pub use host::{CallHost, SharedCall};
pub use instance::{Instance, Outcome, StartError};
pub use load::{Handler, LoadError};
pub use options::{Limits, RuntimeOptions};
pub use runtime::{Runtime, RuntimeError};
pub use trap::{Trap, TrapKind};
