//! Takes records, reads them back, exports and sweeps them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use rusqlite::{Params, Transaction, params};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::runtime::Handle;
use voxtra_core::{CallRecord, MeterSink, TenantId};

use super::row::{COLUMNS, CallRow, Place, STEPS, read, unix_ms};
use super::waiting::Waiting;
use crate::database::{Database, DatabaseError};

/// Rows that are read in one job of the database's thread, and are in memory at one time: a few milliseconds of it, some
/// 500 KiB.
const PAGE_ROWS: usize = 500;

/// Rows that are deleted in one job.
const SWEEP_ROWS: usize = 1_000;

/// The most that [`MeterStore::list`] returns.
const LIST_MAX: usize = 10_000;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How records are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeterOptions {
    /// Days that a row is kept after its call's end; none: for ever. Default 90.
    pub retention_days: Option<u32>,
    /// Rows that may wait in memory for the disk (about 1 KiB each); beyond, new ones are lost. Default 65,536.
    pub max_waiting: usize,
}

impl Default for MeterOptions {
    fn default() -> Self {
        Self { retention_days: Some(90), max_waiting: 65_536 }
    }
}

/// Counters since the start, and what waits now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MeterStats {
    /// Rows that are on disk.
    pub kept: u64,
    /// Rows that found too many waiting.
    pub lost: u64,
    /// Rows that are not on disk yet.
    pub waiting: usize,
}

/// Which rows. The default is all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CallQuery {
    /// One tenant's; none: everybody's.
    pub tenant: Option<TenantId>,
    /// Calls that ended then or later.
    pub from: Option<SystemTime>,
    /// Calls that ended before.
    pub to: Option<SystemTime>,
    /// How many at most, the oldest first.
    pub limit: Option<u64>,
}

/// Why an export ended early; what was written before is whole lines.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The rows could not be read.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The lines could not be written.
    #[error("the export could not be written: {0}")]
    Write(#[from] io::Error),
}

/// See the module. Cloning shares it.
#[derive(Clone)]
pub struct MeterStore {
    pub(super) database: Database,
    options: MeterOptions,
    waiting: Arc<Waiting>,
}

impl MeterStore {
    /// The records of this database. Rows that could not be kept are tried again on the runtime where this is awaited.
    ///
    /// # Errors
    /// [`DatabaseError`] when the table cannot be made.
    pub async fn open(database: Database, options: MeterOptions) -> Result<Self, DatabaseError> {
        database.migrate("metering", STEPS).await?;
        let waiting = Arc::new(Waiting::new(database.clone(), options.max_waiting, Handle::current()));
        Ok(Self { database, options, waiting })
    }

    /// Counters since the start, and what waits now. Does not wait.
    pub fn stats(&self) -> MeterStats {
        MeterStats {
            kept: self.waiting.kept.load(Ordering::Relaxed),
            lost: self.waiting.lost.load(Ordering::Relaxed),
            waiting: self.waiting.len(),
        }
    }

    /// Returns when every record that came before is on disk: before a process ends.
    ///
    /// # Errors
    /// [`DatabaseError`]; what could not be kept still waits.
    pub async fn flush(&self) -> Result<(), DatabaseError> {
        self.waiting.flush().await
    }

    /// The oldest rows first (by their end); those that have come just now too. At most 10,000: for more see
    /// [`MeterStore::export`].
    ///
    /// # Errors
    /// [`DatabaseError`]
    pub async fn list(&self, query: &CallQuery) -> Result<Vec<CallRow>, DatabaseError> {
        let limit = query.limit.unwrap_or(u64::MAX).min(LIST_MAX as u64);
        let mut pages = self.pages(&CallQuery { limit: Some(limit), ..query.clone() }).await?;
        let mut rows = Vec::new();
        while let Some(page) = pages.next().await? {
            rows.extend(page);
        }
        Ok(rows)
    }

