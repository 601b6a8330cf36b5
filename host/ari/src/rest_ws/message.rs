//! Request and answer as messages.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::address::{encode_segment, percent_encode};
use crate::error::AriError;
use crate::model::null_as_default;

/// Longest request as a message. Asterisk reads frames of up to 65,535 bytes and answers a longer one by closing the
/// connection with 1009, which costs all events too (measured, 22.10).
pub const REQUEST_MAX_BYTES: usize = 65_000;

#[derive(Serialize)]
struct RestRequest<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    request_id: &'a str,
    method: &'a str,
    uri: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_body: Option<String>,
}

/// The answer, as far as it matters: what else it holds repeats the request.
#[derive(Debug, Deserialize)]
pub(crate) struct RestResponse {
    #[serde(default, deserialize_with = "null_as_default")]
    pub(super) request_id: String,
    pub(super) status_code: u16,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(super) message_body: String,
}

/// The resource without the leading slash, and its query.
pub(super) fn uri(path: &[&str], query: &[(&str, &str)]) -> Result<String, AriError> {
    let mut uri = String::new();
    for segment in path {
        if !uri.is_empty() {
            uri.push('/');
        }
        uri.push_str(&encode_segment(segment)?);
    }
    for (n, (name, value)) in query.iter().enumerate() {
        uri.push(if n == 0 { '?' } else { '&' });
        uri.push_str(&percent_encode(name));
        uri.push('=');
        uri.push_str(&percent_encode(value));
    }
    Ok(uri)
}

/// The whole message.
pub(super) fn request(id: &str, method: &Method, uri: &str, body: Option<&Value>) -> Result<String, AriError> {
    let request = RestRequest {
        kind: "RESTRequest",
        request_id: id,
        method: method.as_str(),
        uri,
        content_type: body.map(|_| "application/json"),
        message_body: body.map(Value::to_string),
    };
    let text = serde_json::to_string(&request)
        .map_err(|error| AriError::invalid(format!("the request cannot be written as JSON: {error}")))?;
    if text.len() > REQUEST_MAX_BYTES {
        return Err(AriError::invalid(format!(
            "a request of {} bytes is too long for the events connection, which takes {REQUEST_MAX_BYTES}; send it over HTTP",
            text.len()
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    #[test]
    fn ids_and_queries_are_encoded_and_the_body_is_text_within_the_message() {
        let uri = uri(&["recordings", "stored", "a/b c"], &[("x", "1&2"), ("y", "ä")]).unwrap();
        assert_eq!(uri, "recordings/stored/a%2Fb%20c?x=1%262&y=%C3%A4");
        let text = request("7", &Method::POST, &uri, Some(&json!({"a": "\"b\""}))).unwrap();
        let message: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            message,
            json!({"type": "RESTRequest", "request_id": "7", "method": "POST", "uri": uri,
                   "content_type": "application/json", "message_body": r#"{"a":"\"b\""}"#})
        );
        assert!(!request("7", &Method::GET, "x", None).unwrap().contains("content_type"));
    }

    #[test]
    fn an_answer_needs_only_a_status() {
        let answer: RestResponse = serde_json::from_str(r#"{"type":"RESTResponse","status_code":204}"#).unwrap();
        assert_eq!((answer.status_code, answer.request_id.as_str(), answer.message_body.as_str()), (204, "", ""));
        for bad in [r#"{"status_code":70000}"#, r#"{"status_code":-1}"#, r#"{"request_id":"1"}"#] {
            assert!(serde_json::from_str::<RestResponse>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_request_that_asterisk_would_close_the_connection_for_is_refused_here() {
        let body = json!({ "x": "y".repeat(REQUEST_MAX_BYTES) });
        let error = request("7", &Method::POST, "x", Some(&body)).unwrap_err();
        assert!(matches!(error, AriError::InvalidInput { .. }), "{error:?}");
        for path in [&["a", ".."][..], &["", "b"], &["a\r\nb"]] {
            assert!(uri(path, &[]).is_err(), "{path:?}");
        }
    }
}
