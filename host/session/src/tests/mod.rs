//! What is claimed of calls, on virtual time, without wasm: handlers are closures, the leg is a fake.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod audio;
mod breaker;
mod canary;
mod capabilities;
mod drain;
mod ending;
mod events;
mod failure;
mod hand_on;
mod host;
mod http;
mod keys;
mod life;
mod limits;
mod made;
mod metering;
mod once;
mod own_prompts;
mod placing;
mod play;
mod playback;
mod recording;
mod rules;
mod starting;
mod upgrade;
mod verbs;
mod versions;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::sleep;
use voxtra_core::event::RecordingEventSink;
use voxtra_core::fake::{FakeExchange, FakeLeg};
use voxtra_core::telephony::LegEnd;
use voxtra_core::verbs::{Dtmf, EndedCall};
use voxtra_core::{
    BoxFuture, CallId, Capabilities, EventType, HandlerName, LegEvent, PlaybackId, Switchboard, TenantId, Usage,
};
use voxtra_plugins::{Outcome, SharedCall, StartError, Trap, TrapKind};

use crate::dial::DialPolicy;
use crate::handlers::{HandlerInstance, HandlerVersion, Handlers};
use crate::host::Host;
use crate::limits::VersionLimits;
use crate::options::{HostOptions, OnFailure, Runtimes};
use crate::ports::HostPorts;
use crate::router::{Router, TenantRoutes};

const SECOND: Duration = Duration::from_secs(1);

type Script = Arc<dyn Fn(SharedCall) -> BoxFuture<'static, Outcome> + Send + Sync>;
type Hook = Arc<dyn Fn(EndedCall) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// A handler made of closures.
struct TestHandler {
    name: HandlerName,
    script: Script,
    hook: Option<Hook>,
    busy: AtomicBool,
    /// Why no instance is made.
    refuses: Mutex<Option<StartError>>,
    version: &'static str,
    capabilities: Capabilities,
    limits: VersionLimits,
    /// How long an instance takes to be made.
    starts_in: Duration,
    starts: Arc<AtomicUsize>,
    /// What hooks were told, and the number of the instance that they ran in.
    hooked: Arc<Mutex<Vec<(usize, EndedCall)>>>,
}

impl TestHandler {
    fn new<F>(name: &str, script: impl Fn(SharedCall) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        Self {
            name: HandlerName::from(name),
            script: Arc::new(move |call| Box::pin(script(call))),
            hook: None,
            busy: AtomicBool::new(false),
            refuses: Mutex::default(),
            version: "0123456789ab",
            capabilities: Capabilities::ALL,
            limits: VersionLimits::default(),
            starts_in: Duration::ZERO,
            starts: Arc::default(),
            hooked: Arc::default(),
        }
    }

    /// The handler of every call, with a hook that only notes what it was told.
    fn default<F>(script: impl Fn(SharedCall) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        Self::new("default", script).with_hook(|_| async { Outcome::Returned })
    }

    fn with_hook<F>(mut self, hook: impl Fn(EndedCall) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.hook = Some(Arc::new(move |ended| Box::pin(hook(ended))));
        self
    }
}

struct TestInstance {
    number: usize,
    call: SharedCall,
    script: Script,
    hook: Option<Hook>,
    hooked: Arc<Mutex<Vec<(usize, EndedCall)>>>,
    alive: bool,
    used: Duration,
}

/// What running a handler, and its hook, is said to take.
const HANDLE_CPU: Duration = Duration::from_millis(5);
const HOOK_CPU: Duration = Duration::from_millis(2);

impl HandlerVersion for TestHandler {
    fn name(&self) -> &HandlerName {
        &self.name
    }

    fn version(&self) -> &str {
        self.version
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn limits(&self) -> VersionLimits {
        self.limits
    }

    fn has_hangup_hook(&self) -> bool {
        self.hook.is_some()
    }

    fn start(&self, call: SharedCall) -> BoxFuture<'_, Result<Box<dyn HandlerInstance>, StartError>> {
        Box::pin(async move {
            if self.busy.load(Ordering::Relaxed) {
                return Err(StartError::Busy);
            }
            if let Some(why) = self.refuses.lock().unwrap().clone() {
                return Err(why);
            }
            if !self.starts_in.is_zero() {
                sleep(self.starts_in).await;
            }
            let number = self.starts.fetch_add(1, Ordering::Relaxed);
            let (script, hook, hooked) = (Arc::clone(&self.script), self.hook.clone(), Arc::clone(&self.hooked));
            let used = Duration::ZERO;
            let instance = TestInstance { number, call, script, hook, hooked, alive: true, used };
            Ok(Box::new(instance) as Box<dyn HandlerInstance>)
        })
    }
}

