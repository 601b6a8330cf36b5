//! `REGISTRY/REPOSITORY@sha256:DIGEST`, and nothing that only looks like it.

use std::fmt;
use std::str::FromStr;

use super::error::ReferenceError;
use crate::version::Version;
use crate::words::one_line;

/// OCI's distribution specification allows 255 for host and repository together.
const MAX_NAME_BYTES: usize = 255;

const MAX_TAG_BYTES: usize = 128;

/// A component in a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OciReference {
    registry: String,
    repository: String,
    manifest: Version,
}

impl OciReference {
    /// The registry's host, with its port where it has one: `ghcr.io`, `127.0.0.1:5000`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository within: `acme/support`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The hash of the manifest. It is not the component's version, which the manifest names.
    #[must_use]
    pub fn manifest(&self) -> Version {
        self.manifest
    }
}

impl FromStr for OciReference {
    type Err = ReferenceError;

    /// Takes a tag between repository and digest, as tools write it, and ignores it, as they do.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let malformed = |why| ReferenceError::Malformed { reference: shown(text), why };
        let Some((name, digest)) = text.split_once('@') else {
            return Err(ReferenceError::NoDigest { reference: shown(text) });
        };
        let manifest = digest.strip_prefix("sha256:").and_then(|digits| digits.parse::<Version>().ok());
        let manifest = manifest.ok_or_else(|| malformed("its digest is not `sha256:` and 64 lower-case digits"))?;
        let (registry, path) = name.split_once('/').ok_or_else(|| malformed("it names no registry"))?;
        if !is_registry(registry) {
            return Err(malformed("it does not begin with a registry's host, such as `ghcr.io` or `localhost:5000`"));
        }
        let (repository, tag) = path.split_once(':').map_or((path, None), |(path, tag)| (path, Some(tag)));
        if !is_repository(repository) || name.len() > MAX_NAME_BYTES || !tag.is_none_or(is_tag) {
            return Err(malformed("its repository is not lower-case words with `/`, `.`, `_` or `-` between them"));
        }
        Ok(Self { registry: registry.to_owned(), repository: repository.to_owned(), manifest })
    }
}

impl fmt::Display for OciReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@sha256:{}", self.registry, self.repository, self.manifest)
    }
}

/// A host that nobody takes for the first word of a repository: with a dot or a port, or `localhost`.
pub(super) fn is_registry(registry: &str) -> bool {
    let (host, port) = registry.split_once(':').map_or((registry, None), |(host, port)| (host, Some(port)));
    let label = |label: &str| {
        let plain = label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        (1..=63).contains(&label.len()) && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_port =
        |port: &str| port.chars().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_host = host == "localhost" || host.contains('.') || port.is_some();
    is_host && host.split('.').all(label) && port.is_none_or(is_port)
}

/// As the distribution specification has it: words of `[a-z0-9]`, between them `.`, `_`, `__`, or dashes.
fn is_repository(repository: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    repository.split('/').all(|part| {
        let separators = part.split(alphanumeric).filter(|between| !between.is_empty());
        let good = |between: &str| matches!(between, "." | "_" | "__") || between.chars().all(|c| c == '-');
        part.starts_with(alphanumeric) && part.ends_with(alphanumeric) && separators.into_iter().all(good)
    })
}

fn is_tag(tag: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let plain = |c: char| first(c) || matches!(c, '.' | '-');
    tag.len() <= MAX_TAG_BYTES && tag.starts_with(first) && tag.chars().all(plain)
}

fn shown(text: &str) -> String {
    one_line(text, MAX_NAME_BYTES + 80)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest() -> String {
        format!("sha256:{}", Version::of(b"manifest"))
    }

    #[test]
    fn a_reference_with_a_digest_is_taken() {
        for (name, registry, repository) in [
            ("ghcr.io/acme/support", "ghcr.io", "acme/support"),
            ("localhost:5000/a", "localhost:5000", "a"),
            ("localhost/a/b__c/d--e.f", "localhost", "a/b__c/d--e.f"),
            ("127.0.0.1:5000/support", "127.0.0.1:5000", "support"),
            ("registry:443/x", "registry:443", "x"),
            ("ghcr.io/acme/support:v1.2", "ghcr.io", "acme/support"),
        ] {
            let reference: OciReference = format!("{name}@{}", digest()).parse().unwrap();
            assert_eq!((reference.registry(), reference.repository()), (registry, repository));
            assert_eq!(reference.manifest(), Version::of(b"manifest"));
            assert_eq!(reference.to_string().parse::<OciReference>().unwrap(), reference);
        }
    }

    #[test]
    fn a_tag_alone_is_refused_with_a_reason() {
        for tagged in ["ghcr.io/acme/support:latest", "ghcr.io/acme/support", "support"] {
            let error = tagged.parse::<OciReference>().unwrap_err();
            assert!(matches!(error, ReferenceError::NoDigest { .. }));
            let said = error.to_string();
            assert!(said.contains("digest") && said.contains(tagged), "{said}");
        }
    }

    #[test]
    fn whatever_only_looks_like_one_is_refused() {
        let good = digest();
        for name in [
            "",
            "support",
            "acme/support",
            "/support",
            "ghcr.io/",
            "ghcr.io//x",
            "ghcr.io/x/",
            "ghcr.io/Acme",
            "GHCR.io/x",
            "ghcr.io/../x",
            "ghcr.io/x y",
            "ghcr.io:0/x",
            "ghcr.io:70000/x",
            "ghcr.io:+5/x",
            "ghcr.io:/x",
            "a..b/x",
            "-a.io/x",
            "user@ghcr.io/x",
            "http://ghcr.io/x",
            "ghcr.io/x?y",
            "ghcr.io/x#y",
            "ghcr.io/x:",
            "ghcr.io/x:a/b",
            "[::1]:5000/x",
            "ghcr.io/x___y",
            "ghcr.io/.x",
            "ghcr.io/x\n",
            "ghcr.io\r\nHost: evil/x",
        ] {
            assert!(format!("{name}@{good}").parse::<OciReference>().is_err(), "{name:?}");
        }
        let long = format!("ghcr.io/{}", "x".repeat(300));
        assert!(format!("{long}@{good}").parse::<OciReference>().is_err());
        for digest in ["", "sha256:", "sha256:abc", "sha512:abc", &good[7..], &good.to_uppercase(), &format!("{good}0")]
        {
            assert!(format!("ghcr.io/x@{digest}").parse::<OciReference>().is_err(), "{digest:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_is_taken_is_plain(text in "[a-z0-9A-Z./:@_ -]{0,60}(@sha256:[0-9a-f]{64})?") {
            if let Ok(reference) = text.parse::<OciReference>() {
                let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | ':' | '@');
                prop_assert!(reference.to_string().chars().all(plain));
                prop_assert!(!reference.repository().contains("..") && !reference.repository().contains("//"));
            }
        }

        #[test]
        fn no_characters_make_it_panic(text: String) {
            let _ = text.parse::<OciReference>();
        }
    }
}
