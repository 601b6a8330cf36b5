//! Components that come from registries: fetched while their tenant's files are worked on, one of a tenant at a time, and
//! judged when it is their tenant's turn.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use voxtra_artifacts::HandlerKey;
use voxtra_artifacts::oci::{Fetched, OciError, OciReference};
use voxtra_artifacts::settle::{Outcome, Verdict};
use voxtra_core::TenantId;

use crate::fetch::{self, Place};
use crate::loader::{Done, Loader};
use crate::news::{News, Serving};
use crate::wanted::by_manifest;

/// What is far away, and what has come from there.
#[derive(Default)]
pub(crate) struct Far {
    /// Tenants of which something is fetched, or has come and was not taken; with what waits behind it.
    tenants: BTreeMap<TenantId, VecDeque<(HandlerKey, OciReference)>>,
    /// What has come; of a tenant one at most.
    come: BTreeMap<HandlerKey, (OciReference, Vec<u8>, Option<Place>)>,
}

impl Loader {
    /// A reference names content, so what has come by it once is not asked for again.
    pub(crate) fn start_fetching(
        &mut self,
        now: Instant,
        key: HandlerKey,
        reference: OciReference,
        serving: &mut dyn Serving,
    ) {
        let come = self.far.come.remove(&key);
        if come.is_some() {
            self.fetch_next(now, key.tenant());
        }
        let Some(wanted) = self.wanted.get(&key) else { return };
        let content = wanted.registry_content();
        if self.settler.judge(now, &key, content) != Verdict::Load {
            return;
        }
        if let Some((named, wasm, place)) = come
            && named == reference
        {
            return self.take_bytes(now, key, wasm, place, serving);
        }
        if let Some(wasm) = self.fetched_before(&key, &reference) {
            return self.take_bytes(now, key, wasm, None, serving);
        }
        self.settler.set_down(&key);
        match self.far.tenants.get_mut(key.tenant()) {
            Some(waiting) => waiting.push_back((key, reference)),
            None => {
                self.far.tenants.insert(key.tenant().clone(), VecDeque::new());
                self.fetch(key, reference);
            }
        }
    }

    pub(crate) fn take_fetched(
        &mut self,
        now: Instant,
        key: HandlerKey,
        reference: OciReference,
        outcome: Result<Fetched, OciError>,
        place: Option<Place>,
        serving: &mut dyn Serving,
    ) {
        self.fetching = self.fetching.saturating_sub(1);
        let error = match outcome {
            Ok(fetched) if self.names(&key, &reference) => {
                self.far.come.insert(key.clone(), (reference, fetched.component, place));
                return self.settler.take_up(now, &key);
            }
            Ok(_) => {
                self.fetch_next(now, key.tenant());
                return self.settler.take_up(now, &key);
            }
            Err(error) => error,
        };
        self.fetch_next(now, key.tenant());
        let why = format!("{}: {error}", by_manifest(&key));
        if error.is_passing() {
            return self.hindered(now, key, &why, serving);
        }
        self.settler.done(now, &key, Outcome::Failed);
        serving.news(News::Refused { key, why });
    }

    /// What has come for components that are gone, or are files by now, is nobody's.
    pub(crate) fn drop_fetched(&mut self, now: Instant) {
        let nobodys: Vec<_> = self.far.come.iter().filter(|(key, (named, ..))| !self.names(key, named)).collect();
        for key in nobodys.into_iter().map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.far.come.remove(&key);
            self.fetch_next(now, key.tenant());
        }
    }

    /// The bytes that have come by this reference before, when they are kept.
    pub(crate) fn fetched_before(&self, key: &HandlerKey, reference: &OciReference) -> Option<Vec<u8>> {
        let (known, mark) = (self.versions.get(key).ok()??, fetch::mark(reference));
        let is_of_it = |note: &Option<String>| note.as_ref().is_some_and(|note| note.starts_with(&mark));
        let entry = known.record.history().iter().rev().find(|entry| is_of_it(&entry.note))?;
        self.versions.component(entry.version).ok()
    }

    /// Goes on with what waited behind a tenant's component, which has been taken.
    fn fetch_next(&mut self, now: Instant, tenant: &TenantId) {
        while let Some(waiting) = self.far.tenants.get_mut(tenant) {
            let Some((key, reference)) = waiting.pop_front() else {
                self.far.tenants.remove(tenant);
                return;
            };
            if self.names(&key, &reference) {
                return self.fetch(key, reference);
            }
            self.settler.take_up(now, &key);
        }
    }

    fn fetch(&mut self, key: HandlerKey, reference: OciReference) {
        self.fetching += 1;
        let (done, named) = (self.finished.clone(), reference.clone());
        let then = move |outcome, place| {
            // Nobody waits for it when the host stops.
            let _ = done.send(Done::Fetched { key, reference: named, outcome, place });
        };
        self.fetcher.begin(reference, then);
    }

    /// Whether this is where the directory says that a component is.
    fn names(&self, key: &HandlerKey, reference: &OciReference) -> bool {
        let named = self.wanted.get(key).and_then(|wanted| wanted.reference().ok().flatten());
        named.as_ref() == Some(reference)
    }
}
