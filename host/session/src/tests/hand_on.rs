//! Calls that are handed to somebody else.

use tokio::time::{Instant, sleep};
use voxtra_core::fake::{Fate, LegVerb, VerbKind};
use voxtra_core::verbs::DialplanPlace;
use voxtra_core::{CallError, CallState, EventType, HangupCause};
use voxtra_plugins::Outcome;

use super::*;

fn transferred(leg: &FakeLeg) {
    leg.deliver(LegEvent::Ended(LegEnd::Transferred));
}

fn transfers(target: &'static str) -> (TestHandler, Notes) {
    let notes = Notes::default();
    let seen = notes.clone();
    let handler = TestHandler::default(move |call| {
        let seen = seen.clone();
        async move {
            call.answer().await.unwrap();
            let outcome = call.transfer(target.into()).await.map_err(|error| error.kind());
            seen.add((outcome, call.state()));
            Outcome::Returned
        }
    });
    (handler, notes)
}

#[tokio::test(start_paused = true)]
async fn a_transfer_ends_the_call_as_transferred() {
    let (handler, notes) = transfers("200");
    let kit = Kit::new([handler]);
    let leg = kit.call("c1");
    sleep(SECOND).await;
    assert_eq!(kit.host.calls()[0].state, CallState::Transferring);
    assert!(notes.all().is_empty());
    transferred(&leg);
    transferred(&leg);
    kit.host.idle().await;
    assert_eq!(notes.all(), ["(Ok(()), Completed)"]);
    assert_eq!(kit.end_reason(), "transferred");
    assert_eq!(kit.said(EventType::CallTransferred, "target"), "200");
    assert_eq!(kit.kinds("c1").iter().filter(|k| **k == EventType::CallTransferred).count(), 1);
    kit.assert_ended_once("c1");
}

#[tokio::test(start_paused = true)]
async fn the_legs_end_may_come_before_the_pbxs_word() {
    let (handler, notes) = transfers("200");
    let kit = Kit::new([handler]);
    let leg = FakeLeg::new();
    leg.set_fate(VerbKind::Transfer, Fate::Hangs);
    kit.call_with(Arc::clone(&leg), "c1");
    settle().await;
    transferred(&leg);
    kit.host.idle().await;
    assert_eq!(
        (notes.all().as_slice(), kit.end_reason().as_str()),
        (&["(Ok(()), Completed)".to_owned()][..], "transferred")
    );
    assert_eq!(kit.said(EventType::CallTransferred, "target"), "200");
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_fails_leaves_the_call() {
    let notes = Notes::default();
    let seen = notes.clone();
    let kit = Kit::new([TestHandler::default(move |call| {
        let seen = seen.clone();
        async move {
            call.answer().await.unwrap();
            call.hold(String::new()).await.unwrap();
            seen.add((call.transfer("200".into()).await.map_err(|e| e.kind()), call.state()));
            seen.add((call.transfer_to_queue("q".into(), Vec::new()).await.map_err(|e| e.kind()), call.state()));
            Outcome::Returned
        }
    })]);
    let leg = FakeLeg::new();
    for kind in [VerbKind::Transfer, VerbKind::TransferToQueue] {
        leg.set_fate(kind, Fate::Fails(CallError::Telephony("no such place".into())));
    }
    kit.call_with(leg, "c1");
    kit.host.idle().await;
    assert_eq!(notes.all(), vec!["(Err(\"telephony\"), OnHold)"; 2]);
    assert_eq!(kit.end_reason(), "handler-returned");
    assert!(!kit.kinds("c1").contains(&EventType::CallTransferred));
}

#[tokio::test(start_paused = true)]
async fn a_second_hand_over_waits_for_no_first() {
    let notes = Notes::default();
    let seen = notes.clone();
    let kit = Kit::new([TestHandler::default(move |call| {
        let seen = seen.clone();
        async move {
            let both = tokio::join!(call.transfer("200".into()), call.continue_in_dialplan(DialplanPlace::default()));
            seen.add((both.0, both.1.map_err(|e| e.kind())));
            Outcome::Returned
        }
    })]);
    let leg = kit.call("c1");
    settle().await;
    transferred(&leg);
    kit.host.idle().await;
    assert_eq!(notes.all(), ["(Ok(()), Err(\"limit-exceeded\"))"]);
    assert_eq!(leg.count(|v| matches!(v, LegVerb::ContinueInDialplan(_))), 0);
}

#[tokio::test(start_paused = true)]
async fn a_queue_and_the_dialplan_get_what_they_were_told() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        if call.info().id.as_str() == "queue" {
            call.transfer_to_queue("support".into(), vec![("level-1".into(), "x".into())]).await.unwrap();
        } else {
            let place = DialplanPlace { context: "sales".into(), extension: "s".into(), priority: 2 };
            call.continue_in_dialplan(place).await.unwrap();
        }
        Outcome::Returned
    })])
    .may_dial();
    for id in ["queue", "plan"] {
        let leg = kit.call(id);
        settle().await;
        transferred(&leg);
        settle().await;
        let verb = leg.verbs()[0].clone();
        match id {
            "queue" => {
                let variables = vec![("VOXTRA_LEVEL_1".to_owned(), "x".to_owned())];
                assert_eq!(verb, LegVerb::TransferToQueue("support".into(), variables));
            }
            _ => assert!(matches!(verb, LegVerb::ContinueInDialplan(place) if place.priority == 2)),
        }
    }
    kit.host.idle().await;
    assert_eq!(kit.said(EventType::CallTransferred, "queue"), "support");
}

