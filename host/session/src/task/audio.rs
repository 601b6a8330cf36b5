//! The call's open audio: at most one at a time, the handler's or the host's own for its prompts.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use serde_json::json;
use tokio::time::timeout;
use voxtra_core::verbs::HandlerEvent;
use voxtra_core::{CallError, EventType, MediaLink};

use super::{CallTask, Done, LEG_VERB_LIMIT, leg_verb};
use crate::call::Reply;

/// Somebody who waits for audio at a rate.
type Waiting = Option<(u32, Reply<MediaLink>)>;

/// Where the audio stands.
#[derive(Default)]
pub(super) enum Audio {
    #[default]
    Closed,
    Opening,
    /// The handler's; the host's prompts may play on it too.
    Open(MediaLink),
    /// Being opened for the host's prompts; the handler may wait for it.
    OwnOpening(Waiting),
    /// Open for the host's prompts alone.
    Own(MediaLink),
    /// Being closed; the handler may wait to open it again.
    Closing(Waiting),
}

impl Audio {
    /// Whether it is open and its link is gone: word of that may come later than to who reads from it. Frames that
    /// nobody has read are lost by asking.
    pub(super) fn has_broken(&self) -> bool {
        /// More than the link keeps.
        const FRAMES_MAX: usize = 64;
        let Self::Open(link) = self else { return false };
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..FRAMES_MAX {
            match link.source.poll_frame(&mut cx) {
                Poll::Ready(Some(_)) => {}
                Poll::Ready(None) => return true,
                Poll::Pending => return false,
            }
        }
        false
    }
}

impl CallTask {
    pub(super) fn open_audio(&mut self, rate_hz: u32, reply: Reply<MediaLink>) {
        if !self.shared.is_answered() {
            let why = "the call is not answered, so it has no audio yet; answer it first".to_owned();
            let _ = reply.send(Err(CallError::InvalidArgument(why)));
            return;
        }
        match &mut self.audio {
            Audio::Closed => {
                self.audio = Audio::Opening;
                let leg = Arc::clone(&self.leg);
                self.work.spawn(async move { Done::AudioOpened(leg_verb(leg.open_media(rate_hz)).await, reply) });
            }
            Audio::Closing(next @ None) | Audio::OwnOpening(next @ None) => *next = Some((rate_hz, reply)),
            Audio::Own(link) if link.rate_hz == rate_hz => {
                let link = link.clone();
                self.audio_opened(Ok(link), reply);
            }
            Audio::Own(_) if self.own_playing == 0 => {
                self.close_at_leg();
                self.audio = Audio::Closing(Some((rate_hz, reply)));
            }
            Audio::Own(link) => {
                let why = format!(
                    "a prompt of the host's plays at {} Hz, and a call has one audio at a time; open it at that rate, or wait for the prompt's end",
                    link.rate_hz
                );
                let _ = reply.send(Err(CallError::LimitExceeded(why)));
            }
            Audio::Opening | Audio::Open(_) | Audio::OwnOpening(Some(_)) | Audio::Closing(Some(_)) => {
                let why =
                    "the call's audio is open already, and there is one at a time; drop that stream first".to_owned();
                let _ = reply.send(Err(CallError::LimitExceeded(why)));
            }
        }
    }

    pub(super) fn audio_opened(&mut self, result: Result<MediaLink, CallError>, reply: Reply<MediaLink>) {
        if matches!(self.audio, Audio::Closing(_)) {
            return self.audio_opened_too_late(&result, reply);
        }
        let link = match result {
            Ok(link) => link,
            Err(error) => {
                self.audio = Audio::Closed;
                let _ = reply.send(Err(error));
                return self.serve_waiting_prompts();
            }
        };
        self.audio = Audio::Open(link.clone());
        if !std::mem::replace(&mut self.audio_told, true) {
            self.life.emit(EventType::MediaStarted, json!({"rate_hz": link.rate_hz}));
        }
        self.tell_handler(HandlerEvent::MediaStarted);
        if reply.send(Ok(link)).is_err() {
            self.close_audio();
        }
        self.serve_waiting_prompts();
    }

