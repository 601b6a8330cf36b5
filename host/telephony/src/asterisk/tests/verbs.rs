//! Legs that the host places, and the verbs that need more than one request.

use super::fake::event_of;
use super::*;
use voxtra_core::telephony::{PbxRecording, PlacedLeg};
use voxtra_core::verbs::{AnsweredBy, Sides, SnoopOptions};
use voxtra_core::{CallError, CallId, Leg, RecordingId};

fn placed(id: &str) -> PlacedLeg {
    PlacedLeg {
        id: CallId::from(id),
        endpoint: "Local/100@out".to_owned(),
        caller_id: "4711".to_owned(),
        ring_timeout: Duration::from_secs(30),
        variables: vec![("TOPIC".to_owned(), "a=b,c".to_owned())],
        into_dialplan: None,
    }
}

async fn place(scene: &Scene, leg: &PlacedLeg) -> Result<(Arc<dyn Leg>, Arc<Diary>), CallError> {
    let diary = Arc::new(Diary::default());
    let exchange = scene.adapter.exchange(APP).unwrap();
    Ok((exchange.originate(leg, Arc::clone(&diary) as Arc<dyn LegEvents>).await?, diary))
}

#[tokio::test]
async fn a_placed_leg_is_never_a_new_call_and_its_variables_are_in_the_body() {
    let scene = Scene::start().await;
    let (leg, diary) = place(&scene, &placed("out-1")).await.unwrap();
    let body = scene.pbx().bodies().pop().unwrap();
    assert_eq!(body["variables"]["TOPIC"], "a=b,c");
    assert_eq!((body["appArgs"].as_str(), body["formats"].as_str()), (Some("voxtra-placed"), Some("slin")));
    scene.pbx().tell(&event_of("ChannelStateChange", "out-1", "Ringing"));
    scene.pbx().call_in_state("out-1", "Up");
    scene.until(|_| diary.events() == [LegEvent::Ringing, LegEvent::Answered]).await;
    assert!(scene.desk.legs.lock().unwrap().is_empty());
    leg.end(HangupCause::Normal).await.unwrap();
    drop(leg);
    scene.until_nothing_is_left().await;
}

#[tokio::test]
async fn a_placed_leg_that_rings_is_left_alone_when_everything_is_compared() {
    let scene = Scene::start_with(|o| o.limits.reconcile_every = Duration::from_millis(50)).await;
    let (_leg, diary) = place(&scene, &placed("out-1")).await.unwrap();
    scene.pbx().cut_events(false);
    scene.until(|s| s.pbx().seen_count("GET /ari/channels") >= 3).await;
    assert!(diary.events().is_empty(), "{:?}", diary.events());
}

#[tokio::test]
async fn why_nobody_answered_is_told_once() {
    for (cause, expected) in [(17, HangupCause::Busy), (19, HangupCause::NoAnswer), (34, HangupCause::Congestion)] {
        let scene = Scene::start().await;
        let (_leg, diary) = place(&scene, &placed("out-1")).await.unwrap();
        scene.pbx().not_answered("out-1", cause);
        scene.until(|_| !diary.ends().is_empty()).await;
        assert_eq!(diary.events(), [LegEvent::Ended(LegEnd::NotAnswered(expected))]);
    }
}

#[tokio::test]
async fn a_leg_rings_no_longer_than_it_may() {
    let scene = Scene::start().await;
    let leg = PlacedLeg { ring_timeout: Duration::from_millis(100), ..placed("out-1") };
    let (_leg, diary) = place(&scene, &leg).await.unwrap();
    scene.until(|_| diary.ends() == [LegEnd::NotAnswered(HangupCause::NoAnswer)]).await;
    scene.until(|s| s.pbx().channels().is_empty()).await;
}

