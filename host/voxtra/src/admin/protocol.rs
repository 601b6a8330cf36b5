//! What can be asked, and how answers look.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A question, as one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Question {
    /// All calls that are up.
    Sessions,
    /// One call.
    Session {
        /// Its id.
        id: String,
    },
    /// One call is to end.
    Hangup {
        /// Its id.
        id: String,
    },
    /// A batch is to begin.
    BatchStart {
        /// Whose it is.
        tenant: String,
        /// For people.
        name: String,
        /// The CSV file's text.
        csv: String,
        /// As on the command line.
        options: BatchQuestion,
    },
    /// All batches.
    Batches,
    /// How a batch stands.
    BatchStatus {
        /// Its id.
        id: String,
    },
    /// A batch begins no more calls.
    BatchCancel {
        /// Its id.
        id: String,
    },
    /// The result so far, as CSV.
    BatchResult {
        /// Its id.
        id: String,
    },
    /// All components that take calls.
    Handlers,
    /// What became current when.
    HandlerHistory(HandlerQuestion),
    /// New calls are to get an earlier version.
    HandlerRollBack(HandlerQuestion),
    /// A version is to stay whatever is put into the directory.
    HandlerPin(HandlerQuestion),
    /// What is in the directory counts again.
    HandlerUnpin(HandlerQuestion),
    /// Dead letters may have been asked for again: look now.
    WebhooksWake,
}

/// One handler, and perhaps one of its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HandlerQuestion {
    pub(crate) tenant: String,
    pub(crate) name: String,
    /// Its first digits; absent: the one before, or the current one.
    pub(crate) version: Option<String>,
    /// Who asks.
    pub(crate) by: String,
}

/// How a batch is to be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BatchQuestion {
    pub(crate) handler: Option<String>,
    pub(crate) caller_id: String,
    pub(crate) concurrency: u32,
    pub(crate) calls_per_10_s: u32,
    pub(crate) retries: String,
    pub(crate) hours: Option<String>,
    pub(crate) ring_timeout_ms: u32,
    pub(crate) detect_machine: bool,
}

/// An answer: what was asked for, or a sentence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    Ok(Value),
    Error(String),
}

impl Answer {
    pub(crate) fn into_result(self) -> anyhow::Result<Value> {
        match self {
            Self::Ok(value) => Ok(value),
            Self::Error(why) => Err(anyhow::anyhow!(why)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn questions_and_answers_are_plain_json() {
        let hangup: Question = serde_json::from_value(json!({"do": "hangup", "id": "1.2"})).unwrap();
        assert_eq!(hangup, Question::Hangup { id: "1.2".into() });
        assert_eq!(serde_json::to_value(Question::Sessions).unwrap(), json!({"do": "sessions"}));
        assert_eq!(serde_json::to_value(Answer::Error("no".into())).unwrap(), json!({"error": "no"}));
        assert!(serde_json::from_value::<Question>(json!({"do": "format-disk"})).is_err());
    }
}
