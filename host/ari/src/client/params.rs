//! Arguments of the verbs that have many. Unset fields are not sent, so that
//! Asterisk's own defaults apply.

use std::collections::BTreeMap;

use serde::Serialize;

/// Why a channel is hung up: what the far end is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum HangupReason {
    /// Normal clearing (Q.850 cause 16).
    #[default]
    Normal,
    /// Busy (17).
    Busy,
    /// Congestion (34).
    Congestion,
    /// Nobody answered (19).
    NoAnswer,
    /// A timer expired (102).
    Timeout,
    /// Rejected (21).
    Rejected,
    /// No such number (1).
    Unallocated,
    /// Normal, unspecified (31).
    NormalUnspecified,
    /// The number is incomplete (28).
    NumberIncomplete,
    /// No codec in common (79).
    CodecMismatch,
    /// Interworking (127).
    Interworking,
    /// A failure in the network (38).
    Failure,
    /// Somebody else answered (26).
    AnsweredElsewhere,
    /// Any Q.850 cause by its number, 1 to 127.
    Q850(u8),
}

impl HangupReason {
    /// The query of `DELETE /channels/{id}`: ARI's name as `reason`, or the
    /// number as `reason_code`.
    pub(crate) fn query(self) -> (&'static str, String) {
        let name = match self {
            Self::Normal => "normal",
            Self::Busy => "busy",
            Self::Congestion => "congestion",
            Self::NoAnswer => "no_answer",
            Self::Timeout => "timeout",
            Self::Rejected => "rejected",
            Self::Unallocated => "unallocated",
            Self::NormalUnspecified => "normal_unspecified",
            Self::NumberIncomplete => "number_incomplete",
            Self::CodecMismatch => "codec_mismatch",
            Self::Interworking => "interworking",
            Self::Failure => "failure",
            Self::AnsweredElsewhere => "answered_elsewhere",
            Self::Q850(code) => return ("reason_code", code.to_string()),
        };
        ("reason", name.to_owned())
    }
}

/// What to play, under an id chosen by the caller, so that the playback's events
/// can be told from others' even when they arrive before the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Play {
    /// The playback's id. Asterisk does not refuse an id that is in use.
    #[serde(skip)]
    pub playback_id: String,
    /// Media URIs, heard one after the other: `sound:`, `recording:`, `number:`,
    /// `digits:`, `characters:`, `tone:`.
    pub media: Vec<String>,
    /// Language of `sound:` media. Default: the channel's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lang: Option<String>,
    /// Milliseconds to skip at the start of the first medium (`sound:` only).
    #[serde(rename = "offsetms", skip_serializing_if = "Option::is_none")]
    pub offset_ms: Option<u32>,
}

impl Play {
    /// One medium in the channel's language.
    pub fn new(playback_id: impl Into<String>, media: impl Into<String>) -> Self {
        Self { playback_id: playback_id.into(), media: vec![media.into()], lang: None, offset_ms: None }
    }

    /// Several media, one after the other.
    pub fn list<I, S>(playback_id: impl Into<String>, media: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Self {
            playback_id: playback_id.into(),
            media: media.into_iter().map(Into::into).collect(),
            lang: None,
            offset_ms: None,
        }
    }

    /// In this language.
    #[must_use]
    pub fn lang(mut self, lang: impl Into<String>) -> Self {
        self.lang = Some(lang.into());
        self
    }
}

/// Digits to send into a channel. Times in milliseconds; unset ones take
/// Asterisk's defaults (100 between digits, 100 each, 0 before and after).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SendDtmf {
    /// `0`-`9`, `*`, `#`, `A`-`D`; `w` waits half a second.
    pub dtmf: String,
    /// Wait before the first.
    #[serde(rename = "before", skip_serializing_if = "Option::is_none")]
    pub before_ms: Option<u32>,
    /// Wait between two.
    #[serde(rename = "between", skip_serializing_if = "Option::is_none")]
    pub between_ms: Option<u32>,
    /// How long each is.
    #[serde(rename = "duration", skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u32>,
    /// Wait after the last.
    #[serde(rename = "after", skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u32>,
}

