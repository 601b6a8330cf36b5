//! Verbs on channels and their playbacks.
//!
//! Where nothing else is said, a channel that is gone is [`AriError::NotFound`],
//! and one that is not in a Stasis application [`AriError::Conflict`].

use serde::Serialize;
use serde_json::{Value, json};

use super::{AriClient, ContinueTo, ExternalMedia, HangupReason, Originate, Play, SendDtmf};
use crate::error::{AriError, gone_is_done};
use crate::model::{Channel, Playback};

impl AriClient {
    /// All channels of this Asterisk, also those of other applications.
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn list_channels(&self) -> Result<Vec<Channel>, AriError> {
        self.get_typed(&["channels"]).await
    }

    /// One channel.
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn get_channel(&self, channel_id: &str) -> Result<Channel, AriError> {
        self.get_typed(&["channels", channel_id]).await
    }

    /// Places a call and returns its channel, which does not ring yet. How it goes
    /// on is told by `Dial`, `StasisStart` and `ChannelDestroyed` events.
    ///
    /// # Errors
    /// [`AriError::Conflict`] when the id is taken; [`AriError::Server`] (500,
    /// "Allocation failed") when the endpoint cannot be called at all, for which
    /// 22.10 sometimes says 409 too; any other.
    pub async fn originate(&self, call: &Originate) -> Result<Channel, AriError> {
        let body = to_body(call)?;
        match &call.channel_id {
            Some(id) => self.post_typed(&["channels", id], &body).await,
            None => self.post_typed(&["channels"], &body).await,
        }
    }

    /// Answers. Answering twice is not an error.
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn answer(&self, channel_id: &str) -> Result<(), AriError> {
        self.post_done(&["channels", channel_id, "answer"], None).await
    }

    /// Hangs up. A channel that is gone is success.
    ///
    /// # Errors
    /// Any [`AriError`] but not found.
    pub async fn hangup(&self, channel_id: &str, reason: HangupReason) -> Result<(), AriError> {
        let (name, value) = reason.query();
        let outcome = self.delete(&["channels", channel_id], &[(name, &value)]).await;
        gone_is_done(outcome.map(drop))
    }

    /// Tells the caller that it rings.
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn ring(&self, channel_id: &str) -> Result<(), AriError> {
        self.post_done(&["channels", channel_id, "ring"], None).await
    }

    /// Stops telling so. A channel that is gone is success.
    ///
    /// # Errors
    /// Any [`AriError`] but not found.
    pub async fn ring_stop(&self, channel_id: &str) -> Result<(), AriError> {
        let outcome = self.delete(&["channels", channel_id, "ring"], &[]).await;
        gone_is_done(outcome.map(drop))
    }

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
        let outcome = self.delete(&["playbacks", playback_id], &[]).await;
        gone_is_done(outcome.map(drop))
    }

    /// Queues digits to send; returns before they are sent.
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn send_dtmf(&self, channel_id: &str, digits: &SendDtmf) -> Result<(), AriError> {
        let body = to_body(digits)?;
        self.post_done(&["channels", channel_id, "dtmf"], Some(&body)).await
    }

    /// Lets the channel leave Stasis and go on in the dialplan. A place that does
    /// not exist is not reported: the channel then hangs up.
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn continue_in_dialplan(&self, channel_id: &str, place: &ContinueTo) -> Result<(), AriError> {
        let body = to_body(place)?;
        self.post_done(&["channels", channel_id, "continue"], Some(&body)).await
    }

    /// Blind transfer: the channel's far end is sent to `endpoint` by its own
    /// protocol (for SIP, REFER or 302).
    ///
    /// # Errors
    /// [`AriError::Unprocessable`] when the endpoint's technology is another; any other.
    pub async fn redirect(&self, channel_id: &str, endpoint: &str) -> Result<(), AriError> {
        let body = json!({ "endpoint": endpoint });
        self.post_done(&["channels", channel_id, "redirect"], Some(&body)).await
    }

    /// Sets a channel variable (or a dialplan function's value).
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn set_variable(&self, channel_id: &str, name: &str, value: &str) -> Result<(), AriError> {
        let body = json!({ "variable": name, "value": value });
        self.post_done(&["channels", channel_id, "variable"], Some(&body)).await
    }

    /// Reads a channel variable (or a dialplan function); `None` when it is not set.
    ///
    /// # Errors
    /// [`AriError::NotFound`] when the channel is gone; any other.
    pub async fn get_variable(&self, channel_id: &str, name: &str) -> Result<Option<String>, AriError> {
        let path = ["channels", channel_id, "variable"];
        match self.get(&path, &[("variable", name)]).await {
            Ok(answer) => match answer.get("value") {
                Some(Value::String(value)) => Ok(Some(value.clone())),
                _ => Err(AriError::malformed("GET /ari/channels/…/variable", "it has no text \"value\"")),
            },
            // Both are 404; only the message tells a missing variable from a missing channel.
            Err(AriError::NotFound { message, .. }) if message.contains("variable") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a channel whose audio goes to and comes from another program. Wait for
    /// *its* StasisStart before adding it to a bridge (422 before).
    ///
    /// # Errors
    /// [`AriError::BadRequest`] for missing arguments; [`AriError::Server`] (500)
    /// when the AudioSocket server cannot be reached or its UUID is none; any other.
    pub async fn external_media(&self, media: &ExternalMedia) -> Result<Channel, AriError> {
        let mut body = to_body(media)?;
        if let Value::Object(fields) = &mut body {
            fields.insert("app".to_owned(), Value::String(self.app().to_owned()));
        }
        self.post_typed(&["channels", "externalMedia"], &body).await
    }
}

fn to_body<T: Serialize>(arguments: &T) -> Result<Value, AriError> {
    serde_json::to_value(arguments)
        .map_err(|error| AriError::invalid(format!("arguments cannot be written as JSON: {error}")))
}
