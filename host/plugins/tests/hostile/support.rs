//! Attackers, and what becomes of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use voxtra_core::TenantId;
use voxtra_plugins::fake::FakeCall;
use voxtra_plugins::{Handler, Limits, LoadError, Outcome, Runtime, RuntimeOptions, TrapKind};

/// Little time, so that a loop without end does not last.
pub(crate) fn briefly() -> Limits {
    Limits { cpu: Duration::from_millis(100), ..Limits::default() }
}

/// As every call has them.
pub(crate) fn by_default() -> Limits {
    Limits::default()
}

/// A runtime with room for one instance: what one call leaves behind, the next one finds.
pub(crate) fn runtime(limits: Limits) -> Arc<Runtime> {
    Runtime::new(RuntimeOptions { max_instances: 1, limits, ..RuntimeOptions::default() }).unwrap()
}

/// An attacker of `guests/hostile`.
pub(crate) fn guest(runtime: &Arc<Runtime>, name: &str) -> Handler {
    runtime.load_file(&TenantId::default(), &guest_file(name)).expect("run `cargo xtask guests` first")
}

pub(crate) fn guest_file(name: &str) -> PathBuf {
    let built_here = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/guests");
    let guests = std::env::var_os("VOXTRA_GUESTS").map_or_else(built_here, PathBuf::from);
    guests.join("hostile").join(name).with_extension("wasm")
}

pub(crate) fn load(runtime: &Arc<Runtime>, wasm: &[u8]) -> Result<Handler, LoadError> {
    runtime.load_bytes(&TenantId::default(), &"attacker".into(), wasm)
}

/// What became of an attack.
pub(crate) struct Ran {
    pub(crate) outcome: Outcome,
    /// What reached the host.
    pub(crate) asked: Vec<String>,
    pub(crate) logs: Vec<String>,
}

impl Ran {
    /// What stopped it.
    pub(crate) fn trap(&self) -> TrapKind {
        match &self.outcome {
            Outcome::Trapped(trap) => trap.kind,
            other => panic!("it was not stopped: {other:?}; {:?}", self.asked.last()),
        }
    }

    /// What it says that a probe got.
    pub(crate) fn got(&self, probe: &str) -> String {
        assert_eq!(self.outcome, Outcome::Returned, "{:?}", self.logs);
        let key = format!("\"{probe}\":\"");
        let told = self.asked.iter().filter(|line| line.starts_with("emit \"attack.result\""));
        let result = told.filter_map(|line| line.split_once(&key)).map(|(_, rest)| rest).next();
        let result = result.unwrap_or_else(|| panic!("nothing of {probe:?}: {:?}", self.asked.last()));
        result.split_once('"').map(|(result, _)| result.to_owned()).unwrap_or_default()
    }

    /// How often the host was asked for something that begins so.
    pub(crate) fn times(&self, what: &str) -> usize {
        self.asked.iter().filter(|line| line.starts_with(what)).count()
    }
}

/// Runs it on a call and drops it.
pub(crate) async fn run(handler: &Handler, call: FakeCall) -> Ran {
    let call = Arc::new(call);
    let mut instance = handler.instantiate(call.clone()).await.unwrap();
    let outcome = instance.handle().await;
    drop(instance);
    Ran { outcome, asked: call.journal().lines(), logs: call.logs() }
}

/// Runs an attack of a guest.
pub(crate) async fn attack(limits: Limits, name: &str, attack: &str) -> Ran {
    attack_with(limits, name, attack, &[]).await
}

/// The same, with more notes.
pub(crate) async fn attack_with(limits: Limits, name: &str, attack: &str, notes: &[(&str, &str)]) -> Ran {
    let call = FakeCall::new().with_metadata([("attack", attack)]).with_metadata(notes.iter().copied());
    run(&guest(&runtime(limits), name), call).await
}

/// A component around a core module of these fields, whose `handle` is this body. `beside` stands before the module and may
/// make instances of others, which the module gets through `with`.
pub(crate) struct Written<'t> {
    pub(crate) beside: &'t str,
    pub(crate) with: &'t str,
    pub(crate) fields: &'t str,
    pub(crate) body: &'t str,
}

impl Default for Written<'_> {
    fn default() -> Self {
        Self { beside: "", with: "", fields: "(memory (export \"memory\") 1)", body: "" }
    }
}

impl Written<'_> {
    pub(crate) fn wasm(&self) -> Vec<u8> {
        let Self { beside, with, fields, body } = self;
        let text = format!(
            r#"(component
                (import "voxtra:call/call-session@0.1.0" (instance $session (export "call" (type (sub resource)))))
                (alias export $session "call" (type $call))
                {beside}
                (core module $code
                    {fields}
                    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
                    (func $handle (export "handle") (param i32) (result i32) {body} (i32.const 0)))
                (core instance $i (instantiate $code {with}))
                (func (export "handle") (param "call" (own $call)) (result (result (error string)))
                    (canon lift (core func $i "handle") (memory $i "memory") (realloc (func $i "realloc")))))"#
        );
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// Runs it on a call of its own.
    pub(crate) async fn run(&self, limits: Limits) -> Ran {
        run(&load(&runtime(limits), &self.wasm()).unwrap(), FakeCall::new()).await
    }
}

/// The same handler for whoever comes after an attack: it has to work as if nothing had been.
pub(crate) async fn assert_the_next_call_is_served(runtime: &Arc<Runtime>) {
    let harmless = load(runtime, &Written::default().wasm()).unwrap();
    assert_eq!(run(&harmless, FakeCall::new()).await.outcome, Outcome::Returned);
}
