//! What the host keeps for one instance beyond the call that handed it over: one sum over all kinds, with one limit. A call
//! that is under way is bounded by the bytes of one host call, and comes on top.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use voxtra_core::CallError;

/// What was handed on to others (an event, the rows of a batch) counts as kept for about so long: by then it has been written
/// down, sent, or refused by whoever keeps it for the tenant.
const PASSING: Duration = Duration::from_secs(10);

/// What an open stream has in its two queues, at the most.
pub(crate) const AUDIO_BYTES: usize = 32 << 10;

/// One instance's ledger.
#[derive(Debug)]
pub(crate) struct Retained {
    most: u64,
    /// By handle, until it is dropped.
    by_handle: HashMap<u32, u64>,
    /// Notes of the call, as far as the instance has made them larger, and keys that are shared.
    notes: u64,
    shared: u64,
    /// The sum of all of that.
    held: u64,
    /// Handed on; leaves evenly, the limit's worth in [`PASSING`].
    passing: u64,
    /// Since when, while there is any.
    since: Option<Instant>,
}

impl Retained {
    pub(crate) fn new(retained_bytes: usize) -> Self {
        Self {
            most: retained_bytes as u64,
            by_handle: HashMap::new(),
            notes: 0,
            shared: 0,
            held: 0,
            passing: 0,
            since: None,
        }
    }

    /// Whether so much more could be kept.
    pub(crate) fn room(&mut self, bytes: usize) -> Result<(), CallError> {
        self.let_pass();
        let kept = self.held.saturating_add(self.passing);
        if kept.saturating_add(bytes as u64) <= self.most {
            return Ok(());
        }
        Err(CallError::LimitExceeded(format!(
            "the host keeps {kept} bytes for this handler, {bytes} more would be too many, and {} are allowed; hand over \
             less, drop handles, or raise retained_bytes",
            self.most
        )))
    }

    /// Something that others have now.
    pub(crate) fn pass_on(&mut self, bytes: usize) -> Result<(), CallError> {
        self.room(bytes)?;
        self.add_passing(bytes as u64);
        Ok(())
    }

    /// What a handle stands for; after [`Retained::room`].
    pub(crate) fn keep(&mut self, handle: u32, bytes: usize) {
        self.let_go(handle);
        self.by_handle.insert(handle, bytes as u64);
        self.held = self.held.saturating_add(bytes as u64);
    }

    /// The handle is gone, and what it stood for with it.
    pub(crate) fn let_go(&mut self, handle: u32) -> u64 {
        let bytes = self.by_handle.remove(&handle).unwrap_or_default();
        self.held = self.held.saturating_sub(bytes);
        bytes
    }

    /// The handle is gone, and what it stood for goes on for a while.
    pub(crate) fn let_go_later(&mut self, handle: u32) {
        self.let_pass();
        let bytes = self.let_go(handle);
        if bytes > 0 {
            self.add_passing(bytes);
        }
    }

    /// A note takes the place of another of `before` bytes.
    pub(crate) fn note(&mut self, before: usize, after: usize) -> Result<(), CallError> {
        self.room(after.saturating_sub(before))?;
        let notes = self.notes.saturating_add(after as u64).saturating_sub(before as u64);
        self.held = self.held.saturating_sub(self.notes).saturating_add(notes);
        self.notes = notes;
        Ok(())
    }

    /// These keys are shared instead of those before.
    pub(crate) fn share(&mut self, bytes: usize) -> Result<(), CallError> {
        self.room(bytes.saturating_sub(usize::try_from(self.shared).unwrap_or(usize::MAX)))?;
        self.held = self.held.saturating_sub(self.shared).saturating_add(bytes as u64);
        self.shared = bytes as u64;
        Ok(())
    }

    fn let_pass(&mut self) {
        if self.passing == 0 {
            self.since = None;
            return;
        }
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        let elapsed_ms = u64::try_from(now.duration_since(since).as_millis()).unwrap_or(u64::MAX);
        let gone = self.most.saturating_mul(elapsed_ms) / (PASSING.as_millis() as u64);
        if gone > 0 {
            self.passing = self.passing.saturating_sub(gone);
            self.since = Some(now);
        }
    }

    fn add_passing(&mut self, bytes: u64) {
        if self.passing == 0 {
            self.since = Some(Instant::now());
        }
        self.passing = self.passing.saturating_add(bytes);
    }
}

/// How much a list of texts is.
pub(crate) fn bytes_of<'t>(texts: impl IntoIterator<Item = &'t String>) -> usize {
    texts.into_iter().fold(0, |sum, text| sum.saturating_add(text.len()).saturating_add(size_of::<String>()))
}

/// How much a list of pairs is.
pub(crate) fn bytes_of_pairs(pairs: &[(String, String)]) -> usize {
    bytes_of(pairs.iter().flat_map(|(key, value)| [key, value]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn kinds_are_added_up() {
        let mut retained = Retained::new(1_000);
        retained.note(0, 250).unwrap();
        retained.share(250).unwrap();
        retained.room(250).unwrap();
        retained.keep(7, 250);
        retained.pass_on(250).unwrap();
        let why = retained.pass_on(1).unwrap_err();
        assert_eq!(why.kind(), "limit-exceeded");
        assert!(why.to_string().contains("1000 are allowed") && why.to_string().contains("retained_bytes"), "{why}");
        retained.let_go(7);
        retained.pass_on(250).unwrap();
        assert!(retained.room(1).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_the_place_of_something_is_not_added() {
        let mut retained = Retained::new(100);
        for _ in 0..100 {
            retained.note(0, 60).unwrap();
            retained.note(60, 0).unwrap();
            retained.share(90).unwrap();
            retained.share(1).unwrap();
        }
        // What was there before the instance came is not its own.
        retained.note(1_000, 0).unwrap();
        assert!(retained.room(99).is_ok() && retained.room(100).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_handed_on_is_forgotten_after_a_while() {
        let mut retained = Retained::new(100);
        retained.pass_on(100).unwrap();
        assert!(retained.pass_on(10).is_err());
        tokio::time::advance(PASSING / 2).await;
        retained.pass_on(50).unwrap();
        assert!(retained.pass_on(1).is_err());
        tokio::time::advance(PASSING).await;
        retained.keep(1, 100);
        retained.let_go_later(1);
        assert!(retained.pass_on(1).is_err());
        tokio::time::advance(PASSING).await;
        retained.pass_on(100).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn many_small_things_do_not_stop_the_clock() {
        let mut retained = Retained::new(100);
        for _ in 0..1_000 {
            retained.pass_on(1).unwrap();
            tokio::time::advance(PASSING / 100).await;
        }
    }
}
