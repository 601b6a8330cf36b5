//! What a handler may do beyond its own call, and that nothing happens without it.

use voxtra_core::fake::{BridgeVerb, FakeDesk, LegVerb, SnoopVerb};
use voxtra_core::verbs::{BatchRequest, BatchRow, DialplanPlace, Recorder, Sides, SnoopOptions};
use voxtra_core::{CallError, Capability, DialNarrowing};
use voxtra_plugins::Outcome;
use voxtra_plugins::host::{BridgeHost, SnoopHost};

use super::placing::to;
use super::versions::{Version, kit_with, put, until_upgrade, waiting};
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
async fn after_an_upgrade_the_new_versions_capabilities_count_whether_they_are_more_or_less() {
    let store_only = Capabilities::NONE.with(Capability::Store);
    let without = ["originate", "originate", "bridge", "record", "snoop", "", "originate", "dial"];
    for (before, after, wanted) in [(Capabilities::ALL, store_only, without), (store_only, Capabilities::ALL, [""; 8])]
    {
        let (notes, seen) = (Notes::default(), Notes::default());
        let kit = kit_with(&Version { capabilities: before, ..waiting("old", &notes) });
        let tells = seen.clone();
        let new = Version::new("new", |_| async { trap() }).restores(move |call, _| {
            let tells = tells.clone();
            async move {
                tells.add(denied(&call).await);
                Outcome::Returned
            }
        });
        kit.call("c1");
        settle().await;
        put(&kit, &Version { capabilities: after, ..new });
        kit.host.idle().await;
        assert_eq!(seen.all(), [names(wanted)]);
    }
}

/// Whom it may call of `91`, `92` and an endpoint, and whether it may hand its call to a context.
async fn may_call(call: &SharedCall) -> Vec<String> {
    let kind = |tried: Result<(), CallError>| tried.err().map_or("yes", |error| error.kind()).to_owned();
    let batch = |number: &str| {
        let row = BatchRow { number: number.to_owned(), metadata: Vec::new() };
        BatchRequest {
            name: "b".to_owned(),
            handler: "default".to_owned(),
            concurrency: 0,
            calls_per_10_s: 0,
            retries: String::new(),
            detect_machine: false,
            rows: vec![row],
        }
    };
    let place = DialplanPlace { context: "sales".to_owned(), extension: "100".to_owned(), priority: 1 };
    vec![
        kind(call.originate(to("91")).await.map(drop)),
        kind(call.originate(to("92")).await.map(drop)),
        kind(call.originate(to("PJSIP/100")).await.map(drop)),
        kind(call.tenant().batch_start(batch("91")).await.map(drop)),
        kind(call.tenant().batch_start(batch("92")).await.map(drop)),
        kind(call.transfer("PJSIP/92@trunk".into()).await),
        kind(call.continue_in_dialplan(place).await),
    ]
}

