//! What each instance carries: whom it works for, its WASI context without anything in it, and its limits.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use voxtra_core::TenantId;
use voxtra_core::verbs::LogLevel;
use wasmtime::component::{HasData, ResourceTable};
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::clocks::{HostMonotonicClock, HostWallClock};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::host::{SharedCall, TenantHost};
use crate::lines::Lines;
use crate::meter::{CpuMeter, Verdict};
use crate::options::Limits;
use crate::outgoing::Outgoing;
use crate::output::GuestOutput;
use crate::pace::Pace;
use crate::retained::Retained;
use crate::rule::RuleOwner;
use crate::runtime::Runtime;
use crate::tenant::TenantQuota;
use crate::trap::{CpuSpent, Refused};

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
    fn call(&self) -> Option<SharedCall> {
        match self {
            Self::Call(call) => Some(Arc::clone(call)),
            Self::Rule(_) => None,
        }
    }

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
    pub(crate) retained: Retained,
    /// Where what the component logs goes; what the host says about it goes to the owner.
    pub(crate) lines: Arc<Lines>,
    pub(crate) outgoing: Outgoing,
    wasi: WasiCtx,
}

impl InstanceData {
    pub(crate) fn new_store(runtime: &Runtime, tenant: &TenantId, owner: Owner, limits: &Limits) -> Store<Self> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        let tenant = runtime.tenants.of(tenant);
        let lines = Arc::new(Lines::new(owner.clone(), limits));
        let pace = Pace::new(limits);
        let data = Self {
            wasi: wasi_context(&lines),
            outgoing: Outgoing::new(owner.call(), limits.host_call_bytes, pace.provider()),
            owner,
            table,
            meter: CpuMeter::new(limits.cpu, Arc::clone(&tenant)),
            memory: MemoryLimiter::new(limits, tenant),
            pace,
            retained: Retained::new(limits.retained_bytes),
            lines,
        };
        let mut store = Store::new(&runtime.engine, data);
        store.limiter(|data| &mut data.memory);
        store.set_hostcall_fuel(limits.host_call_bytes);
        store.set_max_component_handles(limits.handles);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context| match context.data().meter.verdict() {
            Verdict::GoOn => Ok(UpdateDeadline::Continue(1)),
            Verdict::Rest => Ok(UpdateDeadline::YieldCustom(1, Box::pin(Arc::clone(&context.data().meter).rest()))),
            Verdict::Stop => Err(CpuSpent.into()),
        });
        store
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
fn wasi_context(lines: &Arc<Lines>) -> WasiCtx {
    WasiCtx::builder()
        .stdout(GuestOutput::stdout(Arc::clone(lines)))
        .stderr(GuestOutput::stderr(Arc::clone(lines)))
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

/// Adds up all of an instance's memories and tables: the engine's own limiter counts each by itself. Its tenant's instances
/// have a sum too.
#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    bytes: usize,
    bytes_left: usize,
    elements_left: usize,
    tenant: Arc<TenantQuota>,
    /// Whether it asked for more than it may have, so that its abort can be explained.
    pub(crate) refused: Refused,
}

impl MemoryLimiter {
    fn new(limits: &Limits, tenant: Arc<TenantQuota>) -> Self {
        Self {
            bytes: limits.memory_bytes,
            bytes_left: limits.memory_bytes,
            elements_left: limits.table_elements,
            tenant,
            refused: Refused::Nothing,
        }
    }
}

impl Drop for MemoryLimiter {
    fn drop(&mut self) {
        self.tenant.give_memory(self.used_bytes() as u64);
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = desired.saturating_sub(current);
        let Some(left) = self.bytes_left.checked_sub(wanted) else {
            self.refused = Refused::OfInstance;
            return Ok(false);
        };
        if !self.tenant.take_memory(wanted as u64) {
            self.refused = Refused::OfTenant(self.tenant.memory_is_full());
            return Ok(false);
        }
        self.bytes_left = left;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let Some(left) = self.elements_left.checked_sub(desired.saturating_sub(current)) else {
            self.refused = Refused::OfInstance;
            return Ok(false);
        };
        self.elements_left = left;
        Ok(true)
    }
}

impl MemoryLimiter {
    /// What its memories hold together. They never shrink, so it is the peak as well.
    pub(crate) fn used_bytes(&self) -> usize {
        self.bytes - self.bytes_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::{TenantShare, Tenants};

    #[test]
    fn memories_are_added_up() {
        let tenant = Tenants::new(1).of(&TenantId::default());
        let mut limiter = MemoryLimiter::new(&Limits { memory_bytes: 100, ..Limits::default() }, tenant);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(!limiter.memory_growing(0, 60, None).unwrap());
        assert_eq!(limiter.refused, Refused::OfInstance);
        assert!(limiter.memory_growing(60, 100, None).unwrap());
    }

    #[test]
    fn instances_of_one_tenant_are_added_up_and_give_back_what_they_had() {
        let (tenants, acme) = (Tenants::new(1), TenantId::from("acme"));
        let share = TenantShare { memory_bytes: Some(100), ..TenantShare::default() };
        tenants.set(TenantShare::default(), [(acme.clone(), share)]);
        let new = || MemoryLimiter::new(&Limits::default(), tenants.of(&acme));
        let (mut first, mut second) = (new(), new());
        assert!(first.memory_growing(0, 60, None).unwrap());
        assert!(!second.memory_growing(0, 60, None).unwrap());
        assert!(matches!(&second.refused, Refused::OfTenant(why) if why.contains("total_memory_mib")));
        drop(first);
        assert!(second.memory_growing(0, 60, None).unwrap());
        drop(second);
        assert_eq!(tenants.used(&acme).memory_bytes, 0);
    }
}
