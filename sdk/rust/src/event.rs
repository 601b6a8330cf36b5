//! What happens on a call.

use std::time::Duration;

use crate::bindings::handler::voxtra::call::types::{
    Dtmf as ContractDtmf, Event as ContractEvent, PlayOutcome as ContractOutcome,
};
use crate::time::from_ms;
use crate::{AnsweredBy, Call, EndReason, Error, PlayOutcome, Recorded};

/// How long one request for the next event waits before it is repeated; only so that no wait is without a limit.
const EVENT_WAIT: Duration = Duration::from_secs(60);

/// A key of the telephone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dtmf {
    /// `0` to `9`, `*`, `#`, `A` to `D`.
    pub digit: char,
    /// How long it was held; zero when the network does not say.
    pub held: Duration,
}

/// Something that happened on the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The other side rings: of calls that were placed by [`Call::originate`].
    Ringing,
    /// The call was answered.
    Answered,
    /// A key was pressed. [`Call::listen_dtmf`] and [`Call::gather`] see the same key: reading it here does not take it
    /// from them.
    Dtmf(Dtmf),
    /// Audio flows both ways from now on.
    MediaStarted,
    /// Audio has stopped.
    MediaStopped,
    /// What [`Call::start_playback`] began is over. An error is a sentence.
    PlaybackFinished {
        /// [`Playback::id`](crate::Playback::id).
        id: String,
        /// How it ended.
        outcome: Result<PlayOutcome, String>,
    },
    /// A recording has ended: it was stopped, reached a limit of its own, or the call has ended.
    RecordingFinished(Recorded),
    /// A recording failed, such as on a full disk; the call goes on.
    RecordingFailed {
        /// [`Recording::id`](crate::Recording::id).
        id: String,
        /// A sentence.
        reason: String,
    },
    /// [`Call::detect_machine`] has found out who answered.
    AnsweredBy(AnsweredBy),
    /// A new version of this handler waits to take the call over: return, and it goes on there. Only handlers with
    /// [`upgrade!`](crate::upgrade!) are told.
    UpgradeReady,
    /// The call is over; the last event.
    Ended(EndReason),
}

impl From<ContractEvent> for Event {
    fn from(event: ContractEvent) -> Self {
        match event {
            ContractEvent::Ringing => Self::Ringing,
            ContractEvent::Answered => Self::Answered,
            ContractEvent::Dtmf(dtmf) => Self::Dtmf(dtmf.into()),
            ContractEvent::MediaStarted => Self::MediaStarted,
            ContractEvent::MediaStopped => Self::MediaStopped,
            ContractEvent::PlaybackFinished(end) => {
                Self::PlaybackFinished { id: end.id, outcome: end.outcome.map(PlayOutcome::from) }
            }
            ContractEvent::RecordingFinished(recording) => Self::RecordingFinished(recording.into()),
            ContractEvent::RecordingFailed(failure) => Self::RecordingFailed { id: failure.id, reason: failure.reason },
            ContractEvent::AnsweredBy(who) => Self::AnsweredBy(who),
            ContractEvent::UpgradeReady => Self::UpgradeReady,
            ContractEvent::Ended(reason) => Self::Ended(reason),
        }
    }
}

impl From<ContractOutcome> for PlayOutcome {
    fn from(outcome: ContractOutcome) -> Self {
        match outcome {
            ContractOutcome::Finished => Self::Finished,
            ContractOutcome::Interrupted(pressed) => Self::Interrupted(key(&pressed)),
            ContractOutcome::Stopped => Self::Stopped,
        }
    }
}

impl From<ContractDtmf> for Dtmf {
    fn from(dtmf: ContractDtmf) -> Self {
        Self { digit: key(&dtmf.digit), held: from_ms(dtmf.duration_ms) }
    }
}

/// The contract's keys are texts of one character, since not every language has characters.
pub(crate) fn key(text: &str) -> char {
    text.chars().next().unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The events of a call, each as it comes; made by [`Call::events`]. After [`Event::Ended`] there is none.
#[derive(Debug)]
pub struct Events<'call> {
    call: &'call Call,
    over: bool,
}

impl<'call> Events<'call> {
    pub(crate) fn new(call: &'call Call) -> Self {
        Self { call, over: false }
    }
}

impl Iterator for Events<'_> {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.over {
            match self.call.next_event(EVENT_WAIT) {
                Ok(None) => {}
                Ok(Some(event)) => {
                    self.over = matches!(event, Event::Ended(_));
                    return Some(Ok(event));
                }
                Err(Error::HungUp) => self.over = true,
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::handler::voxtra::call::types::PlaybackEnd;

    #[test]
    fn a_key_is_a_character_and_how_long_it_was_held() {
        let event = ContractEvent::Dtmf(ContractDtmf { digit: "#".to_owned(), duration_ms: 120 });
        assert_eq!(Event::from(event), Event::Dtmf(Dtmf { digit: '#', held: Duration::from_millis(120) }));
    }

    #[test]
    fn a_playing_that_failed_says_why() {
        let end = PlaybackEnd { id: "p1".to_owned(), outcome: Err("no such sound".to_owned()) };
        let event = Event::from(ContractEvent::PlaybackFinished(end));
        assert_eq!(event, Event::PlaybackFinished { id: "p1".to_owned(), outcome: Err("no such sound".to_owned()) });
    }

    #[test]
    fn an_empty_key_does_no_harm() {
        assert_eq!(key(""), char::REPLACEMENT_CHARACTER);
    }
}
