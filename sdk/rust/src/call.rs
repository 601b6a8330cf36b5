//! The call that a handler was given.

use std::time::{Duration, Instant};

use crate::bindings::handler::voxtra::call::call_session::{self, AudioFormat, PlayOptions};
use crate::bindings::handler::voxtra::call::readiness;
use crate::poll::Pollable;
use crate::time::{from_ms, to_ms};
use crate::{
    AnsweredBy, Audio, Bridge, CallInfo, CallState, DialplanPlace, Digits, Error, Event, Events, Gather, HangupCause,
    IntoPrompts, MachineDetector, Originate, Playback, RecordOptions, Recording, Sides, Snoop,
};

/// How a prompt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlayOutcome {
    /// It was played to its end.
    Finished,
    /// The caller pressed this key. It stays for [`Call::gather`] and [`Call::listen_dtmf`].
    Interrupted(char),
    /// It was stopped.
    Stopped,
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

    pub(crate) fn inner(&self) -> &call_session::Call {
        &self.inner
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

    /// Which notes go into the call's webhooks from now on: at first none. Replaces an earlier choice.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when a key is not one.
    pub fn share_metadata(&self, keys: &[&str]) -> Result<(), Error> {
        let keys: Vec<String> = keys.iter().map(|&key| key.to_owned()).collect();
        Ok(self.inner.metadata_share(&keys)?)
    }

    /// Answers. An answered call stays as it is.
    ///
    /// # Errors
    /// As said at [`Call`].
    pub fn answer(&self) -> Result<(), Error> {
        Ok(self.inner.answer()?)
    }

    /// Lets the caller hear that it rings. Nothing happens on an answered call.
    ///
    /// # Errors
    /// As said at [`Call`].
    pub fn ring(&self) -> Result<(), Error> {
        Ok(self.inner.ring()?)
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

    /// Puts the call on hold: the other side hears the PBX's own music.
    ///
    /// # Errors
    /// As said at [`Call`].
    pub fn hold(&self) -> Result<(), Error> {
        self.hold_with("")
    }

    /// Puts the call on hold with music of one of the PBX's classes.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when it is not the name of a class, and as said at [`Call`].
    pub fn hold_with(&self, music_class: &str) -> Result<(), Error> {
        Ok(self.inner.hold(music_class)?)
    }

    /// Takes the call back. Nothing happens on a call that is not on hold.
    ///
    /// # Errors
    /// As said at [`Call`].
    pub fn unhold(&self) -> Result<(), Error> {
        Ok(self.inner.unhold()?)
    }

    /// Hands the call to an extension (`100`, `100@context`) or an endpoint (`PJSIP/100`) and gives it up: a blind
    /// transfer. What is asked of the call after it fails with [`Error::HungUp`].
    ///
    /// # Errors
    /// [`Error::Denied`] when the tenant may not call there, and as said at [`Call`]; the call is then still ours.
    pub fn transfer_to(&self, target: &str) -> Result<(), Error> {
        Ok(self.inner.transfer_to(target)?)
    }

    /// Hands the call to a queue of the PBX and gives it up. Each note, `("account", "7")` say, becomes a variable there,
    /// `VOXTRA_ACCOUNT`.
    ///
    /// # Errors
    /// [`Error::Telephony`] when there is no such queue, and as said at [`Call`]; the call is then still ours.
    pub fn transfer_to_queue(&self, queue: &str, metadata: &[(&str, &str)]) -> Result<(), Error> {
        Ok(self.inner.transfer_to_queue(queue, &owned(metadata))?)
    }

    /// Lets the call go on in the PBX's dialplan and gives it up. [`DialplanPlace::default`] is where it came from.
    ///
    /// # Errors
    /// [`Error::Telephony`] when there is no such place, and as said at [`Call`]; the call is then still ours.
    pub fn continue_in_dialplan(&self, place: &DialplanPlace) -> Result<(), Error> {
        Ok(self.inner.continue_in_dialplan(&place.to_contract())?)
    }

    /// Sets a variable of the call at the PBX: a name of letters, digits and `_`, at most 64 bytes.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when it is not one, [`Error::Denied`] when the PBX would act on it by itself, and as
    /// said at [`Call`].
    pub fn set_variable(&self, name: &str, value: &str) -> Result<(), Error> {
        Ok(self.inner.set_variable(name, value)?)
    }

    /// Reads a variable of the call at the PBX; `None` when it is not set.
    ///
    /// # Errors
    /// As [`Call::set_variable`].
    pub fn variable(&self, name: &str) -> Result<Option<String>, Error> {
        Ok(self.inner.get_variable(name)?)
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
        Ok(self.inner.play(&prompts.into_prompts(), &options)?.into())
    }

    /// Begins to play prompts and does not wait for their end. Dropping what it returns does not stop them.
    ///
    /// ```no_run
    /// use voxtra_sdk::prelude::*;
    ///
    /// fn look_up_with_music(call: &Call) -> Result<()> {
    ///     let music = call.start_playback("sound:pls-hold-while-try")?;
    ///     let account = voxtra_sdk::store::get("account")?;
    ///     music.stop()?;
    ///     call.play(if account.is_some() { "sound:auth-thankyou" } else { "sound:sorry" })?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`Call::play`].
    pub fn start_playback(&self, prompts: impl IntoPrompts) -> Result<Playback, Error> {
        Ok(Playback::new(self.inner.start_playback(&prompts.into_prompts())?))
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

    /// Begins to record. One recording a call at a time; it ends with the call at the latest.
    ///
    /// ```no_run
    /// use voxtra_sdk::prelude::*;
    ///
    /// fn take_a_message(call: &Call) -> Result<()> {
    ///     let message = call.record(RecordOptions::new().beep().max_duration(Duration::from_secs(60)))?;
    ///     call.listen_dtmf(1, Duration::from_secs(60))?;
    ///     let message = message.stop()?;
    ///     log::info!("{:?} of message {}", message.duration, message.name);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the name is not one, [`Error::NotConfigured`] when there is no such sink, and as
    /// said at [`Call`].
    pub fn record(&self, options: impl std::borrow::Borrow<RecordOptions>) -> Result<Recording<'_>, Error> {
        let id = self.inner.record_start(options.borrow().options())?;
        Ok(Recording::new(self, id))
    }

    /// Places a call of the handler's own. Returns when the PBX has accepted it, before anybody answers:
    /// [`Call::wait_for_answer`] waits for that. It is hung up when this handler ends.
    ///
    /// ```no_run
    /// use voxtra_sdk::prelude::*;
    ///
    /// fn agent(call: &Call) -> Result<Option<Call>> {
    ///     let agent = call.originate(Originate::to("PJSIP/100").metadata("for", call.id()))?;
    ///     Ok(agent.wait_for_answer(Duration::from_secs(20))?.then_some(agent))
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::Denied`] when the tenant may not call there, and as said at [`Call`].
    pub fn originate(&self, call: impl std::borrow::Borrow<Originate>) -> Result<Call, Error> {
        Ok(Self::new(self.inner.originate(call.borrow().options())?))
    }

    /// Waits until a call that was placed is answered, and says whether it was. `false`: it is over, because it was busy
    /// for instance, or `timeout` has passed and it still rings. Events before the answer are taken.
    ///
    /// # Errors
    /// As said at [`Call`], but for [`Error::HungUp`].
    pub fn wait_for_answer(&self, timeout: Duration) -> Result<bool, Error> {
        let began = Instant::now();
        loop {
            if self.state() != CallState::Ringing {
                return Ok(self.is_up());
            }
            match self.next_event(timeout.saturating_sub(began.elapsed())) {
                Ok(Some(Event::Answered)) => return Ok(true),
                Ok(None) | Ok(Some(Event::Ended(_))) | Err(Error::HungUp) => return Ok(self.is_up()),
                Ok(Some(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn is_up(&self) -> bool {
        matches!(self.state(), CallState::InProgress | CallState::OnHold)
    }

    /// Makes a bridge at the PBX: who is in it hears the others. Dropping it takes it down.
    ///
    /// ```no_run
    /// use voxtra_sdk::prelude::*;
    ///
    /// fn connect(call: &Call, agent: &Call) -> Result<()> {
    ///     let bridge = call.create_bridge()?;
    ///     bridge.add(call)?;
    ///     bridge.add(agent)?;
    ///     for event in call.events() {
    ///         log::debug!("{:?}", event?);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// As said at [`Call`].
    pub fn create_bridge(&self) -> Result<Bridge, Error> {
        Ok(Bridge::new(self.inner.create_bridge()?))
    }

    /// Listens to the call without being part of it, and speaks into it. `spy` is what is listened to, `whisper` who
    /// hears what is said: [`Sides::Out`] is this call, [`Sides::In`] those that it speaks with. Dropping it takes it
    /// away.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when both are [`Sides::None`], and as said at [`Call`].
    pub fn snoop(&self, spy: Sides, whisper: Sides) -> Result<Snoop, Error> {
        Ok(Snoop::new(self.inner.snoop(call_session::SnoopOptions { spy, whisper })?))
    }

    /// Finds out whether a person or a machine has answered. Takes a few seconds of the call's beginning.
    ///
    /// # Errors
    /// [`Error::NotConfigured`] when the PBX cannot do it, and as said at [`Call`].
    pub fn detect_machine(&self, detector: MachineDetector) -> Result<AnsweredBy, Error> {
        Ok(self.inner.detect_machine(detector)?)
    }

    /// Sends an event of the handler's own out of the host, as `custom`: a name of letters, digits, `-`, `_` and `.`, at
    /// most 64, and a JSON object of at most 16,384 bytes.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the name or the object is not one.
    pub fn emit(&self, name: &str, data_json: &str) -> Result<(), Error> {
        Ok(self.inner.emit(name, data_json)?)
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

/// Pairs as the contract has them.
pub(crate) fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}
