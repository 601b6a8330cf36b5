//! A call's open audio: between the line's 8 kHz and the rate that the host asked for.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use voxtra_audio::resample::UnsupportedRate;
use voxtra_audio::{InboundQueue, OutboundQueue, Resampler, pcm};
use voxtra_core::media::{AudioSource, Frame, MediaLink};

use super::{LINE_FRAME_SAMPLES, LINE_RATE_HZ, LineFrame, mix_into};

/// The line's side of a [`MediaLink`].
pub(super) struct OpenLink {
    rate_hz: u32,
    inbound: Arc<InboundQueue>,
    outbound: Arc<OutboundQueue>,
    to_host: Resampler,
    from_host: Resampler,
    /// What the host said and the caller has not heard yet: less than 20 ms.
    waiting: VecDeque<i16>,
}

impl OpenLink {
    pub(super) fn new(rate_hz: u32) -> Result<Self, UnsupportedRate> {
        Ok(Self {
            rate_hz,
            inbound: Arc::new(InboundQueue::new(rate_hz)),
            outbound: Arc::new(OutboundQueue::new(rate_hz)),
            to_host: Resampler::new(LINE_RATE_HZ, rate_hz)?,
            from_host: Resampler::new(rate_hz, LINE_RATE_HZ)?,
            waiting: VecDeque::with_capacity(2 * LINE_FRAME_SAMPLES),
        })
    }

    /// The host's side.
    pub(super) fn link(&self) -> MediaLink {
        MediaLink { rate_hz: self.rate_hz, source: self.inbound.clone(), sink: self.outbound.clone() }
    }

    /// Passes on what the caller said in 20 ms.
    pub(super) fn caller_said(&mut self, frame: &LineFrame) {
        let mut samples = Vec::with_capacity(LINE_FRAME_SAMPLES * (self.rate_hz / LINE_RATE_HZ) as usize);
        self.to_host.process_into(frame, &mut samples);
        self.inbound.push(Frame::new(Bytes::from(pcm::bytes(&samples))));
    }

    /// Adds the next 20 ms of what the host says, or what there is of it.
    pub(super) fn hear(&mut self, frame: &mut LineFrame) {
        if self.outbound.take_cleared() {
            self.waiting.clear();
        }
        while self.waiting.len() < LINE_FRAME_SAMPLES
            && let Some(next) = self.outbound.try_pop()
        {
            self.from_host.process(pcm::samples(next.pcm()), |sample| self.waiting.push_back(sample));
        }
        let ready = self.waiting.len().min(LINE_FRAME_SAMPLES);
        mix_into(frame, 0, self.waiting.drain(..ready));
    }

    /// Frames of the caller's that the host did not read in time.
    pub(super) fn dropped_frames(&self) -> u64 {
        self.inbound.dropped_frames()
    }
}

impl Drop for OpenLink {
    fn drop(&mut self) {
        self.inbound.close();
        self.outbound.close();
    }
}
