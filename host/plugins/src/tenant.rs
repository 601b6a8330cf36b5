//! What all of a tenant's instances may use up together: running time in a second, memory, and their share of the threads
//! when these are full. One quota a tenant, shared by its instances; its figures can be changed under way.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use voxtra_core::TenantId;

use crate::turns::Turns;

/// How much of its running time a tenant may use up ahead, after it was quiet.
const BURST_NS: u64 = 1_000_000_000;

/// Over what time a tenant's share of the threads is looked at.
const WINDOW_NS: u64 = 100_000_000;

/// The longest wait for running time before it is looked again: the figures may have changed.
const MAX_WAIT: Duration = Duration::from_millis(50);

/// What one tenant's instances may use up together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantShare {
    /// Running time in one second, in milliseconds (1,000 is one core), after a burst of one second's worth. Above it the
    /// tenant's guests wait. `None`, the default: any.
    pub cpu_ms_per_second: Option<u32>,
    /// Memory of all live instances, in bytes. An instance that would go above it is not started, and a memory does not
    /// grow. `None`, the default: any.
    pub memory_bytes: Option<u64>,
    /// Its share of the threads, beside the others' weights, when more of them want to run on and on than there are
    /// threads. At least 1; default 100.
    pub weight: u32,
}

impl Default for TenantShare {
    fn default() -> Self {
        Self { cpu_ms_per_second: None, memory_bytes: None, weight: 100 }
    }
}

/// What a tenant's instances have used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TenantUse {
    /// Running time since the tenant's first instance, exact to a fraction of a millisecond for each live one.
    pub cpu: Duration,
    /// Memory of the live instances, in bytes.
    pub memory_bytes: u64,
}

/// All tenants' quotas.
#[derive(Debug)]
pub(crate) struct Tenants {
    turns: Arc<Turns>,
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    others: TenantShare,
    tenants: HashMap<TenantId, Known>,
}

#[derive(Debug)]
struct Known {
    quota: Arc<TenantQuota>,
    /// Of its own, not the others'.
    is_named: bool,
}

impl Tenants {
    /// With so many turns at a time.
    pub(crate) fn new(turns: usize) -> Self {
        Self { turns: Arc::new(Turns::new(turns)), inner: RwLock::default() }
    }

    /// From now on.
    pub(crate) fn set(&self, others: TenantShare, named: impl IntoIterator<Item = (TenantId, TenantShare)>) {
        let named: HashMap<TenantId, TenantShare> = named.into_iter().collect();
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.others = others;
        // Who has nothing that is alive and no figures of its own is forgotten.
        inner.tenants.retain(|tenant, known| {
            known.is_named = false;
            named.contains_key(tenant) || Arc::strong_count(&known.quota) > 1
        });
        for (tenant, share) in named {
            let made = || Known { quota: TenantQuota::new(&tenant, share, &self.turns), is_named: true };
            let known = inner.tenants.entry(tenant.clone()).or_insert_with(made);
            known.is_named = true;
            known.quota.set(share);
        }
        inner.tenants.values().filter(|known| !known.is_named).for_each(|known| known.quota.set(others));
    }

    pub(crate) fn of(&self, tenant: &TenantId) -> Arc<TenantQuota> {
        if let Some(known) = self.inner.read().unwrap_or_else(PoisonError::into_inner).tenants.get(tenant) {
            return Arc::clone(&known.quota);
        }
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let others = inner.others;
        let made = || Known { quota: TenantQuota::new(tenant, others, &self.turns), is_named: false };
        Arc::clone(&inner.tenants.entry(tenant.clone()).or_insert_with(made).quota)
    }

    pub(crate) fn used(&self, tenant: &TenantId) -> TenantUse {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.tenants.get(tenant).map(|known| known.quota.used()).unwrap_or_default()
    }
}

/// One tenant's.
#[derive(Debug)]
pub(crate) struct TenantQuota {
    name: TenantId,
    turns: Arc<Turns>,
    /// What the times below are counted from.
    origin: Instant,
    cpu_ns: AtomicU64,
    /// Milliseconds in a second; 0: any.
    cpu_rate: AtomicU32,
    /// When all that was used up would have been earned, since `origin`.
    paid_by_ns: AtomicU64,
    /// Whether that may be in the future: so that nobody looks at a clock who need not.
    owes: AtomicBool,
    memory_limit: AtomicU64,
    memory_bytes: AtomicU64,
    weight: AtomicU32,
    /// The running time, stretched by the weight: who has less of it goes first.
    weighted_ns: AtomicU64,
    window_began_ns: AtomicU64,
    window_used_ns: AtomicU64,
}

