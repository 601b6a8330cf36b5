//! A recording by the simulated PBX: both sides, mixed.

use std::time::Duration;

use voxtra_core::RecordingId;
use voxtra_core::telephony::PbxRecording;

use super::line::SILENCE_PEAK;
use super::{LINE_RATE_HZ, LineFrame, mix_into};

/// How long the tone is that tells the caller, and its frequency.
const BEEP_MS: u32 = 200;

/// See the module.
pub(super) struct Tape {
    pub(super) id: RecordingId,
    pub(super) stored_name: String,
    pub(super) paused: bool,
    samples: Vec<i16>,
    beep: std::vec::IntoIter<i16>,
    most_samples: usize,
    silent_samples: usize,
    most_silent_samples: Option<usize>,
}

impl Tape {
    pub(super) fn new(recording: &PbxRecording) -> Self {
        let beep = if recording.beep { voxtra_audio::tone::beep(BEEP_MS, LINE_RATE_HZ) } else { Vec::new() };
        Self {
            id: recording.id.clone(),
            stored_name: recording.stored_name.clone(),
            paused: false,
            samples: Vec::new(),
            beep: beep.into_iter(),
            most_samples: samples_in(recording.max_duration),
            silent_samples: 0,
            most_silent_samples: recording.max_silence.map(samples_in),
        }
    }

    /// Adds the tone to what the caller hears.
    pub(super) fn beep(&mut self, frame: &mut LineFrame) {
        mix_into(frame, 0, self.beep.by_ref().take(frame.len()));
    }

    /// Takes 20 ms of both sides; true when the recording is as long, or was silent for as long, as it may be.
    pub(super) fn record(&mut self, said: &LineFrame, heard: &LineFrame) -> bool {
        if self.paused {
            return false;
        }
        let mut both = *said;
        mix_into(&mut both, 0, heard.iter().copied());
        let loud = both.iter().any(|s| s.unsigned_abs() >= SILENCE_PEAK);
        self.silent_samples = if loud { 0 } else { self.silent_samples.saturating_add(both.len()) };
        let room = self.most_samples.saturating_sub(self.samples.len());
        self.samples.extend(both.iter().take(room));
        self.samples.len() >= self.most_samples
            || self.most_silent_samples.is_some_and(|most| self.silent_samples >= most)
    }

    /// What was recorded, and how long it is in milliseconds.
    pub(super) fn end(self) -> (Vec<i16>, u32) {
        let ms = self.samples.len() as u64 * 1000 / u64::from(LINE_RATE_HZ);
        (self.samples, u32::try_from(ms).unwrap_or(u32::MAX))
    }
}

fn samples_in(time: Duration) -> usize {
    let samples = time.as_millis().saturating_mul(u128::from(LINE_RATE_HZ)) / 1000;
    usize::try_from(samples).unwrap_or(usize::MAX)
}
