//! Who vouches for a component: a detached signature in a file beside it, in the format of `minisign`, checked against
//! the public keys that a tenant trusts.
//!
//! Only pre-hashed signatures (algorithm `ED`) count, which current releases of minisign make by default. The legacy ones
//! (`Ed`, made by old releases or with `-l`) are refused: the two bytes that tell the kinds apart are not signed, so whoever
//! accepts both accepts every signature in two readings. Signing again is one command.
//!
//! A signature says who made the bytes, not that they are the newest: whoever may write into the plugin directory can put
//! back an older component together with its signature. The store's history shows it.

use std::path::{Path, PathBuf};

use minisign_verify::{Error, PublicKey, Signature};

use crate::file::{self, ReadError};
use crate::words::one_line;

/// What is added to a component's file name to get its signature's.
pub const SIGNATURE_ENDING: &str = ".minisig";

/// A signature's four lines take about 300 bytes; the comments are the signer's.
const MAX_SIGNATURE_BYTES: u64 = 8 << 10;

/// A tenant with more keys than this means something else.
const MAX_KEYS: usize = 64;

const MAX_COMMENT_CHARS: usize = 200;

/// Where a key's id is in a decoded line, in minisign's format: after the two bytes of the algorithm.
const KEY_ID: std::ops::Range<usize> = 2..10;

/// A key or a signature that does not do. The sentences name the file that they were given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no signature and there must be one.
    #[error(
        "{file} is unsigned: this tenant's components need {file}{SIGNATURE_ENDING}; sign it with `minisign -S -m {file}`"
    )]
    Unsigned {
        /// The component's file.
        file: String,
    },
    /// It was made with a key that the tenant does not trust.
    #[error(
        "{file} is signed by an unknown key: {key}; add that key to the tenant's trusted ones, or sign with one of those"
    )]
    UnknownKey {
        /// The component's file.
        file: String,
        /// The key's id, as minisign writes it.
        key: String,
    },
    /// It was made with a trusted key, but for other bytes, or its comment was changed.
    #[error("{file} has a wrong signature: {key} has not signed these bytes; restore the file, or sign it again")]
    Wrong {
        /// The component's file.
        file: String,
        /// The key's id, as minisign writes it.
        key: String,
    },
    /// It is of the old kind that signs the bytes themselves.
    #[error("{file} has a legacy signature, which is not accepted; sign it again with a current minisign, without -l")]
    Legacy {
        /// The component's file.
        file: String,
    },
    /// The signature's file is none.
    #[error("{file}{SIGNATURE_ENDING} is malformed: {why}; sign the component again")]
    Malformed {
        /// The component's file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// A public key cannot be read as one.
    #[error(
        "the trusted key {key:?} is no minisign public key; write the second line of its .pub file, which begins with RW"
    )]
    BadKey {
        /// What was given for one.
        key: String,
    },
    /// There are too many keys.
    #[error("{0} trusted keys are more than 64; remove those that nobody signs with")]
    TooManyKeys(usize),
    /// Signatures are required, but no key could make one.
    #[error("signatures are required, but no key is trusted; add one to the tenant's trusted keys")]
    NoTrustedKey,
}

/// The public keys that a tenant trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKeys(Vec<PublicKey>);

impl TrustedKeys {
    /// Takes each key as its base64 text, or as its whole `.pub` file with the comment before it.
    ///
    /// # Errors
    /// [`SignatureError::BadKey`], [`SignatureError::TooManyKeys`], and [`SignatureError::NoTrustedKey`] for none at all.
    pub fn parse<K: AsRef<str>>(keys: impl IntoIterator<Item = K>) -> Result<Self, SignatureError> {
        let parse = |key: K| {
            let text = key.as_ref().trim();
            let parsed = if text.contains('\n') { PublicKey::decode(text) } else { PublicKey::from_base64(text) };
            parsed.map_err(|_| SignatureError::BadKey { key: one_line(text, 80) })
        };
        let keys = keys.into_iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        match keys.len() {
            0 => Err(SignatureError::NoTrustedKey),
            1..=MAX_KEYS => Ok(Self(keys)),
            more => Err(SignatureError::TooManyKeys(more)),
        }
    }
}

