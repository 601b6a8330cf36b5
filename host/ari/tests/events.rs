//! The event stream against a stand-in that cuts, refuses, garbles and hangs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use std::time::Duration;

use fake::{Events, FakePbx, script};
use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use voxtra_ari::{AriError, DisconnectReason, Event, EventOptions, EventStream, StreamItem};

/// Longest that a test waits for anything: only reached when it fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn quick() -> EventOptions {
    let mut options = EventOptions::default();
    options.backoff_first = Duration::from_millis(1);
    options.backoff_max = Duration::from_millis(5);
    options.connect_timeout = Duration::from_millis(500);
    options
}

async fn next(stream: &mut EventStream) -> StreamItem {
    tokio::time::timeout(PATIENCE, stream.next()).await.expect("an item in time").expect("an item")
}

fn tick(n: u32) -> Message {
    Message::text(format!(r#"{{"type":"Tick","n":{n}}}"#))
}

fn number(item: &StreamItem) -> Option<u64> {
    match item {
        StreamItem::Event(event) => match &**event {
            Event::Unknown(unknown) => unknown.raw["n"].as_u64(),
            _ => None,
        },
        _ => None,
    }
}

async fn stay(mut ws: WebSocketStream<TcpStream>) {
    while ws.next().await.is_some_and(|message| message.is_ok()) {}
}

#[tokio::test]
async fn the_application_is_in_the_query_and_the_password_only_in_a_header() {
    let pbx = FakePbx::events(vec![Events::Accept(script(stay))]).await;
    let mut options = quick();
    options.subscribe_all = true;
    let mut stream = EventStream::connect(&pbx.client(), options).await.unwrap();
    assert_eq!(next(&mut stream).await, StreamItem::Connected { first: true });
    let seen = pbx.last();
    assert_eq!(seen.line, "GET /ari/events?app=my+app&subscribeAll=true");
    assert!(seen.head.to_lowercase().contains("authorization: basic ym9ionmzy3jlda=="), "{}", seen.head);
    stream.shutdown().await;
}

#[tokio::test]
async fn the_first_connection_says_why_it_is_refused() {
    for (status, body) in [
        (401, r#"{"message":"Authentication required"}"#),
        (400, "<p>HTTP request is missing param: [app]</p>"),
        (404, "<h1>Not Found</h1>"),
        (500, "{}"),
        (200, "{}"),
    ] {
        let pbx = FakePbx::events(vec![Events::Refuse(status, body)]).await;
        let error = EventStream::connect(&pbx.client(), quick()).await.unwrap_err();
        let right = match &error {
            AriError::Unauthorised { user, .. } => status == 401 && user == "bob",
            AriError::BadRequest { message, .. } => status == 400 && message.contains("missing param"),
            AriError::Malformed { .. } => status == 404,
            AriError::Server { status: said, .. } => *said == status,
            _ => false,
        };
        assert!(right, "{status}: {error:?}");
    }
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let config = voxtra_ari::AriConfig::new(url, "bob", "x", "app");
    let client = voxtra_ari::AriClient::new(config).unwrap();
    let error = EventStream::connect(&client, quick()).await.unwrap_err();
    assert!(matches!(error, AriError::Timeout { limit_ms: 500, .. }), "{error:?}");
    drop(silent);
    let error = EventStream::connect(&client, quick()).await.unwrap_err();
    assert!(matches!(error, AriError::Transport { .. }), "{error:?}");
}

#[tokio::test]
async fn after_a_cut_in_the_middle_of_a_frame_it_reconnects_and_keeps_the_order() {
    let pbx = FakePbx::events(vec![
        Events::Accept(script(|mut ws| async move {
            for n in 0..100 {
                ws.send(tick(n)).await.unwrap();
            }
            // A text frame of 100 bytes, of which 5 come.
            ws.get_mut().write_all(&[0x81, 100, b'{', b'"', b't', b'y', b'p']).await.unwrap();
        })),
        Events::Refuse(503, "{}"),
        Events::Refuse(401, r#"{"message":"Authentication required"}"#),
        Events::Accept(script(|mut ws| async move {
            ws.send(Message::text("{broken")).await.unwrap();
            for n in 100..200 {
                ws.send(tick(n)).await.unwrap();
            }
            stay(ws).await;
        })),
    ])
    .await;
    let mut stream = EventStream::connect(&pbx.client(), quick()).await.unwrap();
    assert_eq!(next(&mut stream).await, StreamItem::Connected { first: true });
    for n in 0..100 {
        assert_eq!(number(&next(&mut stream).await), Some(n));
    }
    match next(&mut stream).await {
        StreamItem::Disconnected { reason: DisconnectReason::Broken(_) } => {}
        other => panic!("{other:?}"),
    }
    match next(&mut stream).await {
        StreamItem::ReconnectFailed { attempts: 1, error: AriError::Server { status: 503, .. } } => {}
        other => panic!("{other:?}"),
    }
    match next(&mut stream).await {
        StreamItem::ReconnectFailed { attempts: 2, error: AriError::Unauthorised { .. } } => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(next(&mut stream).await, StreamItem::Connected { first: false });
    assert!(matches!(next(&mut stream).await, StreamItem::Malformed(_)));
    for n in 100..200 {
        assert_eq!(number(&next(&mut stream).await), Some(n));
    }
    stream.shutdown().await;
}

#[tokio::test]
async fn a_connection_that_goes_silent_is_replaced() {
    let pbx = FakePbx::events(vec![
        // Half-open: nothing is read, so no ping is answered.
        Events::Accept(script(|ws| async move {
            std::future::pending::<()>().await;
            drop(ws);
        })),
        Events::Accept(script(stay)),
    ])
    .await;
    let mut options = quick();
    options.ping_interval = Duration::from_millis(20);
    options.idle_limit = Duration::from_millis(100);
    let mut stream = EventStream::connect(&pbx.client(), options).await.unwrap();
    assert_eq!(next(&mut stream).await, StreamItem::Connected { first: true });
    match next(&mut stream).await {
        StreamItem::Disconnected { reason: DisconnectReason::Idle { idle_ms } } => assert!(idle_ms >= 100),
        other => panic!("{other:?}"),
    }
    assert_eq!(next(&mut stream).await, StreamItem::Connected { first: false });
    stream.shutdown().await;
}

#[tokio::test]
async fn shutdown_and_drop_both_close_the_connection() {
    for politely in [true, false] {
        let (sender, ended) = tokio::sync::oneshot::channel();
        let pbx = FakePbx::events(vec![Events::Accept(script(|mut ws| async move {
            let mut closed = false;
            while let Some(Ok(message)) = ws.next().await {
                closed |= message.is_close();
            }
            let _ = sender.send(closed);
        }))])
        .await;
        let stream = EventStream::connect(&pbx.client(), quick()).await.unwrap();
        if politely {
            stream.shutdown().await;
        } else {
            drop(stream);
        }
        let closed = tokio::time::timeout(PATIENCE, ended).await.expect("closed in time").unwrap();
        assert!(closed, "in due form");
    }
}
