//! Methods and headers: what a guest may set, what goes along to another origin, what comes back.

use bytes::Bytes;
use reqwest::header::{HeaderName, HeaderValue};

use crate::port::{HttpError, Reason};

/// The methods there are. `CONNECT` and `TRACE` are none of them: the one makes tunnels, the other echoes headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

impl Method {
    const ALL: [Self; 7] = [Self::Get, Self::Head, Self::Post, Self::Put, Self::Patch, Self::Delete, Self::Options];

    /// Reads a method, in capitals.
    ///
    /// # Errors
    /// [`Reason::Request`]
    pub fn parse(text: &str) -> Result<Self, HttpError> {
        let known = Self::ALL.into_iter().find(|method| method.as_str() == text);
        known.ok_or_else(|| {
            HttpError::new(
                Reason::Request,
                "the method is none of GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS; write one of them, in capitals",
            )
        })
    }

    /// As it is sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }

    pub(crate) fn to_http(self) -> reqwest::Method {
        match self {
            Self::Get => reqwest::Method::GET,
            Self::Head => reqwest::Method::HEAD,
            Self::Post => reqwest::Method::POST,
            Self::Put => reqwest::Method::PUT,
            Self::Patch => reqwest::Method::PATCH,
            Self::Delete => reqwest::Method::DELETE,
            Self::Options => reqwest::Method::OPTIONS,
        }
    }
}

/// More headers than this have no use that a call needs.
const MAX_HEADERS: usize = 64;
/// Their names and values together; most servers refuse more than 8 to 16 KiB.
const MAX_HEADER_BYTES: usize = 16 << 10;

/// Set by the host, or meant for one connection only (RFC 9110, 7.6.1): with them a guest could make one request into two,
/// or ask for another host than the one that was checked.
const HOST_ONLY: [&str; 12] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "te",
    "trailer",
    "trailers",
    "expect",
    "http2-settings",
    "alt-used",
];

/// By these, some servers take another method than the request's.
const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// With these a guest could get a secret back in pieces, or in a form that is not recognised.
const NOT_BESIDE_A_SECRET: [&str; 3] = ["accept-encoding", "range", "if-range"];

/// What goes along when a redirect leads to another origin: nothing that could identify anybody.
const TO_ANY_ORIGIN: [&str; 5] = ["accept", "accept-language", "content-language", "content-type", "user-agent"];

/// Of an answer, what concerned the connection only.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "alt-svc",
];

/// A guest's header whose name and value can be sent.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) name: HeaderName,
    pub(crate) value: Bytes,
}

/// Reads a guest's headers.
pub(crate) fn read(headers: &[(String, Bytes)]) -> Result<Vec<Header>, HttpError> {
    let bytes =
        headers.iter().fold(0_usize, |sum, (name, value)| sum.saturating_add(name.len()).saturating_add(value.len()));
    if headers.len() > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
        return Err(HttpError::new(
            Reason::RequestBytes,
            format!(
                "the request has {} headers of {bytes} bytes; send at most {MAX_HEADERS} of {MAX_HEADER_BYTES}",
                headers.len()
            ),
        ));
    }
    headers.iter().map(|(name, value)| read_one(name, value)).collect()
}

fn read_one(name: &str, value: &Bytes) -> Result<Header, HttpError> {
    let shown: String = name.chars().take(64).collect();
    let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
        HttpError::new(Reason::Request, format!("{shown:?} is no name of a header; use letters, digits and hyphens"))
    })?;
    let lower = parsed.as_str();
    if HOST_ONLY.contains(&lower) || lower.starts_with("proxy-") {
        return Err(HttpError::new(
            Reason::Header,
            format!("the header {lower} is set by the host only; leave it out"),
        ));
    }
    if HeaderValue::from_bytes(value).is_err() {
        return Err(HttpError::new(
            Reason::Request,
            format!("the value of the header {lower} has a line break or another control character in it; take it out"),
        ));
    }
    Ok(Header { name: parsed, value: value.clone() })
}

