//! Components that are not asked what a call does: which handler takes it, and what becomes of an event.

use crate::bindings::filter::voxtra::call::filtering;
use crate::bindings::router::voxtra::call::routing;

/// What a function that [`router`](macro@crate::router) marks answers when it decides.
///
/// ```
/// use voxtra_sdk::Decision;
///
/// let decision = Decision::handler("support").metadata("tier", "gold");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    handler: String,
    metadata: Vec<(String, String)>,
}

impl Decision {
    /// The tenant's handler of that name takes the call.
    pub fn handler(name: impl Into<String>) -> Self {
        Self { handler: name.into(), metadata: Vec::new() }
    }

    /// Keeps one note with the call.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    pub(crate) fn into_contract(self) -> routing::Decision {
        routing::Decision { handler: self.handler, metadata: self.metadata }
    }
}

/// An event before it leaves the host, for a function that [`filter`](macro@crate::filter) marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingEvent {
    /// Unique.
    pub id: String,
    /// Such as `call.ended`.
    pub kind: String,
    /// The call's id.
    pub session_id: String,
    /// RFC 3339, UTC.
    pub timestamp: String,
    /// A JSON object.
    pub data_json: String,
}

/// What becomes of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It leaves as it is.
    Keep,
    /// It leaves with these data, a JSON object.
    Change(String),
    /// It does not leave.
    Drop,
}

impl Verdict {
    pub(crate) fn into_contract(self) -> filtering::Verdict {
        match self {
            Self::Keep => filtering::Verdict::Keep,
            Self::Change(data_json) => filtering::Verdict::Change(data_json),
            Self::Drop => filtering::Verdict::Drop,
        }
    }
}

impl From<filtering::OutgoingEvent> for OutgoingEvent {
    fn from(event: filtering::OutgoingEvent) -> Self {
        let filtering::OutgoingEvent { id, kind, session_id, timestamp, data_json } = event;
        Self { id, kind, session_id, timestamp, data_json }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_reaches_the_host_with_its_notes() {
        let decision = Decision::handler("support").metadata("tier", "gold").into_contract();
        assert_eq!(decision.handler, "support");
        assert_eq!(decision.metadata, [("tier".to_owned(), "gold".to_owned())]);
    }
}
