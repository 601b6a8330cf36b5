//! What every command that takes calls puts together: runtimes, handlers, the switchboard of calls.

pub(crate) mod batches;
mod checks;
pub(crate) mod egress;
pub(crate) mod follow;
pub(crate) mod handlers;
pub(crate) mod hooks;
mod limits;
mod listener;
pub(crate) mod live;
pub(crate) mod metering;
pub(crate) mod metrics;
pub(crate) mod open_files;
pub(crate) mod operator;
pub(crate) mod pbx;
mod plan;
mod prompts;
mod registries;
pub(crate) mod services;
pub(crate) mod state_lock;
pub(crate) mod tenants;
pub(crate) mod trials;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::{Builder, Runtime as Tokio};
use voxtra_core::EventSink;
use voxtra_core::store::{FakeStore, Quota};
use voxtra_plugins::{Aside, CompileLimits, GuestRuntime, GuestThreads, Handler, Limits, Runtime, RuntimeOptions};
use voxtra_session::{Host, HostPorts, Runtimes};

use crate::config::{self, Config, Lookup};

pub(crate) use plan::{Plan, handler_of};

/// The handler of calls that no route takes.
pub(crate) const DEFAULT_HANDLER: &str = "default";

/// Control waits for the network and little else.
const CONTROL_THREADS: usize = 2;

/// The runtime of everything that is neither guest code nor audio.
pub(crate) fn control_runtime() -> anyhow::Result<Tokio> {
    let runtime =
        Builder::new_multi_thread().worker_threads(CONTROL_THREADS).thread_name("voxtra-control").enable_all().build();
    runtime.context("the control threads cannot be started; free memory")
}

/// The runtime on which guest code runs, and nothing else: one thread for each processor, behind all others.
pub(crate) fn guest_runtime() -> anyhow::Result<GuestRuntime> {
    GuestThreads::default().start().context("the handlers' threads cannot be started; free memory")
}

/// The switchboard of calls for a plan.
pub(crate) fn switchboard(plan: Plan, ports: HostPorts, runtimes: Runtimes) -> Arc<Host> {
    let catalog = Arc::new(plan.catalog);
    let host = Host::new(plan.options, catalog.clone(), plan.router, ports, runtimes);
    host.set_components(&catalog);
    host
}

/// What simulated calls have beside their handlers: a store that is forgotten with them and holds what a tenant's does
/// where nobody says otherwise, and an ear for machines.
pub(crate) fn simulated_ports(sink: Arc<dyn EventSink>) -> HostPorts {
    let mut ports = HostPorts::new(sink);
    ports.store = Some(Arc::new(FakeStore::with_quota(Quota::default())));
    ports.machine_listener = Some(Arc::new(listener::Listener));
    ports
}

/// The WebAssembly runtime of simulated calls, for which there is no configuration.
pub(crate) fn simulated_runtime(max_instances: u32) -> anyhow::Result<Arc<Runtime>> {
    let config = Config::without_file(&config::process_env)?;
    let (cache_dir, compiler) = (config.cache_dir(&config::process_env), Some(compiler(&config.root.plugins)?));
    Ok(Runtime::new(RuntimeOptions { max_instances, cache_dir, compiler, ..RuntimeOptions::default() })?)
}

/// The WebAssembly runtime that the configuration describes.
pub(crate) fn wasm_runtime(config: &Config, lookup: Lookup<'_>) -> anyhow::Result<Arc<Runtime>> {
    let (plugins, limits) = (&config.root.plugins, &config.root.limits);
    let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    let options = RuntimeOptions {
        max_instances: plugins.max_instances,
        max_component_bytes: u64::from(plugins.max_component_mib) << 20,
        cache_dir: config.cache_dir(lookup),
        compiler: Some(compiler(plugins)?),
        limits: Limits {
            memory_bytes: count(limits.memory_mib) << 20,
            table_elements: count(limits.table_elements),
            cpu: Duration::from_millis(limits.cpu_ms.into()),
            host_call_bytes: count(limits.host_call_bytes),
            handles: count(limits.handles),
            verbs_per_second: limits.verbs_per_second,
            audio_calls_per_second: limits.audio_calls_per_second,
            store_calls_per_second: limits.store_calls_per_second,
            provider_calls_per_second: limits.provider_calls_per_second,
            events_per_second: limits.events_per_second,
            log_lines_per_second: limits.log_lines_per_second,
            log_bytes: count(limits.log_bytes),
            retained_bytes: count(limits.retained_bytes),
            ..Limits::default()
        },
        ..RuntimeOptions::default()
    };
    Ok(Runtime::new(options)?)
}

/// This program again, as a child with limits.
fn compiler(plugins: &config::Plugins) -> anyhow::Result<Aside> {
    let program = std::env::current_exe().context("the host does not find its own program; start it by its path")?;
    let limits = CompileLimits {
        memory_bytes: u64::from(plugins.compile_memory_mib) << 20,
        cpu: Duration::from_millis(plugins.compile_ms.into()),
        time: Duration::from_millis(plugins.compile_ms.into()),
        ..CompileLimits::default()
    };
    Ok(Aside { program, args: Vec::new(), limits })
}

/// A handler in a line.
pub(crate) fn describe(handler: &Handler) -> String {
    let hook = if handler.has_hangup_hook() { ", with a hang-up hook" } else { "" };
    let kib = handler.size_bytes().div_ceil(1024);
    format!("{}/{} version {} ({kib} KiB{hook})", handler.tenant(), handler.name(), handler.version())
}
