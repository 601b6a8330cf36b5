//! A capture file with key presses, which is what SIPp plays RTP from. SIPp puts its own addresses and ports in.

use std::net::Ipv4Addr;

use crate::rtp::presses;

/// The file (classic pcap, microseconds, Ethernet frames) with the RFC 4733 events of these keys.
pub(super) fn keys(keys: &str) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, ETHERNET] {
        file.extend(word.to_le_bytes());
    }
    for (at, rtp) in presses(keys) {
        let frame = frame(&rtp);
        let length = frame.len() as u32;
        for word in [at.as_secs() as u32, at.subsec_micros(), length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

const ETHERNET: u32 = 1;

/// An Ethernet frame with IPv4 and UDP around the payload. The UDP checksum is left out, as IPv4 allows.
fn frame(payload: &[u8]) -> Vec<u8> {
    const PORT: u16 = 6000;
    let udp_length = 8 + payload.len() as u16;
    let address = Ipv4Addr::LOCALHOST.octets();
    let mut ip = vec![0x45, 0];
    ip.extend((20 + udp_length).to_be_bytes());
    // No fragments, 64 hops, UDP, checksum to come.
    ip.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    ip.extend(address);
    ip.extend(address);
    let checksum = checksum(&ip);
    ip.splice(10..12, checksum.to_be_bytes());
    let mut frame = vec![0; 12];
    frame.extend([0x08, 0x00]);
    frame.extend(ip);
    for word in [PORT, PORT, udp_length, 0] {
        frame.extend(word.to_be_bytes());
    }
    frame.extend(payload);
    frame
}

/// RFC 1071.
fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_its_checksum_sums_to_nothing() {
        let frame = frame(&[1, 2, 3, 4]);
        assert_eq!(checksum(&frame[14..34]), 0);
        assert_eq!(frame.len(), 14 + 20 + 8 + 4);
    }

    #[test]
    fn each_key_has_its_packets() {
        let file = keys("1#");
        // 8 growing and 3 end packets a key; 16 bytes of record, 42 of frame, 16 of RTP each.
        assert_eq!(file.len(), 24 + 2 * 11 * (16 + 42 + 16));
    }
}
