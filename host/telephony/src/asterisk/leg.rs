//! One call's leg: what is done to a channel of one of our applications.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use voxtra_ari::{AriError, ContinueTo, HangupReason, SendDtmf};
use voxtra_core::telephony::{LegEnd, PbxRecording, Snoop};
use voxtra_core::verbs::{AnsweredBy, DialplanPlace, SnoopOptions};
use voxtra_core::{BoxFuture, CallError, CallId, HangupCause, Leg, MediaLink, PlaybackId, RecordingId};

use super::app::{App, REFUSED_VARIABLE};
use super::error::to_call_error;
use super::leg_task::{Command, LegInbox, LegInput};
use super::line::AudioLine;
use super::media_leg::MediaSlot;
use super::recording::Recorder;
use super::{names, recording, snoop};

/// How long after a redirect a hang-up counts as its outcome: a far end that follows one does so at once, and hangs
/// its old call up when the new one stands.
const REDIRECT_COUNTS: Duration = Duration::from_secs(30);
/// How long a verb that the PBX refused because of the channel's state waits for the hang-up that is the likely reason.
const REFUSED_WAITS: Duration = Duration::from_millis(200);
/// Wait before a hang-up that failed is tried once more.
const HANGUP_RETRY_AFTER: Duration = Duration::from_millis(200);

/// What hanging up came to, once it is done.
pub(super) type EndOutcome = watch::Receiver<Option<Result<(), CallError>>>;

/// How a leg is being handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transfer {
    /// It goes on in the dialplan.
    Continue,
    /// The far end was told, by its own protocol, to call somebody else.
    Redirect,
}

/// What the host wants of a leg that it places.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    /// How long it may ring.
    pub(super) ring_timeout: Duration,
    /// Where it goes when it is answered; none: it stays.
    pub(super) into_dialplan: Option<DialplanPlace>,
}

/// What is known of a leg's channel from the start.
#[derive(Debug)]
pub(super) struct Seed {
    pub(super) channel: String,
    /// `PJSIP`, `Local`, …
    pub(super) technology: String,
    pub(super) answered: bool,
    pub(super) placed: Option<Placed>,
}

/// What a leg's verbs and its task share.
pub(super) struct LegShared {
    pub(super) channel: String,
    pub(super) call: CallId,
    /// `PJSIP`, `Local`, …
    pub(super) technology: String,
    pub(super) app: Arc<App>,
    pub(super) inbox: LegInbox,
    pub(super) answered: AtomicBool,
    /// How it ended, once it has.
    pub(super) ended: watch::Sender<Option<LegEnd>>,
    pub(super) line: Arc<AudioLine>,
    /// How it was placed, when the host did.
    pub(super) placed: Option<Placed>,
    /// How often it has entered our application.
    pub(super) entries: watch::Sender<u32>,
    pub(super) recorder: Recorder,
    transfer: Mutex<Option<(Transfer, Instant)>>,
    /// The one hanging-up, once somebody has asked for it.
    ending: Mutex<Option<EndOutcome>>,
    _place: OwnedSemaphorePermit,
}

impl LegShared {
    pub(super) fn new(seed: Seed, app: Arc<App>, inbox: LegInbox, place: OwnedSemaphorePermit) -> Self {
        let call = app.call_id(&seed.channel, seed.placed.is_some());
        let line = AudioLine::new(Arc::clone(&app), seed.channel.clone(), call.to_string(), Some(inbox.clone()));
        Self {
            channel: seed.channel,
            call,
            technology: seed.technology,
            app,
            inbox,
            answered: AtomicBool::new(seed.answered),
            ended: watch::Sender::new(None),
            line,
            placed: seed.placed,
            entries: watch::Sender::new(0),
            recorder: Recorder::default(),
            transfer: Mutex::new(None),
            ending: Mutex::new(None),
            _place: place,
        }
    }

    /// The transfer that is under way.
    pub(super) fn transfer(&self) -> Option<Transfer> {
        let transfer = *self.transfer.lock().unwrap_or_else(PoisonError::into_inner);
        match transfer? {
            (Transfer::Redirect, since) if since.elapsed() > REDIRECT_COUNTS => None,
            (kind, _) => Some(kind),
        }
    }

