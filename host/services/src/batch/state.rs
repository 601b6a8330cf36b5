//! Batches at rest.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{OptionalExtension, Row as SqlRow, Transaction, params};
use voxtra_core::{CallId, TenantId};

use super::file::BatchFile;
use super::options::BatchOptions;
use super::progress::{Outcome, Phase, Progress};
use super::results::RowResult;
use super::retries::RetryOn;
use super::rows::Row;
use super::runner::BatchControl;
use crate::database::{Database, DatabaseError};

/// The tables. `attempts` in a row counts the calls that were placed, `tries` the ids that were used up.
const SCHEMA: &[&str] = &["
    CREATE TABLE batches (
        id TEXT PRIMARY KEY, tenant TEXT NOT NULL, name TEXT NOT NULL, options TEXT NOT NULL,
        created_ms INTEGER NOT NULL, cancelled INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    CREATE TABLE batch_rows (
        batch TEXT NOT NULL, row INTEGER NOT NULL, number TEXT NOT NULL, caller_id TEXT NOT NULL,
        handler TEXT NOT NULL, metadata TEXT NOT NULL, state TEXT NOT NULL, due_ms INTEGER NOT NULL,
        tries INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, outcome TEXT,
        answered_by TEXT NOT NULL DEFAULT '', started_ms INTEGER, duration_ms INTEGER NOT NULL DEFAULT 0,
        detail TEXT NOT NULL DEFAULT '', PRIMARY KEY (batch, row)
    ) WITHOUT ROWID;
    CREATE TABLE batch_attempts (
        batch TEXT NOT NULL, row INTEGER NOT NULL, attempt INTEGER NOT NULL, started_ms INTEGER NOT NULL,
        outcome TEXT NOT NULL, retry_on TEXT, duration_ms INTEGER NOT NULL, detail TEXT NOT NULL,
        PRIMARY KEY (batch, row, attempt)
    ) WITHOUT ROWID;
"];

/// How long a name for people may be.
const MAX_BATCH_NAME_CHARS: usize = 120;

/// A batch's id: letters and digits, made here.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId(Arc<str>);

impl BatchId {
    /// Takes an id as somebody wrote it; one that is not known is told by whatever it is used for.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of a call: the same every time that it is asked for.
    pub(super) fn attempt(&self, row: u32, attempt: u32) -> CallId {
        CallId::new(format!("batch-{}-{row}-{attempt}", self.0))
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BatchId({:?})", &*self.0)
    }
}

/// Why something was not done with a batch.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// There is none of that id.
    #[error("there is no batch {0}")]
    Unknown(BatchId),
    /// It is running already, in this process.
    #[error("the batch {0} is running")]
    Running(BatchId),
    /// What was asked for is no good; the sentence says why.
    #[error("{0}")]
    Invalid(String),
    /// What is kept of it cannot be read; it was written by another version.
    #[error("the batch {0} was kept by another version of the host, and cannot be gone on with")]
    Unreadable(BatchId),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// A batch, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchSummary {
    /// Its id.
    pub id: BatchId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Its name for people.
    pub name: String,
    /// When it was made.
    pub created_at: SystemTime,
    /// Whether it was cancelled.
    pub cancelled: bool,
    /// How it stands; [`Phase::Calling`] when it runs in this process, [`Phase::Stopped`] when it does not and is not
    /// finished.
    pub progress: Progress,
}

/// All batches in a database.
#[derive(Clone)]
pub struct Batches {
    pub(super) database: Database,
    running: Arc<Mutex<HashMap<BatchId, BatchControl>>>,
}

impl Batches {
    /// Makes the tables where they are not there.
    pub async fn open(database: Database) -> Result<Self, BatchError> {
        database.migrate("batch", SCHEMA).await?;
        Ok(Self { database, running: Arc::default() })
    }

    /// Keeps a new batch; nothing is called before [`Batches::run`]. `name` is for people, at most 120 characters.
    pub async fn create(
        &self,
        tenant: TenantId,
        name: &str,
        file: BatchFile,
        options: BatchOptions,
    ) -> Result<BatchId, BatchError> {
        options.check().map_err(BatchError::Invalid)?;
        if name.chars().count() > MAX_BATCH_NAME_CHARS || name.chars().any(char::is_control) {
            let limit = MAX_BATCH_NAME_CHARS;
            return Err(BatchError::Invalid(format!("a batch's name has at most {limit} characters on one line")));
        }
        if file.rows.is_empty() && file.refused.is_empty() {
            return Err(BatchError::Invalid("the batch has no rows".to_owned()));
        }
        let id = BatchId::new(uuid::Uuid::new_v4().simple().to_string());
        let (kept, name) = (id.clone(), name.to_owned());
        let options = json(&options)?;
        let created_ms = unix_ms(SystemTime::now());
        self.database
            .write(move |transaction| {
                let sql = "INSERT INTO batches (id, tenant, name, options, created_ms) VALUES (?, ?, ?, ?, ?)";
                transaction.execute(sql, params![kept.as_str(), tenant.as_str(), name, options, created_ms])?;
                insert_rows(transaction, &kept, &file, created_ms)
            })
            .await?;
        Ok(id)
    }

    /// All batches, the oldest first.
    pub async fn list(&self) -> Result<Vec<BatchSummary>, BatchError> {
        let ids = self
            .database
            .read(|connection| {
                let mut query = connection.prepare("SELECT id FROM batches ORDER BY created_ms, id")?;
                query.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()
            })
            .await?;
        let mut batches = Vec::with_capacity(ids.len());
        for id in ids {
            match self.summary(&BatchId::new(id)).await {
                Ok(batch) => batches.push(batch),
                Err(BatchError::Unknown(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(batches)
    }

    /// One batch, and how it stands.
    pub async fn summary(&self, id: &BatchId) -> Result<BatchSummary, BatchError> {
        let asked = id.clone();
        let found = self
            .database
            .read(move |connection| {
                let sql = "SELECT tenant, name, created_ms, cancelled FROM batches WHERE id = ?";
                let batch = connection
                    .query_row(sql, [asked.as_str()], |row| {
                        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get(3)?))
                    })
                    .optional()?;
                let Some((tenant, name, created_ms, cancelled)) = batch else { return Ok(None) };
                let sql = "SELECT state, outcome, count(*), sum(attempts) FROM batch_rows WHERE batch = ?
                           GROUP BY state, outcome";
                let mut query = connection.prepare(sql)?;
                let mut counts = query.query([asked.as_str()])?;
                let mut progress = Progress::default();
                while let Some(row) = counts.next()? {
                    add_rows(&mut progress, row)?;
                }
                let created_at = from_unix_ms(created_ms);
                let tenant = TenantId::new(tenant);
                Ok(Some(BatchSummary { id: asked, tenant, name, created_at, cancelled, progress }))
            })
            .await?;
        let mut found = found.ok_or_else(|| BatchError::Unknown(id.clone()))?;
        found.progress.phase = match (found.progress.done == found.progress.total, self.running().contains_key(id)) {
            (true, _) => Phase::Finished,
            (false, true) => Phase::Calling,
            (false, false) => Phase::Stopped,
        };
        Ok(found)
    }

    /// What came of every row so far.
    pub async fn results(&self, id: &BatchId) -> Result<Vec<RowResult>, BatchError> {
        let asked = id.clone();
        let results = self
            .database
            .read(move |connection| {
                let sql = "SELECT row, number, state, outcome, answered_by, attempts, started_ms, duration_ms, detail
                           FROM batch_rows WHERE batch = ? ORDER BY row";
                let mut query = connection.prepare(sql)?;
                query.query_map([asked.as_str()], result)?.collect::<rusqlite::Result<Vec<_>>>()
            })
            .await?;
        match results.is_empty() {
            true => Err(BatchError::Unknown(id.clone())),
            false => Ok(results),
        }
    }

    /// Calls no more of its numbers, now or later. Calls that are up go on to their ends; rows that were never called
    /// become [`Outcome::Cancelled`], those that waited to be tried again keep their last outcome.
    pub async fn cancel(&self, id: &BatchId) -> Result<(), BatchError> {
        let asked = id.clone();
        let known = self
            .database
            .write(move |transaction| {
                transaction.execute("UPDATE batches SET cancelled = 1 WHERE id = ?", [asked.as_str()])
            })
            .await?;
        if known == 0 {
            return Err(BatchError::Unknown(id.clone()));
        }
        let running = self.running().get(id).cloned();
        match running {
            Some(control) => control.cancel(),
            None => self.cancel_rest(id).await?,
        }
        Ok(())
    }

    /// Forgets a batch and its results.
    pub async fn remove(&self, id: &BatchId) -> Result<(), BatchError> {
        if self.running().contains_key(id) {
            return Err(BatchError::Running(id.clone()));
        }
        let asked = id.clone();
        let known = self
            .database
            .write(move |transaction| {
                for table in ["batch_attempts", "batch_rows"] {
                    transaction.execute(&format!("DELETE FROM {table} WHERE batch = ?"), [asked.as_str()])?;
                }
                transaction.execute("DELETE FROM batches WHERE id = ?", [asked.as_str()])
            })
            .await?;
        if known == 0 { Err(BatchError::Unknown(id.clone())) } else { Ok(()) }
    }

    /// Rows that wait have their final outcome now.
    pub(super) async fn cancel_rest(&self, id: &BatchId) -> Result<(), BatchError> {
        let asked = id.clone();
        let sql = "UPDATE batch_rows SET state = 'done', outcome = coalesce(outcome, 'cancelled')
                   WHERE batch = ? AND state = 'pending'";
        self.database.write(move |transaction| transaction.execute(sql, [asked.as_str()])).await?;
        Ok(())
    }

    /// Marks a batch as running until the guard is dropped.
    pub(super) fn begin_running(&self, id: &BatchId, control: &BatchControl) -> Result<Running, BatchError> {
        let mut running = self.running();
        if running.contains_key(id) {
            return Err(BatchError::Running(id.clone()));
        }
        running.insert(id.clone(), control.clone());
        drop(running);
        Ok(Running { all: Arc::clone(&self.running), id: id.clone() })
    }

    fn running(&self) -> MutexGuard<'_, HashMap<BatchId, BatchControl>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A batch that is running.
pub(super) struct Running {
    all: Arc<Mutex<HashMap<BatchId, BatchControl>>>,
    id: BatchId,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// A row that has no outcome yet.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) row: u32,
    pub(super) data: Row,
    pub(super) due_ms: i64,
    /// Ids that were used up.
    pub(super) tries: u32,
    /// How often it was tried again already, by what for.
    pub(super) retried: BTreeMap<RetryOn, u32>,
    /// How often it was put back because the tenant was at a limit; since the host started.
    pub(super) held: u32,
}

/// A batch as its runner needs it.
pub(super) struct Loaded {
    pub(super) tenant: TenantId,
    pub(super) options: BatchOptions,
    pub(super) cancelled: bool,
    pub(super) pending: Vec<Pending>,
    /// Those that were being called when the host ended.
    pub(super) dialling: Vec<Pending>,
}

/// What is kept of an attempt that is over.
#[derive(Debug, Clone)]
pub(super) struct Settled {
    pub(super) outcome: Outcome,
    pub(super) retry_on: Option<RetryOn>,
    /// When the number is due again; none: this is its final outcome.
    pub(super) again_ms: Option<i64>,
    /// Whether a call was placed, or may have been.
    pub(super) placed: bool,
    pub(super) answered_by: &'static str,
    pub(super) duration_ms: u64,
    pub(super) detail: String,
}

impl Batches {
    pub(super) async fn load(&self, id: &BatchId) -> Result<Loaded, BatchError> {
        let asked = id.clone();
        let found = self
            .database
            .read(move |connection| {
                let sql = "SELECT tenant, options, cancelled FROM batches WHERE id = ?";
                let batch = connection
                    .query_row(sql, [asked.as_str()], |row| {
                        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, bool>(2)?))
                    })
                    .optional()?;
                let Some(batch) = batch else { return Ok(None) };
                let sql = "SELECT row, number, caller_id, handler, metadata, due_ms, tries, state FROM batch_rows
                           WHERE batch = ? AND state <> 'done' ORDER BY row";
                let mut query = connection.prepare(sql)?;
                let rows = query.query_map([asked.as_str()], pending)?.collect::<rusqlite::Result<Vec<_>>>()?;
                let sql = "SELECT row, retry_on, count(*) FROM batch_attempts
                           WHERE batch = ? AND retry_on IS NOT NULL GROUP BY row, retry_on";
                let mut query = connection.prepare(sql)?;
                let retried = query
                    .query_map([asked.as_str()], |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?)))?
                    .collect::<rusqlite::Result<Vec<(u32, String, u32)>>>()?;
                Ok(Some((batch, rows, retried)))
            })
            .await?;
        let ((tenant, options, cancelled), rows, retried) = found.ok_or_else(|| BatchError::Unknown(id.clone()))?;
        let unreadable = || BatchError::Unreadable(id.clone());
        let options: BatchOptions = serde_json::from_str(&options).map_err(|_| unreadable())?;
        options.check().map_err(|_| unreadable())?;
        let mut retried_of: HashMap<u32, BTreeMap<RetryOn, u32>> = HashMap::new();
        for (row, on, times) in retried {
            retried_of.entry(row).or_default().insert(RetryOn::from_name(&on).ok_or_else(unreadable)?, times);
        }
        let mut loaded =
            Loaded { tenant: TenantId::new(tenant), options, cancelled, pending: Vec::new(), dialling: Vec::new() };
        for (mut row, metadata, dialling) in rows {
            row.data.metadata = serde_json::from_str(&metadata).map_err(|_| unreadable())?;
            row.retried = retried_of.remove(&row.row).unwrap_or_default();
            if dialling { loaded.dialling.push(row) } else { loaded.pending.push(row) }
        }
        Ok(loaded)
    }

    /// The number is about to be called: on disk when this returns. `false`: somebody else has taken the row.
    pub(super) async fn begin(&self, id: &BatchId, row: u32, tries: u32, now_ms: i64) -> Result<bool, BatchError> {
        let id = id.clone();
        let sql = "UPDATE batch_rows SET state = 'dialling', tries = tries + 1, attempts = attempts + 1, started_ms = ?
                   WHERE batch = ? AND row = ? AND state = 'pending' AND tries = ?";
        let taken = self
            .database
            .write(move |transaction| {
                transaction.prepare_cached(sql)?.execute(params![now_ms, id.as_str(), row, tries])
            })
            .await?;
        Ok(taken == 1)
    }

    /// The attempt is over: on disk when this returns.
    pub(super) async fn settle(&self, id: &BatchId, pending: &Pending, settled: Settled) -> Result<(), BatchError> {
        let (id, row, attempt) = (id.clone(), pending.row, pending.tries);
        self.database
            .write(move |transaction| {
                let state = if settled.again_ms.is_some() { "pending" } else { "done" };
                let unplaced = u32::from(!settled.placed);
                let duration_ms = i64::try_from(settled.duration_ms).unwrap_or(i64::MAX);
                let outcome = settled.outcome.as_str();
                let sql = "INSERT INTO batch_attempts SELECT batch, row, tries, started_ms, ?, ?, ?, ? FROM batch_rows
                           WHERE batch = ? AND row = ? AND state = 'dialling' AND tries = ?";
                transaction.prepare_cached(sql)?.execute(params![
                    outcome,
                    settled.retry_on.map(RetryOn::as_str),
                    duration_ms,
                    settled.detail,
                    id.as_str(),
                    row,
                    attempt
                ])?;
                let sql = "UPDATE batch_rows SET state = ?, due_ms = ?, attempts = attempts - ?, outcome = ?,
                               answered_by = ?, duration_ms = ?, detail = ?
                           WHERE batch = ? AND row = ? AND state = 'dialling' AND tries = ?";
                transaction.prepare_cached(sql)?.execute(params![
                    state,
                    settled.again_ms.unwrap_or(0),
                    unplaced,
                    outcome,
                    settled.answered_by,
                    duration_ms,
                    settled.detail,
                    id.as_str(),
                    row,
                    attempt
                ])
            })
            .await?;
        Ok(())
    }

    /// The attempt never was: nothing was placed, and nothing came of it.
    pub(super) async fn put_back(&self, id: &BatchId, pending: &Pending) -> Result<(), BatchError> {
        let (id, row, attempt, due_ms) = (id.clone(), pending.row, pending.tries, pending.due_ms);
        let sql = "UPDATE batch_rows SET state = 'pending', due_ms = ?, attempts = attempts - 1
                   WHERE batch = ? AND row = ? AND state = 'dialling' AND tries = ?";
        self.database
            .write(move |transaction| {
                transaction.prepare_cached(sql)?.execute(params![due_ms, id.as_str(), row, attempt])
            })
            .await?;
        Ok(())
    }
}

