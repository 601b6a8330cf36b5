//! The plain verbs: what reaches the leg, what is refused before, and that a call that ends ends them.

use tokio::time::sleep;
use voxtra_core::fake::{Fate, LegVerb, VerbKind};
use voxtra_core::{CallError, CallState};
use voxtra_plugins::Outcome;

use super::*;

#[tokio::test(start_paused = true)]
async fn ringing_is_for_callers_of_unanswered_calls() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        call.ring().await.unwrap();
        call.answer().await.unwrap();
        call.ring().await.unwrap();
        Outcome::Returned
    })]);
    let leg = kit.call("c1");
    kit.host.idle().await;
    assert_eq!(leg.count(|v| *v == LegVerb::Ring), 1);
    assert_eq!(kit.end_reason(), "handler-returned");
}

#[tokio::test(start_paused = true)]
async fn hold_and_back_change_the_state_and_happen_once() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        assert_eq!(call.hold(String::new()).await.unwrap_err().kind(), "invalid-argument");
        call.answer().await.unwrap();
        call.unhold().await.unwrap();
        for _ in 0..2 {
            call.hold("jazz".into()).await.unwrap();
            assert_eq!(call.state(), CallState::OnHold);
        }
        call.hold("rock".into()).await.unwrap();
        for _ in 0..2 {
            call.unhold().await.unwrap();
            assert_eq!(call.state(), CallState::InProgress);
        }
        assert_eq!(call.hold("a/b".into()).await.unwrap_err().kind(), "invalid-argument");
        Outcome::Returned
    })]);
    let leg = kit.call("c1");
    kit.host.idle().await;
    let of_hold: Vec<_> = leg.verbs().into_iter().filter(|v| matches!(v, LegVerb::Hold(_) | LegVerb::Unhold)).collect();
    assert_eq!(of_hold, [LegVerb::Hold("jazz".into()), LegVerb::Hold("rock".into()), LegVerb::Unhold]);
    assert_eq!(kit.end_reason(), "handler-returned");
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_fails_leaves_the_call_as_it_is() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        call.answer().await.unwrap();
        assert_eq!(call.hold(String::new()).await.unwrap_err().kind(), "telephony");
        assert_eq!(call.state(), CallState::InProgress);
        Outcome::Returned
    })]);
    let leg = FakeLeg::new();
    leg.set_fate(VerbKind::Hold, Fate::Fails(CallError::Telephony("no such class".into())));
    kit.call_with(leg, "c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
}

#[tokio::test(start_paused = true)]
async fn variables_are_set_and_read_and_dangerous_ones_never_reach_the_pbx() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        call.set_variable("LEVEL".into(), "3".into()).await.unwrap();
        assert_eq!(call.get_variable("LEVEL".into()).await, Ok(Some("3".into())));
        assert_eq!(call.get_variable("OTHER".into()).await, Ok(None));
        for (name, value) in [("TRANSFER_CONTEXT", "x"), ("__A", "x"), ("A", "${B}"), ("A", "x\r\n"), ("VOXTRA_A", "x")]
        {
            let error = call.set_variable(name.into(), value.into()).await.unwrap_err();
            assert_eq!(error.kind(), "invalid-argument", "{name}");
        }
        assert_eq!(call.get_variable("SHELL(id)".into()).await.unwrap_err().kind(), "invalid-argument");
        Outcome::Returned
    })]);
    let leg = kit.call("c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
    assert_eq!(leg.count(|v| matches!(v, LegVerb::SetVariable(..))), 1);
    assert_eq!(leg.count(|v| matches!(v, LegVerb::GetVariable(_))), 2);
}

