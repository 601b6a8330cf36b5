//! A filter that is there and cannot or may not run is not left out: whoever sends events is told its name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;

use std::fs;

use minisign::KeyPair;
use rig::{Heard, Rig, version};

/// A filter that keeps everything; `number` makes each another version.
fn filter(number: usize) -> Vec<u8> {
    let text = format!(
        r#"(component
            (import "voxtra:call/filtering@0.1.0" (instance $filtering
                (type $event' (record
                    (field "id" string) (field "kind" string) (field "session-id" string)
                    (field "timestamp" string) (field "data-json" string)))
                (export "outgoing-event" (type (eq $event')))
                (type $verdict' (variant (case "keep") (case "change" string) (case "drop")))
                (export "verdict" (type (eq $verdict')))))
            (alias export $filtering "outgoing-event" (type $event))
            (alias export $filtering "verdict" (type $verdict))
            (import "outgoing-event" (type $event2 (eq $event)))
            (import "verdict" (type $verdict2 (eq $verdict)))
            (core module $code
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const {number}))
                (func (export "filter") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 0)))
            (core instance $i (instantiate $code))
            (func (export "filter") (param "event" $event2) (result (result $verdict2 (error string)))
                (canon lift (core func $i "filter") (memory $i "memory") (realloc (func $i "realloc")))))"#
    );
    wat::parse_str(text).unwrap()
}

/// The versions of the filters that run now, and the names of those that do not, by tenant.
fn filters(heard: &Heard) -> (Vec<String>, Vec<String>) {
    let heard = heard.0.lock().unwrap();
    let catalog = &heard.0.last().unwrap().catalog;
    (
        catalog.all_filters().map(|filter| filter.version().to_owned()).collect(),
        catalog.absent_filters().map(|(tenant, name)| format!("{tenant}/{name}")).collect(),
    )
}

fn runs(number: usize) -> (Vec<String>, Vec<String>) {
    (vec![version(&filter(number))], vec![])
}

fn absent(name: &str) -> (Vec<String>, Vec<String>) {
    (vec![], vec![name.to_owned()])
}

#[test]
fn a_bad_new_file_leaves_the_last_good_filter_and_without_one_the_filter_is_absent() {
    let rig = Rig::new("filter-bad-file");
    rig.put("redact.filter.wasm", &filter(1));
    let (mut loader, mut heard) = rig.begin();
    assert_eq!(filters(&heard), runs(1));
    rig.put("redact.filter.wasm", b"nonsense");
    rig.settle(&mut loader, &mut heard);
    assert_eq!(filters(&heard), runs(1));
    drop(loader);
    let (mut loader, mut heard) = rig.begin();
    assert_eq!(filters(&heard), runs(1), "nor does a restart change that");
    // Another one, of which no version was ever good: from the moment at which it is seen.
    rig.put("mask.filter.wasm", b"nonsense");
    loader.look(std::time::Instant::now(), &mut heard);
    assert_eq!(filters(&heard).1, ["default/mask"]);
    rig.settle(&mut loader, &mut heard);
    assert_eq!(filters(&heard).1, ["default/mask"]);
    rig.put("mask.filter.wasm", &filter(2));
    rig.settle(&mut loader, &mut heard);
    assert_eq!(filters(&heard), (vec![version(&filter(2)), version(&filter(1))], vec![]));
    // What the operator takes away is not missed.
    fs::remove_file(rig.plugins().join("mask.filter.wasm")).unwrap();
    rig.settle(&mut loader, &mut heard);
    assert_eq!(filters(&heard), runs(1));
}

#[test]
fn a_filter_whose_signature_does_not_count_any_more_is_absent_until_it_does() {
    let rig = Rig::new("filter-barred");
    rig.put("redact.filter.wasm", &filter(1));
    let (mut loader, mut heard) = rig.begin();
    let key = KeyPair::generate_unencrypted_keypair().unwrap().pk.to_base64();
    rig.put("tenant.toml", format!("[signatures]\nrequired = true\nkeys = [\"{key}\"]\n").as_bytes());
    rig.settle(&mut loader, &mut heard);
    assert_eq!(filters(&heard), absent("default/redact"));
    drop(loader);
    let (mut loader, mut heard) = rig.begin();
    assert_eq!(filters(&heard), absent("default/redact"), "after a restart too");
    rig.put("tenant.toml", b"# nothing\n");
    rig.settle(&mut loader, &mut heard);
    assert_eq!(filters(&heard), runs(1));
}

#[test]
fn a_filter_that_cannot_even_be_read_is_absent() {
    let rig = Rig::new("filter-unread");
    fs::write(rig.root.join("elsewhere"), filter(1)).unwrap();
    std::os::unix::fs::symlink(rig.root.join("elsewhere"), rig.plugins().join("redact.filter.wasm")).unwrap();
    let (_loader, heard) = rig.begin();
    assert_eq!(filters(&heard), absent("default/redact"));
    fs::remove_file(rig.plugins().join("redact.filter.wasm")).unwrap();
    rig.put("two words.filter.wasm", &filter(1));
    let (_loader, heard) = rig.begin();
    assert_eq!(filters(&heard), absent("default/two words"));
}

#[test]
fn a_tenant_that_cannot_be_read_at_the_start_has_its_kept_filters_absent() {
    let rig = Rig::new("filter-of-unread");
    fs::create_dir(rig.plugins().join("acme")).unwrap();
    rig.put("acme/redact.filter.wasm", &filter(1));
    drop(rig.begin());
    rig.put("acme/tenant.toml", b"nonsense");
    let (mut loader, mut heard) = rig.begin();
    assert_eq!(filters(&heard), absent("acme/redact"));
    rig.put("acme/tenant.toml", b"# nothing\n");
    rig.settle(&mut loader, &mut heard);
    assert_eq!(filters(&heard), runs(1));
}
