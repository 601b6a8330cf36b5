//! What each event says. Names and fields are those of Asterisk's `rest-api/events.json`.
//!
//! Every event names its application, its time and its Asterisk. A field under `may` takes its empty value when it is missing or null;
//! one under `must` is what the event is about, and without it the event cannot be read.

use serde::Deserialize;
use serde_json::Value;

use crate::model::{
    Bridge, Channel, ContactInfo, DeviceState, Endpoint, LiveRecording, Peer, Playback, TextMessage, null_as_default,
};

/// An event's payload: the fields of all events, those it must have, and those it may have.
macro_rules! payload {
    ($(#[$attribute:meta])* $name:ident
        must { $($(#[$must_attribute:meta])* $must:ident: $must_type:ty,)* }
        may { $($(#[$may_attribute:meta])* $may:ident: $may_type:ty,)* }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, PartialEq, Deserialize)]
        pub struct $name {
            /// The application that is told.
            #[serde(default, deserialize_with = "null_as_default")]
            pub application: String,
            /// When, ISO 8601 with milliseconds and offset.
            #[serde(default, deserialize_with = "null_as_default")]
            pub timestamp: String,
            /// Which Asterisk says so: its entity id, as in [`SystemInfo`](crate::model::SystemInfo).
            #[serde(default, deserialize_with = "null_as_default")]
            pub asterisk_id: String,
            $($(#[$must_attribute])* pub $must: $must_type,)*
            $($(#[$may_attribute])* #[serde(default, deserialize_with = "null_as_default")] pub $may: $may_type,)*
        }
    };
}

payload! {
    /// See [`Event::StasisStart`](super::Event::StasisStart).
    StasisStart
    must {
        /// The channel.
        channel: Channel,
    }
    may {
        /// The arguments of `Stasis()`, without the application's name.
        args: Vec<String>,
        /// The channel that this one takes the place of, after an attended transfer.
        replace_channel: Option<Channel>,
    }
}

payload! {
    /// See [`Event::StasisEnd`](super::Event::StasisEnd).
    StasisEnd
    must {
        /// The channel.
        channel: Channel,
    }
    may {}
}

payload! {
    /// An event that says only which channel.
    ChannelEvent
    must {
        /// The channel.
        channel: Channel,
    }
    may {}
}

payload! {
    /// See [`Event::ChannelDestroyed`](super::Event::ChannelDestroyed).
    ChannelDestroyed
    must {
        /// The channel.
        channel: Channel,
    }
    may {
        /// The Q.850 cause; 0 when unknown.
        cause: i64,
        /// The cause in words.
        cause_txt: String,
        /// The technology's own cause: for SIP the response code.
        tech_cause: Option<i64>,
    }
}

payload! {
    /// See [`Event::ChannelHangupRequest`](super::Event::ChannelHangupRequest).
    ChannelHangupRequest
    must {
        /// The channel.
        channel: Channel,
    }
    may {
        /// The Q.850 cause, when one was given.
        cause: Option<i64>,
        /// The technology's own cause.
        tech_cause: Option<i64>,
        /// True when the channel may finish what it does.
        soft: bool,
    }
}

payload! {
    /// See [`Event::ChannelDtmfReceived`](super::Event::ChannelDtmfReceived).
    ChannelDtmfReceived
    must {
        /// The channel.
        channel: Channel,
        /// One character: `0`-`9`, `*`, `#`, `A`-`D`.
        digit: String,
    }
    may {
        /// How long it was pressed.
        duration_ms: i64,
    }
}

payload! {
    /// See [`Event::ChannelVarset`](super::Event::ChannelVarset).
    ChannelVarset
    must {
        /// The variable.
        variable: String,
    }
    may {
        /// Its new value.
        value: String,
        /// The channel; none for a global variable.
        channel: Option<Channel>,
    }
}

payload! {
    /// See [`Event::ChannelHold`](super::Event::ChannelHold).
    ChannelHold
    must {
        /// The channel.
        channel: Channel,
    }
    may {
        /// The class of music that the far end wants to be heard; empty when it names none.
        musicclass: String,
    }
}

payload! {
    /// See [`Event::ChannelTalkingFinished`](super::Event::ChannelTalkingFinished).
    ChannelTalkingFinished
    must {
        /// The channel.
        channel: Channel,
    }
    may {
        /// How long the talk was, in milliseconds.
        duration: i64,
    }
}

payload! {
    /// See [`Event::ChannelDialplan`](super::Event::ChannelDialplan).
    ChannelDialplan
    must {
        /// The channel.
        channel: Channel,
    }
    may {
        /// The dialplan application that runs next.
        dialplan_app: String,
        /// Its arguments.
        dialplan_app_data: String,
    }
}

payload! {
    /// See [`Event::ChannelCallerId`](super::Event::ChannelCallerId).
    ChannelCallerId
    must {
        /// The channel.
        channel: Channel,
    }
    may {
        /// Whether it may be shown, as Asterisk's number for that.
        caller_presentation: i64,
        /// The same in words.
        caller_presentation_txt: String,
    }
}

payload! {
    /// See [`Event::ChannelUserevent`](super::Event::ChannelUserevent).
    ChannelUserevent
    must {
        /// What it is called.
        eventname: String,
    }
    may {
        /// The channel that it is about.
        channel: Option<Channel>,
        /// The bridge that it is about.
        bridge: Option<Bridge>,
        /// The endpoint that it is about.
        endpoint: Option<Endpoint>,
        /// What it holds: an object whose keys its maker has chosen, and `eventname`.
        userevent: Value,
    }
}

payload! {
    /// See [`Event::ChannelTransfer`](super::Event::ChannelTransfer).
    ChannelTransfer
    must {
        /// Where to.
        refer_to: ReferTo,
        /// By whom.
        referred_by: ReferredBy,
    }
    may {
        /// How it goes; empty for a request.
        state: String,
    }
}

payload! {
    /// See [`Event::ChannelEnteredBridge`](super::Event::ChannelEnteredBridge) and
    /// [`Event::ChannelLeftBridge`](super::Event::ChannelLeftBridge).
    ChannelInBridge
    must {
        /// The bridge, as it is afterwards.
        bridge: Bridge,
    }
    may {
        /// The channel; Asterisk may leave it out.
        channel: Option<Channel>,
    }
}

payload! {
    /// An event that says only which bridge.
    BridgeEvent
    must {
        /// The bridge.
        bridge: Bridge,
    }
    may {}
}

payload! {
    /// See [`Event::BridgeMerged`](super::Event::BridgeMerged).
    BridgeMerged
    must {
        /// The bridge that stays.
        bridge: Bridge,
        /// The one whose channels came into it.
        bridge_from: Bridge,
    }
    may {}
}

payload! {
    /// See [`Event::BridgeVideoSourceChanged`](super::Event::BridgeVideoSourceChanged).
    BridgeVideoSourceChanged
    must {
        /// The bridge, with its new source.
        bridge: Bridge,
    }
    may {
        /// The channel whose picture was seen before; empty when there was none.
        old_video_source_id: String,
    }
}

payload! {
    /// See [`Event::BridgeBlindTransfer`](super::Event::BridgeBlindTransfer).
    BridgeBlindTransfer
    must {
        /// Who transfers.
        channel: Channel,
    }
    may {
        /// The channel that takes the place of the one who transfers, when the far end cannot be moved itself.
        replace_channel: Option<Channel>,
        /// Who is transferred; none when there are several.
        transferee: Option<Channel>,
        /// To which extension.
        exten: String,
        /// In which context.
        context: String,
        /// `Success`, `Fail`, `Invalid` or `Not Permitted`.
        result: String,
        /// True when the far end asked for it, as by REFER.
        is_external: bool,
        /// The bridge in which it happened.
        bridge: Option<Bridge>,
    }
}

payload! {
    /// See [`Event::BridgeAttendedTransfer`](super::Event::BridgeAttendedTransfer).
    BridgeAttendedTransfer
    must {
        /// First leg of the one who transfers.
        transferer_first_leg: Channel,
        /// Second leg of the one who transfers.
        transferer_second_leg: Channel,
    }
    may {
        /// The channel that takes the place of the first leg.
        replace_channel: Option<Channel>,
        /// Who is transferred; none when there are several.
        transferee: Option<Channel>,
        /// To whom; none when there are several.
        transfer_target: Option<Channel>,
        /// `Success`, `Fail`, `Invalid` or `Not Permitted`.
        result: String,
        /// True when the far end asked for it.
        is_external: bool,
        /// The bridge of the first leg.
        transferer_first_leg_bridge: Option<Bridge>,
        /// The bridge of the second leg.
        transferer_second_leg_bridge: Option<Bridge>,
        /// How it was done: `bridge`, `application`, `link`, `threeway` or `fail`. The fields below belong to one of them each.
        destination_type: String,
        /// `bridge`: the id of the bridge that stays.
        destination_bridge: String,
        /// `application`: where the channels went.
        destination_application: String,
        /// `link`: its first leg.
        destination_link_first_leg: Option<Channel>,
        /// `link`: its second leg.
        destination_link_second_leg: Option<Channel>,
        /// `threeway`: the leg that stays.
        destination_threeway_channel: Option<Channel>,
        /// `threeway`: the bridge that stays.
        destination_threeway_bridge: Option<Bridge>,
    }
}

payload! {
    /// An event of a playback.
    PlaybackEvent
    must {
        /// The playback.
        playback: Playback,
    }
    may {}
}

payload! {
    /// An event of a recording.
    RecordingEvent
    must {
        /// The recording.
        recording: LiveRecording,
    }
    may {}
}

payload! {
    /// See [`Event::Dial`](super::Event::Dial).
    Dial
    must {
        /// The outgoing channel.
        peer: Channel,
    }
    may {
        /// Empty when it begins, then `RINGING`, `PROGRESS`, `ANSWER`, `BUSY`,
        /// `NOANSWER`, `CONGESTION`, `CHANUNAVAIL`, `CANCEL`.
        dialstatus: String,
        /// What was dialled.
        dialstring: String,
        /// Where the far end forwarded it to; empty when it did not.
        forward: String,
        /// The channel that was made for that.
        forwarded: Option<Box<Channel>>,
        /// Who dials; none for an originated call.
        caller: Option<Channel>,
    }
}

payload! {
    /// See [`Event::DeviceStateChanged`](super::Event::DeviceStateChanged).
    DeviceStateChanged
    must {
        /// The device and its new state.
        device_state: DeviceState,
    }
    may {}
}

payload! {
    /// See [`Event::EndpointStateChange`](super::Event::EndpointStateChange).
    EndpointStateChange
    must {
        /// The endpoint, with its new state.
        endpoint: Endpoint,
    }
    may {}
}

payload! {
    /// See [`Event::ContactStatusChange`](super::Event::ContactStatusChange).
    ContactStatusChange
    must {
        /// The endpoint.
        endpoint: Endpoint,
    }
    may {
        /// The contact, with its new status.
        contact_info: ContactInfo,
    }
}

payload! {
    /// See [`Event::PeerStatusChange`](super::Event::PeerStatusChange).
    PeerStatusChange
    must {
        /// The endpoint.
        endpoint: Endpoint,
    }
    may {
        /// Its peer, with its new status.
        peer: Peer,
    }
}

payload! {
    /// See [`Event::TextMessageReceived`](super::Event::TextMessageReceived).
    TextMessageReceived
    must {
        /// The message.
        message: TextMessage,
    }
    may {
        /// Who sent it, when Asterisk knows.
        endpoint: Option<Endpoint>,
    }
}

payload! {
    /// An event that says only which application.
    ApplicationEvent
    must {}
    may {}
}

payload! {
    /// See [`Event::ApplicationReplaced`](super::Event::ApplicationReplaced).
    #[derive(Eq)]
    ApplicationReplaced
    must {}
    may {}
}

payload! {
    /// See [`Event::ApplicationMoveFailed`](super::Event::ApplicationMoveFailed).
    ApplicationMoveFailed
    must {
        /// The channel, which stays where it is.
        channel: Channel,
    }
    may {
        /// The application that it could not be moved to.
        destination: String,
        /// The arguments it would have got.
        args: Vec<String>,
    }
}

payload! {
    /// See [`Event::CallBroadcast`](super::Event::CallBroadcast).
    CallBroadcast
    must {
        /// The channel.
        channel: Channel,
    }
    may {
        /// The caller's number.
        caller: String,
        /// The number that was called.
        called: String,
    }
}

payload! {
    /// See [`Event::CallClaimed`](super::Event::CallClaimed).
    CallClaimed
    must {
        /// The channel.
        channel: Channel,
    }
    may {
        /// The application that has it now.
        winner_app: String,
    }
}

payload! {
    /// See [`Event::MissingParams`](super::Event::MissingParams).
    MissingParams
    must {}
    may {
        /// What is missing.
        params: Vec<String>,
    }
}

/// Where a [`ChannelTransfer`] is to lead.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReferTo {
    /// What was asked for.
    #[serde(deserialize_with = "null_as_default")]
    pub requested_destination: RequestedDestination,
    /// The channel that is to be replaced, in an attended transfer.
    pub destination_channel: Option<Channel>,
    /// The channel that it is connected to.
    pub connected_channel: Option<Channel>,
    /// The bridge of both.
    pub bridge: Option<Bridge>,
}

/// Who asks for a [`ChannelTransfer`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ReferredBy {
    /// The channel on which it was asked for.
    pub source_channel: Channel,
    /// The channel that it is connected to.
    #[serde(default)]
    pub connected_channel: Option<Channel>,
    /// The bridge of both.
    #[serde(default)]
    pub bridge: Option<Bridge>,
}

/// What a [`ChannelTransfer`] asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RequestedDestination {
    /// The protocol's id of the call to replace (for SIP its Call-ID); empty in a blind transfer.
    #[serde(deserialize_with = "null_as_default")]
    pub protocol_id: String,
    /// The number or name; empty in an attended transfer.
    #[serde(deserialize_with = "null_as_default")]
    pub destination: String,
    /// Whatever else the protocol says about it.
    #[serde(deserialize_with = "null_as_default")]
    pub additional_protocol_params: Vec<AdditionalParam>,
}

/// One thing that the protocol says about a [`RequestedDestination`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AdditionalParam {
    /// Its name.
    #[serde(deserialize_with = "null_as_default")]
    pub parameter_name: String,
    /// Its value.
    #[serde(deserialize_with = "null_as_default")]
    pub parameter_value: String,
}