impl TenantQuota {
    fn new(name: &TenantId, share: TenantShare, turns: &Arc<Turns>) -> Arc<Self> {
        let quota = Self {
            name: name.clone(),
            turns: Arc::clone(turns),
            origin: Instant::now(),
            cpu_ns: AtomicU64::new(0),
            cpu_rate: AtomicU32::new(0),
            paid_by_ns: AtomicU64::new(0),
            owes: AtomicBool::new(false),
            memory_limit: AtomicU64::new(u64::MAX),
            memory_bytes: AtomicU64::new(0),
            weight: AtomicU32::new(1),
            weighted_ns: AtomicU64::new(0),
            window_began_ns: AtomicU64::new(0),
            window_used_ns: AtomicU64::new(0),
        };
        quota.set(share);
        Arc::new(quota)
    }

    fn set(&self, share: TenantShare) {
        let rate = share.cpu_ms_per_second.map_or(0, |rate| rate.max(1));
        if self.cpu_rate.swap(rate, Ordering::Relaxed) != rate {
            // Debts of another rate are none of this one.
            self.paid_by_ns.fetch_min(self.now_ns(), Ordering::Relaxed);
        }
        self.memory_limit.store(share.memory_bytes.unwrap_or(u64::MAX), Ordering::Relaxed);
        self.weight.store(share.weight.max(1), Ordering::Relaxed);
    }

    fn used(&self) -> TenantUse {
        TenantUse {
            cpu: Duration::from_nanos(self.cpu_ns.load(Ordering::Relaxed)),
            memory_bytes: self.memory_bytes.load(Ordering::Relaxed),
        }
    }

