//! Several in one bridge.

use super::placed::{Placed, callees, place_answered};
use super::*;

fn hummers() -> SimulatorOptions {
    let hummer = |hz| Callee::answers(ms(1_000)).with_script(Script::new().say(format!("{hz} Hz"), hum(hz, 20)));
    callees([("700", hummer(700)), ("1100", hummer(1_100))])
}

fn caller() -> CallerOptions {
    CallerOptions { script: hummer(400, 20), ..CallerOptions::default() }
}

async fn end_all(call: &HostCall, placed: &[&Placed]) {
    for placed in placed {
        placed.leg.end(HangupCause::Normal).await.unwrap();
    }
    call.leg().end(HangupCause::Normal).await.unwrap();
}

/// The caller and two callees, of whom each hums a tone of its own; all answered at one second.
async fn three(call: &HostCall) -> (Placed, Placed) {
    call.leg().answer().await.unwrap();
    tokio::join!(place_answered(&*call.leg.exchange, "700"), place_answered(&*call.leg.exchange, "1100"))
}

#[test]
fn three_in_a_bridge_hear_each_other_and_not_themselves() {
    let outcome = call_at(hummers(), caller(), |call| async move {
        let (low, high) = three(&call).await;
        let bridge = call.leg.exchange.create_bridge().await.unwrap();
        for id in [&call.leg.id, &low.id, &high.id] {
            bridge.add(id).await.unwrap();
            bridge.add(id).await.unwrap();
        }
        sleep(ms(2_000)).await;
        bridge.remove(&high.id).await.unwrap();
        bridge.remove(&high.id).await.unwrap();
        sleep(ms(1_000)).await;
        bridge.destroy().await.unwrap();
        sleep(ms(1_000)).await;
        assert_eq!(bridge.add(&low.id).await.unwrap_err().kind(), "telephony");
        end_all(&call, &[&low, &high]).await;
    });
    let all = [(400, &outcome.report), (700, &outcome.placed[0]), (1_100, &outcome.placed[1])];
    for (own_hz, report) in all {
        for hz in [400, 700, 1_100] {
            let other = hz != own_hz;
            assert!(!hears(hz, &report.heard, 0, 1_000), "{own_hz} hears {hz} before");
            assert_eq!(hears(hz, &report.heard, 1_100, 2_900), other, "{own_hz} hears {hz} with all");
            let without_high = other && hz != 1_100 && own_hz != 1_100;
            assert_eq!(hears(hz, &report.heard, 3_100, 3_900), without_high, "{own_hz} hears {hz} without 1100");
            assert!(!hears(hz, &report.heard, 4_100, 4_900), "{own_hz} hears {hz} after");
        }
    }
    let with: Vec<_> =
        outcome.report.events.iter().filter(|e| matches!(e.event, CallerEvent::Bridged { .. })).collect();
    let last = with.last().unwrap();
    let is_with_low = matches!(&last.event, CallerEvent::Bridged { with, .. } if *with == ["700"]);
    assert!(is_with_low && (ms(3_000)..=ms(3_040)).contains(&last.at), "{with:?}");
    assert_eq!(outcome.report.times_of(|e| matches!(e, CallerEvent::Unbridged(_))).len(), 1);
    let svg = Timeline::new(&outcome.report).to_svg();
    assert!(svg.contains("class=\"bridged\"") && svg.contains("with 700, 1100"), "{svg}");
}

#[test]
fn a_voice_goes_through_a_bridge_without_a_gap() {
    let outcome = call_at(hummers(), caller(), |call| async move {
        call.leg().answer().await.unwrap();
        // Steps of the two lines at different times within a frame.
        sleep(ms(7)).await;
        let low = place_answered(&*call.leg.exchange, "700").await;
        let bridge = call.leg.exchange.create_bridge().await.unwrap();
        bridge.add(&call.leg.id).await.unwrap();
        bridge.add(&low.id).await.unwrap();
        sleep(ms(10_000)).await;
        end_all(&call, &[&low]).await;
    });
    for (report, other) in [(&outcome.report, &outcome.placed[0]), (&outcome.placed[0], &outcome.report)] {
        let heard = &report.heard[9_600..80_000];
        let at = (0..16_000).find(|at| other.said[8_000 + at..8_100 + at] == heard[..100]).unwrap();
        // To the sample, and within 80 ms.
        assert!(other.said[8_000 + at..8_000 + at + heard.len()] == *heard, "a gap");
    }
}

#[test]
fn what_is_played_to_a_bridge_is_heard_by_all_to_its_end() {
    let outcome = call_at(SimulatorOptions::default(), script(""), |call| async move {
        let (one, two) = three(&call).await;
        let bridge = call.leg.exchange.create_bridge().await.unwrap();
        for id in [&call.leg.id, &one.id, &two.id] {
            bridge.add(id).await.unwrap();
        }
        let before = call.started.elapsed();
        bridge.play(&["sound:silence/1".to_owned(), "tone:beep".to_owned()]).await.unwrap();
        let took = call.started.elapsed() - before;
        assert!((ms(1_200)..=ms(1_240)).contains(&took), "{took:?}");
        let error = bridge.play(&["sound:nothing".to_owned()]).await.unwrap_err();
        assert!(error.to_string().contains("`sound:nothing`"), "{error}");
        sleep(ms(200)).await;
        end_all(&call, &[&one, &two]).await;
    });
    for report in std::iter::once(&outcome.report).chain(&outcome.placed) {
        let starts = report.heard.iter().position(|s| *s != 0).unwrap();
        let beep = sounds::Sounds::shipped().samples("tone:beep").unwrap();
        let first = beep.iter().position(|s| *s != 0).unwrap();
        assert!(report.heard[starts..].starts_with(&beep[first..]));
        assert!(report.heard[starts + beep.len()..].iter().all(|s| *s == 0));
        assert_eq!(report.prompts_heard(), ["sound:silence/1", "tone:beep"]);
        assert!(report.prompts[..2].iter().all(|p| p.end == PromptEnd::Finished));
    }
}

