//! The state, and its steps: looking, starting work, taking results. Time and threads come from outside.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::Handle;
use voxtra_artifacts::oci::{Fetched, OciError, OciOptions, OciReference};
use voxtra_artifacts::settle::{Content, Due, Outcome, SettleOptions, Settler, Verdict};
use voxtra_artifacts::store::{Author, CanaryEnd, Source as VersionSource, Standing, StoreError, VersionStore};
use voxtra_artifacts::{HandlerKey, Version};
use voxtra_core::{HandlerName, TenantId};
use voxtra_directory::{Directory, DirectoryError, HostCeiling, Part, Problem, Scanner, Signatures, Source};
use voxtra_plugins::Runtime;

use crate::asked::Asks;
use crate::far::Far;
use crate::fetch::{Fetcher, Place};
use crate::job::{Job, Passed, Refused};
use crate::mend::Pruned;
use crate::news::{News, Serving};
use crate::snapshot::{Component, Snapshot};
use crate::trials::{Ending, OnTrial};
use crate::trust::asks_the_same;
use crate::wanted::{Stamp, Wanted, by_manifest, wanted};

/// Who acts when nobody has asked.
pub(crate) const HOST: &str = "host";

/// How long the start waits for compilers: a host that calls wait for does not wait for one tenant's component.
const START_LIMIT: Duration = Duration::from_secs(5);

/// How a loader is set up.
#[derive(Debug, Clone)]
pub struct LoaderOptions {
    /// The plugin directory.
    pub dir: PathBuf,
    /// A private folder for the versions that were good.
    pub versions: PathBuf,
    /// Handlers that have served and have no record there: a look that keeps nothing takes those of the host. Default none.
    pub served: Vec<HandlerKey>,
    /// What the operator allows at most.
    pub ceiling: HostCeiling,
    /// How patient to be with files that are being written.
    pub settle: SettleOptions,
    /// Components that are compiled at one time; of one tenant it is always one. Default 2. A version that an operator goes
    /// back to is compiled beside them.
    pub workers: usize,
    /// The registries that components may come from; by default none.
    pub registries: OciOptions,
    /// Where registries are spoken to. Default: where the components are started.
    pub network: Option<Handle>,
    /// How long the start waits for what has to be compiled, in all: then it serves what is there, and the rest comes behind
    /// it. What is in the runtime's cache is there at once. `None`: it waits for everything. Default 5 s.
    pub start_limit: Option<Duration>,
    /// Whether the start waits for registries, and then for compilers as well, however long. Default no: it serves what was
    /// there before, and fetches meanwhile.
    pub waits_for_registries: bool,
}

impl LoaderOptions {
    /// The defaults for these folders.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, versions: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            versions: versions.into(),
            served: Vec::new(),
            ceiling: HostCeiling::default(),
            settle: SettleOptions::default(),
            workers: 2,
            registries: OciOptions::default(),
            network: None,
            start_limit: Some(START_LIMIT),
            waits_for_registries: false,
        }
    }
}

/// The loader cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LoaderError {
    /// The plugin directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The folder of versions.
    #[error(transparent)]
    Versions(#[from] StoreError),
    /// What the operator says about registries.
    #[error(transparent)]
    Registries(#[from] OciError),
}

/// What work has come to.
pub(crate) enum Done {
    Fetched {
        key: HandlerKey,
        reference: OciReference,
        outcome: Result<Fetched, OciError>,
        place: Option<Place>,
    },
    Judged {
        job: Box<Job>,
        outcome: Result<Passed, Refused>,
    },
    /// Of the version that is under way in [`Asks`].
    Asked(Result<Component, Refused>),
}

/// See the module.
pub struct Loader {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) guests: Handle,
    pub(crate) options: LoaderOptions,
    pub(crate) fetcher: Fetcher,
    pub(crate) versions: VersionStore,
    scanner: Scanner,
    pub(crate) settler: Settler<HandlerKey, Stamp>,
    directory: Arc<Directory>,
    pub(crate) wanted: BTreeMap<HandlerKey, Wanted>,
    pub(crate) loaded: BTreeMap<HandlerKey, Component>,
    pub(crate) trials: BTreeMap<HandlerKey, OnTrial>,
    pub(crate) endings: Vec<Ending>,
    /// Told already, so that each is told once.
    problems: Vec<Problem>,
    /// Why the directory as a whole cannot be read, likewise.
    trouble: Option<String>,
    /// Why they are tried again: told already too.
    pub(crate) hindrances: BTreeMap<HandlerKey, String>,
    pub(crate) asks: Asks,
    /// What has come and waits for a worker. One of a tenant at most.
    pub(crate) ready: VecDeque<Job>,
    pub(crate) fetching: usize,
    pub(crate) far: Far,
    pub(crate) working: usize,
    pub(crate) pruned: Pruned,
    pub(crate) finished: Sender<Done>,
    /// A lock that nobody else ever takes: threads share the loader while everything is loaded at the start.
    results: Mutex<Receiver<Done>>,
}

