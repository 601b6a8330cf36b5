//! Reads one tenant's folder.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use voxtra_core::{HandlerName, TenantId};

use super::by_case;
use super::hashes::Hashes;
use super::problems::Problems;
use super::served::Served;
use crate::folder::{Entry, Folder, ReadError};
use crate::handler::{Manifest, same_calls, words};
use crate::host::HostCeiling;
use crate::limits::Limits;
use crate::names;
use crate::plan::{FileRef, HandlerPlan, OnFailure, Route, RulePlan, Source, TenantPlan, TenantSettings, Then};
use crate::problem::{Fault, Part, Problem};
use crate::tenant::{self, TenantFile};

const TENANT_FILE: &str = "tenant.toml";
const MANIFEST_ENDING: &str = ".toml";
const SIGNATURE_ENDING: &str = ".minisig";

/// A `tenant.toml` beyond this is none.
const MAX_TENANT_FILE_BYTES: u64 = 1 << 20;

/// A manifest beyond this is none: a thousand routes fit.
const MAX_MANIFEST_BYTES: u64 = 64 << 10;

/// What all of a tenant's manifests may take up, since all of it is kept: 8 KiB each for a thousand.
const MAX_MANIFESTS_BYTES: usize = 8 << 20;

/// A signature's four lines take about 300 bytes; the comments are the signer's.
const MAX_SIGNATURE_BYTES: u64 = 8 << 10;

const COMPONENT_RULE: &str =
    "a component's name is 1 to 64 letters, digits, `-`, `_` or `.`, and not `.` first; rename it";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Router,
    Filter,
    Handler,
}

impl Kind {
    /// The longer endings first: a handler's is the end of all.
    const ALL: [Self; 3] = [Self::Router, Self::Filter, Self::Handler];

    fn ending(self) -> &'static str {
        match self {
            Self::Router => ".router.wasm",
            Self::Filter => ".filter.wasm",
            Self::Handler => ".wasm",
        }
    }

    fn of(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| name.ends_with(kind.ending().as_bytes()))
    }
}

/// Whether the name is one that is read; whatever else is in a folder is nobody's business here.
pub(super) fn is_component_file(name: &OsStr) -> bool {
    let name = name.as_bytes();
    Kind::of(name).is_some() || (name.ends_with(MANIFEST_ENDING.as_bytes()) && !is_hidden(name))
}

/// Editors leave such manifests.
fn is_hidden(name: &[u8]) -> bool {
    name.starts_with(b".")
}

/// What is wrong, in which file.
type Failure = (PathBuf, Fault);

/// A tenant's folder, open and listed.
pub(super) struct TenantReader<'a> {
    pub(super) host: &'a HostCeiling,
    pub(super) folder: &'a Folder,
    pub(super) tenant: &'a TenantId,
    pub(super) entries: &'a [Entry],
    pub(super) previous: Option<&'a TenantPlan>,
    pub(super) hashes: &'a mut Hashes,
    pub(super) problems: &'a mut Problems,
    /// `tenant.toml`s and manifests that were there at the last reading, and those that are there now.
    pub(super) texts_before: &'a BTreeSet<PathBuf>,
    pub(super) texts: &'a mut BTreeSet<PathBuf>,
    pub(super) served: &'a Served,
    /// Read so far.
    pub(super) manifests_bytes: usize,
}

/// By extension and number: who has the route, and where among its own.
type Holders = BTreeMap<(String, String), (HandlerName, usize)>;

/// The names of a folder's components.
#[derive(Default)]
struct Listed {
    handlers: BTreeSet<HandlerName>,
    /// In the order of their files' names.
    rules: Vec<(Kind, String)>,
    /// Filters by their names, which are none.
    unread_filters: Vec<String>,
}

/// A handler that may still lose a route to another.
struct Candidate {
    plan: HandlerPlan,
    /// Of its routes, in their order; empty where it is the previous plan.
    lines: Vec<usize>,
    is_previous: bool,
}

