//! Applications come and go while calls are up.

use super::*;
use crate::asterisk::AppOptions;

const BETA: &str = "beta";

fn apps<const N: usize>(names: [&str; N]) -> Vec<(String, AppOptions)> {
    names.map(|name| (name.to_owned(), AppOptions::default())).to_vec()
}

async fn connected(scene: &Scene, app: &str, stands: bool) {
    scene.until(|s| s.pbx().has_events_connection_of(app) == stands).await;
    scene.until(|s| s.adapter.stats().connected_apps.iter().any(|name| name == app) == stands).await;
}

/// A call comes in for `beta` and is taken.
async fn call_of_beta(scene: &Scene, id: &str) -> Arc<Diary> {
    scene.pbx().call_of(BETA, id);
    scene.until(|s| s.desk.legs.lock().unwrap().iter().any(|leg| leg.id.as_str() == id)).await;
    let (leg, diary) = scene.leg(id);
    assert_eq!(leg.app, BETA);
    diary
}

#[tokio::test]
async fn an_application_that_is_new_takes_calls_and_the_others_do_not_notice() {
    let scene = Scene::start().await;
    let (leg, diary) = scene.call("1.1").await;
    assert!(scene.adapter.exchange(BETA).is_none());
    scene.adapter.set_apps(apps([APP, BETA])).unwrap();
    connected(&scene, BETA, true).await;
    call_of_beta(&scene, "2.1").await;
    assert!(scene.adapter.exchange(BETA).is_some());
    leg.leg.answer().await.unwrap();
    scene.until(|_| diary.events() == [LegEvent::Answered]).await;
    assert_eq!(scene.adapter.apps(), [APP, BETA]);
}

#[tokio::test]
async fn an_application_that_is_gone_keeps_its_calls_to_their_end_and_takes_no_more() {
    let scene = Scene::start_with(|o| o.apps.push(BETA.to_owned())).await;
    connected(&scene, BETA, true).await;
    let diary = call_of_beta(&scene, "2.1").await;
    scene.adapter.set_apps(apps([APP])).unwrap();
    assert!(scene.adapter.exchange(BETA).is_none());
    scene.pbx().call_of(BETA, "2.2");
    scene.until(|s| s.pbx().seen_count("DELETE /ari/channels/2.2") == 1).await;
    assert!(scene.desk.legs.lock().unwrap().iter().all(|leg| leg.id.as_str() != "2.2"));
    sleep(Duration::from_millis(500)).await;
    let (leg, _) = scene.leg("2.1");
    assert!(scene.pbx().has_events_connection_of(BETA) && diary.ends().is_empty());
    // Its verbs work, and it may call somebody still.
    assert!(leg.exchange.create_bridge().await.is_ok());
    scene.pbx().hang_up_of(BETA, "2.1");
    scene.until(|_| diary.ends().len() == 1).await;
    connected(&scene, BETA, false).await;
    assert!(scene.pbx().has_events_connection());
    // Nothing can be placed where nobody listens.
    assert!(leg.exchange.create_bridge().await.is_err());
}

#[tokio::test]
async fn an_application_that_comes_back_in_time_never_left_and_later_it_is_new() {
    let scene = Scene::start_with(|o| o.apps.push(BETA.to_owned())).await;
    connected(&scene, BETA, true).await;
    let diary = call_of_beta(&scene, "2.1").await;
    scene.adapter.set_apps(apps([APP])).unwrap();
    scene.adapter.set_apps(apps([APP, BETA])).unwrap();
    scene.pbx().hang_up_of(BETA, "2.1");
    scene.until(|_| diary.ends().len() == 1).await;
    call_of_beta(&scene, "2.2").await;
    assert_eq!(scene.pbx().seen_count("/ari/events"), 0, "events are no REST requests");
    scene.pbx().hang_up_of(BETA, "2.2");
    scene.adapter.set_apps(apps([APP])).unwrap();
    connected(&scene, BETA, false).await;
    scene.adapter.set_apps(apps([APP, BETA])).unwrap();
    connected(&scene, BETA, true).await;
    call_of_beta(&scene, "2.3").await;
}

#[tokio::test]
async fn a_list_that_cannot_be_served_changes_nothing_and_stopping_ends_what_is_left() {
    let mut scene = Scene::start().await;
    assert!(scene.adapter.set_apps(apps([BETA, BETA])).is_err());
    assert!(scene.adapter.set_apps(apps([APP, ""])).is_err());
    assert_eq!(scene.adapter.apps(), [APP]);
    scene.adapter.set_apps(apps([])).unwrap();
    scene.until(|s| !s.pbx().has_events_connection()).await;
    scene.adapter.set_apps(apps([BETA])).unwrap();
    connected(&scene, BETA, true).await;
    let diary = call_of_beta(&scene, "2.1").await;
    scene.stop.take().unwrap().send(()).unwrap();
    scene.until(|_| matches!(diary.ends()[..], [LegEnd::Failed(_)])).await;
    // As a session does when its call is over.
    scene.desk.legs.lock().unwrap().clear();
    scene.until(|s| s.running.is_finished()).await;
}
