//! A handler's record on disk: two files that are written in turn, each sealed with a hash, so that there is a last
//! good one whatever happens to the other.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::durable;
use super::record::Record;
use crate::key::HandlerKey;

/// The first word of the first line: what the file is and which form it has. Behind it, its generation and its seal.
const FORM: &str = "voxtra-handler/1";

/// A disk that cannot read what it holds (`errno` 5 on Linux).
const EIO: i32 = 5;

/// Far above what 200 lines of history and 64 signatures take.
const MAX_FILE_BYTES: u64 = 2 << 20;

/// Damaged files of one handler that are kept, at the most; then somebody has to look at the disk.
const MAX_ASIDE: u32 = 1000;

const ENDINGS: [&str; 2] = [".a.json", ".b.json"];

/// The two files of one handler.
pub(super) struct Slots {
    key: HandlerKey,
    dir: PathBuf,
    paths: [PathBuf; 2],
}

/// What the two files hold.
pub(super) struct Read {
    /// The newest good record.
    pub(super) record: Option<Record>,
    /// A sentence for each file that could not be used.
    pub(super) complaints: Vec<String>,
    generation: u64,
    /// The file to write next: not that of the newest good record.
    next: usize,
}

#[derive(Serialize, Deserialize)]
struct Body {
    /// A file that was copied to another name does not pass for that handler's.
    handler: String,
    #[serde(flatten)]
    record: Record,
}

impl Slots {
    pub(super) fn new(handlers: &Path, key: &HandlerKey) -> Self {
        let dir = handlers.join(key.tenant().as_str());
        let paths = ENDINGS.map(|ending| dir.join(format!("{}{ending}", key.handler())));
        Self { key: key.clone(), dir, paths }
    }

    /// The handler whose record a file name is, when it is one's.
    pub(super) fn handler_of(file_name: &str) -> Option<&str> {
        ENDINGS.iter().find_map(|ending| file_name.strip_suffix(ending))
    }

    /// The newest good record. A file that is damaged is complained of and passed over; one that only cannot be read
    /// now is an error, for it may hold the newest record.
    pub(super) fn read(&self) -> io::Result<Read> {
        let mut read = Read { record: None, complaints: Vec::new(), generation: 0, next: 0 };
        for (index, path) in self.paths.iter().enumerate() {
            match self.read_one(path) {
                Ok(None) => {}
                Ok(Some((generation, record))) => {
                    if read.record.is_none() || generation > read.generation {
                        read.record = Some(record);
                        read.generation = generation;
                        read.next = 1 - index;
                    }
                }
                Err(Fault::Damaged(why)) => read.complaints.push(format!("{}: {why}", path.display())),
                Err(Fault::Unread(error)) => return Err(error),
            }
        }
        Ok(read)
    }

    /// Writes a record after that which was read, over the older of the two files.
    pub(super) fn write(&self, after: &Read, record: &Record) -> io::Result<()> {
        durable::private_dir(&self.dir)?;
        let body = Body { handler: self.key.to_string(), record: record.clone() };
        let body = serde_json::to_string_pretty(&body)? + "\n";
        let generation = after.generation.saturating_add(1);
        let whole = format!("{FORM} {generation} {}\n{body}", hash(generation, &body));
        let path = self.paths.get(after.next).ok_or(io::ErrorKind::NotFound)?;
        durable::write(path, whole.as_bytes())
    }

    pub(super) fn remove(&self) -> io::Result<bool> {
        let mut any = false;
        for path in &self.paths {
            any |= durable::remove(path)?;
        }
        if any {
            durable::sync_dir(&self.dir)?;
            // Only an empty one goes.
            let _ = fs::remove_dir(&self.dir);
        }
        Ok(any)
    }

    /// Renames both, each to a name that is free and is no handler's. Only for the holder of the lock.
    pub(super) fn set_aside(&self) -> io::Result<Vec<PathBuf>> {
        let mut all = Vec::new();
        for (path, ending) in self.paths.iter().zip(ENDINGS) {
            if fs::symlink_metadata(path).is_err() {
                continue;
            }
            let name = |n: u32| self.dir.join(format!("{}{ending}.damaged-{n}", self.key.handler()));
            let is_free = |aside: &PathBuf| fs::symlink_metadata(aside).is_err();
            let aside = (1..=MAX_ASIDE).map(name).find(is_free).ok_or(io::ErrorKind::AlreadyExists)?;
            fs::rename(path, &aside)?;
            all.push(aside);
        }
        durable::sync_dir(&self.dir)?;
        Ok(all)
    }

    fn read_one(&self, path: &Path) -> Result<Option<(u64, Record)>, Fault> {
        let Some(bytes) = durable::read(path, MAX_FILE_BYTES).map_err(Fault::of)? else { return Ok(None) };
        let damaged = || Fault::Damaged("it is damaged (its hash is not that of its content)".to_owned());
        let text = String::from_utf8(bytes).map_err(|_| damaged())?;
        let (seal, body) = text.split_once('\n').ok_or_else(damaged)?;
        let Some([FORM, generation, sealed]) = words(seal) else { return Err(damaged()) };
        let generation = generation.parse::<u64>().map_err(|_| damaged())?;
        if sealed != hash(generation, body) {
            return Err(damaged());
        }
        let body = serde_json::from_str::<Body>(body)
            .map_err(|error| Fault::Damaged(format!("it is no handler's record ({error})")))?;
        if body.handler != self.key.to_string() {
            return Err(Fault::Damaged(format!("it is the record of {}, not of {}", body.handler, self.key)));
        }
        Ok(Some((generation, body.record)))
    }
}

enum Fault {
    Damaged(String),
    Unread(io::Error),
}

impl Fault {
    /// What no later attempt will read is damage.
    fn of(error: io::Error) -> Self {
        let odd = matches!(error.kind(), io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidInput);
        let lasting = odd || error.raw_os_error() == Some(EIO);
        if lasting { Self::Damaged(format!("it cannot be read ({error})")) } else { Self::Unread(error) }
    }
}

fn words(seal: &str) -> Option<[&str; 3]> {
    let mut words = seal.split(' ');
    let three = [words.next()?, words.next()?, words.next()?];
    words.next().is_none().then_some(three)
}

/// Over the generation too: no flipped digit may make an old record the newest.
fn hash(generation: u64, body: &str) -> String {
    let digest = Sha256::new().chain_update(generation.to_be_bytes()).chain_update(body.as_bytes()).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
