//! The end of a call: once, in one order, whatever fails on the way.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use voxtra_core::verbs::EndedCall;
use voxtra_core::{CallError, EndReason};
use voxtra_plugins::{Outcome, StartError};

use super::failure::{Stage, one_line};
use super::recording::finish_recording;
use super::work::{NotStarted, Starting};
use super::{CallTask, End, HandlerRun};
use crate::account::Metered;
use crate::breaker::Verdict;
use crate::call::{Message, Reply};
use crate::place::PlacedEnd;

/// How long a task that was told to stop may take to do so: guest code looks up every few milliseconds.
const ABORT_LIMIT: Duration = Duration::from_secs(1);

/// How long a handler that was told to stop may take to settle its account: it may wait for a turn to do so.
const SETTLE_LIMIT: Duration = Duration::from_millis(500);

/// How long a recording may take to be complete on its disk. It is finished all the same when it takes longer.
const RECORDING_END_LIMIT: Duration = Duration::from_secs(10);

/// What a hang-up hook gets even when the host's time to stop is over: a hook is never left out.
const HOOK_AT_LEAST: Duration = Duration::from_millis(250);

type Stop = watch::Receiver<Option<Instant>>;

impl CallTask {
    /// Everything that is left to do once it is decided that, and why, the call ends.
    pub(super) async fn finish(&mut self, end: End) -> EndReason {
        let reason = self.reason(end.reason);
        self.release(&reason, end.reply).await;
        if self.recording.is_some() {
            // A PBX that records has to be told before the leg is gone; what the host records can be finished meanwhile.
            Box::pin(self.stop_pbx_recording()).await;
        }
        self.leg_events.close();
        let recording = self.recording.take().map(|recording| Box::pin(finish_recording(recording)));
        let recorded = async {
            if let Some(recording) = recording {
                recording.await;
            }
        };
        let (leg, limit) = (Arc::clone(&self.leg), self.life.host.options.leg_end_limit);
        let hung_up = limited(self.stop.clone(), limit, Duration::ZERO, leg.end(end.cause));
        let recorded = limited(self.stop.clone(), RECORDING_END_LIMIT, HOOK_AT_LEAST, recorded);
        // The line is freed at once, whatever the handler does; and a PBX that does not answer keeps no hook waiting.
        let (hung_up, _, ()) = tokio::join!(hung_up, recorded, self.part_from_handler(&reason));
        if let Err(error) = hung_up.unwrap_or(Err(CallError::Timeout)) {
            tracing::warn!(call = %self.shared.info.id, %error, "the call could not be hung up at the PBX");
        }
        // The call's record counts what they have used.
        let _ = timeout(SETTLE_LIMIT, self.shared.account.settled()).await;
        reason
    }

    /// Nothing is left of the call.
    pub(super) fn close(self, reason: EndReason) {
        let end = PlacedEnd {
            answered: self.shared.is_answered(),
            answered_by: self.answered_by,
            duration_ms: self.shared.duration_ms(),
            reason,
        };
        self.life.close(&end.reason);
        if let Some(report) = self.report {
            let _ = report.send(end);
        }
    }

    async fn part_from_handler(&mut self, reason: &EndReason) {
        let handler = self.running.take().map(|task| (task, self.handler_limit()));
        let wound_down = wind_down(handler, self.stop.clone()).await;
        self.handler_gone(wound_down);
        self.end_children();
        self.take_down_made();
        let hook_failed = self.run_hook(reason).await;
        self.judge(if hook_failed { Verdict::Failed } else { Verdict::Good });
    }

    /// A caller who hangs up while the failure policy runs does not make the handler's failure undone.
    fn reason(&mut self, reason: EndReason) -> EndReason {
        let handed_on = self.handing_on.as_ref().is_some_and(|handing_on| handing_on.is_accepted());
        match (&self.stage, reason) {
            (Stage::Failed(failure), EndReason::CallerHungUp) if !handed_on => {
                EndReason::HandlerFailed(failure.clone())
            }
            (_, reason) => reason,
        }
    }

    /// Nothing waits for the call any more, and nothing more is taken from its handler.
    async fn release(&mut self, reason: &EndReason, asked_for_it: Option<Reply<()>>) {
        self.shared.set_over(reason.final_state());
        self.audio_ends();
        self.shared.mailbox.end(reason.clone());
        if let Some(reply) = asked_for_it {
            let _ = reply.send(Ok(()));
        }
        self.end_handing_on();
        self.prompts.hang_up();
        self.keys.hang_up();
        self.messages.close();
        while let Ok(message) = self.messages.try_recv() {
            match message {
                // Its handler was told that it leaves.
                Message::Emit(..) => drop(self.on_message(message)),
                message => message.refuse(CallError::HungUp),
            }
        }
        // Verbs that are at the leg are dropped, and the replies that went with them.
        self.work.shutdown().await;
    }