/// Where in the dialplan a channel goes on. Unset fields keep the channel's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ContinueTo {
    /// The context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
    /// The priority, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// A label instead of a priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// How an external media channel frames its audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Encapsulation {
    /// RTP over UDP.
    Rtp,
    /// AudioSocket over TCP.
    Audiosocket,
    /// Bare, inside WebSocket messages.
    None,
}

/// An external media channel to make. See [`ExternalMedia::audiosocket`] and
/// [`ExternalMedia::websocket_server`] for the two usual ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExternalMedia {
    /// The new channel's id.
    #[serde(rename = "channelId", skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<String>,
    /// `host:port`, the name of a section of `websocket_client.conf`, or `INCOMING`.
    pub external_host: String,
    /// The framing.
    pub encapsulation: Encapsulation,
    /// `udp`, `tcp` or `websocket`.
    pub transport: String,
    /// `client` (Asterisk connects) or `server` (Asterisk is connected to).
    pub connection_type: String,
    /// The audio's format, such as `slin`, `slin16`, `ulaw`.
    pub format: String,
    /// Always `both` today.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// For AudioSocket: the UUID that the connection names itself by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// For WebSocket: the channel driver's options, such as `f(json)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport_data: Option<String>,
    /// Channel variables.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
}

impl ExternalMedia {
    /// Asterisk connects to an AudioSocket server at `host_port` and names itself
    /// by `uuid`. Use `slin` or `slin16`: encoded formats arrive labelled as slin.
    pub fn audiosocket(host_port: impl Into<String>, format: impl Into<String>, uuid: uuid::Uuid) -> Self {
        Self {
            channel_id: None,
            external_host: host_port.into(),
            encapsulation: Encapsulation::Audiosocket,
            transport: "tcp".to_owned(),
            connection_type: "client".to_owned(),
            format: format.into(),
            direction: None,
            data: Some(uuid.to_string()),
            transport_data: None,
            variables: BTreeMap::new(),
        }
    }

    /// Asterisk waits to be connected to on its own HTTP port. Which connection is
    /// the channel's is in its variable `MEDIA_WEBSOCKET_CONNECTION_ID`, which the
    /// answer's `channelvars` hold; see [`super::AriClient::media_url`].
    pub fn websocket_server(format: impl Into<String>, json: bool) -> Self {
        Self {
            channel_id: None,
            external_host: "INCOMING".to_owned(),
            encapsulation: Encapsulation::None,
            transport: "websocket".to_owned(),
            connection_type: "server".to_owned(),
            format: format.into(),
            direction: None,
            data: None,
            transport_data: json.then(|| "f(json)".to_owned()),
            variables: BTreeMap::new(),
        }
    }

    /// Gives the channel this id.
    #[must_use]
    pub fn channel_id(mut self, id: impl Into<String>) -> Self {
        self.channel_id = Some(id.into());
        self
    }

    /// Sets a channel variable.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }
}

/// A call to make. Where it goes when answered is either the client's own
/// application (the default) or a place in the dialplan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Originate {
    /// Whom to call, such as `PJSIP/100` or `PJSIP/+4930123@trunk`.
    pub endpoint: String,
    /// The new channel's id, chosen by the caller.
    #[serde(skip)]
    pub channel_id: Option<String>,
    /// The id of the second half of a `Local` channel.
    #[serde(rename = "otherChannelId", skip_serializing_if = "Option::is_none")]
    pub other_channel_id: Option<String>,
    /// The Stasis application it enters when answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Arguments of that application, separated by commas.
    #[serde(rename = "appArgs", skip_serializing_if = "Option::is_none")]
    pub app_args: Option<String>,
    /// Or the place in the dialplan that it enters when answered.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub dialplan: Option<ContinueTo>,
    /// Caller id to show: `Name <number>` or a number.
    #[serde(rename = "callerId", skip_serializing_if = "Option::is_none")]
    pub caller_id: Option<String>,
    /// How long to ring, in seconds; −1 for ever. Asterisk's default is 30.
    #[serde(rename = "timeout", skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<i32>,
    /// The id of the channel on whose behalf this is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub originator: Option<String>,
    /// Formats to offer, separated by commas. For `Local` ask for `slin`, or it
    /// runs at 192 kHz. Not together with `originator`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formats: Option<String>,
    /// Channel variables, set before the call is placed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
}

