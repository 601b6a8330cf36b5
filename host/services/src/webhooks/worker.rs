//! One target's deliveries: a window of the outbox, of which as many are under way as the target takes at one time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Client;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::outbox::{Fate, Outbox, OutboxOptions, Row, now_ms};
use super::request::{Outcome, send};
use super::target::WebhookTarget;
use super::window::Window;

/// Rows in memory at most.
const WINDOW_MAX: usize = 1_024;
/// More are read when fewer than this are left.
const WINDOW_LOW: usize = 512;
/// How many events are read at one time of a call that had to give up its room.
const CALL_PART: usize = 64;
/// How often the outbox is looked at without having been told to: another process may have put something in.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often room is made.
const TRIM_EVERY: Duration = Duration::from_secs(10);
/// How long to wait after the database failed.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);

/// What a worker has done.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) delivered: AtomicU64,
    pub(super) failed_attempts: AtomicU64,
    pub(super) dead: AtomicU64,
}

/// See the module.
pub(super) struct Worker {
    pub(super) target: Arc<WebhookTarget>,
    pub(super) name: Arc<str>,
    pub(super) outbox: Outbox,
    pub(super) options: OutboxOptions,
    pub(super) client: Client,
    pub(super) news: Arc<Notify>,
    pub(super) counters: Arc<Counters>,
    pub(super) stop: watch::Receiver<bool>,
}

impl Worker {
    /// Works until it is told to stop; what is under way then is finished first.
    pub(super) async fn run(self) {
        let mut stop = self.stop.clone();
        let mut window = Window::default();
        // There may be more in the outbox than has been read.
        let mut more = true;
        let mut attempts: JoinSet<(Row, Outcome)> = JoinSet::new();
        let mut trim_at = Instant::now();
        loop {
            let stopping = *stop.borrow();
            if stopping && attempts.is_empty() {
                return;
            }
            if !stopping {
                self.refill(&mut window, &mut more).await;
                if Instant::now() >= trim_at {
                    trim_at = Instant::now() + TRIM_EVERY;
                    self.trim(&window).await;
                }
            }
            let soonest = if stopping { None } else { self.begin(&mut window, &mut attempts) };
            let look_at = Instant::now() + soonest.map_or(LOOK_EVERY, |wait| wait.min(LOOK_EVERY));
            tokio::select! {
                Some(done) = attempts.join_next() => {
                    let mut done = vec![done];
                    done.extend(std::iter::from_fn(|| attempts.try_join_next()));
                    // An attempt that was lost has not been delivered, as far as anybody knows; it stays under way
                    // until the next start.
                    self.settle(&mut window, done.into_iter().filter_map(Result::ok).collect()).await;
                }
                () = self.news.notified() => more = true,
                () = sleep_until(look_at) => more = true,
                // The sender's loss is a stop too.
                _ = stop.changed(), if !stopping => {}
            }
        }
    }

    /// Reads on, as far as there is room. Calls that wait for a second attempt give up theirs when nothing else is left.
    async fn refill(&self, window: &mut Window, more: &mut bool) {
        while let Some(session_id) = window.next_unread() {
            let (name, session) = (Arc::clone(&self.name), Arc::clone(&session_id));
            match self.outbox.of_call(name, session, window.read_to(), CALL_PART).await {
                Ok(rows) => {
                    let all = rows.len() < CALL_PART;
                    window.add_unread(&session_id, rows, all);
                }
                Err(error) => {
                    window.still_unread(session_id);
                    return self.database_failed(&error).await;
                }
            }
        }
        if *more && window.len() >= WINDOW_LOW && window.stalled(now_ms()) {
            window.cut_waiting();
        }
        if !*more || window.len() >= WINDOW_LOW {
            return;
        }
        let room = WINDOW_MAX - window.len();
        match self.outbox.after(Arc::clone(&self.name), window.read_to(), room).await {
            Ok(rows) => {
                *more = rows.len() == room;
                rows.into_iter().for_each(|row| window.add(row));
            }
            Err(error) => self.database_failed(&error).await,
        }
    }

    /// Begins as many attempts as may be; returns how long nothing can be begun, when that is known.
    fn begin(&self, window: &mut Window, attempts: &mut JoinSet<(Row, Outcome)>) -> Option<Duration> {
        while attempts.len() < self.target.concurrency.max(1) {
            let now = now_ms();
            match window.take(now) {
                Ok(row) => {
                    let (client, target) = (self.client.clone(), Arc::clone(&self.target));
                    attempts.spawn(async move {
                        let outcome = send(&client, &target, &row).await;
                        (row, outcome)
                    });
                }
                Err(soonest) => {
                    return soonest.map(|due_ms| Duration::from_millis(u64::try_from(due_ms - now).unwrap_or(1)));
                }
            }
        }
        None
    }

    /// Notes what came of attempts. A note that cannot be made costs a second delivery, never an event.
    async fn settle(&self, window: &mut Window, done: Vec<(Row, Outcome)>) {
        let mut fates = Vec::with_capacity(done.len());
        for (mut row, outcome) in done {
            row.attempts = row.attempts.saturating_add(1);
            fates.push(match outcome {
                Outcome::Delivered => {
                    self.counters.delivered.fetch_add(1, Ordering::Relaxed);
                    window.through(&row);
                    Fate::Delivered(row.id)
                }
                Outcome::Failed(why) if row.attempts <= self.target.max_retries => self.put_off(window, row, why),
                Outcome::Refused(why) | Outcome::Failed(why) => self.bury(window, row, why),
            });
        }
        if let Err(error) = self.outbox.note(fates).await {
            self.database_failed(&error).await;
        }
    }

    fn put_off(&self, window: &mut Window, mut row: Row, why: String) -> Fate {
        self.counters.failed_attempts.fetch_add(1, Ordering::Relaxed);
        let wait = self.target.wait_after(row.attempts, random());
        row.due_ms = now_ms().saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
        tracing::debug!(target_name = %self.name, event = %row.event_id, why, "a webhook is tried again later");
        window.put_off(row.clone());
        Fate::PutOff(row, why)
    }

    fn bury(&self, window: &mut Window, row: Row, why: String) -> Fate {
        self.counters.failed_attempts.fetch_add(1, Ordering::Relaxed);
        self.counters.dead.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(target_name = %self.name, event = %row.event_id, kind = %row.kind, why, "a webhook is a dead letter; see `voxtra webhooks`");
        window.through(&row);
        Fate::Dead(row, why)
    }

    async fn trim(&self, window: &Window) {
        match self.outbox.trim(Arc::clone(&self.name), window.read_to(), self.options).await {
            Ok((0, 0)) => {}
            Ok((buried, deleted)) => {
                self.counters.dead.fetch_add(buried as u64, Ordering::Relaxed);
                tracing::error!(target_name = %self.name, buried, deleted, "the outbox is full: the oldest events became dead letters, the oldest dead letters were deleted");
            }
            Err(error) => self.database_failed(&error).await,
        }
    }

    async fn database_failed(&self, error: &crate::database::DatabaseError) {
        tracing::error!(target_name = %self.name, %error, "the webhooks' outbox");
        tokio::time::sleep(DATABASE_PAUSE).await;
    }
}

/// From 0 to 1. Without the system's randomness: the middle.
fn random() -> f64 {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}
