//! Callers who say what they hear: one port that sends every RTP packet back to where it came from.
//!
//! All calls of a SIPp run can share it. Against a handler that echoes, audio then goes round and round, so that every
//! call carries packets both ways all the time.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

/// The port and its thread; both end when it is dropped.
#[derive(Debug)]
pub struct Reflector {
    address: SocketAddr,
    socket: UdpSocket,
    packets: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reflector {
    /// Opens a port of loopback.
    ///
    /// # Errors
    /// When no port or no thread can be had.
    pub fn open() -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").context("cannot open an RTP port")?;
        // How soon the end is noticed when nothing comes.
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let address = socket.local_addr()?;
        let (packets, done) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (counted, told) = (Arc::clone(&packets), Arc::clone(&done));
        let listening = socket.try_clone()?;
        let thread = std::thread::Builder::new()
            .name("reflector".into())
            .spawn(move || reflect(&listening, &counted, &told))
            .context("cannot start a thread")?;
        Ok(Self { address, socket, packets, done, thread: Some(thread) })
    }

    /// Where callers have their audio.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says something to who would say nothing first: a little silence, in mu-law.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn greet(&self, other_side: SocketAddr) -> Result<()> {
        /// Packets that then go round at one time.
        const PACKETS: u16 = 3;
        for n in 0..PACKETS {
            // RFC 3550: version 2, payload type 0, sequence, timestamp, source.
            let mut packet = vec![0x80, 0];
            packet.extend(n.to_be_bytes());
            packet.extend((u32::from(n) * 160).to_be_bytes());
            packet.extend(u32::from(other_side.port()).to_be_bytes());
            packet.extend([0xff; 160]);
            self.socket.send_to(&packet, other_side)?;
        }
        Ok(())
    }

    /// How many packets have come, and gone back.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }
}

impl Drop for Reflector {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn reflect(socket: &UdpSocket, packets: &AtomicU64, done: &AtomicBool) {
    let mut buffer = [0; 2048];
    while !done.load(Ordering::Relaxed) {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                packets.fetch_add(1, Ordering::Relaxed);
                let _ = socket.send_to(buffer.get(..length).unwrap_or_default(), from);
            }
            // Nothing came in time, or an answer to a packet that came too late for its call.
            Err(e)
                if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionRefused) => {}
            Err(_) => return,
        }
    }
}
