//! Whether one recording contains another, and how well: by measuring, not by listening.
//!
//! All signals are 8 kHz mono, 16 bit. The functions are pure and know nothing of calls.

use crate::fourier::correlate;

/// Samples in a millisecond.
const PER_MS: f64 = 8.0;

/// Below this the recording is silence, where a correlation says nothing: the smallest step of mu-law is 8.
const SILENT_RMS: f64 = 4.0;

/// Where a signal was found in a recording.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Match {
    /// From the recording's beginning to the signal's, in milliseconds, finer than a sample.
    pub offset_ms: f64,
    /// Normalised: 1 is the same signal, however loud; 0 has nothing to do with it.
    pub correlation: f64,
}

/// The place in a recording that is most like a signal, `None` when the recording is shorter than the signal or either
/// is silent.
#[must_use]
pub fn find(needle: &[i16], hay: &[i16]) -> Option<Match> {
    let needle: Vec<f64> = needle.iter().map(|s| f64::from(*s)).collect();
    let hay: Vec<f64> = hay.iter().map(|s| f64::from(*s)).collect();
    let needle_energy: f64 = needle.iter().map(|s| s * s).sum();
    let silent = SILENT_RMS * SILENT_RMS * needle.len() as f64;
    if needle_energy <= silent {
        return None;
    }
    let scores: Vec<f64> = correlate(&needle, &hay)
        .into_iter()
        .zip(window_energies(&hay, needle.len()))
        .map(|(sum, energy)| if energy <= silent { 0.0 } else { sum / (needle_energy * energy).sqrt() })
        .collect();
    let (at, best) = scores.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
    if best <= 0.0 {
        return None;
    }
    Some(Match { offset_ms: (at as f64 + vertex(&scores, at)) / PER_MS, correlation: best.min(1.0) })
}

/// How long after it was spoken a signal was heard, in milliseconds: both times counted in the recording. `None` when
/// it is not in the recording with a correlation of at least 0.5.
#[must_use]
pub fn delay_ms(spoken: &[i16], spoken_at_ms: f64, heard: &[i16]) -> Option<f64> {
    find(spoken, heard).filter(|m| m.correlation >= 0.5).map(|m| m.offset_ms - spoken_at_ms)
}

/// The share of a signal's energy at one frequency, by Goertzel's algorithm: about 1 for that tone, about 0 for
/// anything else. 0 for silence.
#[must_use]
pub fn tone_share(signal: &[i16], frequency_hz: f64) -> f64 {
    let energy: f64 = signal.iter().map(|s| f64::from(*s).powi(2)).sum();
    if energy <= SILENT_RMS * SILENT_RMS * signal.len() as f64 {
        return 0.0;
    }
    let turn = 2.0 * (std::f64::consts::TAU * frequency_hz / (1000.0 * PER_MS)).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in signal {
        (last, before) = (f64::from(*sample) + turn * last - before, last);
    }
    let power = last * last + before * before - turn * last * before;
    (2.0 * power / (signal.len() as f64 * energy)).min(1.0)
}

/// The longest stretch in which a tone has at least nine tenths of the energy of every 20 ms, in milliseconds.
#[must_use]
pub fn tone_length_ms(signal: &[i16], frequency_hz: f64) -> u32 {
    longest_run_ms(signal, |frame| tone_share(frame, frequency_hz) >= 0.9)
}

/// The longest silent stretch, in milliseconds, to 20 ms.
#[must_use]
pub fn longest_silence_ms(signal: &[i16]) -> u32 {
    longest_run_ms(signal, |frame| rms(frame) <= 2.0 * SILENT_RMS)
}

/// The loudness of a signal as the root of its mean square; 0 without samples.
#[must_use]
pub fn rms(signal: &[i16]) -> f64 {
    if signal.is_empty() {
        return 0.0;
    }
    (signal.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / signal.len() as f64).sqrt()
}

