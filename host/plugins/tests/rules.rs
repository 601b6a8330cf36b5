//! Routers and filters: what they decide, and that one which fails, traps or takes too long is only that.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use voxtra_core::store::{CasOutcome, Entry};
use voxtra_core::verbs::{BatchRequest, BatchStatus, LogLevel};
use voxtra_core::{BoxFuture, CallError, CallInfo, TenantId};
use voxtra_plugins::fake::{FakeCall, FakeTenant, Journal};
use voxtra_plugins::{
    CallHost, ComponentLog, FilterComponent, OutgoingEvent, RouterComponent, RuleFailure, Runtime, RuntimeOptions,
    TenantHost, TrapKind, Verdict,
};

/// The folder of the built guests, as for every test of the workspace.
fn guests() -> PathBuf {
    let built_here = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/guests");
    std::env::var_os("VOXTRA_GUESTS").map_or_else(built_here, PathBuf::from)
}

fn runtime() -> Arc<Runtime> {
    Runtime::new(RuntimeOptions { max_instances: 4, ..RuntimeOptions::default() }).unwrap()
}

fn vip_router() -> RouterComponent {
    let path = guests().join("rules/vip.router.wasm");
    runtime().load_router_file(&TenantId::default(), &path).expect("run `cargo xtask guests` first")
}

fn redact_filter() -> FilterComponent {
    let path = guests().join("rules/redact.filter.wasm");
    runtime().load_filter_file(&TenantId::default(), &path).expect("run `cargo xtask guests` first")
}

