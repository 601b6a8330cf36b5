//! The state, and its steps: looking, starting work, taking results. Time and threads come from outside.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use tokio::runtime::Handle;
use voxtra_artifacts::settle::{Content, Due, Outcome, SettleOptions, Settler, Verdict};
use voxtra_artifacts::store::{Author, Source as VersionSource, Standing, StoreError, VersionStore};
use voxtra_artifacts::{HandlerKey, Version};
use voxtra_core::TenantId;
use voxtra_directory::{
    ContentHash, Directory, DirectoryError, FileRef, HostCeiling, Problem, Scanner, Signatures, Source,
};
use voxtra_plugins::{Kind, Runtime};

use crate::job::{Job, Passed, Refused};
use crate::snapshot::{Component, Snapshot, rule_name};

/// Who acts when nobody has asked.
const HOST: &str = "host";

/// How a loader is set up.
#[derive(Debug, Clone)]
pub struct LoaderOptions {
    /// The plugin directory.
    pub dir: PathBuf,
    /// A private folder for the versions that were good.
    pub versions: PathBuf,
    /// What the operator allows at most.
    pub ceiling: HostCeiling,
    /// How patient to be with files that are being written.
    pub settle: SettleOptions,
    /// Components that are compiled at one time; of one tenant it is always one. Default 2.
    pub workers: usize,
}

impl LoaderOptions {
    /// The defaults for these folders.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, versions: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            versions: versions.into(),
            ceiling: HostCeiling::default(),
            settle: SettleOptions::default(),
            workers: 2,
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
}

/// Something that the operator may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// New calls get another version.
    Swapped {
        /// Whose and which.
        key: HandlerKey,
        /// The first digits of the version before; `None`: there was none.
        from: Option<String>,
        /// And of the new one.
        to: String,
        /// Who has signed it.
        signed_by: Option<String>,
    },
    /// A component did not get in; what was there goes on.
    Refused {
        /// Whose and which.
        key: HandlerKey,
        /// One sentence.
        why: String,
    },
    /// A component is gone from the directory; new calls do not get it any more.
    Gone {
        /// Whose and which.
        key: HandlerKey,
    },
    /// Something in the directory cannot be read.
    Problem(Problem),
    /// The directory, or the folder of versions, as a whole.
    Trouble(String),
}

/// Who gives calls what is loaded.
pub trait Serving: Send {
    /// From now on new calls get these.
    fn serve(&mut self, snapshot: Snapshot);

    /// Told once each.
    fn news(&mut self, news: News);
}

/// How a component's files look: what a change of means a new version.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stamp {
    File(ContentHash, Option<ContentHash>),
    Registry(String),
}

/// A component that the directory names.
#[derive(Debug, Clone)]
struct Wanted {
    tenant: TenantId,
    kind: Kind,
    source: Source,
    signature: Option<FileRef>,
    signatures: Signatures,
}

impl Wanted {
    fn stamp(&self) -> Stamp {
        match &self.source {
            Source::File(file) => Stamp::File(file.content, self.signature.as_ref().map(|file| file.content)),
            Source::Oci(reference) => Stamp::Registry(reference.clone()),
        }
    }

    fn file(&self) -> String {
        match &self.source {
            Source::File(file) => file.path.display().to_string(),
            Source::Oci(reference) => reference.clone(),
        }
    }
}

struct Done {
    key: HandlerKey,
    wasm: Vec<u8>,
    outcome: Result<Passed, Refused>,
}

/// See the module.
pub struct Loader {
    runtime: Arc<Runtime>,
    guests: Handle,
    options: LoaderOptions,
    versions: VersionStore,
    scanner: Scanner,
    settler: Settler<HandlerKey, Stamp>,
    directory: Arc<Directory>,
    wanted: BTreeMap<HandlerKey, Wanted>,
    loaded: BTreeMap<HandlerKey, Component>,
    /// Told already, so that each is told once.
    problems: Vec<Problem>,
    working: usize,
    finished: Sender<Done>,
    /// A lock that nobody else ever takes: threads share the loader while everything is loaded at the start.
    results: Mutex<Receiver<Done>>,
}

