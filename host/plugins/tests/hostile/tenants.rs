//! What a tenant's calls have together, and what is left to the others while they take all that they can get. The threads
//! are real; what is compared is work that was done, never how fast the machine is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::JoinHandle;
use voxtra_core::TenantId;
use voxtra_plugins::fake::FakeCall;
use voxtra_plugins::{Handler, Limits, Outcome, Runtime, RuntimeOptions, StartError, TenantShare, TrapKind};

use crate::support::{Written, run};

const THREADS: usize = 2;

/// One claim at a time: each of them takes all threads that there are.
static MACHINE: Mutex<()> = Mutex::new(());

/// The guests' threads and a runtime for many instances.
fn on_threads<F: Future<Output = ()>>(claim: impl FnOnce(Arc<Runtime>) -> F) {
    let _machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let limits = Limits { cpu: Duration::from_secs(3_600), ..Limits::default() };
    let options = RuntimeOptions { max_instances: 100, turns: THREADS, limits, ..RuntimeOptions::default() };
    let runtime = Runtime::new(options).unwrap();
    let threads = Builder::new_multi_thread().worker_threads(THREADS).enable_all().build().unwrap();
    threads.block_on(claim(runtime));
    threads.shutdown_timeout(Duration::from_secs(10));
}

fn load(runtime: &Arc<Runtime>, tenant: &str, body: &str) -> Handler {
    let wasm = Written { body, ..Written::default() }.wasm();
    runtime.load_bytes(&TenantId::from(tenant), &"attacker".into(), &wasm).unwrap()
}

/// So many calls that never do anything but run.
fn spin(runtime: &Arc<Runtime>, tenant: &str, calls: usize) -> Vec<JoinHandle<()>> {
    let spinner = load(runtime, tenant, "(loop $l (br $l))");
    (0..calls)
        .map(|_| {
            let spinner = spinner.clone();
            tokio::spawn(async move {
                let mut instance = spinner.instantiate(Arc::new(FakeCall::new())).await.unwrap();
                let outcome = instance.handle().await;
                panic!("it has stopped: {outcome:?}");
            })
        })
        .collect()
}

async fn stop(spinners: Vec<JoinHandle<()>>) {
    for spinner in spinners {
        spinner.abort();
        assert!(spinner.await.unwrap_err().is_cancelled());
    }
}

fn shares(runtime: &Runtime, shares: &[(&str, TenantShare)]) {
    runtime
        .set_tenant_limits(TenantShare::default(), shares.iter().map(|(name, share)| (TenantId::from(*name), *share)));
}

fn weight(weight: u32) -> TenantShare {
    TenantShare { weight, ..TenantShare::default() }
}

fn ran(runtime: &Runtime, tenant: &str) -> f64 {
    runtime.tenant_use(&tenant.into()).cpu.as_secs_f64()
}

/// Waits until something is so, however slow the machine is; that it never is is a failure.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(120), "{what}: never");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What each of two tenants runs while both together run for two seconds, once they have begun.
async fn both_run(runtime: &Runtime) -> (f64, f64) {
    let now = || (ran(runtime, "acme"), ran(runtime, "beta"));
    let since = |began: (f64, f64)| (now().0 - began.0, now().1 - began.1);
    let together = |(acme, beta): (f64, f64)| acme + beta;
    let began = now();
    until("they begin", || together(since(began)) > 1.5).await;
    let began = now();
    until("they run", || together(since(began)) > 2.0).await;
    since(began)
}

#[test]
fn tenants_that_spin_share_the_threads_by_their_weights_and_not_by_their_calls() {
    on_threads(async |runtime| {
        shares(&runtime, &[("acme", weight(100)), ("beta", weight(300))]);
        let spinners = [spin(&runtime, "acme", 30), spin(&runtime, "beta", 6)];
        let (acme, beta) = both_run(&runtime).await;
        assert!((2.0..4.5).contains(&(beta / acme)), "acme {acme}, beta {beta}");

        // While they are at it.
        shares(&runtime, &[("acme", weight(300)), ("beta", weight(300))]);
        let (acme, beta) = both_run(&runtime).await;
        assert!((0.6..1.6).contains(&(beta / acme)), "acme {acme}, beta {beta}");
        for spinners in spinners {
            stop(spinners).await;
        }
    });
}

