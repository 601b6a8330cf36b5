//! What is known of each recording on disk, written before anything depends on it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use voxtra_core::RecordingId;
use voxtra_core::recording::RecordingStart;

/// One recording.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) start: RecordingStart,
    pub(super) state: State,
    /// In the order of the configuration.
    pub(super) sinks: Vec<SinkState>,
    /// Why it is not whole; a sentence.
    pub(super) failure: Option<String>,
}

/// How far it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// It goes on; after a crash: it did.
    Recording,
    /// Its file is whole, in the spool.
    Complete { duration_ms: u32, size_bytes: u64, sha256: String },
}

/// What became of it at one sink.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SinkState {
    pub(super) name: String,
    /// Where the sink has put it.
    pub(super) location: Option<String>,
    pub(super) attempts: u32,
    pub(super) last_error: Option<String>,
    /// No more attempts until the next start.
    pub(super) given_up: bool,
}

impl SinkState {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), location: None, attempts: 0, last_error: None, given_up: false }
    }

    pub(super) fn is_open(&self) -> bool {
        self.location.is_none() && !self.given_up
    }
}

/// The spool folder. Every method blocks for as long as a disk does.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    dir: PathBuf,
}

impl Journal {
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        restrict(dir, 0o700)?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Where the host writes.
    pub(super) fn part(&self, id: &RecordingId) -> PathBuf {
        self.dir.join(format!("{id}.part"))
    }

    /// Where the whole file is.
    pub(super) fn file(&self, id: &RecordingId) -> PathBuf {
        self.dir.join(format!("{id}.wav"))
    }

    /// Writes an entry whole, or leaves the old one.
    pub(super) fn put(&self, entry: &Entry) -> io::Result<()> {
        let path = self.path(&entry.start.id);
        let new = path.with_extension("json.new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec_pretty(entry)?)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        self.sync()
    }

    /// Forgets a recording and its files.
    pub(super) fn remove(&self, id: &RecordingId) -> io::Result<()> {
        for path in [self.part(id), self.file(id), self.path(id)] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// All entries. One that cannot be read is named and left where it is.
    pub(super) fn all(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for file in fs::read_dir(&self.dir)? {
            let path = file?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match read(&path).map_err(|e| e.to_string()).and_then(|text| parse(&text)) {
                Ok(entry) => entries.push(entry),
                Err(error) => {
                    tracing::error!(file = %path.display(), error, "a recording's journal cannot be read; look at it by hand");
                }
            }
        }
        entries.sort_by_key(|entry: &Entry| entry.start.started_at);
        Ok(entries)
    }

    /// Makes what was renamed in the folder last.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn path(&self, id: &RecordingId) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }
}

/// A pipe would be waited for.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    fs::read(path)
}

fn parse(text: &[u8]) -> Result<Entry, String> {
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

/// Only the host's user may look.
pub(super) fn restrict(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
