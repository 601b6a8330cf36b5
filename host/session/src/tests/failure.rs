//! Handlers that fail, and what their callers get.

use std::future::pending;

use tokio::time::{Instant, sleep};
use voxtra_core::fake::{Fate, LegVerb, VerbKind};
use voxtra_core::telephony::LegEnd;
use voxtra_core::{CallError, CallState, EventType, HangupCause, LegEvent};
use voxtra_plugins::Outcome;

use super::*;
use crate::options::Then;

fn policy(play: Option<&[&str]>, then: Then) -> OnFailure {
    OnFailure { play: play.map(sounds), then }
}

fn kit_with(on_failure: OnFailure, handlers: impl IntoIterator<Item = TestHandler>) -> Kit {
    Kit::with(HostOptions::default(), on_failure, handlers)
}

fn traps() -> TestHandler {
    TestHandler::default(|_| async { trap() })
}

#[tokio::test(start_paused = true)]
async fn a_trap_does_not_drop_the_caller() {
    let kit = Kit::new([traps()]);
    let leg = kit.call_with(leg_with_prompts_of(2 * SECOND), "c1");
    sleep(SECOND).await;
    assert_eq!(kit.host.calls()[0].state, CallState::InProgress);
    kit.host.idle().await;
    let prompt = vec![OnFailure::DEFAULT_PROMPT.to_owned()];
    assert_eq!(leg.verbs(), [LegVerb::Answer, LegVerb::Play(prompt), LegVerb::End(HangupCause::Normal)]);
    assert_eq!(kit.end_reason(), "handler-failed");
    use EventType::*;
    let wanted =
        [CallStarted, SessionCreated, CallRinging, Error, CallAnswered, CallFailed, CallEnded, SessionDestroyed];
    assert_eq!(kit.kinds("c1"), wanted);
    assert!(kit.said(CallFailed, "error").contains("panicked"));
    assert_eq!(kit.said(Error, "handler"), "default");
    assert_eq!(kit.said(CallEnded, "duration_ms"), "2000");
    assert_eq!(kit.host.stats().handler_failures, 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_for_a_handler_that_may_take_none_gets_the_failure_policy_and_one_that_is_up_goes_on() {
    let kit = kit_with(
        policy(Some(&["sorry"]), Then::Handler("spare".into())),
        [TestHandler::default(|_| pending()), TestHandler::new("spare", |_| async { Outcome::Returned })],
    );
    kit.call("up");
    sleep(SECOND).await;
    kit.host.set_handlers(Arc::new(Withheld(Arc::clone(&kit.handlers), "default".into())));
    let leg = kit.call_with(leg_with_prompts_of(SECOND), "c1");
    sleep(5 * SECOND).await;
    let prompt = vec!["sound:sorry".to_owned()];
    assert!(leg.verbs().contains(&LegVerb::Play(prompt)), "{:?}", leg.verbs());
    assert!(kit.said(EventType::Error, "message").contains("no version may take calls"));
    assert_eq!(kit.end_reason(), "handler-returned", "the policy's own handler has had it");
    let up: Vec<_> = kit.host.calls().iter().map(|call| call.info.id.to_string()).collect();
    assert_eq!(up, ["up"]);
}

#[tokio::test(start_paused = true)]
async fn an_error_counts_as_a_failure_and_stays_on_its_line() {
    let kit = Kit::new([TestHandler::default(|_| async { Outcome::Error("a\nb".into()) })]);
    kit.call_with(leg_with_prompts_of(SECOND), "c1");
    kit.host.idle().await;
    assert_eq!(kit.said(EventType::CallFailed, "error"), "the handler returned an error: a b");
    // It lives, so its hook runs in it.
    assert_eq!(kit.hooked()[0].0, 0);
}

#[tokio::test(start_paused = true)]
async fn who_is_on_the_line_gets_the_failure_policy_when_the_pool_is_full() {
    let kit = Kit::new([traps()]);
    kit.handler("default").busy.store(true, Ordering::Relaxed);
    let leg = leg_with_prompts_of(SECOND);
    let mut answered = leg.incoming_at("c1", &kit.exchange);
    answered.answered = true;
    leg.connect(kit.host.incoming(answered).unwrap());
    kit.host.idle().await;
    assert_eq!(leg.count(|v| matches!(v, LegVerb::Play(_))), 1);
    assert!(kit.said(EventType::CallFailed, "error").contains("plugins.max_instances"));
    kit.assert_ended_once("c1");
}

#[tokio::test(start_paused = true)]
async fn a_handler_whose_task_is_lost_counts_as_a_failure() {
    let kit = Kit::new([TestHandler::default(|_| async { panic!("a fault of the host") })]);
    let leg = kit.call_with(leg_with_prompts_of(SECOND), "c1");
    kit.host.idle().await;
    assert_eq!(leg.count(|v| matches!(v, LegVerb::Play(_))), 1);
    assert_eq!(kit.hooked().len(), 1);
    kit.assert_ended_once("c1");
}

#[tokio::test(start_paused = true)]
async fn without_prompts_an_unanswered_call_stays_unanswered() {
    let kit = kit_with(policy(Some(&[]), Then::HangUp), [traps()]);
    let leg = kit.call("c1");
    kit.host.idle().await;
    assert_eq!(leg.verbs(), [LegVerb::End(HangupCause::Congestion)]);
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_never_ends_or_cannot_be_played_does_not_stop_the_policy() {
    let kit = kit_with(policy(Some(&["stuck"]), Then::Transfer("200".into())), [traps()]);
    let leg = kit.call("c1");
    let began = Instant::now();
    while leg.count(|v| matches!(v, LegVerb::Transfer(_))) == 0 {
        sleep(SECOND).await;
    }
    assert_eq!(began.elapsed().as_secs(), 31);
    assert_eq!(leg.count(|v| *v == LegVerb::StopPlayback), 1);

    let kit = kit_with(policy(Some(&["gone"]), Then::Transfer("200".into())), [traps()]);
    let leg = FakeLeg::new();
    leg.set_fate(VerbKind::Play, Fate::Fails(CallError::Telephony("404".into())));
    kit.call_with(Arc::clone(&leg), "c1");
    settle().await;
    assert_eq!(leg.count(|v| matches!(v, LegVerb::Transfer(_))), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_handlers_audio_is_closed_before_the_prompt_plays() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        call.answer().await.unwrap();
        call.open_audio(8_000).await.unwrap();
        Outcome::Error("no more".into())
    })]);
    let leg = kit.call_with(leg_with_prompts_of(SECOND), "c1");
    kit.host.idle().await;
    let verbs = leg.verbs();
    let at = |wanted: fn(&LegVerb) -> bool| verbs.iter().position(wanted).unwrap();
    assert!(at(|v| *v == LegVerb::CloseMedia) < at(|v| matches!(v, LegVerb::Play(_))));
}

