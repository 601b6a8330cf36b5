//! A YAML file as a tree of nodes that know their lines.
//!
//! Plain scalars mean what they mean to PyYAML, that is YAML 1.1 (`yes`, `0o17` is text, `017` is 15, `1:30` is 90): a
//! file that Voxtra 0.3.1 read must be read the same here. Aliases are shared, never copied, and counted as if they
//! were copied, so that a small file cannot grow into a large one.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::error::ConfigError;
use super::suggest::shorten;

/// A configuration of a thousand tenants has about this many values.
const MAX_NODES: usize = 50_000;

/// Ours needs 8.
const MAX_DEPTH: usize = 32;

/// The prefix of YAML's own tags.
const CORE_TAG: &str = "tag:yaml.org,2002:";

/// How 0.3.1's configuration class writes the values of its enumerations (`codec`, `transport`): a list of one under the
/// name of their Python class.
const OLD_ENUM_TAG: &str = "python/object/apply:voxtra.types.";

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Where it starts, from 1.
    pub(crate) line: usize,
    /// What it is.
    pub(crate) kind: Kind,
    /// Nodes in it, itself and what aliases stand for included.
    weight: usize,
    depth: usize,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// Nothing: `~`, `null`, or no text at all.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// Text in which a variable of the environment stood. Never shown: it may be a secret.
    FromEnv(String),
    /// A list.
    List(Vec<Arc<Node>>),
    /// Keys and values; no key twice.
    Map(Vec<(Key, Arc<Node>)>),
}

/// The key of a map. Keys are text, whatever they look like.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    /// Where it stands, from 1.
    pub(crate) line: usize,
    /// What it says.
    pub(crate) text: String,
}

impl Node {
    fn new(line: usize, kind: Kind) -> Result<Self, ConfigError> {
        let children: Box<dyn Iterator<Item = &Arc<Node>>> = match &kind {
            Kind::List(items) => Box::new(items.iter()),
            Kind::Map(entries) => Box::new(entries.iter().map(|(_, value)| value)),
            _ => Box::new(std::iter::empty()),
        };
        let (mut weight, mut depth) = (1_usize, 0_usize);
        for child in children {
            weight = weight.saturating_add(child.weight);
            depth = depth.max(child.depth + 1);
        }
        if weight > MAX_NODES {
            return Err(ConfigError::at(line, format!("more than {MAX_NODES} values; use fewer or smaller aliases")));
        }
        if depth > MAX_DEPTH {
            return Err(too_deep(line));
        }
        Ok(Self { line, kind, weight, depth })
    }

    /// An empty map: what an empty file is.
    pub(crate) fn empty() -> Self {
        Self { line: 1, kind: Kind::Map(Vec::new()), weight: 1, depth: 0 }
    }

    /// The value of a key, when this is a map that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|(k, _)| k.text == key).map(|(_, value)| value.as_ref()),
            Kind::List(items) => key.parse::<usize>().ok().and_then(|n| items.get(n)).map(Arc::as_ref),
            _ => None,
        }
    }

    /// The line of the deepest part of a path that is there.
    pub(crate) fn line_of(&self, path: &[&str]) -> usize {
        let mut node = self;
        for key in path {
            match node.get(key) {
                Some(child) => node = child,
                None => break,
            }
        }
        node.line
    }
}

fn too_deep(line: usize) -> ConfigError {
    ConfigError::at(line, format!("values stand more than {MAX_DEPTH} deep in each other; no key needs that"))
}

/// Reads a text. `substitute` turns the text of a scalar into one without variables: `Ok(None)` when it has none.
pub(crate) fn parse(
    text: &str,
    substitute: &dyn Fn(&str) -> Result<Option<String>, String>,
) -> Result<Node, ConfigError> {
    let mut builder = Builder { substitute, open: Vec::new(), anchors: HashMap::new(), root: None, documents: 0 };
    let mut parser = Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let hint = "check the indentation, the quotes and the colons on and above this line";
            ConfigError::at(
                error.marker().line().max(1),
                format!("this is not YAML ({}); {hint}", shorten(error.info())),
            )
        })?;
        builder.event(event, span)?;
    }
    match builder.root.take() {
        None => Ok(Node::empty()),
        Some(root) if root.kind == Kind::Null => Ok(Node::empty()),
        Some(root) => Ok(Arc::unwrap_or_clone(root)),
    }
}

