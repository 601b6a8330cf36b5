//! A call's owner: one task that holds all of its state and alone changes it. Everything that happens reaches it as a
//! message; nothing that takes time is waited for here, so that a hang-up is never late.

mod audio;
mod begin;
mod end;
mod failure;
mod hand_on;
mod keys;
mod made;
mod own_prompts;
mod prompts;
mod recording;
mod upgrade;
mod verbs;
mod work;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use voxtra_core::telephony::LegEnd;
use voxtra_core::verbs::{AnsweredBy, HandlerEvent};
use voxtra_core::{
    CallError, CallState, EndReason, EventType, Exchange, HandlerName, HangupCause, Leg, LegEvent, MediaLink,
    PlaybackId,
};
use voxtra_plugins::Outcome;

use self::audio::Audio;
pub(crate) use self::begin::Start;
use self::failure::Stage;
use self::hand_on::HandingOn;
use self::keys::Keys;
use self::made::Made;
use self::own_prompts::OwnPrompt;
#[cfg(test)]
pub(crate) use self::own_prompts::say;
use self::prompts::Prompts;
use self::recording::{Recorded, Recording};
use self::upgrade::{TurnedDown, Upgrade};
use self::work::{AtWork, NotStarted};
use crate::account::Metered;
use crate::call::{CallShared, MESSAGES_MAX, Message, Reply, SessionCall};
use crate::handlers::HandlerVersion;
use crate::inbox::{HangupBy, Raised};
use crate::life::CallLife;
use crate::limits::{TenantLimits, VersionLimits};
use crate::options::OnFailure;
use crate::place::PlacedEnd;

/// How long a verb may take at the leg. Adapters have shorter limits of their own; this is for one that forgets.
const LEG_VERB_LIMIT: Duration = Duration::from_secs(60);

/// Verbs of one call that may be under way at once. A handler of today's contract has one.
const WORK_MAX: usize = 32;

/// What a call begins with.
pub(crate) struct NewCall {
    pub(crate) leg: Arc<dyn Leg>,
    pub(crate) leg_events: mpsc::Receiver<LegEvent>,
    pub(crate) exchange: Arc<dyn Exchange>,
    /// Whether it is answered already.
    pub(crate) answered: bool,
    pub(crate) start: Start,
    pub(crate) on_failure: OnFailure,
    /// Of a call that we placed: until when it may ring.
    pub(crate) rings_until: Option<Instant>,
    /// Who wants to know how it ended.
    pub(crate) report: Option<oneshot::Sender<PlacedEnd>>,
}

/// See the module.
pub(crate) struct CallTask {
    leg: Arc<dyn Leg>,
    leg_events: mpsc::Receiver<LegEvent>,
    exchange: Arc<dyn Exchange>,
    answered_at_start: bool,
    rung: bool,
    rings_until: Option<Instant>,
    messages: mpsc::Receiver<Message>,
    to_self: mpsc::Sender<Message>,
    stop: watch::Receiver<Option<Instant>>,
    /// What is under way at the leg.
    work: JoinSet<Done>,
    start: Start,
    /// Who has the call; in a call that a handler has placed, that handler; none: nobody.
    handler: Option<Arc<dyn HandlerVersion>>,
    running: Option<JoinHandle<HandlerRun>>,
    /// The version that is at work, until it is known how it did.
    at_work: Option<AtWork>,
    /// The versions beside it.
    upgrade: Upgrade,
    /// Whose turn it is: grows when the call goes over to another version.
    tenure: u32,
    /// No instance was started for the call, so that no hook is either.
    spared: bool,
    /// The handler's instance, between its return and its hang-up hook.
    instance: Option<Metered>,
    /// How long the call may last: what the host and the tenant allow, and what is left of it by its handler's version.
    tenant_call_limit: Duration,
    call_limit: Duration,
    /// As they were when the call began.
    tenant_limits: TenantLimits,
    on_failure: OnFailure,
    stage: Stage,
    handing_on: Option<Box<HandingOn>>,
    prompts: Prompts,
    keys: Keys,
    audio: Audio,
    /// Whether its beginning was told outside, and its end was not yet.
    audio_told: bool,
    /// The host's own prompts that wait for the audio, and how many play on it.
    own_waiting: Vec<OwnPrompt>,
    own_playing: usize,
    recording: Option<Box<Recording>>,
    made: Option<Box<Made>>,
    /// The class of the music that plays while the call is on hold.
    music: Option<String>,
    farewell: Option<Farewell>,
    answered_by: Option<AnsweredBy>,
    report: Option<oneshot::Sender<PlacedEnd>>,
    shared: Arc<CallShared>,
    life: CallLife,
}

