//! What becomes of versions that run, and of those that are kept, when their tenant asks for other signatures than before.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;

use std::fs;
use std::io::Cursor;
use std::time::Duration;

use minisign::KeyPair;
use voxtra_artifacts::Version;
use voxtra_loader::{Keeper, Loader, News};

use rig::{Heard, Rig, bad_start, handler, key, version};

fn keys() -> KeyPair {
    KeyPair::generate_unencrypted_keypair().unwrap()
}

fn signature(keys: &KeyPair, wasm: &[u8]) -> Vec<u8> {
    minisign::sign(Some(&keys.pk), &keys.sk, Cursor::new(wasm), Some("today"), None).unwrap().into_string().into_bytes()
}

fn require(rig: &Rig, trusted: &[&KeyPair]) {
    let trusted: Vec<_> = trusted.iter().map(|keys| format!("\"{}\"", keys.pk.to_base64())).collect();
    rig.put("tenant.toml", format!("[signatures]\nrequired = true\nkeys = [{}]\n", trusted.join(", ")).as_bytes());
}

fn put_signed(rig: &Rig, keys: &KeyPair, wasm: &[u8]) {
    rig.put("a.wasm.minisig", &signature(keys, wasm));
    rig.put("a.wasm", wasm);
}

fn serves(number: usize) -> Vec<String> {
    vec![format!("default/a {}", version(&handler(number)))]
}

/// Why versions that ran take no new calls any more.
fn barred(heard: &Heard) -> Vec<String> {
    let heard = heard.0.lock().unwrap();
    heard
        .1
        .iter()
        .filter_map(|news| if let News::Barred { why, .. } = news { Some(why.clone()) } else { None })
        .collect()
}

/// Whether no version of `a` may take calls.
fn withheld(heard: &Heard) -> bool {
    let heard = heard.0.lock().unwrap();
    heard.0.last().unwrap().catalog.is_withheld(&"default".into(), &"a".into())
}

/// A loader whose handler `a` runs unsigned, in its first version.
fn unsigned(name: &str) -> (Rig, Loader, Heard) {
    let rig = Rig::new(name);
    rig.put("a.wasm", &handler(1));
    let (loader, heard) = rig.begin();
    assert_eq!(heard.now(), serves(1));
    (rig, loader, heard)
}

#[test]
fn what_runs_unsigned_takes_no_new_calls_when_signatures_become_required() {
    let (rig, mut loader, mut heard) = unsigned("required-later");
    let ana = keys();
    require(&rig, &[&ana]);
    rig.settle(&mut loader, &mut heard);
    assert!(heard.now().is_empty(), "{:?}", heard.now());
    let [why] = <[String; 1]>::try_from(barred(&heard)).unwrap();
    for part in [&version(&handler(1)), "default/a", "unsigned", "no new calls", "put its signature beside"] {
        assert!(why.contains(part), "{why}");
    }
    assert!(withheld(&heard), "its failure policy has new calls");
    // Nor after a restart, as the last good one.
    drop(loader);
    let (mut loader, mut heard) = rig.begin();
    rig.settle(&mut loader, &mut heard);
    assert!(heard.now().is_empty(), "{:?}", heard.now());
    assert!(heard.refusals().iter().any(|why| why.contains("default/a is unsigned")), "{:?}", heard.refusals());
    assert!(withheld(&heard));
    // Its signature is all that it needs.
    rig.put("a.wasm.minisig", &signature(&ana, &handler(1)));
    rig.settle(&mut loader, &mut heard);
    assert!(heard.now() == serves(1) && !withheld(&heard));
}

#[test]
fn a_bad_file_does_not_bring_an_unsigned_last_good_version_back() {
    let (rig, loader, _) = unsigned("bad-file");
    drop(loader);
    let ana = keys();
    require(&rig, &[&ana]);
    put_signed(&rig, &ana, &bad_start(2));
    let (_loader, heard) = rig.begin();
    assert!(heard.now().is_empty(), "{:?}", heard.now());
}

#[test]
fn a_signature_that_is_there_before_it_is_required_leaves_no_gap() {
    let (rig, mut loader, mut heard) = unsigned("no-gap");
    let ana = keys();
    rig.put("a.wasm.minisig", &signature(&ana, &handler(1)));
    require(&rig, &[&ana]);
    rig.settle(&mut loader, &mut heard);
    assert_eq!((heard.now(), barred(&heard)), (serves(1), vec![]));
    let every = heard.0.lock().unwrap().0.iter().all(|snapshot| snapshot.catalog.handlers().count() == 1);
    assert!(every, "new calls have had it at every moment");
}

#[test]
fn a_key_that_is_removed_takes_what_it_has_signed_along_and_brings_it_back() {
    let (ana, ben) = (keys(), keys());
    let rig = Rig::new("key-removed");
    require(&rig, &[&ana, &ben]);
    put_signed(&rig, &ana, &handler(1));
    let (mut loader, mut heard) = rig.begin();
    assert_eq!(heard.now(), serves(1));
    require(&rig, &[&ben]);
    rig.settle(&mut loader, &mut heard);
    assert!(heard.now().is_empty(), "{:?}", heard.now());
    let [why] = <[String; 1]>::try_from(barred(&heard)).unwrap();
    assert!(why.contains("default/a") && why.contains("unknown key"), "{why}");
    // The file is bad by now, and its signature that of other bytes: what is kept speaks for itself.
    put_signed(&rig, &ben, &bad_start(2));
    rig.settle(&mut loader, &mut heard);
    assert!(heard.now().is_empty(), "{:?}", heard.now());
    require(&rig, &[&ben, &ana]);
    rig.settle(&mut loader, &mut heard);
    assert_eq!(heard.now(), serves(1));
    drop(loader);
    let (_loader, heard) = rig.begin();
    assert_eq!(heard.now(), serves(1), "also as the last good version of the next start");
    require(&rig, &[&ben]);
    let (_loader, heard) = rig.begin();
    assert!(heard.now().is_empty(), "{:?}", heard.now());
}