#[tokio::test(start_paused = true)]
async fn a_caller_on_hold_is_taken_back_before_the_prompt() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        call.answer().await.unwrap();
        call.hold(String::new()).await.unwrap();
        trap()
    })]);
    let leg = kit.call_with(leg_with_prompts_of(SECOND), "c1");
    sleep(SECOND / 2).await;
    assert_eq!(kit.host.calls()[0].state, CallState::InProgress);
    kit.host.idle().await;
    let verbs = leg.verbs();
    let at = |wanted: fn(&LegVerb) -> bool| verbs.iter().position(wanted).unwrap();
    assert!(at(|v| *v == LegVerb::Unhold) < at(|v| matches!(v, LegVerb::Play(_))));
}

#[tokio::test(start_paused = true)]
async fn a_policy_can_hand_the_caller_on() {
    let kit = kit_with(policy(Some(&["wait"]), Then::Transfer("200".into())), [traps()]);
    let leg = kit.call_with(leg_with_prompts_of(SECOND), "c1");
    sleep(2 * SECOND).await;
    assert_eq!(leg.verbs().last(), Some(&LegVerb::Transfer("200".into())));
    assert_eq!(kit.host.calls()[0].state, CallState::Transferring);
    leg.deliver(LegEvent::Ended(LegEnd::Transferred));
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "transferred");
    assert_eq!(kit.said(EventType::CallTransferred, "target"), "200");
    let kinds = kit.kinds("c1");
    assert_eq!(kinds.iter().filter(|k| **k == EventType::CallTransferred).count(), 1);
    assert!(!kinds.contains(&EventType::CallFailed));
    kit.assert_ended_once("c1");
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_fails_or_never_ends_ends_the_call() {
    let kit = kit_with(policy(Some(&[]), Then::Transfer("200".into())), [traps()]);
    let leg = FakeLeg::new();
    leg.set_fate(VerbKind::Transfer, Fate::Fails(CallError::Telephony("no such extension".into())));
    kit.call_with(leg, "c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-failed");
    kit.assert_ended_once("c1");

    let kit = kit_with(policy(Some(&[]), Then::Transfer("200".into())), [traps()]);
    let began = Instant::now();
    kit.call("c1");
    kit.host.idle().await;
    assert_eq!((kit.end_reason().as_str(), began.elapsed().as_secs()), ("telephony-failed", 35));
}

