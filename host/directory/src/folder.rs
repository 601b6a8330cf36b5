//! Folders and files that somebody else writes: each is opened first, without following a link and without waiting, and
//! then looked at and read through that handle, so that what is put in its place meanwhile is never what was checked.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::fingerprint::{ContentHash, Fingerprint};

/// A folder that is open, with the path by which it was found.
pub(crate) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

/// One entry as the folder lists it; whether it still is so shows when it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: OsString,
    pub(crate) is_folder: bool,
}

/// Something that is not read. The sentences go behind the file's name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("it is not there")]
    Missing,
    #[error("it is a symbolic link, which is not followed; put the file or folder itself here")]
    Link,
    #[error("it is {0} and not a file; put a file here, or rename it")]
    NotAFile(&'static str),
    #[error("it is not a folder; put a folder here, or rename it")]
    NotAFolder,
    #[error("it has more than {max_bytes} bytes, which is the most that is read; make it smaller")]
    TooBig { max_bytes: u64 },
    #[error("it has more than {most} entries, which is the most that are read; move some away")]
    TooMany { most: usize },
    #[error("more than {} MiB of the tenant's components are new at once; the next look goes on", most_bytes >> 20)]
    TooMuchAtOnce { most_bytes: u64 },
    #[error("it was written to while it was read; it is read again when that is over")]
    Changing,
    #[error("this user may not read it; change its mode")]
    Denied,
    #[error("it cannot be read ({0}); look after the disk")]
    Io(io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::PermissionDenied => Self::Denied,
            _ => Self::Io(error),
        }
    }
}

impl From<Errno> for ReadError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::LOOP => Self::Link,
            Errno::NOTDIR => Self::NotAFolder,
            // What opening a socket says.
            Errno::NXIO => Self::NotAFile("a socket"),
            other => io::Error::from(other).into(),
        }
    }
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Without `NONBLOCK` a pipe would be waited for, without `NOCTTY` a terminal taken over.
const FILE: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

impl Folder {
    /// The operator's own: this one may be a link.
    pub(crate) fn open(path: &Path) -> Result<Self, ReadError> {
        Ok(Self { fd: rustix::fs::open(path, FOLDER, Mode::empty())?, path: path.to_path_buf() })
    }

