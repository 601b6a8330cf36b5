//! Recordings by the simulated PBX.

use std::path::PathBuf;

use voxtra_core::RecordingId;
use voxtra_core::telephony::PbxRecording;

use super::*;

fn recording(name: &str) -> PbxRecording {
    PbxRecording {
        id: RecordingId::from(name),
        stored_name: name.to_owned(),
        beep: false,
        max_duration: Duration::from_secs(600),
        max_silence: None,
    }
}

fn finished(event: &LegEvent) -> Option<&Result<u32, String>> {
    match event {
        LegEvent::RecordingFinished { outcome, .. } => Some(outcome),
        _ => None,
    }
}

/// When a recording was over, and how long it was.
fn ends(log: &EventLog) -> Vec<(u64, u32)> {
    let log = log.lock().unwrap();
    let ends = log.iter().filter_map(|(at, e)| finished(e).map(|o| (at.as_millis() as u64, *o.as_ref().unwrap())));
    ends.collect()
}

/// A file that goes with the test.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("voxtra-{name}-{}.wav", std::process::id())))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_recording_holds_both_sides_and_becomes_a_file() {
    let options = CallerOptions { script: hummer(400, 3), ..CallerOptions::default() };
    let outcome = call_at(SimulatorOptions::default(), options, |mut call| async move {
        call.leg().answer().await.unwrap();
        let id = RecordingId::from("both");
        call.leg().start_recording(&recording("both")).await.unwrap();
        let second = call.leg().start_recording(&recording("second")).await.unwrap_err();
        assert_eq!(second.kind(), "limit-exceeded");
        call.leg().play(&PlaybackId::from("p"), &["tone:dial".to_owned()]).await.unwrap();
        sleep(ms(2_000)).await;
        call.leg().stop_recording(&id).await.unwrap();
        call.until(|e| finished(e) == Some(&Ok(2_000))).await.unwrap();
        call.leg().stop_recording(&id).await.unwrap();
        assert_eq!(call.leg().pause_recording(&id, true).await.unwrap_err().kind(), "telephony");

        let (exchange, file) = (call.leg.exchange.clone(), Temporary::new("both"));
        let size = exchange.fetch_recording("both", &file.0).await.unwrap();
        let wav = std::fs::read(&file.0).unwrap();
        assert_eq!((size, wav.len()), (Some(32_044), 32_044));
        let samples = read_wav(&wav[..], LINE_RATE_HZ).unwrap();
        assert!(hears(400, &samples, 100, 1_900) && hears(350, &samples, 100, 1_900));
        // To a new file only; an unknown name is told.
        assert_eq!(exchange.fetch_recording("both", &file.0).await.unwrap_err().kind(), "telephony");
        assert_eq!(exchange.fetch_recording("none", &file.0).await, Ok(None));

        // It can be played, until it is deleted.
        call.leg().stop_playback(&PlaybackId::from("p")).await.unwrap();
        call.until(|e| matches!(e, LegEvent::PlaybackFinished { .. })).await.unwrap();
        call.play(&["recording:both"]).await.0.unwrap();
        exchange.delete_recording("both").await.unwrap();
        exchange.delete_recording("both").await.unwrap();
        assert!(call.play(&["recording:both"]).await.0.unwrap_err().contains("recording:both"));
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
    assert!(hears(400, &outcome.report.heard, 2_200, 3_800));
    assert!(outcome.stored.is_empty() && ends(&outcome.log) == [(2_000, 2_000)]);
}

#[test]
fn a_pause_is_left_out() {
    let outcome = call_at(SimulatorOptions::default(), script(""), |call| async move {
        call.leg().answer().await.unwrap();
        let id = RecordingId::from("r");
        call.leg().start_recording(&recording("r")).await.unwrap();
        sleep(ms(1_000)).await;
        call.leg().pause_recording(&id, true).await.unwrap();
        sleep(ms(5_000)).await;
        call.leg().pause_recording(&id, false).await.unwrap();
        sleep(ms(500)).await;
        call.leg().stop_recording(&id).await.unwrap();
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
    assert_eq!(ends(&outcome.log), [(6_500, 1_500)]);
    assert_eq!(outcome.stored, ["r"]);
}

#[test]
fn a_recording_ends_by_itself_at_its_length_or_when_nobody_speaks() {
    let options = CallerOptions { script: hummer(400, 2), ..CallerOptions::default() };
    let outcome = call_at(SimulatorOptions::default(), options, |mut call| async move {
        call.leg().answer().await.unwrap();
        let short = PbxRecording { max_duration: ms(1_500), beep: true, ..recording("short") };
        call.leg().start_recording(&short).await.unwrap();
        call.until(|e| finished(e).is_some()).await.unwrap();
        let quiet = PbxRecording { max_silence: Some(ms(1_000)), ..recording("quiet") };
        call.leg().start_recording(&quiet).await.unwrap();
        call.until(|e| finished(e).is_some()).await.unwrap();
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
    // The caller speaks for two seconds, from the first step after the answer on.
    assert_eq!(ends(&outcome.log), [(1_500, 1_500), (3_020, 1_520)]);
    assert!(outcome.report.heard[..1_600].iter().any(|s| s.unsigned_abs() > 2_000), "the beep");
}

#[test]
fn a_recording_ends_with_its_call_and_before_the_call_is_over() {
    for script_text in ["wait 700ms; hang up", ""] {
        let outcome = call_at(SimulatorOptions::default(), script(script_text), move |call| async move {
            call.leg().answer().await.unwrap();
            call.leg().start_recording(&recording("r")).await.unwrap();
            if script_text.is_empty() {
                sleep(ms(700)).await;
                call.leg().transfer("100").await.unwrap();
            }
            call.until_the_end().await;
        });
        let log = outcome.log.lock().unwrap();
        let kinds: Vec<_> = log.iter().map(|(_, e)| finished(e).is_some() || is_end(e)).collect();
        assert_eq!(kinds, [false, true, true], "{log:?}");
        assert!(finished(&log[1].1) == Some(&Ok(700)) && is_end(&log[2].1));
        assert_eq!(outcome.stored, ["r"]);
    }
}
