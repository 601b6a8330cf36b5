//! REST over the events WebSocket of a real Asterisk: the same verbs, with the same effects.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::timeout;
use voxtra_ari::rest_ws::REQUEST_MAX_BYTES;
use voxtra_ari::{
    AriClient, AriConfig, AriError, BridgeType, Event, EventOptions, EventStream, HangupReason, Originate, StreamItem,
};
use voxtra_test_support::{Asterisk, AsteriskOptions, PbxUnderTest};

/// Longest that a test waits for anything: only reached when it fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn client_of(pbx: &Asterisk) -> AriClient {
    AriClient::new(AriConfig::new(pbx.ari_url(), pbx.user(), pbx.password(), "voxtra")).unwrap()
}

async fn start(name: &str) -> Option<(PbxUnderTest, AriClient, EventStream, AriClient)> {
    let pbx = Asterisk::for_test(name, AsteriskOptions::default()).await.unwrap()?;
    let http = client_of(&pbx);
    let events = EventStream::connect(&http, EventOptions::default()).await.unwrap();
    let verbs = http.over_websocket(events.rest());
    Some((pbx, http, events, verbs))
}

async fn event<T>(events: &mut EventStream, wanted: impl Fn(Event) -> Option<T>) -> T {
    let found = async {
        loop {
            if let StreamItem::Event(event) = events.next().await.expect("the stream goes on")
                && let Some(found) = wanted(*event)
            {
                return found;
            }
        }
    };
    timeout(PATIENCE, found).await.expect("the event in time")
}

#[tokio::test]
async fn the_verbs_have_their_effects_over_the_events_connection() {
    let name = "the_verbs_have_their_effects_over_the_events_connection";
    let Some((pbx, http, mut events, verbs)) = start(name).await else { return };

    // A call: the body with its variables arrives, and the events come between the answers.
    let mut call = Originate::to_app("Local/silence@callers", "voxtra").channel_id("a/b c").variable("SAID", "ä=1&2");
    call.formats = Some("slin".to_owned());
    assert_eq!(verbs.originate(&call).await.unwrap().id, "a/b c");
    let id = event(&mut events, |event| match event {
        Event::StasisStart(start) => Some(start.channel.id),
        _ => None,
    })
    .await;
    assert_eq!(id, "a/b c");
    assert_eq!(verbs.get_variable(&id, "SAID").await.unwrap().as_deref(), Some("ä=1&2"));
    assert_eq!(verbs.get_variable(&id, "NOT_SAID").await.unwrap(), None);
    verbs.set_variable(&id, "SAID", "2").await.unwrap();
    assert_eq!(http.get_variable(&id, "SAID").await.unwrap().as_deref(), Some("2"), "seen by HTTP too");

    // A bridge with the call in it, seen by HTTP.
    verbs.create_bridge("b/1", BridgeType::Mixing, "over the socket").await.unwrap();
    verbs.add_to_bridge("b/1", &[&id]).await.unwrap();
    let bridge = http.get_bridge("b/1").await.unwrap();
    assert_eq!((bridge.name.as_str(), bridge.channels.as_slice()), ("over the socket", &[id.clone()][..]));
    verbs.destroy_bridge("b/1").await.unwrap();
    // The other connection may see it a moment longer.
    let gone = async {
        while !http.get_bridge("b/1").await.is_err_and(|error| error.gone()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();

    // The end, twice; the errors are those of HTTP.
    verbs.hangup(&id, HangupReason::Normal).await.unwrap();
    assert!(pbx.wait_for_channels(0, PATIENCE).await.unwrap());
    verbs.hangup(&id, HangupReason::Normal).await.unwrap();
    assert!(matches!(verbs.get_channel(&id).await.unwrap_err(), AriError::NotFound { .. }));
    let error = verbs.answer(&id).await.unwrap_err();
    assert!(error.gone() && error.to_string().contains("POST /ari/channels/a%2Fb%20c/answer"), "{error}");
    let error = verbs.originate(&Originate::to_app("Nonsense/x", "voxtra")).await.unwrap_err();
    assert!(matches!(error, AriError::Server { status: 500, .. } | AriError::Conflict { .. }), "{error:?}");
    assert_eq!(events.rest().late_answers(), 0);
    events.shutdown().await;
}

#[tokio::test]
async fn many_requests_at_once_each_get_their_own_answer() {
    let name = "many_requests_at_once_each_get_their_own_answer";
    let Some((_pbx, http, events, verbs)) = start(name).await else { return };
    for (how, client) in [("HTTP", &http), ("WebSocket", &verbs)] {
        let began = Instant::now();
        let pings = futures_util::future::join_all((0..300).map(|_| client.ping())).await;
        assert!(pings.into_iter().all(|ping| ping.is_ok_and(|ping| ping.ping == "pong")), "{how}");
        println!("300 pings over {how}: {:?}", began.elapsed());
    }
    // What belongs to whom: ids that are all different.
    let asked = (0..100).map(|n| {
        let client = verbs.clone();
        tokio::spawn(async move {
            let id = format!("bridge-{n}");
            assert_eq!(client.create_bridge(&id, BridgeType::Holding, &id).await.unwrap().name, id);
            assert_eq!(client.get_bridge(&id).await.unwrap().id, id);
            client.destroy_bridge(&id).await.unwrap();
        })
    });
    for outcome in futures_util::future::join_all(asked).await {
        outcome.unwrap();
    }
    assert_eq!(verbs.list_bridges().await.unwrap(), []);
    assert_eq!(events.rest().late_answers(), 0);
}

#[tokio::test]
async fn the_longest_request_passes_and_a_longer_one_is_not_sent() {
    let name = "the_longest_request_passes_and_a_longer_one_is_not_sent";
    let Some((_pbx, _http, mut events, verbs)) = start(name).await else { return };
    let rest = events.rest();
    let body = |bytes: usize| json!({ "variable": "LONG", "value": "x".repeat(bytes) });
    let path = ["asterisk", "variable"];
    // What the message holds beside the value has less than 250 bytes.
    let long = REQUEST_MAX_BYTES - 250;
    rest.post(&path, &[], Some(&body(long))).await.unwrap();
    let answer = rest.get(&path, &[("variable", "LONG")]).await.unwrap();
    assert_eq!(answer["value"].as_str().map(str::len), Some(long));
    let error = rest.post(&path, &[], Some(&body(REQUEST_MAX_BYTES))).await.unwrap_err();
    assert!(matches!(error, AriError::InvalidInput { .. }), "{error:?}");
    verbs.ping().await.unwrap();
    assert_eq!(events.next().await, Some(StreamItem::Connected { first: true }));
}

#[tokio::test]
async fn requests_fail_at_once_while_asterisk_is_away_and_work_again_when_it_is_back() {
    let name = "requests_fail_at_once_while_asterisk_is_away_and_work_again_when_it_is_back";
    let Some((pbx, _http, mut events, verbs)) = start(name).await else { return };
    verbs.ping().await.unwrap();
    pbx.kill().unwrap();
    let away = async { while !matches!(events.next().await, Some(StreamItem::Disconnected { .. })) {} };
    timeout(PATIENCE, away).await.unwrap();
    let began = Instant::now();
    let error = verbs.ping().await.unwrap_err();
    assert!(matches!(error, AriError::Transport { .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "not the time limit of 10 s");
    pbx.restart().await.unwrap();
    let back = async { while !matches!(events.next().await, Some(StreamItem::Connected { first: false })) {} };
    timeout(PATIENCE, back).await.unwrap();
    verbs.ping().await.unwrap();
}
