//! A handler that fails does not drop the caller: what comes instead.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, timeout};
use voxtra_core::{CallError, CallState, EndReason, EventType, HandlerName, HangupCause};
use voxtra_plugins::{CallHost, Outcome};

use super::{CallTask, Done, End, HandlerRun, leg_verb};
use crate::call::SessionCall;
use crate::options::Then;

/// What the call is doing.
pub(super) enum Stage {
    /// A handler has it; when that is the last one, its failure ends the call.
    Handling { last: bool },
    /// A handler failed with this sentence and the policy runs.
    Failed(String),
    /// It is being handed on, which takes until then at most.
    Transferring { target: String, deadline: Instant },
}

impl Stage {
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Transferring { deadline, .. } => Some(*deadline),
            Self::Handling { .. } | Self::Failed(_) => None,
        }
    }
}

impl CallTask {
    pub(super) fn on_handler_run(&mut self, run: HandlerRun) -> Option<End> {
        self.instance = run.instance;
        let failure = match run.outcome {
            Ok(Outcome::Returned) => return Some(End::because(EndReason::HandlerReturned)),
            Ok(Outcome::Error(error)) => format!("the handler returned an error: {error}"),
            Ok(Outcome::Trapped(trap)) => trap.to_string(),
            Err(error) => error.to_string(),
        };
        self.handler_failed(one_line(&failure))
    }

    fn handler_failed(&mut self, failure: String) -> Option<End> {
        self.life.host.counters.handler_failed();
        self.report_error(&failure);
        // An instance that lives still holds its stream, and prompts do not play beside it.
        self.close_audio();
        let last = matches!(self.stage, Stage::Handling { last: true });
        self.stage = Stage::Failed(failure);
        if last {
            return self.give_up();
        }
        let prompts = self.on_failure.prompts();
        if prompts.is_empty() {
            return self.apologised();
        }
        let (call, limit) = (self.session_call(), self.life.host.options.failure_prompt_limit);
        self.work.spawn(async move {
            apologise(&call, prompts, limit).await;
            Done::Apologised
        });
        None
    }

    pub(super) fn apologised(&mut self) -> Option<End> {
        match self.on_failure.then.clone() {
            Then::HangUp => self.give_up(),
            Then::Transfer(target) => {
                self.shared.set_state(CallState::Transferring);
                let leg = Arc::clone(&self.leg);
                self.work.spawn(async move { Done::Transferred(leg_verb(leg.transfer(&target)).await) });
                None
            }
            Then::Handler(name) => self.hand_over(&name),
        }
    }

    fn hand_over(&mut self, name: &HandlerName) -> Option<End> {
        let tenant = &self.shared.info.tenant;
        let Some(next) = self.life.host.handler(tenant, name) else {
            self.report_error(&format!("the handler {name}, which the failure policy names, is not there"));
            return self.give_up();
        };
        self.life.host.hand_over(&self.shared.info.id, Arc::clone(&next));
        // Before the next one opens anything: what the instance holds closes with it.
        self.instance = None;
        self.handler = next;
        self.forget_keys();
        self.stage = Stage::Handling { last: true };
        self.start_handler();
        None
    }

    pub(super) fn transferred(&mut self, result: Result<(), CallError>) -> Option<End> {
        if let Err(error) = result {
            self.report_error(&format!("the failure policy's transfer failed: {error}"));
            return self.give_up();
        }
        let Then::Transfer(target) = self.on_failure.then.clone() else { return self.give_up() };
        self.tell_of_transfer();
        let deadline = Instant::now() + self.life.host.options.transfer_limit;
        self.stage = Stage::Transferring { target, deadline };
        None
    }

    /// Once: the leg's end can come before the transfer's own outcome, or without one.
    pub(super) fn tell_of_transfer(&self) {
        let data = match (&self.stage, &self.on_failure.then) {
            (Stage::Transferring { .. }, _) => return,
            (Stage::Failed(_), Then::Transfer(target)) => json!({"target": target}),
            _ => json!({}),
        };
        self.life.emit(EventType::CallTransferred, data);
    }

    pub(super) fn transfer_timed_out(&mut self, now: Instant) -> Option<End> {
        let Stage::Transferring { target, deadline } = &self.stage else { return None };
        (now >= *deadline).then(|| {
            let limit_s = self.life.host.options.transfer_limit.as_secs();
            let why = format!("the transfer to {target} was not over after {limit_s} s");
            End::because(EndReason::TelephonyFailed(why))
        })
    }

    fn give_up(&mut self) -> Option<End> {
        let failure = match &self.stage {
            Stage::Failed(failure) => failure.clone(),
            Stage::Handling { .. } | Stage::Transferring { .. } => "the handler failed".to_owned(),
        };
        let cause = if self.shared.is_answered() { HangupCause::Normal } else { HangupCause::Congestion };
        Some(End { reason: EndReason::HandlerFailed(failure), cause, reply: None })
    }
}

/// Plays the policy's prompts, as a handler would. What fails here changes nothing: the policy goes on.
async fn apologise(call: &SessionCall, prompts: Vec<String>, limit: Duration) {
    let played = async {
        if !call.state().is_answered() {
            call.answer().await?;
        }
        call.play(prompts, String::new()).await
    };
    let error = match timeout(limit, played).await {
        Ok(Ok(_)) | Ok(Err(CallError::HungUp)) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it took longer than {} s", limit.as_secs()),
    };
    tracing::warn!(call = %call.info().id, error, "the failure policy's prompts could not be played");
}

/// A sentence with a guest's own words in it, which may hold anything, made fit for a line.
pub(super) fn one_line(text: &str) -> String {
    const MAX_CHARS: usize = 300;
    let mut line: String = text.chars().take(MAX_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        line.push('…');
    }
    line
}
