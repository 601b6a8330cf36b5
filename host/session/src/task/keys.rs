//! The caller's keys, and who gets them.

use std::collections::VecDeque;

use serde_json::json;
use tokio::time::Instant;
use voxtra_core::verbs::{DTMF_DIGITS, Digits, Dtmf, Gather, HandlerEvent};
use voxtra_core::{CallError, EventType, PlaybackId};

use super::CallTask;
use super::prompts::Purpose;
use crate::call::Reply;
use crate::gather::Gathering;

/// How many keys wait to be taken; of more, the oldest go.
const DIGITS_MAX: usize = 256;

/// See the module.
#[derive(Default)]
pub(super) struct Keys {
    /// The gathering that gets the keys.
    current: Option<CurrentGather>,
    /// Gatherings that wait for it to end.
    waiting: VecDeque<(Box<Gather>, Reply<Digits>)>,
    /// Keys that nobody has taken yet.
    digits: VecDeque<char>,
}

struct CurrentGather {
    gathering: Gathering,
    prompt: Option<PlaybackId>,
    reply: Reply<Digits>,
}

impl Keys {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.current.as_ref().and_then(|current| current.gathering.deadline())
    }

    /// How many gatherings wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Tells everybody who waits that the call is over.
    pub(super) fn hang_up(&mut self) {
        let current = self.current.take().map(|current| current.reply);
        for reply in current.into_iter().chain(self.waiting.drain(..).map(|(_, reply)| reply)) {
            let _ = reply.send(Err(CallError::HungUp));
        }
    }
}

/// A key as the contract knows it.
fn known_key(dtmf: Dtmf) -> Option<Dtmf> {
    let digit = dtmf.digit.to_ascii_uppercase();
    DTMF_DIGITS.contains(digit).then_some(Dtmf { digit, ..dtmf })
}

impl CallTask {
    pub(super) fn gather(&mut self, gather: Box<Gather>, reply: Reply<Digits>) {
        self.keys.waiting.push_back((gather, reply));
        self.serve_gatherings();
    }

    pub(super) fn key_pressed(&mut self, dtmf: Dtmf) {
        let Some(dtmf) = known_key(dtmf) else { return };
        let key = dtmf.digit;
        self.life.emit(EventType::DtmfReceived, json!({"digit": key.to_string(), "duration_ms": dtmf.duration_ms}));
        self.tell_handler(HandlerEvent::Dtmf(dtmf));
        if self.keys.digits.len() >= DIGITS_MAX {
            self.keys.digits.pop_front();
            self.life.host.counters.digit_dropped();
        }
        self.keys.digits.push_back(key);
        self.interrupt_playings(key);
        self.serve_gatherings();
    }

    /// Gives the keys that wait to the gathering whose turn it is, and the next ones their turns.
    fn serve_gatherings(&mut self) {
        loop {
            if self.keys.current.is_none() {
                let Some((gather, reply)) = self.keys.waiting.pop_front() else { return };
                if reply.is_closed() {
                    continue;
                }
                let gathering = Gathering::new(*gather, Instant::now());
                self.keys.current = Some(CurrentGather { gathering, prompt: None, reply });
                if self.keys.digits.is_empty() {
                    self.play_prompts();
                    return;
                }
            }
            let Some(key) = self.keys.digits.pop_front() else { return };
            self.gather_key(key);
        }
    }

    fn play_prompts(&mut self) {
        let Some(current) = &self.keys.current else { return };
        let prompts = current.gathering.prompts().to_vec();
        if prompts.is_empty() {
            return;
        }
        let id = self.start_playing(prompts, Purpose::Prompt);
        if let Some(current) = &mut self.keys.current {
            current.prompt = Some(id);
        }
    }

    fn gather_key(&mut self, key: char) {
        let Some(current) = &mut self.keys.current else { return };
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
        let Some(current) = self.keys.current.take() else { return };
        if let Some(id) = current.prompt {
            self.abandon_prompt(&id);
            self.stop_playing(&id);
        }
        let _ = current.reply.send(outcome);
    }

    pub(super) fn prompts_over(&mut self, id: &PlaybackId, outcome: Result<(), CallError>) {
        let Some(current) = self.keys.current.as_mut().filter(|current| current.prompt.as_ref() == Some(id)) else {
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

    pub(super) fn gathering_timed_out(&mut self, now: Instant) {
        if let Some(digits) = self.keys.current.as_mut().and_then(|current| current.gathering.timed_out(now)) {
            self.end_gathering(Ok(digits));
            self.serve_gatherings();
        }
    }

    /// Ends the gathering that gets the keys, as if its time were over.
    pub(super) fn cut_gathering_short(&mut self) {
        if let Some(digits) = self.keys.current.as_mut().map(|current| current.gathering.cut_short()) {
            self.end_gathering(Ok(digits));
            self.serve_gatherings();
        }
    }

    /// Ends gatherings that nobody waits for any more.
    pub(super) fn forget_dropped_gatherings(&mut self) {
        self.keys.waiting.retain(|(_, reply)| !reply.is_closed());
        if self.keys.current.as_ref().is_some_and(|current| current.reply.is_closed()) {
            self.end_gathering(Err(CallError::HungUp));
            self.serve_gatherings();
        }
    }

    /// The keys that were typed for a handler are not the next one's.
    pub(super) fn forget_keys(&mut self) {
        self.keys.digits.clear();
    }
}
