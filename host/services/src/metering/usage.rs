//! What was used up, in numbers: the same keys and units for a call at rest, as JSON, and for sums.

use std::time::Duration;

use serde::Serializer;
use serde::ser::SerializeMap;
use voxtra_core::Usage;

/// In the order of [`KEYS`].
pub(super) type Numbers = [u64; 12];

/// The numbers' names, in the database and in JSON. Microseconds, milliseconds and bytes where the name says so.
const KEYS: [&str; 12] = [
    "cpu_us",
    "peak_memory_bytes",
    "host_calls",
    "log_bytes",
    "http_requests",
    "http_out_bytes",
    "http_in_bytes",
    "llm_tokens",
    "tts_characters",
    "stt_ms",
    "audio_in_bytes",
    "audio_out_bytes",
];

pub(super) fn numbers(usage: &Usage) -> Numbers {
    let whole = |n: u128| u64::try_from(n).unwrap_or(u64::MAX);
    [
        whole(usage.cpu.as_micros()),
        usage.peak_memory_bytes,
        usage.host_calls,
        usage.log_bytes,
        usage.http_requests,
        usage.http_out_bytes,
        usage.http_in_bytes,
        usage.llm_tokens,
        usage.tts_characters,
        whole(usage.stt.as_millis()),
        usage.audio_in_bytes,
        usage.audio_out_bytes,
    ]
}

pub(super) fn of_numbers(numbers: Numbers) -> Usage {
    let [
        cpu_us,
        peak_memory_bytes,
        host_calls,
        log_bytes,
        http_requests,
        http_out_bytes,
        http_in_bytes,
        llm_tokens,
        tts_characters,
        stt_ms,
        audio_in_bytes,
        audio_out_bytes,
    ] = numbers;
    Usage {
        cpu: Duration::from_micros(cpu_us),
        peak_memory_bytes,
        host_calls,
        log_bytes,
        http_requests,
        http_out_bytes,
        http_in_bytes,
        llm_tokens,
        tts_characters,
        stt: Duration::from_millis(stt_ms),
        audio_in_bytes,
        audio_out_bytes,
    }
}

/// As it comes back from the database, whose numbers have a sign: one that would not fit must not hold up those behind it.
pub(super) fn storable(usage: &Usage) -> Usage {
    of_numbers(numbers(usage).map(|n| n.min(i64::MAX.unsigned_abs())))
}

/// The keys beside those of whatever it is part of.
pub(super) fn as_keys<S: Serializer>(usage: &Usage, to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(Some(KEYS.len()))?;
    for (key, number) in KEYS.iter().zip(numbers(usage)) {
        map.serialize_entry(key, &number)?;
    }
    map.end()
}
