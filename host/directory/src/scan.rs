//! Reads a plugin directory. What cannot be read is told and stays as it was; nothing else notices.

mod hashes;
mod problems;
mod served;
mod tenant;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use voxtra_core::{HandlerName, TenantId};

use crate::folder::{Entry, Folder, ReadError};
use crate::host::HostCeiling;
use crate::names;
use crate::plan::Directory;
use crate::problem::{Fault, Part, Problem};
use hashes::Hashes;
use problems::Problems;
use served::Served;
use tenant::{TenantReader, is_component_file};

/// Entries of one folder that are read.
const MAX_FOLDER_ENTRIES: usize = 10_000;

/// Entries of all folders together that are read: a hundred times what a large host has.
const MAX_ENTRIES: usize = 100_000;

/// The directory as a whole cannot be read. Whatever runs goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the plugin directory {dir} cannot be read: {why}")]
pub struct DirectoryError {
    dir: String,
    why: String,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Scan {
    /// What is to run: what the directory says, and of what could not be read the part that there was before.
    pub directory: Directory,
    /// What could not be read, by file. At most 100 a tenant, and then one that says how many more.
    pub problems: Vec<Problem>,
}

/// Reads one directory again and again. It blocks on the disk: run it where that is allowed.
#[derive(Debug)]
pub struct Scanner {
    root: PathBuf,
    host: HostCeiling,
    hashes: Hashes,
    /// `tenant.toml`s and manifests that were there at the last reading.
    texts: BTreeSet<PathBuf>,
    served: Served,
}

impl Scanner {
    /// For this directory, with these figures of the operator's. Nothing is read yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, host: HostCeiling) -> Self {
        Self { root: root.into(), host, hashes: Hashes::default(), texts: BTreeSet::new(), served: Served::default() }
    }

    /// Handlers that have taken calls before, such as before a restart: where nobody of two that claim the same was in the
    /// previous plan, the one that has served goes before the one that has not. Without it nobody has.
    #[must_use]
    pub fn that_served(mut self, handlers: impl IntoIterator<Item = (TenantId, HandlerName)>) -> Self {
        self.served = handlers.into_iter().collect();
        self
    }

    /// Reads it. `previous` is what runs now ([`Directory::default`] at the start): of what cannot be read its part there is
    /// kept, and of two that claim one route, one application, or names that differ only by case, the one that had it has it, else
    /// one that was there before, else one that [has served](Self::that_served), else the first by name; an application that
    /// is the operator's own to give, or that a tenant has by its name, is nobody else's, whoever came first. A tenant whose `tenant.toml` cannot be read is kept whole; a handler that is kept gets no
    /// more than its tenant has by now. A `tenant.toml` or manifest that has gone counts as gone at the second reading without
    /// it: some editors remove a file before they write it, and in between its tenant would have what the host grants to
    /// all. A component that looks as at the last reading is not read again.
    ///
    /// # Errors
    /// When the directory itself is not there or cannot be read, or has more than 10,000 entries.
    pub fn scan(&mut self, previous: &Directory) -> Result<Scan, DirectoryError> {
        let failed = |error: ReadError| DirectoryError {
            dir: names::shown(self.root.as_os_str()),
            why: format!("{error}; what runs goes on as it is"),
        };
        let root = Folder::open(&self.root).map_err(failed)?;
        let entries = root.entries(MAX_FOLDER_ENTRIES).map_err(failed)?;
        self.hashes.begin();
        let mut round = Round {
            host: &self.host,
            hashes: &mut self.hashes,
            previous,
            left: MAX_ENTRIES.saturating_sub(entries.len()),
            directory: Directory::default(),
            app_name_lines: BTreeMap::new(),
            problems: Problems::default(),
            texts_before: &self.texts,
            texts: BTreeSet::new(),
            served: &self.served,
        };
        round.read(&root, entries);
        round.settle_applications(&root);
        let (directory, problems, texts) = (round.directory, round.problems.finish(), round.texts);
        self.texts = texts;
        self.hashes.end();
        Ok(Scan { directory, problems })
    }
}

/// One reading.
struct Round<'a> {
    host: &'a HostCeiling,
    hashes: &'a mut Hashes,
    previous: &'a Directory,
    /// Entries that may still be read.
    left: usize,
    directory: Directory,
    app_name_lines: BTreeMap<TenantId, usize>,
    problems: Problems,
    texts_before: &'a BTreeSet<PathBuf>,
    texts: BTreeSet<PathBuf>,
    served: &'a Served,
}

