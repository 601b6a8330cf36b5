//! A component's version: what its bytes are, not what somebody calls them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How much of a hash people see; the same as the plugin runtime shows.
const SHORT_DIGITS: usize = 12;

/// As little of a hash as still is unlikely to fit two versions by accident.
const MIN_PREFIX_DIGITS: usize = 4;

const HASH_DIGITS: usize = 64;

/// Something that is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// It is not a whole hash.
    #[error("{0:?} is no version: write the 64 lower-case hexadecimal digits of the component's SHA-256")]
    NoHash(String),
    /// It is not the beginning of a hash.
    #[error(
        "{0:?} is no version: write 4 to 64 of its hexadecimal digits, as `voxtra handlers history HANDLER` shows them"
    )]
    NoPrefix(String),
}

/// The SHA-256 of a component's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version([u8; 32]);

impl Version {
    /// The version that these bytes are.
    #[must_use]
    pub fn of(component: &[u8]) -> Self {
        Self(Sha256::digest(component).into())
    }

    /// All 64 digits, lower case.
    #[must_use]
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The first 12 digits, for people.
    #[must_use]
    pub fn short(self) -> String {
        self.to_hex().chars().take(SHORT_DIGITS).collect()
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let no_hash = || VersionError::NoHash(crate::words::one_line(text, HASH_DIGITS));
        if text.len() != HASH_DIGITS || !text.bytes().all(is_digit) {
            return Err(no_hash());
        }
        let mut hash = [0; 32];
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| no_hash())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| no_hash())?;
        }
        Ok(Self(hash))
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_hex()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({})", self.short())
    }
}

/// The first digits of a version, as a person types them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionPrefix(String);

impl VersionPrefix {
    /// Whether a version begins so.
    #[must_use]
    pub fn fits(&self, version: Version) -> bool {
        version.to_hex().starts_with(&self.0)
    }
}

impl FromStr for VersionPrefix {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        if !(MIN_PREFIX_DIGITS..=HASH_DIGITS).contains(&text.len()) || !text.bytes().all(is_digit) {
            return Err(VersionError::NoPrefix(crate::words::one_line(text, HASH_DIGITS)));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for VersionPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_the_sha_256_of_the_bytes() {
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Version::of(b"abc").to_hex(), abc);
        assert_eq!(Version::of(b"abc").short(), "ba7816bf8f01");
        assert_eq!(abc.parse::<Version>().unwrap(), Version::of(b"abc"));
        assert!("ba78".parse::<VersionPrefix>().unwrap().fits(Version::of(b"abc")));
        assert!(!"ba79".parse::<VersionPrefix>().unwrap().fits(Version::of(b"abc")));
    }

    #[test]
    fn anything_else_is_no_version() {
        let good = Version::of(b"x").to_hex();
        for bad in ["", "..", "/etc/passwd", &good[1..], &format!("{good}0"), &good.to_uppercase(), &"g".repeat(64)] {
            assert!(bad.parse::<Version>().is_err(), "{bad:?}");
            assert!(serde_json::from_value::<Version>(bad.into()).is_err(), "{bad:?}");
        }
        for bad in ["", "abc", "..aa", "abcg", "ABCD", &"a".repeat(65)] {
            assert!(bad.parse::<VersionPrefix>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn text_and_hash_are_one(bytes: Vec<u8>, digits in 4_usize..=64) {
            let version = Version::of(&bytes);
            prop_assert_eq!(version.to_hex().parse::<Version>().unwrap(), version);
            prop_assert!(version.to_hex()[..digits].parse::<VersionPrefix>().unwrap().fits(version));
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = text.parse::<Version>();
            let _ = text.parse::<VersionPrefix>();
        }
    }
}