fn longest_run_ms(signal: &[i16], is: impl Fn(&[i16]) -> bool) -> u32 {
    const FRAME_SAMPLES: usize = 160;
    let (mut longest, mut run) = (0, 0);
    for frame in signal.chunks_exact(FRAME_SAMPLES) {
        run = if is(frame) { run + 20 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

fn window_energies(signal: &[f64], window: usize) -> Vec<f64> {
    let mut sums = Vec::with_capacity(signal.len() + 1);
    let mut sum = 0.0;
    sums.push(sum);
    for sample in signal {
        sum += sample * sample;
        sums.push(sum);
    }
    sums.iter().zip(sums.iter().skip(window)).map(|(from, to)| to - from).collect()
}

/// How far from a sample the top of the parabola through it and its neighbours lies.
fn vertex(scores: &[f64], at: usize) -> f64 {
    let neighbours = at.checked_sub(1).and_then(|left| Some((*scores.get(left)?, *scores.get(at + 1)?)));
    let (Some((left, right)), Some(top)) = (neighbours, scores.get(at)) else { return 0.0 };
    let bend = left - 2.0 * top + right;
    if bend >= 0.0 { 0.0 } else { (0.5 * (left - right) / bend).clamp(-0.5, 0.5) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::g711::{ulaw_decode, ulaw_encode};
    use crate::signals::{chirp, silence, speech, tone};

    fn after(gap_ms: u32, signal: &[i16]) -> Vec<i16> {
        let mut hay = silence(gap_ms);
        hay.extend_from_slice(signal);
        hay.extend(silence(400));
        hay
    }

    #[test]
    fn a_degraded_signal_is_found_where_it_is() {
        let needle = speech(1, 1500);
        let degraded: Vec<i16> = needle.iter().map(|s| ulaw_decode(ulaw_encode(s / 3))).collect();
        let found = find(&needle, &after(730, &degraded)).unwrap();
        assert!(found.correlation > 0.95, "{found:?}");
        assert!((found.offset_ms - 730.0).abs() < 0.1, "{found:?}");
    }

    #[test]
    fn other_speech_is_not_found() {
        for other in 2..12 {
            let found = find(&speech(1, 1500), &after(300, &speech(other, 4000)));
            assert!(found.is_none_or(|m| m.correlation < 0.35), "seed {other}: {found:?}");
        }
    }

    #[test]
    fn part_of_a_signal_is_not_the_whole() {
        let needle = speech(3, 2000);
        let mut hay = after(2500, &needle[..needle.len() / 2]);
        hay.extend(silence(1000));
        let found = find(&needle, &hay).unwrap();
        assert!((0.4..0.9).contains(&found.correlation), "{found:?}");
    }

    #[test]
    fn silence_and_shortness_are_no_match() {
        let needle = speech(4, 500);
        assert_eq!(find(&needle, &silence(3000)), None);
        assert_eq!(find(&needle, &needle[1..]), None);
        assert_eq!(find(&silence(500), &needle), None);
        assert_eq!(find(&[], &[]), None);
    }

    #[test]
    fn delays_are_finer_than_a_sample() {
        let needle = chirp(300.0, 1800.0, 600);
        // Half a sample later: the mean of neighbours.
        let later: Vec<i16> = needle.windows(2).map(|w| ((i32::from(w[0]) + i32::from(w[1])) / 2) as i16).collect();
        let delay = delay_ms(&needle[1..], 100.0, &after(160, &later)).unwrap();
        assert!((delay - 60.0).abs() <= 0.075 && (delay - 60.0).abs() > 0.04, "{delay}");
    }

    #[test]
    fn a_tone_is_told_from_its_neighbours_and_from_speech() {
        let signal = tone(440.0, 500, 8000);
        assert!(tone_share(&signal, 440.0) > 0.99);
        assert!(tone_share(&signal, 480.0) < 0.05);
        assert!(tone_share(&speech(5, 1000), 440.0) < 0.3);
        assert_eq!(tone_share(&silence(100), 440.0), 0.0);
        assert_eq!(tone_length_ms(&after(200, &signal), 440.0), 500);
    }

    #[test]
    fn silence_is_measured() {
        assert_eq!(longest_silence_ms(&after(700, &tone(1000.0, 300, 9000))), 700);
        assert_eq!(rms(&[]), 0.0);
        assert!((rms(&tone(500.0, 1000, 10_000)) - 7071.0).abs() < 10.0);
    }
}
