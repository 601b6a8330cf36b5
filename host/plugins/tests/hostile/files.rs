//! Files that are no component, or one that nobody should compile or start. Each is refused in a sentence, or does no harm.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use voxtra_core::TenantId;
use voxtra_plugins::fake::FakeCall;
use voxtra_plugins::{Aside, CompileLimits, Outcome, Runtime, RuntimeOptions, compile_as_child};

use crate::support::{Written, assert_the_next_call_is_served, briefly, by_default, load, run, runtime};

fn text(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

fn importing(name: &str) -> Vec<u8> {
    Written { beside: &format!("(import \"{name}\" (instance))"), ..Written::default() }.wasm()
}

/// With another core module, one instance of it, beside the handler's.
fn beside(module: &str) -> Vec<u8> {
    let beside = format!("(core module $other {module}) (core instance (instantiate $other))");
    Written { beside: &beside, ..Written::default() }.wasm()
}

fn assert_refused(wasm: &[u8], words: &str) {
    let why = load(&runtime(by_default()), wasm).map(|_| ()).expect_err(words).to_string();
    assert!(why.contains(words), "{words:?} is not in: {why}");
    assert!(!why.contains('\n') && why.len() < 600, "no sentence: {why}");
}

#[test]
fn imports_that_are_not_the_contracts_are_named() {
    for name in [
        "wasi:sockets/tcp@0.2.6",
        "wasi:sockets/udp@0.2.6",
        "wasi:sockets/ip-name-lookup@0.2.6",
        "wasi:sockets/instance-network@0.2.6",
        "wasi:http/incoming-handler@0.2.6",
        "wasi:http/outgoing-handler@0.3.0",
        "wasi:keyvalue/store@0.2.0-draft",
        "wasi:nn/graph@0.2.0-rc-2024-10-28",
        "wasi:cli/command@0.2.6",
        "wasi:clocks/monotonic-clock@0.3.0",
        "wasi:clocks/timezone@0.2.6",
        "wasi:config/store@0.2.0-draft",
        "beta:secrets/get",
        "voxtra:host/admin@0.1.0",
    ] {
        assert_refused(&importing(name), name);
    }
    for name in ["voxtra:call/call-session@9.0.0", "voxtra:call/store@0.9.0", "voxtra:call/store"] {
        assert_refused(&importing(name), "this host serves");
    }
    assert_refused(&importing("voxtra:call/secrets@0.1.0"), "not part of the contract");
}

#[test]
fn what_has_the_contracts_names_and_not_its_types_is_refused() {
    let wrong_result = r#"(component
        (import "voxtra:call/call-session@0.1.0" (instance $session
            (export "call" (type $call (sub resource)))
            (export "[method]call.duration-ms" (func (param "self" (borrow $call)) (result u64)))))
        (alias export $session "call" (type $call))
        (core module $code (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
            (func (export "handle") (param i32) (result i32) (i32.const 0)))
        (core instance $i (instantiate $code))
        (func (export "handle") (param "call" (own $call)) (result (result (error string)))
            (canon lift (core func $i "handle") (memory $i "memory") (realloc (func $i "realloc")))))"#;
    assert_refused(&text(wrong_result), "does not fit the contract");
    let takes_a_number = r#"(component
        (core module $code (func (export "handle") (param i32)))
        (core instance $i (instantiate $code))
        (func (export "handle") (param "call" u32) (canon lift (core func $i "handle"))))"#;
    assert_refused(&text(takes_a_number), "does not fit the contract");
    assert_refused(&text("(component (core module) (export \"handle\" (core module 0)))"), "");
}

