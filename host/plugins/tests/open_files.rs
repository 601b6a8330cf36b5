//! A process of its own: it lowers the limit of open files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::File;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use voxtra_core::{HandlerName, TenantId};
use voxtra_plugins::{LoadError, Runtime, RuntimeOptions};

const FEW: u64 = 200;

/// A handler that returns at once. Its data is a memory image, which is a file to the machine.
fn handler(number: usize) -> Vec<u8> {
    let text = format!(
        r#"(component
            (import "voxtra:call/call-session@0.1.0" (instance $session (export "call" (type (sub resource)))))
            (alias export $session "call" (type $call))
            (core module $code
                (memory (export "memory") 1)
                (data (i32.const 16) "number {number}")
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
                (func (export "handle") (param i32) (result i32) (i32.const 0)))
            (core instance $i (instantiate $code))
            (func (export "handle") (param "call" (own $call)) (result (result (error string)))
                (canon lift (core func $i "handle") (memory $i "memory") (realloc (func $i "realloc")))))"#
    );
    wat::parse_str(text).unwrap()
}

#[test]
fn a_thousand_handlers_leave_open_files_to_calls() {
    let options = RuntimeOptions { max_instances: 2, ..RuntimeOptions::default() };
    let runtime = Runtime::new(options).unwrap();
    setrlimit(Resource::Nofile, Rlimit { current: Some(FEW), ..getrlimit(Resource::Nofile) }).unwrap();
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let load = |n| {
        let handler = runtime.load_bytes(&TenantId::from("evil"), &HandlerName::from("one"), &handler(n))?;
        // As one that is to take calls: its memory's image is made with the first instance.
        tokio.block_on(handler.start_once()).unwrap();
        Ok::<_, LoadError>(handler)
    };
    let mut loaded = Vec::new();
    let refused = (0..1_000).find_map(|n| load(n).map(|handler| loaded.push(handler)).err()).unwrap();
    assert!(refused.is_passing && refused.to_string().contains("the rest is for calls"), "{refused}");
    assert!(loaded.len() > 50, "{}", loaded.len());
    let for_calls = (0..FEW / 4 - 4).map(|_| File::open("/dev/null")).collect::<Result<Vec<_>, _>>();
    drop(for_calls.unwrap());
    loaded.clear();
    load(1_000).unwrap();
}
