//! The interface `store`. Whose keys they are is in the instance, never in an argument.

use std::time::{Duration, SystemTime};

use voxtra_core::store::{CasOutcome, Entry as CoreEntry};
use wasmtime::Result;

use super::generated::voxtra::call::store::{Entry, Host, Swap};
use super::generated::voxtra::call::types::Error;
use crate::pace::Class;
use crate::store::InstanceData;

impl Host for InstanceData {
    async fn get(&mut self, key: String) -> Result<Result<Option<Entry>, Error>> {
        self.pace.turn_of(Class::Store).await;
        let found = self.tenant()?.store_get(key).await;
        Ok(found.map(|found| found.map(Entry::from)).map_err(Error::from))
    }

    async fn set(&mut self, key: String, value: Vec<u8>, ttl_ms: u64) -> Result<Result<u64, Error>> {
        self.pace.turn_of(Class::Store).await;
        if let Err(full) = self.retained.room(key.len().saturating_add(value.len())) {
            return Ok(Err(full.into()));
        }
        Ok(self.tenant()?.store_set(key, value, ttl(ttl_ms)).await.map_err(Error::from))
    }

    async fn compare_and_set(
        &mut self,
        key: String,
        expected: Option<u64>,
        value: Vec<u8>,
        ttl_ms: u64,
    ) -> Result<Result<Swap, Error>> {
        self.pace.turn_of(Class::Store).await;
        if let Err(full) = self.retained.room(key.len().saturating_add(value.len())) {
            return Ok(Err(full.into()));
        }
        let outcome = self.tenant()?.store_compare_and_set(key, expected, value, ttl(ttl_ms)).await;
        Ok(outcome.map(Swap::from).map_err(Error::from))
    }

    async fn delete(&mut self, key: String) -> Result<Result<bool, Error>> {
        self.pace.turn_of(Class::Store).await;
        Ok(self.tenant()?.store_delete(key).await.map_err(Error::from))
    }

    async fn keys(&mut self, prefix: String, limit: u32) -> Result<Result<Vec<String>, Error>> {
        self.pace.turn_of(Class::Store).await;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(self.tenant()?.store_keys(prefix, limit).await.map_err(Error::from))
    }
}

/// A hundred years: a time that can be added to any clock's, and nobody waits for its end.
const MAX_TTL_MS: u64 = 100 * 365 * 24 * 3_600 * 1_000;

fn ttl(ttl_ms: u64) -> Option<Duration> {
    (ttl_ms > 0).then(|| Duration::from_millis(ttl_ms.min(MAX_TTL_MS)))
}

impl From<CoreEntry> for Entry {
    fn from(entry: CoreEntry) -> Self {
        let left = |at: SystemTime| at.duration_since(SystemTime::now()).unwrap_or_default();
        Self {
            value: entry.value.into(),
            version: entry.version,
            expires_in_ms: entry.expires_at.map(|at| u64::try_from(left(at).as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

impl From<CasOutcome> for Swap {
    fn from(outcome: CasOutcome) -> Self {
        match outcome {
            CasOutcome::Stored(version) => Self::Stored(version),
            CasOutcome::Conflict(found) => Self::Conflict(found.map(Entry::from)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_too_long_for_a_clock() {
        assert_eq!(ttl(0), None);
        assert_eq!(ttl(1), Some(Duration::from_millis(1)));
        assert!(SystemTime::now().checked_add(ttl(u64::MAX).unwrap()).is_some());
    }
}
