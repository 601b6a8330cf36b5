//! Verbs on channels: their lives, their ways, their variables. What is heard on them is in `media`.
//!
//! Where nothing else is said, a channel that is gone is [`AriError::NotFound`],
//! and one that is not in a Stasis application [`AriError::Conflict`].

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    AriClient, ContinueTo, CreateChannel, Dial, ExternalMedia, HangupReason, Originate, TransferState, to_body,
};
use crate::error::AriError;
use crate::model::{Channel, RtpStatistics};

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

    /// Makes a channel that calls nobody yet; [`AriClient::dial`] does. It is in its application at once
    /// (`StasisStart`), so it can be put into a bridge first.
    ///
    /// # Errors
    /// [`AriError::Conflict`] when the id is taken; [`AriError::Server`] (500) when there is no such technology; any
    /// other.
    pub async fn create_channel(&self, channel: &CreateChannel) -> Result<Channel, AriError> {
        self.post_typed(&["channels", "create"], &to_body(channel)?).await
    }

    /// Dials a channel that [`AriClient::create_channel`] has made. How it goes on is told by `Dial` events.
    ///
    /// # Errors
    /// [`AriError::Conflict`] when it has been dialled or is not in a Stasis application; any other.
    pub async fn dial(&self, channel_id: &str, dial: &Dial) -> Result<(), AriError> {
        let body = to_body(dial)?;
        self.post_done(&["channels", channel_id, "dial"], Some(&body)).await
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
        self.end(&["channels", channel_id], &[(name, &value)]).await
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
        self.end(&["channels", channel_id, "ring"], &[]).await
    }

    /// Tells the caller that something is to be heard before the call is answered (for SIP, 183; 20.16, 21.11, 22.6 and
    /// later).
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn progress(&self, channel_id: &str) -> Result<(), AriError> {
        self.post_done(&["channels", channel_id, "progress"], None).await
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

    /// Moves the channel to another Stasis application, with arguments separated by commas. An application that nobody
    /// is registered as is not reported: the channel then leaves Stasis.
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn move_to_app(&self, channel_id: &str, app: &str, app_args: Option<&str>) -> Result<(), AriError> {
        let mut body = json!({ "app": app });
        if let (Value::Object(fields), Some(arguments)) = (&mut body, app_args) {
            fields.insert("appArgs".to_owned(), Value::String(arguments.to_owned()));
        }
        self.post_done(&["channels", channel_id, "move"], Some(&body)).await
    }

    /// Tells who has asked for a transfer how it goes (20.13, 21.8, 22.3 and later).
    ///
    /// # Errors
    /// [`AriError::Conflict`] when no transfer has been asked for; any other.
    pub async fn transfer_progress(&self, channel_id: &str, state: TransferState) -> Result<(), AriError> {
        let body = json!({ "states": state.wire() });
        self.post_done(&["channels", channel_id, "transfer_progress"], Some(&body)).await
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

    /// Sets a channel variable, which from then on is in [`Channel::channelvars`] of this channel's events and answers.
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn set_reported_variable(&self, channel_id: &str, name: &str, value: &str) -> Result<(), AriError> {
        let body = json!({ "variable": name, "value": value, "report_events": true });
        self.post_done(&["channels", channel_id, "variable"], Some(&body)).await
    }

    /// Reads a channel variable (or a dialplan function); `None` when it is not set.
    ///
    /// # Errors
    /// [`AriError::NotFound`] when the channel is gone; any other.
    pub async fn get_variable(&self, channel_id: &str, name: &str) -> Result<Option<String>, AriError> {
        self.variable_at(&["channels", channel_id, "variable"], name).await
    }

    /// Sets several channel variables at once (20.20, 22.10, 23.4 and later).
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn set_variables(&self, channel_id: &str, variables: &BTreeMap<String, String>) -> Result<(), AriError> {
        let body = json!({ "variables": variables });
        self.post_done(&["channels", channel_id, "variables"], Some(&body)).await
    }

    /// Reads several channel variables at once (20.20, 22.10, 23.4 and later). Those that are not set are empty.
    ///
    /// # Errors
    /// [`AriError::NotFound`] when the channel is gone; [`AriError::InvalidInput`] for a name with a comma, which ARI's
    /// query cannot hold: read a function with several arguments alone; any other.
    pub async fn get_variables(&self, channel_id: &str, names: &[&str]) -> Result<BTreeMap<String, String>, AriError> {
        self.variables_at(&["channels", channel_id, "variables"], names).await
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

    /// What the channel's RTP has counted so far.
    ///
    /// # Errors
    /// [`AriError::NotFound`] when the channel is gone; [`AriError::Forbidden`] when its technology has no RTP; any other.
    pub async fn rtp_statistics(&self, channel_id: &str) -> Result<RtpStatistics, AriError> {
        self.get_typed(&["channels", channel_id, "rtp_statistics"]).await
    }
}
