//! The example guests, each on a call that goes nowhere: what they ask for, and in which order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::sync::Arc;

use voxtra_core::verbs::{Dtmf, HandlerEvent};
use voxtra_core::{EndReason, TenantId};
use voxtra_plugins::fake::FakeCall;
use voxtra_plugins::{CallHost, Outcome, Runtime, RuntimeOptions};

/// The folder of the built guests, as for every test of the workspace.
fn guests() -> PathBuf {
    let built_here = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/guests");
    std::env::var_os("VOXTRA_GUESTS").map_or_else(built_here, PathBuf::from)
}

/// Runs a guest to its end; what it has asked for.
async fn asked(guest: &str, call: &Arc<FakeCall>) -> Vec<String> {
    let runtime = Runtime::new(RuntimeOptions { max_instances: 2, ..RuntimeOptions::default() }).unwrap();
    let path = guests().join(guest).with_extension("wasm");
    let handler = runtime.load_file(&TenantId::default(), &path).expect("run `cargo xtask guests` first");
    let mut instance = handler.instantiate(call.clone()).await.unwrap();
    assert_eq!(instance.handle().await, Outcome::Returned, "{:?}", call.logs());
    drop(instance);
    call.journal().lines()
}

fn key(digit: char) -> HandlerEvent {
    HandlerEvent::Dtmf(Dtmf { digit, duration_ms: 80 })
}

fn place(asked: &[String], wanted: &str) -> usize {
    asked.iter().position(|line| line.starts_with(wanted)).unwrap_or_else(|| panic!("no {wanted}: {asked:#?}"))
}

fn assert_order(asked: &[String], wanted: &[&str]) {
    let places: Vec<_> = wanted.iter().map(|line| place(asked, line)).collect();
    assert!(places.is_sorted(), "{wanted:?} in {asked:#?}");
}

#[tokio::test(start_paused = true)]
async fn the_switchboard_asks_the_agent_while_the_caller_hears_music_and_then_joins_them() {
    let call = FakeCall::new().with_metadata([("agent", "PJSIP/7"), ("music", "jazz")]);
    let call = Arc::new(call.with_events([HandlerEvent::Ended(EndReason::CallerHungUp)]));
    let asked = asked("switchboard", &call).await;
    let wanted = [
        "answer",
        "hold \"jazz\"",
        "originate OriginateOptions { to: \"PJSIP/7\"",
        "gather [\"sound:vm-from-phonenumber\"",
        "unhold",
        "create-bridge",
        "bridge-3 add fake-1",
        "bridge-3 add fake-2",
        "bridge-3 destroy",
    ];
    assert_order(&asked, &wanted);
    assert_eq!(call.metadata_get("outcome").as_deref(), Some("connected"));
}

#[tokio::test(start_paused = true)]
async fn the_switchboard_comes_back_to_the_caller_when_the_agent_is_busy() {
    let call = Arc::new(FakeCall::new().with_busy_agents());
    let asked = asked("switchboard", &call).await;
    assert_order(&asked, &["answer", "hold", "originate", "unhold", "gather [\"sound:sorry\""]);
    let rung = asked.iter().filter(|line| line.starts_with("originate")).count();
    assert_eq!(rung, 2, "the caller asks for it once more");
    assert!(!asked.iter().any(|line| line.contains("bridge")));
}

#[tokio::test(start_paused = true)]
async fn the_conference_joins_all_members_and_lets_the_caller_out_with_the_star() {
    let call = FakeCall::new().with_metadata([("members", "PJSIP/101 PJSIP/102")]).with_events([key('1'), key('*')]);
    let call = Arc::new(call);
    let asked = asked("conference", &call).await;
    let wanted = [
        "create-bridge",
        "bridge-2 add fake-1",
        "originate OriginateOptions { to: \"PJSIP/101\"",
        "originate OriginateOptions { to: \"PJSIP/102\"",
        "bridge-2 add fake-3",
        "bridge-2 add fake-4",
        "bridge-2 play [\"sound:conf-thereare\", \"number:3\"]",
        "bridge-2 remove fake-1",
        "hangup",
        "bridge-2 dropped",
    ];
    assert_order(&asked, &wanted);
    assert_eq!(call.metadata_get("joined").as_deref(), Some("2"));
}

#[tokio::test(start_paused = true)]
async fn the_voicemail_pauses_counts_and_tells() {
    let keys = [key('5'), key('5'), key('#')];
    let call = Arc::new(FakeCall::new().with_metadata([("mailbox", "77")]).with_events(keys));
    let asked = asked("voicemail", &call).await;
    let wanted = [
        "answer",
        "record-start",
        "record-pause true",
        "record-pause false",
        "record-stop",
        "metadata-share",
        "emit \"voicemail.left\" {",
    ];
    assert_order(&asked, &wanted);
    let told = &asked[place(&asked, "emit")];
    assert!(told.contains("\"mailbox\":\"77\"") && told.contains("\"messages\":1"), "{told}");
    let counted = call.tenant().store_get("voicemail/77/messages".into()).await.unwrap().unwrap();
    assert_eq!(&counted.value[..], b"1");
}
