//! What the runtime makes of components, good and bad. They are written out here, so that each shows what it does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use voxtra_core::{HandlerName, TenantId};
use voxtra_plugins::fake::FakeCall;
use voxtra_plugins::{Handler, Limits, LoadError, Outcome, Runtime, RuntimeOptions, StartError, TrapKind};

/// A handler whose `handle` is this.
fn handler(body: &str) -> Vec<u8> {
    handler_importing("", body)
}

fn handler_importing(imports: &str, body: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            (import "voxtra:call/call-session@0.1.0" (instance $session (export "call" (type (sub resource)))))
            (alias export $session "call" (type $call))
            {imports}
            (core module $code
                (memory (export "memory") 1)
                (table 1 funcref)
                (func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (local.get 0))))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
                (func $handle (export "handle") (param i32) (result i32) {body} (i32.const 0)))
            (core instance $i (instantiate $code))
            (func (export "handle") (param "call" (own $call)) (result (result (error string)))
                (canon lift (core func $i "handle") (memory $i "memory") (realloc (func $i "realloc")))))"#
    );
    wat::parse_str(text).unwrap()
}

fn runtime(options: RuntimeOptions) -> Arc<Runtime> {
    Runtime::new(RuntimeOptions { max_instances: options.max_instances.min(20), ..options }).unwrap()
}

fn load(runtime: &Arc<Runtime>, wasm: &[u8]) -> Result<Handler, LoadError> {
    runtime.load_bytes(&TenantId::default(), &HandlerName::from("under-test"), wasm)
}

fn refused(wasm: &[u8]) -> String {
    load(&runtime(RuntimeOptions::default()), wasm).expect_err("it was loaded").to_string()
}

async fn run_with(limits: Limits, body: &str) -> Outcome {
    let runtime = runtime(RuntimeOptions { limits, ..RuntimeOptions::default() });
    let handler = load(&runtime, &handler(body)).unwrap();
    handler.instantiate(Arc::new(FakeCall::new())).await.unwrap().handle().await
}

