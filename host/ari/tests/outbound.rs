//! The outbound listener against callers that do what Asterisk does, and what it never should.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use voxtra_ari::{
    AriError, DisconnectReason, EventStream, OutboundConnection, OutboundListener, OutboundOptions, StreamItem,
};

/// Longest that a test waits for anything: only reached when it fails.
const PATIENCE: Duration = Duration::from_secs(20);
/// `asterisk:s3cret`
const RIGHT: &str = "Basic YXN0ZXJpc2s6czNjcmV0";

type Caller = WebSocketStream<MaybeTlsStream<TcpStream>>;

fn options() -> OutboundOptions {
    OutboundOptions::new("asterisk", "s3cret")
}

async fn listen(options: OutboundOptions) -> OutboundListener {
    OutboundListener::bind("127.0.0.1:0".parse().unwrap(), options).await.unwrap()
}

async fn call(to: SocketAddr, authorization: Option<&str>, protocol: Option<&str>) -> Result<Caller, WsError> {
    let mut request = format!("ws://{to}/events?pbx=2").into_client_request().unwrap();
    if let Some(value) = authorization {
        request.headers_mut().insert("authorization", value.parse().unwrap());
    }
    if let Some(value) = protocol {
        request.headers_mut().insert("sec-websocket-protocol", value.parse().unwrap());
    }
    connect_async(request).await.map(|(socket, _)| socket)
}

async fn connected(listener: &mut OutboundListener) -> (Caller, OutboundConnection) {
    let caller = call(listener.local_addr(), Some(RIGHT), Some("ari")).await.unwrap();
    (caller, timeout(PATIENCE, listener.accept()).await.unwrap().unwrap())
}

async fn next(events: &mut EventStream) -> Option<StreamItem> {
    timeout(PATIENCE, events.next()).await.expect("an item in time")
}

