//! Hands the engine's version, as the lock file has it, to `Runtime::engine_version`.

use std::path::Path;

fn main() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    let text = std::fs::read_to_string(&lock).unwrap_or_default();
    println!("cargo::rustc-env=VOXTRA_WASMTIME_VERSION={}", version_of("wasmtime", &text).unwrap_or("48"));
}

fn version_of<'a>(name: &str, lock: &'a str) -> Option<&'a str> {
    let after = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?.1;
    after.split_once('"').map(|(version, _)| version)
}
