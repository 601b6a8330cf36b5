//! What the runtime may use up, all of it with defaults that suit telephone calls.

use std::path::PathBuf;
use std::time::Duration;

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
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            table_elements: 40_000,
            cpu: Duration::from_secs(10),
            host_call_bytes: 1 << 20,
            handles: 1_000,
        }
    }
}
