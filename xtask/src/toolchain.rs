//! A compiler for guests where the target is not installed.
//!
//! The standard library is built once, from the source that Debian packages, into the cache. Nothing is installed, the
//! machine's toolchain stays as it is, and rustup is never asked to fetch anything.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use voxtra_test_support::apt::{Archive, PrivateApt, unpack};
use voxtra_test_support::files::cache_dir;

use crate::cargo::{cargo_elsewhere, output, own_rustc, run, without_fetching};
use crate::once::made_once;

/// What guests are compiled for: its output is a component.
pub(crate) const TARGET: &str = "wasm32-wasip2";

/// Where Debian has the source of current compilers.
const SOURCE_SUITE: &str = "trixie-backports";

/// Where Debian has the compiler that its browsers are built with, and the source of exactly that one: this machine's
/// own release, its security updates first.
const WEB_ARCHIVES: [Archive; 2] = [Archive::Security, Archive::Main];

/// Written last: the sysroot is whole. The number counts changes of how it is made.
const MARK: &str = "complete-1";

/// The path of a compiler for [`TARGET`].
pub(crate) fn guest_rustc() -> Result<PathBuf> {
    let own = own_rustc()?;
    if has_target(&own)? {
        return Ok(own);
    }
    let compiler = Compiler::ask(own)?;
    let by_hand = format!("install the target by hand: rustup target add {TARGET}");
    match compiler.with_packaged_source() {
        Ok(rustc) => return Ok(rustc),
        Err(e) => eprintln!("guests: no standard library for rustc {} from Debian: {e:#}", compiler.version),
    }
    compiler.packaged().with_context(|| format!("there is no compiler for guests here; {by_hand}"))
}

/// Whether the target's standard library lies beside a compiler.
fn has_target(rustc: &Path) -> Result<bool> {
    let mut command = without_fetching(Command::new(rustc));
    let folder = output(command.args(["--print", "target-libdir", "--target", TARGET]))?;
    Ok(holds_std(Path::new(folder.trim())))
}

fn holds_std(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.filter_map(Result::ok).any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
}

/// What a compiler says about itself.
struct Compiler {
    path: PathBuf,
    version: String,
    commit: String,
    host: String,
    sysroot: PathBuf,
}

impl Compiler {
    fn ask(path: PathBuf) -> Result<Self> {
        let about = output(Command::new(&path).arg("-vV"))?;
        let sysroot = PathBuf::from(output(Command::new(&path).args(["--print", "sysroot"]))?.trim());
        let field = |name: &str| {
            let value = about.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value.map(str::to_owned).with_context(|| format!("{} does not say its {name}", path.display()))
        };
        let (version, commit, host) = (field("release")?, field("commit-hash")?, field("host")?);
        Ok(Self { version, commit, host, sysroot, path })
    }

    fn rustlib(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib").join(&self.host)
    }

    /// This compiler, with a standard library from the packaged source of exactly its version.
    fn with_packaged_source(&self) -> Result<PathBuf> {
        let short = self.commit.get(..9).unwrap_or(&self.commit);
        let home = home(&format!("{}-{short}", self.version))?;
        compiler_in(&home, |new| {
            let apt = PrivateApt::new(&new.join("apt"))?;
            apt.use_suite(SOURCE_SUITE)?;
            let versions = apt.versions("rust-src")?;
            let source = versions.iter().find(|v| v.split(['+', '-']).next() == Some(&self.version));
            let source = source.with_context(|| format!("{SOURCE_SUITE} has no rust-src {}", self.version))?;
            eprintln!("guests: fetching the standard library's source, rust-src {source}");
            let unpacked = new.join("unpacked");
            for deb in apt.fetch(&[&format!("rust-src={source}"), "wasi-libc"])? {
                unpack(&deb, &unpacked)?;
            }
            let rustlib = new.join("lib/rustlib");
            fs::create_dir_all(&rustlib)?;
            symlink(self.rustlib(), rustlib.join(&self.host))?;
            write_wrapper(new, &format!("exec '{}'", self.path.display()))?;
            build_std(new, &unpacked)
        })
    }

    /// Debian's compiler for its browsers, unpacked, with a standard library from that compiler's own source. The
    /// linker that makes components stays this one's.
    fn packaged(&self) -> Result<PathBuf> {
        compiler_in(&home("debian")?, |new| {
            let unpacked = new.join("unpacked");
            fetch_web_compiler(new, &unpacked)?;
            let apt = PrivateApt::new(&new.join("apt"))?;
            apt.use_suite(SOURCE_SUITE)?;
            for deb in apt.fetch(&["wasi-libc"])? {
                unpack(&deb, &unpacked)?;
            }
            // What the finished compiler needs is kept under its own name; the sources are not.
            let (programs, libraries) = (new.join("programs"), new.join("programs/lib"));
            fs::create_dir_all(&programs)?;
            fs::rename(unpacked.join("usr/bin"), programs.join("bin"))?;
            fs::rename(unpacked.join("usr/lib"), &libraries)?;
            let host = new.join("lib/rustlib").join(&self.host);
            fs::create_dir_all(&host)?;
            symlink(Path::new("../../../programs/lib/rustlib").join(&self.host).join("lib"), host.join("lib"))?;
            symlink(self.rustlib().join("bin"), host.join("bin"))?;
            let folders = fs::read_dir(&libraries)?.filter_map(Result::ok).map(|entry| entry.file_name());
            let folders = folders.map(|name| format!("$root/programs/lib/{}", name.to_string_lossy()));
            let path = folders.collect::<Vec<_>>().join(":");
            write_wrapper(new, &format!("LD_LIBRARY_PATH=\"{path}\" exec \"$root/programs/bin/rustc\""))?;
            // The C library has moved with the others.
            fs::create_dir_all(unpacked.join("usr/lib"))?;
            fs::rename(libraries.join(TARGET), unpacked.join("usr/lib").join(TARGET))
                .context("Debian's wasi-libc has nothing for the target")?;
            build_std(new, &unpacked)
        })
    }
}

