//! One task a leg. It alone delivers the leg's events, so they come in order and its end comes once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use voxtra_ari::{AriError, Play};
use voxtra_core::telephony::LegEnd;
use voxtra_core::verbs::Dtmf;
use voxtra_core::{BoxFuture, CallError, HangupCause, LegEvent, LegEvents, PlaybackId, RecordingId};

use super::error::to_call_error;
use super::exchange;
use super::leg::{LegShared, Transfer};
use super::player::{Action, Player, Reply};
use super::registry::Listener;

/// Inputs that may wait for a leg's task.
const INBOX_MAX_INPUTS: usize = 256;
/// Of these, places kept for what must not be lost: ends, and prompts that are over.
const INBOX_RESERVED_INPUTS: usize = 32;
/// Verbs that may wait for a leg's task.
pub(super) const COMMANDS_MAX: usize = 32;
/// How long the end of a stopped prompt may take to be told.
const STOP_LIMIT: Duration = Duration::from_secs(1);
/// How long after it left our application a channel is asked after: one that was hung up is gone by then.
const LEFT_CHECK_AFTER: Duration = Duration::from_millis(100);

/// What happens to a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LegInput {
    /// The channel is up.
    Answered,
    /// A key.
    Dtmf(Dtmf),
    /// A playback is over; an empty sentence means that Asterisk gave no reason.
    PlaybackOver { playback: String, outcome: Result<(), String> },
    /// Events may have been lost: ask after what plays.
    CheckPlayback,
    /// It is about to move to another bridge.
    SuspendPlaying,
    /// It has moved.
    ResumePlaying,
    /// The audio connection is gone.
    MediaLost,
    /// ChannelHangupRequest.
    HangupRequested,
    /// StasisEnd.
    Left,
    /// ChannelDestroyed, with its Q.850 cause.
    Destroyed { cause: i64, text: String },
    /// The other side of a leg that we placed rings.
    Ringing,
    /// It is in our application: again, or (one that we placed) because it was answered.
    Entered,
    /// A recording is over.
    RecordingOver { id: RecordingId, outcome: Result<u32, String> },
    /// The PBX failed the call.
    Failed(String),
    /// We have hung it up.
    EndedByUs,
}

impl LegInput {
    fn may_be_dropped(&self) -> bool {
        matches!(self, Self::Dtmf(_) | Self::CheckPlayback | Self::Ringing)
    }
}

/// Where a leg's inputs go. Never blocks.
#[derive(Debug, Clone)]
pub(super) struct LegInbox {
    sender: mpsc::Sender<LegInput>,
    dropped: Arc<AtomicU64>,
    /// The channel is not expected to be in our application.
    away: Arc<AtomicBool>,
}

impl LegInbox {
    /// An inbox that counts what it drops in `dropped`.
    pub(super) fn new(dropped: Arc<AtomicU64>) -> (Self, mpsc::Receiver<LegInput>) {
        let (sender, receiver) = mpsc::channel(INBOX_MAX_INPUTS);
        (Self { sender, dropped, away: Arc::default() }, receiver)
    }

    /// Whether it is no wonder that the channel is not in our application: it is not answered yet, or in the dialplan
    /// and still the host's.
    pub(super) fn is_away(&self) -> bool {
        self.away.load(Relaxed)
    }

    pub(super) fn set_away(&self, away: bool) {
        self.away.store(away, Relaxed);
    }

