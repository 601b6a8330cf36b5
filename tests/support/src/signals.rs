//! Test signals that are the same on every machine, and WAV files of them. 8 kHz mono, 16 bit.

use std::f64::consts::TAU;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::random::Random;

/// Samples a second of every signal here.
pub const RATE_HZ: u32 = 8000;

/// A pure tone with a given peak.
#[must_use]
pub fn tone(frequency_hz: f64, length_ms: u32, peak: i16) -> Vec<i16> {
    (0..samples(length_ms)).map(|n| (f64::from(peak) * (TAU * frequency_hz * seconds(n)).sin()) as i16).collect()
}

/// Nothing.
#[must_use]
pub fn silence(length_ms: u32) -> Vec<i16> {
    vec![0; samples(length_ms)]
}

/// A tone that glides from one frequency to another: the sharpest of all to find in time.
#[must_use]
pub fn chirp(from_hz: f64, to_hz: f64, length_ms: u32) -> Vec<i16> {
    let whole = f64::from(length_ms.max(1)) / 1000.0;
    let phase = |t: f64| TAU * (from_hz * t + (to_hz - from_hz) * t * t / (2.0 * whole));
    (0..samples(length_ms)).map(|n| (8000.0 * phase(seconds(n)).sin()) as i16).collect()
}

/// Something like speech: syllables of a few voiced partials with a hiss, different for every seed. Two seeds correlate
/// as little as two sentences do.
#[must_use]
pub fn speech(seed: u64, length_ms: u32) -> Vec<i16> {
    let mut random = Random::seeded(seed);
    let wanted = samples(length_ms);
    let mut signal = Vec::with_capacity(wanted);
    while signal.len() < wanted {
        syllable(&mut random, &mut signal);
    }
    signal.truncate(wanted);
    signal
}

/// 80 to 220 ms, then a short rest.
fn syllable(random: &mut Random, signal: &mut Vec<i16>) {
    let length = random.between(640.0, 1760.0);
    let pitch_hz = random.between(95.0, 240.0);
    let glide_hz = random.between(-60.0, 60.0);
    let formants: [f64; 3] = [(250.0, 850.0), (900.0, 2200.0), (2300.0, 3200.0)].map(|(a, b)| random.between(a, b));
    let loudness = random.between(2500.0, 5500.0);
    let hiss = random.between(0.02, 0.25);
    let partials: Vec<(f64, f64, f64)> = (1..=14)
        .map(f64::from)
        .filter(|n| n * pitch_hz < 3400.0)
        .map(|n| {
            let near = formants.iter().map(|f| (-((n * pitch_hz - f) / 180.0).powi(2)).exp()).sum::<f64>();
            (n, near + 0.12 / n, random.between(0.0, TAU))
        })
        .collect();
    for n in 0..length as usize {
        let (t, share) = (n as f64 / f64::from(RATE_HZ), n as f64 / length);
        let swell = (std::f64::consts::PI * share).sin().sqrt();
        let phase = TAU * (pitch_hz * t + glide_hz * t * share / 2.0);
        let voiced: f64 = partials.iter().map(|(n, gain, shift)| gain * (n * phase + shift).sin()).sum();
        let value = loudness * swell * (voiced + hiss * random.between(-1.0, 1.0));
        signal.push(value.clamp(-30_000.0, 30_000.0) as i16);
    }
    signal.extend(std::iter::repeat_n(0, random.between(80.0, 480.0) as usize));
}

/// Reads an 8 kHz mono 16-bit WAV file.
///
/// # Errors
/// When the file is missing, is no WAV, or has another format.
pub fn read_wav(path: &Path) -> Result<Vec<i16>> {
    Ok(read_channels(path)?.swap_remove(0))
}

/// Reads the channels of an 8 kHz 16-bit WAV file apart; at least one.
///
/// # Errors
/// When the file is missing, is no WAV, or has another format.
pub fn read_channels(path: &Path) -> Result<Vec<Vec<i16>>> {
    let mut reader = hound::WavReader::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let spec = reader.spec();
    ensure!(
        spec.sample_rate == RATE_HZ && spec.bits_per_sample == 16 && spec.channels > 0,
        "{} is not 8 kHz with 16 bits: {spec:?}",
        path.display()
    );
    let mut channels = vec![Vec::new(); usize::from(spec.channels)];
    for (n, sample) in reader.samples::<i16>().enumerate() {
        let channel = n % channels.len();
        if let Some(channel) = channels.get_mut(channel) {
            channel.push(sample.with_context(|| format!("{} is cut short", path.display()))?);
        }
    }
    Ok(channels)
}

/// Writes an 8 kHz mono 16-bit WAV file.
///
/// # Errors
/// When the file cannot be written.
pub fn write_wav(path: &Path, signal: &[i16]) -> Result<()> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: RATE_HZ,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer =
        hound::WavWriter::create(path, spec).with_context(|| format!("cannot write {}", path.display()))?;
    for sample in signal {
        writer.write_sample(*sample)?;
    }
    Ok(writer.finalize()?)
}

fn samples(length_ms: u32) -> usize {
    length_ms as usize * RATE_HZ as usize / 1000
}

fn seconds(sample: usize) -> f64 {
    sample as f64 / f64::from(RATE_HZ)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::files::TempDir;

    #[test]
    fn a_seed_always_gives_the_same_speech() {
        assert_eq!(speech(9, 400), speech(9, 800)[..3200]);
        assert_ne!(speech(9, 400), speech(10, 400));
        assert!((1000.0..9000.0).contains(&crate::match_audio::rms(&speech(9, 2000))));
    }

    #[test]
    fn a_file_gives_back_what_was_written() {
        let dir = TempDir::new("signals").unwrap();
        let path = dir.path().join("a.wav");
        write_wav(&path, &chirp(200.0, 3000.0, 100)).unwrap();
        assert_eq!(read_wav(&path).unwrap(), chirp(200.0, 3000.0, 100));
        assert!(read_wav(&dir.path().join("missing.wav")).is_err());
    }
}
