//! The media port: how a call's audio passes between an adapter, which moves it, and whoever listens and speaks.
//!
//! Audio is signed 16-bit little-endian mono. Both sides of a [`MediaLink`] are bounded; what does not fit is dropped
//! and counted, never waited for on the media path.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

/// How long a full frame lasts.
pub const FRAME_MS: u32 = 20;

/// The sample rates that a link may have.
pub const LINK_RATES_HZ: [u32; 4] = [8_000, 16_000, 24_000, 48_000];

/// How much of what the other side says may wait to be read; of more, the oldest goes.
pub const INBOUND_QUEUE_MS: u32 = 200;

/// How much may be queued to be said before a writer has to wait.
pub const OUTBOUND_QUEUE_MS: u32 = 200;

/// The bytes of 20 ms at a rate.
pub const fn frame_bytes(rate_hz: u32) -> usize {
    (rate_hz as usize / 1000) * FRAME_MS as usize * 2
}

/// The milliseconds that so many bytes last at a rate, rounded up.
pub const fn bytes_to_ms(bytes: usize, rate_hz: u32) -> u32 {
    let bytes_per_second = rate_hz as usize * 2;
    if bytes_per_second == 0 { 0 } else { ((bytes * 1000).div_ceil(bytes_per_second)) as u32 }
}

/// Up to 20 ms of audio. Cloning it copies no samples.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    pcm: Bytes,
}

impl Frame {
    /// A frame of these bytes. An odd last byte is half a sample and is left out.
    pub fn new(mut pcm: Bytes) -> Self {
        pcm.truncate(pcm.len() & !1);
        Self { pcm }
    }

    /// The samples as bytes.
    pub fn pcm(&self) -> &Bytes {
        &self.pcm
    }

    /// The samples as bytes.
    pub fn into_pcm(self) -> Bytes {
        self.pcm
    }

    /// How many bytes it has; always even.
    pub fn len_bytes(&self) -> usize {
        self.pcm.len()
    }

    /// How long it lasts at a rate, rounded up.
    pub fn duration_ms(&self, rate_hz: u32) -> u32 {
        bytes_to_ms(self.pcm.len(), rate_hz)
    }

    /// Whether it has no sample.
    pub fn is_empty(&self) -> bool {
        self.pcm.is_empty()
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} bytes)", self.pcm.len())
    }
}

/// What the other side says. One reader at a time: a later poll replaces the waker of an earlier one.
pub trait AudioSource: Send + Sync {
    /// The next frame; `None` when the link has closed and nothing is left.
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Frame>>;

    /// Ready when [`AudioSource::poll_frame`] would be; takes nothing.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()>;

    /// How many frames were dropped because nobody read them in time.
    fn dropped_frames(&self) -> u64;
}

/// What we say.
pub trait AudioSink: Send + Sync {
    /// Ready while less than [`OUTBOUND_QUEUE_MS`] are queued; an error when the link has closed.
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), LinkClosed>>;

    /// Queues a frame of at most 20 ms. Never waits: who does not ask [`AudioSink::poll_ready`] first can have the
    /// frame dropped and counted.
    fn push(&self, frame: Frame) -> Result<(), LinkClosed>;

    /// Forgets what is queued and not yet on its way.
    fn clear(&self);

    /// How much is queued and not yet on its way.
    fn queued_ms(&self) -> u32;
}

/// The audio connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audio connection is closed")]
pub struct LinkClosed;

/// A call's open audio, both ways, at one rate.
#[derive(Clone)]
pub struct MediaLink {
    /// One of [`LINK_RATES_HZ`].
    pub rate_hz: u32,
    /// What the other side says.
    pub source: Arc<dyn AudioSource>,
    /// What we say.
    pub sink: Arc<dyn AudioSink>,
}

impl fmt::Debug for MediaLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MediaLink({} Hz)", self.rate_hz)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_sample_is_left_out() {
        assert_eq!(Frame::new(Bytes::from_static(&[1, 2, 3])).len_bytes(), 2);
    }

    #[test]
    fn bytes_and_milliseconds_agree() {
        for rate_hz in LINK_RATES_HZ {
            assert_eq!(bytes_to_ms(frame_bytes(rate_hz), rate_hz), FRAME_MS);
        }
        assert_eq!(bytes_to_ms(1, 8_000), 1);
        assert_eq!(bytes_to_ms(5, 0), 0);
    }
}
