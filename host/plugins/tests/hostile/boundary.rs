//! What lies between a handler and its host: sizes, counts and texts.

use std::time::Duration;

use tokio::time::Instant;
use voxtra_core::CallError;
use voxtra_plugins::fake::FakeCall;
use voxtra_plugins::{Limits, Outcome, TrapKind};

use crate::support::{assert_the_next_call_is_served, attack, attack_with, briefly, by_default, guest, run, runtime};

#[tokio::test]
async fn nothing_huge_is_handed_over_in_one_host_call() {
    let runtime = runtime(by_default());
    let attacker = guest(&runtime, "boundary");
    for what in ["log", "field", "prompt", "emit", "note", "store", "key", "audio", "variable", "row", "target"] {
        let call = FakeCall::new().with_metadata([("attack", format!("huge-{what}"))]);
        let ran = run(&attacker, call).await;
        assert_eq!(ran.trap(), TrapKind::HostCallLimit, "{what}");
        assert!(ran.asked.iter().all(|line| line.len() < 1_000), "{what} has reached the host");
    }
    assert_the_next_call_is_served(&runtime).await;
}

#[tokio::test]
async fn very_many_empty_things_are_as_large_as_the_host_makes_them() {
    for what in ["fields", "prompts", "keys", "notes", "variables", "rows"] {
        let ran = attack(by_default(), "boundary", &format!("many-{what}")).await;
        assert_eq!(ran.trap(), TrapKind::HostCallLimit, "{what}: {}", ran.asked.len());
    }
}

#[tokio::test]
async fn what_a_handler_returns_counts_as_handed_over() {
    let ran = attack(by_default(), "boundary", "huge-error").await;
    assert_eq!(ran.trap(), TrapKind::HostCallLimit);
    assert!(ran.logs.iter().all(|line| line.len() < 1_000));
}

#[tokio::test]
async fn handles_of_every_kind_are_limited_and_given_back() {
    let limits = Limits { handles: 50, ..by_default() };
    for (what, verb, taken_down) in [
        ("call", "originate", ""),
        ("bridge", "create-bridge", "bridge-"),
        ("snoop", "snoop S", "snoop-"),
        ("playback", "start-playback", ""),
        ("audio", "open-audio", "close-audio"),
        ("poll", "", ""),
    ] {
        let ran = attack(limits, "boundary", &format!("handles-{what}")).await;
        assert_eq!(ran.trap(), TrapKind::HostCallLimit, "{what}");
        let made = ran.times(verb);
        assert!(verb.is_empty() || (10..=50).contains(&made), "{made} of {what}");
        if !taken_down.is_empty() {
            let dropped =
                |line: &&String| line.starts_with(taken_down) && line.ends_with("dropped") || *line == taken_down;
            assert_eq!(ran.asked.iter().filter(dropped).count(), made, "{what}");
        }
    }
}

