//! AudioSocket: Asterisk's TCP protocol for the audio of one channel.
//!
//! A frame is a type (1 byte), a length (2 bytes, big-endian) and a payload. The
//! connection's first frame names the channel by a UUID; then audio goes both ways,
//! signed 16-bit little-endian mono. (`res_audiosocket.c`; measured on 22.10.)
//!
//! Two things that a server must know:
//! - a frame must leave in one write, without Nagle's delay: a pause of more than a
//!   few milliseconds inside a frame ends the call ([`codec`] makes one buffer,
//!   [`server`] sets TCP_NODELAY);
//! - Asterisk waits for the next header *with the channel locked*: a server that
//!   sends nothing can block everything that touches the channel. Send silence
//!   every 20 ms when there is nothing to say, and close the connection before
//!   asking Asterisk to delete the channel.

pub mod codec;
pub mod connection;
pub mod server;

pub use codec::{CodecError, Frame, FrameDecoder, FrameKind};
pub use connection::{Connection, ConnectionError};
pub use server::{AudioSocketServer, Expectation, ExpectationError, ServerOptions, ServerStats};
