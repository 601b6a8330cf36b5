//! The host's handle on a simulated call: each verb is a message to the line's task, which alone changes anything.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use voxtra_core::media::{LINK_RATES_HZ, MediaLink};
use voxtra_core::verbs::{DTMF_DIGITS, MAX_DIGITS};
use voxtra_core::{BoxFuture, CallError, HangupCause, Leg, PlaybackId};

use super::ear::MAX_MEDIA;

/// How long a verb may take. The line answers at once; this is for one that no longer runs.
const VERB_LIMIT: Duration = Duration::from_secs(5);

/// How many verbs may wait for the line.
pub(super) const WAITING_VERBS: usize = 64;

/// The longest target of a transfer, as Asterisk's longest extension or endpoint would be.
const MAX_TARGET_BYTES: usize = 256;

/// The way back of a verb's outcome.
pub(super) type Reply<T> = oneshot::Sender<Result<T, CallError>>;

/// A verb on its way to the line.
pub(super) enum Verb {
    Answer(Reply<()>),
    Play(PlaybackId, Vec<String>, Reply<()>),
    StopPlayback(PlaybackId, Reply<()>),
    SendDigits(String, Reply<()>),
    Transfer(String, Reply<()>),
    OpenMedia(u32, Reply<MediaLink>),
    CloseMedia(Reply<()>),
    End(HangupCause, Reply<()>),
}

/// The leg that the switchboard gets.
pub(super) struct SimulatedLeg {
    line: mpsc::Sender<Verb>,
}

impl SimulatedLeg {
    pub(super) fn new(line: mpsc::Sender<Verb>) -> Self {
        Self { line }
    }

    async fn ask<T>(&self, verb: impl FnOnce(Reply<T>) -> Verb) -> Result<T, CallError> {
        let (reply, outcome) = oneshot::channel();
        let asked = async {
            // The line takes no more verbs, or drops one that waits, only once the call is over.
            self.line.send(verb(reply)).await.map_err(|_| CallError::HungUp)?;
            outcome.await.map_err(|_| CallError::HungUp)?
        };
        tokio::time::timeout(VERB_LIMIT, asked).await.unwrap_or(Err(CallError::Timeout))
    }
}

impl Leg for SimulatedLeg {
    fn answer(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(self.ask(Verb::Answer))
    }

    fn play<'a>(&'a self, id: &'a PlaybackId, media: &'a [String]) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            if media.len() > MAX_MEDIA {
                return Err(CallError::LimitExceeded(format!(
                    "a list of {} prompts is too long; play at most {MAX_MEDIA} at once",
                    media.len()
                )));
            }
            self.ask(|reply| Verb::Play(id.clone(), media.to_vec(), reply)).await
        })
    }

    fn stop_playback<'a>(&'a self, id: &'a PlaybackId) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(self.ask(|reply| Verb::StopPlayback(id.clone(), reply)))
    }

    fn send_dtmf<'a>(&'a self, digits: &'a str) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            check_digits(digits)?;
            self.ask(|reply| Verb::SendDigits(digits.to_owned(), reply)).await
        })
    }

    fn transfer<'a>(&'a self, target: &'a str) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            if target.is_empty() || target.len() > MAX_TARGET_BYTES {
                return Err(CallError::InvalidArgument(format!(
                    "a transfer needs a target of 1 to {MAX_TARGET_BYTES} bytes, such as an extension"
                )));
            }
            self.ask(|reply| Verb::Transfer(target.to_owned(), reply)).await
        })
    }

    fn open_media(&self, rate_hz: u32) -> BoxFuture<'_, Result<MediaLink, CallError>> {
        Box::pin(async move {
            if !LINK_RATES_HZ.contains(&rate_hz) {
                return Err(CallError::InvalidArgument(format!(
                    "audio cannot be opened at {rate_hz} Hz; use 8000, 16000, 24000 or 48000"
                )));
            }
            self.ask(|reply| Verb::OpenMedia(rate_hz, reply)).await
        })
    }

    fn close_media(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // On a call that is over nothing is open.
            let _ = self.ask(Verb::CloseMedia).await;
        })
    }

    fn end(&self, cause: HangupCause) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            match self.ask(|reply| Verb::End(cause, reply)).await {
                Err(CallError::HungUp) => Ok(()),
                outcome => outcome,
            }
        })
    }
}

fn check_digits(digits: &str) -> Result<(), CallError> {
    if digits.chars().count() > MAX_DIGITS as usize {
        return Err(CallError::InvalidArgument(format!(
            "at most {MAX_DIGITS} keys can be sent at once; send them in parts"
        )));
    }
    let is_key = |c: &char| DTMF_DIGITS.contains(c.to_ascii_uppercase()) || c.eq_ignore_ascii_case(&'w');
    match digits.chars().find(|c| !is_key(c)) {
        Some(c) => Err(CallError::InvalidArgument(format!(
            "{c:?} is no key of a telephone; use `0` to `9`, `*`, `#`, `A` to `D`, and `w` for a pause"
        ))),
        None => Ok(()),
    }
}
