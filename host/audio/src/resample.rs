//! Changes the sample rate of a stream, between any two of 8, 16, 24 and 48 kHz.
//!
//! A polyphase windowed-sinc low-pass: the stream is thought to be raised to the common multiple of both rates, and
//! only the samples that are kept are computed. The filter has 48 taps counted at the lower of the
//! two rates, under a Kaiser window: flat to 0.42 of the lower rate (3.3 kHz at 8 kHz), more than 60 dB down from one
//! half of it. Linear phase; the delay is half the filter: 3 ms when the lower rate is 8 kHz, 1.5 ms at 16 kHz, 1 ms at
//! 24 kHz.

use std::f64::consts::PI;
use std::time::Duration;

use voxtra_core::media::LINK_RATES_HZ;

use crate::pcm;

/// The filter's length, counted in samples of the lower rate. Longer is steeper and later.
const TAPS_AT_LOWER_RATE: usize = 48;

/// The window's shape: about 65 dB of rejection.
const KAISER_BETA: f64 = 6.2;

/// Where the filter is 6 dB down, as a share of the lower rate: the middle between flat and rejected.
const CUTOFF: f64 = 0.459;

/// A pair of rates that is not among those of [`LINK_RATES_HZ`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot resample from {from_hz} Hz to {to_hz} Hz: each has to be 8000, 16000, 24000 or 48000")]
pub struct UnsupportedRate {
    /// The rate of the input.
    pub from_hz: u32,
    /// The rate of the output.
    pub to_hz: u32,
}

/// A stream whose rate is changed. Between calls it keeps the last few milliseconds of its input, so the result does
/// not depend on how the input is cut into chunks.
#[derive(Debug, Clone)]
pub struct Resampler {
    /// How many phases the filter has: the output's share of the common multiple.
    up: usize,
    /// How many phases the output moves on with each sample.
    down: usize,
    /// The taps of each phase, one after the other; within a phase the oldest input sample's comes first.
    taps: Vec<f32>,
    taps_per_phase: usize,
    /// The last `taps_per_phase - 1` input samples, then those not yet used.
    window: Vec<f32>,
    /// The next output sample, in phases from the first whole window.
    position: usize,
    delay: Duration,
}

impl Resampler {
    /// A resampler that has heard silence so far.
    pub fn new(from_hz: u32, to_hz: u32) -> Result<Self, UnsupportedRate> {
        if !LINK_RATES_HZ.contains(&from_hz) || !LINK_RATES_HZ.contains(&to_hz) {
            return Err(UnsupportedRate { from_hz, to_hz });
        }
        let shared_hz = greatest_common_divisor(from_hz, to_hz);
        let (up, down) = ((to_hz / shared_hz) as usize, (from_hz / shared_hz) as usize);
        if up == down {
            return Ok(Self {
                up,
                down,
                taps: Vec::new(),
                taps_per_phase: 1,
                window: Vec::new(),
                position: 0,
                delay: Duration::ZERO,
            });
        }
        let lower_hz = from_hz.min(to_hz);
        let taps_per_phase = TAPS_AT_LOWER_RATE * from_hz as usize / lower_hz as usize;
        let taps = filter(up, taps_per_phase, CUTOFF * f64::from(lower_hz) / f64::from(from_hz));
        // The filter is centred between its two middle taps of the raised rate.
        let half_ns = (taps_per_phase as u64) * 1_000_000_000 / 2 / u64::from(from_hz);
        Ok(Self {
            up,
            down,
            taps,
            taps_per_phase,
            window: vec![0.0; taps_per_phase - 1],
            position: 0,
            delay: Duration::from_nanos(half_ns),
        })
    }

    /// How much later something is in the output than in the input.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Adds to `output` what these samples give. Allocates only where `output`, or the first chunk of this size, needs
    /// it.
    pub fn process(&mut self, input: impl IntoIterator<Item = i16>, mut output: impl FnMut(i16)) {
        if self.up == self.down {
            input.into_iter().for_each(output);
            return;
        }
        self.window.extend(input.into_iter().map(f32::from));
        loop {
            let (first, phase) = (self.position / self.up, self.position % self.up);
            let Some(heard) = self.window.get(first..first + self.taps_per_phase) else { break };
            let start = phase * self.taps_per_phase;
            let Some(taps) = self.taps.get(start..start + self.taps_per_phase) else { break };
            output(pcm::round(dot(heard, taps)));
            self.position += self.down;
        }
        let used = (self.position / self.up).min(self.window.len());
        self.window.drain(..used);
        self.position -= used * self.up;
    }

    /// [`Resampler::process`] for samples in vectors.
    pub fn process_into(&mut self, input: &[i16], output: &mut Vec<i16>) {
        self.process(input.iter().copied(), |sample| output.push(sample));
    }
}

