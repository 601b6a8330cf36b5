//! Prompts that play: those of the PBX and those of the host's own, one list after the other, each until its end or until
//! somebody stops it.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::json;
use uuid::Uuid;
use voxtra_core::verbs::{HandlerEvent, PlayOutcome};
use voxtra_core::{CallError, EventType, PlaybackId};

use super::own_prompts::Stop;
use super::{CallTask, Done, WORK_MAX, leg_verb};
use crate::call::Reply;
use crate::check;

/// How many ends of playings that nobody waited for are remembered.
const REMEMBERED_MAX: usize = 32;

/// See the module.
#[derive(Default)]
pub(super) struct Prompts {
    playings: Vec<Playing>,
    /// Ends of `start-playback`, the oldest first.
    past: VecDeque<(PlaybackId, Result<PlayOutcome, CallError>)>,
}

/// A list of prompts that plays.
pub(super) struct Playing {
    id: PlaybackId,
    /// What of it plays now, at the leg or by the host. The first part has the list's own id.
    part: PlaybackId,
    /// What follows.
    rest: VecDeque<Part>,
    /// The leg has taken the part: before that there is nothing that could be stopped.
    started: bool,
    stopping: bool,
    /// Stops a part that the host plays itself.
    stop_own: Option<Stop>,
    purpose: Purpose,
}

/// Prompts of one list that are played by the same side.
enum Part {
    Pbx(Vec<String>),
    Own(String),
}

pub(super) enum Purpose {
    /// A `play` waits for its end.
    Play { interrupt_on: String, interrupted_by: Option<char>, reply: Reply<PlayOutcome> },
    /// A `start-playback`: who waits for its beginning, and who for its end.
    Background { starting: Option<Reply<PlaybackId>>, waiting: Vec<Reply<PlayOutcome>> },
    /// It is the current gathering's.
    Prompt,
    /// Nobody waits for it any more.
    Nothing,
}

