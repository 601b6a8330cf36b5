//! Says when a plugin directory is worth another look. It reads no file and says nothing about what has changed: whoever
//! looks finds out.
//!
//! The directory, each folder in it and the folder that it is in are watched by the system (inotify on Linux), so that
//! folders that come, and the directory itself when it is removed and made again, are noticed. That can fail: queues
//! overflow, watches run out, folders on a network tell nothing. So a look is also due after a fixed time.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use crate::names;

/// Folders that are watched; a directory of more is not read anyway.
const MAX_FOLDERS: usize = 10_000;

/// How a directory is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchOptions {
    /// The time after which a look is due although nothing was noticed. Default 5 s.
    pub rescan: Duration,
    /// How long changes are gathered before a look is asked for. Default 50 ms: a program that copies ten files asks once.
    pub gather: Duration,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self { rescan: Duration::from_secs(5), gather: Duration::from_millis(50) }
    }
}

/// Why a look is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Something was written, or the watching has just begun.
    Changed,
    /// The time has come.
    Periodic,
}

/// The directory cannot be watched at all.
#[derive(Debug, thiserror::Error)]
#[error("the plugin directory {dir} cannot be watched ({source}); look after the system's limits and start again")]
pub struct WatchError {
    dir: String,
    source: io::Error,
}

/// A directory that is watched, by a thread of its own, until this is dropped.
#[derive(Debug)]
pub struct Watch {
    hints: mpsc::Receiver<Hint>,
    shared: Arc<Shared>,
    wake: SyncSender<()>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    coalesced: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl Watch {
    /// Watches this directory, which need not be there yet. The first hint comes as soon as it is watched, so a look after
    /// it misses nothing.
    ///
    /// # Errors
    /// When there can be no thread, or a relative path has nothing to be relative to.
    pub fn start(root: &Path, options: WatchOptions) -> Result<Self, WatchError> {
        let dir = names::shown(root.as_os_str());
        let failed = |source| WatchError { dir: dir.clone(), source };
        // The system names what has changed by whole paths.
        let root = std::path::absolute(root).map_err(failed)?;
        let shared = Arc::new(Shared::default());
        // One of each is enough: the second says what the first does.
        let (wake, woken) = sync_channel(1);
        let (sender, hints) = mpsc::channel(1);
        let worker = Worker { root, options, shared: shared.clone(), wake: wake.clone(), woken, hints: sender };
        let thread = thread::Builder::new().name("voxtra-watch".into()).spawn(move || worker.run());
        thread.map_err(failed)?;
        Ok(Self { hints, shared, wake })
    }

    /// Waits until a look is due, at most for [`WatchOptions::rescan`]. Safe to cancel. `None` when the thread is gone,
    /// which then is a defect of this crate.
    pub async fn next(&mut self) -> Option<Hint> {
        self.hints.recv().await
    }

    /// The same outside a runtime.
    pub fn blocking_next(&mut self) -> Option<Hint> {
        self.hints.blocking_recv()
    }

    /// Hints that were not given because one was waiting.
    #[must_use]
    pub fn coalesced(&self) -> u64 {
        self.shared.coalesced.load(Ordering::Relaxed)
    }

    /// Why changes may be noticed only after [`WatchOptions::rescan`]: one sentence; `None`: they are noticed at once.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        // A full channel wakes the thread as well.
        let _ = self.wake.try_send(());
    }
}

struct Worker {
    root: PathBuf,
    options: WatchOptions,
    shared: Arc<Shared>,
    wake: SyncSender<()>,
    woken: Receiver<()>,
    hints: mpsc::Sender<Hint>,
}

impl Worker {
    fn run(self) {
        let mut eyes = Eyes::default();
        let mut hint = Hint::Changed;
        while !self.shared.stopped.load(Ordering::Relaxed) {
            // First the watches, then the look: what is written between them asks for another.
            self.open(&mut eyes);
            if self.hints.try_send(hint).is_err() {
                self.shared.coalesced.fetch_add(1, Ordering::Relaxed);
            }
            hint = match self.woken.recv_timeout(self.options.rescan) {
                Ok(()) => self.gather(),
                Err(RecvTimeoutError::Timeout) => Hint::Periodic,
                Err(RecvTimeoutError::Disconnected) => return,
            };
        }
    }

    fn gather(&self) -> Hint {
        if !self.shared.stopped.load(Ordering::Relaxed) {
            thread::sleep(self.options.gather);
        }
        while self.woken.try_recv().is_ok() {}
        Hint::Changed
    }

    /// Watches what is to be watched by now. All watches are made anew when a folder has come, gone or been replaced: the
    /// system ties them to folders, not to names.
    fn open(&self, eyes: &mut Eyes) {
        let folders = folders(&self.root);
        if eyes.is_whole && eyes.folders == folders {
            return;
        }
        let made = self.watcher(&folders);
        let trouble = made.as_ref().err().or_else(|| made.as_ref().ok().and_then(|(_, error)| error.as_ref()));
        let trouble = trouble.map(|error| self.sentence(error));
        eyes.is_whole = trouble.is_none();
        *self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        eyes.folders = folders;
        // The old one goes only now, so that there is no gap between them.
        eyes.watcher = made.ok().map(|(watcher, _)| watcher);
    }