impl HandlerInstance for TestInstance {
    fn handle(&mut self) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            self.alive = false;
            self.used += HANDLE_CPU;
            let outcome = (self.script)(Arc::clone(&self.call)).await;
            self.alive = !matches!(outcome, Outcome::Trapped(_));
            outcome
        })
    }

    fn on_hangup<'a>(&'a mut self, ended: &'a EndedCall) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            self.used += HOOK_CPU;
            self.hooked.lock().unwrap().push((self.number, ended.clone()));
            match &self.hook {
                Some(hook) => hook(ended.clone()).await,
                None => Outcome::Returned,
            }
        })
    }

    fn is_alive(&self) -> bool {
        self.alive
    }

    fn usage(&self) -> Usage {
        Usage { cpu: self.used, peak_memory_bytes: 1_000, host_calls: 1, ..Usage::default() }
    }
}

#[derive(Default)]
struct TestHandlers(HashMap<HandlerName, Arc<TestHandler>>);

/// Handlers, one of which may take no calls.
struct Withheld(Arc<TestHandlers>, HandlerName);

impl Handlers for Withheld {
    fn get(&self, tenant: &TenantId, name: &HandlerName) -> Option<Arc<dyn HandlerVersion>> {
        self.0.get(tenant, name).filter(|_| *name != self.1)
    }

    fn is_withheld(&self, _tenant: &TenantId, name: &HandlerName) -> bool {
        *name == self.1
    }
}

impl Handlers for TestHandlers {
    fn get(&self, _tenant: &TenantId, name: &HandlerName) -> Option<Arc<dyn HandlerVersion>> {
        self.0.get(name).map(|handler| Arc::clone(handler) as Arc<dyn HandlerVersion>)
    }
}

fn catalog(handlers: impl IntoIterator<Item = TestHandler>) -> Arc<TestHandlers> {
    Arc::new(TestHandlers(handlers.into_iter().map(|h| (h.name.clone(), Arc::new(h))).collect()))
}

/// A host with what its tests look at.
struct Kit {
    host: Arc<Host>,
    sink: Arc<RecordingEventSink>,
    handlers: Arc<TestHandlers>,
    exchange: Arc<FakeExchange>,
}

impl Kit {
    fn new(handlers: impl IntoIterator<Item = TestHandler>) -> Self {
        Self::with(HostOptions::default(), OnFailure::default(), handlers)
    }

    fn with(options: HostOptions, on_failure: OnFailure, handlers: impl IntoIterator<Item = TestHandler>) -> Self {
        Self::with_all(options, on_failure, handlers, |_| {})
    }

    /// A host with more than an event sink.
    fn with_ports(handlers: impl IntoIterator<Item = TestHandler>, set: impl FnOnce(&mut HostPorts)) -> Self {
        Self::with_all(HostOptions::default(), OnFailure::default(), handlers, set)
    }

    fn with_all(
        options: HostOptions,
        on_failure: OnFailure,
        handlers: impl IntoIterator<Item = TestHandler>,
        set: impl FnOnce(&mut HostPorts),
    ) -> Self {
        let handlers = catalog(handlers);
        let sink = Arc::<RecordingEventSink>::default();
        let tenant = TenantRoutes { app: "voxtra".into(), on_failure, ..TenantRoutes::default() };
        let router = Router::new([tenant]).unwrap();
        let runtimes = Runtimes::single(Handle::current());
        let mut ports = HostPorts::from(Arc::clone(&sink));
        set(&mut ports);
        let host = Host::new(options, Arc::clone(&handlers) as Arc<dyn Handlers>, router, ports, runtimes);
        Self { host, sink, handlers, exchange: FakeExchange::new() }
    }

