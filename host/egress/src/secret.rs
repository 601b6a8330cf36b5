//! Secrets by handle: a guest writes `{{secret:NAME}}` into a header's value, and the host puts the value there, but only
//! for servers that the secret's definition names.
//!
//! What keeps a secret is that list: it goes to no other server, over no other scheme. As a second line, exact occurrences of
//! the value in an answer of such a server are blanked, headers and body, with as many `*` as it has bytes, so that lengths and
//! offsets stay true. A server that gives it back in another form (encoded, compressed, in pieces) is not seen through; for
//! that reason a request with a secret asks for no compression and no ranges, and a compressed answer to one is refused.
//! Name only servers that do not echo.

use std::collections::BTreeMap;
use std::fmt;

use crate::entry::AllowEntry;
use crate::port::{HttpError, Reason};
use crate::target::Target;

const OPEN: &[u8] = b"{{secret:";
const CLOSE: &[u8] = b"}}";
/// Shorter values would be found in answers where they are not meant, and can be guessed.
const VALUE_MIN_BYTES: usize = 8;
/// Longer ones do not fit into a header.
const VALUE_MAX_BYTES: usize = 8 << 10;
const NAME_MAX_BYTES: usize = 64;

/// A value and the servers that may get it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    value: String,
    servers: Vec<AllowEntry>,
}

/// A secret that cannot be used. It never shows the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the secret {name:?} {what}")]
pub struct SecretError {
    name: String,
    what: &'static str,
}

/// A tenant's secrets by name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, Secret>);

impl Secrets {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one, or replaces it. The value goes into a header as it is: for basic authentication write it encoded already. The
    /// servers are entries as an allow-list has them.
    ///
    /// # Errors
    /// A name, value or list that cannot be used.
    pub fn insert(
        &mut self,
        name: impl Into<String>,
        value: impl Into<String>,
        servers: Vec<AllowEntry>,
    ) -> Result<(), SecretError> {
        let (name, value) = (name.into(), value.into());
        let what = if !is_name(name.as_bytes()) {
            Some("has no usable name; use 1 to 64 letters, digits, hyphens, underscores and dots")
        } else if !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) || value.trim() != value {
            Some("has characters in its value that a header cannot carry, or spaces around it; take them out")
        } else if !(VALUE_MIN_BYTES..=VALUE_MAX_BYTES).contains(&value.len()) {
            Some("has a value of less than 8 or more than 8,192 characters; use a longer or a shorter one")
        } else if servers.is_empty() {
            Some("names no server that may get it; name at least one, such as https://api.example.com")
        } else {
            None
        };
        match what {
            Some(what) => Err(SecretError { name: name.chars().take(NAME_MAX_BYTES).collect(), what }),
            None => {
                self.0.insert(name, Secret { value, servers });
                Ok(())
            }
        }
    }

    /// Whether there is one of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Those of these names, as far as there are any.
    #[must_use]
    pub fn only<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Self {
        let known = |name: &'n str| self.0.get_key_value(name).map(|(name, secret)| (name.clone(), secret.clone()));
        Self(names.into_iter().filter_map(known).collect())
    }

    /// Puts values into the text of a header; `None` when it names no secret.
    pub(crate) fn fill(
        &self,
        text: &[u8],
        allowed: impl Fn(&AllowEntry) -> bool,
        target: &Target,
    ) -> Result<Option<Vec<u8>>, HttpError> {
        let mut filled = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = split_once(rest, OPEN) {
            let (name, after) = split_once(after, CLOSE).ok_or_else(unfinished)?;
            let value = self.value_for(name, &allowed, target)?;
            filled.extend_from_slice(before);
            filled.extend_from_slice(value.as_bytes());
            rest = after;
        }
        if rest.len() == text.len() {
            return Ok(None);
        }
        filled.extend_from_slice(rest);
        Ok(Some(filled))
    }

    fn value_for(
        &self,
        name: &[u8],
        allowed: impl Fn(&AllowEntry) -> bool,
        target: &Target,
    ) -> Result<&str, HttpError> {
        let name = std::str::from_utf8(name).ok().filter(|name| is_name(name.as_bytes())).ok_or_else(unfinished)?;
        let refused = |sentence: String| HttpError::new(Reason::Secret, sentence);
        let secret = self.0.get(name).ok_or_else(|| {
            refused(format!("this tenant has no secret {name}; the operator adds it, or correct the name"))
        })?;
        if !secret.servers.iter().any(allowed) {
            let origin = target.origin();
            return Err(refused(format!(
                "the secret {name} may not be sent to this address of {origin}; the operator names servers in its definition"
            )));
        }
        Ok(&secret.value)
    }

    /// Values that this server may have got, by whatever request; the longest first, as [`blank`] wants them.
    pub(crate) fn known_to(&self, target: &Target) -> Vec<&str> {
        let knows = |secret: &&Secret| secret.servers.iter().any(|entry| entry.names_server(target));
        let mut values: Vec<&str> = self.0.values().filter(knows).map(|secret| secret.value.as_str()).collect();
        // A value may be the beginning of a longer one, of which the rest would be left.
        values.sort_unstable_by_key(|value| std::cmp::Reverse(value.len()));
        values
    }

    /// Takes every value out of a sentence of ours. Capitals do not matter: hosts lose them.
    pub(crate) fn blank_sentence(&self, sentence: &mut String) {
        let hidden = self.0.values().any(|secret| contains_ignoring_case(sentence, &secret.value));
        if hidden {
            "the details hold a secret's value and are left out; do not put one into an address".clone_into(sentence);
        }
    }

    /// Whether a text has a value in it, in whatever capitals.
    pub(crate) fn are_in(&self, text: &str) -> bool {
        self.0.values().any(|secret| contains_ignoring_case(text, &secret.value))
    }
}