#[tokio::test]
async fn a_flood_of_what_is_answered_on_the_spot_is_running_time() {
    for what in ["state", "note", "notes", "clock"] {
        let ran = attack_with(briefly(), "boundary", &format!("flood-{what}"), &[("times", "1000000000")]).await;
        assert_eq!(ran.trap(), TrapKind::CpuLimit, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_verbs_waits_for_its_turns() {
    const TIMES: u64 = 2_000;

    for what in [
        "event",
        "ring",
        "variable",
        "playback",
        "store-get",
        "store-set",
        "dial",
        "bridge",
        "snoop",
        "record",
        "batch",
    ] {
        let began = Instant::now();
        let times = TIMES.to_string();
        let ran = attack_with(by_default(), "boundary", &format!("flood-{what}"), &[("times", &times)]).await;
        // But for the burst of the first second.
        let of_store = what.starts_with("store");
        let limits = by_default();
        let rate = u64::from(if of_store { limits.store_calls_per_second } else { limits.verbs_per_second });
        let least = Duration::from_secs(TIMES / rate - 2);
        assert!(began.elapsed() >= least, "{what}: {:?}", began.elapsed());
        assert_eq!(ran.outcome, Outcome::Returned, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_events_is_cut() {
    let limits = Limits { events_per_second: 20, ..by_default() };
    let ran = attack_with(limits, "boundary", "flood-emit", &[("times", "20000")]).await;
    // But for the burst, there is no second in which more could go; the report of it comes too late as well.
    let emitted = ran.times("emit \"flood\"");
    assert!((20..=36).contains(&emitted), "{emitted}");
    assert_eq!(ran.times("emit \"attack.result\""), 0);
    let told = ran.logs.iter().find(|line| line.contains("attack.result is not told")).unwrap();
    assert!(told.contains("events_per_second") && told.contains("\"limit-exceeded\""), "{told}");
}

#[tokio::test]
async fn one_wait_named_ten_thousand_times_is_no_harm() {
    let ran = attack_with(briefly(), "boundary", "flood-poll", &[("times", "1000000")]).await;
    assert!(matches!(ran.trap(), TrapKind::CpuLimit | TrapKind::HostCallLimit));
}

#[tokio::test(start_paused = true)]
async fn what_the_host_keeps_for_a_call_has_a_limit() {
    for what in ["playbacks", "calls", "notes", "events", "rows"] {
        let ran = attack_with(by_default(), "boundary", &format!("retain-{what}"), &[("times", "100")]).await;
        // Pieces of 512 KiB, of 4 MiB together; the report goes out of the same budget, and has room in it.
        let (last, kept) = (ran.got("last"), ran.got("kept").parse::<u32>().unwrap());
        assert!(last.starts_with("limit-exceeded"), "{what}: {last}");
        assert!(last.contains("retained_bytes"), "{what}: {last}");
        assert!((6..=8).contains(&kept), "{what}: {kept}");
    }
}

#[tokio::test]
async fn what_is_printed_comes_in_lines_of_bounded_length() {
    let unlimited = Limits { log_bytes: 1 << 20, log_lines_per_second: 0, ..by_default() };
    let ran = attack_with(unlimited, "boundary", "print-flood", &[("times", "500")]).await;
    assert_eq!(ran.logs.len(), 500);
    let ran = attack(by_default(), "boundary", "log-control").await;
    assert!(ran.logs.iter().all(|line| line.len() <= 4_096));
    // It is escaped by whoever writes it, and gets there as it was said.
    assert!(ran.logs.iter().any(|line| line.contains("\u{1b}[2J")));
    assert!(ran.logs.contains(&"2026-01-01T00:00:00Z ERROR voxtra: the operator's password is\tx".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_lines_does_not_reach_the_session() {
    for name in ["log-flood", "print-flood"] {
        let budget = Limits { log_lines_per_second: 0, ..by_default() };
        let ran = attack(budget, "boundary", name).await;
        assert_eq!(ran.outcome, Outcome::Returned, "{name}");
        let bytes: usize = ran.logs.iter().map(String::len).sum();
        assert!((60 << 10..65 << 10).contains(&bytes), "{name}: {bytes}");
        let last = ran.logs.last().unwrap();
        assert!(last.contains("has logged 64 KiB") && last.contains("left out"), "{name}: {last}");

        let rate = Limits { log_bytes: 1 << 30, log_lines_per_second: 20, ..by_default() };
        let ran = attack_with(rate, "boundary", name, &[("times", "5000")]).await;
        assert!((20..=22).contains(&ran.logs.len()), "{name}: {}", ran.logs.len());
    }
}

/// What the host says to a text is for the session's and the telephony's own tests; here, that each text gets to be
/// checked, as it was written, and that what is said of it comes back.
#[tokio::test(start_paused = true)]
async fn each_forged_text_reaches_the_hosts_check_and_its_refusal_comes_back() {
    let runtime = runtime(by_default());
    let attacker = guest(&runtime, "boundary");
    let on = |name: &str| FakeCall::new().with_metadata([("attack", name)]);

    let taken = run(&attacker, on("inject")).await;
    for text in ["${SHELL(touch /tmp/owned)}", "100\\r\\nAction: Originate", "PJSIP/100&PJSIP/200", "100\\0.wav"] {
        for verb in
            ["hold", "set-variable", "play", "send-dtmf", "record-start", "originate", "transfer", "batch-start"]
        {
            let reached = taken.asked.iter().any(|line| line.starts_with(verb) && line.contains(text));
            assert!(reached, "{text} has not reached {verb}");
        }
    }

    let why = || CallError::InvalidArgument("no".to_owned());
    let call = FakeCall::new().refusing(why()).with_metadata([("attack", "inject")]);
    let refused = run(&attacker, call).await;
    // Emitting is refused as well: the report has nowhere to go, and the handler lives with it.
    assert_eq!(refused.outcome, Outcome::Returned);

    let paths = run(&attacker, on("paths")).await;
    assert!(paths.got("play-file").contains("other-tenant"), "{}", paths.got("play-file"));
    assert!(paths.asked.iter().any(|line| line.contains("file:../../../../etc/passwd")));

    let dialled = run(&attacker, on("dial")).await;
    assert_eq!(dialled.times("originate"), 20);
    assert!(dialled.asked.iter().any(|line| line.contains("+19005551234")));
}

#[tokio::test(start_paused = true)]
async fn the_store_is_filled_until_the_host_refuses() {
    let ran = attack_with(by_default(), "boundary", "store-keys", &[("times", "2000")]).await;
    assert_eq!(ran.got("stored"), "2000");
    let ran = attack_with(by_default(), "boundary", "store-values", &[("times", "100")]).await;
    assert_eq!(ran.got("stored"), "100");
}
