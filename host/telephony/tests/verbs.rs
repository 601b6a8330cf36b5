//! Verbs on one leg, each by its effect at the other end or in the dialplan of a real Asterisk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod real;

use anyhow::Result;
use real::{APP, LONG, Scene, pause};
use voxtra_core::telephony::LegEnd;
use voxtra_core::verbs::{AnsweredBy, DialplanPlace};
use voxtra_core::{CallError, HangupCause, LegEvent};
use voxtra_telephony::asterisk::{RefusedCalls, UnknownCalls};
use voxtra_test_support::match_audio::{rms, tone_length_ms};
use voxtra_test_support::{CallOptions, Phone};

/// The last part of what was heard.
fn last_ms(heard: &[i16], ms: usize) -> &[i16] {
    &heard[heard.len().saturating_sub(ms * 8)..]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_hears_that_it_rings() -> Result<()> {
    let Some(scene) = Scene::start("a_caller_hears_that_it_rings").await? else { return Ok(()) };
    let sip = scene.pbx.sip_addr();
    let phone = tokio::spawn(async move { Phone::call(sip, "100", CallOptions::from("1001")).await });
    let (new, _) = scene.leg_of("1001").await?;
    new.leg.ring().await?;
    pause(300).await;
    new.leg.answer().await?;
    let phone = phone.await??;
    assert_eq!(phone.ring_status(), 180);
    new.leg.ring().await?;
    new.leg.end(HangupCause::Normal).await?;
    assert!(phone.wait_for_bye(LONG).await);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_side_hears_music_on_hold_and_it_stops() -> Result<()> {
    let Some(scene) = Scene::start("the_other_side_hears_music_on_hold_and_it_stops").await? else { return Ok(()) };
    for with_audio in [false, true] {
        let from = if with_audio { "1002" } else { "1001" };
        let call = scene.call(from).await?;
        let _link = if with_audio { Some(call.leg.open_media(8_000).await?) } else { None };
        pause(500).await;
        assert!(rms(last_ms(&call.phone.heard(), 300)) < 20.0);
        call.leg.hold("").await?;
        pause(2_000).await;
        let music = rms(last_ms(&call.phone.heard(), 1_000));
        call.leg.unhold().await?;
        call.leg.unhold().await?;
        pause(300).await;
        // Without its audio open nothing at all is sent afterwards.
        let at = call.phone.heard().len();
        pause(800).await;
        let after = rms(&call.phone.heard()[at..]);
        println!("with audio {with_audio}: music {music:.0}, after it {after:.0}");
        assert!(music > 100.0 && after < 20.0, "with audio {with_audio}: {music} {after}");
        assert!(matches!(call.leg.hold("a b").await, Err(CallError::InvalidArgument(_))));
        call.leg.end(HangupCause::Normal).await?;
    }
    scene.nothing_is_left().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_is_readable_in_the_dialplan() -> Result<()> {
    let Some(scene) = Scene::start("a_variable_is_readable_in_the_dialplan").await? else { return Ok(()) };
    let call = scene.call("1001").await?;
    assert_eq!(call.leg.get_variable("SHOWN").await?, None);
    call.leg.set_variable("SHOWN", "Grüße, a=b; c").await?;
    assert_eq!(call.leg.get_variable("SHOWN").await?.as_deref(), Some("Grüße, a=b; c"));
    for (name, value) in [("SHELL(id)", "x"), ("A,B", "x"), ("", "x"), ("SHOWN", "a\nb"), ("SHOWN", "${ENV(PATH)}")] {
        assert!(
            matches!(call.leg.set_variable(name, value).await, Err(CallError::InvalidArgument(_))),
            "{name} {value}"
        );
    }
    assert!(matches!(call.leg.get_variable("SHELL(id)").await, Err(CallError::InvalidArgument(_))));
    let place = |context: &str, extension: &str| DialplanPlace {
        context: context.into(),
        extension: extension.into(),
        priority: 0,
    };
    let nowhere = call.leg.continue_in_dialplan(&place("callers", "nowhere")).await;
    assert!(matches!(&nowhere, Err(CallError::Telephony(why)) if why.contains("nowhere")), "{nowhere:?}");
    assert!(call.diary.ends().is_empty(), "the leg stays");
    call.leg.continue_in_dialplan(&place("callers", "shows")).await?;
    assert_eq!(call.diary.end().await?, LegEnd::Transferred);
    pause(800).await;
    assert!(scene.pbx.log().contains("voxtra-shown=Grüße, a=b; c"), "{}", scene.pbx.log());
    assert!(tone_length_ms(&call.phone.heard(), 880.0) > 200);
    call.phone.hang_up().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_member_of_a_queue_rings_and_talks() -> Result<()> {
    let Some(scene) = Scene::start("the_member_of_a_queue_rings_and_talks").await? else { return Ok(()) };
    let call = scene.call("1001").await?;
    let variables = [("VOXTRA_TOPIC".to_owned(), "bill 12".to_owned())];
    let nowhere = call.leg.transfer_to_queue("nosuch", &variables).await;
    assert!(matches!(&nowhere, Err(CallError::Telephony(why)) if why.contains("nosuch")), "{nowhere:?}");
    assert!(call.diary.ends().is_empty(), "the leg stays");
    call.leg.transfer_to_queue("support", &variables).await?;
    assert_eq!(call.diary.end().await?, LegEnd::Transferred);
    call.leg.end(HangupCause::Normal).await?;
    pause(2_500).await;
    let log = scene.pbx.log();
    assert!(log.contains("voxtra-queue=bill 12") && log.contains("voxtra-agent-rings"), "{log}");
    assert!(tone_length_ms(&call.phone.heard(), 660.0) > 500);
    call.phone.hang_up().await
}

#[tokio::test(flavor = "multi_thread")]
async fn contexts_that_are_not_allowed_are_denied() -> Result<()> {
    let allow = |o: &mut voxtra_telephony::asterisk::AsteriskOptions| {
        o.defaults.allowed_contexts = vec!["queues".into()];
    };
    let Some(scene) = Scene::start_with("contexts_that_are_not_allowed_are_denied", allow).await? else {
        return Ok(());
    };
    let call = scene.call("1001").await?;
    assert!(matches!(call.leg.transfer("tone@callers").await, Err(CallError::Denied(_))));
    let place = DialplanPlace { context: "callers".into(), extension: "tone".into(), priority: 1 };
    assert!(matches!(call.leg.continue_in_dialplan(&place).await, Err(CallError::Denied(_))));
    call.leg.end(HangupCause::Normal).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pbx_tells_a_person_from_a_machine() -> Result<()> {
    let Some(scene) = Scene::start("the_pbx_tells_a_person_from_a_machine").await? else { return Ok(()) };
    for (who, expected) in [("human", AnsweredBy::Human), ("machine", AnsweredBy::Machine)] {
        let (leg, diary) = scene.place(&format!("amd-{who}"), who, |_| {}).await?;
        diary.until(|event| *event == LegEvent::Answered).await?;
        let began = std::time::Instant::now();
        let answered_by = leg.detect_machine().await?;
        println!("{who}: {answered_by:?} after {:?}", began.elapsed());
        assert_eq!(answered_by, expected);
        // It is the same leg, and can be worked with.
        leg.set_variable("STILL", "ours").await?;
        assert!(diary.ends().is_empty(), "{:?}", diary.events());
        leg.end(HangupCause::Normal).await?;
        assert_eq!(diary.end().await?, LegEnd::HungUp);
    }
    assert_eq!(scene.adapter.stats().accepted, 0, "no leg came as a new one");
    // Who hangs up in the middle of it has hung up.
    let call = scene.call("1001").await?;
    let (leg, phone) = (call.leg.clone(), &call.phone);
    let detecting = tokio::spawn(async move { leg.detect_machine().await });
    pause(500).await;
    phone.hang_up().await?;
    assert_eq!(detecting.await?, Err(CallError::HungUp));
    assert_eq!(call.diary.end().await?, LegEnd::HungUp);
    scene.nothing_is_left().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_context_the_operator_is_told_what_to_add() -> Result<()> {
    let name = "without_a_context_the_operator_is_told_what_to_add";
    let none = |o: &mut voxtra_telephony::asterisk::AsteriskOptions| o.defaults.machine_detection_context = None;
    let Some(scene) = Scene::start_with(name, none).await? else { return Ok(()) };
    let call = scene.call("1001").await?;
    let outcome = call.leg.detect_machine().await;
    let expected = format!("Stasis({APP},voxtra-amd)");
    assert!(
        matches!(&outcome, Err(CallError::NotConfigured(why)) if why.contains("AMD()") && why.contains(&expected)),
        "{outcome:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_call_goes_elsewhere_in_the_dialplan() -> Result<()> {
    let elsewhere = |o: &mut voxtra_telephony::asterisk::AsteriskOptions| {
        o.defaults.refused_calls = RefusedCalls::ContinueInDialplan;
    };
    let Some(scene) = Scene::start_with("a_refused_call_goes_elsewhere_in_the_dialplan", elsewhere).await? else {
        return Ok(());
    };
    *scene.desk.refuse.lock().unwrap() = Some(HangupCause::Congestion);
    let phone = Phone::call(scene.pbx.sip_addr(), "100", CallOptions::default()).await?;
    pause(1_000).await;
    assert!(tone_length_ms(&phone.heard(), 440.0) > 300);
    assert_eq!(scene.adapter.stats().refused, 1);
    phone.hang_up().await?;
    // Any other refusal is a hang-up.
    *scene.desk.refuse.lock().unwrap() = Some(HangupCause::Busy);
    let busy = Phone::call(scene.pbx.sip_addr(), "100", CallOptions::default()).await;
    assert!(matches!(busy, Err(voxtra_test_support::CallError::Refused { status: 486, .. })), "{busy:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_from_before_is_adopted() -> Result<()> {
    let name = "a_call_from_before_is_adopted";
    let adopt = |o: &mut voxtra_telephony::asterisk::AsteriskOptions| o.unknown_calls = UnknownCalls::Adopt;
    let Some(mut scene) = Scene::start_with(name, adopt).await? else { return Ok(()) };
    let call = scene.call("1001").await?;
    // The host goes without a word, and another one comes.
    let before = (scene.desk.clone(), scene.adapter.clone());
    let (desk, adapter) = real::adapter_of(&scene.pbx, adopt)?;
    scene.desk = desk;
    scene.adapter = adapter;
    scene.run().await?;
    let (new, diary) = scene.leg_of("1001").await?;
    assert_eq!(new.id, *call.id());
    assert!(new.answered && diary.events().is_empty());
    new.leg.hold("").await?;
    pause(1_500).await;
    assert!(rms(last_ms(&call.phone.heard(), 500)) > 100.0);
    new.leg.end(HangupCause::Normal).await?;
    assert!(call.phone.wait_for_bye(LONG).await);
    drop(before);
    Ok(())
}
