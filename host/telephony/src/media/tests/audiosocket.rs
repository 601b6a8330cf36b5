//! AudioSocket.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use uuid::Uuid;
use voxtra_ari::audiosocket::codec::encode;
use voxtra_ari::audiosocket::{
    AudioSocketServer, Connection, Frame as WireFrame, FrameDecoder, FrameKind, ServerOptions,
};
use voxtra_core::media::{LinkClosed, frame_bytes};

use super::super::{AttachedMedia, MediaThreads};
use super::{Heard, echo, frame, hear, say, within};

const AUDIO: FrameKind = FrameKind::Audio { rate_hz: 8_000 };

/// What Asterisk is: the plain codec on a socket.
struct Peer {
    socket: TcpStream,
    buffer: BytesMut,
}

impl Peer {
    async fn send(&mut self, kind: FrameKind, payload: &[u8]) {
        let mut out = BytesMut::new();
        encode(kind, payload, &mut out).unwrap();
        self.socket.write_all(&out).await.unwrap();
    }

    /// The next frame; `None` when the other side has closed.
    async fn next(&mut self) -> Option<WireFrame> {
        within(async {
            loop {
                if let Some(frame) = FrameDecoder::new().decode(&mut self.buffer).unwrap() {
                    return Some(frame);
                }
                if self.socket.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                    assert!(self.buffer.is_empty(), "it closed in the middle of a frame");
                    return None;
                }
            }
        })
        .await
    }

    /// The next frame that is not silence.
    async fn next_sound(&mut self) -> WireFrame {
        loop {
            let frame = self.next().await.expect("it closed");
            if frame.payload.iter().any(|byte| *byte != 0) {
                return frame;
            }
        }
    }
}

async fn connect() -> (Peer, Connection) {
    let server = AudioSocketServer::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ServerOptions::default());
    let server = server.await.unwrap();
    let uuid = Uuid::new_v4();
    let expected = server.expect(uuid).unwrap();
    let socket = TcpStream::connect(server.local_addr()).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let mut peer = Peer { socket, buffer: BytesMut::new() };
    peer.send(FrameKind::Uuid, uuid.as_bytes()).await;
    (peer, within(expected).await.unwrap())
}

async fn attach(threads: &MediaThreads, rate_hz: u32) -> (Peer, AttachedMedia, Arc<Heard>) {
    let (peer, connection) = connect().await;
    let heard = Arc::new(Heard::default());
    let attached = threads.attach_audiosocket(connection, rate_hz, heard.clone()).unwrap();
    (peer, attached, heard)
}

#[tokio::test]
async fn an_echo_comes_back_whole_and_in_order() {
    let threads = MediaThreads::start(2).unwrap();
    let (mut peer, attached, heard) = attach(&threads, 8_000).await;
    tokio::spawn(echo(attached.link.clone()));
    for value in 1..=50 {
        peer.send(AUDIO, &[value; 320]).await;
        let back = peer.next_sound().await;
        assert_eq!((back.kind, &back.payload[..]), (AUDIO, &[value; 320][..]));
        sleep(Duration::from_millis(4)).await;
    }
    let stats = threads.stats();
    assert_eq!((stats.frames_in, stats.frames_out, stats.connections), (50, 50, 1));
    assert_eq!(stats.dropped_inbound_frames + stats.dropped_outbound_frames, 0);
    attached.close().await;
    assert_eq!((heard.lost(), threads.stats().connections), (0, 0));
}

#[tokio::test]
async fn what_came_with_the_hello_is_heard() {
    let threads = MediaThreads::start(1).unwrap();
    let server = AudioSocketServer::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ServerOptions::default());
    let server = server.await.unwrap();
    let uuid = Uuid::new_v4();
    let expected = server.expect(uuid).unwrap();
    let mut socket = TcpStream::connect(server.local_addr()).await.unwrap();
    let mut hello = BytesMut::new();
    encode(FrameKind::Uuid, uuid.as_bytes(), &mut hello).unwrap();
    encode(AUDIO, &[3; 320], &mut hello).unwrap();
    socket.write_all(&hello).await.unwrap();
    let attached = threads.attach_audiosocket(expected.await.unwrap(), 8_000, Arc::new(Heard::default())).unwrap();
    assert_eq!(hear(&attached.link).await, Some(frame(3, 8_000)));
}

