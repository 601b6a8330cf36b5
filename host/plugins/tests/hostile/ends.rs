//! Handlers that stop badly, or not at all, and their audio.

use std::sync::Arc;
use std::time::Duration;

use voxtra_core::verbs::EndedCall;
use voxtra_core::{CallInfo, EndReason, Frame};
use voxtra_plugins::fake::FakeCall;
use voxtra_plugins::{CallHost, Limits, Outcome, Runtime, RuntimeOptions, StartError, TrapKind};

use crate::support::{
    Written, assert_the_next_call_is_served, attack, attack_with, briefly, by_default, guest, load, run, runtime,
};

fn on(name: &str) -> FakeCall {
    FakeCall::new().with_metadata([("attack", name)])
}

fn ended(info: &CallInfo, attack: &str) -> EndedCall {
    EndedCall {
        info: info.clone(),
        reason: EndReason::CallerHungUp,
        duration_ms: 0,
        metadata: vec![("attack".into(), attack.into())],
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_call_that_waits_for_ever_can_be_dropped_at_any_time() {
    let runtime = runtime(by_default());
    let attacker = guest(&runtime, "audio");
    for name in ["wait-events", "wait-audio", "wait-poll", "sleep", "starve", "ignore-end"] {
        let mut instance = attacker.instantiate(Arc::new(on(name))).await.unwrap();
        let four_hours = Duration::from_secs(4 * 60 * 60);
        let outcome = tokio::time::timeout(four_hours, instance.handle()).await;
        assert!(outcome.is_err(), "{name}: {outcome:?}");
        assert!(!instance.is_alive(), "{name}");
        assert!(instance.cpu_used() < Duration::from_secs(5), "{name}: waiting was counted as running");
        drop(instance);
        assert_the_next_call_is_served(&runtime).await;
    }
}

/// The fake's prompts are over at once: a wait for them in a loop is a flood of verbs, which wait for their turns.
#[tokio::test(start_paused = true)]
async fn a_wait_that_does_not_wait_is_slowed_down() {
    let runtime = runtime(by_default());
    let mut instance = guest(&runtime, "audio").instantiate(Arc::new(on("wait-playback"))).await.unwrap();
    let outcome = tokio::time::timeout(Duration::from_secs(60), instance.handle()).await;
    assert!(outcome.is_err(), "{outcome:?}");
    assert!(instance.cpu_used() < Duration::from_secs(5), "{:?}", instance.cpu_used());
}

#[tokio::test]
async fn a_storm_of_traps_leaves_room_for_the_next_call() {
    const STORM: usize = 300;

    let options = RuntimeOptions { max_instances: 1, traps_in_a_row: 0, ..RuntimeOptions::default() };
    let runtime = Runtime::new(options).unwrap();
    let attacker = guest(&runtime, "audio");
    let start = "(memory (export \"memory\") 1) (func $start unreachable) (start $start)";
    let in_start = load(&runtime, &Written { fields: start, ..Written::default() }.wasm()).unwrap();
    for _ in 0..STORM {
        assert_eq!(run(&attacker, on("trap")).await.trap(), TrapKind::Unreachable);
        let why = in_start.instantiate(Arc::new(FakeCall::new())).await.err().unwrap().to_string();
        assert!(why.contains("does not start") && why.contains("panicked"), "{why}");
    }
    assert_the_next_call_is_served(&runtime).await;
}

#[tokio::test]
async fn a_hook_is_stopped_like_a_handler() {
    for (guest_name, name, limits, wanted) in [
        ("audio", "trap-in-hook", by_default(), TrapKind::Unreachable),
        ("compute", "spin-in-hook", briefly(), TrapKind::CpuLimit),
    ] {
        let runtime = runtime(limits);
        let call = Arc::new(on(name));
        let mut instance = guest(&runtime, guest_name).instantiate(call.clone()).await.unwrap();
        assert_eq!(instance.handle().await, Outcome::Returned, "{name}");
        let Outcome::Trapped(trap) = instance.on_hangup(&ended(call.info(), name)).await else { panic!("{name}") };
        assert_eq!(trap.kind, wanted, "{name}");
        assert!(!instance.is_alive());
        drop(instance);
        assert_the_next_call_is_served(&runtime).await;
    }
}

#[tokio::test]
async fn what_a_handler_holds_when_it_traps_is_taken_down() {
    for (name, asked, taken_down) in [
        ("trap-with-bridge", "create-bridge", "bridge-2 dropped"),
        ("trap-with-snoop", "snoop", "snoop-2 dropped"),
        ("trap-with-audio", "open-audio 8000", "close-audio"),
    ] {
        let ran = attack(by_default(), "audio", name).await;
        assert_eq!(ran.trap(), TrapKind::Unreachable, "{name}");
        let begun = ran.asked.iter().position(|line| line.starts_with(asked));
        let over = ran.asked.iter().position(|line| line == taken_down);
        assert!(begun.is_some() && over > begun, "{name}: {:?}", ran.asked);
    }
    for name in ["trap-with-playback", "trap-with-call", "trap-with-recording"] {
        assert_eq!(attack(by_default(), "audio", name).await.trap(), TrapKind::Unreachable, "{name}");
    }
}

#[tokio::test]
async fn audio_that_is_none_is_refused() {
    let odd = attack(by_default(), "audio", "odd").await.got("1 byte");
    assert!(odd.starts_with("invalid-argument") && odd.contains("even number"), "{odd}");
    let large = attack(by_default(), "audio", "oversize").await.got("one sample too many");
    assert!(large.starts_with("invalid-argument") && large.contains("65536"), "{large}");
}

/// The fake takes all that is said at once; the paced writer of a real call is waited for as well.
#[tokio::test(start_paused = true)]
async fn audio_without_end_waits_for_its_turns() {
    let limits = by_default();
    let ran = attack_with(limits, "audio", "flood", &[("times", "1200")]);
    let began = tokio::time::Instant::now();
    assert_eq!(ran.await.got("written"), "1200");
    // But for the burst of the first second.
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1_200 / u64::from(limits.audio_calls_per_second) - 2), "{took:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test]
async fn audio_without_end_is_running_time_where_nothing_makes_it_wait() {
    let runtime = runtime(Limits { audio_calls_per_second: 0, ..briefly() });
    let call = Arc::new(on("flood"));
    let mut instance = guest(&runtime, "audio").instantiate(call.clone()).await.unwrap();
    assert!(matches!(instance.handle().await, Outcome::Trapped(trap) if trap.kind == TrapKind::CpuLimit));
    drop(instance);
    let said = call.audio().said();
    assert!(!said.is_empty() && call.audio().is_closed());
    // Cut into frames of 20 ms, whatever was written.
    let longest = said.into_iter().map(|frame: Frame| frame.into_pcm().len()).max();
    assert_eq!(longest, Some(320));
}

#[tokio::test]
async fn each_stream_is_closed_before_the_next_is_opened() {
    let ran = attack(by_default(), "audio", "reopen").await;
    assert_eq!(ran.outcome, Outcome::Returned);
    assert_eq!((ran.times("open-audio"), ran.times("close-audio")), (100, 100));
}

#[tokio::test(start_paused = true)]
async fn a_version_that_only_traps_is_not_started_for_ever() {
    let runtime = runtime(by_default());
    let attacker = guest(&runtime, "audio");
    for _ in 0..50 {
        run(&attacker, on("trap")).await;
    }
    let why = attacker.instantiate(Arc::new(on("trap"))).await.err().unwrap();
    assert!(matches!(&why, StartError::LeftAlone(why) if why.contains("limit-exceeded")), "{why}");
    // Other versions are others, also of the same tenant.
    assert_the_next_call_is_served(&runtime).await;
    tokio::time::advance(runtime.options().trap_pause).await;
    run(&attacker, on("trap")).await;
    assert!(attacker.instantiate(Arc::new(on("trap"))).await.is_err());
    tokio::time::advance(runtime.options().trap_pause).await;
    assert_eq!(run(&attacker, on("odd")).await.outcome, Outcome::Returned);
    // One good end forgives all.
    for _ in 0..10 {
        run(&attacker, on("trap")).await;
    }
}
