//! Versions that follow each other: the health check of a new one, and a call that goes over to it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use voxtra_core::verbs::{Dtmf, HandlerEvent};
use voxtra_core::{HandlerName, TenantId};
use voxtra_plugins::fake::FakeCall;
use voxtra_plugins::{CallHost, Handler, Limits, MAX_STATE_BYTES, Outcome, Runtime, RuntimeOptions};

fn guests() -> PathBuf {
    let built_here = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/guests");
    std::env::var_os("VOXTRA_GUESTS").map_or_else(built_here, PathBuf::from)
}

fn runtime(limits: Limits) -> Arc<Runtime> {
    Runtime::new(RuntimeOptions { max_instances: 4, limits, ..RuntimeOptions::default() }).unwrap()
}

fn key_count() -> Handler {
    let path = guests().join("key-count.wasm");
    runtime(Limits::default()).load_file(&TenantId::default(), &path).expect("run `cargo xtask guests` first")
}

fn key(digit: char) -> HandlerEvent {
    HandlerEvent::Dtmf(Dtmf { digit, duration_ms: 80 })
}

fn call(events: impl IntoIterator<Item = HandlerEvent>) -> Arc<FakeCall> {
    Arc::new(FakeCall::new().with_events(events))
}

/// A handler with a health check, and perhaps `save`, each of this body. At 64 lies a result with the error `no`, at 96
/// one that is well.
fn with_hooks(init: &str, save: Option<&str>) -> Vec<u8> {
    let upgrade = save.map_or_else(String::new, |_| {
        r#"(func $save_up (result (result (option (list u8)) (error string)))
               (canon lift (core func $i "save") (memory $i "memory") (realloc (func $i "realloc"))))
           (func $restore_up (param "call" (own $call)) (param "state" (list u8)) (result (result (error string)))
               (canon lift (core func $i "restore") (memory $i "memory") (realloc (func $i "realloc"))))
           (instance $upgrades (export "save" (func $save_up)) (export "restore" (func $restore_up)))
           (export "voxtra:call/upgrade@0.1.0" (instance $upgrades))"#
            .to_owned()
    });
    let save = save.unwrap_or("(i32.const 0)");
    wat::parse_str(format!(
        r#"(component
            (import "voxtra:call/call-session@0.1.0" (instance $session (export "call" (type (sub resource)))))
            (alias export $session "call" (type $call))
            (core module $code
                (memory (export "memory") 32)
                (data (i32.const 64) "\01\00\00\00\50\00\00\00\02\00\00\00")
                (data (i32.const 80) "no")
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
                (func (export "handle") (param i32) (result i32) (i32.const 96))
                (func (export "init") (result i32) {init})
                (func (export "save") (result i32) {save})
                (func (export "restore") (param i32 i32 i32) (result i32) (i32.const 96)))
            (core instance $i (instantiate $code))
            (func (export "handle") (param "call" (own $call)) (result (result (error string)))
                (canon lift (core func $i "handle") (memory $i "memory") (realloc (func $i "realloc"))))
            (func $init_up (result (result (error string)))
                (canon lift (core func $i "init") (memory $i "memory") (realloc (func $i "realloc"))))
            (instance $health (export "init" (func $init_up)))
            (export "voxtra:call/health@0.1.0" (instance $health))
            {upgrade})"#
    ))
    .unwrap()
}

fn load(limits: Limits, wasm: &[u8]) -> Handler {
    runtime(limits).load_bytes(&TenantId::default(), &HandlerName::from("under-test"), wasm).unwrap()
}

async fn tried(init: &str) -> Result<(), String> {
    let handler = load(Limits::default(), &with_hooks(init, None));
    assert!(handler.has_health_check());
    handler.start_once().await.map_err(|error| error.to_string())
}

