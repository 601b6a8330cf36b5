//! Text from outside, made fit for one line of a log or a record.

/// One line of at most so many characters: control characters become blanks, what is too long ends in `…`.
pub(crate) fn one_line(text: &str, max_chars: usize) -> String {
    let mut line: String = text.trim().chars().take(max_chars).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.trim().chars().nth(max_chars).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line_of_bounded_length() {
        assert_eq!(one_line(" a\r\nb\u{1b}[2J ", 20), "a  b [2J");
        assert_eq!(one_line("äöü", 2), "äö…");
        assert_eq!(one_line("äöü", 3), "äöü");
    }
}