/// Unpacks the first rustc-web that comes with its source, and the libraries that are its own.
fn fetch_web_compiler(new: &Path, unpacked: &Path) -> Result<()> {
    let mut failure = anyhow::anyhow!("no archive");
    for archive in WEB_ARCHIVES {
        match web_packages(archive, new) {
            Ok(debs) => return debs.iter().try_for_each(|deb| unpack(deb, unpacked)),
            Err(e) => failure = e,
        }
    }
    Err(failure)
}

fn web_packages(archive: Archive, new: &Path) -> Result<Vec<PathBuf>> {
    let apt = PrivateApt::of(&new.join("apt"), archive)?;
    apt.use_own_release()?;
    let sources = apt.versions("rust-web-src")?;
    let version = apt.versions("rustc-web")?.into_iter().find(|v| sources.contains(v));
    let version = version.context("Debian has no rustc-web with its source")?;
    let mut packages = vec![format!("rust-web-src={version}"), format!("rustc-web={version}")];
    // The C library and the like are this machine's.
    let is_its_own = |name: &String| name.starts_with("libstd-rust-web") || name.starts_with("libllvm");
    let mut next = packages.len() - 1;
    while let Some(package) = packages.get(next) {
        for name in apt.depends(package)?.into_iter().filter(is_its_own) {
            let exact = if name.starts_with("libllvm") { name } else { format!("{name}={version}") };
            if !packages.contains(&exact) {
                packages.push(exact);
            }
        }
        next += 1;
    }
    eprintln!("guests: fetching Debian's rustc-web {version}");
    apt.fetch(&packages.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Builds the standard library with the sysroot's own compiler and puts it into the sysroot.
fn build_std(new: &Path, unpacked: &Path) -> Result<()> {
    eprintln!("guests: building the standard library for {TARGET}, once");
    let place = new.join("lib/rustlib").join(TARGET).join("lib");
    fs::create_dir_all(place.join("self-contained"))?;
    copy_c_library(&unpacked.join("usr/lib"), &place.join("self-contained"))?;
    let source = library_source(&unpacked.join("usr/src"))?;
    let build = new.join("build");
    let mut cargo = cargo_elsewhere();
    cargo.current_dir(&source).args(["build", "--quiet", "--release", "--locked", "--package", "sysroot"]);
    cargo.args(["--target", TARGET, "--target-dir"]).arg(&build);
    // As the compiler's own build does it: unstable features on, every crate marked as part of the library, and
    // a metadata of its own so that its crates cannot be taken for a program's.
    cargo.env("RUSTC", new.join("bin/rustc")).env("RUSTC_BOOTSTRAP", "1");
    cargo.env("RUSTFLAGS", "-Zforce-unstable-if-unmarked -Cembed-bitcode=yes");
    cargo.env("__CARGO_DEFAULT_LIB_METADATA", "voxtra").env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    for name in ["CARGO_TARGET_DIR", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
        cargo.env_remove(name);
    }
    run(&mut cargo)?;
    let built = build.join(TARGET).join("release/deps");
    for entry in fs::read_dir(&built)?.filter_map(Result::ok) {
        if entry.path().extension().is_some_and(|e| e == "rlib") {
            fs::copy(entry.path(), place.join(entry.file_name()))?;
        }
    }
    ensure!(holds_std(&place), "the build has left no standard library in {}", built.display());
    fs::remove_dir_all(&build)?;
    Ok(())
}

/// The sysroot's compiler: another one, told to look here. `$root` is wherever the wrapper lies, as the sysroot is
/// moved when it is finished.
fn write_wrapper(root: &Path, start: &str) -> Result<()> {
    let path = root.join("bin/rustc");
    fs::create_dir_all(root.join("bin"))?;
    fs::write(&path, format!("#!/bin/sh\nroot=${{0%/bin/rustc}}\n{start} --sysroot \"$root\" \"$@\"\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn home(name: &str) -> Result<PathBuf> {
    Ok(cache_dir()?.join("guest-toolchain").join(format!("{name}-{TARGET}")))
}

/// Makes the folder of a compiler where it is not yet there; returns the compiler.
fn compiler_in(home: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    made_once(home, MARK, |new| {
        make(new)?;
        for leftover in ["apt", "unpacked"] {
            let _ = fs::remove_dir_all(new.join(leftover));
        }
        Ok(())
    })?;
    Ok(home.join("bin/rustc"))
}

/// What the target's linking wants beside the standard library: wasi-libc and its start files.
fn copy_c_library(libraries: &Path, place: &Path) -> Result<()> {
    for name in ["crt1-command.o", "crt1-reactor.o", "libc.a"] {
        let from = libraries.join(TARGET).join(name);
        fs::copy(&from, place.join(name)).with_context(|| format!("Debian's wasi-libc has no {}", from.display()))?;
    }
    Ok(())
}

/// `rustc-1.95.0/library` or the like.
fn library_source(sources: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(sources).context("Debian's package holds no source")?;
    let mut folders = entries.filter_map(Result::ok).map(|entry| entry.path().join("library"));
    folders.find(|path| path.join("Cargo.lock").is_file()).context("Debian's package holds no standard library")
}
