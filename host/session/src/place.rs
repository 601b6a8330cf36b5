//! Calls that the host places: for a handler (its children), for the operator, and for batches.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;
use voxtra_core::outbound::{DialOutcome, DialRequest, DialTarget, Dialled, Dialler, Trace};
use voxtra_core::telephony::PlacedLeg;
use voxtra_core::verbs::{AnsweredBy, DEFAULT_RING_TIMEOUT, DialplanPlace};
use voxtra_core::{
    BoxFuture, CallError, CallId, CallInfo, Direction, EndReason, Exchange, HandlerName, HangupCause, TenantId,
};

use crate::call::{CallShared, Message};
use crate::dial::limit_of_own;
use crate::host::{Host, Inner, not_admitted};
use crate::inbox::{HangupBy, LegInbox, Signals};
use crate::life::CallLife;
use crate::options::OnFailure;
use crate::router::DEFAULT_NAME;
use crate::rows::Row;
use crate::task::{CallTask, NewCall, Start};
use crate::{metadata, words};

/// The longest that a call may ring, whatever was asked for.
const RING_MAX: Duration = Duration::from_secs(600);

/// How much longer than that the host waits for word of it.
const RING_MARGIN: Duration = Duration::from_secs(10);

/// A call to be placed whose handler starts when it is answered.
#[derive(Clone)]
pub struct PlaceCall {
    /// On whose account; its dial policy says what is allowed.
    pub tenant: TenantId,
    /// Where.
    pub exchange: Arc<dyn Exchange>,
    /// The call's id; none: the host chooses. Asking twice with one id places one call.
    pub id: Option<CallId>,
    /// A number, or an endpoint such as `PJSIP/100`.
    pub to: String,
    /// The number to be shown; empty: the tenant's.
    pub caller_id: String,
    /// Who takes it when it is answered.
    pub target: DialTarget,
    /// How long it may ring; none: [`DEFAULT_RING_TIMEOUT`]; 10 minutes at most.
    pub ring_timeout: Option<Duration>,
    /// Variables at the PBX.
    pub variables: Vec<(String, String)>,
    /// The call's first metadata.
    pub metadata: Vec<(String, String)>,
    /// Whether to find out who answered before the handler starts.
    pub detect_machine: bool,
}

/// A call that was placed.
pub struct PlacedCall {
    shared: Arc<CallShared>,
    ended: oneshot::Receiver<PlacedEnd>,
}

/// How a placed call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedEnd {
    /// Why.
    pub reason: EndReason,
    /// Whether it was answered.
    pub answered: bool,
    /// Who answered, where that was found out.
    pub answered_by: Option<AnsweredBy>,
    /// From the answer to the end; 0 when it was not answered.
    pub duration_ms: u32,
}

impl PlacedCall {
    /// The call's id.
    pub fn id(&self) -> &CallId {
        &self.shared.info.id
    }

    /// Asks the call to end; its end still comes.
    pub fn hang_up(&self) {
        self.shared.signals.raise(|raised| {
            raised.hangup.get_or_insert(HangupBy::Operator);
        });
    }

    /// Waits until nothing of the call is left, its handler and its hang-up hook included. Can be dropped and asked
    /// again.
    pub async fn ended(&mut self) -> PlacedEnd {
        let lost = || PlacedEnd {
            reason: EndReason::TelephonyFailed("the host lost the call; this is a fault of the host".to_owned()),
            answered: self.shared.is_answered(),
            answered_by: None,
            duration_ms: self.shared.duration_ms(),
        };
        (&mut self.ended).await.unwrap_or_else(|_| lost())
    }
}

impl Host {
    /// Places a call. Returns when the PBX has accepted it. Everything is checked, and the tenant's dial policy asked,
    /// before anything is done: `invalid-argument`, `denied` and `limit-exceeded` say that nothing was placed.
    pub async fn place(&self, call: PlaceCall) -> Result<PlacedCall, CallError> {
        let inner = self.inner();
        let id = call.id.clone().unwrap_or_else(new_id);
        words::variables(&call.variables)?;
        metadata::check_all(&call.metadata).map_err(CallError::InvalidArgument)?;
        let (start, route, on_failure, into_dialplan) = inner.start_of(&call, &id)?;
        let order = Order {
            tenant: call.tenant,
            exchange: call.exchange,
            id,
            to: call.to,
            caller_id: call.caller_id,
            route,
            ring_timeout: call.ring_timeout,
            variables: call.variables,
            metadata: call.metadata,
            parent: None,
            start,
            on_failure,
            into_dialplan,
        };
        let (shared, _, ended) = Inner::place(inner, order).await?;
        Ok(PlacedCall { shared, ended })
    }
}

