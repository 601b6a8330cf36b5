//! The start: what was compiled before is loaded, on as many threads as there are workers; the rest is waited for as long as
//! the start may take, and for no network.

use std::thread::sleep;
use std::time::{Duration, Instant};

use voxtra_artifacts::settle::Content;
use voxtra_artifacts::store::Standing;
use voxtra_artifacts::{HandlerKey, Version};

use crate::job::{Job, Refused};
use crate::loader::{Loader, LoaderError, content};
use crate::news::{News, Serving};
use crate::snapshot::{Component, Snapshot};
use crate::trials::OnTrial;
use crate::wanted::{Wanted, by_manifest};

/// How soon work that is under way is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Components that are named in one sentence.
const MAX_NAMED: usize = 10;

/// What was found of one component.
#[derive(Default)]
struct Found {
    component: Option<Component>,
    trial: Option<OnTrial>,
    /// `None`: it is not known yet what its source holds, or whether that is good.
    content: Option<Content>,
    /// The last good version is to be compiled.
    asks: bool,
    said: Vec<News>,
}

/// The last good version of a component.
enum Last {
    None,
    Ready(Component),
    ToBeCompiled,
}

/// What comes in before calls are taken is served in one piece, and is no news.
struct AtTheStart<'a>(&'a mut dyn Serving);

impl Serving for AtTheStart<'_> {
    fn serve(&mut self, _: Snapshot) {}

    fn news(&mut self, news: News) {
        if !matches!(news, News::Swapped { .. } | News::OnTrial { .. }) {
            self.0.news(news);
        }
    }
}

impl Loader {
    /// Loads everything and serves it: a file that is good as it is, else the last version that was. Files count as
    /// settled. A version that was on trial, or is to be tried, is so from the beginning, beside the last good one. What is
    /// not compiled after [`LoaderOptions::start_limit`](crate::LoaderOptions::start_limit) is left to the next steps.
    ///
    /// # Errors
    /// When the directory as a whole cannot be read.
    pub fn begin(&mut self, serving: &mut dyn Serving) -> Result<(), LoaderError> {
        let began = Instant::now();
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
        let settled = now.checked_sub(self.options.settle.settle).unwrap_or(now);
        for (key, Found { component, trial, content, asks, said }) in found {
            said.into_iter().for_each(|news| serving.news(news));
            if let Some(component) = component {
                self.loaded.insert(key.clone(), component);
            }
            if let Some(trial) = trial {
                self.trials.insert(key.clone(), trial);
            }
            if asks {
                self.let_in_again(&key);
            }
            let Some(wanted) = self.wanted.get(&key) else { continue };
            match content {
                Some(content) => self.settler.adopt(now, key, &wanted.tenant, wanted.stamp(), content),
                // The first step reads or fetches it.
                None => self.settler.see(settled, key, &wanted.tenant, Some(wanted.stamp())),
            }
        }
        self.catch_up(began, serving);
        serving.serve(self.snapshot());
        Ok(())
    }

