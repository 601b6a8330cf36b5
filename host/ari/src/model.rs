//! What ARI says about channels, bridges, playbacks and Asterisk itself.
//!
//! Field names and meanings are those of Asterisk's own resource descriptions
//! (`rest-api/*.json`). Reading is lenient: a field that is missing or null takes
//! its empty value, one that is unknown is ignored, because both differ between
//! versions; only ids are required.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// A missing field and a null one mean the same: the empty value.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A name and a number, as in caller id and connected line. Empty when unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Party {
    /// The name shown to people.
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    /// The number.
    #[serde(deserialize_with = "null_as_default")]
    pub number: String,
}

/// Where in the dialplan a channel is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct DialplanPosition {
    /// The context.
    #[serde(deserialize_with = "null_as_default")]
    pub context: String,
    /// The extension: for a new inbound call, the number that was called.
    #[serde(deserialize_with = "null_as_default")]
    pub exten: String,
    /// The priority, from 1.
    #[serde(deserialize_with = "null_as_default")]
    pub priority: i64,
    /// The application that runs.
    #[serde(deserialize_with = "null_as_default")]
    pub app_name: String,
    /// Its arguments.
    #[serde(deserialize_with = "null_as_default")]
    pub app_data: String,
}

/// The state of a channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
#[non_exhaustive]
pub enum ChannelState {
    /// Available or just made.
    #[default]
    Down,
    /// Down but taken.
    Reserved,
    /// Off the hook.
    OffHook,
    /// Digits are being dialled.
    Dialing,
    /// An inbound call that has not been answered.
    Ring,
    /// The far end of an outbound call rings.
    Ringing,
    /// Answered.
    Up,
    /// Busy.
    Busy,
    /// A state this crate has no name for.
    Other(String),
}

impl From<String> for ChannelState {
    fn from(text: String) -> Self {
        match text.as_str() {
            "Down" => Self::Down,
            "Rsrved" | "Rsrvd" => Self::Reserved,
            "OffHook" => Self::OffHook,
            "Dialing" => Self::Dialing,
            "Ring" => Self::Ring,
            "Ringing" => Self::Ringing,
            "Up" => Self::Up,
            "Busy" => Self::Busy,
            _ => Self::Other(text),
        }
    }
}

/// A channel: one leg of a call.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Channel {
    /// The unique id, by which every verb addresses it.
    pub id: String,
    /// Technology, peer and serial, such as `PJSIP/trunk-00000001`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub name: String,
    /// Its state.
    #[serde(default)]
    pub state: ChannelState,
    /// The protocol's own id: for SIP, the Call-ID. Empty when it has none.
    #[serde(default, deserialize_with = "null_as_default")]
    pub protocol_id: String,
    /// Who calls.
    #[serde(default, deserialize_with = "null_as_default")]
    pub caller: Party,
    /// Whom it is connected to.
    #[serde(default, deserialize_with = "null_as_default")]
    pub connected: Party,
    /// The account code.
    #[serde(default, deserialize_with = "null_as_default")]
    pub accountcode: String,
    /// Where in the dialplan it is.
    #[serde(default, deserialize_with = "null_as_default")]
    pub dialplan: DialplanPosition,
    /// When it was made, ISO 8601 with milliseconds and offset.
    #[serde(default, deserialize_with = "null_as_default")]
    pub creationtime: String,
    /// The language of its prompts.
    #[serde(default, deserialize_with = "null_as_default")]
    pub language: String,
    /// Variables that `ari.conf` (`channelvars`) or the channel's driver reports.
    #[serde(default, deserialize_with = "null_as_default")]
    pub channelvars: BTreeMap<String, serde_json::Value>,
    /// The redirecting number, when the call was forwarded.
    #[serde(default, deserialize_with = "null_as_default")]
    pub caller_rdnis: String,
}

impl Channel {
    /// A reported variable's text, if it is reported and is text.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.channelvars.get(name)?.as_str()
    }

    /// The channel's technology: `PJSIP`, `Local`, `AudioSocket`, `WebSocket`, …
    #[must_use]
    pub fn technology(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }
}

/// A bridge: what mixes the audio of its channels.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Bridge {
    /// The unique id.
    pub id: String,
    /// The technology in use, such as `simple_bridge` or `softmix`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub technology: String,
    /// `mixing` or `holding`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub bridge_type: String,
    /// The class, `stasis` for those made over ARI.
    #[serde(default, deserialize_with = "null_as_default")]
    pub bridge_class: String,
    /// Who made it.
    #[serde(default, deserialize_with = "null_as_default")]
    pub creator: String,
    /// The name given when it was made; may be empty.
    #[serde(default, deserialize_with = "null_as_default")]
    pub name: String,
    /// Ids of the channels in it.
    #[serde(default, deserialize_with = "null_as_default")]
    pub channels: Vec<String>,
    /// When it was made, ISO 8601.
    #[serde(default, deserialize_with = "null_as_default")]
    pub creationtime: String,
}

