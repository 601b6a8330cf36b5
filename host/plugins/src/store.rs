//! What each instance carries: its call, its WASI context without anything in it, and its limits.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{HasData, ResourceTable};
use wasmtime::{Engine, ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::clocks::HostMonotonicClock;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::host::SharedCall;
use crate::meter::{CpuMeter, Verdict};
use crate::options::Limits;
use crate::output::GuestOutput;
use crate::trap::CpuSpent;

/// The data of one instance's store.
pub(crate) struct CallStore {
    pub(crate) call: SharedCall,
    pub(crate) table: ResourceTable,
    pub(crate) meter: Arc<CpuMeter>,
    pub(crate) memory: MemoryLimiter,
    wasi: WasiCtx,
}

impl CallStore {
    pub(crate) fn new_store(engine: &Engine, call: SharedCall, limits: &Limits) -> Store<Self> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        let data = Self {
            wasi: wasi_context(&call),
            call,
            table,
            meter: CpuMeter::new(limits.cpu),
            memory: MemoryLimiter::new(limits),
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
}

impl WasiView for CallStore {
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
fn wasi_context(call: &SharedCall) -> WasiCtx {
    WasiCtx::builder()
        .stdout(GuestOutput::stdout(Arc::clone(call)))
        .stderr(GuestOutput::stderr(Arc::clone(call)))
        .monotonic_clock(RuntimeClock::new())
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
        Duration::from_micros(1).as_nanos() as u64
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Adds up all of an instance's memories and tables: the engine's own limiter counts each by itself.
#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    bytes_left: usize,
    elements_left: usize,
    /// Whether it asked for more than it may have, so that its abort can be explained.
    pub(crate) refused: bool,
}

impl MemoryLimiter {
    fn new(limits: &Limits) -> Self {
        Self { bytes_left: limits.memory_bytes, elements_left: limits.table_elements, refused: false }
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
