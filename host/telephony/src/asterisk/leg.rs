//! One call's leg: what is done to a channel of one of our applications.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use voxtra_ari::{AriError, ContinueTo, HangupReason, SendDtmf};
use voxtra_core::telephony::LegEnd;
use voxtra_core::{BoxFuture, CallError, CallId, HangupCause, Leg, MediaLink, PlaybackId};

use super::app::App;
use super::error::to_call_error;
use super::leg_task::{Command, LegInbox, LegInput};
use super::media_leg::MediaSlot;
use super::names::{self, Target};

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
    pub(super) media: MediaSlot,
    transfer: Mutex<Option<(Transfer, Instant)>>,
    /// The one hanging-up, once somebody has asked for it.
    ending: Mutex<Option<EndOutcome>>,
    _place: OwnedSemaphorePermit,
}

impl LegShared {
    pub(super) fn new(
        channel: &voxtra_ari::Channel,
        app: Arc<App>,
        inbox: LegInbox,
        answered: bool,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            channel: channel.id.clone(),
            call: CallId::from(channel.id.as_str()),
            technology: channel.technology().to_owned(),
            app,
            inbox,
            answered: AtomicBool::new(answered),
            ended: watch::Sender::new(None),
            media: MediaSlot::default(),
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

    fn set_transfer(&self, transfer: Option<Transfer>) {
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
    async fn verb_failed(&self, doing: &str, error: AriError) -> CallError {
        if matches!(error, AriError::Conflict { .. }) {
            let mut ended = self.ended.subscribe();
            let _ = timeout(REFUSED_WAITS, ended.wait_for(Option::is_some)).await;
        }
        self.verb_error(doing, error)
    }

    fn check_not_over(&self) -> Result<(), CallError> {
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
        self.media.close_for_good().await;
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

    /// Ends a leg that nobody has: refused, or left over when the host stops.
    pub(super) fn dismiss(self: &Arc<Self>, cause: HangupCause) -> EndOutcome {
        self.begin_end(cause, &Handle::current())
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
    shared: Arc<LegShared>,
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

    async fn transfer_now(&self, target: &str) -> Result<(), CallError> {
        let target = Target::parse(target)?;
        self.shared.check_not_over()?;
        match target {
            Target::Endpoint(endpoint) => self.redirect(&endpoint).await,
            Target::Extension { extension, context } => self.continue_at(extension, context).await,
        }
    }

    async fn redirect(&self, endpoint: &str) -> Result<(), CallError> {
        let shared = &self.shared;
        let technology = endpoint.split('/').next().unwrap_or_default();
        if !technology.eq_ignore_ascii_case(&shared.technology) {
            return Err(CallError::InvalidArgument(format!(
                "this call came by {}, so it cannot be handed to {endpoint}; give an endpoint of {} or an extension of the dialplan",
                shared.technology, shared.technology
            )));
        }
        shared.media.close().await;
        shared.set_transfer(Some(Transfer::Redirect));
        let outcome = shared.app.client.redirect(&shared.channel, endpoint).await;
        self.transferred(endpoint, outcome).await
    }

    async fn continue_at(&self, extension: String, context: Option<String>) -> Result<(), CallError> {
        let shared = &self.shared;
        let context = match context {
            Some(context) => context,
            None => self.default_context().await?,
        };
        self.check_exists(&context, &extension).await?;
        shared.media.close().await;
        shared.set_transfer(Some(Transfer::Continue));
        let shown = format!("{extension}@{context}");
        let place = ContinueTo {
            context: Some(context),
            extension: Some(extension),
            priority: Some(1),
            ..ContinueTo::default()
        };
        let outcome = shared.app.client.continue_in_dialplan(&shared.channel, &place).await;
        self.transferred(&shown, outcome).await
    }

    async fn transferred(&self, to: &str, outcome: Result<(), AriError>) -> Result<(), CallError> {
        match outcome {
            Ok(()) => {
                tracing::info!(call = %self.shared.call, to, "call handed on");
                Ok(())
            }
            Err(error) => {
                self.shared.set_transfer(None);
                Err(self.shared.verb_failed("the transfer", error).await)
            }
        }
    }

    /// The operator's choice, else Asterisk's own convention, else where the channel is.
    async fn default_context(&self) -> Result<String, CallError> {
        let shared = &self.shared;
        if let Some(context) = &shared.app.core.options.transfer_context {
            return Ok(context.clone());
        }
        let failed = |e| shared.verb_error("the transfer", e);
        let variable = shared.app.client.get_variable(&shared.channel, "TRANSFER_CONTEXT").await.map_err(failed)?;
        if let Some(context) = variable.filter(|c| names::dialplan_name(c)) {
            return Ok(context);
        }
        let channel = shared.app.client.get_channel(&shared.channel).await.map_err(failed)?;
        Ok(channel.dialplan.context)
    }

    /// Asterisk takes a channel to a place that does not exist without a word, and hangs it up there.
    async fn check_exists(&self, context: &str, extension: &str) -> Result<(), CallError> {
        if !names::dialplan_name(context) {
            return Err(CallError::NotConfigured(format!(
                "the context {context:?} cannot be a transfer's; set the transfer context of this PBX"
            )));
        }
        let shared = &self.shared;
        let question = format!("DIALPLAN_EXISTS({context},{extension},1)");
        match shared.app.client.get_variable(&shared.channel, &question).await {
            Ok(Some(answer)) if answer.trim() == "0" => Err(CallError::Telephony(format!(
                "the PBX has no extension {extension} in its context {context}; give one that exists, or extension@context"
            ))),
            Err(error) if error.gone() => Err(CallError::HungUp),
            // An Asterisk without that function is not asked.
            _ => Ok(()),
        }
    }
}

impl Leg for AsteriskLeg {
    fn answer(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(self.answer_now())
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
            MediaSlot::open(&self.shared, rate_hz, &self.runtime).await
        })
    }

    fn close_media(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.shared.media.close())
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
