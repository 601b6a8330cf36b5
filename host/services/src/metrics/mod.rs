//! Counters and gauges for Prometheus, and the small server that tells them.
//!
//! A [`Registry`] is fed with calls' records (it is a [`voxtra_core::MeterSink`]) and asks its [`Source`]s when it is
//! scraped. Everything is told in the text format, version 0.0.4 (prometheus.io, "Exposition formats").
//!
//! # Counted from calls' records, since the start
//!
//! | name | labels |
//! | --- | --- |
//! | `voxtra_calls_total` | `tenant`, `end`: the name of the [`voxtra_core::EndReason`] |
//! | `voxtra_answered_calls_total`, `voxtra_call_seconds_total`, `voxtra_billable_seconds_total` | `tenant` |
//! | `voxtra_cpu_seconds_total`, `voxtra_host_calls_total`, `voxtra_log_bytes_total` | `tenant` |
//! | `voxtra_http_requests_total`, `voxtra_http_out_bytes_total`, `voxtra_http_in_bytes_total` | `tenant` |
//! | `voxtra_llm_tokens_total`, `voxtra_tts_characters_total`, `voxtra_stt_seconds_total` | `tenant` |
//! | `voxtra_audio_in_bytes_total`, `voxtra_audio_out_bytes_total` | `tenant` |
//! | `voxtra_peak_memory_bytes` (a gauge: the most that one call's instance had) | `tenant` |
//! | `voxtra_handler_calls_total`, `voxtra_handler_failures_total` | `tenant`, `handler` |
//!
//! and of the telling itself `voxtra_metrics_source_failures_total` and `voxtra_metrics_dropped_samples` (a gauge: of this scrape).
//!
//! # Bounds
//!
//! 1,000 tenants and 5,000 handlers (1,000 of one tenant) have lines of their own; those that come later share the name
//! `other`, and so does a tenant or handler of that name. A label's value is cut to 128 characters; line feeds in it are
//! escaped, other control characters replaced.
//!
//! # Why no library
//!
//! The official client (`prometheus-client` 0.24) depends on a procedural macro whether it is used or not, and leaves it
//! to its user how many label values there may be; the format itself is one page.

mod calls;
mod registry;
mod samples;
mod server;

pub use registry::{Registry, Source};
pub use samples::Samples;
pub use server::{DEFAULT_ADDRESS, serve};
