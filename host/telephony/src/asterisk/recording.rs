//! Recording by the PBX: a snoop channel that hears both sides, and is recorded.
//!
//! `record` on the call's own channel would hold only what it says, and cannot run while the channel is in a bridge.
//! One task a recording owns the snoop; whatever ends it, the leg is told once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};
use voxtra_ari::AriError;
use voxtra_core::telephony::PbxRecording;
use voxtra_core::verbs::{Sides, SnoopOptions};
use voxtra_core::{CallError, RecordingId};

use super::leg::LegShared;
use super::leg_task::LegInput;
use super::names;
use super::registry::{MediaState, RecordingOutcome};
use super::snoop;

/// How long the PBX may take to close a recording's file and say so.
const FINISH_LIMIT: Duration = Duration::from_secs(2);
/// How errors begin.
const DOING: &str = "recording";

/// A leg's recording, as its verbs see it.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    current: Mutex<Option<Current>>,
}

/// One recording, from outside of its task.
#[derive(Debug, Clone)]
struct Current {
    id: RecordingId,
    stored_name: String,
    stop: Arc<watch::Sender<bool>>,
    /// True when nothing is recorded any more; ends with the task.
    done: watch::Receiver<bool>,
    clock: Arc<Mutex<Stopwatch>>,
}

impl Current {
    fn is_done(&self) -> bool {
        *self.done.borrow() || self.done.has_changed().is_err()
    }
}

impl Recorder {
    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what is recorded and returns when the leg has been told; the task's own limits bound it.
    pub(super) async fn finish(&self) {
        let Some(current) = self.current().clone() else { return };
        current.stop.send_replace(true);
        let mut done = current.done;
        while done.changed().await.is_ok() {}
    }

    /// What is recorded, if anything is.
    pub(super) fn active(&self) -> Option<RecordingId> {
        self.current().as_ref().filter(|current| !current.is_done()).map(|current| current.id.clone())
    }
}

/// How long was recorded, as the host has it: Asterisk counts whole seconds only.
#[derive(Debug)]
struct Stopwatch {
    recorded: Duration,
    running_since: Option<Instant>,
}

impl Stopwatch {
    fn started() -> Self {
        Self { recorded: Duration::ZERO, running_since: Some(Instant::now()) }
    }

    fn pause(&mut self, paused: bool) {
        match (paused, self.running_since) {
            (true, Some(since)) => {
                self.recorded += since.elapsed();
                self.running_since = None;
            }
            (false, None) => self.running_since = Some(Instant::now()),
            _ => {}
        }
    }

    fn recorded_ms(&self) -> u64 {
        let running = self.running_since.map_or(Duration::ZERO, |since| since.elapsed());
        u64::try_from((self.recorded + running).as_millis()).unwrap_or(u64::MAX)
    }
}

/// The host's milliseconds, kept within the second that the PBX says.
fn duration_ms(by_pbx_s: u64, by_host_ms: u64) -> u32 {
    let from = by_pbx_s.saturating_mul(1000);
    u32::try_from(by_host_ms.clamp(from, from.saturating_add(999))).unwrap_or(u32::MAX)
}

/// Begins one.
pub(super) async fn start(leg: &Arc<LegShared>, recording: &PbxRecording, runtime: &Handle) -> Result<(), CallError> {
    names::check_stored_name(&recording.stored_name)?;
    leg.check_not_over()?;
    let (reply, started) = oneshot::channel();
    let (stop, stopping) = watch::channel(false);
    let (done, is_done) = watch::channel(false);
    let clock = Arc::new(Mutex::new(Stopwatch::started()));
    {
        let mut current = leg.recorder.current();
        if current.as_ref().is_some_and(|current| !current.is_done()) {
            return Err(CallError::LimitExceeded(
                "this call is being recorded already; stop that recording first".to_owned(),
            ));
        }
        *current = Some(Current {
            id: recording.id.clone(),
            stored_name: recording.stored_name.clone(),
            stop: Arc::new(stop),
            done: is_done,
            clock: Arc::clone(&clock),
        });
    }
    let task = Task { leg: Arc::clone(leg), recording: recording.clone(), stopping, clock, done };
    runtime.spawn(task.run(reply));
    started.await.unwrap_or(Err(CallError::HungUp))
}

/// Leaves out what follows, or goes on.
pub(super) async fn pause(leg: &LegShared, id: &RecordingId, paused: bool) -> Result<(), CallError> {
    let current = leg.recorder.current().clone().filter(|current| current.id == *id && !current.is_done());
    let Some(current) = current else {
        return Err(CallError::Telephony("this recording is over; begin another one".to_owned()));
    };
    let path = ["recordings", "live", &current.stored_name, "pause"];
    let outcome =
        if paused { leg.app.client.post(&path, &[], None).await } else { leg.app.client.delete(&path, &[]).await };
    match outcome {
        Ok(_) => {
            current.clock.lock().unwrap_or_else(PoisonError::into_inner).pause(paused);
            Ok(())
        }
        Err(error) if error.gone() => Err(CallError::Telephony("this recording is over; begin another one".to_owned())),
        Err(error) => Err(leg.verb_failed(DOING, error).await),
    }
}

