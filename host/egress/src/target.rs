//! An address that a request may be sent to, read as a browser reads it and then held to less.
//!
//! Every notation that stands for the same host (decimal, octal and hexadecimal IP addresses, percent-encoding, capitals,
//! full-width characters, a final dot) becomes one before anything is compared, and what is sent is that form.

use std::fmt;
use std::net::IpAddr;

use url::Url;

use crate::port::{HttpError, Reason};

/// Longer addresses are refused: no server takes them.
const URL_MAX_BYTES: usize = 8 << 10;
/// What a name can be at most (RFC 1035, 2.3.4).
const NAME_MAX_BYTES: usize = 253;
const LABEL_MAX_BYTES: usize = 63;

/// How a request travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// As in an address.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Whose server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name, in small ASCII letters, without a final dot.
    Name(String),
    /// An address; never a v4 address inside a v6 one.
    Ip(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(address)) => address.fmt(f),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// An address that was read. Whether it may be used is another matter.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    url: Url,
    scheme: Scheme,
    host: Host,
    port: u16,
}

impl Target {
    /// Reads an address: `http` or `https`, a host, a port other than 0; no user, no password. What follows `#` is dropped.
    ///
    /// # Errors
    /// [`Reason::Url`]
    pub fn parse(text: &str) -> Result<Self, HttpError> {
        check_characters(text)?;
        let scheme = scheme_of(text)?;
        check_authority(text)?;
        let mut url = Url::parse(text).map_err(|error| wrong(&format!("cannot be read ({error})")))?;
        url.set_fragment(None);
        let port = url.port_or_known_default().filter(|port| *port != 0);
        let port = port.ok_or_else(|| wrong("has the port 0; leave the port out, or name another"))?;
        let host = normalise_host(&mut url)?;
        Ok(Self { url, scheme, host, port })
    }

    /// The address that an answer's `Location` means, seen from this one.
    ///
    /// # Errors
    /// [`Reason::Url`]
    pub fn join(&self, location: &str) -> Result<Self, HttpError> {
        check_characters(location)?;
        let joined = self.url.join(location).map_err(|error| wrong(&format!("cannot be read ({error})")))?;
        if !joined.username().is_empty() || joined.password().is_some() {
            return Err(wrong("has a user or a password in it"));
        }
        Self::parse(joined.as_str())
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, also where the address leaves it out.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path, percent-encoded; at least `/`.
    pub fn path(&self) -> &str {
        self.url.path()
    }

    /// What follows the question mark.
    pub fn query(&self) -> Option<&str> {
        self.url.query()
    }

    /// The whole address, as it is sent.
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// Whether both are of one scheme, host and port.
    pub fn same_origin(&self, other: &Self) -> bool {
        (self.scheme, &self.host, self.port) == (other.scheme, &other.host, other.port)
    }

    /// Scheme, host and port, as an entry of an allow-list names them.
    pub fn origin(&self) -> String {
        match (self.scheme, self.port) {
            (Scheme::Http, 80) | (Scheme::Https, 443) => format!("{}://{}", self.scheme.as_str(), self.host),
            (scheme, port) => format!("{}://{}:{port}", scheme.as_str(), self.host),
        }
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }
}

/// Without path and query, which may be confidential.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.origin())
    }
}

fn wrong(what: &str) -> HttpError {
    HttpError::new(
        Reason::Url,
        format!("the address {what}; write one such as https://api.example.com/v1/orders, without a user or password"),
    )
}

/// Characters that readers of addresses drop, or take for others, without a word.
fn check_characters(text: &str) -> Result<(), HttpError> {
    if text.len() > URL_MAX_BYTES {
        return Err(wrong(&format!("is longer than {URL_MAX_BYTES} bytes")));
    }
    if text.chars().any(|character| character.is_control() || character.is_whitespace()) {
        return Err(wrong("has a space, a line break or another control character in it"));
    }
    if text.contains('\\') {
        return Err(wrong("has a backslash in it"));
    }
    Ok(())
}

fn scheme_of(text: &str) -> Result<Scheme, HttpError> {
    match text.split_once("://") {
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => Ok(Scheme::Https),
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => Ok(Scheme::Http),
        _ => Err(wrong("begins with neither https:// nor http://")),
    }
}

fn check_authority(text: &str) -> Result<(), HttpError> {
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err(wrong("names no host"));
    }
    if authority.contains('@') {
        return Err(wrong("has a user or a password in it"));
    }
    if authority.ends_with(':') {
        return Err(wrong("has a colon but no port"));
    }
    Ok(())
}

/// The host as it is compared; the address that is sent gets the same.
fn normalise_host(url: &mut Url) -> Result<Host, HttpError> {
    let host = match url.host() {
        Some(url::Host::Ipv4(address)) => Host::Ip(IpAddr::V4(address)),
        Some(url::Host::Ipv6(address)) => Host::Ip(IpAddr::V6(address).to_canonical()),
        Some(url::Host::Domain(name)) => Host::Name(check_name(name.strip_suffix('.').unwrap_or(name))?),
        None => return Err(wrong("names no host")),
    };
    let same = match &host {
        Host::Ip(address) => url.set_ip_host(*address).is_ok(),
        Host::Name(name) => url.set_host(Some(name)).is_ok() && url.host_str() == Some(name),
    };
    if same { Ok(host) } else { Err(wrong("names a host that cannot be written in one way")) }
}

