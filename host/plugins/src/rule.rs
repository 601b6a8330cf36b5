//! Routers and filters: components that are asked a question. Each question is asked in an instance of its own, which
//! knows nothing of the one before, and within [`RuntimeOptions::rule_time`](crate::RuntimeOptions::rule_time).

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use voxtra_core::verbs::LogLevel;
use voxtra_core::{CallInfo, Capabilities, HandlerName, TenantId};
use wasmtime::component::InstancePre;
use wasmtime::{PoolConcurrencyLimitError, Store};

use crate::bindings::v0_1::{FilterIndices, RouterIndices};
use crate::host::TenantHost;
use crate::imports::Kind;
use crate::instance::log_trap;
use crate::load::{About, Handler, LoadError, Loaded, misfit};
use crate::meter::Metered;
use crate::options::Limits;
use crate::runtime::Runtime;
use crate::store::{InstanceData, Owner};
use crate::trap::{self, Trap, TrapKind};

/// What a router answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The tenant's handler that takes the call. It is the router's word: there may be no such handler.
    pub handler: HandlerName,
    /// Goes into the call's metadata; as the router gave it, not checked.
    pub metadata: Vec<(String, String)>,
}

/// An event before it leaves the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingEvent {
    /// Unique.
    pub id: String,
    /// Such as `call.ended`.
    pub kind: String,
    /// The call's id.
    pub session_id: String,
    /// RFC 3339, UTC.
    pub timestamp: String,
    /// A JSON object.
    pub data_json: String,
}

/// What a filter answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It leaves as it is.
    Keep,
    /// It leaves with these data. They are the filter's word: whoever sends them checks that they are a JSON object.
    Change(String),
    /// It does not leave.
    Drop,
}

/// A rule gave no answer: a router is skipped, and without a filter's an event does not leave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleFailure {
    /// It returned an error; its own words.
    #[error("it answered with an error: {0}")]
    Error(String),
    /// It was stopped.
    #[error("{0}")]
    Trapped(Trap),
    /// It took longer than it may, running or waiting.
    #[error("it took longer than {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The pool of instances has no place left.
    #[error("all of the host's instances are in use; raise plugins.max_instances or add a host")]
    Busy,
}

impl RuleFailure {
    /// A stable name for logs, events and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Error(_) => "error",
            Self::Trapped(_) => "trap",
            Self::TimedOut(_) => "timeout",
            Self::Busy => "busy",
        }
    }
}

/// Where a rule's log lines go. The text is the component's: it may hold anything.
pub trait ComponentLog: Send + Sync {
    /// One line. Never blocks.
    fn log(&self, level: LogLevel, message: &str, fields: &[(String, String)]);
}

/// One version of a router, compiled and linked.
#[derive(Clone)]
pub struct RouterComponent(Rule<RouterIndices>, Capabilities);

/// One version of a filter, compiled and linked.
#[derive(Clone)]
pub struct FilterComponent(Rule<FilterIndices>);

impl RouterComponent {
    /// Asks which handler takes a call; `None`: somebody else decides. It sees the tenant's store, and the call's
    /// information without a route. Await it where guests may run.
    pub async fn route(&self, tenant: Arc<dyn TenantHost>, call: &CallInfo) -> Result<Option<Decision>, RuleFailure> {
        self.0.ask(Some(tenant), call).await
    }

    /// What it may do: whoever hands it a tenant sees to that.
    pub fn capabilities(&self) -> Capabilities {
        self.1
    }

    /// The same version with narrower capabilities; none of them gets wider.
    #[must_use]
    pub fn narrowed(mut self, capabilities: Capabilities) -> Self {
        self.1 = capabilities.within(self.1);
        self
    }
}

impl FilterComponent {
    /// Asks what becomes of an event. Await it where guests may run.
    pub async fn filter(&self, event: &OutgoingEvent) -> Result<Verdict, RuleFailure> {
        self.0.ask(None, event).await
    }
}