/// Whether a tenant's components must be signed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SignaturePolicy {
    /// No; a signature beside one is not even read.
    #[default]
    Off,
    /// By one of these.
    Required(TrustedKeys),
}

/// A signature that was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBy {
    /// The key's id, as minisign writes it: 16 hexadecimal digits.
    pub key: String,
    /// The comment that is signed too: by default the time and the file's name. One line.
    pub comment: String,
}

impl SignaturePolicy {
    /// Checks a component against the text of its signature's file. `file` is its name for people. What is returned is
    /// `None` where no signature is required.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn check(
        &self,
        file: &str,
        component: &[u8],
        signature: Option<&[u8]>,
    ) -> Result<Option<SignedBy>, SignatureError> {
        let Self::Required(keys) = self else { return Ok(None) };
        let file = one_line(file, MAX_COMMENT_CHARS);
        let text = signature.ok_or_else(|| SignatureError::Unsigned { file: file.clone() })?;
        let malformed = |why: &str| SignatureError::Malformed { file: file.clone(), why: why.to_owned() };
        let text = std::str::from_utf8(text).map_err(|_| malformed("it is no text"))?;
        let signature = Signature::decode(text).map_err(|error| malformed(fault(&error)))?;
        let key = key_id(text).ok_or_else(|| malformed("it has no key id"))?;
        verify(&keys.0, component, &signature).map_err(|error| match error {
            Error::UnexpectedKeyId => SignatureError::UnknownKey { file: file.clone(), key: key.clone() },
            Error::UnexpectedAlgorithm | Error::UnsupportedLegacyMode => SignatureError::Legacy { file: file.clone() },
            _ => SignatureError::Wrong { file: file.clone(), key: key.clone() },
        })?;
        Ok(Some(SignedBy { key, comment: one_line(signature.trusted_comment(), MAX_COMMENT_CHARS) }))
    }
}

/// A signature's text, when it has the form of one, is no longer than its file may be, and has nothing in it that takes
/// up much more room where it is written down.
pub(crate) fn text_to_keep(signature: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(signature).ok().filter(|_| signature.len() as u64 <= MAX_SIGNATURE_BYTES)?;
    let is_plain = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    (text.chars().all(is_plain) && Signature::decode(text).is_ok()).then_some(text)
}

/// Where the signature of a component's file is: `NAME.wasm.minisig` beside `NAME.wasm`.
#[must_use]
pub fn signature_path(component: &Path) -> PathBuf {
    let mut path = component.as_os_str().to_owned();
    path.push(SIGNATURE_ENDING);
    path.into()
}