#[tokio::test]
async fn keys_are_told_and_audio_is_brought_to_the_links_rate() {
    let threads = MediaThreads::start(1).unwrap();
    let (mut peer, attached, heard) = attach(&threads, 16_000).await;
    peer.send(FrameKind::Dtmf, b"7").await;
    peer.send(FrameKind::Dtmf, b"x").await;
    peer.send(AUDIO, &[1; 960]).await;
    for _ in 0..3 {
        assert_eq!(hear(&attached.link).await.unwrap().len_bytes(), frame_bytes(16_000));
    }
    assert_eq!(*heard.keys.lock().unwrap(), [('7', 0)]);
    say(&attached.link, frame(5, 16_000)).await;
    let said = peer.next_sound().await;
    assert_eq!((said.kind, said.payload.len()), (FrameKind::Audio { rate_hz: 16_000 }, 640));
}

#[tokio::test(start_paused = true)]
async fn an_idle_side_gets_silence_at_its_own_pace() {
    let threads = MediaThreads::on_current_runtime();
    let (mut peer, attached, _) = attach(&threads, 8_000).await;
    let start = Instant::now();
    for _ in 0..100 {
        let filler = peer.next().await.unwrap();
        assert_eq!((filler.kind, &filler.payload[..]), (AUDIO, &[0; 320][..]));
    }
    let lasted = start.elapsed();
    assert!((Duration::from_millis(2_000)..Duration::from_millis(2_200)).contains(&lasted), "{lasted:?}");
    assert_eq!(threads.stats().filler_frames, 100);
    drop(attached);
}

#[tokio::test(start_paused = true)]
async fn two_seconds_at_once_go_out_by_the_clock() {
    let threads = MediaThreads::on_current_runtime();
    let (mut peer, attached, _) = attach(&threads, 8_000).await;
    let link = attached.link.clone();
    let start = Instant::now();
    let writer = tokio::spawn(async move {
        for value in 1..=100 {
            say(&link, frame(value, 8_000)).await;
        }
    });
    for value in 1..=100_u32 {
        let said = peer.next_sound().await;
        assert_eq!(u32::from(said.payload[0]), value);
        let ahead = Duration::from_millis(u64::from(value) * 20).saturating_sub(start.elapsed());
        assert!(ahead <= Duration::from_millis(60), "frame {value} came {ahead:?} ahead");
    }
    writer.await.unwrap();
    let lasted = start.elapsed();
    assert!((Duration::from_millis(1_940)..Duration::from_millis(2_040)).contains(&lasted), "{lasted:?}");
    assert_eq!(threads.stats().dropped_outbound_frames, 0);
}

#[tokio::test(start_paused = true)]
async fn a_clear_leaves_only_what_is_written() {
    let threads = MediaThreads::on_current_runtime();
    let (mut peer, attached, _) = attach(&threads, 8_000).await;
    peer.next().await.unwrap();
    for _ in 0..10 {
        attached.link.sink.push(frame(9, 8_000)).unwrap();
    }
    assert_eq!(attached.link.sink.queued_ms(), 140);
    attached.link.sink.clear();
    assert_eq!(attached.link.sink.queued_ms(), 0);
    say(&attached.link, frame(7, 8_000)).await;
    let mut heard = Vec::new();
    while heard.last() != Some(&7) {
        heard.push(peer.next_sound().await.payload[0]);
    }
    assert_eq!(heard, [9, 9, 9, 7]);
}

#[tokio::test]
async fn closing_says_the_end_and_returns_when_the_socket_is_closed() {
    let threads = MediaThreads::start(1).unwrap();
    let (mut peer, attached, heard) = attach(&threads, 8_000).await;
    let reader = tokio::spawn(async move {
        let mut last = None;
        while let Some(frame) = peer.next().await {
            last = Some(frame.kind);
        }
        last
    });
    attached.close().await;
    assert!(attached.is_closed());
    assert_eq!(within(reader).await.unwrap(), Some(FrameKind::Terminate));
    attached.close().await;
    assert_eq!(attached.link.sink.push(frame(1, 8_000)), Err(LinkClosed));
    assert_eq!(hear(&attached.link).await, None);
    assert_eq!(heard.lost(), 0);
}