impl Originate {
    fn new(endpoint: String) -> Self {
        Self {
            endpoint,
            channel_id: None,
            other_channel_id: None,
            app: None,
            app_args: None,
            dialplan: None,
            caller_id: None,
            timeout_s: None,
            originator: None,
            formats: None,
            variables: BTreeMap::new(),
        }
    }

    /// Calls `endpoint`; when it answers, it enters application `app`.
    pub fn to_app(endpoint: impl Into<String>, app: impl Into<String>) -> Self {
        Self { app: Some(app.into()), ..Self::new(endpoint.into()) }
    }

    /// Calls `endpoint`; when it answers, it goes on in the dialplan.
    pub fn to_dialplan(endpoint: impl Into<String>, place: ContinueTo) -> Self {
        Self { dialplan: Some(place), ..Self::new(endpoint.into()) }
    }

    /// Gives the channel this id.
    #[must_use]
    pub fn channel_id(mut self, id: impl Into<String>) -> Self {
        self.channel_id = Some(id.into());
        self
    }

    /// Sets a channel variable.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }
}

/// What a bridge does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum BridgeType {
    /// Everybody hears everybody, on whatever technology fits.
    #[default]
    Mixing,
    /// As mixing, and Asterisk sees DTMF (no direct path between two legs).
    MixingDtmfEvents,
    /// As mixing, and audio passes through Asterisk always.
    MixingProxyMedia,
    /// Channels wait: they hear music or an announcer, not each other.
    Holding,
}

impl BridgeType {
    pub(crate) fn wire(self) -> &'static str {
        match self {
            Self::Mixing => "mixing",
            Self::MixingDtmfEvents => "mixing,dtmf_events",
            Self::MixingProxyMedia => "mixing,proxy_media",
            Self::Holding => "holding",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn unset_arguments_are_not_sent_and_the_names_are_aris() {
        let json = |value| serde_json::to_value(value).unwrap();
        assert_eq!(
            json(serde_json::to_value(Play::list("p", ["sound:a,b", "tone:ring"]).lang("de")).unwrap()),
            serde_json::json!({"media": ["sound:a,b", "tone:ring"], "lang": "de"})
        );
        let place = ContinueTo { context: Some("c".into()), priority: Some(2), ..ContinueTo::default() };
        assert_eq!(
            serde_json::to_value(Originate::to_dialplan("Local/x", place).variable("A", "1").channel_id("i")).unwrap(),
            serde_json::json!({"endpoint": "Local/x", "context": "c", "priority": 2, "variables": {"A": "1"}})
        );
        assert_eq!(
            serde_json::to_value(Originate::to_app("Local/x", "app")).unwrap(),
            serde_json::json!({"endpoint": "Local/x", "app": "app"})
        );
        assert_eq!(
            serde_json::to_value(ExternalMedia::websocket_server("slin16", true).channel_id("m")).unwrap(),
            serde_json::json!({"channelId": "m", "external_host": "INCOMING", "encapsulation": "none",
                "transport": "websocket", "connection_type": "server", "format": "slin16",
                "transport_data": "f(json)"})
        );
    }

    #[test]
    fn a_hangup_reason_is_a_name_or_a_code() {
        assert_eq!(HangupReason::NoAnswer.query(), ("reason", "no_answer".to_owned()));
        assert_eq!(HangupReason::Q850(88).query(), ("reason_code", "88".to_owned()));
    }
}
