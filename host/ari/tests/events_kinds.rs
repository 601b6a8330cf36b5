//! One message of every kind that Asterisk 22 sends, as its `rest-api/events.json` describes them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};
use voxtra_ari::Event;

fn channel(id: &str) -> Value {
    json!({"id": id, "name": format!("PJSIP/trunk-{id}"), "state": "Up", "protocol_id": "a@b",
        "caller": {"name": "Ann", "number": "100"}, "connected": {"name": "", "number": ""}, "accountcode": "",
        "dialplan": {"context": "default", "exten": "s", "priority": 1, "app_name": "Stasis", "app_data": "app"},
        "creationtime": "2026-11-21T02:11:33.925+0000", "language": "en"})
}

fn bridge(id: &str) -> Value {
    json!({"id": id, "technology": "simple_bridge", "bridge_type": "mixing", "bridge_class": "stasis", "creator": "Stasis",
        "name": "", "channels": ["c1"], "creationtime": "2026-11-21T02:11:33.925+0000", "video_mode": "none"})
}

fn endpoint() -> Value {
    json!({"technology": "PJSIP", "resource": "100", "state": "online", "channel_ids": []})
}

fn playback(state: &str) -> Value {
    json!({"playback": {"id": "p1", "media_uri": "sound:hello", "target_uri": "channel:c1", "language": "en", "state": state}})
}

fn recording(state: &str, more: Value) -> Value {
    let recording = json!({"name": "calls/1", "format": "wav", "state": state, "target_uri": "channel:c1"});
    json!({"recording": merged(recording, more)})
}

fn merged(mut one: Value, other: Value) -> Value {
    one.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
    one
}

