//! Verbs on bridges.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::media::moh;
use super::{AriClient, BridgeType, CreateBridge, JoinOptions, Play, Record, to_body};
use crate::error::{AriError, gone_is_done};
use crate::model::{Bridge, LiveRecording, Playback};

impl AriClient {
    /// Makes a bridge with an id chosen by the caller. `name` may be empty.
    ///
    /// # Errors
    /// [`AriError::Conflict`] when the id is taken; any other.
    pub async fn create_bridge(&self, bridge_id: &str, kind: BridgeType, name: &str) -> Result<Bridge, AriError> {
        let body = json!({ "type": kind.wire(), "name": name });
        self.post_typed(&["bridges", bridge_id], &body).await
    }

    /// Makes a bridge, with more to say about it than [`AriClient::create_bridge`]. Variables are set by a second request,
    /// because 22.10 refuses those that come with the first; where that fails, the bridge is ended again.
    ///
    /// # Errors
    /// [`AriError::Conflict`] when the id is taken; [`AriError::NotFound`] for variables where Asterisk is too old for
    /// them; any other.
    pub async fn create_bridge_with(&self, bridge: &CreateBridge) -> Result<Bridge, AriError> {
        let body = to_body(bridge)?;
        let made: Bridge = match &bridge.bridge_id {
            Some(id) => self.post_typed(&["bridges", id], &body).await?,
            None => self.post_typed(&["bridges"], &body).await?,
        };
        if bridge.variables.is_empty() {
            return Ok(made);
        }
        if let Err(error) = self.set_bridge_variables(&made.id, &bridge.variables).await {
            // The first error is the one that tells what is wrong.
            let _ = self.destroy_bridge(&made.id).await;
            return Err(error);
        }
        Ok(made)
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

    /// Puts channels into a bridge in a certain way; otherwise as [`AriClient::add_to_bridge`].
    ///
    /// # Errors
    /// As [`AriClient::add_to_bridge`].
    pub async fn add_to_bridge_as(
        &self,
        bridge_id: &str,
        channel_ids: &[&str],
        options: &JoinOptions,
    ) -> Result<(), AriError> {
        let mut body = to_body(options)?;
        if let Value::Object(fields) = &mut body {
            fields.insert("channel".to_owned(), json!(channel_ids));
        }
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
        self.end(&["bridges", bridge_id], &[]).await
    }

    /// Plays music on hold to all in the bridge; `None`: the default class. A class that does not exist is not reported.
    ///
    /// # Errors
    /// [`AriError::NotFound`] when the bridge is gone; any other.
    pub async fn start_bridge_moh(&self, bridge_id: &str, class: Option<&str>) -> Result<(), AriError> {
        self.post_done(&["bridges", bridge_id, "moh"], moh(class).as_ref()).await
    }

    /// Ends the music. A bridge that is gone, or that has none, is success.
    ///
    /// # Errors
    /// Any [`AriError`] but not found.
    pub async fn stop_bridge_moh(&self, bridge_id: &str) -> Result<(), AriError> {
        self.end(&["bridges", bridge_id, "moh"], &[]).await
    }

    /// Queues media for all in the bridge. That it is over is told by `PlaybackFinished` with the same id.
    ///
    /// # Errors
    /// [`AriError::NotFound`] when the bridge is gone; any other.
    pub async fn play_on_bridge(&self, bridge_id: &str, play: &Play) -> Result<Playback, AriError> {
        if play.media.is_empty() {
            return Err(AriError::invalid("play has no media; give at least one"));
        }
        let path = ["bridges", bridge_id, "play", &play.playback_id];
        self.post_typed(&path, &to_body(play)?).await
    }

    /// Records what is heard in the bridge: all its channels, mixed. Otherwise as [`AriClient::record`].
    ///
    /// # Errors
    /// As [`AriClient::record`].
    pub async fn record_bridge(&self, bridge_id: &str, record: &Record) -> Result<LiveRecording, AriError> {
        self.post_typed(&["bridges", bridge_id, "record"], &to_body(record)?).await
    }

    /// Makes one channel's picture the one that everybody in the bridge sees.
    ///
    /// # Errors
    /// [`AriError::Unprocessable`] when the channel is not in this bridge; [`AriError::NotFound`] when either is gone;
    /// any other.
    pub async fn set_video_source(&self, bridge_id: &str, channel_id: &str) -> Result<(), AriError> {
        self.post_done(&["bridges", bridge_id, "videoSource", channel_id], None).await
    }

    /// Ends that: nobody's picture is the one that is seen. A bridge that is gone is success.
    ///
    /// # Errors
    /// Any [`AriError`] but not found.
    pub async fn clear_video_source(&self, bridge_id: &str) -> Result<(), AriError> {
        self.end(&["bridges", bridge_id, "videoSource"], &[]).await
    }

    /// Reads a bridge variable; `None` when it is not set (20.20, 22.10, 23.4 and later).
    ///
    /// # Errors
    /// [`AriError::NotFound`] when the bridge is gone; any other.
    pub async fn get_bridge_variable(&self, bridge_id: &str, name: &str) -> Result<Option<String>, AriError> {
        self.variable_at(&["bridges", bridge_id, "variable"], name).await
    }

    /// Sets a bridge variable (20.20, 22.10, 23.4 and later).
    ///
    /// # Errors
    /// [`AriError::NotFound`] when the bridge is gone; any other.
    pub async fn set_bridge_variable(&self, bridge_id: &str, name: &str, value: &str) -> Result<(), AriError> {
        let body = json!({ "variable": name, "value": value });
        self.post_done(&["bridges", bridge_id, "variable"], Some(&body)).await
    }

    /// Sets a variable of a bridge, which from then on is in [`Bridge::bridgevars`] of this bridge's events and answers.
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn set_reported_bridge_variable(&self, bridge_id: &str, name: &str, value: &str) -> Result<(), AriError> {
        let body = json!({ "variable": name, "value": value, "report_events": true });
        self.post_done(&["bridges", bridge_id, "variable"], Some(&body)).await
    }

    /// Reads several bridge variables at once; as [`AriClient::get_variables`].
    ///
    /// # Errors
    /// As [`AriClient::get_variables`].
    pub async fn get_bridge_variables(
        &self,
        bridge_id: &str,
        names: &[&str],
    ) -> Result<BTreeMap<String, String>, AriError> {
        self.variables_at(&["bridges", bridge_id, "variables"], names).await
    }

    /// Sets several bridge variables at once (20.20, 22.10, 23.4 and later).
    ///
    /// # Errors
    /// [`AriError::NotFound`] when the bridge is gone; any other.
    pub async fn set_bridge_variables(
        &self,
        bridge_id: &str,
        variables: &BTreeMap<String, String>,
    ) -> Result<(), AriError> {
        let body = json!({ "variables": variables });
        self.post_done(&["bridges", bridge_id, "variables"], Some(&body)).await
    }
}
