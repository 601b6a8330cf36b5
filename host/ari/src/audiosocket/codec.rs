//! The framing alone: no IO, no clock, no copies of payloads.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use uuid::Uuid;

/// Type and length.
pub const HEADER_BYTES: usize = 3;
/// Longest payload taken from a peer. The largest audio frame is 20 ms at 192 kHz,
/// 7,680 bytes; the length field could say 65,535.
pub const MAX_PAYLOAD_BYTES: usize = 8192;

const TYPE_TERMINATE: u8 = 0x00;
const TYPE_UUID: u8 = 0x01;
const TYPE_DTMF: u8 = 0x03;
const TYPE_AUDIO_FIRST: u8 = 0x10;
const TYPE_ERROR: u8 = 0xff;
const UUID_BYTES: usize = 16;

/// Sample rates of types 0x10, 0x11, … in that order.
pub const AUDIO_RATES_HZ: [u32; 9] = [8_000, 12_000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000];

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// 0x00: the end. Asterisk never sends it, it closes the connection.
    Terminate,
    /// 0x01: 16 bytes that name the channel; Asterisk's first frame.
    Uuid,
    /// 0x03: one ASCII digit, from Asterisk only. (Sent *to* Asterisk it ends the channel.)
    Dtmf,
    /// 0x10 to 0x18: signed 16-bit little-endian mono audio.
    Audio {
        /// One of [`AUDIO_RATES_HZ`].
        rate_hz: u32,
    },
    /// 0xff: an error; the payload may hold a code.
    Error,
}

impl FrameKind {
    /// The kind of a type byte, `None` for one that the protocol does not have.
    #[must_use]
    pub fn from_wire(byte: u8) -> Option<Self> {
        match byte {
            TYPE_TERMINATE => Some(Self::Terminate),
            TYPE_UUID => Some(Self::Uuid),
            TYPE_DTMF => Some(Self::Dtmf),
            TYPE_ERROR => Some(Self::Error),
            _ => {
                let index = usize::from(byte.checked_sub(TYPE_AUDIO_FIRST)?);
                let rate_hz = *AUDIO_RATES_HZ.get(index)?;
                Some(Self::Audio { rate_hz })
            }
        }
    }

    /// The type byte, `None` for audio at a rate that the protocol does not have.
    #[must_use]
    pub fn to_wire(self) -> Option<u8> {
        match self {
            Self::Terminate => Some(TYPE_TERMINATE),
            Self::Uuid => Some(TYPE_UUID),
            Self::Dtmf => Some(TYPE_DTMF),
            Self::Error => Some(TYPE_ERROR),
            Self::Audio { rate_hz } => {
                let index = AUDIO_RATES_HZ.iter().position(|rate| *rate == rate_hz)?;
                TYPE_AUDIO_FIRST.checked_add(u8::try_from(index).ok()?)
            }
        }
    }

    fn check(self, payload_bytes: usize) -> Result<(), CodecError> {
        match self {
            Self::Uuid if payload_bytes != UUID_BYTES => Err(CodecError::UuidLength { bytes: payload_bytes }),
            Self::Dtmf if payload_bytes != 1 => Err(CodecError::DtmfLength { bytes: payload_bytes }),
            Self::Audio { .. } if !payload_bytes.is_multiple_of(2) => {
                Err(CodecError::OddAudio { bytes: payload_bytes })
            }
            _ => Ok(()),
        }
    }
}

/// One frame. The payload shares the buffer that it was read into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: FrameKind,
    /// What it holds, without the header.
    pub payload: Bytes,
}

impl Frame {
    /// The UUID of a [`FrameKind::Uuid`] frame.
    #[must_use]
    pub fn uuid(&self) -> Option<Uuid> {
        if self.kind != FrameKind::Uuid {
            return None;
        }
        Uuid::from_slice(&self.payload).ok()
    }

    /// The digit of a [`FrameKind::Dtmf`] frame, if it is one that a telephone has.
    #[must_use]
    pub fn dtmf(&self) -> Option<char> {
        if self.kind != FrameKind::Dtmf {
            return None;
        }
        let digit = char::from(*self.payload.first()?);
        matches!(digit, '0'..='9' | '*' | '#' | 'A'..='D' | 'a'..='d').then(|| digit.to_ascii_uppercase())
    }
}

/// Why a byte stream is not AudioSocket, or a frame cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// A type that the protocol does not have.
    #[error("frame type {0:#04x} is not AudioSocket's; close the connection")]
    UnknownType(u8),
    /// A length above the limit.
    #[error("a frame of {bytes} bytes is longer than {limit}; close the connection")]
    Oversize {
        /// The length in the header, or of the payload to send.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A UUID that has not 16 bytes.
    #[error("a UUID frame has {bytes} bytes instead of 16; close the connection")]
    UuidLength {
        /// How many it has.
        bytes: usize,
    },
    /// A DTMF frame that has not one byte.
    #[error("a DTMF frame has {bytes} bytes instead of 1; close the connection")]
    DtmfLength {
        /// How many it has.
        bytes: usize,
    },
    /// Half a sample.
    #[error("an audio frame has {bytes} bytes, an odd number; samples have two")]
    OddAudio {
        /// How many it has.
        bytes: usize,
    },
    /// Audio at a rate that has no type.
    #[error("{rate_hz} Hz is not one of AudioSocket's sample rates; resample first")]
    Rate {
        /// The rate.
        rate_hz: u32,
    },
}