    fn handler_gone(&mut self, wound_down: WoundDown) {
        self.notice_take_over();
        match wound_down {
            WoundDown::NothingRan => {}
            WoundDown::Returned(run) => {
                self.instance = run.instance;
                // An error is how a handler says that its call is over.
                match run.outcome {
                    Ok(Outcome::Trapped(trap)) => {
                        self.judge(Verdict::Failed);
                        self.report_error(&one_line(&format!("after the end of its call, {trap}")));
                    }
                    Ok(Outcome::Returned | Outcome::Error(_)) => {}
                    Err(NotStarted::Failed(_)) => self.judge(Verdict::Failed),
                    Err(NotStarted::Busy(_)) => self.judge(Verdict::Unknown),
                    Err(NotStarted::LeftAlone(_)) => self.spare(),
                }
            }
            WoundDown::CutOff => {
                self.life.host.counters.handler_cut_off();
                self.judge(Verdict::Failed);
                self.report_error("the handler did not return after the end of its call and was stopped");
            }
        }
    }

    /// When the host is stopping, the handler leaves half of the time to its hang-up hook.
    fn handler_limit(&self) -> Duration {
        let of_version = self.handler.as_ref().and_then(|handler| handler.limits().handler_grace);
        let of_host = self.life.host.options.handler_grace;
        let grace = [of_version, self.tenant_limits.handler_grace].into_iter().flatten().fold(of_host, Duration::min);
        match *self.stop.borrow() {
            Some(deadline) => grace.min(deadline.saturating_duration_since(Instant::now()) / 2),
            None => grace,
        }
    }

    /// Runs the hook, if there is one; whether it failed.
    async fn run_hook(&mut self, reason: &EndReason) -> bool {
        let instance = self.instance.take();
        // The handler of a call that another has placed is at work there.
        let by_parent = self.start.is_by_parent();
        let Some(handler) =
            self.handler.clone().filter(|handler| !by_parent && !self.spared && handler.has_hangup_hook())
        else {
            return false;
        };
        let ended = EndedCall {
            info: self.shared.info().clone(),
            reason: reason.clone(),
            duration_ms: self.shared.duration_ms(),
            metadata: self.shared.metadata.list(),
        };
        let host = &self.life.host;
        let of_version = handler.limits().hook_limit;
        let limit = [of_version, self.tenant_limits.hook_limit].into_iter().flatten();
        let limit = limit.fold(host.options.hook_limit, Duration::min);
        let starting = Starting {
            handler,
            call: self.session_call(),
            account: Arc::clone(&self.shared.account),
            pressure: Arc::clone(&host.pressure),
        };
        let mut hook = host.runtimes.guests.spawn_for(&self.shared.info.tenant, on_hangup(instance, starting, ended));
        let failure = match limited(self.stop.clone(), limit, HOOK_AT_LEAST, &mut hook).await {
            Some(Ok(Ok(Outcome::Returned))) => return false,
            Some(Ok(Ok(Outcome::Error(error)))) => error,
            Some(Ok(Ok(Outcome::Trapped(trap)))) => trap.to_string(),
            Some(Ok(Err(error))) => error.to_string(),
            Some(Err(error)) => format!("its task was lost ({error}); this is a fault of the host"),
            None => {
                hook.abort();
                let _ = timeout(ABORT_LIMIT, hook).await;
                "it took too long and was stopped".to_owned()
            }
        };
        self.report_error(&one_line(&format!("the hang-up hook failed: {failure}")));
        true
    }
}

/// What became of a handler that still ran at the end of its call.
enum WoundDown {
    NothingRan,
    Returned(HandlerRun),
    CutOff,
}

/// Waits for the handler to return, then makes it.
async fn wind_down(handler: Option<(JoinHandle<HandlerRun>, Duration)>, stop: Stop) -> WoundDown {
    let Some((mut task, limit)) = handler else { return WoundDown::NothingRan };
    let run = match limited(stop, limit, Duration::ZERO, &mut task).await {
        Some(run) => run.ok(),
        None => {
            task.abort();
            // It is gone, or has returned after all, when this is over.
            timeout(ABORT_LIMIT, task).await.ok().and_then(Result::ok)
        }
    };
    run.map_or(WoundDown::CutOff, WoundDown::Returned)
}

/// Runs the hook where the call was handled, or in a new instance when that one is gone.
async fn on_hangup(instance: Option<Metered>, starting: Starting, ended: EndedCall) -> Result<Outcome, StartError> {
    let mut instance = match instance {
        Some(instance) if instance.is_alive() => instance,
        _ => starting.instance().await?,
    };
    Ok(instance.on_hangup(&ended).await)
}

/// The outcome of something, unless it takes longer than a limit or than a host that is stopping allows; such a host
/// allows so much `at_least`.
async fn limited<F: Future>(stop: Stop, limit: Duration, at_least: Duration, something: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        outcome = something => Some(outcome),
        () = sleep(limit) => None,
        () = stop_deadline(stop, Instant::now() + at_least) => None,
    }
}

async fn stop_deadline(mut stop: Stop, earliest: Instant) {
    let deadline = stop.wait_for(Option::is_some).await.ok().and_then(|deadline| *deadline);
    match deadline {
        Some(deadline) => sleep_until(deadline.max(earliest)).await,
        None => std::future::pending().await,
    }
}
