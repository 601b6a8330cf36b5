//! The beginning of a call: who takes it, and when.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, timeout};
use voxtra_core::{CallInfo, EndReason, EventType, HangupCause};

use super::{CallTask, End};
use crate::handlers::HandlerVersion;
use crate::metadata;
use crate::ports::{Decision, RoutingRules};

/// How long one dispatch rule may take.
const RULE_LIMIT: Duration = Duration::from_millis(200);

/// How long all of them together may take.
const RULES_LIMIT: Duration = Duration::from_millis(500);

/// Who takes a call, and when.
pub(crate) enum Start {
    /// This handler, now.
    Now(Arc<dyn HandlerVersion>),
    /// Rules decide first.
    Rules {
        rules: Vec<Arc<dyn RoutingRules>>,
        /// Who takes it when no rule does.
        fallback: Option<Arc<dyn HandlerVersion>>,
        /// Why nobody does, then.
        missing: String,
        /// Whether the failure policy has the call then; otherwise it is turned away.
        is_withheld: bool,
        /// What the static route has given the call.
        metadata: Vec<(String, String)>,
    },
    /// This handler, when the other side has answered.
    OnAnswer { handler: Arc<dyn HandlerVersion>, detect_machine: bool },
    /// The handler of the call that placed this one; it is at work there.
    ByParent(Arc<dyn HandlerVersion>),
    /// Nobody.
    Nobody,
}

impl Start {
    /// Who will have the call, as far as that is known.
    pub(crate) fn handler(&self) -> Option<&Arc<dyn HandlerVersion>> {
        match self {
            Self::Now(handler) | Self::OnAnswer { handler, .. } | Self::ByParent(handler) => Some(handler),
            Self::Rules { fallback, .. } => fallback.as_ref(),
            Self::Nobody => None,
        }
    }

    /// Whether the call's handler is another call's.
    pub(crate) fn is_by_parent(&self) -> bool {
        matches!(self, Self::ByParent(_))
    }
}

impl CallTask {
    /// Begins; `nobody` says why nobody takes the call, when that is so, and then it ends.
    pub(super) fn begin(&mut self, nobody: Option<String>) -> Option<End> {
        let (name, version) = match &self.handler {
            Some(handler) => (handler.name().to_string(), handler.version().to_owned()),
            None => (String::new(), String::new()),
        };
        self.life.begin(&name, &version);
        if self.answered_at_start {
            self.answered();
        } else if self.rings_until.is_none() {
            self.life.emit(EventType::CallRinging, json!({}));
        }
        if let Some(missing) = nobody {
            if matches!(self.start, Start::Rules { is_withheld: true, .. }) {
                return self.apologise_for(missing);
            }
            self.report_error(&missing);
            return Some(End { reason: EndReason::HandlerFailed(missing), cause: HangupCause::Rejected, reply: None });
        }
        if matches!(self.start, Start::Now(_) | Start::Rules { .. }) {
            self.start_handler();
        }
        None
    }

    /// The other side of a call that we placed has answered.
    pub(super) fn start_on_answer(&mut self) {
        if let Start::OnAnswer { detect_machine, .. } = self.start {
            if detect_machine {
                // The handler starts when that is done.
                self.detect_for_start();
            } else {
                self.start_handler();
            }
        }
    }

    /// Decides who takes the call; the error is why nobody does.
    pub(super) async fn ask_rules(&mut self) -> Result<(), String> {
        let Start::Rules { rules, missing, .. } = &self.start else { return Ok(()) };
        let (rules, missing) = (rules.clone(), missing.clone());
        let asked = CallInfo { route: String::new(), ..self.shared.info.clone() };
        let deadline = Instant::now() + RULES_LIMIT;
        for rule in rules {
            let left = deadline.saturating_duration_since(Instant::now());
            let decided = timeout(left.min(RULE_LIMIT), rule.decide(&asked.tenant, &asked)).await;
            let why = match decided {
                Ok(Ok(None)) => continue,
                Ok(Ok(Some(decision))) => match self.take_decision(decision) {
                    Ok(()) => return Ok(()),
                    Err(why) => why,
                },
                Ok(Err(why)) => why,
                Err(_) => "it took too long".to_owned(),
            };
            self.life.host.counters.rule_failed();
            tracing::warn!(call = %asked.id, tenant = %asked.tenant, why, "a dispatch rule failed and was skipped");
        }
        let fallback = self.handler.take().ok_or(missing)?;
        self.life.host.hand_over(&self.shared.info.id, Arc::clone(&fallback))?;
        self.handler = Some(fallback);
        Ok(())
    }

    fn take_decision(&mut self, decision: Decision) -> Result<(), String> {
        metadata::check_all(&decision.metadata)?;
        let tenant = &self.shared.info.tenant;
        let handler = self
            .life
            .host
            .handler(tenant, &decision.handler, &self.shared.info.id)
            .ok_or_else(|| format!("it chose the handler {}, which is not there", decision.handler))?;
        self.life.host.hand_over(&self.shared.info.id, Arc::clone(&handler))?;
        if let Start::Rules { metadata, .. } = &self.start {
            // What the static route has given is not this route's.
            self.shared.metadata.replace(metadata, decision.metadata);
        }
        self.shared.set_route(handler.name().to_string());
        self.handler = Some(handler);
        Ok(())
    }
}