    /// It was taken away before it was open: see [`CallTask::take_audio_away`].
    fn audio_opened_too_late(&mut self, result: &Result<MediaLink, CallError>, reply: Reply<MediaLink>) {
        let _ = reply.send(Err(CallError::HungUp));
        if result.is_err() {
            return self.audio_closed();
        }
        let waiting = std::mem::take(&mut self.audio);
        self.close_at_leg();
        self.audio = waiting;
    }

    /// Closes the audio of a handler that has the call no more, now or as soon as it is open.
    pub(super) fn take_audio_away(&mut self) {
        match &mut self.audio {
            Audio::Opening => self.audio = Audio::Closing(None),
            Audio::OwnOpening(waiting) | Audio::Closing(waiting) => {
                if let Some((_, reply)) = waiting.take() {
                    let _ = reply.send(Err(CallError::HungUp));
                }
            }
            Audio::Closed | Audio::Open(_) | Audio::Own(_) => self.close_audio(),
        }
    }

    /// Closes the handler's audio if it is open; prompts of the host's that play on it go on.
    pub(super) fn close_audio(&mut self) {
        if !self.audio_stops() {
            return;
        }
        if self.own_playing > 0
            && let Audio::Open(link) = std::mem::take(&mut self.audio)
        {
            self.audio = Audio::Own(link);
            return;
        }
        self.close_at_leg();
    }

    /// The handler's audio stays open for its next version: audio flows on, and no word of it is said.
    pub(super) fn keep_audio_open(&mut self) {
        self.audio = match std::mem::take(&mut self.audio) {
            Audio::Open(link) => Audio::Own(link),
            other => other,
        };
    }

    /// Closes what is open, whoever has it.
    pub(super) fn close_at_leg(&mut self) {
        self.tell_audio_stopped();
        self.audio = Audio::Closing(None);
        let leg = Arc::clone(&self.leg);
        self.work.spawn(async move {
            // One that hangs must not keep the audio from being opened again.
            let _ = timeout(LEG_VERB_LIMIT, leg.close_media()).await;
            Done::AudioClosed
        });
    }

    pub(super) fn audio_closed(&mut self) {
        if let Audio::Closing(next) = std::mem::take(&mut self.audio)
            && let Some((rate_hz, reply)) = next
        {
            self.open_audio(rate_hz, reply);
        }
        self.serve_waiting_prompts();
    }

    /// The leg has lost its audio, or the handler's has broken; whether that ends the call.
    pub(super) fn audio_lost(&mut self) -> bool {
        let handlers = matches!(self.audio, Audio::Opening | Audio::Open(_));
        if handlers && self.handing_on.is_none() {
            return true;
        }
        // Who takes the call needs no audio of ours; and a prompt of the host's that cannot go on says so itself.
        self.audio_ends();
        if matches!(self.audio, Audio::Open(_) | Audio::Own(_)) {
            self.audio = Audio::Closed;
        }
        false
    }

    /// Says that the audio has stopped, whoever had it.
    pub(super) fn audio_ends(&mut self) {
        if !self.audio_stops() {
            self.tell_audio_stopped();
        }
    }

    /// Says that the handler's open audio has stopped; false when none is open.
    fn audio_stops(&mut self) -> bool {
        if !matches!(self.audio, Audio::Open(_)) {
            return false;
        }
        self.tell_audio_stopped();
        self.tell_handler(HandlerEvent::MediaStopped);
        true
    }

    /// Once for each time that its beginning was told. Between two versions of the handler nobody has it, and it flows.
    fn tell_audio_stopped(&mut self) {
        let (Audio::Open(link) | Audio::Own(link)) = &self.audio else { return };
        if std::mem::take(&mut self.audio_told) {
            self.life.emit(EventType::MediaStopped, json!({"dropped_frames": link.source.dropped_frames()}));
        }
    }
}