    /// A folder in this one; never through a link.
    pub(crate) fn folder(&self, name: &OsStr) -> Result<Self, ReadError> {
        let fd = rustix::fs::openat(&self.fd, name, FOLDER | OFlags::NOFOLLOW, Mode::empty());
        // Linux says that a link is not a folder.
        let fd = fd.map_err(|errno| if self.is_link(name) { ReadError::Link } else { errno.into() })?;
        Ok(Self { fd, path: self.path.join(name) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it, by name; links count as what they are, not as what they lead to.
    pub(crate) fn entries(&self, most: usize) -> Result<Vec<Entry>, ReadError> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            if entries.len() == most {
                return Err(ReadError::TooMany { most });
            }
            let is_folder = match entry.file_type() {
                FileType::Unknown => self.file_type(name) == Some(FileType::Directory),
                known => known == FileType::Directory,
            };
            entries.push(Entry { name: name.to_owned(), is_folder });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Whether the entry leads elsewhere.
    pub(crate) fn is_link(&self, name: &OsStr) -> bool {
        self.file_type(name) == Some(FileType::Symlink)
    }

    /// A file of at most so many bytes, whole and unchanged from beginning to end.
    pub(crate) fn read(&self, name: &OsStr, max_bytes: u64) -> Result<Vec<u8>, ReadError> {
        let file = self.file(name, max_bytes)?;
        let mut bytes = Vec::new();
        (&file.open).take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
        self.unchanged(name, &file, bytes.len())?;
        Ok(bytes)
    }

    /// An open file's hash, in pieces so that a big one takes no memory.
    pub(crate) fn hash(&self, name: &OsStr, file: &OpenFile) -> Result<ContentHash, ReadError> {
        const PIECE_BYTES: usize = 64 << 10;
        let (mut digest, mut piece, mut total) = (Sha256::new(), vec![0; PIECE_BYTES], 0_usize);
        let mut source = (&file.open).take(file.looks.size_bytes.saturating_add(1));
        loop {
            let read = match source.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            digest.update(piece.get(..read).unwrap_or_default());
            total = total.saturating_add(read);
        }
        self.unchanged(name, file, total)?;
        Ok(ContentHash::from_digest(digest))
    }

    /// Opens a regular file of at most so many bytes.
    pub(crate) fn file(&self, name: &OsStr, max_bytes: u64) -> Result<OpenFile, ReadError> {
        let open: File = rustix::fs::openat(&self.fd, name, FILE, Mode::empty())?.into();
        let metadata = open.metadata()?;
        if !metadata.is_file() {
            return Err(ReadError::NotAFile(if metadata.is_dir() { "a folder" } else { "a pipe or a device" }));
        }
        if metadata.len() > max_bytes {
            return Err(ReadError::TooBig { max_bytes });
        }
        Ok(OpenFile { open, looks: Fingerprint::of(&metadata) })
    }

    /// Whether the file is as it was when it was opened, and still the one of that name.
    fn unchanged(&self, name: &OsStr, file: &OpenFile, read_bytes: usize) -> Result<(), ReadError> {
        let now = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|_| ReadError::Changing)?;
        let whole = u64::try_from(read_bytes).is_ok_and(|bytes| bytes == file.looks.size_bytes);
        let same = Fingerprint::of(&file.open.metadata()?) == file.looks;
        let in_place = (now.st_dev, now.st_ino) == file.looks.place;
        if whole && same && in_place { Ok(()) } else { Err(ReadError::Changing) }
    }

    fn file_type(&self, name: &OsStr) -> Option<FileType> {
        let stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(FileType::from_raw_mode(stat.st_mode))
    }
}

/// A regular file that is open, as it looked then.
pub(crate) struct OpenFile {
    open: File,
    pub(crate) looks: Fingerprint,
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use voxtra_test_support::files::TempDir;

    use super::*;

    fn folder() -> (TempDir, Folder) {
        let dir = TempDir::new("folder").unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        (dir, folder)
    }

    /// Hashes `a`, while `meanwhile` happens between its opening and its reading.
    fn hash(folder: &Folder, meanwhile: impl FnOnce()) -> Result<ContentHash, ReadError> {
        let file = folder.file(OsStr::new("a"), 100)?;
        meanwhile();
        folder.hash(OsStr::new("a"), &file)
    }

    #[test]
    fn a_file_that_is_swapped_while_it_is_read_is_not_taken() {
        let (dir, folder) = folder();
        let (path, other) = (dir.path().join("a"), dir.path().join("b"));
        let fresh = || fs::write(&path, "first").unwrap();
        fresh();
        assert_eq!(hash(&folder, || {}).unwrap(), ContentHash::of(b"first"));
        let swaps: [&dyn Fn(); 5] = [
            &|| {
                fs::write(&other, "other").unwrap();
                fs::rename(&other, &path).unwrap();
            },
            &|| fs::write(&path, "longer than before").unwrap(),
            &|| fs::write(&path, "").unwrap(),
            &|| fs::remove_file(&path).unwrap(),
            &|| {
                fs::rename(&path, &other).unwrap();
                symlink(&other, &path).unwrap();
            },
        ];
        for (at, swap) in swaps.into_iter().enumerate() {
            let _ = fs::remove_file(&path);
            fresh();
            assert!(matches!(hash(&folder, swap), Err(ReadError::Changing)), "{at}");
        }
    }

    #[test]
    fn a_file_that_grows_for_ever_is_read_as_far_as_it_may_be() {
        let (dir, folder) = folder();
        let path = dir.path().join("a");
        fs::write(&path, "small").unwrap();
        let grown = hash(&folder, || fs::write(&path, vec![b'x'; 1 << 20]).unwrap());
        assert!(matches!(grown, Err(ReadError::Changing)));
    }

    #[test]
    fn a_device_is_no_file() {
        let devices = Folder::open(Path::new("/dev")).unwrap();
        for device in ["null", "zero"] {
            assert!(matches!(devices.read(OsStr::new(device), 10), Err(ReadError::NotAFile(_))), "{device}");
        }
    }

    #[test]
    fn a_folder_that_has_become_a_link_is_not_entered() {
        let (dir, folder) = folder();
        fs::create_dir(dir.path().join("real")).unwrap();
        symlink("real", dir.path().join("a")).unwrap();
        assert!(matches!(folder.folder(OsStr::new("a")), Err(ReadError::Link)));
        assert!(folder.folder(OsStr::new("real")).is_ok());
        assert!(matches!(folder.folder(OsStr::new("none")), Err(ReadError::Missing)));
    }

    #[test]
    fn a_folder_that_was_moved_away_is_still_the_one_that_was_opened() {
        let (dir, _) = folder();
        let (path, other) = (dir.path().join("t"), dir.path().join("u"));
        fs::create_dir(&path).unwrap();
        fs::write(path.join("a"), "first").unwrap();
        let opened = Folder::open(&path).unwrap();
        fs::rename(&path, &other).unwrap();
        symlink("/etc", &path).unwrap();
        assert_eq!(opened.read(OsStr::new("a"), 10).unwrap(), b"first");
        assert!(matches!(opened.read(OsStr::new("passwd"), 1 << 20), Err(ReadError::Missing)));
    }

    #[test]
    fn what_the_system_refuses_is_said_as_what_to_do() {
        assert!(ReadError::from(Errno::ACCESS).to_string().contains("change its mode"));
        assert!(ReadError::from(Errno::IO).to_string().contains("look after the disk"));
    }
}
