//! A handler that fails does not drop the caller: what comes instead.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use voxtra_core::{CallError, EndReason, HandlerName, HangupCause};
use voxtra_plugins::{CallHost, Outcome};

use super::work::{NotStarted, has_failed};
use super::{CallTask, Done, End, HandlerRun};
use crate::breaker::Verdict;
use crate::call::SessionCall;
use crate::options::Then;

/// What the call is doing.
pub(super) enum Stage {
    /// A handler has it; when that is the last one, its failure ends the call.
    Handling { last: bool },
    /// A handler failed with this sentence and the policy runs.
    Failed(String),
}

impl HandlerRun {
    /// Whether nothing of the handler goes on.
    fn is_over(&self) -> bool {
        self.saved.is_none() && self.turned_down.is_none()
    }
}

impl CallTask {
    pub(super) fn on_handler_run(&mut self, run: HandlerRun) -> Option<End> {
        self.notice_take_over();
        if run.is_over() {
            self.end_children();
        }
        if has_failed(&run.outcome) {
            self.judge(Verdict::Failed);
        }
        let mut run = self.keep_run_while_handing_on(run)?;
        if self.farewell.is_none()
            && !run.is_over()
            && let Some(instance) = run.instance.take()
        {
            match (run.saved, run.turned_down) {
                (Some(state), _) => self.hand_call_over(instance, state),
                (None, Some(turned_down)) => self.turned_down(instance, turned_down),
                (None, None) => {}
            }
            return None;
        }
        self.instance = run.instance;
        if self.farewell.is_some() {
            // The last prompts play, and end the call.
            return None;
        }
        let failure = match run.outcome {
            Ok(Outcome::Returned) => return Some(End::because(EndReason::HandlerReturned)),
            Ok(Outcome::Error(error)) => format!("the handler returned an error: {error}"),
            Ok(Outcome::Trapped(trap)) => trap.to_string(),
            Err(NotStarted::Failed(why)) => why,
            Err(NotStarted::Busy(why)) => return self.too_busy(why),
            Err(NotStarted::LeftAlone(why)) => {
                self.spare();
                return self.apologise_for(why);
            }
        };
        self.life.host.counters.handler_failed();
        self.apologise_for(one_line(&failure))
    }

    /// The failure policy takes the call.
    pub(super) fn apologise_for(&mut self, failure: String) -> Option<End> {
        self.report_error(&failure);
        // An instance that lives still holds its stream.
        self.clear_the_line();
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
                self.hand_on_for_policy(target);
                None
            }
            Then::Handler(name) => self.hand_over(&name),
        }
    }

    fn hand_over(&mut self, name: &HandlerName) -> Option<End> {
        let tenant = &self.shared.info.tenant;
        let Some(next) = self.life.host.handler(tenant, name, &self.shared.info.id) else {
            self.report_error(&format!("the handler {name}, which the failure policy names, is not there"));
            return self.give_up();
        };
        if let Err(why) = self.life.host.hand_over(&self.shared.info.id, Arc::clone(&next)) {
            self.report_error(&format!("the failure policy names a handler that cannot take the call: {why}"));
            return self.give_up();
        }
        // Before the next one opens anything: what the instance holds closes with it.
        self.instance = None;
        self.handler = Some(next);
        self.forget_keys();
        self.stage = Stage::Handling { last: true };
        self.start_handler();
        None
    }

    pub(super) fn give_up(&mut self) -> Option<End> {
        let failure = match &self.stage {
            Stage::Failed(failure) => failure.clone(),
            Stage::Handling { .. } => "the handler failed".to_owned(),
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
