//! The start: everything is loaded, on as many threads as there are workers, and waits for no network.

use std::time::Instant;

use voxtra_artifacts::settle::Content;
use voxtra_artifacts::store::Standing;
use voxtra_artifacts::{HandlerKey, Version};

use crate::job::{Job, Refused};
use crate::loader::{Loader, LoaderError, content};
use crate::news::{News, Serving};
use crate::snapshot::Component;
use crate::trials::OnTrial;
use crate::wanted::Wanted;

/// What was found of one component.
#[derive(Default)]
struct Found {
    component: Option<Component>,
    trial: Option<OnTrial>,
    /// `None`: it is not known yet what its source holds, or whether that is good.
    content: Option<Content>,
    said: Vec<News>,
}

impl Loader {
    /// Loads everything and serves it: a file that is good as it is, else the last version that was. Files count as
    /// settled. A version that was on trial, or is to be tried, is so from the beginning, beside the last good one.
    ///
    /// # Errors
    /// When the directory as a whole cannot be read.
    pub fn begin(&mut self, serving: &mut dyn Serving) -> Result<(), LoaderError> {
        self.read_directory(serving)?;
        let wanted: Vec<_> = self.wanted.iter().map(|(key, wanted)| (key.clone(), wanted.clone())).collect();
        let share = wanted.len().div_ceil(self.options.workers.max(1)).max(1);
        let this = &*self;
        let found: Vec<_> = std::thread::scope(|scope| {
            let work = |part: &'_ [(HandlerKey, Wanted)]| {
                part.iter().map(|(key, wanted)| (key.clone(), this.at_the_start(key, wanted))).collect::<Vec<_>>()
            };
            let threads: Vec<_> = wanted.chunks(share).map(|part| scope.spawn(move || work(part))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
        });
        let now = Instant::now();
        for (key, Found { component, trial, content, said }) in found {
            said.into_iter().for_each(|news| serving.news(news));
            if let Some(component) = component {
                self.loaded.insert(key.clone(), component);
            }
            if let Some(trial) = trial {
                self.trials.insert(key.clone(), trial);
            }
            let Some(wanted) = self.wanted.get(&key) else { continue };
            match content {
                Some(content) => self.settler.adopt(now, key, &wanted.tenant, wanted.stamp(), content),
                // The first step reads or fetches it.
                None => self.settler.see(now, key, &wanted.tenant, Some(wanted.stamp())),
            }
        }
        serving.serve(self.snapshot());
        Ok(())
    }

    fn at_the_start(&self, key: &HandlerKey, wanted: &Wanted) -> Found {
        let mut found = Found::default();
        let mut refuse = |why: String| found.said.push(News::Refused { key: key.clone(), why });
        match self.first_job(key, wanted) {
            Err(Refused { why, .. }) => refuse(why),
            // Its registry has to be asked: the last good version serves meanwhile.
            Ok(None) => {}
            Ok(Some((job, content))) => {
                found.content = Some(content);
                match self.versions.standing(key, Version::of(&job.wasm)) {
                    Ok(Standing::Pinned(why) | Standing::HeldBack(why)) => refuse(format!("{}: {why}", job.file)),
                    Ok(_) => match self.pass_at_the_start(&job, wanted) {
                        Ok((component, trial)) => (found.component, found.trial) = (Some(component), trial),
                        Err(Refused { why, is_passing }) => {
                            refuse(why);
                            // The first step tries it again.
                            found.content = found.content.filter(|_| !is_passing);
                        }
                    },
                    Err(error) => refuse(error.to_string()),
                }
            }
        }
        if found.component.is_none() {
            match self.last_good(key, wanted) {
                Ok(component) => found.component = component,
                // What else is wrong with it has been told when it was offered.
                Err(Refused { why, .. }) if wanted.signatures.required => {
                    found.said.push(News::Refused { key: key.clone(), why });
                }
                Err(_) => {}
            }
        }
        found
    }

    fn first_job(&self, key: &HandlerKey, wanted: &Wanted) -> Result<Option<(Job, Content)>, Refused> {
        let Some(reference) = wanted.reference()? else {
            let job = self.job(key, wanted)?;
            let content = content(&job);
            return Ok(Some((job, content)));
        };
        let wasm = match self.fetched_before(key, &reference) {
            Some(wasm) => wasm,
            None if !self.options.waits_for_registries => return Ok(None),
            None => self.fetcher.wait(&reference).map_err(|error| Refused::passing(error.to_string()))?.component,
        };
        Ok(Some((self.signed_job(key, wanted, wasm)?, wanted.registry_content())))
    }

    /// What takes the calls, and what is tried beside it.
    fn pass_at_the_start(&self, job: &Job, wanted: &Wanted) -> Result<(Component, Option<OnTrial>), Refused> {
        let (key, failed) =
            (&job.key, |error: voxtra_artifacts::store::StoreError| Refused::passing(error.to_string()));
        let passed = job.run(&self.runtime, &self.guests)?;
        if let Some(plan) = self.plan_of(key, passed.version, true)
            && let Ok(Some(current)) = self.last_good(key, wanted)
        {
            self.note_trial(key, &passed, job, plan).map_err(failed)?;
            return Ok((current, Some(OnTrial { component: passed.component, version: passed.version })));
        }
        self.keep(key, &passed, job).map_err(failed)?;
        Ok((passed.component, None))
    }
}
