//! Building handlers: the examples of this repository, and anybody's own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::cargo::{cargo, cargo_elsewhere, output, run, target_dir};
use crate::toolchain::{TARGET, guest_rustc};

/// The packages and where their components go, below `target/guests`.
const GUESTS: [(&str, &str); 19] = [
    ("voxtra-guest-minimal", "minimal.wasm"),
    ("voxtra-guest-ivr-menu", "ivr-menu.wasm"),
    ("voxtra-guest-echo", "echo.wasm"),
    ("voxtra-guest-switchboard", "switchboard.wasm"),
    ("voxtra-guest-conference", "conference.wasm"),
    ("voxtra-guest-voicemail", "voicemail.wasm"),
    ("voxtra-guest-vip-router", "rules/vip.router.wasm"),
    ("voxtra-guest-redact-filter", "rules/redact.filter.wasm"),
    ("voxtra-guest-every-verb", "every-verb.wasm"),
    ("voxtra-guest-lookup", "lookup.wasm"),
    ("voxtra-guest-key-count", "key-count.wasm"),
    ("voxtra-guest-hostile-trap", "hostile/trap.wasm"),
    ("voxtra-guest-hostile-unreliable", "hostile/unreliable.wasm"),
    ("voxtra-guest-hostile-compute", "hostile/compute.wasm"),
    ("voxtra-guest-hostile-boundary", "hostile/boundary.wasm"),
    ("voxtra-guest-hostile-audio", "hostile/audio.wasm"),
    ("voxtra-guest-hostile-spy", "hostile/spy.wasm"),
    ("voxtra-guest-hostile-network", "hostile/network.wasm"),
    ("voxtra-guest-hostile-egress", "hostile/egress.wasm"),
];

/// The workspace's profile for guests: small, with the names that a backtrace wants.
const PROFILE: &str = "guest";

/// The folder of the built components.
pub(crate) fn folder() -> PathBuf {
    target_dir().join("guests")
}

/// Builds the examples that need nothing but Rust.
pub(crate) fn build_rust() -> Result<()> {
    let rustc = guest_rustc()?;
    // A folder of its own, so that guests and host do not throw away each other's builds.
    let build = target_dir().join("guests-build");
    let mut command = cargo();
    command.args(["build", "--quiet", "--profile", PROFILE, "--target", TARGET, "--target-dir"]).arg(&build);
    command.args(GUESTS.iter().flat_map(|(package, _)| ["--package", package]));
    run(command.env("RUSTC", &rustc))?;
    for (package, place) in GUESTS {
        let from = build.join(TARGET).join(PROFILE).join(package.replace('-', "_")).with_extension("wasm");
        let to = folder().join(place);
        put(&from, &to)?;
        let kilobytes = to.metadata().map_or(0, |m| m.len()) / 1000;
        eprintln!("guests: {} ({kilobytes} kB)", to.display());
    }
    Ok(())
}

/// Builds the package in a folder anywhere, in release, and returns its component.
pub(crate) fn build_one(folder: &str) -> Result<PathBuf> {
    let folder = fs::canonicalize(folder).with_context(|| format!("there is no folder {folder}"))?;
    let manifest = folder.join("Cargo.toml");
    ensure!(manifest.is_file(), "{} is no Rust package: it has no Cargo.toml", folder.display());
    let mut ask = cargo_elsewhere();
    ask.current_dir(&folder).args(["metadata", "--format-version", "1", "--no-deps"]);
    let about: Value = serde_json::from_str(&output(&mut ask)?).context("cargo metadata is not JSON")?;
    let name = component_name(&about, &manifest)?;

    let rustc = guest_rustc()?;
    let mut build = cargo_elsewhere();
    build.current_dir(&folder).args(["build", "--release", "--target", TARGET]).env("RUSTC", &rustc);
    run(&mut build)?;
    let target = about["target_directory"].as_str().context("cargo metadata names no target directory")?;
    let component = Path::new(target).join(TARGET).join("release").join(name).with_extension("wasm");
    ensure!(component.is_file(), "cargo has left no {}", component.display());
    Ok(component)
}

/// The file name, without `.wasm`, of what the package at this manifest makes.
fn component_name(about: &Value, manifest: &Path) -> Result<String> {
    let packages = about["packages"].as_array().context("cargo metadata lists no packages")?;
    let package = packages.iter().find(|p| p["manifest_path"].as_str().map(Path::new) == Some(manifest));
    let package = package.with_context(|| format!("{} is no package", manifest.display()))?;
    let targets = package["targets"].as_array().context("the package makes nothing")?;
    let makes = |kind: &str| {
        let made = targets.iter().find(|t| t["crate_types"].as_array().is_some_and(|k| k.iter().any(|k| k == kind)));
        made.and_then(|target| target["name"].as_str())
    };
    let Some(name) = makes("cdylib") else {
        bail!("{} makes no component: its [lib] needs crate-type = [\"cdylib\"]", manifest.display());
    };
    Ok(name.replace('-', "_"))
}

/// Replaces a file at once: a host may be watching the folder.
pub(crate) fn put(from: &Path, to: &Path) -> Result<()> {
    let parent = to.parent().context("a component needs a folder")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let new = to.with_extension("new");
    fs::copy(from, &new).with_context(|| format!("cannot copy {}", from.display()))?;
    fs::rename(&new, to).with_context(|| format!("cannot replace {}", to.display()))
}
