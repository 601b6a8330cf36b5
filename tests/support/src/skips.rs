//! Tests that could not run, by name: never silently.

use std::fs::OpenOptions;
use std::io::Write;

/// Reports that a test was skipped: prints `skipped: NAME: reason`, and appends the same line to the file that
/// `$VOXTRA_SKIPS` names, so that `cargo xtask test` can list all of them at its end.
pub fn skipped(name: &str, reason: &str) {
    let line = format!("skipped: {name}: {reason}\n");
    print!("{line}");
    let Some(path) = std::env::var_os("VOXTRA_SKIPS") else { return };
    let written =
        OpenOptions::new().create(true).append(true).open(&path).and_then(|mut f| f.write_all(line.as_bytes()));
    if let Err(e) = written {
        eprintln!("cannot note a skipped test in {}: {e}", path.display());
    }
}
