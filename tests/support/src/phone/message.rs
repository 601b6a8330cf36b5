//! SIP messages (RFC 3261) and the little of SDP (RFC 4566) that a telephone with one codec needs.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use crate::rtp::Codec;

/// A message that was received.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    first_line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Message {
    /// `None` for what is not SIP.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let first_line = lines.next()?.to_owned();
        if !first_line.contains("SIP/2.0") {
            return None;
        }
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (long_name(name.trim()), value.trim().to_owned()))
            .collect();
        Some(Self { first_line, headers, body: body.to_owned() })
    }

    /// The status code of a response; `None` for a request.
    pub(crate) fn status(&self) -> Option<u16> {
        self.first_line.strip_prefix("SIP/2.0 ")?.split(' ').next()?.parse().ok()
    }

    /// The text after the status code.
    pub(crate) fn reason(&self) -> &str {
        self.first_line.splitn(3, ' ').nth(2).unwrap_or("")
    }

    /// The method of a request; empty for a response.
    pub(crate) fn method(&self) -> &str {
        if self.status().is_some() { "" } else { self.first_line.split(' ').next().unwrap_or("") }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn headers_named<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a str> {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The number and the method of CSeq.
    pub(crate) fn sequence(&self) -> Option<(u32, &str)> {
        let (number, method) = self.header("CSeq")?.split_once(' ')?;
        Some((number.parse().ok()?, method.trim()))
    }

    /// The address in Contact, without brackets and parameters of the header.
    pub(crate) fn contact(&self) -> Option<&str> {
        let contact = self.header("Contact")?;
        match contact.split_once('<') {
            Some((_, rest)) => rest.split('>').next(),
            None => contact.split(';').next(),
        }
    }

    /// A response to this request, with the headers that must be repeated.
    pub(crate) fn response(&self, status: &str, contact: &str, body: &str) -> String {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
            for value in self.headers_named(name) {
                let _ = write!(text, "{name}: {value}\r\n");
            }
        }
        let _ = write!(text, "Contact: <{contact}>\r\n");
        finish(&mut text, "application/sdp", body);
        text
    }
}

/// Ends a message's head and adds the body.
pub(crate) fn finish(text: &mut String, content_type: &str, body: &str) {
    if !body.is_empty() {
        let _ = write!(text, "Content-Type: {content_type}\r\n");
    }
    let _ = write!(text, "Content-Length: {}\r\n\r\n{body}", body.len());
}

/// The compact forms that a PBX may use.
fn long_name(name: &str) -> String {
    match name {
        "v" => "Via",
        "f" => "From",
        "t" => "To",
        "i" => "Call-ID",
        "m" => "Contact",
        "l" => "Content-Length",
        "c" => "Content-Type",
        other => other,
    }
    .to_owned()
}

/// An offer or answer: one codec, telephone events, packets of 20 ms.
pub(crate) fn sdp(media: SocketAddr, codec: Codec, version: u32, direction: &str) -> String {
    let (ip, port, number, name) = (media.ip(), media.port(), codec.payload_type(), codec.name());
    format!(
        "v=0\r\no=- 1 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP {number} 101\r\n\
         a=rtpmap:{number} {name}/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\n\
         a={direction}\r\n"
    )
}

/// Where the other side of a session description wants its audio.
pub(crate) fn media_address(sdp: &str) -> Option<SocketAddr> {
    let media = sdp.lines().find_map(|line| line.strip_prefix("m=audio "))?;
    let port = media.split(' ').next()?.parse().ok()?;
    let address = sdp.lines().filter_map(|line| line.strip_prefix("c=IN IP4 ")).next_back()?;
    Some(SocketAddr::new(address.trim().parse::<IpAddr>().ok()?, port))
}

/// The direction to answer an offer with.
pub(crate) fn answered_direction(offer: &str) -> &'static str {
    let offered = |direction: &str| offer.lines().any(|line| line.trim_end() == direction);
    if offered("a=sendonly") {
        "recvonly"
    } else if offered("a=recvonly") {
        "sendonly"
    } else if offered("a=inactive") {
        "inactive"
    } else {
        "sendrecv"
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const OK: &[u8] =
        b"SIP/2.0 200 OK\r\nv: SIP/2.0/UDP 127.0.0.1:1;branch=z9hG4bK1\r\nContact: \"A\" <sip:a@127.0.0.1:5>;x=1\r\n\
        CSeq: 7 INVITE\r\nTo: <sip:b@c>;tag=9\r\n\r\nv=0\r\nc=IN IP4 127.0.0.2\r\nm=audio 4000 RTP/AVP 0\r\n";

    #[test]
    fn a_response_is_understood() {
        let message = Message::parse(OK).unwrap();
        assert_eq!((message.status(), message.reason(), message.method()), (Some(200), "OK", ""));
        assert_eq!(message.sequence(), Some((7, "INVITE")));
        assert_eq!(message.contact(), Some("sip:a@127.0.0.1:5"));
        assert_eq!(message.header("via"), Some("SIP/2.0/UDP 127.0.0.1:1;branch=z9hG4bK1"));
        assert_eq!(media_address(&message.body), Some("127.0.0.2:4000".parse().unwrap()));
    }

    #[test]
    fn a_request_is_answered_with_its_own_headers() {
        let request = b"BYE sip:me SIP/2.0\r\nVia: a\r\nVia: b\r\nCSeq: 3 BYE\r\nCall-ID: c\r\n\r\n";
        let message = Message::parse(request).unwrap();
        assert_eq!((message.method(), message.status()), ("BYE", None));
        let answer = message.response("200 OK", "sip:me", "");
        assert!(answer.starts_with("SIP/2.0 200 OK\r\nVia: a\r\nVia: b\r\nCall-ID: c\r\nCSeq: 3 BYE\r\n"), "{answer}");
        assert!(answer.ends_with("Content-Length: 0\r\n\r\n"));
    }

    #[test]
    fn an_offer_can_be_read_back() {
        let address = "127.0.0.1:4567".parse().unwrap();
        let offer = sdp(address, Codec::Pcma, 1, "sendonly");
        assert_eq!(media_address(&offer), Some(address));
        assert_eq!(answered_direction(&offer), "recvonly");
        assert_eq!(answered_direction("v=0"), "sendrecv");
    }

    #[test]
    fn what_is_not_sip_is_nothing() {
        for bytes in [&b""[..], b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"SIP/2.0 200 OK"] {
            assert!(Message::parse(bytes).is_none());
        }
    }
}
