//! Versions on trial: a share of the calls goes to one that has passed every check, and the version before goes on for the
//! rest. Whoever serves calls counts how they go and says when one has failed or has proved itself; here it is written
//! down, before anybody gets it, and what a crash leaves is a trial that begins anew beside the last good version.

use std::time::{Duration, Instant, SystemTime};

use voxtra_artifacts::store::{Author, Canary, CanaryEnd, StoreError};
use voxtra_artifacts::{HandlerKey, Version};
use voxtra_directory::Canary as CanaryPlan;

use crate::job::{Job, Passed};
use crate::loader::{HOST, Loader};
use crate::news::{News, Serving};
use crate::snapshot::Component;

/// How soon an end is written down again that could not be.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// A version on trial.
#[derive(Clone)]
pub(crate) struct OnTrial {
    pub(crate) component: Component,
    pub(crate) version: Version,
}

/// A trial that is over and not written down yet.
pub(crate) struct Ending {
    key: HandlerKey,
    /// Its first digits.
    version: String,
    end: CanaryEnd,
    why: String,
    due: Instant,
    told: bool,
}

impl Loader {
    /// The first digits of the version on trial; `None`: there is none.
    #[must_use]
    pub fn on_trial(&self, key: &HandlerKey) -> Option<&str> {
        self.trials.get(key).map(|trial| trial.component.version())
    }

    /// How many calls of a hundred a handler's new versions get first; 100 where its manifest does not say.
    pub(crate) fn share_of(&self, key: &HandlerKey) -> u32 {
        self.wanted.get(key).and_then(|wanted| wanted.canary).map_or(100, |plan| plan.percent)
    }

    /// A version on trial has failed too often, or has proved itself; `why` says how its calls went. Another version than
    /// the one on trial is nobody's by now, and nothing comes of it. The next step writes it down.
    pub fn trial_over(&mut self, now: Instant, key: &HandlerKey, version: &str, proved: bool, why: &str) {
        let end = if proved { CanaryEnd::Promoted } else { CanaryEnd::Failed };
        self.end_later(now, key, version, end, why);
    }

    pub(crate) fn end_later(&mut self, now: Instant, key: &HandlerKey, version: &str, end: CanaryEnd, why: &str) {
        if self.on_trial(key) != Some(version) {
            return;
        }
        // What failed has failed, whatever was said of it before.
        self.endings.retain(|ending| ending.key != *key);
        let (key, version, why) = (key.clone(), version.to_owned(), why.to_owned());
        self.endings.push(Ending { key, version, end, why, due: now, told: false });
    }

    /// Trials end whose handler's manifest tries no versions any more: the new version takes all calls.
    pub(crate) fn end_trials_without_a_plan(&mut self, now: Instant) {
        let planless = |key: &HandlerKey| self.wanted.get(key).is_some_and(|wanted| wanted.canary.is_none());
        let over: Vec<_> = self.trials.iter().filter(|(key, _)| planless(key)).collect();
        let over: Vec<_> = over.into_iter().map(|(key, trial)| (key.clone(), trial.version.short())).collect();
        for (key, version) in over {
            self.end_later(now, &key, &version, CanaryEnd::Promoted, "the manifest tries no versions any more");
        }
    }

    /// A trial whose handler is gone from the directory.
    pub(crate) fn drop_trial(&mut self, key: &HandlerKey, serving: &mut dyn Serving) {
        self.withdraw(key, "its handler is gone from the plugin directory", serving);
    }

    /// Takes a version off trial at once, and writes that down where it can be. Its first digits, if there was one.
    pub(crate) fn withdraw(&mut self, key: &HandlerKey, why: &str, serving: &mut dyn Serving) -> Option<String> {
        let trial = self.trials.remove(key)?;
        let author = Author::new(HOST, SystemTime::now()).saying(why);
        match self.versions.clear_canary(key, CanaryEnd::Withdrawn, &author) {
            Ok(_) | Err(StoreError::Change { .. }) => {}
            Err(error) => serving.news(News::Trouble(error.to_string())),
        }
        Some(trial.version.short())
    }

    /// Writes down what is over and due. Whether new calls get something new by it.
    pub(crate) fn end_trials(&mut self, now: Instant, serving: &mut dyn Serving) -> bool {
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.endings).into_iter().partition(|ending| ending.due <= now);
        self.endings = later;
        let mut changed = false;
        for ending in due {
            if self.on_trial(&ending.key) != Some(&ending.version) {
                continue;
            }
            let author = Author::new(HOST, SystemTime::now()).saying(&ending.why);
            match self.versions.clear_canary(&ending.key, ending.end, &author) {
                Ok(_) => {
                    self.end_trial(ending, serving);
                    changed = true;
                }
                // Somebody else has ended it in the store, which counts: nothing is tried any more.
                Err(StoreError::Change { why, .. }) => {
                    self.end_trial(Ending { end: CanaryEnd::Withdrawn, why: why.to_string(), ..ending }, serving);
                    changed = true;
                }
                Err(error) => {
                    if !ending.told {
                        serving.news(News::Trouble(error.to_string()));
                    }
                    self.endings.push(Ending { due: now + AGAIN_AFTER, told: true, ..ending });
                }
            }
        }
        changed
    }

    /// When the next end is to be written down.
    pub(crate) fn endings_due_at(&self) -> Option<Instant> {
        self.endings.iter().map(|ending| ending.due).min()
    }

    fn end_trial(&mut self, ending: Ending, serving: &mut dyn Serving) {
        let Ending { key, version, end, why, .. } = ending;
        let Some(trial) = self.trials.remove(&key) else { return };
        if end != CanaryEnd::Promoted {
            return serving.news(News::Withdrawn { key, version, why });
        }
        let from = self.loaded.insert(key.clone(), trial.component).map(|old| old.version().to_owned());
        serving.news(News::Promoted { key, from, version, why });
    }

    /// How a version that has passed every check is tried first; `None`: it takes all calls at once, because its manifest
    /// says so, or because there is no other that could go on for the rest.
    pub(crate) fn plan_of(&self, key: &HandlerKey, version: Version, goes_on: bool) -> Option<CanaryPlan> {
        let plan = self.wanted.get(key)?.canary?;
        let current = self.versions.current(key).ok()??;
        (goes_on && current != version).then_some(plan)
    }

    /// Writes down that a version is on trial. Its bytes are in the store first.
    pub(crate) fn note_trial(
        &self,
        key: &HandlerKey,
        passed: &Passed,
        job: &Job,
        plan: CanaryPlan,
    ) -> Result<(), StoreError> {
        let share = u8::try_from(plan.percent).ok().and_then(|percent| percent.try_into().ok());
        // The directory has checked it.
        let Some(share_percent) = share else { return Ok(()) };
        let canary = Canary { version: passed.version, share_percent };
        let known = self.versions.get(key)?;
        if known.is_some_and(|known| known.record.canary() == Some(canary)) {
            return self.keep_signature(key, passed.version, job);
        }
        self.versions.put(&job.wasm)?;
        self.versions.set_canary(key, canary, &self.author_of(key))?;
        self.keep_signature(key, passed.version, job)
    }
}
