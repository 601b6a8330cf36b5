//! One Stasis application: its events go to its legs, in order, and a lost connection is lived through.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use voxtra_ari::events::StasisStart;
use voxtra_ari::{
    AriClient, AriError, Channel, ChannelState, ContinueTo, Event, EventOptions, EventStream, HangupReason,
    PlaybackState, StreamItem,
};
use voxtra_core::verbs::{DTMF_DIGITS, Dtmf};
use voxtra_core::{CallError, CallId, Direction, HangupCause, NewLeg};

use super::adapter::Core;
use super::exchange::{AsteriskExchange, PLACED_ARGUMENT};
use super::leg::{AsteriskLeg, LegShared, Seed};
use super::leg_task::{COMMANDS_MAX, LegInbox, LegInput, LegTask};
use super::names::{self, Names};
use super::options::{AppOptions, DEFAULT_NAME, RefusedCalls};
use super::reconcile::{self, Scope};
use super::registry::{Listener, MediaState, Registry};

/// Wait before the first attempt to connect again; doubled up to the operator's limit.
const RECONNECT_FIRST: Duration = Duration::from_millis(100);
/// How often the events connection is probed.
const PING_EVERY: Duration = Duration::from_secs(2);
/// An events connection on which nothing came for so long is dead.
const IDLE_LIMIT: Duration = Duration::from_secs(6);

/// The variable that tells the dialplan why a call comes back.
pub(super) const REFUSED_VARIABLE: &str = "VOXTRA_REFUSED";

/// See the module.
pub(super) struct App {
    pub(super) core: Arc<Core>,
    pub(super) client: AriClient,
    pub(super) name: String,
    pub(super) names: Names,
    pub(super) registry: Registry,
    options: RwLock<Arc<AppOptions>>,
    /// Somebody serves it.
    begun: AtomicBool,
    /// It is taken leave of: no new calls, and the connection is closed after the last.
    leaving: watch::Sender<bool>,
    gate: Mutex<Gate>,
}

/// Whether something can still be placed in an application.
#[derive(Default)]
struct Gate {
    closed: bool,
    /// What is just being placed, and not known to the registry yet.
    entering: usize,
}

/// Something that is just being placed. While it is there, the application stays.
pub(super) struct Entering<'a>(&'a App);

impl Drop for Entering<'_> {
    fn drop(&mut self) {
        let mut gate = self.0.gate();
        gate.entering = gate.entering.saturating_sub(1);
    }
}

impl App {
    pub(super) fn new(core: Arc<Core>, client: AriClient, options: AppOptions) -> Arc<Self> {
        let name = client.app().to_owned();
        let names = Names::of_app(&name);
        Arc::new(Self {
            core,
            client,
            name,
            names,
            registry: Registry::default(),
            options: RwLock::new(Arc::new(options)),
            begun: AtomicBool::new(false),
            leaving: watch::Sender::new(false),
            gate: Mutex::default(),
        })
    }

