//! Adapters of the telephony port (`voxtra_core::telephony`): what makes a leg of whatever a PBX, a carrier or a script
//! offers, and gives it to a switchboard.
//!
//! - [`asterisk`]: calls of an Asterisk, over ARI.
//! - [`simulator`]: callers made of a script, with a clock that can be virtual.
//! - [`media`]: the threads that move audio, for every adapter that has sockets.
//!
//! Nothing here knows what a handler is.

pub mod asterisk;
pub mod media;
pub mod simulator;
