//! What the sandbox costs: an instance for a call, and one host call, each against bare wasmtime with the same engine
//! settings that matter for it (pooling, no concurrency support).

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use voxtra_core::{HandlerName, TenantId};
use voxtra_plugins::fake::FakeCall;
use voxtra_plugins::{Handler, Limits, Outcome, Runtime, RuntimeOptions, TenantShare};
use wasmtime::component::{Component, ComponentType, Linker, Lower, Resource, ResourceType};
use wasmtime::{Config, Engine, PoolingAllocationConfig, Store};

use crate::stats::percentile;

const INSTANCES: usize = 20_000;
const WARM_UP: usize = 1_000;
const HOST_CALLS: u32 = 100_000;
const ROUNDS: usize = 20;

/// In nanoseconds, p50, but for the last two.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sandbox {
    pub(crate) instance_ns: u64,
    pub(crate) bare_instance_ns: u64,
    pub(crate) host_call_ns: u64,
    pub(crate) bare_host_call_ns: u64,
    /// Instances made and dropped in a second by one thread, with all limits on: calls that a core could begin and end if
    /// they did nothing.
    pub(crate) instances_per_second: u64,
    pub(crate) bare_instances_per_second: u64,
}

/// So many times as much as bare wasmtime's may an instance cost.
const MOST: u64 = 3;

impl Sandbox {
    /// What is not as claimed.
    pub(crate) fn fault(&self) -> Option<String> {
        let (ours, bare) = (self.instance_ns, self.bare_instance_ns);
        (ours > MOST * bare)
            .then(|| format!("an instance takes {ours} ns, over {MOST} times the {bare} ns of bare wasmtime"))
    }
}

/// Measures both on a runtime like the one that guests run on.
pub(crate) fn measure(echo: &Path) -> Result<Sandbox> {
    let wasm = crate::read_guest(echo)?;
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio.block_on(async {
        let caller = caller()?;
        // Alternating halves: what else the machine does falls on both alike.
        let (mut ours, mut bare, mut calls, mut bare_calls) = (vec![], vec![], vec![], vec![]);
        let (mut took, mut bare_took) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..2 {
            let (times, all) = instances(&wasm).await?;
            ours.extend(times);
            took += all;
            let (times, all) = bare_instances(&wasm).await.map_err(engine_error)?;
            bare.extend(times);
            bare_took += all;
            calls.extend(host_calls(&caller).await?);
            bare_calls.extend(bare_host_calls(&caller).await.map_err(engine_error)?);
        }
        Ok(Sandbox {
            instance_ns: percentile(&mut ours, 0.5),
            bare_instance_ns: percentile(&mut bare, 0.5),
            host_call_ns: percentile(&mut calls, 0.5),
            bare_host_call_ns: percentile(&mut bare_calls, 0.5),
            instances_per_second: per_second(took),
            bare_instances_per_second: per_second(bare_took),
        })
    })
}

/// Of both halves.
fn per_second(took: Duration) -> u64 {
    (2.0 * INSTANCES as f64 / took.as_secs_f64()) as u64
}

/// How long each took to make, and all of them to make and to drop.
async fn instances(wasm: &[u8]) -> Result<(Vec<u64>, Duration)> {
    let handler = load(wasm, Limits::default())?;
    let call = Arc::new(FakeCall::new());
    let mut times = Vec::with_capacity(INSTANCES);
    let mut all = Instant::now();
    for n in 0..WARM_UP + INSTANCES {
        if n == WARM_UP {
            all = Instant::now();
        }
        let call: Arc<FakeCall> = Arc::clone(&call);
        let began = Instant::now();
        let instance = handler.instantiate(call).await?;
        times.push(began.elapsed().as_nanos() as u64);
        drop(instance);
    }
    Ok((times.split_off(WARM_UP), all.elapsed()))
}

async fn bare_instances(wasm: &[u8]) -> wasmtime::Result<(Vec<u64>, Duration)> {
    let engine = bare_engine()?;
    let component = Component::new(&engine, wasm)?;
    let mut linker = Linker::<()>::new(&engine);
    linker.define_unknown_imports_as_traps(&component)?;
    let pre = linker.instantiate_pre(&component)?;
    let mut times = Vec::with_capacity(INSTANCES);
    let mut all = Instant::now();
    for n in 0..WARM_UP + INSTANCES {
        if n == WARM_UP {
            all = Instant::now();
        }
        let began = Instant::now();
        let mut store = Store::new(&engine, ());
        let instance = pre.instantiate_async(&mut store).await?;
        times.push(began.elapsed().as_nanos() as u64);
        drop((instance, store));
    }
    Ok((times.split_off(WARM_UP), all.elapsed()))
}

