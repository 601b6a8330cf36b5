//! A version that is tried before any call gets it: whether it starts, and whether it finds itself well.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use voxtra_core::store::{CasOutcome, Entry};
use voxtra_core::verbs::{BatchRequest, BatchStatus};
use voxtra_core::{BoxFuture, CallError, TenantId};

use crate::host::TenantHost;
use crate::imports::Kind;
use crate::instance::{StartError, start_error};
use crate::load::Handler;
use crate::meter::Metered;
use crate::rule::{RuleOwner, escaped};
use crate::store::{InstanceData, Owner};
use crate::trap;

/// How long a component may take to start when it is only tried, by the clock.
const TRIAL_LIMIT: Duration = Duration::from_secs(5);

/// How long its health check may take, by the clock.
const INIT_LIMIT: Duration = Duration::from_secs(2);

/// How much of a health check's own words people see.
const MAX_WORDS: usize = 300;

impl Handler {
    /// Makes an instance for no call, runs its health check where it has one, and lets it go: whether the component can
    /// take calls at all. There is no call for it and nothing of its tenant's: the store and batches answer `denied`, and
    /// its log lines go to the host's log. Await it where guests may run.
    ///
    /// # Errors
    /// As [`Handler::instantiate`]; when it takes longer than 5 s to start, or its health check longer than 2 s; when the
    /// health check traps or returns an error.
    pub async fn start_once(&self) -> Result<(), StartError> {
        let runtime = &self.inner.runtime;
        let nobody = Arc::new(NoTenant(self.tenant().clone()));
        let owner = Owner::Rule(RuleOwner::of_handler(self, nobody));
        let mut store = InstanceData::new_store(runtime, self.tenant(), owner, &self.limits);
        let meter = Arc::clone(&store.data().meter);
        let starting = Metered::new(
            async {
                let instance = self.inner.pre.instantiate_async(&mut store).await?;
                self.inner.handle.load(&mut store, &instance)?;
                Ok::<_, wasmtime::Error>(instance)
            },
            Arc::clone(&meter),
        );
        let instance = match timeout(TRIAL_LIMIT, starting).await {
            Ok(Ok(instance)) => instance,
            Ok(Err(error)) => return Err(start_error(&error, &store.data().memory.refused)),
            Err(_) => return Err(StartError::Failed(format!("it takes longer than {} s", TRIAL_LIMIT.as_secs()))),
        };
        let Some(health) = &self.inner.health else { return Ok(()) };
        let checking = Metered::new(
            async {
                let guest = health.load(&mut store, &instance)?;
                guest.call_init(&mut store).await
            },
            meter,
        );
        let said = match timeout(INIT_LIMIT, checking).await {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(words))) => format!("says: {}", escaped(&words.chars().take(MAX_WORDS).collect::<String>())),
            Ok(Err(error)) => {
                format!("failed: {}", trap::classify(&error, Kind::Handler, &store.data().memory.refused).message)
            }
            Err(_) => format!("takes longer than {} s", INIT_LIMIT.as_secs()),
        };
        Err(StartError::Failed(format!("its health check {said}")))
    }
}

/// What a component sees of its tenant's while it has no call: nothing.
struct NoTenant(TenantId);

fn denied<T: Send + 'static>() -> BoxFuture<'static, Result<T, CallError>> {
    let why = "a health check has no call, so nothing of its tenant's is there; use it from `handle`".to_owned();
    Box::pin(std::future::ready(Err(CallError::Denied(why))))
}

impl TenantHost for NoTenant {
    fn tenant(&self) -> &TenantId {
        &self.0
    }

    fn store_get(&self, _: String) -> BoxFuture<'_, Result<Option<Entry>, CallError>> {
        denied()
    }

    fn store_set(&self, _: String, _: Vec<u8>, _: Option<Duration>) -> BoxFuture<'_, Result<u64, CallError>> {
        denied()
    }

    fn store_compare_and_set(
        &self,
        _: String,
        _: Option<u64>,
        _: Vec<u8>,
        _: Option<Duration>,
    ) -> BoxFuture<'_, Result<CasOutcome, CallError>> {
        denied()
    }

    fn store_delete(&self, _: String) -> BoxFuture<'_, Result<bool, CallError>> {
        denied()
    }

    fn store_keys(&self, _: String, _: usize) -> BoxFuture<'_, Result<Vec<String>, CallError>> {
        denied()
    }

    fn batch_start(&self, _: BatchRequest) -> BoxFuture<'_, Result<String, CallError>> {
        denied()
    }

    fn batch_status(&self, _: String) -> BoxFuture<'_, Result<BatchStatus, CallError>> {
        denied()
    }

    fn batch_cancel(&self, _: String) -> BoxFuture<'_, Result<(), CallError>> {
        denied()
    }
}
