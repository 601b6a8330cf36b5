//! "Did you mean": the known word that is nearest to one that was written.

/// Longer words than any key; more is only quoted in part.
const MAX_QUOTED_CHARS: usize = 60;

/// The known word that takes the fewest changes, when they are few enough to be a slip of the fingers.
pub(crate) fn nearest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    if written.chars().count() > MAX_QUOTED_CHARS {
        return None;
    }
    let lower = written.to_lowercase().replace('-', "_");
    known
        .iter()
        .map(|word| (distance(&lower, &word.to_lowercase().replace('-', "_")), *word))
        .min()
        .filter(|(changes, word)| *changes <= 1 + word.chars().count() / 4)
        .map(|(_, word)| word)
}

/// Words for a sentence: `` `a`, `b` or `c` ``.
pub(crate) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// Fit for one line: controls are left out, and so is what is too long.
pub(crate) fn shorten(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !c.is_control()).take(MAX_QUOTED_CHARS + 1).collect();
    match plain.char_indices().nth(MAX_QUOTED_CHARS) {
        Some((end, _)) => format!("{}…", plain.get(..end).unwrap_or_default()),
        None => plain,
    }
}

/// How many letters have to be put in, left out, changed or swapped with their neighbour (Damerau's distance in its
/// "optimal string alignment" form).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let at = |row: &[usize], k: usize| row.get(k).copied().unwrap_or(usize::MAX / 2);
            let mut cost = (at(&last, j) + usize::from(x != y)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(&y) && b.get(j - 1) == Some(&x);
            if swapped {
                cost = cost.min(at(&before_last, j - 1) + 1);
            }
            row.push(cost);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_fingers_is_understood() {
        let known = ["telephony", "media", "routes", "base_url", "server"];
        for (written, wanted) in [
            ("telephny", Some("telephony")),
            ("meida", Some("media")),
            ("Routes", Some("routes")),
            ("base-url", Some("base_url")),
            ("baseurl", Some("base_url")),
            ("rotes", Some("routes")),
            ("webhooks", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, &known), wanted, "{written}");
        }
    }

    #[test]
    fn distances_are_the_known_ones() {
        for (a, b, wanted) in
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("ab", "ba", 1), ("flaw", "lawn", 2)]
        {
            assert_eq!(distance(a, b), wanted, "{a} {b}");
        }
    }

    #[test]
    fn a_quoted_text_stays_on_its_line() {
        assert_eq!(shorten("a\nb\x1b[31m"), "ab[31m");
        assert_eq!(shorten(&"x".repeat(100)).chars().count(), MAX_QUOTED_CHARS + 1);
    }
}