#[tokio::test(start_paused = true)]
async fn a_policy_can_give_the_call_to_another_handler() {
    let second = TestHandler::new("second", |call| async move {
        let digits = call.gather(keys::listen(1, SECOND)).await.unwrap().digits;
        call.play(sounds(&["second"]), String::new()).await.unwrap();
        if digits.is_empty() { Outcome::Returned } else { Outcome::Error(format!("not mine: {digits}")) }
    })
    .with_hook(|_| async { Outcome::Returned });
    let kit = kit_with(policy(Some(&["wait"]), Then::Handler("second".into())), [traps(), second]);
    let leg = kit.call_with(leg_with_prompts_of(2 * SECOND), "c1");
    sleep(SECOND).await;
    press(&leg, "1");
    sleep(2 * SECOND).await;
    assert_eq!(kit.host.calls()[0].handler, HandlerName::from("second"));
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
    assert!(!kit.kinds("c1").contains(&EventType::CallFailed));
    // The hook is that of the handler that has the call.
    assert_eq!((kit.hooked().len(), kit.handler("second").hooked.lock().unwrap().len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_second_failure_hangs_up_and_never_goes_round() {
    let kit = kit_with(policy(Some(&["wait"]), Then::Handler("default".into())), [traps()]);
    let leg = kit.call_with(leg_with_prompts_of(SECOND), "c1");
    kit.host.idle().await;
    assert_eq!(leg.count(|v| matches!(v, LegVerb::Play(_))), 1);
    assert_eq!((kit.end_reason().as_str(), kit.host.stats().handler_failures), ("handler-failed", 2));
    kit.assert_ended_once("c1");
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_names_a_missing_handler_hangs_up() {
    let kit = kit_with(policy(Some(&[]), Then::Handler("nobody".into())), [traps()]);
    kit.call("c1");
    kit.host.idle().await;
    assert!(kit.sink.events().iter().any(|e| e.data.get("message").is_some_and(|m| m.to_string().contains("nobody"))));
    assert_eq!(kit.end_reason(), "handler-failed");
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_during_the_prompt_had_a_failed_call() {
    let kit = Kit::new([traps()]);
    let leg = kit.call_with(leg_with_prompts_of(20 * SECOND), "c1");
    sleep(SECOND).await;
    hang_up(&leg);
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-failed");
    assert_eq!(kit.hooked().len(), 1);
    kit.assert_ended_once("c1");
}

#[tokio::test(start_paused = true)]
async fn one_calls_failure_does_not_touch_another() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        if call.info().id.as_str() == "bad" { trap() } else { pending().await }
    })]);
    kit.call_with(leg_with_prompts_of(SECOND), "bad");
    kit.call("good");
    sleep(10 * SECOND).await;
    let up: Vec<_> = kit.host.calls().into_iter().map(|call| call.info.id.to_string()).collect();
    assert_eq!(up, ["good"]);
}
