//! A strict reader of Prometheus' text format 0.0.4, written from its description ("Exposition formats", prometheus.io):
//! it refuses what the format does not allow, and what Prometheus refuses besides (a name or a sample twice).

use std::collections::{BTreeMap, HashMap};
use std::iter::Peekable;
use std::str::Chars;

/// What was told.
pub(crate) struct Exposition {
    kinds: HashMap<String, String>,
    samples: Vec<Sample>,
}

/// One line.
pub(crate) struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    text: String,
    pub(crate) value: f64,
}

impl Sample {
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }
}

impl Exposition {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if !text.ends_with('\n') {
            return Err("the last line has no end".to_owned());
        }
        let mut read = Self { kinds: HashMap::new(), samples: Vec::new() };
        let (mut helped, mut closed) = (Vec::new(), Vec::<String>::new());
        let mut current = String::new();
        let mut seen = std::collections::HashSet::new();
        for line in text.split_terminator('\n') {
            let fail = |why: &str| format!("{why}: {line:?}");
            if line.contains('\0') || line.contains('\r') {
                return Err(fail("a control character"));
            }
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, doc) = help.split_once(' ').ok_or_else(|| fail("HELP without a text"))?;
                check_name(name, true).map_err(|why| fail(&why))?;
                check_escapes(doc, "\\n").map_err(|why| fail(&why))?;
                if helped.contains(&name.to_owned()) {
                    return Err(fail("a second HELP"));
                }
                helped.push(name.to_owned());
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').ok_or_else(|| fail("TYPE without a type"))?;
                check_name(name, true).map_err(|why| fail(&why))?;
                if !["counter", "gauge", "histogram", "summary", "untyped"].contains(&kind) {
                    return Err(fail("an unknown type"));
                }
                if read.kinds.insert(name.to_owned(), kind.to_owned()).is_some() {
                    return Err(fail("a second TYPE"));
                }
                closed.push(std::mem::replace(&mut current, name.to_owned()));
            } else if line.starts_with('#') || line.is_empty() {
                return Err(fail("nothing writes such a line"));
            } else {
                let sample = sample(line).map_err(|why| fail(&why))?;
                if sample.name != current || closed.contains(&sample.name) {
                    return Err(fail("not with its own"));
                }
                if !seen.insert((sample.name.clone(), sample.labels.clone())) {
                    return Err(fail("a second time"));
                }
                read.samples.push(sample);
            }
        }
        Ok(read)
    }

    pub(crate) fn samples(&self, name: &str) -> Vec<&Sample> {
        self.samples.iter().filter(|sample| sample.name == name).collect()
    }

    fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<&Sample> {
        let wanted: BTreeMap<_, _> = labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        self.samples.iter().find(|sample| sample.name == name && sample.labels == wanted)
    }

    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.find(name, labels).map(|sample| sample.value)
    }

    /// The value as it was written.
    pub(crate) fn text(&self, name: &str, labels: &[(&str, &str)]) -> Option<&str> {
        self.find(name, labels).map(|sample| sample.text.as_str())
    }

    pub(crate) fn kind(&self, name: &str) -> Option<&str> {
        self.kinds.get(name).map(String::as_str)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.samples.iter().map(|sample| sample.name.as_str())
    }
}

/// `name{label="value",…} number`
fn sample(line: &str) -> Result<Sample, String> {
    let mut rest = line.chars().peekable();
    let name = word(&mut rest, |c| !matches!(c, '{' | ' '));
    check_name(&name, true)?;
    let mut labels = BTreeMap::new();
    if rest.next_if_eq(&'{').is_some() {
        loop {
            let label = word(&mut rest, |c| c != '=');
            check_name(&label, false)?;
            want(&mut rest, '=')?;
            if labels.insert(label, quoted(&mut rest)?).is_some() {
                return Err("a label twice".to_owned());
            }
            if rest.next_if_eq(&',').is_none() {
                want(&mut rest, '}')?;
                break;
            }
        }
    }
    want(&mut rest, ' ')?;
    let text: String = rest.collect();
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-NI".contains(c)) {
        return Err("no number".to_owned());
    }
    let value = text.parse().map_err(|_| "no number".to_owned())?;
    Ok(Sample { name, labels, text, value })
}

fn word(rest: &mut Peekable<Chars<'_>>, is_of_it: impl Fn(char) -> bool) -> String {
    std::iter::from_fn(|| rest.next_if(|c| is_of_it(*c))).collect()
}

fn want(rest: &mut Peekable<Chars<'_>>, wanted: char) -> Result<(), String> {
    rest.next_if_eq(&wanted).map(drop).ok_or_else(|| format!("no {wanted:?} where one should be"))
}

fn quoted(rest: &mut Peekable<Chars<'_>>) -> Result<String, String> {
    want(rest, '"')?;
    let mut value = String::new();
    loop {
        match rest.next().ok_or("a value without an end")? {
            '"' => return Ok(value),
            '\\' => match rest.next() {
                Some('n') => value.push('\n'),
                Some(c @ ('\\' | '"')) => value.push(c),
                other => return Err(format!("an escape that there is not: {other:?}")),
            },
            c => value.push(c),
        }
    }
}

/// Names of metrics may have colons, those of labels not.
fn check_name(name: &str, may_have_colons: bool) -> Result<(), String> {
    let may_be = |c: char| c.is_ascii_alphanumeric() || c == '_' || (may_have_colons && c == ':');
    match name.chars().next() {
        Some(first) if !first.is_ascii_digit() && name.chars().all(may_be) => Ok(()),
        _ => Err(format!("the name {name:?}")),
    }
}

/// Only these may follow a backslash.
fn check_escapes(text: &str, may_follow: &str) -> Result<(), String> {
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c == '\\' && !rest.next().is_some_and(|c| may_follow.contains(c)) {
            return Err("an escape that there is not".to_owned());
        }
    }
    Ok(())
}
