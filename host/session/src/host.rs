//! All calls: it takes legs, gives each call an owner task, and knows which calls there are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use voxtra_core::{
    CallId, CallInfo, CallState, EventSink, HandlerName, HangupCause, LegEvents, NewLeg, Refusal, Switchboard, TenantId,
};

use crate::call::CallShared;
use crate::handlers::{HandlerVersion, Handlers};
use crate::inbox::{LegInbox, Signals};
use crate::life::CallLife;
use crate::options::{HostOptions, Runtimes};
use crate::router::{Routed, Router};
use crate::stats::{Counters, HostStats};
use crate::task::CallTask;

/// What a shutdown waits beyond its limit for what is cut short then: handlers that stop, hooks that have just begun.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(3);

/// The longest grace of a shutdown; more would only overflow a clock.
const SHUTDOWN_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The calls of one process.
pub struct Host {
    inner: Arc<Inner>,
}

/// A call that is up.
#[derive(Debug, Clone)]
pub struct ActiveCall {
    /// What is known of it.
    pub info: CallInfo,
    /// Where it stands.
    pub state: CallState,
    /// Who has it.
    pub handler: HandlerName,
    /// Which version of it.
    pub version: String,
    /// When it began.
    pub since: SystemTime,
    /// Since the answer; 0 before it.
    pub duration_ms: u32,
}

/// What the calls share with the host.
pub(crate) struct Inner {
    pub(crate) options: HostOptions,
    pub(crate) runtimes: Runtimes,
    pub(crate) sink: Arc<dyn EventSink>,
    pub(crate) counters: Arc<Counters>,
    handlers: RwLock<Arc<dyn Handlers>>,
    router: RwLock<Arc<Router>>,
    rows: Mutex<HashMap<CallId, Row>>,
    active: watch::Sender<usize>,
    /// Set when the host is stopping: by when all calls have to be over.
    stop: watch::Sender<Option<Instant>>,
}

struct Row {
    shared: Arc<CallShared>,
    handler: Arc<dyn HandlerVersion>,
}

impl Host {
    /// A host without calls. `handlers` is the catalog, or in tests anything that starts handlers.
    pub fn new(
        options: HostOptions,
        handlers: Arc<dyn Handlers>,
        router: Router,
        sink: Arc<dyn EventSink>,
        runtimes: Runtimes,
    ) -> Arc<Self> {
        let inner = Inner {
            options: options.clamped(),
            runtimes,
            sink,
            counters: Arc::default(),
            handlers: RwLock::new(handlers),
            router: RwLock::new(Arc::new(router)),
            rows: Mutex::default(),
            active: watch::Sender::new(0),
            stop: watch::Sender::new(None),
        };
        Arc::new(Self { inner: Arc::new(inner) })
    }

    /// From now on new calls get these handlers; calls that are up keep theirs.
    pub fn set_handlers(&self, handlers: Arc<dyn Handlers>) {
        *self.inner.handlers.write().unwrap_or_else(PoisonError::into_inner) = handlers;
    }

    /// From now on new calls are routed so.
    pub fn set_router(&self, router: Router) {
        *self.inner.router.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(router);
    }

    /// The calls that are up, in the order of their ids.
    pub fn calls(&self) -> Vec<ActiveCall> {
        let mut calls: Vec<_> = self.inner.rows().values().map(Row::snapshot).collect();
        calls.sort_by(|a, b| a.info.id.cmp(&b.info.id));
        calls
    }

    /// How many calls are up, those that are just ending included.
    pub fn active(&self) -> usize {
        *self.inner.active.borrow()
    }

    /// Counters since the start.
    pub fn stats(&self) -> HostStats {
        self.inner.counters.snapshot()
    }

    /// Asks a call to end, as if its handler had hung up. False when there is no such call.
    pub fn hangup(&self, id: &CallId) -> bool {
        let rows = self.inner.rows();
        let Some(row) = rows.get(id) else { return false };
        row.shared.signals.raise(|raised| raised.hangup = true);
        true
    }

    /// Waits until no call is up.
    pub async fn idle(&self) {
        let mut active = self.inner.active.subscribe();
        // The sender lives as long as we do.
        let _ = active.wait_for(|active| *active == 0).await;
    }

