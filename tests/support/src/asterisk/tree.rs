//! Asterisk and SIPp, unpacked from Debian's packages into the cache and run from there by the dynamic loader that was
//! unpacked with them. Nothing of the system is changed or needed, its C library included.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::apt::{PrivateApt, unpack};
use crate::files::{cache_dir, lock};
use crate::process::{is_executable, tethered};

/// Where Debian has a current Asterisk, the better tried first.
const SUITES: [&str; 2] = ["testing", "unstable"];

/// The server, its modules, English prompts, music, and SIPp.
const PACKAGES: [&str; 5] =
    ["asterisk", "asterisk-modules", "asterisk-core-sounds-en-wav", "asterisk-moh-opsound-wav", "sip-tester"];

/// Written last: the tree is whole. The number counts changes of what is unpacked.
const MARK: &str = "complete-1";

/// An unpacked tree of programs.
#[derive(Debug, Clone)]
pub struct Tree {
    root: PathBuf,
    libraries: PathBuf,
    loader: PathBuf,
}

impl Tree {
    /// The tree that an earlier run has left in the cache.
    ///
    /// # Errors
    /// When there is no place for a cache.
    pub fn installed() -> Result<Option<Self>> {
        let root = home()?.join("tree");
        if !root.join(MARK).exists() {
            return Ok(None);
        }
        Self::at(root).map(Some)
    }

    /// Fetches and unpacks the packages, unless that has been done: about 120 MB to fetch and 230 MB to keep. Two
    /// processes at once do it once. Says on stderr what it does.
    ///
    /// # Errors
    /// One sentence about what is missing: apt, the mirror, the packages.
    pub fn install() -> Result<Self> {
        if let Some(tree) = Self::installed()? {
            return Ok(tree);
        }
        let home = home()?;
        let _lock = lock(&home.join("lock"))?;
        if let Some(tree) = Self::installed()? {
            return Ok(tree);
        }
        let began = Instant::now();
        eprintln!("asterisk: installing Debian's packages into {}", home.display());
        let packed = home.join("apt");
        let apt = PrivateApt::new(&packed)?;
        let mut failure = anyhow::anyhow!("no suite");
        for suite in SUITES {
            match fetch_and_unpack(&apt, suite, &home) {
                Ok(version) => {
                    let _ = fs::remove_dir_all(&packed);
                    let tree = Self::at(home.join("tree"))?;
                    let seconds = began.elapsed().as_secs();
                    eprintln!("asterisk: {version} from {suite} is ready after {seconds} s");
                    return Ok(tree);
                }
                Err(e) => {
                    eprintln!("asterisk: {suite}: {e:#}");
                    failure = e.context(format!("Asterisk cannot be had from Debian's {suite}"));
                }
            }
        }
        Err(failure)
    }

    /// A program of the tree by name, ready for arguments; its child dies with this process (see
    /// [`crate::process::spawn`]).
    ///
    /// # Errors
    /// When the tree has no such program.
    pub fn command(&self, program: &str) -> Result<Command> {
        let found = ["usr/sbin", "usr/bin"].map(|folder| self.root.join(folder).join(program));
        let found = found.iter().find(|path| is_executable(path));
        let path = found.with_context(|| format!("the unpacked packages have no program {program}"))?;
        let mut command = tethered(&self.loader);
        command.arg("--argv0").arg(program).arg("--library-path").arg(self.library_path()).arg(path);
        Ok(command)
    }

    /// The folder of Asterisk's modules.
    #[must_use]
    pub fn modules(&self) -> PathBuf {
        self.libraries.join("asterisk/modules")
    }

    /// Asterisk's sounds, music and documentation.
    #[must_use]
    pub fn share(&self) -> PathBuf {
        self.root.join("usr/share/asterisk")
    }

    fn at(root: PathBuf) -> Result<Self> {
        let libraries =
            folders_in(&root.join("usr/lib"))?.into_iter().find(|dir| dir.join("asterisk/modules").is_dir());
        let libraries = libraries.context("the unpacked packages hold no Asterisk modules")?;
        let loader = [libraries.clone(), root.join("usr/lib64"), root.join("lib64")].iter().find_map(|d| loader_in(d));
        let loader = loader.context("the unpacked packages hold no dynamic loader")?;
        Ok(Self { root, libraries, loader })
    }

    fn library_path(&self) -> String {
        format!("{0}:{0}/asterisk", self.libraries.display())
    }
}

fn home() -> Result<PathBuf> {
    Ok(cache_dir()?.join("asterisk"))
}

fn fetch_and_unpack(apt: &PrivateApt, suite: &str, home: &Path) -> Result<String> {
    apt.use_suite(suite)?;
    let version = apt.versions("asterisk")?.into_iter().next().context("there is no package asterisk")?;
    eprintln!("asterisk: fetching {version} from {suite}");
    let debs = apt.fetch_with_needs(&PACKAGES)?;
    eprintln!("asterisk: unpacking {} packages", debs.len());
    let new = home.join("tree.new");
    let _ = fs::remove_dir_all(&new);
    for deb in &debs {
        unpack(deb, &new)?;
    }
    let tree = Tree::at(new.clone())?;
    let says = tree.command("asterisk")?.arg("-V").output().context("the unpacked Asterisk does not start")?;
    ensure!(
        says.status.success(),
        "the unpacked Asterisk does not start: {}",
        String::from_utf8_lossy(&says.stderr).trim()
    );
    fs::write(new.join(MARK), format!("{version}\n"))?;
    let place = home.join("tree");
    let _ = fs::remove_dir_all(&place);
    fs::rename(&new, &place)?;
    Ok(String::from_utf8_lossy(&says.stdout).trim().to_owned())
}

fn loader_in(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder).ok()?;
    let mut loaders = files.filter_map(Result::ok).map(|entry| entry.path());
    loaders.find(|path| {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or("");
        name.starts_with("ld-linux") && name.contains(".so") && is_executable(path)
    })
}

fn folders_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
}
