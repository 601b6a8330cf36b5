//! Room on the disk: some of it is left to the rest of the machine, before a recording and while it goes on.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::capture::disk_error;

/// Written bytes between two looks: 4 s of a call at 8 kHz, so that even a hundred recordings take only 13 MiB more
/// than they may.
const LOOK_EVERY_BYTES: u64 = 128 << 10;

/// How much is free.
#[derive(Clone)]
pub struct FreeSpace(Arc<Probe>);

type Probe = dyn Fn(&Path) -> io::Result<u64> + Send + Sync;

impl FreeSpace {
    /// What the system says is free for the host's user.
    pub fn of_disk() -> Self {
        Self::by(|dir| {
            let stat = rustix::fs::statvfs(dir)?;
            Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
        })
    }

    /// What `probe` says, in bytes, of the disk that holds a folder; it may block for as long as a disk does.
    pub fn by(probe: impl Fn(&Path) -> io::Result<u64> + Send + Sync + 'static) -> Self {
        Self(Arc::new(probe))
    }
}

impl fmt::Debug for FreeSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FreeSpace").finish_non_exhaustive()
    }
}

/// What is kept free of the spool's disk.
#[derive(Debug, Clone)]
pub(super) struct Room {
    pub(super) dir: PathBuf,
    pub(super) min_free_bytes: u64,
    pub(super) free_space: FreeSpace,
}

impl Room {
    /// A sentence when too little is free. Blocks.
    pub(super) fn check(&self) -> Result<(), String> {
        let free = (self.free_space.0)(&self.dir).map_err(|error| disk_error(&error))?;
        if free >= self.min_free_bytes {
            return Ok(());
        }
        Err(format!(
            "the disk of {} has {} MiB left, less than the {} MiB that are kept free; make room",
            self.dir.display(),
            free >> 20,
            self.min_free_bytes >> 20
        ))
    }

    /// For one recording that has just begun.
    pub(super) fn watch(self) -> RoomWatch {
        RoomWatch { room: self, since_bytes: 0 }
    }
}

/// Looks again now and then while a recording grows.
pub(super) struct RoomWatch {
    room: Room,
    since_bytes: u64,
}

impl RoomWatch {
    /// After so many more bytes were written: as [`Room::check`], when it is time to look. Blocks then.
    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), String> {
        self.since_bytes = self.since_bytes.saturating_add(bytes);
        if self.since_bytes < LOOK_EVERY_BYTES {
            return Ok(());
        }
        self.since_bytes = 0;
        self.room.check()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn it_looks_again_with_each_so_many_bytes_and_not_at_each_write() {
        let looks = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&looks);
        let free_space = FreeSpace::by(move |_| Ok(10 - counted.fetch_add(1, Ordering::SeqCst) as u64));
        let mut watch = Room { dir: PathBuf::from("spool"), min_free_bytes: 9, free_space }.watch();
        for _ in 0..100 {
            watch.grow(LOOK_EVERY_BYTES / 50).unwrap();
        }
        assert_eq!(looks.load(Ordering::SeqCst), 1);
        let why = watch.grow(u64::MAX).and_then(|()| watch.grow(u64::MAX)).unwrap_err();
        assert!(why.contains("make room"), "{why}");
    }

    #[test]
    fn a_disk_that_cannot_be_asked_is_a_sentence() {
        let free_space = FreeSpace::by(|_| Err(io::Error::from(io::ErrorKind::PermissionDenied)));
        let why = Room { dir: PathBuf::from("spool"), min_free_bytes: 0, free_space }.check().unwrap_err();
        assert!(why.contains("change its owner"), "{why}");
        assert!(FreeSpace::of_disk().0(&std::env::temp_dir()).unwrap() > 0);
    }
}
