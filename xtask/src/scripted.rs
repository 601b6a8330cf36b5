//! The example handlers that are not Rust: JavaScript and Python, each made into a component by its language's own
//! tool, which is fetched once into the cache, in the version that lies beside the handler.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use voxtra_test_support::files::workspace_dir;

use crate::cargo::{output, target_dir};
use crate::guests::{folder, put};
use crate::tools::{self, NODE, PYTHON, install_with_npm, install_with_pip, language};

/// What both handlers are built for.
const WORLD: &str = "handler-with-hangup-hook";

/// The contract, from the workspace's root.
const WIT: &str = "wit/v0.1";

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

    fn tool(&self) -> Result<PathBuf> {
        tools::installed(self.name, &self.home(), self.manifests, self.install)
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
}

fn build_javascript(tool: &Path, source: &Path, component: &Path) -> Result<()> {
    let mut node = Command::new("node");
    node.arg(tool.join("node_modules/componentize-qjs/bin/componentize-qjs")).arg("--sync");
    node.arg("--wit").arg(workspace_dir().join(WIT)).args(["--world", WORLD]);
    node.arg("--js").arg(source).arg("--output").arg(component);
    quietly(&mut node, component)
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
