//! Puts tenants into Asterisk's configuration folder and takes them out.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::allowed;
use super::fragments::{Fragments, header};
use super::reload::MODULES;
use super::tenant::TenantFile;
use super::transaction::{Change, commit};

/// The fragments' kinds, which are also the names of Asterisk's own files.
const KINDS: [&str; 4] = ["pjsip", "extensions", "ari", "queues"];

/// Asterisk is often in the folder's group and not its owner.
const FRAGMENT_MODE: u32 = 0o640;

/// Only voxtra reads it.
const MANIFEST_MODE: u32 = 0o600;

const PASSWORD_CHARACTERS: usize = 32;

const INDEX_HEADER: &str = "; Written by voxtra: the fragments of its tenants; changes are lost.\n";

/// A tenant that was not added, removed or read. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvisionError {
    /// A name that no tenant can have.
    #[error("the slug {why}")]
    Slug {
        /// What a slug must be.
        why: &'static str,
    },
    /// No such tenant here.
    #[error("there is no tenant '{0}'; `voxtra tenant list` shows those that are there")]
    Unknown(String),
    /// A file of this name is somebody else's.
    #[error("{} was not written by voxtra for this tenant; move it away or choose another slug", .0.display())]
    Foreign(PathBuf),
    /// Two at once.
    #[error("another voxtra is changing the tenants in {}; try again", .0.display())]
    Busy(PathBuf),
    /// A tenant's manifest that does not read.
    #[error("{} is not a manifest of voxtra ({why}); add the tenant again after moving it away", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Two tenants would share a Stasis application.
    #[error("the app '{app}' is the tenant '{owner}'s; each tenant has its own")]
    AppTaken {
        /// The application.
        app: String,
        /// Who has it.
        owner: String,
    },
    /// The system has no random numbers.
    #[error("no password can be generated: {0}")]
    Random(String),
    /// The file system says no.
    #[error("{}: {source}; no file has been changed", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// How to add.
#[derive(Debug, Clone, Copy, Default)]
pub struct AddOptions {
    /// Make a new ARI password for a tenant that has one. Default: keep it.
    pub rotate: bool,
}

/// What an add has done.
#[derive(Debug)]
pub struct Added {
    /// The tenant as it is now, its password with it.
    pub tenant: Provisioned,
    /// Whether the password is a new one.
    pub new_password: bool,
    /// What to [`reload`](super::reload).
    pub reload: Vec<&'static str>,
}

/// A tenant that is there. `Debug` and [`Provisioned::redacted`] leave its password out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provisioned {
    /// Its name.
    pub slug: String,
    /// For people.
    pub description: String,
    /// Its Stasis application.
    pub app: String,
    /// Its numbers.
    pub dids: Vec<String>,
    /// Calls at once; `None` is no limit.
    pub max_channels: Option<u32>,
    /// The ARI user.
    pub ari_user: String,
    /// The ARI user's password.
    pub ari_password: String,
    /// Names of its fragments, in the folder.
    pub files: Vec<String>,
}

impl Provisioned {
    /// The same with `***` for the password, to be shown.
    #[must_use]
    pub fn redacted(&self) -> Self {
        Self { ari_password: "***".into(), ..self.clone() }
    }
}

impl fmt::Debug for Provisioned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provisioned").field("slug", &self.slug).field("app", &self.app).finish_non_exhaustive()
    }
}

/// A line that one of Asterisk's own files needs, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Include {
    /// The file, such as `/etc/asterisk/pjsip.conf`.
    pub file: PathBuf,
    /// The line to put at its end.
    pub line: String,
}

/// The tenants in one configuration folder of Asterisk, usually `/etc/asterisk`.
///
/// All its work is on files and blocks: call it from a command or a blocking task.
#[derive(Debug, Clone)]
pub struct Provisioner {
    folder: PathBuf,
}

