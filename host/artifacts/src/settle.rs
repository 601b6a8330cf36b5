//! When a changed file is ready to be read, and which content is worth compiling. Pure: it is told what was seen and what
//! became of it, with the time as an argument; it watches nothing, reads nothing and compiles nothing.
//!
//! Four rules. A file is ready when it has looked the same for the settle time. A tenant has one file at a time in work,
//! and of several tenants the one that waited longest is next. Content that failed is not tried again until its file has
//! had other content; where it comes back then, it waits longer each time. What failed for a reason outside the file (no
//! memory for the compiler, a full disk) is tried again by itself, also later each time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use voxtra_core::TenantId;

/// Failed contents that are remembered of one file.
const MAX_FAILURES: usize = 16;

/// So long the failures of a file that is gone are remembered, so that taking it away and putting it back is no way
/// around them.
const REMEMBER_GONE_FOR: Duration = Duration::from_secs(600);

/// A back-off is doubled at most so often: beyond, it is at its longest anyway.
const MAX_DOUBLINGS: u32 = 16;

/// How patient to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettleOptions {
    /// How long a file must look the same before it is read. Default 200 ms: longer than the pauses of a copying program,
    /// short beside the second in which a new version shall serve calls.
    pub settle: Duration,
    /// The wait after the first failure of a content. Default 1 s; it doubles with each.
    pub first_back_off: Duration,
    /// The longest wait. Default 60 s.
    pub longest_back_off: Duration,
}

impl Default for SettleOptions {
    fn default() -> Self {
        Self {
            settle: Duration::from_millis(200),
            first_back_off: Duration::from_secs(1),
            longest_back_off: Duration::from_secs(60),
        }
    }
}

/// What a file and those beside it (its signature, its manifest) hold, as one hash: a signature that arrives after its
/// component is new content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Content([u8; 32]);

impl Content {
    /// Of the files in their order; `None`: one that is not there.
    #[must_use]
    pub fn of(files: &[Option<&[u8]>]) -> Self {
        let mut hash = Sha256::new();
        for file in files {
            match file {
                Some(bytes) => hash.update([&[1][..], &Sha256::digest(bytes)].concat()),
                None => hash.update([0]),
            }
        }
        Self(hash.finalize().into())
    }
}

/// Something to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due<F, S> {
    /// Read the file, then tell [`Settler::judge`] what it holds. Its tenant is in work until then, or until
    /// [`Settler::done`].
    Read {
        /// Which file.
        file: F,
        /// Whose.
        tenant: TenantId,
        /// How it looked: when it looks otherwise by now, say [`Outcome::Changing`].
        stamp: S,
    },
    /// The file is gone for good.
    Gone {
        /// Which file.
        file: F,
        /// Whose.
        tenant: TenantId,
    },
}

/// What to do with the content of a file that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Check, compile and try it, then say [`Settler::done`].
    Load,
    /// It is what was loaded last: somebody touched the file. Nothing more to do.
    Unchanged,
    /// It has failed, and the file has not had other content since. Nothing more to do.
    FailedBefore,
    /// It has failed and came back: the file is due again at this time. Nothing more to do now.
    Later(Instant),
}

/// What became of a file in work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was good.
    Loaded,
    /// It is not good, and never will be.
    Failed,
    /// It could not be said: something else than the file was in the way. It is tried again.
    Hindered,
    /// It was written to meanwhile: it must settle first.
    Changing,
}

/// All files of all tenants. `F` names a file, `S` says how it looked; see [`FileStamp`](crate::file::FileStamp).
#[derive(Debug)]
pub struct Settler<F, S> {
    options: SettleOptions,
    files: BTreeMap<F, File<S>>,
    busy: BTreeSet<TenantId>,
    /// When each tenant was served last, by number.
    served: BTreeMap<TenantId, u64>,
    turn: u64,
}

#[derive(Debug)]
struct File<S> {
    tenant: TenantId,
    /// How it looks; `None`: it is gone.
    stamp: Option<S>,
    /// Since when.
    since: Instant,
    /// Not read since it last changed.
    pending: bool,
    not_before: Option<Instant>,
    /// In work, with what it holds once that is known.
    work: Option<Work<S>>,
    loaded: Option<Content>,
    /// What was in it when it was last judged.
    last: Option<Content>,
    failures: Vec<Failure>,
}

#[derive(Debug)]
struct Work<S> {
    stamp: S,
    /// Its tenant may have another file in work.
    is_down: bool,
    content: Option<Content>,
}

#[derive(Debug, Clone, Copy)]
struct Failure {
    content: Content,
    times: u32,
    at: Instant,
    /// The file's own fault.
    own: bool,
}

