//! Waiting for several things at once.
//!
//! ```no_run
//! use voxtra_sdk::poll;
//! use voxtra_sdk::prelude::*;
//!
//! fn echo_until_a_key(call: &Call, audio: &Audio) -> Result<()> {
//!     loop {
//!         for ready in poll::wait(&[&call.pollable(), &audio.pollable()]) {
//!             match ready {
//!                 0 => {
//!                     if let Some(Event::Dtmf(_)) = call.next_event(Duration::ZERO)? {
//!                         return Ok(());
//!                     }
//!                 }
//!                 _ => audio.write(&audio.read_timeout(Duration::ZERO)?)?,
//!             }
//!         }
//!     }
//! }
//! ```

use std::fmt;
use std::marker::PhantomData;

use crate::bindings::handler::wasi::io::poll;

/// One thing to wait for: [`Call::pollable`](crate::Call::pollable), [`Audio::pollable`](crate::Audio::pollable). It
/// cannot outlive what it waits for.
pub struct Pollable<'source> {
    inner: poll::Pollable,
    source: PhantomData<&'source ()>,
}

impl Pollable<'_> {
    pub(crate) fn new(inner: poll::Pollable) -> Self {
        Self { inner, source: PhantomData }
    }

    /// Whether the thing has happened. Does not wait.
    pub fn ready(&self) -> bool {
        self.inner.ready()
    }

    /// Waits until it has.
    pub fn block(&self) {
        self.inner.block();
    }
}

impl fmt::Debug for Pollable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pollable").finish_non_exhaustive()
    }
}

/// Waits until at least one is ready and returns the indexes of those that are. Of none it returns none, at once.
pub fn wait(pollables: &[&Pollable<'_>]) -> Vec<usize> {
    if pollables.is_empty() {
        return Vec::new();
    }
    let inner: Vec<&poll::Pollable> = pollables.iter().map(|pollable| &pollable.inner).collect();
    poll::poll(&inner).into_iter().filter_map(|index| usize::try_from(index).ok()).collect()
}