/// Every kind, what it holds besides what all have, and the channel it is about.
fn every_kind() -> Vec<(&'static str, Value, Option<&'static str>)> {
    let of = |more: Value| merged(json!({"channel": channel("c1")}), more);
    let c1 = Some("c1");
    vec![
        ("StasisStart", of(json!({"args": ["a"], "replace_channel": channel("c0")})), c1),
        ("StasisEnd", of(json!({})), c1),
        ("ChannelCreated", of(json!({})), c1),
        ("ChannelDestroyed", of(json!({"cause": 17, "cause_txt": "User busy", "tech_cause": 486})), c1),
        ("ChannelHangupRequest", of(json!({"cause": 16, "tech_cause": 200, "soft": true})), c1),
        ("ChannelStateChange", of(json!({})), c1),
        ("ChannelDtmfReceived", of(json!({"digit": "#", "duration_ms": 120})), c1),
        ("ChannelDialplan", of(json!({"dialplan_app": "Playback", "dialplan_app_data": "hello"})), c1),
        ("ChannelCallerId", of(json!({"caller_presentation": 32, "caller_presentation_txt": "Prohibited"})), c1),
        ("ChannelConnectedLine", of(json!({})), c1),
        ("ChannelVarset", of(json!({"variable": "A", "value": "1"})), c1),
        (
            "ChannelUserevent",
            of(json!({"eventname": "e", "userevent": {"eventname": "e", "n": 7}, "bridge": bridge("b1"),
                "endpoint": endpoint()})),
            c1,
        ),
        ("ChannelHold", of(json!({"musicclass": "jazz"})), c1),
        ("ChannelUnhold", of(json!({})), c1),
        ("ChannelTalkingStarted", of(json!({})), c1),
        ("ChannelTalkingFinished", of(json!({"duration": 1500})), c1),
        ("ChannelToneDetected", of(json!({})), c1),
        (
            "ChannelTransfer",
            json!({"state": "channel_answered",
                "refer_to": {"requested_destination": {"destination": "200", "additional_protocol_params":
                    [{"parameter_name": "from-tag", "parameter_value": "x"}]}, "destination_channel": channel("c2"),
                    "connected_channel": channel("c3"), "bridge": bridge("b2")},
                "referred_by": {"source_channel": channel("c1"), "connected_channel": channel("c4"), "bridge": bridge("b1")}}),
            c1,
        ),
        ("ChannelEnteredBridge", of(json!({"bridge": bridge("b1")})), c1),
        ("ChannelLeftBridge", of(json!({"bridge": bridge("b1")})), c1),
        ("BridgeCreated", json!({"bridge": bridge("b1")}), None),
        ("BridgeDestroyed", json!({"bridge": bridge("b1")}), None),
        ("BridgeMerged", json!({"bridge": bridge("b1"), "bridge_from": bridge("b2")}), None),
        ("BridgeVideoSourceChanged", json!({"bridge": bridge("b1"), "old_video_source_id": "c9"}), None),
        (
            "BridgeBlindTransfer",
            of(json!({"replace_channel": channel("c2"), "transferee": channel("c3"), "exten": "200",
                "context": "default", "result": "Success", "is_external": true, "bridge": bridge("b1")})),
            c1,
        ),
        (
            "BridgeAttendedTransfer",
            json!({"transferer_first_leg": channel("c1"), "transferer_second_leg": channel("c2"),
                "transferee": channel("c3"), "transfer_target": channel("c4"), "replace_channel": channel("c5"),
                "result": "Success", "is_external": true, "transferer_first_leg_bridge": bridge("b1"),
                "transferer_second_leg_bridge": bridge("b2"), "destination_type": "threeway",
                "destination_bridge": "b3", "destination_application": "app",
                "destination_link_first_leg": channel("c6"), "destination_link_second_leg": channel("c7"),
                "destination_threeway_channel": channel("c8"), "destination_threeway_bridge": bridge("b4")}),
            c1,
        ),
        ("PlaybackStarted", playback("playing"), c1),
        ("PlaybackContinuing", playback("continuing"), c1),
        ("PlaybackFinished", playback("done"), c1),
        ("RecordingStarted", recording("recording", json!({})), c1),
        (
            "RecordingFinished",
            recording("done", json!({"duration": 5, "talking_duration": 3, "silence_duration": 2})),
            c1,
        ),
        ("RecordingFailed", recording("failed", json!({"cause": "No space left on device"})), c1),
        (
            "Dial",
            json!({"caller": channel("c0"), "peer": channel("c1"), "forward": "Local/2", "forwarded": channel("c2"),
                "dialstring": "200", "dialstatus": "BUSY"}),
            c1,
        ),
        ("DeviceStateChanged", json!({"device_state": {"name": "PJSIP/100", "state": "INUSE"}}), None),
        ("EndpointStateChange", json!({"endpoint": endpoint()}), None),
        (
            "ContactStatusChange",
            json!({"endpoint": endpoint(), "contact_info": {"uri": "sip:100@h", "contact_status": "Reachable",
                "aor": "100", "roundtrip_usec": "920"}}),
            None,
        ),
        (
            "PeerStatusChange",
            json!({"endpoint": endpoint(), "peer": {"peer_status": "Registered", "cause": "Expired",
                "address": "192.0.2.1", "port": "5060", "time": "now"}}),
            None,
        ),
        (
            "TextMessageReceived",
            json!({"endpoint": endpoint(), "message": {"from": "sip:a@h", "to": "pjsip:b", "body": "Hi",
                "variables": {"X": "1"}}}),
            None,
        ),
        ("ApplicationRegistered", json!({}), None),
        ("ApplicationUnregistered", json!({}), None),
        ("ApplicationReplaced", json!({}), None),
        ("ApplicationMoveFailed", of(json!({"destination": "other", "args": ["a"]})), c1),
        ("CallBroadcast", of(json!({"caller": "100", "called": "200"})), c1),
        ("CallClaimed", of(json!({"winner_app": "first"})), c1),
        ("MissingParams", json!({"params": ["app"]}), None),
    ]
}

/// With what all events have, and with a field that nobody has heard of.
fn message(kind: &str, fields: &Value) -> Value {
    let all = json!({"type": kind, "application": "app", "timestamp": "2026-11-21T02:11:33.927+0000",
        "asterisk_id": "02:fc:00:00:00:01", "invented_tomorrow": {"deep": [1, null]}});
    merged(all, fields.clone())
}

#[test]
fn every_kind_is_typed_and_says_whom_it_is_about() {
    for (kind, fields, about) in every_kind() {
        let event = Event::parse(&message(kind, &fields).to_string()).unwrap_or_else(|e| panic!("{e}"));
        assert!(!matches!(event, Event::Unknown(_)), "{kind}");
        assert_eq!((event.kind(), event.channel_id()), (kind, about));
        assert_eq!((event.application(), event.asterisk_id()), ("app", "02:fc:00:00:00:01"), "{kind}");
        assert_eq!(event.timestamp(), "2026-11-21T02:11:33.927+0000");
    }
}

