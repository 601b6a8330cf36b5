//! The problems of one reading: so many of each tenant that none hides another's.

use std::collections::BTreeMap;

use voxtra_core::TenantId;

use crate::problem::{Part, Problem};

/// Whoever has more has one cause.
const MAX_EACH: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Problems {
    told: Vec<Problem>,
    counts: BTreeMap<Option<TenantId>, usize>,
}

impl Problems {
    pub(super) fn add(&mut self, problem: Problem) {
        let count = self.counts.entry(problem.tenant().cloned()).or_default();
        *count = count.saturating_add(1);
        if *count <= MAX_EACH {
            self.told.push(problem);
        } else if *count == MAX_EACH + 1 {
            // Filled in at the end; its place is behind the others of the tenant.
            self.told.push(Problem { part: Part::Entry(problem.tenant().cloned()), ..problem });
        }
    }

    pub(super) fn finish(self) -> Vec<Problem> {
        let Self { mut told, counts } = self;
        for (tenant, count) in counts.into_iter().filter(|(_, count)| *count > MAX_EACH) {
            if let Some(last) = told.iter_mut().rfind(|problem| problem.tenant() == tenant.as_ref()) {
                let more = count - MAX_EACH;
                last.file = last.file.parent().unwrap_or(&last.file).to_path_buf();
                last.line = None;
                last.kept = false;
                last.why = format!("{more} more of its files have problems, beside {MAX_EACH} that are told");
            }
        }
        told.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        told
    }
}
