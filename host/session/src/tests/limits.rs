//! What a tenant and a handler may have of the host.

use std::future::pending;

use voxtra_core::HangupCause;
use voxtra_plugins::Outcome;

use super::placing::to;
use super::*;
use crate::limits::TenantLimits;
use crate::options::Then;

fn waits(name: &str) -> TestHandler {
    TestHandler::new(name, |call| async move {
        let _ = call.gather(keys::listen(1, 1_000_000 * SECOND)).await;
        Outcome::Returned
    })
}

fn refusal(kit: &Kit, id: &str) -> String {
    let refusal = kit.host.incoming(FakeLeg::new().incoming(id)).err().unwrap();
    assert_eq!(refusal.cause, HangupCause::Congestion);
    refusal.reason
}

#[tokio::test(start_paused = true)]
async fn a_tenant_has_as_many_calls_as_it_may_and_the_limit_can_be_changed_under_way() {
    let kit = Kit::new([waits("default")]);
    let one = TenantLimits { calls_at_once: Some(1), ..TenantLimits::default() };
    kit.host.set_tenant_limits(TenantLimits::default(), [(TenantId::default(), one)]);
    let first = kit.call("c1");
    assert!(refusal(&kit, "c2").contains("max_calls"));
    let two = TenantLimits { calls_at_once: Some(2), ..TenantLimits::default() };
    kit.host.set_tenant_limits(two, []);
    kit.call("c3");
    kit.host.set_tenant_limits(one, []);
    // Those that are up stay, and none comes to them.
    assert_eq!(kit.host.active(), 2);
    hang_up(&first);
    settle().await;
    assert!(refusal(&kit, "c4").contains("max_calls"));
    assert_eq!((kit.host.active(), kit.host.stats().refused), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_have_fewer_calls_than_its_tenant() {
    let mut narrow = waits("default");
    narrow.limits.calls_at_once = Some(1);
    let kit = Kit::new([narrow]);
    let first = kit.call("c1");
    assert!(refusal(&kit, "c2").contains("the handler default"));
    hang_up(&first);
    settle().await;
    kit.call("c3");
}

#[tokio::test(start_paused = true)]
async fn a_policy_does_not_hand_a_call_to_a_handler_that_is_full() {
    let mut full = waits("second");
    full.limits.calls_at_once = Some(1);
    let policy = OnFailure { play: Some(Vec::new()), then: Then::Handler("second".into()) };
    let kit = Kit::with(HostOptions::default(), policy, [TestHandler::default(|_| async { trap() }), full]);
    let first = kit.call("c1");
    settle().await;
    kit.call("c2");
    settle().await;
    assert_eq!((kit.end_reason_of("c1").as_str(), kit.end_reason_of("c2").as_str()), ("none", "handler-failed"));
    hang_up(&first);
    settle().await;
    kit.call("c3");
    settle().await;
    assert_eq!(kit.end_reason_of("c3"), "none");
}

#[tokio::test(start_paused = true)]
async fn the_narrowest_length_of_a_call_counts_and_calls_that_are_up_keep_theirs() {
    let length = |limit: u64| TenantLimits { call_limit: Some(Duration::from_secs(limit)), ..TenantLimits::default() };
    for (tenant_s, version_s, wanted_s) in
        [(60, None, 60), (60, Some(30), 30), (30, Some(60), 30), (1_000_000, None, 14_400)]
    {
        let mut handler = waits("default");
        handler.limits.call_limit = version_s.map(Duration::from_secs);
        let kit = Kit::new([handler]);
        kit.host.set_tenant_limits(length(tenant_s), []);
        let began = tokio::time::Instant::now();
        kit.call("c1");
        kit.host.set_tenant_limits(length(1), []);
        kit.host.idle().await;
        assert_eq!((began.elapsed().as_secs(), kit.end_reason().as_str()), (wanted_s, "call-limit"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_places_as_many_calls_a_day_as_it_may() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        let child = call.originate(to("91")).await;
        match child {
            Ok(_) => Outcome::Returned,
            Err(why) => Outcome::Error(why.to_string()),
        }
    })])
    .may_dial();
    let two = TenantLimits { originated_per_day: Some(2), ..TenantLimits::default() };
    kit.host.set_tenant_limits(two, []);
    for id in ["c1", "c2", "c3"] {
        kit.call_with(leg_with_prompts_of(SECOND), id);
        kit.host.idle().await;
    }
    assert_eq!(
        (kit.end_reason_of("c2").as_str(), kit.end_reason_of("c3").as_str()),
        ("handler-returned", "handler-failed")
    );
    assert!(kit.said(EventType::Error, "message").contains("max_per_day"));
    assert_eq!((kit.exchange.placed().len(), kit.host.active()), (2, 0));
    sleep(24 * 3_600 * SECOND).await;
    kit.call("c4");
    kit.host.idle().await;
    assert_eq!(kit.exchange.placed().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn placed_calls_count_among_the_tenants_and_not_among_the_handlers() {
    let notes = Notes::default();
    let seen = notes.clone();
    let mut handler = TestHandler::default(move |call| {
        let seen = seen.clone();
        async move {
            let first = call.originate(to("91")).await;
            let second = call.originate(to("92")).await;
            seen.add((first.is_ok(), second.err().map(|error| error.kind())));
            pending().await
        }
    });
    handler.limits.calls_at_once = Some(1);
    let kit = Kit::new([handler]).may_dial();
    kit.host.set_tenant_limits(TenantLimits { calls_at_once: Some(2), ..TenantLimits::default() }, []);
    kit.call("c1");
    settle().await;
    assert_eq!(notes.all(), ["(true, Some(\"limit-exceeded\"))"]);
}

#[tokio::test(start_paused = true)]
async fn the_shortest_grace_and_the_shortest_hook_count() {
    let ms = |ms: Option<u64>| ms.map(Duration::from_millis);
    for (of_tenant_ms, of_version_ms, wanted_ms) in
        [(None, None, 5_000), (Some(800), None, 800), (Some(800), Some(300), 300), (Some(800), Some(60_000), 800)]
    {
        let mut handler = TestHandler::default(|call| async move {
            drop(call);
            pending().await
        })
        .with_hook(|_| pending());
        handler.limits.handler_grace = ms(of_version_ms);
        handler.limits.hook_limit = ms(of_version_ms);
        let kit = Kit::new([handler]);
        let narrow =
            TenantLimits { handler_grace: ms(of_tenant_ms), hook_limit: ms(of_tenant_ms), ..TenantLimits::default() };
        kit.host.set_tenant_limits(narrow, []);
        let inbox = kit.call("c1");
        settle().await;
        let began = tokio::time::Instant::now();
        hang_up(&inbox);
        kit.host.idle().await;
        // One after the other, and a little for stopping each.
        let took = began.elapsed().as_millis();
        assert!((wanted_ms * 2..wanted_ms * 2 + 250).contains(&took), "{took} ms, not twice {wanted_ms}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_whose_instances_have_all_its_memory_is_refused_by_name_and_no_version_is_blamed() {
    let handler = TestHandler::default(|_| async { Outcome::Returned });
    let options = HostOptions {
        breaker: crate::BreakerOptions { failures: 1, ..crate::BreakerOptions::default() },
        ..HostOptions::default()
    };
    let kit = Kit::with(options, OnFailure::default(), [handler]);
    let full = StartError::TenantFull("limit-exceeded: memory of the tenant".to_owned());
    *kit.handler("default").refuses.lock().unwrap() = Some(full);
    kit.call("c1");
    kit.host.idle().await;
    assert!(kit.said(EventType::Error, "message").contains("limit-exceeded: memory of the tenant"));
    assert_eq!(kit.end_reason_of("c1"), "handler-failed");
    *kit.handler("default").refuses.lock().unwrap() = None;
    kit.call("c2");
    kit.host.idle().await;
    assert_eq!(kit.end_reason_of("c2"), "handler-returned");
    assert_eq!((kit.host.stats().refused_busy, kit.host.stats().breaker_skipped), (1, 0));
}