#[test]
fn a_prompt_to_a_bridge_that_goes_away_is_over() {
    let outcome = call_at(SimulatorOptions::default(), script(""), |call| async move {
        call.leg().answer().await.unwrap();
        let bridge = call.leg.exchange.create_bridge().await.unwrap();
        bridge.add(&call.leg.id).await.unwrap();
        // One that nobody waits for any more stops.
        let endless = ["tone:dial".to_owned()];
        assert!(tokio::time::timeout(ms(500), bridge.play(&endless)).await.is_err());
        sleep(ms(500)).await;
        let destroys = async {
            sleep(ms(500)).await;
            bridge.destroy().await
        };
        let (played, destroyed) = tokio::join!(bridge.play(&endless), destroys);
        assert_eq!((played.unwrap_err().kind(), destroyed), ("telephony", Ok(())));
        sleep(ms(500)).await;
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
    let heard = |from, to| hears(350, &outcome.report.heard, from, to);
    assert!(heard(100, 400) && !heard(600, 950) && heard(1_150, 1_450) && !heard(1_600, 1_950));
}

#[test]
fn the_hosts_audio_goes_with_its_leg_into_the_bridge() {
    let outcome = call_at(hummers(), caller(), |call| async move {
        call.leg().answer().await.unwrap();
        let link = call.leg().open_media(8_000).await.unwrap();
        let low = place_answered(&*call.leg.exchange, "700").await;
        let bridge = call.leg.exchange.create_bridge().await.unwrap();
        bridge.add(&call.leg.id).await.unwrap();
        bridge.add(&low.id).await.unwrap();
        let mut heard = Vec::new();
        for frame in hum(1_900, 2).chunks(160) {
            let _ = link.sink.push(voxtra_core::Frame::new(voxtra_audio::pcm::bytes(frame).into()));
            let got = read(&link).await.unwrap();
            heard.extend(voxtra_audio::pcm::samples(got.pcm()));
        }
        // The host hears both, and not itself.
        assert!(hears(400, &heard, 500, 1_800) && hears(700, &heard, 500, 1_800) && !hears(1_900, &heard, 500, 1_800));
        end_all(&call, &[&low]).await;
    });
    // And both hear the host.
    assert!(hears(1_900, &outcome.report.heard, 1_500, 2_500) && hears(1_900, &outcome.placed[0].heard, 1_500, 2_500));
}

#[test]
fn who_hangs_up_in_a_bridge_leaves_the_others_in_it() {
    let outcome = call_at(hummers(), caller(), |call| async move {
        let (low, high) = three(&call).await;
        let bridge = call.leg.exchange.create_bridge().await.unwrap();
        for id in [&call.leg.id, &low.id, &high.id] {
            bridge.add(id).await.unwrap();
        }
        sleep(ms(1_000)).await;
        high.leg.end(HangupCause::Normal).await.unwrap();
        assert_eq!(bridge.add(&high.id).await, Err(CallError::HungUp));
        assert_eq!(bridge.remove(&high.id).await, Ok(()));
        sleep(ms(1_000)).await;
        // A handler that lets go of its bridge takes it down.
        drop(bridge);
        sleep(ms(1_000)).await;
        end_all(&call, &[&low]).await;
    });
    let heard = &outcome.report.heard;
    assert!(hears(1_100, heard, 1_200, 1_900) && !hears(1_100, heard, 2_200, 2_900));
    assert!(hears(700, heard, 2_200, 2_900) && !hears(700, heard, 3_200, 3_900));
}

#[test]
fn a_leg_that_is_not_answered_is_in_no_bridge_and_a_second_bridge_takes_from_the_first() {
    let outcome = call_at(hummers(), caller(), |call| async move {
        let first = call.leg.exchange.create_bridge().await.unwrap();
        let second = call.leg.exchange.create_bridge().await.unwrap();
        assert_ne!(first.id(), second.id());
        assert_eq!(first.add(&call.leg.id).await.unwrap_err().kind(), "telephony");
        let (low, high) = three(&call).await;
        for id in [&call.leg.id, &low.id, &high.id] {
            first.add(id).await.unwrap();
        }
        sleep(ms(1_000)).await;
        second.add(&call.leg.id).await.unwrap();
        second.add(&high.id).await.unwrap();
        // No longer a member there.
        first.remove(&high.id).await.unwrap();
        sleep(ms(1_000)).await;
        end_all(&call, &[&low, &high]).await;
    });
    let heard = &outcome.report.heard;
    assert!(hears(700, heard, 1_200, 1_900) && !hears(700, heard, 2_200, 2_900) && hears(1_100, heard, 2_200, 2_900));
}

#[test]
fn two_runs_with_a_bridge_are_equal_to_the_sample() {
    let run = || {
        call_at(hummers(), caller(), |call| async move {
            let (low, high) = three(&call).await;
            let bridge = call.leg.exchange.create_bridge().await.unwrap();
            for id in [&call.leg.id, &low.id, &high.id] {
                bridge.add(id).await.unwrap();
            }
            bridge.play(&["sound:hello-world".to_owned()]).await.unwrap();
            end_all(&call, &[&low, &high]).await;
        })
    };
    let (first, second) = (run(), run());
    assert!(first.report == second.report && first.placed == second.placed);
}
