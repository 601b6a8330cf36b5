//! Where the lines are: who can be called, what is stored, and how a line is found by its id.

use std::collections::HashMap;
use std::future::ready;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use voxtra_core::telephony::PlacedLeg;
use voxtra_core::{BoxFuture, Bridge, BridgeId, CallError, CallId, Exchange, Leg, LegEvents, SnoopId};

use super::bridge::SimulatedBridge;
use super::callee::{Callee, number_of};
use super::leg::{SimulatedLeg, Verb, WAITING_VERBS};
use super::line::Line;
use super::options::SimulatorOptions;
use super::report::CallReport;
use super::sounds::Sounds;
use super::stored;

/// Legs that may be placed at one time: each records both sides in memory.
const MAX_PLACED: usize = 200;

/// Reports of placed calls that are kept until somebody takes them; of more, only the number is known.
const MAX_REPORTS: usize = 500;

/// What all lines of a simulator have in common: a directory of them, and what they reach.
pub(super) struct Floor {
    sounds: Arc<Sounds>,
    options: SimulatorOptions,
    opened: OnceLock<Instant>,
    /// How many placed calls go on.
    placed: watch::Sender<usize>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    lines: HashMap<CallId, mpsc::Sender<Verb>>,
    snoops: HashMap<SnoopId, CallId>,
    bridges: u64,
    reports: Vec<CallReport>,
}

/// A line's entry in the directory, for as long as the line lives.
pub(super) struct Listed {
    floor: Arc<Floor>,
    id: CallId,
    placed: bool,
}

impl Floor {
    pub(super) fn new(sounds: Arc<Sounds>, options: SimulatorOptions) -> Arc<Self> {
        let placed = watch::Sender::new(0);
        Arc::new(Self { sounds, options, opened: OnceLock::new(), placed, inner: Mutex::default() })
    }

    pub(super) fn sounds(&self) -> &Arc<Sounds> {
        &self.sounds
    }

    /// Since the first call.
    pub(super) fn clock(&self) -> Duration {
        self.opened.get_or_init(Instant::now).elapsed()
    }

    /// Lists a line; none when one of this id is there.
    pub(super) fn list(self: &Arc<Self>, id: &CallId, line: mpsc::Sender<Verb>, placed: bool) -> Option<Listed> {
        let mut inner = self.inner();
        if inner.lines.contains_key(id) {
            return None;
        }
        inner.lines.insert(id.clone(), line);
        drop(inner);
        if placed {
            self.placed.send_modify(|placed| *placed += 1);
        }
        Some(Listed { floor: Arc::clone(self), id: id.clone(), placed })
    }

    pub(super) fn line(&self, id: &CallId) -> Option<mpsc::Sender<Verb>> {
        self.inner().lines.get(id).cloned()
    }

    pub(super) fn line_of_snoop(&self, id: &SnoopId) -> Option<mpsc::Sender<Verb>> {
        let inner = self.inner();
        inner.snoops.get(id).and_then(|call| inner.lines.get(call)).cloned()
    }

    pub(super) fn list_snoop(&self, id: &SnoopId, call: &CallId) {
        self.inner().snoops.insert(id.clone(), call.clone());
    }

    pub(super) fn forget_snoop(&self, id: &SnoopId) {
        self.inner().snoops.remove(id);
    }

    /// Whether there is a queue, an extension or a place of this name.
    pub(super) fn has_queue(&self, queue: &str) -> bool {
        !self.options.absent_queues.iter().any(|absent| absent == queue)
    }

    /// `place` is `EXTENSION`, or `EXTENSION@CONTEXT`.
    pub(super) fn has_place(&self, place: &str) -> bool {
        let extension = place.split('@').next().unwrap_or(place);
        !self.options.absent_places.iter().any(|absent| absent == place || absent == extension)
    }

    /// Waits until every placed call is over, and takes their reports, in the order in which they were placed.
    pub(super) async fn placed_calls(&self) -> Vec<CallReport> {
        // The sender is ours, so that it cannot be gone.
        let _ = self.placed.subscribe().wait_for(|placed| *placed == 0).await;
        let mut reports = std::mem::take(&mut self.inner().reports);
        reports.sort_by_key(|report| report.began);
        reports
    }