async fn trap(limits: Limits, body: &str) -> TrapKind {
    match run_with(limits, body).await {
        Outcome::Trapped(trap) => trap.kind,
        other => panic!("no trap: {other:?}"),
    }
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("voxtra-plugins-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

#[tokio::test]
async fn a_handler_runs_and_returns() {
    assert_eq!(run_with(Limits::default(), "").await, Outcome::Returned);
}

#[tokio::test]
async fn an_error_comes_back_in_the_handlers_own_words() {
    let body = "(i32.store (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (i32.const 80)) \
                (i32.store (i32.const 72) (i32.const 2)) (i32.store8 (i32.const 80) (i32.const 110)) \
                (i32.store8 (i32.const 81) (i32.const 111)) (return (i32.const 64))";
    assert_eq!(run_with(Limits::default(), body).await, Outcome::Error("no".into()));
}

#[tokio::test]
async fn traps_have_names() {
    let limits = Limits::default();
    assert_eq!(trap(limits, "unreachable").await, TrapKind::Unreachable);
    assert_eq!(trap(limits, "(drop (i32.load (i32.const -8)))").await, TrapKind::OutOfBounds);
    assert_eq!(trap(limits, "(drop (call $deep (i32.const 0)))").await, TrapKind::StackOverflow);
    assert_eq!(trap(limits, "(drop (i32.div_u (i32.const 1) (i32.const 0)))").await, TrapKind::Other);
}

#[tokio::test]
async fn a_trap_leaves_its_backtrace_in_the_log_and_its_instance_for_dead() {
    let runtime = runtime(RuntimeOptions::default());
    let handler = load(&runtime, &handler("unreachable")).unwrap();
    let call = Arc::new(FakeCall::new());
    let mut instance = handler.instantiate(call.clone()).await.unwrap();
    assert!(matches!(instance.handle().await, Outcome::Trapped(_)));
    assert!(!instance.is_alive());
    assert!(matches!(instance.handle().await, Outcome::Trapped(_)), "it cannot be entered again");
    assert!(call.logs().iter().any(|line| line.contains("0: handle")), "{:?}", call.logs());
}

#[tokio::test]
async fn a_loop_without_end_is_stopped_when_its_running_time_is_spent() {
    let limits = Limits { cpu: Duration::from_millis(30), ..Limits::default() };
    assert_eq!(trap(limits, "(loop $l (br $l))").await, TrapKind::CpuLimit);
}

#[tokio::test]
async fn a_spinning_handler_lets_others_run_on_the_same_thread() {
    let runtime = runtime(RuntimeOptions {
        limits: Limits { cpu: Duration::from_millis(200), ..Limits::default() },
        ..RuntimeOptions::default()
    });
    let spinner = load(&runtime, &handler("(loop $l (br $l))")).unwrap();
    let quick = load(&runtime, &handler("")).unwrap();
    let spinning =
        tokio::spawn(async move { spinner.instantiate(Arc::new(FakeCall::new())).await.unwrap().handle().await });
    tokio::task::yield_now().await;
    let mut instance = quick.instantiate(Arc::new(FakeCall::new())).await.unwrap();
    assert_eq!(instance.handle().await, Outcome::Returned);
    assert!(!spinning.is_finished(), "the spinner kept the thread to itself");
    assert!(matches!(spinning.await.unwrap(), Outcome::Trapped(t) if t.kind == TrapKind::CpuLimit));
}

#[tokio::test]
async fn memory_beyond_the_limit_is_refused_and_named() {
    let limits = Limits { memory_bytes: 1 << 20, ..Limits::default() };
    let grow = "(if (i32.eq (memory.grow (i32.const 64)) (i32.const -1)) (then unreachable))";
    assert_eq!(trap(limits, grow).await, TrapKind::MemoryLimit);
}

#[tokio::test]
async fn a_full_pool_is_busy_and_has_room_again() {
    let runtime = runtime(RuntimeOptions { max_instances: 1, ..RuntimeOptions::default() });
    let handler = load(&runtime, &handler("")).unwrap();
    let first = handler.instantiate(Arc::new(FakeCall::new())).await.unwrap();
    assert_eq!(handler.instantiate(Arc::new(FakeCall::new())).await.err(), Some(StartError::Busy));
    drop(first);
    assert!(handler.instantiate(Arc::new(FakeCall::new())).await.is_ok());
}

/// Python's components have 38 core instances each.
#[tokio::test]
async fn a_language_with_many_core_instances_fills_the_pool_like_any_other() {
    const CALLS: u32 = 10;

    let runtime = runtime(RuntimeOptions { max_instances: CALLS, ..RuntimeOptions::default() });
    let many = "(core module $empty)".to_owned() + &"(core instance (instantiate $empty))".repeat(50);
    let handler = load(&runtime, &handler_importing(&many, "")).unwrap();
    let mut alive = Vec::new();
    for _ in 0..CALLS {
        alive.push(handler.instantiate(Arc::new(FakeCall::new())).await.unwrap());
    }
    assert_eq!(handler.instantiate(Arc::new(FakeCall::new())).await.err(), Some(StartError::Busy));
}

#[test]
fn what_is_no_component_is_refused_in_a_sentence() {
    assert!(refused(b"").contains("empty"));
    assert!(refused(b"hello, this is text").contains("not WebAssembly"));
    assert!(refused(&wat::parse_str("(module)").unwrap()).contains("core WebAssembly module"));
    assert!(refused(b"\0asm\x0d\0\x01\0garbage").contains("no valid component"));
    assert!(refused(&wat::parse_str("(component)").unwrap()).contains("another world"));
}

#[test]
fn a_component_of_another_version_is_refused_by_its_version() {
    let text =
        r#"(component (import "voxtra:call/call-session@0.9.0" (instance (export "call" (type (sub resource))))))"#;
    let why = refused(&wat::parse_str(text).unwrap());
    assert!(why.contains("version 0.9.0") && why.contains("serves 0.1"), "{why}");
}

#[test]
fn an_import_that_is_not_allowed_is_named() {
    let wasm = handler_importing(r#"(import "wasi:sockets/tcp@0.2.6" (instance))"#, "");
    assert!(refused(&wasm).contains("wasi:sockets/tcp@0.2.6"));
}

#[test]
fn precompiled_code_is_never_taken_for_a_component() {
    let runtime = runtime(RuntimeOptions::default());
    let engine = wasmtime::Engine::default();
    let compiled = wasmtime::component::Component::new(&engine, wat::parse_str("(component)").unwrap()).unwrap();
    assert!(load(&runtime, &compiled.serialize().unwrap()).unwrap_err().why.contains("not WebAssembly"));
}

#[test]
fn a_file_that_is_too_large_is_not_even_read() {
    let dir = scratch("large");
    let path = dir.join("large.wasm");
    std::fs::File::create(&path).unwrap().set_len(200 << 20).unwrap();
    let why = runtime(RuntimeOptions::default()).load_file(&TenantId::default(), &path).unwrap_err().to_string();
    assert!(why.contains("larger than 64 MiB"), "{why}");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_file_that_goes_away_is_a_sentence_too() {
    let dir = scratch("gone");
    let path = dir.join("gone.wasm");
    let why = runtime(RuntimeOptions::default()).load_file(&TenantId::default(), &path).unwrap_err().to_string();
    assert!(why.contains("gone.wasm: the file is not there"), "{why}");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn the_cache_gives_the_same_handler_and_survives_being_tampered_with() {
    let dir = scratch("cache");
    let options = || RuntimeOptions { cache_dir: Some(dir.clone()), ..RuntimeOptions::default() };
    let wasm = handler("");
    let version = load(&runtime(options()), &wasm).unwrap().version().to_owned();
    assert_eq!(load(&runtime(options()), &wasm).unwrap().version(), version);
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap() != "key" {
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xff;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    assert_eq!(load(&runtime(options()), &wasm).unwrap().version(), version);
    std::fs::remove_dir_all(dir).unwrap();
}
