//! Rows on their way to the disk: they leave memory when their commit has gone well, and not before.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Transaction;

use super::row::{CallRow, INSERT};
use crate::database::{Database, DatabaseError};

/// Rows that one job of the database's thread keeps: a few milliseconds of its time.
const GROUP_ROWS: usize = 256;

/// See the module. One for each store.
pub(super) struct Waiting {
    database: Database,
    max_rows: usize,
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
}

impl Waiting {
    pub(super) fn new(database: Database, max_rows: usize) -> Self {
        let (kept, lost, failures) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { database, max_rows, queue: Mutex::default(), kept, lost, failures }
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

    /// Has the oldest rows kept, and those that came meanwhile after them, until none waits or one job fails; the next row
    /// begins anew then.
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

    fn stopped(&self, error: &DatabaseError) {
        let waiting = {
            let mut queue = self.queue();
            queue.is_asked = false;
            queue.rows.len()
        };
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        // The first, and then ever fewer: a slow disk must not fill the log too.
        if failures.is_power_of_two() {
            tracing::warn!(%error, waiting, failures, "calls' records wait in memory: they could not be kept yet");
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
