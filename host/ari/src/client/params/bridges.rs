//! Arguments of the verbs on bridges.

use std::collections::BTreeMap;

use serde::Serialize;

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
    /// As mixing, and everybody sees everybody.
    MixingVideoSfu,
    /// As mixing, and everybody sees one channel: see [`crate::AriClient::set_video_source`].
    MixingVideoSingle,
    /// Channels wait: they hear music or an announcer, not each other.
    Holding,
}

impl BridgeType {
    pub(crate) fn wire(self) -> &'static str {
        match self {
            Self::Mixing => "mixing",
            Self::MixingDtmfEvents => "mixing,dtmf_events",
            Self::MixingProxyMedia => "mixing,proxy_media",
            Self::MixingVideoSfu => "mixing,video_sfu",
            Self::MixingVideoSingle => "mixing,video_single",
            Self::Holding => "holding",
        }
    }
}

impl Serialize for BridgeType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.wire())
    }
}

/// A bridge to make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CreateBridge {
    /// The new bridge's id. Default: Asterisk chooses one.
    #[serde(skip)]
    pub bridge_id: Option<String>,
    /// What it does.
    #[serde(rename = "type")]
    pub kind: BridgeType,
    /// A name for people. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Bridge variables (20.20, 22.10, 23.4 and later).
    #[serde(skip)]
    pub variables: BTreeMap<String, String>,
}

impl CreateBridge {
    /// A bridge of this kind.
    #[must_use]
    pub fn new(kind: BridgeType) -> Self {
        Self { kind, ..Self::default() }
    }

    /// Gives it this id.
    #[must_use]
    pub fn bridge_id(mut self, id: impl Into<String>) -> Self {
        self.bridge_id = Some(id.into());
        self
    }

    /// Gives it this name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets a bridge variable.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }
}

/// How channels join a bridge. The default is how [`crate::AriClient::add_to_bridge`] lets them join.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct JoinOptions {
    /// In a holding bridge: `participant` or `announcer`. Default: `participant`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Keeps the others from hearing their digits. Default: false.
    #[serde(rename = "absorbDTMF", skip_serializing_if = "std::ops::Not::not")]
    pub absorb_dtmf: bool,
    /// They hear, and are not heard, for as long as they are in the bridge: [`crate::AriClient::unmute`] does not end it. In a
    /// [`BridgeType::Mixing`] bridge of two SIP legs it has no effect, as their audio does not pass through it; use
    /// [`BridgeType::MixingProxyMedia`] (both measured, 22.10). Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub mute: bool,
    /// Does not tell the others who has joined (connected line). Default: false.
    #[serde(rename = "inhibitConnectedLineUpdates", skip_serializing_if = "std::ops::Not::not")]
    pub inhibit_connected_line_updates: bool,
}
