//! A handler at work: one instance for one call.

use std::sync::Arc;
use std::time::Duration;

use voxtra_core::Usage;
use voxtra_core::verbs::{EndedCall, LogLevel};
use wasmtime::{PoolConcurrencyLimitError, Store};

use crate::bindings::v0_1;
use crate::host::SharedCall;
use crate::imports::Kind;
use crate::load::Handler;
use crate::meter::{CpuMeter, Metered};
use crate::rule::RuleOwner;
use crate::store::{InstanceData, Owner};
use crate::trap::{self, Trap, TrapKind};

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
    /// The component failed while it was started.
    #[error("the handler does not start: {0}")]
    Failed(String),
}

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
        let runtime = &self.inner.runtime;
        let mut store = InstanceData::new_store(&runtime.engine, Owner::Call(Arc::clone(&call)), &self.limits);
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
            Err(error) => Err(start_error(&error, store.data().memory.refused)),
        }
    }
}

/// How long a component may take to start when it is only tried, by the clock.
const TRIAL_LIMIT: Duration = Duration::from_secs(5);

impl Handler {
    /// Makes an instance for no call and lets it go: whether the component starts at all. Await it where guests may run.
    ///
    /// # Errors
    /// As [`Handler::instantiate`], and when it takes longer than 5 s.
    pub async fn start_once(&self) -> Result<(), StartError> {
        let runtime = &self.inner.runtime;
        let owner = Owner::Rule(RuleOwner::of_handler(self));
        let mut store = InstanceData::new_store(&runtime.engine, owner, &self.limits);
        let meter = Arc::clone(&store.data().meter);
        let starting = Metered::new(
            async {
                let instance = self.inner.pre.instantiate_async(&mut store).await?;
                self.inner.handle.load(&mut store, &instance).map(drop)
            },
            meter,
        );
        match tokio::time::timeout(TRIAL_LIMIT, starting).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(start_error(&error, store.data().memory.refused)),
            Err(_) => Err(StartError::Failed(format!("it takes longer than {} s", TRIAL_LIMIT.as_secs()))),
        }
    }
}

fn start_error(error: &wasmtime::Error, memory_was_refused: bool) -> StartError {
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return StartError::Busy;
    }
    StartError::Failed(trap::classify(error, Kind::Handler, memory_was_refused).message)
}

impl Instance {
    /// Runs `handle` to its end. Dropping the future stops the handler where it is.
    pub async fn handle(&mut self) -> Outcome {
        if !std::mem::take(&mut self.alive) {
            return gone();
        }
        let call = v0_1::CallHandle(Arc::clone(&self.call));
        let call = match self.store.data_mut().table.push(call) {
            Ok(call) => call,
            Err(error) => return self.stopped(&error.into()),
        };
        let run = self.bindings.call_handle(&mut self.store, call);
        match Metered::new(run, Arc::clone(&self.meter)).await {
            Ok(returned) => {
                self.alive = true;
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

    /// What it has used up so far. What is counted elsewhere (log, requests, speech) is zero here.
    pub fn usage(&self) -> Usage {
        let data = self.store.data();
        Usage {
            cpu: self.meter.used(),
            peak_memory_bytes: data.memory.used_bytes() as u64,
            host_calls: data.pace.calls(),
            ..Usage::default()
        }
    }

    fn stopped(&self, error: &wasmtime::Error) -> Outcome {
        let data = self.store.data();
        let trap = trap::classify(error, Kind::Handler, data.memory.refused);
        log_trap(&data.owner, &trap);
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
