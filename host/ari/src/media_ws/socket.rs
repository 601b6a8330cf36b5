//! The media connection itself, thin over the WebSocket: no queue, no clock, no
//! task of its own. Whoever owns it decides which runtime drives it.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::Error as WsError;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::command::{CommandError, ControlFormat, MediaCommand};
use super::event::MediaEvent;
use crate::error::{chain, quote};

/// Longest audio message that Asterisk takes (measured: 65,500 bytes pass).
pub const AUDIO_MESSAGE_MAX_BYTES: usize = 65_500;
/// Read buffer: a dozen 20 ms frames at 16 kHz; the library's own 128 KiB would be
/// allocated for every call.
const READ_BUFFER_BYTES: usize = 8 * 1024;
/// Most that waits to be written when the peer does not read; above it sending fails.
const WRITE_BUFFER_MAX_BYTES: usize = 256 * 1024;
/// How long a polite end may take.
const CLOSE_LIMIT: Duration = Duration::from_millis(250);

/// How the media connection behaves. `Default` gives the values named below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MediaOptions {
    /// The form of control messages the channel was made with. Default plain.
    pub control: ControlFormat,
    /// Limit for connecting. Default 5 s.
    pub connect_timeout: Duration,
    /// A peer that takes nothing for this long is gone. Default 2 s.
    pub write_timeout: Duration,
    /// Longest message from Asterisk. Default 128 KiB.
    pub max_message_bytes: usize,
}

impl Default for MediaOptions {
    fn default() -> Self {
        Self {
            control: ControlFormat::Plain,
            connect_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(2),
            max_message_bytes: 128 * 1024,
        }
    }
}

impl MediaOptions {
    /// With control messages in JSON.
    #[must_use]
    pub fn json() -> Self {
        Self { control: ControlFormat::Json, ..Self::default() }
    }
}

/// What goes wrong on a media connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MediaError {
    /// Nobody there, or not reachable.
    #[error("no media connection to Asterisk ({0}); check that it runs and that the address is right")]
    Transport(String),
    /// Asterisk does not know the connection id (any more): 404.
    #[error("Asterisk knows no media connection of this id; its channel has ended or is connected already")]
    UnknownConnection,
    /// Somebody is connected to this id: 409.
    #[error("this media connection is in use already; make a channel of its own for every program")]
    AlreadyConnected,
    /// Asterisk refused with another status.
    #[error("Asterisk refused the media connection with status {status}; is chan_websocket loaded?")]
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// Not connected in time.
    #[error("no media connection to Asterisk within {limit_ms} ms; it is overloaded or unreachable")]
    Timeout {
        /// The limit, in milliseconds.
        limit_ms: u64,
    },
    /// The peer takes nothing any more.
    #[error("Asterisk took no audio for {limit_ms} ms; the connection is of no use")]
    Stalled {
        /// The limit, in milliseconds.
        limit_ms: u64,
    },
    /// The connection has ended.
    #[error("the media connection has ended ({0})")]
    Closed(String),
    /// More than one message may hold.
    #[error("an audio message of {bytes} bytes is longer than {AUDIO_MESSAGE_MAX_BYTES}; send less at a time")]
    Oversize {
        /// How long it is.
        bytes: usize,
    },
    /// A command that cannot be written.
    #[error(transparent)]
    Command(#[from] CommandError),
}

/// What comes out of a media connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MediaItem {
    /// Audio in the channel's format, not copied.
    Audio(Bytes),
    /// A control message.
    Event(MediaEvent),
    /// The end; said again at every further call.
    Closed {
        /// Why.
        reason: String,
    },
}

type Inner = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// One channel's media connection. `next` can be cancelled, so one task can read
/// and write in a `select!` loop; [`MediaSocket::split`] is for two.
#[derive(Debug)]
pub struct MediaSocket {
    inner: Inner,
    options: MediaOptions,
}

