//! Bridges, snoops, and the listening for machines.

use std::future::{pending, ready};

use tokio::time::sleep;
use voxtra_core::fake::{BridgeVerb, Fate, LegVerb, SnoopVerb, VerbKind};
use voxtra_core::verbs::{AnsweredBy, HandlerEvent, MachineDetector, Sides, SnoopOptions};
use voxtra_core::{AudioSource, CallError, EventType};
use voxtra_plugins::Outcome;

use super::*;
use crate::ports::MachineListener;

pub(super) fn ear() -> SnoopOptions {
    SnoopOptions { spy: Sides::In, whisper: Sides::None }
}

#[tokio::test(start_paused = true)]
async fn calls_are_joined_and_the_bridge_goes_once() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        call.answer().await.unwrap();
        let child = call.originate(placing::to("91")).await.unwrap();
        let bridge = call.create_bridge().await.unwrap();
        assert_eq!(bridge.add(&child).await.unwrap_err().kind(), "invalid-argument");
        assert!(matches!(child.next_event(SECOND).await, Ok(HandlerEvent::Answered)));
        bridge.add(&call).await.unwrap();
        bridge.add(&child).await.unwrap();
        let snoop = call.snoop(ear()).await.unwrap();
        bridge.add_snoop(&snoop).await.unwrap();
        bridge.play(sounds(&["hello"])).await.unwrap();
        assert_eq!(bridge.play(vec!["file:a".into()]).await.unwrap_err().kind(), "invalid-argument");
        bridge.remove(&child).await.unwrap();
        bridge.destroy().await.unwrap();
        bridge.destroy().await.unwrap();
        assert_eq!(bridge.add(&call).await.unwrap_err().kind(), "invalid-argument");
        drop(bridge);
        Outcome::Returned
    })])
    .may_dial();
    let leg = kit.call("c1");
    settle().await;
    kit.placed(0).deliver(LegEvent::Answered);
    kit.host.idle().await;
    settle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
    use BridgeVerb::*;
    let child = kit.exchange.placed()[0].0.id.clone();
    let verbs = kit.exchange.bridges()[0].verbs();
    let snoop = voxtra_core::SnoopId::from("snoop-1");
    let wanted = [
        Add(CallId::from("c1")),
        Add(child.clone()),
        AddSnoop(snoop),
        Play(sounds(&["hello"])),
        Remove(child),
        Destroy,
    ];
    assert_eq!(verbs, wanted);
    assert_eq!(leg.snoops()[0].verbs(), [SnoopVerb::Stop]);
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_forgets_goes_with_its_call_and_what_it_drops_goes_at_once() {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keeps = Arc::clone(&kept);
    let kit = Kit::new([TestHandler::default(move |call| {
        let keeps = Arc::clone(&keeps);
        async move {
            call.answer().await.unwrap();
            let bridge = call.create_bridge().await.unwrap();
            drop((call.create_bridge().await.unwrap(), call.snoop(ear()).await.unwrap()));
            let snoop = call.snoop(ear()).await.unwrap();
            // As if the instance had leaked them.
            keeps.lock().unwrap().push((bridge, snoop));
            let _ = call.next_event(99 * SECOND).await;
            sleep(5 * SECOND).await;
            Outcome::Returned
        }
    })]);
    let leg = kit.call("c1");
    sleep(SECOND).await;
    let destroyed = |n: usize| kit.exchange.bridges()[n].verbs().len();
    assert_eq!((destroyed(0), destroyed(1)), (0, 1));
    assert_eq!((leg.snoops()[0].verbs().len(), leg.snoops()[1].verbs().len()), (1, 0));
    let row = &kit.host.calls()[0];
    assert_eq!((row.bridges, row.snoops), (1, 1));
    kit.host.idle().await;
    settle().await;
    assert_eq!((destroyed(0), destroyed(1)), (1, 1));
    assert_eq!((leg.snoops()[0].verbs().len(), leg.snoops()[1].verbs().len()), (1, 1));
    kept.lock().unwrap().clear();
    settle().await;
    assert_eq!((destroyed(0), leg.snoops()[1].verbs().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_has_so_many_bridges_and_snoops() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        let mut made = Vec::new();
        while let Ok(bridge) = call.create_bridge().await {
            made.push(bridge);
        }
        assert_eq!(made.len(), 8);
        made.pop();
        settle().await;
        made.push(call.create_bridge().await.unwrap());
        assert_eq!(call.create_bridge().await.err().unwrap().kind(), "limit-exceeded");
        let mut snoops = Vec::new();
        while let Ok(snoop) = call.snoop(ear()).await {
            snoops.push(snoop);
        }
        assert_eq!(snoops.len(), 8);
        let nothing = SnoopOptions::default();
        assert_eq!(call.snoop(nothing).await.err().unwrap().kind(), "invalid-argument");
        Outcome::Returned
    })]);
    kit.call("c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
}