#[tokio::test]
async fn a_placing_that_fails_or_is_dropped_leaves_nothing() {
    let scene = Scene::start().await;
    scene.pbx().fault("POST /ari/channels/out-1", 500);
    assert!(matches!(place(&scene, &placed("out-1")).await, Err(CallError::Telephony(_))));
    scene.pbx().no_faults();
    drop(timeout(Duration::ZERO, place(&scene, &placed("out-2"))).await);
    scene.until_nothing_is_left().await;
    // An id that is somebody else's is not hung up.
    scene.pbx().add_channel("out-3", "Up");
    assert!(matches!(place(&scene, &placed("out-3")).await, Err(CallError::Telephony(_))));
    sleep(Duration::from_millis(50)).await;
    assert_eq!(scene.pbx().channels(), ["out-3"]);
}

#[tokio::test]
async fn what_may_not_be_dialled_is_refused_before_anything_is_asked() {
    let scene = Scene::start().await;
    let before = scene.pbx().seen().len();
    for wrong in [
        PlacedLeg { endpoint: "100".into(), ..placed("x") },
        PlacedLeg { endpoint: "Local/a&Local/b".into(), ..placed("x") },
        PlacedLeg { caller_id: "1\r\nX: y".into(), ..placed("x") },
        PlacedLeg { variables: vec![("SHELL(id)".into(), "x".into())], ..placed("x") },
        PlacedLeg { variables: vec![("A".into(), "${EVIL}".into())], ..placed("x") },
        PlacedLeg { id: "a/b".into(), ..placed("x") },
    ] {
        assert!(matches!(place(&scene, &wrong).await, Err(CallError::InvalidArgument(_))), "{wrong:?}");
    }
    assert_eq!(scene.pbx().seen().len(), before);
}

#[tokio::test]
async fn a_legs_audio_goes_with_it_into_a_bridge_and_back() {
    let scene = Scene::start().await;
    let (call, _) = scene.call("1.1").await;
    let bridge = call.exchange.create_bridge().await.unwrap();
    assert!(matches!(bridge.add(&call.id).await, Err(CallError::Telephony(_))), "it is not answered");
    call.leg.answer().await.unwrap();
    let (_, diary) = scene.leg("1.1");
    scene.until(|_| diary.events() == [LegEvent::Answered]).await;
    call.leg.open_media(8_000).await.unwrap();
    let own = scene.pbx().bridges().into_iter().find(|id| *id != bridge.id().to_string()).unwrap();
    assert_eq!(scene.pbx().members(&own).len(), 2);
    bridge.add(&call.id).await.unwrap();
    assert_eq!((scene.pbx().members(bridge.id().as_str()).len(), scene.pbx().members(&own).len()), (2, 0));
    bridge.remove(&call.id).await.unwrap();
    assert_eq!((scene.pbx().members(bridge.id().as_str()).len(), scene.pbx().members(&own).len()), (0, 2));
    bridge.add(&call.id).await.unwrap();
    drop(bridge);
    scene.until(|s| s.pbx().bridges() == [own.clone()] && s.pbx().members(&own).len() == 2).await;
    call.leg.end(HangupCause::Normal).await.unwrap();
    scene.until_nothing_is_left().await;
}

#[tokio::test]
async fn a_recording_ends_before_its_leg_and_once() {
    let scene = Scene::start().await;
    let (call, diary) = scene.call("1.1").await;
    let recording = PbxRecording {
        id: RecordingId::from("r"),
        stored_name: "r".to_owned(),
        beep: false,
        max_duration: Duration::from_secs(60),
        max_silence: None,
    };
    let outside = PbxRecording { stored_name: "../r".to_owned(), ..recording.clone() };
    assert!(matches!(call.leg.start_recording(&outside).await, Err(CallError::InvalidArgument(_))));
    call.leg.start_recording(&recording).await.unwrap();
    call.leg.pause_recording(&recording.id, true).await.unwrap();
    scene.pbx().tell(&event_of("ChannelHangupRequest", "1.1", "Up"));
    scene.until(|_| !diary.ends().is_empty()).await;
    let events = diary.events();
    let [LegEvent::RecordingFinished { outcome: Ok(ms), .. }, LegEvent::Ended(LegEnd::HungUp)] = events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(ms / 1_000, 3);
    call.leg.end(HangupCause::Normal).await.unwrap();
    scene.until_nothing_is_left().await;
}