    /// So much was run.
    pub(crate) fn charge(&self, ran_ns: u64) {
        self.cpu_ns.fetch_add(ran_ns, Ordering::Relaxed);
        let weight = u64::from(self.weight.load(Ordering::Relaxed));
        self.weighted_ns.fetch_add(ran_ns.saturating_mul(100) / weight, Ordering::Relaxed);
        let now_ns = self.now_ns();
        // Two threads may begin a window at once: then one of them begins it a moment later.
        if now_ns.saturating_sub(self.window_began_ns.load(Ordering::Relaxed)) >= WINDOW_NS {
            self.window_began_ns.store(now_ns, Ordering::Relaxed);
            self.window_used_ns.store(0, Ordering::Relaxed);
        }
        self.window_used_ns.fetch_add(ran_ns, Ordering::Relaxed);
        let rate = u64::from(self.cpu_rate.load(Ordering::Relaxed));
        let Some(earned_in_ns) = ran_ns.saturating_mul(1_000).checked_div(rate) else { return };
        let from_ns = now_ns.saturating_sub(BURST_NS);
        let paid_by_ns = |paid_by_ns: u64| paid_by_ns.max(from_ns).saturating_add(earned_in_ns);
        let before = self.paid_by_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |ns| Some(paid_by_ns(ns)));
        if before.is_ok_and(|before| paid_by_ns(before) > now_ns) {
            self.owes.store(true, Ordering::Relaxed);
        }
    }

    /// How long the tenant's guests have to wait for running time.
    pub(crate) fn debt(&self) -> Option<Duration> {
        if !self.owes.load(Ordering::Relaxed) {
            return None;
        }
        let ahead_ns = self.paid_by_ns.load(Ordering::Relaxed).saturating_sub(self.now_ns());
        if ahead_ns == 0 || self.cpu_rate.load(Ordering::Relaxed) == 0 {
            self.owes.store(false, Ordering::Relaxed);
            return None;
        }
        Some(Duration::from_nanos(ahead_ns))
    }

    /// Waits until there is running time again.
    pub(crate) async fn paid(&self) {
        while let Some(debt) = self.debt() {
            sleep(debt.clamp(Duration::from_millis(1), MAX_WAIT)).await;
        }
    }

    /// Whether others wait for a thread while the tenant has had more than its share lately.
    pub(crate) fn is_over_its_share(&self) -> bool {
        let Some(others_weight) = self.turns.waiting_weight() else { return false };
        if self.now_ns().saturating_sub(self.window_began_ns.load(Ordering::Relaxed)) >= 2 * WINDOW_NS {
            return false;
        }
        let weight = u64::from(self.weight());
        let all_ns = WINDOW_NS.saturating_mul(self.turns.places() as u64);
        let share_ns = all_ns.saturating_mul(weight) / weight.saturating_add(others_weight);
        self.window_used_ns.load(Ordering::Relaxed) > share_ns
    }

    pub(crate) fn turns(&self) -> &Arc<Turns> {
        &self.turns
    }

    pub(crate) fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }

    pub(crate) fn weighted_ns(&self) -> u64 {
        self.weighted_ns.load(Ordering::Relaxed)
    }

    /// Neither long behind nor long ahead of the others: what it has done while nobody waited is forgotten.
    pub(crate) fn catch_up(&self, at_least_ns: u64, at_most_ns: u64) {
        let _ = self.weighted_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |weighted_ns| {
            Some(weighted_ns.clamp(at_least_ns, at_most_ns.max(at_least_ns)))
        });
    }

    /// Takes memory, unless that is more than the tenant may have.
    pub(crate) fn take_memory(&self, bytes: u64) -> bool {
        let most = self.memory_limit.load(Ordering::Relaxed);
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= most);
        self.memory_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Gives it back.
    pub(crate) fn give_memory(&self, bytes: u64) {
        self.memory_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Why there is no memory left.
    pub(crate) fn memory_is_full(&self) -> String {
        let (used, most) = (self.memory_bytes.load(Ordering::Relaxed), self.memory_limit.load(Ordering::Relaxed));
        format!(
            "limit-exceeded: the handlers of the tenant {} hold {} MiB of memory and may hold {}; end calls, or raise \
             total_memory_mib",
            self.name,
            used >> 20,
            most >> 20
        )
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn tenants() -> Tenants {
        Tenants::new(2)
    }

    fn cpu(rate: u32) -> TenantShare {
        TenantShare { cpu_ms_per_second: Some(rate), ..TenantShare::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn running_time_above_the_quota_is_waited_for_and_one_tenants_debt_is_not_anothers() {
        let tenants = tenants();
        let (acme, beta) = (TenantId::from("acme"), TenantId::from("beta"));
        tenants.set(cpu(1_000), [(acme.clone(), cpu(100))]);
        let (acme, beta) = (tenants.of(&acme), tenants.of(&beta));
        sleep(Duration::from_secs(60)).await;
        acme.charge(100 * MS);
        assert_eq!(acme.debt(), None, "the burst is free");
        acme.charge(50 * MS);
        beta.charge(150 * MS);
        let began = Instant::now();
        beta.paid().await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        acme.paid().await;
        assert_eq!(began.elapsed().as_millis(), 500);
        acme.charge(10 * MS);
        acme.paid().await;
        assert_eq!(began.elapsed().as_millis(), 600);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quota_that_is_raised_ends_the_wait() {
        let tenants = tenants();
        let acme = TenantId::from("acme");
        tenants.set(cpu(1), []);
        let quota = tenants.of(&acme);
        quota.charge(1_000 * MS);
        assert!(quota.debt().is_some_and(|debt| debt > Duration::from_secs(900)));
        let began = Instant::now();
        let raising = async {
            sleep(Duration::from_millis(200)).await;
            tenants.set(cpu(1), [(acme.clone(), cpu(1_000))]);
        };
        tokio::join!(quota.paid(), raising);
        assert!(began.elapsed() <= Duration::from_millis(250), "{:?}", began.elapsed());
    }

    #[test]
    fn memory_is_added_up_over_a_tenants_instances_and_given_back() {
        let tenants = tenants();
        let small = TenantShare { memory_bytes: Some(10 << 20), ..TenantShare::default() };
        tenants.set(TenantShare::default(), [("acme".into(), small)]);
        let quota = tenants.of(&"acme".into());
        assert!(quota.take_memory(6 << 20));
        assert!(!quota.take_memory(6 << 20));
        assert!(tenants.of(&"beta".into()).take_memory(1 << 40));
        let why = quota.memory_is_full();
        assert!(why.contains("acme hold 6 MiB") && why.contains("may hold 10"), "{why}");
        quota.give_memory(6 << 20);
        assert!(quota.take_memory(10 << 20));
        assert_eq!(tenants.used(&"acme".into()).memory_bytes, 10 << 20);
    }

    #[test]
    fn who_is_named_no_more_has_what_the_others_have() {
        let tenants = tenants();
        let acme = TenantId::from("acme");
        tenants.set(TenantShare::default(), [(acme.clone(), TenantShare { weight: 7, ..TenantShare::default() })]);
        let quota = tenants.of(&acme);
        assert_eq!(quota.weight(), 7);
        tenants.set(TenantShare { weight: 3, ..TenantShare::default() }, []);
        assert_eq!(quota.weight(), 3);
        assert!(Arc::ptr_eq(&quota, &tenants.of(&acme)), "while something of it is alive it stays the same");
        quota.charge(7 * MS);
        drop(quota);
        tenants.set(TenantShare::default(), [(acme.clone(), TenantShare::default())]);
        assert_eq!(tenants.used(&acme).cpu, Duration::from_millis(7), "who is named is not forgotten");
        tenants.set(TenantShare::default(), []);
        assert!(tenants.inner.read().unwrap().tenants.is_empty());
    }
}
