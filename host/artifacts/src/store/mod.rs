//! The versions of all handlers: their components by content, and for each handler which version is current, what was
//! before, and whether it is pinned or tried out.
//!
//! ```text
//! DIR/                        mode 0700; files 0600
//!   lock                      held while something changes
//!   components/SHA256.wasm    written once, checked against its name whenever it is read
//!   handlers/TENANT/NAME.{a,b}.json   the record, written in turn; the newer good one counts
//!   handlers/TENANT/NAME.{a,b}.json.damaged-N   what was set aside; nobody reads or removes it
//! ```
//!
//! Nothing is kept in memory: two processes (the host and a command) may use one folder. A change is on disk when its
//! function returns; a kill at any moment leaves what was before it or what is after it. Every function here blocks on
//! the disk, so an asynchronous caller gives it a thread.

mod durable;
mod record;
mod slots;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use voxtra_core::{HandlerName, TenantId};

pub use record::{
    Author, Canary, CanaryEnd, ChangeError, HistoryEntry, Pin, Record, ShareError, SharePercent, Source, Standing, Why,
};

use crate::key::HandlerKey;
use crate::signature;
use crate::version::{Version, VersionPrefix};
use durable::Lock;
use slots::Slots;

/// A component that no record names may belong to a version that is being looked at: so young it is left alone.
const UNNAMED_FOR: Duration = Duration::from_secs(3600);

const COMPONENT_ENDING: &str = ".wasm";

const HANDLERS: &str = "handlers";

/// Something that the store cannot do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk refuses.
    #[error("{}: {doing} failed ({source}); check the folder's space and permissions", path.display())]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Neither of a handler's two files is good.
    #[error(
        "the record of {handler} cannot be used: {why}; restore it from a backup, or move its files away, and with \
         them what was known of its versions"
    )]
    Unreadable {
        /// Whose record.
        handler: HandlerKey,
        /// A sentence for each file.
        why: String,
    },
    /// A component's bytes are not those that were kept.
    #[error("{}: its content has changed on disk; remove it and load the handler's file again", path.display())]
    Damaged {
        /// Its file.
        path: PathBuf,
    },
    /// The handler has no record.
    #[error("{0} has no version yet; put its component into the plugin directory first")]
    UnknownHandler(HandlerKey),
    /// The version's bytes are not here.
    #[error("{}: its bytes are not kept here (any more); put its file into the plugin directory again", .0.short())]
    UnknownVersion(Version),
    /// No version of the handler begins so.
    #[error("{handler} has no version that begins with {prefix}; see `voxtra handlers history {handler}`")]
    NoMatch {
        /// Whose version was asked for.
        handler: HandlerKey,
        /// Its first digits.
        prefix: VersionPrefix,
    },
    /// Several versions of the handler begin so.
    #[error("{handler} has several versions that begin with {prefix}; write more digits")]
    Ambiguous {
        /// Whose version was asked for.
        handler: HandlerKey,
        /// Its first digits.
        prefix: VersionPrefix,
    },
    /// The handler is not in a state for it.
    #[error("{handler}: {why}{}", why.advice(handler))]
    Change {
        /// Whose record.
        handler: HandlerKey,
        /// What hinders it.
        why: ChangeError,
    },
    /// Another process keeps the store to itself.
    #[error("{}: another process has held the lock for ten seconds; look for one that hangs", .0.display())]
    Busy(PathBuf),
}

/// A handler's record as it was found.
#[derive(Debug, Clone)]
pub struct Known {
    /// The newest good one.
    pub record: Record,
    /// A sentence for each of its files that was passed over because it is damaged; then the record may be one change
    /// older than the last. The next change repairs it.
    pub complaints: Vec<String>,
}

/// A folder of versions.
#[derive(Debug, Clone)]
pub struct VersionStore {
    components: PathBuf,
    handlers: PathBuf,
    lock: PathBuf,
}

