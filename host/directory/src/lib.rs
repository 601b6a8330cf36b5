//! What a plugin directory says, as data: whose components there are, from where, and what each may use up and do.
//!
//! [`Scanner`] reads `plugins/TENANT/{tenant.toml, NAME.wasm, NAME.toml, …}` into a [`Directory`], beside the sentences
//! ([`Problem`]) for what it leaves out; [`Watch`] says when to look again.
//! What is bad never touches what is good: a part that cannot be read stays as it was before.
//!
//! It loads, compiles and checks no component, fetches nothing from a registry and verifies no signature. It follows no
//! symbolic link below the directory and reads no file that it has not opened and looked at first.

pub mod capabilities;
pub mod content;
pub mod fingerprint;
pub mod host;
pub mod limits;
pub mod plan;
pub mod problem;
pub mod watch;

mod folder;
mod handler;
mod names;
mod pattern;
mod reader;
mod scan;
mod suggest;
mod tenant;

pub use capabilities::{Dial, DialLimits, Grants, Http, HttpLimits};
pub use content::ContentError;
pub use fingerprint::{ContentHash, Fingerprint};
pub use host::{Applications, Checks, HostCeiling};
pub use limits::Limits;
pub use plan::{
    Canary, Dialplan, Directory, FileRef, HandlerPlan, OnFailure, Prompts, Provider, Providers, Route, RulePlan,
    Signatures, Source, TenantPlan, TenantSettings, Then, Upgrade,
};
pub use problem::{Part, Problem};
pub use scan::{DirectoryError, Scan, Scanner};
pub use watch::{Hint, Watch, WatchError, WatchOptions};
