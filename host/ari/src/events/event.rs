//! Typed events. Names and fields are those of Asterisk's `rest-api/events.json`;
//! what this crate has no type for is kept whole.

use serde::Deserialize;
use serde_json::Value;

use crate::model::{Bridge, Channel, Playback, null_as_default};

/// One event of a Stasis application.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
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
    /// A channel's state changed: see [`Channel::state`].
    ChannelStateChange(ChannelEvent),
    /// A digit was pressed: one event a digit, when it is released.
    ChannelDtmfReceived(ChannelDtmfReceived),
    /// A variable was set, on a channel or (without one) globally.
    ChannelVarset(ChannelVarset),
    /// The far end put the channel on hold.
    ChannelHold(ChannelEvent),
    /// The far end took it off hold.
    ChannelUnhold(ChannelEvent),
    /// A channel joined a bridge.
    ChannelEnteredBridge(ChannelInBridge),
    /// A channel left a bridge.
    ChannelLeftBridge(ChannelInBridge),
    /// A bridge was made.
    BridgeCreated(BridgeEvent),
    /// A bridge is gone.
    BridgeDestroyed(BridgeEvent),
    /// A medium of a playback is heard: 22.10 says so once for each of its list.
    PlaybackStarted(PlaybackEvent),
    /// A playback goes on with the next medium.
    PlaybackContinuing(PlaybackEvent),
    /// A playback is over: its state says how.
    PlaybackFinished(PlaybackEvent),
    /// Progress of an outgoing call.
    Dial(Dial),
    /// Another connection took over this application's events. This one stays
    /// open and gets no more of them.
    ApplicationReplaced(ApplicationReplaced),
    /// Any other event, whole.
    Unknown(Unknown),
}

/// See [`Event::StasisStart`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct StasisStart {
    /// The application.
    #[serde(default, deserialize_with = "null_as_default")]
    pub application: String,
    /// When, ISO 8601.
    #[serde(default, deserialize_with = "null_as_default")]
    pub timestamp: String,
    /// The channel.
    pub channel: Channel,
    /// The arguments of `Stasis()`, without the application's name.
    #[serde(default, deserialize_with = "null_as_default")]
    pub args: Vec<String>,
    /// The channel that this one takes the place of, after an attended transfer.
    #[serde(default)]
    pub replace_channel: Option<Channel>,
}

/// See [`Event::StasisEnd`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct StasisEnd {
    /// The application.
    #[serde(default, deserialize_with = "null_as_default")]
    pub application: String,
    /// When, ISO 8601.
    #[serde(default, deserialize_with = "null_as_default")]
    pub timestamp: String,
    /// The channel.
    pub channel: Channel,
}

/// An event that says only which channel.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ChannelEvent {
    /// When, ISO 8601.
    #[serde(default, deserialize_with = "null_as_default")]
    pub timestamp: String,
    /// The channel.
    pub channel: Channel,
}

/// See [`Event::ChannelDestroyed`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ChannelDestroyed {
    /// When, ISO 8601.
    #[serde(default, deserialize_with = "null_as_default")]
    pub timestamp: String,
    /// The Q.850 cause; 0 when unknown.
    #[serde(default, deserialize_with = "null_as_default")]
    pub cause: i64,
    /// The cause in words.
    #[serde(default, deserialize_with = "null_as_default")]
    pub cause_txt: String,
    /// The technology's own cause: for SIP the response code.
    #[serde(default)]
    pub tech_cause: Option<i64>,
    /// The channel.
    pub channel: Channel,
}

/// See [`Event::ChannelHangupRequest`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ChannelHangupRequest {
    /// When, ISO 8601.
    #[serde(default, deserialize_with = "null_as_default")]
    pub timestamp: String,
    /// The Q.850 cause, when one was given.
    #[serde(default)]
    pub cause: Option<i64>,
    /// The technology's own cause.
    #[serde(default)]
    pub tech_cause: Option<i64>,
    /// True when the channel may finish what it does.
    #[serde(default, deserialize_with = "null_as_default")]
    pub soft: bool,
    /// The channel.
    pub channel: Channel,
}