struct Builder<'a> {
    substitute: &'a dyn Fn(&str) -> Result<Option<String>, String>,
    open: Vec<Open>,
    anchors: HashMap<usize, Arc<Node>>,
    root: Option<Arc<Node>>,
    documents: usize,
}

/// A list or map that is not at its end.
struct Open {
    line: usize,
    anchor: usize,
    what: OpenKind,
}

enum OpenKind {
    List(Vec<Arc<Node>>),
    /// The one value of a list stands for the list.
    OldEnum(Vec<Arc<Node>>),
    Map {
        entries: Vec<(Key, Arc<Node>)>,
        merged: Vec<(Key, Arc<Node>)>,
        key: Option<Key>,
    },
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), ConfigError> {
        let line = span.start.line().max(1);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(ConfigError::at(line, "a second document begins here; keep one in a file"));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                if self.wants_key() {
                    return self.key(Key { line, text: text.into_owned() });
                }
                let mut node = self.scalar(line, &text, style, tag.as_deref())?;
                if node.kind == Kind::Null {
                    node.line = self.line_to_look_at(line);
                }
                self.value(Arc::new(node), anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(Open { line, anchor, what: list_of(line, tag.as_deref())? })
            }
            Event::MappingStart(anchor, tag) => {
                check_map_tag(line, tag.as_deref())?;
                self.begin(Open {
                    line,
                    anchor,
                    what: OpenKind::Map { entries: Vec::new(), merged: Vec::new(), key: None },
                })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(id) => match self.anchors.get(&id) {
                Some(_) if self.wants_key() => {
                    Err(ConfigError::at(line, "an alias stands for a key; write the key out"))
                }
                Some(node) => self.value(Arc::clone(node), 0),
                None => Err(ConfigError::at(line, "an alias stands inside its own anchor; write the value out")),
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { what: OpenKind::Map { key: None, .. }, .. }))
    }

    /// What is nothing, or begins on the next line, is best looked for where its key stands.
    fn line_to_look_at(&self, line: usize) -> usize {
        match self.open.last().map(|open| &open.what) {
            Some(OpenKind::Map { key: Some(key), .. }) => key.line,
            _ => line,
        }
    }

    fn begin(&mut self, mut open: Open) -> Result<(), ConfigError> {
        if self.wants_key() {
            return Err(ConfigError::at(open.line, "a list or a map stands where a key is wanted; a key is one word"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(open.line));
        }
        open.line = self.line_to_look_at(open.line);
        self.open.push(open);
        Ok(())
    }

    fn end(&mut self) -> Result<(), ConfigError> {
        let Some(Open { line, anchor, what }) = self.open.pop() else { return Ok(()) };
        let kind = match what {
            OpenKind::List(items) => Kind::List(items),
            OpenKind::OldEnum(items) => match items.as_slice() {
                [value] => return self.value(Arc::clone(value), anchor),
                _ => return Err(ConfigError::at(line, "this tag takes a list of one value; write the value alone")),
            },
            OpenKind::Map { mut entries, merged, .. } => {
                for (key, value) in merged {
                    if !entries.iter().any(|(k, _)| k.text == key.text) {
                        entries.push((key, value));
                    }
                }
                Kind::Map(entries)
            }
        };
        let node = Arc::new(Node::new(line, kind)?);
        self.value(node, anchor)
    }

    fn key(&mut self, new: Key) -> Result<(), ConfigError> {
        if let Some(Open { what: OpenKind::Map { key, .. }, .. }) = self.open.last_mut() {
            *key = Some(new);
        }
        Ok(())
    }

    fn value(&mut self, node: Arc<Node>, anchor: usize) -> Result<(), ConfigError> {
        if anchor != 0 {
            self.anchors.insert(anchor, Arc::clone(&node));
        }
        match self.open.last_mut().map(|open| &mut open.what) {
            None => self.root = Some(node),
            Some(OpenKind::List(items) | OpenKind::OldEnum(items)) => items.push(node),
            Some(OpenKind::Map { entries, merged, key }) => match key.take() {
                Some(key) if key.text == "<<" => merge(&node, merged)?,
                // PyYAML takes the last of several, so it counts here too.
                Some(key) => match entries.iter_mut().find(|(k, _)| k.text == key.text) {
                    Some(entry) => *entry = (key, node),
                    None => entries.push((key, node)),
                },
                None => {}
            },
        }
        Ok(())
    }

    fn scalar(&self, line: usize, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Node, ConfigError> {
        let replaced = (self.substitute)(text).map_err(|problem| ConfigError::at(line, problem))?;
        let kind = match replaced {
            Some(replaced) => Kind::FromEnv(replaced),
            None => match tag {
                None if style == ScalarStyle::Plain => resolve_plain(text),
                None => Kind::Text(text.to_owned()),
                Some(tag) => resolve_tagged(line, text, tag)?,
            },
        };
        Node::new(line, kind)
    }
}

/// `<<: *defaults` and `<<: [*a, *b]`: the keys of other maps, of which the first counts.
fn merge(node: &Arc<Node>, merged: &mut Vec<(Key, Arc<Node>)>) -> Result<(), ConfigError> {
    match &node.kind {
        Kind::Map(entries) => {
            for (key, value) in entries {
                if !merged.iter().any(|(k, _)| k.text == key.text) {
                    merged.push((key.clone(), Arc::clone(value)));
                }
            }
            Ok(())
        }
        Kind::List(items) if items.iter().all(|item| matches!(item.kind, Kind::Map(_))) => {
            items.iter().try_for_each(|item| merge(item, merged))
        }
        _ => Err(ConfigError::at(
            node.line,
            "`<<` takes a map, or a list of maps; name one with an alias such as `*defaults`",
        )),
    }
}

fn core_tag(tag: &Tag) -> Option<String> {
    let whole = format!("{}{}", tag.handle, tag.suffix);
    match whole.strip_prefix(CORE_TAG).or_else(|| whole.strip_prefix("!!")) {
        Some(name) => Some(name.to_owned()),
        None if whole == "!" => Some(String::new()),
        None => None,
    }
}

fn check_map_tag(line: usize, tag: Option<&Tag>) -> Result<(), ConfigError> {
    match tag.map(core_tag) {
        None => Ok(()),
        Some(Some(name)) if name == "map" || name.is_empty() => Ok(()),
        Some(_) => Err(unknown_tag(line)),
    }
}

fn list_of(line: usize, tag: Option<&Tag>) -> Result<OpenKind, ConfigError> {
    match tag.map(core_tag) {
        None => Ok(OpenKind::List(Vec::new())),
        // PyYAML writes a tuple with a tag of its own.
        Some(Some(name)) if matches!(name.as_str(), "seq" | "" | "python/tuple") => Ok(OpenKind::List(Vec::new())),
        Some(Some(name)) if name.starts_with(OLD_ENUM_TAG) => Ok(OpenKind::OldEnum(Vec::new())),
        Some(_) => Err(unknown_tag(line)),
    }
}

fn unknown_tag(line: usize) -> ConfigError {
    ConfigError::at(line, "a tag (`!…`) that is not known stands here; take it out")
}

fn resolve_tagged(line: usize, text: &str, tag: &Tag) -> Result<Kind, ConfigError> {
    let plain = resolve_plain(text);
    match (core_tag(tag).as_deref(), plain) {
        (Some("str" | ""), _) => Ok(Kind::Text(text.to_owned())),
        (Some("bool"), kind @ Kind::Bool(_))
        | (Some("int"), kind @ Kind::Int(_))
        | (Some("null"), kind @ Kind::Null) => Ok(kind),
        (Some("float"), Kind::Int(n)) => Ok(Kind::Float(n as f64)),
        (Some("float"), kind @ Kind::Float(_)) => Ok(kind),
        (Some(name @ ("bool" | "int" | "null" | "float")), _) => {
            Err(ConfigError::at(line, format!("this is no value for the tag `!!{name}`; take the tag out")))
        }
        _ => Err(unknown_tag(line)),
    }
}

/// What a scalar without quotes means, by the rules of PyYAML's safe loader.
pub(crate) fn resolve_plain(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Kind::Bool(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Kind::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Kind::Float(f64::NAN),
        _ => {}
    }
    resolve_number(text).unwrap_or_else(|| Kind::Text(text.to_owned()))
}

fn resolve_number(text: &str) -> Option<Kind> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if matches!(digits, ".inf" | ".Inf" | ".INF") {
        return Some(Kind::Float(if negative { f64::NEG_INFINITY } else { f64::INFINITY }));
    }
    let first = digits.chars().next()?;
    if !first.is_ascii_digit() && first != '.' {
        return None;
    }
    if digits.contains('.') {
        // A number that begins with its point has no sign in YAML 1.1.
        if first == '.' && digits.len() != text.len() {
            return None;
        }
        return resolve_float(digits).map(|n| Kind::Float(if negative { -n } else { n }));
    }
    let whole = resolve_int(digits)?;
    let signed = if negative { -whole } else { whole };
    // Larger than any number that is wanted anywhere: kept as a number, so that it is never taken for text.
    Some(i64::try_from(signed).map_or(Kind::Float(signed as f64), Kind::Int))
}