impl Provisioner {
    /// For this folder, which must be there when something is done.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Adds a tenant, or brings one that is there to what its file says now; its ARI password stays unless rotated.
    ///
    /// # Errors
    /// When a file of these names is not voxtra's, the app is another tenant's, another voxtra is at work, or a file
    /// cannot be written; every file is then as it was.
    pub fn add(&self, tenant: &TenantFile, options: AddOptions) -> Result<Added, ProvisionError> {
        let _turn = self.lock()?;
        let mut all = self.tenants()?;
        if let Some(owner) = all.values().find(|t| t.app == tenant.app && t.slug != tenant.slug) {
            return Err(ProvisionError::AppTaken { app: tenant.app.clone(), owner: owner.slug.clone() });
        }
        let kept = all.get(&tenant.slug).filter(|_| !options.rotate).map(|t| t.ari_password.clone());
        let new_password = kept.is_none();
        let ari_password = kept.map_or_else(password, Ok)?;
        let mut fragments = fragments_of(tenant, &ari_password);
        let mut changes = Vec::new();
        let mut unwanted = Vec::new();
        let mut files = Vec::new();
        for kind in KINDS {
            let name = fragment_name(kind, &tenant.slug);
            self.must_be_ours(&name, &tenant.slug)?;
            match fragments.remove(kind) {
                Some(text) => {
                    changes.push((name.clone(), Change::Write { text, mode: FRAGMENT_MODE }));
                    files.push(name);
                }
                None => unwanted.push((name, Change::Remove)),
            }
        }
        let now = Provisioned {
            slug: tenant.slug.clone(),
            description: tenant.description.clone(),
            app: tenant.app.clone(),
            dids: tenant.dids.clone(),
            max_channels: tenant.max_channels,
            ari_user: format!("voxtra-{}", tenant.slug),
            ari_password,
            files,
        };
        changes.push((manifest_name(&tenant.slug), Change::Write { text: manifest(&now)?, mode: MANIFEST_MODE }));
        all.insert(now.slug.clone(), now.clone());
        // What the indexes name is there before them, and goes after them.
        changes.extend(indexes(&all));
        changes.extend(unwanted);
        self.commit(changes)?;
        Ok(Added { tenant: now, new_password, reload: MODULES.to_vec() })
    }

