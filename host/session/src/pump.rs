//! One call's events on their way through the filters: in order, one at a time, bounded, and off the call's owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use voxtra_core::{Event, EventType};

use crate::host::Inner;
use crate::ports::{EventFilters, FilterVerdict};

/// How many events of one call wait for their filter; of more, the new ones go, but never those that tell its end.
const WAITING_MAX: usize = 256;

/// How long a filter may look at one event.
const FILTER_LIMIT: Duration = Duration::from_millis(200);

/// The call's end of it. When it is dropped, what waits still leaves.
pub(crate) struct Pump {
    events: mpsc::UnboundedSender<Event>,
    waiting: Arc<AtomicUsize>,
}

impl Pump {
    /// Starts one on the control runtime. Each event passes the filters that there are when its turn comes.
    pub(crate) fn start(host: &Arc<Inner>) -> Self {
        // Bounded by `waiting`: the end of a call has to get in whatever waits.
        let (events, mut queue) = mpsc::unbounded_channel::<Event>();
        let waiting = Arc::<AtomicUsize>::default();
        let (host_side, left) = (Arc::clone(host), Arc::clone(&waiting));
        let running = host.pump_started();
        host.runtimes.control.spawn(async move {
            let _running = running;
            while let Some(event) = queue.recv().await {
                left.fetch_sub(1, Ordering::Relaxed);
                let filters = host_side.asked.filters_of(&event.tenant);
                if let Some(event) = filtered(&host_side, &filters, event).await {
                    host_side.ports.sink.emit(event);
                }
            }
        });
        Self { events, waiting }
    }

    /// Takes one event; gives it back when nobody filters any more.
    pub(crate) fn push(&self, host: &Inner, event: Event) -> Option<Event> {
        let needed = matches!(event.kind, EventType::CallEnded | EventType::CallFailed | EventType::SessionDestroyed);
        if !needed && self.waiting.load(Ordering::Relaxed) >= WAITING_MAX {
            host.counters.event_dropped();
            return None;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.events.send(event).err().map(|unsent| unsent.0)
    }
}

/// What leaves of an event after all filters have seen it, each what the one before has left.
pub(crate) async fn filtered(host: &Inner, filters: &[Arc<dyn EventFilters>], mut event: Event) -> Option<Event> {
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
        let kind = event.kind.as_str();
        tracing::warn!(call = %event.session_id, tenant = %event.tenant, kind, why, "a filter failed and was skipped");
    }
    Some(event)
}
