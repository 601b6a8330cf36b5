//! The end of a call: its order, its limits, and that nothing waits beyond it.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use voxtra_core::fake::{Fate, LegVerb, VerbKind};
use voxtra_core::telephony::LegEnd;
use voxtra_core::{CallError, CallState, EndReason, EventType, HangupCause, LegEvent};
use voxtra_plugins::Outcome;

use super::*;

/// A call whose handler waits in one verb when the caller leaves; what the verb gave.
pub(super) async fn left_while<F>(verb: impl Fn(SharedCall) -> F + Send + Sync + 'static) -> String
where
    F: Future<Output = String> + Send + 'static,
{
    let notes = Notes::default();
    let (seen, verb) = (notes.clone(), Arc::new(verb));
    let kit = Kit::new([TestHandler::default(move |call| {
        let (seen, verb) = (seen.clone(), Arc::clone(&verb));
        async move {
            call.answer().await.unwrap();
            seen.add(verb(call).await);
            Outcome::Error("the call is over".into())
        }
    })]);
    let leg = kit.call("c1");
    sleep(SECOND).await;
    hang_up(&leg);
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "caller-hung-up");
    // An error that comes after the end is no failure.
    assert!(!kit.kinds("c1").contains(&EventType::CallFailed));
    assert_eq!(kit.host.stats().handler_failures, 0);
    kit.assert_ended_once("c1");
    notes.all().join(" ")
}

#[tokio::test(start_paused = true)]
async fn pending_play_returns_hung_up_when_the_caller_leaves() {
    let play = |call: SharedCall| async move { format!("{:?}", call.play(sounds(&["a"]), String::new()).await) };
    assert_eq!(left_while(play).await, "\"Err(HungUp)\"");
}

#[tokio::test(start_paused = true)]
async fn every_pending_verb_returns_hung_up_when_the_caller_leaves() {
    let all = |call: SharedCall| async move {
        let gathers =
            async { tokio::join!(call.gather(keys::listen(1, 99 * SECOND)), call.gather(keys::listen(1, SECOND))) };
        let play = call.play(sounds(&["a"]), "1".into());
        let (gathers, play, event) = tokio::join!(gathers, play, call.next_event(99 * SECOND));
        assert_eq!(
            (gathers.0, gathers.1, play),
            (Err(CallError::HungUp), Err(CallError::HungUp), Err(CallError::HungUp))
        );
        // The answer comes before it.
        assert!(event.is_ok());
        let after = (call.answer().await, call.send_dtmf("1".into()).await, call.open_audio(8_000).await.err());
        assert_eq!(after, (Err(CallError::HungUp), Err(CallError::HungUp), Some(CallError::HungUp)));
        format!("{:?} {:?} {}", call.hangup(HangupCause::Busy).await, call.state(), call.duration_ms())
    };
    assert_eq!(left_while(all).await, "\"Ok(()) Completed 1000\"");
}

#[tokio::test(start_paused = true)]
async fn a_verb_that_is_stuck_at_the_leg_returns_hung_up_too() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        assert_eq!(call.answer().await, Err(CallError::HungUp));
        Outcome::Returned
    })]);
    let leg = FakeLeg::new();
    leg.set_fate(VerbKind::Answer, Fate::Hangs);
    kit.call_with(Arc::clone(&leg), "c1");
    settle().await;
    hang_up(&leg);
    kit.host.idle().await;
    assert_eq!((kit.end_reason().as_str(), kit.host.stats().handlers_cut_off), ("caller-hung-up", 0));
    assert_eq!(kit.hooked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_will_not_return_is_cut_off_after_the_grace() {
    let kit = Kit::new([TestHandler::default(|_| pending())]);
    let leg = kit.call("c1");
    sleep(SECOND).await;
    let left_at = Instant::now();
    hang_up(&leg);
    kit.host.idle().await;
    assert_eq!(left_at.elapsed().as_secs(), 5);
    assert_eq!(kit.host.stats().handlers_cut_off, 1);
    // The line itself was freed at once, not after the grace.
    assert_eq!(leg.count(|v| matches!(v, LegVerb::End(_))), 1);
    // The instance that was cut off cannot be entered again.
    assert_eq!(kit.hooked().iter().map(|(instance, _)| *instance).collect::<Vec<_>>(), [1]);
    kit.assert_ended_once("c1");
}

#[tokio::test(start_paused = true)]
async fn the_line_is_free_before_the_handler_has_returned() {
    let kit = Kit::new([TestHandler::default(|_| pending())]);
    let leg = kit.call("c1");
    settle().await;
    hang_up(&leg);
    settle().await;
    assert_eq!((leg.count(|v| matches!(v, LegVerb::End(_))), kit.host.active()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_hook_runs_in_the_instance_that_handled_the_call() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        call.answer().await.unwrap();
        call.metadata_set("k".into(), "v".into()).unwrap();
        sleep(2 * SECOND).await;
        Outcome::Returned
    })]);
    kit.call("c1");
    kit.host.idle().await;
    let hooked = kit.hooked();
    let [(instance, ended)] = hooked.as_slice() else { panic!("{hooked:?}") };
    assert_eq!((*instance, &ended.reason, ended.duration_ms), (0, &EndReason::HandlerReturned, 2_000));
    assert_eq!(ended.metadata, [("k".to_owned(), "v".to_owned())]);
    assert_eq!(ended.info.id.as_str(), "c1");
    assert_eq!(kit.handler("default").starts.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn on_hangup_runs_in_a_fresh_instance_after_a_trap() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        call.metadata_set("k".into(), "v".into()).unwrap();
        trap()
    })]);
    kit.call_with(leg_with_prompts_of(SECOND), "c1");
    kit.host.idle().await;
    let hooked = kit.hooked();
    let [(instance, ended)] = hooked.as_slice() else { panic!("{hooked:?}") };
    assert_eq!((*instance, ended.metadata.len()), (1, 1));
    assert!(matches!(&ended.reason, EndReason::HandlerFailed(why) if why.contains("panicked")));
    assert_eq!(kit.handler("default").starts.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_handler_without_a_hook_is_not_started_again() {
    let kit = Kit::new([TestHandler::new("default", |_| async { trap() })]);
    kit.call_with(leg_with_prompts_of(SECOND), "c1");
    kit.host.idle().await;
    assert_eq!(kit.handler("default").starts.load(Ordering::Relaxed), 1);
    assert_eq!(kit.hooked().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_hangs_or_traps_does_not_keep_the_call() {
    let hangs = TestHandler::default(|_| async { Outcome::Returned }).with_hook(|_| pending());
    let kit = Kit::new([hangs]);
    let began = Instant::now();
    kit.call("c1");
    kit.host.idle().await;
    assert_eq!(began.elapsed().as_secs(), 5);
    assert!(kit.said(EventType::Error, "message").contains("too long"));
    kit.assert_ended_once("c1");

    let kit = Kit::new([TestHandler::default(|_| async { Outcome::Returned }).with_hook(|_| async { trap() })]);
    kit.call("c1");
    kit.host.idle().await;
    assert!(kit.said(EventType::Error, "message").contains("panicked"));
    assert_eq!((kit.end_reason().as_str(), kit.hooked().len()), ("handler-returned", 1));
    kit.assert_ended_once("c1");
}

#[tokio::test(start_paused = true)]
async fn hanging_up_succeeds_and_says_why_to_the_network() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        call.hangup(HangupCause::Busy).await.unwrap();
        assert_eq!(call.state(), CallState::Completed);
        call.hangup(HangupCause::Normal).await.unwrap();
        Outcome::Returned
    })]);
    let leg = kit.call("c1");
    kit.host.idle().await;
    assert_eq!(leg.verbs(), [LegVerb::End(HangupCause::Busy)]);
    assert_eq!(kit.end_reason(), "handler-hung-up");
    assert_eq!(kit.said(EventType::CallEnded, "duration_ms"), "0");
}

