//! What can go wrong with ARI, one variant for each thing that a caller would
//! do something different about.

use std::time::Duration;

/// Longest piece of a foreign message that is quoted in an error.
const QUOTE_MAX_CHARS: usize = 300;

/// The outcome of an ARI request that did not succeed.
///
/// `call` is the method and the percent-encoded path, never the query, the body
/// or the credentials. `message` is what Asterisk said, shortened, controls removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AriError {
    /// 401: unknown user or wrong password.
    #[error("{call}: Asterisk refused the user {user:?} ({message}); check user and password against ari.conf")]
    Unauthorised {
        /// Method and path.
        call: String,
        /// The user that was refused.
        user: String,
        /// What Asterisk said.
        message: String,
    },
    /// 403: the user is known but may not do this.
    #[error("{call}: the ARI user may not do this ({message}); set read_only = no in ari.conf")]
    Forbidden {
        /// Method and path.
        call: String,
        /// What Asterisk said.
        message: String,
    },
    /// 404 from ARI: the channel, bridge or playback is not there (any more). A 404
    /// from anything else at the address is [`AriError::Malformed`].
    #[error("{call}: not found ({message}); it has ended, or this Asterisk does not have it")]
    NotFound {
        /// Method and path.
        call: String,
        /// What Asterisk said.
        message: String,
    },
    /// 409 (and 412): the state does not allow it: the channel is not in a Stasis
    /// application, the id is taken, a recording is in progress.
    #[error("{call}: the state does not allow it ({message}); retry when the state has changed")]
    Conflict {
        /// Method and path.
        call: String,
        /// What Asterisk said.
        message: String,
    },
    /// 422: understood, but it cannot be done with these arguments.
    #[error("{call}: cannot be done with these arguments ({message})")]
    Unprocessable {
        /// Method and path.
        call: String,
        /// What Asterisk said.
        message: String,
    },
    /// 400: an argument is missing or wrong. `addChannel` also says so for a
    /// channel that is gone: see [`AriError::gone`].
    #[error("{call}: Asterisk did not accept the arguments ({message}); correct them")]
    BadRequest {
        /// Method and path.
        call: String,
        /// What Asterisk said.
        message: String,
    },
    /// 5xx, and any other status that has no variant of its own.
    #[error("{call}: Asterisk answered {status} ({message}); see its log for the cause")]
    Server {
        /// Method and path.
        call: String,
        /// The HTTP status.
        status: u16,
        /// What Asterisk said.
        message: String,
    },
    /// No answer at all: refused, reset, unknown host, TLS failure.
    #[error("{call}: no connection to Asterisk ({detail}); check that it runs and that the address is right")]
    Transport {
        /// Method and path.
        call: String,
        /// The chain of causes.
        detail: String,
    },
    /// The time limit passed. Whether Asterisk carried the request out is unknown.
    #[error("{call}: no complete answer within {limit_ms} ms; Asterisk is overloaded or unreachable")]
    Timeout {
        /// Method and path.
        call: String,
        /// The limit that passed.
        limit_ms: u64,
    },
    /// An answer that is not what ARI promises: not JSON, wrong shape, too long.
    #[error("{call}: the answer is not what ARI promises ({detail}); is this address Asterisk's ARI?")]
    Malformed {
        /// Method and path.
        call: String,
        /// What is wrong with it.
        detail: String,
    },
    /// What Asterisk sent could not be written where the caller wanted it.
    #[error("{call}: what came could not be written ({detail}); check the disk or whatever it is written to")]
    Output {
        /// Method and path.
        call: String,
        /// What the writer said.
        detail: String,
    },
    /// Refused here, before anything was sent.
    #[error("{what}")]
    InvalidInput {
        /// What is wrong, and what to do.
        what: String,
    },
}

impl AriError {
    /// True when what was addressed does not exist (any more): a 404, or the 400
    /// by which `addChannel` and `removeChannel` report a channel that is gone.
    #[must_use]
    pub fn gone(&self) -> bool {
        match self {
            // What ARI says of a verb that this version does not have.
            Self::NotFound { message, .. } => message != "Resource not found",
            Self::BadRequest { message, .. } => message.contains("Channel not found"),
            _ => false,
        }
    }

    /// True when the same request may succeed later without any change: no
    /// connection, time limit, or a failure inside Asterisk.
    #[must_use]
    pub fn transient(&self) -> bool {
        match self {
            Self::Transport { .. } | Self::Timeout { .. } => true,
            Self::Server { status, .. } => *status >= 500,
            _ => false,
        }
    }

    /// The error for an HTTP status that is not a success.
    pub(crate) fn from_status(call: &str, user: &str, status: u16, body: &[u8]) -> Self {
        let call = call.to_owned();
        let message = message_of(body);
        match status {
            400 => Self::BadRequest { call, message },
            401 => Self::Unauthorised { call, user: user.to_owned(), message },
            403 => Self::Forbidden { call, message },
            404 if !from_ari(body) => Self::Malformed { call, detail: format!("404 from something else: {message}") },
            404 => Self::NotFound { call, message },
            409 | 412 => Self::Conflict { call, message },
            422 => Self::Unprocessable { call, message },
            _ => Self::Server { call, status, message },
        }
    }

