//! The tenants' key-value space, in the host's database.
//!
//! Every statement names the tenant, which no component can. Versions come from one counter for all tenants that is kept
//! with the values, so that they grow over deletions and starts of the host too.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rusqlite::{OptionalExtension, Row, Transaction, params};
pub use voxtra_core::store::Quota;
use voxtra_core::store::{CasOutcome, Entry, KeyValueStore};
use voxtra_core::{BoxFuture, CallError, TenantId};

use crate::database::{Database, DatabaseError};

const STEPS: &[&str] = &[
    "
    CREATE TABLE store (
        tenant TEXT NOT NULL,
        key TEXT NOT NULL,
        value BLOB NOT NULL,
        version INTEGER NOT NULL,
        expires_ms INTEGER,
        PRIMARY KEY (tenant, key)
    ) WITHOUT ROWID;
    CREATE INDEX store_by_expiry ON store (expires_ms) WHERE expires_ms IS NOT NULL;
    CREATE TABLE store_version (last INTEGER NOT NULL);
    INSERT INTO store_version VALUES (0);
",
    // What each tenant holds, so that no write has to count it.
    "
    CREATE TABLE store_usage (tenant TEXT PRIMARY KEY, keys INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO store_usage
        SELECT tenant, count(*), sum(length(CAST(key AS BLOB)) + length(value)) FROM store GROUP BY tenant;
    CREATE TRIGGER store_added AFTER INSERT ON store BEGIN
        INSERT INTO store_usage VALUES (new.tenant, 1, length(CAST(new.key AS BLOB)) + length(new.value))
        ON CONFLICT (tenant) DO UPDATE SET keys = keys + 1, bytes = bytes + excluded.bytes;
    END;
    CREATE TRIGGER store_changed AFTER UPDATE OF value ON store BEGIN
        UPDATE store_usage SET bytes = bytes + length(new.value) - length(old.value) WHERE tenant = new.tenant;
    END;
    CREATE TRIGGER store_removed AFTER DELETE ON store BEGIN
        UPDATE store_usage SET keys = keys - 1, bytes = bytes - length(CAST(old.key AS BLOB)) - length(old.value)
        WHERE tenant = old.tenant;
    END;
",
];

/// The longest that a value is kept by a time to live; more is the same as for ever.
const TTL_MAX_MS: u128 = 1_000 * 60 * 60 * 24 * 365 * 100;

/// See the module.
#[derive(Clone)]
pub struct SqliteStore {
    database: Database,
    quotas: Arc<RwLock<Quotas>>,
}

/// Who may keep how much.
struct Quotas {
    others: Quota,
    tenants: HashMap<TenantId, Quota>,
}

impl SqliteStore {
    /// A store in this database.
    ///
    /// # Errors
    /// [`DatabaseError`] when its tables cannot be made.
    pub async fn new(database: Database, quota: Quota) -> Result<Self, DatabaseError> {
        database.migrate("store", STEPS).await?;
        let quotas = Arc::new(RwLock::new(Quotas { others: quota, tenants: HashMap::new() }));
        Ok(Self { database, quotas })
    }

    /// From now on these tenants may keep what is said here, and all others what the store was made with. What is there
    /// already stays, also above a quota: then nothing is added until it is below.
    pub fn set_quotas(&self, tenants: impl IntoIterator<Item = (TenantId, Quota)>) {
        let tenants = tenants.into_iter().collect();
        self.quotas.write().unwrap_or_else(PoisonError::into_inner).tenants = tenants;
    }

    fn quota(&self, tenant: &TenantId) -> Quota {
        let quotas = self.quotas.read().unwrap_or_else(PoisonError::into_inner);
        quotas.tenants.get(tenant).copied().unwrap_or(quotas.others)
    }

    /// Removes what has expired; until then it takes up room, but nobody sees it. Returns how many values.
    ///
    /// # Errors
    /// [`DatabaseError`]
    pub async fn sweep(&self) -> Result<usize, DatabaseError> {
        let now = now_ms();
        self.database.write(move |tx| tx.execute("DELETE FROM store WHERE expires_ms <= ?1", [now])).await
    }

    async fn done<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, CallError> {
        self.database.write(job).await.map_err(|error| match error {
            DatabaseError::Full => {
                CallError::LimitExceeded("the host's disk is full; the operator has to make room".to_owned())
            }
            other => CallError::NotConfigured(format!("the store does not work: {other}")),
        })
    }
}

impl KeyValueStore for SqliteStore {
    fn get<'a>(&'a self, tenant: &'a TenantId, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, CallError>> {
        let (tenant, key) = owned(tenant, key);
        Box::pin(self.done(move |tx| live(tx, &tenant, &key)))
    }

    fn set<'a>(
        &'a self,
        tenant: &'a TenantId,
        key: &'a str,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<u64, CallError>> {
        let quota = self.quota(tenant);
        let (tenant, key) = owned(tenant, key);
        Box::pin(async move { self.done(move |tx| put(tx, quota, &tenant, &key, &value, ttl)).await? })
    }

    fn compare_and_set<'a>(
        &'a self,
        tenant: &'a TenantId,
        key: &'a str,
        expected: Option<u64>,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<CasOutcome, CallError>> {
        let quota = self.quota(tenant);
        let (tenant, key) = owned(tenant, key);
        let job = move |tx: &Transaction<'_>| {
            let current = live(tx, &tenant, &key)?;
            if current.as_ref().map(|entry| entry.version) != expected {
                return Ok(Ok(CasOutcome::Conflict(current)));
            }
            Ok(put(tx, quota, &tenant, &key, &value, ttl)?.map(CasOutcome::Stored))
        };
        Box::pin(async move { self.done(job).await? })
    }

    fn delete<'a>(&'a self, tenant: &'a TenantId, key: &'a str) -> BoxFuture<'a, Result<bool, CallError>> {
        let (tenant, key) = owned(tenant, key);
        Box::pin(self.done(move |tx| {
            let was = live(tx, &tenant, &key)?.is_some();
            tx.execute("DELETE FROM store WHERE tenant = ?1 AND key = ?2", [&tenant, &key])?;
            Ok(was)
        }))
    }

    fn keys<'a>(
        &'a self,
        tenant: &'a TenantId,
        prefix: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<String>, CallError>> {
        let (tenant, prefix) = owned(tenant, prefix);
        Box::pin(self.done(move |tx| {
            // Keys are compared byte by byte, so those that begin so are neighbours.
            let mut query = tx.prepare_cached(
                "SELECT key FROM store WHERE tenant = ?1 AND key >= ?2 AND (expires_ms IS NULL OR expires_ms > ?3)
                 ORDER BY key",
            )?;
            let keys = query.query_map(params![tenant, prefix, now_ms()], |row| row.get::<_, String>(0))?;
            keys.take_while(|key| key.as_ref().map_or(true, |key| key.starts_with(&prefix))).take(limit).collect()
        }))
    }
}

