//! A new version on trial among real calls.

use std::sync::atomic::AtomicU32;

use voxtra_plugins::Outcome;

use super::*;
use crate::breaker::BreakerOptions;
use crate::canary::{CanaryPlan, CanaryWatcher, Proved, TrialCounts, Withdrawn};

#[derive(Default)]
struct Watcher(Mutex<Vec<Withdrawn>>);

impl CanaryWatcher for Watcher {
    fn withdrawn(&self, withdrawn: &Withdrawn) {
        self.0.lock().unwrap().push(withdrawn.clone());
    }
}

/// Notes who has proved itself.
#[derive(Default)]
struct Promoter(Mutex<Vec<Proved>>);

impl CanaryWatcher for Promoter {
    fn withdrawn(&self, _withdrawn: &Withdrawn) {}

    fn proved(&self, proved: &Proved) {
        self.0.lock().unwrap().push(proved.clone());
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

fn try_it(kit: &Kit, new: &Arc<TestHandler>, plan: CanaryPlan) {
    kit.host.set_canaries(vec![(TenantId::default(), Arc::clone(new) as Arc<dyn HandlerVersion>, plan)]).unwrap();
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
    try_it(&kit, &new, plan);
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
    assert!(kit.host.canaries().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_version_that_fails_once_in_a_hundred_stays_and_has_its_share() {
    let kit = Kit::new([TestHandler::default(|_| async { Outcome::Returned })]);
    let new = on_trial(100);
    let plan = CanaryPlan { share_percent: 50, ..CanaryPlan::default() };
    try_it(&kit, &new, plan);
    five_hundred_calls(&kit).await;
    let tried = new.starts.load(Ordering::Relaxed);
    assert!(tried.abs_diff(250) < 50, "{tried} of 500");
    assert_eq!(kit.host.stats().canaries_withdrawn, 0);
    assert_eq!(kit.host.canaries().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn callers_get_the_current_version_while_the_one_on_trial_is_left_alone() {
    let options =
        HostOptions { breaker: BreakerOptions { failures: 3, ..BreakerOptions::default() }, ..HostOptions::default() };
    let kit = Kit::with(options, OnFailure::default(), [TestHandler::default(|_| async { Outcome::Returned })]);
    let new = on_trial(1);
    let plan = CanaryPlan { share_percent: 100, ..CanaryPlan::default() };
    try_it(&kit, &new, plan);
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
    let why = kit.host.set_canaries(vec![(TenantId::default(), on_trial(1), plan)]).unwrap_err();
    assert!(why.contains("1 to 100"), "{why}");
    kit.call("c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
}

#[tokio::test(start_paused = true)]
async fn a_version_that_has_proved_itself_is_told_of_once_and_stays_until_it_is_current() {
    let watcher = Arc::<Promoter>::default();
    let told = Arc::clone(&watcher);
    let kit = Kit::with_ports([TestHandler::default(|_| async { Outcome::Returned })], |ports| {
        ports.canary = Some(told);
    });
    let new = on_trial(1_000);
    let plan = CanaryPlan { share_percent: 50, promote_calls: 40, ..CanaryPlan::default() };
    let trial = || vec![(TenantId::default(), Arc::clone(&new) as Arc<dyn HandlerVersion>, plan)];
    kit.host.set_canaries(trial()).unwrap();
    five_hundred_calls(&kit).await;
    let proved = watcher.0.lock().unwrap().clone();
    assert_eq!(proved.len(), 1);
    assert_eq!((proved[0].version.as_str(), proved[0].counts), ("new", TrialCounts { calls: 40, failures: 0 }));
    let status = kit.host.canaries().remove(0);
    assert!(status.counts.calls > 200 && status.counts.failures == 0, "{status:?}");
    // Said again it keeps its counts; not said again it is over.
    kit.host.set_canaries(trial()).unwrap();
    assert_eq!(kit.host.canaries(), [status]);
    kit.host.set_canaries(Vec::new()).unwrap();
    assert!(kit.host.canaries().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_version_is_not_tried_again_by_whoever_has_not_heard_of_it() {
    let kit = Kit::new([TestHandler::default(|_| async { Outcome::Returned })]);
    let new = on_trial(1);
    let plan = CanaryPlan { share_percent: 100, min_calls: 1, ..CanaryPlan::default() };
    let trial = || vec![(TenantId::default(), Arc::clone(&new) as Arc<dyn HandlerVersion>, plan)];
    let call = async |id: &str| {
        kit.call_with(leg_with_prompts_of(Duration::from_millis(1)), id);
        kit.host.idle().await;
        new.starts.load(Ordering::Relaxed)
    };
    kit.host.set_canaries(trial()).unwrap();
    assert_eq!(call("c1").await, 1);
    kit.host.set_canaries(trial()).unwrap();
    assert_eq!((call("c2").await, kit.host.canaries().len()), (1, 0));
    // It was missing once: whoever says it now, knows.
    kit.host.set_canaries(Vec::new()).unwrap();
    kit.host.set_canaries(trial()).unwrap();
    assert_eq!(call("c3").await, 2);
}
