//! Typed events: all of Asterisk 22's. Names and fields are those of its `rest-api/events.json`; what this crate has
//! no type for is kept whole.

use serde_json::Value;

use super::payload::{
    ApplicationEvent, ApplicationMoveFailed, ApplicationReplaced, BridgeAttendedTransfer, BridgeBlindTransfer,
    BridgeEvent, BridgeMerged, BridgeVideoSourceChanged, CallBroadcast, CallClaimed, ChannelCallerId, ChannelDestroyed,
    ChannelDialplan, ChannelDtmfReceived, ChannelEvent, ChannelHangupRequest, ChannelHold, ChannelInBridge,
    ChannelTalkingFinished, ChannelTransfer, ChannelUserevent, ChannelVarset, ContactStatusChange, DeviceStateChanged,
    Dial, EndpointStateChange, MissingParams, PeerStatusChange, PlaybackEvent, RecordingEvent, StasisEnd, StasisStart,
    TextMessageReceived,
};

/// The enum, its reader and its names from one list, so that none can be forgotten.
macro_rules! taxonomy {
    ($($(#[$attribute:meta])* $kind:ident($payload:ty),)*) => {
        /// One event of a Stasis application.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub enum Event {
            $($(#[$attribute])* $kind($payload),)*
            /// Any other event, whole.
            Unknown(Unknown),
        }

        impl Event {
            /// The `type` of every event that has a variant of its own.
            pub const KINDS: &[&str] = &[$(stringify!($kind),)*];

            fn typed(kind: &str, raw: Value) -> Result<Self, serde_json::Error> {
                Ok(match kind {
                    $(stringify!($kind) => Self::$kind(serde_json::from_value(raw)?),)*
                    _ => Self::Unknown(Unknown { kind: kind.to_owned(), raw }),
                })
            }

            /// The event's `type`, as on the wire.
            #[must_use]
            pub fn kind(&self) -> &str {
                match self {
                    $(Self::$kind(_) => stringify!($kind),)*
                    Self::Unknown(unknown) => &unknown.kind,
                }
            }

            /// The application that is told; empty when Asterisk did not say.
            #[must_use]
            pub fn application(&self) -> &str {
                match self {
                    $(Self::$kind(e) => &e.application,)*
                    Self::Unknown(unknown) => unknown.text("application"),
                }
            }

            /// Which Asterisk says so (its entity id); empty when it did not say.
            #[must_use]
            pub fn asterisk_id(&self) -> &str {
                match self {
                    $(Self::$kind(e) => &e.asterisk_id,)*
                    Self::Unknown(unknown) => unknown.text("asterisk_id"),
                }
            }

            /// When, ISO 8601 with milliseconds and offset; empty when Asterisk did not say.
            #[must_use]
            pub fn timestamp(&self) -> &str {
                match self {
                    $(Self::$kind(e) => &e.timestamp,)*
                    Self::Unknown(unknown) => unknown.text("timestamp"),
                }
            }
        }
    };
}

taxonomy! {
    /// A channel entered the application.
    StasisStart(StasisStart),
    /// A channel left it: hung up, or went on in the dialplan.
    StasisEnd(StasisEnd),
    /// A channel was made.
    ChannelCreated(ChannelEvent),
    /// A channel is gone.
    ChannelDestroyed(ChannelDestroyed),
    /// Somebody asked to hang a channel up.
    ChannelHangupRequest(ChannelHangupRequest),
    /// A channel's state changed: see [`Channel::state`](crate::Channel::state).
    ChannelStateChange(ChannelEvent),
    /// A digit was pressed: one event a digit, when it is released.
    ChannelDtmfReceived(ChannelDtmfReceived),
    /// A channel got to another place in the dialplan: an application is about to run.
    ChannelDialplan(ChannelDialplan),
    /// A channel's caller id changed.
    ChannelCallerId(ChannelCallerId),
    /// A channel is connected to somebody else.
    ChannelConnectedLine(ChannelEvent),
    /// A variable was set, on a channel or (without one) globally.
    ChannelVarset(ChannelVarset),
    /// A user event: from the dialplan's `UserEvent()` or from `POST /events/user`.
    ChannelUserevent(ChannelUserevent),
    /// The far end put the channel on hold.
    ChannelHold(ChannelHold),
    /// The far end took it off hold.
    ChannelUnhold(ChannelEvent),
    /// `TALK_DETECT()` heard talk begin.
    ChannelTalkingStarted(ChannelEvent),
    /// `TALK_DETECT()` heard it end.
    ChannelTalkingFinished(ChannelTalkingFinished),
    /// `TONE_DETECT()` heard its tone.
    ChannelToneDetected(ChannelEvent),
    /// The far end asked for a transfer (SIP REFER), which the application is to carry out: only channels with
    /// `PJSIP_TRANSFER_HANDLING()` set to `ari-only`.
    ChannelTransfer(Box<ChannelTransfer>),
    /// A channel joined a bridge.
    ChannelEnteredBridge(ChannelInBridge),
    /// A channel left a bridge.
    ChannelLeftBridge(ChannelInBridge),
    /// A bridge was made.
    BridgeCreated(BridgeEvent),
    /// A bridge is gone.
    BridgeDestroyed(BridgeEvent),
    /// One bridge went into another.
    BridgeMerged(BridgeMerged),
    /// A bridge shows another channel's video.
    BridgeVideoSourceChanged(BridgeVideoSourceChanged),
    /// A blind transfer was tried: see its `result`.
    BridgeBlindTransfer(Box<BridgeBlindTransfer>),
    /// An attended transfer was tried: see its `result`.
    BridgeAttendedTransfer(Box<BridgeAttendedTransfer>),
    /// A medium of a playback is heard: 22.10 says so once for each of its list.
    PlaybackStarted(PlaybackEvent),
    /// A playback goes on with the next medium.
    PlaybackContinuing(PlaybackEvent),
    /// A playback is over: its state says how.
    PlaybackFinished(PlaybackEvent),
    /// A recording has begun.
    RecordingStarted(RecordingEvent),
    /// A recording is over and stored.
    RecordingFinished(RecordingEvent),
    /// A recording could not be made: see its `cause`.
    RecordingFailed(RecordingEvent),
    /// Progress of an outgoing call.
    Dial(Dial),
    /// A device's state changed.
    DeviceStateChanged(DeviceStateChanged),
    /// An endpoint's state changed.
    EndpointStateChange(EndpointStateChange),
    /// The state of one of an endpoint's contacts changed.
    ContactStatusChange(ContactStatusChange),
    /// The state of an endpoint's peer changed.
    PeerStatusChange(PeerStatusChange),
    /// A text message came from an endpoint.
    TextMessageReceived(TextMessageReceived),
    /// The application is registered: connected for the first time, or again.
    ApplicationRegistered(ApplicationEvent),
    /// The application is no longer registered.
    ApplicationUnregistered(ApplicationEvent),
    /// Another connection took over this application's events. This one stays
    /// open and gets no more of them.
    ApplicationReplaced(ApplicationReplaced),
    /// A channel could not be moved to another application, and left this one all the same.
    ApplicationMoveFailed(ApplicationMoveFailed),
    /// A channel is offered to all applications of a broadcast; the first that claims it has it.
    CallBroadcast(CallBroadcast),
    /// Such a channel was claimed.
    CallClaimed(CallClaimed),
    /// Not about anything that happened: the connection's own request lacked parameters.
    MissingParams(MissingParams),
}

/// See [`Event::Unknown`].
#[derive(Debug, Clone, PartialEq)]
pub struct Unknown {
    /// The event's `type`.
    pub kind: String,
    /// All of it.
    pub raw: Value,
}

impl Unknown {
    fn text(&self, key: &str) -> &str {
        self.raw.get(key).and_then(Value::as_str).unwrap_or_default()
    }
}

/// A message on the events connection that is no event: reported, and skipped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an ARI event could not be read ({reason}) and was skipped: {excerpt}")]
pub struct MalformedEvent {
    /// What is wrong with it.
    pub reason: String,
    /// How it begins.
    pub excerpt: String,
}

impl Event {
    /// Reads one message of the events connection.
    ///
    /// # Errors
    /// [`MalformedEvent`] when it is not JSON, has no `type`, or lacks a field that
    /// an event of its type always has.
    pub fn parse(text: &str) -> Result<Self, MalformedEvent> {
        let raw: Value =
            serde_json::from_str(text).map_err(|e| MalformedEvent::new(&format!("not JSON: {e}"), text))?;
        Self::from_json(raw, text)
    }

    /// As [`Event::parse`], for a message that has been read as JSON; `text` is quoted when it is no event.
    pub(crate) fn from_json(raw: Value, text: &str) -> Result<Self, MalformedEvent> {
        let Some(kind) = raw.get("type").and_then(Value::as_str).map(str::to_owned) else {
            return Err(MalformedEvent::new("it has no type", text));
        };
        Self::typed(&kind, raw).map_err(|e| MalformedEvent::new(&format!("{kind}: {e}"), text))
    }

    /// The id of the channel that the event is about: whom to deliver it to. For a playback or a recording that is the
    /// channel it is on (none when it is on a bridge), for a dial the outgoing one, for a transfer the transferer's.
    #[must_use]
    pub fn channel_id(&self) -> Option<&str> {
        match self {
            Self::StasisStart(e) => Some(&e.channel.id),
            Self::StasisEnd(e) => Some(&e.channel.id),
            Self::ChannelCreated(e)
            | Self::ChannelStateChange(e)
            | Self::ChannelConnectedLine(e)
            | Self::ChannelUnhold(e)
            | Self::ChannelTalkingStarted(e)
            | Self::ChannelToneDetected(e) => Some(&e.channel.id),
            Self::ChannelHold(e) => Some(&e.channel.id),
            Self::ChannelDestroyed(e) => Some(&e.channel.id),
            Self::ChannelHangupRequest(e) => Some(&e.channel.id),
            Self::ChannelDtmfReceived(e) => Some(&e.channel.id),
            Self::ChannelDialplan(e) => Some(&e.channel.id),
            Self::ChannelCallerId(e) => Some(&e.channel.id),
            Self::ChannelTalkingFinished(e) => Some(&e.channel.id),
            Self::ChannelTransfer(e) => Some(&e.referred_by.source_channel.id),
            Self::ChannelVarset(e) => e.channel.as_ref().map(|c| c.id.as_str()),
            Self::ChannelUserevent(e) => e.channel.as_ref().map(|c| c.id.as_str()),
            Self::ChannelEnteredBridge(e) | Self::ChannelLeftBridge(e) => e.channel.as_ref().map(|c| c.id.as_str()),
            Self::BridgeBlindTransfer(e) => Some(&e.channel.id),
            Self::BridgeAttendedTransfer(e) => Some(&e.transferer_first_leg.id),
            Self::PlaybackStarted(e) | Self::PlaybackContinuing(e) | Self::PlaybackFinished(e) => {
                e.playback.channel_id()
            }
            Self::RecordingStarted(e) | Self::RecordingFinished(e) | Self::RecordingFailed(e) => {
                e.recording.channel_id()
            }
            Self::Dial(e) => Some(&e.peer.id),
            Self::ApplicationMoveFailed(e) => Some(&e.channel.id),
            Self::CallBroadcast(e) => Some(&e.channel.id),
            Self::CallClaimed(e) => Some(&e.channel.id),
            Self::Unknown(e) => e.raw.get("channel")?.get("id")?.as_str(),
            Self::BridgeCreated(_)
            | Self::BridgeDestroyed(_)
            | Self::BridgeMerged(_)
            | Self::BridgeVideoSourceChanged(_)
            | Self::DeviceStateChanged(_)
            | Self::EndpointStateChange(_)
            | Self::ContactStatusChange(_)
            | Self::PeerStatusChange(_)
            | Self::TextMessageReceived(_)
            | Self::ApplicationRegistered(_)
            | Self::ApplicationUnregistered(_)
            | Self::ApplicationReplaced(_)
            | Self::MissingParams(_) => None,
        }
    }
}

impl MalformedEvent {
    fn new(reason: &str, text: &str) -> Self {
        Self { reason: crate::error::quote(reason), excerpt: crate::error::quote(text) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stasis_start_of_a_real_asterisk_is_read() {
        let event = Event::parse(
            r#"{"type":"StasisStart","timestamp":"2026-11-21T02:11:33.927+0000","args":["a","b"],
            "channel":{"id":"mychan","name":"Local/silence@callers-00000001;1","state":"Up","protocol_id":"",
            "caller":{"name":"","number":""},"connected":{"name":"","number":""},"accountcode":"",
            "dialplan":{"context":"callers","exten":"silence","priority":1,"app_name":"Stasis","app_data":"testbed,a,b"},
            "creationtime":"2026-11-21T02:11:33.925+0000","language":"en"},
            "asterisk_id":"02:fc:00:00:00:01","application":"testbed"}"#,
        )
        .unwrap();
        assert_eq!((event.kind(), event.channel_id()), ("StasisStart", Some("mychan")));
        let Event::StasisStart(start) = event else { panic!("{event:?}") };
        assert_eq!(start.args, ["a", "b"]);
        assert_eq!(start.application, "testbed");
        assert_eq!(start.channel.technology(), "Local");
        assert!(start.replace_channel.is_none());
    }

    #[test]
    fn a_playback_event_names_its_channel() {
        let event = Event::parse(
            r#"{"type":"PlaybackFinished","playback":{"id":"pb/1","media_uri":"sound:x",
            "target_uri":"channel:mychan","language":"en","state":"failed"}}"#,
        )
        .unwrap();
        assert_eq!(event.channel_id(), Some("mychan"));
        let Event::PlaybackFinished(e) = event else { panic!("{event:?}") };
        assert_eq!(e.playback.state, crate::model::PlaybackState::Failed);
    }

    #[test]
    fn an_unknown_event_is_kept_whole() {
        let event = Event::parse(r#"{"type":"MoonRose","channel":{"id":"7"},"phase":[1]}"#).unwrap();
        assert_eq!((event.kind(), event.channel_id()), ("MoonRose", Some("7")));
        let Event::Unknown(unknown) = event else { panic!("{event:?}") };
        assert_eq!(unknown.raw["phase"][0], 1);
    }

    #[test]
    fn what_is_no_event_is_reported_with_the_reason() {
        for (text, about) in [
            ("", "not JSON"),
            ("{\"type\":\"Stasis", "not JSON"),
            ("[]", "no type"),
            ("{\"type\":5}", "no type"),
            ("{\"type\":\"StasisStart\"}", "channel"),
            ("{\"type\":\"StasisEnd\",\"channel\":{\"name\":\"x\"}}", "id"),
        ] {
            let error = Event::parse(text).unwrap_err();
            assert!(error.reason.contains(about), "{text}: {error}");
        }
        let deep = "[".repeat(100_000);
        assert!(Event::parse(&deep).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
            let _ = Event::parse(&text);
        }
    }
}
