//! A call's owner: one task that holds all of its state and alone changes it. Everything that happens reaches it as a
//! message; nothing that takes time is waited for here, so that a hang-up is never late.

mod audio;
mod end;
mod failure;
mod verbs;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use voxtra_core::telephony::LegEnd;
use voxtra_core::verbs::{Dtmf, HandlerEvent};
use voxtra_core::{CallError, EndReason, EventType, HangupCause, Leg, LegEvent, MediaLink, NewLeg, PlaybackId};
use voxtra_plugins::{Outcome, SharedCall, StartError};

use self::audio::Audio;
use self::failure::Stage;
use self::verbs::Verbs;
use crate::call::{CallShared, MESSAGES_MAX, Message, Reply, SessionCall};
use crate::handlers::{HandlerInstance, HandlerVersion};
use crate::inbox::Raised;
use crate::life::CallLife;
use crate::options::OnFailure;

/// How long a verb may take at the leg. Adapters have shorter limits of their own; this is for one that forgets.
const LEG_VERB_LIMIT: Duration = Duration::from_secs(60);

/// Verbs of one call that may be under way at once. A handler of today's contract has one.
const WORK_MAX: usize = 32;

/// See the module.
pub(crate) struct CallTask {
    leg: Arc<dyn Leg>,
    leg_events: mpsc::Receiver<LegEvent>,
    answered_at_start: bool,
    messages: mpsc::Receiver<Message>,
    to_self: mpsc::Sender<Message>,
    stop: watch::Receiver<Option<Instant>>,
    /// What is under way at the leg.
    work: JoinSet<Done>,
    handler: Arc<dyn HandlerVersion>,
    running: Option<JoinHandle<HandlerRun>>,
    /// The handler's instance, between its return and its hang-up hook.
    instance: Option<Box<dyn HandlerInstance>>,
    on_failure: OnFailure,
    stage: Stage,
    verbs: Verbs,
    audio: Audio,
    shared: Arc<CallShared>,
    life: CallLife,
}

/// Something that took time is done.
enum Done {
    Answered(Result<(), CallError>, Reply<()>),
    PlayStarted(PlaybackId, Result<(), CallError>),
    PlayStopped(PlaybackId),
    DtmfSent(Result<(), CallError>, Reply<()>),
    AudioOpened(Result<MediaLink, CallError>, Reply<MediaLink>),
    AudioClosed,
    Apologised,
    Transferred(Result<(), CallError>),
}

/// How a handler's run ended, and what is left of it.
struct HandlerRun {
    outcome: Result<Outcome, StartError>,
    instance: Option<Box<dyn HandlerInstance>>,
}

/// The call is to end.
struct End {
    reason: EndReason,
    cause: HangupCause,
    /// Who asked for it and waits.
    reply: Option<Reply<()>>,
}

impl End {
    fn because(reason: EndReason) -> Self {
        Self { reason, cause: HangupCause::Normal, reply: None }
    }
}

impl CallTask {
    pub(crate) fn new(
        life: CallLife,
        leg: NewLeg,
        leg_events: mpsc::Receiver<LegEvent>,
        handler: Arc<dyn HandlerVersion>,
        on_failure: OnFailure,
        stop: watch::Receiver<Option<Instant>>,
    ) -> Self {
        let (to_self, messages) = mpsc::channel(MESSAGES_MAX);
        Self {
            leg: leg.leg,
            leg_events,
            answered_at_start: leg.answered,
            messages,
            to_self,
            stop,
            work: JoinSet::new(),
            handler,
            running: None,
            instance: None,
            on_failure,
            stage: Stage::Handling { last: false },
            verbs: Verbs::default(),
            audio: Audio::default(),
            shared: Arc::clone(&life.shared),
            life,
        }
    }

    pub(crate) async fn run(mut self) {
        self.begin();
        let end = self.live().await;
        self.finish(end).await;
    }

    fn begin(&mut self) {
        self.life.begin(self.handler.name().as_str(), self.handler.version());
        if self.answered_at_start {
            self.answered();
        } else {
            self.life.emit(EventType::CallRinging, json!({}));
        }
        self.start_handler();
    }