    fn callee(&self, endpoint: &str) -> Callee {
        let callees = &self.options.callees;
        let callee = callees.get(endpoint).or_else(|| callees.get(number_of(endpoint)));
        callee.unwrap_or(&self.options.other_callees).clone()
    }

    fn keep_report(&self, report: CallReport) {
        let mut inner = self.inner();
        if inner.reports.len() < MAX_REPORTS {
            inner.reports.push(report);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut inner = self.floor.inner();
        let line = inner.lines.remove(&self.id);
        inner.snoops.retain(|_, call| *call != self.id);
        drop(inner);
        drop(line);
        if self.placed {
            self.floor.placed.send_modify(|placed| *placed = placed.saturating_sub(1));
        }
    }
}

/// One application of the simulated PBX.
pub(super) struct SimulatedExchange {
    app: String,
    floor: Arc<Floor>,
}

impl SimulatedExchange {
    pub(super) fn new(app: String, floor: Arc<Floor>) -> Self {
        Self { app, floor }
    }

    fn place(&self, leg: &PlacedLeg, events: Arc<dyn LegEvents>) -> Result<Arc<dyn Leg>, CallError> {
        if *self.floor.placed.borrow() >= MAX_PLACED {
            return Err(CallError::LimitExceeded(format!(
                "the simulator has {MAX_PLACED} placed calls already; wait for one to end"
            )));
        }
        let (line, verbs) = mpsc::channel(WAITING_VERBS);
        let twice = || CallError::Telephony(format!("a call of the id {} is at the PBX already", leg.id));
        let listed = self.floor.list(&leg.id, line.clone(), true).ok_or_else(twice)?;
        let placed = Line::placed(leg, self.floor.callee(&leg.endpoint), &self.app, Arc::clone(&self.floor));
        let floor = Arc::clone(&self.floor);
        tokio::spawn(async move {
            let report = placed.run_placed(&*events, verbs).await;
            floor.keep_report(report);
            drop(listed);
        });
        Ok(Arc::new(SimulatedLeg::new(line, leg.id.clone())))
    }
}

impl Exchange for SimulatedExchange {
    fn name(&self) -> &str {
        "simulator"
    }

    fn app(&self) -> &str {
        &self.app
    }

    fn originate<'a>(
        &'a self,
        leg: &'a PlacedLeg,
        events: Arc<dyn LegEvents>,
    ) -> BoxFuture<'a, Result<Arc<dyn Leg>, CallError>> {
        // Not before it is polled; and there is no point at which it could be dropped half done.
        Box::pin(async move { self.place(leg, events) })
    }

    fn has_leg<'a>(&'a self, id: &'a CallId) -> BoxFuture<'a, Result<bool, CallError>> {
        Box::pin(ready(Ok(self.floor.line(id).is_some())))
    }

    fn create_bridge(&self) -> BoxFuture<'_, Result<Arc<dyn Bridge>, CallError>> {
        let number = {
            let mut inner = self.floor.inner();
            inner.bridges += 1;
            inner.bridges
        };
        let bridge = SimulatedBridge::new(BridgeId::from(format!("bridge-{number}")), Arc::clone(&self.floor));
        Box::pin(ready(Ok(Arc::new(bridge) as Arc<dyn Bridge>)))
    }

    fn fetch_recording<'a>(
        &'a self,
        stored_name: &'a str,
        to: &'a Path,
    ) -> BoxFuture<'a, Result<Option<u64>, CallError>> {
        Box::pin(async move {
            let Some(samples) = self.floor.sounds.stored().get(stored_name) else { return Ok(None) };
            let path = to.to_owned();
            let written = tokio::task::spawn_blocking(move || stored::write_file(&samples, &path)).await;
            let written = written.map_err(std::io::Error::other).and_then(|written| written);
            written.map(Some).map_err(|error| {
                CallError::Telephony(format!("the recording cannot be written to {}: {error}", to.display()))
            })
        })
    }

    fn delete_recording<'a>(&'a self, stored_name: &'a str) -> BoxFuture<'a, Result<(), CallError>> {
        self.floor.sounds.stored().delete(stored_name);
        Box::pin(ready(Ok(())))
    }
}
