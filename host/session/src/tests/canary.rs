//! A new version on trial among real calls.

use std::sync::atomic::AtomicU32;

use voxtra_plugins::Outcome;

use super::*;
use crate::breaker::BreakerOptions;
use crate::canary::{CanaryPlan, CanaryWatcher, Withdrawn};

#[derive(Default)]
struct Watcher(Mutex<Vec<Withdrawn>>);

impl CanaryWatcher for Watcher {
    fn withdrawn(&self, withdrawn: &Withdrawn) {
        self.0.lock().unwrap().push(withdrawn.clone());
    }
}

fn on_trial(traps_every: u32) -> Arc<TestHandler> {
    let calls = AtomicU32::new(0);
    let mut handler = TestHandler::new("default", move |_| {
        let n = calls.fetch_add(1, Ordering::Relaxed) + 1;
        async move { if n.is_multiple_of(traps_every) { trap() } else { Outcome::Returned } }
    });
    handler.version = "new";
    Arc::new(handler)
}

async fn five_hundred_calls(kit: &Kit) {
    for n in 0..500 {
        kit.call_with(leg_with_prompts_of(Duration::from_millis(1)), &format!("c{n}"));
        kit.host.idle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_that_traps_in_a_fifth_of_its_calls_is_gone_within_fifty_of_them_and_says_why() {
    let watcher = Arc::<Watcher>::default();
    let told = Arc::clone(&watcher);
    let kit = Kit::with_ports([TestHandler::default(|_| async { Outcome::Returned })], |ports| {
        ports.canary = Some(told);
    });
    let new = on_trial(5);
    let plan = CanaryPlan { share_percent: 50, ..CanaryPlan::default() };
    kit.host.set_canary(TenantId::default(), Arc::clone(&new) as Arc<dyn HandlerVersion>, plan).unwrap();
    five_hundred_calls(&kit).await;
    let tried = new.starts.load(Ordering::Relaxed);
    assert!((20..=50).contains(&tried), "{tried} of its calls");
    assert_eq!(kit.said(EventType::HandlerWithdrawn, "version"), "new");
    assert!(kit.said(EventType::HandlerWithdrawn, "reason").contains("5 %"));
    let withdrawn = watcher.0.lock().unwrap().clone();
    assert_eq!(withdrawn.len(), 1);
    assert_eq!((withdrawn[0].handler.as_str(), withdrawn[0].version.as_str()), ("default", "new"));
    assert_eq!(kit.host.stats().canaries_withdrawn, 1);
    // Its share of the calls before, and none after.
    assert!(kit.handler("default").starts.load(Ordering::Relaxed) + tried >= 500);
    assert!(!kit.host.clear_canary(&TenantId::default(), &HandlerName::from("default")));
}

#[tokio::test(start_paused = true)]
async fn a_version_that_fails_once_in_a_hundred_stays_and_has_its_share() {
    let kit = Kit::new([TestHandler::default(|_| async { Outcome::Returned })]);
    let new = on_trial(100);
    let plan = CanaryPlan { share_percent: 50, ..CanaryPlan::default() };
    kit.host.set_canary(TenantId::default(), Arc::clone(&new) as Arc<dyn HandlerVersion>, plan).unwrap();
    five_hundred_calls(&kit).await;
    let tried = new.starts.load(Ordering::Relaxed);
    assert!(tried.abs_diff(250) < 50, "{tried} of 500");
    assert_eq!(kit.host.stats().canaries_withdrawn, 0);
    assert!(kit.host.clear_canary(&TenantId::default(), &HandlerName::from("default")));
}

#[tokio::test(start_paused = true)]
async fn callers_get_the_current_version_while_the_one_on_trial_is_left_alone() {
    let options =
        HostOptions { breaker: BreakerOptions { failures: 3, ..BreakerOptions::default() }, ..HostOptions::default() };
    let kit = Kit::with(options, OnFailure::default(), [TestHandler::default(|_| async { Outcome::Returned })]);
    let new = on_trial(1);
    let plan = CanaryPlan { share_percent: 100, ..CanaryPlan::default() };
    kit.host.set_canary(TenantId::default(), Arc::clone(&new) as Arc<dyn HandlerVersion>, plan).unwrap();
    for n in 0..10 {
        kit.call_with(leg_with_prompts_of(Duration::from_millis(1)), &format!("c{n}"));
        kit.host.idle().await;
    }
    let starts = (new.starts.load(Ordering::Relaxed), kit.handler("default").starts.load(Ordering::Relaxed));
    assert_eq!((starts, kit.host.stats().breaker_skipped), ((3, 7), 0));
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_cannot_be_used_changes_nothing() {
    let kit = Kit::new([TestHandler::default(|_| async { Outcome::Returned })]);
    let plan = CanaryPlan { share_percent: 0, ..CanaryPlan::default() };
    let why = kit.host.set_canary(TenantId::default(), on_trial(1), plan).unwrap_err();
    assert!(why.contains("1 to 100"), "{why}");
    kit.call("c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
}
