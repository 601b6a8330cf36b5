//! What a handler may do beyond its own call, and that nothing happens without it.

use voxtra_core::fake::LegVerb;
use voxtra_core::verbs::{Recorder, Sides, SnoopOptions};
use voxtra_core::{CallError, Capability};
use voxtra_plugins::Outcome;

use super::placing::to;
use super::*;
use crate::options::Then;

/// Tries everything that needs a capability; which were denied, by the name that the error says.
async fn denied(call: &SharedCall) -> Vec<String> {
    let snoop = SnoopOptions { spy: Sides::In, whisper: Sides::None };
    let tenant = call.tenant();
    let tried: [Result<(), CallError>; 8] = [
        call.originate(to("91")).await.map(drop),
        call.originate(to("PJSIP/100")).await.map(drop),
        call.create_bridge().await.map(drop),
        call.record_start(recording::options(Recorder::Host)).await.map(drop),
        call.snoop(snoop).await.map(drop),
        tenant.store_get("key".into()).await.map(drop),
        tenant.batch_cancel("b1".into()).await,
        call.transfer("PJSIP/81@trunk".into()).await,
    ];
    let name = |error: CallError| match error {
        CallError::Denied(why) if why.contains("has not got the capability") => {
            Some(why.split(':').next().unwrap().to_owned())
        }
        _ => None,
    };
    tried.into_iter().map(|tried| tried.err().and_then(name).unwrap_or_default()).collect()
}

fn tries(name: &str, capabilities: Capabilities, notes: &Notes, outcome: fn() -> Outcome) -> TestHandler {
    let notes = notes.clone();
    let mut handler = TestHandler::new(name, move |call| {
        let notes = notes.clone();
        async move {
            call.answer().await.unwrap();
            notes.add(denied(&call).await);
            outcome()
        }
    });
    handler.capabilities = capabilities;
    handler
}

fn names(names: [&str; 8]) -> String {
    format!("{names:?}")
}

#[tokio::test(start_paused = true)]
async fn without_a_capability_a_verb_is_denied_before_any_effect() {
    let notes = Notes::default();
    let kit = Kit::new([tries("default", Capabilities::NONE, &notes, || Outcome::Returned)]).may_dial();
    let leg = kit.call("c1");
    kit.host.idle().await;
    let all = names(["originate", "originate", "bridge", "record", "snoop", "store", "originate", "dial"]);
    assert_eq!(notes.all(), [all]);
    assert!(kit.exchange.placed().is_empty());
    assert_eq!(leg.verbs().len(), 2, "{:?}", leg.verbs());
    assert_eq!((kit.host.stats().started, kit.host.stats().handler_failures), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_number_needs_dial_too_and_an_endpoint_does_not() {
    let notes = Notes::default();
    let all_but_dial = Capabilities::ALL.without(Capability::Dial);
    let kit = Kit::new([tries("default", all_but_dial, &notes, || Outcome::Returned)]).may_dial();
    kit.call("c1");
    kit.host.idle().await;
    assert_eq!(notes.all(), [names(["dial", "", "", "", "", "", "", "dial"])]);
    let placed = kit.exchange.placed();
    assert_eq!(placed.iter().map(|(leg, _)| leg.endpoint.as_str()).collect::<Vec<_>>(), ["PJSIP/100"]);
}

#[tokio::test(start_paused = true)]
async fn after_a_hand_over_the_new_handlers_capabilities_count() {
    let notes = Notes::default();
    let policy = OnFailure { play: Some(Vec::new()), then: Then::Handler("second".into()) };
    let store_only = Capabilities::NONE.with(Capability::Store);
    let handlers = [
        tries("default", Capabilities::NONE.with(Capability::Bridge), &notes, trap),
        tries("second", store_only, &notes, || Outcome::Returned),
    ];
    let kit = Kit::with(HostOptions::default(), policy, handlers).may_dial();
    kit.call("c1");
    kit.host.idle().await;
    let first = names(["originate", "originate", "", "record", "snoop", "store", "originate", "dial"]);
    let second = names(["originate", "originate", "bridge", "record", "snoop", "", "originate", "dial"]);
    assert_eq!(notes.all(), [first, second]);
}

#[tokio::test(start_paused = true)]
async fn a_placed_call_has_its_own_handlers_capabilities() {
    let notes = Notes::default();
    let seen = notes.clone();
    let mut handler = TestHandler::default(move |call| {
        let seen = seen.clone();
        async move {
            let child = call.originate(to("91")).await.unwrap();
            seen.add(child.create_bridge().await.map(drop).map_err(|error| error.kind()));
            seen.add(child.tenant().store_get("key".into()).await.map(drop).map_err(|error| error.kind()));
            Outcome::Returned
        }
    });
    handler.capabilities = Capabilities::NONE.with(Capability::Originate).with(Capability::Dial);
    let kit = Kit::new([handler]).may_dial();
    kit.call("c1");
    kit.host.idle().await;
    assert_eq!(notes.all(), ["Err(\"denied\")", "Err(\"denied\")"]);
    assert_eq!(kit.placed(0).count(|v| !matches!(v, LegVerb::End(_))), 0);
}