#[tokio::test]
async fn a_snoop_goes_when_it_is_dropped_and_when_its_leg_goes() {
    let scene = Scene::start().await;
    let (call, _) = scene.call("1.1").await;
    let both = SnoopOptions { spy: Sides::Both, whisper: Sides::Out };
    drop(call.leg.snoop(both).await.unwrap());
    scene.until(|s| s.pbx().channels() == ["1.1"]).await;
    let stays = call.leg.snoop(both).await.unwrap();
    assert_eq!(scene.pbx().channels().len(), 2);
    call.leg.end(HangupCause::Normal).await.unwrap();
    scene.until_nothing_is_left().await;
    stays.stop().await.unwrap();
}

#[tokio::test]
async fn a_leg_comes_back_from_the_machine_detection_as_the_same_one() {
    let scene = Scene::start_with(|o| {
        o.defaults.machine_detection_context = Some("amd".to_owned());
        o.limits.reconcile_every = Duration::from_millis(50);
    })
    .await;
    scene.pbx().call_in_state("1.1", "Up");
    scene.until(|s| s.desk.legs.lock().unwrap().len() == 1).await;
    let (call, diary) = scene.leg("1.1");
    let detecting = tokio::spawn({
        let leg = Arc::clone(&call.leg);
        async move { leg.detect_machine().await }
    });
    scene.until(|s| s.pbx().seen_count("/continue") == 1).await;
    sleep(Duration::from_millis(200)).await;
    scene.pbx().call_in_state("1.1", "Up");
    assert_eq!(detecting.await.unwrap(), Ok(AnsweredBy::Human));
    assert!(diary.events().is_empty(), "{:?}", diary.events());
    assert_eq!(scene.adapter.stats().accepted, 1);
}

#[tokio::test]
async fn calls_of_a_second_pbx_have_ids_of_their_own() {
    let scene = Scene::start_with(|o| o.name = "second".to_owned()).await;
    scene.pbx().call("1.1");
    scene.until(|s| s.desk.legs.lock().unwrap().len() == 1).await;
    let (call, _) = scene.leg("second:1.1");
    assert_eq!((call.id.as_str(), call.exchange.name()), ("second:1.1", "second"));
    assert!(call.exchange.has_leg(&call.id).await.unwrap());
    assert!(!call.exchange.has_leg(&"second:1.2".into()).await.unwrap());
}

#[tokio::test]
async fn a_refused_call_goes_on_in_the_dialplan_when_the_operator_wants_so() {
    let scene = Scene::start_with(|o| {
        o.defaults.refused_calls = crate::asterisk::RefusedCalls::ContinueInDialplan;
    })
    .await;
    *scene.desk.refuse.lock().unwrap() = Some(HangupCause::Congestion);
    scene.pbx().call("1.1");
    scene.until(|s| s.pbx().seen_count("/continue") == 1).await;
    assert_eq!(scene.pbx().bodies()[0]["value"], "congestion");
    sleep(Duration::from_millis(50)).await;
    assert_eq!((scene.pbx().channels(), scene.pbx().seen_count("DELETE")), (vec!["1.1".to_owned()], 0));
}

#[tokio::test]
async fn an_unknown_call_is_adopted_when_the_operator_wants_so() {
    let adopt = |o: &mut AsteriskOptions| o.unknown_calls = crate::asterisk::UnknownCalls::Adopt;
    let scene = Scene::prepared(|pbx| pbx.add_channel("0.1", "Up"), adopt).await;
    scene.until(|s| s.desk.legs.lock().unwrap().len() == 1).await;
    let (call, _) = scene.leg("0.1");
    assert!(call.answered);
    assert_eq!(scene.pbx().channels(), ["0.1"]);
}
