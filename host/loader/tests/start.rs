//! A start that has something to compile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;

use std::fs;
use std::time::{Duration, Instant};

use voxtra_loader::{Loader, LoaderOptions, News};
use voxtra_plugins::compile_as_child;

use rig::{Heard, LONG, Rig, handler, version};

/// The program that compiles is this one, run for this test alone.
#[test]
#[ignore = "is run by the others as their compiler"]
fn the_compiler() {
    compile_as_child();
    panic!("there is no request");
}

fn short(options: &mut LoaderOptions) {
    options.start_limit = Some(Duration::from_millis(100));
}

fn late(heard: &Heard) -> Vec<String> {
    let heard = heard.0.lock().unwrap();
    heard.1.iter().filter_map(|news| if let News::Late(why) = news { Some(why.clone()) } else { None }).collect()
}

/// Lets through what is compiled one after the other until it is as wanted.
fn until(loader: &mut Loader, heard: &mut Heard, wanted: &[String]) {
    let began = Instant::now();
    while heard.now() != wanted {
        assert!(began.elapsed() < LONG, "{:?}, {:?}", heard.now(), heard.refusals());
        loader.step(Instant::now(), heard);
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn line(name: &str, number: usize) -> String {
    format!("{name} {}", version(&handler(number)))
}

#[test]
fn what_is_compiled_serves_at_once_and_what_is_not_comes_behind_the_start() {
    let mut rig = Rig::new("late");
    for tenant in ["acme", "evil"] {
        fs::create_dir(rig.plugins().join(tenant)).unwrap();
    }
    rig.put("a.wasm", &handler(1));
    rig.put("acme/b.wasm", &handler(2));
    drop(rig.begin());
    let gate = rig.gated();
    rig.put("evil/bomb.wasm", &handler(3));
    // One that takes calls already goes on.
    rig.put("a.wasm", &handler(4));
    let (mut loader, mut heard) = rig.begin_with(short);
    assert_eq!(heard.now(), [line("acme/b", 2), line("default/a", 1)]);
    let [why] = <[String; 1]>::try_from(late(&heard)).unwrap();
    assert!(why.starts_with("evil/bomb: ") && why.contains("failure policy"), "{why}");
    assert!(heard.refusals().is_empty(), "{:?}", heard.refusals());
    let _open = gate.open_for(2);
    until(&mut loader, &mut heard, &[line("acme/b", 2), line("default/a", 4), line("evil/bomb", 3)]);
    assert_eq!(heard.refusals().len(), 0);
}

#[test]
fn a_start_that_may_take_its_time_waits_for_what_is_quick_to_compile() {
    let rig = Rig::new("quick");
    for n in 0..5 {
        rig.put(&format!("h{n}.wasm"), &handler(n));
    }
    let (_, heard) = rig.begin_with(|options| options.start_limit = Some(LONG));
    assert_eq!((heard.now().len(), heard.served(), late(&heard).len()), (5, 1, 0));
    let heard = heard.0.lock().unwrap();
    assert!(heard.1.is_empty(), "what is there at first is no news: {:?}", heard.1);
}

#[test]
fn the_last_good_version_is_compiled_behind_a_start_where_its_successor_is_refused() {
    let mut rig = Rig::new("late-last-good");
    rig.put("a.wasm", &handler(1));
    drop(rig.begin());
    fs::remove_dir_all(rig.root.join("cache")).unwrap();
    let gate = rig.gated();
    rig.put("a.wasm", b"nonsense");
    let (mut loader, mut heard) = rig.begin_with(short);
    assert_eq!((heard.now().len(), heard.refusals().len(), late(&heard).len()), (0, 1, 1));
    let _open = gate.open_for(1);
    until(&mut loader, &mut heard, &[line("default/a", 1)]);
}

#[test]
fn a_version_that_is_to_be_tried_waits_for_the_one_beside_it() {
    let mut rig = Rig::new("late-trial");
    rig.put("a.toml", b"canary = { percent = 50 }\n");
    rig.put("a.wasm", &handler(1));
    drop(rig.begin());
    fs::remove_dir_all(rig.root.join("cache")).unwrap();
    let gate = rig.gated();
    rig.put("a.wasm", &handler(2));
    let (mut loader, mut heard) = rig.begin_with(short);
    assert!(heard.now().is_empty() && heard.tried().is_empty());
    let _open = gate.open_for(1);
    until(&mut loader, &mut heard, &[line("default/a", 1)]);
    let _open = gate.open_for(1);
    let began = Instant::now();
    while heard.tried() != [format!("{} 50", line("default/a", 2))] {
        assert!(began.elapsed() < LONG, "{:?}, {:?}", heard.tried(), heard.refusals());
        loader.step(Instant::now(), &mut heard);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(heard.now(), [line("default/a", 1)]);
}

fn troubles(heard: &Heard) -> Vec<String> {
    let heard = heard.0.lock().unwrap();
    heard.1.iter().filter_map(|news| if let News::Trouble(why) = news { Some(why.clone()) } else { None }).collect()
}

#[test]
fn a_damaged_record_is_set_aside_and_the_good_file_serves() {
    let rig = Rig::new("damaged-record");
    rig.put("a.wasm", &handler(1));
    drop(rig.begin());
    let records = rig.root.join("versions/handlers/default");
    let damage = || {
        let mut bytes = fs::read(records.join("a.a.json")).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 0x20;
        fs::write(records.join("a.a.json"), bytes).unwrap();
    };
    damage();
    let (mut loader, mut heard) = rig.begin();
    assert_eq!((heard.now(), heard.refusals()), (vec![line("default/a", 1)], Vec::new()));
    let [why] = <[String; 1]>::try_from(troubles(&heard)).unwrap();
    assert!(why.contains("default/a") && why.contains("a.a.json.damaged-1") && why.contains("pin"), "{why}");
    assert!(records.join("a.a.json.damaged-1").is_file());
    // While it runs, too.
    damage();
    rig.put("a.wasm", &handler(2));
    rig.settle(&mut loader, &mut heard);
    assert_eq!((heard.now(), troubles(&heard).len()), (vec![line("default/a", 2)], 2));
    drop(loader);
    assert_eq!(troubles(&rig.begin().1).len(), 0);
}

#[test]
fn a_damaged_copy_is_written_anew_from_the_good_file_and_named_when_it_is_needed() {
    let rig = Rig::new("damaged-copy");
    rig.put("a.wasm", &handler(1));
    drop(rig.begin());
    let copy = rig.root.join(format!("versions/components/{}.wasm", voxtra_artifacts::Version::of(&handler(1))));
    fs::write(&copy, b"something else").unwrap();
    let (_, heard) = rig.begin();
    assert_eq!((heard.now(), fs::read(&copy).unwrap()), (vec![line("default/a", 1)], handler(1)));
    let [why] = <[String; 1]>::try_from(troubles(&heard)).unwrap();
    assert!(why.contains("default/a") && why.contains("a.wasm"), "{why}");
    assert_eq!(troubles(&rig.begin().1).len(), 0, "it is whole again");
    // Needed, and damaged or gone.
    rig.put("a.wasm", b"nonsense");
    fs::write(&copy, b"something else").unwrap();
    let named = |heard: &Heard| heard.refusals().iter().any(|why| why.contains(&version(&handler(1))));
    for _ in 0..2 {
        let (_, heard) = rig.begin();
        assert!(heard.now().is_empty() && named(&heard), "{:?}", heard.refusals());
        let _ = fs::remove_file(&copy);
    }
}
