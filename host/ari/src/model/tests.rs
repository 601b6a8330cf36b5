//! Models as a real Asterisk writes them, with gaps, and as nobody should.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

#[test]
fn recordings_are_read_in_all_their_states() {
    let recording: LiveRecording = read(json!({"name": "a/b", "format": "wav", "state": "done", "duration": 3,
        "target_uri": "bridge:b1", "talking_duration": 2, "silence_duration": null, "new": 1}));
    assert_eq!((recording.state.clone(), recording.duration), (RecordingState::Done, Some(3)));
    assert_eq!((recording.bridge_id(), recording.channel_id()), (Some("b1"), None));
    assert_eq!((recording.talking_duration, recording.silence_duration), (Some(2), None));
    let started: LiveRecording = read(json!({"name": "n", "state": "recording", "target_uri": "channel:c"}));
    assert_eq!((started.channel_id(), started.duration, started.cause.as_str()), (Some("c"), None, ""));
    for (word, state) in [
        ("queued", RecordingState::Queued),
        ("paused", RecordingState::Paused),
        ("failed", RecordingState::Failed),
        ("canceled", RecordingState::Canceled),
        ("melted", RecordingState::Other("melted".to_owned())),
    ] {
        assert_eq!(RecordingState::from(word.to_owned()), state);
        assert_eq!(state.wire(), word);
    }
    let stored: StoredRecording = read(json!({"name": "a/b", "format": "wav"}));
    assert_eq!(stored.name, "a/b");
}

#[test]
fn endpoints_devices_mailboxes_and_applications_are_read() {
    let endpoint: Endpoint = read(json!({"technology": "PJSIP", "resource": "100", "channel_ids": ["1"]}));
    assert_eq!((endpoint.state, endpoint.channel_ids.len()), (EndpointState::Unknown, 1));
    let device: DeviceState = read(json!({"name": "Stasis:x", "state": "RINGINUSE"}));
    assert_eq!(device.state, DeviceStateValue::RingInUse);
    let mailbox: Mailbox = read(json!({"name": "1@x", "old_messages": 2, "new_messages": 1}));
    assert_eq!((mailbox.old_messages, mailbox.new_messages), (2, 1));
    let application: Application =
        read(json!({"name": "a", "channel_ids": ["1"], "bridge_ids": [], "endpoint_ids": [],
        "device_names": [], "events_allowed": [], "events_disallowed": [{"type": "Dial"}]}));
    assert_eq!(application.events_disallowed, [EventFilter { kind: "Dial".to_owned() }]);
    let message: TextMessage = read(json!({"from": "a", "to": "b", "body": "hi", "variables": {"X": "y"}}));
    assert_eq!((message.body.as_str(), message.variables["X"].as_str()), ("hi", Some("y")));
    let contact: ContactInfo = read(json!({"uri": "sip:a", "roundtrip_usec": "12"}));
    assert_eq!((contact.uri.as_str(), contact.aor.as_str()), ("sip:a", ""));
}

#[test]
fn asterisk_says_what_it_is_with_or_without_limits() {
    let info: AsteriskInfo = read(json!({"system": {"version": "22", "entity_id": "e"},
        "config": {"name": "", "default_language": "en", "max_load": 2.5, "max_channels": 10, "setid": {"user": null}},
        "build": {"os": "Linux", "user": "nobody"}}));
    assert_eq!(
        (info.config.max_load, info.config.max_channels, info.config.max_open_files),
        (Some(2.5), Some(10), None)
    );
    assert_eq!((info.build.os.as_str(), info.config.setid.user.as_str()), ("Linux", ""));
    assert_eq!(read::<AsteriskInfo>(json!({})), AsteriskInfo::default());
    let log: LogChannel = read(json!({"channel": "console", "type": "Console", "status": "Enabled"}));
    assert_eq!((log.kind.as_str(), log.configuration.as_str()), ("Console", ""));
    let field: ConfigField = read(json!({"attribute": "context", "value": null}));
    assert_eq!(field, ConfigField::new("context", ""));
    assert_eq!(serde_json::to_value(&field).unwrap(), json!({"attribute": "context", "value": ""}));
}

#[test]
fn statistics_and_sounds_are_read_with_gaps() {
    let statistics: RtpStatistics =
        read(json!({"txcount": 50, "rxcount": 49, "rtt": 0.02, "local_ssrc": 4_294_967_295u32}));
    assert_eq!((statistics.txcount, statistics.rtt, statistics.maxrtt), (50, Some(0.02), None));
    assert_eq!(statistics.local_ssrc, 4_294_967_295);
    let sound: Sound = read(json!({"id": "beep", "formats": [{"language": "en", "format": "gsm"}]}));
    assert_eq!((sound.text.as_str(), sound.formats[0].format.as_str()), ("", "gsm"));
    let bridge: Bridge = read(json!({"id": "b", "video_mode": "none", "bridgevars": {"A": "1"}}));
    assert_eq!((bridge.video_mode.as_str(), bridge.bridgevars.len()), ("none", 1));
}

#[test]
fn only_the_id_is_required() {
    fn needs<T: DeserializeOwned + std::fmt::Debug>(id: &str) {
        read::<T>(json!({ id: "x" }));
        assert!(serde_json::from_value::<T>(json!({})).is_err(), "{id}");
        assert!(serde_json::from_value::<T>(json!({ id: null })).is_err(), "{id}");
    }
    needs::<Channel>("id");
    needs::<Bridge>("id");
    needs::<Playback>("id");
    needs::<LiveRecording>("name");
    needs::<StoredRecording>("name");
    needs::<Sound>("id");
    needs::<Endpoint>("technology");
    needs::<DeviceState>("name");
    needs::<Mailbox>("name");
    needs::<Application>("name");
    needs::<Module>("name");
    needs::<LogChannel>("channel");
    needs::<ConfigField>("attribute");
}

proptest! {
    #[test]
    fn no_text_makes_a_reader_panic(text in "\\PC{0,200}", key in "[a-z_]{1,12}", number in any::<f64>()) {
        let _ = serde_json::from_str::<Channel>(&text);
        let odd = json!({"id": text, "name": text, &key: number, "state": text, "channelvars": {&key: text}});
        let _ = serde_json::from_value::<Channel>(odd.clone());
        let _ = serde_json::from_value::<Bridge>(odd.clone());
        let _ = serde_json::from_value::<LiveRecording>(odd.clone());
        let _ = serde_json::from_value::<RtpStatistics>(odd.clone());
        let _ = serde_json::from_value::<AsteriskInfo>(odd);
    }
}