    /// Takes no more calls, ends those that are up, and waits until they are gone. After `grace` whatever a call still
    /// does is cut short, which takes 3 s at most. Returns how many calls could not be ended; 0 unless a call's task
    /// cannot run.
    pub async fn shutdown(&self, grace: Duration) -> usize {
        let deadline = Instant::now() + grace.min(SHUTDOWN_MAX);
        {
            // With the rows locked: a call that is just coming in is either among them or refused.
            let _rows = self.inner.rows();
            self.inner.stop.send_if_modified(|stop| {
                let sooner = stop.is_none_or(|before| deadline < before);
                if sooner {
                    *stop = Some(deadline);
                }
                sooner
            });
        }
        // Running out of time is told by the number of calls that are left.
        let _ = timeout_at(deadline + SHUTDOWN_MARGIN, self.idle()).await;
        self.active()
    }
}

impl Switchboard for Host {
    fn incoming(&self, leg: NewLeg) -> Result<Arc<dyn LegEvents>, Refusal> {
        let id = leg.id.clone();
        let taken = Inner::take(&self.inner, leg);
        if let Err(refusal) = &taken {
            self.inner.counters.call_refused();
            tracing::warn!(call = %id, reason = %refusal.reason, "call refused");
        }
        taken
    }
}

impl Inner {
    fn take(this: &Arc<Self>, leg: NewLeg) -> Result<Arc<dyn LegEvents>, Refusal> {
        let routed = this.route(&leg)?;
        let handler = this.handler(&routed.tenant, &routed.handler).ok_or_else(|| no_handler(&routed))?;
        let info = CallInfo {
            id: leg.id.clone(),
            tenant: routed.tenant,
            caller_id: leg.caller_id.clone(),
            called_number: leg.called_number.clone(),
            direction: leg.direction,
            route: routed.route,
        };
        let signals = Arc::<Signals>::default();
        let shared = Arc::new(CallShared::new(info, routed.metadata, Arc::clone(&signals)));
        this.admit(Row { shared: Arc::clone(&shared), handler: Arc::clone(&handler) })?;
        let (inbox, events) = LegInbox::new(signals, Arc::clone(&this.counters));
        let life = CallLife::new(Arc::clone(this), shared);
        let task = CallTask::new(life, leg, events, handler, routed.on_failure, this.stop.subscribe());
        this.runtimes.control.spawn(task.run());
        Ok(Arc::new(inbox))
    }

    fn route(&self, leg: &NewLeg) -> Result<Routed, Refusal> {
        let router = Arc::clone(&self.router.read().unwrap_or_else(PoisonError::into_inner));
        router
            .route(&leg.app, &leg.caller_id, &leg.called_number)
            .map_err(|error| Refusal { reason: error.to_string(), cause: HangupCause::Rejected })
    }

    /// The current version of a handler.
    pub(crate) fn handler(&self, tenant: &TenantId, name: &HandlerName) -> Option<Arc<dyn HandlerVersion>> {
        let handlers = Arc::clone(&self.handlers.read().unwrap_or_else(PoisonError::into_inner));
        handlers.get(tenant, name)
    }

    fn admit(&self, row: Row) -> Result<(), Refusal> {
        let refuse = |reason: String| Err(Refusal { reason, cause: HangupCause::Congestion });
        let mut rows = self.rows();
        if self.stop.borrow().is_some() {
            return refuse("the host is stopping".to_owned());
        }
        if rows.len() >= self.options.max_calls {
            return refuse(format!("{} calls are up, as many as are allowed; add a host", rows.len()));
        }
        let id = row.shared.info.id.clone();
        if rows.contains_key(&id) {
            return refuse(format!("the call {id} is here already"));
        }
        rows.insert(id, row);
        self.counters.call_started();
        self.active.send_replace(rows.len());
        Ok(())
    }

    /// Another handler has the call now.
    pub(crate) fn hand_over(&self, id: &CallId, handler: Arc<dyn HandlerVersion>) {
        if let Some(row) = self.rows().get_mut(id) {
            row.handler = handler;
        }
    }

    /// Nothing is left of a call.
    pub(crate) fn remove(&self, id: &CallId) {
        let mut rows = self.rows();
        rows.remove(id);
        self.active.send_replace(rows.len());
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<CallId, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Row {
    fn snapshot(&self) -> ActiveCall {
        ActiveCall {
            info: self.shared.info.clone(),
            state: self.shared.state(),
            handler: self.handler.name().clone(),
            version: self.handler.version().to_owned(),
            since: self.shared.started_at,
            duration_ms: self.shared.duration_ms(),
        }
    }
}

fn no_handler(routed: &Routed) -> Refusal {
    let (tenant, route, handler) = (&routed.tenant, &routed.route, &routed.handler);
    Refusal {
        reason: format!(
            "the route {route:?} of the tenant {tenant} wants the handler {handler}, which is not there; put {handler}.wasm into its plugin directory"
        ),
        cause: HangupCause::Rejected,
    }
}
