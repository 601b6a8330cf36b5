//! Files that somebody else writes: looked at and read so that neither a link, a pipe, a huge file nor one that changes
//! meanwhile does harm.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// How a file looked: two equal stamps mean that nobody has written to it or put another in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileStamp {
    size_bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    place: (u64, u64),
}

impl FileStamp {
    /// Size, times of writing and of change (which nobody can set back), device and inode.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            size_bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            place: (metadata.dev(), metadata.ino()),
        }
    }

    /// How a file looks now, itself and not what it links to; `None`: there is none, or it cannot be seen.
    #[must_use]
    pub fn look(path: &Path) -> Option<Self> {
        fs::symlink_metadata(path).ok().map(|metadata| Self::of(&metadata))
    }
}

/// A file that is not read. The sentences go behind the file's name.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is none.
    #[error("it is not there (any more)")]
    Missing,
    /// It is a symbolic link: whatever it leads to is not the tenant's to name.
    #[error("it is a symbolic link, which is not followed; put the file itself here")]
    Link,
    /// It is a folder, a pipe, a device.
    #[error("it is not a file; put a file here")]
    NotAFile,
    /// It is larger than allowed.
    #[error("it has more than {max_bytes} bytes, which is the most that is read; make it smaller")]
    TooBig {
        /// The most that is read.
        max_bytes: u64,
    },
    /// It was written to while it was read.
    #[error("it is being written; it is read when that is over")]
    Changing,
    /// The system refuses.
    #[error("it cannot be read ({0}); check its permissions")]
    Io(#[from] io::Error),
}

/// Reads a regular file of at most so many bytes, whole and unchanged from beginning to end. It blocks on the disk, but
/// on nothing else: a pipe is refused, not waited for.
///
/// # Errors
/// See [`ReadError`].
pub fn read(path: &Path, max_bytes: u64) -> Result<(Vec<u8>, FileStamp), ReadError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file: File = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => file.into(),
        Err(Errno::NOENT) => return Err(ReadError::Missing),
        Err(Errno::LOOP) => return Err(ReadError::Link),
        // A socket cannot be opened at all.
        Err(Errno::NXIO) => return Err(ReadError::NotAFile),
        Err(errno) => return Err(ReadError::Io(errno.into())),
    };
    let before = file.metadata()?;
    if !before.is_file() {
        return Err(ReadError::NotAFile);
    }
    if before.len() > max_bytes {
        return Err(ReadError::TooBig { max_bytes });
    }
    let mut bytes = Vec::new();
    (&file).take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    let stamp = FileStamp::of(&before);
    let whole = u64::try_from(bytes.len()).is_ok_and(|len| len == before.len());
    if !whole || FileStamp::of(&file.metadata()?) != stamp || FileStamp::look(path) != Some(stamp) {
        return Err(ReadError::Changing);
    }
    Ok((bytes, stamp))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use voxtra_test_support::files::TempDir;

    use super::*;

    #[test]
    fn a_file_is_read_and_its_stamp_tells_when_it_changes() {
        let dir = TempDir::new("read").unwrap();
        let path = dir.path().join("a.wasm");
        fs::write(&path, "one").unwrap();
        let (bytes, stamp) = read(&path, 3).unwrap();
        assert_eq!((&*bytes, FileStamp::look(&path)), (&b"one"[..], Some(stamp)));
        fs::write(dir.path().join("new"), "two").unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
        assert_ne!(read(&path, 3).unwrap().1, stamp);
    }

    #[test]
    fn a_time_that_is_set_back_does_not_hide_a_change() {
        let dir = TempDir::new("read").unwrap();
        let path = dir.path().join("a.wasm");
        fs::write(&path, "one").unwrap();
        let (stamp, modified) = (FileStamp::look(&path), fs::metadata(&path).unwrap().modified().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&path, "two").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_ne!(FileStamp::look(&path), stamp);
    }

    #[test]
    fn what_is_no_plain_file_is_refused_and_not_waited_for() {
        let dir = TempDir::new("read").unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "bytes").unwrap();
        symlink("/etc/passwd", at("link")).unwrap();
        symlink("file", at("inner-link")).unwrap();
        fs::create_dir(at("folder.wasm")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert!(matches!(read(&at("link"), 10_000), Err(ReadError::Link)));
        assert!(matches!(read(&at("inner-link"), 10_000), Err(ReadError::Link)));
        for name in ["folder.wasm", "pipe", "socket"] {
            assert!(matches!(read(&at(name), 10_000), Err(ReadError::NotAFile)), "{name}");
        }
        assert!(matches!(read(&at("none"), 10_000), Err(ReadError::Missing)));
        assert!(matches!(read(&at("file"), 4), Err(ReadError::TooBig { max_bytes: 4 })));
        assert!(matches!(read(Path::new("/dev/zero"), 10_000), Err(ReadError::NotAFile)));
    }
}
