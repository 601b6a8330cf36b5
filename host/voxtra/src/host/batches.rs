//! Batches of calls: those that handlers and the command line begin, and those that an earlier run of the host left.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::SystemTime;

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::watch;
use voxtra_core::event::{Event, EventSink, EventType};
use voxtra_core::verbs::{BatchRequest, BatchStatus};
use voxtra_core::{BoxFuture, CallError, CallId, Dialler, TenantId, wire};
use voxtra_services::batch::{
    BatchControl, BatchError, BatchFile, BatchId, BatchOptions, BatchSummary, Batches, Clock, Phase, Progress,
    RefusedRow, RowRules, write_results,
};
use voxtra_session::{Batches as BatchPort, DialPolicy};

/// See the module.
pub(crate) struct BatchDesk {
    batches: Batches,
    rights: RwLock<Rights>,
    dialler: OnceLock<Arc<dyn Dialler>>,
    sink: Arc<dyn EventSink>,
    runtime: Handle,
    running: Mutex<HashMap<BatchId, Running>>,
}

/// What tenants may.
#[derive(Debug, Default)]
pub(crate) struct Rights {
    /// Whom they may call; without a policy they call nobody.
    pub(crate) policies: HashMap<TenantId, DialPolicy>,
    /// Those whose handlers may begin batches.
    pub(crate) handlers: Vec<TenantId>,
}

struct Running {
    control: BatchControl,
    progress: watch::Receiver<Progress>,
}

impl BatchDesk {
    pub(crate) fn new(batches: Batches, rights: Rights, sink: Arc<dyn EventSink>, runtime: Handle) -> Arc<Self> {
        let (dialler, running) = (OnceLock::new(), Mutex::default());
        Arc::new(Self { batches, rights: RwLock::new(rights), dialler, sink, runtime, running })
    }

    /// From now on tenants may begin these batches and no others; those that go on are asked anew for each call, where it
    /// is placed.
    pub(crate) fn set_rights(&self, rights: Rights) {
        *self.rights.write().unwrap_or_else(PoisonError::into_inner) = rights;
    }

    fn rights(&self) -> RwLockReadGuard<'_, Rights> {
        self.rights.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on calls can be placed: goes on with every batch that is not over. Returns how many.
    pub(crate) async fn begin(self: &Arc<Self>, dialler: Arc<dyn Dialler>) -> Result<usize, BatchError> {
        // Only the first dialler counts; there is one.
        let _ = self.dialler.set(dialler);
        let mut count = 0;
        for batch in self.batches.list().await? {
            if batch.progress.phase != Phase::Finished {
                self.run(batch.id, batch.tenant);
                count += 1;
            }
        }
        Ok(count)
    }

    /// Begins no more calls; what is up goes on. Batches go on with the next start of the host.
    pub(crate) fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.values().for_each(|running| running.control.stop());
    }

    /// A batch of a CSV file's text. Rows that are no good are told and left out.
    pub(crate) async fn start_csv(
        self: &Arc<Self>,
        tenant: &TenantId,
        name: &str,
        csv: &str,
        options: BatchOptions,
    ) -> Result<(BatchId, Vec<RefusedRow>), String> {
        let number = |number: &str| self.check_number(tenant, number);
        let file = BatchFile::parse(csv.as_bytes(), RowRules { number: &number, handler: &plain_name });
        let file = file.map_err(|error| error.to_string())?;
        let refused = file.refused.clone();
        if file.rows.is_empty() {
            let first = refused.first().map(|row| format!(" (line {}: {})", row.line, row.reason)).unwrap_or_default();
            return Err(format!("no row of the file can be called{first}; correct it"));
        }
        let id = self.batches.create(tenant.clone(), name, file, options).await.map_err(|error| error.to_string())?;
        self.run(id.clone(), tenant.clone());
        Ok((id, refused))
    }

    /// All batches, the oldest first.
    pub(crate) async fn list(&self) -> Result<Vec<Value>, BatchError> {
        Ok(self.batches.list().await?.iter().map(|batch| self.told(batch)).collect())
    }

    /// One batch.
    pub(crate) async fn show(&self, id: &str) -> Result<Value, BatchError> {
        Ok(self.told(&self.batches.summary(&BatchId::new(id)).await?))
    }

    /// Its result so far, as CSV.
    pub(crate) async fn result_csv(&self, id: &str) -> anyhow::Result<String> {
        let results = self.batches.results(&BatchId::new(id)).await?;
        let file = std::env::temp_dir().join(format!("voxtra-result-{}", uuid::Uuid::new_v4()));
        let text = tokio::task::spawn_blocking(move || {
            let text = write_results(&file, &results).and_then(|()| std::fs::read_to_string(&file));
            // It is ours and of no more use.
            let _ = std::fs::remove_file(&file);
            text
        });
        Ok(text.await??)
    }

    /// Begins no more of its calls.
    pub(crate) async fn cancel(&self, id: &str) -> Result<(), BatchError> {
        self.batches.cancel(&BatchId::new(id)).await
    }

    fn check_number(&self, tenant: &TenantId, number: &str) -> Result<(), String> {
        let missing = || format!("the tenant {tenant} may call nobody; set its dial section");
        self.rights().policies.get(tenant).ok_or_else(missing)?.allows(number).map_err(|error| error.to_string())
    }

    fn run(self: &Arc<Self>, id: BatchId, tenant: TenantId) {
        let Some(dialler) = self.dialler.get().cloned() else { return };
        let control = BatchControl::new();
        let (told, progress) = watch::channel(Progress::default());
        let running = Running { control: control.clone(), progress };
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), running);
        let this = Arc::clone(self);
        self.runtime.spawn(async move {
            let outcome = this.batches.run(&id, &*dialler, &Clock::system(), &control, &told).await;
            this.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            match outcome {
                Ok(progress) => this.emit(&id, tenant, &progress),
                Err(error) => tracing::error!(batch = %id, %error, "a batch has stopped"),
            }
        });
    }

    fn emit(&self, id: &BatchId, tenant: TenantId, progress: &Progress) {
        let data = progress_json(progress);
        let Value::Object(mut data) = data else { return };
        data.insert("batch_id".to_owned(), json!(id.as_str()));
        let event_id = uuid::Uuid::new_v4().simple().to_string();
        let session = CallId::from(format!("batch-{id}"));
        self.sink.emit(Event::new(event_id, EventType::BatchFinished, tenant, session, data));
    }

    fn told(&self, batch: &BatchSummary) -> Value {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let live = running.get(&batch.id).map(|running| running.progress.borrow().clone());
        let progress = live.filter(|live| live.total > 0).unwrap_or_else(|| batch.progress.clone());
        let mut told = progress_json(&progress);
        if let Some(told) = told.as_object_mut() {
            told.insert("id".to_owned(), json!(batch.id.as_str()));
            told.insert("tenant".to_owned(), json!(batch.tenant));
            told.insert("name".to_owned(), json!(batch.name));
            told.insert("created_at".to_owned(), json!(wire::timestamp(batch.created_at)));
            told.insert("cancelled".to_owned(), json!(batch.cancelled));
        }
        told
    }

    async fn of_tenant(&self, tenant: &TenantId, id: &str) -> Result<BatchSummary, CallError> {
        let unknown = || CallError::InvalidArgument(format!("there is no batch {id:?}; use what `start` returned"));
        match self.batches.summary(&BatchId::new(id)).await {
            Ok(batch) if batch.tenant == *tenant => Ok(batch),
            Ok(_) | Err(BatchError::Unknown(_)) => Err(unknown()),
            Err(error) => Err(CallError::NotConfigured(error.to_string())),
        }
    }
}

