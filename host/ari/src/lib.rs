//! Asterisk's own protocols, for any program: the REST interface (ARI), its
//! event WebSocket, AudioSocket, and the WebSocket media channel.
//!
//! | module | what it speaks |
//! | --- | --- |
//! | [`client`] | ARI over HTTP: typed verbs, and raw ones for the rest |
//! | [`events`] | ARI's event WebSocket, reconnecting for ever |
//! | [`audiosocket`] | AudioSocket over TCP: framing, and a server for all calls |
//! | [`media_ws`] | `chan_websocket`: audio and control over one WebSocket |
//!
//! A program that answers every call and plays a prompt:
//!
//! ```no_run
//! use voxtra_ari::{AriClient, AriConfig, Event, EventOptions, EventStream, Play, StreamItem};
//!
//! # async fn run() -> Result<(), voxtra_ari::AriError> {
//! let client = AriClient::new(AriConfig::new("http://127.0.0.1:8088", "user", "secret", "my-app"))?;
//! let mut events = EventStream::connect(&client, EventOptions::default()).await?;
//! while let Some(item) = events.next().await {
//!     if let StreamItem::Event(event) = item {
//!         if let Event::StasisStart(start) = *event {
//!             client.answer(&start.channel.id).await?;
//!             client.play(&start.channel.id, &Play::new("prompt-1", "sound:hello-world")).await?;
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Every request has a time limit, every queue a bound, every message a size
//! limit, and nothing that a PBX or a peer sends can make this crate panic.
//!
//! What it does not do: it keeps no state of calls, paces no audio, decodes no
//! codec, and decides nothing. It depends on no other crate of this project.

pub mod audiosocket;
pub mod client;
pub mod error;
pub mod events;
pub mod media_ws;
pub mod model;

mod address;
mod tls;

pub use client::{
    AriClient, AriConfig, BridgeType, ContinueTo, Encapsulation, ExternalMedia, HangupReason, Originate, Play, SendDtmf,
};
pub use error::AriError;
pub use events::{DisconnectReason, Event, EventOptions, EventStream, StreamItem};
pub use model::{Bridge, Channel, ChannelState, Playback, PlaybackState};