#[tokio::test]
async fn who_forgets_the_connection_closes_it() {
    let threads = MediaThreads::start(1).unwrap();
    let (mut peer, attached, heard) = attach(&threads, 8_000).await;
    let link = attached.link.clone();
    drop(attached);
    while peer.next().await.is_some() {}
    drop(peer);
    assert_eq!(hear(&link).await, None);
    assert_eq!(heard.lost(), 0);
}

#[tokio::test]
async fn a_side_that_closes_within_a_frame_is_lost_once() {
    let threads = MediaThreads::start(1).unwrap();
    let (mut peer, attached, heard) = attach(&threads, 8_000).await;
    peer.send(AUDIO, &[4; 320]).await;
    peer.socket.write_all(&[0x10, 1, 0x40, 9, 9, 9]).await.unwrap();
    assert_eq!(hear(&attached.link).await, Some(frame(4, 8_000)));
    drop(peer);
    heard.until_lost().await;
    assert_eq!(hear(&attached.link).await, None);
    attached.close().await;
    drop(attached);
    assert_eq!((heard.lost(), threads.stats().lost_connections), (1, 1));
}

#[tokio::test]
async fn garbage_ends_the_connection_and_no_other() {
    let threads = MediaThreads::start(1).unwrap();
    let (mut healthy, healthy_media, healthy_heard) = attach(&threads, 8_000).await;
    tokio::spawn(echo(healthy_media.link.clone()));
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0x10, 0xff, 0xff],
        &[0x10, 0, 3, 1, 2, 3],
        &[0x02, 0, 0],
        &[0x15, 0, 2, 0, 0],
        &[0x01, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0xff, 0, 0],
        &[0x00, 0, 0],
    ] {
        let (mut peer, _attached, heard) = attach(&threads, 8_000).await;
        peer.socket.write_all(garbage).await.unwrap();
        heard.until_lost().await;
    }
    healthy.send(AUDIO, &[8; 320]).await;
    assert_eq!(healthy.next_sound().await.payload[0], 8);
    assert_eq!(healthy_heard.lost(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_side_that_never_reads_is_lost() {
    let threads = MediaThreads::on_current_runtime();
    let (peer, attached, heard) = attach(&threads, 48_000).await;
    let start = Instant::now();
    while heard.lost() == 0 {
        sleep(Duration::from_millis(20)).await;
        assert!(start.elapsed() < Duration::from_secs(600), "it is still taken for alive");
    }
    assert!(start.elapsed() > Duration::from_secs(2));
    assert_eq!(attached.link.sink.push(frame(1, 48_000)), Err(LinkClosed));
    drop(peer);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(heard.lost(), 1);
}

#[tokio::test(start_paused = true)]
async fn silence_for_ever_is_no_reason_to_end() {
    let threads = MediaThreads::on_current_runtime();
    let (mut peer, attached, heard) = attach(&threads, 8_000).await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(120) {
        peer.next().await.unwrap();
    }
    assert_eq!(heard.lost(), 0);
    attached.close().await;
}

#[tokio::test]
async fn stopping_the_threads_closes_their_connections() {
    let threads = MediaThreads::start(1).unwrap();
    let (mut peer, attached, _) = attach(&threads, 8_000).await;
    drop(threads);
    while peer.next().await.is_some() {}
    attached.close().await;
    assert_eq!(attached.link.sink.push(frame(1, 8_000)), Err(LinkClosed));
    assert_eq!(hear(&attached.link).await, None);
}

#[tokio::test]
async fn connections_are_spread_over_the_threads_and_a_bad_rate_is_refused() {
    let threads = MediaThreads::start(2).unwrap();
    let (_first, first, _) = attach(&threads, 8_000).await;
    let (_second, second, _) = attach(&threads, 8_000).await;
    assert_eq!(threads.loads(), [1, 1]);
    let (_peer, connection) = connect().await;
    let refused = threads.attach_audiosocket(connection, 44_100, Arc::new(Heard::default()));
    assert!(refused.unwrap_err().to_string().contains("44100"));
    first.close().await;
    second.close().await;
    assert_eq!(threads.loads(), [0, 0]);
}
