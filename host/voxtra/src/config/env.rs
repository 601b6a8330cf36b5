//! `${NAME}` in a value: the environment's variable of that name. It is put in after the file was taken apart, so that
//! whatever a password holds (`: #"`), it stays one value.

/// Where variables come from. The process's environment, or a test's.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process's environment. What is not UTF-8 counts as not set.
pub(crate) fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The text with its variables put in; `None` when it has none. `$${NAME}` stands for the text `${NAME}` itself, and
/// what is no name (letters, digits, `_`, not beginning with a digit) between braces stays as it is.
pub(crate) fn substitute(text: &str, lookup: Lookup<'_>) -> Result<Option<String>, String> {
    let mut out = String::new();
    let mut changed = false;
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        let Some((name, after)) = variable(from) else {
            out.push_str(before);
            out.push_str("${");
            rest = from.get(2..).unwrap_or_default();
            continue;
        };
        changed = true;
        match before.strip_suffix('$') {
            Some(before) => {
                out.push_str(before);
                out.push_str("${");
                out.push_str(name);
                out.push('}');
            }
            None => {
                let value = lookup(name).ok_or_else(|| {
                    format!("the environment has no variable {name}; set it, or write the value here")
                })?;
                out.push_str(before);
                out.push_str(&value);
            }
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(changed.then_some(out))
}

/// The name in a text that starts with `${`, and what follows its brace.
fn variable(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.strip_prefix("${")?.split_once('}')?;
    let first = name.chars().next()?;
    let good =
        (first.is_ascii_alphabetic() || first == '_') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    good.then_some((name, after))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with(text: &str) -> Result<Option<String>, String> {
        substitute(text, &|name| match name {
            "PW" => Some("a: #b ${X}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn variables_are_put_in_once() {
        for (text, wanted) in [
            ("plain", None),
            ("${PW}", Some("a: #b ${X}")),
            ("<${PW}|${PW}>", Some("<a: #b ${X}|a: #b ${X}>")),
            ("${EMPTY}", Some("")),
            ("$${PW}", Some("${PW}")),
            ("a$${PW}${EMPTY}", Some("a${PW}")),
            ("${", None),
            ("${1X}", None),
            ("${a-b}", None),
            ("${}", None),
            ("$PW", None),
            ("${ ${EMPTY}", Some("${ ")),
        ] {
            assert_eq!(with(text).unwrap().as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn a_missing_variable_is_named() {
        assert!(with("x ${NOT_SET}").unwrap_err().contains("NOT_SET"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[${}PWX_a1é ]{0,40}") {
            let _ = with(&text);
        }
    }
}