pub(crate) fn new_id() -> CallId {
    CallId::from(Uuid::new_v4().simple().to_string())
}

/// A call to be placed, whoever drives it. Its variables and metadata have been checked.
pub(crate) struct Order {
    pub(crate) tenant: TenantId,
    pub(crate) exchange: Arc<dyn Exchange>,
    pub(crate) id: CallId,
    pub(crate) to: String,
    pub(crate) caller_id: String,
    pub(crate) route: String,
    pub(crate) ring_timeout: Option<Duration>,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) parent: Option<CallId>,
    pub(crate) start: Start,
    pub(crate) on_failure: OnFailure,
    pub(crate) into_dialplan: Option<DialplanPlace>,
}

impl Inner {
    /// Who takes a placed call.
    fn start_of(
        &self,
        call: &PlaceCall,
        id: &CallId,
    ) -> Result<(Start, String, OnFailure, Option<DialplanPlace>), CallError> {
        let (tenant, detect_machine) = (&call.tenant, call.detect_machine);
        let named = |name: &HandlerName| {
            let missing = || {
                CallError::InvalidArgument(format!(
                    "the handler {name} is not there; put {name}.wasm into the plugin directory of the tenant {tenant}"
                ))
            };
            self.handler(tenant, name, id).ok_or_else(missing)
        };
        match &call.target {
            DialTarget::Handler(name) => {
                let start = Start::OnAnswer { handler: named(name)?, detect_machine };
                Ok((start, name.to_string(), self.router().on_failure(tenant), None))
            }
            DialTarget::Routes => {
                let routed = self.router().route_for(tenant, &call.caller_id, &call.to).ok_or_else(|| {
                    CallError::InvalidArgument(format!("the tenant {tenant} has no routes; name a handler"))
                })?;
                let start = Start::OnAnswer { handler: named(&routed.handler)?, detect_machine };
                Ok((start, routed.route, routed.on_failure, None))
            }
            DialTarget::Dialplan(place) => {
                words::place(place)?;
                if !place.context.is_empty() {
                    self.dialling.may_enter(tenant, None, &place.context)?;
                }
                Ok((Start::Nobody, DEFAULT_NAME.to_owned(), OnFailure::default(), Some(place.clone())))
            }
        }
    }

    /// Places a call and starts its owner. Dropped on the way, nothing is left of it.
    pub(crate) async fn place(
        this: &Arc<Self>,
        order: Order,
    ) -> Result<(Arc<CallShared>, mpsc::Sender<Message>, oneshot::Receiver<PlacedEnd>), CallError> {
        // What a handler places is its own to answer for; what it takes when it is answered is somebody else's.
        let own = match &order.start {
            Start::ByParent(handler) => handler.dial_narrowing(),
            _ => None,
        };
        if let Some(most) = own.as_ref().map(|own| own.max_per_day)
            && this.limits.placed_today(&order.tenant) >= most
        {
            return limit_of_own(most, "were placed in its day", "max_per_day");
        }
        let (dialled, permit) = this.dialling.admit(&order.tenant, own.as_deref(), &order.to, &order.caller_id)?;
        let ring_timeout = order.ring_timeout.unwrap_or(DEFAULT_RING_TIMEOUT).min(RING_MAX);
        let info = CallInfo {
            id: order.id.clone(),
            tenant: order.tenant,
            caller_id: dialled.caller_id.clone(),
            called_number: order.to,
            direction: Direction::Outbound,
            route: order.route,
        };
        let signals = Arc::<Signals>::default();
        let log_bytes = this.limits.of(&info.tenant).log_bytes;
        let shared = Arc::new(CallShared::new(info, order.metadata, Arc::clone(&signals), log_bytes));
        let row = Row {
            shared: Arc::clone(&shared),
            handler: order.start.handler().cloned(),
            exchange: Arc::clone(&order.exchange),
            parent: order.parent.clone(),
            outdated: false,
        };
        this.admit(row).map_err(not_admitted)?;
        let mut row = RowGuard { host: this, id: &order.id, armed: true };
        this.limits.count_placed(&shared.info.tenant)?;
        let (inbox, leg_events) = LegInbox::new(signals, Arc::clone(&this.counters));
        let placed = PlacedLeg {
            id: order.id.clone(),
            endpoint: dialled.endpoint,
            caller_id: dialled.caller_id,
            ring_timeout,
            variables: order.variables,
            into_dialplan: order.into_dialplan,
        };
        let leg = order.exchange.originate(&placed, Arc::new(inbox)).await?;
        row.armed = false;
        let life = CallLife::placed(Arc::clone(this), Arc::clone(&shared), order.parent, permit);
        let (report, ended) = oneshot::channel();
        let call = NewCall {
            leg,
            leg_events,
            exchange: order.exchange,
            answered: false,
            start: order.start,
            on_failure: order.on_failure,
            rings_until: Some(Instant::now() + ring_timeout + RING_MARGIN),
            report: Some(report),
        };
        let task = CallTask::new(life, call, this.stop());
        let messages = task.messages();
        this.start(task);
        Ok((shared, messages, ended))
    }
}

