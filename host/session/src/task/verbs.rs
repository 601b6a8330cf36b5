//! The handler's verbs: prompts and keys.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;
use voxtra_core::verbs::{Digits, Dtmf, Gather, HandlerEvent, PlayOutcome};
use voxtra_core::{CallError, EndReason, EventType, PlaybackId};

use super::{CallTask, Done, End, WORK_MAX, known_key, leg_verb};
use crate::call::{Message, Reply};
use crate::gather::Gathering;

/// How many keys wait to be taken; of more, the oldest go.
const DIGITS_MAX: usize = 256;

/// What is under way for the handler.
#[derive(Default)]
pub(super) struct Verbs {
    playings: Vec<Playing>,
    /// The gathering that gets the keys.
    current: Option<CurrentGather>,
    /// Gatherings that wait for it to end.
    waiting: VecDeque<(Gather, Reply<Digits>)>,
    /// Keys that nobody has taken yet.
    digits: VecDeque<char>,
}

struct CurrentGather {
    gathering: Gathering,
    prompt: Option<PlaybackId>,
    reply: Reply<Digits>,
}

struct Playing {
    id: PlaybackId,
    /// The leg has taken it: before that there is nothing that could be stopped.
    started: bool,
    stopping: bool,
    purpose: Purpose,
}

enum Purpose {
    /// A `play` waits for its end.
    Play { interrupt_on: String, interrupted_by: Option<char>, reply: Reply<PlayOutcome> },
    /// It is the current gathering's.
    Prompt,
    /// Nobody waits for it any more.
    Nothing,
}

impl Verbs {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.current.as_ref().and_then(|current| current.gathering.deadline())
    }

    /// Tells everybody who waits that the call is over.
    pub(super) fn hang_up(&mut self) {
        for playing in self.playings.drain(..) {
            if let Purpose::Play { reply, .. } = playing.purpose {
                let _ = reply.send(Err(CallError::HungUp));
            }
        }
        let current = self.current.take().map(|current| current.reply);
        for reply in current.into_iter().chain(self.waiting.drain(..).map(|(_, reply)| reply)) {
            let _ = reply.send(Err(CallError::HungUp));
        }
    }

    fn is_full(&self) -> bool {
        self.playings.len() + self.waiting.len() >= WORK_MAX
    }
}

impl CallTask {
    pub(super) fn on_message(&mut self, message: Message) -> Option<End> {
        if let Message::Hangup(cause, reply) = message {
            return Some(End { reason: EndReason::HandlerHungUp, cause, reply: Some(reply) });
        }
        if self.verbs.is_full() || self.work.len() >= WORK_MAX {
            let why = format!("{WORK_MAX} verbs of this call are under way already; wait for one to end");
            message.refuse(CallError::LimitExceeded(why));
            return None;
        }
        match message {
            Message::Hangup(..) => {}
            Message::Answer(reply) => self.answer(reply),
            Message::Play { media, interrupt_on, reply } => {
                self.start_playing(media, Purpose::Play { interrupt_on, interrupted_by: None, reply });
            }
            Message::Gather(gather, reply) => {
                self.verbs.waiting.push_back((gather, reply));
                self.serve_gatherings();
            }
            Message::SendDtmf(digits, reply) => self.send_dtmf(digits, reply),
            Message::OpenAudio(rate_hz, reply) => self.open_audio(rate_hz, reply),
        }
        None
    }

    fn answer(&mut self, reply: Reply<()>) {
        if self.shared.is_answered() {
            let _ = reply.send(Ok(()));
            return;
        }
        let leg = Arc::clone(&self.leg);
        self.work.spawn(async move { Done::Answered(leg_verb(leg.answer()).await, reply) });
    }

    fn send_dtmf(&mut self, digits: String, reply: Reply<()>) {
        let leg = Arc::clone(&self.leg);
        self.work.spawn(async move { Done::DtmfSent(leg_verb(leg.send_dtmf(&digits)).await, reply) });
    }

    fn start_playing(&mut self, media: Vec<String>, purpose: Purpose) -> PlaybackId {
        let id = PlaybackId::new(Uuid::new_v4().simple().to_string());
        self.verbs.playings.push(Playing { id: id.clone(), started: false, stopping: false, purpose });
        let (leg, playback) = (Arc::clone(&self.leg), id.clone());
        self.work.spawn(async move {
            let result = leg_verb(leg.play(&playback, &media)).await;
            Done::PlayStarted(playback, result)
        });
        id
    }

    pub(super) fn playback_started(&mut self, id: &PlaybackId, result: Result<(), CallError>) {
        if let Err(error) = result {
            return self.playback_over(id, Err(error));
        }
        let Some(playing) = self.verbs.playings.iter_mut().find(|playing| playing.id == *id) else { return };
        playing.started = true;
        if playing.stopping {
            self.stop_at_leg(id.clone());
        }
    }

    fn stop_playing(&mut self, id: &PlaybackId) {
        let Some(playing) = self.verbs.playings.iter_mut().find(|playing| playing.id == *id) else { return };
        if !std::mem::replace(&mut playing.stopping, true) && playing.started {
            self.stop_at_leg(id.clone());
        }
    }

    fn stop_at_leg(&mut self, id: PlaybackId) {
        let (leg, call) = (Arc::clone(&self.leg), self.shared.info.id.clone());
        self.work.spawn(async move {
            if let Err(error) = leg_verb(leg.stop_playback(&id)).await {
                tracing::warn!(%call, %error, "a prompt could not be stopped");
            }
            Done::PlayStopped(id)
        });
    }

