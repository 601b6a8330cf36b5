//! What a scrape tells, in the text format.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write;

/// Characters of a label's value.
const LABEL_MAX_CHARS: usize = 128;

/// Samples of one name: 1,000 tenants with each of the 11 ends, and room.
const FAMILY_MAX: usize = 20_000;

/// Names of sources: far more than a host has parts.
const FAMILIES_MAX: usize = 1_000;

/// Samples, by name. A name that comes with two kinds keeps its first, and labels that come twice their last value, so that
/// what is told can always be read.
#[derive(Debug, Default)]
pub struct Samples {
    families: BTreeMap<String, Family>,
    dropped: u64,
}

#[derive(Debug)]
struct Family {
    help: String,
    kind: Kind,
    /// By the labels as they are told.
    values: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
}

impl Samples {
    /// Something that goes up and down. Of the name and the labels' names, characters that Prometheus does not take become
    /// `_`; a unit stands at the name's end (`_seconds`, `_bytes`).
    pub fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.put(name, help, Kind::Gauge, labels, number(value));
    }

    /// Something that only grows, but for starts of the host; its name ends with `_total`. The rest as with
    /// [`Samples::gauge`].
    pub fn counter(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.put(name, help, Kind::Counter, labels, number(value));
    }

    /// `value` as the format has it.
    pub(super) fn put(&mut self, name: &str, help: &str, kind: Kind, labels: &[(&str, &str)], value: String) {
        let known = self.families.len();
        let family = match self.families.entry(metric_name(name)) {
            Entry::Occupied(family) => family.into_mut(),
            Entry::Vacant(_) if known >= FAMILIES_MAX => {
                self.dropped += 1;
                return;
            }
            Entry::Vacant(place) => place.insert(Family { help: help.to_owned(), kind, values: BTreeMap::new() }),
        };
        self.dropped += u64::from(!family.put(kind, label_text(labels), value));
    }

    /// Adds what somebody else has told.
    pub(super) fn merge(&mut self, other: Self) {
        self.dropped += other.dropped;
        for (name, family) in other.families {
            let known = self.families.len();
            match self.families.entry(name) {
                Entry::Vacant(_) if known >= FAMILIES_MAX => self.dropped += family.values.len() as u64,
                Entry::Vacant(place) => drop(place.insert(family)),
                Entry::Occupied(mut same) => {
                    for (labels, value) in family.values {
                        self.dropped += u64::from(!same.get_mut().put(family.kind, labels, value));
                    }
                }
            }
        }
    }

    /// Samples that had no room, or another kind than their name has.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// All of it, names in their order.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (name, family) in &self.families {
            let kind = if family.kind == Kind::Counter { "counter" } else { "gauge" };
            // Writing to a text never fails.
            let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", escaped_help(&family.help));
            for (labels, value) in &family.values {
                text.extend([name.as_str(), labels.as_str(), " ", value.as_str(), "\n"]);
            }
        }
        text
    }
}

impl Family {
    /// Whether it could be put.
    fn put(&mut self, kind: Kind, labels: String, value: String) -> bool {
        let has_room = self.values.len() < FAMILY_MAX || self.values.contains_key(&labels);
        let fits = kind == self.kind && has_room;
        if fits {
            self.values.insert(labels, value);
        }
        fits
    }
}

/// What a label's value is told as: short, and without what would end a line or a text too early.
pub(super) fn label_value(value: &str) -> String {
    let whole = |c: char| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c };
    value.chars().take(LABEL_MAX_CHARS).map(whole).collect()
}

fn label_text(labels: &[(&str, &str)]) -> String {
    let mut named = BTreeMap::new();
    for (name, value) in labels {
        named.insert(label_name(name), label_value(value));
    }
    if named.is_empty() {
        return String::new();
    }
    let one = |(name, value): (String, String)| format!("{name}=\"{}\"", escaped(&value));
    format!("{{{}}}", named.into_iter().map(one).collect::<Vec<_>>().join(","))
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn escaped_help(help: &str) -> String {
    let whole: String = help.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
    whole.replace('\\', "\\\\").replace('\n', "\\n")
}

fn metric_name(name: &str) -> String {
    cleaned(name, |c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

fn label_name(name: &str) -> String {
    cleaned(name, |c| c.is_ascii_alphanumeric() || c == '_')
}

/// A name of what `may_be` in it; never empty, and never with a digit first.
fn cleaned(name: &str, may_be: impl Fn(char) -> bool) -> String {
    let clean: String = name.chars().take(LABEL_MAX_CHARS).map(|c| if may_be(c) { c } else { '_' }).collect();
    if clean.starts_with(|first: char| !first.is_ascii_digit()) { clean } else { format!("_{clean}") }
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}