impl Prompts {
    /// Tells everybody who waits that the call is over.
    pub(super) fn hang_up(&mut self) {
        for playing in self.playings.drain(..) {
            match playing.purpose {
                Purpose::Play { reply, .. } => drop(reply.send(Err(CallError::HungUp))),
                Purpose::Background { starting, waiting } => {
                    starting.into_iter().for_each(|reply| drop(reply.send(Err(CallError::HungUp))));
                    waiting.into_iter().for_each(|reply| drop(reply.send(Err(CallError::HungUp))));
                }
                Purpose::Prompt | Purpose::Nothing => {}
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.playings.len()
    }

    pub(super) fn plays(&self, id: &PlaybackId) -> bool {
        self.playings.iter().any(|playing| playing.id == *id)
    }

    fn of(&mut self, id: &PlaybackId) -> Option<&mut Playing> {
        self.playings.iter_mut().find(|playing| playing.id == *id)
    }

    fn of_part(&mut self, part: &PlaybackId) -> Option<&mut Playing> {
        self.playings.iter_mut().find(|playing| playing.part == *part)
    }

    fn remember(&mut self, id: PlaybackId, outcome: Result<PlayOutcome, CallError>) {
        if self.past.len() >= REMEMBERED_MAX {
            self.past.pop_front();
        }
        self.past.push_back((id, outcome));
    }
}

fn new_id() -> PlaybackId {
    PlaybackId::new(Uuid::new_v4().simple().to_string())
}

/// One list as parts, each as long as it can be.
fn parts(media: Vec<String>) -> VecDeque<Part> {
    let mut parts = VecDeque::with_capacity(1);
    for prompt in media {
        if check::is_own_prompt(&prompt) {
            parts.push_back(Part::Own(prompt));
        } else if let Some(Part::Pbx(list)) = parts.back_mut() {
            list.push(prompt);
        } else {
            parts.push_back(Part::Pbx(vec![prompt]));
        }
    }
    parts
}

impl CallTask {
    /// Begins to play a list; its id. Whatever fails comes as its end, as it does for a list that plays.
    pub(super) fn start_playing(&mut self, media: Vec<String>, purpose: Purpose) -> PlaybackId {
        let id = new_id();
        let refused = self.check_own_prompts(&media).err();
        let playing = Playing {
            id: id.clone(),
            part: id.clone(),
            rest: parts(media),
            started: false,
            stopping: false,
            stop_own: None,
            purpose,
        };
        self.prompts.playings.push(playing);
        match refused {
            Some(error) => self.playing_over(&id, Err(error)),
            None => self.next_part(&id, id.clone()),
        }
        id
    }

    /// Begins to play a list that nobody waits for.
    pub(super) fn play_for_nobody(&mut self, media: Vec<String>) -> PlaybackId {
        self.start_playing(media, Purpose::Nothing)
    }

    /// Plays what comes next of a list, under this id; the list is over when there is nothing.
    fn next_part(&mut self, id: &PlaybackId, part_id: PlaybackId) {
        let Some(playing) = self.prompts.of(id) else { return };
        let Some(part) = playing.rest.pop_front() else { return self.playing_over(id, Ok(())) };
        playing.part = part_id.clone();
        playing.started = false;
        match part {
            Part::Pbx(media) => {
                let leg = Arc::clone(&self.leg);
                self.work.spawn(async move {
                    let result = leg_verb(leg.play(&part_id, &media)).await;
                    Done::PlayStarted(part_id, result)
                });
            }
            Part::Own(prompt) => {
                let stop = self.play_own(part_id.clone(), prompt);
                if let Some(playing) = self.prompts.of(id) {
                    playing.stop_own = Some(stop);
                }
                self.part_started(&part_id, Ok(()));
            }
        }
    }

    /// The leg has taken a part, or has refused it.
    pub(super) fn part_started(&mut self, part: &PlaybackId, result: Result<(), CallError>) {
        if let Err(error) = result {
            return self.part_over(part, Err(error));
        }
        let Some(playing) = self.prompts.of_part(part) else { return };
        playing.started = true;
        if let Purpose::Background { starting, .. } = &mut playing.purpose
            && let Some(reply) = starting.take()
        {
            let _ = reply.send(Ok(playing.id.clone()));
        }
        if playing.stopping {
            self.stop_part(part.clone());
        }
    }

    /// A part is over, one way or the other. Told twice, it counts once.
    pub(super) fn part_over(&mut self, part: &PlaybackId, outcome: Result<(), CallError>) {
        let Some(playing) = self.prompts.of_part(part) else { return };
        let id = playing.id.clone();
        playing.stop_own = None;
        if outcome.is_ok() && !playing.stopping && !playing.rest.is_empty() {
            return self.next_part(&id, new_id());
        }
        self.playing_over(&id, outcome);
    }

    fn playing_over(&mut self, id: &PlaybackId, outcome: Result<(), CallError>) {
        let Some(at) = self.prompts.playings.iter().position(|playing| playing.id == *id) else { return };
        let playing = self.prompts.playings.swap_remove(at);
        match playing.purpose {
            Purpose::Play { interrupted_by, reply, .. } => {
                let outcome = match interrupted_by {
                    Some(key) => Ok(PlayOutcome::Interrupted(key)),
                    None => {
                        outcome.map(|()| if playing.stopping { PlayOutcome::Stopped } else { PlayOutcome::Finished })
                    }
                };
                let _ = reply.send(outcome);
            }
            Purpose::Background { starting, waiting } => {
                let outcome =
                    outcome.map(|()| if playing.stopping { PlayOutcome::Stopped } else { PlayOutcome::Finished });
                self.background_over(playing.id, starting, waiting, outcome);
            }
            Purpose::Prompt => self.prompts_over(id, outcome),
            Purpose::Nothing => {}
        }
    }

    fn background_over(
        &mut self,
        id: PlaybackId,
        starting: Option<Reply<PlaybackId>>,
        waiting: Vec<Reply<PlayOutcome>>,
        outcome: Result<PlayOutcome, CallError>,
    ) {
        if let Some(reply) = starting {
            // It never began, and its verb says so; nobody knows its id.
            if let Err(error) = outcome {
                let _ = reply.send(Err(error));
                return;
            }
            let _ = reply.send(Ok(id.clone()));
        }
        for reply in waiting {
            let _ = reply.send(outcome.clone());
        }
        let told = outcome.clone().map_err(|error| error.to_string());
        self.tell_handler(HandlerEvent::PlaybackFinished(id.clone(), told));
        self.prompts.remember(id, outcome);
    }

    /// Stops a list; nothing happens when it is over.
    pub(super) fn stop_playing(&mut self, id: &PlaybackId) {
        let Some(playing) = self.prompts.of(id) else { return };
        if !std::mem::replace(&mut playing.stopping, true) && playing.started {
            let part = playing.part.clone();
            self.stop_part(part);
        }
    }

    pub(super) fn stop_all_prompts(&mut self) {
        let ids: Vec<_> = self.prompts.playings.iter().map(|playing| playing.id.clone()).collect();
        ids.iter().for_each(|id| self.stop_playing(id));
    }

    fn stop_part(&mut self, part: PlaybackId) {
        if let Some(stop) = self.prompts.of_part(&part).and_then(|playing| playing.stop_own.take()) {
            return stop.now();
        }
        let (leg, call) = (Arc::clone(&self.leg), self.shared.info.id.clone());
        self.work.spawn(async move {
            if let Err(error) = leg_verb(leg.stop_playback(&part)).await {
                tracing::warn!(%call, %error, "a prompt could not be stopped");
            }
            Done::PlayStopped(part)
        });
    }

    /// `stop` of a playback.
    pub(super) fn stop_playback(&mut self, id: &PlaybackId, reply: Reply<()>) {
        self.stop_playing(id);
        let _ = reply.send(Ok(()));
    }

    /// `wait` of a playback.
    pub(super) fn wait_playback(&mut self, id: &PlaybackId, reply: Reply<PlayOutcome>) {
        let past = self.prompts.past.iter().find(|(past, _)| past == id).map(|(_, outcome)| outcome.clone());
        if let Some(outcome) = past {
            let _ = reply.send(outcome);
            return;
        }
        match self.prompts.of(id).map(|playing| &mut playing.purpose) {
            Some(Purpose::Background { waiting, .. }) if waiting.len() < WORK_MAX => waiting.push(reply),
            Some(_) => {
                let why = "too many wait for this playback already; wait for one to end".to_owned();
                let _ = reply.send(Err(CallError::LimitExceeded(why)));
            }
            None => {
                let why = format!("nothing plays as {id}, and its end is not remembered any more");
                let _ = reply.send(Err(CallError::InvalidArgument(why)));
            }
        }
    }

    /// Only a key that comes while a prompt plays stops it: an old one that nobody has taken would stop all that follow.
    pub(super) fn interrupt_playings(&mut self, key: char) {
        let mut interrupted = Vec::new();
        for playing in &mut self.prompts.playings {
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

    pub(super) fn barge_in(&mut self, id: &PlaybackId, key: char) {
        self.life.emit(EventType::BargeIn, json!({"digit": key.to_string()}));
        self.stop_playing(id);
    }

    pub(super) fn abandon_prompt(&mut self, id: &PlaybackId) {
        if let Some(playing) = self.prompts.of(id) {
            playing.purpose = Purpose::Nothing;
        }
    }

    /// Ends what is waited for: a `play` stops, and the waiting for a playback ends as if its time were over.
    pub(super) fn cut_playings_short(&mut self) {
        let mut waited_for = Vec::new();
        for playing in &mut self.prompts.playings {
            match &mut playing.purpose {
                Purpose::Play { .. } => waited_for.push(playing.id.clone()),
                Purpose::Background { waiting, .. } => {
                    waiting.drain(..).for_each(|reply| drop(reply.send(Err(CallError::Timeout))));
                }
                Purpose::Prompt | Purpose::Nothing => {}
            }
        }
        waited_for.iter().for_each(|id| self.stop_playing(id));
    }

    /// Stops what nobody waits for any more.
    pub(super) fn forget_dropped_playings(&mut self) {
        let mut dropped = Vec::new();
        for playing in &mut self.prompts.playings {
            let gone = match &mut playing.purpose {
                Purpose::Play { reply, .. } => reply.is_closed(),
                Purpose::Background { starting, waiting } => {
                    waiting.retain(|reply| !reply.is_closed());
                    starting.as_ref().is_some_and(Reply::is_closed)
                }
                Purpose::Prompt | Purpose::Nothing => false,
            };
            if gone {
                playing.purpose = Purpose::Nothing;
                dropped.push(playing.id.clone());
            }
        }
        for id in dropped {
            self.stop_playing(&id);
        }
    }
}
