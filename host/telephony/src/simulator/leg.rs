//! The host's handle on a simulated call: each verb is a message to the line's task, which alone changes anything.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use voxtra_core::media::{LINK_RATES_HZ, MediaLink};
use voxtra_core::telephony::PbxRecording;
use voxtra_core::verbs::{AnsweredBy, DTMF_DIGITS, DialplanPlace, MAX_DIGITS, Sides, SnoopOptions};
use voxtra_core::{BoxFuture, BridgeId, CallError, CallId, HangupCause, Leg, PlaybackId, RecordingId, Snoop, SnoopId};

use super::ear::{Heard, MAX_MEDIA};
use super::mixer::Mixer;
use super::snoop::{SimulatedSnoop, SnoopVerb};

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
    Ring(Reply<()>),
    Hold(String, Reply<()>),
    Unhold(Reply<()>),
    SetVariable(String, String, Reply<()>),
    GetVariable(String, Reply<Option<String>>),
    Play(PlaybackId, Vec<String>, Reply<()>),
    StopPlayback(PlaybackId, Reply<()>),
    SendDigits(String, Reply<()>),
    Transfer(String, Reply<()>),
    TransferToQueue(String, Vec<(String, String)>, Reply<()>),
    Continue(DialplanPlace, Reply<()>),
    StartRecording(PbxRecording, Reply<()>),
    PauseRecording(RecordingId, bool, Reply<()>),
    StopRecording(RecordingId, Reply<()>),
    /// The snoop goes when nobody has it any more.
    StartSnoop(SnoopId, SnoopOptions, Weak<()>, Reply<()>),
    Snoop(SnoopId, SnoopVerb),
    DetectMachine(Reply<AnsweredBy>),
    JoinBridge(Arc<Mixer>, Reply<()>),
    LeaveBridge(BridgeId, Reply<()>),
    /// What is played to all in the bridge.
    BridgePrompt(Heard),
    OpenMedia(u32, Reply<MediaLink>),
    CloseMedia(Reply<()>),
    End(HangupCause, Reply<()>),
}

/// The leg that the switchboard gets.
pub(super) struct SimulatedLeg {
    line: mpsc::Sender<Verb>,
    call: CallId,
    snoops: AtomicU64,
}

/// Asks a line for something.
pub(super) async fn ask<T>(line: &mpsc::Sender<Verb>, verb: impl FnOnce(Reply<T>) -> Verb) -> Result<T, CallError> {
    ask_within(VERB_LIMIT, line, verb).await
}

pub(super) async fn ask_within<T>(
    limit: Duration,
    line: &mpsc::Sender<Verb>,
    verb: impl FnOnce(Reply<T>) -> Verb,
) -> Result<T, CallError> {
    let (reply, outcome) = oneshot::channel();
    let asked = async {
        // The line takes no more verbs, or drops one that waits, only once the call is over.
        line.send(verb(reply)).await.map_err(|_| CallError::HungUp)?;
        outcome.await.map_err(|_| CallError::HungUp)?
    };
    tokio::time::timeout(limit, asked).await.unwrap_or(Err(CallError::Timeout))
}

impl SimulatedLeg {
    pub(super) fn new(line: mpsc::Sender<Verb>, call: CallId) -> Self {
        Self { line, call, snoops: AtomicU64::new(0) }
    }

    async fn ask<T>(&self, verb: impl FnOnce(Reply<T>) -> Verb) -> Result<T, CallError> {
        ask(&self.line, verb).await
    }
}

impl Leg for SimulatedLeg {
    fn answer(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(self.ask(Verb::Answer))
    }

    fn ring(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(self.ask(Verb::Ring))
    }

    fn hold<'a>(&'a self, music_class: &'a str) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(self.ask(|reply| Verb::Hold(music_class.to_owned(), reply)))
    }

    fn unhold(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(self.ask(Verb::Unhold))
    }

    fn set_variable<'a>(&'a self, name: &'a str, value: &'a str) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(self.ask(|reply| Verb::SetVariable(name.to_owned(), value.to_owned(), reply)))
    }

    fn get_variable<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<String>, CallError>> {
        Box::pin(self.ask(|reply| Verb::GetVariable(name.to_owned(), reply)))
    }

    fn play<'a>(&'a self, id: &'a PlaybackId, media: &'a [String]) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            check_media(media)?;
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
            check_target(target, "a transfer needs a target", "an extension")?;
            self.ask(|reply| Verb::Transfer(target.to_owned(), reply)).await
        })
    }

    fn transfer_to_queue<'a>(
        &'a self,
        queue: &'a str,
        variables: &'a [(String, String)],
    ) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            check_target(queue, "a queue has a name", "`support`")?;
            self.ask(|reply| Verb::TransferToQueue(queue.to_owned(), variables.to_vec(), reply)).await
        })
    }

    fn continue_in_dialplan<'a>(&'a self, place: &'a DialplanPlace) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(self.ask(|reply| Verb::Continue(place.clone(), reply)))
    }

    fn start_recording<'a>(&'a self, recording: &'a PbxRecording) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(self.ask(|reply| Verb::StartRecording(recording.clone(), reply)))
    }

    fn pause_recording<'a>(&'a self, id: &'a RecordingId, paused: bool) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(self.ask(move |reply| Verb::PauseRecording(id.clone(), paused, reply)))
    }

    fn stop_recording<'a>(&'a self, id: &'a RecordingId) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(self.ask(|reply| Verb::StopRecording(id.clone(), reply)))
    }

    fn snoop(&self, options: SnoopOptions) -> BoxFuture<'_, Result<Arc<dyn Snoop>, CallError>> {
        Box::pin(async move {
            if options.spy == Sides::None && options.whisper == Sides::None {
                return Err(CallError::InvalidArgument(
                    "a snoop that neither listens nor speaks is of no use; set spy or whisper".to_owned(),
                ));
            }
            let id = SnoopId::from(format!("{}-snoop-{}", self.call, self.snoops.fetch_add(1, Ordering::Relaxed) + 1));
            let snoop = SimulatedSnoop::new(id.clone(), self.line.clone());
            let held = snoop.held();
            self.ask(|reply| Verb::StartSnoop(id, options, held, reply)).await?;
            Ok(Arc::new(snoop) as Arc<dyn Snoop>)
        })
    }

    fn detect_machine(&self) -> BoxFuture<'_, Result<AnsweredBy, CallError>> {
        Box::pin(self.ask(Verb::DetectMachine))
    }

    fn open_media(&self, rate_hz: u32) -> BoxFuture<'_, Result<MediaLink, CallError>> {
        Box::pin(async move {
            check_rate(rate_hz)?;
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

pub(super) fn check_media(media: &[String]) -> Result<(), CallError> {
    if media.len() > MAX_MEDIA {
        return Err(CallError::LimitExceeded(format!(
            "a list of {} prompts is too long; play at most {MAX_MEDIA} at once",
            media.len()
        )));
    }
    Ok(())
}

pub(super) fn check_rate(rate_hz: u32) -> Result<(), CallError> {
    if !LINK_RATES_HZ.contains(&rate_hz) {
        return Err(CallError::InvalidArgument(format!(
            "audio cannot be opened at {rate_hz} Hz; use 8000, 16000, 24000 or 48000"
        )));
    }
    Ok(())
}

fn check_target(target: &str, what: &str, example: &str) -> Result<(), CallError> {
    if target.is_empty() || target.len() > MAX_TARGET_BYTES {
        return Err(CallError::InvalidArgument(format!("{what} of 1 to {MAX_TARGET_BYTES} bytes, such as {example}")));
    }
    Ok(())
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
