//! A handler version at work on a call: whether it may be started, whether it begins in time, and what is held against it.

use std::sync::{Arc, Weak};

use serde_json::json;
use tokio::time::Instant;
use voxtra_core::{EndReason, EventType, HangupCause};
use voxtra_plugins::{Outcome, SharedCall, StartError};

use super::upgrade::{Upgrade, run_over};
use super::{CallTask, End, HandlerRun};
use crate::account::{Account, Metered};
use crate::breaker::{Verdict, VersionKey};
use crate::call::CallShared;
use crate::canary::{Told, Withdrawn};
use crate::handlers::HandlerVersion;
use crate::pressure::{Beginning, Pressure};

/// Why no instance works on a call.
pub(super) enum NotStarted {
    /// The machine's doing: the pool is full, or the guests' runtime saturated.
    Busy(String),
    /// It has failed too often lately.
    LeftAlone(String),
    /// The handler's doing.
    Failed(String),
}

impl From<StartError> for NotStarted {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Busy => Self::Busy(format!("busy: {error}")),
            // Neither the machine's doing nor this version's: the tenant's calls have what they may have.
            StartError::TenantFull(why) => Self::Busy(why),
            StartError::LeftAlone(why) => Self::LeftAlone(why),
            StartError::Failed(_) => Self::Failed(error.to_string()),
        }
    }
}

/// A handler that is at work.
pub(super) struct AtWork {
    handler: Arc<dyn HandlerVersion>,
    key: VersionKey,
    /// Alive until there is an instance, and by when that has to be.
    begins: Option<(Weak<Beginning>, Instant)>,
}

impl AtWork {
    /// One that has the call already.
    pub(super) fn begun(handler: Arc<dyn HandlerVersion>, key: VersionKey) -> Self {
        Self { handler, key, begins: None }
    }

    /// By when it has to have begun, while it has not.
    pub(super) fn begins_by(&self) -> Option<Instant> {
        self.begins.as_ref().map(|(_, by)| *by)
    }
}

impl CallTask {
    pub(super) fn start_handler(&mut self) {
        let Some(handler) = self.handler.clone() else { return };
        if self.running.is_some() {
            return;
        }
        self.narrow_call_limit(handler.limits());
        let host = Arc::clone(&self.life.host);
        let key = VersionKey::of(&self.shared.info.tenant, handler.as_ref());
        if let Err(why) = host.breakers.check(&key) {
            host.counters.breaker_skipped();
            self.spared = true;
            let run = HandlerRun::new(Err(NotStarted::LeftAlone(why)));
            self.running = Some(host.runtimes.control.spawn(std::future::ready(run)));
            return;
        }
        self.spared = false;
        let beginning = Arc::new(host.pressure.begins(&self.shared.info.tenant));
        let begins = Some((Arc::downgrade(&beginning), Instant::now() + host.options.start_budget));
        self.at_work = Some(AtWork { handler: Arc::clone(&handler), key, begins });
        let starting = Starting {
            handler,
            call: self.session_call(),
            account: Arc::clone(&self.shared.account),
            pressure: Arc::clone(&host.pressure),
        };
        let shared = Arc::clone(&self.shared);
        self.running =
            Some(host.runtimes.guests.spawn_for(&self.shared.info.tenant, run_handler(starting, beginning, shared)));
        // It may have been replaced since the call was routed; what a handler before it was told is not its own.
        self.upgrade = Upgrade::default();
        self.shared.mailbox.forget_upgrade();
        self.look_for_upgrade();
    }

    /// Looks whether the handler has begun, when it has to have.
    pub(super) fn beginning_timed_out(&mut self, now: Instant) -> Option<End> {
        let (beginning, by) = self.at_work.as_mut()?.begins.take()?;
        if now < by {
            self.at_work.as_mut()?.begins = Some((beginning, by));
            return None;
        }
        if self.farewell.is_some() || self.handing_on.is_some() {
            // The call is about to leave anyway.
            return None;
        }
        // A run that is over tells itself how it ended.
        if beginning.strong_count() == 0 || self.running.as_ref().is_none_or(|running| running.is_finished()) {
            return None;
        }
        if let Some(running) = self.running.take() {
            running.abort();
            self.end_tenure();
        }
        let budget_ms = self.life.host.options.start_budget.as_millis();
        self.too_busy(format!("busy: the handler could not begin within {budget_ms} ms; add a host"))
    }

