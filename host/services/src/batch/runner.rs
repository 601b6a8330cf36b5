//! Calls a batch: begins what is due, waits for what is up, keeps what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::Instant;
use voxtra_core::verbs::AnsweredBy;
use voxtra_core::{
    BoxFuture, CallError, DialOutcome, DialRequest, DialTarget, Dialled, Dialler, HandlerName, TenantId, Trace,
};

use super::options::BatchOptions;
use super::pace::Pace;
use super::progress::{Outcome, Phase, Progress};
use super::retries::RetryOn;
use super::rows::Row;
use super::state::{BatchError, BatchId, Batches, Loaded, Pending, Settled, from_unix_ms, unix_ms};

/// How long to sleep at a time: whoever sets the machine's clock is noticed after so long.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// How long an attempt may take beside its ringing. The host ends calls long before; this is for a dialler that does not
/// keep its promise.
const LONGEST_CALL: Duration = Duration::from_secs(24 * 3_600);

/// How long to ask what became of one call.
const TRACE_LIMIT: Duration = Duration::from_secs(30);

/// How many are asked about at one time.
const TRACES_AT_ONCE: usize = 16;

/// How often a row is put back because the tenant is at a limit of its own, before it fails; with waits that double
/// from 1 to 60 seconds, a quarter of an hour.
const MOST_HELD: u32 = 20;

/// How much of a sentence is kept.
const MAX_DETAIL_CHARS: usize = 300;

/// The time of day, from the machine or, in tests and simulations, from the runtime's virtual clock.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// The machine's.
    pub fn system() -> Self {
        Self(Arc::new(SystemTime::now))
    }

    /// One that shows `start` now and goes with the runtime's clock.
    pub fn of_runtime(start: SystemTime) -> Self {
        let zero = Instant::now();
        Self(Arc::new(move || start.checked_add(zero.elapsed()).unwrap_or(start)))
    }

    /// The time now.
    pub fn now(&self) -> SystemTime {
        (self.0)()
    }
}

/// Stops a batch that runs. Clones speak to the same one.
#[derive(Clone, Debug)]
pub struct BatchControl(Arc<watch::Sender<Wish>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    Go,
    Stop,
    Cancel,
}

impl BatchControl {
    /// For one run.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Wish::Go)))
    }

    /// Begins no more calls, and returns from [`Batches::run`] when those that are up are over. The batch can be gone on
    /// with later.
    pub fn stop(&self) {
        self.wish(Wish::Stop);
    }

    /// For [`Batches::cancel`], which makes it last.
    pub(super) fn cancel(&self) {
        self.wish(Wish::Cancel);
    }

    fn wish(&self, wish: Wish) {
        self.0.send_if_modified(|now| {
            let more = wish > *now;
            *now = wish.max(*now);
            more
        });
    }
}

impl Default for BatchControl {
    fn default() -> Self {
        Self::new()
    }
}

impl Batches {
    /// Calls the numbers of a batch until each has its outcome, or it is stopped; goes on where an earlier run ended,
    /// however it ended. How it stands is always in `progress`, and what it was at last is returned.
    ///
    /// Dropping the future drops the calls that are up; a later run then takes them for interrupted. When the database
    /// fails no more calls are begun, those that are up go on to their ends, and the error is returned.
    pub async fn run(
        &self,
        id: &BatchId,
        dialler: &dyn Dialler,
        clock: &Clock,
        control: &BatchControl,
        progress: &watch::Sender<Progress>,
    ) -> Result<Progress, BatchError> {
        let _running = self.begin_running(id, control)?;
        let Loaded { tenant, options, cancelled, pending, dialling } = self.load(id).await?;
        if cancelled {
            control.cancel();
        }
        let calls = Calls { batches: self, id, tenant, options, dialler, clock };
        let mut run = Run {
            queue: pending.into_iter().map(|row| ((row.due_ms, row.row), row)).collect(),
            pace: Pace::new(calls.options.calls_per_second),
            zero: Instant::now(),
            failure: None,
            standing: self.summary(id).await?.progress,
            told: progress,
            calls: &calls,
        };
        run.find_interrupted(dialling).await;
        run.call_all(control).await;
        run.end(control).await
    }
}