    pub(super) fn set_transfer(&self, transfer: Option<Transfer>) {
        let now = transfer.map(|kind| (kind, Instant::now()));
        *self.transfer.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    pub(super) fn is_over(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// A failed verb's error: that the call is over, when it is.
    pub(super) fn verb_error(&self, doing: &str, error: AriError) -> CallError {
        if self.is_over() { CallError::HungUp } else { to_call_error(doing, error) }
    }

    /// As [`LegShared::verb_error`]; a refusal because of the channel's state is often the first sign of a hang-up, so
    /// the sign proper is waited for.
    pub(super) async fn verb_failed(&self, doing: &str, error: AriError) -> CallError {
        if matches!(error, AriError::Conflict { .. }) {
            let mut ended = self.ended.subscribe();
            let _ = timeout(REFUSED_WAITS, ended.wait_for(Option::is_some)).await;
        }
        self.verb_error(doing, error)
    }

    pub(super) fn check_not_over(&self) -> Result<(), CallError> {
        if self.is_over() { Err(CallError::HungUp) } else { Ok(()) }
    }

    /// Hangs up once, on a task of its own, so that it is done whether or not anybody waits for it.
    fn begin_end(self: &Arc<Self>, cause: HangupCause, runtime: &Handle) -> EndOutcome {
        let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = ending.as_ref() {
            return outcome.clone();
        }
        let (done, outcome) = watch::channel(None);
        *ending = Some(outcome.clone());
        let shared = Arc::clone(self);
        runtime.spawn(async move {
            let result = shared.end_now(cause).await;
            if let Err(error) = &result {
                tracing::warn!(call = %shared.call, %error, "the call could not be hung up");
            }
            done.send_replace(Some(result));
            // After the outcome: from here on nothing is left.
            shared.inbox.post(LegInput::EndedByUs);
            shared.app.registry.remove_leg(&shared.channel);
        });
        outcome
    }

    async fn end_now(&self, cause: HangupCause) -> Result<(), CallError> {
        self.recorder.finish().await;
        self.line.slot.close_for_good().await;
        if self.transfer().is_some() {
            let mut ended = self.ended.subscribe();
            let _ = timeout(self.app.core.options.limits.transfer_grace, ended.wait_for(Option::is_some)).await;
        }
        let ended = self.ended.borrow().clone();
        let outcome = match ended {
            // It is somebody else's now.
            Some(LegEnd::Transferred) => return Ok(()),
            // Very likely in vain; what is left over is found when the PBX is back.
            Some(LegEnd::Failed(_)) => self.app.client.hangup(&self.channel, reason(cause)).await,
            _ => match self.app.client.hangup(&self.channel, reason(cause)).await {
                Err(error) if error.transient() => {
                    sleep(HANGUP_RETRY_AFTER).await;
                    self.app.client.hangup(&self.channel, reason(cause)).await
                }
                other => other,
            },
        };
        outcome.map_err(|e| to_call_error("hanging up", e))
    }

    /// Lets a leg that was refused go on behind `Stasis()`; one that cannot is hung up.
    pub(super) fn refuse_to_dialplan(self: &Arc<Self>, cause: HangupCause) {
        let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        if ending.is_some() {
            return;
        }
        let (done, outcome) = watch::channel(None);
        *ending = Some(outcome);
        let shared = Arc::clone(self);
        Handle::current().spawn(async move {
            let client = &shared.app.client;
            let went_on = match client.set_variable(&shared.channel, REFUSED_VARIABLE, cause_name(cause)).await {
                Ok(()) => client.continue_in_dialplan(&shared.channel, &ContinueTo::default()).await,
                Err(error) => Err(error),
            };
            let result = match went_on {
                Ok(()) => Ok(()),
                Err(error) => {
                    tracing::warn!(call = %shared.call, %error, "a refused call could not go on in the dialplan; it is hung up");
                    client.hangup(&shared.channel, reason(cause)).await.map_err(|e| to_call_error("hanging up", e))
                }
            };
            done.send_replace(Some(result));
        });
    }

    /// Forgets a leg that is not ours after all, without touching its channel.
    pub(super) fn abandon(self: &Arc<Self>) {
        let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        if ending.is_none() {
            let (_, outcome) = watch::channel(Some(Ok(())));
            *ending = Some(outcome);
        }
        self.inbox.post(LegInput::EndedByUs);
    }

    pub(super) fn is_answered(&self) -> bool {
        self.answered.load(Relaxed)
    }

    /// Ends a leg that nobody has: refused, or left over when the host stops.
    pub(super) fn dismiss(self: &Arc<Self>, cause: HangupCause) -> EndOutcome {
        self.begin_end(cause, &Handle::current())
    }
}

fn cause_name(cause: HangupCause) -> &'static str {
    match cause {
        HangupCause::Normal => "normal",
        HangupCause::Busy => "busy",
        HangupCause::NoAnswer => "no-answer",
        HangupCause::Rejected => "rejected",
        HangupCause::Congestion => "congestion",
    }
}

fn reason(cause: HangupCause) -> HangupReason {
    match cause {
        HangupCause::Normal => HangupReason::Normal,
        HangupCause::Busy => HangupReason::Busy,
        HangupCause::NoAnswer => HangupReason::NoAnswer,
        HangupCause::Rejected => HangupReason::Rejected,
        HangupCause::Congestion => HangupReason::Congestion,
    }
}

/// The leg as its owner has it. Dropped without having been ended, it hangs up.
pub(super) struct AsteriskLeg {
    pub(super) shared: Arc<LegShared>,
    commands: mpsc::Sender<Command>,
    runtime: Handle,
}

impl AsteriskLeg {
    /// To be called on the adapter's runtime.
    pub(super) fn new(shared: Arc<LegShared>, commands: mpsc::Sender<Command>) -> Self {
        Self { shared, commands, runtime: Handle::current() }
    }