fn resolve_int(digits: &str) -> Option<i128> {
    let radix = |body: &str, radix: u32| {
        let body = body.replace('_', "");
        if body.is_empty() || !body.chars().all(|c| c.is_digit(radix)) {
            return None;
        }
        Some(i128::from_str_radix(&body, radix).unwrap_or(i128::MAX))
    };
    if let Some(body) = digits.strip_prefix("0b") {
        return radix(body, 2);
    }
    if let Some(body) = digits.strip_prefix("0x") {
        return radix(body, 16);
    }
    if digits == "0" {
        return Some(0);
    }
    if let Some(body) = digits.strip_prefix('0') {
        return radix(body, 8);
    }
    match digits.split_once(':') {
        None => radix(digits, 10),
        Some((head, tail)) => {
            let mut total = radix(head, 10)?;
            for part in tail.split(':') {
                total = total.checked_mul(60)?.checked_add(sixtieth(part)?)?;
            }
            Some(total)
        }
    }
}

fn sixtieth(part: &str) -> Option<i128> {
    let fits = (1..=2).contains(&part.len()) && part.chars().all(|c| c.is_ascii_digit());
    part.parse().ok().filter(|n| fits && *n < 60)
}

fn resolve_float(digits: &str) -> Option<f64> {
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => digits.split_at_checked(at)?,
        None => (digits, ""),
    };
    let (whole, fraction) = mantissa.split_once('.')?;
    let plain = |part: &str| part.chars().all(|c| c.is_ascii_digit() || c == '_');
    if !plain(fraction) || (whole.is_empty() && !fraction.starts_with(|c: char| c.is_ascii_digit())) {
        return None;
    }
    // PyYAML wants the exponent's sign: `1.0e5` is text to it.
    let signed = exponent.get(1..2).is_some_and(|sign| sign == "+" || sign == "-");
    let has_digits = exponent.get(2..).is_some_and(|e| !e.is_empty() && e.chars().all(|c| c.is_ascii_digit()));
    let is_exponent = exponent.is_empty() || (signed && has_digits);
    if !is_exponent {
        return None;
    }
    if let Some((head, tail)) = whole.rsplit_once(':') {
        let total = resolve_int(head)? as f64 * 60.0 + sixtieth(tail)? as f64;
        let fraction: f64 = format!("0.{}0", fraction.replace('_', "")).parse().ok()?;
        return exponent.is_empty().then_some(total + fraction);
    }
    if !plain(whole) {
        return None;
    }
    format!("{}0{}", format!("0{whole}.{fraction}").replace('_', ""), exponent).parse().ok()
}

#[cfg(test)]
mod tests;
