//! How a file looks from outside, and what it holds.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use sha2::{Digest, Sha256};

/// What people see of a hash; the plugin runtime shows as many digits.
const SHORT_DIGITS: usize = 12;

/// How a file looks: two equal ones mean that it was neither written to nor replaced, unless both happened within one tick
/// of the file system's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// Its length in bytes.
    pub size_bytes: u64,
    /// When it was written to last, in nanoseconds since 1970.
    pub modified_ns: i128,
    /// When it or its entry was changed last, in nanoseconds since 1970. Nobody can set this back.
    pub changed_ns: i128,
    /// Device and inode.
    pub place: (u64, u64),
}

impl Fingerprint {
    /// From what the system says about an open file.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        let ns = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
        Self {
            size_bytes: metadata.len(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
            place: (metadata.dev(), metadata.ino()),
        }
    }
}

/// The SHA-256 of a content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    pub(crate) fn from_digest(digest: Sha256) -> Self {
        Self(digest.finalize().into())
    }

    /// The hash itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
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

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({})", self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_named_by_its_sha256() {
        // The empty message's digest, as in NIST's test vectors.
        let wanted = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(ContentHash::of(b"").to_hex(), wanted);
        assert_eq!(ContentHash::of(b"").short(), "e3b0c44298fc");
    }
}
