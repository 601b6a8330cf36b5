//! A connection against a peer in memory, on virtual time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::AriError;
use crate::rest_ws::RestOverWebSocket;

const EVENT: &str = r#"{"type":"Tick","n":1}"#;

fn no_requests() -> Exchange {
    RestOverWebSocket::new("u", Duration::from_secs(1), 1).1
}

async fn pair(config: Option<WebSocketConfig>) -> (WebSocketStream<DuplexStream>, DuplexStream) {
    let (ours, theirs) = duplex(64 * 1024);
    (WebSocketStream::from_raw_socket(ours, Role::Client, config).await, theirs)
}

async fn server(stream: DuplexStream) -> WebSocketStream<DuplexStream> {
    WebSocketStream::from_raw_socket(stream, Role::Server, None).await
}

#[tokio::test(start_paused = true)]
async fn a_half_open_connection_is_given_up_after_the_idle_limit() {
    let (mut socket, mut theirs) = pair(None).await;
    let (sender, _items) = mpsc::channel(8);
    // Takes every byte, answers none: the other end of a dead link.
    let sink = tokio::spawn(async move {
        let mut taken = 0;
        let mut buffer = [0u8; 256];
        while let Ok(n) = theirs.read(&mut buffer).await {
            if n == 0 {
                break;
            }
            taken += n;
        }
        taken
    });
    let began = Instant::now();
    let reason = pump(&mut socket, &sender, &mut no_requests(), &EventOptions::default()).await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(15));
    assert_eq!(reason, DisconnectReason::Idle { idle_ms: 15_000 });
    drop(socket);
    assert!(sink.await.unwrap() >= 3 * 6, "pings were sent meanwhile");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_connection_whose_peer_answers_pings_is_kept() {
    let (mut socket, theirs) = pair(None).await;
    let (sender, mut items) = mpsc::channel(8);
    let peer = tokio::spawn(async move {
        let mut ws = server(theirs).await;
        // Reading answers the pings.
        let _ = timeout(Duration::from_secs(600), async { while ws.next().await.is_some() {} }).await;
        ws.send(Message::text(EVENT)).await.unwrap();
        ws
    });
    let options = EventOptions::default();
    let mut exchange = no_requests();
    let pumping = pump(&mut socket, &sender, &mut exchange, &options);
    let item = tokio::select! {
        reason = pumping => panic!("ended: {reason:?}"),
        item = items.recv() => item.unwrap(),
    };
    assert!(matches!(item, StreamItem::Event(_)), "{item:?}");
    drop(peer);
}

