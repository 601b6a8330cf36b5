//! Every way in which a call can end, each of them twice, in every order: it ends once.

use proptest::prelude::*;
use tokio::sync::mpsc;
use tokio::time::{Duration, timeout};
use voxtra_core::fake::{BridgeVerb, DeskVerb, FakeDesk, Fate, LegVerb, SnoopVerb, VerbKind};
use voxtra_core::telephony::LegEnd;
use voxtra_core::verbs::Recorder;
use voxtra_core::{CallError, HangupCause, LegEvent};
use voxtra_plugins::Outcome;

use super::*;
use crate::options::Then;

/// Something that ends a call, or would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    CallerHangsUp,
    Transferred,
    PbxFails,
    MediaLost,
    AdapterVanishes,
    Operator,
    Shutdown,
    HandlerHangsUp,
    HandlerReturns,
    HandlerErrs,
    HandlerTraps,
    HandlerHandsOn,
    Drain,
    TimeLimit,
}

const SIGNALS: [Signal; 14] = [
    Signal::CallerHangsUp,
    Signal::Transferred,
    Signal::PbxFails,
    Signal::MediaLost,
    Signal::AdapterVanishes,
    Signal::Operator,
    Signal::Shutdown,
    Signal::HandlerHangsUp,
    Signal::HandlerReturns,
    Signal::HandlerErrs,
    Signal::HandlerTraps,
    Signal::HandlerHandsOn,
    Signal::Drain,
    Signal::TimeLimit,
];

/// What is odd about the run beside the order of its signals.
#[derive(Debug, Clone)]
struct Circumstances {
    then: Then,
    prompts: bool,
    end_fate: Option<Fate>,
    hook_traps: bool,
}

fn circumstances() -> impl Strategy<Value = Circumstances> {
    let then = prop_oneof![
        Just(Then::HangUp),
        Just(Then::Transfer("200".to_owned())),
        Just(Then::Handler(HandlerName::from("default"))),
    ];
    let error = CallError::Telephony("500".to_owned());
    let end_fate = prop_oneof![Just(None), Just(Some(Fate::Hangs)), Just(Some(Fate::Fails(error)))];
    (then, any::<bool>(), end_fate, any::<bool>()).prop_map(|(then, prompts, end_fate, hook_traps)| Circumstances {
        then,
        prompts,
        end_fate,
        hook_traps,
    })
}

/// All signals, each of them twice, shuffled, each after a pause of so many milliseconds.
fn signals() -> impl Strategy<Value = Vec<(Signal, u64)>> {
    let twice: Vec<_> = SIGNALS.into_iter().chain(SIGNALS).collect();
    let pauses = proptest::collection::vec(prop_oneof![Just(0), Just(0), 1..50_u64, 1_000..8_000_u64], twice.len());
    (Just(twice).prop_shuffle(), pauses).prop_map(|(signals, pauses)| signals.into_iter().zip(pauses).collect())
}

/// Does what it is told, by whoever tells it, whichever instance it is.
fn puppet(orders: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Signal>>>, hook_traps: bool) -> TestHandler {
    let script = move |call: SharedCall| {
        let orders = Arc::clone(&orders);
        async move {
            let _ = call.answer().await;
            let _ = call.open_audio(8_000).await;
            // Everything that has to go again.
            let _ = call.record_start(recording::options(Recorder::Host)).await;
            let _made =
                (call.create_bridge().await, call.snoop(made::ear()).await, call.originate(placing::to("91")).await);
            let mut orders = orders.lock().await;
            loop {
                match orders.recv().await {
                    Some(Signal::HandlerHangsUp) => call.hangup(HangupCause::Normal).await.unwrap(),
                    Some(Signal::HandlerHandsOn) => drop(call.transfer("200".into()).await),
                    Some(Signal::HandlerErrs) => return Outcome::Error("told to".into()),
                    Some(Signal::HandlerTraps) => return trap(),
                    _ => return Outcome::Returned,
                }
            }
        }
    };
    TestHandler::default(script).with_hook(move |_| async move { if hook_traps { trap() } else { Outcome::Returned } })
}

