//! What is still to be sent, and what never went through, on disk.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rusqlite::{Transaction, params};

use super::open_calls::{self, Note};
use crate::database::{Database, DatabaseError};

const STEPS: &[&str] = &["
    CREATE TABLE outbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        target TEXT NOT NULL,
        event_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        session_id TEXT NOT NULL,
        body BLOB NOT NULL,
        created_ms INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        due_ms INTEGER NOT NULL DEFAULT 0,
        dead INTEGER NOT NULL DEFAULT 0,
        error TEXT
    );
    CREATE INDEX outbox_by_target ON outbox (target, dead, id);
"];

/// Events that wait for one target at most, and dead letters of it that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxOptions {
    /// Beyond, the oldest of those that are not under way become dead letters. Default 100,000.
    pub max_waiting: u64,
    /// Beyond, the oldest are deleted, and counted in the log. Default 100,000.
    pub max_dead: u64,
}

impl Default for OutboxOptions {
    fn default() -> Self {
        Self { max_waiting: 100_000, max_dead: 100_000 }
    }
}

/// What the outbox could not do.
pub type OutboxError = DatabaseError;

/// One event for one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) event_id: Arc<str>,
    pub(super) kind: Arc<str>,
    pub(super) session_id: Arc<str>,
    pub(super) body: Bytes,
    pub(super) attempts: u32,
    pub(super) due_ms: i64,
}

/// What became of an attempt.
#[derive(Debug)]
pub(super) enum Fate {
    /// The event with this place has been delivered.
    Delivered(i64),
    /// It is to be tried again when the row says, because of this.
    PutOff(Row, String),
    /// It is a dead letter, because of this.
    Dead(Row, String),
}

impl Fate {
    fn note(&self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        let noted = match self {
            Self::Delivered(id) => tx.prepare_cached("DELETE FROM outbox WHERE id = ?1")?.execute([id]),
            Self::PutOff(row, error) => tx
                .prepare_cached("UPDATE outbox SET attempts = ?2, due_ms = ?3, error = ?4 WHERE id = ?1")?
                .execute(params![row.id, row.attempts, row.due_ms, error]),
            Self::Dead(row, error) => tx
                .prepare_cached("UPDATE outbox SET attempts = ?2, dead = 1, error = ?3 WHERE id = ?1")?
                .execute(params![row.id, row.attempts, error]),
        };
        noted.map(drop)
    }
}

/// An event that has just happened.
#[derive(Debug, Clone)]
pub(super) struct NewRow {
    pub(super) event_id: String,
    pub(super) kind: &'static str,
    pub(super) session_id: String,
    pub(super) body: Vec<u8>,
}

impl NewRow {
    fn keep(&self, tx: &Transaction<'_>, targets: &[Arc<str>]) -> rusqlite::Result<()> {
        let mut insert = tx.prepare_cached(
            "INSERT INTO outbox (target, event_id, kind, session_id, body, created_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let now = now_ms();
        for target in targets {
            insert.execute(params![target, self.event_id, self.kind, self.session_id, self.body, now])?;
        }
        Ok(())
    }
}

/// What is still to be told of a call, each event to its targets.
#[derive(Debug)]
pub(super) struct LastEvents {
    pub(super) call: String,
    pub(super) rows: Vec<(NewRow, Vec<Arc<str>>)>,
}

/// The outbox in a database.
#[derive(Clone)]
pub(super) struct Outbox {
    pub(super) database: Database,
}

impl Outbox {
    pub(super) async fn open(database: Database) -> Result<Self, OutboxError> {
        database.migrate("webhooks", STEPS).await?;
        Ok(Self { database })
    }

    /// Keeps an event for these targets, and what it says of its call; never blocks. `lost` hears if it turns out that it
    /// could not be kept.
    pub(super) fn add(
        &self,
        row: NewRow,
        targets: Vec<Arc<str>>,
        note: Option<Note>,
        lost: impl FnOnce(OutboxError) + Send + 'static,
    ) -> Result<(), OutboxError> {
        let insert = move |tx: &Transaction<'_>| {
            row.keep(tx, &targets)?;
            note.map_or(Ok(()), |note| note.write(tx, &row.session_id))
        };
        self.database.write_later(insert, |kept| kept.err().map_or((), lost))
    }

    /// Keeps the last events of calls that an earlier run began, and forgets those calls; what another has done already is
    /// left out. Returns the calls that were still open.
    pub(super) async fn end_calls(&self, calls: Vec<LastEvents>) -> Result<Vec<String>, OutboxError> {
        let end = self.database.write(move |tx| {
            let mut ended = Vec::new();
            for LastEvents { call, rows } in calls {
                if open_calls::remove(tx, &call)? == 0 {
                    continue;
                }
                for (row, targets) in rows {
                    row.keep(tx, &targets)?;
                }
                ended.push(call);
            }
            Ok(ended)
        });
        end.await
    }

