//! The notes that are kept with a call: a bounded map that the handler reads and writes. No part of the call's state.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};
use voxtra_core::CallError;

const MAX_KEYS: usize = 64;
const MAX_KEY_BYTES: usize = 128;
const MAX_VALUE_BYTES: usize = 8_192;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Metadata {
    notes: Mutex<Notes>,
    /// Whether any key is shared: asked for each event.
    shares: AtomicBool,
}

#[derive(Debug, Default)]
struct Notes {
    all: BTreeMap<String, String>,
    shared: Vec<String>,
}

impl Metadata {
    /// Notes that were checked with [`check_all`].
    pub(crate) fn new(notes: Vec<(String, String)>) -> Self {
        let notes = Notes { all: notes.into_iter().collect(), shared: Vec::new() };
        Self { notes: Mutex::new(notes), shares: AtomicBool::new(false) }
    }

    pub(crate) fn get(&self, key: &str) -> Option<String> {
        self.notes().all.get(key).cloned()
    }

    pub(crate) fn set(&self, key: String, value: String) -> Result<(), CallError> {
        check(&key, &value).map_err(CallError::InvalidArgument)?;
        let mut notes = self.notes();
        if notes.all.len() >= MAX_KEYS && !notes.all.contains_key(&key) {
            return Err(CallError::LimitExceeded(too_many()));
        }
        notes.all.insert(key, value);
        Ok(())
    }

    /// Which keys go into events from now on.
    pub(crate) fn share(&self, mut keys: Vec<String>) -> Result<(), CallError> {
        keys.sort_unstable();
        keys.dedup();
        if keys.len() > MAX_KEYS {
            return Err(CallError::InvalidArgument(too_many()));
        }
        keys.iter().try_for_each(|key| check(key, "")).map_err(CallError::InvalidArgument)?;
        let mut notes = self.notes();
        self.shares.store(!keys.is_empty(), Ordering::Relaxed);
        notes.shared = keys;
        Ok(())
    }

    /// The keys that are shared, with their values; none when none was chosen.
    pub(crate) fn shared(&self) -> Option<Map<String, Value>> {
        if !self.shares.load(Ordering::Relaxed) {
            return None;
        }
        let notes = self.notes();
        let value = |key: &String| notes.all.get(key).map(|value| (key.clone(), Value::from(value.clone())));
        Some(notes.shared.iter().filter_map(value).collect())
    }

    /// Takes other notes for these; both were checked with [`check_all`].
    pub(crate) fn replace(&self, old: &[(String, String)], new: Vec<(String, String)>) {
        let mut notes = self.notes();
        for (key, _) in old {
            notes.all.remove(key);
        }
        notes.all.extend(new);
    }

    pub(crate) fn list(&self) -> Vec<(String, String)> {
        self.notes().all.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether these can be a call's first notes; the sentence says why not.
pub(crate) fn check_all(notes: &[(String, String)]) -> Result<(), String> {
    if notes.len() > MAX_KEYS {
        return Err(too_many());
    }
    notes.iter().try_for_each(|(key, value)| check(key, value))
}

fn check(key: &str, value: &str) -> Result<(), String> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(format!("a key has 1 to {MAX_KEY_BYTES} bytes, this one has {}; choose another", key.len()));
    }
    if value.len() > MAX_VALUE_BYTES {
        return Err(format!("a value has at most 8,192 bytes, this one has {}; shorten it", value.len()));
    }
    Ok(())
}

fn too_many() -> String {
    format!("a call keeps at most {MAX_KEYS} keys; use fewer")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_kept_in_the_order_of_their_keys() {
        let notes = Metadata::new(vec![("b".into(), "2".into())]);
        notes.set("a".into(), "1".into()).unwrap();
        notes.set("b".into(), "3".into()).unwrap();
        assert_eq!(notes.list(), [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "3".to_owned())]);
        assert_eq!(notes.get("c"), None);
    }

    #[test]
    fn only_what_was_chosen_is_shared_and_the_last_choice_counts() {
        let notes = Metadata::new(vec![("a".into(), "1".into()), ("b".into(), "2".into())]);
        assert_eq!(notes.shared(), None);
        notes.share(vec!["b".into(), "later".into(), "b".into()]).unwrap();
        assert_eq!(Value::Object(notes.shared().unwrap()), serde_json::json!({"b": "2"}));
        notes.set("later".into(), "3".into()).unwrap();
        assert_eq!(Value::Object(notes.shared().unwrap()), serde_json::json!({"b": "2", "later": "3"}));
        notes.share(Vec::new()).unwrap();
        assert_eq!(notes.shared(), None);
        assert!(notes.share(vec![String::new()]).is_err());
        assert!(notes.share((0..65).map(|n| n.to_string()).collect()).is_err());
    }

    #[test]
    fn limits_hold_and_a_full_pad_can_still_be_overwritten() {
        let notes = Metadata::default();
        for n in 0..MAX_KEYS {
            notes.set(n.to_string(), String::new()).unwrap();
        }
        assert!(matches!(notes.set("more".into(), String::new()), Err(CallError::LimitExceeded(_))));
        notes.set("0".into(), "x".repeat(MAX_VALUE_BYTES)).unwrap();
        assert!(matches!(notes.set("0".into(), "x".repeat(MAX_VALUE_BYTES + 1)), Err(CallError::InvalidArgument(_))));
        assert!(matches!(notes.set(String::new(), String::new()), Err(CallError::InvalidArgument(_))));
        assert!(matches!(notes.set("k".repeat(129), String::new()), Err(CallError::InvalidArgument(_))));
        assert_eq!(notes.list().len(), MAX_KEYS);
    }
}
