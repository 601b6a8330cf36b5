//! WAV files: reads the kinds that prompts and callers' recordings come in, writes 16-bit PCM, and joins both
//! directions of a call into one stream.
//!
//! The format is RIFF/WAVE as in Microsoft's "Multimedia Programming Interface and Data Specifications 1.0", with the
//! extensible header. A file is outside data: whatever its bytes are, the answer is audio or one sentence.

mod stereo;

use std::io::{self, Read, Write};

use voxtra_core::media::LINK_RATES_HZ;

use crate::resample::resample_all;
use crate::{g711, pcm};

pub use stereo::StereoStream;

/// The largest file that is read: an hour at 8 kHz, five minutes at 48 kHz stereo.
pub const MAX_WAV_BYTES: u64 = 64 * 1024 * 1024;

/// The format tags of the header.
const PCM: u16 = 1;
const A_LAW: u16 = 6;
const MU_LAW: u16 = 7;
const EXTENSIBLE: u16 = 0xfffe;
/// Where the extensible header has the real format tag: the start of the sub-format's GUID.
const SUB_FORMAT_AT: usize = 24;

/// A file that is no audio that can be read here.
#[derive(Debug, thiserror::Error)]
pub enum WavError {
    /// It could not be read at all.
    #[error("the WAV file could not be read: {0}")]
    Io(#[from] io::Error),
    /// It is larger than [`MAX_WAV_BYTES`].
    #[error("the WAV file is larger than {} MB; shorten it or lower its sample rate", MAX_WAV_BYTES / 1024 / 1024)]
    TooLarge,
    /// Its structure is broken, or it is something else.
    #[error("not a WAV file: {0}")]
    Malformed(&'static str),
    /// It is a WAV file of a kind that is not supported.
    #[error("unsupported WAV file ({0}); use 16-bit PCM, mu-law or A-law, mono or stereo, at 8, 16, 24 or 48 kHz")]
    Unsupported(String),
}

#[derive(Debug, Clone, Copy)]
struct Format {
    tag: u16,
    channels: u16,
    rate_hz: u32,
    bits: u16,
}

/// Reads a whole WAV file as mono samples at `rate_hz`, which is one of 8000, 16000, 24000 and 48000. Stereo becomes
/// the mean of both sides. A file that was cut off gives what is there.
pub fn read_wav(from: impl Read, rate_hz: u32) -> Result<Vec<i16>, WavError> {
    let mut file = Vec::new();
    from.take(MAX_WAV_BYTES + 1).read_to_end(&mut file)?;
    if file.len() as u64 > MAX_WAV_BYTES {
        return Err(WavError::TooLarge);
    }
    let (format, data) = parse(&file)?;
    let samples = decode(format, data)?;
    resample_all(&samples, format.rate_hz, rate_hz).map_err(|error| WavError::Unsupported(error.to_string()))
}

/// The bytes of [`header`].
pub const HEADER_BYTES: usize = 44;

/// The header of a file of 16-bit PCM with so many bytes of samples; more than fits (4 GB) is written as the most that
/// does.
pub fn header(rate_hz: u32, channels: u16, data_bytes: u64) -> [u8; HEADER_BYTES] {
    let block_bytes = channels.saturating_mul(2);
    let data_bytes = u32::try_from(data_bytes).unwrap_or(u32::MAX).min(u32::MAX - 36);
    let fields: [&[u8]; 13] = [
        b"RIFF",
        &(36 + data_bytes).to_le_bytes(),
        b"WAVE",
        b"fmt ",
        &16_u32.to_le_bytes(),
        &PCM.to_le_bytes(),
        &channels.to_le_bytes(),
        &rate_hz.to_le_bytes(),
        &rate_hz.saturating_mul(u32::from(block_bytes)).to_le_bytes(),
        &block_bytes.to_le_bytes(),
        &16_u16.to_le_bytes(),
        b"data",
        &data_bytes.to_le_bytes(),
    ];
    let mut header = [0; HEADER_BYTES];
    for (to, from) in header.iter_mut().zip(fields.concat()) {
        *to = from;
    }
    header
}

/// Writes 16-bit PCM. The samples of several channels take turns.
pub fn write_wav(mut to: impl Write, rate_hz: u32, channels: u16, samples: &[i16]) -> io::Result<()> {
    let data_bytes = samples.len() as u64 * 2;
    if data_bytes > u64::from(u32::MAX - 36) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a WAV file holds less than 4 GB"));
    }
    to.write_all(&header(rate_hz, channels, data_bytes))?;
    to.write_all(&pcm::bytes(samples))?;
    to.flush()
}

fn parse(file: &[u8]) -> Result<(Format, &[u8]), WavError> {
    if !file.starts_with(b"RIFF") || file.get(8..12) != Some(b"WAVE") {
        return Err(WavError::Malformed("it does not begin with RIFF and WAVE"));
    }
    let mut rest = file.get(12..).unwrap_or_default();
    let mut format = None;
    while let Some((id, after_id)) = rest.split_first_chunk::<4>() {
        let Some((length, body)) = after_id.split_first_chunk::<4>() else { break };
        let length = u32::from_le_bytes(*length) as usize;
        let (chunk, after) = body.split_at(length.min(body.len()));
        match id {
            b"fmt " => format = Some(parse_format(chunk)?),
            b"data" => {
                let format = format.ok_or(WavError::Malformed("its data come before its format"))?;
                return Ok((format, chunk));
            }
            _ => {}
        }
        // Chunks start at even places.
        rest = after.get(length % 2..).unwrap_or_default();
    }
    Err(WavError::Malformed("it has no data chunk"))
}

fn parse_format(chunk: &[u8]) -> Result<Format, WavError> {
    let u16_at = |at: usize| {
        let bytes = chunk.get(at..at.checked_add(2)?)?;
        Some(u16::from_le_bytes(bytes.try_into().ok()?))
    };
    let u32_at = |at: usize| {
        let bytes = chunk.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let parsed = || {
        let tag = match u16_at(0)? {
            EXTENSIBLE => u16_at(SUB_FORMAT_AT)?,
            tag => tag,
        };
        Some(Format { tag, channels: u16_at(2)?, rate_hz: u32_at(4)?, bits: u16_at(14)? })
    };
    parsed().ok_or(WavError::Malformed("its format chunk is too short"))
}

fn decode(format: Format, data: &[u8]) -> Result<Vec<i16>, WavError> {
    if !LINK_RATES_HZ.contains(&format.rate_hz) {
        return Err(WavError::Unsupported(format!("{} Hz", format.rate_hz)));
    }
    let samples: Vec<i16> = match (format.tag, format.bits) {
        (PCM, 16) => pcm::samples(data).collect(),
        (MU_LAW, 8) => data.iter().map(|code| g711::mu_decode(*code)).collect(),
        (A_LAW, 8) => data.iter().map(|code| g711::a_decode(*code)).collect(),
        (tag, bits) => return Err(WavError::Unsupported(format!("format {tag} with {bits} bits"))),
    };
    match format.channels {
        1 => Ok(samples),
        2 => Ok(samples
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[left, right]| ((i32::from(*left) + i32::from(*right)) / 2) as i16)
            .collect()),
        channels => Err(WavError::Unsupported(format!("{channels} channels"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn file(tag: u16, channels: u16, rate_hz: u32, bits: u16, data: &[u8]) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0".to_vec();
        file.extend(tag.to_le_bytes());
        file.extend(channels.to_le_bytes());
        file.extend(rate_hz.to_le_bytes());
        file.extend([0; 6]);
        file.extend(bits.to_le_bytes());
        file.extend(b"data");
        file.extend((data.len() as u32).to_le_bytes());
        file.extend(data);
        file
    }

    #[test]
    fn what_was_written_is_read() {
        let mut written = Vec::new();
        write_wav(&mut written, 16_000, 1, &[1, -2, 300]).unwrap();
        assert_eq!(written.len(), 50);
        assert_eq!(read_wav(&written[..], 16_000).unwrap(), [1, -2, 300]);
    }

    #[test]
    fn both_laws_are_read_and_odd_chunks_skipped() {
        assert_eq!(read_wav(&file(MU_LAW, 1, 8_000, 8, &[0xff, 0x80, 0])[..], 8_000).unwrap(), [0, 32_124, -32_124]);
        assert_eq!(read_wav(&file(A_LAW, 1, 8_000, 8, &[0xd5, 0xaa])[..], 8_000).unwrap(), [8, 32_256]);
    }

    #[test]
    fn stereo_becomes_the_mean() {
        let data = pcm::bytes(&[100, 200, i16::MIN, i16::MIN, 7]);
        assert_eq!(read_wav(&file(PCM, 2, 8_000, 16, &data)[..], 8_000).unwrap(), [150, i16::MIN]);
    }

    #[test]
    fn the_extensible_header_is_understood() {
        let mut extended = b"RIFF\0\0\0\0WAVEfmt \x28\0\0\0\xfe\xff\x01\0\x40\x1f\0\0".to_vec();
        extended.extend([0; 6]);
        extended.extend([16, 0, 22, 0, 16, 0, 4, 0, 0, 0, 1, 0]);
        extended.extend([0; 14]);
        extended.extend(b"data\x02\0\0\0\x05\0");
        assert_eq!(read_wav(&extended[..], 8_000).unwrap(), [5]);
    }

    #[test]
    fn another_rate_is_converted() {
        let mut written = Vec::new();
        write_wav(&mut written, 8_000, 1, &[0; 400]).unwrap();
        assert_eq!(read_wav(&written[..], 48_000).unwrap().len(), 2_400);
    }

    #[test]
    fn bad_files_say_what_is_wrong() {
        let message = |file: &[u8]| read_wav(file, 8_000).unwrap_err().to_string();
        assert!(message(b"").contains("RIFF"));
        assert!(message(b"RIFF\0\0\0\0WAVE").contains("no data"));
        assert!(message(b"RIFF\0\0\0\0WAVEdata\0\0\0\0").contains("before its format"));
        assert!(message(b"RIFF\0\0\0\0WAVEfmt \x01\0\0\0\0").contains("too short"));
        assert!(message(&file(PCM, 1, 44_100, 16, &[])).contains("44100 Hz"));
        assert!(message(&file(PCM, 6, 8_000, 16, &[])).contains("6 channels"));
        assert!(message(&file(3, 1, 8_000, 32, &[])).contains("format 3 with 32 bits"));
        assert!(message(&file(PCM, 1, 8_000, 24, &[])).contains("24 bits"));
        let endless = io::repeat(0);
        assert!(matches!(read_wav(endless, 8_000), Err(WavError::TooLarge)));
    }

    #[test]
    fn a_file_that_was_cut_off_gives_what_is_there() {
        let whole = file(PCM, 1, 8_000, 16, &pcm::bytes(&[1, 2, 3]));
        assert_eq!(read_wav(&whole[..whole.len() - 3], 8_000).unwrap(), [1]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = read_wav(&bytes[..], 8_000);
        }

        #[test]
        fn no_damage_makes_it_panic(damage in prop::collection::vec((0_usize..120, any::<u8>()), 0..8), length in 0_usize..120) {
            let mut bytes = file(PCM, 2, 8_000, 16, &[9; 60]);
            for (at, byte) in damage {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            bytes.truncate(length);
            let _ = read_wav(&bytes[..], 16_000);
        }
    }
}
