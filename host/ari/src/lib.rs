//! Asterisk's own protocols, for any program: the REST interface (ARI), its
//! event WebSocket, AudioSocket, and the WebSocket media channel.
//!
//! | module | what it speaks |
//! | --- | --- |
//! | [`client`] | ARI: a typed verb for each of its operations, and raw ones; over HTTP or an events connection |
//! | [`events`] | ARI's event WebSocket, reconnecting for ever |
//! | [`outbound`] | the same, with the connection opened by Asterisk |
//! | [`rest_ws`] | ARI's requests and answers on the events WebSocket |
//! | [`audiosocket`] | AudioSocket over TCP: framing, and a server for all calls |
//! | [`media_ws`] | `chan_websocket`: audio and control over one WebSocket |
//!
//! A whole program, which answers every call, plays a prompt, and hangs up when it has been heard:
//!
//! ```no_run
//! use voxtra_ari::{AriClient, AriConfig, AriError, Event, EventOptions, EventStream, HangupReason, Play, StreamItem};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), AriError> {
//!     let client = AriClient::new(AriConfig::new("http://127.0.0.1:8088", "user", "secret", "my-app"))?;
//!     let mut events = EventStream::connect(&client, EventOptions::default()).await?;
//!     while let Some(item) = events.next().await {
//!         let StreamItem::Event(event) = item else { continue };
//!         match *event {
//!             Event::StasisStart(start) => {
//!                 let caller = &start.channel.id;
//!                 client.answer(caller).await?;
//!                 client.play(caller, &Play::new(format!("hello-{caller}"), "sound:hello-world")).await?;
//!             }
//!             Event::PlaybackFinished(end) => {
//!                 let Some(caller) = end.playback.channel_id() else { continue };
//!                 client.hangup(caller, HangupReason::Normal).await?;
//!             }
//!             _ => {}
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! More are in `examples/`: calling out, connecting two callers, recording a message, watching all events.
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
pub mod outbound;
pub mod rest_ws;

mod address;
mod tls;

pub use client::{
    AriClient, AriConfig, AudioDirection, BridgeType, ContinueTo, CreateBridge, CreateChannel, Dial, Encapsulation,
    EventRules, ExternalMedia, HangupReason, IfExists, JoinOptions, Originate, Play, PlaybackControl, Record,
    RecordingDownload, SendDtmf, SendMessage, SendRefer, Snoop, TerminateOn, TransferState,
};
pub use error::AriError;
pub use events::{DisconnectReason, Event, EventOptions, EventStream, StreamItem};
pub use model::{Bridge, Channel, ChannelState, LiveRecording, Playback, PlaybackState, StoredRecording};
pub use outbound::{OutboundConnection, OutboundListener, OutboundOptions};
pub use rest_ws::RestOverWebSocket;