impl MediaSocket {
    /// Connects to the URL that [`crate::AriClient::media_url`] gives. It belongs to
    /// the runtime on which this is called.
    ///
    /// # Errors
    /// [`MediaError::UnknownConnection`], [`MediaError::AlreadyConnected`],
    /// [`MediaError::Refused`], [`MediaError::Transport`], [`MediaError::Timeout`].
    pub async fn connect(url: &str, options: MediaOptions) -> Result<Self, MediaError> {
        if url.starts_with("wss:") {
            crate::tls::ensure_provider();
        }
        let mut request = url.into_client_request().map_err(|error| MediaError::Transport(chain(&error)))?;
        // Asterisk's name for this use of a WebSocket.
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("media"));
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            // Every message leaves at once.
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER_MAX_BYTES)
            .max_message_size(Some(options.max_message_bytes))
            .max_frame_size(Some(options.max_message_bytes));
        let connecting = connect_async_with_config(request, Some(config), true);
        match timeout(options.connect_timeout, connecting).await {
            Ok(Ok((inner, _))) => Ok(Self { inner, options }),
            Ok(Err(error)) => Err(refused(error)),
            Err(_) => Err(MediaError::Timeout { limit_ms: millis(options.connect_timeout) }),
        }
    }

    /// The next item. Safe to cancel. It waits as long as the peer is silent.
    pub async fn next(&mut self) -> MediaItem {
        next_item(&mut self.inner).await
    }

    /// As [`MediaSocket::next`], for those who poll by hand.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<MediaItem> {
        poll_item(&mut self.inner, cx)
    }

    /// Sends audio in the channel's format; any length up to
    /// [`AUDIO_MESSAGE_MAX_BYTES`], best whole frames.
    ///
    /// # Errors
    /// [`MediaError::Stalled`], [`MediaError::Closed`], [`MediaError::Oversize`].
    pub async fn send_audio(&mut self, audio: Bytes) -> Result<(), MediaError> {
        let limit = self.options.write_timeout;
        send(&mut self.inner, audio_message(audio)?, limit).await
    }

    /// Sends audio without ever waiting: for a thread that serves many calls.
    /// `Ok(false)` when the peer does not read and the audio was not taken.
    ///
    /// # Errors
    /// [`MediaError::Closed`], [`MediaError::Oversize`].
    pub fn try_send_audio(&mut self, audio: Bytes) -> Result<bool, MediaError> {
        try_send(&mut self.inner, audio_message(audio)?)
    }

    /// Sends a command.
    ///
    /// # Errors
    /// [`MediaError::Command`] when it has no such form; else as
    /// [`MediaSocket::send_audio`].
    pub async fn command(&mut self, command: &MediaCommand) -> Result<(), MediaError> {
        let text = command.encode(self.options.control)?;
        send(&mut self.inner, Message::text(text), self.options.write_timeout).await
    }

    /// Closes in due form, within a quarter of a second. Asterisk then hangs the
    /// channel up.
    pub async fn close(mut self) {
        let _ = timeout(CLOSE_LIMIT, self.inner.close(None)).await;
    }

    /// Two halves for two tasks.
    #[must_use]
    pub fn split(self) -> (MediaReader, MediaWriter) {
        let options = self.options;
        let (sink, stream) = self.inner.split();
        (MediaReader { stream }, MediaWriter { sink, options })
    }
}

/// The reading half of a [`MediaSocket`].
#[derive(Debug)]
pub struct MediaReader {
    stream: SplitStream<Inner>,
}

impl MediaReader {
    /// As [`MediaSocket::next`].
    pub async fn next(&mut self) -> MediaItem {
        next_item(&mut self.stream).await
    }
}

/// The writing half of a [`MediaSocket`].
#[derive(Debug)]
pub struct MediaWriter {
    sink: SplitSink<Inner, Message>,
    options: MediaOptions,
}

impl MediaWriter {
    /// As [`MediaSocket::send_audio`].
    ///
    /// # Errors
    /// As [`MediaSocket::send_audio`].
    pub async fn send_audio(&mut self, audio: Bytes) -> Result<(), MediaError> {
        send(&mut self.sink, audio_message(audio)?, self.options.write_timeout).await
    }