impl TenantReader<'_> {
    /// The tenant and the line of its `app_name`; a failure is about the tenant as a whole.
    pub(super) fn read(mut self) -> Result<(TenantPlan, usize), Failure> {
        self.remember_texts();
        self.hashes.begin_tenant(self.previous.is_none());
        let TenantFile { mut settings, app_name_line, prompts_line, then_line } = self.tenant_file()?;
        self.look_at_prompts(&settings, prompts_line)?;
        settings.prompts.dir = settings.prompts.dir.map(|dir| self.folder.path().join(dir));
        let listed = self.list();
        self.look_at_number(&settings.limits, &listed)?;
        self.look_at_fallback(TENANT_FILE, then_line, settings.on_failure.as_ref());
        let mut candidates = BTreeMap::new();
        for name in self.differ_by_more_than_case(listed.handlers) {
            match self.handler(&name, &settings) {
                Ok(candidate) => drop(candidates.insert(name, candidate)),
                Err((file, fault)) => self.keep_handler(&mut candidates, &file, &name, fault, &settings),
            }
        }
        self.settle_routes(&mut candidates, &settings);
        let handlers = candidates.into_iter().map(|(name, candidate)| (name, candidate.plan)).collect();
        let (mut routers, mut filters, mut unread_filters) = (Vec::new(), Vec::new(), listed.unread_filters);
        for (kind, name) in listed.rules {
            match (kind, self.rule(kind, &name)) {
                (Kind::Router, rule) => routers.extend(rule),
                (_, Some(rule)) => filters.push(rule),
                (_, None) => unread_filters.push(name),
            }
        }
        Ok((TenantPlan { settings, handlers, routers, filters, unread_filters }, app_name_line))
    }

    fn tenant_file(&self) -> Result<TenantFile, Failure> {
        let path = self.path(TENANT_FILE);
        let failed = |fault: Fault| (path.clone(), fault);
        if self.previous.is_some() && self.has_just_gone(TENANT_FILE) {
            let why = "it has gone; put it back, or the tenant has the host's defaults from the next look on";
            return Err(failed(why.into()));
        }
        let read = || self.folder.read(OsStr::new(TENANT_FILE), MAX_TENANT_FILE_BYTES).map_err(moved);
        let bytes = if self.has(TENANT_FILE) { read().map_err(failed)? } else { Vec::new() };
        tenant::read(&bytes, self.host).map_err(failed)
    }

    /// A link there would lead out of the directory.
    fn look_at_prompts(&self, settings: &TenantSettings, line: usize) -> Result<(), Failure> {
        let Some(dir) = &settings.prompts.dir else { return Ok(()) };
        if self.entries.iter().any(|entry| entry.is_folder && entry.name == dir.as_os_str()) {
            return Ok(());
        }
        let shown = dir.display();
        // Of a flat directory the files are listed only: its folders are other tenants.
        let why = match self.folder.folder(dir.as_os_str()) {
            Ok(_) => format!(
                "`prompts.dir` names `{shown}`, which is a tenant's folder here; move `{}`'s files into a folder of its own",
                self.tenant
            ),
            Err(ReadError::Link) => {
                format!(
                    "`prompts.dir` names `{shown}`, a symbolic link, which is not followed; put the folder itself here"
                )
            }
            Err(ReadError::Missing) => {
                format!("`prompts.dir` names `{shown}`, and there is no such folder here; make it")
            }
            Err(error) => format!("`prompts.dir` names `{shown}`: {error}"),
        };
        Err((self.path(TENANT_FILE), Fault::at(line, why)))
    }

    /// One that is not there is no fault of the rest: it may come, or have gone, while the tenant's calls are up.
    fn look_at_fallback(&mut self, file: &str, line: usize, policy: Option<&OnFailure>) {
        let Some(Then::Handler(name)) = policy.map(|policy| &policy.then) else { return };
        let names = [format!("{name}.wasm"), format!("{name}{MANIFEST_ENDING}")];
        let is_handler = |file: &String| {
            file != TENANT_FILE && matches!(classify(OsStr::new(file)), Ok((Kind::Handler, _))) && self.has(file)
        };
        if names.iter().any(is_handler) {
            return;
        }
        let why = format!(
            "`on_failure.then` names the handler `{name}`, which is not in this folder; put it there, or correct the name"
        );
        let part = Part::Fallback(self.tenant.clone());
        self.problems.add(Problem::new(&self.path(file), part, Fault::at(line, why)));
    }

    fn list(&mut self) -> Listed {
        let mut listed = Listed::default();
        for entry in self.entries.iter().filter(|entry| is_component_file(&entry.name) && entry.name != TENANT_FILE) {
            match classify(&entry.name) {
                Ok((Kind::Handler, name)) => drop(listed.handlers.insert(HandlerName::new(name))),
                Ok(rule) => listed.rules.push(rule),
                Err(why) => {
                    listed.unread_filters.extend(misnamed_filter(&entry.name));
                    let path = self.folder.path().join(&entry.name);
                    self.problems.add(Problem::new(&path, Part::Entry(Some(self.tenant.clone())), why));
                }
            }
        }
        listed
    }

    fn look_at_number(&self, limits: &Limits, listed: &Listed) -> Result<(), Failure> {
        let (number, most) = (listed.handlers.len() + listed.rules.len(), limits.max_components);
        if u64::try_from(number).is_ok_and(|number| number <= most) {
            return Ok(());
        }
        let why =
            format!("it has {number} components and may have {most}; remove some, or raise `limits.max_components`");
        Err((self.folder.path().to_path_buf(), why.into()))
    }

    fn differ_by_more_than_case(&mut self, handlers: BTreeSet<HandlerName>) -> Vec<HandlerName> {
        let claim = |name: &HandlerName| self.was_there(name);
        let (taken, refused) = by_case(handlers.into_iter().collect(), HandlerName::as_str, claim);
        for (name, other) in refused {
            let why = format!("it differs from the handler `{other}` only by case; rename one of them");
            let path = self.path(&self.main_file(&name));
            self.problems.add(Problem::new(&path, Part::Handler(self.tenant.clone(), name), why));
        }
        taken
    }

    fn handler(&mut self, name: &HandlerName, settings: &TenantSettings) -> Result<Candidate, Failure> {
        let manifest_file = format!("{name}{MANIFEST_ENDING}");
        let manifest_path = self.path(&manifest_file);
        let failed = |fault: Fault| (manifest_path.clone(), fault);
        let is_there = manifest_file != TENANT_FILE && self.has(&manifest_file);
        let was_there = self.previous.is_some_and(|plan| plan.handlers.contains_key(name));
        if was_there && manifest_file != TENANT_FILE && self.has_just_gone(&manifest_file) {
            let why = "it has gone; put it back, or the handler is without it from the next look on";
            return Err(failed(why.into()));
        }
        let manifest = if is_there {
            let bytes = self.manifest(&manifest_file)?;
            Manifest::read(&bytes, settings, self.host).map_err(failed)?
        } else {
            Manifest::none(settings)
        };
        self.look_at_fallback(&manifest_file, manifest.then_line, manifest.on_failure.as_ref());
        let own_file = format!("{name}.wasm");
        let has_own = self.has(&own_file);
        let clash = |key: &str, line: usize| {
            let why = format!("`{key}` names another component than `{own_file}`, which is here; remove one of them");
            failed(Fault::at(line, why))
        };
        let (source, signature) = match (&manifest.file, &manifest.oci) {
            (_, Some((_, line))) if has_own => return Err(clash("oci", *line)),
            (Some((file, line)), None) if has_own && *file != own_file => return Err(clash("file", *line)),
            (_, Some((reference, _))) => (Source::Oci(reference.clone()), self.signature(&own_file)?),
            (Some((file, line)), None) if Kind::of(file.as_bytes()) != Some(Kind::Handler) => {
                let why = format!("`file` names `{file}`, which is no handler but a rule; name a handler's component");
                return Err(failed(Fault::at(*line, why)));
            }
            (Some((file, line)), None) if !self.has(file) => {
                let why =
                    format!("`file` names `{file}`, which is not in this folder; put it there, or correct the name");
                return Err(failed(Fault::at(*line, why)));
            }
            (Some((file, _)), None) => self.component(&file.clone())?,
            (None, None) if has_own => self.component(&own_file)?,
            (None, None) => {
                let why = format!("there is no `{own_file}` beside it; put it there, or write `file` or `oci`");
                return Err(failed(why.into()));
            }
        };
        let (routes, lines) = manifest.routes.into_iter().unzip();
        let plan = HandlerPlan {
            name: name.clone(),
            source,
            signature,
            routes,
            metadata: manifest.metadata,
            on_failure: manifest.on_failure,
            limits: manifest.limits,
            grants: manifest.grants,
            canary: manifest.canary,
            upgrade: manifest.upgrade,
            drain_limit_ms: manifest.drain_limit_ms,
        };
        Ok(Candidate { plan, lines, is_previous: false })
    }

    fn component(&mut self, file: &str) -> Result<(Source, Option<FileRef>), Failure> {
        let (component, signature) = self.signed(file)?;
        Ok((Source::File(component), signature))
    }

    /// A component's file and the signature beside it, if there is one.
    fn signed(&mut self, file: &str) -> Result<(FileRef, Option<FileRef>), Failure> {
        let component = self.hash(file, self.host.max_component_bytes)?;
        Ok((component, self.signature(file)?))
    }

    fn signature(&mut self, file: &str) -> Result<Option<FileRef>, Failure> {
        let signature_file = format!("{file}{SIGNATURE_ENDING}");
        self.has(&signature_file).then(|| self.hash(&signature_file, MAX_SIGNATURE_BYTES)).transpose()
    }

    fn rule(&mut self, kind: Kind, name: &str) -> Option<RulePlan> {
        let known = self.previous.map_or(&[][..], |plan| match kind {
            Kind::Router => &plan.routers,
            _ => &plan.filters,
        });
        let before = known.iter().find(|rule| rule.name == name).cloned();
        let part = match kind {
            Kind::Router => Part::Router(self.tenant.clone(), name.to_owned()),
            _ => Part::Filter(self.tenant.clone(), name.to_owned()),
        };
        match self.signed(&format!("{name}{}", kind.ending())) {
            Ok((file, signature)) => Some(RulePlan { name: name.to_owned(), file, signature }),
            Err((file, fault)) => {
                self.problems.add(Problem { kept: before.is_some(), ..Problem::new(&file, part, fault) });
                before
            }
        }
    }

    /// A handler that cannot be read: as it was, as far as its tenant still may, or not at all.
    fn keep_handler(
        &mut self,
        candidates: &mut BTreeMap<HandlerName, Candidate>,
        file: &Path,
        name: &HandlerName,
        fault: Fault,
        settings: &TenantSettings,
    ) {
        let lost_before = candidates.remove(name).is_some_and(|candidate| candidate.is_previous);
        let before = self.previous.and_then(|plan| plan.handlers.get(name)).filter(|_| !lost_before);
        let problem = Problem::new(file, Part::Handler(self.tenant.clone(), name.clone()), fault);
        self.problems.add(Problem { kept: before.is_some(), ..problem });
        if let Some(before) = before {
            let plan = HandlerPlan {
                limits: before.limits.min(settings.limits),
                grants: before.grants.within(&settings.grants),
                ..before.clone()
            };
            candidates.insert(name.clone(), Candidate { plan, lines: Vec::new(), is_previous: true });
        }
    }

    /// No two handlers have one route. Who was there before is asked first. A loser's previous routes may meet those of a third,
    /// who had them not and loses too; each loses at most twice, so this ends.
    fn settle_routes(&mut self, candidates: &mut BTreeMap<HandlerName, Candidate>, settings: &TenantSettings) {
        let mut waiting: Vec<HandlerName> = candidates.keys().cloned().collect();
        waiting.sort_by_key(|name| (Reverse(self.was_there(name)), name.clone()));
        let mut waiting = VecDeque::from(waiting);
        let mut holders = Holders::new();
        while let Some(name) = waiting.pop_front() {
            let Some((loser, fault)) = self.claim(&name, candidates, &mut holders) else { continue };
            for route in candidates.get(&loser).map_or(&[][..], |candidate| candidate.plan.routes.as_slice()) {
                if holders.get(&key(route)).is_some_and(|(holder, _)| *holder == loser) {
                    holders.remove(&key(route));
                }
            }
            let file = self.path(&format!("{loser}{MANIFEST_ENDING}"));
            self.keep_handler(candidates, &file, &loser, fault, settings);
            if loser != name {
                waiting.push_front(name);
            }
            waiting.push_back(loser);
        }
    }

    /// Gives a handler its routes, up to the first that another has: then one of the two loses.
    fn claim(
        &self,
        name: &HandlerName,
        candidates: &BTreeMap<HandlerName, Candidate>,
        holders: &mut Holders,
    ) -> Option<(HandlerName, Fault)> {
        let candidate = candidates.get(name)?;
        for (at, route) in candidate.plan.routes.iter().enumerate() {
            let (other, other_at) = holders.entry(key(route)).or_insert_with(|| (name.clone(), at));
            let Some(first) = candidates.get(other).filter(|_| other != name) else { continue };
            let second = (candidate, at);
            let first = (first, *other_at);
            let late = self.had(candidate, route) && !self.had(first.0, route);
            let (holder, loser) = if late { (second, first) } else { (first, second) };
            let place = match holder.0.lines.get(holder.1) {
                Some(line) => format!("in line {line} of {}{MANIFEST_ENDING}", holder.0.plan.name),
                None => "as it was".to_owned(),
            };
            let why = format!("{} is taken by the handler `{}`, {place}; remove one", words(route), holder.0.plan.name);
            return Some((loser.0.plan.name.clone(), Fault { line: loser.0.lines.get(loser.1).copied(), why }));
        }
        None
    }

    /// Whether it runs, and whether it has before.
    fn was_there(&self, name: &HandlerName) -> (bool, bool) {
        let runs = self.previous.is_some_and(|plan| plan.handlers.contains_key(name));
        (runs, self.served.has(self.tenant, name))
    }

    fn had(&self, candidate: &Candidate, route: &Route) -> bool {
        let before = self.previous.and_then(|plan| plan.handlers.get(&candidate.plan.name));
        before.is_some_and(|plan| plan.routes.iter().any(|known| same_calls(known, route)))
    }

    fn remember_texts(&mut self) {
        let texts = self.entries.iter().filter(|entry| entry.name.as_bytes().ends_with(MANIFEST_ENDING.as_bytes()));
        self.texts.extend(texts.map(|entry| self.folder.path().join(&entry.name)));
    }

    /// Whether it was there at the last reading and is not now: somebody may be writing it.
    fn has_just_gone(&self, file: &str) -> bool {
        !self.has(file) && self.texts_before.contains(&self.path(file))
    }

    fn hash(&mut self, file: &str, max_bytes: u64) -> Result<FileRef, Failure> {
        let path = self.path(file);
        self.hashes.of(self.folder, OsStr::new(file), max_bytes).map_err(|error| (path, moved(error)))
    }

    fn manifest(&mut self, file: &str) -> Result<Vec<u8>, Failure> {
        let read = self.folder.read(OsStr::new(file), MAX_MANIFEST_BYTES).map_err(moved);
        let bytes = read.map_err(|fault| (self.path(file), fault))?;
        self.manifests_bytes = self.manifests_bytes.saturating_add(bytes.len());
        if self.manifests_bytes > MAX_MANIFESTS_BYTES {
            let why = "the tenant's files such as this have more than 8 MiB together; make them smaller";
            return Err((self.path(file), why.into()));
        }
        Ok(bytes)
    }

    /// The component's file, or the manifest where that is all there is.
    fn main_file(&self, name: &HandlerName) -> String {
        let component = format!("{name}.wasm");
        if self.has(&component) { component } else { format!("{name}{MANIFEST_ENDING}") }
    }

    fn has(&self, file: &str) -> bool {
        self.entries.binary_search_by(|entry| entry.name.as_os_str().cmp(OsStr::new(file))).is_ok()
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }
}