fn owned(tenant: &TenantId, key: &str) -> (String, String) {
    (tenant.as_str().to_owned(), key.to_owned())
}

fn live(tx: &Transaction<'_>, tenant: &str, key: &str) -> rusqlite::Result<Option<Entry>> {
    let mut query = tx.prepare_cached(
        "SELECT value, version, expires_ms FROM store
         WHERE tenant = ?1 AND key = ?2 AND (expires_ms IS NULL OR expires_ms > ?3)",
    )?;
    query.query_row(params![tenant, key, now_ms()], entry).optional()
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let expires_ms: Option<u64> = row.get(2)?;
    Ok(Entry {
        value: Bytes::from(row.get::<_, Vec<u8>>(0)?),
        version: row.get(1)?,
        expires_at: expires_ms.map(|ms| UNIX_EPOCH + Duration::from_millis(ms)),
    })
}

/// Stores a value and returns its version, or says which part of the quota it would pass.
fn put(
    tx: &Transaction<'_>,
    quota: Quota,
    tenant: &str,
    key: &str,
    value: &[u8],
    ttl: Option<Duration>,
) -> rusqlite::Result<Result<u64, CallError>> {
    let now = now_ms();
    // Everybody's: there is an index by expiry, and so nothing is searched through.
    tx.prepare_cached("DELETE FROM store WHERE expires_ms <= ?1")?.execute([now])?;
    let mut used = tx.prepare_cached("SELECT keys, bytes FROM store_usage WHERE tenant = ?1")?;
    let used = used.query_row([tenant], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let mut replaced = tx.prepare_cached("SELECT length(value) FROM store WHERE tenant = ?1 AND key = ?2")?;
    let replaced: Option<u64> = replaced.query_row([tenant, key], |row| row.get(0)).optional()?;
    let (keys, bytes): (u64, u64) = used.unwrap_or_default();
    let (new_keys, others_bytes) = match replaced {
        None => (keys + 1, bytes),
        // It adds no key: below a quota that was lowered, those that are there can still be written.
        Some(value) => (0, bytes.saturating_sub(value + key.len() as u64)),
    };
    if let Err(full) = quota.allows(new_keys, others_bytes.saturating_add((key.len() + value.len()) as u64)) {
        return Ok(Err(full));
    }
    let mut next = tx.prepare_cached("UPDATE store_version SET last = last + 1 RETURNING last")?;
    let version: u64 = next.query_row([], |row| row.get(0))?;
    let expires_ms = ttl.filter(|ttl| ttl.as_millis() < TTL_MAX_MS).map(|ttl| now + millis(ttl));
    tx.prepare_cached(
        "INSERT INTO store VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (tenant, key) DO UPDATE SET
         value = excluded.value, version = excluded.version, expires_ms = excluded.expires_ms",
    )?
    .execute(params![tenant, key, value, version, expires_ms])?;
    Ok(Ok(version))
}

fn now_ms() -> i64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