#[tokio::test(start_paused = true)]
async fn a_call_of_another_pbx_is_not_joined() {
    let stranger = Kit::new([TestHandler::default(|call| async move {
        call.answer().await.unwrap();
        sleep(99 * SECOND).await;
        Outcome::Returned
    })]);
    stranger.call("far");
    settle().await;
    let far: Arc<Mutex<Option<SharedCall>>> = Arc::default();
    let near = Arc::clone(&far);
    let kit = Kit::new([TestHandler::default(move |call| {
        let far = near.lock().unwrap().take();
        async move {
            call.answer().await.unwrap();
            let bridge = call.create_bridge().await.unwrap();
            let error = bridge.add(&far.unwrap()).await.unwrap_err();
            assert!(error.to_string().contains("another PBX"), "{error}");
            Outcome::Returned
        }
    })]);
    let taken = Arc::clone(&far);
    let handed = Kit::new([TestHandler::default(move |call| {
        *taken.lock().unwrap() = Some(call);
        pending()
    })]);
    let leg = handed.call("other");
    leg.deliver(LegEvent::Answered);
    settle().await;
    kit.call("c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
    assert!(kit.exchange.bridges()[0].verbs().iter().all(|verb| matches!(verb, BridgeVerb::Destroy)));
}

#[tokio::test(start_paused = true)]
async fn a_snoops_audio_is_one_at_a_time_and_closes_with_it() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        call.answer().await.unwrap();
        let snoop = call.snoop(ear()).await.unwrap();
        assert_eq!(snoop.open_audio(11_025).await.unwrap_err().kind(), "invalid-argument");
        assert_eq!(snoop.open_audio(16_000).await.unwrap().rate_hz, 16_000);
        assert_eq!(snoop.open_audio(8_000).await.unwrap_err().kind(), "limit-exceeded");
        snoop.close_audio();
        snoop.close_audio();
        settle().await;
        snoop.open_audio(8_000).await.unwrap();
        snoop.play(sounds(&["a"])).await.unwrap();
        snoop.stop().await.unwrap();
        snoop.stop().await.unwrap();
        assert_eq!(snoop.play(sounds(&["a"])).await.unwrap_err().kind(), "invalid-argument");
        Outcome::Returned
    })]);
    let leg = kit.call("c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
    use SnoopVerb::*;
    let wanted = [OpenMedia(16_000), CloseMedia, OpenMedia(8_000), Play(sounds(&["a"])), CloseMedia, Stop];
    assert_eq!(leg.snoops()[0].verbs(), wanted);
}

struct Ears(Option<AnsweredBy>);

impl MachineListener for Ears {
    fn listen(&self, source: Arc<dyn AudioSource>, rate_hz: u32) -> BoxFuture<'_, AnsweredBy> {
        assert_eq!((source.dropped_frames(), rate_hz), (0, 8_000));
        match self.0 {
            Some(who) => Box::pin(ready(who)),
            None => Box::pin(pending()),
        }
    }
}

fn detects(wanted: Result<AnsweredBy, &'static str>, detector: MachineDetector) -> TestHandler {
    TestHandler::default(move |call| async move {
        assert_eq!(call.detect_machine(detector).await.unwrap_err().kind(), "invalid-argument");
        call.answer().await.unwrap();
        assert_eq!(call.detect_machine(detector).await.map_err(|e| e.kind()), wanted);
        Outcome::Returned
    })
}

#[tokio::test(start_paused = true)]
async fn machines_are_heard_by_the_host_or_told_by_the_pbx() {
    for (heard, wanted) in [(Some(AnsweredBy::Machine), AnsweredBy::Machine), (None, AnsweredBy::NotSure)] {
        let kit = Kit::with_ports([detects(Ok(wanted), MachineDetector::Host)], |ports| {
            ports.machine_listener = Some(Arc::new(Ears(heard)));
        });
        let leg = kit.call("c1");
        kit.host.idle().await;
        settle().await;
        assert_eq!(kit.end_reason(), "handler-returned");
        assert_eq!(kit.said(EventType::AnsweredBy, "answered_by"), wanted.as_str());
        assert_eq!(leg.snoops()[0].verbs(), [SnoopVerb::OpenMedia(8_000), SnoopVerb::CloseMedia, SnoopVerb::Stop]);
    }
    let kit = Kit::new([detects(Ok(AnsweredBy::Human), MachineDetector::Pbx)]);
    let leg = FakeLeg::new();
    leg.set_answered_by(AnsweredBy::Human);
    kit.call_with(Arc::clone(&leg), "c1");
    kit.host.idle().await;
    assert_eq!((kit.end_reason().as_str(), leg.count(|v| *v == LegVerb::DetectMachine)), ("handler-returned", 1));
    let kit = Kit::new([detects(Err("telephony"), MachineDetector::Pbx)]);
    let leg = FakeLeg::new();
    leg.set_fate(VerbKind::DetectMachine, Fate::Fails(CallError::Telephony("no AMD".into())));
    kit.call_with(leg, "c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
}

#[tokio::test(start_paused = true)]
async fn the_ear_goes_when_the_caller_leaves_while_it_listens() {
    let kit = Kit::with_ports(
        [TestHandler::default(|call| async move {
            call.answer().await.unwrap();
            assert_eq!(call.detect_machine(MachineDetector::Host).await, Err(CallError::HungUp));
            Outcome::Returned
        })],
        |ports| ports.machine_listener = Some(Arc::new(Ears(None))),
    );
    let leg = kit.call("c1");
    sleep(SECOND).await;
    hang_up(&leg);
    kit.host.idle().await;
    settle().await;
    assert_eq!(leg.snoops()[0].verbs().last(), Some(&SnoopVerb::Stop));
}