/// What an attempt needs, and all attempts share.
struct Calls<'a> {
    batches: &'a Batches,
    id: &'a BatchId,
    tenant: TenantId,
    options: BatchOptions,
    dialler: &'a dyn Dialler,
    clock: &'a Clock,
}

struct Run<'a> {
    calls: &'a Calls<'a>,
    /// What waits, by when it is due and then by its place.
    queue: BTreeMap<(i64, u32), Pending>,
    pace: Pace,
    zero: Instant,
    /// The first; no calls are begun after it.
    failure: Option<BatchError>,
    standing: Progress,
    told: &'a watch::Sender<Progress>,
}

/// An attempt that is over, and its row.
struct Over {
    pending: Pending,
    end: Result<End, BatchError>,
}

enum End {
    /// It has its final outcome.
    Done { outcome: Outcome, placed: bool },
    /// It is to be called again; `placed` when it was called at all.
    Again { placed: bool },
    /// Another run has it.
    Taken,
}

/// Why nothing begins now.
enum Wait {
    /// For a call that is up to end, or for nothing.
    ForOthers,
    /// For the next slot of the rate.
    Slot(Duration),
    /// For this time of day.
    Until(SystemTime),
}

impl<'a> Run<'a> {
    /// Rows that were being called when the host ended.
    async fn find_interrupted(&mut self, rows: Vec<Pending>) {
        let calls = self.calls;
        let mut traces =
            futures_util::stream::iter(rows.into_iter().map(|row| calls.find(row))).buffer_unordered(TRACES_AT_ONCE);
        while let Some(over) = traces.next().await {
            self.over(over);
        }
    }

    async fn call_all(&mut self, control: &BatchControl) {
        let mut wish = control.0.subscribe();
        let mut live: FuturesUnordered<BoxFuture<'a, Over>> = FuturesUnordered::new();
        loop {
            let going = *wish.borrow_and_update() == Wish::Go && self.failure.is_none();
            let wait = if going { self.begin_what_may(&mut live) } else { Wait::ForOthers };
            self.tell(live.len(), going, &wait);
            if live.is_empty() && (!going || self.queue.is_empty()) {
                return;
            }
            tokio::select! {
                Some(over) = live.next(), if !live.is_empty() => self.over(over),
                () = self.sleep(&wait) => {}
                // It is held by the caller: this never fails.
                _ = wish.changed() => {}
            }
        }
    }

    fn begin_what_may(&mut self, live: &mut FuturesUnordered<BoxFuture<'a, Over>>) -> Wait {
        let most = usize::try_from(self.calls.options.concurrency).unwrap_or(usize::MAX);
        while live.len() < most {
            let Some((&(due_ms, _), _)) = self.queue.first_key_value() else { return Wait::ForOthers };
            let now = self.calls.clock.now();
            if due_ms > unix_ms(now) {
                return Wait::Until(from_unix_ms(due_ms));
            }
            if let Some(open) = self.calls.options.hours.as_ref().and_then(|hours| hours.next_open(now))
                && open > now
            {
                return Wait::Until(open);
            }
            if let Err(slot) = self.pace.begin(self.zero.elapsed()) {
                return Wait::Slot(slot);
            }
            if let Some((_, row)) = self.queue.pop_first() {
                self.standing.attempts = self.standing.attempts.saturating_add(1);
                live.push(Box::pin(self.calls.call(row)));
            }
        }
        Wait::ForOthers
    }

    async fn sleep(&self, wait: &Wait) {
        match wait {
            Wait::ForOthers => std::future::pending().await,
            Wait::Slot(slot) => tokio::time::sleep(slot.saturating_sub(self.zero.elapsed())).await,
            Wait::Until(time) => {
                let left = time.duration_since(self.calls.clock.now()).unwrap_or_default();
                tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
            }
        }
    }