impl<F: Ord + Clone, S: Eq + Clone> Settler<F, S> {
    /// Knows no file yet.
    #[must_use]
    pub fn new(options: SettleOptions) -> Self {
        Self { options, files: BTreeMap::new(), busy: BTreeSet::new(), served: BTreeMap::new(), turn: 0 }
    }

    /// A file that was read and loaded at the start; one that is in work stays so.
    pub fn adopt(&mut self, now: Instant, file: F, tenant: &TenantId, stamp: S, content: Content) {
        if self.files.get(&file).is_some_and(|state| state.work.is_some()) {
            return;
        }
        let mut state = File::new(tenant.clone(), Some(stamp), now);
        state.pending = false;
        (state.loaded, state.last) = (Some(content), Some(content));
        self.files.insert(file, state);
    }

    /// How a file looks now; `None`: it is not there. To be told whenever something may have changed; telling the same
    /// twice does no harm.
    pub fn see(&mut self, now: Instant, file: F, tenant: &TenantId, stamp: Option<S>) {
        match self.files.get_mut(&file) {
            Some(state) if state.stamp == stamp => {}
            Some(state) => {
                (state.stamp, state.since, state.pending, state.not_before) = (stamp, now, true, None);
            }
            None if stamp.is_none() => {}
            None => drop(self.files.insert(file, File::new(tenant.clone(), stamp, now))),
        }
    }

    /// Reads a file again whatever it holds and has failed with, because an operator says so. It must be known.
    pub fn again(&mut self, now: Instant, file: &F) {
        let Some(state) = self.files.get_mut(file).filter(|state| state.stamp.is_some()) else { return };
        (state.since, state.pending, state.not_before) = (now, true, None);
        (state.loaded, state.last) = (None, None);
        state.failures.clear();
    }

    /// Whether a file is in work or waits to be.
    #[must_use]
    pub fn is_open(&self, file: &F) -> bool {
        self.files.get(file).is_some_and(|state| state.pending || state.work.is_some())
    }

    /// The next thing to do; to be asked until it is `None`, as long as there is somebody to do it.
    pub fn due(&mut self, now: Instant) -> Option<Due<F, S>> {
        self.forget_old(now);
        let ready = self.files.iter().filter_map(|(file, state)| {
            let at = self.ready_at(state).filter(|at| *at <= now)?;
            let turn = self.served.get(&state.tenant).copied().unwrap_or_default();
            Some(((turn, at), file))
        });
        let file = ready.min_by_key(|(order, _)| *order).map(|(_, file)| file.clone())?;
        let state = self.files.get_mut(&file)?;
        let tenant = state.tenant.clone();
        state.pending = false;
        let Some(stamp) = state.stamp.clone() else {
            (state.loaded, state.last) = (None, None);
            if state.failures.is_empty() {
                self.files.remove(&file);
            }
            return Some(Due::Gone { file, tenant });
        };
        state.work = Some(Work { stamp: stamp.clone(), is_down: false, content: None });
        self.turn += 1;
        self.served.insert(tenant.clone(), self.turn);
        self.busy.insert(tenant.clone());
        Some(Due::Read { file, tenant, stamp })
    }

    /// Whether the content of a file that was due is worth loading. Unless it says [`Verdict::Load`], the file is no
    /// longer in work.
    pub fn judge(&mut self, now: Instant, file: &F, content: Content) -> Verdict {
        let options = self.options;
        let Some(state) = self.files.get_mut(file) else { return Verdict::Unchanged };
        let Some(work) = state.work.as_mut() else { return Verdict::Unchanged };
        let failure = state.failures.iter().find(|failure| failure.content == content);
        let verdict = match failure {
            _ if state.loaded == Some(content) => Verdict::Unchanged,
            Some(failure) if failure.own && state.last == Some(content) => Verdict::FailedBefore,
            Some(failure) if now < failure.over_at(&options) => Verdict::Later(failure.over_at(&options)),
            _ => Verdict::Load,
        };
        match verdict {
            Verdict::Load => {
                work.content = Some(content);
                state.last = Some(content);
            }
            // It is not known as what the file held last until it is judged for good.
            Verdict::Later(at) => {
                self.end_work(file);
                if let Some(state) = self.files.get_mut(file).filter(|state| !state.pending) {
                    (state.pending, state.not_before) = (true, Some(at));
                }
            }
            Verdict::Unchanged | Verdict::FailedBefore => {
                state.last = Some(content);
                self.end_work(file);
            }
        }
        verdict
    }

