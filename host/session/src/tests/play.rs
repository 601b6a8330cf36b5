//! Prompts, and a plain call.

use std::time::Duration;

use tokio::time::sleep;
use voxtra_core::fake::{Fate, LegVerb, VerbKind};
use voxtra_core::verbs::{Gather, HandlerEvent, PlayOutcome};
use voxtra_core::{CallError, CallState, EventType, HangupCause};
use voxtra_plugins::Outcome;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_plain_call_goes_through_with_its_events_in_order() {
    let notes = Notes::default();
    let seen = notes.clone();
    let kit = Kit::new([TestHandler::default(move |call| {
        let seen = seen.clone();
        async move {
            seen.add((call.state(), call.duration_ms()));
            call.answer().await.unwrap();
            seen.add(call.play(sounds(&["hello", "world"]), String::new()).await);
            seen.add((call.state(), call.duration_ms()));
            Outcome::Returned
        }
    })]);
    let leg = kit.call_with(leg_with_prompts_of(2 * SECOND), "c1");
    kit.host.idle().await;
    assert_eq!(notes.all(), ["(Ringing, 0)", "Ok(Finished)", "(InProgress, 2000)"]);
    let wanted = [LegVerb::Answer, LegVerb::Play(sounds(&["hello", "world"])), LegVerb::End(HangupCause::Normal)];
    assert_eq!(leg.verbs(), wanted);
    use EventType::*;
    assert_eq!(kit.kinds("c1"), [CallStarted, SessionCreated, CallRinging, CallAnswered, CallEnded, SessionDestroyed]);
    assert_eq!(kit.end_reason(), "handler-returned");
    assert_eq!(kit.said(CallEnded, "duration_ms"), "2000");
    assert_eq!(kit.said(CallStarted, "caller_id"), "100");
    assert_eq!(kit.said(CallStarted, "called_number"), "200");
    assert_eq!(kit.said(CallStarted, "direction"), "inbound");
    let stats = kit.host.stats();
    assert_eq!((stats.started, stats.ended, stats.lost, stats.refused), (1, 1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn events_carry_the_time_of_the_virtual_clock() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        sleep(3 * SECOND).await;
        call.answer().await.unwrap();
        Outcome::Returned
    })]);
    kit.call("c1");
    kit.host.idle().await;
    let events = kit.sink.events();
    let at = |kind| events.iter().find(|e| e.kind == kind).unwrap().timestamp;
    let rang = at(EventType::CallAnswered).duration_since(at(EventType::CallStarted)).unwrap();
    assert_eq!(rang.as_secs(), 3);
    let mut ids: Vec<_> = events.iter().map(|e| e.id.clone()).collect();
    assert!(ids.iter().all(|id| id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit())));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), events.len());
}

#[tokio::test(start_paused = true)]
async fn a_key_interrupts_a_prompt_and_stays_to_be_taken() {
    let notes = Notes::default();
    let seen = notes.clone();
    let kit = Kit::new([TestHandler::default(move |call| {
        let seen = seen.clone();
        async move {
            seen.add(call.play(sounds(&["menu"]), "12".into()).await);
            seen.add(call.gather(keys::listen(1, SECOND)).await.map(|d| d.digits));
            Outcome::Returned
        }
    })]);
    let leg = kit.call_with(leg_with_prompts_of(60 * SECOND), "c1");
    sleep(SECOND).await;
    press(&leg, "9");
    settle().await;
    assert_eq!(leg.count(|v| *v == LegVerb::StopPlayback), 0);
    press(&leg, "2");
    kit.host.idle().await;
    assert_eq!(notes.all(), [format!("{:?}", Ok::<_, CallError>(PlayOutcome::Interrupted('2'))), "Ok(\"9\")".into()]);
    assert_eq!(leg.count(|v| *v == LegVerb::StopPlayback), 1);
    let kinds = kit.kinds("c1");
    let barge_in = kinds.iter().position(|k| *k == EventType::BargeIn).unwrap();
    assert_eq!(kinds[barge_in - 1], EventType::DtmfReceived);
    assert_eq!(kit.said(EventType::BargeIn, "digit"), "2");
    assert_eq!(kit.said(EventType::DtmfReceived, "duration_ms"), "100");
}

#[tokio::test(start_paused = true)]
async fn an_old_key_stops_no_prompt() {
    let notes = Notes::default();
    let seen = notes.clone();
    let kit = Kit::new([TestHandler::default(move |call| {
        let seen = seen.clone();
        async move {
            sleep(SECOND).await;
            seen.add(call.play(sounds(&["menu"]), "1".into()).await);
            Outcome::Returned
        }
    })]);
    let leg = kit.call_with(leg_with_prompts_of(SECOND), "c1");
    press(&leg, "1");
    kit.host.idle().await;
    assert_eq!(notes.all(), ["Ok(Finished)"]);
}