#[tokio::test(start_paused = true)]
async fn whom_a_handler_may_call_is_what_its_manifest_leaves_and_after_an_upgrade_the_new_ones() {
    let only_91 = DialNarrowing {
        patterns: Some(vec!["91".into()]),
        endpoints: Some(Vec::new()),
        contexts: Some(Vec::new()),
        ..DialNarrowing::default()
    };
    let only_92 = DialNarrowing { patterns: Some(vec!["92".into()]), ..only_91.clone() };
    let (notes, seen) = (Notes::default(), Notes::default());
    let tells = notes.clone();
    let old = Version::new("old", move |call| {
        let tells = tells.clone();
        async move {
            call.answer().await.unwrap();
            tells.add(may_call(&call).await);
            until_upgrade(&call, &Notes::default()).await
        }
    });
    let tells = seen.clone();
    let new = Version::new("new", |_| async { trap() }).restores(move |call, _| {
        let tells = tells.clone();
        async move {
            tells.add(may_call(&call).await);
            Outcome::Returned
        }
    });
    let kit = kit_with(&Version { dial: Some(Arc::new(only_91)), ..old });
    kit.call("c1");
    settle().await;
    // Nobody runs batches here: it would have been asked.
    let no = "denied";
    assert_eq!(notes.all(), [format!("{:?}", ["yes", no, no, "not-configured", no, no, no])]);
    put(&kit, &Version { dial: Some(Arc::new(only_92)), ..new });
    kit.host.idle().await;
    let expected = [no, "yes", no, no, "not-configured"];
    assert!(seen.all()[0].starts_with(format!("{expected:?}").trim_end_matches(']')), "{:?}", seen.all());
    let placed = kit.exchange.placed();
    assert_eq!(
        placed.iter().map(|(leg, _)| leg.endpoint.as_str()).collect::<Vec<_>>(),
        ["PJSIP/91@trunk", "PJSIP/92@trunk"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_handler_places_no_more_in_a_day_than_its_manifest_leaves_it() {
    let notes = Notes::default();
    let tells = notes.clone();
    let handler = Version::new("old", move |call| {
        let tells = tells.clone();
        async move {
            for _ in 0..2 {
                tells.add(call.originate(to("91")).await.map(drop).map_err(|error| error.to_string()));
            }
            Outcome::Returned
        }
    });
    let once = DialNarrowing { max_per_day: 1, ..DialNarrowing::default() };
    let kit = kit_with(&Version { dial: Some(Arc::new(once)), ..handler });
    kit.call("c1");
    kit.host.idle().await;
    assert_eq!(notes.all()[0], "Ok(())");
    assert!(notes.all()[1].contains("max_per_day"), "{:?}", notes.all());
}

#[tokio::test(start_paused = true)]
async fn what_a_version_inherits_without_the_capability_stays_and_can_only_be_let_go_of() {
    type Kept = Arc<Mutex<Vec<(Arc<dyn BridgeHost>, Arc<dyn SnoopHost>)>>>;
    let (kept, notes) = (Kept::default(), Notes::default());
    let keeps = Arc::clone(&kept);
    let old = Version::new("old", move |call| {
        let keeps = Arc::clone(&keeps);
        async move {
            call.answer().await.unwrap();
            let bridge = call.create_bridge().await.unwrap();
            bridge.add(&call).await.unwrap();
            let snoop = call.snoop(SnoopOptions { spy: Sides::In, whisper: Sides::None }).await.unwrap();
            call.record_start(recording::options(Recorder::Host)).await.unwrap();
            keeps.lock().unwrap().push((bridge, snoop));
            until_upgrade(&call, &Notes::default()).await
        }
    });
    let (seen, goes) = (notes.clone(), Arc::clone(&kept));
    let new = Version::new("new", |_| async { trap() }).restores(move |call, _| {
        let (seen, goes) = (seen.clone(), Arc::clone(&goes));
        async move {
            let inherited = call.inherited();
            goes.lock().unwrap().clear();
            let (bridge, snoop) = (&inherited.bridges[0], &inherited.snoops[0]);
            let kind = |tried: Result<(), CallError>| tried.map_err(|error| error.kind());
            seen.add(kind(bridge.add(&call).await));
            seen.add(kind(bridge.add_snoop(snoop).await));
            seen.add(kind(bridge.play(sounds(&["a"])).await));
            seen.add(kind(snoop.play(sounds(&["a"])).await));
            seen.add(kind(snoop.open_audio(8_000).await.map(drop)));
            seen.add(kind(call.record_pause(true).await));
            seen.add(kind(call.record_pause(false).await));
            seen.add(kind(bridge.remove(&call).await));
            seen.add(kind(bridge.destroy().await));
            seen.add(kind(snoop.stop().await));
            seen.add(kind(call.record_stop().await.map(drop)));
            Outcome::Returned
        }
    });
    let desk = FakeDesk::new();
    let kit = Kit::with_ports([], |ports| ports.desk = Some(desk));
    put(&kit, &old);
    let leg = kit.call("c1");
    settle().await;
    put(&kit, &Version { capabilities: Capabilities::NONE, ..new });
    kit.host.idle().await;
    let (no, yes) = (r#"Err("denied")"#, "Ok(())");
    assert_eq!(notes.all()[..10], [no, no, no, no, no, yes, no, yes, yes, yes]);
    let verbs = kit.exchange.bridges()[0].verbs();
    assert!(matches!(verbs[..], [BridgeVerb::Add(_), BridgeVerb::Remove(_), BridgeVerb::Destroy]), "{verbs:?}");
    assert_eq!(leg.snoops()[0].verbs(), [SnoopVerb::Stop]);
}

#[tokio::test(start_paused = true)]
async fn a_placed_call_has_the_limits_of_the_version_that_its_parent_went_over_to() {
    let short = VersionLimits { call_limit: Some(20 * SECOND), ..VersionLimits::default() };
    for (before, after, ended) in
        [(short, VersionLimits::default(), "none"), (VersionLimits::default(), short, "call-limit")]
    {
        let kept: Arc<Mutex<Vec<SharedCall>>> = Arc::default();
        let keeps = Arc::clone(&kept);
        let old = Version::new("old", move |call| {
            let keeps = Arc::clone(&keeps);
            async move {
                call.answer().await.unwrap();
                let child = call.originate(to("91")).await.unwrap();
                keeps.lock().unwrap().push(child);
                until_upgrade(&call, &Notes::default()).await
            }
        });
        let new = Version::new("new", |_| async { trap() }).restores(|call, _| async move {
            let _inherited = call.inherited();
            std::future::pending().await
        });
        let kit = kit_with(&Version { limits: before, ..old });
        let leg = kit.call("c1");
        settle().await;
        kit.placed(0).deliver(LegEvent::Answered);
        sleep(9 * SECOND).await;
        put(&kit, &Version { limits: after, ..new });
        sleep(40 * SECOND).await;
        let child = kept.lock().unwrap()[0].info().id.to_string();
        assert_eq!(kit.end_reason_of(&child), ended);
        assert_eq!(kit.end_reason_of("c1"), ended, "the parent's too");
        hang_up(&leg);
        kit.host.idle().await;
    }
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
