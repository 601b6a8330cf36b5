//! RTP (RFC 3550) and telephone events (RFC 4733) as bytes.

use crate::g711;

/// The dynamic payload type that the telephone offers for events; 101 is what nearly everyone uses.
pub(crate) const EVENT_PAYLOAD_TYPE: u8 = 101;

/// The keys in the order of their event codes (RFC 4733, 3.2).
pub(crate) const KEYS: &[u8; 16] = b"0123456789*#ABCD";

const HEADER_BYTES: usize = 12;

/// How samples travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Codec {
    /// G.711 mu-law, payload type 0.
    #[default]
    Pcmu,
    /// G.711 A-law, payload type 8.
    Pcma,
}

impl Codec {
    /// The static payload type (RFC 3551).
    #[must_use]
    pub fn payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
        }
    }

    /// The name in SDP.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
        }
    }

    pub(crate) fn of_payload_type(number: u8) -> Option<Self> {
        [Self::Pcmu, Self::Pcma].into_iter().find(|codec| codec.payload_type() == number)
    }

    pub(crate) fn encode(self, sample: i16) -> u8 {
        match self {
            Self::Pcmu => g711::ulaw_encode(sample),
            Self::Pcma => g711::alaw_encode(sample),
        }
    }

    pub(crate) fn decode(self, byte: u8) -> i16 {
        match self {
            Self::Pcmu => g711::ulaw_decode(byte),
            Self::Pcma => g711::alaw_decode(byte),
        }
    }
}

/// A packet that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet<'a> {
    pub(crate) payload_type: u8,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) source: u32,
    pub(crate) payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// `None` for what is not RTP version 2 or is cut short.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let &[first, second, s0, s1, t0, t1, t2, t3, x0, x1, x2, x3] = bytes.first_chunk::<HEADER_BYTES>()?;
        if first >> 6 != 2 {
            return None;
        }
        let mut rest = bytes.get(HEADER_BYTES + 4 * usize::from(first & 0x0f)..)?;
        if first & 0x10 != 0 {
            let &[_, _, l0, l1] = rest.first_chunk::<4>()?;
            rest = rest.get(4 + 4 * usize::from(u16::from_be_bytes([l0, l1]))..)?;
        }
        if first & 0x20 != 0 {
            let padding = usize::from(*rest.last()?);
            rest = rest.get(..rest.len().checked_sub(padding)?)?;
        }
        Some(Self {
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            source: u32::from_be_bytes([x0, x1, x2, x3]),
            payload: rest,
        })
    }

    pub(crate) fn bytes(&self, marker: bool) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.payload.len());
        bytes.extend([0x80, self.payload_type | if marker { 0x80 } else { 0 }]);
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.timestamp.to_be_bytes());
        bytes.extend(self.source.to_be_bytes());
        bytes.extend(self.payload);
        bytes
    }
}

/// One telephone event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) code: u8,
    pub(crate) end: bool,
    /// In samples of 8 kHz since the event's beginning.
    pub(crate) duration: u16,
}

impl Event {
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let &[code, flags, d0, d1] = payload.first_chunk::<4>()?;
        Some(Self { code, end: flags & 0x80 != 0, duration: u16::from_be_bytes([d0, d1]) })
    }

    pub(crate) fn bytes(self) -> [u8; 4] {
        /// In dB below the reference, as most telephones send it.
        const VOLUME: u8 = 10;
        let [d0, d1] = self.duration.to_be_bytes();
        [self.code, VOLUME | if self.end { 0x80 } else { 0 }, d0, d1]
    }
}

/// The event code of a key.
pub(crate) fn event_code(key: char) -> Option<u8> {
    let key = u8::try_from(key).ok()?.to_ascii_uppercase();
    KEYS.iter().position(|known| *known == key).and_then(|at| u8::try_from(at).ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let packet =
            Packet { payload_type: 8, sequence: 65_535, timestamp: 7, source: 0xfeed_beef, payload: &[1, 2, 3] };
        assert_eq!(Packet::parse(&packet.bytes(true)), Some(packet));
        let event = Event { code: event_code('#').unwrap(), end: true, duration: 1280 };
        assert_eq!(Event::parse(&event.bytes()), Some(event));
    }

    #[test]
    fn contributors_extensions_and_padding_are_passed_over() {
        let mut bytes = vec![0xb1, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        bytes.extend([9; 4]);
        bytes.extend([0, 0, 0, 1, 8, 8, 8, 8]);
        bytes.extend([42, 43, 0, 2]);
        assert_eq!(Packet::parse(&bytes).unwrap().payload, [42, 43]);
    }

    #[test]
    fn cut_short_is_nothing() {
        let whole = [0xb1, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 9, 9, 9, 9, 0, 0, 0, 1, 8, 8, 8, 8, 42, 0, 0, 9];
        for length in 0..=whole.len() {
            assert_eq!(Packet::parse(&whole[..length]).map(|p| p.payload.len()).filter(|n| *n > 4), None);
        }
        assert_eq!(Event::parse(&[1, 2, 3]), None);
    }
}
