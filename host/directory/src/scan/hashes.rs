//! Hashes of files that look as when they were read, so that a look at a directory costs no reading of its components.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::fingerprint::{ContentHash, Fingerprint};
use crate::folder::{Folder, ReadError};
use crate::plan::FileRef;

/// A file that was changed less than this before it was read may be changed again within one tick of the file system's
/// clock (10 ms at most on Linux, 2 s on FAT), which its looks would not show.
const SETTLED_NS: i128 = 2_000_000_000;

/// Of new components that is read of one tenant in one look, one to two seconds' worth, so that one who writes all of its
/// files all the time does not keep the others waiting.
const MAX_NEW_BYTES: u64 = 1 << 30;

#[derive(Debug, Default)]
pub(super) struct Hashes {
    known: HashMap<PathBuf, (Fingerprint, ContentHash)>,
    next: HashMap<PathBuf, (Fingerprint, ContentHash)>,
    /// Bytes that the tenant may still have read.
    left_bytes: u64,
}

impl Hashes {
    pub(super) fn begin(&mut self) {
        self.next.clear();
    }

    /// Forgets files that were not asked for since [`Hashes::begin`].
    pub(super) fn end(&mut self) {
        self.known = std::mem::take(&mut self.next);
    }

    /// A tenant's turn; one that is new is read whole.
    pub(super) fn begin_tenant(&mut self, is_new: bool) {
        self.left_bytes = if is_new { u64::MAX } else { MAX_NEW_BYTES };
    }

    pub(super) fn of(&mut self, folder: &Folder, name: &OsStr, max_bytes: u64) -> Result<FileRef, ReadError> {
        self.at(now_ns(), folder, name, max_bytes)
    }

    /// `now_ns`: before the file is looked at.
    fn at(&mut self, now_ns: i128, folder: &Folder, name: &OsStr, max_bytes: u64) -> Result<FileRef, ReadError> {
        let path = folder.path().join(name);
        let file = folder.file(name, max_bytes)?;
        let looks = file.looks;
        let known = self.next.get(&path).or_else(|| self.known.get(&path));
        let content = match known.filter(|(before, _)| *before == looks) {
            Some((_, content)) => *content,
            None => {
                let left = self.left_bytes.checked_sub(looks.size_bytes);
                self.left_bytes = left.ok_or(ReadError::TooMuchAtOnce { most_bytes: MAX_NEW_BYTES })?;
                folder.hash(name, &file)?
            }
        };
        if looks.changed_ns.saturating_add(SETTLED_NS) < now_ns {
            self.next.insert(path.clone(), (looks, content));
        }
        Ok(FileRef { path, content, size_bytes: looks.size_bytes })
    }
}

fn now_ns() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use voxtra_test_support::files::TempDir;

    use super::*;

    #[test]
    fn a_tenant_has_so_much_read_at_once_and_what_is_known_costs_nothing() {
        let dir = TempDir::new("hashes").unwrap();
        fs::write(dir.path().join("a"), "1234567").unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let mut hashes = Hashes::default();
        hashes.begin_tenant(false);
        hashes.left_bytes = 10;
        let written_ns = folder.file(OsStr::new("a"), 100).unwrap().looks.changed_ns;
        let at = |hashes: &mut Hashes, now_ns| hashes.at(now_ns, &folder, OsStr::new("a"), 100);
        let first = at(&mut hashes, written_ns).unwrap();
        assert_eq!((hashes.left_bytes, first.content), (3, ContentHash::of(b"1234567")));
        // It is too fresh to be known by its looks.
        assert!(matches!(at(&mut hashes, written_ns), Err(ReadError::TooMuchAtOnce { .. })));
        hashes.left_bytes = 10;
        let settled_ns = written_ns + SETTLED_NS + 1;
        assert_eq!(at(&mut hashes, settled_ns).unwrap(), first);
        assert_eq!(at(&mut hashes, settled_ns).unwrap(), first);
        assert_eq!(hashes.left_bytes, 3);
    }

    #[test]
    fn a_file_that_is_not_asked_for_is_forgotten() {
        let mut hashes = Hashes::default();
        let looks = Fingerprint { size_bytes: 1, modified_ns: 1, changed_ns: 1, place: (1, 1) };
        hashes.next.insert("a".into(), (looks, ContentHash::of(b"a")));
        hashes.end();
        assert_eq!(hashes.known.len(), 1);
        hashes.begin();
        hashes.end();
        assert_eq!(hashes.known.len(), 0);
    }
}
