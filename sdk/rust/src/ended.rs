//! What is left of a call.

use std::time::Duration;

use crate::bindings::hook::exports::voxtra::call::hangup_hook::EndedCall as ContractEndedCall;
use crate::time::from_ms;
use crate::{CallInfo, EndReason};

/// A call that is over, for [`on_hangup`](macro@crate::on_hangup).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedCall {
    /// What was known of it from its start.
    pub info: CallInfo,
    /// Why it is over.
    pub reason: EndReason,
    /// From the answer to the end; zero when it was never answered.
    pub duration: Duration,
    /// The notes that were kept with it, as they were at the end.
    pub metadata: Vec<(String, String)>,
}

impl EndedCall {
    /// One note, or none of that name.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

impl From<ContractEndedCall> for EndedCall {
    fn from(call: ContractEndedCall) -> Self {
        let ContractEndedCall { info, reason, duration_ms, metadata } = call;
        Self { info, reason, duration: from_ms(duration_ms), metadata }
    }
}
