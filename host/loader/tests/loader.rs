//! What becomes of a plugin directory while it is being worked on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use voxtra_artifacts::store::{Author, Source};
use voxtra_core::Capability;
use voxtra_loader::{Keeper, News};
use voxtra_plugins::fake::FakeCall;

use rig::{Heard, LONG, Rig, bad_start, finish, handler, key, version};

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
fn a_newcomer_takes_no_route_and_no_name_over_a_restart() {
    let rig = Rig::new("newcomer");
    fs::create_dir(rig.plugins().join("acme")).unwrap();
    let route = b"routes = [{extension = \"100\"}]";
    rig.put("acme/r9.wasm", &handler(1));
    fs::write(rig.plugins().join("acme/r9.toml"), route).unwrap();
    let (mut loader, mut heard) = rig.begin();
    let serving = [format!("acme/r9 {}", version(&handler(1)))];
    assert_eq!(heard.now(), serving);
    rig.put("acme/a0.wasm", &handler(2));
    fs::write(rig.plugins().join("acme/a0.toml"), route).unwrap();
    rig.put("acme/R9.wasm", &handler(3));
    fs::create_dir(rig.plugins().join("ACME")).unwrap();
    rig.put("ACME/r9.wasm", &handler(4));
    rig.settle(&mut loader, &mut heard);
    assert_eq!(heard.now(), serving, "while it runs");
    drop(loader);
    let (_loader, heard) = rig.begin();
    assert_eq!(heard.now(), serving, "and when it starts again");
    let told = heard.0.lock().unwrap().1.iter().filter(|news| matches!(news, News::Problem(_))).count();
    assert_eq!(told, 3);
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
fn what_comes_and_goes_before_it_has_settled_leaves_nothing_behind() {
    let rig = Rig::new("short-lived");
    rig.put("a.wasm", &handler(1));
    let (mut loader, mut heard) = rig.begin();
    let wanted = [format!("default/a {}", version(&handler(1)))];
    let first = heard.0.lock().unwrap().1.len();
    rig.put("b.wasm", &handler(2));
    loader.look(Instant::now(), &mut heard);
    fs::remove_file(rig.plugins().join("b.wasm")).unwrap();
    rig.settle(&mut loader, &mut heard);
    assert_eq!(heard.now(), wanted);
    // Nor does one that was refused and is gone.
    rig.put("c.wasm", b"nonsense");
    rig.settle(&mut loader, &mut heard);
    fs::remove_file(rig.plugins().join("c.wasm")).unwrap();
    rig.settle(&mut loader, &mut heard);
    assert_eq!(loader.step(Instant::now() + LONG, &mut heard), None, "nothing is due any more");
    assert_eq!(heard.0.lock().unwrap().1.len(), first + 1, "only the refusal was news");
}

#[test]
fn what_a_full_host_has_no_room_for_is_tried_again() {
    let rig = Rig::new("full");
    rig.put("a.wasm", &handler(1));
    let (mut loader, mut heard) = rig.begin();
    let full = rig.runtime.load_bytes(&"other".into(), &"full".into(), &handler(0)).unwrap();
    let hold = || rig.tokio.block_on(full.instantiate(Arc::new(FakeCall::new()))).ok();
    let held: Vec<_> = std::iter::from_fn(hold).collect();
    rig.put("a.wasm", &handler(2));
    rig.settle(&mut loader, &mut heard);
    assert_eq!(heard.now(), [format!("default/a {}", version(&handler(1)))]);
    let [why] = <[String; 1]>::try_from(heard.refusals()).unwrap();
    assert!(why.contains("max_instances") && why.contains("tried again"), "{why}");
    drop(held);
    finish(&mut loader, &mut heard, Instant::now() + LONG);
    assert_eq!(heard.now(), [format!("default/a {}", version(&handler(2)))]);
}

#[test]
fn a_version_that_does_not_load_any_more_becomes_neither_pinned_nor_current() {
    let rig = Rig::new("does-not-load");
    rig.put("a.wasm", &handler(1));
    let (mut loader, mut heard) = rig.begin();
    // Good once, as far as the store knows: by a host with another contract, say.
    let old = loader.versions().put(b"of another time").unwrap();
    let author = Author::new("host", SystemTime::now());
    loader.versions().record_good(&key("a"), old, Source::File, &author).unwrap();
    rig.put("a.wasm", &handler(2));
    rig.settle(&mut loader, &mut heard);
    let serves = [format!("default/a {}", version(&handler(2)))];
    let keeper = Keeper::start(loader, Box::new(heard.clone()), Default::default()).unwrap();
    let prefix = || Some(old.short().parse().unwrap());
    let refused = |why: String| assert!(why.contains("not WebAssembly"), "{why}");
    refused(rig.tokio.block_on(keeper.pin(key("a"), prefix(), "ann".into())).unwrap_err().to_string());
    refused(rig.tokio.block_on(keeper.roll_back(key("a"), prefix(), "ann".into())).unwrap_err().to_string());
    refused(rig.tokio.block_on(keeper.roll_back(key("a"), None, "ann".into())).unwrap_err().to_string());
    let line = rig.tokio.block_on(keeper.list()).unwrap().remove(0);
    assert!(!line.pinned && line.serving == version(&handler(2)), "{line:?}");
    drop(keeper);
    let (_loader, heard) = rig.begin();
    assert_eq!(heard.now(), serves, "the next start serves it too");
}

#[test]
fn old_versions_go_from_the_disk_after_a_while() {
    let rig = Rig::new("prune");
    rig.put("a.wasm", &handler(0));
    let (mut loader, mut heard) = rig.begin();
    let kept = || fs::read_dir(rig.root.join("versions/components")).unwrap().count();
    for n in 1..25 {
        rig.put("a.wasm", &handler(n));
        rig.settle(&mut loader, &mut heard);
    }
    assert_eq!(kept(), 25);
    rig.put("a.wasm", &handler(25));
    let later = Instant::now() + 20 * LONG;
    loader.look(later, &mut heard);
    finish(&mut loader, &mut heard, later + LONG);
    assert_eq!(heard.now(), [format!("default/a {}", version(&handler(25)))]);
    assert_eq!(kept(), 21, "the current one and twenty to go back to");
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

#[test]
fn whom_a_handler_may_call_is_what_its_manifest_leaves_of_its_tenants() {
    let rig = Rig::new("dial");
    std::fs::create_dir(rig.plugins().join("acme")).unwrap();
    rig.put("acme/a.wasm", &handler(1));
    rig.put("acme/tenant.toml", b"[capabilities.dial]\npatterns = ['1XX']\nendpoint = 'PJSIP/{number}@trunk'\n");
    rig.put("acme/a.toml", b"[capabilities]\ndial = { patterns = ['10X'] }\n");
    let (mut loader, mut heard) = rig.begin();
    let of = |heard: &Heard| {
        let heard = heard.0.lock().unwrap();
        let handler = heard.0.last().unwrap().catalog.handlers().next().unwrap().clone();
        handler.dial_narrowing().and_then(|narrowing| narrowing.patterns.clone())
    };
    assert_eq!(of(&heard), Some(vec!["10X".to_owned()]));
    rig.put("acme/a.toml", b"[capabilities]\ndial = true\n");
    rig.settle(&mut loader, &mut heard);
    assert_eq!(of(&heard), None);
}

/// A router that leaves every call to the static routes.
fn router() -> Vec<u8> {
    let text = r#"(component
        (import "voxtra:call/types@0.1.0" (instance $types
            (type $direction' (enum "inbound" "outbound"))
            (export "direction" (type $direction (eq $direction')))
            (type $info' (record
                (field "id" string) (field "tenant" string) (field "caller-id" string)
                (field "called-number" string) (field "direction" $direction) (field "route" string)))
            (export "call-info" (type (eq $info')))))
        (alias export $types "call-info" (type $info))
        (import "voxtra:call/routing@0.1.0" (instance $routing
            (type $decision' (record (field "handler" string) (field "metadata" (list (tuple string string)))))
            (export "decision" (type (eq $decision')))))
        (alias export $routing "decision" (type $decision))
        (import "call-info" (type $info2 (eq $info)))
        (import "decision" (type $decision2 (eq $decision)))
        (core module $code
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
            (func (export "route") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 0)))
        (core instance $i (instantiate $code))
        (func (export "route") (param "call" $info2) (result (result (option $decision2) (error string)))
            (canon lift (core func $i "route") (memory $i "memory") (realloc (func $i "realloc")))))"#;
    wat::parse_str(text).unwrap()
}

#[test]
fn a_router_may_do_no_more_than_its_tenant() {
    let rig = Rig::new("router");
    for (tenant, capabilities) in [("acme", "record = true"), ("beta", "store = true")] {
        fs::create_dir(rig.plugins().join(tenant)).unwrap();
        rig.put(&format!("{tenant}/tenant.toml"), format!("[capabilities]\n{capabilities}\n").as_bytes());
        rig.put(&format!("{tenant}/vip.router.wasm"), &router());
    }
    let (_loader, heard) = rig.begin();
    assert!(heard.refusals().is_empty(), "{:?}", heard.refusals());
    let heard = heard.0.lock().unwrap();
    let routers = heard.0.last().unwrap().catalog.all_routers();
    let mut may: Vec<_> = routers.map(|r| (r.tenant().to_string(), r.capabilities().has(Capability::Store))).collect();
    may.sort();
    assert_eq!(may, [("acme".to_owned(), false), ("beta".to_owned(), true)]);
}
