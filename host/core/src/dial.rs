//! What a handler's manifest takes away from whom its tenant may call. A value only: who dials compares.

/// What is left to a handler of whom its tenant may call, and how often. It can add nothing, because the tenant's policy is
/// asked as well. The default takes nothing away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialNarrowing {
    /// A number has to fit one of these patterns too. None: the tenant's alone count, here and below.
    pub patterns: Option<Vec<String>>,
    /// An endpoint that is named whole has to be one of these.
    pub endpoints: Option<Vec<String>>,
    /// A number that is to be shown has to be one of these; the first is shown where the handler names none.
    pub caller_ids: Option<Vec<String>>,
    /// A dialplan context that is named has to be one of these.
    pub contexts: Option<Vec<String>>,
    /// The handler places none while the tenant has so many placed calls up. Default: as many as there can be, and likewise
    /// below.
    pub max_concurrent: u32,
    /// None while the tenant has placed so many in the last minute.
    pub max_per_minute: u32,
    /// None while the tenant has placed so many in its day.
    pub max_per_day: u32,
    /// Whether the handler may begin batches, where its tenant's handlers may. Default: yes.
    pub batches: bool,
}

impl Default for DialNarrowing {
    fn default() -> Self {
        Self {
            patterns: None,
            endpoints: None,
            caller_ids: None,
            contexts: None,
            max_concurrent: u32::MAX,
            max_per_minute: u32::MAX,
            max_per_day: u32::MAX,
            batches: true,
        }
    }
}
