//! An address to listen on, or `off`.

use std::fmt;
use std::net::SocketAddr;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// Where something is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listen {
    /// Nowhere.
    Off,
    /// There. Port 0: one that is free.
    At(SocketAddr),
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListenVisitor)
    }
}

struct ListenVisitor;

impl Visitor<'_> for ListenVisitor {
    type Value = Listen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address such as `127.0.0.1:9464`, or `off`")
    }

    /// In YAML 1.1, a plain `off` is a truth value.
    fn visit_bool<E: de::Error>(self, on: bool) -> Result<Listen, E> {
        if on { Err(E::invalid_value(de::Unexpected::Bool(on), &self)) } else { Ok(Listen::Off) }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Listen, E> {
        match text.trim() {
            "off" => Ok(Listen::Off),
            address => match address.parse() {
                Ok(address) => Ok(Listen::At(address)),
                Err(_) => Err(E::invalid_value(de::Unexpected::Str(&super::suggest::shorten(text)), &self)),
            },
        }
    }
}