    async fn live(&mut self) -> End {
        loop {
            let deadline = self.next_deadline();
            // In this order: what ends a call comes before what it does.
            let end = tokio::select! {
                biased;
                raised = self.shared.signals.next() => self.on_raised(raised),
                () = stopping(&mut self.stop) => Some(End::because(EndReason::HostStopping)),
                Some(event) = self.leg_events.recv() => {
                    self.on_leg_event(event);
                    None
                }
                () = sleep_until(deadline) => self.on_time(),
                run = handler_run(&mut self.running) => self.on_handler_run(run),
                Some(done) = self.work.join_next() => match done {
                    Ok(done) => self.on_done(done),
                    // Who knows what it has left behind.
                    Err(error) => Some(End::because(EndReason::TelephonyFailed(format!(
                        "a verb of the telephony adapter broke ({error}); this is a fault of the host"
                    )))),
                },
                Some(message) = self.messages.recv() => self.on_message(message),
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn on_raised(&mut self, raised: Raised) -> Option<End> {
        if raised.verb_dropped {
            self.forget_dropped_verbs();
        }
        // A handler lets go of audio that has broken before the leg says so.
        let broken = raised.close_audio && self.audio.has_broken();
        if raised.close_audio {
            self.close_audio();
        }
        if let Some(end) = raised.leg_ended {
            // What came before the end counts still.
            while let Ok(event) = self.leg_events.try_recv() {
                self.on_leg_event(event);
            }
            return Some(self.leg_ended(end));
        }
        if broken || raised.media_lost && self.audio.is_in_use() {
            return Some(End::because(EndReason::MediaLost));
        }
        raised.hangup.then(|| End::because(EndReason::HandlerHungUp))
    }

    fn leg_ended(&mut self, end: LegEnd) -> End {
        End::because(match end {
            LegEnd::HungUp => EndReason::CallerHungUp,
            LegEnd::Transferred => {
                self.tell_of_transfer();
                EndReason::Transferred
            }
            LegEnd::Failed(why) => EndReason::TelephonyFailed(why),
        })
    }

    fn on_leg_event(&mut self, event: LegEvent) {
        match event {
            LegEvent::Answered => self.answered(),
            LegEvent::Dtmf(dtmf) => self.key_pressed(dtmf),
            LegEvent::PlaybackFinished { id, outcome } => {
                let failed = |why| CallError::Telephony(format!("the prompt could not be played: {why}"));
                self.playback_over(&id, outcome.map_err(failed));
            }
            // These come as signals.
            LegEvent::MediaLost | LegEvent::Ended(_) => {}
        }
    }

    fn on_time(&mut self) -> Option<End> {
        let now = Instant::now();
        if now >= self.call_limit() {
            let limit = humantime::format_duration(self.life.host.options.call_limit);
            let why =
                format!("the call lasted {limit}, the longest that one may; raise the limit if that is too short");
            return Some(End::because(EndReason::HandlerFailed(why)));
        }
        self.gathering_timed_out(now);
        self.transfer_timed_out(now)
    }

    fn next_deadline(&self) -> Instant {
        let soonest = [self.verbs.deadline(), self.stage.deadline()].into_iter().flatten().min();
        soonest.map_or(self.call_limit(), |soonest| soonest.min(self.call_limit()))
    }

    fn call_limit(&self) -> Instant {
        self.shared.origin() + self.life.host.options.call_limit
    }

    fn on_done(&mut self, done: Done) -> Option<End> {
        match done {
            Done::Answered(result, reply) => {
                if result.is_ok() {
                    self.answered();
                }
                let _ = reply.send(result);
            }
            Done::PlayStarted(id, result) => self.playback_started(&id, result),
            Done::PlayStopped(id) => self.playback_over(&id, Ok(())),
            Done::DtmfSent(result, reply) => drop(reply.send(result)),
            Done::AudioOpened(result, reply) => self.audio_opened(result, reply),
            Done::AudioClosed => self.audio_closed(),
            Done::Apologised => return self.apologised(),
            Done::Transferred(result) => return self.transferred(result),
        }
        None
    }

    fn answered(&mut self) {
        if self.shared.set_answered() {
            self.life.emit(EventType::CallAnswered, json!({}));
            self.tell_handler(HandlerEvent::Answered);
        }
    }

    fn tell_handler(&self, event: HandlerEvent) {
        if self.shared.mailbox.push(event) {
            self.life.host.counters.handler_event_dropped();
        }
    }

    /// The call as a handler, or the failure policy, is given it.
    fn session_call(&self) -> Arc<SessionCall> {
        Arc::new(SessionCall::new(Arc::clone(&self.shared), self.handler.name().clone(), self.to_self.clone()))
    }

    fn start_handler(&mut self) {
        let handler = Arc::clone(&self.handler);
        let call: SharedCall = self.session_call();
        self.running = Some(self.life.host.runtimes.guests.spawn(run_handler(handler, call)));
    }

    fn report_error(&self, message: &str) {
        let handler = self.handler.name().as_str();
        tracing::warn!(call = %self.shared.info.id, tenant = %self.shared.info.tenant, handler, "{message}");
        self.life.emit(EventType::Error, json!({"message": message, "handler": handler}));
    }
}

/// A key as the contract knows it.
fn known_key(dtmf: Dtmf) -> Option<Dtmf> {
    let digit = dtmf.digit.to_ascii_uppercase();
    voxtra_core::verbs::DTMF_DIGITS.contains(digit).then_some(Dtmf { digit, ..dtmf })
}

async fn run_handler(handler: Arc<dyn HandlerVersion>, call: SharedCall) -> HandlerRun {
    let mut instance = match handler.start(call).await {
        Ok(instance) => instance,
        Err(error) => return HandlerRun { outcome: Err(error), instance: None },
    };
    let outcome = instance.handle().await;
    // A dead instance goes here, where guests run.
    let instance = instance.is_alive().then_some(instance);
    HandlerRun { outcome: Ok(outcome), instance }
}

/// The outcome of the handler that runs; for ever waiting when none does.
async fn handler_run(running: &mut Option<JoinHandle<HandlerRun>>) -> HandlerRun {
    let Some(task) = running else { return std::future::pending().await };
    let run = task.await;
    *running = None;
    run.unwrap_or_else(|error| HandlerRun {
        outcome: Err(StartError::Failed(format!("its task was lost ({error}); this is a fault of the host"))),
        instance: None,
    })
}

/// Returns when the host is stopping.
async fn stopping(stop: &mut watch::Receiver<Option<Instant>>) {
    if stop.wait_for(Option::is_some).await.is_err() {
        // The host is gone without having stopped; its calls go on.
        std::future::pending().await
    }
}

/// A verb of the leg, with the limit for one that does not come back.
async fn leg_verb<T>(verb: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    let late =
        || CallError::Telephony(format!("the telephony adapter took longer than {} s", LEG_VERB_LIMIT.as_secs()));
    timeout(LEG_VERB_LIMIT, verb).await.unwrap_or_else(|_| Err(late()))
}