/// The state of a playback.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
#[non_exhaustive]
pub enum PlaybackState {
    /// Waits for others on the same channel.
    #[default]
    Queued,
    /// Is being heard.
    Playing,
    /// Between two media of one list.
    Continuing,
    /// Paused.
    Paused,
    /// Ended: played to its end, or stopped.
    Done,
    /// Could not be played, for example because there is no such file.
    Failed,
    /// A state this crate has no name for.
    Other(String),
}

impl From<String> for PlaybackState {
    fn from(text: String) -> Self {
        match text.as_str() {
            "queued" => Self::Queued,
            "playing" => Self::Playing,
            "continuing" => Self::Continuing,
            "paused" => Self::Paused,
            "done" => Self::Done,
            "failed" => Self::Failed,
            _ => Self::Other(text),
        }
    }
}

/// A playback on a channel or a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Playback {
    /// The id, chosen by whoever asked for it.
    pub id: String,
    /// What is played now.
    #[serde(default, deserialize_with = "null_as_default")]
    pub media_uri: String,
    /// What comes next, empty for the last.
    #[serde(default, deserialize_with = "null_as_default")]
    pub next_media_uri: String,
    /// On what: `channel:ID` or `bridge:ID`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub target_uri: String,
    /// The language asked for.
    #[serde(default, deserialize_with = "null_as_default")]
    pub language: String,
    /// Its state.
    #[serde(default)]
    pub state: PlaybackState,
}

impl Playback {
    /// The id of the channel it plays on, when it plays on one.
    #[must_use]
    pub fn channel_id(&self) -> Option<&str> {
        self.target_uri.strip_prefix("channel:")
    }
}

/// Asterisk's answer to a ping.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Ping {
    /// Always `pong`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub ping: String,
    /// Its time, ISO 8601.
    #[serde(default, deserialize_with = "null_as_default")]
    pub timestamp: String,
    /// Which Asterisk it is (its entity id).
    #[serde(default, deserialize_with = "null_as_default")]
    pub asterisk_id: String,
}

/// What Asterisk says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AsteriskInfo {
    /// Version and entity id.
    #[serde(deserialize_with = "null_as_default")]
    pub system: SystemInfo,
    /// Name and language.
    #[serde(deserialize_with = "null_as_default")]
    pub config: ConfigInfo,
    /// When it was started and reloaded.
    #[serde(deserialize_with = "null_as_default")]
    pub status: StatusInfo,
}

/// The system section of [`AsteriskInfo`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SystemInfo {
    /// Asterisk's version.
    #[serde(deserialize_with = "null_as_default")]
    pub version: String,
    /// Its entity id, the same as `asterisk_id` of events.
    #[serde(deserialize_with = "null_as_default")]
    pub entity_id: String,
}

/// The configuration section of [`AsteriskInfo`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ConfigInfo {
    /// The system's name; may be empty.
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    /// The language of prompts when a channel sets none.
    #[serde(deserialize_with = "null_as_default")]
    pub default_language: String,
}

/// The status section of [`AsteriskInfo`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StatusInfo {
    /// When it was started, ISO 8601. A different value means it was restarted.
    #[serde(deserialize_with = "null_as_default")]
    pub startup_time: String,
    /// When it was last reloaded, ISO 8601.
    #[serde(deserialize_with = "null_as_default")]
    pub last_reload_time: String,
}

/// A loaded module.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Module {
    /// File name, such as `chan_websocket.so`.
    pub name: String,
    /// What it is for.
    #[serde(default, deserialize_with = "null_as_default")]
    pub description: String,
    /// How often it is in use now.
    #[serde(default, deserialize_with = "null_as_default")]
    pub use_count: i64,
    /// `Running` or `Not Running`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub status: String,
    /// `core`, `extended` or `deprecated`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub support_level: String,
}

impl Module {
    /// True when it works, not only is loaded.
    #[must_use]
    pub fn running(&self) -> bool {
        self.status == "Running"
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_channel_is_read_with_nulls_gaps_and_unknown_fields() {
        let channel: Channel = serde_json::from_str(
            r#"{"id":"1.2","name":"PJSIP/a-1","state":"Ring","caller":{"name":null,"number":"12"},
                "dialplan":{"exten":"100"},"channelvars":{"A":"1","B":2},"tenantid":"x","new":[]}"#,
        )
        .unwrap();
        assert_eq!(channel.state, ChannelState::Ring);
        assert_eq!((channel.caller.name.as_str(), channel.caller.number.as_str()), ("", "12"));
        assert_eq!(channel.dialplan.exten, "100");
        assert_eq!(channel.variable("A"), Some("1"));
        assert_eq!(channel.variable("B"), None);
        assert_eq!(channel.technology(), "PJSIP");
        let unknown: Channel = serde_json::from_str(r#"{"id":"1","state":"Levitating"}"#).unwrap();
        assert_eq!(unknown.state, ChannelState::Other("Levitating".into()));
        assert!(serde_json::from_str::<Channel>(r#"{"name":"no id"}"#).is_err());
    }
}
