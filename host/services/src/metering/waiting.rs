//! Rows on their way to the disk: they leave memory when their commit has gone well, and not before.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Transaction;
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::row::{CallRow, INSERT};
use crate::database::{Database, DatabaseError};

/// Rows that one job of the database's thread keeps: a few milliseconds of its time.
const GROUP_ROWS: usize = 256;

/// How long rows wait after a job that failed, before they are tried again without being asked for. Twice as long each time
/// that it fails again, up to [`AGAIN_AT_LEAST_EVERY`].
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The longest that rows wait for another try.
const AGAIN_AT_LEAST_EVERY: Duration = Duration::from_secs(60);

/// See the module. One for each store.
pub(super) struct Waiting {
    database: Database,
    max_rows: usize,
    /// Where the time is waited for until rows are tried again.
    runtime: Handle,
    queue: Mutex<Queue>,
    pub(super) kept: AtomicU64,
    pub(super) lost: AtomicU64,
    failures: AtomicU64,
}

#[derive(Default)]
struct Queue {
    /// Each with its number, the oldest first.
    rows: VecDeque<(u64, Arc<CallRow>)>,
    /// The number that comes next.
    next: u64,
    /// Whether a job has been asked for that has not been told yet.
    is_asked: bool,
    /// Jobs that have failed since one has not.
    failed: u32,
    /// Whether somebody waits for the time of the next try: one at a time.
    is_timed: bool,
}

impl Waiting {
    pub(super) fn new(database: Database, max_rows: usize, runtime: Handle) -> Self {
        let (kept, lost, failures) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { database, max_rows, runtime, queue: Mutex::default(), kept, lost, failures }
    }

    /// Takes a row, or counts it as lost; never blocks.
    pub(super) fn push(self: &Arc<Self>, row: CallRow) {
        let must_ask = {
            let mut queue = self.queue();
            if queue.rows.len() >= self.max_rows {
                drop(queue);
                return self.count_lost(&row);
            }
            let number = queue.next;
            queue.next = number.wrapping_add(1);
            queue.rows.push_back((number, Arc::new(row)));
            !std::mem::replace(&mut queue.is_asked, true)
        };
        if must_ask {
            self.ask();
        }
    }

    /// Rows that are not on disk yet.
    pub(super) fn len(&self) -> usize {
        self.queue().rows.len()
    }

    /// Returns when every row that came before is on disk.
    pub(super) async fn flush(self: &Arc<Self>) -> Result<(), DatabaseError> {
        let end = self.queue().next;
        while self.has_before(end) {
            let job = Arc::clone(self);
            // The job that was asked for may keep the same rows: the second time changes nothing.
            let last = self.database.write(move |tx| job.keep_oldest(tx)).await?;
            self.forget_up_to(last, &mut self.queue());
        }
        Ok(())
    }

    fn has_before(&self, end: u64) -> bool {
        self.queue().rows.front().is_some_and(|(number, _)| *number < end)
    }

    /// Has the oldest rows kept, and those that came meanwhile after them, until none waits or one job fails; the next row,
    /// or a while, begins anew then.
    fn ask(self: &Arc<Self>) {
        let (job, told) = (Arc::clone(self), Arc::clone(self));
        let asked = self.database.write_later(move |tx| job.keep_oldest(tx), move |kept| told.heard(kept));
        if let Err(error) = asked {
            self.stopped(&error);
        }
    }

    fn heard(self: Arc<Self>, kept: Result<Option<u64>, DatabaseError>) {
        match kept {
            Ok(last) => {
                let has_more = {
                    let mut queue = self.queue();
                    self.forget_up_to(last, &mut queue);
                    queue.failed = 0;
                    queue.is_asked = !queue.rows.is_empty();
                    queue.is_asked
                };
                if has_more {
                    self.ask();
                }
            }
            Err(error) => self.stopped(&error),
        }
    }

    /// Returns the number of the last that it has kept.
    fn keep_oldest(&self, tx: &Transaction<'_>) -> rusqlite::Result<Option<u64>> {
        let oldest: Vec<_> = self.queue().rows.iter().take(GROUP_ROWS).cloned().collect();
        let mut insert = tx.prepare_cached(INSERT)?;
        for (_, row) in &oldest {
            row.insert(&mut insert)?;
        }
        Ok(oldest.last().map(|(number, _)| *number))
    }

    fn forget_up_to(&self, last: Option<u64>, queue: &mut Queue) {
        while queue.rows.front().is_some_and(|(number, _)| last.is_some_and(|last| *number <= last)) {
            queue.rows.pop_front();
            self.kept.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn stopped(self: &Arc<Self>, error: &DatabaseError) {
        let (waiting, again_after) = {
            let mut queue = self.queue();
            queue.is_asked = false;
            let again_after = again_after(queue.failed);
            queue.failed = queue.failed.saturating_add(1);
            let must_time = !std::mem::replace(&mut queue.is_timed, true);
            (queue.rows.len(), must_time.then_some(again_after))
        };
        if let Some(again_after) = again_after {
            self.try_again_after(again_after);
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        // The first, and then ever fewer: a slow disk must not fill the log too.
        if failures.is_power_of_two() {
            tracing::warn!(%error, waiting, failures, "calls' records wait in memory: they could not be kept yet");
        }
    }

    /// Whoever lets go of the store in the meantime has flushed it, or wants nothing kept.
    fn try_again_after(self: &Arc<Self>, time: Duration) {
        let waiting = Arc::downgrade(self);
        self.runtime.spawn(async move {
            sleep(time).await;
            if let Some(waiting) = waiting.upgrade() {
                waiting.try_again();
            }
        });
    }

    fn try_again(self: &Arc<Self>) {
        let must_ask = {
            let mut queue = self.queue();
            queue.is_timed = false;
            !queue.rows.is_empty() && !std::mem::replace(&mut queue.is_asked, true)
        };
        if must_ask {
            self.ask();
        }
    }

    fn count_lost(&self, row: &CallRow) {
        let lost = self.lost.fetch_add(1, Ordering::Relaxed) + 1;
        if lost.is_power_of_two() {
            let (call, tenant) = (&row.call_id, &row.tenant);
            tracing::error!(%call, %tenant, lost, "a call's record is lost: too many wait for the database");
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn again_after(failed: u32) -> Duration {
    AGAIN_AFTER.saturating_mul(2_u32.saturating_pow(failed)).min(AGAIN_AT_LEAST_EVERY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_often_it_fails_the_longer_it_waits_and_never_longer_than_a_minute() {
        let seconds = |failed| again_after(failed).as_secs();
        assert_eq!([0, 1, 2, 5, 6, 7, 31, u32::MAX].map(seconds), [1, 2, 4, 32, 60, 60, 60, 60]);
    }
}