impl Loader {
    /// Opens the folder of versions. Nothing is loaded yet.
    ///
    /// # Errors
    /// When that folder cannot be used, or a registry is described wrongly.
    pub fn open(runtime: Arc<Runtime>, guests: Handle, options: LoaderOptions) -> Result<Self, LoaderError> {
        let versions = VersionStore::open(&options.versions)?;
        let network = options.network.clone().unwrap_or_else(|| guests.clone());
        let fetcher = Fetcher::new(&options.registries, network)?;
        let (finished, results) = channel();
        // Over a restart too, a newcomer takes nothing from who has it.
        let served = versions.handlers()?.into_iter().chain(options.served.iter().cloned());
        let served = served.map(|key| (key.tenant().clone(), key.handler().clone()));
        let scanner = Scanner::new(&options.dir, options.ceiling.clone()).that_served(served);
        Ok(Self {
            runtime,
            guests,
            fetcher,
            versions,
            scanner,
            settler: Settler::new(options.settle),
            options,
            directory: Arc::default(),
            wanted: BTreeMap::new(),
            loaded: BTreeMap::new(),
            trials: BTreeMap::new(),
            endings: Vec::new(),
            problems: Vec::new(),
            trouble: None,
            hindrances: BTreeMap::new(),
            asks: Asks::default(),
            ready: VecDeque::new(),
            fetching: 0,
            far: Far::default(),
            working: 0,
            pruned: Pruned::default(),
            finished,
            results: Mutex::new(results),
        })
    }

    /// Looks at the directory again.
    pub fn look(&mut self, now: Instant, serving: &mut dyn Serving) {
        let before = Arc::clone(&self.directory);
        let named: BTreeMap<HandlerKey, Signatures> =
            self.wanted.iter().map(|(key, wanted)| (key.clone(), wanted.signatures.clone())).collect();
        if let Err(error) = self.read_directory(serving) {
            let why = error.to_string();
            if self.trouble.replace(why.clone()).as_ref() != Some(&why) {
                serving.news(News::Trouble(why));
            }
            return;
        }
        self.trouble = None;
        for (key, wanted) in &self.wanted {
            self.settler.see(now, key.clone(), &wanted.tenant, Some(wanted.stamp()));
        }
        // Also what has never got in: nobody would wait for its file to settle any more.
        for key in named.keys().filter(|key| !self.wanted.contains_key(key)).cloned().collect::<Vec<_>>() {
            self.settler.see(now, key.clone(), key.tenant(), None);
            self.drop_trial(&key, serving);
            if self.loaded.remove(&key).is_some() {
                serving.news(News::Gone { key });
            }
        }
        self.hindrances.retain(|key, _| self.wanted.contains_key(key));
        self.drop_fetched(now);
        self.judge_signatures_again(now, &named, serving);
        self.end_trials_without_a_plan(now);
        // Limits, routes and what is gone count at once; components when they are loaded.
        if before != self.directory {
            serving.serve(self.snapshot());
        }
    }

    /// Takes what is done and begins what is due. Returns when there is something to be done again, as far as is known.
    pub fn step(&mut self, now: Instant, serving: &mut dyn Serving) -> Option<Instant> {
        self.pruned.begin(now);
        let mut swapped = self.end_trials(now, serving);
        while let Some(done) = self.next_result() {
            match done {
                Done::Fetched { key, reference, outcome, place } => {
                    self.take_fetched(now, key, reference, outcome, place, serving);
                }
                Done::Judged { job, outcome } => {
                    self.working = self.working.saturating_sub(1);
                    if self.take(now, &job, outcome, serving) {
                        self.pruned.count_version();
                        swapped = true;
                    }
                }
                Done::Asked(outcome) => self.take_asked(outcome, serving),
            }
        }
        if swapped {
            serving.serve(self.snapshot());
            self.prune(now, serving);
        }
        self.begin_asked(serving);
        while self.working < self.options.workers.max(1) {
            if let Some(job) = self.ready.pop_front() {
                self.work(now, job, serving);
                continue;
            }
            match self.settler.due(now) {
                Some(Due::Read { file, .. }) => self.start(now, file, serving),
                // `look` has told of it.
                Some(Due::Gone { .. }) => {}
                None => break,
            }
        }
        [self.settler.wake_at(), self.endings_due_at()].into_iter().flatten().min()
    }

