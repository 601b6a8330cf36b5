//! The call that a handler was given.

use std::time::Duration;

use crate::bindings::handler::voxtra::call::call_session::{self, AudioFormat, PlayOptions};
use crate::bindings::handler::voxtra::call::readiness;
use crate::event::key;
use crate::poll::Pollable;
use crate::time::{from_ms, to_ms};
use crate::{Audio, CallInfo, CallState, Digits, Error, Event, Events, Gather, HangupCause, IntoPrompts};

/// How a prompt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlayOutcome {
    /// It was played to its end.
    Finished,
    /// The caller pressed this key. It stays for [`Call::gather`] and [`Call::listen_dtmf`].
    Interrupted(char),
}

/// One telephone call.
///
/// Each function waits until what it asks for has happened. Unless said otherwise, it fails with [`Error::HungUp`] once
/// the call has ended, with [`Error::Telephony`] when the PBX refuses or fails, and with [`Error::LimitExceeded`] when
/// the call has used up what it may.
#[derive(Debug)]
pub struct Call {
    inner: call_session::Call,
}

impl Call {
    pub(crate) fn new(inner: call_session::Call) -> Self {
        Self { inner }
    }

    /// What is known of it from its start: who calls whom, by which route.
    pub fn info(&self) -> CallInfo {
        self.inner.info()
    }

    /// Its id: unique in this host, opaque.
    pub fn id(&self) -> String {
        self.inner.info().id
    }

    /// Where it stands now.
    pub fn state(&self) -> CallState {
        self.inner.state()
    }

    /// Since the answer; zero before it; fixed after the end.
    pub fn duration(&self) -> Duration {
        from_ms(self.inner.duration_ms())
    }

    /// One note kept with the call, or none of that name. At first there are those of the call's route.
    pub fn metadata(&self, key: &str) -> Option<String> {
        self.inner.metadata_get(key)
    }

    /// All notes.
    pub fn metadata_list(&self) -> Vec<(String, String)> {
        self.inner.metadata_list()
    }

    /// Keeps a note with the call: a key of 1 to 128 bytes, a value of at most 8,192. At most 64 are kept.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] or [`Error::LimitExceeded`] when it is too long or there are too many.
    pub fn set_metadata(&self, key: &str, value: &str) -> Result<(), Error> {
        Ok(self.inner.metadata_set(key, value)?)
    }

    /// Answers. An answered call stays as it is.
    ///
    /// # Errors
    /// As said at [`Call`].
    pub fn answer(&self) -> Result<(), Error> {
        Ok(self.inner.answer()?)
    }

    /// Hangs up in the ordinary way. Succeeds on a call that is over.
    ///
    /// # Errors
    /// [`Error::Telephony`] when the PBX refuses or fails.
    pub fn hangup(&self) -> Result<(), Error> {
        self.hangup_with(HangupCause::Normal)
    }

    /// Hangs up, or refuses a call that was not answered, and says why. Succeeds on a call that is over.
    ///
    /// # Errors
    /// [`Error::Telephony`] when the PBX refuses or fails.
    pub fn hangup_with(&self, cause: HangupCause) -> Result<(), Error> {
        Ok(self.inner.hangup(cause)?)
    }

    /// Plays one prompt or several and waits for their end.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when a prompt is not one or does not exist, and as said at [`Call`].
    pub fn play(&self, prompts: impl IntoPrompts) -> Result<(), Error> {
        self.play_until("", prompts).map(drop)
    }

    /// Plays prompts until their end or until one of `keys` is pressed, such as `"12#"`.
    ///
    /// # Errors
    /// As [`Call::play`]; [`Error::InvalidArgument`] when `keys` has something else than keys.
    pub fn play_until(&self, keys: &str, prompts: impl IntoPrompts) -> Result<PlayOutcome, Error> {
        let options = PlayOptions { interrupt_on: keys.to_owned() };
        Ok(match self.inner.play(&prompts.into_prompts(), &options)? {
            call_session::PlayOutcome::Finished => PlayOutcome::Finished,
            call_session::PlayOutcome::Interrupted(pressed) => PlayOutcome::Interrupted(key(&pressed)),
        })
    }

    /// Plays prompts and takes keys, also those that were pressed before and not yet taken. That no key came in time is
    /// not an error: see [`Digits::timed_out`].
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the numbers or the prompts are not valid, and as said at [`Call`].
    pub fn gather(&self, gather: impl std::borrow::Borrow<Gather>) -> Result<Digits, Error> {
        Ok(self.inner.gather(gather.borrow().options())?.into())
    }

    /// Takes up to `max_digits` keys (1 to 64) for at most `timeout`, also those that were pressed before and not yet
    /// taken; `#` ends the input. That no key came in time is not an error: see [`Digits::timed_out`].
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when `max_digits` is out of range, and as said at [`Call`].
    pub fn listen_dtmf(&self, max_digits: u32, timeout: Duration) -> Result<Digits, Error> {
        Ok(self.inner.listen_dtmf(max_digits, to_ms(timeout))?.into())
    }

    /// Sends keys to the other side: `0` to `9`, `*`, `#`, `A` to `D`, and `w` for a pause of half a second; at most 64.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when there is something else among them, and as said at [`Call`].
    pub fn send_dtmf(&self, digits: &str) -> Result<(), Error> {
        Ok(self.inner.send_dtmf(digits)?)
    }

    /// Opens the call's audio at 8,000, 16,000, 24,000 or 48,000 Hz. One stream a call at a time; the call must have
    /// been answered.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] at another rate, and as said at [`Call`].
    pub fn open_audio(&self, rate_hz: u32) -> Result<Audio, Error> {
        Ok(Audio::new(self.inner.open_audio(AudioFormat { rate_hz })?))
    }

    /// The next event, in order; `None` when none came in time. At most 256 wait to be read: of more, the oldest go.
    ///
    /// # Errors
    /// [`Error::HungUp`] when the last event has been read.
    pub fn next_event(&self, timeout: Duration) -> Result<Option<Event>, Error> {
        match self.inner.next_event(to_ms(timeout)).map_err(Error::from) {
            Ok(event) => Ok(Some(event.into())),
            Err(Error::Timeout) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The events, each as it comes, until the call has ended.
    pub fn events(&self) -> Events<'_> {
        Events::new(self)
    }

    /// Ready when [`Call::next_event`] would not wait.
    pub fn pollable(&self) -> Pollable<'_> {
        Pollable::new(readiness::event_pollable(&self.inner))
    }
}
