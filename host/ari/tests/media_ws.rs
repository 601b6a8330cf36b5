//! The WebSocket media connection against a stand-in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::result_large_err)]

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use voxtra_ari::media_ws::{MediaCommand, MediaError, MediaEvent, MediaItem, MediaOptions, MediaSocket};

/// Longest that a test waits for anything: only reached when it fails.
const PATIENCE: Duration = Duration::from_secs(20);

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/media/some-id", listener.local_addr().unwrap());
    (listener, url)
}

/// Accepts as Asterisk does: only the path of a connection, only this subprotocol.
async fn accept(listener: &TcpListener) -> WebSocketStream<TcpStream> {
    let (stream, _) = listener.accept().await.unwrap();
    let callback = |request: &Request, mut response: Response| {
        assert_eq!(request.uri().path(), "/media/some-id");
        let protocol = request.headers().get("sec-websocket-protocol").unwrap().clone();
        assert_eq!(protocol, "media");
        response.headers_mut().insert("sec-websocket-protocol", protocol);
        Ok(response)
    };
    tokio_tungstenite::accept_hdr_async(stream, callback).await.unwrap()
}

async fn next(socket: &mut MediaSocket) -> MediaItem {
    tokio::time::timeout(PATIENCE, socket.next()).await.expect("an item in time")
}

#[tokio::test]
async fn audio_events_and_commands_pass_in_order_and_the_end_is_said() {
    let (listener, url) = listen().await;
    let peer = tokio::spawn(async move {
        let mut ws = accept(&listener).await;
        let start = "MEDIA_START connection_id:some-id channel:WebSocket/x format:slin optimal_frame_size:320 ptime:20";
        ws.send(Message::text(start)).await.unwrap();
        ws.send(Message::Ping(Bytes::new())).await.unwrap();
        ws.send(Message::binary(vec![1u8; 320])).await.unwrap();
        let mut got = Vec::new();
        while got.len() < 3 {
            match ws.next().await.unwrap().unwrap() {
                Message::Pong(_) => {}
                other => got.push(other),
            }
        }
        ws.close(None).await.unwrap();
        while ws.next().await.is_some() {}
        got
    });
    let mut socket = MediaSocket::connect(&url, MediaOptions::default()).await.unwrap();
    match next(&mut socket).await {
        MediaItem::Event(MediaEvent::Start(start)) => assert_eq!(start.optimal_frame_size_bytes, 320),
        other => panic!("{other:?}"),
    }
    assert_eq!(next(&mut socket).await, MediaItem::Audio(Bytes::from(vec![1u8; 320])));
    socket.send_audio(Bytes::from_static(&[2; 320])).await.unwrap();
    assert!(socket.try_send_audio(Bytes::from_static(&[3; 320])).unwrap());
    socket.command(&MediaCommand::FlushMedia).await.unwrap();
    assert!(matches!(next(&mut socket).await, MediaItem::Closed { .. }));
    assert!(matches!(next(&mut socket).await, MediaItem::Closed { .. }));
    assert_eq!(
        peer.await.unwrap(),
        [Message::binary(vec![2u8; 320]), Message::binary(vec![3u8; 320]), Message::text("FLUSH_MEDIA")]
    );
    let error = socket.send_audio(Bytes::from_static(&[2; 320])).await.unwrap_err();
    assert!(matches!(error, MediaError::Closed(_)), "{error:?}");
}

#[tokio::test]
async fn the_halves_work_apart_and_speak_json_when_asked() {
    let (listener, url) = listen().await;
    let peer = tokio::spawn(async move {
        let mut ws = accept(&listener).await;
        let text = ws.next().await.unwrap().unwrap().into_text().unwrap().to_string();
        ws.send(Message::text(r#"{"event":"MEDIA_MARK_PROCESSED","correlation_id":"m"}"#)).await.unwrap();
        text
    });
    let socket = MediaSocket::connect(&url, MediaOptions::json()).await.unwrap();
    let (mut reader, mut writer) = socket.split();
    let mark = MediaCommand::MarkMedia { correlation_id: Some("m".into()) };
    writer.command(&mark).await.unwrap();
    let want = MediaEvent::MarkProcessed { correlation_id: Some("m".into()) };
    assert_eq!(reader.next().await, MediaItem::Event(want));
    assert!(peer.await.unwrap().starts_with('{'));
}

#[tokio::test]
async fn a_refused_connection_says_why() {
    for status in [404, 409, 503] {
        let (listener, url) = listen().await;
        let peer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0u8; 4096];
            let _ = stream.read(&mut head).await.unwrap();
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let error = MediaSocket::connect(&url, MediaOptions::default()).await.unwrap_err();
        let right = match error {
            MediaError::UnknownConnection => status == 404,
            MediaError::AlreadyConnected => status == 409,
            MediaError::Refused { status: said } => said == status,
            _ => false,
        };
        assert!(right, "{status}: {error:?}");
        peer.await.unwrap();
    }
}

#[tokio::test]
async fn connecting_has_a_limit_and_nobody_there_is_said() {
    let (listener, url) = listen().await;
    let mut options = MediaOptions::default();
    options.connect_timeout = Duration::from_millis(50);
    let error = MediaSocket::connect(&url, options).await.unwrap_err();
    assert_eq!(error, MediaError::Timeout { limit_ms: 50 });
    drop(listener);
    let error = MediaSocket::connect(&url, options).await.unwrap_err();
    assert!(matches!(error, MediaError::Transport(_)), "{error:?}");
    let error = MediaSocket::connect("not a url", options).await.unwrap_err();
    assert!(matches!(error, MediaError::Transport(_)), "{error:?}");
}

#[tokio::test]
async fn a_peer_that_never_reads_blocks_nobody() {
    let (listener, url) = listen().await;
    let peer = tokio::spawn(async move {
        let ws = accept(&listener).await;
        std::future::pending::<()>().await;
        drop(ws);
    });
    let mut options = MediaOptions::default();
    options.write_timeout = Duration::from_millis(50);
    let mut socket = MediaSocket::connect(&url, options).await.unwrap();
    let audio = Bytes::from(vec![0u8; 60_000]);
    let mut taken = 0;
    while socket.try_send_audio(audio.clone()).unwrap() {
        taken += 1;
        assert!(taken < 10_000, "some bound");
    }
    let error = socket.send_audio(audio).await.unwrap_err();
    assert_eq!(error, MediaError::Stalled { limit_ms: 50 });
    peer.abort();
}

#[tokio::test]
async fn messages_that_are_too_long_are_refused_both_ways() {
    let (listener, url) = listen().await;
    let peer = tokio::spawn(async move {
        let mut ws = accept(&listener).await;
        let _ = ws.send(Message::binary(vec![0u8; 200 * 1024])).await;
        while ws.next().await.is_some_and(|message| message.is_ok()) {}
    });
    let mut socket = MediaSocket::connect(&url, MediaOptions::default()).await.unwrap();
    let error = socket.send_audio(Bytes::from(vec![0u8; 65_501])).await.unwrap_err();
    assert_eq!(error, MediaError::Oversize { bytes: 65_501 });
    assert!(matches!(next(&mut socket).await, MediaItem::Closed { .. }));
    drop(socket);
    peer.await.unwrap();
}