/// A router whose `route` is this; what it answers is at address 0, where `none` is.
fn router_text(imports: &str, body: &str) -> String {
    format!(
        r#"(component
            (import "voxtra:call/types@0.1.0" (instance $types
                (type $direction' (enum "inbound" "outbound"))
                (export "direction" (type $direction (eq $direction')))
                (type $info' (record
                    (field "id" string) (field "tenant" string) (field "caller-id" string)
                    (field "called-number" string) (field "direction" $direction) (field "route" string)))
                (export "call-info" (type (eq $info')))))
            (alias export $types "call-info" (type $info))
            (import "voxtra:call/routing@0.1.0" (instance $routing
                (type $decision' (record (field "handler" string) (field "metadata" (list (tuple string string)))))
                (export "decision" (type (eq $decision')))))
            (alias export $routing "decision" (type $decision))
            (import "call-info" (type $info2 (eq $info)))
            (import "decision" (type $decision2 (eq $decision)))
            {imports}
            (core module $code
                (memory (export "memory") 1)
                (global $asked (mut i32) (i32.const 0))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
                (func $route (export "route") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                    {body} (i32.const 0)))
            (core instance $i (instantiate $code))
            (func (export "route") (param "call" $info2) (result (result (option $decision2) (error string)))
                (canon lift (core func $i "route") (memory $i "memory") (realloc (func $i "realloc")))))"#
    )
}

fn filter_text(body: &str) -> String {
    format!(
        r#"(component
            (import "voxtra:call/filtering@0.1.0" (instance $filtering
                (type $event' (record
                    (field "id" string) (field "kind" string) (field "session-id" string)
                    (field "timestamp" string) (field "data-json" string)))
                (export "outgoing-event" (type (eq $event')))
                (type $verdict' (variant (case "keep") (case "change" string) (case "drop")))
                (export "verdict" (type (eq $verdict')))))
            (alias export $filtering "outgoing-event" (type $event))
            (alias export $filtering "verdict" (type $verdict))
            (import "outgoing-event" (type $event2 (eq $event)))
            (import "verdict" (type $verdict2 (eq $verdict)))
            (core module $code
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
                (func (export "filter") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                    {body} (i32.const 0)))
            (core instance $i (instantiate $code))
            (func (export "filter") (param "event" $event2) (result (result $verdict2 (error string)))
                (canon lift (core func $i "filter") (memory $i "memory") (realloc (func $i "realloc")))))"#
    )
}

fn router(body: &str) -> RouterComponent {
    let wasm = wat::parse_str(router_text("", body)).unwrap();
    runtime().load_router_bytes(&TenantId::default(), &"under-test".into(), &wasm).unwrap()
}

fn filter(body: &str) -> FilterComponent {
    let wasm = wat::parse_str(filter_text(body)).unwrap();
    runtime().load_filter_bytes(&TenantId::default(), &"under-test".into(), &wasm).unwrap()
}

fn tenant() -> Arc<dyn TenantHost> {
    Arc::new(FakeTenant::new(Journal::default()))
}

fn call() -> CallInfo {
    FakeCall::new().info().clone()
}

fn event(kind: &str, data_json: &str) -> OutgoingEvent {
    OutgoingEvent {
        id: "e1".into(),
        kind: kind.into(),
        session_id: "c1".into(),
        timestamp: "2026-01-01T00:00:00Z".into(),
        data_json: data_json.into(),
    }
}

/// Stores at address 0 the error "no".
const AN_ERROR: &str = "(i32.store (i32.const 0) (i32.const 1)) (i32.store (i32.const 4) (i32.const 80)) \
                        (i32.store (i32.const 8) (i32.const 2)) (i32.store16 (i32.const 80) (i32.const 0x6f6e))";

#[tokio::test]
async fn a_router_decides_by_the_tenants_store() {
    let (router, tenant) = (vip_router(), tenant());
    assert_eq!(router.route(tenant.clone(), &call()).await, Ok(None));
    tenant.store_set("vip/100".into(), b"concierge".to_vec(), None).await.unwrap();
    let decision = router.route(tenant.clone(), &call()).await.unwrap().unwrap();
    assert_eq!(decision.handler.as_str(), "concierge");
    assert_eq!(decision.metadata, [("vip".to_owned(), "yes".to_owned())]);
    assert_eq!(router.name().as_str(), "vip");
}

#[tokio::test]
async fn a_router_fails_in_its_own_words() {
    let tenant = tenant();
    tenant.store_set("vip/100".into(), vec![0xff], None).await.unwrap();
    let failure = vip_router().route(tenant, &call()).await.unwrap_err();
    assert!(matches!(&failure, RuleFailure::Error(why) if why.contains("is not text")), "{failure}");
    assert_eq!(failure.as_str(), "error");
    assert_eq!(router(AN_ERROR).route(self::tenant(), &call()).await, Err(RuleFailure::Error("no".into())));
}

#[tokio::test]
async fn a_filter_masks_keys_and_leaves_everything_else() {
    let filter = redact_filter();
    assert_eq!(filter.filter(&event("call.ended", "{}")).await, Ok(Verdict::Keep));
    let verdict = filter.filter(&event("dtmf.received", r#"{"digit":"7","duration_ms":80}"#)).await.unwrap();
    let Verdict::Change(data) = verdict else { panic!("{verdict:?}") };
    assert!(data.contains(r#""digit":"*""#) && data.contains("80") && !data.contains('7'), "{data}");
    assert!(matches!(filter.filter(&event("dtmf.received", "[]")).await, Err(RuleFailure::Error(_))));
}

#[tokio::test]
async fn a_filter_may_drop_an_event() {
    let drop = "(i32.store8 (i32.const 4) (i32.const 2))";
    assert_eq!(filter(drop).filter(&event("x", "{}")).await, Ok(Verdict::Drop));
    assert_eq!(filter("").filter(&event("x", "{}")).await, Ok(Verdict::Keep));
}

#[tokio::test]
async fn a_trap_is_named_and_only_a_failure() {
    let router = router("unreachable");
    for _ in 0..10 {
        let failure = router.route(tenant(), &call()).await.unwrap_err();
        assert!(matches!(&failure, RuleFailure::Trapped(trap) if trap.kind == TrapKind::Unreachable), "{failure}");
        assert!(failure.to_string().contains("the router panicked"), "{failure}");
    }
    let failure = filter("unreachable").filter(&event("x", "{}")).await.unwrap_err();
    assert!(failure.to_string().contains("the filter panicked"), "{failure}");
}

#[tokio::test]
async fn a_loop_without_end_is_cut_at_the_limit() {
    let limit = Duration::from_millis(200);
    let spin = "(loop $l (br $l))";
    assert_eq!(router(spin).route(tenant(), &call()).await, Err(RuleFailure::TimedOut(limit)));
    assert_eq!(filter(spin).filter(&event("x", "{}")).await, Err(RuleFailure::TimedOut(limit)));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_holds_a_router_up_no_longer_than_its_limit() {
    let began = tokio::time::Instant::now();
    let failure = vip_router().route(Arc::new(Silent(TenantId::default())), &call()).await.unwrap_err();
    assert_eq!(failure, RuleFailure::TimedOut(Duration::from_millis(200)));
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn each_question_is_asked_in_a_fresh_instance() {
    let router = router("(if (global.get $asked) (then unreachable)) (global.set $asked (i32.const 1))");
    for _ in 0..10 {
        assert_eq!(router.route(tenant(), &call()).await, Ok(None));
    }
}

#[tokio::test]
async fn a_trap_leaves_its_backtrace_in_the_rules_own_log() {
    #[derive(Default)]
    struct Lines(Mutex<Vec<String>>);
    impl ComponentLog for Lines {
        fn log(&self, _level: LogLevel, message: &str, _fields: &[(String, String)]) {
            self.0.lock().unwrap().push(message.to_owned());
        }
    }
    let lines = Arc::new(Lines::default());
    router("unreachable").with_log(lines.clone()).route(tenant(), &call()).await.unwrap_err();
    let lines = lines.0.lock().unwrap().clone();
    assert!(lines.iter().any(|line| line.contains("0: route")), "{lines:?}");
}

#[test]
fn each_kind_is_refused_where_another_is_wanted() {
    let runtime = runtime();
    let wasm = wat::parse_str(router_text("", "")).unwrap();
    let why = runtime.load_bytes(&TenantId::default(), &"x".into(), &wasm).unwrap_err().why;
    assert!(why.contains("is a router where a handler is wanted") && why.contains("NAME.router.wasm"), "{why}");
    let why = runtime.load_filter_bytes(&TenantId::default(), &"x".into(), &wasm).unwrap_err().why;
    assert!(why.contains("is a router where a filter is wanted"), "{why}");
}

#[test]
fn a_router_cannot_reach_a_call() {
    let session = r#"(import "voxtra:call/call-session@0.1.0" (instance
        (export "call" (type $call (sub resource)))
        (export "[method]call.duration-ms" (func (param "self" (borrow $call)) (result u32)))))"#;
    let wasm = wat::parse_str(router_text(session, "")).unwrap();
    let why = runtime().load_router_bytes(&TenantId::default(), &"x".into(), &wasm).unwrap_err().why;
    assert!(why.contains("it is a router and imports voxtra:call/call-session@0.1.0"), "{why}");
}

#[test]
fn a_component_of_two_kinds_is_refused() {
    let text = router_text("", "").replace(
        "(func (export \"route\") (param \"call\"",
        "(func (export \"filter\") (result string)
            (canon lift (core func $i \"text\") (memory $i \"memory\") (realloc (func $i \"realloc\"))))
         (func (export \"route\") (param \"call\"",
    );
    let text = text.replace("(global $asked", "(func (export \"text\") (result i32) (i32.const 0)) (global $asked");
    let wasm = wat::parse_str(text).unwrap();
    let why = runtime().load_router_bytes(&TenantId::default(), &"x".into(), &wasm).unwrap_err().why;
    assert!(why.contains("a filter and a router at once"), "{why}");
}

#[test]
fn a_component_of_another_kind_than_its_name_says_is_refused() {
    let dir = std::env::temp_dir().join(format!("voxtra-rules-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let (filter, router) = (dir.join("y.router.wasm"), dir.join("z.wasm"));
    std::fs::write(&filter, wat::parse_str(filter_text("")).unwrap()).unwrap();
    std::fs::write(&router, wat::parse_str(router_text("", "")).unwrap()).unwrap();
    let (runtime, acme) = (runtime(), TenantId::from("acme"));
    let why = runtime.load_router_file(&acme, &filter).unwrap_err().to_string();
    assert!(why.contains("y.router.wasm: it is a filter where a router is wanted"), "{why}");
    let why = runtime.load_file(&acme, &router).unwrap_err().to_string();
    assert!(why.contains("z.wasm: it is a router where a handler is wanted"), "{why}");
    std::fs::remove_dir_all(dir).unwrap();
}

/// A tenant whose store never answers.
struct Silent(TenantId);

impl TenantHost for Silent {
    fn tenant(&self) -> &TenantId {
        &self.0
    }

    fn store_get(&self, _key: String) -> BoxFuture<'_, Result<Option<Entry>, CallError>> {
        Box::pin(std::future::pending())
    }

    fn store_set(&self, _: String, _: Vec<u8>, _: Option<Duration>) -> BoxFuture<'_, Result<u64, CallError>> {
        Box::pin(std::future::pending())
    }

    fn store_compare_and_set(
        &self,
        _: String,
        _: Option<u64>,
        _: Vec<u8>,
        _: Option<Duration>,
    ) -> BoxFuture<'_, Result<CasOutcome, CallError>> {
        Box::pin(std::future::pending())
    }

    fn store_delete(&self, _: String) -> BoxFuture<'_, Result<bool, CallError>> {
        Box::pin(std::future::pending())
    }

    fn store_keys(&self, _: String, _: usize) -> BoxFuture<'_, Result<Vec<String>, CallError>> {
        Box::pin(std::future::pending())
    }

    fn batch_start(&self, _: BatchRequest) -> BoxFuture<'_, Result<String, CallError>> {
        Box::pin(std::future::pending())
    }

    fn batch_status(&self, _: String) -> BoxFuture<'_, Result<BatchStatus, CallError>> {
        Box::pin(std::future::pending())
    }

    fn batch_cancel(&self, _: String) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(std::future::pending())
    }
}
