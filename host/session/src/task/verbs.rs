//! The handler's verbs as they come in, and those that need little more than the leg.

use std::sync::Arc;

use serde_json::{Value, json};
use voxtra_core::{CallError, CallState, EndReason, EventType};

use super::prompts::Purpose;
use super::{CallTask, Done, End, WORK_MAX, leg_verb};
use crate::call::{Message, Reply};

impl CallTask {
    pub(super) fn on_message(&mut self, message: Message) -> Option<End> {
        let message = match message {
            Message::Hangup(cause, reply) => {
                return Some(End { reason: EndReason::HandlerHungUp, cause, reply: Some(reply) });
            }
            Message::Emit(name, data) => {
                self.life.emit(EventType::Custom, json!({"name": name, "data": Value::Object(data)}));
                return None;
            }
            Message::RecordingBegan => {
                self.recording_began();
                return None;
            }
            message => message,
        };
        if self.farewell.is_some() {
            message.refuse(CallError::HungUp);
            return None;
        }
        if self.prompts.len() + self.keys.waiting() >= WORK_MAX || self.work.len() >= WORK_MAX {
            let why = format!("{WORK_MAX} verbs of this call are under way already; wait for one to end");
            message.refuse(CallError::LimitExceeded(why));
            return None;
        }
        match message {
            Message::Hangup(..) | Message::Emit(..) | Message::RecordingBegan => {}
            Message::Answer(reply) => self.answer(reply),
            Message::Ring(reply) => self.ring(reply),
            Message::Hold(class, reply) => self.hold(class, reply),
            Message::Unhold(reply) => self.unhold(reply),
            Message::HandOn(how, reply) => self.hand_on_for_handler(*how, reply),
            Message::SetVariable { name, value, reply } => {
                let leg = Arc::clone(&self.leg);
                self.at_leg(reply, async move { leg.set_variable(&name, &value).await });
            }
            Message::GetVariable(name, reply) => {
                let leg = Arc::clone(&self.leg);
                self.at_leg(reply, async move { leg.get_variable(&name).await });
            }
            Message::Play { media, interrupt_on, reply } => {
                self.start_playing(media, Purpose::Play { interrupt_on, interrupted_by: None, reply });
            }
            Message::StartPlayback(media, reply) => {
                self.start_playing(media, Purpose::Background { starting: Some(reply), waiting: Vec::new() });
            }
            Message::StopPlayback(id, reply) => self.stop_playback(&id, reply),
            Message::WaitPlayback(id, reply) => self.wait_playback(&id, reply),
            Message::Gather(gather, reply) => self.gather(gather, reply),
            Message::SendDtmf(digits, reply) => {
                let leg = Arc::clone(&self.leg);
                self.at_leg(reply, async move { leg.send_dtmf(&digits).await });
            }
            Message::OpenAudio(rate_hz, reply) => self.open_audio(rate_hz, reply),
            Message::RecordStart(options, reply) => self.record_start(*options, reply),
            Message::RecordPause(paused, reply) => self.record_pause(paused, reply),
            Message::RecordStop(reply) => self.record_stop(reply),
            Message::Originate(options, reply) => self.originate(*options, reply),
            Message::CreateBridge(reply) => self.create_bridge(reply),
            Message::Snoop(options, reply) => self.snoop(options, reply),
            Message::DetectMachine(detector, reply) => self.detect_machine(detector, Some(reply)),
        }
        None
    }

    /// A verb whose outcome changes nothing here.
    fn at_leg<T: Send + 'static>(
        &mut self,
        reply: Reply<T>,
        verb: impl Future<Output = Result<T, CallError>> + Send + 'static,
    ) {
        self.work.spawn(async move {
            let _ = reply.send(leg_verb(verb).await);
            Done::Nothing
        });
    }

    fn answer(&mut self, reply: Reply<()>) {
        if self.shared.is_answered() {
            let _ = reply.send(Ok(()));
            return;
        }
        if self.rings_until.is_some() {
            let why = "the call was placed by us; it is answered by the other side: wait for `answered`".to_owned();
            let _ = reply.send(Err(CallError::InvalidArgument(why)));
            return;
        }
        let leg = Arc::clone(&self.leg);
        self.work.spawn(async move { Done::Answered(leg_verb(leg.answer()).await, reply) });
    }

    fn ring(&mut self, reply: Reply<()>) {
        // Nobody but the caller of an unanswered call can be let hear it.
        if self.shared.is_answered() || self.rings_until.is_some() {
            let _ = reply.send(Ok(()));
            return;
        }
        let leg = Arc::clone(&self.leg);
        self.at_leg(reply, async move { leg.ring().await });
    }

    fn hold(&mut self, class: String, reply: Reply<()>) {
        if !self.shared.is_answered() {
            let why = "the call is not answered, so it cannot be put on hold; answer it first".to_owned();
            let _ = reply.send(Err(CallError::InvalidArgument(why)));
            return;
        }
        if self.shared.state() == CallState::OnHold && self.music.as_ref() == Some(&class) {
            let _ = reply.send(Ok(()));
            return;
        }
        let leg = Arc::clone(&self.leg);
        self.work.spawn(async move {
            let result = leg_verb(leg.hold(&class)).await;
            Done::Held(class, result, reply)
        });
    }

    pub(super) fn held(&mut self, class: String, result: Result<(), CallError>, reply: Reply<()>) {
        if result.is_ok() {
            self.music = Some(class);
            if self.handing_on.is_none() {
                self.shared.set_state(CallState::OnHold);
            }
        }
        let _ = reply.send(result);
    }

    fn unhold(&mut self, reply: Reply<()>) {
        if self.music.is_none() {
            let _ = reply.send(Ok(()));
            return;
        }
        let leg = Arc::clone(&self.leg);
        self.work.spawn(async move { Done::Unheld(leg_verb(leg.unhold()).await, reply) });
    }

    pub(super) fn unheld(&mut self, result: Result<(), CallError>, reply: Reply<()>) {
        if result.is_ok() {
            self.music = None;
            if self.handing_on.is_none() {
                self.shared.set_state(CallState::InProgress);
            }
        }
        let _ = reply.send(result);
    }

    /// Prompts of the host's own accord do not play beside the handler's audio, nor to music.
    pub(super) fn clear_the_line(&mut self) {
        self.close_audio();
        if self.music.take().is_some() {
            self.shared.set_state(CallState::InProgress);
            let leg = Arc::clone(&self.leg);
            self.work.spawn(async move {
                let _ = leg_verb(leg.unhold()).await;
                Done::Nothing
            });
        }
    }

    /// Stops what nobody waits for any more.
    pub(super) fn forget_dropped_verbs(&mut self) {
        self.forget_dropped_playings();
        self.forget_dropped_gatherings();
    }
}
