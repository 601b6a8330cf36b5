//! Prompts that play beside what the handler does.

use tokio::time::{Instant, sleep};
use voxtra_core::CallError;
use voxtra_core::fake::{Fate, LegVerb, VerbKind};
use voxtra_core::verbs::{HandlerEvent, PlayOutcome};
use voxtra_plugins::Outcome;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_playback_goes_on_by_itself_and_its_end_is_an_event() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        let began = Instant::now();
        let id = call.start_playback(sounds(&["music"])).await.unwrap();
        assert!(began.elapsed() < SECOND);
        assert_eq!(call.wait_playback(id.clone(), SECOND).await, Err(CallError::Timeout));
        assert_eq!(call.wait_playback(id.clone(), 60 * SECOND).await, Ok(PlayOutcome::Finished));
        assert_eq!(began.elapsed().as_secs(), 5);
        // Late, and again.
        assert_eq!(call.wait_playback(id.clone(), SECOND).await, Ok(PlayOutcome::Finished));
        let event = call.next_event(SECOND).await.unwrap();
        assert_eq!(event, HandlerEvent::PlaybackFinished(id.clone(), Ok(PlayOutcome::Finished)));
        call.stop_playback(id).await.unwrap();
        Outcome::Returned
    })]);
    let leg = kit.call_with(leg_with_prompts_of(5 * SECOND), "c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
    assert_eq!(leg.count(|v| *v == LegVerb::StopPlayback), 0);
}

#[tokio::test(start_paused = true)]
async fn a_playback_that_is_stopped_twice_stops_once() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        let id = call.start_playback(sounds(&["music"])).await.unwrap();
        call.stop_playback(id.clone()).await.unwrap();
        call.stop_playback(id.clone()).await.unwrap();
        assert_eq!(call.wait_playback(id, SECOND).await, Ok(PlayOutcome::Stopped));
        Outcome::Returned
    })]);
    let leg = kit.call("c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
    assert_eq!(leg.count(|v| *v == LegVerb::StopPlayback), 1);
}

#[tokio::test(start_paused = true)]
async fn a_playback_that_cannot_begin_is_an_error_of_its_verb_and_no_event() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        assert_eq!(call.start_playback(sounds(&["gone"])).await.unwrap_err().kind(), "telephony");
        assert_eq!(call.next_event(SECOND).await, Err(CallError::Timeout));
        let unknown = call.wait_playback(PlaybackId::from("x"), SECOND).await;
        assert_eq!(unknown.unwrap_err().kind(), "invalid-argument");
        Outcome::Returned
    })]);
    let leg = FakeLeg::new();
    leg.set_fate(VerbKind::Play, Fate::Fails(CallError::Telephony("404".into())));
    kit.call_with(leg, "c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
}

#[tokio::test(start_paused = true)]
async fn only_so_many_ends_are_remembered() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        let mut ids = Vec::new();
        for _ in 0..40 {
            ids.push(call.start_playback(sounds(&["a"])).await.unwrap());
            sleep(2 * SECOND).await;
        }
        assert_eq!(call.wait_playback(ids[0].clone(), SECOND).await.unwrap_err().kind(), "invalid-argument");
        assert_eq!(call.wait_playback(ids[8].clone(), SECOND).await, Ok(PlayOutcome::Finished));
        Outcome::Returned
    })]);
    kit.call_with(leg_with_prompts_of(SECOND), "c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_playback_hears_that_the_call_is_over() {
    let wait = |call: SharedCall| async move {
        let id = call.start_playback(sounds(&["a"])).await.unwrap();
        format!("{:?}", call.wait_playback(id, 99 * SECOND).await)
    };
    assert_eq!(ending::left_while(wait).await, "\"Err(HungUp)\"");
}
