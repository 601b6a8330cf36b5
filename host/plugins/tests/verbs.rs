//! What of the contract reaches a call's host, and what comes back: a real component asks, driven by a script
//! (`guests/every-verb`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use voxtra_core::http::{HttpError, HttpRequest, HttpResponse, Reason};
use voxtra_core::verbs::{AnsweredBy, Dtmf, HandlerEvent, PlayOutcome, RecordingInfo};
use voxtra_core::{CallError, EndReason, HangupCause, PlaybackId, RecordingId, TenantId};
use voxtra_plugins::fake::FakeCall;
use voxtra_plugins::{CallHost, Handler, Limits, Outcome, Runtime, RuntimeOptions, TrapKind};

/// The folder of the built guests, as for every test of the workspace.
fn guests() -> PathBuf {
    let built_here = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/guests");
    std::env::var_os("VOXTRA_GUESTS").map_or_else(built_here, PathBuf::from)
}

fn every_verb(limits: Limits) -> Handler {
    let runtime = Runtime::new(RuntimeOptions { max_instances: 4, limits, ..RuntimeOptions::default() }).unwrap();
    let path = guests().join("every-verb.wasm");
    runtime.load_file(&TenantId::default(), &path).expect("run `cargo xtask guests` first")
}

struct Ran {
    outcome: Outcome,
    /// Of each statement.
    results: Vec<String>,
    /// What reached the host.
    asked: Vec<String>,
}

async fn run_on(call: FakeCall, limits: Limits, script: &str) -> Ran {
    let call = Arc::new(call.with_metadata([("do", script), ("quiet", "yes")]));
    let mut instance = every_verb(limits).instantiate(call.clone()).await.unwrap();
    let outcome = instance.handle().await;
    drop(instance);
    let result = |n: usize| call.metadata_get(&format!("result.{n}"));
    Ran { outcome, results: (1..).map_while(result).collect(), asked: call.journal().lines() }
}

async fn run(script: &str) -> Ran {
    run_on(FakeCall::new(), Limits::default(), script).await
}

