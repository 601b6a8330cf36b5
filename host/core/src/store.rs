//! The store port: a tenant's key-value space, which its handlers share across calls and starts of the host.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::BoxFuture;
use crate::error::CallError;
use crate::ids::TenantId;

/// A value and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Bytes,
    /// Grows with every change, also over a deletion.
    pub version: u64,
    /// From then on it is gone; none: it stays.
    pub expires_at: Option<SystemTime>,
}

/// What a compare-and-set came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CasOutcome {
    /// It was stored, as this version.
    Stored(u64),
    /// Somebody else was faster; what is there now, if anything.
    Conflict(Option<Entry>),
}

/// Keeps tenants' values. No tenant can name another's. Keys and values were checked for their lengths; what a tenant may
/// keep altogether is checked here ([`CallError::LimitExceeded`]).
pub trait KeyValueStore: Send + Sync {
    /// One value, unless it has expired.
    fn get<'a>(&'a self, tenant: &'a TenantId, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, CallError>>;

    /// Stores one, durably, and returns its version. It is gone after `ttl`.
    fn set<'a>(
        &'a self,
        tenant: &'a TenantId,
        key: &'a str,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<u64, CallError>>;

    /// Stores one if it is still of this version; `None`: if there is nothing.
    fn compare_and_set<'a>(
        &'a self,
        tenant: &'a TenantId,
        key: &'a str,
        expected: Option<u64>,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<CasOutcome, CallError>>;

    /// Deletes one; whether there was something.
    fn delete<'a>(&'a self, tenant: &'a TenantId, key: &'a str) -> BoxFuture<'a, Result<bool, CallError>>;

    /// The keys that begin so, in order, at most `limit`.
    fn keys<'a>(
        &'a self,
        tenant: &'a TenantId,
        prefix: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<String>, CallError>>;
}

/// A store in memory, for tests and simulated calls. It forgets nothing and knows no quota; its clock is the system's.
#[derive(Debug, Default)]
pub struct FakeStore {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    last_version: u64,
    entries: BTreeMap<(TenantId, String), Entry>,
}

impl FakeStore {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn live(&self, tenant: &TenantId, key: &str) -> Option<&Entry> {
        let entry = self.entries.get(&(tenant.clone(), key.to_owned()))?;
        entry.expires_at.is_none_or(|at| at > SystemTime::now()).then_some(entry)
    }

    fn put(&mut self, tenant: &TenantId, key: &str, value: Vec<u8>, ttl: Option<Duration>) -> u64 {
        self.last_version += 1;
        let expires_at = ttl.and_then(|ttl| SystemTime::now().checked_add(ttl));
        let entry = Entry { value: Bytes::from(value), version: self.last_version, expires_at };
        self.entries.insert((tenant.clone(), key.to_owned()), entry);
        self.last_version
    }
}

impl KeyValueStore for FakeStore {
    fn get<'a>(&'a self, tenant: &'a TenantId, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, CallError>> {
        Box::pin(ready(Ok(self.inner().live(tenant, key).cloned())))
    }

    fn set<'a>(
        &'a self,
        tenant: &'a TenantId,
        key: &'a str,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<u64, CallError>> {
        Box::pin(ready(Ok(self.inner().put(tenant, key, value, ttl))))
    }

    fn compare_and_set<'a>(
        &'a self,
        tenant: &'a TenantId,
        key: &'a str,
        expected: Option<u64>,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<CasOutcome, CallError>> {
        let mut inner = self.inner();
        let current = inner.live(tenant, key).cloned();
        let outcome = if current.as_ref().map(|entry| entry.version) == expected {
            CasOutcome::Stored(inner.put(tenant, key, value, ttl))
        } else {
            CasOutcome::Conflict(current)
        };
        Box::pin(ready(Ok(outcome)))
    }

    fn delete<'a>(&'a self, tenant: &'a TenantId, key: &'a str) -> BoxFuture<'a, Result<bool, CallError>> {
        let mut inner = self.inner();
        let was = inner.live(tenant, key).is_some();
        inner.entries.remove(&(tenant.clone(), key.to_owned()));
        Box::pin(ready(Ok(was)))
    }

    fn keys<'a>(
        &'a self,
        tenant: &'a TenantId,
        prefix: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<String>, CallError>> {
        let inner = self.inner();
        let own = inner.entries.keys().filter(|(owner, key)| owner == tenant && key.starts_with(prefix));
        let live = own.filter(|(_, key)| inner.live(tenant, key).is_some()).map(|(_, key)| key.clone());
        Box::pin(ready(Ok(live.take(limit).collect())))
    }
}