    async fn ask(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<(), CallError>>) -> Command,
    ) -> Result<(), CallError> {
        let (reply, answer) = oneshot::channel();
        // The task is gone when the leg is over; it drops what it does not answer.
        self.commands.send(command(reply)).await.map_err(|_| CallError::HungUp)?;
        answer.await.unwrap_or(Err(CallError::HungUp))
    }

    async fn answer_now(&self) -> Result<(), CallError> {
        let shared = &self.shared;
        shared.check_not_over()?;
        if shared.answered.load(Relaxed) {
            return Ok(());
        }
        match shared.app.client.answer(&shared.channel).await {
            Ok(()) => {
                shared.inbox.post(LegInput::Answered);
                Ok(())
            }
            Err(error) => Err(shared.verb_failed("answering", error).await),
        }
    }

    async fn dtmf_now(&self, digits: &str) -> Result<(), CallError> {
        names::check_dtmf(digits)?;
        let shared = &self.shared;
        shared.check_not_over()?;
        let digits = SendDtmf { dtmf: digits.to_owned(), ..SendDtmf::default() };
        match shared.app.client.send_dtmf(&shared.channel, &digits).await {
            Ok(()) => Ok(()),
            Err(error) => Err(shared.verb_failed("sending keys", error).await),
        }
    }

    async fn ring_now(&self) -> Result<(), CallError> {
        let shared = &self.shared;
        shared.check_not_over()?;
        if shared.answered.load(Relaxed) {
            return Ok(());
        }
        match shared.app.client.ring(&shared.channel).await {
            Ok(()) => Ok(()),
            Err(error) => Err(shared.verb_failed("ringing", error).await),
        }
    }

    async fn hold_now(&self, music_class: &str) -> Result<(), CallError> {
        if !music_class.is_empty() && !names::dialplan_name(music_class) {
            return Err(CallError::InvalidArgument(
                "a class of music has letters, digits, -, _ and . only; give one of the PBX's, or none".to_owned(),
            ));
        }
        let shared = &self.shared;
        shared.check_not_over()?;
        let query = [("mohClass", music_class)];
        let query = if music_class.is_empty() { &[][..] } else { &query[..] };
        match shared.app.client.post(&["channels", &shared.channel, "moh"], query, None).await {
            Ok(_) => Ok(()),
            Err(error) => Err(shared.verb_failed("holding", error).await),
        }
    }

    async fn unhold_now(&self) -> Result<(), CallError> {
        let shared = &self.shared;
        shared.check_not_over()?;
        match shared.app.client.delete(&["channels", &shared.channel, "moh"], &[]).await {
            Ok(_) => Ok(()),
            Err(error) => Err(shared.verb_failed("taking it back", error).await),
        }
    }

