//! What is wrong with a configuration: one sentence with the file, the line and what to do.

use std::fmt;

use serde::de;

use super::suggest;

/// One thing that is wrong. Shown as `voxtra.yaml:12: telephony.asterisk.password: …; do …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigError {
    /// The file as it was named; empty while that is not known.
    pub(crate) file: String,
    /// From 1; `None` when it is about the file as a whole.
    pub(crate) line: Option<usize>,
    /// The keys from the root; list items by number.
    pub(crate) path: Vec<String>,
    /// What is wrong and what to do.
    pub(crate) problem: String,
}

impl ConfigError {
    /// About a whole file.
    pub(crate) fn of_file(file: &str, problem: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, path: Vec::new(), problem: problem.into() }
    }

    /// About a place in a file.
    pub(crate) fn at(line: usize, problem: impl Into<String>) -> Self {
        Self { file: String::new(), line: Some(line), path: Vec::new(), problem: problem.into() }
    }

    /// Names the line, unless somebody nearer to the fault did.
    pub(crate) fn or_line(mut self, line: usize) -> Self {
        self.line.get_or_insert(line);
        self
    }

    /// Puts a key in front of the path.
    pub(crate) fn under(mut self, key: &str) -> Self {
        self.path.insert(0, key.to_owned());
        self
    }

    /// Names the file.
    pub(crate) fn in_file(mut self, file: &str) -> Self {
        self.file = file.to_owned();
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        f.write_str(": ")?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path.join("."))?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for ConfigError {}

impl de::Error for ConfigError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { file: String::new(), line: None, path: Vec::new(), problem: message.to_string() }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let field = suggest::shorten(field);
        let advice = match suggest::nearest(&field, expected) {
            Some(near) => format!("write `{near}`, or take it out"),
            None if expected.is_empty() => "take it out".to_owned(),
            None => format!("take it out, or use one of {}", suggest::list(expected)),
        };
        de::Error::custom(format_args!("there is no key `{field}` here; {advice}"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let variant = suggest::shorten(variant);
        let advice = match suggest::nearest(&variant, expected) {
            Some(near) => format!("write `{near}`"),
            None => format!("use one of {}", suggest::list(expected)),
        };
        de::Error::custom(format_args!("`{variant}` is not possible here; {advice}"))
    }

    fn missing_field(field: &'static str) -> Self {
        de::Error::custom(format_args!("the key `{field}` is missing; add it"))
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        de::Error::custom(format_args!("found {}, wanted {expected}; change it", in_words(found)))
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        de::Error::invalid_type(found, expected)
    }
}

fn in_words(found: de::Unexpected<'_>) -> String {
    match found {
        de::Unexpected::Bool(b) => format!("the truth value `{b}`"),
        de::Unexpected::Unsigned(n) => format!("the number `{n}`"),
        de::Unexpected::Signed(n) => format!("the number `{n}`"),
        de::Unexpected::Float(n) => format!("the number `{n}`"),
        de::Unexpected::Str(text) => format!("the text `{}`", suggest::shorten(text)),
        de::Unexpected::Unit | de::Unexpected::Option => "nothing".to_owned(),
        de::Unexpected::Seq => "a list".to_owned(),
        de::Unexpected::Map => "a section with keys".to_owned(),
        other => other.to_string(),
    }
}
