//! A call's task: the one place that changes a simulated call. Between verbs of the host it takes a step every 20 ms:
//! what the caller said goes to the host, what is played goes to the caller, then the caller does what is due.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use voxtra_core::media::MediaLink;
use voxtra_core::telephony::LegEnd;
use voxtra_core::verbs::Dtmf;
use voxtra_core::{CallError, CallId, Direction, LegEvent, LegEvents, NewLeg, PlaybackId, Refusal, Switchboard};

use super::caller::{Act, Caller, KEY_HELD, Surroundings};
use super::ear::{Ear, Heard, MAX_WAITING_PLAYBACKS};
use super::leg::{SimulatedLeg, Verb, WAITING_VERBS};
use super::link::OpenLink;
use super::options::CallerOptions;
use super::report::{CallReport, CallerEvent, EndedBy, PlayedPrompt, PromptEnd, TimedEvent};
use super::sounds::Sounds;
use super::{FRAME, LINE_FRAME_SAMPLES, LineFrame};

/// Below this a sample counts as silence: about -44 dB of the loudest.
const SILENCE_PEAK: u16 = 200;

/// One call.
pub(super) struct Line {
    options: CallerOptions,
    sounds: Arc<Sounds>,
    caller: Caller,
    ear: Ear,
    link: Option<OpenLink>,
    started: Instant,
    /// The end of the last step; never ahead of the clock.
    now: Duration,
    heard_at: Duration,
    closed_links_dropped_frames: u64,
    report: CallReport,
}

impl Line {
    pub(super) fn new(id: CallId, options: CallerOptions, sounds: Arc<Sounds>) -> Self {
        let report = CallReport {
            call: id,
            caller_id: options.caller_id.clone(),
            called_number: options.called_number.clone(),
            answered_at: None,
            duration: Duration::ZERO,
            // Until it ends otherwise.
            ended_by: EndedBy::Caller,
            events: Vec::new(),
            prompts: Vec::new(),
            heard: Vec::new(),
            said: Vec::new(),
            dropped_frames: 0,
            missed: Vec::new(),
            steps_left: 0,
        };
        Self {
            caller: Caller::new(&options.script),
            options,
            sounds,
            ear: Ear::default(),
            link: None,
            started: Instant::now(),
            now: Duration::ZERO,
            heard_at: Duration::ZERO,
            closed_links_dropped_frames: 0,
            report,
        }
    }

    /// Rings at the switchboard and lives through the call.
    pub(super) async fn run(mut self, switchboard: &dyn Switchboard, hung_up: oneshot::Receiver<()>) -> CallReport {
        self.started = Instant::now();
        let (line, verbs) = mpsc::channel(WAITING_VERBS);
        self.note(Duration::ZERO, CallerEvent::Ringing);
        let leg = NewLeg {
            id: self.report.call.clone(),
            app: self.options.app.clone(),
            caller_id: self.options.caller_id.clone(),
            called_number: self.options.called_number.clone(),
            direction: Direction::Inbound,
            answered: false,
            leg: Arc::new(SimulatedLeg::new(line)),
        };
        match switchboard.incoming(leg) {
            Ok(events) => {
                let ended_by = self.live(&*events, verbs, hung_up).await;
                let end = match &ended_by {
                    EndedBy::Transferred(_) => LegEnd::Transferred,
                    _ => LegEnd::HungUp,
                };
                self.finish(ended_by);
                events.deliver(LegEvent::Ended(end));
            }
            Err(Refusal { reason, cause }) => self.finish(EndedBy::Refused { reason, cause }),
        }
        self.report
    }

