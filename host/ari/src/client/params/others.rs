//! Arguments of the verbs on endpoints and applications.

use std::collections::BTreeMap;

use serde::Serialize;

/// A text message to send, outside any call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SendMessage {
    /// From whom: a URI with its technology, such as `pjsip:100@example.com`.
    pub from: String,
    /// What it says.
    pub body: String,
    /// Headers of the technology: for SIP, names that start with `X-` and the like.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
}

impl SendMessage {
    /// A message without headers of its own.
    pub fn new(from: impl Into<String>, body: impl Into<String>) -> Self {
        Self { from: from.into(), body: body.into(), variables: BTreeMap::new() }
    }

    /// Adds a header.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }
}

/// A request to an endpoint, outside any call, to call somebody (for SIP, an out-of-dialog REFER).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SendRefer {
    /// From whom: a URI with its technology.
    pub from: String,
    /// Whom it should call: a URI, or an endpoint `TECH/RESOURCE`.
    pub refer_to: String,
    /// Sends it to this Asterisk itself when true, instead of the endpoint. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub to_self: bool,
    /// Headers of the technology, and `display_name`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
}

impl SendRefer {
    /// A request without headers of its own.
    pub fn new(from: impl Into<String>, refer_to: impl Into<String>) -> Self {
        Self { from: from.into(), refer_to: refer_to.into(), ..Self::default() }
    }
}

/// Which events an application gets, by their `type`. `None` leaves the list as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventRules {
    /// Only these; empty: all.
    pub allowed: Option<Vec<String>>,
    /// Not these, even when they are allowed.
    pub disallowed: Option<Vec<String>>,
}

impl EventRules {
    /// The body of `PUT /applications/{name}/eventFilter`.
    pub(crate) fn body(&self) -> serde_json::Value {
        let types = |names: &Vec<String>| names.iter().map(|name| serde_json::json!({ "type": name })).collect();
        let mut body = serde_json::Map::new();
        for (key, names) in [("allowed", &self.allowed), ("disallowed", &self.disallowed)] {
            if let Some(names) = names {
                body.insert(key.to_owned(), serde_json::Value::Array(types(names)));
            }
        }
        serde_json::Value::Object(body)
    }
}
