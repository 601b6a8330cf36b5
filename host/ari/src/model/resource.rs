//! Endpoints, device states, mailboxes, applications, and what is said about them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::null_as_default;

wire_words! {
    /// Whether an endpoint can be reached.
    EndpointState {
        /// Not known.
        #[default]
        Unknown = "unknown",
        /// Cannot be reached.
        Offline = "offline",
        /// Can be reached.
        Online = "online",
    }
}

lenient! {
    /// Somebody outside who calls and is called.
    #[derive(Eq)]
    Endpoint {
        /// The technology, such as `PJSIP`.
        technology: String,
        /// Its name there.
        resource: String,
        /// Whether it can be reached; absent counts as unknown.
        state: EndpointState,
        /// Ids of the channels that it has now.
        channel_ids: Vec<String>,
    }
}

wire_words! {
    /// What a device (a phone, a hint, something of one's own) is doing.
    DeviceStateValue {
        /// Nobody knows.
        #[default]
        Unknown = "UNKNOWN",
        /// Free.
        NotInUse = "NOT_INUSE",
        /// In a call.
        InUse = "INUSE",
        /// Can take no more.
        Busy = "BUSY",
        /// There is no such device.
        Invalid = "INVALID",
        /// Not there now.
        Unavailable = "UNAVAILABLE",
        /// Rings.
        Ringing = "RINGING",
        /// Rings while in a call.
        RingInUse = "RINGINUSE",
        /// Holds its call.
        OnHold = "ONHOLD",
    }
}

lenient! {
    /// A device and its state.
    #[derive(Eq)]
    DeviceState {
        /// The device, such as `PJSIP/100` or `Stasis:door`.
        name: String,
        /// Its state.
        state: DeviceStateValue,
    }
}

lenient! {
    /// How many messages wait in a mailbox.
    #[derive(Eq)]
    Mailbox {
        /// The mailbox.
        name: String,
        /// Messages that were heard.
        old_messages: i64,
        /// Messages that were not.
        new_messages: i64,
    }
}

lenient! {
    /// A Stasis application and what it is told about.
    #[derive(Eq)]
    Application {
        /// Its name.
        name: String,
        /// Channels it is told about; one that starts with `__` stands for all.
        channel_ids: Vec<String>,
        /// Bridges it is told about.
        bridge_ids: Vec<String>,
        /// Endpoints it is told about, `TECH/RESOURCE`.
        endpoint_ids: Vec<String>,
        /// Devices it is told about.
        device_names: Vec<String>,
        /// The only events it gets; empty for all.
        events_allowed: Vec<EventFilter>,
        /// The events it does not get.
        events_disallowed: Vec<EventFilter>,
    }
}

lenient! {
    /// One entry of an application's filter.
    #[derive(Eq)]
    EventFilter {
        /// The event's `type`.
        #[serde(rename = "type")]
        kind: String,
    }
}

lenient! {
    all
    /// A text message.
    TextMessage {
        /// From which URI.
        from: String,
        /// To which.
        to: String,
        /// What it says.
        body: String,
        /// Headers of the technology that were kept.
        variables: BTreeMap<String, serde_json::Value>,
    }
}

lenient! {
    all
    /// Where an endpoint can be reached.
    #[derive(Eq)]
    ContactInfo {
        /// The contact's URI.
        uri: String,
        /// `Unreachable`, `Reachable`, `Unknown`, `NonQualified` or `Removed`.
        contact_status: String,
        /// The address of record it belongs to.
        aor: String,
        /// The last round trip in microseconds, as text; empty when not measured.
        roundtrip_usec: String,
    }
}

lenient! {
    all
    /// What an endpoint's peer says of itself.
    #[derive(Eq)]
    Peer {
        /// Its state, in the technology's own words.
        peer_status: String,
        /// Why it changed; may be empty.
        cause: String,
        /// Its address; may be empty.
        address: String,
        /// Its port; may be empty.
        port: String,
        /// When it was last heard of; may be empty.
        time: String,
    }
}
