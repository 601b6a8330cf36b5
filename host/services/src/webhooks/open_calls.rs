//! Calls that are up, on disk: a host that died has told nobody how they ended, and the next one does.
//!
//! A row is written with a call's first event, and removed in the transaction that keeps its last: so each call that was
//! begun has one end, however often the host dies. A heartbeat says until when a host lived at least.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde_json::{Map, Value};
use uuid::Uuid;
use voxtra_core::event::{Event, EventType};
use voxtra_core::{CallId, CallRecord, Direction, EndReason, TenantId, Usage};

use super::outbox::now_ms;
use crate::database::{Database, DatabaseError};

const STEPS: &[&str] = &["
    CREATE TABLE open_calls (
        call_id TEXT PRIMARY KEY,
        tenant TEXT NOT NULL,
        handler TEXT NOT NULL DEFAULT '',
        version TEXT NOT NULL DEFAULT '',
        direction TEXT NOT NULL,
        parent TEXT,
        started_ms INTEGER NOT NULL,
        answered_ms INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE host_alive (one INTEGER PRIMARY KEY CHECK (one = 1), at_ms INTEGER NOT NULL);
"];

/// How often a host with calls says that it lives. An end that no event told is forgotten after at most two of these.
const BEAT_EVERY: Duration = Duration::from_secs(10);

/// Ends that may wait in memory for a database that refuses them.
const MAX_UNKEPT: usize = 65_536;

/// Why such a call has ended.
const WHY: &str = "the host ended before the call did: it crashed or was killed";

/// The events that a lost call's owner would have sent.
pub(super) fn last_events(lost: &CallRecord) -> [Event; 3] {
    let reason = lost.end.as_str();
    let lasted = lost.ended_at.duration_since(lost.started_at).unwrap_or_default();
    let mut ended = Map::from_iter([
        ("reason".to_owned(), reason.into()),
        ("detail".to_owned(), WHY.into()),
        ("duration_ms".to_owned(), millis(lasted).into()),
    ]);
    ended.extend(lost.parent.iter().map(|parent| ("parent".to_owned(), parent.as_str().into())));
    let failed = [("reason".to_owned(), reason.into()), ("error".to_owned(), WHY.into())];
    [
        (EventType::CallFailed, Map::from_iter(failed)),
        (EventType::CallEnded, ended),
        (EventType::SessionDestroyed, Map::new()),
    ]
    .map(|(kind, data)| {
        let id = Uuid::new_v4().simple().to_string();
        Event::new(id, kind, lost.tenant.clone(), lost.call.clone(), data)
    })
}

/// What an event changes here.
#[derive(Debug)]
pub(super) enum Note {
    Begun { tenant: TenantId, direction: &'static str, parent: Option<String>, at_ms: i64 },
    Handled { handler: String, version: String },
    Answered { at_ms: i64 },
    Over,
}

impl Note {
    pub(super) fn write(&self, tx: &Transaction<'_>, call: &str) -> rusqlite::Result<()> {
        let written = match self {
            Self::Begun { tenant, direction, parent, at_ms } => tx
                .prepare_cached(
                    "INSERT OR REPLACE INTO open_calls (call_id, tenant, direction, parent, started_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![call, tenant.as_str(), direction, parent, at_ms]),
            Self::Handled { handler, version } => tx
                .prepare_cached("UPDATE open_calls SET handler = ?2, version = ?3 WHERE call_id = ?1")?
                .execute(params![call, handler, version]),
            Self::Answered { at_ms } => tx
                .prepare_cached("UPDATE open_calls SET answered_ms = ?2 WHERE call_id = ?1 AND answered_ms IS NULL")?
                .execute(params![call, at_ms]),
            Self::Over => remove(tx, call),
        };
        written.map(drop)
    }
}

/// See the module.
pub(super) struct OpenCalls {
    database: Database,
    live: Mutex<Live>,
}

/// Calls of this run.
#[derive(Default)]
struct Live {
    /// Those that have a row.
    open: HashSet<CallId>,
    /// Of those, the ones of which nothing is left though no event has told their end: since the last beat, and before.
    over: Vec<CallId>,
    overdue: Vec<CallId>,
    /// Those that are over and still have a row, because the database refused to remove it.
    unkept: Vec<CallId>,
}

impl OpenCalls {
    pub(super) async fn open(database: Database) -> Result<Arc<Self>, DatabaseError> {
        database.migrate("open-calls", STEPS).await?;
        Ok(Arc::new(Self { database, live: Mutex::default() }))
    }

    /// What an event changes.
    pub(super) fn note(&self, event: &Event) -> Option<Note> {
        let text = |key: &str| event.data.get(key).and_then(Value::as_str).map(str::to_owned);
        match event.kind {
            EventType::CallStarted => {
                self.live().open.insert(event.session_id.clone());
                let direction = text("direction").unwrap_or_default();
                Some(Note::Begun {
                    tenant: event.tenant.clone(),
                    direction: direction_of(&direction).as_str(),
                    parent: text("parent"),
                    at_ms: unix_ms(event.timestamp),
                })
            }
            EventType::SessionCreated => Some(Note::Handled {
                handler: text("handler").unwrap_or_default(),
                version: text("version").unwrap_or_default(),
            }),
            EventType::CallAnswered => Some(Note::Answered { at_ms: unix_ms(event.timestamp) }),
            // A filter may have kept the first of them back.
            EventType::CallEnded | EventType::SessionDestroyed => {
                self.live().open.remove(&event.session_id).then_some(Note::Over)
            }
            _ => None,
        }
    }

    /// Writes what no webhook's event takes along. Never blocks. An end that cannot be written is tried again with each
    /// beat: the next start would tell of a call that it was lost.
    pub(super) fn keep(self: &Arc<Self>, note: Note, call: &CallId) {
        let ended = matches!(note, Note::Over).then(|| vec![call.clone()]).unwrap_or_default();
        let id = call.clone();
        self.write_later(ended, move |tx| note.write(tx, id.as_str()));
    }

    /// `ended` are the calls whose rows the job removes.
    fn write_later(
        self: &Arc<Self>,
        ended: Vec<CallId>,
        job: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()> + Send + 'static,
    ) {
        let (told, of) = (Arc::clone(self), ended.clone());
        let told = move |kept: Result<(), DatabaseError>| {
            let _ = kept.inspect_err(|error| told.not_kept(of, error));
        };
        if let Err(error) = self.database.write_later(job, told) {
            self.not_kept(ended, &error);
        }
    }

    fn not_kept(&self, ended: Vec<CallId>, error: &DatabaseError) {
        tracing::debug!(%error, "what is known of calls that are up could not be kept");
        let mut live = self.live();
        let room = MAX_UNKEPT.saturating_sub(live.unkept.len());
        live.unkept.extend(ended.into_iter().take(room));
    }

    /// Nothing is left of a call. Its last events may still be on their way through filters, or have been dropped there.
    pub(super) fn forget_soon(&self, call: &CallId) {
        let mut live = self.live();
        if live.open.contains(call) {
            live.over.push(call.clone());
        }
    }

    /// Goes on as long as somebody else holds the calls.
    pub(super) async fn beat(calls: Weak<Self>) {
        loop {
            tokio::time::sleep(BEAT_EVERY).await;
            let Some(calls) = calls.upgrade() else { return };
            calls.beat_once();
        }
    }

    fn beat_once(self: &Arc<Self>) {
        let forgotten: Vec<CallId> = {
            let mut live = self.live();
            let over = std::mem::take(&mut live.over);
            let overdue = std::mem::replace(&mut live.overdue, over);
            let unkept = std::mem::take(&mut live.unkept);
            let overdue = overdue.into_iter().filter(|call| live.open.remove(call));
            let forgotten: Vec<_> = overdue.chain(unkept).collect();
            if forgotten.is_empty() && live.open.is_empty() {
                return;
            }
            forgotten
        };
        self.write_later(forgotten.clone(), move |tx| {
            for call in &forgotten {
                remove(tx, call.as_str())?;
            }
            tx.prepare_cached("INSERT OR REPLACE INTO host_alive VALUES (1, ?1)")?.execute([now_ms()]).map(drop)
        });
    }

    /// Those of an earlier run, the oldest first. To be asked before there are calls of this one.
    pub(super) async fn lost(&self) -> Result<Vec<CallRecord>, DatabaseError> {
        let read = self.database.read(|tx| {
            let alive = tx.query_row("SELECT at_ms FROM host_alive", [], |row| row.get::<_, i64>(0)).optional()?;
            let mut query = tx.prepare(
                "SELECT call_id, tenant, handler, version, direction, parent, started_ms, answered_ms FROM open_calls
                 ORDER BY started_ms, call_id",
            )?;
            query.query_map([], |row| lost_call(row, alive.unwrap_or_default()))?.collect()
        });
        read.await
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a call's row; how many there were.
pub(super) fn remove(tx: &Transaction<'_>, call: &str) -> rusqlite::Result<usize> {
    tx.prepare_cached("DELETE FROM open_calls WHERE call_id = ?1")?.execute([call])
}

/// What it used up died with the host; it is known to have been up until the host's last sign of life.
fn lost_call(row: &Row<'_>, alive_ms: i64) -> rusqlite::Result<CallRecord> {
    let text = |column: usize| row.get::<_, String>(column);
    let (started_ms, answered_ms): (i64, Option<i64>) = (row.get(6)?, row.get(7)?);
    Ok(CallRecord {
        call: text(0)?.into(),
        tenant: text(1)?.into(),
        handler: text(2)?.into(),
        version: text(3)?,
        direction: direction_of(&text(4)?),
        parent: row.get::<_, Option<String>>(5)?.map(CallId::from),
        started_at: time(started_ms),
        answered_at: answered_ms.map(time),
        ended_at: time(alive_ms.max(started_ms).max(answered_ms.unwrap_or_default())),
        end: EndReason::TelephonyFailed(WHY.to_owned()),
        handler_failed: false,
        usage: Usage::default(),
    })
}

fn direction_of(text: &str) -> Direction {
    if text == Direction::Outbound.as_str() { Direction::Outbound } else { Direction::Inbound }
}

fn unix_ms(at: SystemTime) -> i64 {
    millis(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn time(unix_ms: i64) -> SystemTime {
    let since = Duration::from_millis(u64::try_from(unix_ms).unwrap_or_default());
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn event(kind: EventType) -> Event {
        Event::new("1".into(), kind, "acme".into(), "c".into(), Map::new())
    }

    #[tokio::test]
    async fn an_end_that_the_database_refuses_is_written_with_a_later_beat() {
        let database = Database::in_memory().unwrap();
        let calls = OpenCalls::open(database.clone()).await.unwrap();
        let note = |kind| calls.keep(calls.note(&event(kind)).unwrap(), &"c".into());
        note(EventType::CallStarted);
        database.write(|tx| tx.execute("ALTER TABLE open_calls RENAME TO away", [])).await.unwrap();
        note(EventType::CallEnded);
        calls.beat_once();
        database.write(|tx| tx.execute("ALTER TABLE away RENAME TO open_calls", [])).await.unwrap();
        assert_eq!(calls.lost().await.unwrap().len(), 1, "the table was there");
        calls.beat_once();
        assert_eq!(calls.lost().await.unwrap(), []);
    }
}
