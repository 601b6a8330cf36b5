//! Where the bytes of components come from and what is known about them: versions by content with their history, the
//! signatures beside them, the registries that hold them, and when a changed file is ready to be read.
//!
//! Everything is kept in plain files that survive a kill at any moment. Nothing here compiles or runs a component,
//! watches a folder, or knows a call: `settle` is told what was seen, `store` what was decided.

pub mod file;
pub mod oci;
pub mod settle;
pub mod signature;
pub mod store;

mod key;
mod version;
mod words;

pub use key::{HandlerKey, NameError};
pub use version::{Version, VersionError, VersionPrefix};
