//! What was heard, on its way from the socket to the link's queue.

use bytes::{BufMut, Bytes, BytesMut};
use voxtra_audio::resample::UnsupportedRate;
use voxtra_audio::{InboundQueue, Resampler, pcm};
use voxtra_core::media::{Frame, frame_bytes};

use super::stats::{Counters, add};

/// Cuts audio to frames of the link's rate.
pub(super) struct Inbound {
    rate_hz: u32,
    /// For audio that comes at another rate, and from which.
    resampler: Option<(u32, Resampler)>,
    resampled: BytesMut,
}

impl Inbound {
    pub(super) fn new(rate_hz: u32) -> Self {
        Self { rate_hz, resampler: None, resampled: BytesMut::new() }
    }

    /// Hands on audio of any length that came at this rate.
    pub(super) fn take(
        &mut self,
        from_hz: u32,
        audio: Bytes,
        queue: &InboundQueue,
        counters: &Counters,
    ) -> Result<(), UnsupportedRate> {
        let mut rest = if from_hz == self.rate_hz { audio } else { self.resample(from_hz, &audio)? };
        while !rest.is_empty() {
            let frame = rest.split_to(rest.len().min(frame_bytes(self.rate_hz)));
            let dropped = queue.push(Frame::new(frame));
            add(&counters.frames_in, 1);
            add(&counters.dropped_inbound_frames, dropped);
        }
        Ok(())
    }

    fn resample(&mut self, from_hz: u32, audio: &[u8]) -> Result<Bytes, UnsupportedRate> {
        let resampler = match &mut self.resampler {
            Some((of_hz, resampler)) if *of_hz == from_hz => resampler,
            other => &mut other.insert((from_hz, Resampler::new(from_hz, self.rate_hz)?)).1,
        };
        let resampled = &mut self.resampled;
        // Room for several frames, so that the buffer is used again when those before have been read.
        if resampled.capacity() < frame_bytes(self.rate_hz) {
            resampled.reserve(4 * frame_bytes(self.rate_hz));
        }
        resampler.process(pcm::samples(audio), |sample| resampled.put_i16_le(sample));
        Ok(resampled.split().freeze())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::task::{Context, Poll, Waker};

    use voxtra_core::media::AudioSource;

    use super::*;

    fn lengths(queue: &InboundQueue) -> Vec<usize> {
        let mut cx = Context::from_waker(Waker::noop());
        std::iter::from_fn(|| match queue.poll_frame(&mut cx) {
            Poll::Ready(Some(frame)) => Some(frame.len_bytes()),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn long_audio_is_cut_to_frames_without_a_copy() {
        let (queue, counters) = (InboundQueue::new(8_000), Counters::default());
        let mut inbound = Inbound::new(8_000);
        inbound.take(8_000, Bytes::from(vec![1; 700]), &queue, &counters).unwrap();
        inbound.take(8_000, Bytes::new(), &queue, &counters).unwrap();
        assert_eq!(lengths(&queue), [320, 320, 60]);
        assert_eq!(counters.read().frames_in, 3);
    }

    #[test]
    fn audio_at_another_rate_is_brought_to_the_links() {
        let (queue, counters) = (InboundQueue::new(16_000), Counters::default());
        let mut inbound = Inbound::new(16_000);
        for from_hz in [8_000, 8_000, 48_000, 16_000] {
            inbound.take(from_hz, Bytes::from(vec![0; frame_bytes(from_hz)]), &queue, &counters).unwrap();
        }
        assert_eq!(lengths(&queue), [640; 4]);
        assert!(inbound.take(44_100, Bytes::from(vec![0; 1764]), &queue, &counters).is_err());
    }

    #[test]
    fn what_nobody_reads_is_dropped_and_counted() {
        let (queue, counters) = (InboundQueue::new(8_000), Counters::default());
        let mut inbound = Inbound::new(8_000);
        for _ in 0..12 {
            inbound.take(8_000, Bytes::from(vec![0; 320]), &queue, &counters).unwrap();
        }
        assert_eq!(counters.read().dropped_inbound_frames, 2);
    }
}
