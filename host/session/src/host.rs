//! All calls: it takes legs, gives each call an owner task, and knows which calls there are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use voxtra_core::{
    CallError, CallId, CallInfo, CallState, HandlerName, HangupCause, LegEvents, NewLeg, RecordingId, Refusal,
    Switchboard, TenantId,
};
use voxtra_plugins::host::TenantHost;

use crate::asked::Asked;
use crate::breaker::{Breakers, VersionKey};
use crate::call::CallShared;
use crate::canary::{Canaries, CanaryPlan, TrialStatus};
use crate::check;
use crate::dial::{DialPolicy, Dialling};
use crate::handlers::{HandlerVersion, Handlers};
use crate::inbox::{HangupBy, LegInbox, Signals};
use crate::life::CallLife;
use crate::limits::{Limits, TenantLimits};
use crate::options::{HostOptions, Runtimes};
use crate::ports::{EventFilters, HostPorts, RoutingRules};
use crate::pressure::Pressure;
use crate::router::{Routed, Router};
use crate::rows::{Row, Rows};
use crate::stats::{Counters, HostStats};
use crate::task::{CallTask, NewCall, Start};
use crate::tenant::SessionTenant;
use crate::withheld::Withheld;

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
    /// The PBX where it is, as the operator calls it.
    pub exchange: String,
    /// What its handler knows of it.
    pub metadata: Vec<(String, String)>,
    /// The call whose handler placed it.
    pub parent: Option<CallId>,
    /// Calls that its handler has placed and that are up.
    pub children: Vec<CallId>,
    /// What records it now.
    pub recording: Option<RecordingId>,
    /// Bridges that its handler has made and that are there.
    pub bridges: usize,
    /// Snoops that its handler has made and that are there.
    pub snoops: usize,
}

/// What the calls share with the host.
pub(crate) struct Inner {
    pub(crate) options: HostOptions,
    pub(crate) runtimes: Runtimes,
    pub(crate) ports: HostPorts,
    /// The rules and filters that are asked now; those of `ports` are where it began.
    pub(crate) asked: Asked,
    pub(crate) counters: Arc<Counters>,
    pub(crate) withheld: Withheld,
    pub(crate) dialling: Arc<Dialling>,
    pub(crate) limits: Limits,
    pub(crate) pressure: Arc<Pressure>,
    pub(crate) breakers: Breakers,
    pub(crate) canaries: Canaries,
    tenants: Mutex<HashMap<TenantId, Arc<dyn TenantHost>>>,
    handlers: RwLock<Arc<dyn Handlers>>,
    router: RwLock<Arc<Router>>,
    rows: Mutex<Rows>,
    active: watch::Sender<usize>,
    /// Calls whose events are still on their way through filters.
    pumps: Arc<watch::Sender<usize>>,
    /// No new calls from outside; those that are up may still place calls of their own.
    draining: watch::Sender<bool>,
    /// Set when the host is stopping: by when all calls have to be over.
    stop: watch::Sender<Option<Instant>>,
}

impl Host {
    /// A host without calls. `handlers` is the catalog, or in tests anything that starts handlers; `ports` is what its
    /// calls need besides, of which an event sink alone is enough.
    pub fn new(
        options: HostOptions,
        handlers: Arc<dyn Handlers>,
        router: Router,
        ports: impl Into<HostPorts>,
        runtimes: Runtimes,
    ) -> Arc<Self> {
        let (options, ports) = (options.clamped(), ports.into());
        let inner = Inner {
            asked: Asked::new(&ports),
            limits: Limits::default(),
            pressure: Arc::default(),
            breakers: Breakers::new(options.breaker),
            canaries: Canaries::default(),
            options,
            runtimes,
            ports,
            counters: Arc::default(),
            withheld: Withheld::default(),
            dialling: Arc::default(),
            tenants: Mutex::default(),
            handlers: RwLock::new(handlers),
            router: RwLock::new(Arc::new(router)),
            rows: Mutex::default(),
            active: watch::Sender::new(0),
            pumps: Arc::new(watch::Sender::new(0)),
            draining: watch::Sender::new(false),
            stop: watch::Sender::new(None),
        };
        Arc::new(Self { inner: Arc::new(inner) })
    }

