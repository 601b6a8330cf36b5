//! What a caller hears who waits: a tune of the simulator's own, and the tone that says that it rings elsewhere.

use std::sync::Arc;

use voxtra_audio::tone::Tone;

use super::tones::tone;
use super::{LINE_RATE_HZ, LineFrame, mix_into};

/// The notes of the tune, in hertz: up and down the chord of C major with a sixth.
const NOTES_HZ: [f64; 12] = [261.63, 329.63, 392.0, 440.0, 523.25, 440.0, 392.0, 329.63, 349.23, 440.0, 523.25, 392.0];

/// How long each note is: the tune is 3 s long.
const NOTE_MS: usize = 250;

/// The loudest a note gets: the music lies below speech.
const LEVEL: f64 = 5_000.0;

/// Sound that goes on until it is stopped.
pub(super) struct Endless {
    samples: Arc<[i16]>,
    position: usize,
}

impl Endless {
    /// The music on hold.
    pub(super) fn music() -> Self {
        let note_samples = NOTE_MS * LINE_RATE_HZ as usize / 1000;
        let note = |hz: f64| {
            let mut sine = Tone::sine(hz, LEVEL, LINE_RATE_HZ);
            // Plucked: loud at once, then fading, so that no note ends with a click.
            (0..note_samples).map(move |n| {
                let left = (note_samples - n) as f64 / note_samples as f64;
                let attack = (n as f64 / 40.0).min(1.0);
                (f64::from(sine.next_sample()) * left * left * attack) as i16
            })
        };
        Self { samples: NOTES_HZ.into_iter().flat_map(note).collect(), position: 0 }
    }

    /// It rings elsewhere.
    pub(super) fn ring_tone() -> Self {
        let samples = tone("ring").ok().and_then(|tone| tone.again).unwrap_or_default();
        Self { samples, position: 0 }
    }

    /// Adds the next 20 ms.
    pub(super) fn add_to(&mut self, frame: &mut LineFrame) {
        if self.samples.is_empty() {
            return;
        }
        let next = self.samples.iter().copied().cycle().skip(self.position);
        mix_into(frame, 0, next);
        self.position = (self.position + frame.len()) % self.samples.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::LINE_FRAME_SAMPLES;

    #[test]
    fn the_music_goes_on_without_a_click_and_is_never_silent_for_long() {
        let mut music = Endless::music();
        let (mut heard, mut quiet_frames) = (Vec::new(), 0);
        for _ in 0..400 {
            let mut frame = [0; LINE_FRAME_SAMPLES];
            music.add_to(&mut frame);
            let loud = frame.iter().any(|s| s.unsigned_abs() > 200);
            quiet_frames = if loud { 0 } else { quiet_frames + 1 };
            assert!(quiet_frames < 4);
            heard.extend(frame);
        }
        let jump = heard.windows(2).map(|w| (i32::from(w[1]) - i32::from(w[0])).abs()).max();
        assert!(jump < Some(3_000), "{jump:?}");
    }
}