#[test]
fn what_is_declared_too_large_is_refused_before_it_is_compiled_or_started() {
    for module in [
        // Memories: too many in one module, too large from the start, shared between threads.
        "(memory 1) (memory 1)",
        "(memory 65536)",
        "(memory i64 0x1000000000)",
        "(memory 1 1 shared)",
        // Tables.
        "(table 10000000 funcref)",
        "(table 1 funcref) (table 1 funcref)",
        // What wants proposals that are not there.
        "(type (struct (field i32)))",
        "(tag)",
    ] {
        assert!(load(&runtime(by_default()), &beside(module)).is_err(), "{module} was taken");
    }
    let instances = |n: usize| "(core module $m) ".to_owned() + &"(core instance (instantiate $m))".repeat(n);
    let with = |beside: &str| Written { beside, ..Written::default() }.wasm();
    assert_refused(&with(&instances(500)), "core module instances");
    let memories = "(core module $m (memory 1)) ".to_owned() + &"(core instance (instantiate $m))".repeat(9);
    assert_refused(&with(&memories), "memories");
    let tables = "(core module $m (table 1 funcref)) ".to_owned() + &"(core instance (instantiate $m))".repeat(51);
    assert_refused(&with(&tables), "tables");
    let globals = "(global (mut i64) (i64.const 0))".repeat(100_000);
    assert_refused(&beside(&globals), "exceeds the configured maximum");
}

#[test]
fn what_is_nested_or_numbered_beyond_reason_is_refused() {
    // Each type holds the one before: as a value, it would have no end.
    let mut types = "(type $t0 (list u8))".to_owned();
    for n in 1..2_000 {
        write!(types, "(type $t{n} (list $t{}))", n - 1).unwrap();
    }
    assert_refused(&Written { beside: &types, ..Written::default() }.wasm(), "no valid component");
    // Twice as wide at every step: two to the sixtieth.
    let mut types = "(type $t0 (tuple u8 u8))".to_owned();
    for n in 1..60 {
        let before = n - 1;
        write!(types, "(type $t{n} (tuple $t{before} $t{before}))").unwrap();
    }
    assert_refused(&Written { beside: &types, ..Written::default() }.wasm(), "no valid component");
    let parameters = format!("(func (param {}))", "i32 ".repeat(1_001));
    assert_refused(&beside(&parameters), "no valid component");
    let locals = format!("(func (local {}))", "i64 ".repeat(50_001));
    assert_refused(&beside(&locals), "no valid component");
}

#[tokio::test]
async fn blocks_a_hundred_thousand_deep_do_not_overflow_the_hosts_stack() {
    const DEPTH: usize = 100_000;

    let body = "block ".repeat(DEPTH) + &"end ".repeat(DEPTH);
    let runtime = runtime(by_default());
    // Whether it is taken or not: the host lives.
    let taken = load(&runtime, &Written { body: &body, ..Written::default() }.wasm());
    if let Ok(handler) = taken {
        run(&handler, FakeCall::new()).await;
    }
    assert_the_next_call_is_served(&runtime).await;
}

#[tokio::test]
async fn no_flipped_bit_brings_the_host_down() {
    let runtime = runtime(briefly());
    let wasm = Written::default().wasm();
    let (mut refused, mut taken) = (0, 0);
    for at in 0..wasm.len() {
        let mut flipped = wasm.clone();
        flipped[at] ^= 1 << (at % 8);
        match load(&runtime, &flipped) {
            Err(why) => {
                assert!(!why.to_string().contains('\n'), "{why}");
                refused += 1;
            }
            Ok(handler) => {
                // It may run, trap or not start.
                if let Ok(mut instance) = handler.instantiate(std::sync::Arc::new(FakeCall::new())).await {
                    instance.handle().await;
                }
                taken += 1;
            }
        }
    }
    assert!(refused > taken, "{refused} refused, {taken} taken");
    assert_the_next_call_is_served(&runtime).await;
}

