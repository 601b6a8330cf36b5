//! Calls that the host places: a handler's own, and those that are placed for the operator or a batch.

use std::future::pending;

use tokio::time::{Instant, sleep, timeout};
use voxtra_core::fake::LegVerb;
use voxtra_core::outbound::{DialOutcome, DialRequest, DialTarget, Dialler, Trace};
use voxtra_core::verbs::{AnsweredBy, DialplanPlace, HandlerEvent, OriginateOptions};
use voxtra_core::{CallError, CallState, Direction, EndReason, EventType, Exchange, HangupCause};
use voxtra_plugins::Outcome;

use super::*;
use crate::place::{HostDialler, PlaceCall};

pub(super) fn to(number: &str) -> OriginateOptions {
    OriginateOptions { to: number.to_owned(), ..OriginateOptions::default() }
}

/// A handler that places a call and does this with it.
fn places<F>(then: impl Fn(SharedCall, SharedCall) -> F + Send + Sync + 'static) -> TestHandler
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let then = Arc::new(then);
    TestHandler::default(move |call| {
        let then = Arc::clone(&then);
        async move {
            call.answer().await.unwrap();
            let child = call.originate(to("91")).await.unwrap();
            then(call, child).await
        }
    })
}

fn child_id(kit: &Kit) -> String {
    kit.exchange.placed()[0].0.id.to_string()
}