async fn heard(caller: &mut Caller) -> Value {
    loop {
        match timeout(PATIENCE, caller.next()).await.unwrap().unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn until(condition: impl Fn() -> bool) {
    let reached = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, reached).await.expect("in time");
}

#[tokio::test]
async fn events_and_answers_share_the_connection_and_the_stream_ends_with_it() {
    let mut listener = listen(options()).await;
    let (mut caller, connection) = connected(&mut listener).await;
    assert_eq!(connection.target(), "/events?pbx=2");
    let rest = connection.rest();
    let mut events = connection.into_events();
    assert_eq!(next(&mut events).await, Some(StreamItem::Connected { first: true }));

    let asked = tokio::spawn({
        let rest = rest.clone();
        async move { rest.post(&["channels", "a b", "answer"], &[], None).await }
    });
    let request = heard(&mut caller).await;
    assert_eq!((&request["type"], &request["method"]), (&json!("RESTRequest"), &json!("POST")));
    assert_eq!(request["uri"], "channels/a%20b/answer");
    caller.send(Message::text(r#"{"type":"StasisEnd","channel":{"id":"x"}}"#)).await.unwrap();
    let answer = json!({"type": "RESTResponse", "request_id": request["request_id"], "status_code": 404,
        "reason_phrase": "Not Found", "uri": request["uri"], "message_body": "{\"message\":\"Channel not found\"}"});
    caller.send(Message::text(answer.to_string())).await.unwrap();
    let error = asked.await.unwrap().unwrap_err();
    assert!(error.gone(), "{error:?}");
    assert!(matches!(next(&mut events).await, Some(StreamItem::Event(_))));

    // A request that waits for its answer fails when the connection does.
    let waiting = tokio::spawn(async move { rest.get(&["asterisk", "ping"], &[]).await });
    heard(&mut caller).await;
    caller.close(None).await.unwrap();
    assert!(matches!(waiting.await.unwrap(), Err(AriError::Transport { .. })));
    assert!(matches!(next(&mut events).await, Some(StreamItem::Disconnected { reason: DisconnectReason::Closed(_) })));
    assert_eq!(next(&mut events).await, None);
}

#[tokio::test]
async fn strangers_and_other_protocols_are_refused_before_they_take_a_place() {
    let mut small = options();
    small.max_connections = 1;
    let mut listener = listen(small).await;
    let to = listener.local_addr();
    for (authorization, protocol, status) in [
        (None, Some("ari"), 401),
        (Some("Basic YXN0ZXJpc2s6d3Jvbmc="), Some("ari"), 401),
        (Some("Bearer s3cret"), Some("ari"), 401),
        (Some(RIGHT), None, 400),
        (Some(RIGHT), Some("media"), 400),
    ] {
        match call(to, authorization, protocol).await {
            Err(WsError::Http(response)) => assert_eq!(response.status().as_u16(), status),
            other => panic!("{authorization:?} {protocol:?}: {other:?}"),
        }
    }
    let (_caller, connection) = connected(&mut listener).await;
    match call(to, Some(RIGHT), Some("ari")).await {
        Err(WsError::Http(response)) => assert_eq!(response.status().as_u16(), 503),
        other => panic!("{other:?}"),
    }
    until(|| listener.stats().refused_full == 1).await;
    let stats = listener.stats();
    assert_eq!((stats.refused_credentials, stats.refused_subprotocol, stats.connected), (3, 2, 1));
    // The place is free again when the connection is over.
    connection.into_events().shutdown().await;
    let again = async {
        while call(to, Some(RIGHT), Some("ari")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, again).await.unwrap();
}

#[tokio::test]
async fn who_says_nothing_or_nonsense_is_closed_and_does_not_keep_others_out() {
    let mut quick = options();
    quick.handshake_timeout = Duration::from_millis(100);
    quick.max_pending = 2;
    let mut listener = listen(quick).await;
    let to = listener.local_addr();
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(to).await.unwrap());
    }
    until(|| listener.stats().handshake_timeouts == 2).await;
    assert_eq!(listener.stats().refused_full, 1);
    for stream in &mut silent {
        assert!(matches!(timeout(PATIENCE, stream.read(&mut [0; 8])).await.unwrap(), Ok(0) | Err(_)));
    }
    let mut rude = TcpStream::connect(to).await.unwrap();
    rude.write_all(b"\x16\x03\x01 not HTTP at all\r\n\r\n").await.unwrap();
    until(|| listener.stats().malformed == 1).await;
    connected(&mut listener).await;
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_that_connection_only() {
    let mut small = options();
    small.events.max_message_bytes = 1000;
    let mut listener = listen(small).await;
    let (mut long, connection) = connected(&mut listener).await;
    let (mut other, second) = connected(&mut listener).await;
    let (mut events, mut second) = (connection.into_events(), second.into_events());
    let _ = long.send(Message::text("x".repeat(2000))).await;
    next(&mut events).await;
    assert!(matches!(
        next(&mut events).await,
        Some(StreamItem::Disconnected { reason: DisconnectReason::Protocol(_) })
    ));
    assert_eq!(next(&mut events).await, None);
    next(&mut second).await;
    other.send(Message::text(r#"{"type":"Tick"}"#)).await.unwrap();
    assert!(matches!(next(&mut second).await, Some(StreamItem::Event(_))));
}

#[tokio::test]
async fn what_cannot_work_is_refused_with_a_sentence() {
    for (user, password) in [("", "x"), ("x", ""), ("a:b", "x"), ("a", "x\r\ny")] {
        let options = OutboundOptions::new(user, password);
        let error = OutboundListener::bind("127.0.0.1:0".parse().unwrap(), options).await.unwrap_err();
        assert!(matches!(error, AriError::InvalidInput { .. }), "{error:?}");
    }
    let taken = listen(options()).await;
    let error = OutboundListener::bind(taken.local_addr(), options()).await.unwrap_err();
    assert!(error.to_string().contains("cannot be listened on"), "{error}");
    assert!(!format!("{:?}", options()).contains("s3cret"));
}
