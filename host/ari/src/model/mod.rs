//! What ARI says about channels, bridges, media, endpoints and Asterisk itself.
//!
//! Field names and meanings are those of Asterisk's own resource descriptions
//! (`rest-api/*.json`). Reading is lenient: a field that is missing or null takes
//! its empty value, one that is unknown is ignored, because both differ between
//! versions; only ids are required.

/// A model of which the first field is required (with `all`: none is) and every other may be missing or null.
macro_rules! lenient {
    (all $(#[$attribute:meta])* $name:ident { $($(#[$field_attribute:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Default, PartialEq, Deserialize)]
        pub struct $name {
            $($(#[$field_attribute])* #[serde(default, deserialize_with = "null_as_default")] pub $field: $type,)*
        }
    };
    ($(#[$attribute:meta])* $name:ident {
        $(#[$first_attribute:meta])* $first:ident: $first_type:ty,
        $($(#[$field_attribute:meta])* $field:ident: $type:ty,)*
    }) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, PartialEq, Deserialize)]
        pub struct $name {
            $(#[$first_attribute])* pub $first: $first_type,
            $($(#[$field_attribute])* #[serde(default, deserialize_with = "null_as_default")] pub $field: $type,)*
        }
    };
}

/// Words of the wire as an enum that keeps those it has no name for.
macro_rules! wire_words {
    ($(#[$attribute:meta])* $name:ident { $($(#[$word_attribute:meta])* $word:ident = $wire:literal,)* }) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
        #[serde(from = "String")]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$word_attribute])* $word,)*
            /// A word this crate has no name for.
            Other(String),
        }

        impl $name {
            /// The word on the wire.
            #[must_use]
            pub fn wire(&self) -> &str {
                match self {
                    $(Self::$word => $wire,)*
                    Self::Other(text) => text,
                }
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                match text.as_str() {
                    $($wire => Self::$word,)*
                    _ => Self::Other(text),
                }
            }
        }
    };
}

mod asterisk;
mod bridge;
mod channel;
mod media;
mod resource;

use serde::{Deserialize, Deserializer};

pub use asterisk::{
    AsteriskInfo, BuildInfo, ConfigField, ConfigInfo, LogChannel, Module, Ping, SetId, StatusInfo, SystemInfo,
};
pub use bridge::Bridge;
pub use channel::{Channel, ChannelState, DialplanPosition, Party, RtpStatistics};
pub use media::{LiveRecording, Playback, PlaybackState, RecordingState, Sound, SoundFormat, StoredRecording};
pub use resource::{
    Application, ContactInfo, DeviceState, DeviceStateValue, Endpoint, EndpointState, EventFilter, Mailbox, Peer,
    TextMessage,
};

/// A missing field and a null one mean the same: the empty value.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
