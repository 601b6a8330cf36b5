//! One Stasis application: its events go to its legs, in order, and a lost connection is lived through.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use voxtra_ari::events::StasisStart;
use voxtra_ari::{AriClient, ChannelState, Event, EventOptions, EventStream, HangupReason, PlaybackState, StreamItem};
use voxtra_core::verbs::{DTMF_DIGITS, Dtmf};
use voxtra_core::{Direction, NewLeg};

use super::adapter::Core;
use super::leg::{AsteriskLeg, LegShared};
use super::leg_task::{COMMANDS_MAX, LegInbox, LegInput, LegTask};
use super::names::{self, Names};
use super::reconcile::{self, Scope};
use super::registry::{MediaState, Registry};

/// Wait before the first attempt to connect again; doubled up to the operator's limit.
const RECONNECT_FIRST: Duration = Duration::from_millis(100);
/// How often the events connection is probed.
const PING_EVERY: Duration = Duration::from_secs(2);
/// An events connection on which nothing came for so long is dead.
const IDLE_LIMIT: Duration = Duration::from_secs(6);

/// See the module.
pub(super) struct App {
    pub(super) core: Arc<Core>,
    pub(super) client: AriClient,
    pub(super) name: String,
    pub(super) names: Names,
    pub(super) registry: Registry,
}

impl App {
    pub(super) fn new(core: Arc<Core>, client: AriClient) -> Arc<Self> {
        let name = client.app().to_owned();
        let names = Names::of_app(&name);
        Arc::new(Self { core, client, name, names, registry: Registry::default() })
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
            sleep(wait).await;
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
            Event::ChannelDestroyed(e) => self.channel_ends(&e.channel.id, LegInput::Destroyed),
            Event::ChannelHangupRequest(e) => self.channel_ends(&e.channel.id, LegInput::HangupRequested),
            Event::ChannelStateChange(e) if e.channel.state == ChannelState::Up => {
                self.registry.to_leg(&e.channel.id, LegInput::Answered);
            }
            Event::ChannelDtmfReceived(e) => {
                let duration_ms = u32::try_from(e.duration_ms).unwrap_or(0);
                if let Some(digit) = key(&e.digit) {
                    self.registry.to_leg(&e.channel.id, LegInput::Dtmf(Dtmf { digit, duration_ms }));
                }
            }
            Event::PlaybackFinished(e) => {
                if let Some(inbox) = self.registry.take_playback(&e.playback.id) {
                    let outcome = if e.playback.state == PlaybackState::Failed { Err(String::new()) } else { Ok(()) };
                    inbox.post(LegInput::PlaybackOver { playback: e.playback.id, outcome });
                }
            }
            Event::ApplicationReplaced(_) => {
                tracing::error!(
                    app = self.name,
                    "another program has taken over this application's events; give each program an application of its own"
                );
            }
            _ => {}
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
        if self.registry.has_leg(channel) {
            return;
        }
        self.incoming(start);
    }

    fn incoming(self: &Arc<Self>, start: StasisStart) {
        let core = &self.core;
        let Ok(place) = Arc::clone(&core.places).try_acquire_owned() else {
            core.counters.refused_full.fetch_add(1, Relaxed);
            tracing::warn!(app = self.name, call = start.channel.id, "call turned away: too many calls are up");
            return self.hang_up_unknown(start.channel.id, HangupReason::Congestion);
        };
        let answered = start.channel.state == ChannelState::Up;
        let (inbox, inputs) = LegInbox::new(Arc::clone(&core.counters.dropped_inputs));
        let (commands, asked) = mpsc::channel(COMMANDS_MAX);
        let shared = Arc::new(LegShared::new(&start.channel, Arc::clone(self), inbox.clone(), answered, place));
        let leg = NewLeg {
            id: shared.call.clone(),
            app: self.name.clone(),
            caller_id: first_of([&start.channel.caller.number, &start.channel.caller.name]),
            called_number: called_number(&start),
            direction: Direction::Inbound,
            answered,
            leg: Arc::new(AsteriskLeg::new(Arc::clone(&shared), commands)),
        };
        // Held until a refusal is dealt with: a leg that is dropped hangs up as if nothing were the matter.
        let held = Arc::clone(&leg.leg);
        let (caller_id, called_number) = (leg.caller_id.clone(), leg.called_number.clone());
        match core.switchboard.incoming(leg) {
            Ok(events) => {
                core.counters.accepted.fetch_add(1, Relaxed);
                tracing::info!(call = %shared.call, app = self.name, caller_id, called_number, answered, "call came in");
                self.registry.add_leg(&shared.channel, inbox);
                tokio::spawn(LegTask::new(shared, events, inputs, asked).run());
            }
            Err(refusal) => {
                core.counters.refused.fetch_add(1, Relaxed);
                tracing::info!(call = %shared.call, app = self.name, reason = refusal.reason, "call refused");
                shared.dismiss(refusal.cause);
            }
        }
        drop(held);
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

/// What was dialled: the extension; for a channel that came without one (`s` is Asterisk's name for none) the
/// application's first argument.
fn called_number(start: &StasisStart) -> String {
    let extension = &start.channel.dialplan.exten;
    match start.args.first() {
        Some(argument) if extension.is_empty() || extension == "s" => argument.clone(),
        _ => extension.clone(),
    }
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
    use super::key;

    #[test]
    fn only_one_key_is_a_key() {
        assert_eq!(key("5"), Some('5'));
        assert_eq!(key("a"), Some('A'));
        assert_eq!((key(""), key("55"), key("x"), key("é")), (None, None, None, None));
    }
}