    /// Removes exactly this tenant's files, and returns what to [`reload`](super::reload).
    ///
    /// # Errors
    /// When there is no such tenant, and as [`Provisioner::add`].
    pub fn remove(&self, slug: &str) -> Result<Vec<&'static str>, ProvisionError> {
        allowed::slug(slug).map_err(|why| ProvisionError::Slug { why })?;
        let _turn = self.lock()?;
        let mut all = self.tenants()?;
        all.remove(slug).ok_or_else(|| ProvisionError::Unknown(slug.to_owned()))?;
        let mut changes = indexes(&all);
        for kind in KINDS {
            let name = fragment_name(kind, slug);
            self.must_be_ours(&name, slug)?;
            changes.push((name, Change::Remove));
        }
        changes.push((manifest_name(slug), Change::Remove));
        self.commit(changes)?;
        Ok(MODULES.to_vec())
    }

    /// The tenants that are there, by slug.
    ///
    /// # Errors
    /// When the folder or a manifest cannot be read.
    pub fn list(&self) -> Result<Vec<Provisioned>, ProvisionError> {
        Ok(self.tenants()?.into_values().collect())
    }

    /// One tenant, with its password; see [`Provisioned::redacted`].
    ///
    /// # Errors
    /// When there is none, or its manifest cannot be read.
    pub fn show(&self, slug: &str) -> Result<Provisioned, ProvisionError> {
        allowed::slug(slug).map_err(|why| ProvisionError::Slug { why })?;
        self.tenants()?.remove(slug).ok_or_else(|| ProvisionError::Unknown(slug.to_owned()))
    }

    /// What Asterisk's own files must include for tenants to be read at all.
    #[must_use]
    pub fn includes(&self) -> Vec<Include> {
        let include = |kind: &&str| Include {
            file: self.folder.join(format!("{kind}.conf")),
            line: format!("#tryinclude \"{}\"", index_name(kind)),
        };
        KINDS.iter().map(include).collect()
    }

    /// Those of [`Provisioner::includes`] that are not there; empty when all is well. `#include` does as well.
    #[must_use]
    pub fn missing_includes(&self) -> Vec<Include> {
        let there = |include: &Include| {
            let text = fs::read(&include.file).unwrap_or_default();
            let wanted = include.line.trim_start_matches("#tryinclude ").trim_matches('"').to_owned();
            let full = self.folder.join(&wanted).display().to_string();
            String::from_utf8_lossy(&text).lines().any(|line| {
                let rest = line.strip_prefix("#tryinclude").or_else(|| line.strip_prefix("#include"));
                let name = rest.map(|r| r.split(';').next().unwrap_or_default().trim());
                let name = name.map(|r| r.trim_matches(['"', '<', '>', '\'']));
                name.is_some_and(|name| name == wanted || name == full)
            })
        };
        self.includes().into_iter().filter(|include| !there(include)).collect()
    }

    fn commit(&self, changes: Vec<(String, Change)>) -> Result<(), ProvisionError> {
        commit(&self.folder, changes).map_err(|failed| ProvisionError::Io { path: failed.path, source: failed.source })
    }

    /// One at a time, in all processes; let go with the file.
    fn lock(&self) -> Result<File, ProvisionError> {
        let path = self.folder.join(".voxtra-tenants.lock");
        let file = File::options().create(true).append(true).open(&path).map_err(io_at(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(ProvisionError::Busy(self.folder.clone())),
            Err(TryLockError::Error(source)) => Err(ProvisionError::Io { path, source }),
        }
    }

    fn tenants(&self) -> Result<BTreeMap<String, Provisioned>, ProvisionError> {
        let mut tenants = BTreeMap::new();
        for entry in fs::read_dir(&self.folder).map_err(io_at(&self.folder))? {
            let path = entry.map_err(io_at(&self.folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let slug = name.strip_prefix("voxtra_").and_then(|rest| rest.strip_suffix(".json"));
            let Some(slug) = slug.filter(|slug| allowed::slug(slug).is_ok()) else { continue };
            let tenant = read_manifest(&path, slug)?;
            tenants.insert(slug.to_owned(), tenant);
        }
        Ok(tenants)
    }

    fn must_be_ours(&self, name: &str, slug: &str) -> Result<(), ProvisionError> {
        let path = self.folder.join(name);
        match fs::read(&path) {
            Ok(content) if content.starts_with(header(slug).as_bytes()) => Ok(()),
            Ok(_) => Err(ProvisionError::Foreign(path)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(ProvisionError::Io { path, source }),
        }
    }
}

fn read_manifest(path: &Path, slug: &str) -> Result<Provisioned, ProvisionError> {
    let fault = |why: String| ProvisionError::Manifest { path: path.to_path_buf(), why };
    let content = fs::read(path).map_err(io_at(path))?;
    let tenant: Provisioned = serde_json::from_slice(&content).map_err(|e| fault(e.to_string()))?;
    let own_files = tenant.files.iter().all(|file| KINDS.iter().any(|kind| *file == fragment_name(kind, slug)));
    let plain = tenant.ari_password.len() == PASSWORD_CHARACTERS
        && tenant.ari_password.chars().all(|c| c.is_ascii_alphanumeric());
    if tenant.slug != slug || !own_files || !plain {
        return Err(fault("it has been changed by hand".into()));
    }
    Ok(tenant)
}

fn fragments_of(tenant: &TenantFile, ari_password: &str) -> BTreeMap<&'static str, String> {
    let Fragments { ari, pjsip, extensions, queues } = Fragments::of(tenant, ari_password);
    let mut texts = BTreeMap::from([("ari", ari), ("extensions", extensions)]);
    texts.extend(pjsip.map(|text| ("pjsip", text)));
    texts.extend(queues.map(|text| ("queues", text)));
    texts
}

fn manifest(tenant: &Provisioned) -> Result<String, ProvisionError> {
    serde_json::to_string_pretty(tenant)
        .map_err(|e| ProvisionError::Manifest { path: manifest_name(&tenant.slug).into(), why: e.to_string() })
}

fn indexes(tenants: &BTreeMap<String, Provisioned>) -> Vec<(String, Change)> {
    let index = |kind: &&str| {
        let names = tenants.values().map(|t| (fragment_name(kind, &t.slug), &t.files));
        let lines =
            names.filter(|(name, files)| files.contains(name)).map(|(name, _)| format!("#include \"{name}\"\n"));
        let text = INDEX_HEADER.to_owned() + &lines.collect::<String>();
        (index_name(kind), Change::Write { text, mode: FRAGMENT_MODE })
    };
    KINDS.iter().map(index).collect()
}

fn fragment_name(kind: &str, slug: &str) -> String {
    format!("{kind}_{slug}.conf")
}

fn index_name(kind: &str) -> String {
    format!("voxtra_{kind}.conf")
}

fn manifest_name(slug: &str) -> String {
    format!("voxtra_{slug}.json")
}

/// Letters and digits from the system's random numbers, each as likely as another.
fn password() -> Result<String, ProvisionError> {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(PASSWORD_CHARACTERS);
    while text.len() < PASSWORD_CHARACTERS {
        let mut bytes = [0u8; 64];
        getrandom::fill(&mut bytes).map_err(|e| ProvisionError::Random(e.to_string()))?;
        // Six bits; 62 and 63 are no letter.
        let letters = bytes.iter().filter_map(|byte| LETTERS.get(usize::from(byte & 63)));
        let missing = PASSWORD_CHARACTERS - text.len();
        text.extend(letters.take(missing).map(|letter| char::from(*letter)));
    }
    Ok(text)
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> ProvisionError + use<> {
    let path = path.to_path_buf();
    move |source| ProvisionError::Io { path, source }
}
