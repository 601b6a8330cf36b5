//! A new version of a handler on trial: a share of the calls goes to it, and when it fails too often it is withdrawn.
//!
//! Withdrawn is a version whose rate of failures is above the bound with a confidence of 90 %: the lower end of the
//! Wilson interval of what was seen is compared with the bound, from `min_calls` on, after each of its calls. With the
//! defaults (5 %, 20 calls) that takes 3 failures in 20 calls or 5 in 50.
//!
//! It has proved itself when `promote_calls` of its calls are over and not more of them failed than the bound allows;
//! until whoever keeps the versions makes it the current one, it goes on on trial.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use voxtra_core::{CallId, HandlerName, TenantId};

use crate::handlers::HandlerVersion;

/// The quantile of the normal distribution at 90 %.
const CONFIDENCE_Z: f64 = 1.282;

/// Of how many calls the outcomes count; when there are more, the older ones count half. A version that has been good
/// for long may still turn bad.
const MEMORY_CALLS: u32 = 1_000;

/// How a new version is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanaryPlan {
    /// Of a hundred calls, so many go to the new version; 1 to 100. Which ones is decided by the call's id, so that
    /// asking twice gives one answer. Default 10.
    pub share_percent: u8,
    /// It is not judged before so many of its calls are over. Default 20.
    pub min_calls: u32,
    /// The bound: more failures than these, of a hundred calls, withdraw it. 0 to 99. Default 5.
    pub max_failures_percent: u8,
    /// It has proved itself when so many of its calls are over and no more of them failed than the bound allows; never
    /// before it is judged. Default 100.
    pub promote_calls: u32,
}

impl Default for CanaryPlan {
    fn default() -> Self {
        Self { share_percent: 10, min_calls: 20, max_failures_percent: 5, promote_calls: 100 }
    }
}

impl CanaryPlan {
    /// Whether it can be used; the sentence says why not.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=100).contains(&self.share_percent) {
            return Err(format!("the share is 1 to 100 per cent of the calls, not {}", self.share_percent));
        }
        if self.max_failures_percent > 99 {
            return Err(format!("the bound is 0 to 99 per cent of failures, not {}", self.max_failures_percent));
        }
        Ok(())
    }

    /// Whether a call goes to the new version.
    pub(crate) fn takes(&self, call: &CallId) -> bool {
        spread(call.as_str()) % 100 < u64::from(self.share_percent)
    }
}

/// The ids of consecutive calls may differ in one digit only: FNV-1a, and then mixed as splitmix64 does.
fn spread(id: &str) -> u64 {
    let hash = id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// A version on trial: pure, told of each of its calls that is over.
#[derive(Debug, Clone)]
pub(crate) struct Trial {
    plan: CanaryPlan,
    calls: u32,
    failures: u32,
    /// Since it began, whatever has been halved.
    all: TrialCounts,
    has_proved_itself: bool,
}

/// How the calls of a version on trial went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrialCounts {
    /// Those that are over.
    pub calls: u64,
    /// Those of them that failed.
    pub failures: u64,
}

/// What becomes of a version on trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TrialVerdict {
    /// It goes on.
    GoOn,
    /// It has proved itself: said once.
    Promote,
    /// It takes no more calls.
    Withdraw {
        /// A sentence.
        why: String,
    },
}

impl Trial {
    /// Nothing is known of it yet.
    pub(crate) fn new(plan: CanaryPlan) -> Self {
        Self { plan, calls: 0, failures: 0, all: TrialCounts::default(), has_proved_itself: false }
    }

    /// How its calls went since it began.
    pub(crate) fn counts(&self) -> TrialCounts {
        self.all
    }

