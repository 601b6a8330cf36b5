//! Both directions of a call, side by side, as they come.

use std::collections::VecDeque;
use std::time::Duration;

use voxtra_core::media::Frame;

use crate::pcm;

/// How much waits on each side before the first sample goes out: frames come with jitter.
const LEAD: Duration = Duration::from_millis(60);

/// A side that is so far ahead of its clock is cut back to [`LEAD`]: the two clocks differ.
const AHEAD_MAX: Duration = Duration::from_millis(240);

/// Below this a side is silent, in units of the sample's value: about -50 dBFS.
const SILENCE_PEAK: i16 = 100;

/// Joins two sides into one stereo stream, left what the other side says, right what it hears. What is missing when
/// its time has come is silence. Keeps at most 240 ms of each side.
#[derive(Debug, Clone)]
pub struct StereoStream {
    rate_hz: u32,
    said: VecDeque<i16>,
    heard: VecDeque<i16>,
    running: bool,
    cut_samples: u64,
}

impl StereoStream {
    /// An empty one.
    pub fn new(rate_hz: u32) -> Self {
        Self { rate_hz, said: VecDeque::new(), heard: VecDeque::new(), running: false, cut_samples: 0 }
    }

    /// The other side said this.
    pub fn said(&mut self, frame: &Frame) {
        self.said.extend(pcm::samples(frame.pcm()));
        self.cut_samples += cut(&mut self.said, self.rate_hz);
    }

    /// The other side heard this.
    pub fn heard(&mut self, frame: &Frame) {
        self.heard.extend(pcm::samples(frame.pcm()));
        self.cut_samples += cut(&mut self.heard, self.rate_hz);
    }

    /// So much time has passed: adds that many pairs of samples to `out`, as 16-bit little-endian. Returns whether
    /// anybody could be heard. Nothing is added before the first audio has been there for 60 ms.
    pub fn take(&mut self, passed: Duration, out: &mut Vec<u8>) -> bool {
        self.running |= self.said.len().max(self.heard.len()) >= samples_in(LEAD, self.rate_hz);
        if !self.running {
            return false;
        }
        let mut loudest = 0;
        for _ in 0..samples_in(passed, self.rate_hz) {
            for side in [&mut self.said, &mut self.heard] {
                let sample = side.pop_front().unwrap_or(0);
                loudest = loudest.max(sample.saturating_abs());
                out.extend_from_slice(&sample.to_le_bytes());
            }
        }
        loudest > SILENCE_PEAK
    }

    /// What is left, at the end.
    pub fn drain(&mut self, out: &mut Vec<u8>) {
        let pairs = self.said.len().max(self.heard.len());
        for _ in 0..pairs {
            for side in [&mut self.said, &mut self.heard] {
                out.extend_from_slice(&side.pop_front().unwrap_or(0).to_le_bytes());
            }
        }
    }

    /// Forgets what waits: a pause.
    pub fn clear(&mut self) {
        self.said.clear();
        self.heard.clear();
    }

    /// Samples that were left out because a side ran ahead.
    pub fn cut_samples(&self) -> u64 {
        self.cut_samples
    }
}

fn samples_in(duration: Duration, rate_hz: u32) -> usize {
    let samples = duration.as_nanos().saturating_mul(u128::from(rate_hz)) / 1_000_000_000;
    usize::try_from(samples).unwrap_or(usize::MAX)
}

fn cut(side: &mut VecDeque<i16>, rate_hz: u32) -> u64 {
    if side.len() <= samples_in(AHEAD_MAX, rate_hz) {
        return 0;
    }
    let too_much = side.len() - samples_in(LEAD, rate_hz).min(side.len());
    side.drain(..too_much);
    too_much as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    const TICK: Duration = Duration::from_millis(20);

    fn frame(value: i16) -> Frame {
        Frame::new(Bytes::from(pcm::bytes(&[value; 160])))
    }

    fn pairs(bytes: &[u8]) -> Vec<(i16, i16)> {
        let samples: Vec<i16> = pcm::samples(bytes).collect();
        samples.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
    }

    #[test]
    fn each_side_is_on_its_own_side_and_a_gap_is_silence() {
        let mut stream = StereoStream::new(8_000);
        let mut out = Vec::new();
        for _ in 0..3 {
            assert!(!stream.take(TICK, &mut out));
            stream.said(&frame(1_000));
        }
        stream.heard(&frame(-2_000));
        for _ in 0..4 {
            stream.take(TICK, &mut out);
        }
        let pairs = pairs(&out);
        assert_eq!(pairs.len(), 4 * 160);
        assert_eq!((pairs[0], pairs[159], pairs[160]), ((1_000, -2_000), (1_000, -2_000), (1_000, 0)));
        assert_eq!(pairs[3 * 160], (0, 0));
    }

    #[test]
    fn a_late_frame_makes_no_gap() {
        let mut stream = StereoStream::new(8_000);
        let mut out = Vec::new();
        for _ in 0..3 {
            stream.said(&frame(5));
        }
        for late in [false, true, false, false, true, false] {
            stream.take(TICK, &mut out);
            stream.said(&frame(5));
            if late {
                stream.take(TICK, &mut out);
                stream.said(&frame(5));
            }
        }
        assert!(pairs(&out).iter().all(|(left, _)| *left == 5));
    }

    #[test]
    fn silence_is_told_from_speech() {
        let mut stream = StereoStream::new(8_000);
        let mut out = Vec::new();
        for value in [0, 0, 0, 50, 3_000] {
            stream.heard(&frame(value));
        }
        let spoke: Vec<bool> = (0..6).map(|_| stream.take(TICK, &mut out)).collect();
        assert_eq!(spoke, [false, false, false, false, true, false]);
    }

    proptest! {
        #[test]
        fn it_never_keeps_more_than_its_bound_and_adds_whole_pairs(steps in prop::collection::vec(0_u8..3, 0..400)) {
            let mut stream = StereoStream::new(8_000);
            let mut out = Vec::new();
            for step in steps {
                match step {
                    0 => stream.said(&frame(1)),
                    1 => stream.heard(&frame(1)),
                    _ => drop(stream.take(TICK, &mut out)),
                }
                prop_assert!(stream.said.len().max(stream.heard.len()) <= samples_in(AHEAD_MAX, 8_000));
                prop_assert_eq!(out.len() % 4, 0);
            }
        }
    }
}
