//! Samples to little-endian bytes and back.

/// The samples in these bytes. An odd last byte is left out.
pub fn samples(pcm: &[u8]) -> impl ExactSizeIterator<Item = i16> + '_ {
    pcm.as_chunks::<2>().0.iter().map(|bytes| i16::from_le_bytes(*bytes))
}

/// The bytes of these samples.
pub fn bytes(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// The nearest sample, limited to what 16 bits hold.
pub(crate) fn round(value: f32) -> i16 {
    // `as` saturates.
    value.round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_survive_their_bytes() {
        let before = [0, 1, -1, i16::MAX, i16::MIN];
        assert_eq!(samples(&bytes(&before)).collect::<Vec<_>>(), before);
    }

    #[test]
    fn half_a_sample_is_left_out() {
        assert_eq!(samples(&[1, 0, 9]).collect::<Vec<_>>(), [1]);
    }
}
