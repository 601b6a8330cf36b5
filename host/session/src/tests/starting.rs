//! A call that cannot be served in time is refused at once.

use voxtra_core::HangupCause;
use voxtra_core::fake::LegVerb;
use voxtra_plugins::Outcome;

use super::*;

fn slow(starts_in: Duration) -> TestHandler {
    let mut handler = TestHandler::default(|call| async move {
        let _ = call.gather(keys::listen(1, 1_000 * SECOND)).await;
        Outcome::Returned
    });
    handler.starts_in = starts_in;
    handler
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_handler_does_not_begin_in_time_is_refused_and_so_is_the_next_before_it_is_taken() {
    let kit = Kit::new([slow(SECOND)]);
    let leg = kit.call("c1");
    sleep(Duration::from_millis(499)).await;
    kit.call("c2");
    sleep(Duration::from_millis(2)).await;
    assert_eq!(leg.verbs(), [LegVerb::End(HangupCause::Congestion)]);
    assert!(kit.said(EventType::CallFailed, "error").starts_with("busy"));
    kit.host.idle().await;
    assert_eq!((kit.handler("default").starts.load(Ordering::Relaxed), kit.hooked().len()), (0, 0));
    assert_eq!((kit.host.stats().refused_busy, kit.host.stats().handler_failures), (2, 0));
    kit.assert_ended_once("c1");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_begins_in_time_has_its_call_for_as_long_as_it_likes() {
    let kit = Kit::new([slow(Duration::from_millis(499))]);
    let leg = kit.call("c1");
    sleep(100 * SECOND).await;
    assert_eq!((kit.host.active(), kit.host.stats().refused_busy), (1, 0));
    hang_up(&leg);
    kit.host.idle().await;
    assert_eq!(kit.hooked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_pool_refuses_calls_at_once_until_an_instance_goes() {
    let kit = Kit::new([slow(Duration::ZERO)]);
    let first = kit.call("c1");
    settle().await;
    kit.handler("default").busy.store(true, Ordering::Relaxed);
    let leg = kit.call("c2");
    settle().await;
    assert_eq!(leg.verbs(), [LegVerb::End(HangupCause::Congestion)]);
    let refusal = kit.host.incoming(FakeLeg::new().incoming("c3")).err().unwrap();
    assert!(refusal.reason.starts_with("busy") && refusal.cause == HangupCause::Congestion, "{refusal}");
    kit.handler("default").busy.store(false, Ordering::Relaxed);
    hang_up(&first);
    settle().await;
    kit.call("c4");
    settle().await;
    assert_eq!((kit.host.active(), kit.host.stats().refused_busy, kit.host.stats().refused), (1, 2, 1));
}
