//! Ports of loopback for an Asterisk of its own, beside others.
//!
//! They lie below the range from which Linux gives ports to everybody else, so that no client socket can be sitting on
//! one when Asterisk is started again.

use std::fs::File;
use std::net::{TcpListener, UdpSocket};

use anyhow::{Result, bail};

use crate::files::open_lock;

const FIRST: u16 = 12_000;

/// Nearly a thousand calls each: RTP and RTCP take two.
const PER_SLOT: u16 = 2000;

const SLOTS: u16 = 10;

/// A range of ports that is ours until this is dropped.
#[derive(Debug)]
pub(super) struct Ports {
    first: u16,
    _lock: File,
}

impl Ports {
    /// Takes a range that no other test of this machine has and nobody listens in.
    pub(super) fn take() -> Result<Self> {
        for slot in 0..SLOTS {
            let path = std::env::temp_dir().join(format!("voxtra-asterisk-ports-{slot}.lock"));
            // A file of another user is a slot of another user.
            let Ok(file) = open_lock(&path) else { continue };
            if file.try_lock().is_err() {
                continue;
            }
            let ports = Self { first: FIRST + slot * PER_SLOT, _lock: file };
            if ports.are_free() {
                return Ok(ports);
            }
        }
        bail!("no range of ports is free for another Asterisk between {FIRST} and {}", FIRST + SLOTS * PER_SLOT - 1)
    }

    pub(super) fn http(&self) -> u16 {
        self.first
    }

    pub(super) fn sip(&self) -> u16 {
        self.first + 1
    }

    pub(super) fn rtp(&self) -> (u16, u16) {
        (self.first + 10, self.first + PER_SLOT - 1)
    }

    fn are_free(&self) -> bool {
        let rtp_is_free =
            (self.rtp().0..self.rtp().1).step_by(50).all(|port| UdpSocket::bind(("127.0.0.1", port)).is_ok());
        rtp_is_free
            && TcpListener::bind(("127.0.0.1", self.http())).is_ok()
            && UdpSocket::bind(("127.0.0.1", self.sip())).is_ok()
    }
}
