//! A call that is handed to somebody else, by its handler or by the failure policy. One at a time; a failure leaves the call.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::Instant;
use voxtra_core::{CallError, CallState, EndReason, EventType, HangupCause};

use super::{CallTask, Done, End, HandlerRun, leg_verb};
use crate::call::{HandOn, Reply};

/// A hand-over that is under way.
pub(super) struct HandingOn {
    /// For people.
    to: String,
    /// For the event.
    data: Value,
    before: CallState,
    /// Since the PBX has taken it: until when the leg has to be gone.
    deadline: Option<Instant>,
    by: By,
    /// How the handler ended meanwhile: it matters only when the hand-over fails.
    handler_run: Option<HandlerRun>,
}

/// Who wants it.
enum By {
    Handler(Option<Reply<()>>),
    Policy,
}

impl HandingOn {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether the PBX has taken it.
    pub(super) fn is_accepted(&self) -> bool {
        self.deadline.is_some()
    }
}

impl CallTask {
    pub(super) fn hand_on_for_handler(&mut self, how: HandOn, reply: Reply<()>) {
        if self.handing_on.is_some() {
            let why = "the call is being handed on already; wait for that to end".to_owned();
            let _ = reply.send(Err(CallError::LimitExceeded(why)));
            return;
        }
        self.hand_on(how, By::Handler(Some(reply)));
    }

    pub(super) fn hand_on_for_policy(&mut self, target: String) {
        self.hand_on(HandOn::Target(target), By::Policy);
    }

    fn hand_on(&mut self, how: HandOn, by: By) {
        let (to, data) = match &how {
            HandOn::Target(target) => (target.clone(), json!({"target": target})),
            HandOn::Queue { queue, .. } => (format!("the queue {queue}"), json!({"queue": queue})),
            HandOn::Dialplan(place) => (
                format!("the dialplan ({},{},{})", place.context, place.extension, place.priority),
                json!({"context": place.context, "extension": place.extension, "priority": place.priority}),
            ),
        };
        let before = self.shared.state();
        self.shared.set_state(CallState::Transferring);
        self.handing_on = Some(Box::new(HandingOn { to, data, before, deadline: None, by, handler_run: None }));
        let leg = Arc::clone(&self.leg);
        self.work.spawn(async move {
            let result = match &how {
                HandOn::Target(target) => leg_verb(leg.transfer(target)).await,
                HandOn::Queue { queue, variables } => leg_verb(leg.transfer_to_queue(queue, variables)).await,
                HandOn::Dialplan(place) => leg_verb(leg.continue_in_dialplan(place)).await,
            };
            Done::HandedOn(result)
        });
    }

    /// The PBX has taken the call over, or not. The leg's end follows.
    pub(super) fn handed_on(&mut self, result: Result<(), CallError>) -> Option<End> {
        let error = match result {
            Ok(()) => {
                let deadline = Instant::now() + self.life.host.options.transfer_limit;
                let handing_on = self.handing_on.as_mut()?;
                handing_on.deadline = Some(deadline);
                let data = handing_on.data.clone();
                self.life.emit(EventType::CallTransferred, data);
                return None;
            }
            Err(error) => error,
        };
        let handing_on = *self.handing_on.take()?;
        self.shared.restore_state(handing_on.before);
        match handing_on.by {
            By::Policy => {
                self.report_error(&format!("the failure policy's transfer failed: {error}"));
                return self.give_up();
            }
            By::Handler(Some(reply)) => drop(reply.send(Err(error))),
            By::Handler(None) => {}
        }
        handing_on.handler_run.and_then(|run| self.on_handler_run(run))
    }

    /// A handler that ends while its call is handed on does not end the call. Gives the run back when none is.
    pub(super) fn keep_run_while_handing_on(&mut self, run: HandlerRun) -> Option<HandlerRun> {
        let Some(handing_on) = &mut self.handing_on else { return Some(run) };
        handing_on.handler_run = Some(run);
        None
    }

    /// The leg is over: who handed the call on waits for that.
    pub(super) fn hand_on_ended(&mut self, reason: &EndReason) -> Option<Reply<()>> {
        let handing_on = self.handing_on.as_mut();
        let transferred = *reason == EndReason::Transferred;
        // The leg's end can come before the PBX's own word.
        if transferred && handing_on.as_ref().is_none_or(|handing_on| !handing_on.is_accepted()) {
            let data = handing_on.as_ref().map_or_else(|| json!({}), |handing_on| handing_on.data.clone());
            self.life.emit(EventType::CallTransferred, data);
        }
        match handing_on.map(|handing_on| &mut handing_on.by) {
            Some(By::Handler(reply)) if transferred => reply.take(),
            _ => None,
        }
    }

    pub(super) fn hand_on_timed_out(&mut self, now: Instant) -> Option<End> {
        let handing_on = self.handing_on.as_mut()?;
        let late = handing_on.deadline.is_some_and(|deadline| now >= deadline);
        if !late {
            return None;
        }
        let limit_s = self.life.host.options.transfer_limit.as_secs();
        let why = format!("the transfer to {} was not over after {limit_s} s", handing_on.to);
        if let By::Handler(reply) = &mut handing_on.by
            && let Some(reply) = reply.take()
        {
            let _ = reply.send(Err(CallError::Telephony(why.clone())));
        }
        Some(End { reason: EndReason::TelephonyFailed(why), cause: HangupCause::Normal, reply: None })
    }

    /// Tells who handed the call on that it is over, and takes what is left of the handler.
    pub(super) fn end_handing_on(&mut self) {
        let Some(handing_on) = self.handing_on.take() else { return };
        if let By::Handler(Some(reply)) = handing_on.by {
            let _ = reply.send(Err(CallError::HungUp));
        }
        if let Some(run) = handing_on.handler_run {
            self.instance = run.instance;
        }
    }
}