/// A row whose call has no owner yet.
struct RowGuard<'a> {
    host: &'a Inner,
    id: &'a CallId,
    armed: bool,
}

impl Drop for RowGuard<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.host.remove(self.id);
        }
    }
}

/// Where a tenant's calls are placed.
pub type ExchangeOf = Arc<dyn Fn(&TenantId) -> Option<Arc<dyn Exchange>> + Send + Sync>;

/// Places calls for whoever decides that numbers are called.
#[derive(Clone)]
pub struct HostDialler {
    host: Arc<Host>,
    exchange_of: ExchangeOf,
}

impl HostDialler {
    /// `exchange_of` gives the PBX where a tenant's calls are placed; none: it has no PBX now.
    pub fn new(host: Arc<Host>, exchange_of: ExchangeOf) -> Self {
        Self { host, exchange_of }
    }

    fn exchange(&self, tenant: &TenantId) -> Result<Arc<dyn Exchange>, CallError> {
        (self.exchange_of)(tenant).ok_or_else(|| {
            CallError::LimitExceeded(format!("the PBX of the tenant {tenant} is not connected now; try again soon"))
        })
    }
}

/// Ends a call that nobody waits for any more.
struct HangUpWhenDropped(PlacedCall);

impl Drop for HangUpWhenDropped {
    fn drop(&mut self) {
        self.0.hang_up();
    }
}

impl Dialler for HostDialler {
    fn dial(&self, request: DialRequest) -> BoxFuture<'_, Result<Dialled, CallError>> {
        Box::pin(async move {
            let call = PlaceCall {
                exchange: self.exchange(&request.tenant)?,
                tenant: request.tenant,
                id: Some(request.attempt),
                to: request.number,
                caller_id: request.caller_id,
                target: request.target,
                ring_timeout: Some(request.ring_timeout),
                variables: request.variables,
                metadata: request.metadata,
                detect_machine: request.detect_machine,
            };
            match self.host.place(call).await {
                Ok(call) => {
                    let mut call = HangUpWhenDropped(call);
                    Ok(dialled(&call.0.ended().await))
                }
                // The PBX may have placed it before it failed.
                Err(error @ (CallError::Telephony(_) | CallError::Timeout | CallError::HungUp)) => {
                    Ok(failed(error.to_string()))
                }
                Err(error) => Err(error),
            }
        })
    }

    fn trace<'a>(&'a self, tenant: &'a TenantId, attempt: &'a CallId) -> BoxFuture<'a, Result<Trace, CallError>> {
        Box::pin(async move {
            let ours = self.host.hangup(attempt);
            if ours || self.exchange(tenant)?.has_leg(attempt).await? {
                // What a host leaves behind at its PBX is hung up when it is found there.
                return Ok(Trace::Placed(failed("the host was stopped while the call was up".to_owned())));
            }
            Ok(Trace::Unknown)
        })
    }
}

fn dialled(end: &PlacedEnd) -> Dialled {
    let outcome = match &end.reason {
        _ if end.answered => DialOutcome::Answered { by: end.answered_by.unwrap_or(AnsweredBy::NotSure) },
        // Into the dialplan goes what was answered.
        EndReason::Transferred => DialOutcome::Answered { by: AnsweredBy::NotSure },
        EndReason::NotAnswered(HangupCause::Busy) => DialOutcome::Busy,
        EndReason::NotAnswered(HangupCause::NoAnswer | HangupCause::Normal) => DialOutcome::NoAnswer,
        EndReason::NotAnswered(HangupCause::Rejected) => DialOutcome::Rejected,
        EndReason::NotAnswered(HangupCause::Congestion) => DialOutcome::Congestion,
        // It rang and was given up before anybody answered.
        EndReason::CallerHungUp => DialOutcome::NoAnswer,
        other => DialOutcome::Failed(other.detail().unwrap_or(other.as_str()).to_owned()),
    };
    Dialled { outcome, duration_ms: end.duration_ms.into(), end_reason: Some(end.reason.as_str().to_owned()) }
}

fn failed(why: String) -> Dialled {
    Dialled { outcome: DialOutcome::Failed(why), duration_ms: 0, end_reason: None }
}