impl Loader {
    /// Opens the folder of versions. Nothing is loaded yet.
    ///
    /// # Errors
    /// When that folder cannot be used.
    pub fn open(runtime: Arc<Runtime>, guests: Handle, options: LoaderOptions) -> Result<Self, LoaderError> {
        let versions = VersionStore::open(&options.versions)?;
        let (finished, results) = channel();
        Ok(Self {
            runtime,
            guests,
            versions,
            scanner: Scanner::new(&options.dir, options.ceiling.clone()),
            settler: Settler::new(options.settle),
            options,
            directory: Arc::default(),
            wanted: BTreeMap::new(),
            loaded: BTreeMap::new(),
            problems: Vec::new(),
            working: 0,
            finished,
            results: Mutex::new(results),
        })
    }

    /// Loads everything, on as many threads as there are workers, and serves it: a file that is good as it is, else the
    /// last version that was. Files count as settled.
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
        for (key, Found { component, content, said }) in found {
            said.into_iter().for_each(|news| serving.news(news));
            if let Some(component) = component {
                self.loaded.insert(key.clone(), component);
            }
            let (Some(wanted), Some(content)) = (self.wanted.get(&key), content) else { continue };
            self.settler.adopt(now, key, &wanted.tenant, wanted.stamp(), content);
        }
        serving.serve(self.snapshot());
        Ok(())
    }

    /// Looks at the directory again.
    pub fn look(&mut self, now: Instant, serving: &mut dyn Serving) {
        let before = Arc::clone(&self.directory);
        if let Err(error) = self.read_directory(serving) {
            serving.news(News::Trouble(error.to_string()));
            return;
        }
        for (key, wanted) in &self.wanted {
            self.settler.see(now, key.clone(), &wanted.tenant, Some(wanted.stamp()));
        }
        let gone: Vec<_> = self.loaded.keys().filter(|key| !self.wanted.contains_key(key)).cloned().collect();
        for key in gone {
            self.settler.see(now, key.clone(), key.tenant(), None);
            self.loaded.remove(&key);
            serving.news(News::Gone { key });
        }
        // Limits, routes and what is gone count at once; components when they are loaded.
        if before != self.directory {
            serving.serve(self.snapshot());
        }
    }

    /// Takes what is done and begins what is due. Returns when there is something to be done again, as far as is known.
    pub fn step(&mut self, now: Instant, serving: &mut dyn Serving) -> Option<Instant> {
        let mut swapped = false;
        while let Some(done) = self.next_result() {
            self.working = self.working.saturating_sub(1);
            swapped |= self.take(now, done, serving);
        }
        if swapped {
            serving.serve(self.snapshot());
        }
        while self.working < self.options.workers.max(1) {
            match self.settler.due(now) {
                Some(Due::Read { file, .. }) => self.start(now, file, serving),
                // `look` has told of it.
                Some(Due::Gone { .. }) => {}
                None => break,
            }
        }
        self.settler.wake_at()
    }

    /// The plugin directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.options.dir
    }

    /// Whether components are being compiled.
    #[must_use]
    pub fn is_working(&self) -> bool {
        self.working > 0
    }

    /// What takes calls now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(&self.directory, &self.loaded)
    }

    /// The versions that were good, for whoever lists and changes them.
    #[must_use]
    pub fn versions(&self) -> &VersionStore {
        &self.versions
    }

    /// The version of a component that new calls get.
    #[must_use]
    pub fn serving_version(&self, key: &HandlerKey) -> Option<&str> {
        self.loaded.get(key).map(Component::version)
    }

    /// Everything that is loaded.
    pub fn loaded(&self) -> impl Iterator<Item = (&HandlerKey, &Component)> {
        self.loaded.iter()
    }

    /// Gives new calls a version that was good before, which the store has made current.
    ///
    /// # Errors
    /// A sentence; what runs goes on.
    pub fn serve_version(
        &mut self,
        key: &HandlerKey,
        version: Version,
        serving: &mut dyn Serving,
    ) -> Result<(), Refused> {
        let kind = self.wanted.get(key).map(|wanted| wanted.kind);
        let kind = kind.ok_or_else(|| Refused(format!("{key:?} is not in the plugin directory; put its file back")))?;
        let component = self.of_store(key, kind, version)?;
        let from = self.loaded.insert(key.clone(), component.clone());
        let from = from.map(|component| component.version().to_owned());
        let to = component.version().to_owned();
        if from.as_ref() != Some(&to) {
            serving.news(News::Swapped { key: key.clone(), from, to, signed_by: None });
        }
        serving.serve(self.snapshot());
        Ok(())
    }

    /// Reads a component's file again, as after it was unpinned.
    pub fn again(&mut self, now: Instant, key: &HandlerKey) {
        self.settler.again(now, key);
    }

    fn next_result(&mut self) -> Option<Done> {
        self.results.get_mut().unwrap_or_else(PoisonError::into_inner).try_recv().ok()
    }

    fn read_directory(&mut self, serving: &mut dyn Serving) -> Result<(), DirectoryError> {
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

    /// Reads a component that has settled, and has it worked on when it is worth it.
    fn start(&mut self, now: Instant, key: HandlerKey, serving: &mut dyn Serving) {
        let job = match self.wanted.get(&key).map(|wanted| self.job(&key, wanted)) {
            None => return self.settler.done(now, &key, Outcome::Changing),
            Some(Err(_)) => return self.settler.done(now, &key, Outcome::Changing),
            Some(Ok(job)) => job,
        };
        if self.settler.judge(now, &key, content(&job)) != Verdict::Load {
            return;
        }
        match self.versions.standing(&key, Version::of(&job.wasm)) {
            Ok(Standing::Pinned(why) | Standing::HeldBack(why)) => {
                self.settler.done(now, &key, Outcome::Failed);
                return serving.news(News::Refused { key, why: format!("{}: {why}", job.file) });
            }
            Ok(Standing::New | Standing::Current | Standing::Canary) => {}
            Err(error) => {
                self.settler.done(now, &key, Outcome::Hindered);
                return serving.news(News::Trouble(error.to_string()));
            }
        }
        let (runtime, guests, done) = (Arc::clone(&self.runtime), self.guests.clone(), self.finished.clone());
        let spawned = std::thread::Builder::new().name("voxtra-load".into()).spawn(move || {
            let outcome = job.run(&runtime, &guests);
            // Nobody waits for it when the host stops.
            let _ = done.send(Done { key: job.key, wasm: job.wasm, outcome });
        });
        match spawned {
            Ok(_) => self.working += 1,
            Err(error) => {
                self.settler.done(now, &key, Outcome::Hindered);
                serving.news(News::Trouble(format!("no thread can be started to load {key:?} ({error}); free memory")));
            }
        }
    }

    /// What is in the directory now, as a job. An error: it has changed since the look.
    fn job(&self, key: &HandlerKey, wanted: &Wanted) -> Result<Job, Refused> {
        let refused = |error: &dyn std::fmt::Display| Refused(error.to_string());
        let Source::File(file) = &wanted.source else {
            return Err(Refused(format!("{}: this host fetches no components from registries yet", wanted.file())));
        };
        let wasm = file.read(&self.options.dir).map_err(|error| refused(&error))?;
        let signature = wanted.signature.as_ref().map(|file| file.read(&self.options.dir)).transpose();
        Ok(Job {
            key: key.clone(),
            kind: wanted.kind,
            file: wanted.file(),
            wasm,
            signature: signature.map_err(|error| refused(&error))?,
            signatures: wanted.signatures.clone(),
        })
    }

    /// Whether new calls get something new.
    fn take(&mut self, now: Instant, done: Done, serving: &mut dyn Serving) -> bool {
        let Done { key, wasm, outcome } = done;
        let passed = match outcome {
            Ok(passed) => passed,
            Err(Refused(why)) => {
                self.settler.done(now, &key, Outcome::Failed);
                serving.news(News::Refused { key, why });
                return false;
            }
        };
        if let Err(error) = self.keep(&key, &passed, &wasm) {
            // A version that could not be written down would not be there after a crash.
            self.settler.done(now, &key, Outcome::Hindered);
            serving.news(News::Trouble(error.to_string()));
            return false;
        }
        self.settler.done(now, &key, Outcome::Loaded);
        if !self.wanted.contains_key(&key) {
            return false;
        }
        let to = passed.component.version().to_owned();
        let from = self.loaded.insert(key.clone(), passed.component).map(|old| old.version().to_owned());
        let signed_by = passed.signed_by.map(|signed| signed.key);
        serving.news(News::Swapped { key, from, to, signed_by });
        true
    }

    /// Writes down that a version is good. Its bytes are in the store first: a crash between leaves bytes nobody names.
    fn keep(&self, key: &HandlerKey, passed: &Passed, wasm: &[u8]) -> Result<(), StoreError> {
        if self.versions.current(key)? == Some(passed.version) {
            return Ok(());
        }
        self.versions.put(wasm)?;
        let wanted = self.wanted.get(key);
        let (source, note) = match wanted.map(|wanted| &wanted.source) {
            Some(Source::Oci(reference)) => (VersionSource::Oci, reference.clone()),
            _ => (VersionSource::File, wanted.map(Wanted::file).unwrap_or_default()),
        };
        let author = Author::new(HOST, SystemTime::now()).saying(&note);
        self.versions.record_good(key, passed.version, source, &author).map(drop)
    }

    fn at_the_start(&self, key: &HandlerKey, wanted: &Wanted) -> Found {
        let mut said = Vec::new();
        let mut refuse = |why: String| said.push(News::Refused { key: key.clone(), why });
        let (mut component, mut known) = (None, None);
        match self.job(key, wanted) {
            Err(Refused(why)) => refuse(why),
            Ok(job) => {
                known = Some(content(&job));
                let version = Version::of(&job.wasm);
                match self.versions.standing(key, version) {
                    Ok(Standing::Pinned(why) | Standing::HeldBack(why)) => refuse(format!("{}: {why}", job.file)),
                    Ok(standing) => match self.pass_at_the_start(&job, standing) {
                        Ok(passed) => component = Some(passed),
                        Err(Refused(why)) => refuse(why),
                    },
                    Err(error) => refuse(error.to_string()),
                }
            }
        }
        if component.is_none() {
            let last = self.versions.current(key).ok().flatten();
            component = last.and_then(|version| self.of_store(key, wanted.kind, version).ok());
        }
        Found { component, content: known, said }
    }

    fn pass_at_the_start(&self, job: &Job, standing: Standing) -> Result<Component, Refused> {
        let passed = job.run(&self.runtime, &self.guests)?;
        if standing == Standing::New {
            self.keep(&job.key, &passed, &job.wasm).map_err(|error| Refused(error.to_string()))?;
        }
        Ok(passed.component)
    }

    /// A version that was good before. Its signature was checked when it came.
    fn of_store(&self, key: &HandlerKey, kind: Kind, version: Version) -> Result<Component, Refused> {
        let wasm = self.versions.component(version).map_err(|error| Refused(error.to_string()))?;
        let file = format!("version {} of {}/{}", version.short(), key.tenant(), key.handler());
        let job = Job { key: key.clone(), kind, file, wasm, signature: None, signatures: Signatures::default() };
        job.run(&self.runtime, &self.guests).map(|passed| passed.component)
    }
}