    /// The tenant may dial two digits that begin with 9, and `PJSIP/100`.
    fn may_dial(self) -> Self {
        let policy = DialPolicy {
            patterns: vec!["9X".into()],
            template: "PJSIP/{number}@trunk".into(),
            endpoints: vec!["PJSIP/100".into()],
            caller_ids: vec!["+100".into()],
            contexts: vec!["sales".into()],
            ..DialPolicy::default()
        };
        self.host.set_dial_policies([(TenantId::default(), policy)]).unwrap();
        self
    }

    /// The leg that was placed as the so-manieth.
    fn placed(&self, n: usize) -> Arc<FakeLeg> {
        Arc::clone(&self.exchange.placed()[n].1)
    }

    /// A call comes in.
    fn call(&self, id: &str) -> Arc<FakeLeg> {
        self.call_with(FakeLeg::new(), id)
    }

    fn call_with(&self, leg: Arc<FakeLeg>, id: &str) -> Arc<FakeLeg> {
        leg.connect(self.host.incoming(leg.incoming_at(id, &self.exchange)).unwrap());
        leg
    }

    fn handler(&self, name: &str) -> &TestHandler {
        &self.handlers.0[&HandlerName::from(name)]
    }

    /// What the default handler's hooks were told.
    fn hooked(&self) -> Vec<(usize, EndedCall)> {
        self.handler("default").hooked.lock().unwrap().clone()
    }

    fn kinds(&self, id: &str) -> Vec<EventType> {
        let id = CallId::from(id);
        self.sink.events().iter().filter(|e| e.session_id == id).map(|e| e.kind).collect()
    }

    /// What the first event of a kind says under a key.
    fn said(&self, kind: EventType, key: &str) -> String {
        let events = self.sink.events();
        let event = events.iter().find(|e| e.kind == kind).unwrap_or_else(|| panic!("no {kind:?}"));
        match &event.data[key] {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    fn end_reason(&self) -> String {
        self.said(EventType::CallEnded, "reason")
    }

    /// Why this one of several calls ended.
    fn end_reason_of(&self, id: &str) -> String {
        let events = self.sink.events();
        let ended = events.iter().find(|e| e.kind == EventType::CallEnded && e.session_id.as_str() == id);
        ended.and_then(|e| e.data["reason"].as_str()).unwrap_or("none").to_owned()
    }

    /// The end of a call was told once, and last of all.
    fn assert_ended_once(&self, id: &str) {
        let kinds = self.kinds(id);
        assert_eq!(kinds.iter().filter(|kind| **kind == EventType::CallEnded).count(), 1, "{kinds:?}");
        assert_eq!(kinds.iter().filter(|kind| **kind == EventType::SessionDestroyed).count(), 1, "{kinds:?}");
        assert_eq!(kinds.last(), Some(&EventType::SessionDestroyed), "{kinds:?}");
        assert_eq!(kinds.iter().rev().nth(1), Some(&EventType::CallEnded), "{kinds:?}");
    }
}

/// What a handler has to say about what it saw.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn add(&self, what: impl std::fmt::Debug) {
        self.0.lock().unwrap().push(format!("{what:?}"));
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A leg whose prompts last this long.
fn leg_with_prompts_of(length: Duration) -> Arc<FakeLeg> {
    let leg = FakeLeg::new();
    let weak = Arc::downgrade(&leg);
    leg.on_play(move |id: &PlaybackId, _: &[String]| {
        let (leg, id) = (weak.clone(), id.clone());
        tokio::spawn(async move {
            sleep(length).await;
            if let Some(leg) = leg.upgrade() {
                leg.finish(&id);
            }
        });
    });
    leg
}

fn trap() -> Outcome {
    let message = "the handler panicked or aborted; its last log lines say where".to_owned();
    Outcome::Trapped(Trap { kind: TrapKind::Unreachable, message, backtrace: Vec::new() })
}

fn sounds(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("sound:{name}")).collect()
}

fn press(leg: &FakeLeg, keys: &str) {
    for digit in keys.chars() {
        leg.deliver(LegEvent::Dtmf(Dtmf { digit, duration_ms: 100 }));
    }
}

fn hang_up(leg: &FakeLeg) {
    leg.deliver(LegEvent::Ended(LegEnd::HungUp));
}

/// Lets everything happen that needs no time.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}
