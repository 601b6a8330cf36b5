//! Where recordings go, exactly once, whatever happens to the host.
//!
//! ```text
//! open -> journal entry -> audio (by the host: NAME.part, by the PBX: there) -> finish: a complete file in the spool
//!      -> each sink, again and again until it has it -> event -> file and entry are removed
//! ```
//!
//! The spool folder holds for each recording `ID.json`, the journal, and `ID.wav`. After a crash [`Desk::recover`] goes
//! on where it stood: a file without its header's lengths is mended, one that the PBX still has is fetched, a sink that
//! has it already is not asked again.

mod capture;
mod delivery;
mod desk;
mod journal;
mod open;
mod room;
pub mod sinks;

pub use desk::{Desk, DeskError, DeskOptions};
pub use room::FreeSpace;
pub use sinks::{LocalSink, S3Options, S3Sink, Sink, SinkError, WebhookSink};
