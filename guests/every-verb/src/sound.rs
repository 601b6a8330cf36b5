//! Tones said and heard over raw audio at 8 kHz.

use std::f64::consts::TAU;
use std::time::{Duration, Instant};

use voxtra_sdk::{Audio, Error, pcm_to_samples, samples_to_pcm};

/// What a telephone line carries.
pub(crate) const RATE_HZ: u32 = 8_000;

/// A tone is written in pieces of so many samples: 100 ms.
const PIECE: usize = 800;

/// A quarter of full scale: loud, and far from being cut.
const AMPLITUDE: f64 = 8_192.0;

/// Says a tone and waits until it was said.
pub(crate) fn say_tone(audio: &Audio, tone_hz: u32, duration: Duration) -> Result<(), Error> {
    let samples = tone(tone_hz, duration);
    for piece in samples.chunks(PIECE) {
        audio.write(&samples_to_pcm(piece))?;
    }
    std::thread::sleep(audio.queued());
    Ok(())
}

fn tone(tone_hz: u32, duration: Duration) -> Vec<i16> {
    let count = duration.as_millis().saturating_mul(u128::from(RATE_HZ / 1000));
    let step = TAU * f64::from(tone_hz) / f64::from(RATE_HZ);
    (0..count).map(|n| ((n as f64 * step).sin() * AMPLITUDE) as i16).collect()
}

/// Listens for so long. What does not come counts as not heard.
pub(crate) fn hear(audio: &Audio, duration: Duration) -> Result<String, Error> {
    let began = Instant::now();
    let mut samples = Vec::new();
    while let Some(left) = duration.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
        match audio.read_timeout(left) {
            Ok(pcm) => samples.extend(pcm_to_samples(&pcm)),
            Err(Error::Timeout) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(describe(&samples))
}

/// How long, how loud, and of what pitch: a tone's crossings of zero, counted where it is not silent.
fn describe(samples: &[i16]) -> String {
    let duration_ms = samples.len() / (RATE_HZ as usize / 1000);
    let power: f64 = samples.iter().map(|&s| f64::from(s).powi(2)).sum();
    let rms = (power / samples.len().max(1) as f64).sqrt().abs();
    format!("{duration_ms} ms {rms:.0} rms {} hz", pitch_hz(samples, rms))
}

fn pitch_hz(samples: &[i16], rms: f64) -> usize {
    // Only what is clearly sound: the noise between two tones has crossings too.
    let gate = (rms / 2.0).max(100.0) as i16;
    let (mut sign, mut crossings, mut first, mut last) = (0_i16, 0_usize, None, 0);
    for (at, &sample) in samples.iter().enumerate() {
        if sample.unsigned_abs() < gate.unsigned_abs() || sample.signum() == sign {
            continue;
        }
        if sign != 0 {
            crossings = crossings.saturating_add(1);
        }
        sign = sample.signum();
        first = first.or(Some(at));
        last = at;
    }
    let span = last.saturating_sub(first.unwrap_or(last));
    crossings.saturating_mul(RATE_HZ as usize).checked_div(span.saturating_mul(2)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_tone_is_heard_as_it_was_said() {
        for tone_hz in [300_u32, 440, 1_000] {
            let said = tone(tone_hz, Duration::from_millis(500));
            let heard = describe(&said);
            let words: Vec<&str> = heard.split(' ').collect();
            let (ms, rms, hz): (u32, u32, u32) =
                (words[0].parse().unwrap(), words[2].parse().unwrap(), words[4].parse().unwrap());
            assert_eq!(ms, 500);
            assert!(rms.abs_diff(5_793) < 60, "{heard}");
            assert!(hz.abs_diff(tone_hz) <= 5, "{heard}");
        }
    }

    #[test]
    fn silence_has_no_pitch() {
        assert_eq!(describe(&[0; 80]), "10 ms 0 rms 0 hz");
        assert_eq!(describe(&[]), "0 ms 0 rms 0 hz");
    }
}
