//! Tones: the keys of a phone (ITU-T Q.23), a beep, and the tones of a line in their European form (ETSI TR 101 041-2:
//! 425 Hz). For the simulator, prompts and tests.

use std::f64::consts::TAU;

use crate::pcm;

/// The level of each sine of a pair: both together stay below full scale.
const PAIR_LEVEL: f64 = 9_000.0;

/// What a line's tones are made of.
const LINE_HZ: f64 = 425.0;

/// An endless tone of one or two sines.
#[derive(Debug, Clone)]
pub struct Tone {
    /// Phase and its step a sample, in turns; the second may stand still.
    sines: [(f64, f64); 2],
    level: f64,
}

impl Tone {
    /// One sine. `level` is its peak, up to 32,767.
    pub fn sine(hz: f64, level: f64, rate_hz: u32) -> Self {
        Self { sines: [(0.0, turns(hz, rate_hz)), (0.0, 0.0)], level }
    }

    /// Two sines of one level, `level` being the peak of each.
    pub fn pair(low_hz: f64, high_hz: f64, level: f64, rate_hz: u32) -> Self {
        Self { sines: [(0.0, turns(low_hz, rate_hz)), (0.0, turns(high_hz, rate_hz))], level }
    }

    /// The tone of a key: `0`-`9`, `*`, `#`, `A`-`D`; `None` for anything else.
    pub fn dtmf(key: char, rate_hz: u32) -> Option<Self> {
        let (low_hz, high_hz) = dtmf_hz(key)?;
        Some(Self::pair(low_hz, high_hz, PAIR_LEVEL, rate_hz))
    }

    /// The next sample.
    pub fn next_sample(&mut self) -> i16 {
        let sum: f64 = self.sines.iter().map(|(phase, _)| (phase * TAU).sin()).sum();
        for (phase, step) in &mut self.sines {
            *phase = (*phase + *step).fract();
        }
        pcm::round((sum * self.level) as f32)
    }

    /// The next so many milliseconds of it.
    pub fn take_ms(&mut self, length_ms: u32, rate_hz: u32) -> Vec<i16> {
        (0..samples(length_ms, rate_hz)).map(|_| self.next_sample()).collect()
    }
}

/// The two frequencies of a key.
pub fn dtmf_hz(key: char) -> Option<(f64, f64)> {
    const KEYS: [&str; 4] = ["123A", "456B", "789C", "*0#D"];
    const LOW_HZ: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
    const HIGH_HZ: [f64; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];
    let key = key.to_ascii_uppercase();
    KEYS.iter().zip(LOW_HZ).find_map(|(row, low_hz)| {
        let column = row.chars().position(|of_row| of_row == key)?;
        HIGH_HZ.get(column).map(|high_hz| (low_hz, *high_hz))
    })
}

/// A beep of 1 kHz, without a click at either end.
pub fn beep(length_ms: u32, rate_hz: u32) -> Vec<i16> {
    faded(Tone::sine(1_000.0, PAIR_LEVEL, rate_hz).take_ms(length_ms, rate_hz), rate_hz)
}

/// So much of the tone that invites to dial: it does not pause.
pub fn dial(length_ms: u32, rate_hz: u32) -> Vec<i16> {
    Tone::sine(LINE_HZ, PAIR_LEVEL, rate_hz).take_ms(length_ms, rate_hz)
}

/// So much of the busy tone: half a second on, half a second off.
pub fn busy(length_ms: u32, rate_hz: u32) -> Vec<i16> {
    let period = samples(1_000, rate_hz).max(1);
    let mut tone = Tone::sine(LINE_HZ, PAIR_LEVEL, rate_hz);
    (0..samples(length_ms, rate_hz)).map(|at| if at % period < period / 2 { tone.next_sample() } else { 0 }).collect()
}

fn turns(hz: f64, rate_hz: u32) -> f64 {
    (hz / f64::from(rate_hz.max(1))).fract()
}

fn samples(length_ms: u32, rate_hz: u32) -> usize {
    (u64::from(length_ms) * u64::from(rate_hz) / 1_000) as usize
}

/// Five milliseconds of rise and fall.
fn faded(mut tone: Vec<i16>, rate_hz: u32) -> Vec<i16> {
    let edge = samples(5, rate_hz).min(tone.len() / 2).max(1);
    let length = tone.len();
    for (at, sample) in tone.iter_mut().enumerate() {
        let from_edge = at.min(length - 1 - at);
        if from_edge < edge {
            *sample = pcm::round(f32::from(*sample) * from_edge as f32 / edge as f32);
        }
    }
    tone
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn level_at(samples: &[i16], hz: f64, rate_hz: u32) -> f64 {
        let (mut re, mut im) = (0.0, 0.0);
        for (n, sample) in samples.iter().enumerate() {
            let angle = TAU * hz * n as f64 / f64::from(rate_hz);
            re += f64::from(*sample) * angle.cos();
            im += f64::from(*sample) * angle.sin();
        }
        2.0 * f64::hypot(re, im) / samples.len() as f64
    }

    #[test]
    fn a_key_has_its_two_frequencies_and_no_other() {
        for rate_hz in voxtra_core::media::LINK_RATES_HZ {
            let five = Tone::dtmf('5', rate_hz).unwrap().take_ms(200, rate_hz);
            assert!((level_at(&five, 770.0, rate_hz) - PAIR_LEVEL).abs() < 200.0);
            assert!((level_at(&five, 1_336.0, rate_hz) - PAIR_LEVEL).abs() < 200.0);
            assert!(level_at(&five, 697.0, rate_hz) < 1_000.0);
            assert!(level_at(&five, 1_209.0, rate_hz) < 1_000.0);
        }
    }

    #[test]
    fn the_sixteen_keys_all_differ_and_nothing_else_is_a_key() {
        let tones: Vec<_> = "0123456789*#ABCD".chars().map(|key| dtmf_hz(key).unwrap()).collect();
        for (at, tone) in tones.iter().enumerate() {
            assert!(!tones[..at].contains(tone));
        }
        assert_eq!(dtmf_hz('a'), dtmf_hz('A'));
        assert!(dtmf_hz('x').is_none());
    }

    #[test]
    fn busy_is_on_and_off() {
        let tone = busy(1_000, 8_000);
        assert_eq!(tone.len(), 8_000);
        assert!(level_at(&tone[..4_000], LINE_HZ, 8_000) > PAIR_LEVEL - 200.0);
        assert!(tone[4_000..].iter().all(|sample| *sample == 0));
    }

    #[test]
    fn a_beep_starts_and_ends_in_silence_whatever_its_length() {
        for length_ms in [0, 1, 3, 500] {
            let tone = beep(length_ms, 8_000);
            assert_eq!(tone.len(), length_ms as usize * 8);
            assert_eq!(tone.first().copied().unwrap_or(0), 0);
            assert_eq!(tone.last().copied().unwrap_or(0), 0);
        }
    }

    #[test]
    fn no_rate_makes_it_panic() {
        assert!(dial(100, 0).is_empty());
        assert!(busy(100, 0).is_empty());
        assert!(beep(100, 0).is_empty());
    }
}
