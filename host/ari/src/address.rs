//! Addresses: one base URL in whatever form an operator writes it, and paths in
//! which every outside string is one percent-encoded segment.

use reqwest::Url;

use crate::error::AriError;

/// Longest id or name accepted as one path segment, in bytes before encoding.
/// Asterisk's own limit for a channel's unique id is 149 characters; its HTTP
/// server takes request lines of up to 4 KiB.
const SEGMENT_MAX_BYTES: usize = 512;

/// Where an Asterisk is: scheme, host, port and the prefix of `http.conf`.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    url: Url,
}

impl Base {
    /// Accepts `http://host:8088`, the same with a trailing `/`, `/ari`, `/ari/`
    /// or `/ari/events`, with or without a prefix, and `ws`/`wss` for `http`/`https`.
    pub(crate) fn parse(field: &str, text: &str) -> Result<Self, AriError> {
        let shown = crate::error::quote(text);
        let refuse =
            |why: &str| AriError::invalid(format!("{field} {shown:?} {why}; write it like http://127.0.0.1:8088"));
        let mut url = Url::parse(text.trim()).map_err(|e| refuse(&format!("is not a URL ({e})")))?;
        let scheme = match url.scheme() {
            "http" | "ws" => "http",
            "https" | "wss" => "https",
            _ => return Err(refuse("is neither http nor https")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            // Not quoted: the text holds a password.
            return Err(AriError::invalid(format!("{field} holds a user or password; give them in their own fields")));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("has a query or fragment"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(refuse("has no host"));
        }
        if url.scheme() != scheme && url.set_scheme(scheme).is_err() {
            return Err(refuse("is neither http nor https"));
        }
        let path = url.path().trim_end_matches('/');
        let path = path.strip_suffix("/events").unwrap_or(path);
        let path = path.trim_end_matches('/');
        let path = path.strip_suffix("/ari").unwrap_or(path);
        let prefix = path.trim_end_matches('/').to_owned();
        url.set_path(&prefix);
        Ok(Self { url })
    }

    pub(crate) fn secure(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The URL and the path of an ARI resource.
    pub(crate) fn ari(&self, segments: &[&str]) -> Result<(Url, String), AriError> {
        self.join("ari", segments)
    }

    /// The WebSocket URL of a media connection (`/media/<id>`, a sibling of `/ari`).
    pub(crate) fn media(&self, connection_id: &str) -> Result<Url, AriError> {
        self.join("media", &[connection_id]).and_then(|(url, _)| websocket(url))
    }

    /// The WebSocket URL of ARI's events.
    pub(crate) fn events(&self) -> Result<Url, AriError> {
        self.ari(&["events"]).and_then(|(url, _)| websocket(url))
    }

    fn join(&self, root: &str, segments: &[&str]) -> Result<(Url, String), AriError> {
        let mut path = format!("{}/{root}", self.url.path().trim_end_matches('/'));
        for segment in segments {
            path.push('/');
            path.push_str(&encode_segment(segment)?);
        }
        let mut url = self.url.clone();
        url.set_path(&path);
        Ok((url, path))
    }
}

fn websocket(mut url: Url) -> Result<Url, AriError> {
    let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
    url.set_scheme(scheme).map_err(|()| AriError::invalid("the address cannot be a WebSocket address"))?;
    Ok(url)
}

/// One path segment. Everything but RFC 3986's unreserved characters is encoded;
/// `.` and `..` cannot be (a URL treats `%2e` like a dot), so they are refused.
pub(crate) fn encode_segment(text: &str) -> Result<String, AriError> {
    let shown = crate::error::quote(text);
    if text.is_empty() {
        return Err(AriError::invalid("an id or name is empty; give the one that Asterisk reported"));
    }
    if text == "." || text == ".." {
        return Err(AriError::invalid(format!("{shown:?} cannot be an id or name in an ARI path; choose another")));
    }
    if text.len() > SEGMENT_MAX_BYTES {
        return Err(AriError::invalid(format!(
            "the id or name {shown:?} has {} bytes; at most {SEGMENT_MAX_BYTES} are possible",
            text.len()
        )));
    }
    if text.chars().any(char::is_control) {
        return Err(AriError::invalid(format!("the id or name {shown:?} holds a control character; remove it")));
    }
    Ok(percent_encode(text))
}

/// Percent-encodes all but RFC 3986's unreserved characters.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 0x0f] {
                out.push(char::from_digit(u32::from(digit), 16).unwrap_or('0').to_ascii_uppercase());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_base_url_may_be_written_in_any_usual_form() {
        for (text, want) in [
            ("http://h:8088", "http://h:8088/ari/channels"),
            ("http://h:8088/", "http://h:8088/ari/channels"),
            ("http://h:8088/ari", "http://h:8088/ari/channels"),
            ("http://h:8088/ari/", "http://h:8088/ari/channels"),
            ("ws://h:8088/ari/events", "http://h:8088/ari/channels"),
            ("https://h/pbx/", "https://h/pbx/ari/channels"),
            (" http://[::1]:8088/pbx/ari ", "http://[::1]:8088/pbx/ari/channels"),
        ] {
            let base = Base::parse("base_url", text).unwrap();
            assert_eq!(base.ari(&["channels"]).unwrap().0.as_str(), want, "{text}");
        }
        let base = Base::parse("base_url", "https://h/pbx").unwrap();
        assert_eq!(base.events().unwrap().as_str(), "wss://h/pbx/ari/events");
        assert_eq!(base.media("a/b").unwrap().as_str(), "wss://h/pbx/media/a%2Fb");
    }

    #[test]
    fn a_wrong_base_url_is_refused_with_a_reason_and_without_the_password() {
        for text in ["", "h:8088", "ftp://h", "http://", "http://h/?a=1", "/ari"] {
            let error = Base::parse("base_url", text).unwrap_err().to_string();
            assert!(error.contains("base_url"), "{text}: {error}");
        }
        let error = Base::parse("base_url", "http://u:topsecret@h").unwrap_err();
        assert!(!error.to_string().contains("topsecret"));
    }

    #[test]
    fn an_id_cannot_leave_its_segment() {
        assert_eq!(encode_segment("a/../b?c#d%e+f g;2").unwrap(), "a%2F..%2Fb%3Fc%23d%25e%2Bf%20g%3B2");
        for bad in ["", ".", "..", "a\r\nb", "a\0"] {
            assert!(encode_segment(bad).is_err(), "{bad:?}");
        }
        assert!(encode_segment(&"x".repeat(SEGMENT_MAX_BYTES + 1)).is_err());
    }

    proptest! {
        #[test]
        fn whatever_the_id_is_the_path_has_the_same_number_of_segments(id in "\\PC{1,40}") {
            let base = Base::parse("base_url", "http://h:1").unwrap();
            if let Ok((url, path)) = base.ari(&["channels", &id, "answer"]) {
                prop_assert_eq!(url.path(), path);
                prop_assert_eq!(url.path_segments().unwrap().count(), 4);
                prop_assert!(url.query().is_none() && url.fragment().is_none());
            }
        }
    }
}
