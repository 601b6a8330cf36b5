//! Versions that were good before and are wanted again: the operator goes back to one, or its signature counts again. What
//! has to be compiled for that is compiled as new files are, aside, while the loader goes on with everything else.

use std::collections::VecDeque;
use std::sync::Arc;

use voxtra_artifacts::{HandlerKey, Version};

use crate::job::{Job, Refused};
use crate::loader::{Done, Loader};
use crate::news::Serving;
use crate::snapshot::Component;

/// Commands of operators that wait, at the most.
const COMMANDS_MAX: usize = 8;

/// What becomes of a version that is ready, or of the sentence why it is not. Runs on the loader's thread.
pub(crate) type Then = Box<dyn FnOnce(&mut Loader, &mut dyn Serving, Result<Component, Refused>) + Send + Sync>;

/// A version that is asked for.
pub(crate) struct Asked {
    key: HandlerKey,
    version: Version,
    then: Then,
}

/// One is under way at a time, beside the workers: whoever goes back to a version does not wait for other people's files.
#[derive(Default)]
pub(crate) struct Asks {
    under_way: Option<Asked>,
    /// By operators, who come first.
    commands: VecDeque<Asked>,
    /// By the loader itself; of a component one at most.
    own: VecDeque<Asked>,
}

impl Asks {
    pub(crate) fn is_empty(&self) -> bool {
        self.under_way.is_none() && self.commands.is_empty() && self.own.is_empty()
    }

    /// Whether a version of this component is being got ready, or is to be.
    pub(crate) fn has(&self, key: &HandlerKey) -> bool {
        self.under_way.iter().chain(&self.commands).chain(&self.own).any(|asked| asked.key == *key)
    }
}

impl Loader {
    /// Has a version got ready for an operator. At once when it is loaded; commands about one component keep their order.
    pub(crate) fn ask(&mut self, key: HandlerKey, version: Version, serving: &mut dyn Serving, then: Then) {
        if !self.asks.has(&key)
            && let Some(component) = self.ready(&key, version)
        {
            return then(self, serving, Ok(component));
        }
        if self.asks.commands.len() >= COMMANDS_MAX {
            let why = format!("{COMMANDS_MAX} versions are waited for already; ask again when one of them is there");
            return then(self, serving, Err(Refused::passing(why)));
        }
        self.asks.commands.push_back(Asked { key, version, then });
    }

    /// The same, where nobody waits for an answer.
    pub(crate) fn ask_later(&mut self, key: HandlerKey, version: Version, then: Then) {
        self.asks.own.retain(|asked| asked.key != key);
        self.asks.own.push_back(Asked { key, version, then });
    }

    /// Begins the next one, when none is under way.
    pub(crate) fn begin_asked(&mut self, serving: &mut dyn Serving) {
        while self.asks.under_way.is_none() {
            let Some(asked) = self.asks.commands.pop_front().or_else(|| self.asks.own.pop_front()) else { return };
            if let Some(component) = self.ready(&asked.key, asked.version) {
                (asked.then)(self, serving, Ok(component));
                continue;
            }
            match self.get_ready(&asked) {
                Ok(()) => self.asks.under_way = Some(asked),
                Err(refused) => (asked.then)(self, serving, Err(refused)),
            }
        }
    }

    /// What does not get in where nothing takes calls yet, as behind a start: the last good version does, when it is another,
    /// or may count by the signature that is kept of it.
    pub(crate) fn want_last_good(&mut self, key: &HandlerKey, refused: &Job) {
        let last = self.versions.current(key).ok().flatten();
        let is_other = refused.signatures.required || last != Some(Version::of(&refused.wasm));
        if is_other && self.wanted.contains_key(key) && !self.loaded.contains_key(key) && !self.asks.has(key) {
            self.let_in_again(key);
        }
    }

    /// Whether a version that is to be tried has to wait for the one that goes on beside it.
    pub(crate) fn waits_for_last_good(&self, key: &HandlerKey) -> bool {
        let is_tried = self.wanted.get(key).is_some_and(|wanted| wanted.canary.is_some());
        is_tried && !self.loaded.contains_key(key) && self.asks.has(key)
    }

    pub(crate) fn take_asked(&mut self, outcome: Result<Component, Refused>, serving: &mut dyn Serving) {
        let Some(asked) = self.asks.under_way.take() else { return };
        // Its tenant may ask for other signatures by now, or its file be gone.
        let outcome = outcome.and_then(|component| {
            let wanted = self.wanted.get(&asked.key).ok_or_else(|| gone(&asked.key))?;
            self.vouch_for_running(&asked.key, wanted, component.version())?;
            Ok(component)
        });
        (asked.then)(self, serving, outcome);
    }

    /// What is loaded already.
    fn ready(&self, key: &HandlerKey, version: Version) -> Option<Component> {
        let serving = self.loaded.get(key).filter(|component| component.version() == version.short());
        let on_trial = || self.trials.get(key).filter(|trial| trial.version == version).map(|trial| &trial.component);
        serving.or_else(on_trial).cloned()
    }

    fn get_ready(&self, asked: &Asked) -> Result<(), Refused> {
        let wanted = self.wanted.get(&asked.key).ok_or_else(|| gone(&asked.key))?;
        let job = self.job_of_store(&asked.key, wanted, asked.version)?;
        let (runtime, guests, done) = (Arc::clone(&self.runtime), self.guests.clone(), self.finished.clone());
        let spawned = std::thread::Builder::new().name("voxtra-load".into()).spawn(move || {
            let outcome = job.run(&runtime, &guests).map(|passed| passed.component);
            // Nobody waits for it when the host stops.
            let _ = done.send(Done::Asked(outcome));
        });
        let why =
            |error| Refused::passing(format!("no thread can be started to load {} ({error}); free memory", asked.key));
        spawned.map(drop).map_err(why)
    }
}

fn gone(key: &HandlerKey) -> Refused {
    Refused::new(format!("{key} is not in the plugin directory; put its file back"))
}