    fn over(&mut self, over: Over) {
        let Over { pending, end } = over;
        let placed = match end {
            Ok(End::Done { outcome, placed }) => {
                self.standing.count(outcome);
                placed
            }
            Ok(End::Again { placed }) => {
                self.queue.insert((pending.due_ms, pending.row), pending);
                placed
            }
            Ok(End::Taken) => false,
            Err(error) => {
                self.failure.get_or_insert(error);
                true
            }
        };
        // It was counted when it began.
        if !placed {
            self.standing.attempts = self.standing.attempts.saturating_sub(1);
        }
    }

    fn tell(&mut self, live: usize, going: bool, wait: &Wait) {
        self.standing.live = u32::try_from(live).unwrap_or(u32::MAX);
        (self.standing.phase, self.standing.next_due) = match wait {
            _ if !going => (Phase::Stopping, None),
            Wait::Until(time) if live == 0 => (Phase::Waiting, Some(*time)),
            _ => (Phase::Calling, None),
        };
        self.told.send_replace(self.standing.clone());
    }

    async fn end(self, control: &BatchControl) -> Result<Progress, BatchError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let Calls { batches, id, .. } = self.calls;
        if *control.0.borrow() == Wish::Cancel {
            batches.cancel_rest(id).await?;
        }
        let mut last = batches.summary(id).await?.progress;
        last.phase = if last.done == last.total { Phase::Finished } else { Phase::Stopped };
        self.told.send_replace(last.clone());
        Ok(last)
    }
}