/// Reads the signature beside a component, if there is one.
///
/// # Errors
/// As [`file::read`], but for a file that is not there.
pub fn read_beside(component: &Path) -> Result<Option<Vec<u8>>, ReadError> {
    match file::read(&signature_path(component), MAX_SIGNATURE_BYTES) {
        Ok((bytes, _)) => Ok(Some(bytes)),
        Err(ReadError::Missing) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Two keys may have one id, by malice for instance, so each is tried; the most telling failure counts.
fn verify(keys: &[PublicKey], component: &[u8], signature: &Signature) -> Result<(), Error> {
    let mut failure = Error::UnexpectedKeyId;
    for key in keys {
        match key.verify(component, signature, false) {
            Ok(()) => return Ok(()),
            Err(Error::UnexpectedKeyId) => {}
            Err(other) => failure = other,
        }
    }
    Err(failure)
}

fn fault(error: &Error) -> &'static str {
    match error {
        Error::UnsupportedAlgorithm => "its algorithm is unknown",
        _ => "it does not hold minisign's four lines",
    }
}

/// The id in a signature's second line, written as minisign does: as a number, its last byte first.
fn key_id(text: &str) -> Option<String> {
    let line = base64::engine::Engine::decode(&base64::engine::general_purpose::STANDARD, text.lines().nth(1)?).ok()?;
    Some(line.get(KEY_ID)?.iter().rev().map(|byte| format!("{byte:02X}")).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use minisign::KeyPair;
    use proptest::prelude::*;

    use super::*;

    const COMPONENT: &[u8] = b"\0asm component";

    fn signed(keys: &KeyPair, bytes: &[u8]) -> String {
        minisign::sign(Some(&keys.pk), &keys.sk, Cursor::new(bytes), Some("made today"), None).unwrap().into_string()
    }

    fn keys() -> KeyPair {
        KeyPair::generate_unencrypted_keypair().unwrap()
    }

    fn trusting(keys: &[&KeyPair]) -> SignaturePolicy {
        SignaturePolicy::Required(TrustedKeys::parse(keys.iter().map(|keys| keys.pk.to_base64())).unwrap())
    }

    fn check(policy: &SignaturePolicy, bytes: &[u8], signature: &str) -> Result<Option<SignedBy>, SignatureError> {
        policy.check("support.wasm", bytes, Some(signature.as_bytes()))
    }

    #[test]
    fn a_component_signed_with_a_trusted_key_is_taken() {
        let (ana, ben) = (keys(), keys());
        let by = check(&trusting(&[&ana, &ben]), COMPONENT, &signed(&ben, COMPONENT)).unwrap().unwrap();
        assert_eq!(by.comment, "made today");
        let shown = ben.pk.to_box().unwrap().into_string();
        assert!(shown.lines().next().unwrap().ends_with(&by.key), "{shown} does not name {}", by.key);
    }

    #[test]
    fn a_key_may_be_given_with_its_comment() {
        let ana = keys();
        let file = ana.pk.to_box().unwrap().into_string();
        let policy = SignaturePolicy::Required(TrustedKeys::parse([file]).unwrap());
        assert!(check(&policy, COMPONENT, &signed(&ana, COMPONENT)).is_ok());
    }

    #[test]
    fn without_a_policy_nothing_is_asked_for() {
        assert_eq!(SignaturePolicy::Off.check("x.wasm", COMPONENT, None), Ok(None));
        assert_eq!(SignaturePolicy::Off.check("x.wasm", COMPONENT, Some(b"nonsense")), Ok(None));
    }

    #[test]
    fn every_refusal_has_its_name() {
        let (ana, eve) = (keys(), keys());
        let policy = trusting(&[&ana]);
        let unsigned = policy.check("support.wasm", COMPONENT, None).unwrap_err();
        assert!(matches!(&unsigned, SignatureError::Unsigned { file } if file == "support.wasm"));
        let unknown = check(&policy, COMPONENT, &signed(&eve, COMPONENT)).unwrap_err();
        assert!(matches!(&unknown, SignatureError::UnknownKey { key, .. } if key.len() == 16));
        let other_bytes = check(&policy, b"\0asm other", &signed(&ana, COMPONENT)).unwrap_err();
        assert!(matches!(&other_bytes, SignatureError::Wrong { .. }));
        let other_comment = signed(&ana, COMPONENT).replace("made today", "made never");
        assert!(matches!(check(&policy, COMPONENT, &other_comment), Err(SignatureError::Wrong { .. })));
        for said in [unsigned, unknown, other_bytes].map(|error| error.to_string()) {
            assert!(said.contains("support.wasm") && said.contains(';') && !said.contains('\n'), "{said}");
        }
    }

    #[test]
    fn a_key_that_borrows_a_trusted_ones_id_is_not_believed() {
        let (ana, eve) = (keys(), keys());
        let decode =
            |text: &str| base64::engine::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap();
        let forged = signed(&eve, COMPONENT);
        let mut lines: Vec<_> = forged.lines().map(str::to_owned).collect();
        let mut second = decode(&lines[1]);
        second[KEY_ID].copy_from_slice(&decode(&ana.pk.to_base64())[KEY_ID]);
        lines[1] = base64::engine::Engine::encode(&base64::engine::general_purpose::STANDARD, second);
        let refused = check(&trusting(&[&ana]), COMPONENT, &lines.join("\n"));
        assert!(matches!(refused, Err(SignatureError::Wrong { .. })), "{refused:?}");
    }

    #[test]
    fn a_legacy_signature_is_refused_by_its_name() {
        // The test vector of minisign-verify: the word `test`, signed by minisign 0.8 without pre-hashing.
        let policy = SignaturePolicy::Required(
            TrustedKeys::parse(["RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"]).unwrap(),
        );
        let legacy = "untrusted comment: signature from minisign secret key\n\
            RWQf6LRCGA9i59SLOFxz6NxvASXDJeRtuZykwQepbDEGt87ig1BNpWaVWuNrm73YiIiJbq71Wi+dP9eKL8OC351vwIasSSbXxwA=\n\
            trusted comment: timestamp:1555779966\tfile:test\n\
            QtKMXWyYcwdpZAlPF7tE2ENJkRd1ujvKjlj1m9RtHTBnZPa5WKU5uWRs5GoP5M/VqE81QFuMKI5k/SfNQUaOAA==";
        assert!(matches!(check(&policy, b"test", legacy), Err(SignatureError::Legacy { .. })));
    }

    #[test]
    fn a_file_that_is_no_signature_is_malformed() {
        let ana = keys();
        let (policy, good) = (trusting(&[&ana]), signed(&ana, COMPONENT));
        let first_two: String = good.lines().take(2).collect::<Vec<_>>().join("\n");
        let unknown_algorithm = good.replace("\nRU", "\nQU");
        for bad in ["", "nonsense", "\n\n\n\n", &first_two, &unknown_algorithm, &good.replace("trusted comment: ", "")]
        {
            assert!(matches!(check(&policy, COMPONENT, bad), Err(SignatureError::Malformed { .. })), "{bad:?}");
        }
        let no_text = policy.check("x.wasm", COMPONENT, Some(&[0xff, 0xfe]));
        assert!(matches!(no_text, Err(SignatureError::Malformed { .. })));
    }

    #[test]
    fn keys_that_are_none_are_refused_where_they_are_read() {
        let ana = keys();
        let secret = ana.sk.to_box(None).unwrap().into_string();
        for bad in ["", "RW", "nonsense", "untrusted comment: x\n", &secret] {
            assert!(matches!(TrustedKeys::parse([bad]), Err(SignatureError::BadKey { .. })), "{bad:?}");
        }
        assert_eq!(TrustedKeys::parse::<&str>([]), Err(SignatureError::NoTrustedKey));
        let many = vec![ana.pk.to_base64(); 65];
        assert_eq!(TrustedKeys::parse(many), Err(SignatureError::TooManyKeys(65)));
    }

    #[test]
    fn the_signature_is_looked_for_beside_the_component() {
        let dir = voxtra_test_support::files::TempDir::new("signed").unwrap();
        let path = dir.path().join("support.wasm");
        assert!(read_beside(&path).unwrap().is_none());
        std::fs::write(dir.path().join("support.wasm.minisig"), "text").unwrap();
        assert_eq!(read_beside(&path).unwrap().unwrap(), b"text");
        std::fs::write(dir.path().join("support.wasm.minisig"), vec![b'x'; 9 << 10]).unwrap();
        assert!(matches!(read_beside(&path), Err(ReadError::TooBig { .. })));
    }

    proptest! {
        #[test]
        fn no_change_of_a_signature_passes_and_none_panics(at in 0_usize..400, byte: u8) {
            let ana = keys();
            let good = signed(&ana, COMPONENT);
            let untrusted = good.lines().next().unwrap().len();
            let mut changed = good.clone().into_bytes();
            let at = at % changed.len();
            changed[at] = byte;
            let result = trusting(&[&ana]).check("x.wasm", COMPONENT, Some(&changed));
            // The first comment is not signed, and blank ends of lines mean nothing.
            let same = at <= untrusted || changed == good.as_bytes() || changed.trim_ascii() == good.trim().as_bytes();
            prop_assert!(result.is_err() || same);
        }

        #[test]
        fn no_text_makes_it_panic(text: String, key: String, bytes: Vec<u8>) {
            let ana = keys();
            let _ = trusting(&[&ana]).check("x.wasm", &bytes, Some(text.as_bytes()));
            let _ = trusting(&[&ana]).check("x.wasm", &bytes, Some(&bytes));
            let _ = TrustedKeys::parse([key]);
        }
    }
}
