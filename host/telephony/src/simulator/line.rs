//! A call's task: the one place that changes a simulated call. Between verbs of the host it takes a step every 20 ms:
//! what the caller said goes to the host, what is played goes to the caller, then the caller does what is due.
//!
//! A call that the host placed is the same with a callee in the caller's place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use voxtra_core::telephony::{LegEnd, PlacedLeg};
use voxtra_core::verbs::{DialplanPlace, Dtmf};
use voxtra_core::{CallId, Direction, LegEvent, LegEvents, NewLeg, Refusal, Switchboard};

use super::callee::{Callee, Progress};
use super::caller::{Act, Caller, KEY_HELD, Surroundings};
use super::ear::{Ear, Heard};
use super::exchange::{Floor, SimulatedExchange};
use super::leg::{SimulatedLeg, Verb, WAITING_VERBS};
use super::link::OpenLink;
use super::mixer::Seat;
use super::music::Endless;
use super::options::CallerOptions;
use super::report::{CallReport, CallerEvent, EndedBy, PlayedPrompt, PromptEnd, TimedEvent};
use super::snoop::LineSnoop;
use super::tape::Tape;
use super::{FRAME, LINE_FRAME_SAMPLES, LineFrame, mix_into};

/// Below this a sample counts as silence: about -44 dB of the loudest.
pub(super) const SILENCE_PEAK: u16 = 200;

/// One call.
pub(super) struct Line {
    pub(super) options: CallerOptions,
    pub(super) floor: Arc<Floor>,
    /// Who is called; none: the call came in.
    pub(super) called: Option<Called>,
    caller: Caller,
    pub(super) ear: Ear,
    pub(super) link: Option<OpenLink>,
    pub(super) music: Option<Endless>,
    pub(super) ring_tone: Option<Endless>,
    pub(super) seat: Option<Seat>,
    /// What is played to all in the bridge now.
    pub(super) bridge_prompts: Vec<String>,
    pub(super) snoops: Vec<LineSnoop>,
    pub(super) tape: Option<Tape>,
    pub(super) variables: BTreeMap<String, String>,
    started: Instant,
    /// The end of the last step; never ahead of the clock.
    now: Duration,
    heard_at: Duration,
    pub(super) closed_links_dropped_frames: u64,
    pub(super) report: CallReport,
}

/// The other end of a call that the host placed.
pub(super) struct Called {
    pub(super) callee: Callee,
    into_dialplan: Option<DialplanPlace>,
    rings: bool,
}

impl Line {
    /// A call that comes in.
    pub(super) fn new(id: CallId, options: CallerOptions, floor: Arc<Floor>) -> Self {
        let report = CallReport {
            call: id,
            caller_id: options.caller_id.clone(),
            called_number: options.called_number.clone(),
            direction: Direction::Inbound,
            began: Duration::ZERO,
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
            variables: BTreeMap::new(),
        };
        Self {
            caller: Caller::new(&options.script),
            variables: options.variables.clone(),
            options,
            floor,
            called: None,
            ear: Ear::default(),
            link: None,
            music: None,
            ring_tone: None,
            seat: None,
            bridge_prompts: Vec::new(),
            snoops: Vec::new(),
            tape: None,
            started: Instant::now(),
            now: Duration::ZERO,
            heard_at: Duration::ZERO,
            closed_links_dropped_frames: 0,
            report,
        }
    }

    /// A call that the host places.
    pub(super) fn placed(leg: &PlacedLeg, callee: Callee, app: &str, floor: Arc<Floor>) -> Self {
        let options = CallerOptions {
            caller_id: leg.caller_id.clone(),
            called_number: leg.endpoint.clone(),
            app: app.to_owned(),
            script: callee.whole_script(),
            ring_limit: leg.ring_timeout,
            variables: leg.variables.iter().cloned().collect(),
            ..CallerOptions::default()
        };
        let mut line = Self::new(leg.id.clone(), options, floor);
        line.report.direction = Direction::Outbound;
        line.called = Some(Called { callee, into_dialplan: leg.into_dialplan.clone(), rings: false });
        line
    }

