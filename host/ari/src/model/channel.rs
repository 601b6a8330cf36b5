//! Channels, and what Asterisk measures on their media.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::null_as_default;

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
    /// The tenant that the channel's configuration names; empty when it names none.
    #[serde(default, deserialize_with = "null_as_default")]
    pub tenantid: String,
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

lenient! {
    all
    /// What RTP and RTCP of a channel have counted: `GET /channels/{id}/rtp_statistics`. Jitter and round-trip times are in
    /// seconds; what the far end never reported is `None`.
    RtpStatistics {
        /// Packets sent.
        txcount: i64,
        /// Packets received.
        rxcount: i64,
        /// Bytes sent.
        txoctetcount: i64,
        /// Bytes received.
        rxoctetcount: i64,
        /// Packets sent that were lost, as the far end reports.
        txploss: i64,
        /// Packets that did not arrive here.
        rxploss: i64,
        /// Jitter of what was sent.
        txjitter: Option<f64>,
        /// Jitter of what was received.
        rxjitter: Option<f64>,
        /// Largest jitter at the far end.
        remote_maxjitter: Option<f64>,
        /// Smallest jitter at the far end.
        remote_minjitter: Option<f64>,
        /// Mean jitter at the far end.
        remote_normdevjitter: Option<f64>,
        /// Standard deviation of the jitter at the far end.
        remote_stdevjitter: Option<f64>,
        /// Largest jitter here.
        local_maxjitter: Option<f64>,
        /// Smallest jitter here.
        local_minjitter: Option<f64>,
        /// Mean jitter here.
        local_normdevjitter: Option<f64>,
        /// Standard deviation of the jitter here.
        local_stdevjitter: Option<f64>,
        /// Most packets lost in one report of the far end.
        remote_maxrxploss: Option<f64>,
        /// Fewest packets lost in one report of the far end.
        remote_minrxploss: Option<f64>,
        /// Mean of the packets lost at the far end.
        remote_normdevrxploss: Option<f64>,
        /// Standard deviation of the packets lost at the far end.
        remote_stdevrxploss: Option<f64>,
        /// Most packets lost in one report of ours.
        local_maxrxploss: Option<f64>,
        /// Fewest packets lost in one report of ours.
        local_minrxploss: Option<f64>,
        /// Mean of the packets lost here.
        local_normdevrxploss: Option<f64>,
        /// Standard deviation of the packets lost here.
        local_stdevrxploss: Option<f64>,
        /// The last round-trip time.
        rtt: Option<f64>,
        /// The longest round-trip time.
        maxrtt: Option<f64>,
        /// The shortest round-trip time.
        minrtt: Option<f64>,
        /// The mean round-trip time.
        normdevrtt: Option<f64>,
        /// The standard deviation of the round-trip time.
        stdevrtt: Option<f64>,
        /// Our synchronisation source.
        local_ssrc: i64,
        /// The far end's.
        remote_ssrc: i64,
        /// The channel's own id.
        channel_uniqueid: String,
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
