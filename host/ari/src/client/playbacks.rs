//! Verbs on playbacks, on whatever they play.

use serde_json::json;

use super::{AriClient, PlaybackControl};
use crate::error::AriError;
use crate::model::Playback;

impl AriClient {
    /// A playback that has not ended.
    ///
    /// # Errors
    /// [`AriError::NotFound`] when it has ended; any other.
    pub async fn get_playback(&self, playback_id: &str) -> Result<Playback, AriError> {
        self.get_typed(&["playbacks", playback_id]).await
    }

    /// Stops a playback. One that has ended is success.
    ///
    /// # Errors
    /// Any [`AriError`] but not found.
    pub async fn stop_playback(&self, playback_id: &str) -> Result<(), AriError> {
        self.end(&["playbacks", playback_id], &[]).await
    }

    /// Pauses a playback, goes on, restarts it, or moves it back and forth.
    ///
    /// # Errors
    /// [`AriError::NotFound`] when it has ended; [`AriError::Conflict`] when it cannot do that now, for example because
    /// it is still queued; any other.
    pub async fn control_playback(&self, playback_id: &str, operation: PlaybackControl) -> Result<(), AriError> {
        let body = json!({ "operation": operation.wire() });
        self.post_done(&["playbacks", playback_id, "control"], Some(&body)).await
    }
}