/// Shows names only.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Shows no value.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("servers", &self.servers).finish_non_exhaustive()
    }
}

/// Whether a text looks as if a secret were meant.
pub(crate) fn is_named_in(text: &[u8]) -> bool {
    split_once(text, OPEN).is_some()
}

/// Overwrites every occurrence of every value, and says whether there was one.
pub(crate) fn blank(bytes: &mut [u8], values: &[&str]) -> bool {
    let mut found = false;
    for value in values {
        let mut from = 0_usize;
        while let Some(at) = bytes.get(from..).and_then(|rest| find(rest, value.as_bytes())) {
            let start = from.saturating_add(at);
            from = start.saturating_add(value.len());
            if let Some(occurrence) = bytes.get_mut(start..from) {
                occurrence.fill(b'*');
            }
            found = true;
        }
    }
    found
}

fn unfinished() -> HttpError {
    HttpError::new(Reason::Request, "a header names a secret in a way that cannot be read; write {{secret:NAME}}")
}

fn is_name(name: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=NAME_MAX_BYTES).contains(&name.len()) && name.iter().all(plain)
}

fn contains_ignoring_case(text: &str, value: &str) -> bool {
    text.len() >= value.len()
        && text.as_bytes().windows(value.len()).any(|part| part.eq_ignore_ascii_case(value.as_bytes()))
}

fn split_once<'a>(text: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = find(text, mark)?;
    Some((text.get(..at)?, text.get(at.checked_add(mark.len())?..)?))
}

