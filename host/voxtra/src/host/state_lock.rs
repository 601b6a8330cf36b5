//! One host works on a state folder at a time.

use std::fs::{self, File, OpenOptions};
use std::path::Path;

use anyhow::Context;

/// Held while the host runs; the system lets go of it when the host dies.
pub(crate) struct StateLock(#[expect(dead_code, reason = "the lock goes with the file")] File);

impl StateLock {
    /// Takes the folder, which is made when it is not there (mode 0700).
    pub(crate) fn take(dir: &Path) -> anyhow::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let shown = dir.display();
        let unusable = || format!("the state folder {shown} cannot be used; name another with state_dir");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(unusable)?;
        let path = dir.join("lock");
        // A pipe would be waited for.
        if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
            anyhow::bail!("{} is no regular file; remove it, the host makes one", path.display());
        }
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.with_context(unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(std::fs::TryLockError::WouldBlock) => {
                anyhow::bail!("another host works on {shown}; stop that one, or give this one another state_dir")
            }
            Err(std::fs::TryLockError::Error(error)) => Err(error).with_context(unusable),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_second_host_is_told_and_a_dead_ones_folder_is_free() {
        let dir = std::env::temp_dir().join(format!("voxtra-lock-{}", std::process::id()));
        let first = StateLock::take(&dir).unwrap();
        assert!(StateLock::take(&dir).err().unwrap().to_string().contains("another host"));
        drop(first);
        StateLock::take(&dir).unwrap();
        fs::remove_file(dir.join("lock")).unwrap();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, dir.join("lock"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(StateLock::take(&dir).err().unwrap().to_string().contains("no regular file"));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