/// Refuses headers that would get round an entry's methods.
pub(crate) fn check_overrides(headers: &[Header]) -> Result<(), HttpError> {
    match headers.iter().find(|header| METHOD_OVERRIDES.contains(&header.name.as_str())) {
        None => Ok(()),
        Some(header) => Err(HttpError::new(
            Reason::Header,
            format!("the header {} is not allowed where the allow-list names methods; leave it out", header.name),
        )),
    }
}

/// Refuses headers that cannot stand beside a secret.
pub(crate) fn check_beside_secret(headers: &[Header]) -> Result<(), HttpError> {
    match headers.iter().find(|header| NOT_BESIDE_A_SECRET.contains(&header.name.as_str())) {
        None => Ok(()),
        Some(header) => Err(HttpError::new(
            Reason::Header,
            format!("the header {} is not allowed in a request that names a secret; leave it out", header.name),
        )),
    }
}

/// Keeps what may go to another origin.
pub(crate) fn for_another_origin(headers: &mut Vec<Header>) {
    headers.retain(|header| TO_ANY_ORIGIN.contains(&header.name.as_str()));
}

/// Drops what describes a body.
pub(crate) fn without_body(headers: &mut Vec<Header>) {
    headers.retain(|header| !header.name.as_str().starts_with("content-"));
}

/// Whether a guest gets to see this header of an answer.
pub(crate) fn is_for_guests(name: &HeaderName) -> bool {
    !HOP_BY_HOP.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn reason(name: &str, value: &'static [u8]) -> Option<Reason> {
        read(&[(name.to_owned(), Bytes::from_static(value))]).err().map(|error| error.reason())
    }

    #[test]
    fn headers_that_frame_or_route_a_request_are_the_hosts() {
        for name in [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "CONNECTION",
            "Proxy-Authorization",
            "Proxy-Connection",
            "Upgrade",
            "TE",
            "Trailer",
            "Expect",
            "Keep-Alive",
            "HTTP2-Settings",
        ] {
            assert_eq!(reason(name, b"x"), Some(Reason::Header), "{name}");
        }
        for name in ["Accept", "Authorization", "Cookie", "X-Anything", "Content-Type"] {
            assert_eq!(reason(name, b"x"), None, "{name}");
        }
    }

    #[test]
    fn no_header_makes_a_second_line() {
        for (name, value) in [
            ("a", b"x\r\nHost: b".as_slice()),
            ("a", b"x\ny"),
            ("a", b"\0"),
            ("a b", b"x"),
            ("a:", b"x"),
            ("", b"x"),
            ("a\r\nb", b"x"),
            ("\u{e4}", b"x"),
        ] {
            assert_eq!(reason(name, Box::leak(value.to_vec().into_boxed_slice())), Some(Reason::Request), "{name:?}");
        }
    }

    #[test]
    fn too_many_and_too_long_headers_are_refused() {
        let many: Vec<_> = (0..=MAX_HEADERS).map(|n| (format!("x-{n}"), Bytes::new())).collect();
        assert_eq!(read(&many).err().map(|error| error.reason()), Some(Reason::RequestBytes));
        let long = [("x".to_owned(), Bytes::from(vec![b'a'; MAX_HEADER_BYTES]))];
        assert_eq!(read(&long).err().map(|error| error.reason()), Some(Reason::RequestBytes));
    }

    #[test]
    fn only_named_headers_go_to_another_origin() {
        let mut headers = read(&[
            ("Accept".into(), "x".into()),
            ("Authorization".into(), "x".into()),
            ("X-Api-Key".into(), "x".into()),
            ("Cookie".into(), "x".into()),
        ])
        .unwrap_or_default();
        for_another_origin(&mut headers);
        assert_eq!(headers.iter().map(|header| header.name.as_str()).collect::<Vec<_>>(), ["accept"]);
    }

    #[test]
    fn tunnels_and_echoes_are_no_methods() {
        for wrong in ["CONNECT", "TRACE", "get", "", "GET /\r\n"] {
            assert!(Method::parse(wrong).is_err(), "{wrong}");
        }
        for method in Method::ALL {
            assert_eq!(Method::parse(method.as_str()), Ok(method));
            assert_eq!(method.to_http().as_str(), method.as_str());
        }
    }
}
