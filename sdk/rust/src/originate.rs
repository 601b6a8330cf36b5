//! Calls of the handler's own, and places in the dialplan.

use std::time::Duration;

use crate::bindings::handler::voxtra::call::call_session::{self, OriginateOptions};
use crate::time::to_ms;

/// A call to be placed by [`Call::originate`](crate::Call::originate).
///
/// ```
/// use std::time::Duration;
/// use voxtra_sdk::Originate;
///
/// let agent = Originate::to("PJSIP/100").ring_timeout(Duration::from_secs(20)).metadata("role", "agent");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Originate {
    options: OriginateOptions,
}

impl Originate {
    /// To a number or an extension, or an endpoint such as `PJSIP/100`. It shows the tenant's number and rings for 30 s.
    pub fn to(target: impl Into<String>) -> Self {
        Self {
            options: OriginateOptions {
                to: target.into(),
                caller_id: String::new(),
                ring_timeout_ms: 0,
                variables: Vec::new(),
                metadata: Vec::new(),
            },
        }
    }

    /// The number to be shown.
    pub fn caller_id(mut self, number: impl Into<String>) -> Self {
        self.options.caller_id = number.into();
        self
    }

    /// How long it may ring; zero: 30 s.
    pub fn ring_timeout(mut self, timeout: Duration) -> Self {
        self.options.ring_timeout_ms = to_ms(timeout);
        self
    }

    /// Sets one variable of the new call at the PBX.
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.variables.push((name.into(), value.into()));
        self
    }

    /// Keeps one note with the new call.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.metadata.push((key.into(), value.into()));
        self
    }

    pub(crate) fn options(&self) -> &OriginateOptions {
        &self.options
    }
}

/// A place in the PBX's dialplan, for [`Call::continue_in_dialplan`](crate::Call::continue_in_dialplan).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DialplanPlace {
    /// `None`: the tenant's own, or where the call came from.
    pub context: Option<String>,
    /// `None`: the number that was dialled.
    pub extension: Option<String>,
    /// `None`: 1.
    pub priority: Option<u32>,
}

impl DialplanPlace {
    /// An extension of the tenant's own context.
    pub fn extension(extension: impl Into<String>) -> Self {
        Self { extension: Some(extension.into()), ..Self::default() }
    }

    pub(crate) fn to_contract(&self) -> call_session::DialplanPlace {
        call_session::DialplanPlace {
            dialplan_context: self.context.clone().unwrap_or_default(),
            extension: self.extension.clone().unwrap_or_default(),
            priority: self.priority.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_reaches_the_host_in_its_units() {
        let call = Originate::to("100").ring_timeout(Duration::from_secs(2)).variable("A", "1").metadata("b", "2");
        let options = call.options();
        assert_eq!((options.to.as_str(), options.ring_timeout_ms), ("100", 2_000));
        assert_eq!(options.variables, [("A".to_owned(), "1".to_owned())]);
        assert_eq!(options.metadata, [("b".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn what_is_not_said_is_left_to_the_host() {
        let place = DialplanPlace::extension("100").to_contract();
        assert_eq!((place.dialplan_context.as_str(), place.extension.as_str(), place.priority), ("", "100", 0));
    }
}
