//! Ids as types: a call's id is never a tenant's, and none is a number.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the id as it is; it is opaque here.
            pub fn new(id: impl Into<Arc<str>>) -> Self {
                Self(id.into())
            }

            /// The id's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<String> for $name {
            fn from(id: String) -> Self {
                Self(id.into())
            }
        }

        impl From<&str> for $name {
            fn from(id: &str) -> Self {
                Self(id.into())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), &*self.0)
            }
        }
    };
}

id! {
    /// A call; on Asterisk the channel's unique id.
    CallId
}
id! {
    /// A tenant: whoever's handlers, keys and limits these are.
    TenantId
}
id! {
    /// A handler's name: its file's, without `.wasm`.
    HandlerName
}
id! {
    /// One playing of one list of prompts. Chosen by the host, so that an early "finished" is never lost.
    PlaybackId
}

id! {
    /// One recording of one call.
    RecordingId
}
id! {
    /// A bridge at the PBX; chosen by the host.
    BridgeId
}
id! {
    /// A snoop at the PBX; chosen by the host.
    SnoopId
}

impl TenantId {
    /// The tenant of a flat plugin directory.
    pub const DEFAULT_NAME: &'static str = "default";
}

impl Default for TenantId {
    fn default() -> Self {
        Self::new(Self::DEFAULT_NAME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_as_plain_text() {
        let id = CallId::from("1700000000.1");
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"1700000000.1\"");
        assert_eq!(id.to_string(), "1700000000.1");
    }
}
