//! What a line does when the host asks for it.

use std::sync::Arc;
use std::time::Duration;

use voxtra_core::media::MediaLink;
use voxtra_core::telephony::PbxRecording;
use voxtra_core::verbs::{AnsweredBy, DialplanPlace, SnoopOptions};
use voxtra_core::{BridgeId, CallError, LegEvent, LegEvents, PlaybackId, RecordingId, SnoopId};

use super::ear::{Heard, MAX_WAITING_PLAYBACKS};
use super::leg::Verb;
use super::line::Line;
use super::link::OpenLink;
use super::mixer::Mixer;
use super::music::Endless;
use super::report::{CallerEvent, EndedBy, PromptEnd};
use super::snoop::{LineSnoop, SnoopVerb};
use super::tape::Tape;

/// The context that a call is in when nobody says, as in Asterisk's own examples.
const DEFAULT_CONTEXT: &str = "default";

/// The most variables of a call.
const MAX_VARIABLES: usize = 1_000;

/// The most snoops at one call.
const MAX_SNOOPS: usize = 16;

impl Line {
    /// Does what the host asks for. Where the call goes on after it, the answer is on its way already; else the host
    /// hears of it when the task is over.
    pub(super) fn obey(&mut self, verb: Verb, events: &dyn LegEvents) -> Option<EndedBy> {
        // A reply that nobody waits for any more is no loss.
        match verb {
            Verb::Answer(reply) => drop(reply.send(self.answer(events))),
            Verb::Ring(reply) => drop(reply.send(self.ring())),
            Verb::Hold(class, reply) => drop(reply.send(self.hold(class))),
            Verb::Unhold(reply) => drop(reply.send(self.unhold())),
            Verb::SetVariable(name, value, reply) => drop(reply.send(self.set_variable(name, value))),
            Verb::GetVariable(name, reply) => drop(reply.send(Ok(self.variables.get(&name).cloned()))),
            Verb::Play(id, media, reply) => drop(reply.send(self.play(id, media))),
            Verb::StopPlayback(id, reply) => {
                self.stop_playback(&id, events);
                let _ = reply.send(Ok(()));
            }
            Verb::SendDigits(digits, reply) => drop(reply.send(self.send_digits(digits))),
            Verb::StartRecording(recording, reply) => drop(reply.send(self.start_recording(&recording))),
            Verb::PauseRecording(id, paused, reply) => drop(reply.send(self.pause_recording(&id, paused))),
            Verb::StopRecording(id, reply) => {
                if self.tape.as_ref().is_some_and(|tape| tape.id == id) {
                    self.end_recording(events);
                }
                let _ = reply.send(Ok(()));
            }
            Verb::StartSnoop(id, options, held, reply) => {
                drop(reply.send(self.start_snoop(LineSnoop::new(id, options, held), options)));
            }
            Verb::Snoop(id, verb) => self.obey_snoop(&id, verb),
            Verb::DetectMachine(reply) => drop(reply.send(self.detect_machine())),
            Verb::JoinBridge(mixer, reply) => drop(reply.send(self.join_bridge(&mixer))),
            Verb::LeaveBridge(bridge, reply) => {
                self.leave_bridge_of(&bridge);
                let _ = reply.send(Ok(()));
            }
            Verb::BridgePrompt(heard) => self.hear_bridge_prompt(heard, events),
            Verb::OpenMedia(rate_hz, reply) => {
                // Who no longer waits would never close it.
                if let Err(Ok(_)) = reply.send(self.open_media(rate_hz)) {
                    self.close_media();
                }
            }
            Verb::CloseMedia(reply) => {
                self.close_media();
                let _ = reply.send(Ok(()));
            }
            Verb::Transfer(target, reply) => {
                let there = self.check_place(&target);
                return self.hand_on(there.map(|()| target), reply);
            }
            Verb::TransferToQueue(queue, variables, reply) => {
                let there = self.enter_queue(&queue, variables);
                return self.hand_on(there.map(|()| format!("queue {queue}")), reply);
            }
            Verb::Continue(place, reply) => {
                let name = self.place_name(&place);
                let there = self.check_place(name.split(',').next().unwrap_or(&name));
                return self.hand_on(there.map(|()| name), reply);
            }
            Verb::End(cause, reply) => {
                self.close_media();
                let _ = reply.send(Ok(()));
                return Some(EndedBy::Host(cause));
            }
        }
        None
    }

    fn hand_on(&mut self, target: Result<String, CallError>, reply: super::leg::Reply<()>) -> Option<EndedBy> {
        let (outcome, end) = match target {
            Ok(target) => (Ok(()), Some(EndedBy::Transferred(target))),
            Err(error) => (Err(error), None),
        };
        let _ = reply.send(outcome);
        end
    }

