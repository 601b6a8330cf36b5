//! Asterisk itself: what it is, its modules, its logs and its configuration objects.

use serde::{Deserialize, Serialize};

use super::null_as_default;

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
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct AsteriskInfo {
    /// How it was built; empty when it was not asked for.
    #[serde(deserialize_with = "null_as_default")]
    pub build: BuildInfo,
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
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ConfigInfo {
    /// The system's name; may be empty.
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    /// The language of prompts when a channel sets none.
    #[serde(deserialize_with = "null_as_default")]
    pub default_language: String,
    /// Most channels at a time; `None` for no limit.
    pub max_channels: Option<i64>,
    /// Most open files; `None` for the system's own limit.
    pub max_open_files: Option<i64>,
    /// Load average above which no calls are taken; `None` for no limit.
    pub max_load: Option<f64>,
    /// As whom it runs.
    #[serde(deserialize_with = "null_as_default")]
    pub setid: SetId,
}

lenient! {
    all
    /// The user and group that Asterisk runs as, when its configuration sets them.
    #[derive(Eq)]
    SetId {
        /// The user.
        user: String,
        /// The group.
        group: String,
    }
}

lenient! {
    all
    /// The build section of [`AsteriskInfo`].
    #[derive(Eq)]
    BuildInfo {
        /// The operating system.
        os: String,
        /// Its kernel.
        kernel: String,
        /// Compile-time options.
        options: String,
        /// The machine's architecture.
        machine: String,
        /// When.
        date: String,
        /// By whom.
        user: String,
    }
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

lenient! {
    /// A log that Asterisk writes.
    #[derive(Eq)]
    LogChannel {
        /// Where to: a path, or `console`.
        channel: String,
        /// The kind: `Console`, `File`, `Syslog`.
        #[serde(rename = "type")]
        kind: String,
        /// `Enabled` or `Disabled`.
        status: String,
        /// The levels it takes, such as `NOTICE WARNING ERROR`.
        configuration: String,
    }
}

/// One field of a dynamic configuration object (`sorcery.conf`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct ConfigField {
    /// The field.
    pub attribute: String,
    /// Its value.
    #[serde(default, deserialize_with = "null_as_default")]
    pub value: String,
}

impl ConfigField {
    /// A field and its value.
    pub fn new(attribute: impl Into<String>, value: impl Into<String>) -> Self {
        Self { attribute: attribute.into(), value: value.into() }
    }
}