impl Calls<'_> {
    /// One attempt, from before it is placed until what came of it is kept.
    async fn call(&self, mut pending: Pending) -> Over {
        let end = self.attempt(&mut pending).await;
        Over { pending, end }
    }

    async fn attempt(&self, pending: &mut Pending) -> Result<End, BatchError> {
        let begun = self.batches.begin(self.id, pending.row, pending.tries, unix_ms(self.clock.now())).await?;
        if !begun {
            return Ok(End::Taken);
        }
        pending.tries = pending.tries.saturating_add(1);
        let limit = self.options.ring_timeout().saturating_add(LONGEST_CALL);
        let dialled = tokio::time::timeout(limit, self.dialler.dial(self.request(pending))).await;
        let dialled = dialled.unwrap_or_else(|_| Ok(failed("the call did not end within a day")));
        match dialled {
            Err(CallError::LimitExceeded(why)) => self.hold(pending, why).await,
            Err(error) => {
                let settled = self.settled(pending, Outcome::Failed, Some(RetryOn::Failed), error.to_string());
                self.settle(pending, Settled { placed: false, ..settled }).await
            }
            Ok(dialled) => self.settle_dialled(pending, dialled).await,
        }
    }

    fn request(&self, pending: &Pending) -> DialRequest {
        let Row { number, caller_id, handler, metadata } = pending.data.clone();
        let options = &self.options;
        DialRequest {
            attempt: self.id.attempt(pending.row, pending.tries),
            tenant: self.tenant.clone(),
            number,
            caller_id: if caller_id.is_empty() { options.caller_id.clone() } else { caller_id },
            target: match handler.is_empty() {
                true => options.target.to_dial(),
                false => DialTarget::Handler(HandlerName::new(handler)),
            },
            variables: options.variables.clone(),
            metadata,
            ring_timeout: options.ring_timeout(),
            detect_machine: options.detect_machine,
        }
    }

    /// What became of an attempt of an earlier run.
    async fn find(&self, mut pending: Pending) -> Over {
        let attempt = self.id.attempt(pending.row, pending.tries);
        let trace = tokio::time::timeout(TRACE_LIMIT, self.dialler.trace(&self.tenant, &attempt)).await;
        let end = match trace {
            Ok(Ok(Trace::Placed(dialled))) => self.settle_dialled(&mut pending, dialled).await,
            Ok(Ok(Trace::NotPlaced)) => {
                pending.due_ms = unix_ms(self.clock.now());
                self.put_back(&pending).await
            }
            Ok(Ok(Trace::Unknown)) | Ok(Err(_)) | Err(_) => {
                let detail = "the host was killed while it called; the phone may have rung".to_owned();
                let settled = self.settled(&pending, Outcome::Interrupted, Some(RetryOn::Interrupted), detail);
                self.settle(&mut pending, settled).await
            }
        };
        Over { pending, end }
    }

    /// The tenant is at a limit: the row waits.
    async fn hold(&self, pending: &mut Pending, why: String) -> Result<End, BatchError> {
        if pending.held >= MOST_HELD {
            let settled = self.settled(pending, Outcome::Failed, Some(RetryOn::Failed), why);
            return self.settle(pending, Settled { placed: false, ..settled }).await;
        }
        let wait_ms = 1_000i64.saturating_mul(1 << pending.held.min(6)).min(60_000);
        pending.held = pending.held.saturating_add(1);
        pending.due_ms = unix_ms(self.clock.now()).saturating_add(wait_ms);
        self.put_back(pending).await
    }

    async fn put_back(&self, pending: &Pending) -> Result<End, BatchError> {
        self.batches.put_back(self.id, pending).await?;
        Ok(End::Again { placed: false })
    }

    async fn settle_dialled(&self, pending: &mut Pending, dialled: Dialled) -> Result<End, BatchError> {
        let Dialled { outcome, duration_ms, end_reason } = dialled;
        let end_reason = end_reason.unwrap_or_default();
        let (outcome, retry_on, answered_by, detail) = match outcome {
            DialOutcome::Answered { by } => {
                let retry_on = (by == AnsweredBy::Machine).then_some(RetryOn::Machine);
                (Outcome::Answered, retry_on, by.as_str(), end_reason)
            }
            DialOutcome::Busy => (Outcome::Busy, Some(RetryOn::Busy), "", end_reason),
            DialOutcome::NoAnswer => (Outcome::NoAnswer, Some(RetryOn::NoAnswer), "", end_reason),
            DialOutcome::Rejected => (Outcome::Rejected, Some(RetryOn::Rejected), "", end_reason),
            DialOutcome::Congestion => (Outcome::Congestion, Some(RetryOn::Congestion), "", end_reason),
            DialOutcome::Failed(why) => (Outcome::Failed, Some(RetryOn::Failed), "", why),
        };
        let settled = self.settled(pending, outcome, retry_on, detail);
        self.settle(pending, Settled { answered_by, duration_ms, ..settled }).await
    }

    fn settled(&self, pending: &Pending, outcome: Outcome, retry_on: Option<RetryOn>, detail: String) -> Settled {
        let wait = retry_on.and_then(|on| {
            let so_far = pending.retried.get(&on).copied().unwrap_or(0);
            self.options.retries.rule(on)?.wait(so_far)
        });
        let now_ms = unix_ms(self.clock.now());
        let again_ms = wait.map(|wait| now_ms.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)));
        let detail = detail.chars().take(MAX_DETAIL_CHARS).collect();
        Settled { outcome, retry_on, again_ms, placed: true, answered_by: "", duration_ms: 0, detail }
    }

    async fn settle(&self, pending: &mut Pending, settled: Settled) -> Result<End, BatchError> {
        let Settled { outcome, retry_on, again_ms, placed, .. } = settled;
        self.batches.settle(self.id, pending, settled).await?;
        let Some(again_ms) = again_ms else { return Ok(End::Done { outcome, placed }) };
        pending.due_ms = again_ms;
        if let Some(on) = retry_on {
            let times = pending.retried.entry(on).or_default();
            *times = times.saturating_add(1);
        }
        Ok(End::Again { placed })
    }
}

fn failed(why: &str) -> Dialled {
    Dialled { outcome: DialOutcome::Failed(why.to_owned()), duration_ms: 0, end_reason: None }
}
