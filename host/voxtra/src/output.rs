//! Standard output. A reader that has gone away (`voxtra info | head -1`) is no reason to panic.

use std::fmt;
use std::io::Write;

/// Writes one line.
pub(crate) fn line(text: impl fmt::Display) {
    let mut out = std::io::stdout().lock();
    // Nobody reads it any more.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// A name that may hold anything, so that it stays on its line.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Writes a JSON value on one line.
pub(crate) fn json(value: &serde_json::Value) {
    line(value);
}

/// Writes rows under headings, as wide as they have to be.
pub(crate) fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    let rows: Vec<Vec<String>> = rows.into_iter().collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(headings.get(column).map(|heading| heading.len())).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let headings = headings.iter().map(|&heading| heading.to_owned()).collect();
    for row in [headings].into_iter().chain(rows.iter().cloned()) {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        line(cells.join("  ").trim_end());
    }
}

/// Writes one line about what keeps the program from going on.
pub(crate) fn complaint(text: impl fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