/// A whole recording at another rate, its delay taken out: as long as before, to the sample.
pub fn resample_all(input: &[i16], from_hz: u32, to_hz: u32) -> Result<Vec<i16>, UnsupportedRate> {
    let mut resampler = Resampler::new(from_hz, to_hz)?;
    let length = (input.len() as u64 * u64::from(to_hz)).div_ceil(u64::from(from_hz)) as usize;
    let delay_samples =
        |rate_hz: u32| (resampler.delay().as_nanos() * u128::from(rate_hz)).div_ceil(1_000_000_000) as usize;
    let (skip, tail) = (delay_samples(to_hz), delay_samples(from_hz));
    let mut output = Vec::with_capacity(length + skip + 8);
    resampler.process_into(input, &mut output);
    // Two more: the filter's centre lies between samples.
    resampler.process(std::iter::repeat_n(0, tail + 2), |sample| output.push(sample));
    output.drain(..skip.min(output.len()));
    output.resize(length, 0);
    Ok(output)
}

/// The sum of products, in eight lanes so that it can be done in vectors.
fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    let (left_chunks, left_rest) = left.as_chunks::<8>();
    let (right_chunks, right_rest) = right.as_chunks::<8>();
    for (left, right) in left_chunks.iter().zip(right_chunks) {
        for ((lane, left), right) in lanes.iter_mut().zip(left).zip(right) {
            *lane += left * right;
        }
    }
    let rest: f32 = left_rest.iter().zip(right_rest).map(|(left, right)| left * right).sum();
    lanes.iter().sum::<f32>() + rest
}

/// The taps of each phase. `cutoff` is a share of the input's rate.
fn filter(up: usize, taps_per_phase: usize, cutoff: f64) -> Vec<f32> {
    let length = up * taps_per_phase;
    let middle = length as f64 / 2.0;
    let prototype = |index: usize| {
        // In samples of the input.
        let x = (index as f64 - middle) / up as f64;
        let sinc = if x == 0.0 { 2.0 * cutoff } else { (2.0 * PI * cutoff * x).sin() / (PI * x) };
        let edge = (index as f64 - middle) / middle;
        let window = bessel_i0(KAISER_BETA * (1.0 - edge * edge).max(0.0).sqrt()) / bessel_i0(KAISER_BETA);
        sinc * window
    };
    let mut taps = Vec::with_capacity(length);
    for phase in 0..up {
        let start = taps.len();
        // The newest input sample has the first tap of the prototype.
        taps.extend((0..taps_per_phase).rev().map(|tap| prototype(tap * up + phase)));
        // Each phase passes a constant unchanged, so that none rattles against the next.
        let sum: f64 = taps[start..].iter().sum();
        taps[start..].iter_mut().for_each(|tap| *tap /= sum);
    }
    taps.into_iter().map(|tap| tap as f32).collect()
}

/// The modified Bessel function of order zero, by its series.
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..64 {
        term *= quarter / f64::from(k * k);
        sum += term;
    }
    sum
}

const fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn rate() -> impl Strategy<Value = u32> {
        prop::sample::select(&LINK_RATES_HZ)
    }

    fn sine(hz: f64, rate_hz: u32, samples: usize) -> Vec<i16> {
        (0..samples)
            .map(|n| (16_000.0 * (2.0 * PI * hz * n as f64 / f64::from(rate_hz)).sin()).round() as i16)
            .collect()
    }

    /// The level at one frequency, and of all, in dB against a sine of 16,000.
    fn levels(samples: &[i16], hz: f64, rate_hz: u32) -> (f64, f64) {
        let (mut re, mut im, mut all) = (0.0, 0.0, 0.0);
        for (n, sample) in samples.iter().enumerate() {
            let angle = 2.0 * PI * hz * n as f64 / f64::from(rate_hz);
            let value = f64::from(*sample);
            re += value * angle.cos();
            im += value * angle.sin();
            all += value * value;
        }
        let n = samples.len() as f64;
        let at = 2.0 * (re * re + im * im).sqrt() / n;
        let rms = (2.0 * all / n).sqrt();
        (20.0 * (at / 16_000.0).log10(), 20.0 * (rms.max(1e-3) / 16_000.0).log10())
    }

    fn middle(samples: &[i16]) -> &[i16] {
        &samples[samples.len() / 4..samples.len() * 3 / 4]
    }

    #[test]
    fn a_rate_that_no_link_has_is_refused() {
        assert!(Resampler::new(44_100, 8_000).is_err());
        assert!(Resampler::new(8_000, 0).unwrap_err().to_string().contains("8000"));
    }

    #[test]
    fn the_delay_is_the_one_stated() {
        for (from_hz, to_hz, us) in [(8_000, 16_000, 3_000), (48_000, 8_000, 3_000), (16_000, 24_000, 1_500)] {
            let mut resampler = Resampler::new(from_hz, to_hz).unwrap();
            assert_eq!(resampler.delay(), Duration::from_micros(us));
            let mut click = vec![0; from_hz as usize / 10];
            click[200] = 30_000;
            let mut output = Vec::new();
            resampler.process_into(&click, &mut output);
            let peak = output.iter().enumerate().max_by_key(|(_, sample)| **sample).unwrap().0;
            let seen_us = peak as f64 * 1e6 / f64::from(to_hz) - 200.0 * 1e6 / f64::from(from_hz);
            let sample_us = 1e6 / f64::from(to_hz);
            assert!((seen_us - us as f64).abs() <= sample_us, "{from_hz} to {to_hz}: {seen_us} µs");
        }
    }

    #[test]
    fn the_same_rate_changes_nothing() {
        let input = sine(440.0, 8_000, 500);
        let mut output = Vec::new();
        Resampler::new(8_000, 8_000).unwrap().process_into(&input, &mut output);
        assert_eq!(output, input);
    }

    #[test]
    fn a_whole_recording_keeps_its_place() {
        for (from_hz, to_hz) in [(8_000, 16_000), (48_000, 8_000), (24_000, 16_000), (16_000, 24_000)] {
            let input = sine(400.0, from_hz, from_hz as usize / 2);
            let output = resample_all(&input, from_hz, to_hz).unwrap();
            let expected = sine(400.0, to_hz, to_hz as usize / 2);
            assert_eq!(output.len(), expected.len());
            let worst = middle(&output).iter().zip(middle(&expected)).map(|(a, b)| (a - b).abs()).max().unwrap();
            assert!(worst < 200, "{from_hz} to {to_hz}: {worst}");
        }
        assert!(resample_all(&[], 8_000, 48_000).unwrap().is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn as_much_comes_out_as_went_in(from_hz in rate(), to_hz in rate(), frames in 1_usize..60) {
            let mut resampler = Resampler::new(from_hz, to_hz).unwrap();
            let mut output = Vec::new();
            for _ in 0..frames {
                resampler.process_into(&vec![0; from_hz as usize / 50], &mut output);
            }
            prop_assert_eq!(output.len(), to_hz as usize / 50 * frames);
        }

        #[test]
        fn a_voice_passes_unchanged(from_hz in rate(), to_hz in rate(), share in 0.01_f64..0.41) {
            let hz = share * f64::from(from_hz.min(to_hz));
            let mut output = Vec::new();
            Resampler::new(from_hz, to_hz).unwrap().process_into(&sine(hz, from_hz, from_hz as usize / 2), &mut output);
            let (at, all) = levels(middle(&output), hz, to_hz);
            prop_assert!(at.abs() < 0.5, "{hz} Hz, {from_hz} to {to_hz}: {at} dB");
            prop_assert!((all - at).abs() < 0.1, "{hz} Hz, {from_hz} to {to_hz}: images at {} dB", all);
        }

        #[test]
        fn what_the_lower_rate_cannot_hold_is_gone(from_hz in rate(), to_hz in rate(), share in 0.505_f64..0.99) {
            prop_assume!(to_hz < from_hz);
            let hz = f64::from(to_hz) / 2.0 + (share - 0.5) * f64::from(from_hz - to_hz);
            let mut output = Vec::new();
            Resampler::new(from_hz, to_hz).unwrap().process_into(&sine(hz, from_hz, from_hz as usize / 2), &mut output);
            let (_, all) = levels(middle(&output), hz, to_hz);
            prop_assert!(all < -50.0, "{hz} Hz, {from_hz} to {to_hz}: {all} dB");
        }

        #[test]
        fn images_of_a_raised_rate_are_gone(from_hz in rate(), to_hz in rate(), share in 0.01_f64..0.41) {
            prop_assume!(to_hz > from_hz);
            let hz = share * f64::from(from_hz);
            let mut output = Vec::new();
            Resampler::new(from_hz, to_hz).unwrap().process_into(&sine(hz, from_hz, from_hz as usize / 2), &mut output);
            let (image, _) = levels(middle(&output), f64::from(from_hz) - hz, to_hz);
            prop_assert!(image < -50.0, "{hz} Hz, {from_hz} to {to_hz}: {image} dB");
        }

        #[test]
        fn the_chunks_do_not_matter(from_hz in rate(), to_hz in rate(),
                                    input in prop::collection::vec(any::<i16>(), 0..3_000),
                                    cuts in prop::collection::vec(0_usize..500, 0..12)) {
            let mut whole = Vec::new();
            Resampler::new(from_hz, to_hz).unwrap().process_into(&input, &mut whole);
            let mut resampler = Resampler::new(from_hz, to_hz).unwrap();
            let mut pieces = Vec::new();
            let mut rest = &input[..];
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                resampler.process_into(piece, &mut pieces);
                rest = after;
            }
            resampler.process_into(rest, &mut pieces);
            prop_assert_eq!(whole, pieces);
        }
    }
}
