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

/// What a tenant may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Keys. Default 10,000.
    pub max_keys: u64,
    /// Bytes of keys and values together. Default 16 MiB.
    pub max_bytes: u64,
}

impl Quota {
    /// No end.
    pub const NONE: Self = Self { max_keys: u64::MAX, max_bytes: u64::MAX };

    /// Whether `keys` keys with `bytes` bytes in all are within it.
    ///
    /// # Errors
    /// [`CallError::LimitExceeded`] with the figure that they are beyond.
    pub fn allows(&self, keys: u64, bytes: u64) -> Result<(), CallError> {
        let over = |limit: String| {
            Err(CallError::LimitExceeded(format!("the tenant's store may hold {limit}; delete something first")))
        };
        if keys > self.max_keys {
            return over(format!("{} keys", self.max_keys));
        }
        if bytes > self.max_bytes {
            return over(format!("{} KiB", self.max_bytes >> 10));
        }
        Ok(())
    }
}

impl Default for Quota {
    fn default() -> Self {
        Self { max_keys: 10_000, max_bytes: 16 << 20 }
    }
}

/// A store in memory, for tests and simulated calls. It forgets nothing; its clock is the system's.
#[derive(Debug)]
pub struct FakeStore {
    quota: Quota,
    inner: Mutex<Inner>,
}

impl Default for FakeStore {
    fn default() -> Self {
        Self::with_quota(Quota::NONE)
    }
}

#[derive(Debug, Default)]
struct Inner {
    last_version: u64,
    entries: BTreeMap<(TenantId, String), Entry>,
}

impl FakeStore {
    /// An empty one in which every tenant may keep what it likes.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one in which each tenant may keep this; what has expired does not count.
    pub fn with_quota(quota: Quota) -> Self {
        Self { quota, inner: Mutex::default() }
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

    /// Stores a value and returns its version, where the quota has room for it.
    fn put(
        &mut self,
        quota: &Quota,
        tenant: &TenantId,
        key: &str,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Result<u64, CallError> {
        if *quota != Quota::NONE {
            let now = SystemTime::now();
            self.entries.retain(|_, entry| entry.expires_at.is_none_or(|at| at > now));
            let size = |key: &str, value: &[u8]| (key.len() + value.len()) as u64;
            let others = self.entries.iter().filter(|((owner, other), _)| owner == tenant && other != key);
            let (keys, bytes) = others.fold((0_u64, 0_u64), |(keys, bytes), ((_, key), entry)| {
                (keys + 1, bytes.saturating_add(size(key, &entry.value)))
            });
            quota.allows(keys + 1, bytes.saturating_add(size(key, &value)))?;
        }
        self.last_version += 1;
        let expires_at = ttl.and_then(|ttl| SystemTime::now().checked_add(ttl));
        let entry = Entry { value: Bytes::from(value), version: self.last_version, expires_at };
        self.entries.insert((tenant.clone(), key.to_owned()), entry);
        Ok(self.last_version)
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
        Box::pin(ready(self.inner().put(&self.quota, tenant, key, value, ttl)))
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
            inner.put(&self.quota, tenant, key, value, ttl).map(CasOutcome::Stored)
        } else {
            Ok(CasOutcome::Conflict(current))
        };
        Box::pin(ready(outcome))
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// What is ready at once, as everything of this store is.
    fn now<T>(future: BoxFuture<'_, T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => unreachable!(),
        }
    }

    #[test]
    fn a_store_with_a_quota_counts_keys_and_bytes_of_each_tenant_by_itself() {
        let store = FakeStore::with_quota(Quota { max_keys: 2, max_bytes: 2_048 });
        let (acme, beta) = (TenantId::new("acme"), TenantId::new("beta"));
        let set = |tenant, key, bytes| now(store.set(tenant, key, vec![0; bytes], None));
        set(&acme, "a", 1_000).unwrap();
        set(&acme, "b", 1_000).unwrap();
        let keys = "the tenant's store may hold 2 keys; delete something first";
        assert_eq!(set(&acme, "c", 1), Err(CallError::LimitExceeded(keys.to_owned())));
        let bytes = "the tenant's store may hold 2 KiB; delete something first";
        assert_eq!(set(&acme, "a", 1_100), Err(CallError::LimitExceeded(bytes.to_owned())));
        // A value that replaces another takes its place.
        set(&acme, "a", 1_040).unwrap();
        set(&beta, "a", 2_000).unwrap();
        let cas = now(store.compare_and_set(&acme, "c", None, vec![], None));
        assert_eq!(cas, Err(CallError::LimitExceeded(keys.to_owned())));
        now(store.delete(&acme, "b")).unwrap();
        assert!(matches!(now(store.compare_and_set(&acme, "c", None, vec![], None)), Ok(CasOutcome::Stored(_))));
    }
}
