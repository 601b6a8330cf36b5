//! "Did you mean": the known key that is nearest to one that was written.

/// No key is as long; more is quoted in part only.
const MAX_QUOTED_CHARS: usize = 60;

/// A sentence's end for a key that is not known: the nearest one, or all of them.
pub(crate) fn advice(written: &str, known: &[&str]) -> String {
    match nearest(written, known) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("known here are {}", list(known)),
    }
}

/// Fit for one line: controls escaped, cut where it is too long.
pub(crate) fn shorten(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_QUOTED_CHARS).collect::<String>().escape_debug().to_string();
    if text.chars().nth(MAX_QUOTED_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// `` `a`, `b` and `c` ``
pub(crate) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

fn nearest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    if written.chars().count() > MAX_QUOTED_CHARS {
        return None;
    }
    let written = written.to_lowercase().replace('-', "_");
    let near = known.iter().map(|word| (edits(&written, &word.replace('-', "_")), *word)).min()?;
    (near.0 <= 1 + near.1.chars().count() / 4).then_some(near.1)
}

/// Letters to put in, to leave out or to change (Levenshtein), row by row.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((diagonal, above), y) in row.iter().zip(row.iter().skip(1)).zip(b.chars()) {
            let left = next.last().copied().unwrap_or_default();
            next.push((diagonal + usize::from(x != y)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_fingers_is_understood() {
        let known = ["memory_mib", "cpu_ms", "max_calls"];
        assert_eq!(advice("memory-mib", &known), "did you mean `memory_mib`?");
        assert_eq!(advice("cpums", &known), "did you mean `cpu_ms`?");
        assert_eq!(advice("colour", &known), "known here are `memory_mib`, `cpu_ms` and `max_calls`");
    }

    #[test]
    fn a_quoted_key_stays_on_its_line_and_is_cut() {
        assert_eq!(shorten("a\nb"), "a\\nb");
        assert_eq!(shorten(&"x".repeat(99)).chars().count(), MAX_QUOTED_CHARS + 1);
    }

    #[test]
    fn edits_are_the_known_ones() {
        for (a, b, wanted) in [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2)] {
            assert_eq!(edits(a, b), wanted, "{a} {b}");
        }
    }
}
