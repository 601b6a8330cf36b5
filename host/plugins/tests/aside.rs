//! Compiling in a child process: what it makes runs like anything else, and what is made to hurt it ends at a limit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use voxtra_core::{HandlerName, TenantId};
use voxtra_plugins::fake::FakeCall;
use voxtra_plugins::{Aside, CompileLimits, Handler, LoadError, Outcome, Runtime, RuntimeOptions, compile_as_child};

/// The program that compiles is this one, run for this test alone.
#[test]
#[ignore = "is run by the others as their compiler"]
fn the_compiler() {
    compile_as_child();
    panic!("there is no request");
}

fn aside(limits: CompileLimits) -> Aside {
    let args = ["the_compiler", "--exact", "--ignored", "--quiet"];
    Aside { program: std::env::current_exe().unwrap(), args: args.map(Into::into).to_vec(), limits }
}

fn runtime(limits: CompileLimits, cache_dir: Option<PathBuf>) -> Arc<Runtime> {
    let compiler = Some(aside(limits));
    Runtime::new(RuntimeOptions { max_instances: 4, cache_dir, compiler, ..RuntimeOptions::default() }).unwrap()
}

fn load(runtime: &Arc<Runtime>, wasm: &[u8]) -> Result<Handler, LoadError> {
    runtime.load_bytes(&TenantId::default(), &HandlerName::from("under-test"), wasm)
}

/// A handler that returns at once, with more functions that nobody calls.
fn handler(more: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            (import "voxtra:call/call-session@0.1.0" (instance $session (export "call" (type (sub resource)))))
            (alias export $session "call" (type $call))
            (core module $code
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
                {more}
                (func (export "handle") (param i32) (result i32) (i32.const 0)))
            (core instance $i (instantiate $code))
            (func (export "handle") (param "call" (own $call)) (result (result (error string)))
                (canon lift (core func $i "handle") (memory $i "memory") (realloc (func $i "realloc")))))"#
    );
    wat::parse_str(text).unwrap()
}

/// Much to compile: so many functions that store to memory again and again.
fn heavy(functions: usize) -> Vec<u8> {
    let mut more = String::new();
    for n in 0..functions {
        write!(more, "(func (param i32 i32) (local i32)").unwrap();
        for at in 0..120 {
            let offset = at * 8;
            write!(
                more,
                "(local.set 2 (i32.mul (i32.load offset={offset} (local.get 0)) (i32.add (local.get 1) (i32.const {n}))))\
                 (i32.store offset={offset} (local.get 1) (i32.xor (local.get 2) (local.get 0)))"
            )
            .unwrap();
        }
        more.push(')');
    }
    handler(&more)
}

async fn returns(handler: &Handler) {
    let outcome = handler.instantiate(Arc::new(FakeCall::new())).await.unwrap().handle().await;
    assert_eq!(outcome, Outcome::Returned);
}

#[tokio::test]
async fn what_a_child_has_compiled_runs_and_is_kept() {
    let cache = std::env::temp_dir().join(format!("voxtra-aside-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&cache);
    let wasm = handler("");
    let first = load(&runtime(CompileLimits::default(), Some(cache.clone())), &wasm).unwrap();
    returns(&first).await;
    // A compiler that cannot run shows that the cache was asked.
    let nobody = Aside { program: "/nonexistent".into(), args: Vec::new(), limits: CompileLimits::default() };
    let options = RuntimeOptions {
        max_instances: 4,
        cache_dir: Some(cache.clone()),
        compiler: Some(nobody.clone()),
        ..RuntimeOptions::default()
    };
    let again = load(&Runtime::new(options).unwrap(), &wasm).unwrap();
    assert_eq!(first.version(), again.version());
    returns(&again).await;
    let options = RuntimeOptions { max_instances: 4, compiler: Some(nobody), ..RuntimeOptions::default() };
    let why = load(&Runtime::new(options).unwrap(), &wasm).unwrap_err();
    assert!(why.to_string().contains("/nonexistent does not run") && why.is_passing, "{why:?}");
    std::fs::remove_dir_all(&cache).unwrap();
}

#[tokio::test]
async fn a_compile_bomb_ends_at_each_limit_and_the_runtime_goes_on() {
    let bomb = heavy(3_000);
    let limits = CompileLimits::default();
    for (limits, wanted) in [
        (CompileLimits { time: Duration::from_millis(200), ..limits }, "takes longer than"),
        (CompileLimits { cpu: Duration::from_secs(1), ..limits }, "of running time"),
        (CompileLimits { memory_bytes: 48 << 20, ..limits }, "of memory"),
        (CompileLimits { code_bytes: 64 << 10, ..limits }, "MiB of code"),
    ] {
        let runtime = runtime(limits, None);
        let why = load(&runtime, &bomb).unwrap_err();
        assert!(why.to_string().contains(wanted) && !why.is_passing, "{limits:?}: {why:?}");
    }
    let own = format!("voxtra-compile-{}-", std::process::id());
    let folders = || std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    let left = || folders().filter(|e| e.file_name().to_string_lossy().starts_with(&own)).count();
    // The other tests have theirs for a moment.
    for _ in 0..600 {
        if left() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} folders are left", left());
}

#[test]
fn a_child_says_the_same_of_nonsense_as_the_host_itself() {
    let here = Runtime::new(RuntimeOptions { max_instances: 4, ..RuntimeOptions::default() }).unwrap();
    let aside = runtime(CompileLimits::default(), None);
    let mut cut = handler("");
    cut.truncate(cut.len() / 2);
    for wasm in [cut, b"\0asm\x0d\0\x01\0nonsense".to_vec(), wat::parse_str("(component)").unwrap()] {
        assert_eq!(load(&aside, &wasm).unwrap_err(), load(&here, &wasm).unwrap_err());
    }
}

#[test]
fn a_host_that_stops_waits_for_no_compiler_and_leaves_none_behind() {
    let runtime = runtime(CompileLimits::default(), None);
    let wasm = heavy(20_000);
    let loading = {
        let runtime = Arc::clone(&runtime);
        std::thread::spawn(move || load(&runtime, &wasm).map(drop))
    };
    std::thread::sleep(Duration::from_millis(300));
    runtime.stop_compiling();
    let why = loading.join().unwrap().unwrap_err();
    assert!(why.is_passing && why.to_string().contains("the host is stopping"), "{why}");
    let next = load(&runtime, &handler("")).map(drop).unwrap_err();
    assert!(next.to_string().contains("the host is stopping"), "{next}");
}
