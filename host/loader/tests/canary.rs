//! New versions on trial, as the plugin directory and the folder of versions see them. How calls go is told by hand; with
//! calls it is `tests/e2e/tests/canary.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;

use std::fs;
use std::time::Instant;

use voxtra_artifacts::store::Why;
use voxtra_loader::{Keeper, Loader, News};

use rig::{Heard, LONG, Rig, bad_start, handler, key, version};

const MANIFEST: &[u8] = b"canary = { percent = 25, min_calls = 20, max_failures_percent = 5 }\n";

/// One good version that takes calls, and one on trial beside it.
fn trial(name: &str) -> (Rig, Loader, Heard) {
    let rig = Rig::new(name);
    rig.put("a.wasm", &handler(1));
    rig.put("a.toml", MANIFEST);
    let (mut loader, mut heard) = rig.begin();
    assert_eq!((heard.now(), heard.tried().len()), (serves(1), 0), "the first version has nothing beside it");
    rig.put("a.wasm", &handler(2));
    rig.settle(&mut loader, &mut heard);
    assert_eq!((heard.now(), heard.tried()), (serves(1), tries(2)));
    (rig, loader, heard)
}

fn serves(number: usize) -> Vec<String> {
    vec![format!("default/a {}", version(&handler(number)))]
}

fn tries(number: usize) -> Vec<String> {
    vec![format!("default/a {} 25", version(&handler(number)))]
}

fn over(rig: &Rig, loader: &mut Loader, heard: &mut Heard, number: usize, proved: bool, why: &str) {
    loader.trial_over(Instant::now(), &key("a"), &version(&handler(number)), proved, why);
    rig.settle(loader, heard);
}

fn history(loader: &Loader) -> Vec<(Why, String)> {
    let known = loader.versions().get(&key("a")).unwrap().unwrap();
    known.record.history().iter().map(|entry| (entry.why, entry.version.short())).collect()
}

#[test]
fn a_version_that_has_proved_itself_takes_all_calls() {
    let (rig, mut loader, mut heard) = trial("proved");
    over(&rig, &mut loader, &mut heard, 2, true, "0 of its 100 calls on trial failed");
    assert_eq!((heard.now(), heard.tried().len()), (serves(2), 0));
    assert_eq!(history(&loader).last().unwrap(), &(Why::CanaryPromoted, version(&handler(2))));
    let promoted =
        |news: &News| matches!(news, News::Promoted { from: Some(from), .. } if *from == version(&handler(1)));
    assert!(heard.0.lock().unwrap().1.iter().any(promoted));
    drop(loader);
    let (_loader, heard) = rig.begin();
    assert_eq!((heard.now(), heard.tried().len()), (serves(2), 0));
}

#[test]
fn a_version_that_failed_is_not_taken_again_before_its_file_changes() {
    let (rig, mut loader, mut heard) = trial("failed");
    over(&rig, &mut loader, &mut heard, 2, false, "5 of its last 20 calls failed");
    assert_eq!((heard.now(), heard.tried().len()), (serves(1), 0));
    assert_eq!(history(&loader).last().unwrap(), &(Why::CanaryFailed, version(&handler(2))));
    // Neither by the watcher, also when somebody touches the file, nor by the next start.
    rig.put("a.wasm", &handler(2));
    rig.settle(&mut loader, &mut heard);
    assert_eq!((heard.now(), heard.tried().len()), (serves(1), 0));
    drop(loader);
    let (mut loader, mut heard) = rig.begin();
    assert_eq!((heard.now(), heard.tried().len()), (serves(1), 0));
    assert!(heard.refusals().iter().any(|why| why.contains("failed as a canary")), "{:?}", heard.refusals());
    rig.put("a.wasm", &handler(3));
    rig.settle(&mut loader, &mut heard);
    assert_eq!((heard.now(), heard.tried()), (serves(1), tries(3)));
}