    /// One of its calls is over.
    pub(crate) fn report(&mut self, failed: bool) -> TrialVerdict {
        if self.calls >= MEMORY_CALLS.max(self.plan.min_calls.saturating_mul(2)) {
            self.calls /= 2;
            self.failures /= 2;
        }
        self.calls += 1;
        self.failures += u32::from(failed);
        self.all.calls += 1;
        self.all.failures += u64::from(failed);
        // A call that went well withdraws nothing.
        if !failed && self.calls != self.plan.min_calls || self.calls < self.plan.min_calls || !self.is_over_bound() {
            let proved = !self.has_proved_itself && self.is_good();
            self.has_proved_itself |= proved;
            return if proved { TrialVerdict::Promote } else { TrialVerdict::GoOn };
        }
        let (failures, calls, bound) = (self.failures, self.calls, self.plan.max_failures_percent);
        let why = format!("{failures} of its last {calls} calls failed, and no more than {bound} % of them may");
        TrialVerdict::Withdraw { why }
    }

    /// Whether enough of its calls are over and few enough of the latest failed.
    fn is_good(&self) -> bool {
        let needed = self.plan.promote_calls.max(self.plan.min_calls);
        let (failures, calls) = (u64::from(self.failures), u64::from(self.calls));
        self.all.calls >= u64::from(needed) && failures * 100 <= calls * u64::from(self.plan.max_failures_percent)
    }

    /// Whether the rate of failures is above the bound with confidence.
    fn is_over_bound(&self) -> bool {
        let (calls, failures) = (f64::from(self.calls), f64::from(self.failures));
        if self.calls == 0 || self.failures == 0 {
            return false;
        }
        let (rate, z2) = (failures / calls, CONFIDENCE_Z * CONFIDENCE_Z);
        let middle = rate + z2 / (2.0 * calls);
        let margin = CONFIDENCE_Z * (rate * (1.0 - rate) / calls + z2 / (4.0 * calls * calls)).sqrt();
        (middle - margin) / (1.0 + z2 / calls) > f64::from(self.plan.max_failures_percent) / 100.0
    }
}

/// A version that was withdrawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawn {
    /// Whose handler.
    pub tenant: TenantId,
    /// Which.
    pub handler: HandlerName,
    /// The version that takes no more calls.
    pub version: String,
    /// A sentence.
    pub why: String,
    /// The call that was its last one.
    pub call: CallId,
}

/// A version that has proved itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// Whose handler.
    pub tenant: TenantId,
    /// Which.
    pub handler: HandlerName,
    /// The version. It stays on trial until [`crate::Host::set_canaries`] says otherwise.
    pub version: String,
    /// How its calls went.
    pub counts: TrialCounts,
}

/// A version that is on trial now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialStatus {
    /// Whose handler.
    pub tenant: TenantId,
    /// Which.
    pub handler: HandlerName,
    /// The version.
    pub version: String,
    /// How it is tried.
    pub plan: CanaryPlan,
    /// How its calls went so far.
    pub counts: TrialCounts,
}

/// Who wants to know what becomes of versions on trial: whoever keeps the versions. Must not block: the caller is a
/// call's owner task.
pub trait CanaryWatcher: Send + Sync {
    /// The version takes no more new calls; those that it has stay.
    fn withdrawn(&self, withdrawn: &Withdrawn);

    /// The version has proved itself and can take all calls. Told once for each trial. By default it stays on trial.
    fn proved(&self, proved: &Proved) {
        let _ = proved;
    }
}

/// What becomes of a trial with one of its calls.
#[derive(Debug)]
pub(crate) enum Told {
    Withdrawn(Withdrawn),
    Proved(Proved),
}

type Key = (TenantId, HandlerName);

/// The versions on trial.
#[derive(Default)]
pub(crate) struct Canaries {
    inner: Mutex<Trials>,
}

#[derive(Default)]
struct Trials {
    on_trial: HashMap<Key, OnTrial>,
    /// Versions that were withdrawn and that whoever keeps the versions may not know of yet.
    withdrawn: HashMap<Key, String>,
}

struct OnTrial {
    version: Arc<dyn HandlerVersion>,
    trial: Trial,
}

impl OnTrial {
    fn new(version: Arc<dyn HandlerVersion>, plan: CanaryPlan) -> Self {
        Self { version, trial: Trial::new(plan) }
    }
}