    /// A watcher of as many folders as the system lets; with what it says about the first that it does not.
    fn watcher(&self, folders: &Folders) -> notify::Result<(RecommendedWatcher, Option<notify::Error>)> {
        let (wake, root) = (self.wake.clone(), self.root.clone());
        let told = move |event: notify::Result<Event>| {
            if event.as_ref().map_or(true, |event| matters(event, &root)) {
                // Full: the thread is about to wake anyway.
                let _ = wake.try_send(());
            }
        };
        let mut watcher = RecommendedWatcher::new(told, Config::default().with_follow_symlinks(false))?;
        let mut trouble = None;
        for folder in folders.keys() {
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                // It has gone; that wakes whoever watches the folder above it.
                Err(error) if is_gone(&error) => {}
                Err(error) => {
                    trouble.get_or_insert(error);
                }
                Ok(()) => {}
            }
        }
        Ok((watcher, trouble))
    }

    fn sentence(&self, error: &notify::Error) -> String {
        let (dir, every) = (names::shown(self.root.as_os_str()), self.options.rescan);
        format!(
            "changes in the plugin directory {dir} may be noticed only after {every:?}, because the system does not watch all \
             its folders ({}); raise fs.inotify.max_user_watches and max_user_instances",
            names::shown(error.to_string().as_ref())
        )
    }
}

/// Folders by path, each with its device and inode.
type Folders = BTreeMap<PathBuf, (u64, u64)>;

#[derive(Default)]
struct Eyes {
    watcher: Option<RecommendedWatcher>,
    folders: Folders,
    /// Whether all of them are watched.
    is_whole: bool,
}

/// What is to be watched: the directory, the folders in it, and the one that it is in.
fn folders(root: &Path) -> Folders {
    let place = |metadata: fs::Metadata| metadata.is_dir().then(|| (metadata.dev(), metadata.ino()));
    let mut folders = Folders::new();
    for path in [root.parent(), Some(root)].into_iter().flatten() {
        folders.extend(fs::metadata(path).ok().and_then(place).map(|place| (path.to_path_buf(), place)));
    }
    for entry in fs::read_dir(root).into_iter().flatten().flatten().take(MAX_FOLDERS) {
        // Of the entry itself: what a link leads to is not ours to watch.
        folders.extend(entry.metadata().ok().and_then(place).map(|place| (entry.path(), place)));
    }
    folders
}

/// Whether an event is about the directory and about more than somebody reading in it, as we do ourselves.
fn matters(event: &Event, root: &Path) -> bool {
    let written = match event.kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    };
    event.need_rescan() || (written && event.paths.iter().any(|path| path.starts_with(root)))
}

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => error.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, Flag, ModifyKind};

    use super::*;

    fn event(kind: EventKind, path: &str) -> Event {
        Event::new(kind).add_path(path.into())
    }

    #[test]
    fn our_own_reading_asks_for_no_look() {
        let root = Path::new("/srv/plugins");
        let open = EventKind::Access(AccessKind::Open(AccessMode::Any));
        let read = EventKind::Access(AccessKind::Close(AccessMode::Read));
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert!(!matters(&event(open, "/srv/plugins/acme/a.wasm"), root));
        assert!(!matters(&event(read, "/srv/plugins/acme"), root));
        assert!(matters(&event(written, "/srv/plugins/acme/a.wasm"), root));
        assert!(matters(&event(EventKind::Create(CreateKind::Folder), "/srv/plugins"), root));
        assert!(!matters(&event(EventKind::Modify(ModifyKind::Any), "/srv/plugins-old/a"), root));
    }

    #[test]
    fn an_overflow_asks_for_a_look() {
        assert!(matters(&Event::new(EventKind::Other).set_flag(Flag::Rescan), Path::new("/srv/plugins")));
    }

    #[test]
    fn the_thread_ends_with_the_watch() {
        let (wake, woken) = sync_channel(1);
        let (sender, hints) = mpsc::channel(1);
        let shared = Arc::new(Shared::default());
        let worker = Worker {
            root: "/nowhere/at/all".into(),
            // Whoever waits that long has missed the end.
            options: WatchOptions { rescan: Duration::from_secs(3_600), ..WatchOptions::default() },
            shared: shared.clone(),
            wake: wake.clone(),
            woken,
            hints: sender,
        };
        let thread = thread::spawn(move || worker.run());
        let mut watch = Watch { hints, shared, wake };
        assert_eq!(watch.blocking_next(), Some(Hint::Changed));
        drop(watch);
        thread.join().unwrap();
    }
}
