//! What is not the handler's own.

use voxtra_plugins::fake::FakeCall;

use crate::support::{Ran, attack, by_default, guest, guest_file, run, runtime};

#[tokio::test]
async fn there_is_no_environment_no_argument_no_folder_and_no_input() {
    let ran = attack(by_default(), "spy", "surroundings").await;
    assert_eq!(ran.got("environment"), "nothing");
    assert_eq!(ran.got("arguments"), "nothing");
    assert_eq!(ran.got("standard input"), "0");
    let places = [
        "list /",
        "list .",
        "list ..",
        "list /etc",
        "list /proc/self",
        "list /tmp",
        "read /etc/passwd",
        "read /proc/self/environ",
        "read ../tenant.toml",
        "read voxtra.yaml",
        "read /dev/urandom",
        "write /tmp/owned",
        "write owned",
        "write ../owned.wasm",
    ];
    for place in places {
        let got = ran.got(place);
        assert!(got.starts_with("refused"), "{place}: {got}");
    }
}

#[tokio::test]
async fn keys_that_look_like_anothers_are_ones_own() {
    let ran = attack(by_default(), "spy", "store").await;
    assert_eq!(ran.got("every key"), "ok mine");
    let got = ran.asked.iter().find(|line| line.contains("\"get secret\"")).unwrap();
    assert_eq!(got.matches("ok nothing").count(), 12, "{got}");
}

#[tokio::test]
async fn two_calls_share_neither_random_numbers_nor_variables() {
    let runtime = runtime(by_default());
    let spy = guest(&runtime, "spy");
    let asks = async |name: &str, probe: &str| -> String {
        let ran: Ran = run(&spy, FakeCall::new().with_metadata([("attack", name)])).await;
        ran.got(probe)
    };
    assert_ne!(asks("seeds", "seed").await, asks("seeds", "seed").await);
    for _ in 0..3 {
        assert_eq!(asks("statics", "calls before").await, "0");
    }
}

#[test]
fn sockets_and_names_are_refused_before_anything_runs() {
    let runtime = runtime(by_default());
    let file = guest_file("network");
    assert!(file.is_file(), "run `cargo xtask guests` first");
    let why = runtime.load_file(&voxtra_core::TenantId::default(), &file).unwrap_err().to_string();
    assert!(why.contains("imports wasi:sockets/") && why.contains("may not use"), "{why}");
}

/// Fine enough for a phone call, too coarse to see a neighbour's cache.
const COARSE_NS: u64 = 100_000;

#[tokio::test]
async fn clocks_are_coarse() {
    let ran = attack(by_default(), "spy", "clocks").await;
    for clock in ["monotonic ns", "wall ns"] {
        // None: it did not move during all readings.
        let step = ran.got(clock).parse().unwrap_or(u64::MAX);
        assert!(step >= COARSE_NS, "{clock}: a step of {step} ns");
    }
}
