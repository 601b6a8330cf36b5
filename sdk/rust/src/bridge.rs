//! Calls that hear each other, and hidden ears.

use crate::bindings::handler::voxtra::call::call_session::{self, AudioFormat};
use crate::{Audio, Call, Error, IntoPrompts};

/// A bridge, made by [`Call::create_bridge`]: who is in it hears the others. Dropping it takes it down; who is in it
/// stays up.
#[derive(Debug)]
pub struct Bridge {
    inner: call_session::Bridge,
}

impl Bridge {
    pub(crate) fn new(inner: call_session::Bridge) -> Self {
        Self { inner }
    }

    /// Its id: opaque.
    pub fn id(&self) -> String {
        self.inner.id()
    }

    /// Puts an answered call in.
    ///
    /// # Errors
    /// As said at [`Call`], of this call and of the one that made the bridge.
    pub fn add(&self, call: &Call) -> Result<(), Error> {
        Ok(self.inner.add(call.inner())?)
    }

    /// Takes a call out. Nothing happens when it is not in.
    ///
    /// # Errors
    /// As [`Bridge::add`].
    pub fn remove(&self, call: &Call) -> Result<(), Error> {
        Ok(self.inner.remove(call.inner())?)
    }

    /// Puts a snoop in: those in the bridge hear what it spies, and whisper by speaking.
    ///
    /// # Errors
    /// As [`Bridge::add`].
    pub fn add_snoop(&self, snoop: &Snoop) -> Result<(), Error> {
        Ok(self.inner.add_snoop(&snoop.inner)?)
    }

    /// Plays prompts to all and waits for their end.
    ///
    /// # Errors
    /// As [`Call::play`].
    pub fn play(&self, prompts: impl IntoPrompts) -> Result<(), Error> {
        Ok(self.inner.play(&prompts.into_prompts())?)
    }

    /// Takes it down and says whether that went well, which dropping it does not. Nothing happens the second time.
    ///
    /// # Errors
    /// [`Error::Telephony`] when the PBX fails.
    pub fn destroy(&self) -> Result<(), Error> {
        Ok(self.inner.destroy()?)
    }
}

/// A hidden ear, and mouth, at a call, made by [`Call::snoop`]. Dropping it takes it away.
#[derive(Debug)]
pub struct Snoop {
    inner: call_session::Snoop,
}

impl Snoop {
    pub(crate) fn new(inner: call_session::Snoop) -> Self {
        Self { inner }
    }

    /// Its id: opaque.
    pub fn id(&self) -> String {
        self.inner.id()
    }

    /// Plays prompts to whom it whispers and waits for their end.
    ///
    /// # Errors
    /// As [`Call::play`].
    pub fn play(&self, prompts: impl IntoPrompts) -> Result<(), Error> {
        Ok(self.inner.play(&prompts.into_prompts())?)
    }

    /// Opens what it hears, and what it whispers. One stream a snoop at a time; not while it is in a bridge.
    ///
    /// # Errors
    /// As [`Call::open_audio`].
    pub fn open_audio(&self, rate_hz: u32) -> Result<Audio, Error> {
        Ok(Audio::new(self.inner.open_audio(AudioFormat { rate_hz })?))
    }

    /// Takes it away and says whether that went well, which dropping it does not. Nothing happens the second time.
    ///
    /// # Errors
    /// [`Error::Telephony`] when the PBX fails.
    pub fn stop(&self) -> Result<(), Error> {
        Ok(self.inner.stop()?)
    }
}
