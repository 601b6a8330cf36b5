//! Standard output. A reader that has gone away (`voxtra info | head -1`) is no reason to panic.

use std::fmt;
use std::io::Write;

/// Writes one line.
pub(crate) fn line(text: impl fmt::Display) {
    let mut out = std::io::stdout().lock();
    // Nobody reads it any more.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Writes a JSON value on one line.
pub(crate) fn json(value: &serde_json::Value) {
    line(value);
}

/// Writes one line about what keeps the program from going on.
pub(crate) fn complaint(text: impl fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
