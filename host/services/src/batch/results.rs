//! What came of a batch, as CSV.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::SystemTime;

use super::progress::Outcome;

/// What came of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowResult {
    /// The row's place in the batch, from 1, refused rows last.
    pub row: u32,
    /// The number; a refused one as it was written, shortened.
    pub number: String,
    /// What came of it; none yet: the batch was stopped, and can be gone on with.
    pub outcome: Option<Outcome>,
    /// `human`, `machine` or `not-sure`; empty when nobody answered.
    pub answered_by: String,
    /// How many calls were placed to it. With [`Outcome::Interrupted`] the last of them may not have been.
    pub attempts: u32,
    /// When the last of them began.
    pub started_at: Option<SystemTime>,
    /// From the answer to the end of the last, in milliseconds.
    pub duration_ms: u64,
    /// Why it ended, or failed, or was refused.
    pub detail: String,
}

/// Writes results as CSV: `number,outcome,answered_by,attempts,started_at,duration_ms,detail`, a header first. Times are
/// RFC 3339 in UTC; a row without an outcome has `pending`. The file is there whole or not at all: it is written beside
/// its place, synced and renamed, and replaces an older one. Blocks.
pub fn write_results(path: &Path, results: &[RowResult]) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}.part", uuid::Uuid::new_v4().simple()));
    let beside = folder.join(beside);
    let written = write(&beside, results).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // What is left of it is of no use; that it cannot be removed either changes nothing.
        let _ = fs::remove_file(&beside);
    }
    written?;
    File::open(folder)?.sync_all()
}

fn write(path: &Path, results: &[RowResult]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    let mut rows = csv::Writer::from_writer(BufWriter::new(&mut file));
    rows.write_record(["number", "outcome", "answered_by", "attempts", "started_at", "duration_ms", "detail"])?;
    for result in results {
        let started_at = result.started_at.map(|at| humantime::format_rfc3339_millis(at).to_string());
        rows.write_record([
            result.number.as_str(),
            result.outcome.map_or("pending", Outcome::as_str),
            &result.answered_by,
            &result.attempts.to_string(),
            started_at.as_deref().unwrap_or_default(),
            &result.duration_ms.to_string(),
            &result.detail,
        ])?;
    }
    rows.flush()?;
    rows.into_inner().map_err(|error| io::Error::other(error.to_string()))?.flush()?;
    file.sync_all()
}
