//! Arguments of the verbs that make, move and end channels.

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
    /// answer's `channelvars` hold; see [`crate::AriClient::media_url`].
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

/// A channel to make without calling anybody yet: see [`crate::AriClient::dial`]. It can be put into a bridge before
/// it is dialled, so that early media is heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CreateChannel {
    /// Whom it will call, such as `PJSIP/100`.
    pub endpoint: String,
    /// The Stasis application it is in.
    pub app: String,
    /// Arguments of that application, separated by commas.
    #[serde(rename = "appArgs", skip_serializing_if = "Option::is_none")]
    pub app_args: Option<String>,
    /// The new channel's id, chosen by the caller.
    #[serde(rename = "channelId", skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<String>,
    /// The id of the second half of a `Local` channel.
    #[serde(rename = "otherChannelId", skip_serializing_if = "Option::is_none")]
    pub other_channel_id: Option<String>,
    /// The id of the channel on whose behalf this is. Not together with `formats`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub originator: Option<String>,
    /// Formats to offer, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formats: Option<String>,
    /// Channel variables.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
}

impl CreateChannel {
    /// A channel to `endpoint` in application `app`.
    pub fn new(endpoint: impl Into<String>, app: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            app: app.into(),
            app_args: None,
            channel_id: None,
            other_channel_id: None,
            originator: None,
            formats: None,
            variables: BTreeMap::new(),
        }
    }

    /// Gives the channel this id.
    #[must_use]
    pub fn channel_id(mut self, id: impl Into<String>) -> Self {
        self.channel_id = Some(id.into());
        self
    }

    /// Offers these formats, separated by commas.
    #[must_use]
    pub fn formats(mut self, formats: impl Into<String>) -> Self {
        self.formats = Some(formats.into());
        self
    }

    /// Sets a channel variable.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }
}

/// How a channel made by [`CreateChannel`] is dialled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Dial {
    /// The id of the channel that calls, whose ending ends the dialling. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// How long to ring, in seconds. Asterisk's default is 0: for ever.
    #[serde(rename = "timeout", skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u32>,
}

/// A direction of a channel's audio, as Asterisk sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AudioDirection {
    /// Neither.
    None,
    /// From the channel's far end into Asterisk: what the person says.
    In,
    /// From Asterisk to the far end: what the person hears.
    Out,
    /// Both.
    #[default]
    Both,
}

impl AudioDirection {
    pub(crate) fn wire(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::In => "in",
            Self::Out => "out",
            Self::Both => "both",
        }
    }
}

/// A snoop channel to make: it hears another channel, speaks into it, or both. Being a channel of the application, it
/// can be recorded, played to, or put into a bridge with whoever listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Snoop {
    /// The new channel's id, chosen by the caller. Default: Asterisk chooses one.
    #[serde(rename = "snoopId", skip_serializing_if = "Option::is_none")]
    pub snoop_id: Option<String>,
    /// What it hears. Default: nothing.
    pub spy: AudioDirection,
    /// Who hears it: `Out` the channel's person, `In` whomever the person talks with. It is mixed into what they are sent
    /// anyway: to a channel that is sent nothing, not bridged and not played to, nothing is whispered until
    /// [`crate::AriClient::start_silence`] (measured, 22.10). Default: nobody.
    pub whisper: AudioDirection,
    /// The Stasis application it enters. Default: the client's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Arguments of that application, separated by commas.
    #[serde(rename = "appArgs", skip_serializing_if = "Option::is_none")]
    pub app_args: Option<String>,
}

impl Snoop {
    /// Hears `spy`, is heard by `whisper`, in the client's own application.
    #[must_use]
    pub fn new(spy: AudioDirection, whisper: AudioDirection) -> Self {
        Self { snoop_id: None, spy, whisper, app: None, app_args: None }
    }

    /// Gives the new channel this id.
    #[must_use]
    pub fn snoop_id(mut self, id: impl Into<String>) -> Self {
        self.snoop_id = Some(id.into());
        self
    }

    /// Lets it enter the application with these arguments, separated by commas.
    #[must_use]
    pub fn app_args(mut self, arguments: impl Into<String>) -> Self {
        self.app_args = Some(arguments.into());
        self
    }
}

/// How a transfer goes that the application carries out for a channel (asked for by the event `ChannelTransfer`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferState {
    /// Under way: for SIP, NOTIFY with 100.
    Progress,
    /// The target has answered: 200.
    Answered,
    /// The target cannot be had now: 503.
    Unavailable,
    /// The target does not want: 603.
    Declined,
}

impl TransferState {
    pub(crate) fn wire(self) -> &'static str {
        match self {
            Self::Progress => "channel_progress",
            Self::Answered => "channel_answered",
            Self::Unavailable => "channel_unavailable",
            Self::Declined => "channel_declined",
        }
    }
}