impl Canaries {
    /// These and no others. What is on trial already keeps its counts; what was withdrawn stays so until it is missing
    /// here, or another version is in its place.
    pub(crate) fn set_all(&self, all: Vec<(TenantId, Arc<dyn HandlerVersion>, CanaryPlan)>) {
        let mut inner = self.inner();
        let named: HashSet<Key> =
            all.iter().map(|(tenant, version, _)| (tenant.clone(), version.name().clone())).collect();
        inner.on_trial.retain(|key, _| named.contains(key));
        inner.withdrawn.retain(|key, _| named.contains(key));
        for (tenant, version, plan) in all {
            let key = (tenant, version.name().clone());
            if inner.withdrawn.get(&key).is_some_and(|withdrawn| withdrawn == version.version()) {
                continue;
            }
            inner.withdrawn.remove(&key);
            match inner.on_trial.get_mut(&key).filter(|known| known.version.version() == version.version()) {
                Some(known) => {
                    known.version = version;
                    known.trial.plan = plan;
                }
                None => drop(inner.on_trial.insert(key, OnTrial::new(version, plan))),
            }
        }
    }

    /// Those that are on trial now, by tenant and name.
    pub(crate) fn list(&self) -> Vec<TrialStatus> {
        let status = |((tenant, handler), on_trial): (&Key, &OnTrial)| TrialStatus {
            tenant: tenant.clone(),
            handler: handler.clone(),
            version: on_trial.version.version().to_owned(),
            plan: on_trial.trial.plan,
            counts: on_trial.trial.counts(),
        };
        let mut list: Vec<_> = self.inner().on_trial.iter().map(status).collect();
        list.sort_by(|a, b| (&a.tenant, &a.handler).cmp(&(&b.tenant, &b.handler)));
        list
    }

    /// Whether this version is on trial.
    pub(crate) fn is_on_trial(&self, tenant: &TenantId, version: &dyn HandlerVersion) -> bool {
        let inner = self.inner();
        if inner.on_trial.is_empty() {
            return false;
        }
        let on_trial = inner.on_trial.get(&(tenant.clone(), version.name().clone()));
        on_trial.is_some_and(|on_trial| on_trial.version.version() == version.version())
    }

    /// The version on trial, when this call goes to it.
    pub(crate) fn pick(
        &self,
        tenant: &TenantId,
        handler: &HandlerName,
        call: &CallId,
    ) -> Option<Arc<dyn HandlerVersion>> {
        let inner = self.inner();
        if inner.on_trial.is_empty() {
            return None;
        }
        let on_trial = inner.on_trial.get(&(tenant.clone(), handler.clone()))?;
        on_trial.trial.plan.takes(call).then(|| Arc::clone(&on_trial.version))
    }

    /// A version's work on a call is over; what that says about it, when it says something new.
    pub(crate) fn report(
        &self,
        tenant: &TenantId,
        version: &dyn HandlerVersion,
        call: &CallId,
        failed: bool,
    ) -> Option<Told> {
        let mut inner = self.inner();
        if inner.on_trial.is_empty() {
            return None;
        }
        let key = (tenant.clone(), version.name().clone());
        let on_trial =
            inner.on_trial.get_mut(&key).filter(|on_trial| on_trial.version.version() == version.version())?;
        let verdict = on_trial.trial.report(failed);
        let counts = on_trial.trial.counts();
        let ((tenant, handler), version) = (key.clone(), version.version().to_owned());
        match verdict {
            TrialVerdict::GoOn => None,
            TrialVerdict::Promote => Some(Told::Proved(Proved { tenant, handler, version, counts })),
            TrialVerdict::Withdraw { why } => {
                inner.on_trial.remove(&key);
                inner.withdrawn.insert(key, version.clone());
                Some(Told::Withdrawn(Withdrawn { tenant, handler, version, why, call: call.clone() }))
            }
        }
    }

