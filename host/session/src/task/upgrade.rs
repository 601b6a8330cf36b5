//! Other versions of a call's handler: the call goes over to a new one, or its version may not stay any longer.
//!
//! The handler is told in its mailbox, returns when it suits it, and saves its state in the instance that it ran in. Then
//! the next version restores it. The call is the old one's until the new one does anything on it: when it does not come so
//! far, the old instance gets its own state back.
//!
//! How long it takes until the handler has heard is up to it: one that waits for events hears at once, one that is in another
//! verb when that returns. What waits for the caller or for prompts (`play`, `gather`, the waiting for a playback) is ended for
//! it after [`HEARD_WITHIN`]; other verbs have limits of their own. The upgrade is never given up: what may not stay has a
//! drain limit.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use voxtra_core::EventType;
use voxtra_plugins::{Outcome, StartError};

use super::failure::{Stage, one_line};
use super::work::{AtWork, Starting};
use super::{CallTask, End, HandlerRun};
use crate::account::Metered;
use crate::breaker::{Verdict, VersionKey};
use crate::call::CallShared;
use crate::handlers::HandlerVersion;

/// How long a handler may take to save its state.
const SAVE_LIMIT: Duration = Duration::from_secs(2);

/// How long the next version may take to start, and to do something on the call.
const TAKE_OVER_LIMIT: Duration = Duration::from_secs(5);

/// How long a handler may wait in one verb, for the caller or for prompts, while it has not heard that a new version waits.
const HEARD_WITHIN: Duration = Duration::from_secs(600);

/// How often a call is looked at that may not stay and is being handed on.
const LEAVES_WITHIN: Duration = Duration::from_secs(2);

/// How long a call waits that found no room for an instance of the next version, before it asks again.
const ROOM_AFTER: Duration = Duration::from_secs(2);

/// What is known of the versions beside the one that has the call.
#[derive(Default)]
pub(super) struct Upgrade {
    /// Since when the call's version is not the current one.
    outdated_since: Option<Instant>,
    /// By when the call's version has to be gone, and how long it may stay.
    drain: Option<(Instant, Duration)>,
    /// The version that is about to have the call.
    coming: Option<Arc<dyn HandlerVersion>>,
    /// A version that has turned this call down is not asked again.
    turned_down: Option<String>,
    /// There was no room for the next version's instance; by then there may be.
    room_at: Option<Instant>,
    /// By when the handler is to have heard that a new version waits.
    heard_by: Option<Instant>,
}

impl Upgrade {
    /// When something of it is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.drain_by(), self.room_at, self.heard_by].into_iter().flatten().min()
    }

    fn drain_by(&self) -> Option<Instant> {
        self.drain.map(|(by, _)| by)
    }
}

impl CallTask {
    /// Looks whether another version takes new calls now, and what that means for this one.
    pub(super) fn look_for_upgrade(&mut self) {
        let Some(handler) = self.handler.clone().filter(|_| !self.start.is_by_parent()) else { return };
        let host = Arc::clone(&self.life.host);
        let tenant = &self.shared.info.tenant;
        let current = host.current(tenant, handler.name());
        let is_current = current.as_ref().is_some_and(|current| current.version() == handler.version());
        if is_current || host.canaries.is_on_trial(tenant, handler.as_ref()) {
            (self.upgrade.outdated_since, self.upgrade.drain) = (None, None);
            self.withdraw_upgrade();
            return;
        }
        let since = *self.upgrade.outdated_since.get_or_insert_with(Instant::now);
        let limit = current.as_ref().unwrap_or(&handler).succession().drain_limit;
        self.upgrade.drain = limit.and_then(|limit| Some((since.checked_add(limit)?, limit)));
        let at_work = self.running.is_some() && matches!(self.stage, Stage::Handling { .. });
        match current {
            Some(current) if at_work && self.goes_over(handler.as_ref(), current.as_ref()) => {
                self.shared.mailbox.offer_upgrade();
                self.upgrade.heard_by.get_or_insert_with(|| Instant::now() + HEARD_WITHIN);
            }
            _ => self.withdraw_upgrade(),
        }
    }

    fn withdraw_upgrade(&mut self) {
        self.shared.mailbox.withdraw_upgrade();
        self.upgrade.heard_by = None;
    }

    /// Ends what the handler waits for, when a new version has waited for long and it has not heard.
    pub(super) fn let_handler_hear(&mut self, now: Instant) {
        if self.upgrade.heard_by.is_none_or(|by| now < by) {
            return;
        }
        self.upgrade.heard_by = None;
        let at_work = self.running.is_some() && matches!(self.stage, Stage::Handling { .. });
        if at_work && self.shared.mailbox.has_unheard_upgrade() {
            // It may go on to wait without having looked.
            self.upgrade.heard_by = Some(now + HEARD_WITHIN);
            self.cut_playings_short();
            self.cut_gathering_short();
        }
    }

