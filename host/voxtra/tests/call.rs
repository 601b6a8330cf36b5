//! `voxtra call` with real components, written out here: what a user sees of a handler that works and of one that
//! does not. (Handlers that speak are tried by the end-to-end tests, which have them built.)
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use serde_json::Value;
use support::Folder;

/// A handler whose `handle` is this.
fn handler(body: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            (import "voxtra:call/call-session@0.1.0" (instance $session (export "call" (type (sub resource)))))
            (alias export $session "call" (type $call))
            (core module $code
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
                (func (export "handle") (param i32) (result i32) {body} (i32.const 0)))
            (core instance $i (instantiate $code))
            (func (export "handle") (param "call" (own $call)) (result (result (error string)))
                (canon lift (core func $i "handle") (memory $i "memory") (realloc (func $i "realloc")))))"#
    );
    wat::parse_str(text).unwrap()
}

#[test]
fn a_handler_that_returns_did_its_work() {
    let folder = Folder::new();
    folder.write("quiet.wasm", handler(""));
    let call = folder.run(&["call", "quiet.wasm", "--out", "here"]);
    assert!(call.done().contains("call.started"), "{call:?}");
    assert!(call.out.contains("call.ended handler-returned"), "{call:?}");
    assert!(call.out.contains("quiet did its work"), "{call:?}");
    let wav = std::fs::read(folder.path().join("here/quiet.wav")).unwrap();
    assert!(wav.starts_with(b"RIFF"));
    let svg = std::fs::read_to_string(folder.path().join("here/quiet.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("call.ended"), "{svg}");
}

#[test]
fn a_trap_does_not_drop_the_caller_and_fails_the_command() {
    let folder = Folder::new();
    folder.write("trap.wasm", handler("unreachable"));
    let call = folder.run(&["call", "trap.wasm", "--json"]);
    assert_eq!(call.code, Some(1), "{call:?}");
    let json: Value = serde_json::from_str(&call.out).unwrap();
    assert_eq!(json["handled"], false);
    assert_eq!(json["prompts"][0]["media"], "sound:tt-somethingwrong");
    assert_eq!(json["prompts"][0]["end"], "played to its end");
    assert_eq!(json["ended_by"], "the host hung up");
}

#[test]
fn equal_calls_give_equal_accounts() {
    let folder = Folder::new();
    folder.write("quiet.wasm", handler(""));
    let run = |out: &str| folder.run(&["call", "quiet.wasm", "--press", "1", "--out", out]).done().to_owned();
    assert_eq!(run("a").replace("a/", ""), run("b").replace("b/", ""));
}
