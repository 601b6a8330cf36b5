//! `chan_websocket`: a channel's audio in binary messages, control in text ones.
//!
//! Server mode: Asterisk waits on its own HTTP port. Make the channel with
//! [`crate::ExternalMedia::websocket_server`], take the variable
//! `MEDIA_WEBSOCKET_CONNECTION_ID` out of the answer, and connect a [`MediaSocket`]
//! to [`crate::AriClient::media_url`]. There is no authentication on that URL, so the
//! id is a secret while the channel waits; a channel that nobody connects to waits
//! for ever.
//!
//! Asterisk re-times what it is sent: audio may be sent ahead (900 frames at most;
//! [`MediaEvent::Xoff`] comes at 900 and [`MediaEvent::Xon`] at 800), and
//! [`MediaCommand::FlushMedia`] drops what is queued. Available in 20.16, 21.11, 22.6,
//! 23.0 and later; the JSON form in 20.18, 22.8, 23.2 and later.

pub mod command;
pub mod event;
pub mod socket;

pub use command::{ControlFormat, MediaCommand, MediaDirection};
pub use event::{MediaEvent, MediaStart, MediaStatus};
pub use socket::{MediaError, MediaItem, MediaOptions, MediaReader, MediaSocket, MediaWriter};
