//! What a tenant's components have beside calls: its store and its batches. The tenant is fixed; nothing that a guest says
//! can make it another.

use std::sync::Arc;
use std::time::Duration;

use voxtra_core::store::{CasOutcome, Entry, KeyValueStore};
use voxtra_core::verbs::{BatchRequest, BatchStatus};
use voxtra_core::{BoxFuture, CallError, Capabilities, Capability, DialNarrowing, TenantId};
use voxtra_plugins::host::TenantHost;

use crate::dial::check_own_batch;
use crate::ports::{Batches, HostPorts};
use crate::words;

const MAX_KEY_BYTES: usize = 256;
const MAX_VALUE_BYTES: usize = 65_536;
const MAX_LISTED_KEYS: usize = 1_000;

/// See the module.
pub(crate) struct SessionTenant {
    tenant: TenantId,
    store: Option<Arc<dyn KeyValueStore>>,
    batches: Option<Arc<dyn Batches>>,
}

impl SessionTenant {
    pub(crate) fn new(tenant: TenantId, ports: &HostPorts) -> Self {
        Self { tenant, store: ports.store.clone(), batches: ports.batches.clone() }
    }

    fn store(&self) -> Result<&Arc<dyn KeyValueStore>, CallError> {
        let missing = "there is no store here; `voxtra start` keeps one below its state_dir";
        self.store.as_ref().ok_or_else(|| CallError::NotConfigured(missing.to_owned()))
    }

    fn batches(&self) -> Result<&Arc<dyn Batches>, CallError> {
        let missing = "no batches are run here; `voxtra start` runs them where the operator sets dial.batches";
        self.batches.as_ref().ok_or_else(|| CallError::NotConfigured(missing.to_owned()))
    }
}

fn check_key(key: &str) -> Result<(), CallError> {
    if (1..=MAX_KEY_BYTES).contains(&key.len()) {
        return Ok(());
    }
    refuse(format!("a key has 1 to {MAX_KEY_BYTES} bytes, this one has {}; choose another", key.len()))
}

fn check_value(value: &[u8]) -> Result<(), CallError> {
    if value.len() <= MAX_VALUE_BYTES {
        return Ok(());
    }
    refuse(format!("a value has at most 65,536 bytes, this one has {}; split it", value.len()))
}

fn refuse<T>(why: String) -> Result<T, CallError> {
    Err(CallError::InvalidArgument(why))
}

impl TenantHost for SessionTenant {
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    fn store_get(&self, key: String) -> BoxFuture<'_, Result<Option<Entry>, CallError>> {
        Box::pin(async move {
            check_key(&key)?;
            self.store()?.get(&self.tenant, &key).await
        })
    }

    fn store_set(&self, key: String, value: Vec<u8>, ttl: Option<Duration>) -> BoxFuture<'_, Result<u64, CallError>> {
        Box::pin(async move {
            check_key(&key)?;
            check_value(&value)?;
            self.store()?.set(&self.tenant, &key, value, ttl).await
        })
    }

    fn store_compare_and_set(
        &self,
        key: String,
        expected: Option<u64>,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> BoxFuture<'_, Result<CasOutcome, CallError>> {
        Box::pin(async move {
            check_key(&key)?;
            check_value(&value)?;
            self.store()?.compare_and_set(&self.tenant, &key, expected, value, ttl).await
        })
    }

    fn store_delete(&self, key: String) -> BoxFuture<'_, Result<bool, CallError>> {
        Box::pin(async move {
            check_key(&key)?;
            self.store()?.delete(&self.tenant, &key).await
        })
    }

    fn store_keys(&self, prefix: String, limit: usize) -> BoxFuture<'_, Result<Vec<String>, CallError>> {
        Box::pin(async move {
            if prefix.len() > MAX_KEY_BYTES {
                return refuse(format!("no key begins with {} bytes; shorten the prefix", prefix.len()));
            }
            self.store()?.keys(&self.tenant, &prefix, limit.min(MAX_LISTED_KEYS)).await
        })
    }

    fn batch_start(&self, batch: BatchRequest) -> BoxFuture<'_, Result<String, CallError>> {
        Box::pin(async move {
            let batches = self.batches()?;
            words::name("the handler", &batch.handler)?;
            batches.start(&self.tenant, batch).await
        })
    }

    fn batch_status(&self, id: String) -> BoxFuture<'_, Result<BatchStatus, CallError>> {
        Box::pin(async move {
            let batches = self.batches()?;
            words::name("the batch's id", &id)?;
            batches.status(&self.tenant, &id).await
        })
    }

    fn batch_cancel(&self, id: String) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            let batches = self.batches()?;
            words::name("the batch's id", &id)?;
            batches.cancel(&self.tenant, &id).await
        })
    }
}

