//! Verbs on what a channel hears and says.
//!
//! Where nothing else is said, a channel that is gone is [`AriError::NotFound`],
//! and one that is not in a Stasis application [`AriError::Conflict`].

use serde_json::{Value, json};

use super::{AriClient, AudioDirection, Play, Record, SendDtmf, Snoop, to_body};
use crate::error::AriError;
use crate::model::{Channel, LiveRecording, Playback};

impl AriClient {
    /// Queues media on the channel. That it is over is told by `PlaybackFinished`
    /// with the same id, whose state also says whether it could be played.
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn play(&self, channel_id: &str, play: &Play) -> Result<Playback, AriError> {
        if play.media.is_empty() {
            return Err(AriError::invalid("play has no media; give at least one"));
        }
        let path = ["channels", channel_id, "play", &play.playback_id];
        self.post_typed(&path, &to_body(play)?).await
    }

    /// Queues digits to send; returns before they are sent.
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn send_dtmf(&self, channel_id: &str, digits: &SendDtmf) -> Result<(), AriError> {
        let body = to_body(digits)?;
        self.post_done(&["channels", channel_id, "dtmf"], Some(&body)).await
    }

    /// Holds: the far end is told so, by its own protocol. What it hears meanwhile is [`AriClient::start_moh`]'s.
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn hold(&self, channel_id: &str) -> Result<(), AriError> {
        self.post_done(&["channels", channel_id, "hold"], None).await
    }

    /// Ends holding. A channel that is gone is success.
    ///
    /// # Errors
    /// Any [`AriError`] but not found.
    pub async fn unhold(&self, channel_id: &str) -> Result<(), AriError> {
        self.end(&["channels", channel_id, "hold"], &[]).await
    }

    /// Plays music on hold, of a class of `musiconhold.conf`; `None`: the channel's own. A class that does not exist is
    /// not reported.
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn start_moh(&self, channel_id: &str, class: Option<&str>) -> Result<(), AriError> {
        self.post_done(&["channels", channel_id, "moh"], moh(class).as_ref()).await
    }

    /// Ends the music. A channel that is gone is success.
    ///
    /// # Errors
    /// Any [`AriError`] but not found.
    pub async fn stop_moh(&self, channel_id: &str) -> Result<(), AriError> {
        self.end(&["channels", channel_id, "moh"], &[]).await
    }

    /// Sends silence to the channel, for far ends that take no audio at all for a dead call.
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn start_silence(&self, channel_id: &str) -> Result<(), AriError> {
        self.post_done(&["channels", channel_id, "silence"], None).await
    }

    /// Ends sending silence. A channel that is gone is success.
    ///
    /// # Errors
    /// Any [`AriError`] but not found.
    pub async fn stop_silence(&self, channel_id: &str) -> Result<(), AriError> {
        self.end(&["channels", channel_id, "silence"], &[]).await
    }

    /// Mutes a channel: `In`, so that it is not heard; `Out`, so that it hears nothing; or `Both`. A playback on the
    /// channel itself is finished first (measured, 22.10); stop it, if it should not be.
    ///
    /// # Errors
    /// [`AriError::BadRequest`] for `None`; any other.
    pub async fn mute(&self, channel_id: &str, direction: AudioDirection) -> Result<(), AriError> {
        let body = json!({ "direction": direction.wire() });
        self.post_done(&["channels", channel_id, "mute"], Some(&body)).await
    }

    /// Ends muting in a direction. A channel that is gone is success.
    ///
    /// # Errors
    /// [`AriError::BadRequest`] for `None`; any other but not found.
    pub async fn unmute(&self, channel_id: &str, direction: AudioDirection) -> Result<(), AriError> {
        self.end(&["channels", channel_id, "mute"], &[("direction", direction.wire())]).await
    }

    /// Records what the channel says, not what it hears. That it is over is told by `RecordingFinished` or
    /// `RecordingFailed` with the same name; until then it is addressed by its name: [`AriClient::stop_recording`].
    /// A channel cannot be recorded so while it is in a bridge (409): record the bridge, or a snoop channel.
    ///
    /// # Errors
    /// [`AriError::Conflict`] also when there is a recording of that name; [`AriError::Unprocessable`] for a format that
    /// Asterisk has not; [`AriError::BadRequest`] for a name that leads out of its folder; any other.
    pub async fn record(&self, channel_id: &str, record: &Record) -> Result<LiveRecording, AriError> {
        self.post_typed(&["channels", channel_id, "record"], &to_body(record)?).await
    }

    /// Makes a channel that hears another one, speaks into it, or both. Wait for *its* `StasisStart` before doing
    /// anything with it.
    ///
    /// # Errors
    /// [`AriError::BadRequest`] when it neither hears nor speaks; any other.
    pub async fn snoop(&self, channel_id: &str, snoop: &Snoop) -> Result<Channel, AriError> {
        let mut body = to_body(snoop)?;
        if let (Value::Object(fields), None) = (&mut body, &snoop.app) {
            fields.insert("app".to_owned(), Value::String(self.app().to_owned()));
        }
        self.post_typed(&["channels", channel_id, "snoop"], &body).await
    }
}

/// The body of starting music on hold.
pub(super) fn moh(class: Option<&str>) -> Option<Value> {
    class.map(|class| json!({ "mohClass": class }))
}
