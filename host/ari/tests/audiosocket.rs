//! The AudioSocket server against peers that are Asterisk, and peers that are not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;
use voxtra_ari::audiosocket::{
    AudioSocketServer, CodecError, ConnectionError, ExpectationError, FrameKind, ServerOptions, ServerStats, codec,
};

/// Longest that a test waits for anything: only reached when it fails.
const PATIENCE: Duration = Duration::from_secs(20);

async fn server(change: impl FnOnce(&mut ServerOptions)) -> AudioSocketServer {
    let mut options = ServerOptions::default();
    change(&mut options);
    AudioSocketServer::bind("127.0.0.1:0".parse().unwrap(), options).await.unwrap()
}

async fn dial(server: &AudioSocketServer) -> TcpStream {
    TcpStream::connect(server.local_addr()).await.unwrap()
}

fn hello(uuid: Uuid) -> Vec<u8> {
    let mut out = BytesMut::new();
    codec::encode(FrameKind::Uuid, uuid.as_bytes(), &mut out).unwrap();
    out.to_vec()
}

/// Waits until the server has closed this connection.
async fn closed(mut stream: TcpStream) {
    let mut byte = [0u8; 1];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut byte)).await.expect("closed in time");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

async fn stats_are(server: &AudioSocketServer, want: impl Fn(&ServerStats) -> bool) {
    let waiting = async {
        while !want(&server.stats()) {
            tokio::task::yield_now().await;
        }
    };
    let reached = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(reached.is_ok(), "{:?}", server.stats());
}

#[tokio::test]
async fn each_connection_finds_the_call_that_expects_it() {
    let server = server(|_| {}).await;
    let uuids: Vec<Uuid> = (0..20).map(|_| Uuid::new_v4()).collect();
    let expectations: Vec<_> = uuids.iter().map(|uuid| server.expect(*uuid).unwrap()).collect();
    let mut peers = Vec::new();
    for uuid in uuids.iter().rev() {
        let mut peer = dial(&server).await;
        // In two pieces, with audio right behind: as TCP may deliver it.
        let bytes = [hello(*uuid), vec![0x10, 0, 2, 1, 0]].concat();
        let (first, second) = bytes.split_at(7);
        peer.write_all(first).await.unwrap();
        tokio::task::yield_now().await;
        peer.write_all(second).await.unwrap();
        peers.push(peer);
    }
    for (expectation, uuid) in expectations.into_iter().zip(&uuids) {
        let mut connection = expectation.await.unwrap();
        assert_eq!(connection.uuid(), *uuid);
        let frame = connection.next_frame().await.unwrap().unwrap();
        assert_eq!((frame.kind, &frame.payload[..]), (FrameKind::Audio { rate_hz: 8000 }, &[1u8, 0][..]));
    }
    assert_eq!(server.stats().matched, 20);
}

#[tokio::test]
async fn who_is_not_expected_is_closed_and_counted() {
    let server = server(|_| {}).await;
    let mut peer = dial(&server).await;
    peer.write_all(&hello(Uuid::new_v4())).await.unwrap();
    closed(peer).await;
    stats_are(&server, |stats| stats.unknown_uuid == 1 && stats.matched == 0).await;
}

#[tokio::test]
async fn what_is_not_audiosocket_is_closed_and_counted() {
    let server = server(|_| {}).await;
    let attacks: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x01, 0xff, 0xff],
        &[0x01, 0x00, 0x0f],
        &[0x10, 0x00, 0x02, 0, 0],
        &[0x00, 0x00, 0x00],
        &[0x42, 0x00, 0x00],
    ];
    for attack in attacks {
        let mut peer = dial(&server).await;
        peer.write_all(attack).await.unwrap();
        closed(peer).await;
    }
    // Truncated: the peer goes away inside its first frame, or before it.
    for bytes in [&[0x01, 0x00, 0x10, 1, 2][..], &[]] {
        let mut peer = dial(&server).await;
        peer.write_all(bytes).await.unwrap();
        peer.shutdown().await.unwrap();
        closed(peer).await;
    }
    stats_are(&server, |stats| stats.malformed == 8 && stats.accepted == 8).await;
}

#[tokio::test]
async fn who_says_nothing_or_half_a_frame_for_ever_is_closed_in_time() {
    let server = server(|options| options.hello_timeout = Duration::from_millis(50)).await;
    let silent = dial(&server).await;
    let mut half = dial(&server).await;
    half.write_all(&[0x01, 0x00]).await.unwrap();
    closed(silent).await;
    closed(half).await;
    stats_are(&server, |stats| stats.hello_timeouts == 2).await;
}

#[tokio::test]
async fn silent_connections_cannot_use_up_the_server() {
    let server = server(|options| options.max_pending = 2).await;
    let one = dial(&server).await;
    let two = dial(&server).await;
    let three = dial(&server).await;
    closed(three).await;
    stats_are(&server, |stats| stats.refused_full == 1).await;
    drop((one, two));
    stats_are(&server, |stats| stats.malformed == 2).await;
    let uuid = Uuid::new_v4();
    let expectation = server.expect(uuid).unwrap();
    let mut peer = dial(&server).await;
    peer.write_all(&hello(uuid)).await.unwrap();
    expectation.await.unwrap();
}

