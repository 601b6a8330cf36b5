//! G.711 mu-law and A-law (ITU-T G.711), written for the tests alone so that the host's own codec is tested by another.

/// Encodes one sample as mu-law.
#[must_use]
pub fn ulaw_encode(sample: i16) -> u8 {
    const BIAS: i32 = 132;
    const CLIP: i32 = 32_635;
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = i32::from(sample).abs().min(CLIP) + BIAS;
    // The bias makes bit 7 the lowest that can lead.
    let exponent = 24 - magnitude.leading_zeros();
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    !(sign | (exponent as u8) << 4 | mantissa as u8)
}

/// Decodes one mu-law byte.
#[must_use]
pub fn ulaw_decode(byte: u8) -> i16 {
    let byte = !byte;
    let exponent = (byte >> 4) & 0x07;
    let magnitude = (((i32::from(byte & 0x0f) << 3) + 132) << exponent) - 132;
    let value = if byte & 0x80 == 0 { magnitude } else { -magnitude };
    value as i16
}

/// Encodes one sample as A-law.
#[must_use]
pub fn alaw_encode(sample: i16) -> u8 {
    let (sign, magnitude) = if sample >= 0 { (0x80, i32::from(sample)) } else { (0, -i32::from(sample) - 1) };
    // 13 bits of magnitude are coded, of which the lowest is always lost.
    let magnitude = magnitude >> 3;
    let exponent = if magnitude < 32 { 0 } else { 27 - magnitude.leading_zeros() };
    let mantissa = if exponent == 0 { magnitude >> 1 } else { magnitude >> exponent } & 0x0f;
    (sign | (exponent as u8) << 4 | mantissa as u8) ^ 0x55
}

/// Decodes one A-law byte.
#[must_use]
pub fn alaw_decode(byte: u8) -> i16 {
    let byte = byte ^ 0x55;
    let exponent = (byte >> 4) & 0x07;
    let mantissa = i32::from(byte & 0x0f);
    let magnitude = if exponent == 0 { (mantissa << 4) + 8 } else { ((mantissa << 4) + 0x108) << (exponent - 1) };
    let value = if byte & 0x80 == 0 { -magnitude } else { magnitude };
    value as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_of_the_standard_come_out() {
        assert_eq!([ulaw_encode(0), ulaw_encode(32_767), ulaw_encode(-32_768)], [0xff, 0x80, 0x00]);
        assert_eq!([ulaw_decode(0xff), ulaw_decode(0x80), ulaw_decode(0x00)], [0, 32_124, -32_124]);
        assert_eq!([alaw_encode(0), alaw_encode(32_767), alaw_encode(-32_768)], [0xd5, 0xaa, 0x2a]);
        assert_eq!([alaw_decode(0xd5), alaw_decode(0xaa), alaw_decode(0x2a)], [8, 32_256, -32_256]);
    }

    #[test]
    fn every_code_survives_decoding_and_encoding() {
        for byte in 0..=255_u8 {
            // 0x7f is the second zero of mu-law.
            assert!(ulaw_encode(ulaw_decode(byte)) == byte || byte == 0x7f, "mu-law {byte:#x}");
            assert_eq!(alaw_encode(alaw_decode(byte)), byte, "A-law");
        }
    }

    #[test]
    fn errors_stay_within_half_a_step() {
        for sample in i16::MIN..=i16::MAX {
            let far = |decoded: i16| (i32::from(decoded) - i32::from(sample)).abs();
            let step = (i32::from(sample).abs() / 16).max(16);
            assert!(far(ulaw_decode(ulaw_encode(sample))) <= step.max(644), "mu-law {sample}");
            assert!(far(alaw_decode(alaw_encode(sample))) <= step.max(512), "A-law {sample}");
        }
    }
}