#[tokio::test(start_paused = true)]
async fn a_placed_call_is_a_call_like_any_other() {
    let notes = Notes::default();
    let seen = notes.clone();
    let kit = Kit::new([places(move |_, child| {
        let seen = seen.clone();
        async move {
            seen.add((child.state(), &child.info().direction, &child.info().called_number, &child.info().caller_id));
            for _ in 0..2 {
                seen.add(child.next_event(60 * SECOND).await);
            }
            child.play(sounds(&["hello"]), String::new()).await.unwrap();
            assert_eq!(child.answer().await, Ok(()));
            child.hangup(HangupCause::Normal).await.unwrap();
            seen.add(child.next_event(SECOND).await);
            Outcome::Returned
        }
    })])
    .may_dial();
    kit.call_with(FakeLeg::new(), "c1");
    settle().await;
    let (placed, leg) = kit.exchange.placed()[0].clone();
    assert_eq!((placed.endpoint.as_str(), placed.caller_id.as_str()), ("PJSIP/91@trunk", "+100"));
    leg.deliver(LegEvent::Ringing);
    leg.deliver(LegEvent::Ringing);
    settle().await;
    leg.deliver(LegEvent::Answered);
    settle().await;
    assert!(leg.finish_prompt(Ok(())));
    kit.host.idle().await;
    let wanted = ["(Ringing, Outbound, \"91\", \"+100\")", "Ok(Ringing)", "Ok(Answered)", "Ok(Ended(HandlerHungUp))"];
    assert_eq!(notes.all(), wanted);
    use EventType::*;
    let kinds = kit.kinds(&child_id(&kit));
    assert_eq!(kinds, [CallStarted, SessionCreated, CallRinging, CallAnswered, CallEnded, SessionDestroyed]);
    let child = CallId::from(child_id(&kit));
    let events = kit.sink.events();
    let of_child = |kind| events.iter().find(|e| e.session_id == child && e.kind == kind).unwrap();
    for kind in [CallStarted, SessionCreated, CallEnded] {
        assert_eq!(of_child(kind).data["parent"], "c1");
    }
    assert_eq!(of_child(CallStarted).data["direction"], "outbound");
    assert_eq!(leg.count(|v| matches!(v, LegVerb::End(_))), 1);
    assert_eq!(kit.end_reason_of("c1"), "handler-returned");
    kit.assert_ended_once("c1");
    // The hook is the parent's; the child has none.
    assert_eq!(kit.hooked().len(), 1);
    let stats = kit.host.stats();
    assert_eq!((stats.started, stats.ended, stats.lost), (2, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn children_end_with_their_parents_handler_and_once() {
    for traps in [false, true] {
        let kit = Kit::new([places(move |_, child| async move {
            let _ = child.next_event(SECOND).await;
            if traps { trap() } else { Outcome::Returned }
        })])
        .may_dial();
        kit.call_with(leg_with_prompts_of(10 * SECOND), "c1");
        settle().await;
        let leg = kit.placed(0);
        leg.deliver(LegEvent::Answered);
        sleep(2 * SECOND).await;
        // Also while the failure policy still speaks to the parent.
        assert_eq!(leg.count(|v| matches!(v, LegVerb::End(_))), 1);
        kit.assert_ended_once(&child_id(&kit));
        kit.host.idle().await;
        kit.assert_ended_once("c1");
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_lives_through_its_parents_grace_and_the_parent_survives_its_children() {
    let kit = Kit::new([places(|call, child| async move {
        assert!(matches!(call.next_event(SECOND).await, Ok(HandlerEvent::Answered)));
        assert!(matches!(call.next_event(60 * SECOND).await, Ok(HandlerEvent::Ended(_))));
        assert_eq!(child.state(), CallState::InProgress);
        sleep(2 * SECOND).await;
        Outcome::Returned
    })])
    .may_dial();
    let parent = kit.call("c1");
    settle().await;
    let leg = kit.placed(0);
    leg.deliver(LegEvent::Answered);
    settle().await;
    let parent_row = kit.host.calls().into_iter().find(|call| call.info.id.as_str() == "c1").unwrap();
    assert_eq!(parent_row.children.len(), 1);
    let child_row = kit.host.calls().into_iter().find(|call| call.parent.is_some()).unwrap();
    assert_eq!((child_row.parent.unwrap().as_str(), child_row.info.direction), ("c1", Direction::Outbound));
    hang_up(&parent);
    sleep(SECOND).await;
    assert_eq!((leg.count(|v| matches!(v, LegVerb::End(_))), kit.host.active()), (0, 2));
    kit.host.idle().await;
    assert_eq!(leg.count(|v| matches!(v, LegVerb::End(_))), 1);

    let kit = Kit::new([places(|call, child| async move {
        assert!(matches!(
            child.next_event(60 * SECOND).await,
            Ok(HandlerEvent::Ended(EndReason::NotAnswered(HangupCause::Busy)))
        ));
        assert_eq!(child.play(sounds(&["a"]), String::new()).await, Err(CallError::HungUp));
        assert_eq!(call.state(), CallState::InProgress);
        Outcome::Returned
    })])
    .may_dial();
    kit.call("c1");
    settle().await;
    kit.placed(0).deliver(LegEvent::Ended(LegEnd::NotAnswered(HangupCause::Busy)));
    kit.host.idle().await;
    let child = CallId::from(child_id(&kit));
    let ended =
        kit.sink.events().into_iter().find(|e| e.session_id == child && e.kind == EventType::CallEnded).unwrap();
    assert_eq!((ended.data["reason"].as_str(), ended.data["detail"].as_str()), (Some("not-answered"), Some("busy")));
    assert_eq!(kit.handler("default").starts.load(Ordering::Relaxed), 1);
    kit.assert_ended_once("c1");
}

#[tokio::test(start_paused = true)]
async fn a_pbx_that_says_nothing_of_a_placed_call_does_not_keep_it() {
    let kit = Kit::new([places(|_, child| async move {
        let began = Instant::now();
        assert!(matches!(child.next_event(99 * SECOND).await, Ok(HandlerEvent::Ended(EndReason::NotAnswered(_)))));
        assert_eq!(began.elapsed().as_secs(), 40);
        Outcome::Returned
    })])
    .may_dial();
    kit.call("c1");
    kit.host.idle().await;
    assert_eq!(kit.placed(0).count(|v| matches!(v, LegVerb::End(_))), 1);
    assert_eq!(kit.host.stats().handler_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_dialled_reaches_no_pbx_and_leaves_no_row() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        for (options, kind) in [
            (to("81"), "denied"),
            (to("PJSIP/101"), "denied"),
            (to("91,1"), "invalid-argument"),
            (OriginateOptions { caller_id: "+300".into(), ..to("91") }, "denied"),
            (OriginateOptions { variables: vec![("CHANNEL".into(), "x".into())], ..to("91") }, "invalid-argument"),
            (OriginateOptions { metadata: vec![(String::new(), "x".into())], ..to("91") }, "invalid-argument"),
        ] {
            assert_eq!(call.originate(options).await.err().unwrap().kind(), kind);
        }
        Outcome::Returned
    })])
    .may_dial();
    kit.call("c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
    assert!(kit.exchange.placed().is_empty());
    assert_eq!(kit.host.stats().started, 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_the_pbx_refuses_is_an_error_and_no_call() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        assert_eq!(call.originate(to("91")).await.err().unwrap().kind(), "telephony");
        Outcome::Returned
    })])
    .may_dial();
    kit.exchange.refuse(CallError::Telephony("no such endpoint".into()));
    kit.call("c1");
    kit.host.idle().await;
    let stats = kit.host.stats();
    assert_eq!((stats.started, stats.ended, stats.lost, kit.host.active()), (1, 1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn only_so_many_children_at_a_time_and_only_as_many_as_the_tenant_may_have() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        let mut children = Vec::new();
        let why = loop {
            match call.originate(to("91")).await {
                Ok(child) => children.push(child),
                Err(why) => break why,
            }
        };
        assert!(children.len() == 16 && why.kind() == "limit-exceeded", "{}: {why}", children.len());
        children[0].hangup(HangupCause::Normal).await.unwrap();
        call.originate(to("91")).await.unwrap();
        Outcome::Returned
    })]);
    let policy = DialPolicy {
        patterns: vec!["91".into()],
        template: "PJSIP/{number}@t".into(),
        max_concurrent: 100,
        ..DialPolicy::default()
    };
    kit.host.set_dial_policies([(TenantId::default(), policy)]).unwrap();
    kit.call("c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason_of("c1"), "handler-returned");
    for (_, leg) in kit.exchange.placed() {
        assert_eq!(leg.count(|v| matches!(v, LegVerb::End(_))), 1);
    }
    let kit = Kit::new([TestHandler::default(|call| async move {
        let mut placed = 0;
        while call.originate(to("91")).await.is_ok() {
            placed += 1;
        }
        assert_eq!(placed, 10);
        Outcome::Returned
    })])
    .may_dial();
    kit.call("c1");
    kit.host.idle().await;
    // What was counted as live is given back.
    sleep(60 * SECOND).await;
    kit.call("c2");
    kit.host.idle().await;
    assert_eq!((kit.end_reason_of("c2").as_str(), kit.exchange.placed().len()), ("handler-returned", 20));
}

