//! The PBX's stored recordings, in memory.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::LINE_RATE_HZ;

/// The most that is stored, in samples: four hours. A simulated PBX has no disk.
const MAX_STORED_SAMPLES: usize = LINE_RATE_HZ as usize * 3600 * 4;

/// The most recordings.
const MAX_STORED: usize = 1_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Stored {
    inner: Mutex<HashMap<String, Arc<[i16]>>>,
}

impl Stored {
    /// Keeps one; the sentence says why it cannot be kept. One of the same name is replaced.
    pub(super) fn keep(&self, name: String, samples: Vec<i16>) -> Result<(), String> {
        let mut inner = self.inner();
        let used: usize = inner.values().map(|samples| samples.len()).sum();
        if inner.len() >= MAX_STORED || used.saturating_add(samples.len()) > MAX_STORED_SAMPLES {
            return Err("the simulator has no room for more recordings; delete some".to_owned());
        }
        inner.insert(name, samples.into());
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<[i16]>> {
        self.inner().get(name).cloned()
    }

    pub(super) fn delete(&self, name: &str) {
        let gone = self.inner().remove(name);
        drop(gone);
    }

    /// The names, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.inner().keys().cloned().collect();
        names.sort_unstable();
        names
    }

    fn inner(&self) -> MutexGuard<'_, HashMap<String, Arc<[i16]>>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a new WAV file, mono, that nobody else can read, and returns its size in bytes (blocking). Of one that cannot
/// be written nothing is left.
pub(super) fn write_file(samples: &[i16], to: &Path) -> io::Result<u64> {
    let mut wav = Vec::with_capacity(samples.len() * 2 + 64);
    voxtra_audio::wav::write_wav(&mut wav, LINE_RATE_HZ, 1, samples)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let written = file.write_all(&wav).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // The first error is the one to be told.
        let _ = std::fs::remove_file(to);
        return Err(error);
    }
    Ok(wav.len() as u64)
}