fn insert_rows(transaction: &Transaction<'_>, id: &BatchId, file: &BatchFile, now_ms: i64) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare(
        "INSERT INTO batch_rows (batch, row, number, caller_id, handler, metadata, state, due_ms, outcome, detail)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    let mut places = 1u32..;
    for (row, place) in file.rows.iter().zip(&mut places) {
        // A list of pairs of strings is always JSON.
        let metadata = serde_json::to_string(&row.metadata).unwrap_or_default();
        let none: Option<&str> = None;
        insert.execute(params![
            id.as_str(),
            place,
            row.number,
            row.caller_id,
            row.handler,
            metadata,
            "pending",
            now_ms,
            none,
            ""
        ])?;
    }
    let places = u32::try_from(file.rows.len()).unwrap_or(u32::MAX).saturating_add(1)..;
    for (row, place) in file.refused.iter().zip(places) {
        let detail = format!("line {}: {}", row.line, row.reason);
        let outcome = Outcome::Refused.as_str();
        insert.execute(params![id.as_str(), place, row.number, "", "", "[]", "done", now_ms, outcome, detail])?;
    }
    Ok(())
}

fn add_rows(progress: &mut Progress, row: &SqlRow<'_>) -> rusqlite::Result<()> {
    let (state, outcome): (String, Option<String>) = (row.get(0)?, row.get(1)?);
    let (rows, attempts): (u32, i64) = (row.get(2)?, row.get(3)?);
    progress.total = progress.total.saturating_add(rows);
    progress.attempts = progress.attempts.saturating_add(u64::try_from(attempts).unwrap_or(0));
    if state == "done"
        && let Some(outcome) = outcome.as_deref().and_then(Outcome::from_name)
    {
        progress.done = progress.done.saturating_add(rows);
        progress.outcomes.insert(outcome, rows);
    }
    Ok(())
}