#[test]
fn nobody_goes_back_to_a_version_that_is_unsigned_by_now() {
    let (rig, mut loader, mut heard) = unsigned("roll-back");
    let ana = keys();
    put_signed(&rig, &ana, &handler(2));
    rig.settle(&mut loader, &mut heard);
    put_signed(&rig, &ana, &handler(3));
    rig.settle(&mut loader, &mut heard);
    require(&rig, &[&ana]);
    rig.settle(&mut loader, &mut heard);
    assert_eq!((heard.now(), barred(&heard)), (serves(3), vec![]), "a signed version is left alone");
    let keeper = Keeper::start(loader, Box::new(heard.clone()), Default::default()).unwrap();
    let first = || Some(version(&handler(1)).parse().unwrap());
    let refused = |why: String| {
        let first = format!("version {} of default/a is unsigned", version(&handler(1)));
        assert!(why.contains(&first), "{why}");
    };
    refused(rig.tokio.block_on(keeper.roll_back(key("a"), first(), "ann".into())).unwrap_err().to_string());
    refused(rig.tokio.block_on(keeper.pin(key("a"), first(), "ann".into())).unwrap_err().to_string());
    assert_eq!(heard.now(), serves(3));
    let back = rig.tokio.block_on(keeper.roll_back(key("a"), None, "ann".into())).unwrap();
    assert_eq!((back, heard.now()), (Version::of(&handler(2)), serves(2)), "that one has kept its signature");
}

#[test]
fn a_trial_ends_when_one_side_of_it_is_unsigned() {
    let manifest = b"canary = { percent = 25, min_calls = 20, max_failures_percent = 5 }\n";
    let (ana, tried) = (keys(), |number: usize| vec![format!("default/a {} 25", version(&handler(number)))]);
    // The old version: the new one, which is signed, takes all calls.
    let (rig, mut loader, mut heard) = unsigned("trial-old");
    rig.put("a.toml", manifest);
    put_signed(&rig, &ana, &handler(2));
    rig.settle(&mut loader, &mut heard);
    assert_eq!((heard.now(), heard.tried()), (serves(1), tried(2)));
    require(&rig, &[&ana]);
    rig.settle(&mut loader, &mut heard);
    assert_eq!((heard.now(), heard.tried().len(), barred(&heard).len()), (serves(2), 0, 1));
    // The new one: it is withdrawn.
    fs::remove_file(rig.plugins().join("a.wasm.minisig")).unwrap();
    rig.put("tenant.toml", b"");
    rig.put("a.wasm", &handler(3));
    rig.settle(&mut loader, &mut heard);
    assert_eq!((heard.now(), heard.tried()), (serves(2), tried(3)));
    require(&rig, &[&ana]);
    rig.settle(&mut loader, &mut heard);
    assert_eq!((heard.now(), heard.tried().len()), (serves(2), 0));
    // And after a restart it is not back.
    drop(loader);
    let (_loader, heard) = rig.begin();
    assert_eq!((heard.now(), heard.tried().len()), (serves(2), 0));
}

#[test]
fn what_was_compiled_under_the_policy_before_does_not_slip_in() {
    let (rig, mut loader, mut heard) = unsigned("slip-in");
    rig.put("a.wasm", &handler(2));
    let mut now = std::time::Instant::now();
    loader.look(now, &mut heard);
    now += Duration::from_secs(1);
    loader.step(now, &mut heard);
    assert!(loader.is_working());
    require(&rig, &[&keys()]);
    loader.look(now, &mut heard);
    rig.settle(&mut loader, &mut heard);
    assert!(heard.now().is_empty(), "{:?}", heard.now());
    assert_eq!(loader.versions().current(&key("a")).unwrap(), Some(Version::of(&handler(1))));
}

#[test]
fn another_tenants_policy_and_none_at_all_change_nothing() {
    let rig = Rig::new("unaffected");
    fs::create_dir(rig.plugins().join("acme")).unwrap();
    rig.put("acme/b.wasm", &handler(2));
    rig.put("a.wasm", &handler(1));
    rig.put("a.wasm.minisig", b"nonsense");
    let (mut loader, mut heard) = rig.begin();
    let both = [format!("acme/b {}", version(&handler(2))), serves(1).remove(0)];
    assert_eq!(heard.now(), both);
    // Keys that nobody asks for.
    let text = format!("[signatures]\nkeys = [\"{}\"]\n", keys().pk.to_base64());
    rig.put("tenant.toml", text.as_bytes());
    rig.settle(&mut loader, &mut heard);
    assert_eq!((heard.now(), barred(&heard), heard.refusals()), (both.to_vec(), vec![], vec![]));
    fs::write(rig.plugins().join("acme/tenant.toml"), text.replace("keys", "required = true\nkeys")).unwrap();
    rig.settle(&mut loader, &mut heard);
    assert_eq!((heard.now(), barred(&heard).len()), (serves(1), 1));
    // And without it again, it is back.
    fs::write(rig.plugins().join("acme/tenant.toml"), "# nothing\n").unwrap();
    rig.settle(&mut loader, &mut heard);
    assert_eq!(heard.now(), both);
}
