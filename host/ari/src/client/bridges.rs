//! Verbs on bridges.

use serde_json::json;

use super::{AriClient, BridgeType};
use crate::error::{AriError, gone_is_done};
use crate::model::Bridge;

impl AriClient {
    /// Makes a bridge with an id chosen by the caller. `name` may be empty.
    ///
    /// # Errors
    /// [`AriError::Conflict`] when the id is taken; any other.
    pub async fn create_bridge(&self, bridge_id: &str, kind: BridgeType, name: &str) -> Result<Bridge, AriError> {
        let body = json!({ "type": kind.wire(), "name": name });
        self.post_typed(&["bridges", bridge_id], &body).await
    }

    /// One bridge.
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn get_bridge(&self, bridge_id: &str) -> Result<Bridge, AriError> {
        self.get_typed(&["bridges", bridge_id]).await
    }

    /// All bridges of this Asterisk.
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn list_bridges(&self) -> Result<Vec<Bridge>, AriError> {
        self.get_typed(&["bridges"]).await
    }

    /// Puts channels into a bridge, all or none. Asterisk answers when they are in,
    /// and a channel finishes first what it does (a playback, sending digits): stop
    /// a long prompt before, or this runs into the time limit.
    ///
    /// # Errors
    /// [`AriError::gone`] when the bridge or one of the channels is gone;
    /// [`AriError::Unprocessable`] when one is not in a Stasis application (yet);
    /// any other.
    pub async fn add_to_bridge(&self, bridge_id: &str, channel_ids: &[&str]) -> Result<(), AriError> {
        let body = json!({ "channel": channel_ids });
        self.post_done(&["bridges", bridge_id, "addChannel"], Some(&body)).await
    }

    /// Takes a channel out of a bridge. When the bridge or the channel is gone, or
    /// the channel is not in this bridge, that is success. One channel at a time,
    /// because Asterisk takes none out when one of a list is gone.
    ///
    /// # Errors
    /// Any other [`AriError`].
    pub async fn remove_from_bridge(&self, bridge_id: &str, channel_id: &str) -> Result<(), AriError> {
        let body = json!({ "channel": [channel_id] });
        let path = ["bridges", bridge_id, "removeChannel"];
        match gone_is_done(self.post_done(&path, Some(&body)).await) {
            Err(AriError::Unprocessable { message, .. }) if message.contains("not in this bridge") => Ok(()),
            outcome => outcome,
        }
    }

    /// Ends a bridge; its channels stay. A bridge that is gone is success.
    ///
    /// # Errors
    /// Any [`AriError`] but not found.
    pub async fn destroy_bridge(&self, bridge_id: &str) -> Result<(), AriError> {
        let outcome = self.delete(&["bridges", bridge_id], &[]).await;
        gone_is_done(outcome.map(drop))
    }
}
