//! A handler version that fails again and again is left alone for a while: its calls go straight to the failure policy,
//! and then one call tries it again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use voxtra_core::{HandlerName, TenantId};

use crate::handlers::HandlerVersion;

/// Versions that are kept in mind before those are forgotten that nothing is held against.
const VERSIONS_MAX: usize = 1_024;

/// When a version is left alone, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerOptions {
    /// So many failures within [`BreakerOptions::window`] are too many. Default 20; 0: never too many.
    pub failures: u32,
    /// Default 10 s.
    pub window: Duration,
    /// How long it is left alone. Default 10 s.
    pub cool_down: Duration,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self { failures: 20, window: Duration::from_secs(10), cool_down: Duration::from_secs(10) }
    }
}

/// One version of one tenant's handler.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct VersionKey {
    pub(crate) tenant: TenantId,
    pub(crate) handler: HandlerName,
    pub(crate) version: String,
}

impl VersionKey {
    pub(crate) fn of(tenant: &TenantId, handler: &dyn HandlerVersion) -> Self {
        Self { tenant: tenant.clone(), handler: handler.name().clone(), version: handler.version().to_owned() }
    }
}

/// How a version's work on a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    Failed,
    /// It is not known, or not the handler's doing.
    Unknown,
}

/// All versions' breakers.
#[derive(Debug)]
pub(crate) struct Breakers {
    options: BreakerOptions,
    versions: Mutex<HashMap<VersionKey, Breaker>>,
}

#[derive(Debug, Default)]
struct Breaker {
    /// When it failed, the oldest first; of the last window, and never more than are too many.
    failures: VecDeque<Instant>,
    /// Until when it is left alone.
    open_until: Option<Instant>,
    /// One call tries it.
    probing: bool,
}

impl Breakers {
    pub(crate) fn new(options: BreakerOptions) -> Self {
        Self { options, versions: Mutex::default() }
    }

    /// Whether a version may be started now; the sentence says why not. Who may, tells the outcome.
    pub(crate) fn check(&self, key: &VersionKey) -> Result<(), String> {
        let mut versions = self.versions();
        let Some(breaker) = versions.get_mut(key) else { return Ok(()) };
        let Some(open_until) = breaker.open_until else { return Ok(()) };
        let now = Instant::now();
        if now >= open_until {
            if breaker.probing {
                // The call that tries it has not failed for so long: it may last for hours yet.
                versions.remove(key);
            } else {
                breaker.probing = true;
                breaker.open_until = Some(now + self.options.cool_down);
            }
            return Ok(());
        }
        let VersionKey { handler, version, .. } = key;
        Err(format!(
            "the handler {handler} ({version}) failed {} times within {} s and is left alone for {} s",
            self.options.failures,
            self.options.window.as_secs(),
            self.options.cool_down.as_secs()
        ))
    }

    /// Whether a version is left alone now. Asking is not trying.
    pub(crate) fn is_open(&self, key: &VersionKey) -> bool {
        let open_until = self.versions().get(key).and_then(|breaker| breaker.open_until);
        open_until.is_some_and(|until| Instant::now() < until)
    }

    /// What became of a version that was started.
    pub(crate) fn report(&self, key: &VersionKey, verdict: Verdict) {
        let mut versions = self.versions();
        match verdict {
            Verdict::Failed if self.options.failures > 0 => {
                if versions.len() >= VERSIONS_MAX {
                    let now = Instant::now();
                    versions.retain(|_, breaker| breaker.is_held_against(now, &self.options));
                }
                versions.entry(key.clone()).or_default().failed(&self.options);
            }
            Verdict::Good => {
                let Some(breaker) = versions.get_mut(key) else { return };
                // What went well before it was tried again says nothing.
                if breaker.probing {
                    versions.remove(key);
                }
            }
            Verdict::Failed | Verdict::Unknown => {
                if let Some(breaker) = versions.get_mut(key).filter(|breaker| breaker.probing) {
                    breaker.probing = false;
                    breaker.open_until = Some(Instant::now());
                }
            }
        }
    }

    fn versions(&self) -> MutexGuard<'_, HashMap<VersionKey, Breaker>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Breaker {
    fn failed(&mut self, options: &BreakerOptions) {
        let now = Instant::now();
        if self.open_until.is_some() {
            // The call that tried it, or one that began before: it goes on being left alone.
            if std::mem::take(&mut self.probing) {
                self.open_until = Some(now + options.cool_down);
            }
            return;
        }
        self.failures.retain(|failed| now.duration_since(*failed) < options.window);
        self.failures.push_back(now);
        if self.failures.len() >= options.failures as usize {
            self.failures.clear();
            self.open_until = Some(now + options.cool_down);
        }
    }

    fn is_held_against(&self, now: Instant, options: &BreakerOptions) -> bool {
        let lately = |failed: &Instant| now.duration_since(*failed) < options.window;
        self.open_until.is_some_and(|until| now < until + options.cool_down) || self.failures.back().is_some_and(lately)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(version: &str) -> VersionKey {
        VersionKey { tenant: "acme".into(), handler: "support".into(), version: version.to_owned() }
    }

    fn fail(breakers: &Breakers, times: usize) {
        for _ in 0..times {
            breakers.report(&key("a"), Verdict::Failed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_version_that_fails_too_often_is_left_alone_and_then_one_call_tries_it() {
        let breakers = Breakers::new(BreakerOptions::default());
        fail(&breakers, 19);
        assert!(breakers.check(&key("a")).is_ok());
        fail(&breakers, 1);
        assert!(breakers.check(&key("a")).is_err_and(|why| why.contains("support") && why.contains("20 times")));
        assert!(breakers.check(&key("b")).is_ok() && !breakers.is_open(&key("b")) && breakers.is_open(&key("a")));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(breakers.check(&key("a")).is_ok());
        assert!(breakers.check(&key("a")).is_err());
        fail(&breakers, 1);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(breakers.check(&key("a")).is_err());
        tokio::time::advance(Duration::from_secs(1)).await;
        // A call that tries it and comes to nothing gives its turn to the next.
        assert!(breakers.check(&key("a")).is_ok());
        breakers.report(&key("a"), Verdict::Unknown);
        assert!(breakers.check(&key("a")).is_ok());
        breakers.report(&key("a"), Verdict::Good);
        assert!(breakers.check(&key("a")).is_ok() && breakers.check(&key("a")).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_that_are_far_apart_are_not_added_up() {
        let breakers = Breakers::new(BreakerOptions::default());
        for _ in 0..100 {
            fail(&breakers, 1);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(breakers.check(&key("a")).is_ok());
        let never = Breakers::new(BreakerOptions { failures: 0, ..BreakerOptions::default() });
        fail(&never, 1_000);
        assert!(never.check(&key("a")).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_nothing_is_held_against_is_forgotten() {
        let breakers = Breakers::new(BreakerOptions::default());
        for version in 0..VERSIONS_MAX * 2 {
            breakers.report(&key(&version.to_string()), Verdict::Failed);
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert!(breakers.versions().len() <= VERSIONS_MAX);
    }
}