async fn host_calls(caller: &[u8]) -> Result<Vec<u64>> {
    let limits = Limits { cpu: std::time::Duration::from_secs(600), ..Limits::default() };
    let handler = load(caller, limits)?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let mut instance = handler.instantiate(Arc::new(FakeCall::new())).await?;
        let began = Instant::now();
        let outcome = instance.handle().await;
        times.push(began.elapsed().as_nanos() as u64 / u64::from(HOST_CALLS));
        if outcome != Outcome::Returned {
            bail!("the measuring guest ended with {outcome:?}");
        }
    }
    Ok(times)
}

/// The contract's enum of a call's state, for the bare host's answer.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
enum State {
    #[component(name = "ringing")]
    #[allow(dead_code)]
    Ringing,
    #[component(name = "in-progress")]
    InProgress,
    #[component(name = "on-hold")]
    #[allow(dead_code)]
    OnHold,
    #[component(name = "transferring")]
    #[allow(dead_code)]
    Transferring,
    #[component(name = "completed")]
    #[allow(dead_code)]
    Completed,
    #[component(name = "failed")]
    #[allow(dead_code)]
    Failed,
}

struct BareCall;

async fn bare_host_calls(caller: &[u8]) -> wasmtime::Result<Vec<u64>> {
    let engine = bare_engine()?;
    let component = Component::new(&engine, caller)?;
    let mut linker = Linker::<()>::new(&engine);
    let mut session = linker.instance("voxtra:call/call-session@0.1.0")?;
    session.resource("call", ResourceType::host::<BareCall>(), |_, _| Ok(()))?;
    session.func_wrap("[method]call.state", |_, (_call,): (Resource<BareCall>,)| Ok((State::InProgress,)))?;
    let pre = linker.instantiate_pre(&component)?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let mut store = Store::new(&engine, ());
        let instance = pre.instantiate_async(&mut store).await?;
        let handle = instance.get_typed_func::<(Resource<BareCall>,), (Result<(), String>,)>(&mut store, "handle")?;
        let began = Instant::now();
        let (returned,) = handle.call_async(&mut store, (Resource::new_own(1),)).await?;
        times.push(began.elapsed().as_nanos() as u64 / u64::from(HOST_CALLS));
        returned.map_err(wasmtime::Error::msg)?;
    }
    Ok(times)
}

fn engine_error(error: wasmtime::Error) -> anyhow::Error {
    anyhow::anyhow!("bare wasmtime: {error:#}")
}

fn load(wasm: &[u8], limits: Limits) -> Result<Handler> {
    let runtime = Runtime::new(RuntimeOptions { limits, ..RuntimeOptions::default() })?;
    // Each of a tenant's limits is on as well, and none of them is reached.
    let share = TenantShare { cpu_ms_per_second: Some(64_000), memory_bytes: Some(1 << 40), weight: 100 };
    runtime.set_tenant_limits(share, []);
    Ok(runtime.load_bytes(&TenantId::default(), &HandlerName::from("bench"), wasm)?)
}

fn bare_engine() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config.concurrency_support(false).allocation_strategy(PoolingAllocationConfig::new());
    Engine::new(&config)
}

/// A handler that asks for the call's state again and again and does nothing else.
fn caller() -> Result<Vec<u8>> {
    let text = format!(
        r#"(component
            (import "voxtra:call/call-session@0.1.0" (instance $session
                (export "call" (type $call (sub resource)))
                (type $state' (enum "ringing" "in-progress" "on-hold" "transferring" "completed" "failed"))
                (export "call-state" (type $state (eq $state')))
                (export "[method]call.state" (func (param "self" (borrow $call)) (result $state)))))
            (alias export $session "call" (type $call))
            (core func $state (canon lower (func $session "[method]call.state")))
            (core module $code
                (import "host" "state" (func $state (param i32) (result i32)))
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
                (func (export "handle") (param $call i32) (result i32)
                    (local $left i32)
                    (local.set $left (i32.const {HOST_CALLS}))
                    (loop $again
                        (drop (call $state (local.get $call)))
                        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                        (br_if $again (local.get $left)))
                    (i32.const 0)))
            (core instance $i (instantiate $code (with "host" (instance (export "state" (func $state))))))
            (func (export "handle") (param "call" (own $call)) (result (result (error string)))
                (canon lift (core func $i "handle") (memory $i "memory") (realloc (func $i "realloc")))))"#
    );
    wat::parse_str(text).context("the measuring guest's text")
}
