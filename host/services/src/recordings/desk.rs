//! The desk: opens recordings, and after a crash finishes those that were open.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use uuid::Uuid;
use voxtra_core::event::{Event, EventSink, EventType};
use voxtra_core::recording::{OpenRecording, RecordingDesk, RecordingStart};
use voxtra_core::telephony::Exchange;
use voxtra_core::verbs::Recorder;
use voxtra_core::{BoxFuture, CallError, RecordingId, TenantId};

use super::capture::{create, disk_error, seal};
use super::delivery;
use super::journal::{Entry, Journal, SinkState, State};
use super::open::Open;
use super::room::{FreeSpace, Room};
use super::sinks::Sink;

/// How many recordings are brought to their sinks at one time.
const DELIVERIES_AT_ONCE: usize = 8;

/// After a crash, how often a PBX is asked for a recording, and how long to wait between.
const FETCH_ATTEMPTS: u32 = 20;
const FETCH_AGAIN_AFTER: Duration = Duration::from_secs(3);

/// How recordings are kept.
#[derive(Debug, Clone)]
pub struct DeskOptions {
    /// The spool: where recordings are until all sinks have them. Made when it is not there.
    pub spool: PathBuf,
    /// Which sinks a recording goes to that names none. May be empty when no tenant records.
    pub default_sinks: Vec<String>,
    /// The same for single tenants; see [`Desk::set_tenant_sinks`].
    pub tenant_sinks: HashMap<TenantId, Vec<String>>,
    /// Names that stand for several sinks.
    pub composites: HashMap<String, Vec<String>>,
    /// Recording does not begin when less than this is free in the spool, and by the host does not go on: what there is
    /// of it is kept, and the call is not touched. Default 64 MiB.
    pub min_free_bytes: u64,
    /// Who says how much is free. Default [`FreeSpace::of_disk`].
    pub free_space: FreeSpace,
    /// How often a sink that fails is asked before the next start of the host. Default 12: with the waits between
    /// them, which double from 1 s to 10 minutes, about an hour.
    pub max_attempts: u32,
    /// The wait after the first failure. Default 1 s.
    pub retry_after: Duration,
}

impl DeskOptions {
    /// Options with every default.
    pub fn new(spool: impl Into<PathBuf>, default_sink: &str) -> Self {
        Self {
            spool: spool.into(),
            default_sinks: vec![default_sink.to_owned()],
            tenant_sinks: HashMap::new(),
            composites: HashMap::new(),
            min_free_bytes: 64 << 20,
            free_space: FreeSpace::of_disk(),
            max_attempts: 12,
            retry_after: Duration::from_secs(1),
        }
    }
}

/// Why there is no desk.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The spool cannot be used.
    #[error("the recordings' spool {dir} cannot be used ({error}); name another folder")]
    Spool {
        /// The folder.
        dir: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// A sink is named that is not there.
    #[error("the recording sink {0:?} is not configured; add it or take its name out")]
    UnknownSink(String),
}

/// See the module.
pub struct Desk {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) options: DeskOptions,
    tenant_sinks: RwLock<HashMap<TenantId, Vec<String>>>,
    pub(super) journal: Journal,
    pub(super) sinks: HashMap<String, Arc<dyn Sink>>,
    pub(super) events: Arc<dyn EventSink>,
    pub(super) deliveries: Semaphore,
    pub(super) runtime: Handle,
    /// Those that are open now: [`Desk::recover`] leaves them alone.
    live: Mutex<Vec<RecordingId>>,
}