    /// From now on new calls get these handlers. Calls that are up keep their versions, except as the current version's
    /// [`crate::Succession`] says: they go over to it where both can do that, and those that stay may do so for its drain
    /// limit, after which the failure policy takes them.
    pub fn set_handlers(&self, handlers: Arc<dyn Handlers>) {
        let exchanged = {
            let mut current = self.inner.handlers.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, Arc::clone(&handlers))
        };
        // With the lock free again: it may be the last of many components.
        drop(exchanged);
        for row in self.inner.rows().values_mut().filter(|row| row.parent.is_none()) {
            let Some(handler) = &row.handler else { continue };
            let current = handlers.get(&row.shared.info.tenant, handler.name());
            let outdated = current.is_none_or(|current| current.version() != handler.version());
            if std::mem::replace(&mut row.outdated, outdated) || outdated {
                row.shared.signals.raise(|raised| raised.versions_changed = true);
            }
        }
    }

    /// From now on new calls are routed so.
    pub fn set_router(&self, router: Router) {
        *self.inner.router.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(router);
    }

    /// From now on new calls are put before these rules, in this order, and before no others; those of [`HostPorts`] count
    /// only until then. A rule that is being asked still answers.
    pub fn set_rules(&self, rules: Vec<Arc<dyn RoutingRules>>) {
        self.inner.asked.set_rules(rules);
    }

    /// From now on events pass these filters, in this order, and no others, also those of calls that are up and those that
    /// a [`crate::FilteredSink`] takes. A filter that has an event before it still judges that one.
    pub fn set_filters(&self, filters: Vec<Arc<dyn EventFilters>>) {
        self.inner.asked.set_filters(filters);
    }

    /// From now on these tenants may place calls, each as its policy says, and no others. Calls that are up go on.
    /// The error is a sentence with the tenant's name; nothing has changed then.
    pub fn set_dial_policies(&self, policies: impl IntoIterator<Item = (TenantId, DialPolicy)>) -> Result<(), String> {
        let policies: Vec<_> = policies.into_iter().collect();
        for (tenant, policy) in &policies {
            policy.check().map_err(|why| format!("the dial policy of the tenant {tenant} cannot be used: {why}"))?;
        }
        self.inner.dialling.set(policies);
        Ok(())
    }

    /// From now on each tenant may have so much, and those that are not named as much as `others`. Calls that are up keep
    /// what they had when they began; what tenants have placed today stays counted.
    pub fn set_tenant_limits(&self, others: TenantLimits, tenants: impl IntoIterator<Item = (TenantId, TenantLimits)>) {
        self.inner.limits.set(others, tenants);
    }

    /// From now on these versions are on trial and no others: a share of the tenant's calls for the handler of a version's
    /// name goes to that version, until it is withdrawn because it fails too often ([`crate::CanaryWatcher`] is told). One
    /// that is on trial already keeps the counts of its calls. One that was withdrawn is not tried again before it was
    /// missing here once, or another version was in its place: whoever keeps the versions may not have heard of it yet. The
    /// error is a sentence; nothing has changed then.
    pub fn set_canaries(&self, trials: Vec<(TenantId, Arc<dyn HandlerVersion>, CanaryPlan)>) -> Result<(), String> {
        for (tenant, version, plan) in &trials {
            plan.check().map_err(|why| format!("the trial of {tenant}/{} cannot be made: {why}", version.name()))?;
        }
        self.inner.canaries.set_all(trials);
        Ok(())
    }

    /// The versions that are on trial now, by tenant and name.
    pub fn canaries(&self) -> Vec<TrialStatus> {
        self.inner.canaries.list()
    }

    /// What a tenant has beside its calls, for components that have no call: dispatch rules.
    pub fn tenant(&self, tenant: &TenantId) -> Arc<dyn TenantHost> {
        self.inner.tenant(tenant)
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
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

    /// Events that did not leave because one of their tenant's filters could not see them, by tenant, since the start. Tenants
    /// without any are left out.
    pub fn withheld_events(&self) -> Vec<(TenantId, u64)> {
        self.inner.withheld.by_tenant()
    }

    /// Asks a call to end, for the operator. False when there is no such call.
    pub fn hangup(&self, id: &CallId) -> bool {
        let rows = self.inner.rows();
        let Some(row) = rows.get(id) else { return false };
        row.shared.signals.raise(|raised| {
            raised.hangup.get_or_insert(HangupBy::Operator);
        });
        true
    }

    /// Waits until no call is up.
    pub async fn idle(&self) {
        let mut active = self.inner.active.subscribe();
        // The sender lives as long as we do.
        let _ = active.wait_for(|active| *active == 0).await;
    }

    /// Takes no more calls (the PBX is told `congestion`, so that the dialplan can go elsewhere) and lets those that are
    /// up finish. What is still up after `limit` hears `prompts` (which may be empty) and ends as `host-stopping`.
    /// Returns how many calls were ended so, when all are over or a little after the time for the prompts;
    /// [`Host::shutdown`] comes after it. Prompts that could not be played are left out.
    pub async fn drain(&self, limit: Duration, prompts: Vec<String>) -> usize {
        {
            // With the rows locked: a call that is just coming in is either among them or refused.
            let _rows = self.inner.rows();
            self.inner.draining.send_replace(true);
        }
        if timeout(limit.min(SHUTDOWN_MAX), self.idle()).await.is_ok() {
            return 0;
        }
        let prompts: Arc<[String]> = if check::prompts(&prompts).is_ok() { prompts.into() } else { Arc::new([]) };
        let cut = {
            let rows = self.inner.rows();
            for row in rows.values() {
                row.shared.signals.raise(|raised| raised.farewell = Some(Arc::clone(&prompts)));
            }
            rows.len()
        };
        let options = &self.inner.options;
        let wind_down = options.farewell_limit + options.handler_grace + options.hook_limit;
        let _ = timeout(wind_down.min(SHUTDOWN_MAX), self.idle()).await;
        cut
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
        let _ = timeout_at(deadline + SHUTDOWN_MARGIN, async {
            self.idle().await;
            let mut pumps = self.inner.pumps.subscribe();
            let _ = pumps.wait_for(|pumps| *pumps == 0).await;
        })
        .await;
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
        let handler = this.handler(&routed.tenant, &routed.handler, &leg.id);
        let rules = this.asked.rules_of(&routed.tenant);
        let is_withheld = handler.is_none() && this.is_withheld(&routed.tenant, &routed.handler);
        let start = match (handler, rules.is_empty()) {
            (Some(handler), true) => Start::Now(handler),
            (None, true) if !is_withheld => return Err(no_handler(&routed)),
            (fallback, _) => {
                let missing = if is_withheld { withheld(&routed) } else { no_handler(&routed).reason };
                Start::Rules { rules, fallback, missing, is_withheld, metadata: routed.metadata.clone() }
            }
        };
        if let Some(reason) = this.pressure.too_busy(&routed.tenant, this.options.start_budget) {
            this.counters.refused_busy();
            return Err(Refusal { reason, cause: HangupCause::Congestion });
        }
        let rules_decide = matches!(start, Start::Rules { .. });
        let info = CallInfo {
            id: leg.id.clone(),
            tenant: routed.tenant,
            caller_id: leg.caller_id.clone(),
            called_number: leg.called_number.clone(),
            direction: leg.direction,
            route: routed.route,
        };
        let signals = Arc::<Signals>::default();
        let log_bytes = this.limits.of(&info.tenant).log_bytes;
        let shared = Arc::new(CallShared::new(info, routed.metadata, Arc::clone(&signals), log_bytes));
        let row = Row {
            shared: Arc::clone(&shared),
            // Rules may choose another, and the one before is not asked then whether it has room.
            handler: if rules_decide { None } else { start.handler().cloned() },
            exchange: Arc::clone(&leg.exchange),
            parent: None,
            outdated: false,
        };
        this.admit(row)?;
        let (inbox, leg_events) = LegInbox::new(signals, Arc::clone(&this.counters));
        let life = CallLife::new(Arc::clone(this), shared);
        let call = NewCall {
            leg: leg.leg,
            leg_events,
            exchange: leg.exchange,
            answered: leg.answered,
            start,
            on_failure: routed.on_failure,
            rings_until: None,
            report: None,
        };
        this.start(CallTask::new(life, call, this.stop.subscribe()));
        Ok(Arc::new(inbox))
    }

    /// Starts a call's owner.
    pub(crate) fn start(&self, task: CallTask) {
        self.runtimes.control.spawn(task.run());
    }

    /// When all calls have to be over.
    pub(crate) fn stop(&self) -> watch::Receiver<Option<Instant>> {
        self.stop.subscribe()
    }

    /// The routes as they are now.
    pub(crate) fn router(&self) -> Arc<Router> {
        Arc::clone(&self.router.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a tenant has beside its calls; one for all of them.
    pub(crate) fn tenant(&self, tenant: &TenantId) -> Arc<dyn TenantHost> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = tenants.get(tenant) {
            return Arc::clone(known);
        }
        let made: Arc<dyn TenantHost> = Arc::new(SessionTenant::new(tenant.clone(), &self.ports));
        tenants.insert(tenant.clone(), Arc::clone(&made));
        made
    }

    /// The PBX and application where a call is.
    pub(crate) fn place_of(&self, id: &CallId) -> Option<(String, String)> {
        let rows = self.rows();
        let exchange = &rows.get(id)?.exchange;
        Some((exchange.name().to_owned(), exchange.app().to_owned()))
    }

    /// Counts one call's filtering until it is dropped.
    pub(crate) fn pump_started(&self) -> PumpRunning {
        self.pumps.send_modify(|pumps| *pumps += 1);
        PumpRunning(Arc::clone(&self.pumps))
    }

    fn route(&self, leg: &NewLeg) -> Result<Routed, Refusal> {
        self.router()
            .route(&leg.app, &leg.caller_id, &leg.called_number)
            .map_err(|error| Refusal { reason: error.to_string(), cause: HangupCause::Rejected })
    }

    /// The version of a handler that takes this call.
    pub(crate) fn handler(
        &self,
        tenant: &TenantId,
        name: &HandlerName,
        call: &CallId,
    ) -> Option<Arc<dyn HandlerVersion>> {
        if let Some(on_trial) = self.canaries.pick(tenant, name, call)
            && !self.breakers.is_open(&VersionKey::of(tenant, on_trial.as_ref()))
        {
            return Some(on_trial);
        }
        let handlers = Arc::clone(&self.handlers.read().unwrap_or_else(PoisonError::into_inner));
        handlers.pick(tenant, name, call)
    }

    fn is_withheld(&self, tenant: &TenantId, name: &HandlerName) -> bool {
        self.handlers.read().unwrap_or_else(PoisonError::into_inner).is_withheld(tenant, name)
    }

    /// The version of a handler that is not on trial.
    pub(crate) fn current(&self, tenant: &TenantId, name: &HandlerName) -> Option<Arc<dyn HandlerVersion>> {
        self.handlers.read().unwrap_or_else(PoisonError::into_inner).get(tenant, name)
    }

    pub(crate) fn admit(&self, row: Row) -> Result<(), Refusal> {
        let refuse = |reason: String| Err(Refusal { reason, cause: HangupCause::Congestion });
        let mut rows = self.rows();
        if self.stop.borrow().is_some() {
            return refuse("the host is stopping".to_owned());
        }
        if row.parent.is_none() && *self.draining.borrow() {
            return refuse("the host is draining and takes no new calls; another has to".to_owned());
        }
        if rows.len() >= self.options.max_calls {
            return refuse(format!("{} calls are up, as many as are allowed; add a host", rows.len()));
        }
        let limits = self.limits.of(&row.shared.info.tenant);
        rows.enter(row, limits).or_else(refuse)?;
        self.active.send_replace(rows.len());
        Ok(())
    }

    /// Another handler has the call now; the error is why it cannot.
    pub(crate) fn hand_over(&self, id: &CallId, handler: Arc<dyn HandlerVersion>) -> Result<(), String> {
        self.rows().hand_over(id, handler)
    }

    /// Nothing is left of a call.
    pub(crate) fn remove(&self, id: &CallId) {
        let mut rows = self.rows();
        rows.leave(id);
        self.active.send_replace(rows.len());
    }

    /// Who has a call, or whose handler placed it.
    pub(crate) fn holder(&self, id: &CallId) -> Option<Arc<dyn HandlerVersion>> {
        self.rows().get(id)?.handler.clone()
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call whose events are still on their way.
pub(crate) struct PumpRunning(Arc<watch::Sender<usize>>);

impl Drop for PumpRunning {
    fn drop(&mut self) {
        self.0.send_modify(|pumps| *pumps = pumps.saturating_sub(1));
    }
}

/// A refusal as the error of who wanted to place the call.
pub(crate) fn not_admitted(refusal: Refusal) -> CallError {
    CallError::LimitExceeded(format!("the call cannot be placed now: {}", refusal.reason))
}

impl Row {
    fn snapshot(&self) -> ActiveCall {
        let belongings = self.shared.belongings();
        let handler = self.handler.as_ref();
        ActiveCall {
            info: self.shared.info().clone(),
            state: self.shared.state(),
            handler: handler.map_or_else(|| HandlerName::from(""), |handler| handler.name().clone()),
            version: handler.map(|handler| handler.version().to_owned()).unwrap_or_default(),
            since: self.shared.started_at,
            duration_ms: self.shared.duration_ms(),
            exchange: self.exchange.name().to_owned(),
            metadata: self.shared.metadata.list(),
            parent: self.parent.clone(),
            children: belongings.children,
            recording: belongings.recording,
            bridges: belongings.bridges,
            snoops: belongings.snoops,
        }
    }
}

fn withheld(routed: &Routed) -> String {
    let (tenant, route, handler) = (&routed.tenant, &routed.route, &routed.handler);
    format!(
        "the route {route:?} of the tenant {tenant} wants the handler {handler}, of which no version may take calls; the host's \
         log says why, put one into its plugin directory that may"
    )
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