/// A tenant's own, as a handler sees it that has not got every capability.
struct Narrowed {
    tenant: Arc<dyn TenantHost>,
    capabilities: Capabilities,
    dial: Option<Arc<DialNarrowing>>,
}

/// What a handler with these capabilities, and with whom it may call narrowed so, is given of its tenant's.
pub(crate) fn narrowed(
    tenant: Arc<dyn TenantHost>,
    capabilities: Capabilities,
    dial: Option<Arc<DialNarrowing>>,
) -> Arc<dyn TenantHost> {
    let wanted = [Capability::Store, Capability::Originate, Capability::Dial];
    if dial.is_none() && wanted.into_iter().all(|capability| capabilities.has(capability)) {
        return tenant;
    }
    Arc::new(Narrowed { tenant, capabilities, dial })
}

impl Narrowed {
    fn with<'a, T: Send + 'a>(
        &'a self,
        needed: &[Capability],
        then: impl FnOnce(&'a dyn TenantHost) -> BoxFuture<'a, Result<T, CallError>>,
    ) -> BoxFuture<'a, Result<T, CallError>> {
        match needed.iter().try_for_each(|capability| self.capabilities.check(*capability)) {
            Ok(()) => then(self.tenant.as_ref()),
            Err(denied) => Box::pin(async move { Err(denied) }),
        }
    }
}

impl TenantHost for Narrowed {
    fn tenant(&self) -> &TenantId {
        self.tenant.tenant()
    }

    fn store_get(&self, key: String) -> BoxFuture<'_, Result<Option<Entry>, CallError>> {
        self.with(&[Capability::Store], |tenant| tenant.store_get(key))
    }

    fn store_set(&self, key: String, value: Vec<u8>, ttl: Option<Duration>) -> BoxFuture<'_, Result<u64, CallError>> {
        self.with(&[Capability::Store], |tenant| tenant.store_set(key, value, ttl))
    }

    fn store_compare_and_set(
        &self,
        key: String,
        expected: Option<u64>,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> BoxFuture<'_, Result<CasOutcome, CallError>> {
        self.with(&[Capability::Store], |tenant| tenant.store_compare_and_set(key, expected, value, ttl))
    }

    fn store_delete(&self, key: String) -> BoxFuture<'_, Result<bool, CallError>> {
        self.with(&[Capability::Store], |tenant| tenant.store_delete(key))
    }

    fn store_keys(&self, prefix: String, limit: usize) -> BoxFuture<'_, Result<Vec<String>, CallError>> {
        self.with(&[Capability::Store], |tenant| tenant.store_keys(prefix, limit))
    }

    fn batch_start(&self, batch: BatchRequest) -> BoxFuture<'_, Result<String, CallError>> {
        // Rows of a batch are numbers.
        let numbers = batch.rows.iter().map(|row| row.number.as_str());
        if let Some(Err(denied)) = self.dial.as_deref().map(|own| check_own_batch(own, numbers)) {
            return Box::pin(async move { Err(denied) });
        }
        self.with(&[Capability::Originate, Capability::Dial], |tenant| tenant.batch_start(batch))
    }

    fn batch_status(&self, id: String) -> BoxFuture<'_, Result<BatchStatus, CallError>> {
        self.with(&[Capability::Originate], |tenant| tenant.batch_status(id))
    }

    fn batch_cancel(&self, id: String) -> BoxFuture<'_, Result<(), CallError>> {
        self.with(&[Capability::Originate], |tenant| tenant.batch_cancel(id))
    }
}