fn place(kit: &Kit, target: DialTarget, detect_machine: bool) -> PlaceCall {
    PlaceCall {
        tenant: TenantId::default(),
        exchange: Arc::clone(&kit.exchange) as Arc<dyn Exchange>,
        id: Some(CallId::from("p1")),
        to: "91".into(),
        caller_id: String::new(),
        target,
        ring_timeout: None,
        variables: vec![("A".into(), "b".into())],
        metadata: vec![("row".into(), "7".into())],
        detect_machine,
    }
}

fn the_default() -> DialTarget {
    DialTarget::Handler(HandlerName::from("default"))
}

#[tokio::test(start_paused = true)]
async fn a_handler_starts_when_the_call_that_was_placed_for_it_is_answered() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        assert_eq!((call.state(), call.metadata_get("row")), (CallState::InProgress, Some("7".into())));
        sleep(3 * SECOND).await;
        Outcome::Returned
    })])
    .may_dial();
    let mut placed = kit.host.place(place(&kit, the_default(), false)).await.unwrap();
    assert_eq!(placed.id().as_str(), "p1");
    // Asking twice places one call.
    assert!(kit.host.place(place(&kit, the_default(), false)).await.is_err());
    sleep(SECOND).await;
    assert_eq!(kit.handler("default").starts.load(Ordering::Relaxed), 0);
    kit.placed(0).deliver(LegEvent::Answered);
    let end = placed.ended().await;
    assert_eq!((end.reason, end.answered, end.duration_ms), (EndReason::HandlerReturned, true, 3_000));
    assert_eq!((kit.hooked().len(), kit.exchange.placed().len()), (1, 1));
    assert_eq!(kit.exchange.placed()[0].0.variables, [("A".to_owned(), "b".to_owned())]);
    kit.assert_ended_once("p1");
}

#[tokio::test(start_paused = true)]
async fn who_answered_is_known_before_the_handler_starts() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        assert!(matches!(call.next_event(SECOND).await, Ok(HandlerEvent::Answered)));
        assert_eq!(call.next_event(SECOND).await, Ok(HandlerEvent::AnsweredBy(AnsweredBy::Machine)));
        Outcome::Returned
    })])
    .may_dial();
    let mut placed = kit.host.place(place(&kit, the_default(), true)).await.unwrap();
    let leg = kit.placed(0);
    leg.set_answered_by(AnsweredBy::Machine);
    leg.deliver(LegEvent::Answered);
    assert_eq!(placed.ended().await.answered_by, Some(AnsweredBy::Machine));
    assert_eq!(kit.said(EventType::AnsweredBy, "answered_by"), "machine");
    assert_eq!(kit.end_reason(), "handler-returned");
}