    fn answer(&mut self, events: &dyn LegEvents) -> Result<(), CallError> {
        if self.report.answered_at.is_some() {
            return Ok(());
        }
        if self.called.is_some() {
            return Err(CallError::Telephony(
                "only who is called can answer a call that was placed; wait for it".to_owned(),
            ));
        }
        let at = self.clock();
        self.ring_tone = None;
        self.report.answered_at = Some(at);
        self.note(at, CallerEvent::Answered);
        events.deliver(LegEvent::Answered);
        Ok(())
    }

    fn ring(&mut self) -> Result<(), CallError> {
        let rings = self.ring_tone.is_some() || self.report.answered_at.is_some() || self.called.is_some();
        if !rings {
            self.ring_tone = Some(Endless::ring_tone());
            self.note(self.clock(), CallerEvent::RingToneStarted);
        }
        Ok(())
    }

    fn hold(&mut self, class: String) -> Result<(), CallError> {
        self.music = Some(Endless::music());
        self.note(self.clock(), CallerEvent::Held(class));
        Ok(())
    }

    fn unhold(&mut self) -> Result<(), CallError> {
        if self.music.take().is_some() {
            self.note(self.clock(), CallerEvent::Unheld);
        }
        Ok(())
    }

    fn set_variable(&mut self, name: String, value: String) -> Result<(), CallError> {
        if self.variables.len() >= MAX_VARIABLES && !self.variables.contains_key(&name) {
            return Err(CallError::LimitExceeded(format!("a call has at most {MAX_VARIABLES} variables; reuse some")));
        }
        self.variables.insert(name.clone(), value.clone());
        self.note(self.clock(), CallerEvent::VariableSet(name, value));
        Ok(())
    }

    fn play(&mut self, id: PlaybackId, media: Vec<String>) -> Result<(), CallError> {
        if self.ear.play(id, media, self.clock()) {
            return Ok(());
        }
        Err(CallError::LimitExceeded(format!(
            "{MAX_WAITING_PLAYBACKS} lists of prompts wait to be played already; wait for one to end"
        )))
    }

    fn stop_playback(&mut self, id: &PlaybackId, events: &dyn LegEvents) {
        if let Some(playing) = self.ear.stop(id) {
            if let Some(media) = playing {
                self.end_prompt(media, self.clock(), PromptEnd::Stopped);
            }
            events.deliver(LegEvent::PlaybackFinished { id: id.clone(), outcome: Ok(()) });
        }
    }

    fn send_digits(&mut self, digits: String) -> Result<(), CallError> {
        if !self.ear.send_keys(&digits) {
            return Err(CallError::LimitExceeded(
                "a minute of keys waits to be sent already; wait for them".to_owned(),
            ));
        }
        self.note(self.clock(), CallerEvent::DigitsSent(digits));
        Ok(())
    }

    fn enter_queue(&mut self, queue: &str, variables: Vec<(String, String)>) -> Result<(), CallError> {
        if !self.floor.has_queue(queue) {
            return Err(CallError::Telephony(format!("the PBX has no queue {queue}; name one that it has")));
        }
        variables.into_iter().try_for_each(|(name, value)| self.set_variable(name, value))
    }

    fn check_place(&self, place: &str) -> Result<(), CallError> {
        if self.floor.has_place(place) {
            return Ok(());
        }
        Err(CallError::Telephony(format!("the PBX's dialplan has no {place}; name a place that it has")))
    }

    /// `EXTENSION@CONTEXT`, and `,PRIORITY` when that is not the first.
    pub(super) fn place_name(&self, place: &DialplanPlace) -> String {
        let or = |text: &str, default: &str| if text.is_empty() { default.to_owned() } else { text.to_owned() };
        // What was dialled; a placed leg has no extension of its own, and starts where the dialplan starts.
        let own = if self.called.is_some() { "s" } else { &self.options.called_number };
        let (extension, context) = (or(&place.extension, own), or(&place.context, DEFAULT_CONTEXT));
        match place.priority {
            0 | 1 => format!("{extension}@{context}"),
            priority => format!("{extension}@{context},{priority}"),
        }
    }

    fn start_recording(&mut self, recording: &PbxRecording) -> Result<(), CallError> {
        if self.tape.is_some() {
            return Err(CallError::LimitExceeded(
                "this call is being recorded already; stop that recording first".to_owned(),
            ));
        }
        self.tape = Some(Tape::new(recording));
        self.note(self.clock(), CallerEvent::RecordingStarted(recording.stored_name.clone()));
        Ok(())
    }

    fn pause_recording(&mut self, id: &RecordingId, paused: bool) -> Result<(), CallError> {
        match self.tape.as_mut().filter(|tape| tape.id == *id) {
            Some(tape) => {
                tape.paused = paused;
                Ok(())
            }
            None => Err(CallError::Telephony("the recording is over; start another one".to_owned())),
        }
    }

    /// Ends and stores what is recorded, if anything is.
    pub(super) fn end_recording(&mut self, events: &dyn LegEvents) {
        let Some(tape) = self.tape.take() else { return };
        let (id, name) = (tape.id.clone(), tape.stored_name.clone());
        let (samples, duration_ms) = tape.end();
        let outcome = self.floor.sounds().stored().keep(name, samples).map(|()| duration_ms);
        self.note(self.clock(), CallerEvent::RecordingEnded(outcome.clone()));
        events.deliver(LegEvent::RecordingFinished { id, outcome });
    }

