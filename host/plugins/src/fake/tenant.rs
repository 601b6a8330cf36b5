//! A tenant whose store is in memory and whose batches are called by nobody.

use std::time::Duration;

use voxtra_core::store::{CasOutcome, Entry, FakeStore, KeyValueStore};
use voxtra_core::verbs::{BatchRequest, BatchStatus};
use voxtra_core::{BoxFuture, CallError, TenantId};

use super::Journal;
use crate::host::TenantHost;

/// See the module.
pub struct FakeTenant {
    id: TenantId,
    journal: Journal,
    store: FakeStore,
}

impl FakeTenant {
    /// The tenant `default`, with nothing in its store.
    pub fn new(journal: Journal) -> Self {
        Self { id: TenantId::default(), journal, store: FakeStore::new() }
    }

    fn asked<T: Send + 'static>(&self, line: String, value: T) -> BoxFuture<'_, Result<T, CallError>> {
        self.journal.write(line);
        Box::pin(std::future::ready(Ok(value)))
    }
}

impl TenantHost for FakeTenant {
    fn tenant(&self) -> &TenantId {
        &self.id
    }

    fn store_get(&self, key: String) -> BoxFuture<'_, Result<Option<Entry>, CallError>> {
        Box::pin(async move { self.store.get(&self.id, &key).await })
    }

    fn store_set(&self, key: String, value: Vec<u8>, ttl: Option<Duration>) -> BoxFuture<'_, Result<u64, CallError>> {
        Box::pin(async move { self.store.set(&self.id, &key, value, ttl).await })
    }

    fn store_compare_and_set(
        &self,
        key: String,
        expected: Option<u64>,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> BoxFuture<'_, Result<CasOutcome, CallError>> {
        Box::pin(async move { self.store.compare_and_set(&self.id, &key, expected, value, ttl).await })
    }

    fn store_delete(&self, key: String) -> BoxFuture<'_, Result<bool, CallError>> {
        Box::pin(async move { self.store.delete(&self.id, &key).await })
    }

    fn store_keys(&self, prefix: String, limit: usize) -> BoxFuture<'_, Result<Vec<String>, CallError>> {
        Box::pin(async move { self.store.keys(&self.id, &prefix, limit).await })
    }

    fn batch_start(&self, batch: BatchRequest) -> BoxFuture<'_, Result<String, CallError>> {
        self.asked(format!("batch-start {batch:?}"), "batch-1".to_owned())
    }

    fn batch_status(&self, id: String) -> BoxFuture<'_, Result<BatchStatus, CallError>> {
        self.asked(format!("batch-status {id:?}"), BatchStatus { total: 2, live: 1, ..BatchStatus::default() })
    }

    fn batch_cancel(&self, id: String) -> BoxFuture<'_, Result<(), CallError>> {
        self.asked(format!("batch-cancel {id:?}"), ())
    }
}