fn result(row: &SqlRow<'_>) -> rusqlite::Result<RowResult> {
    let (state, outcome): (String, Option<String>) = (row.get(2)?, row.get(3)?);
    let attempts: u32 = row.get(5)?;
    let started_ms: Option<i64> = row.get(6)?;
    Ok(RowResult {
        row: row.get(0)?,
        number: row.get(1)?,
        outcome: outcome.filter(|_| state == "done").as_deref().and_then(Outcome::from_name),
        answered_by: row.get(4)?,
        attempts,
        started_at: started_ms.filter(|_| attempts > 0).map(from_unix_ms),
        duration_ms: u64::try_from(row.get::<_, i64>(7)?).unwrap_or(0),
        detail: row.get(8)?,
    })
}

/// A row, its metadata as it is kept, and whether it was being called.
fn pending(row: &SqlRow<'_>) -> rusqlite::Result<(Pending, String, bool)> {
    let data = Row { number: row.get(1)?, caller_id: row.get(2)?, handler: row.get(3)?, metadata: Vec::new() };
    let state: String = row.get(7)?;
    let pending =
        Pending { row: row.get(0)?, data, due_ms: row.get(5)?, tries: row.get(6)?, retried: BTreeMap::new(), held: 0 };
    Ok((pending, row.get(4)?, state == "dialling"))
}

fn json(options: &BatchOptions) -> Result<String, BatchError> {
    serde_json::to_string(options).map_err(|error| BatchError::Invalid(format!("the options cannot be kept ({error})")))
}

pub(super) fn unix_ms(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn from_unix_ms(at_ms: i64) -> SystemTime {
    let since = Duration::from_millis(u64::try_from(at_ms).unwrap_or(0));
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}