/// See [`Event::ChannelDtmfReceived`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ChannelDtmfReceived {
    /// When, ISO 8601.
    #[serde(default, deserialize_with = "null_as_default")]
    pub timestamp: String,
    /// One character: `0`-`9`, `*`, `#`, `A`-`D`.
    pub digit: String,
    /// How long it was pressed.
    #[serde(default, deserialize_with = "null_as_default")]
    pub duration_ms: i64,
    /// The channel.
    pub channel: Channel,
}

/// See [`Event::ChannelVarset`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ChannelVarset {
    /// When, ISO 8601.
    #[serde(default, deserialize_with = "null_as_default")]
    pub timestamp: String,
    /// The variable.
    pub variable: String,
    /// Its new value.
    #[serde(default, deserialize_with = "null_as_default")]
    pub value: String,
    /// The channel; none for a global variable.
    #[serde(default)]
    pub channel: Option<Channel>,
}

/// See [`Event::ChannelEnteredBridge`] and [`Event::ChannelLeftBridge`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ChannelInBridge {
    /// When, ISO 8601.
    #[serde(default, deserialize_with = "null_as_default")]
    pub timestamp: String,
    /// The bridge, as it is afterwards.
    pub bridge: Bridge,
    /// The channel; Asterisk may leave it out.
    #[serde(default)]
    pub channel: Option<Channel>,
}

/// An event that says only which bridge.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BridgeEvent {
    /// When, ISO 8601.
    #[serde(default, deserialize_with = "null_as_default")]
    pub timestamp: String,
    /// The bridge.
    pub bridge: Bridge,
}

/// An event of a playback.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PlaybackEvent {
    /// When, ISO 8601.
    #[serde(default, deserialize_with = "null_as_default")]
    pub timestamp: String,
    /// The playback.
    pub playback: Playback,
}

/// See [`Event::Dial`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Dial {
    /// When, ISO 8601.
    #[serde(default, deserialize_with = "null_as_default")]
    pub timestamp: String,
    /// Empty when it begins, then `RINGING`, `PROGRESS`, `ANSWER`, `BUSY`,
    /// `NOANSWER`, `CONGESTION`, `CHANUNAVAIL`, `CANCEL`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub dialstatus: String,
    /// What was dialled.
    #[serde(default, deserialize_with = "null_as_default")]
    pub dialstring: String,
    /// Where the far end forwarded it to; empty when it did not.
    #[serde(default, deserialize_with = "null_as_default")]
    pub forward: String,
    /// Who dials; none for an originated call.
    #[serde(default)]
    pub caller: Option<Channel>,
    /// The outgoing channel.
    pub peer: Channel,
}

/// See [`Event::ApplicationReplaced`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ApplicationReplaced {
    /// The application.
    #[serde(default, deserialize_with = "null_as_default")]
    pub application: String,
    /// When, ISO 8601.
    #[serde(default, deserialize_with = "null_as_default")]
    pub timestamp: String,
}

