//! The events' way into the outbox, and the workers that empty it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    targets: Vec<Target>,
    lost: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    workers: Mutex<JoinSet<()>>,
}

struct Target {
    name: Arc<str>,
    target: Arc<WebhookTarget>,
    news: Arc<Notify>,
    counters: Arc<Counters>,
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
        let outbox = Outbox::open(database).await?;
        let (stop, stopping) = watch::channel(false);
        let mut workers = JoinSet::new();
        let targets: Vec<_> = targets
            .into_iter()
            .map(|target| Target {
                name: target.name.as_str().into(),
                target: Arc::new(target),
                news: Arc::default(),
                counters: Arc::default(),
            })
            .collect();
        let gone = outbox.bury_others(targets.iter().map(|target| Arc::clone(&target.name)).collect()).await?;
        if gone > 0 {
            tracing::warn!(
                gone,
                "events waited for webhooks that have gone; they are dead letters, see `voxtra webhooks`"
            );
        }
        for target in &targets {
            let worker = Worker {
                target: Arc::clone(&target.target),
                name: Arc::clone(&target.name),
                outbox: outbox.clone(),
                options,
                client: client.clone(),
                news: Arc::clone(&target.news),
                counters: Arc::clone(&target.counters),
                stop: stopping.clone(),
            };
            workers.spawn_on(worker.run(), runtime);
        }
        Ok(Self { outbox, open, targets, lost: Arc::default(), stop, workers: Mutex::new(workers) })
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

    fn wanting(&self, event: &Event) -> Vec<&Target> {
        self.targets.iter().filter(|target| target.target.wants(event)).collect()
    }

    /// Has the workers look at the outbox now.
    pub fn wake(&self) {
        self.targets.iter().for_each(|target| target.news.notify_one());
    }

    /// Counters since the start.
    pub fn stats(&self) -> WebhookStats {
        let sum = |of: fn(&Counters) -> &AtomicU64| {
            self.targets.iter().map(|target| of(&target.counters).load(Ordering::Relaxed)).sum()
        };
        WebhookStats {
            delivered: sum(|counters| &counters.delivered),
            failed_attempts: sum(|counters| &counters.failed_attempts),
            dead: sum(|counters| &counters.dead),
            lost: self.lost.load(Ordering::Relaxed),
        }
    }

    /// Lets attempts that are under way finish, begins no others, and returns after `limit` at the latest. What is left
    /// stays in the outbox.
    pub async fn stop(&self, limit: Duration) {
        self.stop.send_replace(true);
        let mut workers = self.workers.lock().await;
        let all = async { while workers.join_next().await.is_some() {} };
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

fn names(targets: &[&Target]) -> Vec<Arc<str>> {
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