    async fn live(
        &mut self,
        events: &dyn LegEvents,
        mut verbs: mpsc::Receiver<Verb>,
        mut hung_up: oneshot::Receiver<()>,
    ) -> EndedBy {
        let mut ticks = interval_at(self.started + FRAME, FRAME);
        // A late step is made up for: the line's audio is counted, not clocked.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut host_is_there = true;
        if let Some(end) = self.act(events) {
            return end;
        }
        loop {
            let end = tokio::select! {
                biased;
                _ = &mut hung_up => Some(EndedBy::Caller),
                // Before the verbs: one that comes at the end of a frame has no part in that frame.
                _ = ticks.tick() => self.step(events),
                verb = verbs.recv(), if host_is_there => match verb {
                    Some(verb) => self.obey(verb, events),
                    None => {
                        // The host has let go of the leg; the caller does not notice.
                        host_is_there = false;
                        None
                    }
                },
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// 20 ms of the line, and what the caller does then.
    fn step(&mut self, events: &dyn LegEvents) -> Option<EndedBy> {
        let begins = self.now;
        self.now += FRAME;
        self.pass_on_speech();
        self.hear(begins, events);
        self.act(events)
    }

    fn pass_on_speech(&mut self) {
        let mut said: LineFrame = [0; LINE_FRAME_SAMPLES];
        self.caller.speak(&mut said);
        self.report.said.extend(said);
        if self.report.answered_at.is_some()
            && let Some(link) = &mut self.link
        {
            link.caller_said(&said);
        }
    }

    fn hear(&mut self, begins: Duration, events: &dyn LegEvents) {
        let mut frame: LineFrame = [0; LINE_FRAME_SAMPLES];
        if let Some(link) = &mut self.link {
            link.hear(&mut frame);
        }
        let mut told = Vec::new();
        self.ear.hear(&self.sounds, &mut frame, begins, |heard| told.push(heard));
        if frame.iter().any(|s| s.unsigned_abs() >= SILENCE_PEAK) {
            self.heard_at = self.now;
        }
        self.report.heard.extend(frame);
        for heard in told {
            self.note_prompt(heard, events);
        }
    }

    fn note_prompt(&mut self, heard: Heard, events: &dyn LegEvents) {
        match heard {
            Heard::Started { media, at } => {
                let end = PromptEnd::CallEnded;
                self.report.prompts.push(PlayedPrompt { media: media.clone(), from: at, to: at, end });
                self.note(at, CallerEvent::PromptStarted(media));
            }
            Heard::Ended { media, at, outcome } => {
                let end = outcome.map_or_else(PromptEnd::Failed, |()| PromptEnd::Finished);
                self.end_prompt(media, at, end);
            }
            Heard::Finished { id, outcome } => events.deliver(LegEvent::PlaybackFinished { id, outcome }),
        }
    }

    fn end_prompt(&mut self, media: String, at: Duration, end: PromptEnd) {
        if let Some(prompt) = self.report.prompts.last_mut() {
            prompt.to = at;
            prompt.end = end.clone();
        }
        self.note(at, CallerEvent::PromptEnded(media, end));
    }

    fn act(&mut self, events: &dyn LegEvents) -> Option<EndedBy> {
        let around = Surroundings {
            answered: self.report.answered_at.is_some(),
            prompt: self.ear.playing(),
            silent_for: self.now.saturating_sub(self.heard_at),
        };
        let mut acts = Vec::new();
        self.caller.act(self.now, &around, |act| acts.push(act));
        for act in acts {
            match act {
                Act::Press(key) => {
                    self.note(self.now, CallerEvent::Pressed(key));
                    let duration_ms = KEY_HELD.as_millis() as u32;
                    events.deliver(LegEvent::Dtmf(Dtmf { digit: key, duration_ms }));
                }
                Act::StartToSpeak(name) => self.note(self.now, CallerEvent::SpeechStarted(name)),
                Act::StopToSpeak => self.note(self.now, CallerEvent::SpeechEnded),
                Act::Complain(what) => {
                    self.report.missed.push(what.clone());
                    self.note(self.now, CallerEvent::Missed(what));
                }
                Act::HangUp => return Some(EndedBy::Caller),
            }
        }
        if self.now >= self.options.max_length {
            return Some(EndedBy::TimeLimit);
        }
        let gives_up = self.report.answered_at.is_none() && self.now >= self.options.ring_limit;
        gives_up.then_some(EndedBy::NoAnswer)
    }

    /// Does what the host asks for. Where the call goes on after it, the answer is on its way already; else the host
    /// hears of it when the task is over.
    fn obey(&mut self, verb: Verb, events: &dyn LegEvents) -> Option<EndedBy> {
        // A reply that nobody waits for any more is no loss.
        match verb {
            Verb::Answer(reply) => {
                self.answer(events);
                let _ = reply.send(Ok(()));
            }
            Verb::Play(id, media, reply) => {
                let _ = reply.send(self.play(id, media));
            }
            Verb::StopPlayback(id, reply) => {
                self.stop_playback(&id, events);
                let _ = reply.send(Ok(()));
            }
            Verb::SendDigits(digits, reply) => {
                let _ = reply.send(self.send_digits(digits));
            }
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
                let _ = reply.send(Ok(()));
                return Some(EndedBy::Transferred(target));
            }
            Verb::End(cause, reply) => {
                self.close_media();
                let _ = reply.send(Ok(()));
                return Some(EndedBy::Host(cause));
            }
        }
        None
    }

    fn answer(&mut self, events: &dyn LegEvents) {
        if self.report.answered_at.is_none() {
            let at = self.clock();
            self.report.answered_at = Some(at);
            self.note(at, CallerEvent::Answered);
            events.deliver(LegEvent::Answered);
        }
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

    fn close_media(&mut self) {
        if let Some(link) = self.link.take() {
            self.closed_links_dropped_frames += link.dropped_frames();
            self.note(self.clock(), CallerEvent::AudioClosed);
        }
    }

    fn finish(&mut self, ended_by: EndedBy) {
        self.close_media();
        let at = self.clock();
        if let Some(media) = self.ear.playing().map(str::to_owned) {
            self.end_prompt(media, at, PromptEnd::CallEnded);
        }
        self.note(at, CallerEvent::Ended(ended_by.clone()));
        // On a real clock a late step can note something after a verb that came later.
        self.report.events.sort_by_key(|e| e.at);
        self.report.duration = at;
        self.report.ended_by = ended_by;
        self.report.dropped_frames = self.closed_links_dropped_frames;
        self.report.steps_left = self.caller.steps_left();
    }

    /// The time of something that comes between two steps.
    fn clock(&self) -> Duration {
        self.started.elapsed().max(self.now)
    }

    fn note(&mut self, at: Duration, event: CallerEvent) {
        let event = TimedEvent { at, event };
        if let Some(on_event) = &self.options.on_event {
            on_event(&event);
        }
        self.report.events.push(event);
    }
}
