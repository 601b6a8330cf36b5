//! From a tree of nodes to the configuration's structs, with the leniency of Voxtra 0.3.1: a number or a truth value
//! may be written as text, a whole number as `5.0`; a number is never taken for text, because `0100` would arrive as
//! `64`. Every error gets the line and the keys on its way out.

use std::sync::Arc;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::error::ConfigError;
use super::suggest::shorten;
use super::tree::{Key, Kind, Node};

/// Values of these keys are never shown.
const SECRET_KEYS: [&str; 7] = ["password", "api_key", "api_secret", "signing_secret", "secret_key", "token", "value"];

/// Reads a whole tree.
pub(crate) fn read<'de, T: de::Deserialize<'de>>(root: &'de Node) -> Result<T, ConfigError> {
    T::deserialize(De { node: root, secret: false }).map_err(|error| error.or_line(root.line))
}

#[derive(Clone, Copy)]
struct De<'de> {
    node: &'de Node,
    secret: bool,
}

impl De<'_> {
    fn wanted<T>(&self, wanted: &str, advice: &str) -> Result<T, ConfigError> {
        let found = self.found();
        let advice = if advice.is_empty() { "change it" } else { advice };
        Err(ConfigError::at(self.node.line, format!("found {found}, wanted {wanted}; {advice}")))
    }

    fn found(&self) -> String {
        let shown = |value: String| if self.secret { String::new() } else { format!(" {value}") };
        match &self.node.kind {
            Kind::Null => "nothing".to_owned(),
            Kind::Bool(b) => format!("the truth value{}", shown(format!("`{b}`"))),
            Kind::Int(n) => format!("the number{}", shown(format!("`{n}`"))),
            Kind::Float(n) => format!("the number{}", shown(format!("`{n}`"))),
            Kind::Text(t) => format!("the text{}", shown(format!("`{}`", shorten(t)))),
            Kind::FromEnv(_) => "other text in the environment's variable".to_owned(),
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "a section with keys".to_owned(),
        }
    }

    fn text(&self) -> Option<&str> {
        match &self.node.kind {
            Kind::Text(text) | Kind::FromEnv(text) => Some(text),
            _ => None,
        }
    }

    fn as_bool(&self) -> Option<bool> {
        match &self.node.kind {
            Kind::Bool(b) => Some(*b),
            Kind::Int(0) => Some(false),
            Kind::Int(1) => Some(true),
            Kind::Float(n) if *n == 0.0 => Some(false),
            Kind::Float(n) if *n == 1.0 => Some(true),
            _ => match self.text()?.to_ascii_lowercase().as_str() {
                "1" | "true" | "t" | "yes" | "y" | "on" => Some(true),
                "0" | "false" | "f" | "no" | "n" | "off" => Some(false),
                _ => None,
            },
        }
    }

    fn as_int(&self) -> Option<i64> {
        match &self.node.kind {
            Kind::Bool(b) => Some(i64::from(*b)),
            Kind::Int(n) => Some(*n),
            Kind::Float(n) => whole(*n),
            _ => {
                let text = self.text()?.trim();
                let (number, fraction) = text.split_once('.').unwrap_or((text, ""));
                if !fraction.chars().all(|c| c == '0') {
                    return None;
                }
                without_underscores(number)?.parse().ok()
            }
        }
    }

    fn as_float(&self) -> Option<f64> {
        match &self.node.kind {
            Kind::Bool(b) => Some(if *b { 1.0 } else { 0.0 }),
            Kind::Int(n) => Some(*n as f64),
            Kind::Float(n) => Some(*n),
            _ => without_underscores(self.text()?.trim())?.parse().ok(),
        }
    }
}

/// The whole number that a float is; of one that is larger than any number here, the largest.
fn whole(n: f64) -> Option<i64> {
    (n.is_finite() && n.fract() == 0.0).then_some(n as i64)
}

/// `5_060` is 5060; `_5`, `5_` and `5__0` are nothing.
fn without_underscores(text: &str) -> Option<String> {
    let odd = text.starts_with('_') || text.ends_with('_') || text.contains("__");
    (!odd).then(|| text.replace('_', ""))
}

