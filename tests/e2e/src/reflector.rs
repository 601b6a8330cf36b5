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
        let thread = std::thread::Builder::new()
            .name("reflector".into())
            .spawn(move || reflect(&socket, &counted, &told))
            .context("cannot start a thread")?;
        Ok(Self { address, packets, done, thread: Some(thread) })
    }

    /// Where callers have their audio.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
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
