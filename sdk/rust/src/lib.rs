//! Write what a telephone call does, in Rust.
//!
//! A handler is a function that gets one call. It is built to a WebAssembly component that a Voxtra host runs once for
//! each call, in a sandbox of its own; the host owns the telephone, the audio and the time.
//!
//! ```no_run
//! use voxtra_sdk::prelude::*;
//!
//! #[handler]
//! fn handle(call: &Call) -> Result<()> {
//!     call.answer()?;
//!     call.play("sound:hello-world")?;
//!     match call.gather(Gather::new().prompt("sound:vm-press").prompt("digits:1"))?.as_str() {
//!         "1" => call.play(["sound:you-entered", "digits:1"])?,
//!         _ => call.play("sound:vm-goodbye")?,
//!     }
//!     Ok(())
//! }
//! ```
//!
//! The crate needs `crate-type = ["cdylib"]` and no other dependency than this one:
//!
//! ```text
//! cargo build --release --target wasm32-wasip2
//! ```
//!
//! # What to know
//! - Functions wait until what they ask for has happened. A handler needs no threads and no `async`; to wait for several
//!   things at once there is [`poll::wait`].
//! - When the caller hangs up, the function that waits returns [`Error::HungUp`]. Let `?` pass it on: a handler that
//!   ends so has ended well, and the host does not take it for a failure.
//! - Any other error that a handler returns, like a panic, makes the failure policy of the call's route run. The message
//!   of a panic goes to the handler's log.
//! - When the handler returns, the call is hung up. [`on_hangup`] says what is to happen after it.
//! - [`health_check!`] lets a new version find out whether it is well before it gets calls; [`upgrade!`] lets calls that
//!   are up go over to it.
//! - Outside a host, in `cargo test` on your own machine, types and conversions work; what asks the host panics.
//!
//! # Not only handlers
//! [`router`](macro@router) marks a function that chooses a handler for a call, [`filter`](macro@filter) one that sees
//! each event before it leaves the host. Each is a component of its own: `NAME.router.wasm`, `NAME.filter.wasm`.
//!
//! This crate is a thin layer over the contract (`wit/` of the repository) and does nothing by itself: no state is kept
//! here that the host does not have.

mod audio;
mod batch;
mod bindings;
mod bridge;
mod call;
mod ended;
mod error;
mod event;
mod gather;
pub mod http;
pub mod log;
mod originate;
mod playback;
pub mod poll;
pub mod prelude;
mod prompts;
mod record;
mod rule;
mod run;
pub mod store;
mod time;
mod upgrade;

pub use audio::{Audio, pcm_to_samples, samples_to_pcm};
pub use batch::{Batch, BatchStatus, StartedBatch};
pub use bindings::handler::voxtra::call::call_session::{DigitsEnd, MachineDetector, Recorder, Sides};
pub use bindings::handler::voxtra::call::types::{AnsweredBy, CallInfo, CallState, Direction, EndReason, HangupCause};
pub use bridge::{Bridge, Snoop};
pub use call::{Call, PlayOutcome};
pub use ended::EndedCall;
pub use error::{Error, Result};
pub use event::{Dtmf, Event, Events};
pub use gather::{Digits, Gather};
pub use originate::{DialplanPlace, Originate};
pub use playback::Playback;
pub use prompts::IntoPrompts;
pub use record::{RecordOptions, Recorded, Recording};
pub use rule::{Decision, OutgoingEvent, Verdict};
pub use run::{Answering, Outcome};
pub use upgrade::Inherited;
pub use voxtra_sdk_macros::{filter, handler, on_hangup, router};

/// What the attributes' expansions use. Not part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings::filter::{self, export_filter};
    pub use crate::bindings::handler::{self, export_handler};
    pub use crate::bindings::health::{self, export_health};
    pub use crate::bindings::hook::{self, export_hangup_hook};
    pub use crate::bindings::router::{self, export_router};
    pub use crate::bindings::upgrade::{self, export_upgrade};
    pub use crate::log::write;
    pub use crate::run::{run_filter, run_handler, run_hook, run_init, run_restore, run_router, run_save};
}
