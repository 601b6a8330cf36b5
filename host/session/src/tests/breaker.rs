//! A handler version that fails again and again is left alone for a while.

use voxtra_core::fake::LegVerb;
use voxtra_plugins::Outcome;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_trap_storm_costs_callers_the_apology_and_no_more_instances() {
    let bad = Arc::new(AtomicBool::new(true));
    let is_bad = Arc::clone(&bad);
    let kit = Kit::new([TestHandler::default(move |_| {
        let bad = is_bad.load(Ordering::Relaxed);
        async move { if bad { trap() } else { Outcome::Returned } }
    })]);
    for n in 0..30 {
        let leg = kit.call_with(leg_with_prompts_of(Duration::from_millis(10)), &format!("c{n}"));
        kit.host.idle().await;
        assert_eq!(leg.count(|v| matches!(v, LegVerb::Play(_))), 1);
        kit.assert_ended_once(&format!("c{n}"));
    }
    let starts = || kit.handler("default").starts.load(Ordering::Relaxed);
    // Each of the twenty that were tried has an instance for its hook besides.
    assert_eq!((starts(), kit.hooked().len(), kit.host.stats().breaker_skipped), (40, 20, 10));
    assert_eq!(kit.host.stats().handler_failures, 20);
    bad.store(false, Ordering::Relaxed);
    sleep(10 * SECOND).await;
    for id in ["probe", "after", "last"] {
        kit.call(id);
        kit.host.idle().await;
        assert_eq!(kit.end_reason_of(id), "handler-returned");
    }
    assert_eq!((starts(), kit.host.stats().breaker_skipped), (43, 10));
}

#[tokio::test(start_paused = true)]
async fn one_that_the_runtime_leaves_alone_has_no_hook_and_nothing_is_held_against_it() {
    let options = HostOptions {
        breaker: crate::BreakerOptions { failures: 1, ..crate::BreakerOptions::default() },
        ..HostOptions::default()
    };
    let kit = Kit::with(options, OnFailure::default(), [TestHandler::default(|_| async { Outcome::Returned })]);
    let left_alone = StartError::LeftAlone("it has only trapped lately".to_owned());
    *kit.handler("default").refuses.lock().unwrap() = Some(left_alone);
    let leg = kit.call_with(leg_with_prompts_of(SECOND), "c1");
    kit.host.idle().await;
    assert_eq!((leg.count(|v| matches!(v, LegVerb::Play(_))), kit.end_reason().as_str()), (1, "handler-failed"));
    let errors = kit.sink.events().into_iter().filter(|event| event.kind == EventType::Error);
    let said: Vec<_> = errors.map(|event| event.data["message"].to_string()).collect();
    assert!(said.len() == 1 && said[0].contains("only trapped"), "{said:?}");
    *kit.handler("default").refuses.lock().unwrap() = None;
    kit.call("c2");
    kit.host.idle().await;
    assert_eq!((kit.end_reason_of("c2").as_str(), kit.host.stats().breaker_skipped), ("handler-returned", 0));
}
