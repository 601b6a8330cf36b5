//! What each verb sends, to the letter: method, path, query, body.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use fake::{FakePbx, Reply, http};
use futures_util::StreamExt;
use serde_json::{Value, json};
use voxtra_ari::model::{ConfigField, DeviceStateValue};
use voxtra_ari::{
    AriClient, AriError, AudioDirection, BridgeType, ContinueTo, CreateBridge, CreateChannel, Dial, EventRules,
    HangupReason, IfExists, JoinOptions, Originate, Play, PlaybackControl, Record, SendMessage, SendRefer, Snoop,
    TerminateOn, TransferState,
};

/// Something that is whatever one thing a verb asks for.
const ONE: &str = r#"{"id":"i","name":"n","technology":"T","resource":"r","value":"v","variables":{"A":"1","B":null},
    "new_in_a_later_version":[{}]}"#;
const MANY: &str = "[]";
const NOTHING: &str = "";

type Verb<'a> = Pin<Box<dyn Future<Output = Result<(), AriError>> + 'a>>;

/// What is called, what Asterisk answers, and what it should have got.
struct Row<'a> {
    verb: Verb<'a>,
    answer: &'static str,
    line: &'static str,
    body: Value,
}

macro_rules! row {
    ($verb:expr, $answer:expr, $line:expr, $body:expr $(,)?) => {
        // Inside of the block, so that what the verb borrows lives as long as it runs.
        Row { verb: Box::pin(async { $verb.await.map(drop) }), answer: $answer, line: $line, body: $body }
    };
}

/// Runs the rows one after the other.
async fn check(rows: Vec<Row<'_>>, pbx: &FakePbx, answer: &Mutex<&'static str>) {
    for row in rows {
        *answer.lock().unwrap() = row.answer;
        row.verb.await.unwrap_or_else(|error| panic!("{}: {error}", row.line));
        let seen = pbx.last();
        assert_eq!(seen.line, row.line);
        if row.body.is_null() {
            assert_eq!(seen.body, "", "{}", row.line);
        } else {
            assert_eq!(seen.json(), row.body, "{}", row.line);
        }
    }
}

async fn pbx() -> (FakePbx, Arc<Mutex<&'static str>>, AriClient) {
    let answer = Arc::new(Mutex::new(NOTHING));
    let told = Arc::clone(&answer);
    let pbx = FakePbx::rest(move |_| match *told.lock().unwrap() {
        NOTHING => http(204, ""),
        body => http(200, body),
    })
    .await;
    let client = pbx.client();
    (pbx, answer, client)
}

fn variables() -> BTreeMap<String, String> {
    BTreeMap::from([("A".to_owned(), "1&2".to_owned())])
}

