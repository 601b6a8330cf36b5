//! What no compiler writes: pointers, lengths, handles and numbers that are none, and a `realloc` that turns on its host.

use voxtra_plugins::fake::FakeCall;
use voxtra_plugins::{Outcome, TrapKind};

use crate::support::{assert_the_next_call_is_served, briefly, by_default, load, run, runtime};

/// A component that calls its host by hand: `$log (level message length fields count)`, `$duration (call)`,
/// `$note (call key length result)` and `$drop (call)`. `$handle`'s only parameter is its call.
fn forged(realloc: &str, body: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
        (import "voxtra:call/call-session@0.1.0" (instance $session
            (export "call" (type $call (sub resource)))
            (export "[method]call.duration-ms" (func (param "self" (borrow $call)) (result u32)))
            (export "[method]call.metadata-get"
                (func (param "self" (borrow $call)) (param "key" string) (result (option string))))))
        (import "voxtra:call/logging@0.1.0" (instance $logging
            (type $level' (enum "trace" "debug" "info" "warn" "error"))
            (export "level" (type $level (eq $level')))
            (export "log" (func (param "level" $level) (param "message" string)
                (param "fields" (list (tuple string string)))))))
        (alias export $session "call" (type $call))
        (core func $duration (canon lower (func $session "[method]call.duration-ms")))
        (core module $libc
            (import "host" "duration" (func $duration (param i32) (result i32)))
            (memory (export "memory") 1)
            (func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (local.get 0))))
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) {realloc}))
        (core instance $libc (instantiate $libc (with "host" (instance (export "duration" (func $duration))))))
        (core func $note (canon lower (func $session "[method]call.metadata-get")
            (memory $libc "memory") (realloc (func $libc "realloc"))))
        (core func $log (canon lower (func $logging "log")
            (memory $libc "memory") (realloc (func $libc "realloc"))))
        (core func $drop (canon resource.drop $call))
        (core module $code
            (import "libc" "memory" (memory 1))
            (import "host" "duration" (func $duration (param i32) (result i32)))
            (import "host" "note" (func $note (param i32 i32 i32 i32)))
            (import "host" "log" (func $log (param i32 i32 i32 i32 i32)))
            (import "host" "drop" (func $drop (param i32)))
            ;; At 512 there is "key"; at 600 half a character; at 608 one of the surrogates.
            (data (i32.const 512) "key") (data (i32.const 600) "a\c3") (data (i32.const 608) "\ed\a0\80")
            (func (export "handle") (param $call i32) (result i32) {body} (i32.const 0)))
        (core instance $i (instantiate $code
            (with "libc" (instance $libc))
            (with "host" (instance
                (export "duration" (func $duration)) (export "note" (func $note))
                (export "log" (func $log)) (export "drop" (func $drop))))))
        (func (export "handle") (param "call" (own $call)) (result (result (error string)))
            (canon lift (core func $i "handle") (memory $libc "memory") (realloc (func $libc "realloc")))))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
}

const HONEST_REALLOC: &str = "(i32.const 4096)";

