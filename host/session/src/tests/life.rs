//! Draining a host.

use std::future::pending;

use tokio::time::{Instant, sleep};
use voxtra_core::fake::{Fate, LegVerb, VerbKind};
use voxtra_core::{CallError, EventType, HangupCause};
use voxtra_plugins::Outcome;

use super::*;

fn talks_for(seconds: u32) -> TestHandler {
    TestHandler::default(move |call| async move {
        call.answer().await.unwrap();
        let _ = tokio::time::timeout(seconds * SECOND, call.gather(keys::listen(1, 999 * SECOND))).await;
        Outcome::Returned
    })
}

#[tokio::test(start_paused = true)]
async fn a_drain_takes_no_calls_and_drops_none() {
    let kit = Kit::new([talks_for(20)]);
    (0..100).for_each(|n| drop(kit.call(&format!("c{n}"))));
    sleep(SECOND).await;
    let began = Instant::now();
    let late = async {
        sleep(SECOND).await;
        let refusal = kit.host.incoming(FakeLeg::new().incoming("late")).err().unwrap();
        assert!(refusal.cause == HangupCause::Congestion && refusal.reason.contains("draining"), "{refusal}");
    };
    let (cut, ()) = tokio::join!(kit.host.drain(60 * SECOND, sounds(&["bye"])), late);
    assert_eq!((cut, began.elapsed().as_secs()), (0, 19));
    (0..100).for_each(|n| kit.assert_ended_once(&format!("c{n}")));
    assert_eq!(kit.end_reason(), "handler-returned");
}

#[tokio::test(start_paused = true)]
async fn who_is_still_there_hears_a_prompt_and_is_let_go() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        call.answer().await.unwrap();
        let played = call.play(sounds(&["music"]), String::new()).await;
        assert_eq!(played, Ok(voxtra_core::verbs::PlayOutcome::Stopped));
        assert_eq!(call.play(sounds(&["more"]), String::new()).await, Err(CallError::HungUp));
        Outcome::Returned
    })]);
    let leg = kit.call_with(leg_with_prompts_of(100 * SECOND), "c1");
    let bye = Arc::downgrade(&leg);
    sleep(SECOND).await;
    leg.on_play(move |id: &PlaybackId, _: &[String]| {
        let (leg, id) = (bye.clone(), id.clone());
        tokio::spawn(async move {
            sleep(3 * SECOND).await;
            leg.upgrade().iter().for_each(|leg| leg.finish(&id));
        });
    });
    let began = Instant::now();
    assert_eq!(kit.host.drain(10 * SECOND, sounds(&["bye"])).await, 1);
    assert_eq!(began.elapsed().as_secs(), 13);
    assert_eq!(kit.end_reason(), "host-stopping");
    assert_eq!(leg.count(|v| *v == LegVerb::Play(sounds(&["bye"]))), 1);
    assert_eq!(leg.count(|v| matches!(v, LegVerb::End(_))), 1);
    assert_eq!(kit.host.stats().handler_failures, 0);
    assert_eq!(kit.host.shutdown(SECOND).await, 0);
    kit.assert_ended_once("c1");
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_whatever_hangs() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        if call.info().id.as_str() != "rings" {
            call.answer().await.unwrap();
        }
        pending().await
    })]);
    let stuck = FakeLeg::new();
    stuck.set_fate(VerbKind::Play, Fate::Hangs);
    kit.call_with(Arc::clone(&stuck), "stuck");
    let rings = kit.call("rings");
    sleep(SECOND).await;
    let began = Instant::now();
    assert_eq!(kit.host.drain(SECOND, sounds(&["bye"])).await, 2);
    assert_eq!(began.elapsed().as_secs(), 1 + 15 + 5);
    // A prompt is for who has an answered call.
    assert_eq!(rings.verbs(), [LegVerb::End(HangupCause::Normal)]);
    for id in ["stuck", "rings"] {
        kit.assert_ended_once(id);
    }
    assert_eq!(kit.host.stats().handlers_cut_off, 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_prompt_calls_end_at_once_and_a_second_drain_changes_nothing() {
    let kit = Kit::new([talks_for(999)]);
    kit.call("c1");
    sleep(SECOND).await;
    let began = Instant::now();
    let both = tokio::join!(kit.host.drain(2 * SECOND, Vec::new()), kit.host.drain(2 * SECOND, Vec::new()));
    assert_eq!((both, began.elapsed().as_secs()), ((1, 1), 2));
    assert_eq!(kit.kinds("c1").iter().filter(|k| **k == EventType::CallEnded).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_live_call_may_still_place_calls_while_the_host_drains() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        sleep(5 * SECOND).await;
        call.originate(placing::to("91")).await.unwrap();
        Outcome::Returned
    })])
    .may_dial();
    kit.call("c1");
    sleep(SECOND).await;
    assert_eq!(kit.host.drain(60 * SECOND, Vec::new()).await, 0);
    assert_eq!((kit.end_reason().as_str(), kit.exchange.placed().len()), ("handler-returned", 1));
}