    /// What the operator chose for this application.
    pub(super) fn options(&self) -> Arc<AppOptions> {
        Arc::clone(&self.options.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_options(&self, options: AppOptions) {
        *self.options.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(options);
    }

    /// Whether nobody has served it yet; from now on somebody does.
    pub(super) fn begins(&self) -> bool {
        !self.begun.swap(true, Relaxed)
    }

    pub(super) fn is_leaving(&self) -> bool {
        *self.leaving.borrow()
    }

    pub(super) fn set_leaving(&self, leaving: bool) {
        if self.leaving.send_replace(leaving) != leaving && leaving {
            let legs = self.registry.leg_count();
            tracing::info!(app = self.name, legs, "the application takes no new calls; its last one closes it");
        }
    }

    pub(super) async fn until_leaving(&self) {
        // The sender is ours.
        let _ = self.leaving.subscribe().wait_for(|leaving| *leaving).await;
    }

    /// Closes it when nothing of it is at the PBX; whether it did.
    pub(super) fn close_if_idle(&self) -> bool {
        let mut gate = self.gate();
        gate.closed = gate.entering == 0 && self.registry.is_idle();
        gate.closed
    }

    /// To be held until what is placed is in the registry.
    pub(super) fn enter(&self) -> Result<Entering<'_>, CallError> {
        let mut gate = self.gate();
        if gate.closed {
            let app = &self.name;
            return Err(CallError::NotConfigured(format!(
                "the application {app} is not served any more; nothing to do"
            )));
        }
        gate.entering += 1;
        Ok(Entering(self))
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The call of a channel: its own id, unless two PBXs could give the same one. One that we placed has the host's.
    pub(super) fn call_id(&self, channel: &str, placed: bool) -> CallId {
        match self.core.options.name.as_str() {
            DEFAULT_NAME => CallId::from(channel),
            _ if placed => CallId::from(channel),
            name => CallId::from(format!("{name}:{channel}")),
        }
    }

    /// The channel of a call.
    pub(super) fn channel_of(&self, call: &CallId) -> String {
        let call = call.as_str();
        let own = call.strip_prefix(self.core.options.name.as_str()).and_then(|rest| rest.strip_prefix(':'));
        own.unwrap_or(call).to_owned()
    }

    /// From now on this channel's events come here wherever in the PBX it is.
    pub(super) async fn subscribe(&self, channel: &str) -> Result<(), AriError> {
        let source = format!("channel:{channel}");
        let path = ["applications", &self.name, "subscription"];
        self.client.post(&path, &[("eventSource", &source)], None).await.map(drop)
    }

    /// Serves the application until `stop` is true.
    pub(super) async fn serve(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = self.serve_for_ever() => {}
        }
        for (_, inbox) in self.registry.legs() {
            inbox.post(LegInput::Failed("the host is stopping".to_owned()));
        }
    }

    async fn serve_for_ever(self: &Arc<Self>) {
        let mut stream = self.first_connection().await;
        let limits = self.core.options.limits;
        let mut lost_at: Option<Instant> = None;
        let mut regular = interval(limits.reconcile_every.max(Duration::from_millis(1)));
        regular.set_missed_tick_behavior(MissedTickBehavior::Delay);
        regular.reset();
        let mut reconciling = Aborting::default();
        loop {
            // While the connection stands this never comes.
            let given_up = lost_at.map(|at| at + limits.pbx_lost_after);
            let item = tokio::select! {
                biased;
                item = stream.next() => item,
                () = sleep_until(given_up.unwrap_or_else(Instant::now)), if given_up.is_some() => {
                    lost_at = None;
                    self.give_up();
                    continue;
                }
                _ = regular.tick(), if lost_at.is_none() => {
                    reconciling.start_unless_running(self, Scope::KnownOnly);
                    continue;
                }
            };
            match item {
                Some(StreamItem::Event(event)) => self.dispatch(*event),
                Some(StreamItem::Connected { first }) => {
                    tracing::info!(app = self.name, first, "connected to the PBX");
                    lost_at = None;
                    self.core.connected(&self.name, true);
                    reconciling.restart(self, Scope::Everything);
                }
                Some(StreamItem::Disconnected { reason }) => {
                    let legs = self.registry.leg_count();
                    tracing::warn!(app = self.name, %reason, legs, "connection to the PBX lost; calls wait for it");
                    lost_at = Some(Instant::now());
                    self.core.connected(&self.name, false);
                }
                Some(StreamItem::ReconnectFailed { .. } | StreamItem::Malformed(_)) => {}
                Some(_) => {}
                // Only a stream that was shut down ends; this one never is.
                None => stream = self.first_connection().await,
            }
        }
    }

    async fn first_connection(&self) -> EventStream {
        let limits = self.core.options.limits;
        let mut wait = RECONNECT_FIRST.min(limits.reconnect_max);
        let mut told = false;
        loop {
            let mut options = EventOptions::default();
            options.backoff_first = RECONNECT_FIRST;
            options.backoff_max = limits.reconnect_max;
            options.connect_timeout = limits.request;
            options.ping_interval = PING_EVERY;
            options.idle_limit = IDLE_LIMIT;
            match EventStream::connect(&self.client, options).await {
                Ok(stream) => return stream,
                Err(error) if !told => {
                    told = true;
                    tracing::warn!(app = self.name, %error, "cannot connect to the PBX yet");
                }
                Err(_) => {}
            }
            sleep(jittered(wait)).await;
            wait = wait.saturating_mul(2).min(limits.reconnect_max);
        }
    }

    /// The PBX has been away for too long.
    fn give_up(&self) {
        let legs = self.registry.legs();
        tracing::error!(app = self.name, legs = legs.len(), "the PBX does not come back; its calls end");
        let waited_s = self.core.options.limits.pbx_lost_after.as_secs_f32();
        for (_, inbox) in legs {
            inbox.post(LegInput::Failed(format!("the PBX could not be reached for {waited_s} s")));
        }
    }

    fn dispatch(self: &Arc<Self>, event: Event) {
        match event {
            Event::StasisStart(start) => self.stasis_start(start),
            Event::StasisEnd(e) => self.channel_ends(&e.channel.id, LegInput::Left),
            Event::ChannelDestroyed(e) => {
                self.channel_ends(&e.channel.id, LegInput::Destroyed { cause: e.cause, text: e.cause_txt });
            }
            Event::ChannelHangupRequest(e) => self.channel_ends(&e.channel.id, LegInput::HangupRequested),
            Event::ChannelStateChange(e) if e.channel.state == ChannelState::Up => {
                self.registry.to_leg(&e.channel.id, LegInput::Answered);
            }
            Event::ChannelStateChange(e) if e.channel.state == ChannelState::Ringing => {
                self.registry.to_leg(&e.channel.id, LegInput::Ringing);
            }
            Event::Dial(e) if e.dialstatus == "RINGING" => {
                self.registry.to_leg(&e.peer.id, LegInput::Ringing);
            }
            Event::ChannelDtmfReceived(e) => {
                let duration_ms = u32::try_from(e.duration_ms).unwrap_or(0);
                if let Some(digit) = key(&e.digit) {
                    self.registry.to_leg(&e.channel.id, LegInput::Dtmf(Dtmf { digit, duration_ms }));
                }
            }
            Event::PlaybackFinished(e) => {
                let outcome = if e.playback.state == PlaybackState::Failed { Err(String::new()) } else { Ok(()) };
                match self.registry.take_playback(&e.playback.id) {
                    Some(Listener::Leg(inbox)) => {
                        inbox.post(LegInput::PlaybackOver { playback: e.playback.id, outcome });
                    }
                    // Nobody may wait any more.
                    Some(Listener::Waiting(waiting)) => drop(waiting.send(outcome)),
                    None => {}
                }
            }
            Event::ApplicationReplaced(_) => {
                tracing::error!(
                    app = self.name,
                    "another program has taken over this application's events; give each program an application of its own"
                );
            }
            Event::RecordingFinished(e) => {
                let duration_s = e.recording.duration.and_then(|s| u64::try_from(s).ok()).unwrap_or(0);
                self.recording_over(&e.recording.name, Ok(duration_s));
            }
            Event::RecordingFailed(e) => {
                let why = format!("the PBX could not record: {}", quoted(&e.recording.cause));
                self.recording_over(&e.recording.name, Err(why));
            }
            _ => {}
        }
    }

    /// The outcome is its length in whole seconds, or why there is none.
    fn recording_over(&self, name: &str, outcome: Result<u64, String>) {
        if let Some(waiting) = self.registry.take_recording(name) {
            // Nobody may wait any more.
            let _ = waiting.send(outcome);
        }
    }

    fn channel_ends(&self, channel: &str, input: LegInput) {
        if !self.registry.set_media(channel, MediaState::Gone) {
            self.registry.to_leg(channel, input);
        }
    }

    fn stasis_start(self: &Arc<Self>, start: StasisStart) {
        let channel = &start.channel.id;
        if self.registry.set_media(channel, MediaState::Ready) {
            return;
        }
        if names::is_media(channel) {
            tracing::warn!(app = self.name, channel, "a media channel that nobody waits for is hung up");
            return self.hang_up_unknown(channel.clone(), HangupReason::Normal);
        }
        if self.registry.to_leg(channel, LegInput::Entered) {
            return;
        }
        if start.args.first().is_some_and(|argument| argument == PLACED_ARGUMENT) {
            tracing::warn!(app = self.name, channel, "a placed call that nobody waits for is hung up");
            return self.hang_up_unknown(channel.clone(), HangupReason::Normal);
        }
        self.incoming(start);
    }

    /// A call that the host does not know, such as one from before its start, is taken as a new one.
    pub(super) fn adopt(self: &Arc<Self>, channel: Channel) {
        let args = channel.dialplan.app_data.split(',').skip(1).map(str::to_owned).collect();
        let application = self.name.clone();
        self.incoming(StasisStart {
            application,
            timestamp: String::new(),
            asterisk_id: String::new(),
            channel,
            args,
            replace_channel: None,
        });
    }

    fn incoming(self: &Arc<Self>, start: StasisStart) {
        let core = &self.core;
        if self.is_leaving() {
            core.counters.refused.fetch_add(1, Relaxed);
            tracing::info!(app = self.name, call = start.channel.id, "call turned away: its tenant is gone");
            return self.turn_away(start.channel.id);
        }
        let Ok(place) = Arc::clone(&core.places).try_acquire_owned() else {
            core.counters.refused_full.fetch_add(1, Relaxed);
            tracing::warn!(app = self.name, call = start.channel.id, "call turned away: too many calls are up");
            return self.turn_away(start.channel.id);
        };
        let answered = start.channel.state == ChannelState::Up;
        let (inbox, inputs) = LegInbox::new(Arc::clone(&core.counters.dropped_inputs));
        let (commands, asked) = mpsc::channel(COMMANDS_MAX);
        let seed = Seed {
            channel: start.channel.id.clone(),
            technology: start.channel.technology().to_owned(),
            answered,
            placed: None,
        };
        let shared = Arc::new(LegShared::new(seed, Arc::clone(self), inbox, place));
        let leg = NewLeg {
            id: shared.call.clone(),
            app: self.name.clone(),
            caller_id: first_of([&start.channel.caller.number, &start.channel.caller.name]),
            called_number: called_number(&start),
            direction: Direction::Inbound,
            answered,
            leg: Arc::new(AsteriskLeg::new(Arc::clone(&shared), commands)),
            exchange: Arc::new(AsteriskExchange::new(Arc::clone(self))),
        };
        // Held until a refusal is dealt with: a leg that is dropped hangs up as if nothing were the matter.
        let held = Arc::clone(&leg.leg);
        let (caller_id, called_number) = (leg.caller_id.clone(), leg.called_number.clone());
        match core.switchboard.incoming(leg) {
            Ok(events) => {
                core.counters.accepted.fetch_add(1, Relaxed);
                tracing::info!(call = %shared.call, app = self.name, caller_id, called_number, answered, "call came in");
                self.registry.add_leg(Arc::clone(&shared));
                tokio::spawn(LegTask::new(shared, events, inputs, asked).run());
            }
            Err(refusal) => {
                core.counters.refused.fetch_add(1, Relaxed);
                tracing::info!(call = %shared.call, app = self.name, reason = refusal.reason, "call refused");
                let elsewhere = refusal.cause == HangupCause::Congestion
                    && self.options().refused_calls == RefusedCalls::ContinueInDialplan;
                if elsewhere {
                    shared.refuse_to_dialplan(refusal.cause);
                } else {
                    shared.dismiss(refusal.cause);
                }
            }
        }
        drop(held);
    }

    /// What becomes of a call that the switchboard is not even asked about.
    fn turn_away(self: &Arc<Self>, channel: String) {
        match self.options().refused_calls {
            RefusedCalls::Hangup => self.hang_up_unknown(channel, HangupReason::Congestion),
            RefusedCalls::ContinueInDialplan => self.send_on(channel),
        }
    }

    /// Lets what is no leg go on behind `Stasis()`. Never waits.
    fn send_on(self: &Arc<Self>, channel: String) {
        let app = Arc::clone(self);
        tokio::spawn(async move {
            let told = app.client.set_variable(&channel, REFUSED_VARIABLE, "congestion").await;
            let went_on = match told {
                Ok(()) => app.client.continue_in_dialplan(&channel, &ContinueTo::default()).await,
                Err(error) => Err(error),
            };
            if let Err(error) = went_on {
                tracing::warn!(app = app.name, channel, %error, "a refused call could not go on in the dialplan");
                let _ = app.client.hangup(&channel, HangupReason::Congestion).await;
            }
        });
    }

    /// Hangs up what is no leg. Never waits.
    fn hang_up_unknown(self: &Arc<Self>, channel: String, reason: HangupReason) {
        let app = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = app.client.hangup(&channel, reason).await {
                tracing::warn!(app = app.name, channel, %error, "a channel could not be hung up");
            }
        });
    }
}

