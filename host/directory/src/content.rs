//! The bytes that a plan means: read as carefully as they were found, and only when they still are the same.

use std::ffi::OsStr;
use std::path::{Component, Path};

use crate::fingerprint::ContentHash;
use crate::folder::{Folder, ReadError};
use crate::names;
use crate::plan::FileRef;

/// A file of a plan that cannot be had any more. One sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {why}")]
pub struct ContentError {
    file: String,
    why: String,
}

impl FileRef {
    /// The file's bytes, as they were when the plan was made. `root` is the plugin directory of the plan, below which no link is
    /// followed. It blocks on the disk.
    ///
    /// # Errors
    /// When the file is not there, is something else by now, or holds anything else.
    pub fn read(&self, root: &Path) -> Result<Vec<u8>, ContentError> {
        let bytes = self.bytes(root).map_err(|error| self.failed(error.to_string()))?;
        if ContentHash::of(&bytes) == self.content {
            return Ok(bytes);
        }
        Err(self.failed("it has changed since it was looked at; the next look finds what it is now".into()))
    }

    fn bytes(&self, root: &Path) -> Result<Vec<u8>, ReadError> {
        let below = self.path.strip_prefix(root).map_err(|_| ReadError::Missing)?;
        let parts: Vec<&OsStr> = below.components().filter_map(plain).collect();
        let open = Folder::open(root)?;
        match (parts.as_slice(), below.components().count()) {
            ([file], 1) => open.read(file, self.size_bytes),
            ([tenant, file], 2) => open.folder(tenant)?.read(file, self.size_bytes),
            _ => Err(ReadError::Missing),
        }
    }

    fn failed(&self, why: String) -> ContentError {
        ContentError { file: names::shown(self.path.as_os_str()), why }
    }
}

fn plain(part: Component<'_>) -> Option<&OsStr> {
    if let Component::Normal(name) = part { Some(name) } else { None }
}
