//! Errors of the adapter as a whole, and how ARI's errors become those of a call's verbs.

use voxtra_ari::AriError;
use voxtra_core::CallError;

/// Why an adapter cannot be made or cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AsteriskError {
    /// ARI refused or cannot be reached.
    #[error(transparent)]
    Ari(#[from] AriError),
    /// The options cannot be right; the sentence says what to change.
    #[error("{0}")]
    Options(String),
    /// The PBX lacks what the chosen media transport needs.
    #[error("{0}")]
    MediaUnavailable(String),
    /// The AudioSocket listener could not be opened.
    #[error("cannot listen for AudioSocket on {address} ({detail}); choose another address or a free port")]
    Listen {
        /// Where.
        address: String,
        /// What the system said.
        detail: String,
    },
}

/// What a verb that failed with this error says to the handler. Something that is gone means that the call is over.
pub(super) fn to_call_error(doing: &str, error: AriError) -> CallError {
    if error.gone() {
        return CallError::HungUp;
    }
    match error {
        AriError::InvalidInput { what } => CallError::InvalidArgument(what),
        other => CallError::Telephony(format!("{doing} failed: {other}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_channel_that_is_gone_is_a_call_that_is_over() {
        let gone = AriError::NotFound { call: "POST /x".into(), message: "Channel not found".into() };
        assert_eq!(to_call_error("answering", gone), CallError::HungUp);
    }

    #[test]
    fn a_refusal_is_one_sentence_that_says_what_was_being_done() {
        let refused = AriError::Conflict { call: "POST /x".into(), message: "not in Stasis".into() };
        let CallError::Telephony(sentence) = to_call_error("answering", refused) else { panic!() };
        assert!(sentence.starts_with("answering failed: ") && sentence.contains("not in Stasis"), "{sentence}");
    }
}
