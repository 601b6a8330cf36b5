//! G.711: mu-law and A-law, by table. The laws are those of ITU-T G.711 (11/88), tables 1a to 2b, with the values
//! scaled to 16 bits as in the software tool library of ITU-T G.191.

/// What the 14-bit magnitude-and-sign range of mu-law adds before the logarithm.
const MU_BIAS: i32 = 33;
/// The largest biased magnitude of mu-law.
const MU_MAX: i32 = 0x1fff;
/// A-law inverts every other bit on the line.
const A_MASK: u8 = 0x55;

static MU_TO_LINEAR: [i16; 256] = mu_to_linear();
static A_TO_LINEAR: [i16; 256] = a_to_linear();
/// By the upper 14 bits of a sample.
static LINEAR_TO_MU: [u8; 1 << 14] = linear_to_mu();
/// By the upper 12 bits of a sample: A-law resolves no more.
static LINEAR_TO_A: [u8; 1 << 12] = linear_to_a();

/// One sample as mu-law.
pub fn mu_encode(sample: i16) -> u8 {
    LINEAR_TO_MU[usize::from(sample as u16 >> 2)]
}

/// One sample from mu-law.
pub fn mu_decode(code: u8) -> i16 {
    MU_TO_LINEAR[usize::from(code)]
}

/// One sample as A-law.
pub fn a_encode(sample: i16) -> u8 {
    LINEAR_TO_A[usize::from(sample as u16 >> 4)]
}

/// One sample from A-law.
pub fn a_decode(code: u8) -> i16 {
    A_TO_LINEAR[usize::from(code)]
}

const fn mu_to_linear() -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        // Every bit is inverted on the line.
        let bits = !(code as u8);
        let segment = (bits >> 4) & 7;
        let step = (bits & 15) as i32;
        let magnitude = (((step << 1) + MU_BIAS) << segment) - MU_BIAS;
        let value = (magnitude << 2) as i16;
        table[code] = if bits & 0x80 != 0 { -value } else { value };
        code += 1;
    }
    table
}

const fn linear_to_mu() -> [u8; 1 << 14] {
    let mut table = [0; 1 << 14];
    let mut index = 0;
    while index < table.len() {
        let value = ((index << 2) as u16 as i16 >> 2) as i32;
        let (sign, magnitude) = if value < 0 { (0x80_u8, !value) } else { (0, value) };
        let biased = if magnitude + MU_BIAS > MU_MAX { MU_MAX } else { magnitude + MU_BIAS };
        // The segment is the place of the highest bit; the smallest biased value is 33.
        let segment = biased.ilog2() - 5;
        let step = (biased >> (segment + 1)) & 15;
        table[index] = !(sign | (segment << 4) as u8 | step as u8);
        index += 1;
    }
    table
}

const fn a_to_linear() -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        let bits = code as u8 ^ A_MASK;
        let segment = (bits >> 4) & 7;
        let step = (bits & 15) as i32;
        // The middle of the step, in units of half a step of the lowest segment.
        let magnitude = if segment == 0 { (step << 1) + 1 } else { ((step << 1) + 33) << (segment - 1) };
        let value = (magnitude << 3) as i16;
        table[code] = if bits & 0x80 != 0 { value } else { -value };
        code += 1;
    }
    table
}

const fn linear_to_a() -> [u8; 1 << 12] {
    let mut table = [0; 1 << 12];
    let mut index = 0;
    while index < table.len() {
        let value = ((index << 4) as u16 as i16 >> 4) as i32;
        let (sign, magnitude) = if value < 0 { (0, !value) } else { (0x80_u8, value) };
        let bits = if magnitude < 16 {
            magnitude
        } else {
            let segment = magnitude.ilog2() - 3;
            ((segment as i32) << 4) | ((magnitude >> (segment - 1)) & 15)
        };
        table[index] = (sign | bits as u8) ^ A_MASK;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mu_law_has_the_values_of_the_standard() {
        // G.711 table 2a/2b: the ends of the range, zero, and the first values of segments, times four.
        for (code, value) in [
            (0x00, -32_124),
            (0x80, 32_124),
            (0xff, 0),
            (0x7f, 0),
            (0xfe, 8),
            (0xf0, 120),
            (0xef, 132),
            (0xe0, 372),
            (0x8f, 16_764),
            (0x9f, 8_316),
        ] {
            assert_eq!(mu_decode(code), value, "{code:#x}");
        }
        assert_eq!(mu_encode(0), 0xff);
        assert_eq!(mu_encode(i16::MAX), 0x80);
        assert_eq!(mu_encode(i16::MIN), 0x00);
    }

    #[test]
    fn a_law_has_the_values_of_the_standard() {
        for (code, value) in
            [(0xd5, 8), (0x55, -8), (0xaa, 32_256), (0x2a, -32_256), (0xc5, 264), (0xf5, 528), (0xa5, 16_896)]
        {
            assert_eq!(a_decode(code), value, "{code:#x}");
        }
        assert_eq!(a_encode(0), 0xd5);
        assert_eq!(a_encode(-1), 0x55);
        assert_eq!(a_encode(i16::MAX), 0xaa);
        assert_eq!(a_encode(i16::MIN), 0x2a);
    }

    #[test]
    fn every_code_survives() {
        for code in 0..=u8::MAX {
            assert_eq!(a_encode(a_decode(code)), code);
            // Mu-law has two zeros.
            let expected = if code == 0x7f { 0xff } else { code };
            assert_eq!(mu_encode(mu_decode(code)), expected);
        }
    }

    #[test]
    fn no_sample_is_further_off_than_its_step() {
        for sample in i16::MIN..=i16::MAX {
            let loud = i32::from(sample).abs();
            let mu = (i32::from(mu_decode(mu_encode(sample))) - i32::from(sample)).abs();
            let a = (i32::from(a_decode(a_encode(sample))) - i32::from(sample)).abs();
            // Sixteen steps a segment, and half a step at most; the very ends of mu-law are clipped.
            assert!(mu <= (loud + 132) / 32 + 4 || loud > 32_124, "mu-law {sample}: {mu}");
            assert!(a <= (loud / 32).max(8) + 1, "A-law {sample}: {a}");
        }
    }

    #[test]
    fn louder_never_becomes_quieter() {
        for sample in i16::MIN..i16::MAX {
            assert!(mu_decode(mu_encode(sample)) <= mu_decode(mu_encode(sample + 1)));
            assert!(a_decode(a_encode(sample)) <= a_decode(a_encode(sample + 1)));
        }
    }
}
