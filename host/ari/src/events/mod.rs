//! ARI's events: what they say, and a stream of them that outlives Asterisk.

mod backoff;
mod event;
mod stream;

pub use event::{
    ApplicationReplaced, BridgeEvent, ChannelDestroyed, ChannelDtmfReceived, ChannelEvent, ChannelHangupRequest,
    ChannelInBridge, ChannelVarset, Dial, Event, MalformedEvent, PlaybackEvent, StasisEnd, StasisStart, Unknown,
};
pub use stream::{DisconnectReason, EventOptions, EventStream, StreamItem};