#[test]
fn who_spins_in_fifty_calls_holds_up_nobody_elses_calls() {
    on_threads(async |runtime| {
        let spinners = spin(&runtime, "acme", 50);
        until("they spin", || ran(&runtime, "acme") > 1.0).await;
        let served = async |handler: &Handler, calls: u32| {
            let before = (ran(&runtime, "acme"), ran(&runtime, "beta"));
            for _ in 0..calls {
                let handler = handler.clone();
                let call = tokio::spawn(async move { run(&handler, FakeCall::new()).await.outcome });
                assert_eq!(call.await.unwrap(), Outcome::Returned);
            }
            (ran(&runtime, "acme") - before.0, ran(&runtime, "beta") - before.1)
        };
        // One that does next to nothing waits for no more than a few slices of 10 ms on each thread.
        let (acme, _) = served(&load(&runtime, "beta", ""), 40).await;
        let others_ms = acme * 1_000.0 / 40.0 / THREADS as f64;
        assert!(others_ms < 60.0, "{others_ms} ms of running time on each thread between two calls");
        // One that needs many slices has about as much of the threads as all of the fifty.
        let works = "(local $n i32) (loop $l (br_if $l (i32.lt_u
                         (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 400000000))))";
        let (acme, beta) = served(&load(&runtime, "beta", works), 4).await;
        assert!(beta > 0.2, "it is over too soon: {beta} s");
        assert!(acme / beta < 5.0, "they ran {acme} s while it ran {beta} s");
        stop(spinners).await;
    });
}

#[test]
fn a_tenant_above_its_running_time_waits_and_holds_no_thread_meanwhile() {
    on_threads(async |runtime| {
        let tenth = TenantShare { cpu_ms_per_second: Some(100), ..TenantShare::default() };
        shares(&runtime, &[("acme", tenth)]);
        let honest = load(&runtime, "beta", "");
        let spinners = spin(&runtime, "acme", 20);
        let began = std::time::Instant::now();
        let mut served = 0_u32;
        while began.elapsed() < Duration::from_secs(3) {
            let honest = honest.clone();
            let call = tokio::spawn(async move { run(&honest, FakeCall::new()).await.outcome });
            assert_eq!(call.await.unwrap(), Outcome::Returned);
            served += 1;
        }
        let (used, allowed) = (ran(&runtime, "acme"), 0.1 * began.elapsed().as_secs_f64());
        // Each of the calls may run for an epoch before it is seen; what is too much then is paid for later.
        assert!((allowed * 0.3..allowed + 0.4).contains(&used), "{used} s of {allowed} s");
        assert!(served > 30, "{served}");

        // The wait is over when the limit is.
        shares(&runtime, &[]);
        until("they run on", || ran(&runtime, "acme") > used + 1.0).await;
        stop(spinners).await;
    });
}

#[tokio::test]
async fn a_tenants_instances_have_so_much_memory_together_and_no_more() {
    let runtime = Runtime::new(RuntimeOptions { max_instances: 10, ..RuntimeOptions::default() }).unwrap();
    // Three pages.
    let small = TenantShare { memory_bytes: Some(3 << 16), ..TenantShare::default() };
    shares(&runtime, &[("acme", small)]);
    let start = async |handler: &Handler| handler.instantiate(Arc::new(FakeCall::new())).await;
    let (acme, beta) = (load(&runtime, "acme", ""), load(&runtime, "beta", ""));
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(start(&acme).await.unwrap());
    }
    let why = start(&acme).await.err().unwrap();
    assert!(matches!(why, StartError::TenantFull(_)), "{why}");
    let why = why.to_string();
    assert!(why.starts_with("limit-exceeded") && why.contains("acme") && why.contains("total_memory_mib"), "{why}");
    for _ in 0..4 {
        held.push(start(&beta).await.unwrap());
    }
    drop(held);
    assert_eq!(runtime.tenant_use(&"acme".into()).memory_bytes, 0);

    // One page is its own, two more there are, and the fourth there is not.
    let grows = "(if (i32.eq (memory.grow (i32.const 2)) (i32.const -1)) (then (drop (i32.load (i32.const -8)))))
                 (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))";
    let ran = run(&load(&runtime, "acme", grows), FakeCall::new()).await;
    assert_eq!(ran.trap(), TrapKind::MemoryLimit);
    let Outcome::Trapped(trap) = ran.outcome else { unreachable!() };
    assert!(trap.message.contains("total_memory_mib"), "{trap}");
    assert_eq!(run(&load(&runtime, "beta", grows), FakeCall::new()).await.outcome, Outcome::Returned);
    assert_eq!(runtime.tenant_use(&"acme".into()).memory_bytes, 0);
}