impl Desk {
    /// A desk with these sinks; blocks while it looks at the spool.
    ///
    /// # Errors
    /// [`DeskError`]
    pub fn new(
        mut options: DeskOptions,
        sinks: impl IntoIterator<Item = Arc<dyn Sink>>,
        events: Arc<dyn EventSink>,
        runtime: Handle,
    ) -> Result<Self, DeskError> {
        let sinks: HashMap<_, _> = sinks.into_iter().map(|sink| (sink.name().to_owned(), sink)).collect();
        let lists = [&options.default_sinks].into_iter().chain(options.tenant_sinks.values());
        for name in lists.chain(options.composites.values()).flatten() {
            if !sinks.contains_key(name) && !options.composites.contains_key(name) {
                return Err(DeskError::UnknownSink(name.clone()));
            }
        }
        let tenant_sinks = RwLock::new(std::mem::take(&mut options.tenant_sinks));
        let spool = |error| DeskError::Spool { dir: options.spool.clone(), error };
        let journal = Journal::open(&options.spool).map_err(spool)?;
        let deliveries = Semaphore::new(DELIVERIES_AT_ONCE);
        let live = Mutex::default();
        let inner = Inner { options, tenant_sinks, journal, sinks, events, deliveries, runtime, live };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// From now on recordings of these tenants that name no sink go here, and those of all others to the default ones. Those
    /// that have begun go where they were to go. Names that are not configured are left out, and returned with their tenants;
    /// a tenant that names only unknown ones keeps those that it had.
    pub fn set_tenant_sinks(
        &self,
        tenants: impl IntoIterator<Item = (TenantId, Vec<String>)>,
    ) -> Vec<(TenantId, DeskError)> {
        let inner = &self.inner;
        let is_known = |name: &String| inner.sinks.contains_key(name) || inner.options.composites.contains_key(name);
        let mut all = inner.tenant_sinks.write().unwrap_or_else(PoisonError::into_inner);
        let (mut now, mut unknown) = (HashMap::new(), Vec::new());
        for (tenant, names) in tenants {
            let (good, bad): (Vec<_>, Vec<_>) = names.into_iter().partition(is_known);
            let only_bad = good.is_empty() && !bad.is_empty();
            let kept = if only_bad { all.remove(&tenant) } else { Some(good).filter(|good| !good.is_empty()) };
            unknown.extend(bad.into_iter().map(|name| (tenant.clone(), DeskError::UnknownSink(name))));
            if let Some(kept) = kept {
                now.insert(tenant, kept);
            }
        }
        *all = now;
        unknown
    }

    /// Finishes what an earlier run of the host left, in the background. `exchange` gives a PBX by its name. Returns how
    /// many recordings there are. A recording that a PBX has to give and cannot now is tried again by the next recovery.
    ///
    /// # Errors
    /// [`DeskError::Spool`] when the journal cannot be read.
    pub async fn recover(
        &self,
        exchange: impl Fn(&str) -> Option<Arc<dyn Exchange>> + Send + 'static,
    ) -> Result<usize, DeskError> {
        let inner = Arc::clone(&self.inner);
        let read = spawn_blocking(move || inner.journal.all()).await;
        let entries = read.unwrap_or_else(|error| Err(io::Error::other(error)));
        let spool = |error| DeskError::Spool { dir: self.inner.options.spool.clone(), error };
        let mut entries = entries.map_err(spool)?;
        entries.retain(|entry| !self.inner.is_live(&entry.start.id));
        let count = entries.len();
        for mut entry in entries {
            entry.sinks.iter_mut().for_each(|sink| (sink.given_up, sink.attempts) = (false, 0));
            let from = exchange(&entry.start.exchange);
            let inner = Arc::clone(&self.inner);
            self.inner.runtime.spawn(async move { inner.resume(entry, from).await });
        }
        Ok(count)
    }
}

impl RecordingDesk for Desk {
    fn open<'a>(&'a self, start: RecordingStart) -> BoxFuture<'a, Result<Arc<dyn OpenRecording>, CallError>> {
        Box::pin(async move {
            let sinks = self.inner.sinks_for(&start)?;
            let entry = Entry {
                start,
                state: State::Recording,
                sinks: sinks.iter().map(|name| SinkState::new(name)).collect(),
                failure: None,
            };
            let inner = Arc::clone(&self.inner);
            let opened = spawn_blocking(move || inner.begin(entry)).await;
            let (entry, file) = opened
                .unwrap_or_else(|error| Err(error.to_string()))
                .map_err(|why| CallError::LimitExceeded(format!("nothing can be recorded: {why}")))?;
            Ok(Arc::new(Open::new(Arc::clone(&self.inner), entry, file)) as Arc<dyn OpenRecording>)
        })
    }
}

impl Inner {
    /// The sinks of a recording, in order, each once.
    fn sinks_for(&self, start: &RecordingStart) -> Result<Vec<String>, CallError> {
        let options = &self.options;
        let wanted = match start.sink.as_str() {
            "" => {
                let tenants = self.tenant_sinks.read().unwrap_or_else(PoisonError::into_inner);
                tenants.get(&start.tenant).unwrap_or(&options.default_sinks).clone()
            }
            name => vec![name.to_owned()],
        };
        let mut leaves = Vec::new();
        for name in wanted {
            let several = options.composites.get(&name).cloned().unwrap_or_else(|| vec![name]);
            for leaf in several {
                if !self.sinks.contains_key(&leaf) {
                    let why = format!("the recording sink {leaf:?} is not configured; name one of those that are");
                    return Err(CallError::InvalidArgument(why));
                }
                if !leaves.contains(&leaf) {
                    leaves.push(leaf);
                }
            }
        }
        if leaves.is_empty() {
            let why = "no recording sink is configured; add one under `recordings.sinks`";
            return Err(CallError::NotConfigured(why.to_owned()));
        }
        Ok(leaves)
    }