/// The last prompts of a host that stops.
struct Farewell {
    playing: PlaybackId,
    deadline: Instant,
}

/// Something that took time is done.
enum Done {
    /// A verb whose outcome changes nothing here has answered whoever asked.
    Nothing,
    Answered(Result<(), CallError>, Reply<()>),
    Held(String, Result<(), CallError>, Reply<()>),
    Unheld(Result<(), CallError>, Reply<()>),
    PlayStarted(PlaybackId, Result<(), CallError>),
    PlayStopped(PlaybackId),
    OwnPlayed(PlaybackId, Result<(), CallError>),
    AudioOpened(Result<MediaLink, CallError>, Reply<MediaLink>),
    OwnAudioOpened(Result<MediaLink, CallError>),
    AudioClosed,
    Apologised,
    HandedOn(Result<(), CallError>),
    Made(made::MadeDone),
    Detected(AnsweredBy, Option<Reply<AnsweredBy>>),
    NotDetected(CallError, Option<Reply<AnsweredBy>>),
}

/// How a handler's run ended, and what is left of it.
struct HandlerRun {
    outcome: Result<Outcome, NotStarted>,
    instance: Option<Metered>,
    /// It has returned so that the next version can take the call: its state.
    saved: Option<Vec<u8>>,
    /// The next version did not take the call; the instance is the one before.
    turned_down: Option<TurnedDown>,
}

impl HandlerRun {
    fn new(outcome: Result<Outcome, NotStarted>) -> Self {
        Self { outcome, instance: None, saved: None, turned_down: None }
    }
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
    pub(crate) fn new(life: CallLife, call: NewCall, stop: watch::Receiver<Option<Instant>>) -> Self {
        let (to_self, messages) = mpsc::channel(MESSAGES_MAX);
        let tenant_limits = life.host.limits.of(&life.shared.info.tenant);
        let of_host = life.host.options.call_limit;
        let tenant_call_limit = tenant_limits.call_limit.map_or(of_host, |limit| limit.min(of_host));
        let of_version = call.start.handler().and_then(|handler| handler.limits().call_limit);
        Self {
            leg: call.leg,
            leg_events: call.leg_events,
            exchange: call.exchange,
            answered_at_start: call.answered,
            rung: false,
            rings_until: call.rings_until,
            messages,
            to_self,
            stop,
            work: JoinSet::new(),
            handler: call.start.handler().cloned(),
            start: call.start,
            running: None,
            at_work: None,
            upgrade: Upgrade::default(),
            tenure: 0,
            spared: false,
            instance: None,
            tenant_call_limit,
            tenant_limits,
            call_limit: of_version.map_or(tenant_call_limit, |limit| limit.min(tenant_call_limit)),
            on_failure: call.on_failure,
            stage: Stage::Handling { last: false },
            handing_on: None,
            prompts: Prompts::default(),
            keys: Keys::default(),
            audio: Audio::default(),
            audio_told: false,
            own_waiting: Vec::new(),
            own_playing: 0,
            recording: None,
            made: None,
            music: None,
            farewell: None,
            answered_by: None,
            report: call.report,
            shared: Arc::clone(&life.shared),
            life,
        }
    }

    /// Where the call's verbs go.
    pub(crate) fn messages(&self) -> mpsc::Sender<Message> {
        self.to_self.clone()
    }

