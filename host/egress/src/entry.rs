//! One entry of an allow-list.
//!
//! `https://api.example.com` is that host over TLS at port 443; the scheme may be left out. `http://` and another port are
//! allowed only where an entry says so. `*.example.com` is every name below `example.com`, not itself. A path limits it to what
//! is at or below that path. Methods in front limit it to those: `GET,POST https://api.example.com/v1/`.

use std::fmt;
use std::str::FromStr;

use crate::headers::Method;
use crate::target::{Host, Scheme, Target};

/// An entry.
#[derive(Clone, PartialEq, Eq)]
pub struct AllowEntry {
    methods: Option<Vec<Method>>,
    scheme: Scheme,
    host: HostPattern,
    port: u16,
    path: Option<String>,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    Exact(Host),
    /// Every name that ends with a dot and this.
    Below(String),
}

/// An entry that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{entry:?} is no entry of an allow-list: {why}; write one such as https://api.example.com or GET,POST https://*.example.com:8443/v1/"
)]
pub struct EntryError {
    entry: String,
    why: String,
}

/// How far an entry agrees with a request. In order: the further, the better it says what is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Agreement {
    Nothing,
    Host,
    Origin,
    Path,
    All,
}

impl AllowEntry {
    /// The entry as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it allows this request.
    pub fn allows(&self, method: Method, target: &Target) -> bool {
        self.agreement(method, target) == Agreement::All
    }

    pub(crate) fn agreement(&self, method: Method, target: &Target) -> Agreement {
        if !self.host.takes(target.host()) {
            return Agreement::Nothing;
        }
        if (self.scheme, self.port) != (target.scheme(), target.port()) {
            return Agreement::Host;
        }
        if !self.path.as_ref().is_none_or(|prefix| path_is_below(target.path(), prefix)) {
            return Agreement::Origin;
        }
        if !self.methods.as_ref().is_none_or(|methods| methods.contains(&method)) {
            return Agreement::Path;
        }
        Agreement::All
    }

    /// Whether it is about this scheme, host and port, whatever path and method.
    pub(crate) fn names_server(&self, target: &Target) -> bool {
        self.agreement(Method::Get, target) >= Agreement::Origin
    }

    /// Whether it tells methods apart.
    pub(crate) fn limits_methods(&self) -> bool {
        self.methods.is_some()
    }
}

impl HostPattern {
    fn takes(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Exact(own), host) => own == host,
            (Self::Below(parent), Host::Name(name)) => {
                name.strip_suffix(parent.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            (Self::Below(_), Host::Ip(_)) => false,
        }
    }
}

/// A prefix ends where a segment does, so that `/v1` does not allow `/v10`. A path that a server may read as another one
/// (encoded slashes, dots, or percent signs) is below nothing.
fn path_is_below(path: &str, prefix: &str) -> bool {
    let Some(rest) = path.strip_prefix(prefix) else { return false };
    let ends_segment = prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/');
    ends_segment && !is_ambiguous(path)
}

fn is_ambiguous(path: &str) -> bool {
    let encoded = path.to_ascii_lowercase();
    let hidden = ["%2f", "%5c", "%2e", "%25", "%00", "%3b"].iter().any(|code| encoded.contains(code));
    // Some servers drop `;…` from a segment before they look at `..`.
    hidden || path.split('/').any(|segment| matches!(segment.split(';').next(), Some("." | "..")))
}

impl FromStr for AllowEntry {
    type Err = EntryError;

    fn from_str(text: &str) -> Result<Self, EntryError> {
        read(text.trim()).map_err(|why| EntryError { entry: text.chars().take(200).collect(), why })
    }
}

fn read(text: &str) -> Result<AllowEntry, String> {
    let (methods, address) = match text.rsplit_once(char::is_whitespace) {
        Some((methods, address)) => (Some(read_methods(methods)?), address),
        None => (None, text),
    };
    if address.is_empty() {
        return Err("it is empty".to_owned());
    }
    let address = if address.contains("://") { address.to_owned() } else { format!("https://{address}") };
    let (address, wildcard) = match address.split_once("://*.") {
        Some((scheme, rest)) => (format!("{scheme}://{rest}"), true),
        None => (address, false),
    };
    let authority = address.split_once("://").map_or("", |(_, rest)| rest).split(['/', '?', '#']).next();
    if authority.is_some_and(|authority| authority.contains('*')) {
        return Err("a * stands only for the names below a host, at its beginning, as in *.example.com".to_owned());
    }
    if address.contains(['?', '#']) {
        return Err("it has a ? or a #, and only a path can be limited".to_owned());
    }
    let target = Target::parse(&address).map_err(|error| first_clause(error.sentence()))?;
    let host = read_host(target.host(), wildcard)?;
    let path = Some(target.path()).filter(|path| *path != "/").map(str::to_owned);
    if path.as_deref().is_some_and(is_ambiguous) {
        return Err("its path has encoded slashes, dots, semicolons or percent signs".to_owned());
    }
    Ok(AllowEntry { methods, scheme: target.scheme(), host, port: target.port(), path, text: text.to_owned() })
}

fn first_clause(sentence: &str) -> String {
    sentence.split(';').next().unwrap_or(sentence).to_owned()
}

fn read_methods(text: &str) -> Result<Vec<Method>, String> {
    let names = text.split([',', ' ', '\t']).filter(|name| !name.is_empty());
    names.map(|name| Method::parse(name).map_err(|_| format!("{name:?} is no method"))).collect()
}

