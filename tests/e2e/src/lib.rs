//! What the end-to-end tests share: the real `voxtra` binary in front of a real Asterisk, its log read as events, and
//! the measures that the claims in `tests/` are made of.
//!
//! The host is a child process and nothing else: this crate links none of its code.

pub mod ari;
pub mod caller;
pub mod events;
pub mod receiver;
pub mod reflector;
pub mod served;
pub mod sounds;
pub mod web;

pub use ari::{Ari, Probe};
pub use caller::{Echo, echo, hear};
pub use events::{HostEvent, HostLog};
pub use receiver::Receiver;
pub use reflector::Reflector;
pub use served::{Served, Setup, serve};
pub use sounds::{recorded, shipped};
pub use web::WebServer;
