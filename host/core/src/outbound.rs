//! The port between whoever decides that a number is called (a batch) and whoever can call it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::BoxFuture;
use crate::error::CallError;
use crate::ids::{CallId, HandlerName, TenantId};
use crate::verbs::{AnsweredBy, DialplanPlace};

/// Places calls, one future a call.
pub trait Dialler: Send + Sync {
    /// Places one call and returns when it is completely over: not answered, or hung up and its handler done. Whoever
    /// implements it sees to it that this is so in finite time ([`DialRequest::ring_timeout`], the call-length limit).
    ///
    /// An error says that **nothing was placed**, so that it may be tried again without anybody's phone having rung;
    /// [`CallError::LimitExceeded`] that it is worth trying again soon. Where it cannot be known whether the PBX has
    /// placed it, the answer is [`DialOutcome::Failed`]. Dropping the future ends the call.
    fn dial(&self, request: DialRequest) -> BoxFuture<'_, Result<Dialled, CallError>>;

    /// What became of a call that the host had decided to place before it was killed. One that is still up is ended,
    /// and told as [`Trace::Placed`]. An error is taken as [`Trace::Unknown`].
    fn trace<'a>(&'a self, tenant: &'a TenantId, attempt: &'a CallId) -> BoxFuture<'a, Result<Trace, CallError>>;
}

/// A call to be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialRequest {
    /// The call's id from now on, at the PBX too. Asking twice with one id places one call.
    pub attempt: CallId,
    /// On whose account.
    pub tenant: TenantId,
    /// What is dialled: a number or an extension, to which the implementation adds the tenant's trunk.
    pub number: String,
    /// The number to be shown; empty: the tenant's.
    pub caller_id: String,
    /// Who takes the call when it is answered.
    pub target: DialTarget,
    /// Variables at the PBX.
    pub variables: Vec<(String, String)>,
    /// The call's metadata.
    pub metadata: Vec<(String, String)>,
    /// How long it may ring.
    pub ring_timeout: Duration,
    /// Whether to find out who has answered, a person or a machine.
    pub detect_machine: bool,
}

/// Who takes a call that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialTarget {
    /// A handler of the tenant's.
    Handler(HandlerName),
    /// Whatever the tenant's routes say for the number.
    Routes,
    /// The dialplan of the PBX; the call is over for the host when it is there.
    Dialplan(DialplanPlace),
}

/// A call that was placed and is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialled {
    /// How it went.
    pub outcome: DialOutcome,
    /// From the answer to the end, in milliseconds; 0 when nobody answered.
    pub duration_ms: u64,
    /// Why it ended, as [`crate::EndReason::as_str`] writes it, where that is known.
    pub end_reason: Option<String>,
}

/// How a call that was placed went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialOutcome {
    /// Somebody or something answered.
    Answered {
        /// Who; [`AnsweredBy::NotSure`] also when nobody was to find out.
        by: AnsweredBy,
    },
    /// The other side is in a call.
    Busy,
    /// It rang as long as it might.
    NoAnswer,
    /// The other side, or its network, does not want it.
    Rejected,
    /// No line was free.
    Congestion,
    /// It failed some other way; a sentence.
    Failed(String),
}

/// What became of a call that a killed host may have placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trace {
    /// It certainly was not placed.
    NotPlaced,
    /// It was placed, and this is how it went.
    Placed(Dialled),
    /// It may have been placed.
    Unknown,
}

/// What a [`FakeDialler`]'s calls wait for before they are over.
type Ringing = Box<dyn Fn(&DialRequest) -> BoxFuture<'static, ()> + Send + Sync>;

/// A dialler for tests of whoever dials: each number has a list of outcomes, one an attempt. A number without a list,
/// or at its end, is answered by a person who hangs up after 1,000 ms.
#[derive(Default)]
pub struct FakeDialler {
    script: Mutex<HashMap<String, VecDeque<Result<DialOutcome, CallError>>>>,
    traces: Mutex<HashMap<CallId, Trace>>,
    dialled: Mutex<Vec<DialRequest>>,
    live: Mutex<Live>,
    ringing: Option<Ringing>,
}

#[derive(Default, Clone, Copy)]
struct Live {
    now: usize,
    most: usize,
}

impl FakeDialler {
    /// One whose calls are over at once.
    pub fn new() -> Self {
        Self::default()
    }

    /// One whose calls are over when what `ringing` gives is.
    pub fn ringing(ringing: impl Fn(&DialRequest) -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        Self { ringing: Some(Box::new(ringing)), ..Self::default() }
    }

    /// What the next attempts at this number give, in order.
    pub fn script(&self, number: &str, outcomes: impl IntoIterator<Item = Result<DialOutcome, CallError>>) {
        locked(&self.script).entry(number.to_owned()).or_default().extend(outcomes);
    }

    /// What became of an attempt; [`Trace::Unknown`] when nothing is said here.
    pub fn leave_trace(&self, attempt: impl Into<CallId>, trace: Trace) {
        locked(&self.traces).insert(attempt.into(), trace);
    }

    /// All that were dialled, in order.
    pub fn dialled(&self) -> Vec<DialRequest> {
        locked(&self.dialled).clone()
    }

    /// How many calls are up.
    pub fn live(&self) -> usize {
        locked(&self.live).now
    }

    /// How many calls were up at one time, at the most.
    pub fn most_live(&self) -> usize {
        locked(&self.live).most
    }

    fn outcome(&self, number: &str) -> Result<DialOutcome, CallError> {
        let next = locked(&self.script).get_mut(number).and_then(VecDeque::pop_front);
        next.unwrap_or(Ok(DialOutcome::Answered { by: AnsweredBy::Human }))
    }
}

impl Dialler for FakeDialler {
    fn dial(&self, request: DialRequest) -> BoxFuture<'_, Result<Dialled, CallError>> {
        Box::pin(async move {
            let outcome = self.outcome(&request.number)?;
            locked(&self.dialled).push(request.clone());
            let _up = Up::new(&self.live);
            if let Some(ringing) = &self.ringing {
                ringing(&request).await;
            }
            let answered = matches!(outcome, DialOutcome::Answered { .. });
            Ok(Dialled {
                outcome,
                duration_ms: if answered { 1_000 } else { 0 },
                end_reason: answered.then(|| "caller-hung-up".to_owned()),
            })
        })
    }

    fn trace<'a>(&'a self, _tenant: &'a TenantId, attempt: &'a CallId) -> BoxFuture<'a, Result<Trace, CallError>> {
        let trace = locked(&self.traces).get(attempt).cloned().unwrap_or(Trace::Unknown);
        Box::pin(async move { Ok(trace) })
    }
}

impl<T: Dialler + ?Sized> Dialler for Arc<T> {
    fn dial(&self, request: DialRequest) -> BoxFuture<'_, Result<Dialled, CallError>> {
        (**self).dial(request)
    }

    fn trace<'a>(&'a self, tenant: &'a TenantId, attempt: &'a CallId) -> BoxFuture<'a, Result<Trace, CallError>> {
        (**self).trace(tenant, attempt)
    }
}

/// One call that is up, until it is dropped.
struct Up<'a>(&'a Mutex<Live>);

impl<'a> Up<'a> {
    fn new(live: &'a Mutex<Live>) -> Self {
        let mut counts = locked(live);
        counts.now += 1;
        counts.most = counts.most.max(counts.now);
        drop(counts);
        Self(live)
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        locked(self.0).now -= 1;
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