/// Cuts frames out of a growing buffer. It keeps no state between frames, so it
/// can be moved to another owner of the buffer at any time.
#[derive(Debug, Clone, Copy)]
pub struct FrameDecoder {
    max_payload_bytes: usize,
}

impl Default for FrameDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameDecoder {
    /// Refuses payloads above [`MAX_PAYLOAD_BYTES`].
    #[must_use]
    pub const fn new() -> Self {
        Self { max_payload_bytes: MAX_PAYLOAD_BYTES }
    }

    /// Refuses payloads above `max_payload_bytes`.
    #[must_use]
    pub const fn with_limit(max_payload_bytes: usize) -> Self {
        Self { max_payload_bytes }
    }

    /// Takes the first frame out of `buffer`; `None` when it is not complete yet.
    ///
    /// # Errors
    /// [`CodecError`] as soon as the header shows that this is not AudioSocket. The
    /// buffer is then left as it is: nothing after it can be trusted.
    pub fn decode(&self, buffer: &mut BytesMut) -> Result<Option<Frame>, CodecError> {
        let Some(&[kind, high, low]) = buffer.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let bytes = usize::from(u16::from_be_bytes([high, low]));
        let kind = FrameKind::from_wire(kind).ok_or(CodecError::UnknownType(kind))?;
        if bytes > self.max_payload_bytes {
            return Err(CodecError::Oversize { bytes, limit: self.max_payload_bytes });
        }
        kind.check(bytes)?;
        if buffer.len() < HEADER_BYTES + bytes {
            return Ok(None);
        }
        buffer.advance(HEADER_BYTES);
        let payload = buffer.split_to(bytes).freeze();
        Ok(Some(Frame { kind, payload }))
    }
}

/// Appends one whole frame to `out`, so that it can leave in one write.
///
/// # Errors
/// [`CodecError`] when the payload does not fit the kind; `out` is then unchanged.
pub fn encode(kind: FrameKind, payload: &[u8], out: &mut BytesMut) -> Result<(), CodecError> {
    let header = header(kind, payload.len())?;
    out.reserve(HEADER_BYTES + payload.len());
    out.put_slice(&header);
    out.put_slice(payload);
    Ok(())
}

/// Appends one audio frame of `samples` to `out`.
///
/// # Errors
/// As [`encode`].
pub fn encode_audio(rate_hz: u32, samples: &[i16], out: &mut BytesMut) -> Result<(), CodecError> {
    let bytes = samples.len().saturating_mul(2);
    let header = header(FrameKind::Audio { rate_hz }, bytes)?;
    out.reserve(HEADER_BYTES + bytes);
    out.put_slice(&header);
    for sample in samples {
        out.put_i16_le(*sample);
    }
    Ok(())
}