fn request(number: &str) -> DialRequest {
    DialRequest {
        attempt: CallId::from(format!("a-{number}")),
        tenant: TenantId::default(),
        number: number.into(),
        caller_id: String::new(),
        target: the_default(),
        variables: Vec::new(),
        metadata: Vec::new(),
        ring_timeout: 20 * SECOND,
        detect_machine: false,
    }
}

fn dialler(kit: &Kit) -> HostDialler {
    let exchange = Arc::clone(&kit.exchange);
    HostDialler::new(
        Arc::clone(&kit.host),
        Arc::new(move |_: &TenantId| Some(Arc::clone(&exchange) as Arc<dyn Exchange>)),
    )
}

#[tokio::test(start_paused = true)]
async fn a_dialler_tells_every_outcome() {
    use HangupCause::*;
    let ends = [
        (LegEnd::NotAnswered(Busy), DialOutcome::Busy),
        (LegEnd::NotAnswered(NoAnswer), DialOutcome::NoAnswer),
        (LegEnd::NotAnswered(Rejected), DialOutcome::Rejected),
        (LegEnd::NotAnswered(Congestion), DialOutcome::Congestion),
        (LegEnd::Failed("broken".into()), DialOutcome::Failed("broken".into())),
    ];
    for (end, outcome) in ends {
        let kit = Kit::new([TestHandler::default(|_| pending())]).may_dial();
        let dialler = dialler(&kit);
        let act = async {
            settle().await;
            kit.placed(0).deliver(LegEvent::Ended(end));
        };
        let (dialled, ()) = tokio::join!(dialler.dial(request("91")), act);
        assert_eq!(dialled.unwrap().outcome, outcome);
    }
    let kit = Kit::new([TestHandler::default(|_| async { Outcome::Returned })]).may_dial();
    let dialler = dialler(&kit);
    let act = async {
        settle().await;
        kit.placed(0).deliver(LegEvent::Answered);
    };
    let (dialled, ()) = tokio::join!(dialler.dial(request("91")), act);
    let dialled = dialled.unwrap();
    assert_eq!(dialled.outcome, DialOutcome::Answered { by: AnsweredBy::NotSure });
    assert_eq!(dialled.end_reason.as_deref(), Some("handler-returned"));
    assert_eq!(dialler.dial(request("81")).await.unwrap_err().kind(), "denied");
    // What the PBX said no to in words of its own may have rung.
    kit.exchange.refuse(CallError::Telephony("timed out".into()));
    let dialled = dialler.dial(request("92")).await.unwrap();
    assert!(matches!(dialled.outcome, DialOutcome::Failed(_)));
}

#[tokio::test(start_paused = true)]
async fn a_dialler_that_is_not_waited_for_ends_its_call_and_traces_are_honest() {
    let kit = Kit::new([TestHandler::default(|_| pending())]).may_dial();
    let dialler = dialler(&kit);
    assert!(timeout(SECOND, dialler.dial(request("91"))).await.is_err());
    kit.host.idle().await;
    assert_eq!(kit.placed(0).count(|v| matches!(v, LegVerb::End(_))), 1);
    let trace = |id: &str| {
        let (dialler, id) = (dialler.clone(), CallId::from(id));
        async move { dialler.trace(&TenantId::default(), &id).await.unwrap() }
    };
    // The fake PBX still has it.
    assert!(matches!(trace("a-91").await, Trace::Placed(dialled) if matches!(dialled.outcome, DialOutcome::Failed(_))));
    assert_eq!(trace("never").await, Trace::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_call_can_be_placed_into_the_dialplan() {
    let kit = Kit::new([]).may_dial();
    let target = DialTarget::Dialplan(DialplanPlace { context: "sales".into(), ..DialplanPlace::default() });
    let mut placed = kit.host.place(place(&kit, target, false)).await.unwrap();
    assert_eq!(kit.exchange.placed()[0].0.into_dialplan.as_ref().unwrap().context, "sales");
    kit.placed(0).deliver(LegEvent::Ended(LegEnd::Transferred));
    assert_eq!(placed.ended().await.reason, EndReason::Transferred);
    let elsewhere = DialTarget::Dialplan(DialplanPlace { context: "other".into(), ..DialplanPlace::default() });
    let mut call = place(&kit, elsewhere, false);
    call.id = None;
    assert_eq!(kit.host.place(call).await.err().unwrap().kind(), "denied");
    let mut call = place(&kit, DialTarget::Routes, false);
    call.id = None;
    assert!(kit.host.place(call).await.err().unwrap().to_string().contains("default.wasm"));
}
