//! The engine: one for the whole host.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use voxtra_core::TenantId;
use wasmtime::component::Linker;
use wasmtime::{Config, Engine, PoolingAllocationConfig, WasmBacktraceDetails};

use crate::aside::Compilations;
use crate::bindings::v0_1;
use crate::cache::Cache;
use crate::meter::EPOCH_MS;
use crate::options::RuntimeOptions;
use crate::scratch;
use crate::store::InstanceData;
use crate::tenant::{TenantShare, TenantUse, Tenants};

/// Core instances of one component: Rust and C need 3 to 6, JavaScript 10, Python 38. The pool only counts them: room for
/// as many in every call costs nothing.
const CORE_INSTANCES_PER_COMPONENT: u32 = 200;

/// Tables of one component.
const TABLES_PER_COMPONENT: u32 = 50;

/// Memories of one component: its own, and those of adapters.
const MEMORIES_PER_COMPONENT: u32 = 8;

/// How many tables and memories the pool holds for each instance that may be alive, on average.
const TABLES_PER_CALL: u32 = 4;
const MEMORIES_PER_CALL: u32 = 2;

/// The native stack of a guest: what it may use, and what its host functions need on top.
const WASM_STACK_BYTES: usize = 512 << 10;
const FIBER_STACK_BYTES: usize = 1 << 20;

/// Kept in place when an instance goes, so that the next one does not fault its pages in again; zeroed all the same.
const RESIDENT_MEMORY_BYTES: usize = 128 << 10;
const RESIDENT_TABLE_BYTES: usize = 8 << 10;
const RESIDENT_STACK_BYTES: usize = 16 << 10;

/// The runtime cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine refused its configuration, or the address space is too small for its pool.
    #[error("the WebAssembly engine does not start ({0}); lower plugins.max_instances or free memory")]
    Engine(String),
    /// No thread for the epochs.
    #[error("no thread could be started for the handlers' clock ({0})")]
    Thread(std::io::Error),
}

/// The engine, its linker and its cache. Shared by everybody who loads or runs handlers.
pub struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<InstanceData>,
    pub(crate) cache: Option<Cache>,
    pub(crate) options: RuntimeOptions,
    pub(crate) tenants: Tenants,
    pub(crate) compilations: Compilations,
    stopped: Arc<AtomicBool>,
}

impl Runtime {
    /// Starts the engine and the thread that moves its epochs on.
    pub fn new(options: RuntimeOptions) -> Result<Arc<Self>, RuntimeError> {
        let engine = Engine::new(&config(&options)).map_err(engine_error)?;
        let mut linker = Linker::new(&engine);
        v0_1::add_to_linker(&mut linker).map_err(engine_error)?;
        let cache = open_cache(&options, &engine);
        if options.compiler.is_some() {
            scratch::clear_stale(&std::env::temp_dir());
        }
        let stopped = Arc::new(AtomicBool::new(false));
        start_epochs(&engine, &stopped).map_err(RuntimeError::Thread)?;
        let tenants = Tenants::new(options.turns);
        Ok(Arc::new(Self { engine, linker, cache, options, tenants, compilations: Compilations::default(), stopped }))
    }

    /// The engine's name and version, for people.
    pub fn engine_version() -> &'static str {
        concat!("wasmtime ", env!("VOXTRA_WASMTIME_VERSION"))
    }

    /// The contract's versions that handlers may be built for, as `package@major.minor`.
    pub fn contract_versions() -> Vec<String> {
        crate::imports::CONTRACT_VERSIONS.iter().map(|v| format!("voxtra:call@{v}")).collect()
    }

    /// What is alive in the pool now. Does not wait.
    pub fn usage(&self) -> PoolUsage {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        self.engine.pooling_allocator_metrics().map_or_else(PoolUsage::default, |pool| PoolUsage {
            instances: pool.component_instances(),
            memories: count(pool.memories()),
            tables: count(pool.tables()),
            stacks: count(pool.stacks()),
        })
    }

    /// From now on each tenant's instances may use up so much together, and those of tenants that are not named as much as
    /// `others`, each for itself. It counts at once, also for instances that are at work.
    pub fn set_tenant_limits(&self, others: TenantShare, tenants: impl IntoIterator<Item = (TenantId, TenantShare)>) {
        self.tenants.set(others, tenants);
    }

    /// What a tenant's instances have used up; nothing, when there was none for long.
    pub fn tenant_use(&self, tenant: &TenantId) -> TenantUse {
        self.tenants.used(tenant)
    }

    /// Ends the compilations that are under way, for a host that stops: their components do not load. Blocks for
    /// milliseconds, a second at the most.
    pub fn stop_compiling(&self) {
        self.compilations.stop();
    }

    /// How it was set up.
    pub fn options(&self) -> &RuntimeOptions {
        &self.options
    }
}

/// What the pool of instances has given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolUsage {
    /// Instances of components: one for each call whose handler runs, and those of rules.
    pub instances: u64,
    /// Their memories.
    pub memories: u64,
    /// Their tables.
    pub tables: u64,
    /// Stacks of guests that are in the middle of a call.
    pub stacks: u64,
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

fn engine_error(error: wasmtime::Error) -> RuntimeError {
    RuntimeError::Engine(format!("{error:#}"))
}

/// What compiled code depends on, and more.
pub(crate) fn config(options: &RuntimeOptions) -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .allocation_strategy(pool(options))
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .async_stack_zeroing(true)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config
}

fn pool(options: &RuntimeOptions) -> PoolingAllocationConfig {
    let instances = options.max_instances.max(1);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_stacks(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES_PER_COMPONENT))
        .total_tables(instances.saturating_mul(TABLES_PER_CALL).max(TABLES_PER_COMPONENT))
        .total_memories(instances.saturating_mul(MEMORIES_PER_CALL).max(MEMORIES_PER_COMPONENT))
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_tables_per_component(TABLES_PER_COMPONENT)
        .max_memories_per_component(MEMORIES_PER_COMPONENT)
        .max_memory_size(options.limits.memory_bytes)
        .table_elements(options.limits.table_elements)
        .linear_memory_keep_resident(RESIDENT_MEMORY_BYTES)
        .table_keep_resident(RESIDENT_TABLE_BYTES)
        .async_stack_keep_resident(RESIDENT_STACK_BYTES);
    pool
}

fn open_cache(options: &RuntimeOptions, engine: &Engine) -> Option<Cache> {
    let dir = options.cache_dir.as_deref()?;
    match Cache::open(dir, engine) {
        Ok(cache) => Some(cache),
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "the cache of compiled handlers cannot be used; every start compiles them anew");
            None
        }
    }
}

/// An OS thread, not a task: guests that spin can keep every worker of a runtime busy, its timer included.
fn start_epochs(engine: &Engine, stopped: &Arc<AtomicBool>) -> std::io::Result<()> {
    let engine = engine.weak();
    let stopped = Arc::clone(stopped);
    std::thread::Builder::new().name("voxtra-epoch".into()).spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(EPOCH_MS));
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
        }
    })?;
    Ok(())
}
