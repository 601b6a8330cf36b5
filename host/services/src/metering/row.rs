//! A call at rest, and as one line of JSON.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Row, Statement, ToSql, params_from_iter};
use serde::{Serialize, Serializer};
use voxtra_core::{CallId, CallRecord, Direction, HandlerName, TenantId, Usage};

use super::usage;

/// Each step once released never changes.
pub(super) const STEPS: &[&str] = &["
    CREATE TABLE calls (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        call_id TEXT NOT NULL,
        tenant TEXT NOT NULL,
        handler TEXT NOT NULL,
        version TEXT NOT NULL,
        direction TEXT NOT NULL,
        parent TEXT,
        started_ms INTEGER NOT NULL,
        answered_ms INTEGER,
        ended_ms INTEGER NOT NULL,
        end_reason TEXT NOT NULL,
        handler_failed INTEGER NOT NULL,
        cpu_us INTEGER NOT NULL,
        peak_memory_bytes INTEGER NOT NULL,
        host_calls INTEGER NOT NULL,
        log_bytes INTEGER NOT NULL,
        http_requests INTEGER NOT NULL,
        http_out_bytes INTEGER NOT NULL,
        http_in_bytes INTEGER NOT NULL,
        llm_tokens INTEGER NOT NULL,
        tts_characters INTEGER NOT NULL,
        stt_ms INTEGER NOT NULL,
        audio_in_bytes INTEGER NOT NULL,
        audio_out_bytes INTEGER NOT NULL,
        UNIQUE (call_id, started_ms)
    );
    CREATE INDEX calls_by_end ON calls (ended_ms);
    CREATE INDEX calls_by_tenant ON calls (tenant, ended_ms);
"];

/// Keeps a row; one that is there already stays as it is.
pub(super) const INSERT: &str = "
    INSERT INTO calls (
        call_id, tenant, handler, version, direction, parent, started_ms, answered_ms, ended_ms, end_reason,
        handler_failed, cpu_us, peak_memory_bytes, host_calls, log_bytes, http_requests, http_out_bytes, http_in_bytes,
        llm_tokens, tts_characters, stt_ms, audio_in_bytes, audio_out_bytes
    ) VALUES (
        ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23
    ) ON CONFLICT (call_id, started_ms) DO NOTHING";

/// What [`read`] wants, in its order.
pub(super) const COLUMNS: &str = "
    seq, call_id, tenant, handler, version, direction, parent, started_ms, answered_ms, ended_ms, end_reason,
    handler_failed, cpu_us, peak_memory_bytes, host_calls, log_bytes, http_requests, http_out_bytes, http_in_bytes,
    llm_tokens, tts_characters, stt_ms, audio_in_bytes, audio_out_bytes";

/// Among those: the first of what was used up, which are the last.
const FIRST_NUMBER: usize = 12;

/// 9999-12-31T23:59:59.999Z: the last moment that RFC 3339 can name.
const LAST_MS: i64 = 253_402_300_799_999;

/// One call. As JSON the keys are the fields' names, in this order; they are a contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallRow {
    /// The call's id at the PBX.
    pub call_id: CallId,
    /// Whose it was.
    pub tenant: TenantId,
    /// The handler that took it; of several, the last one.
    pub handler: HandlerName,
    /// The first 12 hexadecimal digits of its component's SHA-256.
    pub version: String,
    /// `inbound` or `outbound`.
    pub direction: Direction,
    /// The call whose handler placed it; JSON `null` for none.
    pub parent: Option<CallId>,
    /// When it reached the host or was placed, to the millisecond; RFC 3339 in UTC.
    #[serde(serialize_with = "rfc3339")]
    pub started_at: SystemTime,
    /// When it was answered; JSON `null` for never.
    #[serde(serialize_with = "rfc3339_or_null")]
    pub answered_at: Option<SystemTime>,
    /// When it was over.
    #[serde(serialize_with = "rfc3339")]
    pub ended_at: SystemTime,
    /// Why: the name of the [`voxtra_core::EndReason`], such as `caller-hung-up`.
    pub end_reason: String,
    /// Whether its handler failed: an error, a trap, a limit.
    pub handler_failed: bool,
    /// From start to end.
    pub duration_ms: u64,
    /// From answer to end; 0 when it was not answered.
    pub billable_ms: u64,
    /// What it used up. In JSON these are keys like the others: `cpu_us`, `peak_memory_bytes`, `host_calls`, `log_bytes`,
    /// `http_requests`, `http_out_bytes`, `http_in_bytes`, `llm_tokens`, `tts_characters`, `stt_ms`, `audio_in_bytes`,
    /// `audio_out_bytes`.
    #[serde(flatten, serialize_with = "usage::as_keys")]
    pub usage: Usage,
}

impl From<&CallRecord> for CallRow {
    fn from(record: &CallRecord) -> Self {
        let mut row = Self {
            call_id: record.call.clone(),
            tenant: record.tenant.clone(),
            handler: record.handler.clone(),
            version: record.version.clone(),
            direction: record.direction,
            parent: record.parent.clone(),
            // To the millisecond, as it will come back.
            started_at: time(unix_ms(record.started_at)),
            answered_at: record.answered_at.map(|at| time(unix_ms(at))),
            ended_at: time(unix_ms(record.ended_at)),
            end_reason: record.end.as_str().to_owned(),
            handler_failed: record.handler_failed,
            duration_ms: 0,
            billable_ms: 0,
            usage: usage::storable(&record.usage),
        };
        row.add_lengths();
        row
    }
}

impl CallRow {
    /// Works out what follows from the three times. A clock that was set back makes nothing, never less.
    fn add_lengths(&mut self) {
        let until_end = |from: SystemTime| millis(self.ended_at.duration_since(from).unwrap_or_default());
        (self.duration_ms, self.billable_ms) = (until_end(self.started_at), self.answered_at.map_or(0, until_end));
    }