/// At its end a file may have names that only people read: without them it does the same.
#[tokio::test]
async fn a_part_of_a_file_is_refused_unless_only_names_are_missing() {
    let runtime = runtime(by_default());
    let wasm = Written::default().wasm();
    let mut refused = 0;
    for length in 0..wasm.len() {
        match load(&runtime, &wasm[..length]) {
            Ok(handler) => assert_eq!(run(&handler, FakeCall::new()).await.outcome, Outcome::Returned, "{length}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > wasm.len() * 9 / 10, "{refused} of {}", wasm.len());
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("voxtra-hostile-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Compiled by the very engine that would load it, as nothing outside can: even so it is not taken from where handlers
/// come from.
#[test]
fn compiled_code_is_not_taken_from_a_plugin_directory() {
    let (plugins, cache) = (scratch("plugins"), scratch("cache"));
    let options = RuntimeOptions { cache_dir: Some(cache.clone()), max_instances: 1, ..RuntimeOptions::default() };
    let runtime = Runtime::new(options).unwrap();
    load(&runtime, &Written::default().wasm()).unwrap();
    let entry = std::fs::read_dir(&cache).unwrap().map(|e| e.unwrap().path());
    let compiled = entry.into_iter().find(|path| path.file_name().unwrap() != "key").unwrap();
    std::fs::copy(&compiled, plugins.join("cached.wasm")).unwrap();
    // Without what the cache puts before it.
    let bytes = std::fs::read(&compiled).unwrap();
    let elf = bytes.windows(4).position(|w| w == b"\x7fELF").unwrap();
    std::fs::write(plugins.join("bare.wasm"), &bytes[elf..]).unwrap();
    std::fs::write(plugins.join("named.cwasm"), &bytes[elf..]).unwrap();

    for name in ["bare.wasm", "cached.wasm", "named.cwasm"] {
        let why = runtime.load_file(&TenantId::default(), &plugins.join(name)).unwrap_err().to_string();
        assert!(why.contains(name), "{why}");
        assert!(why.contains("not WebAssembly") || name == "named.cwasm", "{why}");
    }
    std::fs::remove_dir_all(plugins).unwrap();
    std::fs::remove_dir_all(cache).unwrap();
}

/// A link out of the directory is followed to a file, and what is there has to be a component all the same; of a folder, a
/// device or a loop there is nothing to read.
#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_read() {
    use std::os::unix::fs::symlink;

    let plugins = scratch("links");
    symlink("/etc/passwd", plugins.join("out.wasm")).unwrap();
    symlink("/dev/zero", plugins.join("zero.wasm")).unwrap();
    symlink(plugins.join("loop.wasm"), plugins.join("loop.wasm")).unwrap();
    std::fs::create_dir(plugins.join("folder.wasm")).unwrap();
    let runtime = runtime(by_default());
    for name in ["out", "zero", "loop", "folder"] {
        let path = plugins.join(name).with_extension("wasm");
        let why = runtime.load_file(&TenantId::default(), &path).unwrap_err().to_string();
        assert!(why.contains(name) && !why.contains("root:"), "{why}");
    }
    std::fs::remove_dir_all(plugins).unwrap();
}

/// One function of very many instructions that depend on each other.
fn one_huge_function(instructions: usize) -> Vec<u8> {
    let mut body = "(local $x i64)".to_owned();
    for n in 0..instructions {
        write!(body, "(local.set $x (i64.mul (i64.add (local.get $x) (i64.const {n})) (local.get $x)))").unwrap();
    }
    beside(&format!("(func {body})"))
}

fn many_functions(functions: usize) -> Vec<u8> {
    let one = "(func (param i32) (result i32) (i32.add (local.get 0) (i32.const 7)))";
    beside(&one.repeat(functions))
}

/// The program that compiles is this one, run for this test alone.
#[test]
#[ignore = "is run by another test as its compiler"]
fn the_compiler() {
    compile_as_child();
    panic!("there is no request");
}

#[test]
fn little_that_takes_long_to_compile_is_given_up_elsewhere() {
    let limits = CompileLimits { cpu: Duration::from_secs(1), ..CompileLimits::default() };
    let args = ["files::the_compiler", "--exact", "--ignored", "--quiet"].map(Into::into).to_vec();
    let compiler = Some(Aside { program: std::env::current_exe().unwrap(), args, limits });
    let runtime = Runtime::new(RuntimeOptions { max_instances: 1, compiler, ..RuntimeOptions::default() }).unwrap();
    for wasm in [one_huge_function(400_000), many_functions(100_000)] {
        let why = load(&runtime, &wasm).unwrap_err().to_string();
        assert!(why.contains("compiling it"), "{why}");
    }
    load(&runtime, &Written::default().wasm()).unwrap();
}