#[tokio::test]
async fn verbs_that_make_and_move_channels() {
    let (pbx, answer, client) = pbx().await;
    let place = ContinueTo { context: Some("x".into()), label: Some("here".into()), ..ContinueTo::default() };
    let in_dialplan = Originate::to_dialplan("Local/1@x", place).variable("A", "1");
    let created = CreateChannel::new("PJSIP/1", "my app").channel_id("c/1").formats("slin").variable("A", "1");
    let dial = Dial { caller: Some("d".into()), timeout_s: Some(20) };
    let rows = vec![
        row!(client.list_channels(), MANY, "GET /ari/channels", Value::Null),
        row!(client.get_channel("c/1"), ONE, "GET /ari/channels/c%2F1", Value::Null),
        row!(
            client.originate(&in_dialplan),
            ONE,
            "POST /ari/channels",
            json!({"endpoint": "Local/1@x", "context": "x", "label": "here", "variables": {"A": "1"}}),
        ),
        row!(
            client.create_channel(&created),
            ONE,
            "POST /ari/channels/create",
            json!({"endpoint": "PJSIP/1", "app": "my app", "channelId": "c/1", "formats": "slin", "variables": {"A": "1"}}),
        ),
        row!(
            client.dial("c/1", &dial),
            NOTHING,
            "POST /ari/channels/c%2F1/dial",
            json!({"caller": "d", "timeout": 20})
        ),
        row!(client.dial("c", &Dial::default()), NOTHING, "POST /ari/channels/c/dial", json!({})),
        row!(client.ring("c"), NOTHING, "POST /ari/channels/c/ring", Value::Null),
        row!(client.ring_stop("c"), NOTHING, "DELETE /ari/channels/c/ring", Value::Null),
        row!(client.progress("c"), NOTHING, "POST /ari/channels/c/progress", Value::Null),
        row!(client.move_to_app("c", "other", None), NOTHING, "POST /ari/channels/c/move", json!({"app": "other"})),
        row!(
            client.move_to_app("c", "other", Some("a,b")),
            NOTHING,
            "POST /ari/channels/c/move",
            json!({"app": "other", "appArgs": "a,b"}),
        ),
        row!(
            client.transfer_progress("c", TransferState::Declined),
            NOTHING,
            "POST /ari/channels/c/transfer_progress",
            json!({"states": "channel_declined"}),
        ),
        row!(client.get_variable("c", "A"), ONE, "GET /ari/channels/c/variable?variable=A", Value::Null),
        row!(
            client.set_variables("c", &variables()),
            NOTHING,
            "POST /ari/channels/c/variables",
            json!({"variables": {"A": "1&2"}}),
        ),
        row!(client.get_variables("c", &["A", "B"]), ONE, "GET /ari/channels/c/variables?variables=A%2CB", Value::Null),
        row!(client.rtp_statistics("c"), ONE, "GET /ari/channels/c/rtp_statistics", Value::Null),
        row!(client.hangup("c", HangupReason::Busy), NOTHING, "DELETE /ari/channels/c?reason=busy", Value::Null),
    ];
    check(rows, &pbx, &answer).await;
    *answer.lock().unwrap() = ONE;
    let read = client.get_variables("c", &["A", "B"]).await.unwrap();
    assert_eq!(read, BTreeMap::from([("A".into(), "1".into()), ("B".into(), String::new())]));
    let error = client.get_variables("c", &["CUT(A,-,1)"]).await.unwrap_err();
    assert!(matches!(error, AriError::InvalidInput { .. }), "{error:?}");
}

#[tokio::test]
async fn verbs_about_what_a_channel_hears_and_says() {
    let (pbx, answer, client) = pbx().await;
    let mut play = Play::new("p/1", "sound:a");
    (play.offset_ms, play.skip_ms) = (Some(5), Some(1000));
    let record = Record::new("f/n", "wav")
        .max_duration_s(10)
        .max_silence_s(3)
        .if_exists(IfExists::Overwrite)
        .beep()
        .terminate_on(TerminateOn::Hash);
    let whispers = Snoop::new(AudioDirection::Both, AudioDirection::Out).snoop_id("s/1").app_args("a,b");
    let mut elsewhere = Snoop::new(AudioDirection::In, AudioDirection::None);
    elsewhere.app = Some("other".into());
    let rows = vec![
        row!(
            client.play("c", &play),
            ONE,
            "POST /ari/channels/c/play/p%2F1",
            json!({"media": ["sound:a"], "offsetms": 5, "skipms": 1000}),
        ),
        row!(client.hold("c"), NOTHING, "POST /ari/channels/c/hold", Value::Null),
        row!(client.unhold("c"), NOTHING, "DELETE /ari/channels/c/hold", Value::Null),
        row!(client.start_moh("c", None), NOTHING, "POST /ari/channels/c/moh", Value::Null),
        row!(client.start_moh("c", Some("jazz")), NOTHING, "POST /ari/channels/c/moh", json!({"mohClass": "jazz"})),
        row!(client.stop_moh("c"), NOTHING, "DELETE /ari/channels/c/moh", Value::Null),
        row!(client.start_silence("c"), NOTHING, "POST /ari/channels/c/silence", Value::Null),
        row!(client.stop_silence("c"), NOTHING, "DELETE /ari/channels/c/silence", Value::Null),
        row!(client.mute("c", AudioDirection::In), NOTHING, "POST /ari/channels/c/mute", json!({"direction": "in"})),
        row!(
            client.unmute("c", AudioDirection::Both),
            NOTHING,
            "DELETE /ari/channels/c/mute?direction=both",
            Value::Null,
        ),
        row!(
            client.record("c", &record),
            ONE,
            "POST /ari/channels/c/record",
            json!({"name": "f/n", "format": "wav", "maxDurationSeconds": 10, "maxSilenceSeconds": 3,
                   "ifExists": "overwrite", "beep": true, "terminateOn": "#"}),
        ),
        row!(
            client.record("c", &Record::new("n", "wav")),
            ONE,
            "POST /ari/channels/c/record",
            json!({"name": "n", "format": "wav"}),
        ),
        row!(
            client.snoop("c", &whispers),
            ONE,
            "POST /ari/channels/c/snoop",
            json!({"snoopId": "s/1", "spy": "both", "whisper": "out", "app": "my app", "appArgs": "a,b"}),
        ),
        row!(
            client.snoop("c", &elsewhere),
            ONE,
            "POST /ari/channels/c/snoop",
            json!({"spy": "in", "whisper": "none", "app": "other"}),
        ),
        row!(client.get_playback("p/1"), ONE, "GET /ari/playbacks/p%2F1", Value::Null),
        row!(client.stop_playback("p"), NOTHING, "DELETE /ari/playbacks/p", Value::Null),
        row!(
            client.control_playback("p", PlaybackControl::Reverse),
            NOTHING,
            "POST /ari/playbacks/p/control",
            json!({"operation": "reverse"}),
        ),
    ];
    check(rows, &pbx, &answer).await;
}

