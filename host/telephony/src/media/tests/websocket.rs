//! `chan_websocket`.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use voxtra_ari::media_ws::{MediaError, MediaOptions};
use voxtra_core::media::{Frame, LinkClosed};

use super::super::{AttachedMedia, MediaThreads};
use super::{Heard, echo, frame, hear, say, within};

/// What Asterisk is: a WebSocket server.
struct Peer(WebSocketStream<TcpStream>);

impl Peer {
    async fn text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    async fn audio(&mut self, value: u8) {
        self.0.send(Message::binary(vec![value; 320])).await.unwrap();
    }

    async fn next(&mut self) -> Option<Message> {
        within(self.0.next()).await?.ok()
    }

    async fn next_audio(&mut self) -> Bytes {
        match self.next().await {
            Some(Message::Binary(audio)) => audio,
            other => panic!("no audio but {other:?}"),
        }
    }
}

async fn attach(threads: &MediaThreads) -> (Peer, AttachedMedia, Arc<Heard>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("ws://{}/media/1", listener.local_addr().unwrap());
    let accept = async {
        let (socket, _) = listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        // Asterisk names the subprotocol in its answer.
        #[allow(clippy::result_large_err)]
        let name = |_: &_, mut response: tokio_tungstenite::tungstenite::handshake::server::Response| {
            response.headers_mut().insert("Sec-WebSocket-Protocol", "media".parse().unwrap());
            Ok(response)
        };
        Peer(tokio_tungstenite::accept_hdr_async(socket, name).await.unwrap())
    };
    let heard = Arc::new(Heard::default());
    let connect = threads.connect_websocket(&url, MediaOptions::default(), 8_000, heard.clone());
    let (mut peer, attached) = tokio::join!(accept, connect);
    peer.text("MEDIA_START connection_id:1 channel:WebSocket/1 format:slin optimal_frame_size:320 ptime:20").await;
    (peer, attached.unwrap(), heard)
}

#[tokio::test]
async fn an_echo_comes_back_without_silence_of_ours() {
    let threads = MediaThreads::start(1).unwrap();
    let (mut peer, attached, heard) = attach(&threads).await;
    tokio::spawn(echo(attached.link.clone()));
    peer.text("DTMF_END digit:5").await;
    for value in 1..=20 {
        peer.audio(value).await;
        assert_eq!(peer.next_audio().await, vec![value; 320]);
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    assert_eq!(heard.keys.lock().unwrap()[0].0, '5');
    assert_eq!(threads.stats().filler_frames, 0);
    attached.close().await;
    assert_eq!((heard.lost(), threads.stats().connections), (0, 0));
    assert!(matches!(peer.next().await, Some(Message::Close(_)) | None));
}

#[tokio::test(start_paused = true)]
async fn two_seconds_at_once_go_out_by_the_clock() {
    let threads = MediaThreads::on_current_runtime();
    let (mut peer, attached, _) = attach(&threads).await;
    let link = attached.link.clone();
    let start = Instant::now();
    tokio::spawn(async move {
        for value in 1..=100 {
            say(&link, frame(value, 8_000)).await;
        }
    });
    let mut frames = 0;
    while frames < 100 {
        for audio in peer.next_audio().await.chunks(320) {
            frames += 1;
            assert_eq!((audio.len(), usize::from(audio[0])), (320, frames));
        }
        let ahead = Duration::from_millis(frames as u64 * 20).saturating_sub(start.elapsed());
        assert!(ahead <= Duration::from_millis(60), "frame {frames} came {ahead:?} ahead");
    }
    let lasted = start.elapsed();
    assert!((Duration::from_millis(1_900)..Duration::from_millis(2_040)).contains(&lasted), "{lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_clear_flushes_asterisk_too_and_what_is_said_next_follows() {
    let threads = MediaThreads::on_current_runtime();
    let (mut peer, attached, _) = attach(&threads).await;
    for _ in 0..10 {
        attached.link.sink.push(frame(9, 8_000)).unwrap();
    }
    peer.next_audio().await;
    attached.link.sink.clear();
    say(&attached.link, frame(7, 8_000)).await;
    let mut flushed = false;
    loop {
        match peer.next().await.unwrap() {
            Message::Text(text) => {
                assert_eq!(text.as_str(), "FLUSH_MEDIA");
                flushed = true;
            }
            Message::Binary(audio) if flushed => {
                assert_eq!(audio, vec![7; 320]);
                break;
            }
            Message::Binary(audio) => assert_eq!(audio[0], 9),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pieces_become_whole_frames_and_the_last_is_filled_up() {
    let threads = MediaThreads::on_current_runtime();
    let (mut peer, attached, _) = attach(&threads).await;
    for value in [1, 2, 3] {
        say(&attached.link, Frame::new(Bytes::from(vec![value; 200]))).await;
    }
    let mut said = Vec::new();
    while said.len() < 640 {
        let audio = peer.next_audio().await;
        assert_eq!(audio.len() % 320, 0);
        said.extend_from_slice(&audio);
    }
    let expected: Vec<u8> = [(1, 200), (2, 200), (3, 200), (0, 40)].iter().flat_map(|(v, n)| vec![*v; *n]).collect();
    assert_eq!(said, expected);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_at_asterisk_is_respected() {
    let threads = MediaThreads::on_current_runtime();
    let (mut peer, attached, _) = attach(&threads).await;
    say(&attached.link, frame(1, 8_000)).await;
    assert_eq!(peer.next_audio().await[0], 1);
    peer.text("MEDIA_XOFF").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    say(&attached.link, frame(2, 8_000)).await;
    let quiet = tokio::time::timeout(Duration::from_secs(3), peer.0.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    peer.text("MEDIA_XON").await;
    assert_eq!(peer.next_audio().await[0], 2);
}

#[tokio::test]
async fn a_side_that_closes_or_sends_nonsense_is_lost_once() {
    let threads = MediaThreads::start(1).unwrap();
    let (peer, attached, heard) = attach(&threads).await;
    drop(peer);
    heard.until_lost().await;
    assert_eq!(hear(&attached.link).await, None);
    assert_eq!(attached.link.sink.push(frame(1, 8_000)), Err(LinkClosed));
    attached.close().await;

    let (mut peer, _attached, heard) = attach(&threads).await;
    peer.0.send(Message::binary(vec![0; 3])).await.unwrap();
    heard.until_lost().await;

    let (mut peer, _attached, heard) = attach(&threads).await;
    peer.text("MEDIA_START connection_id:1 channel:WebSocket/1 format:slin16 optimal_frame_size:640").await;
    heard.until_lost().await;
    assert_eq!(threads.stats().lost_connections, 3);
}

#[tokio::test(start_paused = true)]
async fn a_side_that_never_reads_is_lost() {
    let threads = MediaThreads::on_current_runtime();
    let (_peer, attached, heard) = attach(&threads).await;
    let link = attached.link.clone();
    let start = Instant::now();
    while heard.lost() == 0 {
        let _ = link.sink.push(Frame::new(Bytes::from(vec![1; 320])));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(start.elapsed() < Duration::from_secs(3_600), "it is still taken for alive");
    }
    assert_eq!(heard.lost(), 1);
}

#[tokio::test]
async fn nobody_there_is_an_error_and_leaves_no_seat_taken() {
    let threads = MediaThreads::start(1).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("ws://{}/media/1", listener.local_addr().unwrap());
    drop(listener);
    let refused = threads.connect_websocket(&url, MediaOptions::default(), 8_000, Arc::new(Heard::default())).await;
    assert!(matches!(refused, Err(MediaError::Transport(_))));
    assert_eq!(threads.loads(), [0]);
}
