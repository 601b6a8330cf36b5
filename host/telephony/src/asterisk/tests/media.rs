//! A call's audio: set up, lost, taken down.

use super::*;
use voxtra_core::CallError;
use voxtra_core::media::LINK_RATES_HZ;

#[tokio::test]
async fn audio_is_open_when_call_and_media_are_in_one_bridge() {
    let scene = Scene::start().await;
    let (leg, _) = scene.call("1.1").await;
    for rate_hz in LINK_RATES_HZ {
        assert_eq!(leg.leg.open_media(rate_hz).await.unwrap().rate_hz, rate_hz);
        assert_eq!((scene.pbx().channels().len(), scene.pbx().bridges().len()), (2, 1));
        leg.leg.close_media().await;
        assert_eq!((scene.pbx().channels(), scene.pbx().bridges()), (vec!["1.1".to_owned()], vec![]));
    }
    leg.leg.close_media().await;
    assert_eq!(scene.desk.legs.lock().unwrap().len(), 1, "a media leg is no call");
    assert!(scene.pbx().deleted_with_socket().is_empty(), "the socket is closed first");
}

#[tokio::test]
async fn a_second_opening_is_refused_while_one_is_open() {
    let scene = Scene::start().await;
    let (leg, _) = scene.call("1.1").await;
    leg.leg.open_media(8_000).await.unwrap();
    assert!(matches!(leg.leg.open_media(8_000).await, Err(CallError::Telephony(_))));
    assert_eq!(scene.pbx().bridges().len(), 1);
}

#[tokio::test]
async fn whatever_step_fails_nothing_is_left_and_the_next_attempt_works() {
    let scene = Scene::start().await;
    let (leg, _) = scene.call("1.1").await;
    for (step, status) in [
        ("POST /ari/channels/externalMedia", 500),
        ("POST /ari/channels/externalMedia", 400),
        ("POST /ari/bridges/voxtra", 500),
        ("/addChannel", 422),
        ("/addChannel", 500),
    ] {
        scene.pbx().fault(step, status);
        let outcome = leg.leg.open_media(8_000).await;
        let Err(CallError::Telephony(why)) = outcome else { panic!("{step}: {outcome:?}") };
        assert!(why.contains("audio"), "{why}");
        assert_eq!(
            (scene.pbx().channels(), scene.pbx().bridges()),
            (vec!["1.1".to_owned()], vec![]),
            "{step} {status}"
        );
        scene.pbx().no_faults();
    }
    leg.leg.open_media(8_000).await.unwrap();
}

#[tokio::test]
async fn a_media_channel_that_does_not_connect_or_start_is_given_up() {
    for break_it in [Pbx::no_media_connection as fn(&Pbx), Pbx::no_media_start] {
        let scene = Scene::start_with(|o| o.limits.media_setup = Duration::from_millis(300)).await;
        let (leg, _) = scene.call("1.1").await;
        break_it(scene.pbx());
        let outcome = timeout(PATIENCE, leg.leg.open_media(8_000)).await.unwrap();
        assert!(matches!(outcome, Err(CallError::Telephony(_))), "{outcome:?}");
        assert_eq!((scene.pbx().channels(), scene.pbx().bridges()), (vec!["1.1".to_owned()], vec![]));
    }
}

#[tokio::test]
async fn an_opening_that_nobody_waits_for_leaves_nothing() {
    let scene = Scene::start().await;
    let (leg, _) = scene.call("1.1").await;
    for wait_ms in [0, 1, 2, 3, 5, 8] {
        let _ = timeout(Duration::from_millis(wait_ms), leg.leg.open_media(8_000)).await;
        leg.leg.close_media().await;
        assert_eq!((scene.pbx().channels(), scene.pbx().bridges()), (vec!["1.1".to_owned()], vec![]));
    }
}

#[tokio::test]
async fn ending_the_call_while_audio_opens_leaves_nothing() {
    let scene = Scene::start().await;
    scene.pbx().no_media_start();
    let (leg, _) = scene.call("1.1").await;
    let (opened, ended) = tokio::join!(leg.leg.open_media(8_000), async {
        sleep(Duration::from_millis(30)).await;
        leg.leg.end(HangupCause::Normal).await
    });
    assert!(matches!(opened, Err(CallError::HungUp)), "{opened:?}");
    ended.unwrap();
    scene.until_nothing_is_left().await;
    assert!(matches!(leg.leg.open_media(8_000).await, Err(CallError::HungUp)));
}

#[tokio::test]
async fn closing_while_audio_opens_does_not_look_like_a_hang_up() {
    let scene = Scene::start().await;
    scene.pbx().no_media_start();
    let (leg, _) = scene.call("1.1").await;
    let (opened, ()) = tokio::join!(leg.leg.open_media(8_000), async {
        sleep(Duration::from_millis(30)).await;
        leg.leg.close_media().await;
    });
    assert!(matches!(opened, Err(CallError::Telephony(_))), "{opened:?}");
    assert_eq!((scene.pbx().channels(), scene.pbx().bridges()), (vec!["1.1".to_owned()], vec![]));
}

#[tokio::test]
async fn lost_audio_is_told_once_and_can_be_opened_again() {
    let scene = Scene::start().await;
    let (leg, diary) = scene.call("1.1").await;
    leg.leg.open_media(8_000).await.unwrap();
    let media = scene.pbx().channels().into_iter().find(|id| id != "1.1").unwrap();
    scene.pbx().forget(&media);
    scene.until(|_| diary.events() == [LegEvent::MediaLost]).await;
    scene.until(|s| s.pbx().bridges().is_empty()).await;
    leg.leg.close_media().await;
    leg.leg.open_media(8_000).await.unwrap();
    assert_eq!(diary.events(), [LegEvent::MediaLost]);
}

#[tokio::test]
async fn audio_that_is_closed_on_purpose_is_not_lost() {
    let scene = Scene::start().await;
    let (leg, diary) = scene.call("1.1").await;
    leg.leg.open_media(8_000).await.unwrap();
    leg.leg.close_media().await;
    leg.leg.open_media(8_000).await.unwrap();
    leg.leg.end(HangupCause::Normal).await.unwrap();
    scene.until(|_| !diary.ends().is_empty()).await;
    assert_eq!(diary.events(), [LegEvent::Ended(LegEnd::HungUp)]);
    scene.until_nothing_is_left().await;
}

#[tokio::test]
async fn audio_goes_when_the_caller_goes() {
    let scene = Scene::start().await;
    let (leg, diary) = scene.call("1.1").await;
    leg.leg.open_media(8_000).await.unwrap();
    scene.pbx().forget("1.1");
    scene.pbx().tell(&super::fake::event_of("ChannelHangupRequest", "1.1", "Up"));
    scene.until(|_| diary.ends() == [LegEnd::HungUp]).await;
    scene.until_nothing_is_left().await;
}

#[tokio::test]
async fn connect_reports_what_the_pbx_offers_and_where_audio_comes() {
    let scene = Scene::start().await;
    let report = scene.adapter.connect().await.unwrap();
    assert_eq!((report.version.as_str(), report.media_transport), ("22.10.1", MediaTransport::AudioSocket));
    assert!(report.audiosocket_address.unwrap().starts_with("127.0.0.1:"));
    assert_eq!((report.apps.len(), report.apps[0].known_to_pbx), (1, false));
    scene.pbx().fault("/ari/asterisk/ping", 401);
    assert!(scene.adapter.connect().await.unwrap_err().to_string().contains("password"));
}
