//! One record for several: what is kept and what is counted come from the same.

use std::sync::Arc;

use voxtra_core::{CallRecord, MeterSink};

/// Hands each record to all of its sinks, in their order.
#[derive(Clone, Default)]
pub struct Meters(Vec<Arc<dyn MeterSink>>);

impl Meters {
    /// To these.
    pub fn new(sinks: Vec<Arc<dyn MeterSink>>) -> Self {
        Self(sinks)
    }
}

impl MeterSink for Meters {
    fn record(&self, record: CallRecord) {
        self.0.iter().for_each(|sink| sink.record(record.clone()));
    }
}