    /// Rings at the switchboard and lives through the call.
    pub(super) async fn run(mut self, switchboard: &dyn Switchboard, hung_up: oneshot::Receiver<()>) -> CallReport {
        self.start();
        let (line, verbs) = mpsc::channel(WAITING_VERBS);
        // Ids count up, so this one is new, unless the host has chosen it for a leg of its own: then no bridge finds it.
        let listed = self.floor.list(&self.report.call, line.clone(), false);
        self.note(Duration::ZERO, CallerEvent::Ringing);
        let leg = NewLeg {
            id: self.report.call.clone(),
            app: self.options.app.clone(),
            caller_id: self.options.caller_id.clone(),
            called_number: self.options.called_number.clone(),
            direction: Direction::Inbound,
            answered: false,
            leg: Arc::new(SimulatedLeg::new(line, self.report.call.clone())),
            exchange: Arc::new(SimulatedExchange::new(self.options.app.clone(), self.floor.clone())),
        };
        match switchboard.incoming(leg) {
            Ok(events) => self.run_to_the_end(&*events, verbs, hung_up).await,
            Err(Refusal { reason, cause }) => self.finish(EndedBy::Refused { reason, cause }),
        }
        drop(listed);
        self.report
    }

    /// Lives through a call that the host placed.
    pub(super) async fn run_placed(mut self, events: &dyn LegEvents, verbs: mpsc::Receiver<Verb>) -> CallReport {
        self.start();
        // Nobody makes a callee hang up but the script.
        let (_never, hung_up) = oneshot::channel();
        self.run_to_the_end(events, verbs, hung_up).await;
        self.report
    }

    fn start(&mut self) {
        self.started = Instant::now();
        self.report.began = self.floor.clock();
    }

    async fn run_to_the_end(
        &mut self,
        events: &dyn LegEvents,
        verbs: mpsc::Receiver<Verb>,
        hung_up: oneshot::Receiver<()>,
    ) {
        let ended_by = self.live(events, verbs, hung_up).await;
        let end = match &ended_by {
            EndedBy::Transferred(_) => LegEnd::Transferred,
            EndedBy::NotAnswered(cause) => LegEnd::NotAnswered(*cause),
            _ => LegEnd::HungUp,
        };
        self.end_recording(events);
        self.finish(ended_by);
        events.deliver(LegEvent::Ended(end));
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
        self.move_audio(begins, events);
        self.act(events)
    }

    fn move_audio(&mut self, begins: Duration, events: &dyn LegEvents) {
        let silence: LineFrame = [0; LINE_FRAME_SAMPLES];
        let (mut said, mut by_host, mut whispered) = (silence, silence, silence);
        self.caller.speak(&mut said);
        self.report.said.extend(said);
        let (spoken, sounds) = (said, self.floor.sounds().clone());
        self.forget_snoops(LineSnoop::is_held);
        for snoop in &mut self.snoops {
            snoop.whisper(&sounds, begins, &mut said, &mut whispered);
        }
        if let Some(link) = &mut self.link {
            link.hear(&mut by_host);
        }
        let by_others = self.meet_others(&said, &by_host);
        if self.report.answered_at.is_some()
            && let Some(link) = &mut self.link
        {
            let mut to_host = said;
            mix_into(&mut to_host, 0, by_others);
            link.caller_said(&to_host);
        }

        let mut heard = silence;
        let mut told = Vec::new();
        self.ear.hear(&sounds, &mut heard, begins, |what| told.push(what));
        match (&mut self.music, &mut self.ring_tone) {
            (Some(music), _) if self.ear.playing().is_none() => music.add_to(&mut heard),
            // A prompt goes before the music, which goes before everybody else.
            (Some(_), _) => {}
            (None, ring_tone) => {
                mix_into(&mut heard, 0, by_host);
                mix_into(&mut heard, 0, by_others);
                if let Some(ring_tone) = ring_tone {
                    ring_tone.add_to(&mut heard);
                }
            }
        }
        for snoop in &mut self.snoops {
            snoop.spy(&spoken, &heard);
        }
        mix_into(&mut heard, 0, whispered);
        self.record(&said, &mut heard, events);
        if heard.iter().any(|s| s.unsigned_abs() >= SILENCE_PEAK) {
            self.heard_at = self.now;
        }
        self.report.heard.extend(heard);
        for what in told {
            self.note_prompt(what, events);
        }
    }