    fn goes_over(&self, from: &dyn HandlerVersion, to: &dyn HandlerVersion) -> bool {
        let key = VersionKey::of(&self.shared.info.tenant, to);
        to.succession().mid_call
            && from.has_upgrade()
            && to.has_upgrade()
            && self.upgrade.room_at.is_none()
            && self.upgrade.turned_down.as_deref() != Some(to.version())
            && !self.life.host.breakers.is_open(&key)
    }

    /// The handler has saved its state: the version that is current now gets the call, or the same instance goes on.
    pub(super) fn hand_call_over(&mut self, instance: Metered, state: Vec<u8>) {
        let host = Arc::clone(&self.life.host);
        let Some(handler) = self.handler.clone() else { return };
        let next = host
            .current(&self.shared.info.tenant, handler.name())
            .filter(|next| next.version() != handler.version() && self.goes_over(handler.as_ref(), next.as_ref()));
        self.shared.mailbox.forget_upgrade();
        self.upgrade.heard_by = None;
        let shared = Arc::clone(&self.shared);
        let Some(next) = next else {
            self.running =
                Some(host.runtimes.guests.spawn_for(&self.shared.info.tenant, go_on(instance, shared, state)));
            // It may have been told of a version that is gone again; of the next one it is told anew.
            return self.look_for_upgrade();
        };
        self.upgrade.coming = Some(Arc::clone(&next));
        let call = self.successor_call(next.as_ref());
        let tenure = call.tenure();
        let starting = Starting {
            handler: next,
            call: Arc::new(call),
            account: Arc::clone(&self.shared.account),
            pressure: Arc::clone(&host.pressure),
        };
        self.running = Some(
            host.runtimes
                .guests
                .spawn_for(&self.shared.info.tenant, take_over(instance, starting, tenure, shared, state)),
        );
    }

    /// Notices that the next version has the call, when that is so: from now on it is the call's.
    pub(super) fn notice_take_over(&mut self) {
        if self.upgrade.coming.is_none() || self.shared.tenure() <= self.tenure {
            return;
        }
        let Some(next) = self.upgrade.coming.take() else { return };
        self.tenure = self.shared.tenure();
        self.judge(Verdict::Good);
        let from = self.handler.as_ref().map(|handler| handler.version().to_owned()).unwrap_or_default();
        let key = VersionKey::of(&self.shared.info.tenant, next.as_ref());
        self.at_work = Some(AtWork::begun(Arc::clone(&next), key));
        self.narrow_call_limit(next.limits());
        let host = Arc::clone(&self.life.host);
        self.hand_children_over(&next);
        // One of the same name always has room.
        let _ = host.hand_over(&self.shared.info.id, Arc::clone(&next));
        self.keep_audio_open();
        host.counters.call_upgraded();
        let (handler, version) = (next.name().to_string(), next.version().to_owned());
        tracing::info!(call = %self.shared.info.id, handler, from, version, "the call went over to another version");
        self.life.emit(EventType::HandlerUpgraded, json!({"handler": handler, "from": from, "version": version}));
        self.handler = Some(next);
        self.upgrade = Upgrade::default();
        self.look_for_upgrade();
    }

    /// The next version did not take the call: the one before goes on with its own state.
    pub(super) fn turned_down(&mut self, instance: Metered, TurnedDown { why, busy, state }: TurnedDown) {
        let host = Arc::clone(&self.life.host);
        let next = self.upgrade.coming.take();
        if busy {
            self.upgrade.room_at = Some(Instant::now() + ROOM_AFTER);
        } else if let Some(next) = next {
            // Not held against it where new calls are concerned.
            let version = next.version();
            self.report_error(&one_line(&format!(
                "the call stays on its version, because {version} could not take it over: {why}"
            )));
            self.upgrade.turned_down = Some(version.to_owned());
        }
        let shared = Arc::clone(&self.shared);
        self.running = Some(host.runtimes.guests.spawn_for(&self.shared.info.tenant, go_on(instance, shared, state)));
        self.look_for_upgrade();
    }

    /// Whoever has the call, or was about to have it, was told to stop, which may take a while: nothing that it still does
    /// counts from now on, and what it has opened is closed.
    pub(super) fn end_tenure(&mut self) {
        self.upgrade.coming = None;
        self.tenure = self.shared.tenure().saturating_add(2);
        self.shared.begin_tenure(self.tenure);
        self.take_audio_away();
    }

    /// Looks again whether there is room, when it is time to.
    pub(super) fn room_may_be_there(&mut self, now: Instant) {
        if self.upgrade.room_at.is_some_and(|at| now >= at) {
            self.upgrade.room_at = None;
            self.look_for_upgrade();
        }
    }