    /// Lets a file's tenant have other files in work, because this one waits for something far away. It stays in work until
    /// [`Settler::take_up`] or [`Settler::done`].
    pub fn set_down(&mut self, file: &F) {
        let Some(state) = self.files.get_mut(file) else { return };
        if let Some(work) = state.work.as_mut().filter(|work| !work.is_down) {
            work.is_down = true;
            self.busy.remove(&state.tenant);
        }
    }

    /// What a file that was [set down](Settler::set_down) waited for is there: it is due again at its tenant's next turn.
    pub fn take_up(&mut self, now: Instant, file: &F) {
        if self.end_work(file).is_none() {
            return;
        }
        let settled = now.checked_sub(self.options.settle).unwrap_or(now);
        if let Some(state) = self.files.get_mut(file).filter(|state| !state.pending) {
            (state.pending, state.since, state.not_before) = (true, settled, None);
        }
    }

    /// The end of a file's being in work. It must come, whatever happens to the work: its tenant waits for it.
    pub fn done(&mut self, now: Instant, file: &F, outcome: Outcome) {
        let Some(work) = self.end_work(file) else { return };
        let options = self.options;
        let Some(state) = self.files.get_mut(file) else { return };
        match (outcome, work.content) {
            (Outcome::Loaded, Some(content)) => {
                state.loaded = Some(content);
                state.failures.retain(|failure| failure.content != content);
            }
            (Outcome::Failed, Some(content)) => drop(state.fail(content, now, true)),
            (Outcome::Hindered, Some(content)) => {
                let failure = state.fail(content, now, false);
                state.try_again(failure.over_at(&options));
            }
            // It was not even read.
            (Outcome::Hindered, None) => state.try_again(now + options.first_back_off),
            (Outcome::Changing, _) if !state.pending => (state.pending, state.since) = (true, now),
            // Whoever cannot read it says nothing about what it holds.
            (Outcome::Changing | Outcome::Loaded | Outcome::Failed, _) => {}
        }
    }

    /// When [`due`](Self::due) has something again, as far as is known; `None`: not before something is seen or done.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        self.files.values().filter_map(|state| self.ready_at(state)).min()
    }

    /// From when on a file can be read; `None`: nothing about it is new, or its tenant is busy.
    fn ready_at(&self, state: &File<S>) -> Option<Instant> {
        let is_blocked = state.work.is_some() || (state.stamp.is_some() && self.busy.contains(&state.tenant));
        if !state.pending || is_blocked {
            return None;
        }
        let settled = state.since + self.options.settle;
        Some(state.not_before.map_or(settled, |not_before| settled.max(not_before)))
    }

    fn end_work(&mut self, file: &F) -> Option<Work<S>> {
        let state = self.files.get_mut(file)?;
        let work = state.work.take()?;
        if !work.is_down {
            self.busy.remove(&state.tenant);
        }
        if state.stamp.as_ref() != Some(&work.stamp) {
            state.pending = true;
        }
        Some(work)
    }

    fn forget_old(&mut self, now: Instant) {
        let idle = |state: &File<S>| state.stamp.is_none() && !state.pending && state.work.is_none();
        self.files.retain(|_, state| !idle(state) || now < state.since + REMEMBER_GONE_FOR);
        let files = &self.files;
        if self.served.len() > 2 * files.len() + 64 {
            let tenants: BTreeSet<_> = files.values().map(|state| &state.tenant).collect();
            self.served.retain(|tenant, _| tenants.contains(tenant));
        }
    }
}

impl<S> File<S> {
    fn new(tenant: TenantId, stamp: Option<S>, since: Instant) -> Self {
        let failures = Vec::new();
        Self { tenant, stamp, since, pending: true, not_before: None, work: None, loaded: None, last: None, failures }
    }

    fn fail(&mut self, content: Content, at: Instant, own: bool) -> Failure {
        let known = self.failures.iter().position(|failure| failure.content == content);
        let times = known.map_or(0, |at| self.failures.remove(at).times).saturating_add(1);
        let failure = Failure { content, times, at, own };
        self.failures.push(failure);
        self.failures.drain(..self.failures.len().saturating_sub(MAX_FAILURES));
        failure
    }

    /// Unless it has changed meanwhile: then it is read when that has settled.
    fn try_again(&mut self, at: Instant) {
        if !self.pending {
            (self.pending, self.not_before) = (true, Some(at));
        }
    }
}

impl Failure {
    /// Until when the content is left alone.
    fn over_at(&self, options: &SettleOptions) -> Instant {
        let doublings = self.times.saturating_sub(1).min(MAX_DOUBLINGS);
        let wait = options.first_back_off.saturating_mul(1 << doublings);
        self.at + wait.min(options.longest_back_off)
    }
}

#[cfg(test)]
mod tests;