impl Round<'_> {
    fn read(&mut self, root: &Folder, entries: Vec<Entry>) {
        let (folders, files): (Vec<Entry>, Vec<Entry>) =
            entries.into_iter().partition(|entry| entry.is_folder && !is_component_file(&entry.name));
        let is_flat = files.iter().any(|entry| is_component_file(&entry.name));
        for name in files.iter().map(|entry| &entry.name).filter(|name| !is_component_file(name)) {
            self.look_at_no_folder(root, name, is_flat);
        }
        if is_flat {
            self.read_tenant(root, &TenantId::default(), Ok(files));
        }
        let candidates = folders.iter().filter_map(|entry| self.tenant_name(root, entry)).collect();
        for tenant in self.differ_by_more_than_case(root, candidates) {
            if is_flat && tenant == TenantId::default() {
                let why = "the files beside it are the tenant `default` already; move them into it, or rename it";
                self.problems.add(Problem::new(&root.path().join(tenant.as_str()), Part::Entry(None), why));
                continue;
            }
            let folder = root.folder(tenant.as_str().as_ref());
            match folder {
                Ok(folder) => {
                    let entries = folder.entries(MAX_FOLDER_ENTRIES.min(self.left));
                    self.read_tenant(&folder, &tenant, entries);
                }
                // It is gone since it was listed.
                Err(ReadError::Missing) => {}
                Err(error) => {
                    self.keep_tenant(&root.path().join(tenant.as_str()), &tenant, error.to_string());
                }
            }
        }
    }

    /// Links that may stand for a tenant's folder, and whatever else is in the place of one; the rest are other tools' own.
    fn look_at_no_folder(&mut self, root: &Folder, name: &OsStr, is_flat: bool) {
        let Some(tenant) = name.to_str().filter(|name| names::is_tenant(name)).map(TenantId::new) else { return };
        let was_there = self.previous.tenants.contains_key(&tenant) || self.served.has_tenant(&tenant);
        let was_folder = was_there && !(is_flat && tenant == TenantId::default());
        let error = match root.is_link(name) {
            true => ReadError::Link,
            false if was_folder => ReadError::NotAFolder,
            false => return,
        };
        self.keep_tenant(&root.path().join(name), &tenant, error.to_string());
    }

    fn tenant_name(&mut self, root: &Folder, entry: &Entry) -> Option<TenantId> {
        let name = entry.name.to_str().filter(|name| names::is_tenant(name));
        if name.is_none() {
            let path = root.path().join(&entry.name);
            self.problems.add(Problem::new(&path, Part::Entry(None), names::TENANT_RULE));
        }
        name.map(TenantId::new)
    }

    /// Metrics, databases and some file systems do not tell such names apart, so of two only one is taken.
    fn differ_by_more_than_case(&mut self, root: &Folder, candidates: Vec<TenantId>) -> Vec<TenantId> {
        let claim = |tenant: &TenantId| (self.previous.tenants.contains_key(tenant), self.served.has_tenant(tenant));
        let (taken, refused) = by_case(candidates, TenantId::as_str, claim);
        for (tenant, other) in refused {
            let why = format!("it differs from the folder `{other}` only by case; rename one of them");
            let path = root.path().join(tenant.as_str());
            self.problems.add(Problem::new(&path, Part::Tenant(tenant), why));
        }
        taken
    }

    fn read_tenant(&mut self, folder: &Folder, tenant: &TenantId, entries: Result<Vec<Entry>, ReadError>) {
        let entries = match entries {
            Ok(entries) => entries,
            Err(ReadError::TooMany { most }) if most < MAX_FOLDER_ENTRIES => {
                let why = format!("the folders have more than {MAX_ENTRIES} entries together; move some away");
                return self.keep_tenant(folder.path(), tenant, why);
            }
            Err(error) => return self.keep_tenant(folder.path(), tenant, error.to_string()),
        };
        self.left = self.left.saturating_sub(entries.len());
        let reader = TenantReader {
            host: self.host,
            folder,
            tenant,
            entries: &entries,
            previous: self.previous.tenants.get(tenant),
            hashes: self.hashes,
            problems: &mut self.problems,
            texts_before: self.texts_before,
            texts: &mut self.texts,
            served: self.served,
            manifests_bytes: 0,
        };
        match reader.read() {
            Ok((plan, app_name_line)) => {
                self.directory.tenants.insert(tenant.clone(), plan);
                self.app_name_lines.insert(tenant.clone(), app_name_line);
            }
            Err((file, fault)) => self.keep_tenant(&file, tenant, fault),
        }
    }

    /// A tenant that cannot be read: as it was, or not at all.
    fn keep_tenant(&mut self, file: &Path, tenant: &TenantId, fault: impl Into<Fault>) {
        let kept = self.previous.tenants.get(tenant).cloned();
        let problem = Problem::new(file, Part::Tenant(tenant.clone()), fault);
        self.problems.add(Problem { kept: kept.is_some(), ..problem });
        self.directory.tenants.extend(kept.map(|plan| (tenant.clone(), plan)));
    }

    /// No two tenants have one application: each round takes the claim of one away, whose previous one may meet a third's.
    fn settle_applications(&mut self, root: &Folder) {
        let mut lost = BTreeSet::new();
        while let Some((loser, holder, app)) = self.contested_application() {
            let folder = root.path().join(loser.as_str());
            let file = if folder.is_dir() { folder } else { root.path().to_path_buf() }.join("tenant.toml");
            let line = self.app_name_lines.remove(&loser);
            let fault = match own_application(&self.directory, &loser) {
                Some(_) => {
                    let why = format!("`app_name` is `{app}`, which is the tenant `{holder}`'s; write another");
                    Fault { line, why }
                }
                None => {
                    format!("its application is `{app}`, which is the tenant `{holder}`'s; write an `app_name`").into()
                }
            };
            self.directory.tenants.remove(&loser);
            // What it had is what it has lost, or it would only lose it again.
            let before = self.previous.tenants.get(&loser).map(|plan| plan.settings.app_name.as_deref());
            let had = before.and_then(|own| self.host.applications.of(&loser, own)).is_some_and(|had| had == app);
            if lost.insert(loser.clone()) && !had {
                self.keep_tenant(&file, &loser, fault);
            } else {
                self.problems.add(Problem::new(&file, Part::Tenant(loser), fault));
            }
        }
    }

    fn contested_application(&self) -> Option<(TenantId, TenantId, String)> {
        let applications = &self.host.applications;
        let of = |directory: &Directory, tenant: &TenantId| applications.of(tenant, own_application(directory, tenant));
        let tenants: BTreeSet<&TenantId> = applications.tenants.keys().chain(self.directory.tenants.keys()).collect();
        let mut holders: BTreeMap<String, &TenantId> = BTreeMap::new();
        for tenant in tenants {
            let Some(app) = of(&self.directory, tenant) else { continue };
            let Some(first) = holders.insert(app.clone(), tenant) else { continue };
            let had = |tenant: &TenantId| {
                self.previous.tenants.contains_key(tenant)
                    && of(self.previous, tenant).is_some_and(|before| before == app)
            };
            let stays = |tenant: &TenantId| applications.is_operators(tenant, own_application(&self.directory, tenant));
            // The operator's file is looked at where it is read.
            if stays(first) && stays(tenant) {
                continue;
            }
            let by_name = |tenant: &TenantId| applications.by_name(tenant).is_some_and(|name| name == app);
            let claim = |tenant| (stays(tenant), by_name(tenant), had(tenant), self.served.has_tenant(tenant));
            let (holder, loser) = if claim(tenant) > claim(first) { (tenant, first) } else { (first, tenant) };
            return Some((loser.clone(), holder.clone(), app));
        }
        None
    }
}

/// What the tenant's own file says.
fn own_application<'a>(directory: &'a Directory, tenant: &TenantId) -> Option<&'a str> {
    directory.tenants.get(tenant).and_then(|plan| plan.settings.app_name.as_deref())
}

/// Of names that differ only by case the one with the greatest claim, of several the first; the others with the one that was
/// taken.
fn by_case<T: Clone + Ord, C: Ord>(
    names: Vec<T>,
    text: impl Fn(&T) -> &str,
    claim: impl Fn(&T) -> C,
) -> (Vec<T>, Vec<(T, T)>) {
    let mut groups: BTreeMap<String, Vec<T>> = BTreeMap::new();
    for name in names {
        groups.entry(text(&name).to_ascii_lowercase()).or_default().push(name);
    }
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    for mut group in groups.into_values() {
        group.sort();
        let Some(one) = group.iter().min_by_key(|name| Reverse(claim(name))).cloned() else { continue };
        refused.extend(group.into_iter().filter(|name| *name != one).map(|name| (name, one.clone())));
        taken.push(one);
    }
    (taken, refused)
}