/// Ends it.
pub(super) async fn stop(leg: &LegShared, id: &RecordingId) -> Result<(), CallError> {
    let ours = leg.recorder.current().as_ref().is_some_and(|current| current.id == *id);
    if ours {
        leg.recorder.finish().await;
    }
    Ok(())
}

struct Task {
    leg: Arc<LegShared>,
    recording: PbxRecording,
    stopping: watch::Receiver<bool>,
    clock: Arc<Mutex<Stopwatch>>,
    done: watch::Sender<bool>,
}

impl Task {
    async fn run(self, reply: oneshot::Sender<Result<(), CallError>>) {
        let app = &self.leg.app;
        let name = &self.recording.stored_name;
        let snoop_id = app.names.new_snoop();
        let state = app.registry.add_media(&snoop_id);
        let over = app.registry.add_recording(name);
        match self.begin(&snoop_id, state.clone()).await {
            Ok(()) => {
                *self.clock() = Stopwatch::started();
                tracing::info!(call = %self.leg.call, recording = %self.recording.id, "the PBX records");
                let wanted = reply.send(Ok(())).is_ok();
                let outcome = self.until_over(over, state, wanted).await;
                // First: whoever is told may begin the next at once.
                self.done.send_replace(true);
                self.leg.inbox.post(LegInput::RecordingOver { id: self.recording.id.clone(), outcome });
                snoop::take_down_channel(app, &snoop_id, false).await;
            }
            Err((error, uncertain)) => {
                let error = self.leg.verb_error(DOING, error);
                snoop::take_down_channel(app, &snoop_id, uncertain).await;
                let _ = reply.send(Err(error));
            }
        }
        app.registry.take_recording(name);
    }

    async fn begin(&self, snoop_id: &str, state: watch::Receiver<MediaState>) -> Result<(), (AriError, bool)> {
        let app = &self.leg.app;
        let failed = |error: AriError| {
            let uncertain = error.transient();
            (error, uncertain)
        };
        // The beep goes where the snoop whispers.
        let whisper = if self.recording.beep { Sides::Out } else { Sides::None };
        let options = SnoopOptions { spy: Sides::Both, whisper };
        snoop::ask_for_channel(app, &self.leg.channel, snoop_id, options, state).await.map_err(failed)?;
        let body = json!({
            "name": self.recording.stored_name,
            "format": "wav",
            "ifExists": "fail",
            "beep": self.recording.beep,
            "terminateOn": "none",
            "maxDurationSeconds": whole_seconds(self.recording.max_duration),
            "maxSilenceSeconds": self.recording.max_silence.map_or(0, whole_seconds),
        });
        app.client.post(&["channels", snoop_id, "record"], &[], Some(&body)).await.map(drop).map_err(failed)
    }

    async fn until_over(
        &self,
        mut over: oneshot::Receiver<RecordingOutcome>,
        mut state: watch::Receiver<MediaState>,
        wanted: bool,
    ) -> Result<u32, String> {
        let mut stopping = self.stopping.clone();
        let stopped = async {
            if wanted {
                let _ = stopping.wait_for(|stop| *stop).await;
            }
        };
        tokio::select! {
            biased;
            outcome = &mut over => return self.length(outcome),
            () = stopped => {}
            _ = state.wait_for(|state| *state == MediaState::Gone) => {}
        }
        self.clock().pause(true);
        let path = ["recordings", "live", &self.recording.stored_name, "stop"];
        // Without a snoop it stops by itself.
        let asked = self.leg.app.client.post(&path, &[], None).await;
        match timeout(FINISH_LIMIT, over).await {
            Ok(outcome) => self.length(outcome),
            Err(_) => Err(match asked {
                Err(error) if !error.gone() => format!("the PBX did not end the recording: {error}"),
                _ => "the PBX did not say that the recording has ended".to_owned(),
            }),
        }
    }

    fn length(&self, outcome: Result<RecordingOutcome, oneshot::error::RecvError>) -> Result<u32, String> {
        let by_pbx_s = outcome.unwrap_or_else(|_| Err("the host has forgotten the recording".to_owned()))?;
        Ok(duration_ms(by_pbx_s, self.clock().recorded_ms()))
    }

    fn clock(&self) -> MutexGuard<'_, Stopwatch> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the PBX takes: at least one, rounded up.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0)).clamp(1, 7 * 24 * 3600)
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn the_length_is_the_hosts_within_the_second_of_the_pbx() {
        assert_eq!(duration_ms(2, 2_345), 2_345);
        assert_eq!(duration_ms(2, 1_990), 2_000);
        assert_eq!(duration_ms(2, 9_000), 2_999);
        assert_eq!(duration_ms(u64::MAX, 1), u32::MAX);
    }

    #[test]
    fn limits_are_whole_seconds_and_never_none() {
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_millis(1_001)), 2);
        assert_eq!(whole_seconds(Duration::from_secs(60)), 60);
    }
}
