//! Several files changed as one: all of them, or none.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// What becomes of one file.
#[derive(Debug)]
pub(super) enum Change {
    Write { text: String, mode: u32 },
    Remove,
}

/// The file at which a transaction failed, and why.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) path: PathBuf,
    pub(super) source: io::Error,
}

/// A file as it was.
struct Before {
    path: PathBuf,
    content: Option<(Vec<u8>, u32)>,
}

/// Does the changes in their order. When one fails, those before it are taken back.
///
/// New content is on the disk before any file is replaced, so what is left to fail is a rename.
pub(super) fn commit(folder: &Path, changes: Vec<(String, Change)>) -> Result<(), Failed> {
    let mut ready = Vec::new();
    let prepared = prepare(folder, changes, &mut ready);
    let done = prepared.and_then(|()| replace(&ready));
    for (_, temporary) in &ready {
        if let Some(temporary) = temporary {
            // Gone already when it was renamed.
            let _ = fs::remove_file(temporary);
        }
    }
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    done.and(synced.map_err(|source| Failed { path: folder.to_path_buf(), source }))
}

type Ready = (PathBuf, Option<PathBuf>);

fn prepare(folder: &Path, changes: Vec<(String, Change)>, ready: &mut Vec<Ready>) -> Result<(), Failed> {
    for (name, change) in changes {
        let path = folder.join(&name);
        let temporary = match change {
            Change::Remove => None,
            Change::Write { text, mode } => {
                let temporary = folder.join(format!(".{name}.voxtra-new"));
                if let Err(source) = write_new(folder, &temporary, text.as_bytes(), mode) {
                    let _ = fs::remove_file(&temporary);
                    return Err(Failed { path, source });
                }
                Some(temporary)
            }
        };
        ready.push((path, temporary));
    }
    Ok(())
}

fn replace(ready: &[Ready]) -> Result<(), Failed> {
    let mut before = Vec::new();
    for (path, temporary) in ready {
        let step = remember(path).and_then(|was| {
            before.push(was);
            match temporary {
                Some(temporary) => fs::rename(temporary, path),
                None => remove(path),
            }
        });
        if let Err(source) = step {
            before.into_iter().rev().for_each(put_back);
            return Err(Failed { path: path.clone(), source });
        }
    }
    Ok(())
}

fn remember(path: &Path) -> io::Result<Before> {
    let content = match fs::read(path) {
        Ok(content) => Some((content, fs::metadata(path)?.permissions().mode() & 0o777)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    Ok(Before { path: path.to_path_buf(), content })
}

fn put_back(before: Before) {
    let folder = before.path.parent().unwrap_or(Path::new("."));
    let done = match &before.content {
        None => remove(&before.path),
        Some((content, mode)) => {
            let temporary = before.path.with_extension("voxtra-old");
            write_new(folder, &temporary, content, *mode).and_then(|()| fs::rename(&temporary, &before.path))
        }
    };
    if let Err(e) = done {
        tracing::error!(file = %before.path.display(), error = %e, "a file could not be put back as it was");
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Writes a file of the folder's group, so that Asterisk, often another user, can read it with mode 0640.
fn write_new(folder: &Path, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // Left by a run that was killed.
    remove(path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    let group = fs::metadata(folder)?.gid();
    if file.metadata()?.gid() != group {
        fchown(&file, None, Some(group))?;
    }
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()
}
