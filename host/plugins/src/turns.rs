//! Who may run on and on. A guest that has run for a whole slice, or whose tenant has had more than its share of the
//! threads lately, needs a turn to go on; there are as many turns as threads. So no more guests than that crowd the threads,
//! however many spin: one that runs shortly, or begins, waits for a slice and not for a hundred of them. Who waits for a turn
//! waits with its tenant, and the tenant that has run least for its weight goes first.
//!
//! It is looked at when a slice ends, never while a guest runs shortly.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::tenant::TenantQuota;

/// How far a tenant may have run ahead of the others by what it ran while nobody waited, in running time of its own.
const MAX_AHEAD_NS: u64 = 100_000_000;

/// The turns of one host.
#[derive(Debug)]
pub(crate) struct Turns {
    places: usize,
    /// The weights of all tenants that wait.
    waiting_weight: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    taken: usize,
    /// What the tenant that last went had run for its weight.
    weighted_ns: u64,
    waiting: Vec<Waiting>,
}

/// One tenant's guests that wait, the first in front.
#[derive(Debug)]
struct Waiting {
    quota: Arc<TenantQuota>,
    guests: VecDeque<oneshot::Sender<Turn>>,
}

/// The right to run on; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Option<Arc<Turns>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.take() {
            turns.give_on();
        }
    }
}

impl Turns {
    pub(crate) fn new(places: usize) -> Self {
        Self { places: places.max(1), waiting_weight: AtomicU64::new(0), inner: Mutex::default() }
    }

    /// How many there are.
    pub(crate) fn places(&self) -> usize {
        self.places
    }

    /// The weights of those who wait, together; none: nobody does.
    pub(crate) fn waiting_weight(&self) -> Option<u64> {
        Some(self.waiting_weight.load(Ordering::Relaxed)).filter(|weight| *weight > 0)
    }

    /// A turn after this one, if there was one: at once when nobody waits, else when it is the tenant's.
    pub(crate) async fn next(self: &Arc<Self>, quota: &Arc<TenantQuota>, had: Option<Turn>) -> Turn {
        let turn = {
            let mut inner = self.inner();
            match had {
                Some(turn) if inner.waiting.is_empty() => return turn,
                None if inner.taken < self.places => {
                    inner.taken += 1;
                    return Turn { turns: Some(Arc::clone(self)) };
                }
                had => {
                    let (sender, turn) = oneshot::channel();
                    self.queue(&mut inner, quota, sender);
                    drop(inner);
                    // It may come back at once.
                    drop(had);
                    turn
                }
            }
        };
        match turn.await {
            Ok(turn) => turn,
            // Nobody drops a sender that still waits; if one did, running on is better than standing still.
            Err(_) => Turn { turns: None },
        }
    }

    fn queue(&self, inner: &mut Inner, quota: &Arc<TenantQuota>, guest: oneshot::Sender<Turn>) {
        let now_ns = inner.weighted_ns;
        let ahead_ns = MAX_AHEAD_NS * 100 / u64::from(quota.weight());
        quota.catch_up(now_ns, now_ns.saturating_add(ahead_ns));
        match inner.waiting.iter_mut().find(|waiting| Arc::ptr_eq(&waiting.quota, quota)) {
            Some(waiting) => waiting.guests.push_back(guest),
            None => inner.waiting.push(Waiting { quota: Arc::clone(quota), guests: VecDeque::from([guest]) }),
        }
        self.note_weight(inner);
    }

    /// A turn has become free: it goes to the first guest of the tenant that has run least for its weight.
    fn give_on(self: &Arc<Self>) {
        loop {
            let next = {
                let mut inner = self.inner();
                let next = inner.next();
                if next.is_none() {
                    inner.taken = inner.taken.saturating_sub(1);
                }
                self.note_weight(&inner);
                next
            };
            let Some(guest) = next else { return };
            match guest.send(Turn { turns: Some(Arc::clone(self)) }) {
                Ok(()) => return,
                // It has gone meanwhile: the next one.
                Err(mut turn) => turn.turns = None,
            }
        }
    }

