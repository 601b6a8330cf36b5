//! The form in which events leave the host: that of Voxtra 0.3, which receivers rely on.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::event::Event;
use serde_json::{Value, json};

/// An event as JSON: `id` (32 hexadecimal digits), `type` (such as `call.started`), `session_id` (the call's id),
/// `timestamp` (RFC 3339 in UTC with milliseconds, such as `2026-01-31T12:00:00.000Z`) and `data` (an object). Where the handler shares
/// metadata, also `call`, an object with `metadata`.
pub fn event_json(event: &Event) -> Value {
    let mut wire = json!({
        "id": event.id,
        "type": event.kind.as_str(),
        "session_id": event.session_id.as_str(),
        "timestamp": timestamp(event.timestamp),
        "data": event.data,
    });
    if let (Some(metadata), Some(wire)) = (&event.metadata, wire.as_object_mut()) {
        wire.insert("call".to_owned(), json!({"metadata": metadata}));
    }
    wire
}

/// RFC 3339 in UTC with milliseconds. The format has no room for years outside 1970 to 9999; a clock that is that wrong
/// counts as unset.
pub fn timestamp(time: SystemTime) -> String {
    const YEAR_10000_UNIX_S: u64 = 253_402_300_800;
    let fits = time.duration_since(UNIX_EPOCH).is_ok_and(|since| since.as_secs() < YEAR_10000_UNIX_S);
    humantime::format_rfc3339_millis(if fits { time } else { UNIX_EPOCH }).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Map;

    use crate::{CallId, EventType, TenantId};

    use super::*;

    #[test]
    fn the_wire_form_is_the_seeds() {
        let event = Event {
            id: "0123456789abcdef0123456789abcdef".into(),
            kind: EventType::DtmfReceived,
            tenant: TenantId::default(),
            session_id: CallId::from("1700000000.1"),
            timestamp: UNIX_EPOCH + Duration::from_millis(1_700_000_000_125),
            data: Map::from_iter([("digit".to_owned(), Value::from("1"))]),
            metadata: None,
        };
        let wanted = json!({
            "id": "0123456789abcdef0123456789abcdef",
            "type": "dtmf.received",
            "session_id": "1700000000.1",
            "timestamp": "2023-11-14T22:13:20.125Z",
            "data": {"digit": "1"},
        });
        assert_eq!(event_json(&event), wanted);
        let shares = Event { metadata: Some(Map::from_iter([("k".to_owned(), Value::from("v"))])), ..event };
        assert_eq!(event_json(&shares)["call"], json!({"metadata": {"k": "v"}}));
    }

    #[test]
    fn a_clock_that_is_very_wrong_is_no_panic() {
        assert_eq!(timestamp(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(1 << 40)), "1970-01-01T00:00:00.000Z");
    }
}