    pub(crate) fn timeout(call: &str, limit: Duration) -> Self {
        Self::Timeout { call: call.to_owned(), limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX) }
    }

    pub(crate) fn transport(call: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Transport { call: call.to_owned(), detail: chain(error) }
    }

    pub(crate) fn output(call: &str, error: &std::io::Error) -> Self {
        Self::Output { call: call.to_owned(), detail: chain(error) }
    }

    pub(crate) fn malformed(call: &str, detail: impl Into<String>) -> Self {
        Self::Malformed { call: call.to_owned(), detail: detail.into() }
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::InvalidInput { what: what.into() }
    }
}

/// Turns "it is gone" into success, for verbs that end something.
pub(crate) fn gone_is_done(outcome: Result<(), AriError>) -> Result<(), AriError> {
    match outcome {
        Err(error) if error.gone() => Ok(()),
        other => other,
    }
}

/// ARI's own refusals are JSON objects; a web server's are pages.
fn from_ari(body: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|value| value.is_object())
}

/// What a failed request's body says: ARI's `{"message": …}` (or `{"error": …}`),
/// else the text itself with its markup taken out.
fn message_of(body: &[u8]) -> String {
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) {
        for key in ["message", "error"] {
            if let Some(text) = value.get(key).and_then(serde_json::Value::as_str) {
                return quote(text);
            }
        }
    }
    let text = String::from_utf8_lossy(body);
    let mut plain = String::new();
    let mut in_tag = false;
    for character in text.chars() {
        match character {
            '<' => in_tag = true,
            '>' => {
                in_tag = false;
                plain.push(' ');
            }
            _ if !in_tag => plain.push(character),
            _ => {}
        }
    }
    let said = quote(&plain);
    if said.is_empty() { "no message".to_owned() } else { said }
}

/// Foreign text made fit for one line of a log: controls become spaces, runs of
/// spaces one, and the length is capped.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::new();
    let mut length = 0;
    for word in text.split(|c: char| c.is_control() || c.is_whitespace()) {
        if word.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        for character in word.chars() {
            if length == QUOTE_MAX_CHARS {
                out.push('…');
                return out;
            }
            out.push(character);
            length += 1;
        }
    }
    out
}

/// An error with all its causes: "a: b: c", without saying anything twice.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    quote(&text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn each_status_has_its_own_variant_and_keeps_what_asterisk_said() {
        let of = |status| AriError::from_status("GET /ari/x", "bob", status, br#"{"message":"Channel not found"}"#);
        assert!(matches!(of(400), AriError::BadRequest { message, .. } if message == "Channel not found"));
        assert!(matches!(of(401), AriError::Unauthorised { user, .. } if user == "bob"));
        assert!(matches!(of(403), AriError::Forbidden { .. }));
        assert!(matches!(of(404), AriError::NotFound { .. }));
        assert!(matches!(of(409), AriError::Conflict { .. }));
        assert!(matches!(of(412), AriError::Conflict { .. }));
        assert!(matches!(of(422), AriError::Unprocessable { .. }));
        assert!(matches!(of(500), AriError::Server { status: 500, .. }));
        assert!(matches!(of(302), AriError::Server { status: 302, .. }));
    }

    #[test]
    fn gone_is_a_404_or_the_400_of_a_bridge_for_a_missing_channel() {
        let of = |status, body: &[u8]| AriError::from_status("x", "u", status, body).gone();
        assert!(of(404, br#"{"message":"Playback not found"}"#));
        assert!(!of(404, br#"{"message":"Resource not found"}"#));
        assert!(of(400, br#"{"message":"Channel not found"}"#));
        assert!(!of(400, br#"{"message":"Invalid parameter"}"#));
        assert!(!of(500, br#"{"message":"Channel not found"}"#));
    }

    #[test]
    fn a_404_that_is_not_aris_does_not_count_as_gone() {
        let page = b"<html><h1>Not Found</h1></html>";
        let error = AriError::from_status("GET /x/ari/asterisk/ping", "u", 404, page);
        assert!(matches!(error, AriError::Malformed { .. }) && !error.gone());
        assert!(error.to_string().contains("is this address Asterisk's ARI?"));
    }

    #[test]
    fn a_foreign_message_cannot_break_a_log_line() {
        assert_eq!(message_of(br#"{"error":"Allocation failed"}"#), "Allocation failed");
        assert_eq!(message_of(b"<h1>Not\r\n Found</h1>\x1b[31m"), "Not Found [31m");
        assert_eq!(message_of(b""), "no message");
        let long = "x".repeat(5_000);
        assert_eq!(message_of(long.as_bytes()).chars().count(), QUOTE_MAX_CHARS + 1);
    }
}
