//! Calls that come, and what is done to them.

use super::fake::event_of;
use super::*;
use serde_json::json;
use voxtra_core::verbs::Dtmf;
use voxtra_core::{CallError, PlaybackId};

#[tokio::test]
async fn a_call_is_offered_with_what_is_known_of_it() {
    let scene = Scene::start().await;
    let (leg, _) = scene.call("1.1").await;
    assert_eq!((leg.app.as_str(), leg.caller_id.as_str(), leg.called_number.as_str()), (APP, "1001", "100"));
    assert!(!leg.answered);
}

#[tokio::test]
async fn a_media_leg_that_nobody_waits_for_is_hung_up_and_never_a_call() {
    let scene = Scene::start().await;
    let id = scene.adapter.app(0).names.new_media();
    scene.pbx().call(&id);
    scene.until(|s| s.pbx().seen_count(&format!("DELETE /ari/channels/{id}")) == 1).await;
    assert!(scene.desk.legs.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_refused_leg_is_hung_up_with_its_cause() {
    let scene = Scene::start().await;
    *scene.desk.refuse.lock().unwrap() = Some(HangupCause::Busy);
    scene.pbx().call("1.1");
    scene.until(|s| s.pbx().seen_count("DELETE /ari/channels/1.1?reason=busy") == 1).await;
    scene.until_nothing_is_left().await;
    assert_eq!((scene.adapter.stats().refused, scene.adapter.stats().legs), (1, 0));
}

#[tokio::test]
async fn a_call_more_than_there_may_be_is_turned_away_as_congestion() {
    let scene = Scene::start_with(|o| o.max_legs = 1).await;
    let (leg, _) = scene.call("1.1").await;
    scene.pbx().call("1.2");
    scene.until(|s| s.pbx().seen_count("DELETE /ari/channels/1.2?reason=congestion") == 1).await;
    assert_eq!(scene.adapter.stats().refused_full, 1);
    leg.leg.end(HangupCause::Normal).await.unwrap();
    drop(leg);
    scene.desk.legs.lock().unwrap().clear();
    scene.until(|s| s.adapter.stats().legs == 0).await;
    scene.call("1.3").await;
}

#[tokio::test]
async fn answering_twice_asks_once_and_is_told_once() {
    let scene = Scene::start().await;
    let (leg, diary) = scene.call("1.1").await;
    leg.leg.answer().await.unwrap();
    scene.until(|_| diary.events() == [LegEvent::Answered]).await;
    leg.leg.answer().await.unwrap();
    scene.pbx().tell(&event_of("ChannelStateChange", "1.1", "Up"));
    sleep(Duration::from_millis(50)).await;
    assert_eq!((diary.events().len(), scene.pbx().seen_count("/answer")), (1, 1));
}

#[tokio::test]
async fn keys_come_in_order_and_what_is_no_key_does_not() {
    let scene = Scene::start().await;
    let (_leg, diary) = scene.call("1.1").await;
    for (digit, duration_ms) in [("1", 80), ("#", -5), ("5x", 1), ("", 1), ("d", 7)] {
        let mut event = event_of("ChannelDtmfReceived", "1.1", "Up");
        event["digit"] = json!(digit);
        event["duration_ms"] = json!(duration_ms);
        scene.pbx().tell(&event);
    }
    scene.until(|_| diary.events().len() == 3).await;
    let key = |digit, duration_ms| LegEvent::Dtmf(Dtmf { digit, duration_ms });
    assert_eq!(diary.events(), [key('1', 80), key('#', 0), key('D', 7)]);
}

#[tokio::test]
async fn prompts_are_played_one_by_one_and_finish_once() {
    let scene = Scene::start().await;
    let (leg, diary) = scene.call("1.1").await;
    let id = PlaybackId::from("p");
    leg.leg.play(&id, &["sound:a".to_owned(), "sound:b".to_owned()]).await.unwrap();
    scene.until(|_| diary.events() == [LegEvent::PlaybackFinished { id: id.clone(), outcome: Ok(()) }]).await;
    assert_eq!(scene.pbx().seen_count("/play/"), 2);
}

#[tokio::test]
async fn a_prompt_that_cannot_be_played_is_named() {
    let scene = Scene::start().await;
    let (leg, diary) = scene.call("1.1").await;
    let media = ["sound:broken".to_owned(), "sound:b".to_owned()];
    leg.leg.play(&"p".into(), &media).await.unwrap();
    scene.until(|_| !diary.events().is_empty()).await;
    let events = diary.events();
    let [LegEvent::PlaybackFinished { outcome: Err(why), .. }] = &events[..] else { panic!("{events:?}") };
    assert!(why.contains("sound:broken"), "{why}");
    assert_eq!(scene.pbx().seen_count("/play/"), 1);
}

#[tokio::test]
async fn a_stopped_prompt_finishes() {
    let scene = Scene::start().await;
    scene.pbx().keep_playing();
    let (leg, diary) = scene.call("1.1").await;
    let (first, second) = (PlaybackId::from("p"), PlaybackId::from("q"));
    leg.leg.play(&first, &["sound:a".to_owned()]).await.unwrap();
    leg.leg.play(&second, &["sound:b".to_owned()]).await.unwrap();
    leg.leg.stop_playback(&first).await.unwrap();
    scene.until(|_| diary.events() == [LegEvent::PlaybackFinished { id: first.clone(), outcome: Ok(()) }]).await;
    scene.until(|s| s.pbx().seen_count("/play/") == 2).await;
    leg.leg.stop_playback(&second).await.unwrap();
    scene.until(|_| diary.events().len() == 2).await;
    leg.leg.stop_playback(&second).await.unwrap();
}

#[tokio::test]
async fn a_prompt_whose_end_is_never_told_finishes_all_the_same() {
    let scene = Scene::start_with(|o| o.limits.playback_check = Duration::from_millis(30)).await;
    scene.pbx().keep_playing();
    let (leg, diary) = scene.call("1.1").await;
    leg.leg.play(&"p".into(), &["sound:a".to_owned()]).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    assert!(diary.events().is_empty());
    scene.pbx().lose_playbacks();
    scene.until(|_| diary.events().len() == 1).await;
}

#[tokio::test]
async fn what_the_pbx_refuses_is_a_sentence() {
    let scene = Scene::start().await;
    let (leg, _) = scene.call("1.1").await;
    for status in [409, 422, 500, 503] {
        scene.pbx().no_faults();
        scene.pbx().fault("POST /ari/channels/1.1/", status);
        for outcome in [
            leg.leg.answer().await,
            leg.leg.play(&"p".into(), &["sound:a".to_owned()]).await,
            leg.leg.send_dtmf("1").await,
            leg.leg.transfer("200").await,
        ] {
            let Err(CallError::Telephony(why)) = outcome else { panic!("{status}: {outcome:?}") };
            assert!(why.contains("as the test wants it") && why.len() < 300, "{why}");
        }
    }
}

#[tokio::test]
async fn a_verb_on_a_channel_that_is_gone_says_that_the_call_is_over() {
    let scene = Scene::start().await;
    let (leg, _) = scene.call("1.1").await;
    scene.pbx().forget("1.1");
    assert_eq!(leg.leg.answer().await, Err(CallError::HungUp));
    assert_eq!(leg.leg.send_dtmf("1").await, Err(CallError::HungUp));
    assert_eq!(leg.leg.play(&"p".into(), &["sound:a".to_owned()]).await, Err(CallError::HungUp));
}

#[tokio::test]
async fn a_refusal_that_a_hang_up_explains_is_that_hang_up() {
    let scene = Scene::start().await;
    let (leg, _) = scene.call("1.1").await;
    scene.pbx().fault("/dtmf", 409);
    let pbx = Arc::clone(&scene.fake.pbx);
    tokio::spawn(async move {
        sleep(Duration::from_millis(50)).await;
        pbx.tell(&event_of("ChannelHangupRequest", "1.1", "Up"));
    });
    assert_eq!(leg.leg.send_dtmf("1").await, Err(CallError::HungUp));
}

#[tokio::test]
async fn bad_arguments_are_refused_before_anything_is_asked() {
    let scene = Scene::start().await;
    let (leg, _) = scene.call("1.1").await;
    let before = scene.pbx().seen().len();
    assert!(matches!(leg.leg.send_dtmf("1x").await, Err(CallError::InvalidArgument(_))));
    assert!(matches!(leg.leg.play(&"p".into(), &["nosuch:a".to_owned()]).await, Err(CallError::InvalidArgument(_))));
    assert!(matches!(leg.leg.transfer("a b").await, Err(CallError::InvalidArgument(_))));
    assert!(matches!(leg.leg.transfer("SIP/100").await, Err(CallError::InvalidArgument(_))));
    assert!(matches!(leg.leg.open_media(44_100).await, Err(CallError::InvalidArgument(_))));
    assert_eq!(scene.pbx().seen().len(), before);
}

#[tokio::test]
async fn a_transferred_call_ends_as_that_and_is_not_hung_up() {
    let scene = Scene::start().await;
    let (leg, diary) = scene.call("1.1").await;
    leg.leg.transfer("200").await.unwrap();
    leg.leg.end(HangupCause::Normal).await.unwrap();
    scene.until(|_| !diary.ends().is_empty()).await;
    assert_eq!(diary.ends(), [LegEnd::Transferred]);
    assert_eq!((scene.pbx().channels(), scene.pbx().seen_count("DELETE")), (vec!["1.1".to_owned()], 0));
}

#[tokio::test]
async fn a_transfer_to_an_extension_that_does_not_exist_is_told_and_the_call_stays() {
    let scene = Scene::start().await;
    let (leg, diary) = scene.call("1.1").await;
    let Err(CallError::Telephony(why)) = leg.leg.transfer("nowhere").await else { panic!() };
    assert!(why.contains("nowhere") && why.contains("from-sip"), "{why}");
    leg.leg.answer().await.unwrap();
    assert!(diary.ends().is_empty());
}

#[tokio::test]
async fn a_redirected_call_ends_as_transferred_when_its_far_end_goes() {
    let scene = Scene::start().await;
    let (leg, diary) = scene.call("1.1").await;
    leg.leg.transfer("PJSIP/200").await.unwrap();
    scene.pbx().tell(&event_of("ChannelHangupRequest", "1.1", "Up"));
    scene.until(|_| diary.ends() == [LegEnd::Transferred]).await;
}

#[tokio::test]
async fn a_call_that_another_program_takes_ends_as_transferred_and_is_left_alone() {
    let scene = Scene::start().await;
    let (leg, diary) = scene.call("1.1").await;
    scene.pbx().tell(&event_of("StasisEnd", "1.1", "Up"));
    scene.until(|_| diary.ends() == [LegEnd::Transferred]).await;
    leg.leg.end(HangupCause::Normal).await.unwrap();
    assert_eq!(scene.pbx().channels(), ["1.1"]);
}