    async fn set_variable_now(&self, name: &str, value: &str) -> Result<(), CallError> {
        names::check_variable(name, value)?;
        let shared = &self.shared;
        shared.check_not_over()?;
        match shared.app.client.set_variable(&shared.channel, name, value).await {
            Ok(()) => Ok(()),
            Err(error) => Err(shared.verb_failed("setting the variable", error).await),
        }
    }

    async fn get_variable_now(&self, name: &str) -> Result<Option<String>, CallError> {
        names::check_variable_name(name)?;
        let shared = &self.shared;
        shared.check_not_over()?;
        match shared.app.client.get_variable(&shared.channel, name).await {
            Ok(value) => Ok(value),
            Err(error) => Err(shared.verb_failed("reading the variable", error).await),
        }
    }
}

impl Leg for AsteriskLeg {
    fn answer(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(self.answer_now())
    }

    fn ring(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(self.ring_now())
    }

    fn hold<'a>(&'a self, music_class: &'a str) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(self.hold_now(music_class))
    }

    fn unhold(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(self.unhold_now())
    }

    fn set_variable<'a>(&'a self, name: &'a str, value: &'a str) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(self.set_variable_now(name, value))
    }

    fn get_variable<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<String>, CallError>> {
        Box::pin(self.get_variable_now(name))
    }

    fn transfer_to_queue<'a>(
        &'a self,
        queue: &'a str,
        variables: &'a [(String, String)],
    ) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(self.transfer_to_queue_now(queue, variables))
    }

    fn continue_in_dialplan<'a>(&'a self, place: &'a DialplanPlace) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(self.continue_now(place))
    }

    fn start_recording<'a>(&'a self, recording: &'a PbxRecording) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(recording::start(&self.shared, recording, &self.runtime))
    }

    fn pause_recording<'a>(&'a self, id: &'a RecordingId, paused: bool) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(recording::pause(&self.shared, id, paused))
    }

    fn stop_recording<'a>(&'a self, id: &'a RecordingId) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(recording::stop(&self.shared, id))
    }

    fn snoop(&self, options: SnoopOptions) -> BoxFuture<'_, Result<Arc<dyn Snoop>, CallError>> {
        Box::pin(async move {
            self.shared.check_not_over()?;
            snoop::start(&self.shared, options, &self.runtime).await
        })
    }

    fn detect_machine(&self) -> BoxFuture<'_, Result<AnsweredBy, CallError>> {
        Box::pin(self.detect_machine_now())
    }

    fn play<'a>(&'a self, id: &'a PlaybackId, media: &'a [String]) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            names::check_media(media)?;
            self.ask(|reply| Command::Play { id: id.clone(), media: media.to_vec(), reply }).await
        })
    }

    fn stop_playback<'a>(&'a self, id: &'a PlaybackId) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            match self.ask(|reply| Command::Stop { id: id.clone(), reply }).await {
                // Nothing plays on a leg that is over.
                Err(CallError::HungUp) => Ok(()),
                other => other,
            }
        })
    }

    fn send_dtmf<'a>(&'a self, digits: &'a str) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(self.dtmf_now(digits))
    }

    fn transfer<'a>(&'a self, target: &'a str) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(self.transfer_now(target))
    }

    fn open_media(&self, rate_hz: u32) -> BoxFuture<'_, Result<MediaLink, CallError>> {
        Box::pin(async move {
            self.shared.check_not_over()?;
            MediaSlot::open(&self.shared.line, rate_hz, &self.runtime).await
        })
    }

    fn close_media(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.shared.line.slot.close())
    }

    fn end(&self, cause: HangupCause) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            let mut outcome = self.shared.begin_end(cause, &self.runtime);
            match outcome.wait_for(Option::is_some).await.map(|o| o.clone()) {
                Ok(Some(outcome)) => outcome,
                // The task cannot go without an outcome but with its runtime.
                _ => Err(CallError::Telephony("the host stopped while it hung up".to_owned())),
            }
        })
    }
}

impl Drop for AsteriskLeg {
    fn drop(&mut self) {
        // One that has been ended, or is being, stays so.
        self.shared.begin_end(HangupCause::Normal, &self.runtime);
    }
}