    fn note_weight(&self, inner: &Inner) {
        let weight = inner.waiting.iter().map(|waiting| u64::from(waiting.quota.weight())).sum();
        self.waiting_weight.store(weight, Ordering::Relaxed);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        while !self.waiting.is_empty() {
            let least = self.waiting.iter().enumerate().min_by_key(|(_, waiting)| waiting.quota.weighted_ns());
            let (at, weighted_ns) = least.map(|(at, waiting)| (at, waiting.quota.weighted_ns()))?;
            let waiting = self.waiting.get_mut(at)?;
            let guest = loop {
                match waiting.guests.pop_front() {
                    Some(gone) if gone.is_closed() => {}
                    guest => break guest,
                }
            };
            if waiting.guests.is_empty() {
                self.waiting.swap_remove(at);
            }
            if guest.is_some() {
                self.weighted_ns = self.weighted_ns.max(weighted_ns);
                return guest;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::tenant::{TenantShare, Tenants};

    const SLICE_NS: u64 = 10_000_000;

    fn weighted(acme: u32, beta: u32) -> (Tenants, [Arc<TenantQuota>; 2]) {
        let tenants = Tenants::new(1);
        let share = |weight| TenantShare { weight, ..TenantShare::default() };
        tenants.set(TenantShare::default(), [("acme".into(), share(acme)), ("beta".into(), share(beta))]);
        let quotas = [tenants.of(&"acme".into()), tenants.of(&"beta".into())];
        (tenants, quotas)
    }

    async fn spin(quota: Arc<TenantQuota>) {
        let mut turn = None;
        loop {
            let next = quota.turns().next(&quota, turn.take()).await;
            quota.charge(SLICE_NS);
            turn = Some(next);
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tenants_that_spin_have_their_shares_however_many_guests_they_have() {
        for (weights, guests) in [((100, 100), (1, 50)), ((100, 300), (50, 1)), ((1_000, 1), (5, 5))] {
            let (tenants, [acme, beta]) = weighted(weights.0, weights.1);
            let spinners: Vec<_> = [(&acme, guests.0), (&beta, guests.1)]
                .into_iter()
                .flat_map(|(quota, guests)| (0..guests).map(|_| tokio::spawn(spin(Arc::clone(quota)))))
                .collect();
            for _ in 0..20_000 {
                tokio::task::yield_now().await;
            }
            spinners.iter().for_each(tokio::task::JoinHandle::abort);
            let used = |name: &str| tenants.used(&name.into()).cpu.as_secs_f64();
            let (got, wanted) = (used("acme") / used("beta"), f64::from(weights.0) / f64::from(weights.1));
            assert!((0.8..1.25).contains(&(got / wanted)), "{weights:?} {guests:?}: {got}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_to_wait_for_nobody() {
        let (_tenants, [acme, _]) = weighted(1, 1_000);
        let turn = acme.turns().next(&acme, None).await;
        acme.charge(1_000 * SLICE_NS);
        let turn = acme.turns().next(&acme, Some(turn)).await;
        assert_eq!(acme.turns().waiting_weight(), None);
        assert!(!acme.is_over_its_share());
        drop(turn);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_alone_for_long_does_not_pay_for_it() {
        let (_tenants, [acme, beta]) = weighted(100, 100);
        acme.charge(3_600_000_000_000);
        let turn = acme.turns().next(&acme, None).await;
        let spinner = tokio::spawn(spin(Arc::clone(&beta)));
        tokio::task::yield_now().await;
        assert!(acme.is_over_its_share());
        drop(turn);
        let its_turn = tokio::spawn({
            let acme = Arc::clone(&acme);
            async move { drop(acme.turns().next(&acme, None).await) }
        });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(its_turn.is_finished(), "it is never its turn");
        spinner.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_have_gone_are_passed_over_and_every_turn_comes_back() {
        let (_tenants, [acme, beta]) = weighted(100, 100);
        let turn = acme.turns().next(&acme, None).await;
        for _ in 0..10 {
            assert!(timeout(Duration::from_millis(1), beta.turns().next(&beta, None)).await.is_err());
        }
        let waits = tokio::spawn({
            let acme = Arc::clone(&acme);
            async move { acme.turns().next(&acme, None).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(acme.turns().waiting_weight(), Some(200));
        drop(turn);
        drop(waits.await.unwrap());
        assert_eq!(acme.turns().waiting_weight(), None);
        assert_eq!(acme.turns().inner().taken, 0);
        drop(timeout(Duration::from_millis(1), beta.turns().next(&beta, None)).await.unwrap());
    }
}