    /// The machine cannot serve the call: it is refused while that can be done, so that the PBX can go elsewhere; somebody
    /// who is on the line already gets the failure policy.
    pub(super) fn too_busy(&mut self, why: String) -> Option<End> {
        self.life.host.counters.refused_busy();
        self.spare();
        if self.shared.is_answered() {
            return self.apologise_for(why);
        }
        self.report_error(&why);
        Some(End { reason: EndReason::HandlerFailed(why), cause: HangupCause::Congestion, reply: None })
    }

    /// The version is left alone: nothing of it is started for the call, its hook neither, and nothing is held against it.
    pub(super) fn spare(&mut self) {
        self.spared = true;
        self.judge(Verdict::Unknown);
    }

    /// Says how the version that is at work did. Only the first time counts.
    pub(super) fn judge(&mut self, verdict: Verdict) {
        if verdict == Verdict::Failed {
            self.shared.account.note_failure();
        }
        let Some(AtWork { handler, key, .. }) = self.at_work.take() else { return };
        let host = Arc::clone(&self.life.host);
        host.breakers.report(&key, verdict);
        if verdict == Verdict::Unknown {
            return;
        }
        let failed = verdict == Verdict::Failed;
        match host.canaries.report(&key.tenant, handler.as_ref(), &self.shared.info.id, failed) {
            None => {}
            Some(Told::Withdrawn(withdrawn)) => self.tell_withdrawn(&withdrawn),
            Some(Told::Proved(proved)) => {
                if let Some(watcher) = &host.ports.canary {
                    watcher.proved(&proved);
                }
            }
        }
    }

    fn tell_withdrawn(&self, withdrawn: &Withdrawn) {
        let host = &self.life.host;
        host.counters.canary_withdrawn();
        let (name, version, why) = (withdrawn.handler.as_str(), withdrawn.version.as_str(), withdrawn.why.as_str());
        tracing::warn!(tenant = %withdrawn.tenant, handler = name, version, why, "a version on trial was withdrawn");
        self.life.emit(EventType::HandlerWithdrawn, json!({"handler": name, "version": version, "reason": why}));
        if let Some(watcher) = &host.ports.canary {
            watcher.withdrawn(withdrawn);
        }
    }
}

/// What an instance is made of.
pub(super) struct Starting {
    pub(super) handler: Arc<dyn HandlerVersion>,
    pub(super) call: SharedCall,
    pub(super) account: Arc<Account>,
    pub(super) pressure: Arc<Pressure>,
}

impl Starting {
    pub(super) async fn instance(self) -> Result<Metered, StartError> {
        let Self { handler, call, account, pressure } = self;
        match handler.start(call).await {
            Ok(instance) => Ok(Metered::new(instance, account, pressure)),
            Err(error) => {
                if error == StartError::Busy {
                    pressure.pool_full();
                }
                Err(error)
            }
        }
    }
}

async fn run_handler(starting: Starting, beginning: Arc<Beginning>, shared: Arc<CallShared>) -> HandlerRun {
    let started = starting.instance().await;
    drop(beginning);
    let mut instance = match started {
        Ok(instance) => instance,
        Err(error) => return HandlerRun::new(Err(error.into())),
    };
    let outcome = instance.handle().await;
    run_over(instance, &shared, outcome).await
}

/// Whether a run says that the handler failed.
pub(super) fn has_failed(outcome: &Result<Outcome, NotStarted>) -> bool {
    match outcome {
        Ok(Outcome::Returned) | Err(NotStarted::Busy(_) | NotStarted::LeftAlone(_)) => false,
        Ok(Outcome::Error(_) | Outcome::Trapped(_)) | Err(NotStarted::Failed(_)) => true,
    }
}