#[tokio::test(start_paused = true)]
async fn a_slow_consumer_loses_nothing_and_does_not_look_like_a_dead_link() {
    let (mut socket, theirs) = pair(None).await;
    let (sender, mut items) = mpsc::channel(1);
    let peer = tokio::spawn(async move {
        let mut ws = server(theirs).await;
        for n in 0..50 {
            ws.send(Message::text(format!(r#"{{"type":"Tick","n":{n}}}"#))).await.unwrap();
        }
        ws.close(None).await.unwrap();
        while ws.next().await.is_some() {}
    });
    let consumer = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(item) = items.recv().await {
            sleep(Duration::from_secs(20)).await;
            if let StreamItem::Event(event) = item
                && let Event::Unknown(unknown) = *event
            {
                seen.push(unknown.raw["n"].as_u64().unwrap());
            }
        }
        seen
    });
    let reason = pump(&mut socket, &sender, &mut no_requests(), &EventOptions::default()).await.unwrap();
    drop(sender);
    assert!(matches!(reason, DisconnectReason::Closed(_)), "{reason:?}");
    assert_eq!(consumer.await.unwrap(), (0..50).collect::<Vec<u64>>());
    drop(peer);
}

#[tokio::test(start_paused = true)]
async fn a_connection_cut_in_the_middle_of_a_frame_is_broken_and_keeps_what_came_before() {
    let (mut socket, mut theirs) = pair(None).await;
    let (sender, mut items) = mpsc::channel(8);
    let length = u8::try_from(EVENT.len()).unwrap();
    theirs.write_all(&[0x81, length]).await.unwrap();
    theirs.write_all(EVENT.as_bytes()).await.unwrap();
    theirs.write_all(&[0x81, length]).await.unwrap();
    theirs.write_all(&EVENT.as_bytes()[..5]).await.unwrap();
    drop(theirs);
    let reason = pump(&mut socket, &sender, &mut no_requests(), &EventOptions::default()).await.unwrap();
    assert!(matches!(reason, DisconnectReason::Broken(_)), "{reason:?}");
    assert!(matches!(items.recv().await, Some(StreamItem::Event(_))));
    drop(sender);
    assert_eq!(items.recv().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_long_ends_the_connection_with_that_reason() {
    let (mut socket, theirs) = pair(Some(WebSocketConfig::default().max_message_size(Some(1000)))).await;
    let (sender, _items) = mpsc::channel(8);
    let peer = tokio::spawn(async move {
        let mut ws = server(theirs).await;
        let _ = ws.send(Message::text("x".repeat(2000))).await;
        while ws.next().await.is_some() {}
    });
    let reason = pump(&mut socket, &sender, &mut no_requests(), &EventOptions::default()).await.unwrap();
    assert!(matches!(reason, DisconnectReason::Protocol(_)), "{reason:?}");
    drop(peer);
}

#[tokio::test(start_paused = true)]
async fn garbage_is_reported_and_the_next_event_still_comes() {
    let (mut socket, theirs) = pair(None).await;
    let (sender, mut items) = mpsc::channel(8);
    let peer = tokio::spawn(async move {
        let mut ws = server(theirs).await;
        ws.send(Message::text("{\"type\":")).await.unwrap();
        ws.send(Message::binary(vec![1, 2])).await.unwrap();
        ws.send(Message::text(EVENT)).await.unwrap();
        ws.close(None).await.unwrap();
        while ws.next().await.is_some() {}
    });
    pump(&mut socket, &sender, &mut no_requests(), &EventOptions::default()).await.unwrap();
    assert!(matches!(items.recv().await, Some(StreamItem::Malformed(_))));
    assert!(matches!(items.recv().await, Some(StreamItem::Malformed(_))));
    assert!(matches!(items.recv().await, Some(StreamItem::Event(_))));
    drop(peer);
}

/// A connection served in the background, with `outstanding` requests at a time and 10 s for each; what comes out of it;
/// and its peer.
async fn served(outstanding: usize) -> (RestOverWebSocket, mpsc::Receiver<StreamItem>, WebSocketStream<DuplexStream>) {
    let (mut socket, theirs) = pair(None).await;
    let (rest, mut exchange) = RestOverWebSocket::new("bob", Duration::from_secs(10), outstanding);
    let (sender, items) = mpsc::channel(8);
    tokio::spawn(async move {
        pump(&mut socket, &sender, &mut exchange, &EventOptions::default()).await;
        exchange.lost();
        exchange.refuse().await;
    });
    (rest, items, server(theirs).await)
}

/// The next request that the peer gets.
async fn request(peer: &mut WebSocketStream<DuplexStream>) -> Value {
    loop {
        if let Message::Text(text) = peer.next().await.unwrap().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

fn answer(request: &Value, status: u16, body: &str) -> Message {
    let answer = json!({"type": "RESTResponse", "request_id": request["request_id"], "status_code": status,
                        "reason_phrase": "x", "message_body": body});
    Message::text(answer.to_string())
}

fn ask(rest: &RestOverWebSocket, id: &'static str) -> tokio::task::JoinHandle<Result<Value, AriError>> {
    let rest = rest.clone();
    tokio::spawn(async move { rest.get(&["channels", id], &[]).await })
}

#[tokio::test(start_paused = true)]
async fn answers_find_who_asked_in_whatever_order_they_come_and_events_pass_between_them() {
    let (rest, mut items, mut peer) = served(8).await;
    let first = ask(&rest, "a");
    let one = request(&mut peer).await;
    let second = ask(&rest, "b");
    let two = request(&mut peer).await;
    assert_eq!((one["uri"].as_str(), two["uri"].as_str()), (Some("channels/a"), Some("channels/b")));
    assert_eq!(one["method"], "GET");
    assert_ne!(one["request_id"], two["request_id"]);
    peer.send(answer(&two, 404, r#"{"message":"Channel not found"}"#)).await.unwrap();
    peer.send(Message::text(EVENT)).await.unwrap();
    peer.send(answer(&one, 200, r#"{"id":"a"}"#)).await.unwrap();
    assert_eq!(first.await.unwrap().unwrap(), json!({"id": "a"}));
    let error = second.await.unwrap().unwrap_err();
    assert!(error.gone() && error.to_string().contains("GET /ari/channels/b"), "{error}");
    assert!(matches!(items.recv().await, Some(StreamItem::Event(_))), "answers are no items");
    assert_eq!(rest.late_answers(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_has_a_time_limit_and_its_late_answer_is_dropped_and_counted() {
    let (rest, _items, mut peer) = served(1).await;
    let began = Instant::now();
    let silent = ask(&rest, "a");
    let one = request(&mut peer).await;
    let error = silent.await.unwrap().unwrap_err();
    assert!(matches!(error, AriError::Timeout { limit_ms: 10_000, .. }), "{error:?}");
    assert_eq!(began.elapsed(), Duration::from_secs(10));
    // Its place is free again, whether or not an answer ever comes.
    for _ in 0..3 {
        let next = ask(&rest, "b");
        let two = request(&mut peer).await;
        peer.send(answer(&two, 200, "{}")).await.unwrap();
        next.await.unwrap().unwrap();
    }
    peer.send(answer(&one, 200, "{}")).await.unwrap();
    // One that was never asked for, and one that cannot be read.
    peer.send(answer(&json!({"request_id": "x"}), 200, "{}")).await.unwrap();
    peer.send(Message::text(r#"{"type":"RESTResponse","status_code":"many"}"#)).await.unwrap();
    while rest.late_answers() < 3 {
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_requests_are_under_way_than_there_are_turns() {
    let (rest, _items, mut peer) = served(2).await;
    let asked: Vec<_> = ["a", "b", "c"].map(|id| ask(&rest, id)).into_iter().collect();
    let (one, two) = (request(&mut peer).await, request(&mut peer).await);
    let third = timeout(Duration::from_secs(1), request(&mut peer)).await;
    assert!(third.is_err(), "{third:?}");
    peer.send(answer(&one, 204, "")).await.unwrap();
    let three = request(&mut peer).await;
    peer.send(answer(&two, 204, "")).await.unwrap();
    peer.send(answer(&three, 204, "")).await.unwrap();
    for asked in asked {
        assert_eq!(asked.await.unwrap().unwrap(), Value::Null);
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_connection_ends_every_request_ends_with_it_and_new_ones_fail_at_once() {
    let (rest, _items, mut peer) = served(1).await;
    let began = Instant::now();
    let (unanswered, waiting) = (ask(&rest, "a"), ask(&rest, "b"));
    request(&mut peer).await;
    drop(peer);
    for asked in [unanswered, waiting] {
        let error = asked.await.unwrap().unwrap_err();
        assert!(matches!(error, AriError::Transport { .. }), "{error:?}");
    }
    assert!(ask(&rest, "c").await.unwrap().unwrap_err().transient());
    assert_eq!(began.elapsed(), Duration::ZERO, "nothing waits for the limit");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_json_is_malformed() {
    let (rest, _items, mut peer) = served(1).await;
    let asked = ask(&rest, "a");
    let one = request(&mut peer).await;
    peer.send(answer(&one, 200, "<html>")).await.unwrap();
    let error = asked.await.unwrap().unwrap_err();
    assert!(matches!(error, AriError::Malformed { .. }), "{error:?}");
}