/// See [`Event::Unknown`].
#[derive(Debug, Clone, PartialEq)]
pub struct Unknown {
    /// The event's `type`.
    pub kind: String,
    /// All of it.
    pub raw: Value,
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
        let malformed = |reason: String| MalformedEvent {
            reason: crate::error::quote(&reason),
            excerpt: crate::error::quote(text),
        };
        let raw: Value = serde_json::from_str(text).map_err(|e| malformed(format!("not JSON: {e}")))?;
        let Some(kind) = raw.get("type").and_then(Value::as_str).map(str::to_owned) else {
            return Err(malformed("it has no type".to_owned()));
        };
        Self::typed(&kind, raw).map_err(|e| malformed(format!("{kind}: {e}")))
    }

    fn typed(kind: &str, raw: Value) -> Result<Self, serde_json::Error> {
        Ok(match kind {
            "StasisStart" => Self::StasisStart(serde_json::from_value(raw)?),
            "StasisEnd" => Self::StasisEnd(serde_json::from_value(raw)?),
            "ChannelCreated" => Self::ChannelCreated(serde_json::from_value(raw)?),
            "ChannelDestroyed" => Self::ChannelDestroyed(serde_json::from_value(raw)?),
            "ChannelHangupRequest" => Self::ChannelHangupRequest(serde_json::from_value(raw)?),
            "ChannelStateChange" => Self::ChannelStateChange(serde_json::from_value(raw)?),
            "ChannelDtmfReceived" => Self::ChannelDtmfReceived(serde_json::from_value(raw)?),
            "ChannelVarset" => Self::ChannelVarset(serde_json::from_value(raw)?),
            "ChannelHold" => Self::ChannelHold(serde_json::from_value(raw)?),
            "ChannelUnhold" => Self::ChannelUnhold(serde_json::from_value(raw)?),
            "ChannelEnteredBridge" => Self::ChannelEnteredBridge(serde_json::from_value(raw)?),
            "ChannelLeftBridge" => Self::ChannelLeftBridge(serde_json::from_value(raw)?),
            "BridgeCreated" => Self::BridgeCreated(serde_json::from_value(raw)?),
            "BridgeDestroyed" => Self::BridgeDestroyed(serde_json::from_value(raw)?),
            "PlaybackStarted" => Self::PlaybackStarted(serde_json::from_value(raw)?),
            "PlaybackContinuing" => Self::PlaybackContinuing(serde_json::from_value(raw)?),
            "PlaybackFinished" => Self::PlaybackFinished(serde_json::from_value(raw)?),
            "Dial" => Self::Dial(serde_json::from_value(raw)?),
            "ApplicationReplaced" => Self::ApplicationReplaced(serde_json::from_value(raw)?),
            _ => Self::Unknown(Unknown { kind: kind.to_owned(), raw }),
        })
    }

    /// The event's `type`, as on the wire.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::StasisStart(_) => "StasisStart",
            Self::StasisEnd(_) => "StasisEnd",
            Self::ChannelCreated(_) => "ChannelCreated",
            Self::ChannelDestroyed(_) => "ChannelDestroyed",
            Self::ChannelHangupRequest(_) => "ChannelHangupRequest",
            Self::ChannelStateChange(_) => "ChannelStateChange",
            Self::ChannelDtmfReceived(_) => "ChannelDtmfReceived",
            Self::ChannelVarset(_) => "ChannelVarset",
            Self::ChannelHold(_) => "ChannelHold",
            Self::ChannelUnhold(_) => "ChannelUnhold",
            Self::ChannelEnteredBridge(_) => "ChannelEnteredBridge",
            Self::ChannelLeftBridge(_) => "ChannelLeftBridge",
            Self::BridgeCreated(_) => "BridgeCreated",
            Self::BridgeDestroyed(_) => "BridgeDestroyed",
            Self::PlaybackStarted(_) => "PlaybackStarted",
            Self::PlaybackContinuing(_) => "PlaybackContinuing",
            Self::PlaybackFinished(_) => "PlaybackFinished",
            Self::Dial(_) => "Dial",
            Self::ApplicationReplaced(_) => "ApplicationReplaced",
            Self::Unknown(unknown) => &unknown.kind,
        }
    }

    /// The id of the channel that the event is about: whom to deliver it to. For a
    /// playback that is the channel it plays on, for a dial the outgoing one.
    #[must_use]
    pub fn channel_id(&self) -> Option<&str> {
        match self {
            Self::StasisStart(e) => Some(&e.channel.id),
            Self::StasisEnd(e) => Some(&e.channel.id),
            Self::ChannelCreated(e) | Self::ChannelStateChange(e) | Self::ChannelHold(e) | Self::ChannelUnhold(e) => {
                Some(&e.channel.id)
            }
            Self::ChannelDestroyed(e) => Some(&e.channel.id),
            Self::ChannelHangupRequest(e) => Some(&e.channel.id),
            Self::ChannelDtmfReceived(e) => Some(&e.channel.id),
            Self::ChannelVarset(e) => e.channel.as_ref().map(|c| c.id.as_str()),
            Self::ChannelEnteredBridge(e) | Self::ChannelLeftBridge(e) => e.channel.as_ref().map(|c| c.id.as_str()),
            Self::PlaybackStarted(e) | Self::PlaybackContinuing(e) | Self::PlaybackFinished(e) => {
                e.playback.channel_id()
            }
            Self::Dial(e) => Some(&e.peer.id),
            Self::Unknown(e) => e.raw.get("channel")?.get("id")?.as_str(),
            Self::BridgeCreated(_) | Self::BridgeDestroyed(_) | Self::ApplicationReplaced(_) => None,
        }
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
