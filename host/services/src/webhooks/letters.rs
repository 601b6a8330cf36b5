//! What the operator may look at and do: events that wait, and dead letters. Works on the database of a running host as
//! well as on that of one that is stopped.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Row, params};

use super::outbox::{Outbox, OutboxError, now_ms};
use crate::database::Database;

/// Where a letter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetterState {
    /// It will be tried, for the first time or again.
    Waiting,
    /// It will not, unless somebody says so.
    Dead,
}

/// One event for one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Its number in the outbox; a letter that is sent again gets another.
    pub id: i64,
    /// The target's name.
    pub target: String,
    /// The event's id.
    pub event_id: String,
    /// Its type.
    pub kind: String,
    /// The call.
    pub session_id: String,
    /// When it happened.
    pub created_at: SystemTime,
    /// Attempts so far.
    pub attempts: u32,
    /// When it is tried next, at the earliest.
    pub due_at: SystemTime,
    /// Where it stands.
    pub state: LetterState,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

/// See the module.
pub struct Letters {
    outbox: Outbox,
}

impl Letters {
    /// The letters of this database.
    ///
    /// # Errors
    /// [`OutboxError`]
    pub async fn open(database: Database) -> Result<Self, OutboxError> {
        Ok(Self { outbox: Outbox::open(database).await? })
    }

    /// The oldest letters first; those of one state, or all.
    ///
    /// # Errors
    /// [`OutboxError`]
    pub async fn list(&self, state: Option<LetterState>, limit: usize) -> Result<Vec<Letter>, OutboxError> {
        let dead = state.map(|state| state == LetterState::Dead);
        let list = self.outbox.database.read(move |tx| {
            let mut query = tx.prepare(
                "SELECT id, target, event_id, kind, session_id, created_ms, attempts, due_ms, dead, error FROM outbox
                 WHERE ?1 IS NULL OR dead = ?1 ORDER BY id LIMIT ?2",
            )?;
            query.query_map(params![dead, limit], letter)?.collect()
        });
        list.await
    }

    /// How many wait and how many are dead.
    ///
    /// # Errors
    /// [`OutboxError`]
    pub async fn count(&self) -> Result<(u64, u64), OutboxError> {
        let count = "SELECT count(*) FILTER (WHERE dead = 0), count(*) FILTER (WHERE dead = 1) FROM outbox";
        self.outbox.database.read(move |tx| tx.query_row(count, [], |row| Ok((row.get(0)?, row.get(1)?)))).await
    }

    /// Lets a dead letter be tried again as if it were new; none given: all of them. Returns how many there were.
    ///
    /// # Errors
    /// [`OutboxError`]
    pub async fn resend(&self, id: Option<i64>) -> Result<usize, OutboxError> {
        let now = now_ms();
        let resend = self.outbox.database.write(move |tx| {
            // A new number, because a running host reads on from the last.
            tx.execute(
                "INSERT INTO outbox (target, event_id, kind, session_id, body, created_ms, due_ms)
                 SELECT target, event_id, kind, session_id, body, created_ms, ?2 FROM outbox
                 WHERE dead = 1 AND (?1 IS NULL OR id = ?1) ORDER BY id",
                params![id, now],
            )?;
            tx.execute("DELETE FROM outbox WHERE dead = 1 AND (?1 IS NULL OR id = ?1)", [id])
        });
        resend.await
    }

    /// Deletes a dead letter; none given: all of them. Returns how many there were.
    ///
    /// # Errors
    /// [`OutboxError`]
    pub async fn purge(&self, id: Option<i64>) -> Result<usize, OutboxError> {
        let purge = "DELETE FROM outbox WHERE dead = 1 AND (?1 IS NULL OR id = ?1)";
        self.outbox.database.write(move |tx| tx.execute(purge, [id])).await
    }
}

fn letter(row: &Row<'_>) -> rusqlite::Result<Letter> {
    let time = |ms: i64| UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or_default());
    Ok(Letter {
        id: row.get(0)?,
        target: row.get(1)?,
        event_id: row.get(2)?,
        kind: row.get(3)?,
        session_id: row.get(4)?,
        created_at: time(row.get(5)?),
        attempts: row.get(6)?,
        due_at: time(row.get(7)?),
        state: if row.get(8)? { LetterState::Dead } else { LetterState::Waiting },
        error: row.get(9)?,
    })
}
