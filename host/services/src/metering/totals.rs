//! Sums over a span.

use std::collections::BTreeMap;

use serde::Serialize;
use voxtra_core::{HandlerName, TenantId};

use super::row::CallRow;
use super::store::{CallQuery, MeterStore};
use crate::database::DatabaseError;

/// What a sum is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TotalsBy {
    /// A tenant's calls.
    Tenant,
    /// A handler's calls, each tenant's its own.
    Handler,
}

/// The sums of some calls. Keys and units in JSON as in [`CallRow`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Total {
    /// Whose calls.
    pub tenant: TenantId,
    /// Which handler's; none: all of the tenant's.
    pub handler: Option<HandlerName>,
    /// How many.
    pub calls: u64,
    /// Those that were answered.
    pub answered_calls: u64,
    /// Those whose handler failed.
    pub failed_calls: u64,
    /// Start to end.
    pub duration_ms: u64,
    /// Answer to end.
    pub billable_ms: u64,
    /// Time that code ran, in microseconds.
    pub cpu_us: u64,
    /// Of one call, the most.
    pub peak_memory_bytes: u64,
    /// Calls of the contract's functions.
    pub host_calls: u64,
    /// Of the handlers' log.
    pub log_bytes: u64,
    /// Over HTTP.
    pub http_requests: u64,
    /// Their bodies.
    pub http_out_bytes: u64,
    /// Their answers' bodies.
    pub http_in_bytes: u64,
    /// In and out.
    pub llm_tokens: u64,
    /// Spoken by synthesis.
    pub tts_characters: u64,
    /// Speech recognised.
    pub stt_ms: u64,
    /// Raw audio taken.
    pub audio_in_bytes: u64,
    /// Raw audio given.
    pub audio_out_bytes: u64,
}

impl Total {
    fn none(tenant: TenantId, handler: Option<HandlerName>) -> Self {
        Self {
            tenant,
            handler,
            calls: 0,
            answered_calls: 0,
            failed_calls: 0,
            duration_ms: 0,
            billable_ms: 0,
            cpu_us: 0,
            peak_memory_bytes: 0,
            host_calls: 0,
            log_bytes: 0,
            http_requests: 0,
            http_out_bytes: 0,
            http_in_bytes: 0,
            llm_tokens: 0,
            tts_characters: 0,
            stt_ms: 0,
            audio_in_bytes: 0,
            audio_out_bytes: 0,
        }
    }

    fn add(&mut self, row: &CallRow) {
        let sums = [
            (&mut self.calls, 1),
            (&mut self.answered_calls, row.answered_at.is_some().into()),
            (&mut self.failed_calls, row.handler_failed.into()),
            (&mut self.duration_ms, row.duration_ms),
            (&mut self.billable_ms, row.billable_ms),
            (&mut self.cpu_us, row.cpu_us),
            (&mut self.host_calls, row.host_calls),
            (&mut self.log_bytes, row.log_bytes),
            (&mut self.http_requests, row.http_requests),
            (&mut self.http_out_bytes, row.http_out_bytes),
            (&mut self.http_in_bytes, row.http_in_bytes),
            (&mut self.llm_tokens, row.llm_tokens),
            (&mut self.tts_characters, row.tts_characters),
            (&mut self.stt_ms, row.stt_ms),
            (&mut self.audio_in_bytes, row.audio_in_bytes),
            (&mut self.audio_out_bytes, row.audio_out_bytes),
        ];
        for (sum, more) in sums {
            *sum = sum.saturating_add(more);
        }
        self.peak_memory_bytes = self.peak_memory_bytes.max(row.peak_memory_bytes);
    }
}

impl MeterStore {
    /// The sums of these calls, in the order of their names. Reads page by page like [`MeterStore::export`], so that the
    /// database does other work meanwhile; only the sums stay in memory.
    ///
    /// # Errors
    /// [`DatabaseError`]
    pub async fn totals(&self, query: &CallQuery, by: TotalsBy) -> Result<Vec<Total>, DatabaseError> {
        let mut totals = BTreeMap::new();
        let mut pages = self.pages(query).await?;
        while let Some(page) = pages.next().await? {
            for row in page {
                let handler = (by == TotalsBy::Handler).then(|| row.handler.clone());
                let key = (row.tenant.clone(), handler);
                let none = || Total::none(key.0.clone(), key.1.clone());
                totals.entry(key.clone()).or_insert_with(none).add(&row);
            }
        }
        Ok(totals.into_values().collect())
    }
}