/// A statement, what the host is asked (none: nothing) and the result.
type Row = (&'static str, Option<&'static str>, &'static str);

const VERBS: &[Row] = &[
    ("answer", Some("answer"), "ok"),
    ("ring", Some("ring"), "ok"),
    ("hold jazz", Some("hold \"jazz\""), "ok"),
    ("hold", Some("hold \"\""), "ok"),
    ("unhold", Some("unhold"), "ok"),
    ("transfer PJSIP/100", Some("transfer \"PJSIP/100\""), "ok"),
    ("queue sales account=7", Some("transfer-to-queue \"sales\" [(\"account\", \"7\")]"), "ok"),
    (
        "dialplan - 100 3",
        Some("continue-in-dialplan DialplanPlace { context: \"\", extension: \"100\", priority: 3 }"),
        "ok",
    ),
    ("variable-set TIER gold", Some("set-variable \"TIER\" \"gold\""), "ok"),
    ("variable-get TIER", Some("get-variable \"TIER\""), "ok value of TIER"),
    ("variable-get UNSET", Some("get-variable \"UNSET\""), "ok none"),
    ("metadata-share a b", Some("metadata-share [\"a\", \"b\"]"), "ok"),
    ("state", None, "ok in-progress"),
    ("duration", None, "ok 1000"),
    ("play sound:a digits:1", Some("play [\"sound:a\", \"digits:1\"] \"\""), "ok finished"),
    ("play-until 12 sound:a", Some("play [\"sound:a\"] \"12\""), "ok interrupted 1"),
    ("gather 1 4 # sound:a", Some("gather [\"sound:a\"] 1-4"), "ok 1 maximum"),
    ("listen 3 100", Some("gather [] 0-3"), "ok 1 maximum"),
    ("dtmf 1w2", Some("send-dtmf \"1w2\""), "ok"),
    (
        "record pbx beep name=x max=5000 silence=2000 sink=s3",
        Some(
            "record-start RecordOptions { name: \"x\", recorder: Pbx, beep: true, max_duration: Some(5s), max_silence: \
             Some(2s), sink: \"s3\" }",
        ),
        "ok recording-1",
    ),
    ("record-pause", Some("record-pause true"), "ok"),
    ("record-resume", Some("record-pause false"), "ok"),
    ("record-stop", Some("record-stop"), "ok fake 2000 64044"),
    (
        "record host",
        Some(
            "record-start RecordOptions { name: \"\", recorder: Host, beep: false, max_duration: None, max_silence: \
             None, sink: \"\" }",
        ),
        "ok recording-1",
    ),
    (
        "originate 100 ring=2000 caller=+265 var=A:1 meta=b:2",
        Some(
            "originate OriginateOptions { to: \"100\", caller_id: \"+265\", ring_timeout: Some(2s), variables: \
             [(\"A\", \"1\")], metadata: [(\"b\", \"2\")] }",
        ),
        "ok 1 fake-2",
    ),
    ("on 1 wait-answer 1000", None, "ok yes"),
    ("on 1 play sound:b", Some("play [\"sound:b\"] \"\""), "ok finished"),
    ("bridge", Some("create-bridge"), "ok bridge-3"),
    ("bridge-add 0", Some("bridge-3 add fake-1"), "ok"),
    ("bridge-add 1", Some("bridge-3 add fake-2"), "ok"),
    ("bridge-play sound:c", Some("bridge-3 play [\"sound:c\"]"), "ok"),
    ("bridge-remove 1", Some("bridge-3 remove fake-2"), "ok"),
    ("snoop in out", Some("snoop SnoopOptions { spy: In, whisper: Out }"), "ok snoop-4"),
    ("snoop-play sound:d", Some("snoop-4 play [\"sound:d\"]"), "ok"),
    ("bridge-add-snoop", Some("bridge-3 add-snoop snoop-4"), "ok"),
    ("snoop-stop", Some("snoop-4 stop"), "ok"),
    ("bridge-destroy", Some("bridge-3 destroy"), "ok"),
    ("snoop both none", Some("snoop SnoopOptions { spy: Both, whisper: None }"), "ok snoop-5"),
    ("playback sound:e", Some("start-playback [\"sound:e\"]"), "ok playback-6"),
    ("playback-stop", Some("playback-6 stop"), "ok"),
    ("playback-wait 1500", Some("playback-6 wait 1.5s"), "ok stopped"),
    ("detect host", Some("detect-machine Host"), "ok machine"),
    ("detect pbx", Some("detect-machine Pbx"), "ok machine"),
    ("emit order {\"n\": 1}", Some("emit \"order\" {\"n\": 1}"), "ok"),
    (
        "batch reminder 1001 1002",
        Some(
            "batch-start BatchRequest { name: \"every-verb\", handler: \"reminder\", concurrency: 0, calls_per_10_s: 0, \
             retries: \"\", detect_machine: false, rows: [BatchRow { number: \"1001\", metadata: [] }, BatchRow { \
             number: \"1002\", metadata: [] }] }",
        ),
        "ok batch-1",
    ),
    ("batch-status", Some("batch-status \"batch-1\""), "ok 2 total 0 done 1 live 0 answered 0 failed under way"),
    ("batch-cancel", Some("batch-cancel \"batch-1\""), "ok"),
    ("hangup busy", Some("hangup Busy"), "ok"),
];

#[tokio::test]
async fn each_verb_reaches_the_host_with_its_arguments_and_its_result_comes_back() {
    // A call keeps few notes, and each result is one: the script is not done in one go on a real host. The fake has room.
    let script: Vec<_> = VERBS.iter().map(|(statement, ..)| *statement).collect();
    let ran = run(&script.join("; ")).await;
    assert_eq!(ran.outcome, Outcome::Returned);
    let mut asked = ran.asked.iter().filter(|line| !line.ends_with("dropped"));
    for (n, (statement, wanted, result)) in VERBS.iter().enumerate() {
        assert_eq!(ran.results[n], *result, "{statement}");
        if let Some(wanted) = wanted {
            assert_eq!(asked.next().map(String::as_str), Some(*wanted), "{statement}");
        }
    }
    assert_eq!(asked.next(), None);
}

#[tokio::test]
async fn each_refusal_comes_back_as_what_it_is() {
    let why = || "because".to_owned();
    let refusals = [
        (CallError::HungUp, "error hung-up"),
        (CallError::Timeout, "error timeout"),
        (CallError::InvalidArgument(why()), "error invalid-argument because"),
        (CallError::NotConfigured(why()), "error not-configured because"),
        (CallError::Denied(why()), "error denied because"),
        (CallError::LimitExceeded(why()), "error limit-exceeded because"),
        (CallError::Telephony(why()), "error telephony because"),
        (CallError::Provider(why()), "error provider because"),
    ];
    let script = "ring; hold; unhold; transfer a; queue a; dialplan; variable-set a b; variable-get a; playback a; \
                  record host; originate a; bridge; snoop in out; detect host; emit a {}; metadata-share a; http GET https://a.example";
    for (error, result) in refusals {
        let ran = run_on(FakeCall::new().refusing(error), Limits::default(), script).await;
        assert_eq!(ran.results.len(), 17);
        assert!(ran.results.iter().all(|r| r == result), "{result}: {:?}", ran.results);
    }
}

#[tokio::test]
async fn each_event_reaches_the_guest() {
    let recording = RecordingInfo { id: RecordingId::from("r"), name: "n".into(), duration_ms: 20, size_bytes: 364 };
    let events = [
        (HandlerEvent::Ringing, "ok ringing"),
        (HandlerEvent::Answered, "ok answered"),
        (HandlerEvent::Dtmf(Dtmf { digit: '#', duration_ms: 80 }), "ok dtmf #"),
        (HandlerEvent::MediaStarted, "ok media-started"),
        (HandlerEvent::MediaStopped, "ok media-stopped"),
        (
            HandlerEvent::PlaybackFinished(PlaybackId::from("p"), Ok(PlayOutcome::Stopped)),
            "ok playback-finished p stopped",
        ),
        (
            HandlerEvent::PlaybackFinished(PlaybackId::from("p"), Err("no sound".into())),
            "ok playback-finished p failed no sound",
        ),
        (HandlerEvent::RecordingFinished(recording), "ok recording-finished n 20 364"),
        (HandlerEvent::RecordingFailed(RecordingId::from("r"), "full".into()), "ok recording-failed r full"),
        (HandlerEvent::AnsweredBy(AnsweredBy::NotSure), "ok answered-by not-sure"),
        (HandlerEvent::UpgradeReady, "ok upgrade-ready"),
        (
            HandlerEvent::Ended(EndReason::NotAnswered(HangupCause::Busy)),
            "ok ended EndReason::NotAnswered(HangupCause::Busy)",
        ),
        (HandlerEvent::Ended(EndReason::CallLimit), "ok ended EndReason::CallLimit"),
        (HandlerEvent::Ended(EndReason::OperatorHungUp), "ok ended EndReason::OperatorHungUp"),
    ];
    let call = FakeCall::new().with_events(events.iter().map(|(event, _)| event.clone()));
    let ran = run_on(call, Limits::default(), &"event 0; ".repeat(events.len())).await;
    let wanted: Vec<_> = events.iter().map(|(_, told)| (*told).to_owned()).collect();
    assert_eq!(ran.results, wanted);
}

#[tokio::test]
async fn a_dropped_bridge_is_taken_down_and_a_dropped_snoop_away_at_once() {
    let ran = run("bridge; bridge-add 0; bridge-drop; snoop in none; snoop-drop; answer").await;
    let wanted = [
        "create-bridge",
        "bridge-2 add fake-1",
        "bridge-2 dropped",
        "snoop SnoopOptions { spy: In, whisper: None }",
        "snoop-3 dropped",
        "answer",
    ];
    assert_eq!(ran.asked, wanted);
}

#[tokio::test]
async fn what_a_handler_holds_goes_with_its_instance_also_after_a_trap() {
    let ran = run("bridge; snoop in none; trap").await;
    assert!(matches!(ran.outcome, Outcome::Trapped(trap) if trap.kind == TrapKind::Unreachable));
    assert!(ran.asked.contains(&"bridge-2 dropped".to_owned()), "{:?}", ran.asked);
    assert!(ran.asked.contains(&"snoop-3 dropped".to_owned()), "{:?}", ran.asked);
}

#[tokio::test]
async fn a_handler_cannot_hold_more_than_its_limit() {
    let limits = Limits { handles: 20, ..Limits::default() };
    let ran = run_on(FakeCall::new(), limits, &"originate 100; ".repeat(40)).await;
    assert!(matches!(ran.outcome, Outcome::Trapped(trap) if trap.kind == TrapKind::HostCallLimit));
    assert!((1..20).contains(&ran.asked.len()), "{} calls were placed", ran.asked.len());
}

#[tokio::test]
async fn the_store_is_the_tenants_and_compares_versions() {
    let ran = run("store-get a; store-set a one; store-cas a - two; store-cas a 1 two; store-get a; store-add n 40; \
         store-add n 2; store-set b x 60000; store-keys n 10; store-delete a; store-delete a; store-get a")
    .await;
    let wanted = [
        "ok none",
        "ok 1",
        "ok conflict 1",
        "ok stored 2",
        "ok 2 two",
        "ok 40",
        "ok 42",
        "ok 5",
        "ok n",
        "ok yes",
        "ok no",
        "ok none",
    ];
    assert_eq!(ran.results, wanted);
}

#[tokio::test]
async fn a_request_over_http_reaches_the_host_as_it_was_made_and_the_answer_comes_back() {
    let call = FakeCall::new();
    let http = Arc::clone(call.http());
    // Latin-1, as old servers send it.
    let headers = vec![("x-city".to_owned(), Bytes::from_static(b"Z\xfcrich"))];
    http.answer(Ok(HttpResponse { status: 201, headers, body: "made".into(), url: String::new() }));
    http.answer(Err(HttpError::new(Reason::Host, "no entry names it")));
    http.answer(Err(HttpError::new(Reason::Time, "late")));
    let script = "http POST https://a.example/x?y authorization:{{secret:crm}} body:hello timeout:1500 redirects:2; \
                  http GET https://b.example/; http GET https://c.example/";
    let ran = run_on(call, Limits::default(), script).await;
    let wanted = ["ok 201 x-city:Zürich made", "error denied http: no entry names it", "error timeout"];
    assert_eq!(ran.results, wanted);
    let asked = http.asked();
    let first = HttpRequest {
        timeout: Some(Duration::from_millis(1_500)),
        redirects: 2,
        ..HttpRequest::new("POST", "https://a.example/x?y").header("authorization", "{{secret:crm}}").body("hello")
    };
    assert_eq!(asked[..2], [first, HttpRequest::new("GET", "https://b.example/")]);
}

#[tokio::test(start_paused = true)]
async fn requests_over_http_have_a_pace_of_their_own() {
    let limits = Limits { verbs_per_second: 0, provider_calls_per_second: 10, ..Limits::default() };
    let began = tokio::time::Instant::now();
    let ran = run_on(FakeCall::new(), limits, &"http GET https://a.example; ".repeat(30)).await;
    assert_eq!(ran.results.len(), 30);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1_900), "a flood waits: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn waiting_for_an_answer_ends_when_its_time_has_passed() {
    // The fake's own call never ends by itself, and is up from its start.
    let ran = run("wait-answer 1000; event 5000").await;
    assert_eq!(ran.results, ["ok yes", "error timeout"]);
}

