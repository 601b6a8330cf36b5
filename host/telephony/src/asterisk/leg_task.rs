//! One task a leg. It alone delivers the leg's events, so they come in order and its end comes once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::sleep;
use voxtra_ari::{AriError, Play};
use voxtra_core::telephony::LegEnd;
use voxtra_core::verbs::Dtmf;
use voxtra_core::{BoxFuture, CallError, LegEvent, LegEvents, PlaybackId};

use super::error::to_call_error;
use super::leg::{LegShared, Transfer};
use super::player::{Action, Player, Reply};

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
    /// The audio connection is gone.
    MediaLost,
    /// ChannelHangupRequest.
    HangupRequested,
    /// StasisEnd.
    Left,
    /// ChannelDestroyed.
    Destroyed,
    /// The PBX failed the call.
    Failed(String),
    /// We have hung it up.
    EndedByUs,
}

impl LegInput {
    fn may_be_dropped(&self) -> bool {
        matches!(self, Self::Dtmf(_) | Self::CheckPlayback)
    }
}

/// Where a leg's inputs go. Never blocks.
#[derive(Debug, Clone)]
pub(super) struct LegInbox {
    sender: mpsc::Sender<LegInput>,
    dropped: Arc<AtomicU64>,
}

impl LegInbox {
    /// An inbox that counts what it drops in `dropped`.
    pub(super) fn new(dropped: Arc<AtomicU64>) -> (Self, mpsc::Receiver<LegInput>) {
        let (sender, receiver) = mpsc::channel(INBOX_MAX_INPUTS);
        (Self { sender, dropped }, receiver)
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
    Nothing,
}

/// The task's state.
pub(super) struct LegTask {
    shared: Arc<LegShared>,
    events: Arc<dyn LegEvents>,
    inputs: mpsc::Receiver<LegInput>,
    commands: mpsc::Receiver<Command>,
    player: Player,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    leaving: bool,
}

impl LegTask {
    pub(super) fn new(
        shared: Arc<LegShared>,
        events: Arc<dyn LegEvents>,
        inputs: mpsc::Receiver<LegInput>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let work = FuturesUnordered::new();
        Self { shared, events, inputs, commands, player: Player::default(), work, leaving: false }
    }

    /// Runs until the leg is over.
    pub(super) async fn run(mut self) {
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
        self.end(end);
    }

    fn take(&mut self, input: LegInput) -> Option<LegEnd> {
        match input {
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
            LegInput::MediaLost => self.events.deliver(LegEvent::MediaLost),
            LegInput::HangupRequested => return Some(self.hung_up(Transfer::Redirect)),
            LegInput::Destroyed => return Some(self.hung_up(Transfer::Continue)),
            LegInput::Left if self.shared.transfer().is_some() => return Some(LegEnd::Transferred),
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
            Done::Nothing => {}
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
                Action::Start { playback, medium } => self.start(playback, medium),
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
    }

    fn start(&mut self, playback: String, medium: String) {
        let shared = Arc::clone(&self.shared);
        shared.app.registry.add_playback(&playback, shared.inbox.clone());
        self.work.push(Box::pin(async move {
            let play = Play::new(playback.clone(), medium);
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
        shared.ended.send_replace(Some(end.clone()));
        self.events.deliver(LegEvent::Ended(end));
        shared.media.leg_is_over();
        self.player.hung_up();
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            let (Command::Play { reply, .. } | Command::Stop { reply, .. }) = command;
            let _ = reply.send(Err(CallError::HungUp));
        }
    }
}
