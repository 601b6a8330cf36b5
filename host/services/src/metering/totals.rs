//! Sums over a span.

use std::collections::BTreeMap;

use serde::Serialize;
use voxtra_core::{HandlerName, TenantId, Usage};

use super::row::CallRow;
use super::store::{CallQuery, MeterStore};
use super::usage;
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
    /// What they used up; of memory the most of one call.
    #[serde(flatten, serialize_with = "usage::as_keys")]
    pub usage: Usage,
}

impl Total {
    fn none(tenant: TenantId, handler: Option<HandlerName>) -> Self {
        let (calls, answered_calls, failed_calls, duration_ms, billable_ms) = (0, 0, 0, 0, 0);
        let usage = Usage::default();
        Self { tenant, handler, calls, answered_calls, failed_calls, duration_ms, billable_ms, usage }
    }

    fn add(&mut self, row: &CallRow) {
        let sums = [
            (&mut self.calls, 1),
            (&mut self.answered_calls, row.answered_at.is_some().into()),
            (&mut self.failed_calls, row.handler_failed.into()),
            (&mut self.duration_ms, row.duration_ms),
            (&mut self.billable_ms, row.billable_ms),
        ];
        for (sum, more) in sums {
            *sum = sum.saturating_add(more);
        }
        self.usage.add(&row.usage);
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
