//! The events' way into the outbox, and the workers that empty it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use reqwest::Client;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use voxtra_core::event::{Event, EventSink};
use voxtra_core::wire::event_json;
use voxtra_core::{CallRecord, MeterSink};

use super::open_calls::{OpenCalls, last_events};
use super::outbox::{LastEvents, NewRow, Outbox, OutboxError, OutboxOptions};
use super::target::WebhookTarget;
use super::worker::{Counters, Worker};
use crate::database::Database;

/// Calls of an earlier run whose ends are told in one transaction.
const LOST_AT_ONCE: usize = 256;

/// See the module. Dropping it stops the workers where they are; nothing is lost.
pub struct WebhookSink {
    outbox: Outbox,
    open: Arc<OpenCalls>,
    targets: RwLock<Arc<[Arc<Target>]>>,
    counters: Arc<Counters>,
    lost: Arc<AtomicU64>,
    client: Client,
    options: OutboxOptions,
    runtime: Handle,
    workers: Mutex<Workers>,
}

#[derive(Default)]
struct Workers {
    all: JoinSet<()>,
    /// No more are begun.
    stopped: bool,
}

struct Target {
    name: Arc<str>,
    target: Arc<WebhookTarget>,
    news: Arc<Notify>,
    /// Its worker finishes what is under way. Dropping it does the same.
    stop: watch::Sender<bool>,
    /// Its worker has ended when the other side is gone.
    ended: watch::Receiver<()>,
}

/// Counters since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WebhookStats {
    /// Events that a target has taken.
    pub delivered: u64,
    /// Attempts that did not go through.
    pub failed_attempts: u64,
    /// Events that became dead letters.
    pub dead: u64,
    /// Events that could not be kept, because the disk was full or too slow.
    pub lost: u64,
}

impl WebhookSink {
    /// Goes on with what is in the outbox, and takes new events. Each target has a name of its own; what waits for a name
    /// that no target has any more becomes dead letters.
    ///
    /// # Errors
    /// [`OutboxError`] when the outbox cannot be made.
    pub async fn start(
        database: Database,
        targets: Vec<WebhookTarget>,
        client: Client,
        options: OutboxOptions,
        runtime: &Handle,
    ) -> Result<Self, OutboxError> {
        let open = OpenCalls::open(database.clone()).await?;
        runtime.spawn(OpenCalls::beat(Arc::downgrade(&open)));
        let sink = Self {
            outbox: Outbox::open(database).await?,
            open,
            targets: RwLock::new(Arc::new([])),
            counters: Arc::default(),
            lost: Arc::default(),
            client,
            options,
            runtime: runtime.clone(),
            workers: Mutex::default(),
        };
        sink.set_targets(targets).await?;
        Ok(sink)
    }

