//! A leg that leaves our application: for an extension, an endpoint, a queue, a place in the dialplan, or only for as
//! long as the PBX finds out who answered.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::timeout;
use voxtra_ari::{AriError, ContinueTo};
use voxtra_core::CallError;
use voxtra_core::verbs::{AnsweredBy, DialplanPlace};

use super::leg::{AsteriskLeg, LegShared, Transfer};
use super::names::{self, Target};

/// How long the dialplan may take to find out who answered. `AMD()` itself takes 5 s unless configured.
const DETECTION_LIMIT: Duration = Duration::from_secs(20);
/// The variables in which `AMD()` leaves what it found.
const AMD_STATUS: &str = "AMDSTATUS";
const AMD_CAUSE: &str = "AMDCAUSE";

impl AsteriskLeg {
    pub(super) async fn transfer_now(&self, target: &str) -> Result<(), CallError> {
        let target = Target::parse(target)?;
        self.shared.check_not_over()?;
        match target {
            Target::Endpoint(endpoint) => self.redirect(&endpoint).await,
            Target::Extension { extension, context } => {
                let context = self.context_or_default(context).await?;
                self.continue_at(context, extension, 1).await
            }
        }
    }

    async fn redirect(&self, endpoint: &str) -> Result<(), CallError> {
        let shared = &self.shared;
        let technology = endpoint.split('/').next().unwrap_or_default();
        if !technology.eq_ignore_ascii_case(&shared.technology) {
            return Err(CallError::InvalidArgument(format!(
                "this call came by {}, so it cannot be handed to {endpoint}; give an endpoint of {} or an extension of the dialplan",
                shared.technology, shared.technology
            )));
        }
        shared.line.slot.close().await;
        shared.set_transfer(Some(Transfer::Redirect));
        let outcome = shared.app.client.redirect(&shared.channel, endpoint).await;
        self.transferred(endpoint, outcome).await
    }

    pub(super) async fn transfer_to_queue_now(
        &self,
        queue: &str,
        variables: &[(String, String)],
    ) -> Result<(), CallError> {
        if !names::dialplan_name(queue) {
            return Err(CallError::InvalidArgument(
                "a queue's name has letters, digits, +, -, _ and . only; give one that the PBX has".to_owned(),
            ));
        }
        for (name, value) in variables {
            names::check_variable(name, value)?;
        }
        let shared = &self.shared;
        shared.check_not_over()?;
        let context = shared.app.options().queue_context.clone();
        check_exists(shared, &context, queue, 1).await?;
        for (name, value) in variables {
            if let Err(error) = shared.app.client.set_variable(&shared.channel, name, value).await {
                return Err(shared.verb_failed("setting the queue's variables", error).await);
            }
        }
        self.go_on(context, queue.to_owned(), 1).await
    }

    pub(super) async fn continue_now(&self, place: &DialplanPlace) -> Result<(), CallError> {
        let shared = &self.shared;
        shared.check_not_over()?;
        for part in [&place.context, &place.extension] {
            if !part.is_empty() && !names::dialplan_name(part) {
                return Err(CallError::InvalidArgument(
                    "contexts and extensions have letters, digits, +, *, #, -, _ and . only; give one that exists"
                        .to_owned(),
                ));
            }
        }
        let named = (!place.context.is_empty()).then(|| place.context.clone());
        let context = self.context_or_default(named).await?;
        let extension = if place.extension.is_empty() {
            let channel = shared.app.client.get_channel(&shared.channel).await;
            channel.map_err(|e| shared.verb_error("going on in the dialplan", e))?.dialplan.exten
        } else {
            place.extension.clone()
        };
        self.continue_at(context, extension, place.priority.max(1)).await
    }

    async fn continue_at(&self, context: String, extension: String, priority: u32) -> Result<(), CallError> {
        check_exists(&self.shared, &context, &extension, priority).await?;
        self.go_on(context, extension, priority).await
    }

    async fn go_on(&self, context: String, extension: String, priority: u32) -> Result<(), CallError> {
        let shared = &self.shared;
        shared.recorder.finish().await;
        shared.line.slot.close().await;
        shared.set_transfer(Some(Transfer::Continue));
        let shown = format!("{extension}@{context}");
        let place = place_of(context, extension, priority);
        let outcome = shared.app.client.continue_in_dialplan(&shared.channel, &place).await;
        self.transferred(&shown, outcome).await
    }

