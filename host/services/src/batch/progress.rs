//! How a batch stands.

use std::collections::BTreeMap;
use std::time::SystemTime;

use voxtra_core::verbs::BatchStatus;

/// What came of a number, finally.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Answered.
    Answered,
    /// In a call.
    Busy,
    /// It rang in vain.
    NoAnswer,
    /// The call was not wanted.
    Rejected,
    /// No line was free.
    Congestion,
    /// Something else failed; the detail says what.
    Failed,
    /// The host was killed while it called, and nobody knows what came of it.
    Interrupted,
    /// The batch was cancelled before the number was called (again).
    Cancelled,
    /// The row was no good, and was never called.
    Refused,
}

impl Outcome {
    const ALL: [Self; 9] = [
        Self::Answered,
        Self::Busy,
        Self::NoAnswer,
        Self::Rejected,
        Self::Congestion,
        Self::Failed,
        Self::Interrupted,
        Self::Cancelled,
        Self::Refused,
    ];

    /// Its name in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Busy => "busy",
            Self::NoAnswer => "no-answer",
            Self::Rejected => "rejected",
            Self::Congestion => "congestion",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == name)
    }
}

/// What a batch is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Calling.
    #[default]
    Calling,
    /// Nothing can begin before [`Progress::next_due`]: outside the calling hours, or all that is left waits to be tried
    /// again.
    Waiting,
    /// No more calls are begun; those that are up go on to their ends.
    Stopping,
    /// It was stopped, and can be gone on with.
    Stopped,
    /// Every number has its outcome.
    Finished,
}

/// How a batch stands: all that a progress bar shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// Rows, those that were refused too.
    pub total: u32,
    /// Rows with their final outcome.
    pub done: u32,
    /// Calls that are up, those that ring too.
    pub live: u32,
    /// Calls placed since the batch began, all attempts of all numbers.
    pub attempts: u64,
    /// Rows by their final outcome.
    pub outcomes: BTreeMap<Outcome, u32>,
    /// When the next call may begin, while [`Phase::Waiting`].
    pub next_due: Option<SystemTime>,
}

impl Progress {
    /// Rows that were answered.
    pub fn answered(&self) -> u32 {
        self.outcomes.get(&Outcome::Answered).copied().unwrap_or(0)
    }

    pub(super) fn count(&mut self, outcome: Outcome) {
        self.done = self.done.saturating_add(1);
        let rows = self.outcomes.entry(outcome).or_default();
        *rows = rows.saturating_add(1);
    }
}

impl From<&Progress> for BatchStatus {
    fn from(progress: &Progress) -> Self {
        Self {
            total: progress.total,
            done: progress.done,
            live: progress.live,
            answered: progress.answered(),
            failed: progress.done.saturating_sub(progress.answered()),
            finished: progress.phase == Phase::Finished,
        }
    }
}