#[tokio::test]
async fn an_expectation_ends_by_time_by_drop_and_with_the_server_and_is_never_doubled() {
    let server = server(|_| {}).await;
    let uuid = Uuid::new_v4();
    let first = server.expect_within(uuid, Duration::from_millis(20)).unwrap();
    assert_eq!(server.expect(uuid).unwrap_err(), ExpectationError::Duplicate { uuid });
    assert_eq!(first.await.unwrap_err(), ExpectationError::Timeout { uuid, limit_ms: 20 });
    drop(server.expect(uuid).unwrap());
    let mut late = dial(&server).await;
    late.write_all(&hello(uuid)).await.unwrap();
    closed(late).await;
    stats_are(&server, |stats| stats.unknown_uuid == 1).await;
    let last = server.expect(uuid).unwrap();
    drop(server);
    assert_eq!(last.await.unwrap_err(), ExpectationError::ServerGone { uuid });
}

#[tokio::test]
async fn a_matched_uuid_cannot_be_used_a_second_time() {
    let server = server(|_| {}).await;
    let uuid = Uuid::new_v4();
    let expectation = server.expect(uuid).unwrap();
    let mut peer = dial(&server).await;
    peer.write_all(&hello(uuid)).await.unwrap();
    let _connection = expectation.await.unwrap();
    let mut thief = dial(&server).await;
    thief.write_all(&hello(uuid)).await.unwrap();
    closed(thief).await;
    assert_eq!(server.stats().matched, 1);
}

#[tokio::test]
async fn a_connection_says_why_it_is_of_no_use_any_more() {
    let server = server(|_| {}).await;
    for (bytes, want) in [
        (&[][..], "end"),
        (&[0x10, 0x01][..], "truncated"),
        (&[0x10, 0x01, 0x40, 0, 0][..], "truncated"),
        (&[0x02, 0, 0][..], "unknown"),
        (&[0x10, 0xff, 0xff][..], "oversize"),
    ] {
        let uuid = Uuid::new_v4();
        let expectation = server.expect(uuid).unwrap();
        let mut peer = dial(&server).await;
        peer.write_all(&hello(uuid)).await.unwrap();
        peer.write_all(bytes).await.unwrap();
        peer.shutdown().await.unwrap();
        let mut connection = expectation.await.unwrap();
        let outcome = tokio::time::timeout(PATIENCE, connection.next_frame()).await.unwrap();
        let right = match &outcome {
            Ok(None) => want == "end",
            Err(ConnectionError::Truncated { .. }) => want == "truncated",
            Err(ConnectionError::Codec(CodecError::UnknownType(2))) => want == "unknown",
            Err(ConnectionError::Codec(CodecError::Oversize { bytes: 65_535, .. })) => want == "oversize",
            _ => false,
        };
        assert!(right, "{want}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_silent_peer_and_a_peer_that_takes_nothing_are_noticed() {
    let server = server(|_| {}).await;
    let uuid = Uuid::new_v4();
    let expectation = server.expect(uuid).unwrap();
    let mut peer = dial(&server).await;
    peer.write_all(&hello(uuid)).await.unwrap();
    let mut connection = expectation.await.unwrap();
    let silent = connection.next_frame_within(Duration::from_millis(20)).await.unwrap_err();
    assert!(matches!(silent, ConnectionError::Silent { limit_ms: 20 }), "{silent}");
    // Half-open: the peer never reads, until the windows are full.
    let samples = vec![0i16; 3840];
    let stalled = async {
        loop {
            if let Err(error) = connection.send_audio(192_000, &samples).await {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(PATIENCE, stalled).await.expect("noticed in time");
    assert!(matches!(error, ConnectionError::Stalled { .. }), "{error}");
}

#[tokio::test]
async fn closing_says_the_end_last_and_only_then_closes() {
    let server = server(|_| {}).await;
    let uuid = Uuid::new_v4();
    let expectation = server.expect(uuid).unwrap();
    let mut peer = dial(&server).await;
    peer.write_all(&hello(uuid)).await.unwrap();
    let mut connection = expectation.await.unwrap();
    connection.send_audio(16_000, &[7; 320]).await.unwrap();
    // Unread audio must not turn the end into a reset.
    peer.write_all(&[&[0x11, 0x02, 0x80][..], &[0; 640]].concat()).await.unwrap();
    let reading = tokio::spawn(async move {
        let mut all = Vec::new();
        peer.read_to_end(&mut all).await.map(|_| all)
    });
    connection.close().await.unwrap();
    let all = tokio::time::timeout(PATIENCE, reading).await.unwrap().unwrap().unwrap();
    assert_eq!(all.len(), 3 + 640 + 3);
    assert_eq!(all[..3], [0x12, 0x02, 0x80]);
    assert_eq!(all[643..], [0, 0, 0]);
}

#[tokio::test]
async fn the_socket_can_be_taken_away_with_what_was_read() {
    let server = server(|_| {}).await;
    let uuid = Uuid::new_v4();
    let expectation = server.expect(uuid).unwrap();
    let mut peer = dial(&server).await;
    peer.write_all(&[hello(uuid), vec![0x03, 0, 1, b'5']].concat()).await.unwrap();
    let connection = expectation.await.unwrap();
    let (stream, leftover) = connection.into_std().unwrap();
    assert!(stream.nodelay().unwrap());
    let mut stream = TcpStream::from_std(stream).unwrap();
    let mut all = leftover;
    while all.len() < 4 {
        assert!(stream.read_buf(&mut all).await.unwrap() > 0);
    }
    assert_eq!(&all[..], [0x03, 0, 1, b'5']);
}