fn check_name(name: &str) -> Result<String, HttpError> {
    let label_fits = |label: &str| {
        let plain = label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
        plain && !label.is_empty() && label.len() <= LABEL_MAX_BYTES && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.len() <= NAME_MAX_BYTES && name.split('.').all(label_fits) {
        Ok(name.to_owned())
    } else {
        Err(wrong("names a host that is no name"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn host(text: &str) -> String {
        Target::parse(text).unwrap().host().to_string()
    }

    #[test]
    fn odd_notations_of_an_address_become_the_address() {
        for text in [
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://0x7f.1/",
            "http://127.1/",
            "http://127.0.0.1./",
            "http://%31%32%37.0.0.1/",
            "http://１２７.0.0.1/",
            "http://127。0。0。1/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "HTTP://127.0.0.1:80/",
        ] {
            assert_eq!(host(text), "127.0.0.1", "{text}");
            assert_eq!(Target::parse(text).unwrap().as_str(), "http://127.0.0.1/", "{text}");
        }
    }

    #[test]
    fn one_name_is_written_in_one_way() {
        assert_eq!(Target::parse("https://API.Example.COM./x?y#z").unwrap().as_str(), "https://api.example.com/x?y");
        assert_eq!(host("https://münchen.example/"), "xn--mnchen-3ya.example");
        assert_eq!(host("https://ex%61mple.com/"), "example.com");
        assert_eq!(Target::parse("https://a.example:443/").unwrap().origin(), "https://a.example");
        assert_eq!(Target::parse("https://a.example:80/").unwrap().origin(), "https://a.example:80");
        assert_eq!(Target::parse("https://a.example/v1/%2e%2e/x/../y").unwrap().path(), "/y");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for text in [
            "",
            "https://",
            "https:///etc",
            "https:api.example.com",
            "//api.example.com/",
            "ftp://a.example/",
            "file:///etc/passwd",
            "gopher://a.example/",
            "https://user@a.example/",
            "https://user:pw@a.example/",
            "https://@a.example/",
            "https://a.example@evil.example/",
            "https://a.example:0/",
            "https://a.example:/",
            "https://a.example:99999/",
            "https://a.example\r\nHost: b/",
            "https://a.exam\tple/",
            " https://a.example/",
            "https://a.example/a b",
            "https://a.example\\@evil.example/",
            "https://a.example\u{a0}/",
            "https://a..example/",
            "https://a.example../",
            "https://./",
            "https://-a.example/",
            "https://a_b*.example/",
            "https://[fe80::1%25eth0]/",
            "https://[::1/",
            "https://256.1.1.1/",
            "https://a.example%00.b/",
            "https://a.example%2fb/",
        ] {
            let error = Target::parse(text).unwrap_err();
            assert_eq!(error.reason(), Reason::Url, "{text}");
            assert!(!error.to_string().contains("pw"), "{error}");
        }
        let long = format!("https://a.example/{}", "x".repeat(URL_MAX_BYTES));
        assert!(Target::parse(&long).is_err());
        assert!(Target::parse(&format!("https://{}.example/", "a".repeat(64))).is_err());
    }

    #[test]
    fn a_location_is_read_from_where_it_came_and_with_the_same_care() {
        let base = Target::parse("https://a.example/v1/x?y").unwrap();
        assert_eq!(base.join("../z").unwrap().as_str(), "https://a.example/z");
        assert_eq!(base.join("//b.example/").unwrap().as_str(), "https://b.example/");
        assert_eq!(base.join("http://0x7f.1/").unwrap().host().to_string(), "127.0.0.1");
        for wrong in
            ["/\\b.example/", "//u:p@b.example/", "file:///etc/passwd", "/a\tb", "javascript:x", "//b.example:0/"]
        {
            assert_eq!(base.join(wrong).unwrap_err().reason(), Reason::Url, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "\\PC{0,60}") {
            let _ = Target::parse(&text);
            let _ = Target::parse(&format!("https://{text}"));
        }

        /// What was accepted means the same to whoever reads it next.
        #[test]
        fn reading_twice_changes_nothing(text in "https?://[a-zA-Z0-9.%\\[\\]:@_\\-xX]{1,24}(:[0-9]{0,5})?(/[a-z%0-9./;]{0,12})?") {
            if let Ok(target) = Target::parse(&text) {
                let again = Target::parse(target.as_str()).unwrap();
                prop_assert_eq!(&again, &target);
                prop_assert!(!target.as_str().contains('@') || target.path().contains('@'));
                if let Host::Name(name) = target.host() {
                    prop_assert!(name.parse::<IpAddr>().is_err());
                    prop_assert_eq!(name, &name.to_ascii_lowercase());
                }
                prop_assert_ne!(target.port(), 0);
            }
        }

        #[test]
        fn every_notation_of_a_v4_address_is_that_address(bits in any::<u32>()) {
            let plain = std::net::Ipv4Addr::from(bits);
            let [a, b, c, d] = plain.octets();
            for text in [
                format!("http://{bits}/"),
                format!("http://{bits:#x}/"),
                format!("http://0{bits:o}/"),
                format!("http://{a:#x}.{b}.0{c:o}.{d}/"),
                format!("http://{a}.{}/", bits & 0xff_ffff),
                format!("http://[::ffff:{plain}]/"),
            ] {
                prop_assert_eq!(host(&text), plain.to_string(), "{}", text);
            }
        }
    }
}
