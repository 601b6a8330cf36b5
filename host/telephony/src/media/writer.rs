//! The sending half of an AudioSocket connection: pacer, framing, and one write for all that may go out.

use std::io;
use std::time::Duration;

use tokio::net::tcp::OwnedWriteHalf;
use voxtra_ari::audiosocket::FrameKind;
use voxtra_ari::audiosocket::codec::{HEADER_BYTES, header};
use voxtra_audio::pacer::duration_of;
use voxtra_audio::{OutboundQueue, Pacer};
use voxtra_core::media::frame_bytes;

use super::stats::{Counters, add};

/// A peer that takes nothing for so long is lost: what it has not taken is of no use to it any more.
pub(super) const STALL_LIMIT: Duration = Duration::from_secs(2);

/// The end, as a whole frame.
const TERMINATE: [u8; HEADER_BYTES] = [0, 0, 0];

/// Why nothing more can be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("the other side took no audio for {} ms", STALL_LIMIT.as_millis())]
    Stalled,
    #[error("sending failed: {0}")]
    Io(#[from] io::Error),
}

/// Writes frames to a socket, in its time. It never waits: what the socket does not take at once, the next call
/// goes on with, before anything else.
pub(super) struct Writer {
    socket: OwnedWriteHalf,
    rate_hz: u32,
    pacer: Pacer,
    /// Whole frames; those before `written_bytes` are gone already.
    buffer: Vec<u8>,
    written_bytes: usize,
    stalled_since: Option<Duration>,
}

impl Writer {
    pub(super) fn new(socket: OwnedWriteHalf, rate_hz: u32, now: Duration) -> Self {
        // As much as the pacer ever lets out at once: 100 ms.
        let buffer = Vec::with_capacity(5 * (HEADER_BYTES + frame_bytes(rate_hz)));
        Self { socket, rate_hz, pacer: Pacer::new(now), buffer, written_bytes: 0, stalled_since: None }
    }

    /// Sends what is queued and may go out now; on a tick also silence, when there is nothing else.
    pub(super) fn send(
        &mut self,
        queue: &OutboundQueue,
        now: Duration,
        is_tick: bool,
        counters: &Counters,
    ) -> Result<(), SendError> {
        if !self.flush(now)? {
            return Ok(());
        }
        let (pacer, rate_hz) = (&mut self.pacer, self.rate_hz);
        let mut frames = 0;
        while let Some(frame) = queue.pop_if(|next| pacer.send(now, duration_of(next.len_bytes(), rate_hz))) {
            if append(&mut self.buffer, rate_hz, frame.pcm()) {
                frames += 1;
            }
        }
        add(&counters.frames_out, frames);
        if is_tick && frames == 0 && queue.next_bytes().is_none() && self.pacer.fill(now) {
            append_silence(&mut self.buffer, rate_hz);
            add(&counters.filler_frames, 1);
        }
        self.flush(now)?;
        Ok(())
    }

    /// When there is next something to do that only a tick can do.
    pub(super) fn due(&self, queue: &OutboundQueue) -> Duration {
        if self.stalled_since.is_some() {
            return Duration::ZERO;
        }
        self.pacer.due(queue.next_bytes().map(|bytes| duration_of(bytes, self.rate_hz)))
    }

    /// Forgets whole frames that the socket has not begun to take.
    pub(super) fn clear(&mut self) {
        let mut keep = 0;
        while keep < self.written_bytes {
            let Some([_, high, low]) = self.buffer.get(keep..).and_then(|frame| frame.first_chunk()) else { return };
            keep += HEADER_BYTES + usize::from(u16::from_be_bytes([*high, *low]));
        }
        let audio_bytes = |frames: &[u8]| {
            let mut rest = frames;
            let mut bytes = 0;
            while let Some(([_, high, low], after)) = rest.split_first_chunk() {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                bytes += length;
                rest = after.get(length..).unwrap_or_default();
            }
            bytes
        };
        let forgotten_bytes = audio_bytes(self.buffer.get(keep..).unwrap_or_default());
        self.buffer.truncate(keep);
        self.pacer.take_back(duration_of(forgotten_bytes, self.rate_hz));
        if self.buffer.len() == self.written_bytes {
            self.emptied();
        }
    }

    /// Says the end after the frame that is on its way, if the socket takes that much at once.
    pub(super) fn terminate(mut self) {
        self.clear();
        self.buffer.extend_from_slice(&TERMINATE);
        // An end that cannot be said is seen all the same: the socket closes.
        let _ = self.flush(Duration::ZERO);
    }

    /// Whether everything is written.
    fn flush(&mut self, now: Duration) -> Result<bool, SendError> {
        while let Some(rest) = self.buffer.get(self.written_bytes..).filter(|rest| !rest.is_empty()) {
            match self.socket.try_write(rest) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(bytes) => {
                    self.written_bytes += bytes;
                    self.stalled_since = None;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let since = *self.stalled_since.get_or_insert(now);
                    return if now.saturating_sub(since) > STALL_LIMIT { Err(SendError::Stalled) } else { Ok(false) };
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.emptied();
        Ok(true)
    }

    fn emptied(&mut self) {
        self.buffer.clear();
        self.written_bytes = 0;
        self.stalled_since = None;
    }
}

/// Adds a frame; `false` for audio that AudioSocket cannot carry, which a link's rates and frame lengths rule out.
fn append(buffer: &mut Vec<u8>, rate_hz: u32, pcm: &[u8]) -> bool {
    let Ok(header) = header(FrameKind::Audio { rate_hz }, pcm.len()) else { return false };
    buffer.extend_from_slice(&header);
    buffer.extend_from_slice(pcm);
    true
}

fn append_silence(buffer: &mut Vec<u8>, rate_hz: u32) {
    let length = frame_bytes(rate_hz);
    if let Ok(header) = header(FrameKind::Audio { rate_hz }, length) {
        buffer.extend_from_slice(&header);
        buffer.resize(buffer.len() + length, 0);
    }
}