    /// Goes on as while the host runs, for as long as the start may take.
    fn catch_up(&mut self, began: Instant, serving: &mut dyn Serving) {
        let Some(limit) = self.options.start_limit else { return };
        loop {
            self.step(Instant::now(), &mut AtTheStart(serving));
            if self.working == 0 && self.ready.is_empty() && self.asks.is_empty() {
                return;
            }
            if began.elapsed() >= limit {
                break;
            }
            sleep(LOOK_EVERY);
        }
        let is_late = |key: &&HandlerKey| {
            let told = self.loaded.contains_key(*key) || self.hindrances.contains_key(*key);
            !told && (self.settler.is_open(key) || self.asks.has(key))
        };
        let late: Vec<_> = self.wanted.keys().filter(is_late).map(ToString::to_string).collect();
        if !late.is_empty() {
            let more = late.len().saturating_sub(MAX_NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let names = late.iter().take(MAX_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
            serving.news(News::Late(format!(
                "{names}{more}: what has to be fetched or compiled for them takes longer than the {} s that the start waits; \
                 they take calls as soon as it is done, and get the failure policy until then",
                limit.as_secs_f32()
            )));
        }
    }

    fn at_the_start(&self, key: &HandlerKey, wanted: &Wanted) -> Found {
        let mut found = Found::default();
        let refusal = |why: String| News::Refused { key: key.clone(), why };
        let mut offered = None;
        // Where its own file is compiled behind the start and fails, the last good version is asked for then.
        let mut is_coming = false;
        match self.first_job(key, wanted) {
            Err(Refused { why, .. }) => found.said.push(refusal(why)),
            // Its registry has to be asked: the last good version serves meanwhile.
            Ok(None) => {}
            Ok(Some((job, content))) => {
                let version = Version::of(&job.wasm);
                (found.content, offered) = (Some(content), Some(version));
                match self.standing_of(key, version, &mut found.said) {
                    Ok(Standing::Pinned(why) | Standing::HeldBack(why)) => {
                        found.said.push(refusal(format!("{}: {why}", job.file)));
                    }
                    Ok(_) if !self.is_quick(&job) => {
                        found.content = None;
                        is_coming = self.plan_of(key, version, true).is_none();
                    }
                    Ok(_) => match self.pass_at_the_start(&job, wanted) {
                        Ok(Some((component, trial))) => {
                            (found.component, found.trial) = (Some(component), trial);
                            found.said.extend(self.mend(key, version, &job));
                        }
                        // The version to be tried waits for the one beside it.
                        Ok(None) => found.content = None,
                        Err(Refused { why, is_passing }) => {
                            found.said.push(refusal(why));
                            // The first step tries it again.
                            found.content = found.content.filter(|_| !is_passing);
                        }
                    },
                    Err(error) => found.said.push(refusal(error.to_string())),
                }
            }
        }
        if found.component.is_none() {
            match self.quick_last_good(key, wanted) {
                Ok(Last::Ready(component)) => found.component = Some(component),
                Ok(Last::ToBeCompiled) => found.asks = !is_coming,
                Ok(Last::None) => {}
                Err(Refused { why, .. }) => {
                    // What is wrong with the same one has been told when it was offered.
                    let is_other = self.versions.current(key).ok().flatten() != offered;
                    if wanted.signatures.required || is_other && !is_coming {
                        found.said.push(refusal(why));
                    }
                }
            }
        }
        found
    }

    /// Whether the start may load it where everything waits for it.
    fn is_quick(&self, job: &Job) -> bool {
        let takes_its_time = self.options.start_limit.is_none() || self.options.waits_for_registries;
        takes_its_time || self.runtime.is_compiled(job.key.tenant(), &job.wasm)
    }

    fn quick_last_good(&self, key: &HandlerKey, wanted: &Wanted) -> Result<Last, Refused> {
        let Some(last) = self.versions.current(key).ok().flatten() else { return Ok(Last::None) };
        let job = self.job_of_store(key, wanted, last)?;
        if !self.is_quick(&job) {
            return Ok(Last::ToBeCompiled);
        }
        job.run(&self.runtime, &self.guests).map(|passed| Last::Ready(passed.component))
    }

    fn first_job(&self, key: &HandlerKey, wanted: &Wanted) -> Result<Option<(Job, Content)>, Refused> {
        let named = |why: &dyn std::fmt::Display| format!("{}: {why}", by_manifest(key));
        let reference = wanted.reference().map_err(|Refused { why, .. }| Refused::new(named(&why)))?;
        let Some(reference) = reference else {
            let job = self.job(key, wanted)?;
            let content = content(&job);
            return Ok(Some((job, content)));
        };
        let wasm = match self.fetched_before(key, &reference) {
            Some(wasm) => wasm,
            None if !self.options.waits_for_registries => return Ok(None),
            None => self.fetcher.wait(&reference).map_err(|error| Refused::passing(named(&error)))?.component,
        };
        Ok(Some((self.signed_job(key, wanted, wasm)?, wanted.registry_content())))
    }

    /// What takes the calls, and what is tried beside it. `None`: what should take them has to be compiled.
    fn pass_at_the_start(&self, job: &Job, wanted: &Wanted) -> Result<Option<(Component, Option<OnTrial>)>, Refused> {
        let (key, failed) =
            (&job.key, |error: voxtra_artifacts::store::StoreError| Refused::passing(error.to_string()));
        if let Some(plan) = self.plan_of(key, Version::of(&job.wasm), true)
            && let Ok(last) = self.quick_last_good(key, wanted)
        {
            let Last::Ready(current) = last else { return Ok(None) };
            let passed = job.run(&self.runtime, &self.guests)?;
            self.note_trial(key, &passed, job, plan).map_err(failed)?;
            return Ok(Some((current, Some(OnTrial { component: passed.component, version: passed.version }))));
        }
        let passed = job.run(&self.runtime, &self.guests)?;
        self.keep(key, &passed, job).map_err(failed)?;
        Ok(Some((passed.component, None)))
    }
}