    fn inner(&self) -> MutexGuard<'_, Trials> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// After how many of its calls a version is withdrawn whose calls fail as `fails` says; none: not within `most`.
    fn gone_after(plan: CanaryPlan, most: u32, mut fails: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut trial = Trial::new(plan);
        (1..=most).find(|n| matches!(trial.report(fails(*n)), TrialVerdict::Withdraw { .. }))
    }

    /// Of 4,000 versions that fail at random at a rate, how many are withdrawn within so many calls.
    fn withdrawn_of_4000(fails_of_1000: u64, within: u32) -> u32 {
        (0..4_000u32)
            .filter(|version| {
                let fails = |n: u32| spread(&format!("{version}/{n}")) % 1_000 < fails_of_1000;
                gone_after(CanaryPlan::default(), within, fails).is_some()
            })
            .count() as u32
    }

    #[test]
    fn a_version_that_traps_in_a_fifth_of_its_calls_is_gone_within_fifty() {
        assert_eq!(gone_after(CanaryPlan::default(), 50, |n| n % 5 == 0), Some(20));
        let gone = withdrawn_of_4000(200, 50);
        assert!(gone >= 3_920, "{gone} of 4,000");
    }

    #[test]
    fn bad_luck_does_not_withdraw_a_good_version() {
        assert_eq!(gone_after(CanaryPlan::default(), 19, |_| true), None);
        assert_eq!(gone_after(CanaryPlan::default(), 100, |n| n == 20), None);
        let gone = withdrawn_of_4000(10, 1_000);
        assert!(gone <= 60, "{gone} of 4,000");
        assert_eq!(withdrawn_of_4000(0, 1_000), 0);
    }

    #[test]
    fn a_version_that_turns_bad_after_long_is_withdrawn_too() {
        let gone = gone_after(CanaryPlan::default(), 100_500, |n| n > 100_000).unwrap();
        assert!(gone < 100_100, "{gone}");
        let why = match Trial::new(CanaryPlan { min_calls: 1, ..CanaryPlan::default() }).report(true) {
            TrialVerdict::Withdraw { why } => why,
            TrialVerdict::GoOn | TrialVerdict::Promote => String::new(),
        };
        assert_eq!(why, "1 of its last 1 calls failed, and no more than 5 % of them may");
    }

    #[test]
    fn a_version_proves_itself_once_when_enough_of_its_calls_went_well() {
        let promoted_at = |plan: CanaryPlan, fails: fn(u32) -> bool| {
            let mut trial = Trial::new(plan);
            let at: Vec<u32> =
                (1..=2_500).filter(|n| matches!(trial.report(fails(*n)), TrialVerdict::Promote)).collect();
            at
        };
        assert_eq!(promoted_at(CanaryPlan::default(), |_| false), [100]);
        // Not over the bound with confidence, and over it: it goes on until that is decided.
        assert_eq!(promoted_at(CanaryPlan::default(), |n| n % 14 == 0 && n <= 100), [140]);
        assert_eq!(promoted_at(CanaryPlan { promote_calls: 1, ..CanaryPlan::default() }, |_| false), [20]);
        assert_eq!(promoted_at(CanaryPlan { promote_calls: 2_400, ..CanaryPlan::default() }, |_| false), [2_400]);
    }

    #[test]
    fn the_share_is_kept_and_a_call_is_decided_once() {
        for share_percent in [1, 10, 50, 100] {
            let plan = CanaryPlan { share_percent, ..CanaryPlan::default() };
            let taken = (0..10_000).filter(|n| plan.takes(&CallId::from(format!("1700000000.{n}")))).count();
            let wanted = usize::from(share_percent) * 100;
            assert!(taken.abs_diff(wanted) <= 150, "{taken} of 10,000 at {share_percent} %");
            let call = CallId::from("1700000000.1");
            assert_eq!(plan.takes(&call), plan.takes(&call));
        }
        assert!(CanaryPlan { share_percent: 0, ..CanaryPlan::default() }.check().is_err());
        assert!(CanaryPlan { max_failures_percent: 100, ..CanaryPlan::default() }.check().is_err());
        assert!(CanaryPlan::default().check().is_ok());
    }
}