    /// As [`MediaSocket::try_send_audio`].
    ///
    /// # Errors
    /// As [`MediaSocket::try_send_audio`].
    pub fn try_send_audio(&mut self, audio: Bytes) -> Result<bool, MediaError> {
        try_send(&mut self.sink, audio_message(audio)?)
    }

    /// As [`MediaSocket::command`].
    ///
    /// # Errors
    /// As [`MediaSocket::command`].
    pub async fn command(&mut self, command: &MediaCommand) -> Result<(), MediaError> {
        let text = command.encode(self.options.control)?;
        send(&mut self.sink, Message::text(text), self.options.write_timeout).await
    }

    /// As [`MediaSocket::close`].
    pub async fn close(mut self) {
        let _ = timeout(CLOSE_LIMIT, self.sink.close()).await;
    }
}

async fn next_item<S>(stream: &mut S) -> MediaItem
where
    S: Stream<Item = Result<Message, WsError>> + Unpin,
{
    std::future::poll_fn(|cx| poll_item(stream, cx)).await
}

fn poll_item<S>(stream: &mut S, cx: &mut Context<'_>) -> Poll<MediaItem>
where
    S: Stream<Item = Result<Message, WsError>> + Unpin,
{
    loop {
        let Poll::Ready(message) = Pin::new(&mut *stream).poll_next(cx) else {
            return Poll::Pending;
        };
        return Poll::Ready(match message {
            Some(Ok(Message::Binary(audio))) => MediaItem::Audio(audio),
            Some(Ok(Message::Text(text))) => MediaItem::Event(MediaEvent::parse(&text)),
            Some(Ok(Message::Close(frame))) => MediaItem::Closed {
                reason: match frame {
                    Some(frame) if !frame.reason.is_empty() => {
                        format!("closed by Asterisk: {} {}", u16::from(frame.code), quote(&frame.reason))
                    }
                    Some(frame) => format!("closed by Asterisk: {}", u16::from(frame.code)),
                    None => "closed by Asterisk".to_owned(),
                },
            },
            // Pings are answered by the library.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
            Some(Err(error)) => MediaItem::Closed { reason: chain(&error) },
            None => MediaItem::Closed { reason: "the connection has ended".to_owned() },
        });
    }
}

fn audio_message(audio: Bytes) -> Result<Message, MediaError> {
    if audio.len() > AUDIO_MESSAGE_MAX_BYTES {
        return Err(MediaError::Oversize { bytes: audio.len() });
    }
    Ok(Message::Binary(audio))
}

async fn send<S>(sink: &mut S, message: Message, limit: Duration) -> Result<(), MediaError>
where
    S: Sink<Message, Error = WsError> + Unpin,
{
    match timeout(limit, sink.send(message)).await {
        Ok(outcome) => outcome.map_err(|error| closed(&error)),
        Err(_) => Err(MediaError::Stalled { limit_ms: millis(limit) }),
    }
}

/// Nobody is woken for it: the next attempt, one tick later, goes on where this
/// one stopped.
fn try_send<S>(sink: &mut S, message: Message) -> Result<bool, MediaError>
where
    S: Sink<Message, Error = WsError> + Unpin,
{
    let mut cx = Context::from_waker(Waker::noop());
    match Pin::new(&mut *sink).poll_ready(&mut cx) {
        Poll::Pending => return Ok(false),
        Poll::Ready(outcome) => outcome.map_err(|error| closed(&error))?,
    }
    Pin::new(&mut *sink).start_send(message).map_err(|error| closed(&error))?;
    match Pin::new(sink).poll_flush(&mut cx) {
        Poll::Ready(Err(error)) => Err(closed(&error)),
        Poll::Ready(Ok(())) | Poll::Pending => Ok(true),
    }
}

fn refused(error: WsError) -> MediaError {
    match error {
        WsError::Http(response) => match response.status().as_u16() {
            404 => MediaError::UnknownConnection,
            409 => MediaError::AlreadyConnected,
            status => MediaError::Refused { status },
        },
        other => MediaError::Transport(chain(&other)),
    }
}

fn closed(error: &WsError) -> MediaError {
    MediaError::Closed(chain(error))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
