//! Legs that the host places through a real Asterisk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod real;

use std::time::{Duration, Instant};

use anyhow::Result;
use real::{APP, LONG, Scene, adapter_of, pause};
use voxtra_core::telephony::LegEnd;
use voxtra_core::verbs::DialplanPlace;
use voxtra_core::{CallError, CallId, HangupCause, LegEvent};

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_of_a_placed_leg_is_told() -> Result<()> {
    let Some(scene) = Scene::start("what_comes_of_a_placed_leg_is_told").await? else { return Ok(()) };
    for (to, expected) in [
        ("busy", LegEnd::NotAnswered(HangupCause::Busy)),
        ("declined", LegEnd::NotAnswered(HangupCause::Rejected)),
        ("full", LegEnd::NotAnswered(HangupCause::Congestion)),
        ("rings", LegEnd::NotAnswered(HangupCause::NoAnswer)),
    ] {
        let began = Instant::now();
        // Only who rings on has to wait for the end of it.
        let ring_timeout = if to == "rings" { Duration::from_millis(1_500) } else { LONG };
        let (leg, diary) = scene.place(&format!("out-{to}"), to, |leg| leg.ring_timeout = ring_timeout).await?;
        assert_eq!(diary.end().await?, expected, "{to}: {:?}", diary.events());
        println!("{to}: {expected:?} after {:?}", began.elapsed());
        let rang = diary.events().contains(&LegEvent::Ringing);
        assert_eq!(rang, to == "rings", "{to}: {:?}", diary.events());
        assert_eq!(leg.answer().await, Err(CallError::HungUp));
        drop(leg);
        scene.nothing_is_left().await?;
    }
    for endpoint in ["PJSIP/nobody", "Nosuch/1"] {
        let refused = scene.place("out-none", "x", |leg| leg.endpoint = endpoint.to_owned()).await;
        assert!(matches!(refused.as_ref().map(drop).unwrap_err().downcast_ref(), Some(CallError::Telephony(_))));
        scene.nothing_is_left().await?;
    }
    for endpoint in ["100", "Local/a&Local/b", "Local/${X}@callers", "Local/a\n@callers"] {
        let refused = scene.place("out-bad", "x", |leg| leg.endpoint = endpoint.to_owned()).await;
        assert!(matches!(refused.as_ref().map(drop).unwrap_err().downcast_ref(), Some(CallError::InvalidArgument(_))));
    }
    scene.until("every place is free", |s| s.adapter.stats().legs == 0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placed_leg_rings_is_answered_and_is_heard() -> Result<()> {
    let Some(scene) = Scene::start("a_placed_leg_rings_is_answered_and_is_heard").await? else { return Ok(()) };
    let exchange = scene.exchange();
    assert_eq!((exchange.name(), exchange.app()), ("asterisk", APP));
    let id = CallId::from("out-1");
    assert!(!exchange.has_leg(&id).await?);
    let variables = vec![("SHOWN".to_owned(), "${".replace("${", "a,b=c"))];
    let (leg, diary) = scene.place(id.as_str(), "late", |leg| leg.variables = variables).await?;
    assert!(exchange.has_leg(&id).await?);
    let again = scene.place(id.as_str(), "late", |_| {}).await;
    assert!(matches!(again.as_ref().map(drop).unwrap_err().downcast_ref(), Some(CallError::InvalidArgument(_))));
    diary.until(|event| *event == LegEvent::Answered).await?;
    assert_eq!(diary.events(), [LegEvent::Ringing, LegEvent::Answered]);
    assert_eq!(leg.get_variable("SHOWN").await?.as_deref(), Some("a,b=c"));
    let formats = scene.pbx.cli("core show channel out-1").await.unwrap_or_default();
    println!("{formats}");
    let link = leg.open_media(8_000).await?;
    drop(link);
    leg.end(HangupCause::Normal).await?;
    assert_eq!(diary.end().await?, LegEnd::HungUp);
    assert_eq!(scene.adapter.stats().accepted, 0, "it never came as a new call");
    scene.nothing_is_left().await?;
    assert!(!exchange.has_leg(&id).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leg_that_nobody_waits_for_is_not_left_behind() -> Result<()> {
    let Some(scene) = Scene::start("a_leg_that_nobody_waits_for_is_not_left_behind").await? else { return Ok(()) };
    for wait_us in [0, 200, 1_000, 3_000, 10_000] {
        let placing = scene.place("out-dropped", "rings", |_| {});
        let _ = tokio::time::timeout(Duration::from_micros(wait_us), placing).await;
        scene.nothing_is_left().await?;
        scene.until("its place is free", |s| s.adapter.stats().legs == 0).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leg_for_the_dialplan_goes_on_there_and_its_end_is_told() -> Result<()> {
    let name = "a_leg_for_the_dialplan_goes_on_there_and_its_end_is_told";
    let Some(scene) = Scene::start_with(name, |o| o.limits.reconcile_every = Duration::from_millis(300)).await? else {
        return Ok(());
    };
    let into = |context: &str, extension: &str| {
        Some(DialplanPlace { context: context.into(), extension: extension.into(), priority: 0 })
    };
    let shown = vec![("SHOWN".to_owned(), "by the host".to_owned())];
    let (leg, diary) = scene
        .place("dialplan-1", "silence", |leg| {
            leg.into_dialplan = into("callers", "shows");
            leg.variables = shown;
        })
        .await?;
    diary.until(|event| *event == LegEvent::Answered).await?;
    scene.until("its variable in the dialplan", |s| s.pbx.log().contains("voxtra-shown=by the host")).await?;
    pause(1_000).await;
    assert!(diary.ends().is_empty(), "{:?}", diary.events());
    leg.end(HangupCause::Normal).await?;
    assert_eq!(diary.end().await?, LegEnd::HungUp);
    // One whose other side hangs up.
    let (_leg, diary) =
        scene.place("dialplan-2", "short", |leg| leg.into_dialplan = into("callers", "silence")).await?;
    assert_eq!(diary.end().await?, LegEnd::HungUp);
    assert!(diary.events().contains(&LegEvent::Answered));
    // One that was to go nowhere.
    let (_leg, diary) =
        scene.place("dialplan-3", "silence", |leg| leg.into_dialplan = into("callers", "nowhere")).await?;
    assert!(matches!(diary.end().await?, LegEnd::Failed(why) if why.contains("nowhere")));
    drop((leg, _leg));
    scene.nothing_is_left().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placed_leg_of_a_host_that_is_gone_is_no_new_call() -> Result<()> {
    let Some(mut scene) = Scene::start("a_placed_leg_of_a_host_that_is_gone_is_no_new_call").await? else {
        return Ok(());
    };
    let (_leg, _) = scene.place("out-orphan", "late", |_| {}).await?;
    let before = (scene.desk.clone(), scene.adapter.clone());
    let (desk, adapter) = adapter_of(&scene.pbx, |_| {})?;
    scene.desk = desk;
    scene.adapter = adapter;
    scene.run().await?;
    assert!(scene.exchange().has_leg(&CallId::from("out-orphan")).await?);
    assert!(scene.pbx.wait_for_channels(0, LONG).await?);
    assert_eq!(scene.adapter.stats().accepted, 0);
    drop(before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_pbxs_goes_and_the_other_ones_calls_stay() -> Result<()> {
    let name = "one_of_two_pbxs_goes_and_the_other_ones_calls_stay";
    let Some(first) = Scene::start(name).await? else { return Ok(()) };
    let other = voxtra_test_support::Asterisk::start(voxtra_test_support::AsteriskOptions::default()).await?;
    let (desk, adapter) = adapter_of(&other, |o| {
        o.name = "second".to_owned();
        o.limits.pbx_lost_after = Duration::from_millis(500);
    })?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let runs = adapter.clone();
    let running = tokio::spawn(async move { runs.run(async { drop(stopped.await) }).await });
    let staying = first.call("1001").await?;
    let _audio = staying.leg.open_media(8_000).await?;
    let sip = other.sip_addr();
    let phone = tokio::spawn(async move {
        voxtra_test_support::Phone::call(sip, "100", voxtra_test_support::CallOptions::from("1002")).await
    });
    let until = Instant::now() + LONG;
    while adapter.stats().accepted == 0 && Instant::now() < until {
        pause(10).await;
    }
    let (going, _) = desk.legs().pop().expect("a call at the second PBX");
    assert!(going.id.as_str().starts_with("second:"), "{}", going.id);
    assert_eq!(going.exchange.name(), "second");
    assert!(going.exchange.has_leg(&going.id).await?);
    going.leg.answer().await?;
    let _phone = phone.await??;
    let diary = desk.legs().pop().unwrap().1;
    other.kill()?;
    assert!(matches!(diary.end().await?, LegEnd::Failed(_)));
    pause(500).await;
    assert_eq!(diary.ends().len(), 1);
    assert_eq!(staying.diary.events(), [LegEvent::Answered]);
    assert_eq!(first.adapter.stats().legs, 1);
    let _ = stop.send(());
    running.await?;
    staying.leg.end(HangupCause::Normal).await?;
    first.nothing_is_left().await
}
