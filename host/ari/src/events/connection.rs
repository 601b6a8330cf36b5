//! One events connection while it lasts: reads it, pings, writes requests, hands out what comes.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::Error as WsError;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};

use super::event::{Event, MalformedEvent};
use super::stream::{DisconnectReason, EventOptions, StreamItem};
use crate::error::{chain, quote};
use crate::rest_ws::Exchange;

/// Read buffer of the socket; events have 0.5 to 2 KiB.
const READ_BUFFER_BYTES: usize = 32 * 1024;
/// How long a polite end may take before the socket is simply dropped.
pub(super) const CLOSE_LIMIT: Duration = Duration::from_secs(1);

pub(crate) fn socket_config(options: &EventOptions) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(options.max_message_bytes))
        .max_frame_size(Some(options.max_message_bytes))
}

/// Serves one connection. Returns why it ended, `None` when the consumer is gone.
pub(super) async fn pump<S>(
    socket: &mut WebSocketStream<S>,
    items: &mpsc::Sender<StreamItem>,
    exchange: &mut Exchange,
    options: &EventOptions,
) -> Option<DisconnectReason>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut ping = interval(options.ping_interval.max(Duration::from_millis(1)));
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        let message = tokio::select! {
            // Requests first: they are few, for there are no more than wait for an answer. Then what has come, before the
            // clock.
            biased;
            request = exchange.next() => {
                match timeout(options.idle_limit, socket.send(Message::text(request))).await {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => return Some(ended_by(error)),
                    Err(_) => return Some(DisconnectReason::Idle { idle_ms: millis(heard.elapsed()) }),
                }
            }
            message = socket.next() => message,
            _ = ping.tick() => {
                let idle = heard.elapsed();
                if idle >= options.idle_limit {
                    return Some(DisconnectReason::Idle { idle_ms: millis(idle) });
                }
                let sent = timeout(options.idle_limit, socket.send(Message::Ping(Default::default())));
                match sent.await {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => return Some(ended_by(error)),
                    Err(_) => return Some(DisconnectReason::Idle { idle_ms: millis(heard.elapsed()) }),
                }
            }
        };
        let item = match message {
            None => return Some(DisconnectReason::Closed("no reason given".to_owned())),
            Some(Err(error)) => return Some(ended_by(error)),
            Some(Ok(Message::Close(frame))) => {
                let why = frame.map_or_else(
                    || "no reason given".to_owned(),
                    |frame| format!("{} {}", u16::from(frame.code), quote(&frame.reason)),
                );
                // Answers the close; nothing more comes.
                let _ = timeout(CLOSE_LIMIT, socket.flush()).await;
                return Some(DisconnectReason::Closed(why.trim_end().to_owned()));
            }
            Some(Ok(Message::Text(text))) => read(&text, exchange),
            Some(Ok(Message::Binary(_))) => Some(StreamItem::Malformed(MalformedEvent {
                reason: "a binary message".to_owned(),
                excerpt: String::new(),
            })),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => None,
        };
        if let Some(item) = item {
            items.send(item).await.ok()?;
        }
        // Taken after delivery: while the consumer was slow, nothing was read,
        // which says nothing about Asterisk.
        heard = Instant::now();
    }
}

/// An item for the consumer; none when the message is the answer to a request.
fn read(text: &str, exchange: &mut Exchange) -> Option<StreamItem> {
    let outcome = match serde_json::from_str::<serde_json::Value>(text) {
        Ok(message) if exchange.takes(&message) => return None,
        Ok(message) => Event::from_json(message, text),
        // Says what is wrong with it.
        Err(_) => Event::parse(text),
    };
    Some(match outcome {
        Ok(event) => StreamItem::Event(Box::new(event)),
        Err(malformed) => {
            tracing::warn!(%malformed, "ARI event skipped");
            StreamItem::Malformed(malformed)
        }
    })
}

fn ended_by(error: WsError) -> DisconnectReason {
    match &error {
        WsError::Io(_) | WsError::Tls(_) => DisconnectReason::Broken(chain(&error)),
        WsError::Protocol(tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            DisconnectReason::Broken("cut without a closing handshake".to_owned())
        }
        WsError::ConnectionClosed | WsError::AlreadyClosed => DisconnectReason::Closed("no reason given".to_owned()),
        _ => DisconnectReason::Protocol(chain(&error)),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