    /// The PBX's own answering-machine detection: the channel goes to the operator's context and comes back.
    pub(super) async fn detect_machine_now(&self) -> Result<AnsweredBy, CallError> {
        let shared = &self.shared;
        shared.check_not_over()?;
        let Some(context) = shared.app.options().machine_detection_context.clone() else {
            let app = &shared.app.name;
            return Err(CallError::NotConfigured(format!(
                "this PBX is not set up to find out who answered; set dialplan.machine_detection_context to a context that holds: exten => s,1,AMD() / same => n,Stasis({app},voxtra-amd) / same => n,Hangup()"
            )));
        };
        if !shared.answered.load(Relaxed) {
            return Err(CallError::Telephony("nobody has answered yet; wait for the answer first".to_owned()));
        }
        if shared.line.slot.is_open() || shared.line.is_in_room().await {
            return Err(CallError::Telephony(
                "the PBX can find out who answered only while the call has no audio open and is in no bridge; do that first"
                    .to_owned(),
            ));
        }
        check_exists(shared, &context, "s", 1).await?;
        // Outside of our application nothing would be told of it, not even its end.
        shared.app.subscribe(&shared.channel).await.map_err(|e| shared.verb_error("detecting a machine", e))?;
        let mut entries = shared.entries.subscribe();
        let before = *entries.borrow_and_update();
        let mut ended = shared.ended.subscribe();
        shared.inbox.set_away(true);
        let place = place_of(context, "s".to_owned(), 1);
        if let Err(error) = shared.app.client.continue_in_dialplan(&shared.channel, &place).await {
            shared.inbox.set_away(false);
            return Err(shared.verb_failed("detecting a machine", error).await);
        }
        let back = async {
            tokio::select! {
                biased;
                _ = ended.wait_for(Option::is_some) => Err(CallError::HungUp),
                _ = entries.wait_for(|entries| *entries != before) => Ok(()),
            }
        };
        match timeout(DETECTION_LIMIT, back).await {
            Ok(outcome) => outcome?,
            Err(_) => {
                return Err(CallError::Telephony(format!(
                    "the call did not come back from the machine detection within {} s; its context has to end with Stasis({},voxtra-amd)",
                    DETECTION_LIMIT.as_secs(),
                    shared.app.name
                )));
            }
        }
        let read = |name| shared.app.client.get_variable(&shared.channel, name);
        let (status, cause) = tokio::join!(read(AMD_STATUS), read(AMD_CAUSE));
        let status = status.map_err(|e| shared.verb_error("detecting a machine", e))?.unwrap_or_default();
        tracing::info!(call = %shared.call, status, cause = cause.ok().flatten().unwrap_or_default(), "who answered");
        match status.as_str() {
            "HUMAN" => Ok(AnsweredBy::Human),
            "MACHINE" => Ok(AnsweredBy::Machine),
            "NOTSURE" => Ok(AnsweredBy::NotSure),
            "HANGUP" => Err(CallError::HungUp),
            _ => Err(CallError::Telephony(
                "the PBX did not say who answered; load app_amd and run AMD() in the machine detection context"
                    .to_owned(),
            )),
        }
    }

    async fn transferred(&self, to: &str, outcome: Result<(), AriError>) -> Result<(), CallError> {
        match outcome {
            Ok(()) => {
                tracing::info!(call = %self.shared.call, to, "call handed on");
                Ok(())
            }
            Err(error) => {
                self.shared.set_transfer(None);
                Err(self.shared.verb_failed("the transfer", error).await)
            }
        }
    }

    /// The context that the handler named, if it may; else the operator's choice, else Asterisk's own convention, else
    /// where the channel is.
    async fn context_or_default(&self, named: Option<String>) -> Result<String, CallError> {
        let shared = &self.shared;
        let options = shared.app.options();
        if let Some(context) = named {
            return if options.allows(&context) {
                Ok(context)
            } else {
                Err(CallError::Denied(format!(
                    "calls may not be sent to the context {context}; name one that the operator allows"
                )))
            };
        }
        if let Some(context) = &options.transfer_context {
            return Ok(context.clone());
        }
        let failed = |e| shared.verb_error("the transfer", e);
        let variable = shared.app.client.get_variable(&shared.channel, "TRANSFER_CONTEXT").await.map_err(failed)?;
        if let Some(context) = variable.filter(|c| names::dialplan_name(c)) {
            return Ok(context);
        }
        let channel = shared.app.client.get_channel(&shared.channel).await.map_err(failed)?;
        Ok(channel.dialplan.context)
    }
}

pub(super) fn place_of(context: String, extension: String, priority: u32) -> ContinueTo {
    ContinueTo { context: Some(context), extension: Some(extension), priority: Some(priority), ..ContinueTo::default() }
}

/// Asterisk takes a channel to a place that does not exist without a word, and hangs it up there.
pub(super) async fn check_exists(
    shared: &Arc<LegShared>,
    context: &str,
    extension: &str,
    priority: u32,
) -> Result<(), CallError> {
    if !names::dialplan_name(context) || !names::dialplan_name(extension) {
        return Err(CallError::NotConfigured(format!(
            "{extension:?} in the context {context:?} cannot be a place in the dialplan; correct the contexts that dialplan names"
        )));
    }
    let question = format!("DIALPLAN_EXISTS({context},{extension},{priority})");
    match shared.app.client.get_variable(&shared.channel, &question).await {
        Ok(Some(answer)) if answer.trim() == "0" => Err(CallError::Telephony(format!(
            "the PBX has no extension {extension} in its context {context}{}; give one that exists, or extension@context",
            if priority > 1 { format!(" with the priority {priority}") } else { String::new() }
        ))),
        Err(error) if error.gone() => Err(CallError::HungUp),
        // An Asterisk without that function is not asked.
        _ => Ok(()),
    }
}
