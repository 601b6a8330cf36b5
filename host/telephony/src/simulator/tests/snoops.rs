//! Hidden ears and mouths.

use voxtra_core::Snoop;
use voxtra_core::verbs::{Sides, SnoopOptions};

use super::placed::{callees, place_answered};
use super::*;

fn options(spy: Sides, whisper: Sides) -> SnoopOptions {
    SnoopOptions { spy, whisper }
}

/// What is read of a link in a second.
async fn listen(link: &MediaLink) -> Vec<i16> {
    let mut heard = Vec::new();
    while heard.len() < 8_000 {
        match read(link).await {
            Some(frame) => heard.extend(voxtra_audio::pcm::samples(frame.pcm())),
            None => break,
        }
    }
    heard
}

async fn say(link: &MediaLink, hz: u32, seconds: u32) {
    for frame in hum(hz, seconds).chunks(160) {
        let _ = link.sink.push(voxtra_core::Frame::new(voxtra_audio::pcm::bytes(frame).into()));
        sleep(FRAME).await;
    }
}

fn humming_caller() -> CallerOptions {
    CallerOptions { script: hummer(400, 20), ..CallerOptions::default() }
}

#[test]
fn a_snoop_hears_the_sides_that_it_asked_for() {
    call_at(SimulatorOptions::default(), humming_caller(), |call| async move {
        call.leg().answer().await.unwrap();
        call.leg().play(&PlaybackId::from("p"), &["tone:dial".to_owned()]).await.unwrap();
        for (spy, said, heard) in [(Sides::In, true, false), (Sides::Out, false, true), (Sides::Both, true, true)] {
            let snoop = call.leg().snoop(options(spy, Sides::None)).await.unwrap();
            let link = snoop.open_media(8_000).await.unwrap();
            let got = listen(&link).await;
            assert_eq!((hears(400, &got, 100, 900), hears(350, &got, 100, 900)), (said, heard), "{spy:?}");
            snoop.stop().await.unwrap();
            assert!(link.sink.push(voxtra_core::Frame::new(vec![1, 0].into())).is_err());
            snoop.stop().await.unwrap();
            snoop.close_media().await;
            assert_eq!(snoop.open_media(8_000).await.map(drop).unwrap_err().kind(), "telephony");
            assert_eq!(snoop.play(&["tone:beep".to_owned()]).await.unwrap_err().kind(), "telephony");
        }
        let neither = call.leg().snoop(options(Sides::None, Sides::None)).await.map(drop).unwrap_err();
        assert_eq!(neither.kind(), "invalid-argument");
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
}

#[test]
fn a_whisper_is_heard_by_the_side_that_it_is_for() {
    let callee = Callee::answers(ms(1_000));
    let outcome = call_at(callees([("300", callee)]), script(""), |call| async move {
        call.leg().answer().await.unwrap();
        let other = place_answered(&*call.leg.exchange, "300").await;
        let bridge = call.leg.exchange.create_bridge().await.unwrap();
        bridge.add(&call.leg.id).await.unwrap();
        bridge.add(&other.id).await.unwrap();
        for (whisper, hz) in [(Sides::Out, 700), (Sides::In, 1_100), (Sides::Both, 1_900)] {
            let snoop = call.leg().snoop(options(Sides::None, whisper)).await.unwrap();
            let link = snoop.open_media(8_000).await.unwrap();
            say(&link, hz, 1).await;
            snoop.close_media().await;
        }
        other.leg.end(HangupCause::Normal).await.unwrap();
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
    let (to_call, to_other) = (&outcome.report.heard, &outcome.placed[0].heard);
    assert!(hears(700, to_call, 1_100, 1_900) && !hears(700, to_other, 1_100, 1_900));
    assert!(!hears(1_100, to_call, 2_100, 2_900) && hears(1_100, to_other, 2_100, 2_900));
    assert!(hears(1_900, to_call, 3_100, 3_900) && hears(1_900, to_other, 3_150, 3_900));
    // What is whispered for a caller is not what the caller says.
    assert!(outcome.report.said.iter().all(|s| *s == 0));
}

#[test]
fn a_snoop_plays_prompts_to_whom_it_whispers() {
    let (report, _) = call(script(""), |call| async move {
        call.leg().answer().await.unwrap();
        let snoop = call.leg().snoop(options(Sides::None, Sides::Out)).await.unwrap();
        snoop.play(&["tone:beep".to_owned(), "sound:silence/1".to_owned()]).await.unwrap();
        assert_eq!(call.started.elapsed(), ms(1_200));
        let error = snoop.play(&["sound:nothing".to_owned()]).await.unwrap_err();
        assert!(error.to_string().contains("`sound:nothing`"), "{error}");
        // One that nobody waits for any more stops.
        assert!(tokio::time::timeout(ms(300), snoop.play(&["tone:dial".to_owned()])).await.is_err());
        sleep(ms(500)).await;
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
    assert!(hears(1_000, &report.heard, 20, 180) && hears(350, &report.heard, 1_300, 1_480));
    assert!(!hears(350, &report.heard, 1_600, 1_900));
}

#[test]
fn a_supervisor_listens_to_a_call_through_a_bridge_with_its_snoop() {
    let supervisor = Callee::answers(ms(500)).with_script(Script::new().say("900 Hz", hum(900, 20)));
    let outcome = call_at(callees([("900", supervisor)]), humming_caller(), |call| async move {
        call.leg().answer().await.unwrap();
        let supervisor = place_answered(&*call.leg.exchange, "900").await;
        let snoop = call.leg().snoop(options(Sides::Both, Sides::Out)).await.unwrap();
        let bridge = call.leg.exchange.create_bridge().await.unwrap();
        bridge.add(&supervisor.id).await.unwrap();
        bridge.add_snoop(snoop.id()).await.unwrap();
        bridge.add_snoop(snoop.id()).await.unwrap();
        assert_eq!(snoop.open_media(8_000).await.map(drop).unwrap_err().kind(), "telephony");
        sleep(ms(1_500)).await;
        drop(snoop);
        sleep(ms(1_000)).await;
        supervisor.leg.end(HangupCause::Normal).await.unwrap();
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
    let (caller, supervisor) = (&outcome.report.heard, &outcome.placed[0].heard);
    assert!(hears(400, supervisor, 700, 1_900) && hears(900, caller, 700, 1_900));
    // Nobody hears themselves, and nothing goes on when the snoop is dropped.
    assert!(!hears(900, supervisor, 700, 1_900) && !hears(400, caller, 700, 1_900));
    assert!(!hears(400, supervisor, 2_200, 2_900) && !hears(900, caller, 2_200, 2_900));
}

#[test]
fn a_snoop_goes_with_its_call() {
    let outcome = call_at(SimulatorOptions::default(), script("wait 500ms; hang up"), |call| async move {
        call.leg().answer().await.unwrap();
        let snoop: Arc<dyn Snoop> = call.leg().snoop(options(Sides::Both, Sides::Both)).await.unwrap();
        let bridge = call.leg.exchange.create_bridge().await.unwrap();
        let link = snoop.open_media(16_000).await.unwrap();
        assert_eq!(snoop.play(&["tone:dial".to_owned()]).await, Err(CallError::HungUp));
        let reads_to_the_end = async { while read(&link).await.is_some() {} };
        tokio::time::timeout(ms(1), reads_to_the_end).await.unwrap();
        assert_eq!(bridge.add_snoop(snoop.id()).await.unwrap_err().kind(), "telephony");
        assert_eq!(snoop.stop().await, Ok(()));
    });
    assert_eq!(outcome.report.duration, ms(500));
}