/// What is done, and a word of what the engine says to it.
const FORGED: &[(&str, &str)] = &[
    // Texts outside the memory, by their place, their length, and both.
    ("(call $log (i32.const 2) (i32.const -4) (i32.const 10) (i32.const 0) (i32.const 0))", "out of bounds"),
    ("(call $log (i32.const 2) (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 0))", "out of bounds"),
    ("(call $log (i32.const 2) (i32.const 65535) (i32.const 2) (i32.const 0) (i32.const 0))", "out of bounds"),
    // Texts that are none.
    ("(call $log (i32.const 2) (i32.const 600) (i32.const 2) (i32.const 0) (i32.const 0))", "utf-8"),
    ("(call $log (i32.const 2) (i32.const 608) (i32.const 3) (i32.const 0) (i32.const 0))", "utf-8"),
    // Lists outside the memory, longer than any number, and at an odd place.
    ("(call $log (i32.const 2) (i32.const 512) (i32.const 3) (i32.const 65536) (i32.const 1))", "out of bounds"),
    ("(call $log (i32.const 2) (i32.const 512) (i32.const 3) (i32.const 0) (i32.const 0x10000001))", ""),
    ("(call $log (i32.const 2) (i32.const 512) (i32.const 3) (i32.const 0) (i32.const -1))", ""),
    ("(call $log (i32.const 2) (i32.const 512) (i32.const 3) (i32.const 1) (i32.const 1))", "align"),
    // A level that is none.
    ("(call $log (i32.const 99) (i32.const 512) (i32.const 3) (i32.const 0) (i32.const 0))", "discriminant"),
    // Handles that nobody has given it, and one that it has given back.
    ("(drop (call $duration (i32.const 0)))", "handle"),
    ("(drop (call $duration (i32.const -1)))", "handle"),
    ("(drop (call $duration (i32.add (local.get $call) (i32.const 1))))", "handle"),
    ("(call $drop (local.get $call)) (drop (call $duration (local.get $call)))", "handle"),
    ("(call $drop (local.get $call)) (call $drop (local.get $call))", "handle"),
    // A place for the result outside the memory, and at an odd place.
    ("(call $note (local.get $call) (i32.const 512) (i32.const 3) (i32.const 65532))", "out of bounds"),
    ("(call $note (local.get $call) (i32.const 512) (i32.const 3) (i32.const 3))", "align"),
];

#[tokio::test]
async fn what_is_no_text_list_number_or_handle_stops_the_forger_and_nobody_else() {
    let runtime = runtime(by_default());
    for (body, word) in FORGED {
        let forger = load(&runtime, &forged(HONEST_REALLOC, body)).unwrap();
        let ran = run(&forger, FakeCall::new().with_metadata([("key", "value")])).await;
        let Outcome::Trapped(trap) = ran.outcome else { panic!("{body}: it went through: {:?}", ran.logs) };
        assert!(trap.message.contains(word), "{body}: {trap}");
        assert!(!ran.logs.iter().any(|line| line == "key"), "{body}: it was logged");
        assert_the_next_call_is_served(&runtime).await;
    }
}

#[tokio::test]
async fn a_realloc_cannot_turn_on_the_host_that_calls_it() {
    let ask = "(call $note (local.get $call) (i32.const 512) (i32.const 3) (i32.const 1024))";
    for (realloc, wanted) in [
        // Outside the memory, at its very end, and nowhere.
        ("(i32.const -16)", TrapKind::Other),
        ("(i32.const 65535)", TrapKind::Other),
        ("unreachable", TrapKind::Unreachable),
        // For ever, and too deep: the host's own frames lie above.
        ("(loop $l (br $l)) (i32.const 0)", TrapKind::CpuLimit),
        ("(call $deep (i32.const 0))", TrapKind::StackOverflow),
        // Back into the host that waits for it; the call is its first handle.
        ("(call $duration (i32.const 1))", TrapKind::Other),
        ("(memory.fill (i32.const 0) (i32.const 0xff) (i32.const -1)) (i32.const 0)", TrapKind::OutOfBounds),
    ] {
        let runtime = runtime(briefly());
        let forger = load(&runtime, &forged(realloc, ask)).unwrap();
        let ran = run(&forger, FakeCall::new().with_metadata([("key", "value")])).await;
        assert_eq!(ran.trap(), wanted, "{realloc}: {:?}", ran.outcome);
        assert_the_next_call_is_served(&runtime).await;
    }
}

/// What a handler returns is read from where it says.
#[tokio::test]
async fn a_result_that_is_none_is_no_result() {
    let runtime = runtime(by_default());
    for body in [
        // Outside the memory; at an odd place; neither good nor bad; an error whose text is outside.
        "(return (i32.const 65536))",
        "(return (i32.const 3))",
        "(i32.store8 (i32.const 64) (i32.const 7)) (return (i32.const 64))",
        "(i32.store (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (i32.const -1))
         (i32.store (i32.const 72) (i32.const 9)) (return (i32.const 64))",
    ] {
        let forger = load(&runtime, &forged(HONEST_REALLOC, body)).unwrap();
        let ran = run(&forger, FakeCall::new()).await;
        assert!(matches!(ran.outcome, Outcome::Trapped(_)), "{body}: {:?}", ran.outcome);
        assert_the_next_call_is_served(&runtime).await;
    }
}
