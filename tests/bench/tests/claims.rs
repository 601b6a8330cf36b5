//! What the figures have to hold whatever the machine, by the program that measures them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;
use std::sync::Mutex;

fn bench(args: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_voxtra-bench")).args(args).env("VOXTRA_GUESTS", guests()).output();
    let output = output.unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

fn guests() -> std::path::PathBuf {
    voxtra_test_support::files::guests()
}

/// One after the other: what the one does is not to be heard in the other.
static ALONE: Mutex<()> = Mutex::new(());

/// All of them and their outcomes, on a machine that may do other things; `cargo xtask bench --attacks` has the bound of one
/// part in ten.
#[test]
fn every_attack_has_its_outcome_and_frames_of_a_hundred_other_calls_come_on_time() {
    let _alone = ALONE.lock();
    let (is_good, said) = bench(&["--attacks", "--rough"]);
    println!("{said}");
    assert!(is_good, "{said}");
}

/// Both in turns on one thread: what else the machine does falls on both.
#[test]
fn an_instance_with_all_limits_on_costs_at_most_three_times_a_bare_one() {
    let _alone = ALONE.lock();
    let (is_good, said) = bench(&["--sandbox"]);
    println!("{said}");
    assert!(is_good, "{said}");
}

/// Ten calls over each of two hundred handlers in twenty tenants; the figures are of ten hundred.
#[test]
fn every_one_of_very_many_handlers_takes_its_calls_after_a_start_from_the_cache() {
    let _alone = ALONE.lock();
    let (is_good, said) = bench(&["--handlers", "20"]);
    println!("{said}");
    assert!(is_good && said.contains("calls in virtual time") && said.contains("2000"), "{said}");
}
