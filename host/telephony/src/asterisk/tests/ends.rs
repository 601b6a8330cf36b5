//! Every way in which a leg ends: once.

use super::fake::event_of;
use super::*;
use futures_util::FutureExt;
use proptest::prelude::*;

/// What can end a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    HangupRequest,
    StasisEnd,
    Destroyed,
    MediaGone,
    WeEndIt,
    Reconnect,
}

const SIGNS: [Sign; 6] =
    [Sign::HangupRequest, Sign::StasisEnd, Sign::Destroyed, Sign::MediaGone, Sign::WeEndIt, Sign::Reconnect];

#[tokio::test]
async fn hanging_up_ends_the_leg_once_and_leaves_nothing() {
    let scene = Scene::start().await;
    let (leg, diary) = scene.call("1.1").await;
    leg.leg.end(HangupCause::Normal).await.unwrap();
    leg.leg.end(HangupCause::Busy).await.unwrap();
    scene.until(|_| diary.ends() == [LegEnd::HungUp]).await;
    scene.until_nothing_is_left().await;
    assert_eq!(scene.pbx().seen_count("DELETE /ari/channels/1.1"), 1);
}

#[tokio::test]
async fn a_channel_that_is_gone_already_is_no_error() {
    let scene = Scene::start().await;
    let (leg, diary) = scene.call("1.1").await;
    scene.pbx().forget("1.1");
    leg.leg.end(HangupCause::Normal).await.unwrap();
    scene.until(|_| diary.ends() == [LegEnd::HungUp]).await;
}

#[tokio::test]
async fn a_hang_up_that_fails_for_a_moment_is_tried_once_more() {
    let scene = Scene::start().await;
    let (leg, _) = scene.call("1.1").await;
    scene.pbx().fault("DELETE /ari/channels/1.1", 500);
    let pbx = Arc::clone(&scene.fake.pbx);
    tokio::spawn(async move {
        sleep(Duration::from_millis(100)).await;
        pbx.no_faults();
    });
    leg.leg.end(HangupCause::Normal).await.unwrap();
    assert!(scene.pbx().channels().is_empty());
}

#[tokio::test]
async fn a_pbx_that_refuses_to_hang_up_does_not_keep_the_leg() {
    let scene = Scene::start().await;
    let (leg, diary) = scene.call("1.1").await;
    scene.pbx().fault("DELETE /ari/channels/1.1", 500);
    let outcome = timeout(PATIENCE, leg.leg.end(HangupCause::Normal)).await.unwrap();
    assert!(matches!(outcome, Err(voxtra_core::CallError::Telephony(_))));
    scene.until(|_| diary.ends() == [LegEnd::HungUp]).await;
    assert_eq!(scene.adapter.app(0).registry.leg_count(), 0);
}

#[tokio::test]
async fn a_leg_that_its_owner_drops_is_hung_up() {
    let scene = Scene::start().await;
    let (leg, diary) = scene.call("1.1").await;
    drop(leg);
    scene.desk.legs.lock().unwrap().clear();
    scene.until(|_| diary.ends() == [LegEnd::HungUp]).await;
    scene.until_nothing_is_left().await;
    scene.until(|s| s.adapter.stats().legs == 0).await;
}

#[tokio::test]
async fn ending_goes_on_when_nobody_waits_for_it() {
    let scene = Scene::start().await;
    let (leg, _diary) = scene.call("1.1").await;
    leg.leg.open_media(8_000).await.unwrap();
    // Begun, and dropped before it could have got anywhere.
    assert!(leg.leg.end(HangupCause::Normal).now_or_never().is_none());
    scene.until_nothing_is_left().await;
}

#[tokio::test]
async fn stopping_ends_every_call_that_is_left() {
    let mut scene = Scene::start().await;
    let (leg, diary) = scene.call("1.1").await;
    drop(leg);
    scene.stop.take().unwrap().send(()).unwrap();
    scene.until(|_| matches!(diary.ends()[..], [LegEnd::Failed(_)])).await;
    // As a session does when its call is over.
    scene.desk.legs.lock().unwrap().clear();
    scene.until(|s| s.running.is_finished()).await;
    assert!(scene.pbx().channels().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_ends_a_leg_in_whatever_order_it_ends_once_and_leaves_nothing(
        signs in Just(SIGNS.to_vec()).prop_shuffle(),
        how_many in 1..=SIGNS.len(),
        with_media in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let scene = Scene::start().await;
            let (leg, diary) = scene.call("1.1").await;
            if with_media {
                leg.leg.open_media(8_000).await.unwrap();
            }
            for sign in signs.into_iter().take(how_many) {
                give(&scene, &leg, sign).await;
            }
            leg.leg.end(HangupCause::Normal).await.unwrap();
            scene.until(|_| !diary.ends().is_empty()).await;
            scene.pbx().forget("1.1");
            scene.until_nothing_is_left().await;
            sleep(Duration::from_millis(20)).await;
            assert_eq!(diary.ends().len(), 1, "{:?}", diary.events());
            assert!(matches!(diary.events().last(), Some(LegEvent::Ended(_))), "{:?}", diary.events());
            let lost = diary.events().iter().filter(|e| **e == LegEvent::MediaLost).count();
            assert!(lost <= 1);
        });
    }
}

async fn give(scene: &Scene, leg: &NewLeg, sign: Sign) {
    let pbx = scene.pbx();
    match sign {
        Sign::HangupRequest => pbx.tell(&event_of("ChannelHangupRequest", "1.1", "Up")),
        Sign::StasisEnd => pbx.tell(&event_of("StasisEnd", "1.1", "Up")),
        Sign::Destroyed => {
            pbx.forget("1.1");
            pbx.tell(&event_of("ChannelDestroyed", "1.1", "Up"));
        }
        Sign::MediaGone => {
            for id in pbx.channels().into_iter().filter(|id| id != "1.1") {
                pbx.tell(&event_of("ChannelDestroyed", &id, "Up"));
            }
        }
        Sign::WeEndIt => leg.leg.end(HangupCause::Normal).await.unwrap(),
        Sign::Reconnect => pbx.cut_events(false),
    }
}