fn read_host(host: &Host, wildcard: bool) -> Result<HostPattern, String> {
    match (host, wildcard) {
        (host, false) => Ok(HostPattern::Exact(host.clone())),
        (Host::Name(name), true) if name.contains('.') => Ok(HostPattern::Below(name.clone())),
        (Host::Name(_), true) => Err("below * there must be at least two parts, as in *.example.com".to_owned()),
        (Host::Ip(_), true) => Err("nothing is below an IP address".to_owned()),
    }
}

impl fmt::Debug for AllowEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AllowEntry({})", self.text)
    }
}

impl fmt::Display for AllowEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn allows(entry: &str, method: Method, url: &str) -> bool {
        entry.parse::<AllowEntry>().unwrap().allows(method, &Target::parse(url).unwrap())
    }

    fn gets(entry: &str, url: &str) -> bool {
        allows(entry, Method::Get, url)
    }

    #[test]
    fn an_entry_is_that_host_over_tls_and_nothing_else() {
        for entry in
            ["https://api.example.com", "api.example.com", "https://API.example.com./", " https://api.example.com:443 "]
        {
            assert!(gets(entry, "https://api.example.com/any/thing?x"), "{entry}");
            for other in [
                "http://api.example.com/",
                "https://api.example.com:8443/",
                "https://example.com/",
                "https://x.api.example.com/",
                "https://api.example.com.evil.example/",
                "https://evilapi.example.com/",
                "https://1.2.3.4/",
            ] {
                assert!(!gets(entry, other), "{entry} {other}");
            }
        }
        assert!(gets("http://api.example.com", "http://api.example.com/"));
        assert!(!gets("http://api.example.com", "https://api.example.com/"));
        assert!(gets("https://api.example.com:8443", "https://api.example.com:8443/"));
        assert!(gets("https://10.1.2.3:8443", "https://167838211:8443/"));
        assert!(gets("https://münchen.example", "https://xn--mnchen-3ya.example/"));
    }

    #[test]
    fn a_star_is_what_is_below_and_never_the_host_itself() {
        let entry = "https://*.example.com:8443/v1/";
        assert!(gets(entry, "https://a.example.com:8443/v1/x"));
        assert!(gets(entry, "https://b.a.example.com:8443/v1/"));
        for other in [
            "https://example.com:8443/v1/",
            "https://evilexample.com:8443/v1/",
            "https://a.example.com/v1/",
            "https://a.example.com:8443/v2/",
            "https://a.example.com.evil.example:8443/v1/",
        ] {
            assert!(!gets(entry, other), "{other}");
        }
    }

    #[test]
    fn a_path_ends_at_a_segment_and_cannot_be_left() {
        assert!(gets("https://a.example/v1", "https://a.example/v1"));
        assert!(gets("https://a.example/v1", "https://a.example/v1/x"));
        assert!(gets("https://a.example/v1", "https://a.example/v1?x=%2f"));
        for other in [
            "/v10",
            "/",
            "/V1/",
            "/v1/../admin",
            "/v1/%2e%2e/admin",
            "/v1/..%2fadmin",
            "/v1/%2e%2e%2fadmin",
            "/v1/..%5cadmin",
            "/v1/..;/admin",
            "/v1/..;x=y/admin",
            "/v1/%252e%252e/admin",
            "/v1/..%3b/admin",
            "/v1%2f..%2fadmin",
        ] {
            assert!(!gets("https://a.example/v1", &format!("https://a.example{other}")), "{other}");
        }
        assert!(gets("https://a.example", "https://a.example/a%2fb"), "without a path there is nothing to leave");
    }

    #[test]
    fn methods_in_front_are_the_only_ones() {
        let entry = "GET,POST https://a.example/v1/";
        assert!(allows(entry, Method::Post, "https://a.example/v1/x"));
        assert!(!allows(entry, Method::Delete, "https://a.example/v1/x"));
        assert!(allows("GET, POST a.example", Method::Get, "https://a.example/"));
    }

    #[test]
    fn a_wrong_entry_is_told_in_one_sentence() {
        for wrong in [
            "",
            "*",
            "https://*",
            "https://*.com",
            "https://*.1.2.3.4",
            "https://a.*.example",
            "https://a*.example.com",
            "ftp://a.example",
            "https://u:pw@a.example",
            "https://a.example?x",
            "https://a.example/#x",
            "FETCH https://a.example",
            "CONNECT https://a.example",
            "https://a.example:0",
            "https://a.example/%2e%2e%2f",
            "https://",
            "*.*.example.com",
            "https://a.example/..;/x",
        ] {
            let text = wrong.parse::<AllowEntry>().unwrap_err().to_string();
            assert!(text.contains("is no entry of an allow-list: ") && text.ends_with("/v1/"), "{wrong}: {text}");
            assert!(!text.contains('\n'));
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader_of_entries(text in "\\PC{0,60}") {
            let _ = text.parse::<AllowEntry>();
        }

        #[test]
        fn a_star_takes_only_real_subdomains(prefix in "[a-z0-9.\\-]{0,12}", suffix in "(example\\.com|xample\\.com|example\\.com\\.evil)") {
            let entry: AllowEntry = "*.example.com".parse().unwrap();
            if let Ok(target) = Target::parse(&format!("https://{prefix}{suffix}/")) {
                let name = target.host().to_string();
                let labels: Vec<&str> = name.rsplit('.').collect();
                let real = labels.len() > 2 && labels[..2] == ["com", "example"];
                prop_assert_eq!(entry.allows(Method::Get, &target), real, "{}", name);
            }
        }
    }
}