#[tokio::test(start_paused = true)]
async fn each_verb_that_hangs_at_the_leg_ends_when_the_caller_leaves() {
    use VerbKind::*;
    let kinds = [
        Ring,
        Hold,
        SetVariable,
        GetVariable,
        Transfer,
        TransferToQueue,
        ContinueInDialplan,
        Snoop,
        DetectMachine,
        SendDtmf,
        OpenMedia,
        Play,
    ];
    for kind in kinds {
        let notes = Notes::default();
        let seen = notes.clone();
        let kit = Kit::new([TestHandler::default(move |call| {
            let seen = seen.clone();
            async move {
                if kind != Ring {
                    call.answer().await.unwrap();
                }
                let outcome = match kind {
                    Ring => call.ring().await,
                    Hold => call.hold(String::new()).await,
                    SetVariable => call.set_variable("A".into(), "b".into()).await,
                    GetVariable => call.get_variable("A".into()).await.map(drop),
                    Transfer => call.transfer("100".into()).await,
                    TransferToQueue => call.transfer_to_queue("q".into(), Vec::new()).await,
                    ContinueInDialplan => call.continue_in_dialplan(Default::default()).await,
                    Snoop => call.snoop(made::ear()).await.map(drop),
                    DetectMachine => call.detect_machine(voxtra_core::verbs::MachineDetector::Pbx).await.map(drop),
                    SendDtmf => call.send_dtmf("1".into()).await,
                    OpenMedia => call.open_audio(8_000).await.map(drop),
                    _ => call.start_playback(sounds(&["a"])).await.map(drop),
                };
                seen.add(outcome);
                Outcome::Returned
            }
        })]);
        let leg = FakeLeg::new();
        leg.set_fate(kind, Fate::Hangs);
        kit.call_with(Arc::clone(&leg), "c1");
        sleep(SECOND).await;
        hang_up(&leg);
        kit.host.idle().await;
        assert_eq!(notes.all(), ["Err(HungUp)"], "{kind:?}");
        assert_eq!(kit.end_reason(), "caller-hung-up", "{kind:?}");
        assert_eq!(kit.hooked().len(), 1);
        kit.assert_ended_once("c1");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_configured_says_so() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        call.answer().await.unwrap();
        let tenant = Arc::clone(call.tenant());
        let errors = [
            call.record_start(recording::options(voxtra_core::verbs::Recorder::Host)).await.map(drop).unwrap_err(),
            call.play(vec!["file:a".into()], String::new()).await.map(drop).unwrap_err(),
            call.detect_machine(voxtra_core::verbs::MachineDetector::Host).await.map(drop).unwrap_err(),
            tenant.store_get("k".into()).await.map(drop).unwrap_err(),
            tenant.batch_cancel("b".into()).await.unwrap_err(),
        ];
        assert!(errors.iter().all(|error| error.kind() == "not-configured"), "{errors:?}");
        let denied = call.originate(placing::to("91")).await.err().unwrap();
        assert!(denied.kind() == "denied" && denied.to_string().contains("dial"), "{denied}");
        Outcome::Returned
    })]);
    let leg = kit.call("c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
    assert_eq!(leg.verbs().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_store_is_the_tenants_and_has_its_limits() {
    let kit = Kit::with_ports(
        [TestHandler::default(|call| async move {
            let tenant = call.tenant();
            assert_eq!(tenant.tenant(), &TenantId::default());
            tenant.store_set("k".into(), b"v".to_vec(), None).await.unwrap();
            assert_eq!(tenant.store_get("k".into()).await.unwrap().unwrap().value, b"v".as_slice());
            assert_eq!(tenant.store_keys("k".into(), 5_000).await.unwrap(), ["k"]);
            for refused in [
                tenant.store_set("k".into(), vec![0; 65_537], None).await.map(drop),
                tenant.store_set(String::new(), vec![], None).await.map(drop),
                tenant.store_get("k".repeat(257)).await.map(drop),
                tenant.store_keys("k".repeat(257), 1).await.map(drop),
            ] {
                assert_eq!(refused.unwrap_err().kind(), "invalid-argument");
            }
            Outcome::Returned
        })],
        |ports| ports.store = Some(Arc::new(voxtra_core::store::FakeStore::new())),
    );
    kit.call("c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
    let same = kit.host.tenant(&TenantId::default());
    assert!(same.store_get("k".into()).await.unwrap().is_some());
    assert!(kit.host.tenant(&TenantId::from("other")).store_get("k".into()).await.unwrap().is_none());
}
