//! What each instance carries: whom it works for, its WASI context without anything in it, and its limits.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use voxtra_core::verbs::LogLevel;
use wasmtime::component::{HasData, ResourceTable};
use wasmtime::{Engine, ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::clocks::{HostMonotonicClock, HostWallClock};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::host::{SharedCall, TenantHost};
use crate::meter::{CpuMeter, Verdict};
use crate::options::Limits;
use crate::output::GuestOutput;
use crate::pace::Pace;
use crate::rule::RuleOwner;
use crate::trap::CpuSpent;

/// How finely a component may tell the time: too coarsely to see what others do in the machine's caches, finely enough for a
/// telephone call.
const CLOCK_STEP_NS: u64 = 1_000_000;

/// What a component may have drawn at random in one call, in the host's memory and without being interrupted.
const MAX_RANDOM_BYTES: u64 = 64 << 10;

/// Whom an instance works for: where its log lines go, and whose store it sees.
#[derive(Clone)]
pub(crate) enum Owner {
    Call(SharedCall),
    Rule(RuleOwner),
}

impl Owner {
    pub(crate) fn log(&self, level: LogLevel, message: &str, fields: &[(String, String)]) {
        match self {
            Self::Call(call) => call.log(level, message, fields),
            Self::Rule(rule) => rule.log(level, message, fields),
        }
    }
}

/// The data of one instance's store.
pub(crate) struct InstanceData {
    pub(crate) owner: Owner,
    pub(crate) table: ResourceTable,
    pub(crate) meter: Arc<CpuMeter>,
    pub(crate) memory: MemoryLimiter,
    pub(crate) pace: Pace,
    wasi: WasiCtx,
}

impl InstanceData {
    pub(crate) fn new_store(engine: &Engine, owner: Owner, limits: &Limits) -> Store<Self> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        let data = Self {
            wasi: wasi_context(&owner),
            owner,
            table,
            meter: CpuMeter::new(limits.cpu),
            memory: MemoryLimiter::new(limits),
            pace: Pace::new(limits.verbs_per_second),
        };
        let mut store = Store::new(engine, data);
        store.limiter(|data| &mut data.memory);
        store.set_hostcall_fuel(limits.host_call_bytes);
        store.set_max_component_handles(limits.handles);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context| match context.data().meter.verdict() {
            Verdict::GoOn => Ok(UpdateDeadline::Continue(1)),
            // tokio's own yield: timers and sockets of the same thread come first, then the other guests.
            Verdict::Yield => Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))),
            Verdict::Stop => Err(CpuSpent.into()),
        });
        store
    }

    /// The call. Rules have none, and no import that would ask for one.
    pub(crate) fn own_call(&self) -> wasmtime::Result<&SharedCall> {
        match &self.owner {
            Owner::Call(call) => Ok(call),
            Owner::Rule(_) => Err(wasmtime::Error::msg("this component has no call")),
        }
    }

    /// What the tenant has beside its calls. A filter has no tenant, and no import that would ask for one.
    pub(crate) fn tenant(&self) -> wasmtime::Result<&dyn TenantHost> {
        let tenant = match &self.owner {
            Owner::Call(call) => Some(call.tenant()),
            Owner::Rule(rule) => rule.tenant.as_ref(),
        };
        tenant.map(Arc::as_ref).ok_or_else(|| wasmtime::Error::msg("this component has no store"))
    }
}

impl WasiView for InstanceData {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Gives the table to bindings that need nothing else.
pub(crate) struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// No environment, no arguments, no files, no network; what it prints goes to its log; its clock is the runtime's, so
/// that a simulated call on virtual time sees virtual time.
fn wasi_context(owner: &Owner) -> WasiCtx {
    WasiCtx::builder()
        .stdout(GuestOutput::stdout(owner.clone()))
        .stderr(GuestOutput::stderr(owner.clone()))
        .monotonic_clock(RuntimeClock::new())
        .wall_clock(CoarseWallClock)
        .max_random_size(MAX_RANDOM_BYTES)
        .build()
}

struct RuntimeClock {
    origin: tokio::time::Instant,
}

impl RuntimeClock {
    fn new() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }
}

impl HostMonotonicClock for RuntimeClock {
    fn resolution(&self) -> u64 {
        CLOCK_STEP_NS
    }

    fn now(&self) -> u64 {
        let exact_ns = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        exact_ns - exact_ns % CLOCK_STEP_NS
    }
}

struct CoarseWallClock;

impl HostWallClock for CoarseWallClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(CLOCK_STEP_NS)
    }

    fn now(&self) -> Duration {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Adds up all of an instance's memories and tables: the engine's own limiter counts each by itself.
#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    bytes: usize,
    bytes_left: usize,
    elements_left: usize,
    /// Whether it asked for more than it may have, so that its abort can be explained.
    pub(crate) refused: bool,
}

impl MemoryLimiter {
    fn new(limits: &Limits) -> Self {
        Self {
            bytes: limits.memory_bytes,
            bytes_left: limits.memory_bytes,
            elements_left: limits.table_elements,
            refused: false,
        }
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.take(desired.saturating_sub(current), |s| &mut s.bytes_left))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.take(desired.saturating_sub(current), |s| &mut s.elements_left))
    }
}

impl MemoryLimiter {
    /// What its memories hold together. They never shrink, so it is the peak as well.
    pub(crate) fn used_bytes(&self) -> usize {
        self.bytes - self.bytes_left
    }

    fn take(&mut self, wanted: usize, left: fn(&mut Self) -> &mut usize) -> bool {
        let left = left(self);
        match left.checked_sub(wanted) {
            Some(rest) => {
                *left = rest;
                true
            }
            None => {
                self.refused = true;
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_are_added_up() {
        let mut limiter = MemoryLimiter::new(&Limits { memory_bytes: 100, ..Limits::default() });
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(!limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.refused);
        assert!(limiter.memory_growing(60, 100, None).unwrap());
    }
}