/// The first place of `what`, which is not empty.
fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len().max(1)).position(|part| part == what)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;
    use crate::headers::Method;

    const VALUE: &str = "sk-live-0123456789";

    fn secrets() -> Secrets {
        let mut secrets = Secrets::new();
        let servers = vec!["https://api.example.com".parse().unwrap()];
        secrets.insert("key", VALUE, servers.clone()).unwrap();
        secrets.insert("other.key", "another-value", servers).unwrap();
        secrets
    }

    fn fill(text: &str, url: &str) -> Result<Option<String>, HttpError> {
        let target = Target::parse(url).unwrap();
        let filled = secrets().fill(text.as_bytes(), |entry| entry.allows(Method::Get, &target), &target)?;
        Ok(filled.map(|bytes| String::from_utf8(bytes).unwrap()))
    }

    #[test]
    fn a_value_goes_only_where_its_definition_says() {
        let text = "Bearer {{secret:key}}";
        assert_eq!(fill(text, "https://api.example.com/x").unwrap().unwrap(), format!("Bearer {VALUE}"));
        for url in [
            "http://api.example.com/",
            "https://api.example.com:444/",
            "https://b.example/",
            "https://x.api.example.com/",
        ] {
            let error = fill(text, url).unwrap_err();
            assert_eq!(error.reason(), Reason::Secret, "{url}");
            assert!(!error.to_string().contains(VALUE));
        }
        let both = fill("{{secret:key}}:{{secret:other.key}}!", "https://api.example.com/").unwrap().unwrap();
        assert_eq!(both, format!("{VALUE}:another-value!"));
        assert_eq!(fill("plain", "https://b.example/").unwrap(), None);
        assert_eq!(fill("{{secret:nope}}", "https://api.example.com/").unwrap_err().reason(), Reason::Secret);
        for wrong in ["{{secret:key", "{{secret:}}", "{{secret:a b}}", "{{secret:{{secret:key}}}}"] {
            assert_eq!(fill(wrong, "https://api.example.com/").unwrap_err().reason(), Reason::Request, "{wrong}");
        }
    }

    #[test]
    fn a_secret_that_could_not_be_kept_is_refused_without_its_value() {
        let server = || vec!["https://a.example".parse::<AllowEntry>().unwrap()];
        for (name, value, servers) in [
            ("a b", "long-enough-1", server()),
            ("", "long-enough-1", server()),
            ("a", "long-enough\r\nx: y", server()),
            ("a", " long-enough-1", server()),
            ("a", "pa55wrd", server()),
            ("a", "long-enough-1", Vec::new()),
        ] {
            let error = Secrets::new().insert(name, value, servers).unwrap_err().to_string();
            assert!(!error.contains(value), "{error}");
        }
        assert!(!format!("{:?}", secrets()).contains(VALUE));
        assert!(!format!("{:?}", secrets().0.get("key")).contains(VALUE));
    }

    #[test]
    fn a_tenant_has_the_secrets_that_it_names_and_no_others() {
        let few = secrets().only(["other.key", "unknown"]);
        assert!(few.contains("other.key") && !few.contains("key") && !few.contains("unknown"));
        assert_eq!(secrets().only([]), Secrets::new());
    }

    #[test]
    fn a_value_that_begins_another_leaves_nothing_of_it() {
        let mut secrets = secrets();
        let longer = format!("{VALUE}-and-more");
        secrets.insert("longer", longer.clone(), vec!["https://api.example.com".parse().unwrap()]).unwrap();
        let known = secrets.known_to(&Target::parse("https://api.example.com/").unwrap());
        let mut text = format!("{longer} {VALUE}").into_bytes();
        assert!(blank(&mut text, &known));
        assert!(text.iter().all(|byte| matches!(byte, b'*' | b' ')));
        assert!(secrets.known_to(&Target::parse("https://b.example/").unwrap()).is_empty());
    }

    #[test]
    fn sentences_lose_values_in_any_capitals() {
        let mut sentence = format!("cannot reach {}", VALUE.to_uppercase());
        assert!(secrets().are_in(&sentence));
        secrets().blank_sentence(&mut sentence);
        assert!(!sentence.to_lowercase().contains(VALUE));
    }

    proptest! {
        #[test]
        fn blanking_leaves_no_occurrence_and_no_other_byte_changes(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..8),
        ) {
            let mut text: Vec<u8> = parts.join(VALUE.as_bytes());
            let expected: Vec<u8> = parts.join("*".repeat(VALUE.len()).as_bytes());
            let found = blank(&mut text, &[VALUE]);
            prop_assert_eq!(found, parts.len() > 1);
            prop_assert_eq!(text, expected);
        }

        #[test]
        fn no_text_breaks_filling_in(text in proptest::collection::vec(prop_oneof![Just(b'{'), Just(b'}'), any::<u8>()], 0..40)) {
            let target = Target::parse("https://api.example.com/").unwrap();
            let _ = secrets().fill(&text, |entry| entry.allows(Method::Get, &target), &target);
        }
    }
}