    /// Keeps it, with [`INSERT`] prepared.
    pub(super) fn insert(&self, insert: &mut Statement<'_>) -> rusqlite::Result<()> {
        let used = usage::numbers(&self.usage);
        let own: [&dyn ToSql; FIRST_NUMBER - 1] = [
            &self.call_id.as_str(),
            &self.tenant.as_str(),
            &self.handler.as_str(),
            &self.version,
            &self.direction.as_str(),
            &self.parent.as_ref().map(CallId::as_str),
            &unix_ms(self.started_at),
            &self.answered_at.map(unix_ms),
            &unix_ms(self.ended_at),
            &self.end_reason,
            &self.handler_failed,
        ];
        let done = insert.execute(params_from_iter(own.into_iter().chain(used.iter().map(|n| n as &dyn ToSql))));
        done.map(drop)
    }
}

/// Where a row stands in the order: when its call ended, as it is stored, and its place in the table.
pub(super) type Place = (i64, i64);

/// A row of [`COLUMNS`].
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<(Place, CallRow)> {
    let place = (row.get(9)?, row.get(0)?);
    let id = |column: usize| row.get::<_, String>(column);
    let mut used: usage::Numbers = Default::default();
    for (column, number) in (FIRST_NUMBER..).zip(&mut used) {
        *number = row.get(column)?;
    }
    let mut read = CallRow {
        call_id: id(1)?.into(),
        tenant: id(2)?.into(),
        handler: id(3)?.into(),
        version: row.get(4)?,
        direction: if id(5)? == Direction::Outbound.as_str() { Direction::Outbound } else { Direction::Inbound },
        parent: row.get::<_, Option<String>>(6)?.map(CallId::from),
        started_at: time(row.get(7)?),
        answered_at: row.get::<_, Option<i64>>(8)?.map(time),
        ended_at: time(place.0),
        end_reason: row.get(10)?,
        handler_failed: row.get(11)?,
        duration_ms: 0,
        billable_ms: 0,
        usage: usage::of_numbers(used),
    };
    read.add_lengths();
    Ok((place, read))
}

/// Milliseconds since 1970, between then and the year 10,000.
pub(super) fn unix_ms(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(LAST_MS).min(LAST_MS)
}

fn time(unix_ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(unix_ms.clamp(0, LAST_MS).unsigned_abs())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn rfc3339<S: Serializer>(at: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&humantime::format_rfc3339_millis(time(unix_ms(*at))))
}

fn rfc3339_or_null<S: Serializer>(at: &Option<SystemTime>, to: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => rfc3339(at, to),
        None => to.serialize_none(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use voxtra_core::EndReason;

    use super::*;

    fn record() -> CallRecord {
        let start = UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
        CallRecord {
            call: "1700000000.1".into(),
            tenant: "acme".into(),
            handler: "support".into(),
            version: "0123456789ab".to_owned(),
            direction: Direction::Inbound,
            parent: None,
            started_at: start,
            answered_at: Some(start + Duration::from_secs(2)),
            ended_at: start + Duration::from_secs(62),
            end: EndReason::CallerHungUp,
            handler_failed: false,
            usage: Usage { cpu: Duration::from_micros(1_500), stt: Duration::from_millis(70), ..Usage::default() },
        }
    }

    #[test]
    fn a_line_has_these_keys_in_this_order() {
        let line = serde_json::to_string(&CallRow::from(&record())).unwrap();
        let expected = concat!(
            r#"{"call_id":"1700000000.1","tenant":"acme","handler":"support","version":"0123456789ab","#,
            r#""direction":"inbound","parent":null,"started_at":"2023-11-14T22:13:20.123Z","#,
            r#""answered_at":"2023-11-14T22:13:22.123Z","ended_at":"2023-11-14T22:14:22.123Z","#,
            r#""end_reason":"caller-hung-up","handler_failed":false,"duration_ms":62000,"billable_ms":60000,"#,
            r#""cpu_us":1500,"peak_memory_bytes":0,"host_calls":0,"log_bytes":0,"http_requests":0,"http_out_bytes":0,"#,
            r#""http_in_bytes":0,"llm_tokens":0,"tts_characters":0,"stt_ms":70,"audio_in_bytes":0,"audio_out_bytes":0}"#,
        );
        assert_eq!(line, expected);
    }

    #[test]
    fn times_and_numbers_out_of_all_bounds_are_cut_to_them() {
        let mut wild = record();
        wild.started_at = UNIX_EPOCH - Duration::from_secs(1);
        wild.ended_at = UNIX_EPOCH + Duration::from_secs(1 << 40);
        wild.answered_at = Some(wild.ended_at + Duration::from_secs(1));
        wild.usage.cpu = Duration::MAX;
        wild.usage.llm_tokens = u64::MAX;
        let row = CallRow::from(&wild);
        let json = serde_json::to_value(&row).unwrap();
        assert_eq!(
            (&json["started_at"], &json["ended_at"]),
            (&"1970-01-01T00:00:00.000Z".into(), &"9999-12-31T23:59:59.999Z".into())
        );
        let most = i64::MAX.unsigned_abs();
        assert_eq!((row.billable_ms, row.usage.llm_tokens), (0, most));
        assert_eq!((&json["cpu_us"], &json["llm_tokens"]), (&most.into(), &most.into()));
    }

    #[test]
    fn a_call_that_nobody_answered_has_no_billable_time() {
        let unanswered = CallRecord { answered_at: None, ..record() };
        let row = CallRow::from(&unanswered);
        assert_eq!((row.duration_ms, row.billable_ms), (62_000, 0));
    }
}