    /// Notes it, and makes the host's own file. Blocks.
    fn begin(&self, entry: Entry) -> Result<(Entry, Option<std::fs::File>), String> {
        self.room().check()?;
        self.set_live(&entry.start.id, true);
        let begun = self.journal.put(&entry).and_then(|()| match entry.start.recorder {
            Recorder::Host => create(&self.journal.part(&entry.start.id)).map(Some),
            Recorder::Pbx => Ok(None),
        });
        match begun {
            Ok(file) => Ok((entry, file)),
            Err(error) => {
                // What was noted in part means nothing.
                let _ = self.journal.remove(&entry.start.id);
                self.set_live(&entry.start.id, false);
                Err(disk_error(&error))
            }
        }
    }

    /// What is to stay free.
    pub(super) fn room(&self) -> Room {
        let DeskOptions { spool, min_free_bytes, free_space, .. } = &self.options;
        Room { dir: spool.clone(), min_free_bytes: *min_free_bytes, free_space: free_space.clone() }
    }

    /// Goes on with what an earlier run left.
    async fn resume(self: Arc<Self>, mut entry: Entry, exchange: Option<Arc<dyn Exchange>>) {
        if matches!(entry.state, State::Recording) {
            let id = entry.start.id.clone();
            let whole = match (entry.start.recorder, exchange) {
                (Recorder::Host, _) => self.mend(entry).await,
                (Recorder::Pbx, Some(exchange)) => self.fetch_patiently(entry, &*exchange).await,
                (Recorder::Pbx, None) => {
                    tracing::warn!(recording = %id, pbx = entry.start.exchange, "a recording waits for its PBX, which is not configured");
                    return;
                }
            };
            match whole {
                Ok(whole) => entry = whole,
                Err(lost) => return self.lose(*lost).await,
            }
        }
        delivery::deliver(self, entry).await;
    }

    /// Makes the host's own file whole.
    pub(super) async fn mend(self: &Arc<Self>, mut entry: Entry) -> Step {
        let (inner, before) = (Arc::clone(self), entry.clone());
        let done = spawn_blocking(move || {
            let id = entry.start.id.clone();
            let (part, file) = (inner.journal.part(&id), inner.journal.file(&id));
            // A crash may have come between the renaming and the journal.
            let sealed = if part.exists() {
                seal(&part).and_then(|l| std::fs::rename(&part, &file).map(|()| l))
            } else {
                seal(&file)
            };
            match sealed.and_then(|length| Ok((length, sha256(&file)?))) {
                Ok((length, sha256)) => {
                    let (duration_ms, size_bytes) = (length.duration_ms, length.size_bytes);
                    inner
                        .complete(&mut entry, duration_ms, size_bytes, sha256)
                        .map_err(|e| failed(entry.clone(), &e))?;
                    Ok(entry)
                }
                Err(error) => Err(failed(entry, &error)),
            }
        });
        joined(done.await, before)
    }