/// The one comparison with the PBX that is under way; it ends with its owner.
#[derive(Default)]
struct Aborting(Option<JoinHandle<()>>);

impl Aborting {
    fn restart(&mut self, app: &Arc<App>, scope: Scope) {
        let app = Arc::clone(app);
        let task = tokio::spawn(async move { reconcile::reconcile(&app, scope).await });
        if let Some(before) = self.0.replace(task) {
            before.abort();
        }
    }

    fn start_unless_running(&mut self, app: &Arc<App>, scope: Scope) {
        if self.0.as_ref().is_none_or(JoinHandle::is_finished) {
            self.restart(app, scope);
        }
    }
}

impl Drop for Aborting {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Between half of it and all of it, so that many hosts do not come back to one PBX in the same millisecond.
fn jittered(wait: Duration) -> Duration {
    // The low bits of a random UUID.
    let random = (uuid::Uuid::new_v4().as_u128() & 0xffff) as u32;
    wait / 2 + (wait / 2).mul_f64(f64::from(random) / f64::from(u16::MAX))
}

/// What was dialled: the extension; for a channel that came without one (`s` is Asterisk's name for none) the
/// application's first argument.
fn called_number(start: &StasisStart) -> String {
    let extension = &start.channel.dialplan.exten;
    match start.args.first() {
        Some(argument) if extension.is_empty() || extension == "s" => argument.clone(),
        _ => extension.clone(),
    }
}

/// What Asterisk said, fit for a sentence.
fn quoted(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).take(120).collect();
    if text.is_empty() { "it does not say why".to_owned() } else { text }
}

fn first_of<const N: usize>(texts: [&String; N]) -> String {
    texts.into_iter().find(|text| !text.is_empty()).cloned().unwrap_or_default()
}

/// The key that an event names, if it is one.
fn key(text: &str) -> Option<char> {
    let mut characters = text.chars();
    let digit = characters.next()?.to_ascii_uppercase();
    (characters.next().is_none() && DTMF_DIGITS.contains(digit)).then_some(digit)
}

#[cfg(test)]
mod unit_tests {
    use super::{Duration, jittered, key};

    #[test]
    fn a_wait_is_between_half_and_all_of_it() {
        let wait = Duration::from_millis(800);
        assert!((0..100).map(|_| jittered(wait)).all(|w| w >= wait / 2 && w <= wait));
    }

    #[test]
    fn only_one_key_is_a_key() {
        assert_eq!(key("5"), Some('5'));
        assert_eq!(key("a"), Some('A'));
        assert_eq!((key(""), key("55"), key("x"), key("é")), (None, None, None, None));
    }
}