/// On virtual time, as the next two: however busy the machine is, no limit by the clock passes while the component runs.
#[tokio::test(start_paused = true)]
async fn a_version_that_finds_itself_well_is_taken() {
    assert_eq!(tried("(i32.const 96)").await, Ok(()));
    assert_eq!(key_count().start_once().await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_not_well_is_refused_in_its_own_words() {
    assert_eq!(tried("(i32.const 64)").await.unwrap_err(), "the handler does not start: its health check says: no");
    let why = tried("unreachable").await.unwrap_err();
    assert!(why.contains("its health check failed: the handler panicked or aborted"), "{why}");
}

#[tokio::test]
async fn a_health_check_that_does_not_end_is_stopped() {
    let why = tried("(loop $l (br $l)) (i32.const 96)").await.unwrap_err();
    assert!(why.contains("its health check takes longer than 2 s"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_health_check_that_uses_up_its_running_time_is_stopped() {
    let limits = Limits { cpu: Duration::from_millis(50), ..Limits::default() };
    let handler = load(limits, &with_hooks("(loop $l (br $l)) (i32.const 96)", None));
    let why = handler.start_once().await.unwrap_err().to_string();
    assert!(why.contains("its health check failed: ") && why.contains("running time"), "{why}");
}

#[tokio::test]
async fn the_count_goes_over_to_another_instance() {
    let handler = key_count();
    let first = call([key('1'), key('2'), HandlerEvent::UpgradeReady, key('9'), key('#')]);
    let mut old = handler.instantiate(first.clone()).await.unwrap();
    assert_eq!(old.handle().await, Outcome::Returned);
    let state = old.save().await.unwrap().expect("it was interrupted");
    let second = call([key('3'), key('#')]);
    let mut new = handler.instantiate(second.clone()).await.unwrap();
    assert_eq!(new.restore(&state).await, Outcome::Returned);
    let asked = second.journal().lines();
    assert!(asked.iter().any(|line| line.contains(r#"emit "keys-counted" {"keys":3}"#)), "{asked:?}");
    assert!(!asked.iter().any(|line| line == "answer"), "it goes on, and does not begin: {asked:?}");
    // It has finished: there is nothing to be handed on.
    assert_eq!(new.save().await, Ok(None));
    // The instance before can have its own state back, and still knows the call.
    assert_eq!(old.restore(&state).await, Outcome::Returned);
    assert_eq!(first.metadata_get("keys").as_deref(), Some("3"));
    assert!(old.is_alive() && new.is_alive());
}

#[tokio::test]
async fn a_state_of_another_form_is_refused_before_any_verb() {
    let call = call([key('#')]);
    let mut instance = key_count().instantiate(call.clone()).await.unwrap();
    let Outcome::Error(why) = instance.restore(&[9, 9]).await else { panic!("it was taken") };
    assert!(why.contains("unknown here"), "{why}");
    assert!(call.journal().lines().is_empty());
    assert!(instance.is_alive());
}

#[tokio::test]
async fn a_state_that_is_too_large_or_made_up_is_the_handlers_fault() {
    let well = "(i32.const 96)";
    let start = async |save: &str| {
        let handler = load(Limits::default(), &with_hooks(well, Some(save)));
        assert!(handler.has_upgrade());
        handler.instantiate(call([])).await.unwrap()
    };
    // An ok(some(list of so many bytes at 0)) at 128.
    let some = |bytes: usize| {
        format!(
            "(i32.store (i32.const 128) (i32.const 0)) (i32.store (i32.const 132) (i32.const 1)) \
             (i32.store (i32.const 136) (i32.const 0)) (i32.store (i32.const 140) (i32.const {bytes})) (i32.const 128)"
        )
    };
    let mut fits = start(&some(MAX_STATE_BYTES)).await;
    assert_eq!(fits.save().await.unwrap().map(|state| state.len()), Some(MAX_STATE_BYTES));
    let mut large = start(&some(MAX_STATE_BYTES + 1)).await;
    let Err(Outcome::Error(why)) = large.save().await else { panic!("it was taken") };
    assert!(why.contains("262145 bytes and 262144 are allowed"), "{why}");
    for bytes in [3 << 20, u32::MAX as usize] {
        let mut beyond = start(&some(bytes)).await;
        assert!(matches!(beyond.save().await, Err(Outcome::Trapped(_))), "{bytes}");
        assert!(!beyond.is_alive());
        assert!(matches!(beyond.restore(&[]).await, Outcome::Trapped(_)), "it cannot be entered again");
    }
}

#[tokio::test]
async fn a_handler_without_the_interface_hands_nothing_over() {
    let mut instance =
        load(Limits::default(), &with_hooks("(i32.const 96)", None)).instantiate(call([])).await.unwrap();
    assert_eq!(instance.save().await, Ok(None));
    assert!(matches!(instance.restore(&[]).await, Outcome::Error(_)));
}
