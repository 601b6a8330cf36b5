//! The example handlers that are not Rust: JavaScript and Python, each made into a component by its language's own
//! tool, which is fetched once into the cache, in the version that lies beside the handler.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use voxtra_test_support::files::{cache_dir, workspace_dir};

use crate::cargo::{output, run, target_dir};
use crate::guests::{folder, put};
use crate::once::made_once;

/// What both handlers are built for.
const WORLD: &str = "handler-with-hangup-hook";

/// The contract, from the workspace's root.
const WIT: &str = "wit/v0.1";

/// Written last into a tool's folder. The number counts changes of how it is installed.
const MARK: &str = "complete-1";

/// A handler, and how its language makes components.
struct Guest {
    /// Its folder below `guests`, and its component's name.
    name: &'static str,
    source: &'static str,
    /// Runs the tool.
    program: &'static str,
    /// What to do where it is not.
    remedy: &'static str,
    /// They name the tool's version, with checksums.
    manifests: &'static [&'static str],
    /// Installs the tool into a folder that has copies of the manifests.
    install: fn(&Path) -> Result<()>,
    /// Runs the tool; the arguments are its folder, the source and the component.
    build: fn(&Path, &Path, &Path) -> Result<()>,
}

const GUESTS: [Guest; 2] = [
    Guest {
        name: "ivr-menu-js",
        source: "menu.js",
        program: "node",
        remedy: NODE,
        manifests: &["package.json", "package-lock.json"],
        install: install_with_npm,
        build: build_javascript,
    },
    Guest {
        name: "ivr-menu-py",
        source: "menu.py",
        program: "python3",
        remedy: PYTHON,
        manifests: &["requirements.txt"],
        install: install_with_pip,
        build: build_python,
    },
];

/// Finds or fetches what the languages need. The error is a sentence that says what this machine lacks.
pub(crate) fn prepare() -> Result<()> {
    for guest in &GUESTS {
        language(guest.program, guest.remedy)?;
        guest.tool()?;
    }
    Ok(())
}

/// Builds those whose source, tool or contract has changed, after [`prepare`].
pub(crate) fn build_all() -> Result<()> {
    GUESTS.iter().try_for_each(Guest::build_if_changed)
}

impl Guest {
    fn build_if_changed(&self) -> Result<()> {
        let place = folder().join(self.name).with_extension("wasm");
        let work = target_dir().join("guests-build").join(self.name);
        let (inputs, known) = (self.inputs()?, work.join("inputs"));
        if place.is_file() && fs::read(&known).is_ok_and(|last| last == inputs) {
            return Ok(());
        }
        let tool = self.tool()?;
        // A copy is built: Python leaves its own caches beside what it reads.
        let _ = fs::remove_dir_all(&work);
        fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
        let (source, component) = (work.join(self.source), work.join("component.wasm"));
        fs::copy(self.home().join(self.source), &source)?;
        (self.build)(&tool, &source, &component)?;
        put(&component, &place)?;
        fs::write(known, inputs)?;
        let kilobytes = place.metadata().map_or(0, |m| m.len()) / 1000;
        eprintln!("guests: {} ({kilobytes} kB)", place.display());
        Ok(())
    }

    fn home(&self) -> PathBuf {
        workspace_dir().join("guests").join(self.name)
    }

    /// All that the component is made of, one file after the other: little enough to be kept and compared whole. This
    /// file says how the tool is called.
    fn inputs(&self) -> Result<Vec<u8>> {
        let own = self.manifests.iter().chain([&self.source]);
        let mut files: Vec<PathBuf> = own.map(|name| self.home().join(name)).collect();
        files.extend(files_below(&workspace_dir().join(WIT))?);
        files.push(workspace_dir().join("xtask/src/scripted.rs"));
        let mut inputs = Vec::new();
        for file in files {
            inputs.extend(format!("\n== {}\n", file.display()).into_bytes());
            inputs.extend(fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
        }
        Ok(inputs)
    }

    /// The folder with the tool, installed where it is not yet there in exactly these versions.
    fn tool(&self) -> Result<PathBuf> {
        let mut manifests = Vec::new();
        for name in self.manifests {
            manifests.extend(fs::read(self.home().join(name)).with_context(|| format!("cannot read {name}"))?);
        }
        let home = cache_dir()?.join("guest-tools").join(format!("{}-{:016x}", self.name, fingerprint(&manifests)));
        made_once(&home, MARK, |new| {
            for name in self.manifests {
                fs::copy(self.home().join(name), new.join(name)).with_context(|| format!("cannot copy {name}"))?;
            }
            eprintln!("guests: fetching the tool for {}", self.name);
            (self.install)(new)
        })?;
        Ok(home)
    }
}

/// The least that the tool runs on.
const NODE: &str = "install Node.js 18 or later with npm (Debian: `apt install nodejs npm`)";

fn install_with_npm(home: &Path) -> Result<()> {
    language("npm", NODE)?;
    let mut npm = Command::new("npm");
    // No package's own programs run while it is installed.
    npm.current_dir(home).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    run(&mut npm)
}

fn build_javascript(tool: &Path, source: &Path, component: &Path) -> Result<()> {
    let mut node = Command::new("node");
    node.arg(tool.join("node_modules/componentize-qjs/bin/componentize-qjs")).arg("--sync");
    node.arg("--wit").arg(workspace_dir().join(WIT)).args(["--world", WORLD]);
    node.arg("--js").arg(source).arg("--output").arg(component);
    quietly(&mut node, component)
}

/// The least that the tool runs on.
const PYTHON: &str = "install Python 3.9 or later with pip (Debian: `apt install python3 python3-pip`)";

fn install_with_pip(home: &Path) -> Result<()> {
    let has_pip = output(Command::new("python3").args(["-m", "pip", "--version"])).is_ok();
    ensure!(has_pip, "python3 has no pip here; {PYTHON}");
    let mut pip = Command::new("python3");
    pip.current_dir(home).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--require-hashes", "--only-binary", ":all:", "--no-compile", "--target", "site"]);
    run(pip.args(["--requirement", "requirements.txt"]).env("PIP_ROOT_USER_ACTION", "ignore"))
}

fn build_python(tool: &Path, source: &Path, component: &Path) -> Result<()> {
    let site = tool.join("site");
    let module = source.file_stem().context("the source has no name")?;
    let folder = source.parent().context("the source has no folder")?;
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", &site).env("PYTHONDONTWRITEBYTECODE", "1").arg(site.join("bin/componentize-py"));
    python.arg("--wit-path").arg(workspace_dir().join(WIT)).args(["--world", WORLD, "componentize"]);
    // Python's standard library would import sockets, which no handler may have.
    python.args(["--stub-wasi".as_ref(), "--python-path".as_ref(), folder.as_os_str(), module]);
    quietly(python.arg("--output").arg(component), component)
}

/// The program of a language, or the sentence that says how to get it.
fn language(program: &str, remedy: &str) -> Result<()> {
    let runs = output(Command::new(program).arg("--version")).is_ok();
    ensure!(runs, "`{program}` does not run here; {remedy}");
    Ok(())
}

/// Runs a tool that talks a lot; what it says is shown when it fails.
fn quietly(command: &mut Command, component: &Path) -> Result<()> {
    let said = output(command)?;
    ensure!(component.is_file(), "the tool has left no {}: {}", component.display(), said.trim());
    Ok(())
}

/// In an order that does not change.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else if path.extension() == Some(OsStr::new("wit")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// FNV-1a: short, and the same in every build of this program.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