/// The desk as handlers reach it.
pub(crate) struct ForHandlers(pub(crate) Arc<BatchDesk>);

impl BatchPort for ForHandlers {
    fn start<'a>(&'a self, tenant: &'a TenantId, batch: BatchRequest) -> BoxFuture<'a, Result<String, CallError>> {
        Box::pin(async move {
            let desk = &self.0;
            if !desk.rights().handlers.contains(tenant) {
                let why = "handlers of this tenant may not begin batches; the operator can set dial.batches";
                return Err(CallError::Denied(why.to_owned()));
            }
            let invalid = |error: String| CallError::InvalidArgument(error);
            let options = BatchOptions::from_request(&batch).map_err(invalid)?;
            let number = |number: &str| desk.check_number(tenant, number);
            let rules = RowRules { number: &number, handler: &plain_name };
            let file = BatchFile::from_list(batch.rows, rules).map_err(|error| invalid(error.to_string()))?;
            if !file.refused.is_empty() {
                let reasons = file.refused.iter().map(|row| format!("{}: {}", row.line, row.reason));
                return Err(invalid(reasons.collect::<Vec<_>>().join("; ")));
            }
            let id = desk.batches.create(tenant.clone(), &batch.name, file, options).await;
            let id = id.map_err(|error| invalid(error.to_string()))?;
            desk.run(id.clone(), tenant.clone());
            Ok(id.as_str().to_owned())
        })
    }

    fn status<'a>(&'a self, tenant: &'a TenantId, id: &'a str) -> BoxFuture<'a, Result<BatchStatus, CallError>> {
        Box::pin(async move { Ok(BatchStatus::from(&self.0.of_tenant(tenant, id).await?.progress)) })
    }

    fn cancel<'a>(&'a self, tenant: &'a TenantId, id: &'a str) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            let batch = self.0.of_tenant(tenant, id).await?;
            self.0.batches.cancel(&batch.id).await.map_err(|error| CallError::NotConfigured(error.to_string()))
        })
    }
}

/// A handler's name as a row may give it.
fn plain_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || (name.len() <= 64 && name.chars().all(plain)) {
        return Ok(());
    }
    Err(format!("{name:?} is no handler's name; write that of a .wasm file"))
}

fn progress_json(progress: &Progress) -> Value {
    let outcomes: serde_json::Map<String, Value> =
        progress.outcomes.iter().map(|(outcome, count)| (outcome.as_str().to_owned(), json!(count))).collect();
    let phase = match progress.phase {
        Phase::Finished => "finished",
        Phase::Stopped => "stopped",
        _ => "calling",
    };
    json!({
        "phase": phase,
        "total": progress.total,
        "done": progress.done,
        "live": progress.live,
        "answered": progress.answered(),
        "attempts": progress.attempts,
        "outcomes": outcomes,
        "next_due": progress.next_due.map(due),
    })
}

fn due(at: SystemTime) -> String {
    wire::timestamp(at)
}