#[tokio::test]
async fn verbs_on_bridges() {
    let (pbx, answer, client) = pbx().await;
    let bridge = CreateBridge::new(BridgeType::MixingVideoSfu).bridge_id("b/1").name("n");
    let quietly =
        JoinOptions { role: Some("announcer".into()), absorb_dtmf: true, mute: true, ..JoinOptions::default() };
    let unseen = JoinOptions { inhibit_connected_line_updates: true, ..JoinOptions::default() };
    let rows = vec![
        row!(client.list_bridges(), MANY, "GET /ari/bridges", Value::Null),
        row!(client.get_bridge("b/1"), ONE, "GET /ari/bridges/b%2F1", Value::Null),
        row!(
            client.create_bridge_with(&bridge),
            ONE,
            "POST /ari/bridges/b%2F1",
            json!({"type": "mixing,video_sfu", "name": "n"}),
        ),
        row!(client.create_bridge_with(&CreateBridge::default()), ONE, "POST /ari/bridges", json!({"type": "mixing"})),
        row!(
            client.add_to_bridge_as("b", &["c", "d"], &quietly),
            NOTHING,
            "POST /ari/bridges/b/addChannel",
            json!({"channel": ["c", "d"], "role": "announcer", "absorbDTMF": true, "mute": true}),
        ),
        row!(
            client.add_to_bridge_as("b", &["c"], &unseen),
            NOTHING,
            "POST /ari/bridges/b/addChannel",
            json!({"channel": ["c"], "inhibitConnectedLineUpdates": true}),
        ),
        row!(
            client.start_bridge_moh("b", Some("jazz")),
            NOTHING,
            "POST /ari/bridges/b/moh",
            json!({"mohClass": "jazz"})
        ),
        row!(client.start_bridge_moh("b", None), NOTHING, "POST /ari/bridges/b/moh", Value::Null),
        row!(client.stop_bridge_moh("b"), NOTHING, "DELETE /ari/bridges/b/moh", Value::Null),
        row!(
            client.play_on_bridge("b", &Play::new("p/1", "tone:ring")),
            ONE,
            "POST /ari/bridges/b/play/p%2F1",
            json!({"media": ["tone:ring"]}),
        ),
        row!(
            client.record_bridge("b", &Record::new("f/n", "wav").if_exists(IfExists::Append)),
            ONE,
            "POST /ari/bridges/b/record",
            json!({"name": "f/n", "format": "wav", "ifExists": "append"}),
        ),
        row!(client.set_video_source("b", "c/1"), NOTHING, "POST /ari/bridges/b/videoSource/c%2F1", Value::Null),
        row!(client.clear_video_source("b"), NOTHING, "DELETE /ari/bridges/b/videoSource", Value::Null),
        row!(client.get_bridge_variable("b", "A"), ONE, "GET /ari/bridges/b/variable?variable=A", Value::Null),
        row!(
            client.set_bridge_variable("b", "A", "1"),
            NOTHING,
            "POST /ari/bridges/b/variable",
            json!({"variable": "A", "value": "1"}),
        ),
        row!(client.get_bridge_variables("b", &["A"]), ONE, "GET /ari/bridges/b/variables?variables=A", Value::Null),
        row!(
            client.set_bridge_variables("b", &variables()),
            NOTHING,
            "POST /ari/bridges/b/variables",
            json!({"variables": {"A": "1&2"}}),
        ),
    ];
    check(rows, &pbx, &answer).await;
}