#[test]
fn no_kind_is_without_its_message_here() {
    let here: BTreeSet<&str> = every_kind().iter().map(|(kind, _, _)| *kind).collect();
    assert_eq!(here, Event::KINDS.iter().copied().collect());
    assert_eq!(here.len(), every_kind().len());
}

#[test]
fn every_value_arrives_in_its_field() {
    // Whatever is under `fields` must be seen again in what was read of it.
    fn values(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => fields.values().for_each(|value| values(value, found)),
            Value::Array(items) => items.iter().for_each(|value| values(value, found)),
            Value::Null | Value::Bool(_) => {}
            Value::String(text) => found.push(text.clone()),
            Value::Number(number) => found.push(number.to_string()),
        }
    }
    for (kind, fields, _) in every_kind() {
        let event = Event::parse(&message(kind, &fields).to_string()).unwrap();
        let read = format!("{event:?}");
        let mut wanted = Vec::new();
        values(&fields, &mut wanted);
        for text in wanted {
            // States and types are enums: their words are not the wire's.
            let spelled = read.to_lowercase().replace('_', "");
            assert!(spelled.contains(&text.to_lowercase().replace('_', "")), "{kind}: {text:?} is not in {read}");
        }
    }
}

#[test]
fn a_field_that_may_be_missing_is_no_error_when_it_is_missing_or_null() {
    // What each kind cannot do without, by top-level field.
    let needed = |kind: &str| -> &[&str] {
        match kind {
            "ChannelDtmfReceived" => &["channel", "digit"],
            "ChannelVarset" => &["variable"],
            "ChannelUserevent" => &["eventname"],
            "ChannelTransfer" => &["refer_to", "referred_by"],
            "ChannelEnteredBridge" | "ChannelLeftBridge" => &["bridge"],
            "BridgeMerged" => &["bridge", "bridge_from"],
            "BridgeAttendedTransfer" => &["transferer_first_leg", "transferer_second_leg"],
            "BridgeBlindTransfer" => &["channel"],
            "Dial" => &["peer"],
            "TextMessageReceived" => &["message"],
            _ => &["channel", "bridge", "playback", "recording", "device_state", "endpoint"],
        }
    };
    for (kind, fields, _) in every_kind() {
        for field in message(kind, &fields).as_object().unwrap().keys().filter(|field| *field != "type") {
            let optional = !needed(kind).contains(&field.as_str());
            let mut null = message(kind, &fields);
            null[field] = Value::Null;
            let mut missing = message(kind, &fields);
            missing.as_object_mut().unwrap().remove(field);
            for changed in [null, missing] {
                let outcome = Event::parse(&changed.to_string());
                assert_eq!(outcome.is_ok(), optional, "{kind} without {field}: {outcome:?}");
            }
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z_]{1,8}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let _ = Event::parse(&text);
    }

    #[test]
    fn a_known_kind_with_anything_in_one_of_its_fields_is_read_or_refused(
        at in 0usize..1000, field in 0usize..1000, value in any_json(),
    ) {
        let kinds = every_kind();
        let (kind, fields, _) = &kinds[at % kinds.len()];
        let mut changed = message(kind, fields);
        let names: Vec<String> = changed.as_object().unwrap().keys().cloned().collect();
        changed[&names[field % names.len()]] = value;
        match Event::parse(&changed.to_string()) {
            Ok(event) => {
                let _ = (event.kind(), event.channel_id(), event.application(), event.asterisk_id(), event.timestamp());
            }
            Err(malformed) => prop_assert!(malformed.to_string().len() < 4_000),
        }
    }

    #[test]
    fn a_message_cut_anywhere_is_refused(at in 0usize..1000, cut in 0usize..10_000) {
        let kinds = every_kind();
        let (kind, fields, _) = &kinds[at % kinds.len()];
        let text = message(kind, fields).to_string();
        prop_assert!(Event::parse(&text[..cut % text.len()]).is_err());
    }
}
