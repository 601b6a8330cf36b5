//! Events connections that Asterisk opens itself, to the application: the other way round than
//! [`EventStream::connect`](crate::EventStream::connect), with the same events and with REST on the same connection.
//!
//! For an application that Asterisk can reach and that cannot reach Asterisk, or that serves several of them. Asterisk has
//! it in 20.15, 21.10, 22.5 and later. It connects when it starts, and again by itself when the connection is lost. What
//! it needs, with `res_websocket_client` loaded:
//!
//! ```text
//! ; websocket_client.conf                    ; ari.conf
//! [voxtra]                                   [voxtra]
//! type = websocket_client                    type = outbound_websocket
//! uri = ws://127.0.0.1:8765                  websocket_client_id = voxtra
//! protocols = ari                            apps = my-app
//! connection_type = persistent               local_ari_user = my-ari-user
//! username = asterisk
//! password = a long one
//! ```
//!
//! ```no_run
//! use voxtra_ari::{AriClient, Event, OutboundListener, OutboundOptions, StreamItem};
//!
//! # async fn run() -> Result<(), voxtra_ari::AriError> {
//! let options = OutboundOptions::new("asterisk", "a long one");
//! let mut listener = OutboundListener::bind(([127, 0, 0, 1], 8765).into(), options).await?;
//! while let Some(connection) = listener.accept().await {
//!     let client = AriClient::of_websocket("my-app", connection.rest())?;
//!     let mut events = connection.into_events();
//!     tokio::spawn(async move {
//!         while let Some(item) = events.next().await {
//!             if let StreamItem::Event(event) = item
//!                 && let Event::StasisStart(start) = *event
//!             {
//!                 let client = client.clone();
//!                 tokio::spawn(async move { client.answer(&start.channel.id).await });
//!             }
//!         }
//!     });
//! }
//! # Ok(())
//! # }
//! ```
//!
//! It speaks `ws`, not `wss`: the password travels in the clear, so keep it on loopback or a private network, or put a
//! proxy that ends TLS in front.

mod handshake;
mod listener;

pub use listener::{OutboundConnection, OutboundListener, OutboundOptions, OutboundStats};
