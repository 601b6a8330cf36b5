//! A small telephone: SIP over UDP (RFC 3261) for one call at a time each, and an RTP endpoint.
//!
//! It retransmits, answers what a PBX asks in a call (OPTIONS, INFO, UPDATE, re-INVITE, BYE), and gives up in time.
//! It does not register, authenticate, or use TCP or TLS: the tests' PBX takes anybody on loopback.

mod call;
mod dialog;
mod message;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

pub use call::{ActiveCall, EndedBy};

pub use crate::rtp::Codec;

/// How to call.
#[derive(Debug, Clone)]
pub struct CallOptions {
    /// The caller's number or name, as the called side sees it.
    pub from: String,
    /// The only codec offered.
    pub codec: Codec,
    /// How long to let it ring before cancelling.
    pub ring: Duration,
    /// Cancel after so long even though it may still be answered: a caller who changes their mind.
    pub cancel_after: Option<Duration>,
    /// More headers of the INVITE, such as `("X-Test", "1")`.
    pub headers: Vec<(String, String)>,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self {
            from: "1001".into(),
            codec: Codec::Pcmu,
            ring: Duration::from_secs(15),
            cancel_after: None,
            headers: Vec::new(),
        }
    }
}

impl CallOptions {
    /// The defaults with another caller.
    #[must_use]
    pub fn from(caller: impl Into<String>) -> Self {
        Self { from: caller.into(), ..Self::default() }
    }
}

/// Why a call has not been answered.
#[derive(Debug)]
#[non_exhaustive]
pub enum CallError {
    /// The other side has said no: the SIP status code, such as 404, 486, 487 (after a cancel) or 603, and its text.
    Refused {
        /// From 300 up.
        status: u16,
        /// As sent.
        reason: String,
    },
    /// It has rung too long, or nobody has ever replied.
    NoAnswer {
        /// The highest provisional status seen: 0 when there was none.
        status: u16,
    },
    /// The answer cannot be used, or the network failed.
    Failed(anyhow::Error),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { status, reason } => write!(f, "the call was refused with {status} {reason}"),
            Self::NoAnswer { status: 0 } => f.write_str("nobody has replied to the call"),
            Self::NoAnswer { status } => write!(f, "nobody has answered the call (last heard: {status})"),
            Self::Failed(e) => write!(f, "the call has failed: {e:#}"),
        }
    }
}

impl std::error::Error for CallError {}

impl From<anyhow::Error> for CallError {
    fn from(e: anyhow::Error) -> Self {
        Self::Failed(e)
    }
}

/// Makes calls.
#[derive(Debug)]
pub struct Phone;

impl Phone {
    /// Calls an extension of the PBX at a SIP address and waits for the answer. Must run within a tokio runtime.
    ///
    /// # Errors
    /// When the call is refused, nobody answers in time, or the network fails.
    pub async fn call(pbx: SocketAddr, extension: &str, options: CallOptions) -> Result<ActiveCall, CallError> {
        ActiveCall::place(pbx, extension, options).await
    }
}
