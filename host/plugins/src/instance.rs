//! A handler at work: one instance for one call.

use std::sync::Arc;
use std::time::Duration;

use voxtra_core::Usage;
use voxtra_core::verbs::{EndedCall, LogLevel};
use wasmtime::component::Resource;
use wasmtime::{PoolConcurrencyLimitError, Store};

use crate::bindings::v0_1;
use crate::host::SharedCall;
use crate::imports::Kind;
use crate::load::Handler;
use crate::meter::{CpuMeter, Metered};
use crate::store::{InstanceData, Owner};
use crate::trap::{self, Refused, Trap, TrapKind};

/// How a handler's run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It returned.
    Returned,
    /// It returned an error; its own words.
    Error(String),
    /// It was stopped.
    Trapped(Trap),
}

/// No instance could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The pool has no place left.
    #[error("all of the host's handler instances are in use; raise plugins.max_instances or add a host")]
    Busy,
    /// This version has only trapped lately.
    #[error("{0}")]
    LeftAlone(String),
    /// The tenant's instances have all the memory that they may have together.
    #[error("{0}")]
    TenantFull(String),
    /// The component failed while it was started.
    #[error("the handler does not start: {0}")]
    Failed(String),
}

/// The most that a handler may hand over to its next version.
pub const MAX_STATE_BYTES: usize = 256 << 10;

/// One handler for one call, in a sandbox of its own.
pub struct Instance {
    store: Store<InstanceData>,
    call: SharedCall,
    bindings: v0_1::Handler,
    handler: Handler,
    instance: wasmtime::component::Instance,
    meter: Arc<CpuMeter>,
    alive: bool,
}

impl Handler {
    /// Makes an instance. Its start code runs, so await it where guests may run.
    pub async fn instantiate(&self, call: SharedCall) -> Result<Instance, StartError> {
        self.inner.streak.check().map_err(StartError::LeftAlone)?;
        let runtime = &self.inner.runtime;
        let mut store = InstanceData::new_store(runtime, self.tenant(), Owner::Call(Arc::clone(&call)), &self.limits);
        let meter = Arc::clone(&store.data().meter);
        let started = Metered::new(
            async {
                let instance = self.inner.pre.instantiate_async(&mut store).await?;
                let bindings = self.inner.handle.load(&mut store, &instance)?;
                Ok::<_, wasmtime::Error>((instance, bindings))
            },
            Arc::clone(&meter),
        )
        .await;
        match started {
            Ok((instance, bindings)) => {
                Ok(Instance { store, call, bindings, handler: self.clone(), instance, meter, alive: true })
            }
            Err(error) => {
                let error = start_error(&error, &store.data().memory.refused);
                if matches!(error, StartError::Failed(_)) {
                    self.inner.streak.trapped();
                }
                Err(error)
            }
        }
    }
}

pub(crate) fn start_error(error: &wasmtime::Error, refused: &Refused) -> StartError {
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return StartError::Busy;
    }
    if let Refused::OfTenant(why) = refused {
        return StartError::TenantFull(why.clone());
    }
    StartError::Failed(trap::classify(error, Kind::Handler, refused).message)
}

impl Instance {
    /// Runs `handle` to its end. Dropping the future stops the handler where it is.
    pub async fn handle(&mut self) -> Outcome {
        if !std::mem::take(&mut self.alive) {
            return gone();
        }
        let call = match self.lend_call() {
            Ok(call) => call,
            Err(error) => return self.stopped(&error),
        };
        let run = self.bindings.call_handle(&mut self.store, call);
        let run = Metered::new(run, Arc::clone(&self.meter)).await;
        self.returned(run)
    }

    /// Asks for what the next version has to know, at most [`MAX_STATE_BYTES`]; `None`: it had finished, or has no such
    /// hook. The error is how it failed.
    pub async fn save(&mut self) -> Result<Option<Vec<u8>>, Outcome> {
        let handler = self.handler.clone();
        let Some(hooks) = &handler.inner.upgrade else { return Ok(None) };
        if !std::mem::take(&mut self.alive) {
            return Err(gone());
        }
        let guest = hooks.load(&mut self.store, &self.instance).map_err(|error| self.stopped(&error))?;
        let run = guest.call_save(&mut self.store);
        let saved = Metered::new(run, Arc::clone(&self.meter)).await.map_err(|error| self.stopped(&error))?;
        self.alive = true;
        let failed = |why: String| Outcome::Error(format!("its state could not be saved: {why}"));
        match saved.map_err(failed)? {
            Some(state) if state.len() > MAX_STATE_BYTES => {
                Err(failed(format!("it has {} bytes and {MAX_STATE_BYTES} are allowed", state.len())))
            }
            state => Ok(state),
        }
    }

