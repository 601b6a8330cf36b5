//! Recordings: who makes them, and that each is finished once, however its call ends.

use tokio::time::{Instant, sleep};
use voxtra_core::fake::{DeskVerb, FakeDesk, Fate, LegVerb, VerbKind};
use voxtra_core::recording::CaptureEnd;
use voxtra_core::verbs::{HandlerEvent, RecordOptions, Recorder, Sides, SnoopOptions};
use voxtra_core::{CallError, EventType};
use voxtra_plugins::Outcome;

use super::*;

pub(super) fn options(recorder: Recorder) -> RecordOptions {
    RecordOptions {
        name: "interview".into(),
        recorder,
        beep: false,
        max_duration: None,
        max_silence: None,
        sink: String::new(),
    }
}

fn kit_with(desk: &Arc<FakeDesk>, handler: TestHandler) -> Kit {
    let desk = Arc::clone(desk);
    Kit::with_ports([handler], |ports| ports.desk = Some(desk))
}

fn finished(desk: &FakeDesk) -> Vec<DeskVerb> {
    desk.verbs().into_iter().filter(|verb| matches!(verb, DeskVerb::Finish(_))).collect()
}

#[tokio::test(start_paused = true)]
async fn the_host_records_both_sides_pauses_and_stops() {
    let desk = FakeDesk::new();
    let kit = kit_with(
        &desk,
        TestHandler::default(|call| async move {
            assert_eq!(call.record_start(options(Recorder::Host)).await.unwrap_err().kind(), "invalid-argument");
            call.answer().await.unwrap();
            assert_eq!(call.record_stop().await.unwrap_err().kind(), "invalid-argument");
            assert_eq!(call.record_pause(true).await.unwrap_err().kind(), "invalid-argument");
            let id = call.record_start(RecordOptions { beep: true, ..options(Recorder::Host) }).await.unwrap();
            assert_eq!(call.record_start(options(Recorder::Pbx)).await.unwrap_err().kind(), "limit-exceeded");
            call.record_pause(true).await.unwrap();
            call.record_pause(false).await.unwrap();
            let info = call.record_stop().await.unwrap();
            assert_eq!((info.id.clone(), info.name.as_str()), (id, "interview"));
            assert!(matches!(call.next_event(SECOND).await, Ok(HandlerEvent::Answered)));
            assert_eq!(call.next_event(SECOND).await, Ok(HandlerEvent::RecordingFinished(info)));
            // And another one after it.
            call.record_start(options(Recorder::Host)).await.unwrap();
            call.record_stop().await.unwrap();
            Outcome::Returned
        }),
    );
    let leg = kit.call("c1");
    kit.host.idle().await;
    settle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
    use DeskVerb::{Capture, Finish, Open, Pause};
    let verbs = desk.verbs();
    assert!(matches!(&verbs[0], Open(start) if start.name == "interview" && start.call.as_str() == "c1"));
    assert_eq!(verbs[1..5], [Capture(8_000), Pause(true), Pause(false), Finish(true)]);
    assert_eq!(verbs.len(), 8);
    let ears: Vec<_> = leg.verbs().into_iter().filter(|v| matches!(v, LegVerb::Snoop(_))).collect();
    let ear = |spy| LegVerb::Snoop(SnoopOptions { spy, whisper: Sides::None });
    assert_eq!(ears[..2], [ear(Sides::In), ear(Sides::Out)]);
    assert_eq!(leg.count(|v| *v == LegVerb::Play(vec!["sound:beep".into()])), 1);
    assert!(leg.snoops().iter().all(|s| s.verbs().last() == Some(&voxtra_core::fake::SnoopVerb::Stop)));
    assert_eq!(kit.said(EventType::RecordingStarted, "name"), "interview");
}