    /// A target's next events after this row.
    pub(super) async fn after(&self, target: Arc<str>, id: i64, limit: usize) -> Result<Vec<Row>, OutboxError> {
        let rows = self.database.read(move |tx| {
            let mut query = tx.prepare_cached(
                "SELECT id, event_id, kind, session_id, body, attempts, due_ms FROM outbox
                 WHERE target = ?1 AND dead = 0 AND id > ?2 ORDER BY id LIMIT ?3",
            )?;
            query.query_map(params![target, id, limit], read_row)?.collect()
        });
        rows.await
    }

    /// A call's next events for a target, from its oldest up to this row.
    pub(super) async fn of_call(
        &self,
        target: Arc<str>,
        session_id: Arc<str>,
        up_to: i64,
        limit: usize,
    ) -> Result<Vec<Row>, OutboxError> {
        let rows = self.database.read(move |tx| {
            let mut query = tx.prepare_cached(
                "SELECT id, event_id, kind, session_id, body, attempts, due_ms FROM outbox
                 WHERE target = ?1 AND dead = 0 AND session_id = ?2 AND id <= ?3 ORDER BY id LIMIT ?4",
            )?;
            query.query_map(params![target, session_id, up_to, limit], read_row)?.collect()
        });
        rows.await
    }

    /// Notes what became of events, in the order of asking. Does not wait for the disk, unless too much waits for it
    /// already: a note that is lost costs another delivery.
    pub(super) async fn note(&self, fates: Vec<Fate>) -> Result<(), OutboxError> {
        let fates = Arc::new(fates);
        let later = Arc::clone(&fates);
        let noted = self.database.write_later(
            move |tx| later.iter().try_for_each(|fate| fate.note(tx)),
            |noted| {
                if let Err(error) = noted {
                    tracing::error!(%error, "what became of some webhooks could not be noted; they may be sent again");
                }
            },
        );
        match noted {
            Err(OutboxError::Busy) => {
                self.database.write(move |tx| fates.iter().try_for_each(|fate| fate.note(tx))).await
            }
            noted => noted,
        }
    }

    /// Makes dead letters of what waits for targets that are no longer there. Returns how many.
    pub(super) async fn bury_others(&self, targets: Vec<Arc<str>>) -> Result<usize, OutboxError> {
        self.database
            .write(move |tx| {
                let mut waiting = tx.prepare("SELECT DISTINCT target FROM outbox WHERE dead = 0")?;
                let waiting: Vec<String> = waiting.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
                let gone = waiting.iter().filter(|name| targets.iter().all(|target| **target != ***name));
                let bury = "UPDATE outbox SET dead = 1, error = 'no webhook has this name any more'
                            WHERE target = ?1 AND dead = 0";
                gone.map(|name| tx.execute(bury, [name])).sum()
            })
            .await
    }

    /// Makes room: see [`OutboxOptions`]. Rows up to `id` are under way and left alone. Returns how many were buried and
    /// how many were deleted.
    pub(super) async fn trim(
        &self,
        target: Arc<str>,
        id: i64,
        options: OutboxOptions,
    ) -> Result<(usize, usize), OutboxError> {
        self.database
            .write(move |tx| {
                let waiting = excess(tx, &target, false, options.max_waiting)?;
                let buried = tx.execute(
                    "UPDATE outbox SET dead = 1, error = 'the outbox was full' WHERE id IN
                     (SELECT id FROM outbox WHERE target = ?1 AND dead = 0 AND id > ?2 ORDER BY id LIMIT ?3)",
                    params![target, id, waiting],
                )?;
                let dead = excess(tx, &target, true, options.max_dead)?;
                let deleted = tx.execute(
                    "DELETE FROM outbox WHERE id IN
                     (SELECT id FROM outbox WHERE target = ?1 AND dead = 1 ORDER BY id LIMIT ?2)",
                    params![target, dead],
                )?;
                Ok((buried, deleted))
            })
            .await
    }
}

fn excess(tx: &Transaction<'_>, target: &str, dead: bool, max: u64) -> rusqlite::Result<u64> {
    let count = "SELECT count(*) FROM outbox WHERE target = ?1 AND dead = ?2";
    let count: u64 = tx.query_row(count, params![target, dead], |row| row.get(0))?;
    Ok(count.saturating_sub(max))
}

fn read_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        id: row.get(0)?,
        event_id: row.get(1)?,
        kind: row.get(2)?,
        session_id: row.get(3)?,
        body: Bytes::from(row.get::<_, Vec<u8>>(4)?),
        attempts: row.get(5)?,
        due_ms: row.get(6)?,
    })
}

/// Since 1970.
pub(super) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
