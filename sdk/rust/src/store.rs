//! The tenant's own key-value space: all its handlers and routers see it, across calls and starts of the host.
//!
//! Keys are 1 to 256 bytes, values at most 65,536. What the tenant may keep altogether is a limit of the operator's.
//! Handlers run at the same time: whoever changes what is there uses [`update`].
//!
//! ```no_run
//! use voxtra_sdk::prelude::*;
//! use voxtra_sdk::store;
//!
//! fn greet(call: &Call) -> Result<()> {
//!     let key = format!("calls/{}", call.info().caller_id);
//!     let calls = store::update(&key, |old| store::parse(old).unwrap_or(0_u32).saturating_add(1).to_string())?;
//!     if calls == "1" {
//!         call.play("sound:welcome")?;
//!     }
//!     Ok(())
//! }
//! ```

use std::str::FromStr;
use std::time::Duration;

use crate::Error;
use crate::bindings::handler::voxtra::call::store;

/// How often [`update`] tries again before it gives up: each time, somebody else has got through.
const MAX_TRIES: u32 = 100;

/// A value and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Vec<u8>,
    /// Grows with every change, also over a deletion.
    pub version: u64,
    /// Until it expires; `None`: never.
    pub expires_in: Option<Duration>,
}

impl Entry {
    /// The value as text; `None` when it is not.
    pub fn text(&self) -> Option<&str> {
        str::from_utf8(&self.value).ok()
    }
}

/// What [`compare_and_set`] came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swap {
    /// It was stored, as this version.
    Stored(u64),
    /// Somebody else was faster; what is there now.
    Conflict(Option<Entry>),
}

/// One value, or `None`.
///
/// # Errors
/// [`Error::InvalidArgument`] when the key is not one, [`Error::NotConfigured`] when the host keeps nothing.
pub fn get(key: &str) -> Result<Option<Entry>, Error> {
    Ok(store::get(key)?.map(Entry::from))
}

/// Sets one value, for good; returns its version.
///
/// # Errors
/// As [`get`]; [`Error::LimitExceeded`] when the tenant keeps too much.
pub fn set(key: &str, value: impl AsRef<[u8]>) -> Result<u64, Error> {
    Ok(store::set(key, value.as_ref(), 0)?)
}

/// Sets one value, which is forgotten after `ttl`.
///
/// # Errors
/// As [`set`].
pub fn set_for(key: &str, value: impl AsRef<[u8]>, ttl: Duration) -> Result<u64, Error> {
    Ok(store::set(key, value.as_ref(), ttl_ms(Some(ttl)))?)
}

/// Stores only if the version is still `expected`; `None`: only if there is nothing. `ttl` as in [`set_for`]; `None`:
/// for good.
///
/// # Errors
/// As [`set`]. That somebody else was faster is [`Swap::Conflict`] and no error.
pub fn compare_and_set(
    key: &str,
    expected: Option<u64>,
    value: impl AsRef<[u8]>,
    ttl: Option<Duration>,
) -> Result<Swap, Error> {
    Ok(match store::compare_and_set(key, expected, value.as_ref(), ttl_ms(ttl))? {
        store::Swap::Stored(version) => Swap::Stored(version),
        store::Swap::Conflict(found) => Swap::Conflict(found.map(Entry::from)),
    })
}

/// Changes what is there, however many do it at once: `change` is given the old value and returns the new one, and is
/// asked again with what is there by then when somebody else was faster. Returns what was stored, for good.
///
/// # Errors
/// As [`set`]; [`Error::LimitExceeded`] when somebody else was faster a hundred times.
pub fn update<V: AsRef<[u8]>>(key: &str, mut change: impl FnMut(Option<&[u8]>) -> V) -> Result<V, Error> {
    let mut found = get(key)?;
    for _ in 0..MAX_TRIES {
        let value = change(found.as_ref().map(|entry| entry.value.as_slice()));
        match compare_and_set(key, found.map(|entry| entry.version), value.as_ref(), None)? {
            Swap::Stored(_) => return Ok(value),
            Swap::Conflict(now) => found = now,
        }
    }
    Err(Error::LimitExceeded(format!("{key} is changed by too many at once; change it less often")))
}

/// Deletes one value; whether there was one.
///
/// # Errors
/// As [`get`].
pub fn delete(key: &str) -> Result<bool, Error> {
    Ok(store::delete(key)?)
}

/// The keys that begin with `prefix`, in order; at most `limit`, and at most 1,000.
///
/// # Errors
/// As [`get`].
pub fn keys(prefix: &str, limit: u32) -> Result<Vec<String>, Error> {
    Ok(store::keys(prefix, limit)?)
}

/// A value that was stored as text, such as a number; `None` when there is none or it is something else.
///
/// ```
/// assert_eq!(voxtra_sdk::store::parse::<u32>(Some(b"41")), Some(41));
/// assert_eq!(voxtra_sdk::store::parse::<u32>(Some(b"many")), None);
/// ```
pub fn parse<T: FromStr>(value: Option<&[u8]>) -> Option<T> {
    str::from_utf8(value?).ok()?.parse().ok()
}

impl From<store::Entry> for Entry {
    fn from(entry: store::Entry) -> Self {
        Self { value: entry.value, version: entry.version, expires_in: entry.expires_in_ms.map(Duration::from_millis) }
    }
}

/// Upwards, so that a short time never becomes the 0 that means "for good".
fn ttl_ms(ttl: Option<Duration>) -> u64 {
    let Some(ttl) = ttl else { return 0 };
    u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_life_is_not_for_good() {
        assert_eq!(ttl_ms(None), 0);
        assert_eq!(ttl_ms(Some(Duration::ZERO)), 1);
        assert_eq!(ttl_ms(Some(Duration::from_nanos(1))), 1);
        assert_eq!(ttl_ms(Some(Duration::MAX)), u64::MAX);
    }

    #[test]
    fn what_is_not_a_number_is_none() {
        assert_eq!(parse::<u32>(None), None);
        assert_eq!(parse::<u32>(Some(b"\xff")), None);
        assert_eq!(parse::<u32>(Some(b"7")), Some(7));
    }
}