    /// A playing is over, one way or the other. Told twice, it counts once.
    pub(super) fn playback_over(&mut self, id: &PlaybackId, outcome: Result<(), CallError>) {
        let Some(at) = self.verbs.playings.iter().position(|playing| playing.id == *id) else { return };
        match self.verbs.playings.swap_remove(at).purpose {
            Purpose::Play { interrupted_by, reply, .. } => {
                let outcome = match interrupted_by {
                    Some(key) => Ok(PlayOutcome::Interrupted(key)),
                    None => outcome.map(|()| PlayOutcome::Finished),
                };
                let _ = reply.send(outcome);
            }
            Purpose::Prompt => self.prompts_over(id, outcome),
            Purpose::Nothing => {}
        }
    }

    fn prompts_over(&mut self, id: &PlaybackId, outcome: Result<(), CallError>) {
        let Some(current) = self.verbs.current.as_mut().filter(|current| current.prompt.as_ref() == Some(id)) else {
            return;
        };
        current.prompt = None;
        match outcome {
            Ok(()) => current.gathering.prompts_over(Instant::now()),
            Err(error) => {
                self.end_gathering(Err(error));
                self.serve_gatherings();
            }
        }
    }

    pub(super) fn key_pressed(&mut self, dtmf: Dtmf) {
        let Some(dtmf) = known_key(dtmf) else { return };
        let key = dtmf.digit;
        self.life.emit(EventType::DtmfReceived, json!({"digit": key.to_string(), "duration_ms": dtmf.duration_ms}));
        self.tell_handler(HandlerEvent::Dtmf(dtmf));
        if self.verbs.digits.len() >= DIGITS_MAX {
            self.verbs.digits.pop_front();
            self.life.host.counters.digit_dropped();
        }
        self.verbs.digits.push_back(key);
        self.interrupt_playings(key);
        self.serve_gatherings();
    }

    /// Only a key that comes while a prompt plays stops it: an old one that nobody has taken would stop all that follow.
    fn interrupt_playings(&mut self, key: char) {
        let mut interrupted = Vec::new();
        for playing in &mut self.verbs.playings {
            if let Purpose::Play { interrupt_on, interrupted_by, .. } = &mut playing.purpose
                && interrupted_by.is_none()
                && interrupt_on.contains(key)
            {
                *interrupted_by = Some(key);
                interrupted.push(playing.id.clone());
            }
        }
        for id in interrupted {
            self.barge_in(&id, key);
        }
    }

    fn barge_in(&mut self, id: &PlaybackId, key: char) {
        self.life.emit(EventType::BargeIn, json!({"digit": key.to_string()}));
        self.stop_playing(id);
    }

    /// Gives the keys that wait to the gathering whose turn it is, and the next ones their turns.
    fn serve_gatherings(&mut self) {
        loop {
            if self.verbs.current.is_none() {
                let Some((gather, reply)) = self.verbs.waiting.pop_front() else { return };
                if reply.is_closed() {
                    continue;
                }
                let gathering = Gathering::new(gather, Instant::now());
                self.verbs.current = Some(CurrentGather { gathering, prompt: None, reply });
                if self.verbs.digits.is_empty() {
                    self.play_prompts();
                    return;
                }
            }
            let Some(key) = self.verbs.digits.pop_front() else { return };
            self.gather_key(key);
        }
    }

    fn play_prompts(&mut self) {
        let Some(current) = &self.verbs.current else { return };
        let prompts = current.gathering.prompts().to_vec();
        if prompts.is_empty() {
            return;
        }
        let id = self.start_playing(prompts, Purpose::Prompt);
        if let Some(current) = &mut self.verbs.current {
            current.prompt = Some(id);
        }
    }

    fn gather_key(&mut self, key: char) {
        let Some(current) = &mut self.verbs.current else { return };
        let over = current.gathering.press(key, Instant::now());
        if let Some(id) = current.prompt.take() {
            self.abandon_prompt(&id);
            self.barge_in(&id, key);
        }
        if let Some(digits) = over {
            self.end_gathering(Ok(digits));
        }
    }

    /// Ends the current gathering. Who calls this goes on to [`CallTask::serve_gatherings`] where others may wait.
    fn end_gathering(&mut self, outcome: Result<Digits, CallError>) {
        let Some(current) = self.verbs.current.take() else { return };
        if let Some(id) = current.prompt {
            self.abandon_prompt(&id);
            self.stop_playing(&id);
        }
        let _ = current.reply.send(outcome);
    }

    fn abandon_prompt(&mut self, id: &PlaybackId) {
        if let Some(playing) = self.verbs.playings.iter_mut().find(|playing| playing.id == *id) {
            playing.purpose = Purpose::Nothing;
        }
    }

    pub(super) fn gathering_timed_out(&mut self, now: Instant) {
        if let Some(digits) = self.verbs.current.as_mut().and_then(|current| current.gathering.timed_out(now)) {
            self.end_gathering(Ok(digits));
            self.serve_gatherings();
        }
    }

    /// Stops what nobody waits for any more.
    pub(super) fn forget_dropped_verbs(&mut self) {
        let mut dropped = Vec::new();
        for playing in &mut self.verbs.playings {
            if matches!(&playing.purpose, Purpose::Play { reply, .. } if reply.is_closed()) {
                playing.purpose = Purpose::Nothing;
                dropped.push(playing.id.clone());
            }
        }
        for id in dropped {
            self.stop_playing(&id);
        }
        self.verbs.waiting.retain(|(_, reply)| !reply.is_closed());
        if self.verbs.current.as_ref().is_some_and(|current| current.reply.is_closed()) {
            self.end_gathering(Err(CallError::HungUp));
            self.serve_gatherings();
        }
    }

    /// The keys that were typed for a handler are not the next one's.
    pub(super) fn forget_keys(&mut self) {
        self.verbs.digits.clear();
    }
}
