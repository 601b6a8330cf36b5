//! One identified AudioSocket connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use super::codec::{self, CodecError, Frame, FrameDecoder, FrameKind};

/// How much room a read is given: two dozen 20 ms frames at 8 kHz.
const READ_BYTES: usize = 8 * 1024;
/// A peer that takes nothing for this long is gone: its receive window holds
/// seconds of audio already.
const WRITE_LIMIT: Duration = Duration::from_secs(2);
/// How long closing waits for the peer to close too.
const CLOSE_LIMIT: Duration = Duration::from_millis(250);

/// What ends a connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// What came is not AudioSocket, or what was to be sent cannot be.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The peer closed inside a frame.
    #[error("the AudioSocket peer closed inside a frame, {bytes} bytes after the last whole one")]
    Truncated {
        /// Bytes that came of the frame.
        bytes: usize,
    },
    /// The socket failed.
    #[error("the AudioSocket connection failed: {0}")]
    Io(#[from] io::Error),
    /// The peer said nothing for as long as was waited.
    #[error("the AudioSocket peer said nothing for {limit_ms} ms; it is muted, not bridged, or gone")]
    Silent {
        /// The limit, in milliseconds.
        limit_ms: u64,
    },
    /// The peer takes nothing any more.
    #[error("the AudioSocket peer took nothing for {limit_ms} ms; it hangs or is unreachable")]
    Stalled {
        /// The limit, in milliseconds.
        limit_ms: u64,
    },
}

/// A connection whose UUID has been matched. Use it as it is, or take it apart
/// and drive the socket elsewhere.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
    outgoing: BytesMut,
    decoder: FrameDecoder,
    uuid: Uuid,
    peer: SocketAddr,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, buffer: BytesMut, uuid: Uuid, peer: SocketAddr) -> Self {
        Self { stream, buffer, outgoing: BytesMut::new(), decoder: FrameDecoder::new(), uuid, peer }
    }

    /// The UUID that Asterisk named the channel by.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// The other end's address.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The socket (TCP_NODELAY is on) and the bytes that were read but not used:
    /// decode those first.
    #[must_use]
    pub fn into_parts(self) -> (TcpStream, BytesMut) {
        (self.stream, self.buffer)
    }

    /// As [`Connection::into_parts`], the socket without its runtime and still
    /// non-blocking: another runtime can take it with `TcpStream::from_std`.
    ///
    /// # Errors
    /// When the socket cannot be taken out of its runtime.
    pub fn into_std(self) -> io::Result<(std::net::TcpStream, BytesMut)> {
        Ok((self.stream.into_std()?, self.buffer))
    }

    /// The next frame; `None` when the peer has closed. Safe to cancel. It waits
    /// as long as the peer is silent, which a channel may be for ever: use
    /// [`Connection::next_frame_within`] where that matters.
    ///
    /// # Errors
    /// [`ConnectionError`]; the connection is of no use afterwards.
    pub async fn next_frame(&mut self) -> Result<Option<Frame>, ConnectionError> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.buffer)? {
                return Ok(Some(frame));
            }
            self.buffer.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(ConnectionError::Truncated { bytes: self.buffer.len() })
                };
            }
        }
    }

    /// As [`Connection::next_frame`], but [`ConnectionError::Silent`] after `limit`.
    ///
    /// # Errors
    /// [`ConnectionError`]. After `Silent` the connection can still be used.
    pub async fn next_frame_within(&mut self, limit: Duration) -> Result<Option<Frame>, ConnectionError> {
        match timeout(limit, self.next_frame()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ConnectionError::Silent { limit_ms: millis(limit) }),
        }
    }

    /// Sends one audio frame in one write. Pacing is the caller's: 20 ms of audio
    /// every 20 ms, silence when there is nothing to say.
    ///
    /// # Errors
    /// [`ConnectionError::Codec`] for a rate or length that cannot be sent (nothing
    /// was), [`ConnectionError::Stalled`] after 2 s, [`ConnectionError::Io`]. Do not
    /// cancel it: half a frame ends the call.
    pub async fn send_audio(&mut self, rate_hz: u32, samples: &[i16]) -> Result<(), ConnectionError> {
        self.outgoing.clear();
        codec::encode_audio(rate_hz, samples, &mut self.outgoing)?;
        self.flush().await
    }

    /// Sends any frame in one write.
    ///
    /// # Errors
    /// As [`Connection::send_audio`].
    pub async fn send_frame(&mut self, kind: FrameKind, payload: &[u8]) -> Result<(), ConnectionError> {
        self.outgoing.clear();
        codec::encode(kind, payload, &mut self.outgoing)?;
        self.flush().await
    }

    /// Says the end and closes, within about a quarter of a second. Asterisk then
    /// hangs the channel up.
    ///
    /// # Errors
    /// When the end could not be said; the connection is closed all the same.
    pub async fn close(mut self) -> Result<(), ConnectionError> {
        self.outgoing.clear();
        codec::encode(FrameKind::Terminate, &[], &mut self.outgoing)?;
        let until = Instant::now() + CLOSE_LIMIT;
        let said = async {
            self.stream.write_all(&self.outgoing).await?;
            self.stream.shutdown().await
        };
        match timeout_at(until, said).await {
            Ok(outcome) => outcome?,
            Err(_) => return Err(stalled(CLOSE_LIMIT)),
        }
        // Closing with unread audio would reset the connection, and a reset may
        // overtake the end just sent: read until the peer has closed too.
        let mut rest = [0u8; 1024];
        let drained = async { while self.stream.read(&mut rest).await.is_ok_and(|n| n > 0) {} };
        let _ = timeout_at(until, drained).await;
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ConnectionError> {
        match timeout(WRITE_LIMIT, self.stream.write_all(&self.outgoing)).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(stalled(WRITE_LIMIT)),
        }
    }
}

fn stalled(limit: Duration) -> ConnectionError {
    ConnectionError::Stalled { limit_ms: millis(limit) }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Reads the first frame of a new connection, without a limit of its own.
pub(super) async fn read_hello(stream: &mut TcpStream) -> Result<(Uuid, BytesMut), ConnectionError> {
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    let decoder = FrameDecoder::new();
    loop {
        if let Some(frame) = decoder.decode(&mut buffer)? {
            return match frame.uuid() {
                Some(uuid) => Ok((uuid, buffer)),
                None => Err(CodecError::UnknownType(frame.kind.to_wire().unwrap_or_default()).into()),
            };
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(ConnectionError::Truncated { bytes: buffer.len() });
        }
    }
}
