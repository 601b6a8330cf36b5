//! ARI's events: what they say, and a stream of them that outlives Asterisk.

mod backoff;
mod connection;
mod event;
mod payload;
mod stream;

pub(crate) use connection::socket_config;
pub use event::{Event, MalformedEvent, Unknown};
pub use payload::{
    AdditionalParam, ApplicationEvent, ApplicationMoveFailed, ApplicationReplaced, BridgeAttendedTransfer,
    BridgeBlindTransfer, BridgeEvent, BridgeMerged, BridgeVideoSourceChanged, CallBroadcast, CallClaimed,
    ChannelCallerId, ChannelDestroyed, ChannelDialplan, ChannelDtmfReceived, ChannelEvent, ChannelHangupRequest,
    ChannelHold, ChannelInBridge, ChannelTalkingFinished, ChannelTransfer, ChannelUserevent, ChannelVarset,
    ContactStatusChange, DeviceStateChanged, Dial, EndpointStateChange, MissingParams, PeerStatusChange, PlaybackEvent,
    RecordingEvent, ReferTo, ReferredBy, RequestedDestination, StasisEnd, StasisStart, TextMessageReceived,
};
pub use stream::{DisconnectReason, EventOptions, EventStream, StreamItem};
