//! The end of a call: once, in one order, whatever fails on the way.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use voxtra_core::verbs::EndedCall;
use voxtra_core::{CallError, EndReason, HangupCause};
use voxtra_plugins::{Outcome, SharedCall, StartError};

use super::failure::Stage;
use super::{CallTask, End, HandlerRun};
use crate::handlers::{HandlerInstance, HandlerVersion};

/// How long a task that was told to stop may take to do so: guest code looks up every few milliseconds.
const ABORT_LIMIT: Duration = Duration::from_secs(1);

type Stop = watch::Receiver<Option<Instant>>;

impl CallTask {
    /// Everything that is left to do once it is decided that, and why, the call ends.
    pub(super) async fn finish(mut self, end: End) {
        let reason = self.reason(end.reason);
        self.release(&reason, end.reply).await;
        let handler_limit = self.handler_limit();
        let running = self.running.take();
        let ((), run) = tokio::join!(self.end_leg(end.cause), self.wind_down(running, handler_limit));
        if let Some(run) = run {
            self.instance = run.instance;
            if let Ok(Outcome::Trapped(trap)) = run.outcome {
                self.report_error(&format!("after the end of its call, {trap}"));
            }
        }
        self.run_hook(&reason).await;
        self.life.close(&reason);
    }

    /// A caller who hangs up while the failure policy runs does not make the handler's failure undone.
    fn reason(&mut self, reason: EndReason) -> EndReason {
        match (&self.stage, reason) {
            (Stage::Failed(failure), EndReason::CallerHungUp) => EndReason::HandlerFailed(failure.clone()),
            (_, reason) => reason,
        }
    }

    /// Nothing waits for the call any more, and nothing more is taken from its handler.
    async fn release(&mut self, reason: &EndReason, asked_for_it: Option<super::Reply<()>>) {
        self.shared.set_over(reason.final_state());
        self.audio_stops();
        self.shared.mailbox.end(reason.clone());
        if let Some(reply) = asked_for_it {
            let _ = reply.send(Ok(()));
        }
        self.verbs.hang_up();
        self.messages.close();
        while let Ok(message) = self.messages.try_recv() {
            message.refuse(CallError::HungUp);
        }
        // Verbs that are at the leg are dropped, and the replies that went with them.
        self.work.shutdown().await;
        self.leg_events.close();
    }

    async fn end_leg(&self, cause: HangupCause) {
        let (call, limit) = (&self.shared.info.id, self.life.host.options.leg_end_limit);
        match limited(self.stop.clone(), limit, self.leg.end(cause)).await {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::warn!(%call, %error, "the call could not be hung up at the PBX"),
            None => tracing::warn!(%call, "hanging up at the PBX took too long and was given up"),
        }
    }

    /// Waits for the handler to return, then makes it.
    async fn wind_down(&self, running: Option<JoinHandle<HandlerRun>>, limit: Duration) -> Option<HandlerRun> {
        let mut running = running?;
        if let Some(run) = limited(self.stop.clone(), limit, &mut running).await {
            return run.ok();
        }
        running.abort();
        // It is gone, or has returned after all, when this is over.
        let run = timeout(ABORT_LIMIT, running).await.ok().and_then(Result::ok);
        if run.is_none() {
            self.life.host.counters.handler_cut_off();
            self.report_error("the handler did not return after the end of its call and was stopped");
        }
        run
    }

    /// When the host is stopping, the handler leaves half of the time to its hang-up hook.
    fn handler_limit(&self) -> Duration {
        let grace = self.life.host.options.handler_grace;
        match *self.stop.borrow() {
            Some(deadline) => grace.min(deadline.saturating_duration_since(Instant::now()) / 2),
            None => grace,
        }
    }

    async fn run_hook(&mut self, reason: &EndReason) {
        let instance = self.instance.take();
        if !self.handler.has_hangup_hook() {
            return;
        }
        let ended = EndedCall {
            info: self.shared.info.clone(),
            reason: reason.clone(),
            duration_ms: self.shared.duration_ms(),
            metadata: self.shared.metadata.list(),
        };
        let call: SharedCall = self.session_call();
        let guests = &self.life.host.runtimes.guests;
        let mut hook = guests.spawn(on_hangup(Arc::clone(&self.handler), instance, call, ended));
        let failure = match limited(self.stop.clone(), self.life.host.options.hook_limit, &mut hook).await {
            Some(Ok(Ok(Outcome::Returned))) => return,
            Some(Ok(Ok(Outcome::Error(error)))) => super::failure::one_line(&error),
            Some(Ok(Ok(Outcome::Trapped(trap)))) => trap.to_string(),
            Some(Ok(Err(error))) => error.to_string(),
            Some(Err(error)) => format!("its task was lost ({error}); this is a fault of the host"),
            None => {
                hook.abort();
                let _ = timeout(ABORT_LIMIT, hook).await;
                "it took too long and was stopped".to_owned()
            }
        };
        self.report_error(&format!("the hang-up hook failed: {failure}"));
    }
}

/// Runs the hook where the call was handled, or in a new instance when that one is gone.
async fn on_hangup(
    handler: Arc<dyn HandlerVersion>,
    instance: Option<Box<dyn HandlerInstance>>,
    call: SharedCall,
    ended: EndedCall,
) -> Result<Outcome, StartError> {
    let mut instance = match instance {
        Some(instance) if instance.is_alive() => instance,
        _ => handler.start(call).await?,
    };
    Ok(instance.on_hangup(&ended).await)
}

/// The outcome of something, unless it takes longer than a limit or than a host that is stopping allows.
async fn limited<F: Future>(stop: Stop, limit: Duration, something: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        outcome = something => Some(outcome),
        () = sleep(limit) => None,
        () = stop_deadline(stop) => None,
    }
}

async fn stop_deadline(mut stop: Stop) {
    let deadline = stop.wait_for(Option::is_some).await.ok().and_then(|deadline| *deadline);
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