    /// What the others in the bridge say; they hear the call, and what the host says on its audio.
    fn meet_others(&mut self, said: &LineFrame, by_host: &LineFrame) -> LineFrame {
        let Some(seat) = &mut self.seat else { return [0; LINE_FRAME_SAMPLES] };
        let mut both = *said;
        mix_into(&mut both, 0, by_host.iter().copied());
        match seat.exchange(&both) {
            Some(mixed) => {
                if let Some(with) = mixed.others {
                    let bridge = seat.bridge().clone();
                    self.note(self.now, CallerEvent::Bridged { bridge, with });
                }
                mixed.frame
            }
            None => {
                self.leave_bridge();
                [0; LINE_FRAME_SAMPLES]
            }
        }
    }

    fn record(&mut self, said: &LineFrame, heard: &mut LineFrame, events: &dyn LegEvents) {
        let Some(tape) = &mut self.tape else { return };
        tape.beep(heard);
        if tape.record(said, heard) {
            self.end_recording(events);
        }
    }

    pub(super) fn note_prompt(&mut self, heard: Heard, events: &dyn LegEvents) {
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

    pub(super) fn end_prompt(&mut self, media: String, at: Duration, end: PromptEnd) {
        // Until it has ended, it is one that the call's end would cut off.
        let open = |p: &&mut PlayedPrompt| p.media == media && p.end == PromptEnd::CallEnded;
        if let Some(prompt) = self.report.prompts.iter_mut().rev().find(open) {
            prompt.to = at;
            prompt.end = end.clone();
        }
        self.note(at, CallerEvent::PromptEnded(media, end));
    }

    fn act(&mut self, events: &dyn LegEvents) -> Option<EndedBy> {
        if let Some(end) = self.get_through(events) {
            return Some(end);
        }
        let around = Surroundings {
            answered: self.report.answered_at.is_some(),
            prompt: self.ear.playing().or(self.bridge_prompts.last().map(String::as_str)),
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
                Act::HangUp if self.called.is_some() => return Some(EndedBy::Callee),
                Act::HangUp => return Some(EndedBy::Caller),
            }
        }
        if self.now >= self.options.max_length {
            return Some(EndedBy::TimeLimit);
        }
        let gives_up = self.report.answered_at.is_none() && self.now >= self.options.ring_limit;
        gives_up.then_some(EndedBy::NoAnswer)
    }

    /// What becomes of a call that the host placed until it is answered.
    fn get_through(&mut self, events: &dyn LegEvents) -> Option<EndedBy> {
        let called = self.called.as_mut().filter(|_| self.report.answered_at.is_none())?;
        match called.callee.response.progress(self.now, self.options.ring_limit) {
            Progress::Nothing => {}
            Progress::Rings => {
                if !std::mem::replace(&mut called.rings, true) {
                    self.note(self.now, CallerEvent::Ringing);
                    events.deliver(LegEvent::Ringing);
                }
            }
            Progress::Answered => {
                let place = called.into_dialplan.take();
                self.report.answered_at = Some(self.now);
                self.heard_at = self.now;
                self.note(self.now, CallerEvent::Answered);
                events.deliver(LegEvent::Answered);
                return place.map(|place| EndedBy::Transferred(self.place_name(&place)));
            }
            Progress::Over(cause) => return Some(EndedBy::NotAnswered(cause)),
        }
        None
    }

    fn finish(&mut self, ended_by: EndedBy) {
        self.close_media();
        self.leave_bridge();
        self.forget_snoops(|_| false);
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
        self.report.variables = std::mem::take(&mut self.variables);
    }

    /// The time of something that comes between two steps.
    pub(super) fn clock(&self) -> Duration {
        self.started.elapsed().max(self.now)
    }

    pub(super) fn note(&mut self, at: Duration, event: CallerEvent) {
        let event = TimedEvent { at, event };
        if let Some(on_event) = &self.options.on_event {
            on_event(&event);
        }
        self.report.events.push(event);
    }
}
