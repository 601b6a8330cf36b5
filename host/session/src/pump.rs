//! One call's events on their way through the filters: in order, one at a time, bounded, and off the call's owner. An event
//! that not all of its tenant's filters have seen does not leave. It is held for a moment where one of them is not there,
//! which is new or is being replaced, and then dropped: what is held for longer would have no bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use voxtra_core::{Event, EventType, TenantId};

use crate::host::Inner;
use crate::ports::{EventFilters, FilterVerdict};

/// How many events of one call wait for their filter; of more, the new ones go, but never those that tell its end.
const WAITING_MAX: usize = 256;

/// How long a filter may take for one event, its wait for a place among the guests included: its own running time has a
/// narrower limit, and a machine that is full for a moment must not cost events.
const FILTER_LIMIT: Duration = Duration::from_secs(1);

/// How long an event is held for a filter that is not there.
const ABSENT_LIMIT: Duration = Duration::from_secs(5);

/// The call's end of it. When it is dropped, what waits still leaves.
pub(crate) struct Pump {
    /// With the moment at which they came.
    events: mpsc::UnboundedSender<(Event, Instant)>,
    waiting: Arc<AtomicUsize>,
}

impl Pump {
    /// Starts one on the control runtime. Each event passes the filters that there are when its turn comes.
    pub(crate) fn start(host: &Arc<Inner>) -> Self {
        // Bounded by `waiting`: the end of a call has to get in whatever waits.
        let (events, mut queue) = mpsc::unbounded_channel::<(Event, Instant)>();
        let waiting = Arc::<AtomicUsize>::default();
        let (host_side, left) = (Arc::clone(host), Arc::clone(&waiting));
        let running = host.pump_started();
        host.runtimes.control.spawn(async move {
            let _running = running;
            while let Some((event, came)) = queue.recv().await {
                left.fetch_sub(1, Ordering::Relaxed);
                if let Some(event) = filtered(&host_side, event, came).await {
                    host_side.ports.sink.emit(event);
                }
            }
        });
        Self { events, waiting }
    }

    /// Takes one event; gives it back when there is nobody left to pass it on, and nobody filters.
    pub(crate) fn push(&self, host: &Inner, event: Event) -> Option<Event> {
        let needed = matches!(event.kind, EventType::CallEnded | EventType::CallFailed | EventType::SessionDestroyed);
        if !needed && self.waiting.load(Ordering::Relaxed) >= WAITING_MAX {
            host.counters.event_dropped();
            return None;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let (unsent, _) = self.events.send((event, Instant::now())).err()?.0;
        if host.asked.filters_of(&unsent.tenant).is_empty() {
            return Some(unsent);
        }
        host.withheld.note(&unsent, "the host has lost the task that asks the filters; this is a fault of the host");
        None
    }
}

/// What leaves of an event after all filters have seen it, each what the one before has left. Without one of them nothing
/// does. `came`: when there was the event.
pub(crate) async fn filtered(host: &Inner, mut event: Event, came: Instant) -> Option<Event> {
    let filters = match present(host, &event.tenant, came + ABSENT_LIMIT).await {
        Ok(filters) => filters,
        Err(why) => {
            host.withheld.note(&event, &why);
            return None;
        }
    };
    for filter in filters {
        let verdict = timeout(FILTER_LIMIT, filter.filter(&event)).await;
        let why = match verdict {
            Ok(Ok(FilterVerdict::Keep)) => continue,
            Ok(Ok(FilterVerdict::Change(data))) => {
                event.data = data;
                continue;
            }
            Ok(Ok(FilterVerdict::Drop)) => return None,
            Ok(Err(why)) => why,
            Err(_) => format!("it took longer than {} ms", FILTER_LIMIT.as_millis()),
        };
        host.counters.filter_failed();
        host.withheld.note(&event, &why);
        return None;
    }
    Some(event)
}

/// A tenant's filters, when all of them are there. A host that stops waits for none.
async fn present(host: &Inner, tenant: &TenantId, until: Instant) -> Result<Vec<Arc<dyn EventFilters>>, String> {
    let (mut changes, mut stop) = (host.asked.filter_changes(), host.stop());
    loop {
        let filters = host.asked.filters_of(tenant);
        let Some(why) = filters.iter().find_map(|filter| filter.absent()) else { return Ok(filters) };
        tokio::select! {
            Ok(()) = changes.changed() => {}
            () = sleep_until(until) => return Err(why),
            Ok(_) = stop.wait_for(Option::is_some) => return Err(why),
        }
    }
}