impl VersionStore {
    /// Opens the folder, making it where there is none, closes it to other users, and removes what a killed process has
    /// left half-written. It must not be in a plugin directory.
    ///
    /// # Errors
    /// [`StoreError::Io`] and [`StoreError::Busy`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let store = Self { components: dir.join("components"), handlers: dir.join(HANDLERS), lock: dir.join("lock") };
        durable::private_dir(dir).map_err(io_error("making a private folder", dir))?;
        store.make_folders(true)?;
        let _lock = store.lock()?;
        let tenants = folder(&store.handlers)?.into_iter().filter(|path| path.is_dir());
        for dir in tenants.chain([store.components.clone()]) {
            durable::remove_unfinished(&dir).map_err(io_error("clearing up", &dir))?;
        }
        Ok(store)
    }

    /// Keeps a component's bytes, so that a later [`record_good`](Self::record_good) can name them. Bytes that are here
    /// already are not written again, but damaged ones are.
    ///
    /// # Errors
    /// [`StoreError::Io`] and [`StoreError::Busy`].
    pub fn put(&self, component: &[u8]) -> Result<Version, StoreError> {
        let version = Version::of(component);
        let path = self.path(version);
        let _lock = self.lock()?;
        // Looked at anew: pruning leaves it alone for a while.
        let touched = || fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        if self.component(version).is_ok() && touched().is_ok() {
            return Ok(version);
        }
        durable::write(&path, component).map_err(io_error("keeping a component", &path))?;
        Ok(version)
    }

    /// Makes the kept copy of a version whole again whose bytes are at hand; whether it was damaged or missing.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn mend(&self, version: Version, component: &[u8]) -> Result<bool, StoreError> {
        let path = self.path(version);
        let as_long = fs::metadata(&path).is_ok_and(|kept| u64::try_from(component.len()) == Ok(kept.len()));
        if as_long && fs::read(&path).is_ok_and(|kept| kept == component) {
            return Ok(false);
        }
        self.put(component)?;
        Ok(true)
    }

    /// A version's bytes, checked against its hash.
    ///
    /// # Errors
    /// [`StoreError::UnknownVersion`], [`StoreError::Damaged`], [`StoreError::Io`].
    pub fn component(&self, version: Version) -> Result<Vec<u8>, StoreError> {
        let path = self.path(version);
        let bytes = match durable::refuse_odd(&path).and_then(|()| fs::read(&path)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(StoreError::UnknownVersion(version)),
            Err(error) => return Err(io_error("reading a component", &path)(error)),
        };
        if Version::of(&bytes) == version { Ok(bytes) } else { Err(StoreError::Damaged { path }) }
    }

    /// What is known about a handler; `None`: nothing yet. It waits for nobody.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] when it has files and none is good, [`StoreError::Io`].
    pub fn get(&self, handler: &HandlerKey) -> Result<Option<Known>, StoreError> {
        let read = self.read(handler)?;
        Ok(read.record.map(|record| Known { record, complaints: read.complaints }))
    }

    /// The version of a handler that takes calls; `None`: it has none yet.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn current(&self, handler: &HandlerKey) -> Result<Option<Version>, StoreError> {
        Ok(self.get(handler)?.map(|known| known.record.current()))
    }

    /// All handlers that have a record, good or not, by tenant and name.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn handlers(&self) -> Result<Vec<HandlerKey>, StoreError> {
        Self::recorded(&self.handlers)
    }

    /// The same of the store in this folder, which may be another program's and is left as it is; where none is, none.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn handlers_in(dir: &Path) -> Result<Vec<HandlerKey>, StoreError> {
        let handlers = dir.join(HANDLERS);
        if handlers.is_dir() { Self::recorded(&handlers) } else { Ok(Vec::new()) }
    }

    fn recorded(handlers: &Path) -> Result<Vec<HandlerKey>, StoreError> {
        let mut found = BTreeSet::new();
        for dir in folder(handlers)? {
            let Some(tenant) = dir.file_name().and_then(|name| name.to_str()).filter(|_| dir.is_dir()) else {
                continue;
            };
            for file in folder(&dir)? {
                let handler = file.file_name().and_then(|name| name.to_str()).and_then(Slots::handler_of);
                let key = handler.map(|name| HandlerKey::new(&TenantId::new(tenant), &HandlerName::new(name)));
                found.extend(key.and_then(Result::ok));
            }
        }
        Ok(found.into_iter().collect())
    }

    /// What would become of a version if it were offered now: to be asked before it is compiled.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn standing(&self, handler: &HandlerKey, version: Version) -> Result<Standing, StoreError> {
        let known = self.get(handler)?;
        Ok(known.map_or(Standing::New, |known| known.record.standing(version).of(handler, version)))
    }

    /// The one version of a handler that begins with what a person typed.
    ///
    /// # Errors
    /// [`StoreError::NoMatch`], [`StoreError::Ambiguous`], [`StoreError::UnknownHandler`], and as [`get`](Self::get).
    pub fn resolve(&self, handler: &HandlerKey, prefix: &VersionPrefix) -> Result<Version, StoreError> {
        let known = self.get(handler)?.ok_or_else(|| StoreError::UnknownHandler(handler.clone()))?;
        let fitting: BTreeSet<_> = known.record.known().filter(|version| prefix.fits(*version)).collect();
        let (handler, prefix) = (handler.clone(), prefix.clone());
        match (fitting.first(), fitting.len()) {
            (Some(version), 1) => Ok(*version),
            (None, _) => Err(StoreError::NoMatch { handler, prefix }),
            _ => Err(StoreError::Ambiguous { handler, prefix }),
        }
    }

    /// Makes a version current that has been checked, compiled and tried: [`Standing::New`] says that it now is. A
    /// canary that was under way is withdrawn by it. Any other standing changes nothing but what waits behind a pin.
    ///
    /// # Errors
    /// [`StoreError::UnknownVersion`] when it was not [`put`](Self::put) here, and as every change.
    pub fn record_good(
        &self,
        handler: &HandlerKey,
        version: Version,
        source: Source,
        author: &Author,
    ) -> Result<Standing, StoreError> {
        let lock = self.lock()?;
        let read = self.read(handler)?;
        let standing = read.record.as_ref().map_or(Standing::New, |record| record.standing(version));
        if matches!(standing, Standing::New | Standing::Pinned(_)) {
            self.must_have(version)?;
        }
        let record = match read.record.clone() {
            None => Record::first(version, source, author),
            Some(mut record) => {
                record.offer(version, source, author);
                record
            }
        };
        self.write(&lock, handler, &read, &record)?;
        Ok(standing.of(handler, version))
    }

    /// Makes an earlier version current: the one before, or a named one. It returns which. What was left is not taken
    /// from its file again until another version has been, also after a restart.
    ///
    /// # Errors
    /// [`StoreError::Change`] when it is pinned or there is nothing to go back to, [`StoreError::UnknownVersion`] when
    /// its bytes are gone, and as every change.
    pub fn rollback(&self, handler: &HandlerKey, to: Option<Version>, author: &Author) -> Result<Version, StoreError> {
        self.change(handler, |record| {
            let to = record.roll_back(to, author)?;
            Ok((to, Some(to)))
        })
    }

    /// Keeps a handler at a version, the current one or a named one, whatever becomes of its file. It returns which.
    ///
    /// # Errors
    /// As [`rollback`](Self::rollback).
    pub fn pin(&self, handler: &HandlerKey, to: Option<Version>, author: &Author) -> Result<Version, StoreError> {
        self.change(handler, |record| {
            let to = to.filter(|to| *to != record.current());
            if to.is_some() {
                record.roll_back(to, author)?;
            }
            record.pin_to_current(author);
            Ok((record.current(), to))
        })
    }

    /// Lets a handler's file count again. It returns the version that was offered last meanwhile, to be loaded now.
    ///
    /// # Errors
    /// [`StoreError::Change`] when it is not pinned, and as every change.
    pub fn unpin(&self, handler: &HandlerKey, author: &Author) -> Result<Option<Version>, StoreError> {
        self.change(handler, |record| Ok((record.unpin(author)?, None)))
    }

    /// Gives a version a share of the calls; it takes the place of a canary before it.
    ///
    /// # Errors
    /// [`StoreError::Change`] when it is pinned or the version is current, [`StoreError::UnknownVersion`] when it was
    /// not [`put`](Self::put) here, and as every change.
    pub fn set_canary(&self, handler: &HandlerKey, canary: Canary, author: &Author) -> Result<(), StoreError> {
        self.change(handler, |record| {
            record.start_canary(canary, author)?;
            Ok(((), Some(canary.version)))
        })
    }

    /// Ends a canary. It returns the version that is current now.
    ///
    /// # Errors
    /// [`StoreError::Change`] when there is none, and as every change.
    pub fn clear_canary(&self, handler: &HandlerKey, end: CanaryEnd, author: &Author) -> Result<Version, StoreError> {
        self.change(handler, |record| Ok((record.end_canary(end, author)?, None)))
    }

    /// Keeps the text of the signature that a version carried, so that it can be checked again against other keys. What is
    /// none in minisign's form is not kept, for it counts for nothing.
    ///
    /// # Errors
    /// As every change.
    pub fn keep_signature(&self, handler: &HandlerKey, version: Version, signature: &[u8]) -> Result<(), StoreError> {
        let Some(text) = signature::text_to_keep(signature) else { return Ok(()) };
        self.change(handler, |record| {
            record.keep_signature(version, text);
            Ok(((), None))
        })
    }

    /// Gives up what is known about a handler, its damaged files too; whether there was anything. Its components go at
    /// the next [`prune`](Self::prune).
    ///
    /// # Errors
    /// [`StoreError::Io`] and [`StoreError::Busy`].
    pub fn forget(&self, handler: &HandlerKey) -> Result<bool, StoreError> {
        let _lock = self.lock()?;
        Slots::new(&self.handlers, handler).remove().map_err(io_error("forgetting a handler", &self.handlers))
    }

    /// Renames the files of a record of which none is good, so that the handler can begin anew; what they hold is kept beside
    /// them. It returns their new names; none: the record is good, or there is none.
    ///
    /// # Errors
    /// [`StoreError::Io`] and [`StoreError::Busy`].
    pub fn set_aside(&self, handler: &HandlerKey) -> Result<Vec<PathBuf>, StoreError> {
        let _lock = self.lock()?;
        match self.read(handler) {
            Err(StoreError::Unreadable { .. }) => {}
            Ok(_) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
        Slots::new(&self.handlers, handler)
            .set_aside()
            .map_err(io_error("setting a damaged record aside", &self.handlers))
    }

    /// Removes components: of each handler all but its current, canary and waiting versions and the latest
    /// `keep_earlier` that were current; of those that no record names, the ones that are older than an hour. Nothing in
    /// `live` goes. It returns how many went.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`]: nothing is removed while it is unknown what a handler needs. And as every change.
    pub fn prune(&self, keep_earlier: usize, live: &BTreeSet<Version>) -> Result<usize, StoreError> {
        let lock = self.lock()?;
        let mut records = Vec::new();
        for handler in self.handlers()? {
            let read = self.read(&handler)?;
            records.extend(read.record.clone().map(|record| (handler, read, record)));
        }
        let kept: BTreeSet<_> = records.iter().flat_map(|(_, _, record)| record.keep(keep_earlier)).collect();
        let named: BTreeSet<_> = records.iter().flat_map(|(_, _, record)| record.known()).collect();
        let mut gone = BTreeSet::new();
        for (version, age) in self.components_by_age()? {
            let needed = kept.contains(&version) || live.contains(&version);
            if !needed && (named.contains(&version) || age >= UNNAMED_FOR) {
                gone.insert(version);
            }
        }
        // First the records, so that none promises what is gone.
        for (handler, read, record) in &mut records {
            record.forget(|version| gone.contains(&version));
            self.write(&lock, handler, read, record)?;
        }
        for version in &gone {
            let path = self.path(*version);
            durable::remove(&path).map_err(io_error("removing a component", &path))?;
        }
        durable::sync_dir(&self.components).map_err(io_error("removing components", &self.components))?;
        Ok(gone.len())
    }

    /// Reads a record, changes it, and keeps it if the version that it then needs is here.
    fn change<T>(
        &self,
        handler: &HandlerKey,
        change: impl FnOnce(&mut Record) -> Result<(T, Option<Version>), ChangeError>,
    ) -> Result<T, StoreError> {
        let lock = self.lock()?;
        let read = self.read(handler)?;
        let Some(mut record) = read.record.clone() else { return Err(StoreError::UnknownHandler(handler.clone())) };
        let refused = |why| StoreError::Change { handler: handler.clone(), why };
        let (outcome, needed) = change(&mut record).map_err(refused)?;
        needed.map_or(Ok(()), |version| self.must_have(version))?;
        self.write(&lock, handler, &read, &record)?;
        Ok(outcome)
    }

    fn read(&self, handler: &HandlerKey) -> Result<slots::Read, StoreError> {
        let slots = Slots::new(&self.handlers, handler);
        let read = slots.read().map_err(io_error("reading a handler's record", &self.handlers))?;
        if read.record.is_none() && !read.complaints.is_empty() {
            return Err(StoreError::Unreadable { handler: handler.clone(), why: read.complaints.join("; ") });
        }
        Ok(read)
    }

    /// Writes what has changed, and what has been found damaged.
    fn write(&self, _: &Lock, handler: &HandlerKey, read: &slots::Read, record: &Record) -> Result<(), StoreError> {
        if read.record.as_ref() == Some(record) && read.complaints.is_empty() {
            return Ok(());
        }
        let slots = Slots::new(&self.handlers, handler);
        slots.write(read, record).map_err(io_error("writing a handler's record", &self.handlers))
    }

    /// Reading it whole costs a millisecond or so, and a damaged one must not become current.
    fn must_have(&self, version: Version) -> Result<(), StoreError> {
        self.component(version).map(drop)
    }

    fn components_by_age(&self) -> Result<Vec<(Version, Duration)>, StoreError> {
        let mut found = Vec::new();
        for path in folder(&self.components)? {
            let name = path.file_name().and_then(|name| name.to_str());
            let digits = name.and_then(|name| name.strip_suffix(COMPONENT_ENDING));
            let Some(version) = digits.and_then(|digits| digits.parse::<Version>().ok()) else { continue };
            let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
            let modified = modified.map_err(io_error("looking at a component", &path))?;
            found.push((version, modified.elapsed().unwrap_or_default()));
        }
        Ok(found)
    }

    fn path(&self, version: Version) -> PathBuf {
        self.components.join(format!("{version}{COMPONENT_ENDING}"))
    }

    fn make_folders(&self, closes_them: bool) -> Result<(), StoreError> {
        for dir in [&self.components, &self.handlers] {
            if closes_them || !dir.is_dir() {
                durable::private_dir(dir).map_err(io_error("making a private folder", dir))?;
            }
        }
        Ok(())
    }

    /// Whoever wants to change something also finds the folders that somebody has removed meanwhile.
    fn lock(&self) -> Result<Lock, StoreError> {
        self.make_folders(false)?;
        let taken = Lock::take(&self.lock).map_err(io_error("locking the store", &self.lock))?;
        taken.ok_or_else(|| StoreError::Busy(self.lock.clone()))
    }
}

fn folder(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    entries.map_err(io_error("reading a folder", dir))
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Io { doing, path, source }
}
