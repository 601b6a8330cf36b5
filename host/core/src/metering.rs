//! What a call has used up: one record for each call, when nothing of it is left.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use crate::{CallId, Direction, EndReason, HandlerName, TenantId};

/// What one handler of a call has used up. A call that went on to another handler has both added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Time that its code ran, waiting not counted.
    pub cpu: Duration,
    /// The most memory that an instance had, over all of its memories.
    pub peak_memory_bytes: u64,
    /// Calls of the contract's functions, the dropping of its handles included, and of `wasi:http`.
    pub host_calls: u64,
    /// Bytes of its log, what was cut off included.
    pub log_bytes: u64,
    /// Requests over HTTP, refused ones not counted.
    pub http_requests: u64,
    /// Their headers and bodies.
    pub http_out_bytes: u64,
    /// Their answers' headers and bodies.
    pub http_in_bytes: u64,
    /// Tokens of language models, in and out.
    pub llm_tokens: u64,
    /// Characters that were spoken by synthesis.
    pub tts_characters: u64,
    /// Speech that was recognised.
    pub stt: Duration,
    /// Audio that the handler took from the call as raw audio.
    pub audio_in_bytes: u64,
    /// Audio that it gave.
    pub audio_out_bytes: u64,
}

impl Usage {
    /// Adds what another handler, or a hook, of the same call has used up; of memory the larger peak counts. A sum that
    /// would be too large stays at the largest figure.
    pub fn add(&mut self, other: &Self) {
        self.cpu = self.cpu.saturating_add(other.cpu);
        self.peak_memory_bytes = self.peak_memory_bytes.max(other.peak_memory_bytes);
        self.stt = self.stt.saturating_add(other.stt);
        for (sum, more) in [
            (&mut self.host_calls, other.host_calls),
            (&mut self.log_bytes, other.log_bytes),
            (&mut self.http_requests, other.http_requests),
            (&mut self.http_out_bytes, other.http_out_bytes),
            (&mut self.http_in_bytes, other.http_in_bytes),
            (&mut self.llm_tokens, other.llm_tokens),
            (&mut self.tts_characters, other.tts_characters),
            (&mut self.audio_in_bytes, other.audio_in_bytes),
            (&mut self.audio_out_bytes, other.audio_out_bytes),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

/// One call, for whoever bills it.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRecord {
    /// The call's id at the PBX.
    pub call: CallId,
    /// Whose it was.
    pub tenant: TenantId,
    /// The handler that took it; of several, the last one.
    pub handler: HandlerName,
    /// Its version: the first 12 hexadecimal digits of its component's SHA-256.
    pub version: String,
    /// Which way it went.
    pub direction: Direction,
    /// The call whose handler placed it.
    pub parent: Option<CallId>,
    /// When it reached the host, or was placed.
    pub started_at: SystemTime,
    /// When it was answered; never is possible.
    pub answered_at: Option<SystemTime>,
    /// When it was over.
    pub ended_at: SystemTime,
    /// Why.
    pub end: EndReason,
    /// Whether its handler failed: an error, a trap, a limit.
    pub handler_failed: bool,
    /// What was used up.
    pub usage: Usage,
}

/// Who keeps the records. Implementations must not block: the caller is a call's owner task.
pub trait MeterSink: Send + Sync {
    /// Takes a call's record, once for each call.
    fn record(&self, record: CallRecord);
}

/// Keeps every record, for tests.
#[derive(Debug, Default)]
pub struct FakeMeter {
    records: Mutex<Vec<CallRecord>>,
}

impl FakeMeter {
    /// What has come so far.
    pub fn records(&self) -> Vec<CallRecord> {
        self.records.lock().map(|records| records.clone()).unwrap_or_default()
    }
}

impl MeterSink for FakeMeter {
    fn record(&self, record: CallRecord) {
        if let Ok(mut records) = self.records.lock() {
            records.push(record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_handlers_of_a_call_are_added_up_and_the_larger_memory_counts() {
        let mut first =
            Usage { cpu: Duration::from_millis(2), peak_memory_bytes: 10, host_calls: 3, ..Usage::default() };
        let second = Usage { cpu: Duration::from_millis(1), peak_memory_bytes: 4, host_calls: 1, ..Usage::default() };
        first.add(&second);
        assert_eq!((first.cpu, first.peak_memory_bytes, first.host_calls), (Duration::from_millis(3), 10, 4));
    }

    #[test]
    fn a_sum_that_is_too_large_stays_at_its_end() {
        let most = Usage { cpu: Duration::MAX, stt: Duration::MAX, log_bytes: u64::MAX, ..Usage::default() };
        let mut sum = most;
        sum.add(&most);
        assert_eq!(sum, most);
    }
}
