//! Going back to a version that has to be compiled for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use voxtra_artifacts::HandlerKey;
use voxtra_artifacts::store::{Author, Source};
use voxtra_loader::Keeper;
use voxtra_plugins::compile_as_child;

use rig::{Heard, LONG, Rig, handler, key, version};

/// The program that compiles is this one, run for this test alone.
#[test]
#[ignore = "is run by the other as its compiler"]
fn the_compiler() {
    compile_as_child();
    panic!("there is no request");
}

fn wait(heard: &Heard, wanted: &[String]) {
    let began = Instant::now();
    while heard.now() != wanted {
        assert!(began.elapsed() < LONG, "{:?}", heard.now());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn going_back_to_a_version_that_is_compiled_anew_holds_up_nobody_else() {
    let mut rig = Rig::new("asked");
    fs::create_dir(rig.plugins().join("acme")).unwrap();
    rig.put("a.wasm", &handler(2));
    rig.put("acme/b.wasm", &handler(10));
    // Good once, and not compiled here.
    let (mut loader, mut heard) = rig.begin();
    for old in [handler(1), handler(2)] {
        let known = loader.versions().put(&old).unwrap();
        loader.versions().record_good(&key("a"), known, Source::File, &Author::new("host", SystemTime::now())).unwrap();
    }
    rig.settle(&mut loader, &mut heard);
    drop(loader);
    for (tenant, name, wasm) in [("acme", "b", handler(11)), ("default", "a", handler(2))] {
        rig.runtime.load_bytes(&tenant.into(), &name.into(), &wasm).unwrap();
    }
    let gate = rig.gated();
    let (loader, heard) = rig.begin();
    let serves = |b: usize, a: usize| {
        [format!("acme/b {}", version(&handler(b))), format!("default/a {}", version(&handler(a)))]
    };
    assert_eq!(heard.now(), serves(10, 2));
    let watch = voxtra_directory::WatchOptions { rescan: Duration::from_millis(200), ..Default::default() };
    let keeper = Keeper::start(loader, Box::new(heard.clone()), watch).unwrap();
    let (asking, by) = (keeper.clone(), || "ann".to_owned());
    let back = rig.tokio.spawn(async move { asking.roll_back(key("a"), None, "ann".into()).await });
    // Another tenant's new version, and another command, while the first waits.
    rig.put("acme/b.wasm", &handler(11));
    wait(&heard, &serves(11, 2));
    let b = HandlerKey::new(&"acme".into(), &"b".into()).unwrap();
    assert_eq!(rig.tokio.block_on(keeper.pin(b, None, by())).unwrap().short(), version(&handler(11)));
    let why = rig.tokio.block_on(keeper.unpin(key("a"), by())).unwrap_err().to_string();
    assert!(why.contains("command before"), "{why}");
    assert!(!back.is_finished());
    let line = rig.tokio.block_on(keeper.list()).unwrap().remove(1);
    assert_eq!(line.serving, version(&handler(2)), "nothing is current that does not run yet");
    gate.open();
    let current = rig.tokio.block_on(back).unwrap().unwrap();
    assert_eq!((current.short(), heard.now()), (version(&handler(1)), serves(11, 1).to_vec()));
}
