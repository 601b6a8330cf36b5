//! Events that no call's own task tells: what became of a recording, a batch that is over. They pass the tenant's filters
//! as those of calls do.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use tokio::time::Instant;
use voxtra_core::{Event, EventSink};

use crate::host::{Host, Inner};
use crate::pump::filtered;

/// A sink in front of a host's sink. Those who tell such events are made before the host is, so the filters come with
/// [`FilteredSink::filter_as`]; events before that are not filtered, and those after the host's end do not leave.
pub struct FilteredSink {
    sink: Arc<dyn EventSink>,
    host: OnceLock<Weak<Inner>>,
}

impl FilteredSink {
    /// What passes goes there.
    pub fn new(sink: Arc<dyn EventSink>) -> Arc<Self> {
        Arc::new(Self { sink, host: OnceLock::new() })
    }

    /// From now on with this host's filters. Only the first host counts.
    pub fn filter_as(&self, host: &Host) {
        let _ = self.host.set(Arc::downgrade(host.inner()));
    }
}

impl EventSink for FilteredSink {
    /// There are as many of them at one time as recordings and batches that end: each passes by itself.
    fn emit(&self, event: Event) {
        let Some(host) = self.host.get() else { return self.sink.emit(event) };
        let Some(host) = host.upgrade() else {
            // Nobody knows any more whether it had to be filtered.
            let (kind, call, tenant) = (event.kind.as_str(), &event.session_id, &event.tenant);
            return tracing::warn!(%call, %tenant, kind, "an event is dropped: the host has stopped, and its filters with it");
        };
        if host.asked.filters_of(&event.tenant).is_empty() {
            return self.sink.emit(event);
        }
        let (sink, running, control) = (Arc::clone(&self.sink), host.pump_started(), host.runtimes.control.clone());
        let came = Instant::now();
        control.spawn(async move {
            let _running = running;
            if let Some(event) = filtered(&host, event, came).await {
                sink.emit(event);
            }
        });
    }
}

impl fmt::Debug for FilteredSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilteredSink").finish_non_exhaustive()
    }
}