    pub(crate) async fn run(mut self) {
        let nobody = match &self.start {
            // Seldom, and large: not in every call's own memory.
            Start::Rules { .. } => Box::pin(self.ask_rules()).await.err(),
            _ => None,
        };
        let end = match self.begin(nobody) {
            Some(end) => end,
            None => self.live().await,
        };
        let reason = self.finish(end).await;
        self.close(reason);
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
                recorded = recorded(&mut self.recording) => {
                    self.recording_over(recorded);
                    None
                }
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
            // Whatever happened may have been the end of the last prompts.
            if let Some(end) = self.farewell_over() {
                return end;
            }
        }
    }

    fn on_raised(&mut self, raised: Raised) -> Option<End> {
        if raised.verb_dropped {
            self.forget_dropped_verbs();
        }
        if raised.took_over {
            self.notice_take_over();
        }
        if raised.parent_went_over {
            self.follow_parent();
        }
        if raised.versions_changed {
            self.look_for_upgrade();
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
        if broken && self.handing_on.is_none() || raised.media_lost && self.audio_lost() {
            return Some(End::because(EndReason::MediaLost));
        }
        if let Some(by) = raised.hangup {
            return Some(End::because(match by {
                HangupBy::Operator => EndReason::OperatorHungUp,
                HangupBy::Parent => EndReason::HandlerReturned,
            }));
        }
        raised.farewell.and_then(|prompts| self.say_farewell(&prompts))
    }

    fn leg_ended(&mut self, end: LegEnd) -> End {
        let reason = match end {
            LegEnd::HungUp => EndReason::CallerHungUp,
            LegEnd::Transferred => EndReason::Transferred,
            LegEnd::NotAnswered(cause) => EndReason::NotAnswered(cause),
            LegEnd::Failed(why) => EndReason::TelephonyFailed(why),
        };
        let reply = self.hand_on_ended(&reason);
        End { reason, cause: HangupCause::Normal, reply }
    }

    fn on_leg_event(&mut self, event: LegEvent) {
        match event {
            LegEvent::Ringing => self.rings(),
            LegEvent::Answered => self.answered(),
            LegEvent::Dtmf(dtmf) => self.key_pressed(dtmf),
            LegEvent::PlaybackFinished { id, outcome } => {
                let failed = |why| CallError::Telephony(format!("the prompt could not be played: {why}"));
                self.part_over(&id, outcome.map_err(failed));
            }
            LegEvent::RecordingFinished { id, outcome } => self.pbx_recorded(&id, outcome),
            // These come as signals.
            LegEvent::MediaLost | LegEvent::Ended(_) => {}
        }
    }

    fn on_time(&mut self) -> Option<End> {
        let now = Instant::now();
        if now >= self.call_limit() {
            return Some(End::because(EndReason::CallLimit));
        }
        if !self.shared.is_answered() && self.rings_until.is_some_and(|until| now >= until) {
            return Some(End::because(EndReason::NotAnswered(HangupCause::NoAnswer)));
        }
        if let Some(end) = self.beginning_timed_out(now) {
            return Some(end);
        }
        self.room_may_be_there(now);
        self.let_handler_hear(now);
        if let Some(end) = self.drain_timed_out(now) {
            return Some(end);
        }
        self.gathering_timed_out(now);
        self.hand_on_timed_out(now)
    }

    fn next_deadline(&self) -> Instant {
        let rings_until = self.rings_until.filter(|_| !self.shared.is_answered());
        let hand_on = self.handing_on.as_ref().and_then(|handing_on| handing_on.deadline());
        let farewell = self.farewell.as_ref().map(|farewell| farewell.deadline);
        let begins_by = self.at_work.as_ref().and_then(AtWork::begins_by);
        let upgrade = self.upgrade.deadline();
        let deadlines = [self.keys.deadline(), hand_on, rings_until, farewell, begins_by, upgrade];
        let soonest = deadlines.into_iter().flatten().min();
        soonest.map_or(self.call_limit(), |soonest| soonest.min(self.call_limit()))
    }

    fn call_limit(&self) -> Instant {
        self.shared.origin() + self.call_limit
    }

    /// Another version may have less of what the tenant has.
    fn narrow_call_limit(&mut self, limits: VersionLimits) {
        self.call_limit = limits.call_limit.map_or(self.tenant_call_limit, |limit| limit.min(self.tenant_call_limit));
    }

    fn on_done(&mut self, done: Done) -> Option<End> {
        match done {
            Done::Nothing => {}
            Done::Answered(result, reply) => {
                if result.is_ok() {
                    self.answered();
                }
                let _ = reply.send(result);
            }
            Done::Held(class, result, reply) => self.held(class, result, reply),
            Done::Unheld(result, reply) => self.unheld(result, reply),
            Done::PlayStarted(id, result) => self.part_started(&id, result),
            Done::PlayStopped(id) => self.part_over(&id, Ok(())),
            Done::OwnPlayed(id, result) => {
                self.part_over(&id, result);
                self.own_prompt_over();
            }
            Done::AudioOpened(result, reply) => self.audio_opened(result, reply),
            Done::OwnAudioOpened(result) => self.own_audio_opened(result),
            Done::AudioClosed => self.audio_closed(),
            Done::Apologised => return self.apologised(),
            Done::HandedOn(result) => return self.handed_on(result),
            Done::Made(made) => self.made(made),
            Done::Detected(who, reply) => self.detected(who, reply),
            Done::NotDetected(error, reply) => self.not_detected(error, reply),
        }
        None
    }

    /// The other side of a call that we placed rings. Told twice, it counts once.
    fn rings(&mut self) {
        if self.rings_until.is_some() && !self.shared.is_answered() && !std::mem::replace(&mut self.rung, true) {
            self.life.emit(EventType::CallRinging, json!({}));
            self.tell_handler(HandlerEvent::Ringing);
        }
    }

    fn answered(&mut self) {
        if self.shared.set_answered() {
            self.life.emit(EventType::CallAnswered, json!({}));
            self.tell_handler(HandlerEvent::Answered);
            self.start_on_answer();
        }
    }

    fn tell_handler(&self, event: HandlerEvent) {
        if self.shared.mailbox.push(event) {
            self.life.host.counters.handler_event_dropped();
        }
    }

    /// The call as a handler, or the failure policy, is given it.
    fn session_call(&self) -> Arc<SessionCall> {
        let (shared, messages) = (Arc::clone(&self.shared), self.to_self.clone());
        Arc::new(SessionCall::new(shared, self.handler.as_deref(), messages, &self.life.host))
    }

    /// The call as the next version is given it, with what the one before leaves up.
    fn successor_call(&mut self, next: &dyn HandlerVersion) -> SessionCall {
        let (shared, messages) = (Arc::clone(&self.shared), self.to_self.clone());
        let inherited = self.inheritance(next);
        SessionCall::new(shared, Some(next), messages, &self.life.host).taking_over(inherited)
    }

    fn handler_name(&self) -> HandlerName {
        self.handler.as_ref().map_or_else(|| HandlerName::from(""), |handler| handler.name().clone())
    }

    fn report_error(&self, message: &str) {
        let handler = self.handler_name();
        tracing::warn!(call = %self.shared.info.id, tenant = %self.shared.info.tenant, %handler, "{message}");
        self.life.emit(EventType::Error, json!({"message": message, "handler": handler.as_str()}));
    }

    /// The host is stopping: the caller hears that, and then the call ends. What plays is stopped.
    fn say_farewell(&mut self, prompts: &[String]) -> Option<End> {
        if self.farewell.is_some() {
            return None;
        }
        if prompts.is_empty() || self.handing_on.is_some() || self.shared.state() == CallState::Ringing {
            return Some(End::because(EndReason::HostStopping));
        }
        self.stop_all_prompts();
        self.clear_the_line();
        let playing = self.play_for_nobody(prompts.to_vec());
        let deadline = Instant::now() + self.life.host.options.farewell_limit;
        self.farewell = Some(Farewell { playing, deadline });
        None
    }

    fn farewell_over(&self) -> Option<End> {
        let farewell = self.farewell.as_ref()?;
        let over = !self.prompts.plays(&farewell.playing) || Instant::now() >= farewell.deadline;
        over.then(|| End::because(EndReason::HostStopping))
    }
}

/// The outcome of the handler that runs; for ever waiting when none does.
async fn handler_run(running: &mut Option<JoinHandle<HandlerRun>>) -> HandlerRun {
    let Some(task) = running else { return std::future::pending().await };
    let run = task.await;
    *running = None;
    run.unwrap_or_else(|error| {
        let why = format!("the handler's task was lost ({error}); this is a fault of the host");
        HandlerRun::new(Err(NotStarted::Failed(why)))
    })
}

/// How the recording that is made ended; for ever waiting when none is.
async fn recorded(recording: &mut Option<Box<Recording>>) -> Recorded {
    match recording {
        Some(recording) => recording.over().await,
        None => std::future::pending().await,
    }
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
