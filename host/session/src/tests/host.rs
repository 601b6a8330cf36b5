//! Taking calls, refusing them, and stopping.

use std::future::pending;

use tokio::time::{Instant, sleep};
use voxtra_core::fake::{Fate, LegVerb, VerbKind};
use voxtra_core::{CallState, HangupCause};
use voxtra_plugins::Outcome;

use super::*;
use crate::router::Route;

fn waits() -> TestHandler {
    TestHandler::default(|call| async move {
        let _ = call.gather(keys::listen(1, 1_000 * SECOND)).await;
        Outcome::Returned
    })
}

#[tokio::test(start_paused = true)]
async fn a_call_is_refused_when_as_many_are_up_as_may_be() {
    let options = HostOptions { max_calls: 2, ..HostOptions::default() };
    let kit = Kit::with(options, OnFailure::default(), [waits()]);
    let first = kit.call("c1");
    kit.call("c2");
    let refusal = kit.host.incoming(FakeLeg::new().incoming("c3")).err().unwrap();
    assert_eq!(refusal.cause, HangupCause::Congestion);
    assert!(refusal.reason.contains('2'), "{refusal}");
    hang_up(&first);
    settle().await;
    kit.call("c4");
    assert_eq!((kit.host.stats().started, kit.host.stats().refused, kit.host.active()), (3, 1, 2));
    // Nothing was told of the call that was not taken.
    assert!(kit.kinds("c3").is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_can_take_is_refused_with_a_reason() {
    let kit = Kit::new([TestHandler::new("other", |_| pending())]);
    let leg = FakeLeg::new();
    let refusal = kit.host.incoming(leg.incoming("c1")).err().unwrap();
    assert!(refusal.reason.contains("default.wasm"), "{refusal}");
    assert_eq!(refusal.cause, HangupCause::Rejected);
    let mut elsewhere = leg.incoming("c2");
    elsewhere.app = "unknown".into();
    let refusal = kit.host.incoming(elsewhere).err().unwrap();
    assert!(refusal.reason.contains("unknown"), "{refusal}");
    assert_eq!((kit.host.active(), kit.host.stats().refused), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_here_already_is_not_taken_twice() {
    let kit = Kit::new([waits()]);
    kit.call("c1");
    assert!(kit.host.incoming(FakeLeg::new().incoming("c1")).is_err());
    assert_eq!(kit.host.active(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_route_decides_the_handler_and_its_metadata() {
    let notes = Notes::default();
    let seen = notes.clone();
    let support = TestHandler::new("support", move |call| {
        let seen = seen.clone();
        async move {
            seen.add((&call.info().route, call.info().tenant.as_str(), call.metadata_get("queue")));
            Outcome::Returned
        }
    });
    let kit = Kit::new([waits(), support]);
    let route = Route {
        name: "the desk".into(),
        extension: "200".into(),
        handler: "support".into(),
        metadata: vec![("queue".into(), "desk".into())],
        ..Route::default()
    };
    let acme =
        TenantRoutes { tenant: "acme".into(), app: "voxtra".into(), routes: vec![route], ..TenantRoutes::default() };
    kit.host.set_router(Router::new([acme]).unwrap());
    kit.call("c1");
    kit.host.idle().await;
    assert_eq!(notes.all(), ["(\"the desk\", \"acme\", Some(\"desk\"))"]);
    assert_eq!(kit.sink.events()[0].tenant, TenantId::from("acme"));
}

#[tokio::test(start_paused = true)]
async fn a_call_keeps_the_handler_that_it_began_with() {
    let kit = Kit::new([waits()]);
    let old = kit.call_with(leg_with_prompts_of(SECOND), "old");
    settle().await;
    kit.host.set_handlers(catalog([TestHandler::default(|_| async { trap() })]));
    sleep(SECOND).await;
    hang_up(&old);
    kit.host.idle().await;
    // Its hook, too, is the old version's.
    assert_eq!((kit.end_reason().as_str(), kit.hooked().len()), ("caller-hung-up", 1));
    kit.call_with(leg_with_prompts_of(SECOND), "new");
    kit.host.idle().await;
    assert_eq!((kit.host.stats().handler_failures, kit.hooked().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn calls_can_be_listed_and_hung_up() {
    let kit = Kit::new([waits()]);
    let leg = kit.call("c1");
    settle().await;
    let calls = kit.host.calls();
    assert_eq!(calls.len(), 1);
    let call = &calls[0];
    assert_eq!(
        (call.state, call.handler.as_str(), call.version.as_str()),
        (CallState::Ringing, "default", "0123456789ab")
    );
    assert!(kit.host.hangup(&CallId::from("c1")));
    assert!(!kit.host.hangup(&CallId::from("c2")));
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "operator-hung-up");
    assert_eq!(leg.verbs(), [LegVerb::End(HangupCause::Normal)]);
    assert!(kit.host.calls().is_empty() && !kit.host.hangup(&CallId::from("c1")));
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_all_calls_and_takes_no_more() {
    let kit = Kit::new([waits()]);
    let legs: Vec<_> = (0..50).map(|n| kit.call(&format!("c{n}"))).collect();
    settle().await;
    let began = Instant::now();
    assert_eq!(kit.host.shutdown(10 * SECOND).await, 0);
    assert!(began.elapsed() < SECOND);
    assert_eq!(kit.end_reason(), "host-stopping");
    for (n, leg) in legs.iter().enumerate() {
        assert_eq!(leg.count(|v| matches!(v, LegVerb::End(_))), 1);
        kit.assert_ended_once(&format!("c{n}"));
    }
    assert_eq!(kit.hooked().len(), 50);
    let refusal = kit.host.incoming(FakeLeg::new().incoming("late")).err().unwrap();
    assert!(refusal.reason.contains("stopping"), "{refusal}");
    let stats = kit.host.stats();
    assert_eq!((stats.started, stats.ended, stats.lost, stats.refused), (50, 50, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn shutdown_is_over_in_its_time_whatever_hangs() {
    let kit = Kit::new([TestHandler::default(|_| pending()).with_hook(|_| pending())]);
    for n in 0..10 {
        let leg = FakeLeg::new();
        leg.set_fate(VerbKind::End, Fate::Hangs);
        kit.call_with(leg, &format!("c{n}"));
    }
    let began = Instant::now();
    assert_eq!(kit.host.shutdown(2 * SECOND).await, 0);
    assert_eq!(began.elapsed().as_secs(), 2);
    assert_eq!(kit.hooked().len(), 10);
    (0..10).for_each(|n| kit.assert_ended_once(&format!("c{n}")));
}

#[tokio::test(start_paused = true)]
async fn shutdown_hurries_calls_that_are_ending_already() {
    let kit = Kit::new([TestHandler::default(|_| pending())]);
    let leg = kit.call("c1");
    settle().await;
    hang_up(&leg);
    settle().await;
    let began = Instant::now();
    assert_eq!(kit.host.shutdown(SECOND).await, 0);
    assert_eq!((began.elapsed().as_secs(), kit.end_reason().as_str()), (1, "caller-hung-up"));
    kit.assert_ended_once("c1");
}

/// In real time and on several threads, where whatever can meet does.
#[test]
fn calls_on_many_threads_each_end_once() {
    const CALLS: usize = 300;
    let threads = || tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
    let (control, guests, outside) = (threads(), threads(), threads());
    let handlers = catalog([TestHandler::default(|call| async move {
        let _ = call.answer().await;
        let _ = call.play(sounds(&["a"]), "1".into()).await;
        if call.open_audio(8_000).await.is_ok() {
            call.close_audio();
        }
        let _ = call.gather(keys::listen(2, SECOND / 100)).await;
        if call.info().id.as_str().ends_with('7') { trap() } else { Outcome::Returned }
    })]);
    let sink = Arc::<RecordingEventSink>::default();
    let (started, told) = (Arc::clone(&handlers), Arc::clone(&sink));
    let runtimes = Runtimes { control: control.handle().clone(), guests: guests.handle().clone().into() };
    // However busy the machine is, and however many of the handlers trap one after the other.
    let options = HostOptions {
        start_budget: 60 * SECOND,
        handler_grace: 60 * SECOND,
        hook_limit: 60 * SECOND,
        breaker: crate::BreakerOptions { failures: 0, ..crate::BreakerOptions::default() },
        ..HostOptions::default()
    };
    let host = Host::new(options, started, Router::single("voxtra"), told, runtimes);
    let kit = Kit { host, sink, handlers, exchange: FakeExchange::new() };
    let legs: Vec<_> = (0..CALLS)
        .map(|n| {
            let leg = FakeLeg::new();
            let weak = Arc::downgrade(&leg);
            let tasks = outside.handle().clone();
            leg.on_play(move |id: &PlaybackId, _: &[String]| {
                let (leg, id) = (weak.clone(), id.clone());
                tasks.spawn(async move { leg.upgrade().iter().for_each(|leg| leg.finish(&id)) });
            });
            let leg = kit.call_with(leg, &format!("c{n}"));
            let caller = Arc::clone(&leg);
            outside.spawn(async move {
                press(&caller, "12");
                if n % 2 == 0 {
                    sleep(std::time::Duration::from_millis(n as u64 % 20)).await;
                    hang_up(&caller);
                }
            });
            leg
        })
        .collect();
    outside.block_on(async { tokio::time::timeout(60 * SECOND, kit.host.idle()).await.unwrap() });
    for (n, leg) in legs.iter().enumerate() {
        assert_eq!(leg.count(|v| matches!(v, LegVerb::End(_))), 1);
        kit.assert_ended_once(&format!("c{n}"));
    }
    let stats = kit.host.stats();
    assert_eq!((stats.started, stats.ended, stats.lost), (CALLS as u64, CALLS as u64, 0));
    assert_eq!((kit.hooked().len(), kit.host.stats().handlers_cut_off), (CALLS, 0));
}