macro_rules! about {
    ($component:ident, $kind:expr, $file:literal) => {
        impl $component {
            #[doc = concat!("Its file's name without `", $file, "`.")]
            pub fn name(&self) -> &HandlerName {
                &self.0.inner.about.name
            }

            /// Whose it is.
            pub fn tenant(&self) -> &TenantId {
                &self.0.inner.about.tenant
            }

            /// What it is: the first 12 hexadecimal digits of its content's SHA-256.
            pub fn version(&self) -> &str {
                &self.0.inner.about.version
            }

            /// How large its file is.
            pub fn size_bytes(&self) -> usize {
                self.0.inner.about.size_bytes
            }

            /// The same, with its log lines going there instead of to the host's own log.
            pub fn with_log(mut self, log: Arc<dyn ComponentLog>) -> Self {
                self.0.log = log;
                self
            }
        }

        impl fmt::Debug for $component {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({}/{} {})", $kind, self.tenant(), self.name(), self.version())
            }
        }
    };
}

about!(RouterComponent, "Router", ".router.wasm");
about!(FilterComponent, "Filter", ".filter.wasm");

impl Runtime {
    /// Reads, checks and compiles a router's file. Takes as long as compiling takes.
    pub fn load_router_file(self: &Arc<Self>, tenant: &TenantId, path: &Path) -> Result<RouterComponent, LoadError> {
        self.read_component(Kind::Router, tenant, path, |loaded| self.router(loaded))
    }

    /// Checks and compiles a router's bytes.
    pub fn load_router_bytes(
        self: &Arc<Self>,
        tenant: &TenantId,
        name: &HandlerName,
        wasm: &[u8],
    ) -> Result<RouterComponent, LoadError> {
        self.take_component(Kind::Router, tenant, name, wasm, |loaded| self.router(loaded))
    }

    /// Reads, checks and compiles a filter's file. Takes as long as compiling takes.
    pub fn load_filter_file(self: &Arc<Self>, tenant: &TenantId, path: &Path) -> Result<FilterComponent, LoadError> {
        self.read_component(Kind::Filter, tenant, path, |loaded| self.filter(loaded))
    }

    /// Checks and compiles a filter's bytes.
    pub fn load_filter_bytes(
        self: &Arc<Self>,
        tenant: &TenantId,
        name: &HandlerName,
        wasm: &[u8],
    ) -> Result<FilterComponent, LoadError> {
        self.take_component(Kind::Filter, tenant, name, wasm, |loaded| self.filter(loaded))
    }

    fn router(self: &Arc<Self>, loaded: Loaded) -> Result<RouterComponent, String> {
        let export = RouterIndices::new(&loaded.pre).map_err(misfit)?;
        Ok(RouterComponent(Rule::new(self, loaded, export), Capabilities::ALL))
    }

    fn filter(self: &Arc<Self>, loaded: Loaded) -> Result<FilterComponent, String> {
        let export = FilterIndices::new(&loaded.pre).map_err(misfit)?;
        Ok(FilterComponent(Rule::new(self, loaded, export)))
    }
}

/// What an instance of a rule is entered by.
pub(crate) type Entry<'a> = (&'a mut Store<InstanceData>, &'a wasmtime::component::Instance);

/// The export of a kind of rule, in some version of the contract.
pub(crate) trait Export: Send + Sync {
    const KIND: Kind;
    type Question: Sync;
    type Answer: Send;

    /// Asks; the inner error is the component's own.
    fn ask(
        &self,
        entry: Entry<'_>,
        question: &Self::Question,
    ) -> impl Future<Output = wasmtime::Result<Result<Self::Answer, String>>> + Send;
}

/// What routers and filters share.
struct Rule<E> {
    inner: Arc<Inner<E>>,
    log: Arc<dyn ComponentLog>,
}

struct Inner<E> {
    runtime: Arc<Runtime>,
    pre: InstancePre<InstanceData>,
    export: E,
    about: About,
}

impl<E> Clone for Rule<E> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), log: Arc::clone(&self.log) }
    }
}

impl<E: Export> Rule<E> {
    fn new(runtime: &Arc<Runtime>, loaded: Loaded, export: E) -> Self {
        let Loaded { about, pre, .. } = loaded;
        let log = HostLog { kind: E::KIND, about: about.clone() };
        let inner = Inner { runtime: Arc::clone(runtime), pre, export, about };
        Self { inner: Arc::new(inner), log: Arc::new(log) }
    }