/// What was found of one component at the start.
struct Found {
    component: Option<Component>,
    content: Option<Content>,
    said: Vec<News>,
}

fn content(job: &Job) -> Content {
    Content::of(&[Some(&job.wasm), job.signature.as_deref()])
}

/// All components that a directory names, by the key that their versions are kept under.
fn wanted(directory: &Directory) -> BTreeMap<HandlerKey, Wanted> {
    let mut all = BTreeMap::new();
    for (tenant, plan) in &directory.tenants {
        let signatures = &plan.settings.signatures;
        let mut want = |kind, name: &str, source: Source, signature: &Option<FileRef>| {
            // The directory's names are the store's.
            let Ok(key) = HandlerKey::new(tenant, &rule_name(kind, name).as_str().into()) else { return };
            let (tenant, signature, signatures) = (tenant.clone(), signature.clone(), signatures.clone());
            all.insert(key, Wanted { tenant, kind, source, signature, signatures });
        };
        for handler in plan.handlers.values() {
            want(Kind::Handler, handler.name.as_str(), handler.source.clone(), &handler.signature);
        }
        for (kind, rules) in [(Kind::Router, &plan.routers), (Kind::Filter, &plan.filters)] {
            for rule in rules {
                want(kind, &rule.name, Source::File(rule.file.clone()), &rule.signature);
            }
        }
    }
    all
}
