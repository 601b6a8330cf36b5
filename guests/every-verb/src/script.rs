//! The script's language.

/// A script's statements, without empty ones.
pub(crate) fn statements(script: &str) -> Vec<&str> {
    let mut statements = Vec::new();
    let (mut begin, mut depth, mut quoted) = (0, 0_u32, false);
    for (at, c) in script.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '{' if !quoted => depth = depth.saturating_add(1),
            '}' if !quoted => depth = depth.saturating_sub(1),
            ';' | '\n' if !quoted && depth == 0 => {
                statements.extend(script.get(begin..at));
                begin = at.saturating_add(c.len_utf8());
            }
            _ => {}
        }
    }
    statements.extend(script.get(begin..));
    statements.into_iter().map(str::trim).filter(|statement| !statement.is_empty()).collect()
}

/// The words of a statement, one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words<'s> {
    left: &'s str,
}

impl<'s> Words<'s> {
    pub(crate) fn new(statement: &'s str) -> Self {
        Self { left: statement.trim() }
    }

    /// All that is left, as it stands.
    pub(crate) fn rest(self) -> &'s str {
        self.left
    }

    /// The next word; there has to be one.
    pub(crate) fn word(&mut self, what: &str) -> Result<&'s str, String> {
        self.next().ok_or_else(|| format!("{what} is missing"))
    }

    /// The next word, a number.
    pub(crate) fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result<T, String> {
        let word = self.word(what)?;
        word.parse().map_err(|_| format!("{what} is a number and not {word:?}"))
    }

    /// All that are left.
    pub(crate) fn all(self) -> Vec<String> {
        self.map(str::to_owned).collect()
    }
}

impl<'s> Iterator for Words<'s> {
    type Item = &'s str;

    fn next(&mut self) -> Option<&'s str> {
        let left = self.left.trim_start();
        if left.is_empty() {
            return None;
        }
        let (word, left) = match left.strip_prefix('"').and_then(|inside| inside.split_once('"')) {
            Some(quoted) => quoted,
            None => left.split_once(char::is_whitespace).unwrap_or((left, "")),
        };
        self.left = left.trim_start();
        Some(word)
    }
}

/// `KEY=VALUE` or, with another mark, `KEY:VALUE`.
pub(crate) fn pair(word: &str, mark: char) -> Result<(&str, &str), String> {
    word.split_once(mark).ok_or_else(|| format!("{word:?} is not KEY{mark}VALUE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_braces_or_quotes_holds_no_end() {
        let script = "answer; emit a {\"x\": \"1;2\"} ;\n play \"sound:a;b\"; ;hangup";
        assert_eq!(statements(script), ["answer", "emit a {\"x\": \"1;2\"}", "play \"sound:a;b\"", "hangup"]);
        assert!(statements(" ; \n ").is_empty());
    }

    #[test]
    fn quotes_keep_a_word_together() {
        let mut words = Words::new("  log info \"two words\" last ");
        assert_eq!(words.word("verb"), Ok("log"));
        assert_eq!(words.rest(), "info \"two words\" last");
        assert_eq!(words.all(), ["info", "two words", "last"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut words = Words::new("wait soon");
        words.next();
        assert_eq!(words.number::<u32>("MS"), Err("MS is a number and not \"soon\"".to_owned()));
        assert_eq!(words.word("NAME"), Err("NAME is missing".to_owned()));
    }
}
