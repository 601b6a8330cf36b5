//! A folder: each recording appears whole or not at all, beside a JSON file with what is known of it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::task::spawn_blocking;
use voxtra_core::BoxFuture;

use super::{Finished, Sink, SinkError};
use crate::recordings::capture::disk_error;
use crate::recordings::journal::restrict;

/// How often a sink with a retention time looks for what is too old.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);

/// Keeps recordings as `DIR/TENANT/DATE/NAME-ID.wav`, mode 0640.
#[derive(Debug, Clone)]
pub struct LocalSink {
    name: String,
    dir: PathBuf,
    retain: Option<Duration>,
}

impl LocalSink {
    /// A sink of this folder, which is made when it is not there. Recordings older than `retain` are deleted by
    /// [`LocalSink::sweep`].
    pub fn new(name: &str, dir: impl Into<PathBuf>, retain: Option<Duration>) -> Self {
        Self { name: name.to_owned(), dir: dir.into(), retain }
    }

    /// Deletes what is too old, once now and then once an hour, for ever. Returns at once when nothing ever is.
    pub async fn sweep(self) {
        let Some(retain) = self.retain else { return };
        loop {
            let dir = self.dir.clone();
            let swept = spawn_blocking(move || remove_older(&dir, SystemTime::now() - retain)).await;
            match swept {
                Ok(Ok(0)) | Err(_) => {}
                Ok(Ok(count)) => tracing::info!(sink = self.name, count, "recordings past their time were deleted"),
                Ok(Err(error)) => tracing::warn!(sink = self.name, %error, "old recordings cannot be deleted"),
            }
            tokio::time::sleep(SWEEP_EVERY).await;
        }
    }
}

impl Sink for LocalSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn keep<'a>(&'a self, recording: &'a Finished<'a>) -> BoxFuture<'a, Result<String, SinkError>> {
        let folder = self.dir.join(recording.folder());
        let (from, to) = (recording.file.to_owned(), folder.join(recording.file_name()));
        let metadata = format!("{:#}\n", recording.metadata());
        Box::pin(async move {
            let kept = spawn_blocking(move || {
                fs::create_dir_all(&folder)?;
                put(&to.with_extension("json"), |file| file.write_all(metadata.as_bytes()))?;
                put(&to, |file| io::copy(&mut File::open(&from)?, file).map(drop))?;
                File::open(&folder)?.sync_all()?;
                Ok::<_, io::Error>(to.display().to_string())
            });
            match kept.await {
                Ok(Ok(location)) => Ok(location),
                Ok(Err(error)) => Err(SinkError::passing(disk_error(&error))),
                Err(error) => Err(SinkError::passing(error.to_string())),
            }
        })
    }
}

/// Writes a file whole and then gives it its name.
fn put(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".part");
    let part = path.with_file_name(name);
    let written = File::create(&part).and_then(|mut file| {
        restrict(&part, 0o640)?;
        write(&mut file)?;
        file.sync_all()
    });
    let done = written.and_then(|()| fs::rename(&part, path));
    if done.is_err() {
        // It may not be there at all.
        let _ = fs::remove_file(&part);
    }
    done
}

/// Removes recordings, and folders that are empty then; never follows a link. Returns how many recordings.
fn remove_older(dir: &Path, than: SystemTime) -> io::Result<u64> {
    let mut count = 0;
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            count += remove_older(&path, than)?;
            // It fails while something is in it, which is what is wanted.
            let _ = fs::remove_dir(&path);
        } else if kind.is_file() && entry.metadata()?.modified()? < than {
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            if matches!(extension, "wav" | "json" | "part") {
                fs::remove_file(&path)?;
                count += u64::from(extension == "wav");
            }
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_what_is_too_old_goes() {
        let dir = std::env::temp_dir().join(format!("voxtra-sweep-{}", uuid::Uuid::new_v4()));
        let day = dir.join("acme/2026-01-01");
        fs::create_dir_all(&day).unwrap();
        for name in ["a.wav", "a.json", "notes.txt"] {
            fs::write(day.join(name), b"x").unwrap();
        }
        assert_eq!(remove_older(&dir, SystemTime::UNIX_EPOCH).unwrap(), 0);
        assert_eq!(remove_older(&dir, SystemTime::now() + Duration::from_secs(60)).unwrap(), 1);
        let left: Vec<_> = fs::read_dir(&day).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["notes.txt"]);
        assert_eq!(remove_older(&dir.join("nowhere"), SystemTime::now()).unwrap(), 0);
        fs::remove_dir_all(&dir).unwrap();
    }
}
