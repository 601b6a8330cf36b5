//! What becomes of a plugin directory while it is being worked on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;

use std::fs;
use std::time::{Duration, Instant};

use voxtra_loader::{Keeper, News};

use rig::{Heard, LONG, Rig, bad_start, handler, key, version};

#[test]
fn a_new_version_takes_the_place_of_the_old_one_and_a_bad_one_does_not() {
    let rig = Rig::new("swap");
    rig.put("a.wasm", &handler(1));
    let (mut loader, mut heard) = rig.begin();
    assert_eq!(heard.now(), [format!("default/a {}", version(&handler(1)))]);
    rig.put("a.wasm", &handler(2));
    rig.settle(&mut loader, &mut heard);
    let second = [format!("default/a {}", version(&handler(2)))];
    assert_eq!(heard.now(), second);
    for (bad, why) in [
        (b"\0asm nonsense".to_vec(), "a.wasm: "),
        (bad_start(3), "does not start"),
        (handler(4)[..200].to_vec(), "no valid component"),
    ] {
        rig.put("a.wasm", &bad);
        rig.settle(&mut loader, &mut heard);
        assert_eq!(heard.now(), second);
        assert!(heard.refusals().last().unwrap().contains(why), "{:?}", heard.refusals());
    }
    assert_eq!(heard.refusals().len(), 3, "each is told once");
    rig.put("a.wasm", &handler(5));
    rig.settle(&mut loader, &mut heard);
    assert_eq!(heard.now(), [format!("default/a {}", version(&handler(5)))]);
}

#[test]
fn a_start_with_a_bad_file_serves_the_last_good_version() {
    let rig = Rig::new("last-good");
    rig.put("a.wasm", &handler(1));
    rig.put("b.wasm", &handler(9));
    drop(rig.begin());
    rig.put("a.wasm", &bad_start(2));
    rig.put("b.wasm", &handler(10)[..100]);
    let (_loader, heard) = rig.begin();
    let wanted = [format!("default/a {}", version(&handler(1))), format!("default/b {}", version(&handler(9)))];
    assert_eq!(heard.now(), wanted);
    assert_eq!(heard.refusals().len(), 2);
}

#[test]
fn tenants_and_handlers_come_and_go_without_a_restart() {
    let rig = Rig::new("come-and-go");
    let (mut loader, mut heard) = rig.begin();
    assert!(heard.now().is_empty());
    fs::create_dir(rig.plugins().join("acme")).unwrap();
    rig.put("acme/support.wasm", &handler(1));
    rig.put("acme/default.wasm", &handler(2));
    rig.settle(&mut loader, &mut heard);
    assert_eq!(heard.now().len(), 2);
    fs::remove_file(rig.plugins().join("acme/support.wasm")).unwrap();
    rig.settle(&mut loader, &mut heard);
    assert_eq!(heard.now(), [format!("acme/default {}", version(&handler(2)))]);
    fs::remove_dir_all(rig.plugins().join("acme")).unwrap();
    rig.settle(&mut loader, &mut heard);
    assert!(heard.now().is_empty());
}

#[test]
fn a_file_swapped_twenty_times_is_compiled_once() {
    let rig = Rig::new("storm");
    rig.put("a.wasm", &handler(0));
    let (mut loader, mut heard) = rig.begin();
    let (served, now) = (heard.served(), Instant::now());
    for n in 1..=20 {
        rig.put("a.wasm", &handler(n));
        let at = now + Duration::from_millis(50) * u32::try_from(n).unwrap();
        loader.look(at, &mut heard);
        loader.step(at, &mut heard);
    }
    rig.settle(&mut loader, &mut heard);
    assert_eq!(heard.now(), [format!("default/a {}", version(&handler(20)))]);
    let swaps = |heard: &Heard| {
        let heard = heard.0.lock().unwrap();
        heard.1.iter().filter(|news| matches!(news, News::Swapped { .. })).count()
    };
    assert_eq!(swaps(&heard), 1, "{} snapshots", heard.served() - served);
}

#[test]
fn an_operator_goes_back_pins_and_goes_on() {
    let rig = Rig::new("operator");
    rig.put("a.wasm", &handler(1));
    let (mut loader, mut heard) = rig.begin();
    rig.put("a.wasm", &handler(2));
    rig.settle(&mut loader, &mut heard);
    let watch = voxtra_directory::WatchOptions { rescan: Duration::from_millis(200), ..Default::default() };
    let keeper = Keeper::start(loader, Box::new(heard.clone()), watch).unwrap();
    let wait = |wasm: &[u8]| {
        let (wanted, began) = ([format!("default/a {}", version(wasm))], Instant::now());
        while heard.now() != wanted {
            assert!(began.elapsed() < LONG, "{:?}", heard.now());
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let by = || "operator".to_owned();
    let back = rig.tokio.block_on(keeper.roll_back(key("a"), None, by())).unwrap();
    assert_eq!(back.short(), version(&handler(1)));
    wait(&handler(1));
    rig.tokio.block_on(keeper.pin(key("a"), None, by())).unwrap();
    rig.put("a.wasm", &handler(3));
    let began = Instant::now();
    while !heard.refusals().iter().any(|why| why.contains("pinned")) {
        assert!(began.elapsed() < LONG, "{:?}", heard.refusals());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(heard.now(), [format!("default/a {}", version(&handler(1)))]);
    let line = rig.tokio.block_on(keeper.list()).unwrap().remove(0);
    assert!(line.pinned && line.serving == version(&handler(1)), "{line:?}");
    rig.tokio.block_on(keeper.unpin(key("a"), by())).unwrap();
    wait(&handler(3));
    let why: Vec<_> = rig.tokio.block_on(keeper.history(key("a"))).unwrap();
    assert!(why.len() >= 4, "{why:?}");
    assert!(rig.tokio.block_on(keeper.history(key("nobody"))).is_err());
    assert!(rig.tokio.block_on(keeper.roll_back(key("a"), Some("ffff".parse().unwrap()), by())).is_err());
}

#[test]
fn a_handler_gets_no_more_than_its_manifest_says() {
    let rig = Rig::new("narrow");
    rig.put("a.wasm", &handler(1));
    rig.put("a.toml", b"[limits]\nmemory_mib = 1\n[capabilities]\nstore = true\n");
    let (mut loader, mut heard) = rig.begin();
    let of = |heard: &Heard| {
        let heard = heard.0.lock().unwrap();
        let snapshot = heard.0.last().unwrap();
        let handler = snapshot.catalog.handlers().next().unwrap().clone();
        (handler.limits().memory_bytes, handler.capabilities())
    };
    let (memory_bytes, capabilities) = of(&heard);
    assert_eq!(memory_bytes, 1 << 20);
    assert!(!capabilities.has(voxtra_core::Capability::Record) && capabilities.has(voxtra_core::Capability::Store));
    assert!(!capabilities.has(voxtra_core::Capability::Http), "nobody has granted it");
    // A plan that changes needs no new version.
    rig.put("a.toml", b"[limits]\nmemory_mib = 2\n");
    rig.settle(&mut loader, &mut heard);
    assert_eq!(of(&heard).0, 2 << 20);
}
