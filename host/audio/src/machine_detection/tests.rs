#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::*;
use crate::tone;

/// A line on which somebody speaks: a voice of harmonics under formants, whose pitch glides and whose loudness goes
/// up and down with each syllable.
struct Line {
    rate_hz: u32,
    samples: Vec<i16>,
    noise: f64,
    seed: u32,
}

impl Line {
    fn new(rate_hz: u32, noise: f64) -> Self {
        Self { rate_hz, samples: Vec::new(), noise, seed: 12_345 }
    }

    fn random(&mut self) -> f64 {
        self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(self.seed >> 8) / f64::from(1u32 << 23) - 1.0
    }

    fn add(mut self, length_ms: u32, mut sound: impl FnMut(f64) -> f64) -> Self {
        for n in 0..length_ms * self.rate_hz / 1_000 {
            let noise = self.random() * self.noise * 1.7;
            let sample = sound(f64::from(n) / f64::from(self.rate_hz)) + noise;
            self.samples.push(sample.clamp(-32_768.0, 32_767.0) as i16);
        }
        self
    }

    fn silence(self, length_ms: u32) -> Self {
        self.add(length_ms, |_| 0.0)
    }

    /// Syllables of 180 ms without a pause.
    fn talk(self, length_ms: u32, level: f64) -> Self {
        let mut phase = 0.0;
        let step = 1.0 / f64::from(self.rate_hz);
        self.add(length_ms, |at| {
            let syllable = (at / 0.18).fract();
            let pitch_hz = 120.0 + 40.0 * (at * 3.0).sin();
            phase += pitch_hz * step;
            let voice: f64 = (1..20)
                .map(|nth| {
                    let hz = pitch_hz * f64::from(nth);
                    let formants = [500.0, 1_500.0, 2_500.0];
                    let gain: f64 = formants.iter().map(|f| (-((hz - f) / 200.0).powi(2)).exp()).sum();
                    gain * (TAU * phase * f64::from(nth)).sin()
                })
                .sum();
            level * voice * (0.15 + (std::f64::consts::PI * syllable).sin())
        })
    }

    fn words(self, count: u32, length_ms: u32, pause_ms: u32) -> Self {
        (0..count).fold(self, |line, _| line.talk(length_ms, 3_000.0).silence(pause_ms))
    }

    fn beep(self, hz: f64, length_ms: u32) -> Self {
        self.add(length_ms, |at| 6_000.0 * (TAU * hz * at).sin())
    }

    fn heard(&self, options: DetectorOptions) -> (Option<Verdict>, Vec<Beep>) {
        let mut detection = MachineDetection::new(options, self.rate_hz).unwrap();
        let (mut verdict, mut beeps) = (None, Vec::new());
        for frame in self.samples.chunks(self.rate_hz as usize / 50) {
            let findings = detection.push(frame.iter().copied());
            if let Some(found) = findings.verdict {
                assert_eq!(verdict.replace(found), None, "two verdicts");
            }
            beeps.extend(findings.beep);
        }
        (verdict.or(detection.finish()), beeps)
    }

    fn verdict(&self) -> (AnsweredBy, Reason) {
        let verdict = self.heard(DetectorOptions::default()).0.unwrap();
        (verdict.answered_by, verdict.reason)
    }
}

const HUMAN: (AnsweredBy, Reason) = (AnsweredBy::Human, Reason::ShortGreeting);

#[test]
fn a_hello_is_a_person_and_a_speech_is_a_machine() {
    for rate_hz in LINK_RATES_HZ {
        for noise in [0.0, 30.0, 400.0] {
            let line = || Line::new(rate_hz, noise).silence(400);
            let hello = line().talk(500, 6_000.0).silence(1_500);
            assert_eq!(hello.verdict(), HUMAN, "{rate_hz} Hz, noise {noise}");
            let hello_yes = line().talk(450, 6_000.0).silence(300).talk(400, 6_000.0).silence(1_500);
            assert_eq!(hello_yes.verdict(), HUMAN, "{rate_hz} Hz, noise {noise}");
            let machine = line().talk(6_000, 6_000.0).silence(300).beep(1_000.0, 400).silence(500);
            let (verdict, beeps) = machine.heard(DetectorOptions::default());
            let verdict = verdict.unwrap();
            assert_eq!((verdict.answered_by, verdict.reason), (AnsweredBy::Machine, Reason::LongGreeting));
            assert!((2_400..2_800).contains(&verdict.after_ms), "{verdict:?}");
            assert_eq!(beeps.len(), 1, "{rate_hz} Hz, noise {noise}: {beeps:?}");
            assert!(beeps[0].hz.abs_diff(1_000) < 40 && beeps[0].length_ms.abs_diff(400) <= 40, "{beeps:?}");
        }
    }
}

#[test]
fn many_words_are_a_machine() {
    let options = DetectorOptions { greeting_ms: 60_000, ..DetectorOptions::default() };
    let verdict = Line::new(8_000, 0.0).words(7, 200, 150).heard(options).0.unwrap();
    assert_eq!((verdict.answered_by, verdict.reason), (AnsweredBy::Machine, Reason::ManyWords));
}

#[test]
fn nobody_speaking_is_not_a_machine() {
    for noise in [0.0, 100.0] {
        let line = Line::new(8_000, noise).silence(4_000);
        assert_eq!(line.verdict(), (AnsweredBy::NotSure, Reason::InitialSilence));
    }
}