#[tokio::test(start_paused = true)]
async fn audio_goes_both_ways() {
    let ran = run("tone 440 200; hear 100").await;
    assert_eq!(ran.results[0], "ok");
    assert_eq!(ran.asked, ["open-audio 8000", "close-audio", "open-audio 8000", "close-audio"]);
}

#[tokio::test]
async fn a_script_that_wants_to_fail_fails_in_its_own_words() {
    assert_eq!(run("fail no account").await.outcome, Outcome::Error("no account".into()));
}

#[tokio::test]
async fn a_forged_handle_traps() {
    let text = r#"(component
        (import "voxtra:call/call-session@0.1.0" (instance $session
            (export "call" (type $call (sub resource)))
            (export "[method]call.duration-ms" (func (param "self" (borrow $call)) (result u32)))))
        (alias export $session "call" (type $call))
        (alias export $session "[method]call.duration-ms" (func $duration))
        (core module $libc (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
        (core instance $libc (instantiate $libc))
        (core func $duration' (canon lower (func $duration)))
        (core module $code
            (import "host" "duration" (func $duration (param i32) (result i32)))
            (func (export "handle") (param i32) (result i32)
                ;; The next handle, which nobody has given it.
                (drop (call $duration (i32.add (local.get 0) (i32.const 1))))
                (i32.const 0)))
        (core instance $i (instantiate $code (with "host" (instance (export "duration" (func $duration'))))))
        (func (export "handle") (param "call" (own $call)) (result (result (error string)))
            (canon lift (core func $i "handle") (memory $libc "memory") (realloc (func $libc "realloc")))))"#;
    let runtime = Runtime::new(RuntimeOptions { max_instances: 4, ..RuntimeOptions::default() }).unwrap();
    let wasm = wat::parse_str(text).unwrap();
    let handler = runtime.load_bytes(&TenantId::default(), &"forger".into(), &wasm).unwrap();
    let mut instance = handler.instantiate(Arc::new(FakeCall::new())).await.unwrap();
    let Outcome::Trapped(trap) = instance.handle().await else { panic!("it went through") };
    assert!(trap.message.contains("handle"), "{trap}");
}

#[tokio::test]
async fn every_function_of_the_contract_counts_as_a_call_of_the_host_also_those_that_cost_nothing() {
    let text = r#"(component
        (import "voxtra:call/types@0.1.0" (instance $types
            (type $error' (variant (case "hung-up") (case "timeout") (case "invalid-argument" string)
                (case "not-configured" string) (case "denied" string) (case "limit-exceeded" string)
                (case "telephony" string) (case "provider" string)))
            (export "error" (type (eq $error')))))
        (alias export $types "error" (type $error))
        (import "voxtra:call/call-session@0.1.0" (instance $session
            (alias outer 1 $error (type $error'))
            (export "error" (type $error (eq $error')))
            (export "call" (type $call (sub resource)))
            (export "audio" (type $audio (sub resource)))
            (type $format' (record (field "rate-hz" u32)))
            (export "audio-format" (type $format (eq $format')))
            (export "[method]call.duration-ms" (func (param "self" (borrow $call)) (result u32)))
            (export "[method]call.upgrade-pending" (func (param "self" (borrow $call)) (result bool)))
            (export "[method]call.open-audio" (func (param "self" (borrow $call)) (param "format" $format)
                (result (result (own $audio) (error $error)))))
            (export "[method]audio.clear" (func (param "self" (borrow $audio)) (result (result (error $error)))))
            (export "[method]audio.queued-ms" (func (param "self" (borrow $audio)) (result u32)))))
        (alias export $session "call" (type $call))
        (alias export $session "audio" (type $audio))
        (alias export $session "[method]call.duration-ms" (func $duration))
        (alias export $session "[method]call.upgrade-pending" (func $pending))
        (alias export $session "[method]call.open-audio" (func $open))
        (alias export $session "[method]audio.clear" (func $clear))
        (alias export $session "[method]audio.queued-ms" (func $queued))
        (core module $libc (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
        (core instance $libc (instantiate $libc))
        (core func $duration' (canon lower (func $duration)))
        (core func $pending' (canon lower (func $pending)))
        (core func $open' (canon lower (func $open) (memory $libc "memory") (realloc (func $libc "realloc"))))
        (core func $clear' (canon lower (func $clear) (memory $libc "memory") (realloc (func $libc "realloc"))))
        (core func $queued' (canon lower (func $queued)))
        (core func $close' (canon resource.drop $audio))
        (core func $forget' (canon resource.drop $call))
        (core module $code
            (import "libc" "memory" (memory 1))
            (import "host" "duration" (func $duration (param i32) (result i32)))
            (import "host" "pending" (func $pending (param i32) (result i32)))
            (import "host" "open" (func $open (param i32 i32 i32)))
            (import "host" "clear" (func $clear (param i32 i32)))
            (import "host" "queued" (func $queued (param i32) (result i32)))
            (import "host" "close" (func $close (param i32)))
            (import "host" "forget" (func $forget (param i32)))
            (func (export "handle") (param $call i32) (result i32) (local $audio i32)
                (drop (call $duration (local.get $call)))
                (drop (call $pending (local.get $call)))
                (call $open (local.get $call) (i32.const 8000) (i32.const 64))
                ;; The handle comes after the word that there is one.
                (local.set $audio (i32.load (i32.const 68)))
                (call $clear (local.get $audio) (i32.const 128))
                (call $clear (local.get $audio) (i32.const 128))
                (call $clear (local.get $audio) (i32.const 128))
                (drop (call $queued (local.get $audio)))
                (call $close (local.get $audio))
                (call $forget (local.get $call))
                (i32.const 0)))
        (core instance $i (instantiate $code
            (with "libc" (instance $libc))
            (with "host" (instance
                (export "duration" (func $duration')) (export "pending" (func $pending')) (export "open" (func $open'))
                (export "clear" (func $clear')) (export "queued" (func $queued')) (export "close" (func $close'))
                (export "forget" (func $forget'))))))
        (func (export "handle") (param "call" (own $call)) (result (result (error string)))
            (canon lift (core func $i "handle") (memory $libc "memory") (realloc (func $libc "realloc")))))"#;
    let runtime = Runtime::new(RuntimeOptions { max_instances: 4, ..RuntimeOptions::default() }).unwrap();
    let wasm = wat::parse_str(text).unwrap();
    let handler = runtime.load_bytes(&TenantId::default(), &"counts".into(), &wasm).unwrap();
    let mut instance = handler.instantiate(Arc::new(FakeCall::new())).await.unwrap();
    assert_eq!(instance.handle().await, Outcome::Returned);
    assert_eq!(instance.usage().host_calls, 9);
}
