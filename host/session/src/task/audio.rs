//! The call's open audio: at most one at a time.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use serde_json::json;
use tokio::time::timeout;
use voxtra_core::verbs::HandlerEvent;
use voxtra_core::{AudioSource, CallError, EventType, MediaLink};

use super::{CallTask, Done, LEG_VERB_LIMIT, leg_verb};
use crate::call::Reply;

/// Where the audio stands.
#[derive(Default)]
pub(super) enum Audio {
    #[default]
    Closed,
    Opening,
    Open(Arc<dyn AudioSource>),
    /// Being closed; somebody may wait to open it again.
    Closing(Option<(u32, Reply<MediaLink>)>),
}

impl Audio {
    /// Whether losing it would matter.
    pub(super) fn is_in_use(&self) -> bool {
        matches!(self, Self::Opening | Self::Open(_))
    }

    /// Whether it is open and its link is gone: word of that may come later than to who reads from it. Frames that
    /// nobody has read are lost by asking.
    pub(super) fn has_broken(&self) -> bool {
        /// More than the link keeps.
        const FRAMES_MAX: usize = 64;
        let Self::Open(source) = self else { return false };
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..FRAMES_MAX {
            match source.poll_frame(&mut cx) {
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
            Audio::Closing(next @ None) => *next = Some((rate_hz, reply)),
            Audio::Opening | Audio::Open(_) | Audio::Closing(Some(_)) => {
                let why =
                    "the call's audio is open already, and there is one at a time; drop that stream first".to_owned();
                let _ = reply.send(Err(CallError::LimitExceeded(why)));
            }
        }
    }

    pub(super) fn audio_opened(&mut self, result: Result<MediaLink, CallError>, reply: Reply<MediaLink>) {
        let link = match result {
            Ok(link) => link,
            Err(error) => {
                self.audio = Audio::Closed;
                let _ = reply.send(Err(error));
                return;
            }
        };
        self.audio = Audio::Open(Arc::clone(&link.source));
        self.life.emit(EventType::MediaStarted, json!({"rate_hz": link.rate_hz}));
        self.tell_handler(HandlerEvent::MediaStarted);
        if reply.send(Ok(link)).is_err() {
            self.close_audio();
        }
    }

    /// Closes it if it is open.
    pub(super) fn close_audio(&mut self) {
        if !self.audio_stops() {
            return;
        }
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
    }

    /// Says that open audio has stopped; false when none is open.
    pub(super) fn audio_stops(&mut self) -> bool {
        let Audio::Open(source) = &self.audio else { return false };
        self.life.emit(EventType::MediaStopped, json!({"dropped_frames": source.dropped_frames()}));
        self.tell_handler(HandlerEvent::MediaStopped);
        true
    }
}
