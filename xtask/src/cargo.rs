//! Running cargo and other programs: what they print goes to stderr, so that stdout is kept for results.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use voxtra_test_support::files::workspace_dir;

/// The cargo that runs us, in the workspace.
pub(crate) fn cargo() -> Command {
    cargo_without(|_| false)
}

/// The same for another package: without what cargo has told us about this one.
pub(crate) fn cargo_elsewhere() -> Command {
    cargo_without(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
}

fn cargo_without(hidden: impl Fn(&str) -> bool) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace_dir());
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(&hidden) {
            command.env_remove(name);
        }
    }
    without_fetching(command)
}

/// rustup fetches what `rust-toolchain.toml` asks for unless it is told not to.
pub(crate) fn without_fetching(mut command: Command) -> Command {
    command.env("RUSTUP_AUTO_INSTALL", "0");
    command
}

/// The compiler that cargo uses here, by its path, not through rustup.
pub(crate) fn own_rustc() -> Result<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = without_fetching(Command::new(rustc));
    let sysroot = output(command.current_dir(workspace_dir()).args(["--print", "sysroot"]))?;
    let path = PathBuf::from(sysroot.trim()).join("bin/rustc");
    ensure!(path.is_file(), "the compiler is not at {}", path.display());
    Ok(path)
}

/// Runs to the end, with everything that it prints on stderr.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = name(command);
    let status = command.stdin(Stdio::null()).stdout(std::io::stderr()).status();
    let status = status.with_context(|| format!("cannot start {name}"))?;
    ensure!(status.success(), "`{name}` has failed ({status})");
    Ok(())
}

/// Runs to the end and passes its stdout and its exit code on; 1 when a signal ended it.
pub(crate) fn run_through(command: &mut Command) -> Result<u8> {
    let name = name(command);
    let status = command.status().with_context(|| format!("cannot start {name}"))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// What it prints.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = name(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {name}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{name}` has failed: {}", complaint.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `cargo test --release`, as one would type it.
fn name(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str()).to_owned();
    let words = std::iter::once(program.as_os_str()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// The folder that cargo builds into.
pub(crate) fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => workspace_dir().join(dir),
        None => workspace_dir().join("target"),
    }
}
