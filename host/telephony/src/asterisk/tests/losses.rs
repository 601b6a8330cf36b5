//! The connection to the PBX goes, and comes back.

use super::*;

async fn reconnected(scene: &Scene) {
    scene.until(|s| s.pbx().has_events_connection()).await;
}

#[tokio::test]
async fn a_call_survives_a_blip_and_one_that_is_gone_ends() {
    let scene = Scene::start().await;
    let (_stays, staying) = scene.call("1.1").await;
    let (_goes, going) = scene.call("1.2").await;
    scene.pbx().forget("1.2");
    scene.pbx().cut_events(false);
    reconnected(&scene).await;
    scene.until(|_| !going.ends().is_empty()).await;
    let ends = going.ends();
    assert!(matches!(&ends[..], [LegEnd::Failed(why)] if why.starts_with("the PBX ")), "{ends:?}");
    assert!(staying.events().is_empty());
    staying_call_still_works(&scene).await;
}

async fn staying_call_still_works(scene: &Scene) {
    let (leg, diary) = scene.leg("1.1");
    leg.leg.answer().await.unwrap();
    scene.until(|_| diary.events() == [LegEvent::Answered]).await;
}

#[tokio::test]
async fn what_happened_during_a_blip_is_found_out() {
    let scene = Scene::start().await;
    scene.pbx().keep_playing();
    let (leg, diary) = scene.call("1.1").await;
    leg.leg.play(&"p".into(), &["sound:a".to_owned()]).await.unwrap();
    scene.pbx().cut_events(true);
    scene.pbx().add_channel("1.1", "Up");
    scene.pbx().lose_playbacks();
    scene.pbx().cut_events(false);
    scene.until(|_| diary.events().len() == 2).await;
    let expected = [LegEvent::Answered, LegEvent::PlaybackFinished { id: "p".into(), outcome: Ok(()) }];
    assert_eq!(diary.events(), expected);
}

#[tokio::test]
async fn what_nobody_knows_is_taken_down_at_the_pbx_and_nothing_else() {
    let own = super::super::names::Names::of_app(APP);
    let others = super::super::names::Names::of_app("beta");
    let (ours, theirs, bridge, their_bridge) =
        (own.new_media(), others.new_media(), own.new_bridge(), others.new_bridge());
    let (left, foreign) = (theirs.clone(), their_bridge.clone());
    let scene = Scene::prepared(
        |pbx| {
            for id in [&ours, &theirs, "0.1"] {
                pbx.add_channel(id, "Up");
            }
            pbx.add_bridge(&bridge);
            pbx.add_bridge(&their_bridge);
        },
        |_| {},
    )
    .await;
    scene.until(|s| s.pbx().channels() == [left.clone()] && s.pbx().bridges() == [foreign.clone()]).await;
    assert_eq!(scene.adapter.stats().orphans, 3);
    assert!(scene.desk.legs.lock().unwrap().is_empty());
}

#[tokio::test]
async fn unknown_calls_are_left_alone_when_the_operator_wants_so() {
    let leave = |o: &mut AsteriskOptions| o.unknown_calls = crate::asterisk::UnknownCalls::Leave;
    let scene = Scene::prepared(|pbx| pbx.add_channel("0.1", "Up"), leave).await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(scene.pbx().channels(), ["0.1"]);
}

#[tokio::test]
async fn a_call_that_comes_while_everything_is_compared_is_not_hung_up() {
    let scene = Scene::start_with(|o| o.limits.unknown_grace = Duration::from_secs(1)).await;
    scene.pbx().add_channel("1.1", "Ring");
    scene.pbx().cut_events(false);
    reconnected(&scene).await;
    scene.until(|s| s.pbx().seen_count("GET /ari/channels") >= 2).await;
    let (_leg, diary) = scene.call("1.1").await;
    sleep(Duration::from_millis(1_500)).await;
    assert!(diary.ends().is_empty());
    assert_eq!(scene.pbx().channels(), ["1.1"]);
}

#[tokio::test]
async fn calls_end_when_the_pbx_does_not_come_back() {
    let scene = Scene::start_with(|o| o.limits.pbx_lost_after = Duration::from_secs(1)).await;
    let (_leg, diary) = scene.call("1.1").await;
    scene.pbx().cut_events(true);
    sleep(Duration::from_millis(100)).await;
    assert!(diary.ends().is_empty(), "not at once");
    scene.until(|_| matches!(diary.ends()[..], [LegEnd::Failed(_)])).await;
    scene.pbx().cut_events(false);
    reconnected(&scene).await;
    scene.call("1.2").await;
    // The call whose channel is still there is nobody's now.
    scene.until(|s| s.pbx().channels() == ["1.2"]).await;
    assert_eq!(diary.ends().len(), 1);
}

#[tokio::test]
async fn an_event_that_was_lost_is_made_up_for_at_the_next_comparison() {
    let scene = Scene::start_with(|o| o.limits.reconcile_every = Duration::from_millis(100)).await;
    let (_leg, diary) = scene.call("1.1").await;
    scene.pbx().forget("1.1");
    scene.until(|_| matches!(diary.ends()[..], [LegEnd::Failed(_)])).await;
}
