//! A telephone's RTP end on loopback: it speaks at a steady pace, listens with the time of every packet, and sends and
//! hears key presses as RFC 4733 events.
//!
//! G.711 only, one stream each way, no RTCP: what a test's telephone needs.

mod packet;
mod received;
mod sender;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use packet::Codec;
pub use received::RtpStats;

use packet::{EVENT_PAYLOAD_TYPE, Packet};
use received::Received;
use sender::Outgoing;

pub(crate) use sender::presses;

/// Packets of this length, as every telephone sends them.
pub(crate) const PACKET_MS: u64 = 20;

/// An open RTP port with its sender and receiver; both end when it is dropped. Must be made within a tokio runtime.
///
/// It always sends: silence when there is nothing to say.
#[derive(Debug)]
pub struct RtpEndpoint {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

#[derive(Debug)]
struct Shared {
    socket: UdpSocket,
    began: Instant,
    codec: Codec,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Where to send, and whether that was said rather than learnt.
    remote: Option<(SocketAddr, bool)>,
    outgoing: Outgoing,
    received: Received,
}

impl RtpEndpoint {
    /// Opens a port of 127.0.0.1. Nothing is sent before [`RtpEndpoint::set_remote`] or a packet from the other side
    /// says where to; without the former, it follows the latest packet.
    ///
    /// # Errors
    /// When no port can be opened.
    pub async fn open(codec: Codec) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.context("cannot open an RTP port")?;
        let address = socket.local_addr()?;
        let shared = Arc::new(Shared { socket, began: Instant::now(), codec, state: Mutex::default() });
        let tasks = [tokio::spawn(receive(Arc::clone(&shared))), tokio::spawn(send(Arc::clone(&shared)))];
        Ok(Self { address, shared, tasks })
    }

    /// Where the other side sends to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends there from now on.
    pub fn set_remote(&self, remote: SocketAddr) {
        self.state().remote = Some((remote, true));
    }

    /// The time since the endpoint was opened, which is also where [`RtpEndpoint::heard`] begins.
    #[must_use]
    pub fn now_ms(&self) -> f64 {
        self.shared.now().as_secs_f64() * 1000.0
    }

    /// Queues a signal of 8 kHz samples behind what is still to be said, to be filled up with silence to whole packets;
    /// returns its number for [`RtpEndpoint::spoken_at_ms`].
    pub fn speak(&self, signal: &[i16]) -> usize {
        self.state().outgoing.speak(signal)
    }

    /// When the first packet of a signal left, as [`RtpEndpoint::now_ms`] counts; `None` while it is waiting.
    #[must_use]
    pub fn spoken_at_ms(&self, signal: usize) -> Option<f64> {
        self.state().outgoing.spoken_at(signal).map(|at| at.as_secs_f64() * 1000.0)
    }

    /// Queues key presses, sent as events in place of audio: each 160 ms long with 100 ms of rest after it. Characters
    /// other than `0` to `9`, `*`, `#` and `A` to `D` are left out.
    pub fn press(&self, keys: &str) {
        self.state().outgoing.press(keys);
    }

    /// Whether everything queued has been sent.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.state().outgoing.is_empty()
    }

    /// Waits until everything queued has been sent; false when that takes longer than the limit.
    pub async fn until_quiet(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        while !self.is_quiet() {
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }

    /// Everything heard so far, as 8 kHz samples from the time at which the endpoint was opened; gaps are silence.
    #[must_use]
    pub fn heard(&self) -> Vec<i16> {
        self.state().received.samples()
    }

    /// The keys that the other side has pressed by RFC 4733, each once.
    #[must_use]
    pub fn keys_heard(&self) -> String {
        self.state().received.keys().to_owned()
    }

    /// Counts of what has come in and gone out.
    #[must_use]
    pub fn stats(&self) -> RtpStats {
        let state = self.state();
        state.received.stats(state.outgoing.sent())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for RtpEndpoint {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl State {
    /// Without a word about where to send, it goes to where the last packet came from.
    fn follow(&mut self, from: SocketAddr) {
        if !matches!(self.remote, Some((_, true))) {
            self.remote = Some((from, false));
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

async fn receive(shared: Arc<Shared>) {
    let mut buffer = [0; 2048];
    // An error is an ICMP answer to something sent earlier: the other side is not there yet, or no longer.
    loop {
        let Ok((length, from)) = shared.socket.recv_from(&mut buffer).await else { continue };
        let at = shared.now();
        let Some(packet) = buffer.get(..length).and_then(Packet::parse) else { continue };
        let mut state = shared.state();
        state.follow(from);
        match packet.payload_type {
            EVENT_PAYLOAD_TYPE => state.received.event(&packet),
            other => {
                if let Some(codec) = Codec::of_payload_type(other) {
                    state.received.audio(&packet, codec, at);
                }
            }
        }
    }
}

async fn send(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(PACKET_MS));
    loop {
        ticks.tick().await;
        let (packet, remote) = {
            let mut state = shared.state();
            let Some((remote, _)) = state.remote else { continue };
            (state.outgoing.next(shared.codec, shared.now()), remote)
        };
        let _ = shared.socket.send_to(&packet, remote).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::match_audio::find;
    use crate::signals::speech;

    #[tokio::test]
    async fn two_endpoints_hear_each_other() {
        for codec in [Codec::Pcmu, Codec::Pcma] {
            let (a, b) = (RtpEndpoint::open(codec).await.unwrap(), RtpEndpoint::open(codec).await.unwrap());
            a.set_remote(b.address());
            let said = speech(21, 400);
            let number = a.speak(&said);
            a.press("1#");
            assert!(a.until_quiet(Duration::from_secs(10)).await);
            tokio::time::sleep(Duration::from_millis(60)).await;
            let found = find(&said, &b.heard()).unwrap();
            assert!(found.correlation > 0.99, "{found:?}");
            assert!(a.spoken_at_ms(number).is_some());
            assert_eq!(b.keys_heard(), "1#");
            assert_eq!(b.stats().lost, 0);
            // b has learnt where a is from its first packet.
            assert!(a.stats().received > 0);
        }
    }
}