    async fn ask(&self, tenant: Option<Arc<dyn TenantHost>>, question: &E::Question) -> Result<E::Answer, RuleFailure> {
        let Inner { runtime, pre, export, about } = self.inner.as_ref();
        let limit = runtime.options.rule_time;
        let limits = Limits { cpu: limit, ..runtime.options.limits };
        let owner = Owner::Rule(RuleOwner::new(Arc::clone(&self.log), tenant));
        let mut store = InstanceData::new_store(runtime, &about.tenant, owner, &limits);
        let meter = Arc::clone(&store.data().meter);
        let run = async {
            let instance = pre.instantiate_async(&mut store).await?;
            export.ask((&mut store, &instance), question).await
        };
        match tokio::time::timeout(limit, Metered::new(run, meter)).await {
            Ok(Ok(answer)) => answer.map_err(RuleFailure::Error),
            Ok(Err(error)) => Err(stopped(&error, E::KIND, store.data(), limit)),
            Err(_) => Err(RuleFailure::TimedOut(limit)),
        }
    }
}

fn stopped(error: &wasmtime::Error, kind: Kind, data: &InstanceData, limit: Duration) -> RuleFailure {
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return RuleFailure::Busy;
    }
    let trap = trap::classify(error, kind, &data.memory.refused);
    if trap.kind == TrapKind::CpuLimit {
        return RuleFailure::TimedOut(limit);
    }
    log_trap(&data.owner, &trap);
    RuleFailure::Trapped(trap)
}

/// Whom an instance works for that is asked one question.
#[derive(Clone)]
pub(crate) struct RuleOwner {
    log: Arc<dyn ComponentLog>,
    pub(crate) tenant: Option<Arc<dyn TenantHost>>,
}

impl RuleOwner {
    /// Of a handler that is only tried: it has a log, and what it is let see of its tenant's.
    pub(crate) fn of_handler(handler: &Handler, tenant: Arc<dyn TenantHost>) -> Self {
        Self::new(Arc::new(HostLog { kind: Kind::Handler, about: handler.about().clone() }), Some(tenant))
    }

    fn new(log: Arc<dyn ComponentLog>, tenant: Option<Arc<dyn TenantHost>>) -> Self {
        Self { log, tenant }
    }

    pub(crate) fn log(&self, level: LogLevel, message: &str, fields: &[(String, String)]) {
        self.log.log(level, message, fields);
    }
}

/// The host's own log, with the component beside each line.
struct HostLog {
    kind: Kind,
    about: About,
}

impl ComponentLog for HostLog {
    fn log(&self, level: LogLevel, message: &str, fields: &[(String, String)]) {
        let (tenant, component, kind) = (&self.about.tenant, &self.about.name, self.kind);
        let message = escaped(message);
        let fields = fields.iter().map(|(k, v)| format!("{}={}", escaped(k), escaped(v))).collect::<Vec<_>>().join(" ");
        match level {
            LogLevel::Trace => tracing::trace!(%tenant, %kind, %component, fields, "{message}"),
            LogLevel::Debug => tracing::debug!(%tenant, %kind, %component, fields, "{message}"),
            LogLevel::Info => tracing::info!(%tenant, %kind, %component, fields, "{message}"),
            LogLevel::Warn => tracing::warn!(%tenant, %kind, %component, fields, "{message}"),
            LogLevel::Error => tracing::error!(%tenant, %kind, %component, fields, "{message}"),
        }
    }
}

/// A component's text cannot end a line or drive a terminal.
pub(crate) fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, c| {
        if c.is_control() {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::lines::Lines;

    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);

    impl ComponentLog for Told {
        fn log(&self, _level: LogLevel, message: &str, _fields: &[(String, String)]) {
            self.0.lock().unwrap().push(message.to_owned());
        }
    }

    #[test]
    fn one_question_cannot_flood_the_log() {
        let told = Arc::new(Told::default());
        let owner = Owner::Rule(RuleOwner::new(told.clone(), None));
        let lines = Lines::new(owner, &Limits { log_lines_per_second: 0, ..Limits::default() });
        for _ in 0..100 {
            lines.log(LogLevel::Info, &"x".repeat(1 << 10), &[]);
        }
        let told = told.0.lock().unwrap();
        assert_eq!(told.len(), 64);
        assert!(told[63].contains("is left out"), "{}", told[63]);
    }

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(escaped("a\nb\x1b[2Jc"), "a\\nb\\u{1b}[2Jc");
    }
}
