//! Where things are kept: the cache that outlives a run, folders that end with it, and the workspace.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

/// The folder for what is fetched or built once: `$VOXTRA_CACHE`, else `$XDG_CACHE_HOME/voxtra`, else
/// `~/.cache/voxtra`. It is not created.
///
/// # Errors
/// When none of the variables is set, or the path is not absolute or holds a blank or `;`, which the configuration
/// files of apt and Asterisk cannot express.
pub fn cache_dir() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let dir = set("VOXTRA_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|d| d.join("voxtra")))
        .or_else(|| set("HOME").map(|d| d.join(".cache/voxtra")))
        .context("no place for the cache: set VOXTRA_CACHE to a folder")?;
    let awkward = dir.to_str().is_none_or(|d| d.contains([' ', '\t', '\n', ';', '"']));
    anyhow::ensure!(
        dir.is_absolute() && !awkward,
        "the cache folder {} must be an absolute path without blanks, quotes or ';': set VOXTRA_CACHE",
        dir.display()
    );
    Ok(dir)
}

/// The root of the workspace that this crate was compiled in.
#[must_use]
pub fn workspace_dir() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// The folder of the built guest components: `$VOXTRA_GUESTS`, else `target/guests` of the workspace.
#[must_use]
pub fn guests() -> PathBuf {
    std::env::var_os("VOXTRA_GUESTS").map_or_else(|| workspace_dir().join("target/guests"), PathBuf::from)
}

/// Waits for the exclusive lock of a file, creating it where needed; the lock ends with the returned handle, or with
/// the process.
///
/// # Errors
/// When the file can be neither made nor locked.
pub fn lock(path: &Path) -> Result<File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
    }
    let file = open_lock(path).with_context(|| format!("cannot open {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(path)
}

/// A folder under the system's temporary one, removed with its contents when dropped.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
}

impl TempDir {
    /// Makes a new folder whose name starts with `voxtra-` and the given word.
    ///
    /// # Errors
    /// When the temporary folder cannot be written.
    pub fn new(word: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        remove_leftovers(word);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("voxtra-{word}-{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e).with_context(|| format!("cannot make the folder {}", path.display())),
            }
        }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Removes folders of processes that were killed before they could.
fn remove_leftovers(word: &str) {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    let beginning = format!("voxtra-{word}-");
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|n| n.strip_prefix(&beginning)?.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
