//! The private folders through which component and code go to a compiling child and back.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What their names begin with.
const FOLDER: &str = "voxtra-compile-";

/// In each of them, locked by the host as long as it is in use: no other sign outlasts a host that is killed, or counts for
/// hosts in other containers that share the temporary folder.
const LOCK: &str = "lock";

/// A folder without a lock that is as old as this is nobody's: it is locked as soon as it is made.
const STALE_AFTER: Duration = Duration::from_secs(60);

/// Folders that are looked at, at the most: the temporary folder is everybody's.
const MAX_LOOKED_AT: usize = 10_000;

/// A folder that only this user can look into, gone when it is dropped.
pub(crate) struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// In the machine's temporary folder, whose name is in the error.
    pub(crate) fn new() -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{FOLDER}{}-{count}-{:016x}", std::process::id(), u64::from_le_bytes(random));
        let temporary = std::env::temp_dir();
        let path = temporary.join(name);
        let within = |error: io::Error| io::Error::new(error.kind(), format!("in {}: {error}", temporary.display()));
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(within)?;
        match locked(&path) {
            Ok(lock) => Ok(Self { path, _lock: lock }),
            Err(error) => {
                let _ = fs::remove_dir_all(&path);
                Err(within(error))
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn locked(folder: &Path) -> io::Result<File> {
    let lock = OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join(LOCK))?;
    lock.try_lock()?;
    Ok(lock)
}

/// Removes the folders that killed hosts of this user have left in the temporary folder. What cannot be removed stays.
pub(crate) fn clear_stale(temporary: &Path) {
    let Ok(entries) = fs::read_dir(temporary) else { return };
    for entry in entries.take(MAX_LOOKED_AT).flatten() {
        let is_named_so = entry.file_name().to_str().is_some_and(|name| name.starts_with(FOLDER));
        if is_named_so && entry.metadata().is_ok_and(|metadata| is_stale(&entry.path(), &metadata)) {
            // Somebody else may be removing it.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A folder, and not a link to one, that nobody uses.
fn is_stale(path: &Path, metadata: &fs::Metadata) -> bool {
    if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
        return false;
    }
    match File::open(path.join(LOCK)) {
        Ok(lock) => lock.try_lock().is_ok(),
        Err(_) => {
            let age = metadata.modified().ok().and_then(|modified| modified.elapsed().ok());
            age.is_some_and(|age| age >= STALE_AFTER)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn folders_that_killed_hosts_have_left_go_and_nothing_else_does() {
        let temporary = Scratch::new().unwrap();
        let path = |name: &str| temporary.path().join(name);
        let make = |name: &str, age: Duration| {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("component.wasm"), b"left").unwrap();
            let then = std::time::SystemTime::now() - age;
            File::open(path(name)).and_then(|folder| folder.set_modified(then)).unwrap();
        };
        let old = STALE_AFTER * 2;
        make("voxtra-compile-1-0-00", old);
        make("voxtra-compile-2-0-00", STALE_AFTER / 2);
        make("elsewhere", old);
        std::os::unix::fs::symlink(path("elsewhere"), path("voxtra-compile-3-0-00")).unwrap();
        for name in ["voxtra-compile-4-0-00", "voxtra-compile-5-0-00"] {
            make(name, Duration::ZERO);
        }
        drop(locked(&path("voxtra-compile-4-0-00")).unwrap());
        let in_use = locked(&path("voxtra-compile-5-0-00")).unwrap();

        clear_stale(temporary.path());
        let mut left: Vec<_> =
            fs::read_dir(temporary.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        let stay = ["elsewhere", LOCK, "voxtra-compile-2-0-00", "voxtra-compile-3-0-00", "voxtra-compile-5-0-00"];
        assert_eq!(left, stay);
        assert!(path("elsewhere/component.wasm").exists());
        drop(in_use);
        clear_stale(&path("gone"));
    }

    #[test]
    fn a_folder_goes_with_its_user() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.path().to_owned();
        clear_stale(path.parent().unwrap());
        assert!(path.exists(), "in use");
        drop(scratch);
        assert!(!path.exists());
    }
}
