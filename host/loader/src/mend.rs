//! What keeps the folder of versions whole and small: damage that the plugin directory makes good, and versions that are too
//! old to be kept.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use voxtra_artifacts::store::{Standing, StoreError};
use voxtra_artifacts::{HandlerKey, Version};

use crate::job::Job;
use crate::loader::Loader;
use crate::news::{News, Serving};

/// Versions of each handler that can be gone back to; what is older is removed from the disk.
const KEEP_EARLIER: usize = 20;

/// How often it is.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// So many new versions of all handlers are not waited for so long with.
const PRUNE_AFTER: usize = 30;

/// But at least so long: it reads all records.
const PRUNE_AT_MOST_EVERY: Duration = Duration::from_secs(10);

/// When old versions were removed last, and what has come since.
#[derive(Default)]
pub(crate) struct Pruned {
    /// The first step counts as that.
    at: Option<Instant>,
    versions_since: usize,
}

impl Pruned {
    pub(crate) fn begin(&mut self, now: Instant) {
        self.at.get_or_insert(now);
    }

    pub(crate) fn count_version(&mut self) {
        self.versions_since = self.versions_since.saturating_add(1);
    }

    fn is_due(&self, now: Instant) -> bool {
        let wait = if self.versions_since >= PRUNE_AFTER { PRUNE_AT_MOST_EVERY } else { PRUNE_EVERY };
        self.at.is_none_or(|before| now >= before + wait)
    }
}

impl Loader {
    /// What would become of a version if it were offered. A record that cannot be read any more would keep its handler from
    /// taking calls for good: it is set aside, and the handler begins anew.
    pub(crate) fn standing_of(
        &self,
        key: &HandlerKey,
        version: Version,
        said: &mut Vec<News>,
    ) -> Result<Standing, StoreError> {
        match self.versions.standing(key, version) {
            Err(error @ StoreError::Unreadable { .. }) => {
                said.extend(self.set_aside(&error)?);
                self.versions.standing(key, version)
            }
            standing => standing,
        }
    }

    /// The copy that is kept of a version is made whole from the same bytes, so that it is there when their file is not.
    pub(crate) fn mend(&self, key: &HandlerKey, version: Version, job: &Job) -> Option<News> {
        match self.versions.mend(version, &job.wasm) {
            Ok(false) => None,
            Ok(true) => Some(News::Trouble(format!(
                "the copy of version {} of {key} in {} was damaged or missing; it has been written anew from {}",
                version.short(),
                self.options.versions.display(),
                job.file
            ))),
            Err(error) => Some(News::Trouble(error.to_string())),
        }
    }

    /// So that whoever swaps versions all day does not fill the disk. What takes calls is in the records, and stays.
    pub(crate) fn prune(&mut self, now: Instant, serving: &mut dyn Serving) {
        if !self.pruned.is_due(now) {
            return;
        }
        self.pruned = Pruned { at: Some(now), versions_since: 0 };
        if let Err(error) = self.versions.prune(KEEP_EARLIER, &BTreeSet::new()) {
            serving.news(News::Trouble(error.to_string()));
        }
    }

    fn set_aside(&self, error: &StoreError) -> Result<Option<News>, StoreError> {
        let StoreError::Unreadable { handler, why } = error else { return Ok(None) };
        let aside = self.versions.set_aside(handler)?;
        let names: Vec<_> = aside.iter().filter_map(|path| path.file_name().and_then(|name| name.to_str())).collect();
        let Some(dir) = aside.first().and_then(|path| path.parent()).map(Path::display) else { return Ok(None) };
        Ok(Some(News::Trouble(format!(
            "the record of {handler} cannot be used ({why}) and is now {} in {dir}: its history, its pin, and which versions it \
             was not to take again, are lost with it; what the plugin directory holds counts as its first version",
            names.join(" and ")
        ))))
    }
}
