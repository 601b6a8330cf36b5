//! Verbs on events themselves: made-up ones, and calls that are offered to all applications.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::AriClient;
use crate::error::AriError;

impl AriClient {
    /// Sends `ChannelUserevent` with a name and values of one's own choice to an application, about things that ARI
    /// addresses as `channel:ID`, `bridge:ID` or `endpoint:TECH/RESOURCE` (`sources`, may be empty). No other application
    /// gets it, whatever it is subscribed to.
    ///
    /// # Errors
    /// [`AriError::NotFound`] when there is no such application; [`AriError::Unprocessable`] when a source does not exist
    /// (any more); any other.
    pub async fn send_user_event(
        &self,
        name: &str,
        application: &str,
        sources: &[&str],
        values: &BTreeMap<String, Value>,
    ) -> Result<(), AriError> {
        let mut body = json!({ "application": application });
        if let Value::Object(fields) = &mut body {
            if !sources.is_empty() {
                fields.insert("source".to_owned(), json!(sources));
            }
            if !values.is_empty() {
                fields.insert("variables".to_owned(), json!(values));
            }
        }
        self.post(&["events", "user", name], &[], Some(&body)).await.map(drop)
    }

    /// Takes a channel that was offered by [`Event::CallBroadcast`](crate::Event::CallBroadcast) for the client's own
    /// application. The first to do so gets it.
    ///
    /// # Errors
    /// [`AriError::NotFound`] when it is gone or is not offered; [`AriError::Conflict`] when another application has it;
    /// any other.
    pub async fn claim_call(&self, channel_id: &str) -> Result<(), AriError> {
        let body = json!({ "channelId": channel_id, "application": self.app() });
        self.post(&["events", "claim"], &[], Some(&body)).await.map(drop)
    }
}