    /// From now on events go to these targets and no others. One that is as before goes on; of one that is another under the same
    /// name, requests that are under way are finished first. What waits for a name that is gone becomes dead letters.
    ///
    /// # Errors
    /// [`OutboxError`] when those cannot be written down, which is done again at the next start; all else has changed.
    pub async fn set_targets(&self, targets: Vec<WebhookTarget>) -> Result<(), OutboxError> {
        let mut workers = self.workers.lock().await;
        while workers.all.try_join_next().is_some() {}
        if workers.stopped {
            return Ok(());
        }
        let before = self.targets();
        let known = |name: &str| before.iter().find(|known| *known.name == *name);
        let now: Arc<[_]> = targets
            .into_iter()
            .map(|target| match known(&target.name) {
                Some(same) if *same.target == target => Arc::clone(same),
                other => self.begin(target, other.map(|known| known.ended.clone()), &mut workers.all),
            })
            .collect();
        *self.targets.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&now);
        before.iter().filter(|old| !now.iter().any(|new| Arc::ptr_eq(old, new))).for_each(|old| {
            old.stop.send_replace(true);
        });
        let gone = self.outbox.bury_others(now.iter().map(|target| Arc::clone(&target.name)).collect()).await?;
        if gone > 0 {
            tracing::warn!(
                gone,
                "events waited for webhooks that have gone; they are dead letters, see `voxtra webhooks`"
            );
        }
        Ok(())
    }

    /// A target with its worker, which waits for the end of the one before it.
    fn begin(
        &self,
        target: WebhookTarget,
        before: Option<watch::Receiver<()>>,
        workers: &mut JoinSet<()>,
    ) -> Arc<Target> {
        let ((stop, stopping), (ends, ended)) = (watch::channel(false), watch::channel(()));
        let name: Arc<str> = target.name.as_str().into();
        let target = Target { name, target: Arc::new(target), news: Arc::default(), stop, ended };
        let worker = Worker {
            target: Arc::clone(&target.target),
            name: Arc::clone(&target.name),
            outbox: self.outbox.clone(),
            options: self.options,
            client: self.client.clone(),
            news: Arc::clone(&target.news),
            counters: Arc::clone(&self.counters),
            stop: stopping,
        };
        let run = async move {
            let _ends = ends;
            if let Some(mut before) = before {
                // Nothing is ever sent: the loss of the other side is its end.
                let _ = before.changed().await;
            }
            worker.run().await;
        };
        workers.spawn_on(run, &self.runtime);
        Arc::new(target)
    }

    fn targets(&self) -> Arc<[Arc<Target>]> {
        Arc::clone(&self.targets.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Calls that an earlier run of the host began and did not end, because it died, the oldest first. They ended when the
    /// host last gave a sign of life: within 10 s of its end, of calls that had been up for that long. What they used up
    /// died with it. To be asked before the first call.
    ///
    /// # Errors
    /// [`OutboxError`]
    pub async fn lost_calls(&self) -> Result<Vec<CallRecord>, OutboxError> {
        self.open.lost().await
    }

    /// Tells the webhooks the end of those calls, each once however often the host dies meanwhile: `call.failed`,
    /// `call.ended` with `telephony-failed` and a sentence, and `session.destroyed`. No filter sees them; there is nothing of
    /// the caller in them. Returns what was told.
    ///
    /// # Errors
    /// [`OutboxError`]; what could not be kept is lost still, for the next start.
    pub async fn end_lost_calls(&self, lost: &[CallRecord]) -> Result<Vec<Event>, OutboxError> {
        let mut told = Vec::new();
        for some in lost.chunks(LOST_AT_ONCE) {
            let events: Vec<_> = some.iter().map(last_events).collect();
            let rows = some.iter().zip(&events).map(|(call, events)| {
                let rows = events.iter().map(|event| (new_row(event), names(&self.wanting(event)))).collect();
                LastEvents { call: call.call.to_string(), rows }
            });
            let ended = self.outbox.end_calls(rows.collect()).await?;
            let events = events.into_iter().flatten();
            told.extend(events.filter(|event| ended.iter().any(|call| call == event.session_id.as_str())));
        }
        self.wake();
        Ok(told)
    }

    fn wanting(&self, event: &Event) -> Vec<Arc<Target>> {
        self.targets().iter().filter(|target| target.target.wants(event)).cloned().collect()
    }

    /// Has the workers look at the outbox now.
    pub fn wake(&self) {
        self.targets().iter().for_each(|target| target.news.notify_one());
    }

    /// Counters since the start.
    pub fn stats(&self) -> WebhookStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WebhookStats {
            delivered: of(&self.counters.delivered),
            failed_attempts: of(&self.counters.failed_attempts),
            dead: of(&self.counters.dead),
            lost: self.lost.load(Ordering::Relaxed),
        }
    }

    /// Lets attempts that are under way finish, begins no others, and returns after `limit` at the latest. What is left
    /// stays in the outbox.
    pub async fn stop(&self, limit: Duration) {
        let mut workers = self.workers.lock().await;
        workers.stopped = true;
        self.targets().iter().for_each(|target| {
            target.stop.send_replace(true);
        });
        let all = async { while workers.all.join_next().await.is_some() {} };
        // Running out of time only means that something is sent again.
        let _ = timeout(limit, all).await;
        // Events of the last moment are kept before the process ends.
        if timeout(limit, self.outbox.database.flush()).await.is_ok_and(|flushed| flushed.is_ok()) {
            return;
        }
        tracing::error!("the last events may not have been kept for their webhooks");
    }
}

impl EventSink for WebhookSink {
    fn emit(&self, event: Event) {
        let note = self.open.note(&event);
        let wanting = self.wanting(&event);
        if wanting.is_empty() {
            return note.map_or((), |note| self.open.keep(note, &event.session_id));
        }
        let (row, names) = (new_row(&event), names(&wanting));
        let lost = Arc::clone(&self.lost);
        match self.outbox.add(row, names, note, move |error| count_lost(&lost, &error)) {
            Ok(()) => wanting.iter().for_each(|target| target.news.notify_one()),
            Err(error) => count_lost(&self.lost, &error),
        }
    }
}

/// Of a call it knows so that nothing is left of it, also when filters keep its last events.
impl MeterSink for WebhookSink {
    fn record(&self, record: CallRecord) {
        self.open.forget_soon(&record.call);
    }
}

fn names(targets: &[Arc<Target>]) -> Vec<Arc<str>> {
    targets.iter().map(|target| Arc::clone(&target.name)).collect()
}

fn new_row(event: &Event) -> NewRow {
    NewRow {
        kind: event.kind.as_str(),
        body: event_json(event).to_string().into_bytes(),
        event_id: event.id.clone(),
        session_id: event.session_id.to_string(),
    }
}

fn count_lost(lost: &AtomicU64, error: &OutboxError) {
    let lost = lost.fetch_add(1, Ordering::Relaxed) + 1;
    // The first, and then ever fewer: a slow disk must not fill the log too.
    if lost.is_power_of_two() {
        tracing::error!(%error, lost, "an event could not be kept for its webhooks");
    }
}