    /// Takes an input; one that finds no place is dropped and counted.
    pub(super) fn post(&self, input: LegInput) {
        let full = input.may_be_dropped() && self.sender.capacity() <= INBOX_RESERVED_INPUTS;
        if full || matches!(self.sender.try_send(input), Err(mpsc::error::TrySendError::Full(_))) {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// A verb that needs the leg's order.
#[derive(Debug)]
pub(super) enum Command {
    /// Play a list.
    Play { id: PlaybackId, media: Vec<String>, reply: Reply },
    /// Stop one.
    Stop { id: PlaybackId, reply: Reply },
}

/// What a request that was under way gave.
enum Done {
    Started {
        playback: String,
        outcome: Result<(), CallError>,
    },
    Stopped {
        playback: String,
        outcome: Result<(), CallError>,
    },
    /// A stopped prompt's time is up, or the PBX does not know it any more.
    Over {
        playback: String,
    },
    /// It still plays.
    StillPlays {
        playback: String,
    },
    /// Whether the channel that left our application is still there.
    Left {
        still_there: bool,
    },
    /// A leg that we placed has rung for as long as it may.
    RungOut,
    /// A leg that we placed was answered and is where it was to go.
    InPlace,
    Nothing,
}

/// How long the end of a recording may hold up the end of its leg.
const RECORDING_LIMIT: Duration = Duration::from_millis(1_500);

/// The task's state.
pub(super) struct LegTask {
    shared: Arc<LegShared>,
    events: Arc<dyn LegEvents>,
    inputs: mpsc::Receiver<LegInput>,
    commands: mpsc::Receiver<Command>,
    player: Player,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    leaving: bool,
    ringing_told: bool,
    /// Recordings whose end was told: the last one.
    recorded: Option<RecordingId>,
}

impl LegTask {
    pub(super) fn new(
        shared: Arc<LegShared>,
        events: Arc<dyn LegEvents>,
        inputs: mpsc::Receiver<LegInput>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let work = FuturesUnordered::new();
        Self {
            shared,
            events,
            inputs,
            commands,
            player: Player::default(),
            work,
            leaving: false,
            ringing_told: false,
            recorded: None,
        }
    }

    /// Runs until the leg is over.
    pub(super) async fn run(mut self) {
        if let Some(placed) = &self.shared.placed {
            let limit = placed.ring_timeout;
            self.work.push(Box::pin(async move {
                sleep(limit).await;
                Done::RungOut
            }));
        }
        let end = loop {
            let ended = tokio::select! {
                // What the PBX said comes before what is asked of it.
                biased;
                Some(input) = self.inputs.recv() => self.take(input),
                Some(done) = self.work.next(), if !self.work.is_empty() => self.finish(done),
                Some(command) = self.commands.recv() => { self.command(command); None }
                else => Some(LegEnd::Failed("the host has dropped this leg".to_owned())),
            };
            if let Some(end) = ended {
                break end;
            }
        };
        self.end_recording(&end).await;
        self.end(end);
    }

    fn take(&mut self, input: LegInput) -> Option<LegEnd> {
        match input {
            // One that we placed is answered when it can be worked with.
            LegInput::Answered if self.shared.placed.is_some() => {}
            LegInput::Answered => {
                if !self.shared.answered.swap(true, Relaxed) {
                    self.events.deliver(LegEvent::Answered);
                }
            }
            LegInput::Dtmf(dtmf) => self.events.deliver(LegEvent::Dtmf(dtmf)),
            LegInput::PlaybackOver { playback, outcome } => {
                let actions = self.player.over(&playback, outcome);
                self.act(actions);
            }
            LegInput::CheckPlayback => {
                if let Some(playback) = self.player.playback().map(str::to_owned) {
                    self.check_playback(playback, Duration::ZERO);
                }
            }
            LegInput::SuspendPlaying => {
                let actions = self.player.suspend();
                self.act(actions);
            }
            LegInput::ResumePlaying => {
                let actions = self.player.resume();
                self.act(actions);
            }
            LegInput::MediaLost => self.events.deliver(LegEvent::MediaLost),
            LegInput::Ringing => {
                let new = self.shared.placed.is_some() && !self.shared.is_answered();
                if new && !std::mem::replace(&mut self.ringing_told, true) {
                    self.events.deliver(LegEvent::Ringing);
                }
            }
            LegInput::Entered => self.entered(),
            LegInput::RecordingOver { id, outcome } => self.recording_over(id, outcome),
            LegInput::Destroyed { cause, text } if self.is_unanswered() => {
                return Some(exchange::not_answered(cause, &text));
            }
            // Why is said when the channel is gone.
            LegInput::HangupRequested if self.is_unanswered() => {}
            LegInput::HangupRequested => return Some(self.hung_up(Transfer::Redirect)),
            LegInput::Destroyed { .. } => return Some(self.hung_up(Transfer::Continue)),
            LegInput::Left if self.shared.transfer().is_some() => return Some(LegEnd::Transferred),
            LegInput::Left if self.shared.inbox.is_away() => {}
            LegInput::Left => self.check_left(),
            LegInput::Failed(why) => return Some(LegEnd::Failed(why)),
            LegInput::EndedByUs => return Some(LegEnd::HungUp),
        }
        None
    }

    /// What a hang-up means: with a transfer under way (of this kind or of the one by the channel's own protocol) that
    /// is how it shows; else the other side has hung up.
    fn hung_up(&self, counts: Transfer) -> LegEnd {
        match self.shared.transfer() {
            Some(Transfer::Redirect) => LegEnd::Transferred,
            Some(pending) if pending == counts => LegEnd::Transferred,
            _ => LegEnd::HungUp,
        }
    }

    fn is_unanswered(&self) -> bool {
        self.shared.placed.is_some() && !self.shared.is_answered()
    }

    fn entered(&mut self) {
        let shared = &self.shared;
        let elsewhere = shared.placed.as_ref().is_some_and(|placed| placed.into_dialplan.is_some());
        if !elsewhere {
            shared.inbox.set_away(false);
        }
        if self.is_unanswered() {
            let shared = Arc::clone(shared);
            self.work.push(Box::pin(async move {
                match exchange::answered(&shared).await {
                    Ok(()) => Done::InPlace,
                    // The leg has been told why it is over.
                    Err(_) => Done::Nothing,
                }
            }));
        }
        self.shared.entries.send_modify(|entries| *entries = entries.wrapping_add(1));
    }

    fn recording_over(&mut self, id: RecordingId, outcome: Result<u32, String>) {
        if self.recorded.as_ref() != Some(&id) {
            self.recorded = Some(id.clone());
            self.events.deliver(LegEvent::RecordingFinished { id, outcome });
        }
    }

    /// The end of a recording comes before that of its leg.
    async fn end_recording(&mut self, end: &LegEnd) {
        let Some(id) = self.shared.recorder.active().filter(|id| self.recorded.as_ref() != Some(id)) else { return };
        // Verbs are told already.
        self.shared.line.slot.leg_is_over();
        self.shared.ended.send_replace(Some(end.clone()));
        let shared = Arc::clone(&self.shared);
        let finishing = tokio::spawn(async move { shared.recorder.finish().await });
        let told = timeout(RECORDING_LIMIT, async {
            while let Some(input) = self.inputs.recv().await {
                if let LegInput::RecordingOver { id, outcome } = input {
                    return Some((id, outcome));
                }
            }
            None
        });
        let (id, outcome) = match told.await {
            Ok(Some(told)) => told,
            _ => (id, Err("the PBX did not end the recording before the call was over".to_owned())),
        };
        drop(finishing);
        self.recording_over(id, outcome);
    }

    fn finish(&mut self, done: Done) -> Option<LegEnd> {
        match done {
            Done::Started { playback, outcome } => {
                let actions = self.player.started(&playback, outcome);
                self.act(actions);
            }
            Done::Stopped { playback, outcome } => {
                if outcome.is_ok() && self.player.playback() == Some(&playback) {
                    let overdue = playback.clone();
                    self.work.push(Box::pin(async move {
                        sleep(STOP_LIMIT).await;
                        Done::Over { playback: overdue }
                    }));
                }
                self.player.stopped(&playback, &outcome);
            }
            Done::Over { playback } => {
                // A no when its end was told after all.
                if self.shared.app.registry.take_playback(&playback).is_some() {
                    let actions = self.player.over(&playback, Ok(()));
                    self.act(actions);
                }
            }
            Done::StillPlays { playback } => {
                if self.player.playback() == Some(&playback) {
                    self.check_playback(playback, self.shared.app.core.options.limits.playback_check);
                }
            }
            Done::Left { still_there: true } => return Some(LegEnd::Transferred),
            Done::Left { still_there: false } => return Some(LegEnd::HungUp),
            Done::RungOut if self.is_unanswered() => {
                self.shared.dismiss(HangupCause::NoAnswer);
                return Some(LegEnd::NotAnswered(HangupCause::NoAnswer));
            }
            Done::InPlace => {
                if !self.shared.answered.swap(true, Relaxed) {
                    self.events.deliver(LegEvent::Answered);
                }
            }
            Done::RungOut | Done::Nothing => {}
        }
        None
    }

    fn command(&mut self, command: Command) {
        let actions = match command {
            Command::Play { id, media, reply } => self.player.play(id, media, reply),
            Command::Stop { id, reply } => self.player.stop(&id, reply),
        };
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start { playback, medium, from } => self.start(playback, medium, from),
                Action::Watch { playback } => {
                    self.check_playback(playback, self.shared.app.core.options.limits.playback_check);
                }
                Action::Stop { playback } => self.stop(playback),
                Action::Forget { playback } => {
                    self.shared.app.registry.take_playback(&playback);
                }
                Action::Finished { id, outcome } => {
                    self.events.deliver(LegEvent::PlaybackFinished { id, outcome });
                }
            }
        }
        let quiet = self.player.is_quiet();
        self.shared.line.quiet.send_if_modified(|was| std::mem::replace(was, quiet) != quiet);
    }

    fn start(&mut self, playback: String, medium: String, from: Duration) {
        let shared = Arc::clone(&self.shared);
        shared.app.registry.add_playback(&playback, Listener::Leg(shared.inbox.clone()));
        self.work.push(Box::pin(async move {
            let mut play = Play::new(playback.clone(), medium);
            // Of what is no file it begins anew.
            play.offset_ms = (!from.is_zero()).then(|| u32::try_from(from.as_millis()).unwrap_or(0));
            let outcome = shared.app.client.play(&shared.channel, &play).await;
            if matches!(outcome, Err(AriError::Timeout { .. })) {
                // It may have been taken all the same.
                let _ = shared.app.client.stop_playback(&playback).await;
            }
            let outcome = outcome.map(drop).map_err(|e| shared.verb_error("playing", e));
            Done::Started { playback, outcome }
        }));
    }

    fn stop(&mut self, playback: String) {
        let shared = Arc::clone(&self.shared);
        self.work.push(Box::pin(async move {
            let outcome = shared.app.client.stop_playback(&playback).await;
            let outcome = outcome.map_err(|e| to_call_error("stopping a prompt", e));
            Done::Stopped { playback, outcome }
        }));
    }

    fn check_playback(&mut self, playback: String, after: Duration) {
        let shared = Arc::clone(&self.shared);
        self.work.push(Box::pin(async move {
            sleep(after).await;
            match shared.app.client.get_playback(&playback).await {
                Err(error) if error.gone() => Done::Over { playback },
                // One check that was asked for beside the regular ones is not repeated.
                _ if after.is_zero() => Done::Nothing,
                _ => Done::StillPlays { playback },
            }
        }));
    }

    /// It left without a hang-up and without us: a dialplan or another program took it, or its hang-up was not told.
    fn check_left(&mut self) {
        if std::mem::replace(&mut self.leaving, true) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        self.work.push(Box::pin(async move {
            sleep(LEFT_CHECK_AFTER).await;
            let still_there = shared.app.client.get_channel(&shared.channel).await.is_ok();
            Done::Left { still_there }
        }));
    }

    fn end(mut self, end: LegEnd) {
        let shared = &self.shared;
        tracing::info!(call = %shared.call, app = shared.app.name, ?end, "call over at the PBX");
        shared.app.registry.remove_leg(&shared.channel);
        if let Some(playback) = self.player.playback() {
            shared.app.registry.take_playback(playback);
        }
        shared.line.slot.leg_is_over();
        shared.ended.send_replace(Some(end.clone()));
        self.events.deliver(LegEvent::Ended(end));
        self.player.hung_up();
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            let (Command::Play { reply, .. } | Command::Stop { reply, .. }) = command;
            let _ = reply.send(Err(CallError::HungUp));
        }
    }
}