    /// The call's version is not the current one and may not stay any longer: the failure policy takes the call.
    pub(super) fn drain_timed_out(&mut self, now: Instant) -> Option<End> {
        if self.upgrade.drain_by().is_none_or(|by| now < by) {
            return None;
        }
        // It may be current again.
        self.look_for_upgrade();
        let (by, limit) = self.upgrade.drain?;
        if now < by {
            return None;
        }
        self.upgrade.drain = None;
        if !matches!(self.stage, Stage::Handling { .. }) || self.farewell.is_some() {
            // The call is about to leave anyway.
            return None;
        }
        if self.handing_on.is_some() {
            // So it is, unless that fails.
            self.upgrade.drain = Some((now + LEAVES_WITHIN, limit));
            return None;
        }
        self.running.take()?.abort();
        self.end_tenure();
        self.judge(Verdict::Unknown);
        self.end_children();
        self.life.host.counters.call_drained();
        let version = self.handler.as_ref().map(|handler| handler.version().to_owned()).unwrap_or_default();
        self.apologise_for(format!(
            "the handler's version {version} was replaced, and its calls may stay for {} ms (drain_limit_ms)",
            limit.as_millis()
        ))
    }
}

/// Why the next version did not take a call, and what the one before had saved.
pub(super) struct TurnedDown {
    why: String,
    /// It is not the version's doing.
    busy: bool,
    state: Vec<u8>,
}

impl HandlerRun {
    /// The instance before lives.
    fn turned_down(before: Metered, turned_down: TurnedDown) -> Self {
        let turned_down = Some(turned_down);
        Self { instance: Some(before), turned_down, ..Self::new(Ok(Outcome::Returned)) }
    }
}

/// A run that has come to its end; when the handler was told that a new version waits, its state is saved.
pub(super) async fn run_over(mut instance: Metered, shared: &CallShared, outcome: Outcome) -> HandlerRun {
    let mut run = HandlerRun::new(Ok(outcome));
    if matches!(run.outcome, Ok(Outcome::Returned)) && shared.mailbox.heard_of_upgrade() {
        match timeout(SAVE_LIMIT, instance.save()).await {
            Ok(Ok(saved)) => run.saved = saved,
            Ok(Err(failed)) => run.outcome = Ok(failed),
            Err(_) => run.outcome = Ok(Outcome::Error(format!("`save` took longer than {} s", SAVE_LIMIT.as_secs()))),
        }
    }
    // A dead instance goes here, where guests run.
    run.instance = instance.is_alive().then_some(instance);
    run
}

/// The instance that has saved a state gets it back.
async fn go_on(mut instance: Metered, shared: Arc<CallShared>, state: Vec<u8>) -> HandlerRun {
    let outcome = instance.restore(&state).await;
    drop(state);
    run_over(instance, &shared, outcome).await
}

/// The next version gets the state. The instance before goes when the next one does something on the call.
async fn take_over(
    before: Metered,
    starting: Starting,
    tenure: u32,
    shared: Arc<CallShared>,
    state: Vec<u8>,
) -> HandlerRun {
    let by = Instant::now() + TAKE_OVER_LIMIT;
    let late = || format!("it did nothing on the call for {} s", TAKE_OVER_LIMIT.as_secs());
    let mut next = match timeout_at(by, starting.instance()).await {
        Ok(Ok(next)) => next,
        Ok(Err(error)) => {
            let busy = error == StartError::Busy;
            return HandlerRun::turned_down(before, TurnedDown { why: error.to_string(), busy, state });
        }
        Err(_) => return HandlerRun::turned_down(before, TurnedDown { why: late(), busy: false, state }),
    };
    let mut before = Some(before);
    let outcome = {
        let mut restoring = next.restore(&state);
        let early = tokio::select! {
            biased;
            outcome = &mut restoring => Some(outcome),
            () = shared.wait_for_tenure(tenure) => None,
            () = sleep_until(by) => None,
        };
        let has_the_call = shared.tenure() >= tenure;
        match early {
            None if has_the_call => {
                // Its memory is free while the next one has the call.
                before = None;
                Ok(restoring.await)
            }
            None => Err(late()),
            Some(Outcome::Error(why)) if !has_the_call => Err(why),
            Some(Outcome::Trapped(trap)) if !has_the_call => Err(trap.to_string()),
            Some(outcome) => Ok(outcome),
        }
    };
    match (outcome, before) {
        (Err(why), Some(before)) => {
            drop(next);
            HandlerRun::turned_down(before, TurnedDown { why, busy: false, state })
        }
        (Err(why), None) => run_over(next, &shared, Outcome::Error(why)).await,
        (Ok(outcome), before) => {
            drop(before);
            shared.begin_tenure(tenure);
            run_over(next, &shared, outcome).await
        }
    }
}
