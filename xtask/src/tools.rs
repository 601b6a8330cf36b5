//! Programs of other languages that building and testing need, each fetched once into the cache, in the versions that its
//! manifest names with checksums.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use voxtra_test_support::files::{cache_dir, workspace_dir};

use crate::cargo::{output, run};
use crate::once::made_once;

/// Written last into a tool's folder. The number counts changes of how it is installed.
const MARK: &str = "complete-1";

/// The folder with a tool, installed where it is not yet there in exactly these versions. `manifests` are files of
/// `sources`; `install` runs in a folder that has copies of them.
pub(crate) fn installed(
    name: &str,
    sources: &Path,
    manifests: &[&str],
    install: fn(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let mut versions = Vec::new();
    for manifest in manifests {
        versions.extend(fs::read(sources.join(manifest)).with_context(|| format!("cannot read {manifest}"))?);
    }
    let home = cache_dir()?.join("tools").join(format!("{name}-{:016x}", fingerprint(&versions)));
    made_once(&home, MARK, |new| {
        for manifest in manifests {
            fs::copy(sources.join(manifest), new.join(manifest)).with_context(|| format!("cannot copy {manifest}"))?;
        }
        eprintln!("tools: fetching what {name} needs");
        install(new)
    })?;
    Ok(home)
}

/// Where the package `voxtra` of Python is, in the version that users come from.
pub(crate) fn voxtra_0_3_1() -> Result<PathBuf> {
    let new_enough = Command::new("python3").args(["-c", "import sys; sys.exit(sys.version_info < (3, 11))"]).output();
    ensure!(new_enough.is_ok_and(|ran| ran.status.success()), "it needs Python 3.11 or later; {PYTHON}");
    let sources = workspace_dir().join("tests/e2e/voxtra-0.3.1");
    Ok(installed("voxtra-0.3.1", &sources, &["requirements.txt"], install_with_pip)?.join("site"))
}

/// The least that the tool runs on.
pub(crate) const NODE: &str = "install Node.js 18 or later with npm (Debian: `apt install nodejs npm`)";

pub(crate) fn install_with_npm(home: &Path) -> Result<()> {
    language("npm", NODE)?;
    let mut npm = Command::new("npm");
    // No package's own programs run while it is installed.
    npm.current_dir(home).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    run(&mut npm)
}

/// The least that the tool runs on.
pub(crate) const PYTHON: &str = "install Python 3.9 or later with pip (Debian: `apt install python3 python3-pip`)";

pub(crate) fn install_with_pip(home: &Path) -> Result<()> {
    let has_pip = output(Command::new("python3").args(["-m", "pip", "--version"])).is_ok();
    ensure!(has_pip, "python3 has no pip here; {PYTHON}");
    let mut pip = Command::new("python3");
    pip.current_dir(home).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--require-hashes", "--only-binary", ":all:", "--no-compile", "--target", "site"]);
    run(pip.args(["--requirement", "requirements.txt"]).env("PIP_ROOT_USER_ACTION", "ignore"))
}

/// The program of a language, or the sentence that says how to get it.
pub(crate) fn language(program: &str, remedy: &str) -> Result<()> {
    let runs = output(Command::new(program).arg("--version")).is_ok();
    ensure!(runs, "`{program}` does not run here; {remedy}");
    Ok(())
}

/// FNV-1a: short, and the same in every build of this program.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