    /// Gets the PBX's file.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        mut entry: Entry,
        exchange: &dyn Exchange,
        duration_ms: Option<u32>,
    ) -> Step {
        let id = entry.start.id.clone();
        let file = self.journal.file(&id);
        // What an earlier attempt has left.
        let _ = tokio::fs::remove_file(&file).await;
        let size_bytes = match exchange.fetch_recording(id.as_str(), &file).await {
            Ok(Some(size_bytes)) => size_bytes,
            Ok(None) => return Err(Lost::new(entry, "the PBX does not have the recording", false)),
            Err(error) => return Err(Lost::new(entry, format!("the PBX does not give the recording: {error}"), true)),
        };
        let (inner, before) = (Arc::clone(self), entry.clone());
        let done = spawn_blocking(move || {
            let whole = std::fs::File::open(&file).and_then(|file| file.sync_all()).and_then(|()| sha256(&file));
            let noted = whole.and_then(|sha256| {
                let duration_ms = duration_ms.unwrap_or_else(|| wav_duration_ms(&file));
                inner.complete(&mut entry, duration_ms, size_bytes, sha256)
            });
            noted.map(|()| entry.clone()).map_err(|error| failed(entry, &error))
        });
        let entry = joined(done.await, before)?;
        if let Err(error) = exchange.delete_recording(id.as_str()).await {
            tracing::warn!(recording = %id, %error, "the PBX keeps its copy of a recording");
        }
        Ok(entry)
    }

    fn complete(&self, entry: &mut Entry, duration_ms: u32, size_bytes: u64, sha256: String) -> io::Result<()> {
        entry.state = State::Complete { duration_ms, size_bytes, sha256 };
        self.journal.put(entry)
    }

    /// As [`Inner::fetch`] after a crash: the PBX may not be there yet, or may go on recording until it notices.
    async fn fetch_patiently(self: &Arc<Self>, mut entry: Entry, exchange: &dyn Exchange) -> Step {
        for _ in 1..FETCH_ATTEMPTS {
            match self.fetch(entry, exchange, None).await {
                Ok(whole) => return Ok(whole),
                Err(lost) => entry = lost.entry,
            }
            tokio::time::sleep(FETCH_AGAIN_AFTER).await;
        }
        self.fetch(entry, exchange, None).await
    }

    /// It cannot be finished now.
    pub(super) async fn lose(&self, lost: Lost) {
        let Lost { entry, why, keep } = lost;
        let mut data = Map::new();
        data.insert("reason".to_owned(), Value::from(why));
        data.insert("tried_again".to_owned(), Value::from(keep));
        self.emit(&entry, EventType::RecordingFailed, data);
        if !keep {
            let (journal, id) = (self.journal.clone(), entry.start.id.clone());
            let removed = spawn_blocking(move || journal.remove(&id)).await;
            if let Ok(Err(error)) = removed {
                tracing::warn!(recording = %entry.start.id, %error, "a recording's journal cannot be removed");
            }
        }
        self.set_live(&entry.start.id, false);
    }

    pub(super) fn emit(&self, entry: &Entry, kind: EventType, mut data: Map<String, Value>) {
        let start = &entry.start;
        data.insert("recording_id".to_owned(), Value::from(start.id.as_str()));
        data.insert("name".to_owned(), Value::from(start.name.as_str()));
        let recorder = match start.recorder {
            Recorder::Host => "host",
            Recorder::Pbx => "pbx",
        };
        data.insert("recorder".to_owned(), Value::from(recorder));
        self.events.emit(Event::new(
            Uuid::new_v4().simple().to_string(),
            kind,
            start.tenant.clone(),
            start.call.clone(),
            data,
        ));
    }

    pub(super) fn set_live(&self, id: &RecordingId, live: bool) {
        let mut ids = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        ids.retain(|other| other != id);
        if live {
            ids.push(id.clone());
        }
    }

    fn is_live(&self, id: &RecordingId) -> bool {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }
}

/// A recording that has come one step further, or one that has not.
pub(super) type Step = Result<Entry, Box<Lost>>;

/// A recording that cannot be finished now.
pub(super) struct Lost {
    pub(super) entry: Entry,
    /// A sentence.
    pub(super) why: String,
    /// There may be something of it still, here or at the PBX: the next start tries again.
    pub(super) keep: bool,
}

impl Lost {
    pub(super) fn new(entry: Entry, why: impl Into<String>, keep: bool) -> Box<Self> {
        Box::new(Self { entry, why: why.into(), keep })
    }
}

/// A blocking step's outcome. One that was lost with its runtime is done again at the next start.
fn joined(step: Result<Step, tokio::task::JoinError>, entry: Entry) -> Step {
    step.unwrap_or_else(|error| Err(Lost::new(entry, format!("it was cut short ({error})"), true)))
}

fn failed(entry: Entry, error: &io::Error) -> Box<Lost> {
    Lost::new(entry, disk_error(error), error.kind() != io::ErrorKind::NotFound)
}

fn sha256(file: &Path) -> io::Result<String> {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    io::copy(&mut std::fs::File::open(file)?, &mut hash)?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// By its header; 0 when it has none that can be read.
fn wav_duration_ms(file: &Path) -> u32 {
    use std::io::Read;
    let mut head = [0; 44];
    let read = std::fs::File::open(file).and_then(|mut file| {
        file.read_exact(&mut head)?;
        file.metadata()
    });
    let Ok(metadata) = read else { return 0 };
    let bytes_per_second = u32::from_le_bytes([head[28], head[29], head[30], head[31]]);
    let data_bytes = metadata.len().saturating_sub(44);
    let ms = data_bytes.saturating_mul(1_000).checked_div(u64::from(bytes_per_second)).unwrap_or(0);
    u32::try_from(ms).unwrap_or(u32::MAX)
}