#[tokio::test(start_paused = true)]
async fn a_call_has_a_longest_length() {
    let options = HostOptions { call_limit: 60 * SECOND, ..HostOptions::default() };
    let kit = Kit::with(
        options,
        OnFailure::default(),
        [TestHandler::default(|call| async move {
            call.answer().await.unwrap();
            let played = call.play(sounds(&["for-ever"]), String::new()).await;
            assert_eq!(played, Err(CallError::HungUp));
            Outcome::Returned
        })],
    );
    let began = Instant::now();
    kit.call("c1");
    kit.host.idle().await;
    assert_eq!(began.elapsed().as_secs(), 60);
    assert_eq!(kit.end_reason(), "call-limit");
    // Long is not wrong.
    assert!(!kit.kinds("c1").contains(&EventType::CallFailed));
}

#[tokio::test(start_paused = true)]
async fn a_leg_that_cannot_be_hung_up_does_not_keep_the_call() {
    for fate in [Fate::Hangs, Fate::Fails(CallError::Telephony("500".into()))] {
        let kit = Kit::new([TestHandler::default(|_| async { Outcome::Returned })]);
        let leg = FakeLeg::new();
        leg.set_fate(VerbKind::End, fate);
        kit.call_with(leg, "c1");
        kit.host.idle().await;
        assert_eq!(kit.hooked().len(), 1);
        kit.assert_ended_once("c1");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pbx_that_is_gone_fails_the_call() {
    for vanish in [true, false] {
        let kit = Kit::new([TestHandler::default(|call| async move {
            let _ = call.next_event(99 * SECOND).await;
            Outcome::Returned
        })]);
        let leg = kit.call("c1");
        settle().await;
        if vanish {
            leg.disconnect();
        } else {
            leg.deliver(LegEvent::Ended(LegEnd::Failed("the PBX is gone".into())));
        }
        kit.host.idle().await;
        assert_eq!(kit.end_reason(), "telephony-failed");
        assert_eq!(kit.kinds("c1").iter().filter(|k| **k == EventType::CallFailed).count(), 1);
        kit.assert_ended_once("c1");
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_before_the_end_is_told_before_it() {
    let kit = Kit::new([TestHandler::default(|_| pending())]);
    let leg = kit.call("c1");
    settle().await;
    leg.deliver(LegEvent::Answered);
    press(&leg, "12");
    hang_up(&leg);
    press(&leg, "3");
    kit.host.idle().await;
    use EventType::*;
    let kinds = kit.kinds("c1");
    assert_eq!(kinds.iter().filter(|k| **k == DtmfReceived).count(), 3);
    assert!(kinds.contains(&CallAnswered));
    kit.assert_ended_once("c1");
}

#[test]
fn a_call_whose_task_vanishes_ends_all_the_same() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let (kit, _leg) = runtime.block_on(async {
        let kit = Kit::new([TestHandler::default(|_| pending())]);
        let leg = kit.call("c1");
        sleep(Duration::from_secs(1)).await;
        (kit, leg)
    });
    assert_eq!(kit.host.active(), 1);
    drop(runtime);
    assert_eq!((kit.host.active(), kit.host.stats().lost, kit.host.stats().ended), (0, 1, 1));
    kit.assert_ended_once("c1");
}
