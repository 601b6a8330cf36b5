//! Open audio.

use tokio::time::sleep;
use voxtra_core::fake::{Fate, LegVerb, VerbKind};
use voxtra_core::{CallError, EventType, LegEvent};
use voxtra_plugins::Outcome;

use super::*;

#[tokio::test(start_paused = true)]
async fn audio_needs_an_answer_and_comes_once_at_a_time() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        assert_eq!(call.open_audio(8_000).await.unwrap_err().kind(), "invalid-argument");
        call.answer().await.unwrap();
        let link = call.open_audio(16_000).await.unwrap();
        assert_eq!(link.rate_hz, 16_000);
        assert_eq!(call.open_audio(8_000).await.unwrap_err().kind(), "limit-exceeded");
        call.close_audio();
        // The one before may still be closing.
        call.open_audio(8_000).await.unwrap();
        call.close_audio();
        call.close_audio();
        sleep(SECOND).await;
        Outcome::Returned
    })]);
    let leg = kit.call("c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
    let media: Vec<_> =
        leg.verbs().into_iter().filter(|v| matches!(v, LegVerb::OpenMedia(_) | LegVerb::CloseMedia)).collect();
    use LegVerb::{CloseMedia, OpenMedia};
    assert_eq!(media, [OpenMedia(16_000), CloseMedia, OpenMedia(8_000), CloseMedia]);
    let kinds: Vec<_> = kit.kinds("c1").into_iter().filter(|k| k.as_str().starts_with("media.")).collect();
    use EventType::{MediaStarted, MediaStopped};
    assert_eq!(kinds, [MediaStarted, MediaStopped, MediaStarted, MediaStopped]);
}

#[tokio::test(start_paused = true)]
async fn audio_that_could_not_be_opened_can_be_tried_again() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        call.answer().await.unwrap();
        for _ in 0..2 {
            assert_eq!(call.open_audio(8_000).await.unwrap_err().kind(), "telephony");
        }
        Outcome::Returned
    })]);
    let leg = FakeLeg::new();
    leg.set_fate(VerbKind::OpenMedia, Fate::Fails(CallError::Telephony("no".into())));
    kit.call_with(leg, "c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
}

#[tokio::test(start_paused = true)]
async fn losing_the_audio_ends_the_call_and_losing_none_does_not() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        call.answer().await.unwrap();
        sleep(SECOND).await;
        call.open_audio(8_000).await.unwrap();
        sleep(100 * SECOND).await;
        Outcome::Returned
    })]);
    let leg = kit.call("c1");
    settle().await;
    leg.deliver(LegEvent::MediaLost);
    settle().await;
    assert_eq!(kit.host.calls().len(), 1);
    sleep(2 * SECOND).await;
    leg.deliver(LegEvent::MediaLost);
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "media-lost");
    let kinds = kit.kinds("c1");
    assert!(kinds.contains(&EventType::MediaStopped) && kinds.contains(&EventType::CallFailed), "{kinds:?}");
    kit.assert_ended_once("c1");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_leaves_because_its_audio_broke_did_not_end_the_call() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        call.answer().await.unwrap();
        let link = call.open_audio(8_000).await.unwrap();
        assert!(std::future::poll_fn(|cx| link.source.poll_frame(cx)).await.is_none());
        call.close_audio();
        Outcome::Returned
    })]);
    let leg = kit.call("c1");
    settle().await;
    leg.audio().unwrap().close();
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "media-lost");
    kit.assert_ended_once("c1");
}

#[tokio::test(start_paused = true)]
async fn a_leg_that_never_opens_audio_does_not_hold_the_handler_for_ever() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        call.answer().await.unwrap();
        assert_eq!(call.open_audio(8_000).await.unwrap_err().kind(), "telephony");
        Outcome::Returned
    })]);
    let leg = FakeLeg::new();
    leg.set_fate(VerbKind::OpenMedia, Fate::Hangs);
    kit.call_with(leg, "c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
}
