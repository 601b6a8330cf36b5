//! Ringing, holding, variables, and where a call is handed to.

use std::collections::BTreeMap;

use voxtra_core::verbs::{AnsweredBy, DialplanPlace};

use super::*;

fn without(queues: &[&str], places: &[&str]) -> SimulatorOptions {
    let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    SimulatorOptions { absent_queues: owned(queues), absent_places: owned(places), ..SimulatorOptions::default() }
}

#[test]
fn a_caller_hears_that_it_rings_until_the_answer() {
    let (report, _) = call(script(""), |call| async move {
        call.leg().ring().await.unwrap();
        sleep(ms(1_000)).await;
        call.leg().answer().await.unwrap();
        // Nothing happens on an answered leg.
        call.leg().ring().await.unwrap();
        sleep(ms(1_000)).await;
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
    assert!(hears(440, &report.heard, 100, 900) && hears(480, &report.heard, 100, 900));
    assert!(report.heard[8_200..].iter().all(|s| *s == 0));
    assert_eq!(report.times_of(|e| *e == CallerEvent::RingToneStarted), [ms(0)]);
}

#[test]
fn on_hold_the_caller_hears_music_and_nothing_of_the_host() {
    let (report, _) = call(script(""), |mut call| async move {
        call.leg().answer().await.unwrap();
        let link = call.leg().open_media(8_000).await.unwrap();
        let talk = |seconds: u64| {
            let link = link.clone();
            async move {
                let tone = hum(1_500, seconds as u32);
                for frame in tone.chunks(160) {
                    let _ = link.sink.push(voxtra_core::Frame::new(voxtra_audio::pcm::bytes(frame).into()));
                    sleep(FRAME).await;
                }
            }
        };
        talk(1).await;
        call.leg().hold("jazz").await.unwrap();
        talk(1).await;
        // A prompt goes before the music.
        call.play(&["sound:silence/1"]).await.0.unwrap();
        call.leg().unhold().await.unwrap();
        call.leg().unhold().await.unwrap();
        talk(1).await;
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
    let heard = &report.heard;
    assert!(hears(1_500, heard, 100, 900) && !hears(1_500, heard, 1_100, 1_900) && hears(1_500, heard, 3_200, 3_900));
    assert!(heard[8_800..15_200].iter().any(|s| s.unsigned_abs() > 2_000));
    assert!(heard[16_500..23_800].iter().all(|s| *s == 0));
    assert_eq!(report.times_of(|e| *e == CallerEvent::Held("jazz".to_owned())), [ms(1_000)]);
    assert_eq!(report.times_of(|e| *e == CallerEvent::Unheld), [ms(3_000)]);
    let svg = Timeline::new(&report).to_svg();
    assert!(svg.contains("class=\"held\"") && svg.contains("on hold"), "{svg}");
}

#[test]
fn a_variable_that_was_set_can_be_read_until_the_end() {
    let variables = BTreeMap::from([("ACCOUNT".to_owned(), "7".to_owned())]);
    let (report, _) = call(CallerOptions { variables, ..script("") }, |call| async move {
        assert_eq!(call.leg().get_variable("ACCOUNT").await.unwrap().as_deref(), Some("7"));
        assert_eq!(call.leg().get_variable("LANG").await.unwrap(), None);
        call.leg().set_variable("LANG", "ny").await.unwrap();
        assert_eq!(call.leg().get_variable("LANG").await.unwrap().as_deref(), Some("ny"));
        call.leg().end(HangupCause::Normal).await.unwrap();
        assert_eq!(call.leg().get_variable("LANG").await, Err(CallError::HungUp));
    });
    assert_eq!(report.variables["LANG"], "ny");
}

#[test]
fn a_queue_that_is_not_there_keeps_the_leg() {
    let outcome = call_at(without(&["night"], &[]), script(""), |call| async move {
        call.leg().answer().await.unwrap();
        let variables = [("VOXTRA_WHY".to_owned(), "vip".to_owned())];
        let error = call.leg().transfer_to_queue("night", &variables).await.unwrap_err();
        assert!(error.to_string().contains("no queue night"), "{error}");
        assert_eq!(call.leg().get_variable("VOXTRA_WHY").await.unwrap(), None);
        assert_eq!(call.leg().transfer_to_queue("", &[]).await.unwrap_err().kind(), "invalid-argument");
        call.leg().transfer_to_queue("support", &variables).await.unwrap();
        call.until_the_end().await;
    });
    assert_eq!(outcome.report.ended_by, EndedBy::Transferred("queue support".to_owned()));
    assert_eq!(outcome.report.variables["VOXTRA_WHY"], "vip");
    assert_eq!(times_of(&outcome.log, |e| *e == LegEvent::Ended(LegEnd::Transferred)).len(), 1);
}

#[test]
fn a_place_that_is_not_there_keeps_the_leg() {
    let outcome = call_at(without(&[], &["999", "200@sales"]), script(""), |call| async move {
        let place = |context: &str, extension: &str| DialplanPlace {
            context: context.to_owned(),
            extension: extension.to_owned(),
            priority: 3,
        };
        for absent in [place("", "999"), place("x", "999"), place("sales", "200")] {
            let error = call.leg().continue_in_dialplan(&absent).await.unwrap_err();
            assert!(error.to_string().contains("dialplan has no"), "{error}");
        }
        assert_eq!(call.leg().transfer("999@any").await.unwrap_err().kind(), "telephony");
        call.leg().continue_in_dialplan(&place("", "")).await.unwrap();
        call.until_the_end().await;
    });
    assert_eq!(outcome.report.ended_by, EndedBy::Transferred("100@default,3".to_owned()));
}

#[test]
fn who_calls_is_a_person() {
    call_at(SimulatorOptions::default(), script(""), |call| async move {
        assert_eq!(call.leg().detect_machine().await.unwrap_err().kind(), "telephony");
        call.leg().answer().await.unwrap();
        assert_eq!(call.leg().detect_machine().await, Ok(AnsweredBy::Human));
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
}

#[test]
fn no_verb_outlives_a_caller_who_hangs_up_in_its_midst() {
    let outcome = call_at(SimulatorOptions::default(), script("wait 500ms; hang up"), |mut call| async move {
        call.leg().answer().await.unwrap();
        call.leg().hold("").await.unwrap();
        call.until(is_end).await.unwrap();
        let leg = call.leg();
        assert_eq!(leg.unhold().await, Err(CallError::HungUp));
        assert_eq!(leg.hold("").await, Err(CallError::HungUp));
        assert_eq!(leg.ring().await, Err(CallError::HungUp));
        assert_eq!(leg.set_variable("A", "b").await, Err(CallError::HungUp));
        assert_eq!(leg.transfer_to_queue("q", &[]).await, Err(CallError::HungUp));
        assert_eq!(leg.continue_in_dialplan(&DialplanPlace::default()).await, Err(CallError::HungUp));
        assert_eq!(leg.detect_machine().await, Err(CallError::HungUp));
    });
    assert_eq!((outcome.report.duration, times_of(&outcome.log, is_end)), (ms(500), vec![ms(500)]));
}
