//! What has been counted over all calls.

use std::sync::atomic::{AtomicU64, Ordering};

/// The host's counters at one moment, since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostStats {
    /// Calls that were taken.
    pub started: u64,
    /// Calls that came to their end.
    pub ended: u64,
    /// Of those, the calls whose owner task vanished before it had ended them; their end was made up for.
    pub lost: u64,
    /// Calls that were not taken.
    pub refused: u64,
    /// Handlers that returned an error, trapped, went over a limit, or could not start though the host had room for them.
    pub handler_failures: u64,
    /// Handlers that were cut off because they did not return after the end of their call.
    pub handlers_cut_off: u64,
    /// Events of legs that were dropped because too many waited.
    pub dropped_leg_events: u64,
    /// Events for handlers that were dropped because too many waited.
    pub dropped_handler_events: u64,
    /// Keys that were dropped because no handler took them.
    pub dropped_digits: u64,
    /// Dispatch rules that failed, took too long, or chose a handler that is not there.
    pub rule_failures: u64,
    /// Filters that failed or took too long; the event did not leave. By tenant: [`crate::Host::withheld_events`].
    pub filter_failures: u64,
    /// Events that did not leave because too many of their call waited for a filter.
    pub dropped_events: u64,
    /// Calls that were refused, or ended before their handler had them, because it could not begin in time.
    pub refused_busy: u64,
    /// Calls that went straight to the failure policy because their handler's version had failed too often.
    pub breaker_skipped: u64,
    /// Versions on trial that were withdrawn.
    pub canaries_withdrawn: u64,
    /// Calls that went over to a new version of their handler, counted each time.
    pub upgraded: u64,
    /// Calls that were taken from a replaced version because they had stayed on it for as long as they may.
    pub drained: u64,
}

macro_rules! counters {
    ($($field:ident: $count:ident,)*) => {
        /// The counters themselves.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $($field: AtomicU64,)*
        }

        impl Counters {
            $(pub(crate) fn $count(&self) {
                self.$field.fetch_add(1, Ordering::Relaxed);
            })*

            pub(crate) fn snapshot(&self) -> HostStats {
                HostStats { $($field: self.$field.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    started: call_started,
    ended: call_ended,
    lost: call_lost,
    refused: call_refused,
    handler_failures: handler_failed,
    handlers_cut_off: handler_cut_off,
    dropped_leg_events: leg_event_dropped,
    dropped_handler_events: handler_event_dropped,
    dropped_digits: digit_dropped,
    rule_failures: rule_failed,
    filter_failures: filter_failed,
    dropped_events: event_dropped,
    refused_busy: refused_busy,
    breaker_skipped: breaker_skipped,
    canaries_withdrawn: canary_withdrawn,
    upgraded: call_upgraded,
    drained: call_drained,
}