fn key(route: &Route) -> (String, String) {
    (route.extension.clone(), route.number.clone())
}

/// A file that was listed and is not there any more is being replaced.
fn moved(error: ReadError) -> Fault {
    match error {
        ReadError::Missing => ReadError::Changing.to_string().into(),
        error => error.to_string().into(),
    }
}

/// A filter whose file is one by its ending, and whose name is none; but nothing that an editor has left.
fn misnamed_filter(file: &OsStr) -> Option<String> {
    let name = file.as_bytes().strip_suffix(Kind::Filter.ending().as_bytes())?;
    (!is_hidden(name)).then(|| names::shown(OsStr::from_bytes(name)))
}

/// What a file's name says that it is.
fn classify(file: &OsStr) -> Result<(Kind, String), &'static str> {
    let name = file.to_str().ok_or(COMPONENT_RULE)?;
    let (kind, stem) = match Kind::of(name.as_bytes()) {
        Some(kind) => (kind, name.strip_suffix(kind.ending())),
        None => (Kind::Handler, name.strip_suffix(MANIFEST_ENDING)),
    };
    let stem = stem.filter(|stem| names::is_component(stem)).ok_or(COMPONENT_RULE)?;
    if kind == Kind::Handler && (stem.ends_with(".router") || stem.ends_with(".filter")) {
        return Err("only a handler has a file such as this beside it, and no router or filter; remove it");
    }
    Ok((kind, stem.to_owned()))
}
