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
}

impl Limits {
    /// The smaller of both in everything: how a handler's limits narrow its tenant's, and those the host's.
    #[must_use]
    pub fn within(self, wider: &Self) -> Self {
        let rate = |a: u32, b: u32| if a == 0 || b == 0 { a.max(b) } else { a.min(b) };
        Self {
            memory_bytes: self.memory_bytes.min(wider.memory_bytes),
            table_elements: self.table_elements.min(wider.table_elements),
            cpu: self.cpu.min(wider.cpu),
            host_call_bytes: self.host_call_bytes.min(wider.host_call_bytes),
            handles: self.handles.min(wider.handles),
            verbs_per_second: rate(self.verbs_per_second, wider.verbs_per_second),
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
        }
    }
}
