//! `on_failure`: what a caller gets whose handler failed.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

/// What happens when a handler fails: prompts first, then one more thing.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OnFailure {
    /// Prompts, in order. `None`: the host's own.
    #[serde(deserialize_with = "one_or_several")]
    pub(crate) play: Option<Vec<String>>,
    /// What follows.
    pub(crate) then: Then,
}

/// What follows the prompts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Then {
    /// `hangup`
    #[default]
    HangUp,
    /// `transfer:TARGET`
    Transfer(String),
    /// `handler:NAME`
    Handler(String),
}

impl<'de> Deserialize<'de> for Then {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(ThenVisitor)
    }
}

struct ThenVisitor;

impl Visitor<'_> for ThenVisitor {
    type Value = Then;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`hangup`, `transfer:TARGET` or `handler:NAME`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Then, E> {
        let named = |what: &str| (!what.trim().is_empty()).then(|| what.trim().to_owned());
        let read = match text.split_once(':') {
            None if matches!(text, "hangup" | "hang-up" | "hang_up") => Some(Then::HangUp),
            Some(("transfer", target)) => named(target).map(Then::Transfer),
            Some(("handler", name)) => named(name).map(Then::Handler),
            _ => None,
        };
        read.ok_or_else(|| E::invalid_value(de::Unexpected::Str(&super::suggest::shorten(text)), &self))
    }
}

fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    deserializer.deserialize_any(OneOrSeveral)
}

struct OneOrSeveral;

impl<'de> Visitor<'de> for OneOrSeveral {
    type Value = Option<Vec<String>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a prompt such as `sound:sorry`, or a list of prompts")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut prompts = Vec::new();
        while let Some(prompt) = items.next_element::<String>()? {
            prompts.push(prompt);
        }
        Ok(Some(prompts))
    }
}
