//! A plugin directory in a temporary folder, and what a reading of it says without the folder's path.
#![allow(dead_code, reason = "each test file uses a part")]

use std::fs;
use std::path::{Path, PathBuf};

use voxtra_directory::{Directory, HandlerPlan, HostCeiling, Problem, Scanner, TenantPlan};
use voxtra_test_support::files::TempDir;

pub(crate) struct Plugins {
    dir: TempDir,
    pub(crate) host: HostCeiling,
}

impl Plugins {
    pub(crate) fn new() -> Self {
        let plugins = Self { dir: TempDir::new("directory").unwrap(), host: HostCeiling::default() };
        fs::create_dir_all(plugins.root()).unwrap();
        plugins
    }

    /// A folder below the temporary one, so that something can be outside it.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("plugins")
    }

    pub(crate) fn outside(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub(crate) fn folder(&self, name: &str) {
        fs::create_dir_all(self.path(name)).unwrap();
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn scanner(&self) -> Scanner {
        Scanner::new(self.root(), self.host.clone())
    }

    pub(crate) fn scan(&self) -> Read {
        self.scan_after(&Directory::default())
    }

    /// When these handlers of these tenants have served before.
    pub(crate) fn scan_served(&self, previous: &Directory, served: &[(&str, &str)]) -> Read {
        let served = served.iter().map(|(tenant, handler)| ((*tenant).into(), (*handler).into()));
        let scan = self.scanner().that_served(served).scan(previous).unwrap();
        Read { directory: scan.directory, problems: scan.problems, root: self.root() }
    }

    pub(crate) fn scan_after(&self, previous: &Directory) -> Read {
        let scan = self.scanner().scan(previous).unwrap();
        Read { directory: scan.directory, problems: scan.problems, root: self.root() }
    }
}

pub(crate) struct Read {
    pub(crate) directory: Directory,
    pub(crate) problems: Vec<Problem>,
    root: PathBuf,
}

impl Read {
    /// The problems with `P/` for the directory's path.
    pub(crate) fn sentences(&self) -> Vec<String> {
        let root = format!("{}/", self.root.display());
        self.problems.iter().map(|problem| problem.to_string().replace(&root, "P/")).collect()
    }

    pub(crate) fn tenant(&self, name: &str) -> &TenantPlan {
        &self.directory.tenants[&name.into()]
    }

    pub(crate) fn has_tenant(&self, name: &str) -> bool {
        self.directory.tenants.contains_key(&name.into())
    }

    pub(crate) fn handler(&self, tenant: &str, name: &str) -> &HandlerPlan {
        &self.tenant(tenant).handlers[&name.into()]
    }

    pub(crate) fn has_handler(&self, tenant: &str, name: &str) -> bool {
        self.tenant(tenant).handlers.contains_key(&name.into())
    }
}

/// A directory with one good tenant, which is good whatever comes beside it.
pub(crate) fn with_a_good_tenant() -> Plugins {
    let plugins = Plugins::new();
    plugins.write("good/fine.wasm", "fine");
    plugins.write("good/fine.toml", "routes = [{extension = \"1\"}]");
    plugins
}

#[track_caller]
pub(crate) fn only_said(read: &Read, sentence: &str) {
    assert_eq!(read.sentences(), [sentence]);
    assert!(read.has_handler("good", "fine"));
}
