//! A fast Fourier transform, just enough to correlate two recordings at every lag at once.

/// Sums of products of a short signal against each position of a long one: `out[i] = sum(short[k] * long[i + k])`, for
/// every position at which the short one fits.
pub(crate) fn correlate(short: &[f64], long: &[f64]) -> Vec<f64> {
    if short.is_empty() || long.len() < short.len() {
        return Vec::new();
    }
    let positions = long.len() - short.len() + 1;
    let size = (long.len() + short.len()).next_power_of_two();
    let turns = turns(size);
    let (mut a, mut b) = (padded(long, size), padded(short, size));
    transform(&mut a, &turns);
    transform(&mut b, &turns);
    for (a, b) in a.iter_mut().zip(&b) {
        *a = (a.0 * b.0 + a.1 * b.1, a.1 * b.0 - a.0 * b.1);
    }
    // Backwards is forwards of the conjugate.
    a.iter_mut().for_each(|value| value.1 = -value.1);
    transform(&mut a, &turns);
    a.into_iter().take(positions).map(|value| value.0 / size as f64).collect()
}

type Complex = (f64, f64);

fn padded(signal: &[f64], size: usize) -> Vec<Complex> {
    signal.iter().map(|sample| (*sample, 0.0)).chain(std::iter::repeat((0.0, 0.0))).take(size).collect()
}

fn turns(size: usize) -> Vec<Complex> {
    let step = -std::f64::consts::TAU / size as f64;
    (0..size / 2).map(|k| (step * k as f64).sin_cos()).map(|(sin, cos)| (cos, sin)).collect()
}

/// Cooley and Tukey's, in place, for a power of two.
fn transform(values: &mut [Complex], turns: &[Complex]) {
    let size = values.len();
    let mut mirrored = 0;
    for at in 1..size {
        let mut bit = size >> 1;
        while mirrored & bit != 0 {
            mirrored ^= bit;
            bit >>= 1;
        }
        mirrored |= bit;
        if at < mirrored {
            values.swap(at, mirrored);
        }
    }
    let mut half = 1;
    while half < size {
        let stride = size / (2 * half);
        for block in values.chunks_exact_mut(2 * half) {
            let (low, high) = block.split_at_mut(half);
            for ((low, high), turn) in low.iter_mut().zip(high).zip(turns.iter().step_by(stride)) {
                let turned = (high.0 * turn.0 - high.1 * turn.1, high.0 * turn.1 + high.1 * turn.0);
                *high = (low.0 - turned.0, low.1 - turned.1);
                *low = (low.0 + turned.0, low.1 + turned.1);
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_the_plain_sum() {
        let mut random = crate::random::Random::seeded(7);
        let mut signal = |n: usize| -> Vec<f64> { (0..n).map(|_| random.between(-1.0, 1.0)).collect() };
        let (short, long) = (signal(37), signal(301));
        let fast = correlate(&short, &long);
        assert_eq!(fast.len(), 265);
        for (at, value) in fast.iter().enumerate() {
            let plain: f64 = short.iter().zip(&long[at..]).map(|(a, b)| a * b).sum();
            assert!((plain - value).abs() < 1e-9, "at {at}");
        }
    }
}
