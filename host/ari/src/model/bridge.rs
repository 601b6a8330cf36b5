//! Bridges.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::null_as_default;

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
    /// `none`, `talker`, `sfu` or `single`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub video_mode: String,
    /// The id of the channel whose picture everybody sees; empty when there is none.
    #[serde(default, deserialize_with = "null_as_default")]
    pub video_source_id: String,
    /// Variables that are reported with the bridge.
    #[serde(default, deserialize_with = "null_as_default")]
    pub bridgevars: BTreeMap<String, serde_json::Value>,
}