#[tokio::test(start_paused = true)]
async fn a_key_before_the_leg_has_begun_to_play_stops_the_prompt_too() {
    let notes = Notes::default();
    let seen = notes.clone();
    let kit = Kit::new([TestHandler::default(move |call| {
        let seen = seen.clone();
        async move {
            seen.add(call.play(sounds(&["menu"]), "1".into()).await);
            Outcome::Returned
        }
    })]);
    let leg = FakeLeg::new();
    let weak = Arc::downgrade(&leg);
    // The key is there before the leg's `play` has returned.
    leg.on_play(move |_: &PlaybackId, _: &[String]| press(&weak.upgrade().unwrap(), "1"));
    kit.call_with(Arc::clone(&leg), "c1");
    kit.host.idle().await;
    assert_eq!(notes.all(), ["Ok(Interrupted('1'))"]);
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_fails_is_an_error_of_its_verb() {
    let notes = Notes::default();
    let seen = notes.clone();
    let kit = Kit::new([TestHandler::default(move |call| {
        let seen = seen.clone();
        async move {
            seen.add(call.play(sounds(&["one"]), String::new()).await.map_err(|e| e.kind()));
            seen.add(call.play(sounds(&["two"]), String::new()).await.map_err(|e| e.to_string()));
            let gather = Gather { prompt: sounds(&["three"]), ..keys::listen(1, SECOND) };
            seen.add(call.gather(gather).await.map_err(|e| e.to_string()));
            Outcome::Returned
        }
    })]);
    let leg = kit.call("c1");
    settle().await;
    leg.finish_prompt(Err("no such file".into()));
    settle().await;
    leg.set_fate(VerbKind::Play, Fate::Fails(CallError::LimitExceeded("too many".into())));
    leg.finish_prompt(Ok(()));
    kit.host.idle().await;
    assert_eq!(notes.all(), ["Err(\"telephony\")", "Ok(Finished)", "Err(\"too many\")"]);
}

#[tokio::test(start_paused = true)]
async fn a_verb_that_is_not_waited_for_any_more_stops() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        let play = call.play(sounds(&["long"]), String::new());
        let gather = call.gather(Gather { prompt: sounds(&["also"]), ..keys::listen(1, 100 * SECOND) });
        let _ = tokio::time::timeout(SECOND, async { tokio::join!(play, gather) }).await;
        sleep(SECOND).await;
        Outcome::Returned
    })]);
    let leg = kit.call("c1");
    sleep(SECOND / 2).await;
    assert_eq!(leg.count(|v| *v == LegVerb::StopPlayback), 0);
    sleep(SECOND).await;
    assert_eq!(leg.count(|v| *v == LegVerb::StopPlayback), 2);
    kit.host.idle().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_never_reaches_the_leg() {
    let notes = Notes::default();
    let seen = notes.clone();
    let kit = Kit::new([TestHandler::default(move |call| {
        let seen = seen.clone();
        async move {
            seen.add(call.play(vec!["http://evil".into()], String::new()).await.unwrap_err().kind());
            seen.add(call.play(sounds(&["a"]), "x".into()).await.unwrap_err().kind());
            seen.add(call.send_dtmf("12p".into()).await.unwrap_err().kind());
            seen.add(call.open_audio(11_025).await.unwrap_err().kind());
            seen.add(call.gather(keys::listen(65, SECOND)).await.unwrap_err().kind());
            call.send_dtmf("1w#a".into()).await.unwrap();
            Outcome::Returned
        }
    })]);
    let leg = kit.call("c1");
    kit.host.idle().await;
    assert_eq!(notes.all(), vec!["\"invalid-argument\""; 5]);
    assert_eq!(leg.verbs(), [LegVerb::SendDtmf("1w#A".into()), LegVerb::End(HangupCause::Normal)]);
}

#[tokio::test(start_paused = true)]
async fn verbs_that_overlap_all_come_to_an_end() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        let gather = || call.gather(keys::listen(1, 10 * SECOND));
        let play = || call.play(sounds(&["a"]), "12".into());
        let (a, b, c, d, e) = tokio::join!(gather(), play(), gather(), play(), call.answer());
        assert_eq!((a.unwrap().digits.as_str(), c.unwrap().digits.as_str()), ("1", "2"));
        assert_eq!((b, d), (Ok(PlayOutcome::Interrupted('1')), Ok(PlayOutcome::Interrupted('1'))));
        e.unwrap();
        let mut many = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let call = Arc::clone(&call);
            many.spawn(async move { call.play(sounds(&["a"]), String::new()).await.map_err(|e| e.kind()) });
        }
        let outcomes = many.join_all().await;
        assert_eq!(outcomes.iter().filter(|o| **o == Err("limit-exceeded")).count(), 8);
        Outcome::Returned
    })]);
    let leg = kit.call_with(leg_with_prompts_of(5 * SECOND), "c1");
    sleep(SECOND).await;
    press(&leg, "12");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
}

#[tokio::test(start_paused = true)]
async fn events_wait_for_the_handler_in_order_and_end_with_the_end() {
    let notes = Notes::default();
    let seen = notes.clone();
    let kit = Kit::new([TestHandler::default(move |call| {
        let seen = seen.clone();
        async move {
            seen.add(call.next_event(Duration::ZERO).await);
            call.answer().await.unwrap();
            sleep(2 * SECOND).await;
            loop {
                let event = call.next_event(60 * SECOND).await;
                if event == Err(CallError::HungUp) {
                    return Outcome::Returned;
                }
                seen.add(match event.unwrap() {
                    HandlerEvent::Dtmf(key) => key.digit.to_string(),
                    other => format!("{other:?}"),
                });
            }
        }
    })]);
    let leg = kit.call("c1");
    sleep(SECOND).await;
    press(&leg, "1d");
    hang_up(&leg);
    kit.host.idle().await;
    assert_eq!(notes.all(), ["Err(Timeout)", "\"Answered\"", "\"1\"", "\"D\"", "\"Ended(CallerHungUp)\""]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_comes_in_answered_is_answered() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        assert_eq!(call.state(), CallState::InProgress);
        sleep(SECOND).await;
        call.answer().await.unwrap();
        assert_eq!(call.duration_ms(), 1_000);
        Outcome::Returned
    })]);
    let leg = FakeLeg::new();
    let mut new = leg.incoming("c1");
    new.answered = true;
    leg.connect(kit.host.incoming(new).unwrap());
    kit.host.idle().await;
    assert_eq!(leg.verbs(), [LegVerb::End(HangupCause::Normal)]);
    assert_eq!(kit.end_reason(), "handler-returned");
    assert!(!kit.kinds("c1").contains(&EventType::CallRinging));
}