async fn live_through(signals: &[(Signal, u64)], odd: &Circumstances) {
    let (order, orders) = mpsc::unbounded_channel();
    let handler = puppet(Arc::new(tokio::sync::Mutex::new(orders)), odd.hook_traps);
    let play = if odd.prompts { None } else { Some(Vec::new()) };
    let on_failure = OnFailure { play, then: odd.then.clone() };
    let options = HostOptions { call_limit: 20 * SECOND, ..HostOptions::default() };
    let desk = FakeDesk::new();
    let keeps = Arc::clone(&desk);
    let kit = Kit::with_all(options, on_failure, [handler], |ports| ports.desk = Some(keeps)).may_dial();
    let leg = leg_with_prompts_of(SECOND);
    if let Some(fate) = odd.end_fate.clone() {
        leg.set_fate(VerbKind::End, fate);
    }
    kit.call_with(Arc::clone(&leg), "c1");
    for (signal, pause_ms) in signals {
        sleep(Duration::from_millis(*pause_ms)).await;
        match signal {
            Signal::CallerHangsUp => hang_up(&leg),
            Signal::Transferred => leg.deliver(LegEvent::Ended(LegEnd::Transferred)),
            Signal::PbxFails => leg.deliver(LegEvent::Ended(LegEnd::Failed("gone".into()))),
            Signal::MediaLost => leg.deliver(LegEvent::MediaLost),
            Signal::AdapterVanishes => leg.disconnect(),
            Signal::Operator => drop(kit.host.hangup(&CallId::from("c1"))),
            Signal::Shutdown => {
                let host = Arc::clone(&kit.host);
                tokio::spawn(async move { host.shutdown(SECOND).await });
            }
            Signal::Drain => {
                let host = Arc::clone(&kit.host);
                tokio::spawn(async move { host.drain(SECOND, sounds(&["bye"])).await });
            }
            Signal::TimeLimit => sleep(21 * SECOND).await,
            told => drop(order.send(*told)),
        }
    }
    timeout(60 * SECOND, kit.host.idle()).await.expect("the call is still there");

    // What was made beside the call is gone when it is, or a moment later.
    settle().await;

    kit.assert_ended_once("c1");
    let legs = kit.exchange.placed();
    for (placed, leg) in &legs {
        kit.assert_ended_once(placed.id.as_str());
        assert_eq!(leg.count(|v| matches!(v, LegVerb::End(_))), 1, "a placed call was hung up");
    }
    for bridge in kit.exchange.bridges() {
        assert_eq!(bridge.verbs(), [BridgeVerb::Destroy]);
    }
    for snoop in leg.snoops() {
        assert_eq!(snoop.verbs().iter().filter(|v| **v == SnoopVerb::Stop).count(), 1);
    }
    let count = |is: fn(&DeskVerb) -> bool| desk.verbs().iter().filter(|verb| is(verb)).count();
    let (opened, finished) = (count(|v| matches!(v, DeskVerb::Open(_))), count(|v| matches!(v, DeskVerb::Finish(_))));
    assert_eq!(opened, finished, "recordings");
    assert_eq!(leg.count(|v| matches!(v, LegVerb::End(_))), 1, "hung up at the leg");
    assert_eq!(kit.hooked().len(), 1, "the hook ran");
    let started = kit.kinds("c1").iter().filter(|k| **k == EventType::CallStarted).count();
    let failed = kit.kinds("c1").iter().filter(|k| **k == EventType::CallFailed).count();
    let fails = matches!(kit.end_reason_of("c1").as_str(), "handler-failed" | "telephony-failed" | "media-lost");
    assert_eq!((started, failed), (1, usize::from(fails)));
    assert_eq!(kit.hooked()[0].1.reason.as_str(), kit.end_reason_of("c1"), "the hook and the event tell the same");
    let stats = kit.host.stats();
    let calls = 1 + legs.len() as u64;
    assert_eq!((stats.started, stats.ended, stats.lost), (calls, calls, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_end_happens_once_whatever_comes_twice(signals in signals(), odd in circumstances()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(live_through(&signals, &odd));
    }
}

#[test]
fn each_way_to_end_is_enough_by_itself() {
    for signal in SIGNALS {
        let odd = Circumstances { then: Then::HangUp, prompts: true, end_fate: None, hook_traps: false };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(live_through(&[(signal, 100), (signal, 0)], &odd));
    }
}