#[test]
fn after_a_crash_in_a_trial_the_last_good_version_serves_and_the_trial_begins_anew() {
    let (rig, loader, _heard) = trial("crash");
    // As after a kill: nothing is written any more.
    drop(loader);
    let (mut loader, mut heard) = rig.begin();
    assert_eq!((heard.now(), heard.tried()), (serves(1), tries(2)));
    drop(loader);
    // A file that changed while the host was down is tried as well, and one that is bad is not.
    rig.put("a.wasm", &handler(3));
    (loader, heard) = rig.begin();
    assert_eq!((heard.now(), heard.tried()), (serves(1), tries(3)));
    drop(loader);
    rig.put("a.wasm", &bad_start(4));
    (loader, heard) = rig.begin();
    assert_eq!((heard.now(), heard.tried().len()), (serves(1), 0));
    rig.put("a.wasm", &handler(3));
    rig.settle(&mut loader, &mut heard);
    assert_eq!((heard.now(), heard.tried()), (serves(1), tries(3)));
}

#[test]
fn what_is_put_into_the_directory_in_a_trial_takes_its_place() {
    let (rig, mut loader, mut heard) = trial("another");
    rig.put("a.wasm", &handler(3));
    rig.settle(&mut loader, &mut heard);
    assert_eq!((heard.now(), heard.tried()), (serves(1), tries(3)));
    // What is said of the one before is too late.
    over(&rig, &mut loader, &mut heard, 2, false, "late");
    over(&rig, &mut loader, &mut heard, 2, true, "late");
    assert_eq!((heard.now(), heard.tried()), (serves(1), tries(3)));
    // The current version again: nothing is left to try.
    rig.put("a.wasm", &handler(1));
    rig.settle(&mut loader, &mut heard);
    assert_eq!((heard.now(), heard.tried().len()), (serves(1), 0));
    assert_eq!(history(&loader).last().unwrap(), &(Why::CanaryWithdrawn, version(&handler(3))));
    rig.put("a.wasm", &handler(3));
    rig.settle(&mut loader, &mut heard);
    assert_eq!(heard.tried(), tries(3));
    fs::remove_file(rig.plugins().join("a.wasm")).unwrap();
    fs::remove_file(rig.plugins().join("a.toml")).unwrap();
    rig.settle(&mut loader, &mut heard);
    assert!(heard.now().is_empty() && heard.tried().is_empty());
}

#[test]
fn a_manifest_that_tries_no_versions_any_more_gives_the_new_one_all_calls() {
    let (rig, mut loader, mut heard) = trial("no-plan");
    rig.put("a.toml", b"canary = { percent = 50 }\n");
    rig.settle(&mut loader, &mut heard);
    assert_eq!(heard.tried(), [format!("default/a {} 50", version(&handler(2)))]);
    rig.put("a.toml", b"");
    rig.settle(&mut loader, &mut heard);
    assert_eq!((heard.now(), heard.tried().len()), (serves(2), 0));
}

#[test]
fn an_operator_sees_a_trial_and_ends_it() {
    let (rig, loader, heard) = trial("operator");
    let keeper = Keeper::start(loader, Box::new(heard.clone()), Default::default()).unwrap();
    let by = || "ann".to_owned();
    let line = rig.tokio.block_on(keeper.list()).unwrap().remove(0);
    assert_eq!((line.serving, line.trial.as_ref().map(|trial| trial.percent)), (version(&handler(1)), Some(25)));
    assert_eq!(line.trial.map(|trial| trial.version), Some(version(&handler(2))));
    let current = rig.tokio.block_on(keeper.roll_back(key("a"), None, by())).unwrap();
    assert_eq!((current.short(), heard.now(), heard.tried().len()), (version(&handler(1)), serves(1), 0));
    // What was taken back can be chosen, and takes all calls then.
    let new = version(&handler(2));
    rig.tokio.block_on(keeper.roll_back(key("a"), Some(new.parse().unwrap()), by())).unwrap();
    assert_eq!((heard.now(), heard.tried().len()), (serves(2), 0));
    let line = rig.tokio.block_on(keeper.list()).unwrap().remove(0);
    assert_eq!((line.serving, line.trial), (new, None));
}

#[test]
fn a_reporter_reaches_the_loader_and_does_not_keep_it() {
    let (rig, loader, heard) = trial("reporter");
    let keeper = Keeper::start(loader, Box::new(heard.clone()), Default::default()).unwrap();
    let reporter = keeper.reporter();
    reporter.proved(key("a"), &version(&handler(2)), "0 of its 100 calls failed");
    let began = Instant::now();
    while heard.now() != serves(2) {
        assert!(began.elapsed() < LONG, "{:?}", heard.now());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    drop(keeper);
    reporter.withdrawn(key("a"), &version(&handler(2)), "late");
    drop(rig);
}
