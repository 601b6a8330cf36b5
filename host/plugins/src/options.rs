//! What the runtime may use up, all of it with defaults that suit telephone calls.

use std::path::PathBuf;
use std::time::Duration;

use crate::aside::Aside;

/// How the runtime is set up. One runtime serves all tenants.
#[derive(Debug, Clone)]
pub struct RuntimeOptions {
    /// Instances that can be alive at once: one for each call, one more for a call whose hang-up hook runs in a new
    /// instance, and one for each question that a router or a filter is being asked. Default 2,500.
    pub max_instances: u32,
    /// The largest component file that is read. Default 64 MiB.
    pub max_component_bytes: u64,
    /// Where compiled components are kept between starts, outside any plugin directory; `None`: nowhere.
    pub cache_dir: Option<PathBuf>,
    /// Who compiles; `None`: this process, without the limits of a child.
    pub compiler: Option<Aside>,
    /// What each instance may use up.
    pub limits: Limits,
    /// How long a router or a filter may take for one answer, by the clock and in running time. Default 200 ms.
    pub rule_time: Duration,
    /// Instances that may run on and on at one time, over all tenants: as many as the first lane has threads. What runs
    /// shortly is not counted. Default one for each processor.
    pub turns: usize,
    /// So many traps of a handler version in a row are too many: for [`RuntimeOptions::trap_pause`] it makes no more
    /// instances. 0: never too many. Default 50, which is above what a session's own breaker takes.
    pub traps_in_a_row: u32,
    /// How long a version that only traps is left alone before one instance tries it again. Default 5 s.
    pub trap_pause: Duration,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            max_instances: 2_500,
            max_component_bytes: 64 << 20,
            cache_dir: None,
            compiler: None,
            limits: Limits::default(),
            rule_time: Duration::from_millis(200),
            turns: std::thread::available_parallelism().map_or(2, usize::from),
            traps_in_a_row: 50,
            trap_pause: Duration::from_secs(5),
        }
    }
}

/// What one instance, that is one call or one question to a rule, may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Over all of its memories. Default 64 MiB.
    pub memory_bytes: usize,
    /// The elements over all of its tables. Default 40,000.
    pub table_elements: usize,
    /// Time that its code runs, waiting not counted. Default 10 s.
    pub cpu: Duration,
    /// Bytes that it may hand over in one host call. Default 1 MiB.
    pub host_call_bytes: usize,
    /// Handles that it may hold at once. Default 1,000.
    pub handles: usize,
    /// Verbs (what becomes a message to the call's owner) in a second, after a burst of as many; more of them wait. 0: any
    /// number. Default 200.
    pub verbs_per_second: u32,
    /// Reads and writes of audio in a second, likewise. Default 400.
    pub audio_calls_per_second: u32,
    /// Reads and writes of the store in a second, likewise. Default 100.
    pub store_calls_per_second: u32,
    /// Requests to providers and other hosts in a second, likewise. Default 10.
    pub provider_calls_per_second: u32,
    /// Events of its own in a second, after a burst of as many; more of them are refused. 0: any number. Default 50.
    pub events_per_second: u32,
    /// Lines of its log in a second, after a burst of as many; more of them are left out and counted. 0: any number.
    /// Default 100.
    pub log_lines_per_second: u32,
    /// Bytes of its log; what comes after them is left out and counted. Default 64 KiB.
    pub log_bytes: usize,
    /// Bytes that the host keeps for it at one time, all kinds together: notes, keys that are shared, what its handles
    /// stand for, queues of audio, and what was handed on within the last ten seconds. Default 4 MiB.
    pub retained_bytes: usize,
    /// How long its call may last. Enforced by whoever has the call. Default: as long as that one says.
    pub call: Option<Duration>,
    /// How long it may go on after its call's end, likewise.
    pub grace: Option<Duration>,
    /// How long its hang-up hook may take, likewise.
    pub hook: Option<Duration>,
}

impl Limits {
    /// The smaller of both in everything: how a handler's limits narrow its tenant's, and those the host's.
    #[must_use]
    pub fn within(self, wider: &Self) -> Self {
        let rate = |a: u32, b: u32| if a == 0 || b == 0 { a.max(b) } else { a.min(b) };
        let time = |a: Option<Duration>, b: Option<Duration>| a.into_iter().chain(b).min();
        Self {
            memory_bytes: self.memory_bytes.min(wider.memory_bytes),
            table_elements: self.table_elements.min(wider.table_elements),
            cpu: self.cpu.min(wider.cpu),
            host_call_bytes: self.host_call_bytes.min(wider.host_call_bytes),
            handles: self.handles.min(wider.handles),
            verbs_per_second: rate(self.verbs_per_second, wider.verbs_per_second),
            audio_calls_per_second: rate(self.audio_calls_per_second, wider.audio_calls_per_second),
            store_calls_per_second: rate(self.store_calls_per_second, wider.store_calls_per_second),
            provider_calls_per_second: rate(self.provider_calls_per_second, wider.provider_calls_per_second),
            events_per_second: rate(self.events_per_second, wider.events_per_second),
            log_lines_per_second: rate(self.log_lines_per_second, wider.log_lines_per_second),
            log_bytes: self.log_bytes.min(wider.log_bytes),
            retained_bytes: self.retained_bytes.min(wider.retained_bytes),
            call: time(self.call, wider.call),
            grace: time(self.grace, wider.grace),
            hook: time(self.hook, wider.hook),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            table_elements: 40_000,
            cpu: Duration::from_secs(10),
            host_call_bytes: 1 << 20,
            handles: 1_000,
            verbs_per_second: 200,
            audio_calls_per_second: 400,
            store_calls_per_second: 100,
            provider_calls_per_second: 10,
            events_per_second: 50,
            log_lines_per_second: 100,
            log_bytes: 64 << 10,
            retained_bytes: 4 << 20,
            call: None,
            grace: None,
            hook: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrower_of_two_counts_in_everything() {
        let narrow = Limits {
            memory_bytes: 1,
            table_elements: 1,
            cpu: Duration::from_millis(1),
            host_call_bytes: 1,
            handles: 1,
            verbs_per_second: 1,
            audio_calls_per_second: 1,
            store_calls_per_second: 1,
            provider_calls_per_second: 1,
            events_per_second: 1,
            log_lines_per_second: 1,
            log_bytes: 1,
            retained_bytes: 1,
            call: Some(Duration::from_millis(1)),
            grace: Some(Duration::from_millis(1)),
            hook: Some(Duration::from_millis(1)),
        };
        assert_eq!(narrow.within(&Limits::default()), narrow);
        assert_eq!(Limits::default().within(&narrow), narrow);
    }

    #[test]
    fn any_number_is_wider_than_some() {
        let any = Limits { verbs_per_second: 0, events_per_second: 0, ..Limits::default() };
        let both = any.within(&Limits::default());
        assert_eq!((both.verbs_per_second, both.events_per_second), (200, 50));
    }
}