macro_rules! whole_numbers {
    ($($method:ident $number:ident),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
            match self.as_int() {
                Some(n) if $number::try_from(n).is_ok() => visitor.visit_i64(n),
                Some(_) => self.wanted(&format!("a whole number from {} to {}", $number::MIN, $number::MAX), ""),
                None => self.wanted("a whole number", ""),
            }
        })*
    };
}

impl<'de> de::Deserializer<'de> for De<'de> {
    type Error = ConfigError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        let line = self.node.line;
        let read = match &self.node.kind {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool(b) => visitor.visit_bool(*b),
            Kind::Int(n) => visitor.visit_i64(*n),
            Kind::Float(n) => visitor.visit_f64(*n),
            Kind::Text(text) | Kind::FromEnv(text) => visitor.visit_str(text),
            Kind::List(items) => visitor.visit_seq(Items { items: items.iter().enumerate() }),
            Kind::Map(entries) => visitor.visit_map(Entries::new(entries)),
        };
        read.map_err(|error| error.or_line(line))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.as_bool() {
            Some(b) => visitor.visit_bool(b),
            None => self.wanted("`true` or `false`", ""),
        }
    }

    whole_numbers!(deserialize_i8 i8, deserialize_i16 i16, deserialize_i32 i32, deserialize_i64 i64);
    whole_numbers!(deserialize_u8 u8, deserialize_u16 u16, deserialize_u32 u32, deserialize_u64 u64);

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.as_float() {
            Some(n) => visitor.visit_f64(n),
            None => self.wanted("a number", ""),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match (self.text(), &self.node.kind) {
            (Some(text), _) => visitor.visit_str(text).map_err(|error: ConfigError| error.or_line(self.node.line)),
            (None, Kind::Int(_) | Kind::Float(_) | Kind::Bool(_)) => {
                self.wanted("text", "put the value between quotes")
            }
            (None, Kind::Null) => self.wanted("text", "write `\"\"` for empty text, or take the key out"),
            _ => self.wanted("text", ""),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.node.kind {
            Kind::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, ConfigError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match &self.node.kind {
            Kind::List(items) => visitor.visit_seq(Items { items: items.iter().enumerate() }),
            // A list whose items are all commented out.
            Kind::Null => visitor.visit_seq(Items { items: [].iter().enumerate() }),
            _ => self.wanted("a list", "begin each item with `- `"),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match &self.node.kind {
            Kind::Map(entries) => visitor.visit_map(Entries::new(entries)),
            // A section whose keys are all commented out.
            Kind::Null => visitor.visit_map(Entries::new(&[])),
            _ => self.wanted("a section with keys", "write the keys below it, indented"),
        }
        .map_err(|error| error.or_line(self.node.line))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        let Some(text) = self.text() else {
            return self.wanted(&format!("one of {}", super::suggest::list(variants)), "");
        };
        if !variants.contains(&text) && matches!(self.node.kind, Kind::FromEnv(_)) {
            return self.wanted(&format!("one of {}", super::suggest::list(variants)), "");
        }
        let word: StrDeserializer<'_, ConfigError> = text.into_deserializer();
        visitor.visit_enum(word).map_err(|error| error.or_line(self.node.line))
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

struct Items<'de> {
    items: std::iter::Enumerate<std::slice::Iter<'de, Arc<Node>>>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = ConfigError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ConfigError> {
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        let read = seed.deserialize(De { node, secret: false });
        read.map(Some).map_err(|error| error.or_line(node.line).under(&index.to_string()))
    }
}

struct Entries<'de> {
    entries: std::slice::Iter<'de, (Key, Arc<Node>)>,
    value: Option<(&'de Key, &'de Node)>,
}

impl<'de> Entries<'de> {
    fn new(entries: &'de [(Key, Arc<Node>)]) -> Self {
        Self { entries: entries.iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = ConfigError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ConfigError> {
        let Some((key, node)) = self.entries.next() else { return Ok(None) };
        self.value = Some((key, node));
        let word: StrDeserializer<'_, ConfigError> = key.text.as_str().into_deserializer();
        seed.deserialize(word).map(Some).map_err(|error| error.or_line(key.line))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ConfigError> {
        let Some((key, node)) = self.value.take() else {
            return Err(ConfigError::custom("a value was asked for before its key"));
        };
        let secret = SECRET_KEYS.contains(&key.text.as_str());
        let read = seed.deserialize(De { node, secret });
        read.map_err(|error| error.or_line(node.line).under(&shorten(&key.text)))
    }
}