    /// Runs `restore` to its end, in the place of `handle`. Dropping the future stops the handler where it is.
    pub async fn restore(&mut self, state: &[u8]) -> Outcome {
        let handler = self.handler.clone();
        let Some(hooks) = &handler.inner.upgrade else {
            return Outcome::Error("it cannot take a call over: it has no interface `upgrade`".to_owned());
        };
        if !std::mem::take(&mut self.alive) {
            return gone();
        }
        let loaded = hooks.load(&mut self.store, &self.instance).and_then(|guest| Ok((guest, self.lend_call()?)));
        let (guest, call) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => return self.stopped(&error),
        };
        let run = guest.call_restore(&mut self.store, call, state);
        let run = Metered::new(run, Arc::clone(&self.meter)).await;
        self.returned(run)
    }

    /// The call, as an argument.
    fn lend_call(&mut self) -> wasmtime::Result<Resource<v0_1::CallHandle>> {
        Ok(self.store.data_mut().table.push(v0_1::CallHandle(Arc::clone(&self.call)))?)
    }

    fn returned(&mut self, run: wasmtime::Result<Result<(), String>>) -> Outcome {
        match run {
            Ok(returned) => {
                self.alive = true;
                self.handler.inner.streak.returned();
                returned.map_or_else(Outcome::Error, |()| Outcome::Returned)
            }
            Err(error) => self.stopped(&error),
        }
    }

    /// Runs the hang-up hook, where there is one.
    pub async fn on_hangup(&mut self, ended: &EndedCall) -> Outcome {
        let handler = self.handler.clone();
        let Some(hook) = &handler.inner.hangup_hook else { return Outcome::Returned };
        if !std::mem::take(&mut self.alive) {
            return gone();
        }
        let guest = match hook.load(&mut self.store, &self.instance) {
            Ok(guest) => guest,
            Err(error) => return self.stopped(&error),
        };
        let ended = v0_1::ended_call(ended);
        let run = guest.call_on_hangup(&mut self.store, &ended);
        match Metered::new(run, Arc::clone(&self.meter)).await {
            Ok(()) => {
                self.alive = true;
                Outcome::Returned
            }
            Err(error) => self.stopped(&error),
        }
    }

    /// Whether it can still be entered: not after a trap, nor after a run that was cut off.
    pub fn is_alive(&self) -> bool {
        self.alive
    }

    /// How long its code has run.
    pub fn cpu_used(&self) -> Duration {
        self.meter.used()
    }

    /// What it has used up so far. What is counted elsewhere (requests, speech) is zero here; of its log this has what was
    /// left out, which nobody else sees.
    pub fn usage(&self) -> Usage {
        let data = self.store.data();
        Usage {
            cpu: self.meter.used(),
            peak_memory_bytes: data.memory.used_bytes() as u64,
            host_calls: data.pace.calls(),
            log_bytes: data.lines.cut().bytes,
            ..Usage::default()
        }
    }

    fn stopped(&self, error: &wasmtime::Error) -> Outcome {
        let data = self.store.data();
        let trap = trap::classify(error, Kind::Handler, &data.memory.refused);
        log_trap(&data.owner, &trap);
        self.handler.inner.streak.trapped();
        Outcome::Trapped(trap)
    }
}

/// What stopped a component, and where, as lines of its own log.
pub(crate) fn log_trap(owner: &Owner, trap: &Trap) {
    owner.log(LogLevel::Error, &trap.message, &[("trap".to_owned(), trap.kind.as_str().to_owned())]);
    for (depth, frame) in trap.backtrace.iter().enumerate() {
        owner.log(LogLevel::Error, &format!("  {depth}: {frame}"), &[]);
    }
}

fn gone() -> Outcome {
    Outcome::Trapped(Trap {
        kind: TrapKind::Other,
        message: "the handler's instance is gone".into(),
        backtrace: Vec::new(),
    })
}