#[tokio::test(start_paused = true)]
async fn the_pbx_records_and_says_how_long() {
    let desk = FakeDesk::new();
    let kit = kit_with(
        &desk,
        TestHandler::default(|call| async move {
            call.answer().await.unwrap();
            call.record_start(options(Recorder::Pbx)).await.unwrap();
            call.record_pause(true).await.unwrap();
            let both = tokio::join!(call.record_stop(), call.record_stop());
            // Asked twice, it is the same.
            assert!(both.0.is_ok() && both.0 == both.1, "{both:?}");
            Outcome::Returned
        }),
    );
    let leg = kit.call("c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
    assert_eq!(leg.count(|v| *v == LegVerb::StopRecording), 1);
    assert_eq!(leg.count(|v| *v == LegVerb::PauseRecording(true)), 1);
    assert_eq!(finished(&desk), [DeskVerb::Finish(true)]);
}

#[tokio::test(start_paused = true)]
async fn however_a_call_ends_its_recording_is_finished_once() {
    for recorder in [Recorder::Host, Recorder::Pbx] {
        for end in 0..6 {
            let desk = FakeDesk::new();
            let handler = TestHandler::default(move |call| async move {
                call.answer().await.unwrap();
                let began = call.record_start(options(recorder)).await.unwrap();
                assert_eq!(began.as_str().len(), 32);
                sleep(SECOND).await;
                match end {
                    0 => Outcome::Returned,
                    1 => trap(),
                    2 => {
                        let _ = call.hangup(voxtra_core::HangupCause::Normal).await;
                        Outcome::Returned
                    }
                    _ => {
                        let _ = call.gather(keys::listen(1, 99 * SECOND)).await;
                        Outcome::Returned
                    }
                }
            });
            let kit = kit_with(&desk, handler);
            let leg = kit.call_with(leg_with_prompts_of(SECOND), "c1");
            sleep(SECOND / 2).await;
            assert!(kit.host.calls()[0].recording.is_some());
            sleep(2 * SECOND).await;
            match end {
                3 => hang_up(&leg),
                4 => drop(kit.host.hangup(&CallId::from("c1"))),
                5 => leg.disconnect(),
                _ => {}
            }
            kit.host.idle().await;
            let told = leg.count(|v| *v == LegVerb::StopRecording);
            // A leg that its adapter has let go of can tell nothing any more.
            let well = !(recorder == Recorder::Pbx && end == 5);
            assert_eq!(finished(&desk), [DeskVerb::Finish(well)], "{recorder:?}, end {end}");
            assert_eq!(told, usize::from(recorder == Recorder::Pbx), "{recorder:?}, end {end}");
            kit.assert_ended_once("c1");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_recording_ends_by_itself_and_the_call_goes_on() {
    for (end, well) in [(CaptureEnd::MaxSilence, true), (CaptureEnd::Failed("the disk is full".into()), false)] {
        let desk = FakeDesk::new();
        desk.stop_with(end);
        let kit = kit_with(
            &desk,
            TestHandler::default(move |call| async move {
                call.answer().await.unwrap();
                call.record_start(options(Recorder::Host)).await.unwrap();
                let _answered = call.next_event(SECOND).await;
                match call.next_event(SECOND).await {
                    Ok(HandlerEvent::RecordingFinished(_)) => assert!(well),
                    Ok(HandlerEvent::RecordingFailed(_, why)) => assert!(!well && why.contains("full"), "{why}"),
                    other => panic!("{other:?}"),
                }
                call.play(sounds(&["still-here"]), String::new()).await.unwrap();
                Outcome::Returned
            }),
        );
        kit.call_with(leg_with_prompts_of(SECOND), "c1");
        kit.host.idle().await;
        assert_eq!((kit.end_reason().as_str(), finished(&desk)), ("handler-returned", vec![DeskVerb::Finish(well)]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_desk_or_a_pbx_that_refuses_is_an_error_of_the_verb_and_can_be_tried_again() {
    let desk = FakeDesk::new();
    desk.refuse(CallError::InvalidArgument("no such sink".into()));
    let twice = |recorder, kind: &'static str| {
        TestHandler::default(move |call| async move {
            call.answer().await.unwrap();
            for _ in 0..2 {
                assert_eq!(call.record_start(options(recorder)).await.unwrap_err().kind(), kind);
                settle().await;
            }
            assert_eq!(call.next_event(SECOND).await, Ok(HandlerEvent::Answered));
            assert_eq!(call.next_event(SECOND).await, Err(CallError::Timeout));
            Outcome::Returned
        })
    };
    let kit = kit_with(&desk, twice(Recorder::Host, "invalid-argument"));
    kit.call("c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
    for (recorder, verb) in [(Recorder::Host, VerbKind::Snoop), (Recorder::Pbx, VerbKind::StartRecording)] {
        let desk = FakeDesk::new();
        let kit = kit_with(&desk, twice(recorder, "telephony"));
        let leg = FakeLeg::new();
        leg.set_fate(verb, Fate::Fails(CallError::Telephony("no".into())));
        kit.call_with(leg, "c1");
        kit.host.idle().await;
        assert_eq!(kit.end_reason(), "handler-returned");
        assert_eq!(finished(&desk), [DeskVerb::Finish(false), DeskVerb::Finish(false)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pbx_that_never_says_that_it_has_stopped_does_not_keep_the_call() {
    let desk = FakeDesk::new();
    let kit = kit_with(
        &desk,
        TestHandler::default(|call| async move {
            call.answer().await.unwrap();
            call.record_start(options(Recorder::Pbx)).await.unwrap();
            Outcome::Returned
        }),
    );
    let leg = FakeLeg::new();
    leg.set_fate(VerbKind::StopRecording, Fate::Hangs);
    let began = Instant::now();
    kit.call_with(leg, "c1");
    kit.host.idle().await;
    assert!(began.elapsed() < 10 * SECOND, "{:?}", began.elapsed());
    assert_eq!(finished(&desk), [DeskVerb::Finish(false)]);
    kit.assert_ended_once("c1");
}