/// The header of a frame, for those who fill the payload in place behind it.
///
/// # Errors
/// As [`encode`].
pub fn header(kind: FrameKind, payload_bytes: usize) -> Result<[u8; HEADER_BYTES], CodecError> {
    let kind_byte = match (kind, kind.to_wire()) {
        (_, Some(byte)) => byte,
        (FrameKind::Audio { rate_hz }, None) => return Err(CodecError::Rate { rate_hz }),
        // Only audio has kinds without a type.
        (_, None) => return Err(CodecError::Rate { rate_hz: 0 }),
    };
    kind.check(payload_bytes)?;
    let oversize = CodecError::Oversize { bytes: payload_bytes, limit: usize::from(u16::MAX) };
    let [high, low] = u16::try_from(payload_bytes).map_err(|_| oversize)?.to_be_bytes();
    Ok([kind_byte, high, low])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    fn decode_all(decoder: FrameDecoder, buffer: &mut BytesMut) -> Result<Vec<Frame>, CodecError> {
        let mut frames = Vec::new();
        while let Some(frame) = decoder.decode(buffer)? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[test]
    fn the_wire_form_is_type_then_length_big_endian_then_little_endian_samples() {
        let mut out = BytesMut::new();
        encode_audio(8_000, &[1, -2], &mut out).unwrap();
        assert_eq!(&out[..], [0x10, 0x00, 0x04, 0x01, 0x00, 0xfe, 0xff]);
        out.clear();
        encode(FrameKind::Audio { rate_hz: 48_000 }, &[0; 1920], &mut out).unwrap();
        assert_eq!(&out[..3], [0x16, 0x07, 0x80]);
        assert_eq!(header(FrameKind::Terminate, 0), Ok([0, 0, 0]));
    }

    #[test]
    fn every_type_byte_is_its_own_inverse_or_unknown() {
        let mut known = 0;
        for byte in 0..=u8::MAX {
            if let Some(kind) = FrameKind::from_wire(byte) {
                assert_eq!(kind.to_wire(), Some(byte));
                known += 1;
            }
        }
        assert_eq!(known, 13);
    }

    #[test]
    fn what_is_not_audiosocket_is_refused_at_its_header() {
        let of = |bytes: &[u8]| FrameDecoder::new().decode(&mut BytesMut::from(bytes));
        assert_eq!(of(&[0x02, 0, 0]), Err(CodecError::UnknownType(0x02)));
        assert_eq!(of(&[0x19, 0, 0]), Err(CodecError::UnknownType(0x19)));
        assert_eq!(of(&[0x10, 0xff, 0xff]), Err(CodecError::Oversize { bytes: 65_535, limit: 8192 }));
        assert_eq!(of(&[0x01, 0, 15]), Err(CodecError::UuidLength { bytes: 15 }));
        assert_eq!(of(&[0x03, 0, 0]), Err(CodecError::DtmfLength { bytes: 0 }));
        assert_eq!(of(&[0x10, 0, 3]), Err(CodecError::OddAudio { bytes: 3 }));
        assert_eq!(of(&[0x10, 0]), Ok(None));
        assert_eq!(of(b"GET / HTTP/1.1"), Err(CodecError::UnknownType(b'G')));
    }

    #[test]
    fn a_refused_payload_leaves_the_buffer_unchanged() {
        let mut out = BytesMut::from(&b"x"[..]);
        assert_eq!(encode(FrameKind::Uuid, &[0; 4], &mut out), Err(CodecError::UuidLength { bytes: 4 }));
        assert_eq!(encode_audio(22_050, &[0], &mut out), Err(CodecError::Rate { rate_hz: 22_050 }));
        assert!(encode(FrameKind::Error, &vec![0; 70_000], &mut out).is_err());
        assert_eq!(&out[..], b"x");
    }

    #[test]
    fn only_a_telephones_digits_are_digits() {
        let frame = |byte: u8| Frame { kind: FrameKind::Dtmf, payload: Bytes::copy_from_slice(&[byte]) };
        assert_eq!(frame(b'#').dtmf(), Some('#'));
        assert_eq!(frame(b'd').dtmf(), Some('D'));
        assert_eq!(frame(b'E').dtmf(), None);
        assert_eq!(frame(0xff).dtmf(), None);
    }

    fn any_frame() -> impl Strategy<Value = Frame> {
        prop_oneof![
            Just(Frame { kind: FrameKind::Terminate, payload: Bytes::new() }),
            any::<[u8; 16]>().prop_map(|id| Frame { kind: FrameKind::Uuid, payload: Bytes::copy_from_slice(&id) }),
            any::<u8>().prop_map(|d| Frame { kind: FrameKind::Dtmf, payload: Bytes::copy_from_slice(&[d]) }),
            (0..AUDIO_RATES_HZ.len(), prop::collection::vec(any::<u8>(), 0..400)).prop_map(|(rate, mut bytes)| {
                bytes.truncate(bytes.len() / 2 * 2);
                Frame { kind: FrameKind::Audio { rate_hz: AUDIO_RATES_HZ[rate] }, payload: bytes.into() }
            }),
            prop::collection::vec(any::<u8>(), 0..8).prop_map(|b| Frame { kind: FrameKind::Error, payload: b.into() }),
        ]
    }

    proptest! {
        #[test]
        fn any_split_of_the_stream_gives_the_same_frames(
            frames in prop::collection::vec(any_frame(), 0..12),
            cuts in prop::collection::vec(1usize..200, 0..40),
        ) {
            let mut stream = BytesMut::new();
            for frame in &frames {
                encode(frame.kind, &frame.payload, &mut stream).unwrap();
            }
            let mut buffer = BytesMut::new();
            let mut got = Vec::new();
            for cut in cuts {
                let n = cut.min(stream.len());
                buffer.extend_from_slice(&stream.split_to(n));
                got.extend(decode_all(FrameDecoder::new(), &mut buffer).unwrap());
            }
            buffer.extend_from_slice(&stream);
            got.extend(decode_all(FrameDecoder::new(), &mut buffer).unwrap());
            prop_assert_eq!(got, frames);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_never_give_a_frame_above_the_limit(
            bytes in prop::collection::vec(any::<u8>(), 0..2000),
            limit in 0usize..3000,
        ) {
            let mut buffer = BytesMut::from(&bytes[..]);
            if let Ok(frames) = decode_all(FrameDecoder::with_limit(limit), &mut buffer) {
                for frame in frames {
                    prop_assert!(frame.payload.len() <= limit);
                    let _ = (frame.uuid(), frame.dtmf());
                }
            }
        }
    }
}
