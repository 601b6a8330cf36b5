//! Both directions of a call in one stereo file.

use std::io::{self, Write};
use std::time::Duration;

use voxtra_core::media::Frame;

use super::write_wav;
use crate::pcm;

/// How far audio may be from its place before it is moved there. Frames come with jitter and a few frames ahead of
/// their time; up to here they are joined without a gap.
const JITTER: Duration = Duration::from_millis(80);

/// Records what each side said at the time when it said it: left the caller, right the handler. What is missing is
/// silence. Kept in memory, 4 bytes a sample pair: a minute at 8 kHz takes 1.9 MB.
#[derive(Debug, Clone)]
pub struct StereoRecorder {
    rate_hz: u32,
    max_samples: usize,
    caller: Vec<i16>,
    handler: Vec<i16>,
    left_out_samples: u64,
}

impl StereoRecorder {
    /// An empty recording of at most this length; what comes later is left out and counted.
    pub fn new(rate_hz: u32, max_length: Duration) -> Self {
        Self {
            rate_hz,
            max_samples: samples_in(max_length, rate_hz),
            caller: Vec::new(),
            handler: Vec::new(),
            left_out_samples: 0,
        }
    }

    /// What the caller said at this time since the recording's start.
    pub fn caller(&mut self, at: Duration, frame: &Frame) {
        let track = (&mut self.caller, self.rate_hz, self.max_samples);
        self.left_out_samples += place(track, at, frame);
    }

    /// What the handler said at this time since the recording's start.
    pub fn handler(&mut self, at: Duration, frame: &Frame) {
        let track = (&mut self.handler, self.rate_hz, self.max_samples);
        self.left_out_samples += place(track, at, frame);
    }

    /// How long it is by now.
    pub fn length(&self) -> Duration {
        let samples = self.caller.len().max(self.handler.len()) as u64;
        Duration::from_millis(samples * 1_000 / u64::from(self.rate_hz.max(1)))
    }

    /// How many samples did not fit in.
    pub fn left_out_samples(&self) -> u64 {
        self.left_out_samples
    }

    /// Writes the WAV file. Both sides are made as long as the longer one.
    pub fn write(&self, to: impl Write) -> io::Result<()> {
        let length = self.caller.len().max(self.handler.len());
        let sample = |track: &[i16], at: usize| track.get(at).copied().unwrap_or(0);
        let both: Vec<i16> = (0..length).flat_map(|at| [sample(&self.caller, at), sample(&self.handler, at)]).collect();
        write_wav(to, self.rate_hz, 2, &both)
    }
}

fn samples_in(duration: Duration, rate_hz: u32) -> usize {
    let samples = duration.as_nanos().saturating_mul(u128::from(rate_hz)) / 1_000_000_000;
    usize::try_from(samples).unwrap_or(usize::MAX)
}

/// Adds a frame to a track; returns how many samples did not fit.
fn place((track, rate_hz, max_samples): (&mut Vec<i16>, u32, usize), at: Duration, frame: &Frame) -> u64 {
    let starts = samples_in(at, rate_hz);
    if starts > track.len().saturating_add(samples_in(JITTER, rate_hz)) {
        track.resize(starts.min(max_samples), 0);
    }
    let samples = pcm::samples(frame.pcm());
    let fit = samples.len().min(max_samples.saturating_sub(track.len()));
    let left_out = samples.len() - fit;
    track.extend(samples.take(fit));
    left_out as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use bytes::Bytes;

    use super::*;

    fn frame(value: i16) -> Frame {
        Frame::new(Bytes::from(pcm::bytes(&[value; 160])))
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn each_side_is_where_it_spoke() {
        let mut recorder = StereoRecorder::new(8_000, ms(10_000));
        recorder.caller(ms(0), &frame(1));
        recorder.handler(ms(1_000), &frame(2));
        assert_eq!(recorder.length(), ms(1_020));
        let mut file = Vec::new();
        recorder.write(&mut file).unwrap();
        let pairs: Vec<i16> = pcm::samples(&file[44..]).collect();
        assert_eq!(pairs.len(), 2 * 8_160);
        assert_eq!(pairs[0..2], [1, 0]);
        assert_eq!(pairs[2 * 160..2 * 160 + 2], [0, 0]);
        assert_eq!(pairs[2 * 8_000..2 * 8_000 + 2], [0, 2]);
    }

    #[test]
    fn jitter_makes_no_gaps_and_no_overlaps() {
        let mut recorder = StereoRecorder::new(8_000, ms(10_000));
        for (at, value) in [(0, 1), (0, 2), (0, 3), (75, 4), (80, 5)] {
            recorder.handler(ms(at), &frame(value));
        }
        assert_eq!(recorder.handler.len(), 5 * 160);
        assert!(recorder.handler.iter().all(|sample| *sample != 0));
    }

    #[test]
    fn it_never_grows_beyond_its_length() {
        let mut recorder = StereoRecorder::new(8_000, ms(50));
        recorder.caller(ms(0), &frame(1));
        recorder.caller(ms(20), &frame(1));
        recorder.caller(ms(40), &frame(1));
        assert_eq!((recorder.length(), recorder.left_out_samples()), (ms(50), 80));
        recorder.caller(Duration::MAX, &frame(1));
        assert_eq!((recorder.caller.len(), recorder.left_out_samples()), (400, 240));
    }
}