#[tokio::test(start_paused = true)]
async fn targets_that_are_not_allowed_never_reach_the_leg() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        for target in ["PJSIP/101", "100@other", "PJSIP/100&PJSIP/101", "Local/1@x"] {
            let kind = call.transfer(target.into()).await.unwrap_err().kind();
            assert!(["denied", "invalid-argument"].contains(&kind), "{target}");
        }
        let place = |context: &str| DialplanPlace { context: context.into(), ..DialplanPlace::default() };
        assert_eq!(call.continue_in_dialplan(place("other")).await.unwrap_err().kind(), "denied");
        assert_eq!(call.continue_in_dialplan(place("a,b")).await.unwrap_err().kind(), "invalid-argument");
        assert_eq!(call.transfer_to_queue("q,t".into(), Vec::new()).await.unwrap_err().kind(), "invalid-argument");
        Outcome::Returned
    })])
    .may_dial();
    let leg = kit.call("c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
    assert_eq!(leg.verbs(), [LegVerb::End(HangupCause::Normal)]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_returns_or_traps_while_its_call_is_handed_on_does_not_end_it() {
    for traps in [false, true] {
        let kit = Kit::new([TestHandler::default(move |call| async move {
            call.answer().await.unwrap();
            let _ = tokio::time::timeout(SECOND, call.transfer("200".into())).await;
            if traps { trap() } else { Outcome::Returned }
        })]);
        let leg = kit.call("c1");
        sleep(3 * SECOND).await;
        assert_eq!((kit.host.active(), leg.count(|v| matches!(v, LegVerb::End(_) | LegVerb::Play(_)))), (1, 0));
        transferred(&leg);
        kit.host.idle().await;
        assert_eq!(kit.end_reason(), "transferred");
        // The instance that lives has its hook; the one that trapped gets a fresh one.
        assert_eq!(kit.hooked().iter().map(|(n, _)| *n).collect::<Vec<_>>(), [usize::from(traps)]);
        kit.assert_ended_once("c1");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_trapped_fails_after_all_when_the_hand_over_does() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        let _ = tokio::time::timeout(SECOND, call.transfer("200".into())).await;
        trap()
    })]);
    let leg = leg_with_prompts_of(SECOND);
    // The adapter's own limit is what ends it.
    leg.set_fate(VerbKind::Transfer, Fate::Hangs);
    kit.call_with(Arc::clone(&leg), "c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-failed");
    assert_eq!(leg.count(|v| matches!(v, LegVerb::Play(_))), 1);
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_is_never_over_has_an_end() {
    let (handler, notes) = transfers("200");
    let kit = Kit::new([handler]);
    let began = Instant::now();
    kit.call("c1");
    kit.host.idle().await;
    assert_eq!(began.elapsed().as_secs(), 35);
    assert_eq!(kit.end_reason(), "telephony-failed");
    assert!(notes.all()[0].contains("telephony"), "{:?}", notes.all());
}

#[tokio::test(start_paused = true)]
async fn audio_that_breaks_while_the_call_is_handed_on_does_not_end_it() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        call.answer().await.unwrap();
        call.open_audio(8_000).await.unwrap();
        call.transfer("200".into()).await.unwrap();
        Outcome::Returned
    })]);
    let leg = kit.call("c1");
    settle().await;
    leg.deliver(LegEvent::MediaLost);
    settle().await;
    assert_eq!(kit.host.active(), 1);
    transferred(&leg);
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "transferred");
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_before_the_transfer_is_taken_has_hung_up() {
    let (handler, notes) = transfers("200");
    let kit = Kit::new([handler]);
    let leg = FakeLeg::new();
    leg.set_fate(VerbKind::Transfer, Fate::Hangs);
    kit.call_with(Arc::clone(&leg), "c1");
    settle().await;
    hang_up(&leg);
    kit.host.idle().await;
    assert_eq!(notes.all(), ["(Err(\"hung-up\"), Completed)"]);
    assert_eq!(kit.end_reason(), "caller-hung-up");
}