#[test]
fn a_steady_noise_is_not_speech() {
    for noise in [500.0, 1_000.0, 1_900.0] {
        let line = Line::new(8_000, noise).silence(4_000);
        assert_eq!(line.verdict(), (AnsweredBy::NotSure, Reason::InitialSilence), "{noise}");
    }
}

#[test]
fn clicks_are_not_words() {
    let click = |line: Line| line.talk(40, 6_000.0).silence(300);
    let line = (0..10).fold(Line::new(8_000, 0.0).silence(200), |line, _| click(line));
    assert_eq!(line.verdict(), (AnsweredBy::NotSure, Reason::InitialSilence));
}

#[test]
fn every_usual_beep_is_heard_at_every_rate() {
    for rate_hz in LINK_RATES_HZ {
        for hz in [360.0, 425.0, 800.0, 1_000.0, 1_400.0, 1_980.0] {
            let line = Line::new(rate_hz, 30.0).silence(500).beep(hz, 150).silence(500);
            let (verdict, beeps) = line.heard(DetectorOptions::default());
            assert_eq!(verdict.unwrap().reason, Reason::Beep, "{hz} Hz at {rate_hz}");
            assert!(f64::from(beeps[0].hz) / hz > 0.97 && f64::from(beeps[0].hz) / hz < 1.03, "{beeps:?}");
        }
    }
}

#[test]
fn what_is_no_beep_is_not_taken_for_one() {
    let beeps = |line: Line| line.silence(300).heard(DetectorOptions::default()).1;
    assert_eq!(beeps(Line::new(8_000, 0.0).beep(1_000.0, 60)), []);
    assert_eq!(beeps(Line::new(8_000, 0.0).beep(200.0, 500)), []);
    assert_eq!(beeps(Line::new(8_000, 0.0).beep(2_500.0, 500)), []);
    assert_eq!(beeps(Line::new(8_000, 0.0).beep(440.0, 3_000)), []);
    assert_eq!(beeps(Line::new(8_000, 2_000.0).silence(1_000)), []);
    assert_eq!(beeps(Line::new(8_000, 0.0).talk(4_000, 6_000.0)), []);
    let mut keys = Line::new(8_000, 0.0);
    keys.samples
        .extend("0123456789*#".chars().flat_map(|key| tone::Tone::dtmf(key, 8_000).unwrap().take_ms(200, 8_000)));
    assert_eq!(beeps(keys), []);
    let glide = Line::new(8_000, 0.0).add(1_000, |at| 6_000.0 * (TAU * (400.0 + 800.0 * at) * at).sin());
    assert_eq!(beeps(glide), []);
}

#[test]
fn it_listens_for_the_beep_after_its_verdict() {
    let line = Line::new(16_000, 20.0).talk(2_000, 5_000.0).silence(3_500).beep(440.0, 600).silence(200);
    let (verdict, beeps) = line.heard(DetectorOptions::default());
    assert!(verdict.is_some());
    assert_eq!(beeps.len(), 1);
}

#[test]
fn audio_that_ends_early_has_a_verdict_too() {
    let line = Line::new(8_000, 0.0).silence(200).talk(500, 5_000.0);
    assert_eq!(line.verdict(), (AnsweredBy::NotSure, Reason::OutOfTime));
    let mut detection = MachineDetection::new(DetectorOptions::default(), 8_000).unwrap();
    assert_eq!(detection.finish().unwrap().reason, Reason::InitialSilence);
    assert_eq!(detection.finish(), None);
}

#[test]
fn a_rate_that_no_link_has_is_refused() {
    assert!(MachineDetection::new(DetectorOptions::default(), 44_100).is_none());
    assert!(MachineDetection::new(DetectorOptions::default(), 0).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn there_is_one_verdict_within_the_time_whatever_is_heard(
        pieces in proptest::collection::vec((0u32..600, any::<i16>(), 0u8..3), 0..12),
        options in (0u32..3_000, 0u32..3_000, 0u32..2_000, 0u32..6, 0u32..300, 0u32..300, 0u32..4_000, any::<u16>()),
        rate in 0usize..4,
        chunk in 1usize..700,
    ) {
        let options = DetectorOptions {
            initial_silence_ms: options.0,
            greeting_ms: options.1,
            after_greeting_silence_ms: options.2,
            max_words: options.3,
            min_word_ms: options.4,
            between_words_ms: options.5,
            total_ms: options.6,
            silence_level: options.7,
            ..DetectorOptions::default()
        };
        let rate_hz = LINK_RATES_HZ[rate];
        let mut line = Line::new(rate_hz, 0.0);
        for (length_ms, level, kind) in pieces {
            let level = f64::from(level);
            line = match kind {
                0 => line.add(length_ms, |_| level),
                1 => line.talk(length_ms, level),
                _ => line.beep(level.abs() / 8.0, length_ms),
            };
        }
        let mut detection = MachineDetection::new(options.clone(), rate_hz).unwrap();
        let mut verdicts = Vec::new();
        for piece in line.samples.chunks(chunk) {
            verdicts.extend(detection.push(piece.iter().copied()).verdict);
        }
        verdicts.extend(detection.finish());
        prop_assert_eq!(verdicts.len(), 1);
        prop_assert!(verdicts[0].after_ms <= options.total_ms.max(BLOCK_MS) + BLOCK_MS);
        // How the audio is cut does not matter.
        let mut whole = MachineDetection::new(options, rate_hz).unwrap();
        let at_once = whole.push(line.samples.iter().copied()).verdict;
        prop_assert_eq!(at_once.or_else(|| whole.finish()), Some(verdicts[0]));
    }
}