    /// The plugin directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.options.dir
    }

    /// Whether components are being fetched or compiled.
    #[must_use]
    pub fn is_working(&self) -> bool {
        self.working > 0 || self.fetching > 0 || !self.asks.is_empty()
    }

    /// What takes calls now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(&self.directory, &self.loaded, &self.trials, self.unread_filters())
    }

    /// Filters that were good once, of tenants that are there and could not be read since the start: what is left of their
    /// earlier calls may still tell events.
    fn unread_filters(&self) -> Vec<(TenantId, HandlerName)> {
        let of_tenant = |problem: &Problem| match &problem.part {
            Part::Tenant(tenant) if !self.directory.tenants.contains_key(tenant) => Some(tenant.clone()),
            _ => None,
        };
        let unread: BTreeSet<TenantId> = self.problems.iter().filter_map(of_tenant).collect();
        if unread.is_empty() {
            return Vec::new();
        }
        let keys = self.versions.handlers().unwrap_or_default();
        let of_filter = |key: &HandlerKey| {
            let name = key.handler().as_str().strip_suffix(".filter").filter(|_| unread.contains(key.tenant()))?;
            Some((key.tenant().clone(), name.into()))
        };
        keys.iter().filter_map(of_filter).collect()
    }

    /// The versions that were good, for whoever lists and changes them.
    #[must_use]
    pub fn versions(&self) -> &VersionStore {
        &self.versions
    }

    /// Everything that is loaded.
    pub fn loaded(&self) -> impl Iterator<Item = (&HandlerKey, &Component)> {
        self.loaded.iter()
    }

    /// Gives new calls this version, which the store has made current.
    pub(crate) fn give(&mut self, key: &HandlerKey, component: Component, serving: &mut dyn Serving) {
        if let Some(trial) = self.trials.remove(key) {
            let (key, why) = (key.clone(), "the operator has chosen a version".to_owned());
            serving.news(News::Withdrawn { key, version: trial.version.short(), why });
        }
        let to = component.version().to_owned();
        let from = self.loaded.insert(key.clone(), component).map(|old| old.version().to_owned());
        if from.as_ref() != Some(&to) {
            serving.news(News::Swapped { key: key.clone(), from, to, signed_by: None });
        }
        serving.serve(self.snapshot());
    }

    /// Reads a component's file again, as after it was unpinned.
    pub fn again(&mut self, now: Instant, key: &HandlerKey) {
        self.settler.again(now, key);
    }

    fn next_result(&mut self) -> Option<Done> {
        self.results.get_mut().unwrap_or_else(PoisonError::into_inner).try_recv().ok()
    }

    pub(crate) fn read_directory(&mut self, serving: &mut dyn Serving) -> Result<(), DirectoryError> {
        let scan = self.scanner.scan(&self.directory)?;
        for problem in scan.problems.iter().filter(|problem| !self.problems.contains(problem)) {
            serving.news(News::Problem(problem.clone()));
        }
        self.problems = scan.problems;
        if scan.directory != *self.directory {
            self.directory = Arc::new(scan.directory);
            self.wanted = wanted(&self.directory);
        }
        Ok(())
    }

    /// Reads a component that has settled, or has it fetched, and has it worked on when it is worth it.
    fn start(&mut self, now: Instant, key: HandlerKey, serving: &mut dyn Serving) {
        if self.waits_for_last_good(&key) {
            return self.settler.done(now, &key, Outcome::Changing);
        }
        let Some(wanted) = self.wanted.get(&key) else { return self.settler.done(now, &key, Outcome::Changing) };
        match wanted.reference() {
            Ok(Some(reference)) => self.start_fetching(now, key, reference, serving),
            Ok(None) => {
                let Ok(job) = self.job(&key, wanted) else {
                    return self.settler.done(now, &key, Outcome::Changing);
                };
                if self.settler.judge(now, &key, content(&job)) == Verdict::Load {
                    self.offer(now, job, serving);
                }
            }
            Err(Refused { why, .. }) => {
                self.settler.judge(now, &key, wanted.registry_content());
                self.settler.done(now, &key, Outcome::Failed);
                let why = format!("{}: {why}", by_manifest(&key));
                serving.news(News::Refused { key, why });
            }
        }
    }

    /// It is tried again. While a registry is away, or the machine is full, one word about it is enough.
    pub(crate) fn hindered(&mut self, now: Instant, key: HandlerKey, why: &str, serving: &mut dyn Serving) {
        self.settler.done(now, &key, Outcome::Hindered);
        let why = format!("{why}; it is tried again");
        if self.hindrances.insert(key.clone(), why.clone()).as_ref() != Some(&why) {
            serving.news(News::Refused { key, why });
        }
    }

    pub(crate) fn take_bytes(
        &mut self,
        now: Instant,
        key: HandlerKey,
        wasm: Vec<u8>,
        place: Option<Place>,
        serving: &mut dyn Serving,
    ) {
        match self.wanted.get(&key).map(|wanted| self.signed_job(&key, wanted, wasm)) {
            Some(Ok(job)) => self.offer(now, Job { _place: place, ..job }, serving),
            // Gone, or its signature has changed since the look.
            Some(Err(_)) | None => self.settler.done(now, &key, Outcome::Changing),
        }
    }

    /// Has a component worked on, unless the operator wants another version.
    fn offer(&mut self, now: Instant, job: Job, serving: &mut dyn Serving) {
        let mut said = Vec::new();
        let standing = self.standing_of(&job.key, Version::of(&job.wasm), &mut said);
        said.into_iter().for_each(|news| serving.news(news));
        match standing {
            Ok(Standing::Pinned(why) | Standing::HeldBack(why)) => {
                self.settler.done(now, &job.key, Outcome::Failed);
                serving.news(News::Refused { key: job.key, why: format!("{}: {why}", job.file) });
            }
            Ok(Standing::New | Standing::Current | Standing::Canary) => self.ready.push_back(job),
            Err(error) => {
                self.settler.done(now, &job.key, Outcome::Hindered);
                serving.news(News::Trouble(error.to_string()));
            }
        }
    }

    fn work(&mut self, now: Instant, job: Job, serving: &mut dyn Serving) {
        let (runtime, guests, done) = (Arc::clone(&self.runtime), self.guests.clone(), self.finished.clone());
        let key = job.key.clone();
        let spawned = std::thread::Builder::new().name("voxtra-load".into()).spawn(move || {
            let outcome = job.run(&runtime, &guests);
            // Nobody waits for it when the host stops.
            let _ = done.send(Done::Judged { job: Box::new(job), outcome });
        });
        match spawned {
            Ok(_) => self.working += 1,
            Err(error) => {
                self.settler.done(now, &key, Outcome::Hindered);
                serving.news(News::Trouble(format!("no thread can be started to load {key} ({error}); free memory")));
            }
        }
    }

    /// What is in the directory now, as a job. An error: it has changed since the look.
    pub(crate) fn job(&self, key: &HandlerKey, wanted: &Wanted) -> Result<Job, Refused> {
        let Source::File(file) = &wanted.source else {
            return Err(Refused::new(format!("{}: it is in a registry and not in the directory", wanted.file())));
        };
        let wasm = file.read(&self.options.dir).map_err(|error| Refused::passing(error.to_string()))?;
        self.signed_job(key, wanted, wasm)
    }

    /// A component as a job, with the signature beside it.
    pub(crate) fn signed_job(&self, key: &HandlerKey, wanted: &Wanted, wasm: Vec<u8>) -> Result<Job, Refused> {
        let signature = wanted.signature.as_ref().map(|file| file.read(&self.options.dir)).transpose();
        let signature = signature.map_err(|error| Refused::passing(error.to_string()))?;
        let (file, signed, signatures) = (wanted.of(key), wanted.signed(key), wanted.signatures.clone());
        Ok(Job { key: key.clone(), kind: wanted.kind, file, wasm, signature, signed, signatures, _place: None })
    }

    /// Whether new calls get something new.
    fn take(&mut self, now: Instant, job: &Job, outcome: Result<Passed, Refused>, serving: &mut dyn Serving) -> bool {
        let key = job.key.clone();
        // What it was judged by is not what the tenant asks for by now.
        if self.wanted.get(&key).is_some_and(|wanted| !asks_the_same(&wanted.signatures, &job.signatures)) {
            self.settler.done(now, &key, Outcome::Changing);
            return false;
        }
        let passed = match outcome {
            Ok(passed) => passed,
            Err(Refused { why, is_passing: true }) => {
                self.want_last_good(&key, job);
                self.hindered(now, key, &why, serving);
                return false;
            }
            Err(Refused { why, .. }) => {
                self.want_last_good(&key, job);
                self.hindrances.remove(&key);
                self.settler.done(now, &key, Outcome::Failed);
                serving.news(News::Refused { key, why });
                return false;
            }
        };
        if !self.wanted.contains_key(&key) {
            self.settler.done(now, &key, Outcome::Changing);
            return false;
        }
        let goes_on = self.loaded.get(&key).is_some_and(|loaded| loaded.version() != passed.component.version());
        let plan = self.plan_of(&key, passed.version, goes_on);
        let kept = match plan {
            Some(plan) => self.note_trial(&key, &passed, job, plan),
            None => self.keep(&key, &passed, job),
        };
        match kept {
            Ok(()) => {
                self.hindrances.remove(&key);
                self.settler.done(now, &key, Outcome::Loaded);
                self.mend(&key, passed.version, job).into_iter().for_each(|news| serving.news(news));
            }
            // The operator has pinned it, or gone back, while it was being compiled.
            Err(StoreError::Change { why, .. }) => {
                self.settler.done(now, &key, Outcome::Failed);
                serving.news(News::Refused { key, why: why.to_string() });
                return false;
            }
            Err(error) => {
                // A version that could not be written down would not be there after a crash.
                self.settler.done(now, &key, Outcome::Hindered);
                serving.news(News::Trouble(error.to_string()));
                return false;
            }
        }
        let version = passed.component.version().to_owned();
        let signed_by = passed.signed_by.map(|signed| signed.key);
        let Some(plan) = plan else {
            self.trials.remove(&key);
            let from = self.loaded.insert(key.clone(), passed.component).map(|old| old.version().to_owned());
            if from.as_ref() != Some(&version) {
                serving.news(News::Swapped { key, from, to: version, signed_by });
            }
            return true;
        };
        let current = self.loaded.get(&key).map(|current| current.version().to_owned()).unwrap_or_default();
        self.trials.insert(key.clone(), OnTrial { component: passed.component, version: passed.version });
        serving.news(News::OnTrial { key, current, version, percent: plan.percent, signed_by });
        true
    }

    /// Writes down that a version is good and takes all calls. Its bytes are in the store first: a crash between leaves bytes
    /// nobody names.
    pub(crate) fn keep(&self, key: &HandlerKey, passed: &Passed, job: &Job) -> Result<(), StoreError> {
        let author = self.author_of(key);
        let known = self.versions.get(key)?.map(|known| (known.record.current(), known.record.canary()));
        match known {
            Some((current, canary)) if current == passed.version => {
                // The file holds again what takes the calls.
                if canary.is_some() {
                    self.versions.clear_canary(key, CanaryEnd::Withdrawn, &author)?;
                }
            }
            Some((_, Some(canary))) if canary.version == passed.version => {
                self.versions.clear_canary(key, CanaryEnd::Promoted, &author)?;
            }
            _ => {
                self.versions.put(&job.wasm)?;
                let of_registry = self.wanted.get(key).is_some_and(|wanted| matches!(wanted.source, Source::Oci(_)));
                let source = if of_registry { VersionSource::Oci } else { VersionSource::File };
                self.versions.record_good(key, passed.version, source, &author)?;
            }
        }
        self.keep_signature(key, passed.version, job)
    }

    /// The host, saying where a component comes from.
    pub(crate) fn author_of(&self, key: &HandlerKey) -> Author {
        let origin = self.wanted.get(key).map(Wanted::origin);
        Author::new(HOST, SystemTime::now()).saying(&origin.unwrap_or_default())
    }
}

pub(crate) fn content(job: &Job) -> Content {
    Content::of(&[Some(&job.wasm), job.signature.as_deref()])
}