    fn start_snoop(&mut self, snoop: LineSnoop, options: SnoopOptions) -> Result<(), CallError> {
        if self.snoops.len() >= MAX_SNOOPS {
            return Err(CallError::LimitExceeded(format!("a call has at most {MAX_SNOOPS} snoops; stop one")));
        }
        self.floor.list_snoop(&snoop.id, &self.report.call);
        self.snoops.push(snoop);
        self.note(self.clock(), CallerEvent::Snooped(options));
        Ok(())
    }

    fn obey_snoop(&mut self, id: &SnoopId, verb: SnoopVerb) {
        if let SnoopVerb::Stop(reply) = verb {
            self.forget_snoops(|snoop| snoop.id != *id);
            let _ = reply.send(Ok(()));
            return;
        }
        let (now, name) = (self.clock(), self.name());
        match self.snoops.iter_mut().find(|snoop| snoop.id == *id) {
            Some(snoop) => snoop.obey(verb, now, &name),
            None => verb.refuse(),
        }
    }

    /// Takes those snoops away that are not kept.
    pub(super) fn forget_snoops(&mut self, keep: impl Fn(&LineSnoop) -> bool) {
        let floor = Arc::clone(&self.floor);
        self.snoops.retain(|snoop| {
            let keeps = keep(snoop);
            if !keeps {
                floor.forget_snoop(&snoop.id);
            }
            keeps
        });
    }

    fn detect_machine(&self) -> Result<AnsweredBy, CallError> {
        if self.report.answered_at.is_none() {
            return Err(CallError::Telephony("nobody has answered yet; wait for it".to_owned()));
        }
        let machine = self.called.as_ref().is_some_and(|called| called.callee.machine);
        Ok(if machine { AnsweredBy::Machine } else { AnsweredBy::Human })
    }

    fn join_bridge(&mut self, mixer: &Arc<Mixer>) -> Result<(), CallError> {
        mixer.check_there()?;
        if self.report.answered_at.is_none() {
            return Err(CallError::Telephony("this call is not answered; answer it first".to_owned()));
        }
        if self.seat.as_ref().is_some_and(|seat| seat.bridge() == mixer.id()) {
            return Ok(());
        }
        let seat = mixer.sit(Some(self.name()), self.floor.line(&self.report.call))?;
        self.leave_bridge();
        self.seat = Some(seat);
        Ok(())
    }

    fn leave_bridge_of(&mut self, bridge: &BridgeId) {
        if self.seat.as_ref().is_some_and(|seat| seat.bridge() == bridge) {
            self.leave_bridge();
        }
    }

    /// Leaves the bridge, if it is in one.
    pub(super) fn leave_bridge(&mut self) {
        let Some(seat) = self.seat.take() else { return };
        let (bridge, at) = (seat.bridge().clone(), self.clock());
        drop(seat);
        for media in std::mem::take(&mut self.bridge_prompts) {
            self.end_prompt(media, at, PromptEnd::Stopped);
        }
        self.note(at, CallerEvent::Unbridged(bridge));
    }

    fn hear_bridge_prompt(&mut self, heard: Heard, events: &dyn LegEvents) {
        let at: Duration = self.clock();
        match heard {
            Heard::Started { media, .. } if self.seat.is_some() => {
                self.bridge_prompts.push(media.clone());
                self.note_prompt(Heard::Started { media, at }, events);
            }
            Heard::Ended { media, outcome, .. } => {
                if let Some(index) = self.bridge_prompts.iter().position(|playing| *playing == media) {
                    self.bridge_prompts.remove(index);
                    self.note_prompt(Heard::Ended { media, at, outcome }, events);
                }
            }
            Heard::Started { .. } | Heard::Finished { .. } => {}
        }
    }

    fn open_media(&mut self, rate_hz: u32) -> Result<MediaLink, CallError> {
        if self.link.is_some() {
            return Err(CallError::Telephony("the call's audio is open already; close it first".to_owned()));
        }
        let open = OpenLink::new(rate_hz).map_err(|e| CallError::InvalidArgument(e.to_string()))?;
        let link = open.link();
        self.link = Some(open);
        self.note(self.clock(), CallerEvent::AudioOpened(rate_hz));
        Ok(link)
    }

    pub(super) fn close_media(&mut self) {
        if let Some(link) = self.link.take() {
            self.closed_links_dropped_frames += link.dropped_frames();
            self.note(self.clock(), CallerEvent::AudioClosed);
        }
    }

    /// What the others in a bridge call it: the other side's number.
    fn name(&self) -> String {
        let number = if self.called.is_some() { &self.options.called_number } else { &self.options.caller_id };
        if number.is_empty() { self.report.call.to_string() } else { number.clone() }
    }
}