    /// Writes rows as JSON lines, one line a call, the oldest first: see [`CallRow`] for the keys. A page of 500 is in
    /// memory at one time, and the database does other work between pages, however slowly they are taken; rows that come
    /// meanwhile may be among them. Returns how many lines. Does not close the writer.
    ///
    /// # Errors
    /// [`ExportError`]
    pub async fn export<W: AsyncWrite + Unpin>(&self, query: &CallQuery, to: &mut W) -> Result<u64, ExportError> {
        let mut pages = self.pages(query).await?;
        let mut lines = 0;
        let mut text = Vec::new();
        while let Some(page) = pages.next().await? {
            text.clear();
            for row in &page {
                serde_json::to_writer(&mut text, row).map_err(io::Error::from)?;
                text.push(b'\n');
            }
            to.write_all(&text).await?;
            lines += page.len() as u64;
        }
        to.flush().await?;
        Ok(lines)
    }

    /// Deletes rows whose calls ended too long ago. Returns how many. To be called every hour or so.
    ///
    /// # Errors
    /// [`DatabaseError`]
    pub async fn sweep(&self) -> Result<u64, DatabaseError> {
        let Some(days) = self.options.retention_days else { return Ok(0) };
        let end = SystemTime::now().checked_sub(DAY.saturating_mul(days)).unwrap_or(SystemTime::UNIX_EPOCH);
        let end_ms = unix_ms(end);
        let mut deleted = 0;
        loop {
            let delete = "DELETE FROM calls WHERE seq IN
                          (SELECT seq FROM calls WHERE ended_ms < ?1 ORDER BY ended_ms LIMIT ?2)";
            let now = self.database.write(move |tx| tx.prepare_cached(delete)?.execute(params![end_ms, SWEEP_ROWS]));
            let now = now.await?;
            deleted += now as u64;
            if now < SWEEP_ROWS {
                return Ok(deleted);
            }
        }
    }

    /// What was recorded before is among them.
    pub(super) async fn pages(&self, query: &CallQuery) -> Result<Pages, DatabaseError> {
        self.flush().await?;
        let from_ms = query.from.map_or(0, first_ms);
        Ok(Pages {
            database: self.database.clone(),
            tenant: query.tenant.clone(),
            to_ms: query.to.map_or(i64::MAX, first_ms),
            // Behind the last row that could have ended a millisecond earlier.
            last: (from_ms.saturating_sub(1), i64::MAX),
            left: query.limit.unwrap_or(u64::MAX),
        })
    }
}

/// The first whole millisecond at or after it.
fn first_ms(at: SystemTime) -> i64 {
    unix_ms(at.checked_add(Duration::from_nanos(999_999)).unwrap_or(at))
}

impl MeterSink for MeterStore {
    fn record(&self, record: CallRecord) {
        self.waiting.push(CallRow::from(&record));
    }
}

/// Rows in the order of their end, page after page.
pub(super) struct Pages {
    database: Database,
    tenant: Option<TenantId>,
    to_ms: i64,
    /// Of the last row that was read.
    last: Place,
    left: u64,
}

impl Pages {
    /// The next rows; none when there are no more.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<CallRow>>, DatabaseError> {
        let rows = usize::try_from(self.left).unwrap_or(usize::MAX).min(PAGE_ROWS);
        if rows == 0 {
            return Ok(None);
        }
        let (tenant, to_ms, (ended_ms, seq)) = (self.tenant.clone(), self.to_ms, self.last);
        let job = move |tx: &Transaction<'_>| match &tenant {
            Some(tenant) => page(tx, "tenant = ?5 AND", params![to_ms, ended_ms, seq, rows, tenant.as_str()]),
            None => page(tx, "", params![to_ms, ended_ms, seq, rows]),
        };
        let page = self.database.read(job).await?;
        let Some((last, _)) = page.last() else { return Ok(None) };
        self.last = *last;
        self.left = self.left.saturating_sub(page.len() as u64);
        Ok(Some(page.into_iter().map(|(_, row)| row).collect()))
    }
}

fn page(tx: &Transaction<'_>, whose: &str, values: impl Params) -> rusqlite::Result<Vec<(Place, CallRow)>> {
    let query = format!(
        "SELECT {COLUMNS} FROM calls WHERE {whose} ended_ms < ?1 AND (ended_ms, seq) > (?2, ?3)
         ORDER BY ended_ms, seq LIMIT ?4"
    );
    tx.prepare_cached(&query)?.query_map(values, read)?.collect()
}