#[tokio::test]
async fn a_bridge_whose_variables_cannot_be_set_is_ended_again() {
    let pbx = FakePbx::rest(|seen| match seen.line.as_str() {
        "POST /ari/bridges" => http(200, ONE),
        "POST /ari/bridges/i/variables" => http(404, r#"{"message":"Resource not found"}"#),
        _ => http(204, ""),
    })
    .await;
    let bridge = CreateBridge::new(BridgeType::Mixing).variable("A", "1");
    let error = pbx.client().create_bridge_with(&bridge).await.unwrap_err();
    assert!(matches!(error, AriError::NotFound { .. }) && !error.gone(), "{error:?}");
    let lines: Vec<String> = pbx.seen.lock().unwrap().iter().map(|seen| seen.line.clone()).collect();
    assert_eq!(lines, ["POST /ari/bridges", "POST /ari/bridges/i/variables", "DELETE /ari/bridges/i"]);
}

#[tokio::test]
async fn verbs_on_recordings() {
    let (pbx, answer, client) = pbx().await;
    let name = "tenant/2026/a b";
    let rows = vec![
        row!(client.list_stored_recordings(), MANY, "GET /ari/recordings/stored", Value::Null),
        row!(client.get_stored_recording(name), ONE, "GET /ari/recordings/stored/tenant%2F2026%2Fa%20b", Value::Null),
        row!(
            client.download_recording(name, 1000),
            ONE,
            "GET /ari/recordings/stored/tenant%2F2026%2Fa%20b/file",
            Value::Null,
        ),
        row!(
            client.copy_recording(name, "b/c"),
            ONE,
            "POST /ari/recordings/stored/tenant%2F2026%2Fa%20b/copy",
            json!({"destinationRecordingName": "b/c"}),
        ),
        row!(client.delete_recording("a/b"), NOTHING, "DELETE /ari/recordings/stored/a%2Fb", Value::Null),
        row!(client.get_live_recording("a/b"), ONE, "GET /ari/recordings/live/a%2Fb", Value::Null),
        row!(client.stop_recording("a/b"), NOTHING, "POST /ari/recordings/live/a%2Fb/stop", Value::Null),
        row!(client.cancel_recording("a/b"), NOTHING, "DELETE /ari/recordings/live/a%2Fb", Value::Null),
        row!(client.pause_recording("a/b"), NOTHING, "POST /ari/recordings/live/a%2Fb/pause", Value::Null),
        row!(client.unpause_recording("a/b"), NOTHING, "DELETE /ari/recordings/live/a%2Fb/pause", Value::Null),
        row!(client.mute_recording("a/b"), NOTHING, "POST /ari/recordings/live/a%2Fb/mute", Value::Null),
        row!(client.unmute_recording("a/b"), NOTHING, "DELETE /ari/recordings/live/a%2Fb/mute", Value::Null),
    ];
    check(rows, &pbx, &answer).await;
}

#[tokio::test]
async fn verbs_on_asterisk_itself() {
    let (pbx, answer, client) = pbx().await;
    let fields = [ConfigField::new("context", "a&b"), ConfigField::new("allow", "ulaw")];
    let rows = vec![
        row!(client.ping(), ONE, "GET /ari/asterisk/ping", Value::Null),
        row!(client.info(), ONE, "GET /ari/asterisk/info", Value::Null),
        row!(client.list_modules(), MANY, "GET /ari/asterisk/modules", Value::Null),
        row!(client.module("m.so"), ONE, "GET /ari/asterisk/modules/m.so", Value::Null),
        row!(client.load_module("m.so"), NOTHING, "POST /ari/asterisk/modules/m.so", Value::Null),
        row!(client.reload_module("m.so"), NOTHING, "PUT /ari/asterisk/modules/m.so", Value::Null),
        row!(client.unload_module("m.so"), NOTHING, "DELETE /ari/asterisk/modules/m.so", Value::Null),
        row!(client.get_global_variable("A"), ONE, "GET /ari/asterisk/variable?variable=A", Value::Null),
        row!(
            client.set_global_variable("A", "1"),
            NOTHING,
            "POST /ari/asterisk/variable",
            json!({"variable": "A", "value": "1"}),
        ),
        row!(client.list_log_channels(), MANY, "GET /ari/asterisk/logging", Value::Null),
        row!(
            client.add_log_channel("a/b", "notice,error"),
            NOTHING,
            "POST /ari/asterisk/logging/a%2Fb",
            json!({"configuration": "notice,error"}),
        ),
        row!(client.rotate_log_channel("l"), NOTHING, "PUT /ari/asterisk/logging/l/rotate", Value::Null),
        row!(client.delete_log_channel("l"), NOTHING, "DELETE /ari/asterisk/logging/l", Value::Null),
        row!(
            client.get_dynamic_config("res_pjsip", "endpoint", "a/b"),
            MANY,
            "GET /ari/asterisk/config/dynamic/res_pjsip/endpoint/a%2Fb",
            Value::Null,
        ),
        row!(
            client.put_dynamic_config("res_pjsip", "endpoint", "a", &fields),
            MANY,
            "PUT /ari/asterisk/config/dynamic/res_pjsip/endpoint/a",
            json!({"fields": [{"attribute": "context", "value": "a&b"}, {"attribute": "allow", "value": "ulaw"}]}),
        ),
        row!(
            client.delete_dynamic_config("res_pjsip", "endpoint", "a"),
            NOTHING,
            "DELETE /ari/asterisk/config/dynamic/res_pjsip/endpoint/a",
            Value::Null,
        ),
    ];
    check(rows, &pbx, &answer).await;
}

#[tokio::test]
async fn verbs_on_everything_around_calls() {
    let (pbx, answer, client) = pbx().await;
    let message = SendMessage::new("pjsip:a", "Hi & \"ho\"").variable("X-A", "1");
    let mut refer = SendRefer::new("pjsip:a", "pjsip:b");
    let rules = EventRules { allowed: Some(vec!["Dial".into()]), disallowed: Some(Vec::new()) };
    let plain = refer.clone();
    refer.to_self = true;
    let rows = vec![
        row!(client.list_endpoints(), MANY, "GET /ari/endpoints", Value::Null),
        row!(client.list_endpoints_of("PJSIP"), MANY, "GET /ari/endpoints/PJSIP", Value::Null),
        row!(client.get_endpoint("PJSIP", "a/b"), ONE, "GET /ari/endpoints/PJSIP/a%2Fb", Value::Null),
        row!(
            client.send_message("pjsip:b", &message),
            NOTHING,
            "PUT /ari/endpoints/sendMessage",
            json!({"to": "pjsip:b", "from": "pjsip:a", "body": "Hi & \"ho\"", "variables": {"X-A": "1"}}),
        ),
        row!(
            client.send_message_to_endpoint("PJSIP", "b", &message),
            NOTHING,
            "PUT /ari/endpoints/PJSIP/b/sendMessage",
            json!({"from": "pjsip:a", "body": "Hi & \"ho\"", "variables": {"X-A": "1"}}),
        ),
        row!(
            client.send_refer("pjsip:c", &refer),
            NOTHING,
            "POST /ari/endpoints/refer",
            json!({"to": "pjsip:c", "from": "pjsip:a", "refer_to": "pjsip:b", "to_self": true}),
        ),
        row!(
            client.send_refer_to_endpoint("PJSIP", "c", &plain),
            NOTHING,
            "POST /ari/endpoints/PJSIP/c/refer",
            json!({"from": "pjsip:a", "refer_to": "pjsip:b"}),
        ),
        row!(client.list_device_states(), MANY, "GET /ari/deviceStates", Value::Null),
        row!(client.get_device_state("Stasis:d"), ONE, "GET /ari/deviceStates/Stasis%3Ad", Value::Null),
        row!(
            client.set_device_state("Stasis:d", &DeviceStateValue::RingInUse),
            NOTHING,
            "PUT /ari/deviceStates/Stasis%3Ad",
            json!({"deviceState": "RINGINUSE"}),
        ),
        row!(client.delete_device_state("Stasis:d"), NOTHING, "DELETE /ari/deviceStates/Stasis%3Ad", Value::Null),
        row!(client.list_mailboxes(), MANY, "GET /ari/mailboxes", Value::Null),
        row!(client.get_mailbox("1@x"), ONE, "GET /ari/mailboxes/1%40x", Value::Null),
        row!(
            client.set_mailbox("1@x", 2, 3),
            NOTHING,
            "PUT /ari/mailboxes/1%40x",
            json!({"oldMessages": 2, "newMessages": 3}),
        ),
        row!(client.delete_mailbox("1@x"), NOTHING, "DELETE /ari/mailboxes/1%40x", Value::Null),
        row!(client.list_sounds(None, None), MANY, "GET /ari/sounds", Value::Null),
        row!(client.list_sounds(Some("en"), Some("gsm")), MANY, "GET /ari/sounds?lang=en&format=gsm", Value::Null),
        row!(client.get_sound("digits/1"), ONE, "GET /ari/sounds/digits%2F1", Value::Null),
        row!(client.list_applications(), MANY, "GET /ari/applications", Value::Null),
        row!(client.get_application("my app"), ONE, "GET /ari/applications/my%20app", Value::Null),
        row!(
            client.subscribe("a", &["channel:c", "endpoint:PJSIP"]),
            ONE,
            "POST /ari/applications/a/subscription",
            json!({"eventSource": ["channel:c", "endpoint:PJSIP"]}),
        ),
        row!(
            client.unsubscribe("a", &["channel:c", "bridge:b"]),
            ONE,
            "DELETE /ari/applications/a/subscription?eventSource=channel%3Ac%2Cbridge%3Ab",
            Value::Null,
        ),
        row!(
            client.set_event_filter("a", &rules),
            ONE,
            "PUT /ari/applications/a/eventFilter",
            json!({"allowed": [{"type": "Dial"}], "disallowed": []}),
        ),
    ];
    check(rows, &pbx, &answer).await;
    assert!(matches!(client.unsubscribe("a", &["channel:c,d"]).await, Err(AriError::InvalidInput { .. })));
}

#[tokio::test]
async fn ending_what_is_gone_is_success_and_asking_for_it_is_not() {
    let pbx = FakePbx::rest(|_| http(404, r#"{"message":"It is not there"}"#)).await;
    let client = pbx.client();
    let rows: Vec<Verb<'_>> = vec![
        Box::pin(async { client.unhold("c").await }),
        Box::pin(async { client.stop_moh("c").await }),
        Box::pin(async { client.stop_silence("c").await }),
        Box::pin(async { client.unmute("c", AudioDirection::In).await }),
        Box::pin(async { client.stop_bridge_moh("b").await }),
        Box::pin(async { client.clear_video_source("b").await }),
        Box::pin(async { client.delete_recording("r").await }),
        Box::pin(async { client.stop_recording("r").await }),
        Box::pin(async { client.cancel_recording("r").await }),
        Box::pin(async { client.unpause_recording("r").await }),
        Box::pin(async { client.unmute_recording("r").await }),
        Box::pin(async { client.delete_device_state("Stasis:d").await }),
        Box::pin(async { client.delete_mailbox("m").await }),
        Box::pin(async { client.delete_log_channel("l").await }),
        Box::pin(async { client.delete_dynamic_config("a", "b", "c").await }),
        Box::pin(async { client.unload_module("m.so").await }),
    ];
    for (number, verb) in rows.into_iter().enumerate() {
        verb.await.unwrap_or_else(|error| panic!("{number}: {error}"));
    }
    let rows: Vec<Verb<'_>> = vec![
        Box::pin(async { client.hold("c").await }),
        Box::pin(async { client.start_moh("c", None).await }),
        Box::pin(async { client.mute("c", AudioDirection::In).await }),
        Box::pin(async { client.reload_module("m.so").await }),
        Box::pin(async { client.pause_recording("r").await }),
        Box::pin(async { client.get_stored_recording("r").await.map(drop) }),
        Box::pin(async { client.download_recording("r", 1).await.map(drop) }),
        Box::pin(async { client.get_bridge_variable("b", "A").await.map(drop) }),
    ];
    for (number, verb) in rows.into_iter().enumerate() {
        assert!(verb.await.unwrap_err().gone(), "{number}");
    }
}

#[tokio::test]
async fn a_download_is_bounded_and_whole_or_an_error() {
    let pbx = FakePbx::rest(|seen| {
        let body = |head: &str, body: &str| Reply::Raw(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").into_bytes());
        match seen.line.split('/').nth(4).unwrap() {
            "whole" => body("Content-Length: 10", "0123456789"),
            "endless" => body("Connection: close", &"x".repeat(5_000)),
            "short" => body("Content-Length: 10", "01234"),
            "stuck" => Reply::Hang,
            "locked" => http(403, r#"{"message":"It could not be opened"}"#),
            "angry" => http(500, &"x".repeat(1_000_000)),
            other => panic!("{other}"),
        }
    })
    .await;
    let client = pbx.client();
    let mut out = Vec::new();
    assert_eq!(client.save_recording("whole", 10, &mut out).await.unwrap(), 10);
    assert_eq!(out, b"0123456789");
    let download = client.download_recording("whole", 10).await.unwrap();
    assert_eq!(download.length_bytes(), Some(10));
    let pieces: Vec<_> = download.into_stream().map(Result::unwrap).collect().await;
    assert_eq!(pieces.concat(), b"0123456789");
    let announced = client.download_recording("whole", 9).await.unwrap_err();
    assert!(matches!(&announced, AriError::Malformed { detail, .. } if detail.contains("9 bytes")), "{announced:?}");
    let endless = client.save_recording("endless", 100, &mut Vec::new()).await.unwrap_err();
    assert!(matches!(endless, AriError::Malformed { .. }), "{endless:?}");
    let short = client.save_recording("short", 100, &mut Vec::new()).await.unwrap_err();
    assert!(matches!(short, AriError::Transport { .. }), "{short:?}");
    let locked = client.download_recording("locked", 100).await.unwrap_err();
    assert!(matches!(&locked, AriError::Forbidden { message, .. } if message.contains("opened")), "{locked:?}");
    let angry = client.download_recording("angry", 100).await.unwrap_err();
    assert!(matches!(angry, AriError::Server { status: 500, .. }), "{angry:?}");
    let mut small = std::io::Cursor::new(vec![0u8; 4].into_boxed_slice());
    let full = client.save_recording("whole", 10, &mut small).await.unwrap_err();
    assert!(matches!(full, AriError::Output { .. }), "{full:?}");
}

#[tokio::test]
async fn downloads_that_are_not_taken_leave_calls_alone_and_wait_no_longer_than_their_limit() {
    let pbx =
        FakePbx::rest(|seen| if seen.line.ends_with("/file") { http(200, "0123456789") } else { http(204, "") }).await;
    let mut config = voxtra_ari::AriConfig::new(&pbx.base_url, "bob", "s3cret", "app");
    config.request_timeout = std::time::Duration::from_secs(2);
    let client = AriClient::new(config).unwrap();
    let first = client.download_recording("a", 10).await.unwrap();
    let second = client.download_recording("b", 10).await.unwrap();
    let third = client.download_recording("c", 10).await.unwrap_err();
    assert!(matches!(third, AriError::Timeout { .. }), "{third:?}");
    client.answer("c").await.unwrap();
    drop(first);
    client.download_recording("c", 10).await.unwrap();
    drop(second);
}
