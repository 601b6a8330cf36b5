//! Prompts that play while the handler does something else.

use std::time::Duration;

use crate::bindings::handler::voxtra::call::call_session;
use crate::time::to_ms;
use crate::{Error, PlayOutcome};

/// Prompts that play, begun by [`Call::start_playback`](crate::Call::start_playback). Dropping it does not stop them.
#[derive(Debug)]
pub struct Playback {
    inner: call_session::Playback,
}

impl Playback {
    pub(crate) fn new(inner: call_session::Playback) -> Self {
        Self { inner }
    }

    /// Its id, as in [`Event::PlaybackFinished`](crate::Event::PlaybackFinished).
    pub fn id(&self) -> String {
        self.inner.id()
    }

    /// Stops them. Nothing happens when they are over.
    ///
    /// # Errors
    /// As said at [`Call`](crate::Call).
    pub fn stop(&self) -> Result<(), Error> {
        Ok(self.inner.stop()?)
    }

    /// Waits for their end, which may be past.
    ///
    /// # Errors
    /// [`Error::Timeout`] when they still play after `timeout`, and as said at [`Call`](crate::Call).
    pub fn wait(&self, timeout: Duration) -> Result<PlayOutcome, Error> {
        Ok(self.inner.wait(to_ms(timeout))?.into())
    }
}
