//! Counters by tenant and handler, with an end to how many there can be.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use voxtra_core::{CallRecord, Usage};

use super::samples::{Kind, Samples, label_value};

/// Tenants with counters of their own.
const TENANTS_MAX: usize = 1_000;

/// Handlers with counters of their own, all tenants' together.
const HANDLERS_MAX: usize = 5_000;

/// And of one tenant, so that none takes the places of the others.
const TENANT_HANDLERS_MAX: usize = 1_000;

/// Whoever came when there was no place any more.
const OTHER: &str = "other";

/// See the module. Counting takes two short locks, and neither is held while a text is made.
#[derive(Debug, Default)]
pub(super) struct CallCounters {
    tenants: RwLock<HashMap<String, Arc<Mutex<Tenant>>>>,
    handlers: AtomicUsize,
}

#[derive(Debug, Clone, Default)]
struct Tenant {
    /// By the name of the reason.
    ends: BTreeMap<&'static str, u64>,
    answered: u64,
    duration: Duration,
    billable: Duration,
    used: Usage,
    handlers: HashMap<String, Handler>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Handler {
    calls: u64,
    failures: u64,
}

impl CallCounters {
    pub(super) fn count(&self, record: &CallRecord) {
        let tenant = self.tenant(&label_value(record.tenant.as_str()));
        let mut tenant = lock(&tenant);
        tenant.count(record);
        let handler = self.handler(&mut tenant, label_value(record.handler.as_str()));
        add(&mut handler.calls, 1);
        add(&mut handler.failures, record.handler_failed.into());
    }

    fn tenant(&self, name: &str) -> Arc<Mutex<Tenant>> {
        {
            let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
            let other = || if tenants.len() < TENANTS_MAX { None } else { tenants.get(OTHER) };
            if let Some(known) = tenants.get(name).or_else(other) {
                return Arc::clone(known);
            }
        }
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        let name = if tenants.len() < TENANTS_MAX || tenants.contains_key(name) { name } else { OTHER };
        Arc::clone(tenants.entry(name.to_owned()).or_default())
    }

    fn handler<'a>(&self, tenant: &'a mut Tenant, name: String) -> &'a mut Handler {
        let is_known = tenant.handlers.contains_key(&name);
        let has_place = || {
            let one_more = |count: usize| (count < HANDLERS_MAX).then_some(count + 1);
            tenant.handlers.len() < TENANT_HANDLERS_MAX
                && self.handlers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
        };
        let name = if is_known || has_place() { name } else { OTHER.to_owned() };
        tenant.handlers.entry(name).or_default()
    }

    /// Tells everything.
    pub(super) fn tell(&self, samples: &mut Samples) {
        let tenants: Vec<_> = {
            let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
            tenants.iter().map(|(name, tenant)| (name.clone(), Arc::clone(tenant))).collect()
        };
        for (name, tenant) in tenants {
            let tenant = lock(&tenant).clone();
            tenant.tell(&name, samples);
        }
    }
}

impl Tenant {
    fn count(&mut self, record: &CallRecord) {
        add(self.ends.entry(record.end.as_str()).or_default(), 1);
        add(&mut self.answered, record.answered_at.is_some().into());
        let until_end = |from: SystemTime| record.ended_at.duration_since(from).unwrap_or_default();
        self.duration = self.duration.saturating_add(until_end(record.started_at));
        self.billable = self.billable.saturating_add(record.answered_at.map_or(Duration::ZERO, until_end));
        self.used.add(&record.usage);
    }

    fn tell(&self, name: &str, samples: &mut Samples) {
        let used = &self.used;
        for (end, calls) in &self.ends {
            let labels = [("tenant", name), ("end", end)];
            let help = "Calls that are over, by why they ended.";
            samples.put("voxtra_calls_total", help, Kind::Counter, &labels, calls.to_string());
        }
        let counters = [
            ("voxtra_answered_calls_total", "Calls that are over and were answered.", self.answered.to_string()),
            ("voxtra_call_seconds_total", "Length of calls, from start to end.", seconds(self.duration)),
            ("voxtra_billable_seconds_total", "Length of calls, from answer to end.", seconds(self.billable)),
            ("voxtra_cpu_seconds_total", "Time that handlers' code ran.", seconds(used.cpu)),
            ("voxtra_host_calls_total", "Calls of the contract's functions.", used.host_calls.to_string()),
            ("voxtra_log_bytes_total", "Bytes of handlers' logs.", used.log_bytes.to_string()),
            ("voxtra_http_requests_total", "Handlers' requests over HTTP.", used.http_requests.to_string()),
            (
                "voxtra_http_out_bytes_total",
                "Headers and bodies of handlers' requests.",
                used.http_out_bytes.to_string(),
            ),
            (
                "voxtra_http_in_bytes_total",
                "Headers and bodies of the answers to them.",
                used.http_in_bytes.to_string(),
            ),
            ("voxtra_llm_tokens_total", "Tokens of language models, in and out.", used.llm_tokens.to_string()),
            ("voxtra_tts_characters_total", "Characters spoken by synthesis.", used.tts_characters.to_string()),
            ("voxtra_stt_seconds_total", "Speech that was recognised.", seconds(used.stt)),
            ("voxtra_audio_in_bytes_total", "Raw audio that handlers took.", used.audio_in_bytes.to_string()),
            ("voxtra_audio_out_bytes_total", "Raw audio that handlers gave.", used.audio_out_bytes.to_string()),
        ];
        for (metric, help, value) in counters {
            samples.put(metric, help, Kind::Counter, &[("tenant", name)], value);
        }
        let (metric, help) = ("voxtra_peak_memory_bytes", "The most memory that one call's instance had.");
        samples.put(metric, help, Kind::Gauge, &[("tenant", name)], used.peak_memory_bytes.to_string());
        for (handler, counts) in &self.handlers {
            let labels = [("tenant", name), ("handler", handler.as_str())];
            let help = "Calls that are over, by handler.";
            samples.put("voxtra_handler_calls_total", help, Kind::Counter, &labels, counts.calls.to_string());
            let help = "Calls whose handler failed.";
            samples.put("voxtra_handler_failures_total", help, Kind::Counter, &labels, counts.failures.to_string());
        }
    }
}

fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}

/// Exact, as no floating point number is after some years.
fn seconds(duration: Duration) -> String {
    format!("{}.{:09}", duration.as_secs(), duration.subsec_nanos())
}

fn lock(tenant: &Mutex<Tenant>) -> MutexGuard<'_, Tenant> {
    tenant.lock().unwrap_or_else(PoisonError::into_inner)
}
