//! Fetching a recording that the PBX has stored, piece by piece into a file that nobody else can read.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use voxtra_ari::AriError;
use voxtra_core::CallError;

use super::app::App;
use super::names;

/// The largest recording fetched: 2 GiB is 37 hours of 8 kHz WAV, and where WAV itself ends is near.
const RECORDING_MAX_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// Copies it and returns its size; `None` when the PBX does not have it. What was written of one that fails is removed,
/// and so when the future is dropped.
pub(super) async fn fetch(app: &App, stored_name: &str, to: &Path) -> Result<Option<u64>, CallError> {
    names::check_stored_name(stored_name)?;
    let failed = |why: String| CallError::Telephony(format!("fetching the recording {stored_name} failed: {why}"));
    let path = to.to_path_buf();
    let opened =
        tokio::task::spawn_blocking(move || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path));
    let file = opened.await.map_err(io::Error::other).and_then(|file| file);
    let file = file.map_err(|e| failed(format!("the file {} cannot be made: {e}", to.display())))?;
    let mut unfinished = Unfinished(Some(to.to_path_buf()));
    let mut file = tokio::fs::File::from_std(file);
    let size_bytes = match app.client.save_recording(stored_name, RECORDING_MAX_BYTES, &mut file).await {
        Ok(size_bytes) => size_bytes,
        Err(AriError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(failed(error.to_string())),
    };
    file.sync_all().await.map_err(|e| failed(e.to_string()))?;
    unfinished.0 = None;
    Ok(Some(size_bytes))
}

/// Removes its file when dropped.
struct Unfinished(Option<PathBuf>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Small and rare; there is nothing else to be done about one that stays.
            let _ = std::fs::remove_file(path);
        }
    }
}
