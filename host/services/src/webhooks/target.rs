//! Where events go. Targets come from the operator's configuration only.

use std::fmt;
use std::time::Duration;

use reqwest::Url;
use voxtra_core::{Event, EventType, TenantId};

/// A value that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps it.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// One receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookTarget {
    /// What it is called, here and in the outbox: one that gets another name is another one.
    pub name: String,
    /// Whose events; none: everybody's.
    pub tenant: Option<TenantId>,
    /// `http` or `https`.
    pub url: Url,
    /// With what requests are signed; none: they are not.
    pub secret: Option<Secret>,
    /// Which kinds of event; empty: all but audio frames.
    pub events: Vec<EventType>,
    /// The longest that one attempt may take. Default 10 s.
    pub timeout: Duration,
    /// Attempts after the first, before an event is a dead letter. Default 12: with the waits between, over an hour.
    pub max_retries: u32,
    /// The wait before the first of them, with jitter; it doubles from one to the next, to 10 minutes. Default 1 s.
    pub retry_backoff: Duration,
    /// Requests at one time. Default 4.
    pub concurrency: usize,
}

/// A target that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The address.
    #[error("{0:?} is no address that events can be sent to ({1}); write one that begins with https:// or http://")]
    Url(String, String),
    /// A kind of event.
    #[error("{0:?} is no kind of event; write one such as `call.ended`")]
    Event(String),
}

impl WebhookTarget {
    /// A target with every default.
    ///
    /// # Errors
    /// [`TargetError::Url`]
    pub fn new(name: &str, url: &str) -> Result<Self, TargetError> {
        let wrong = |why: &str| TargetError::Url(url.to_owned(), why.to_owned());
        let parsed: Url = url.parse().map_err(|error: <Url as std::str::FromStr>::Err| wrong(&error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none_or(str::is_empty) {
            return Err(wrong("neither http nor https"));
        }
        Ok(Self {
            name: name.to_owned(),
            tenant: None,
            url: parsed,
            secret: None,
            events: Vec::new(),
            timeout: Duration::from_secs(10),
            max_retries: 12,
            retry_backoff: Duration::from_secs(1),
            concurrency: 4,
        })
    }

    /// A list of kinds by their wire values.
    ///
    /// # Errors
    /// [`TargetError::Event`]
    pub fn kinds(names: &[String]) -> Result<Vec<EventType>, TargetError> {
        let kind = |name: &String| {
            let known = EventType::ALL.iter().find(|kind| kind.as_str() == name);
            known.copied().ok_or_else(|| TargetError::Event(name.clone()))
        };
        names.iter().map(kind).collect()
    }

    /// Whether it gets this event.
    pub(crate) fn wants(&self, event: &Event) -> bool {
        let frame = matches!(event.kind, EventType::AudioFrameReceived | EventType::AudioFrameSent);
        let kind = if self.events.is_empty() { !frame } else { self.events.contains(&event.kind) };
        kind && self.tenant.as_ref().is_none_or(|tenant| *tenant == event.tenant)
    }

    /// How long to wait before the attempt that follows so many failures: doubled each time, up to half of it taken off at
    /// random, so that what failed together does not come back together.
    pub(crate) fn wait_after(&self, failures: u32, random: f64) -> Duration {
        const LONGEST: Duration = Duration::from_secs(600);
        let doubled = self.retry_backoff.saturating_mul(1_u32 << failures.saturating_sub(1).min(20)).min(LONGEST);
        doubled.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_http_is_an_address_and_a_secret_is_not_shown() {
        for wrong in ["", "ftp://x/", "x", "http://", "file:///etc/passwd"] {
            assert!(WebhookTarget::new("a", wrong).is_err(), "{wrong:?}");
        }
        let mut target = WebhookTarget::new("a", "https://x.example/hook").unwrap();
        target.secret = Some(Secret::new("topsecret"));
        assert!(!format!("{target:?}").contains("topsecret"));
    }

    #[test]
    fn waits_double_and_have_a_longest() {
        let target = WebhookTarget::new("a", "http://x/").unwrap();
        let waits: Vec<u64> = (1..=4).map(|n| target.wait_after(n, 0.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8]);
        assert_eq!(target.wait_after(40, 0.0), Duration::from_secs(600));
        assert_eq!(target.wait_after(1, 1.0), Duration::from_millis(500));
    }
}
