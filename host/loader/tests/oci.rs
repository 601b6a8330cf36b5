//! Handlers that are named by a registry's reference, from the registry that the tests start.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../artifacts/tests/oci/push.rs"]
#[allow(dead_code)]
mod push;
mod rig;
#[path = "../../artifacts/tests/oci/stand_in.rs"]
#[allow(dead_code)]
mod stand_in;

use std::io::Cursor;
use std::time::{Duration, Instant};

use voxtra_artifacts::Version;
use voxtra_artifacts::oci::{Credentials, OciOptions, Registry};
use voxtra_artifacts::settle::SettleOptions;
use voxtra_loader::{Loader, LoaderOptions, News};

use push::push;
use rig::{Heard, LONG, Rig, handler, key, version};
use stand_in::{Answer, Gate, StandIn};

/// A registry on this machine, on the rig's own runtime.
fn registry(rig: &Rig) -> StandIn {
    rig.tokio.block_on(StandIn::start())
}

fn ana() -> Credentials {
    Credentials::Basic { user: "ana".to_owned(), password: "secret".to_owned() }
}

/// Puts a version there; returns the manifest file's text that names it.
fn pushed(rig: &Rig, registry: &StandIn, number: usize, who: &Credentials) -> String {
    let manifest = rig.tokio.block_on(push(&registry.host(), &handler(number), who));
    named(&registry.host(), manifest)
}

fn named(host: &str, manifest: Version) -> String {
    format!("oci = \"{host}/acme/support@sha256:{manifest}\"\n")
}

/// Speaks to this registry, and is quick to try again.
fn allow(host: &str, credentials: Credentials) -> impl FnOnce(&mut LoaderOptions) {
    let registry = Registry { insecure_http: true, credentials, ..Registry::new(host) };
    move |options| {
        options.registries = OciOptions { registries: vec![registry], ..OciOptions::default() };
        let first_back_off = Duration::from_millis(100);
        options.settle = SettleOptions { first_back_off, ..SettleOptions::default() };
    }
}

/// Real time passes until it is as wanted.
fn until(loader: &mut Loader, heard: &mut Heard, what: &str, wanted: impl Fn(&Heard) -> bool) {
    let began = Instant::now();
    while !wanted(heard) {
        assert!(began.elapsed() < LONG, "{what}: {:?}, {:?}", heard.now(), heard.refusals());
        loader.step(Instant::now(), heard);
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn serves(number: usize) -> Vec<String> {
    vec![format!("default/a {}", version(&handler(number)))]
}

#[test]
fn a_handler_comes_from_a_registry_as_from_a_file() {
    let rig = Rig::new("oci");
    let registry = registry(&rig);
    registry.state().gate = Gate::Basic("ana", "secret");
    rig.put("a.toml", pushed(&rig, &registry, 1, &ana()).as_bytes());
    let (mut loader, mut heard) = rig.begin_with(allow(&registry.host(), ana()));
    assert!(heard.now().is_empty(), "the start waits for no network");
    until(&mut loader, &mut heard, "it is fetched", |heard| heard.now() == serves(1));
    rig.put("a.toml", pushed(&rig, &registry, 2, &ana()).as_bytes());
    loader.look(Instant::now(), &mut heard);
    until(&mut loader, &mut heard, "another reference is another version", |heard| heard.now() == serves(2));
    let known = loader.versions().get(&key("a")).unwrap().unwrap();
    assert_eq!(known.record.previous(), Some(Version::of(&handler(1))));
    // One on trial first.
    let canary = "canary = { percent = 50 }\n";
    rig.put("a.toml", format!("{}{canary}", pushed(&rig, &registry, 3, &ana())).as_bytes());
    loader.look(Instant::now(), &mut heard);
    until(&mut loader, &mut heard, "it is tried", |heard| heard.tried().len() == 1);
    assert_eq!(heard.now(), serves(2));
}

#[test]
fn the_last_good_version_serves_while_the_registry_is_away_and_the_new_one_when_it_is_back() {
    let rig = Rig::new("oci-away");
    let registry = registry(&rig);
    rig.put("a.toml", pushed(&rig, &registry, 1, &Credentials::Anonymous).as_bytes());
    let (mut loader, mut heard) = rig.begin_with(allow(&registry.host(), Credentials::Anonymous));
    until(&mut loader, &mut heard, "it is fetched", |heard| heard.now() == serves(1));
    drop(loader);
    // What was fetched once is not asked for again.
    let asked = registry.state().requests.len();
    registry.answer("/v2/", Answer::Plain(503, Vec::new(), Vec::new()));
    let (loader, heard) = rig.begin_with(allow(&registry.host(), Credentials::Anonymous));
    assert_eq!((heard.now(), heard.refusals().len()), (serves(1), 0));
    assert_eq!(registry.state().requests.len(), asked);
    drop(loader);
    // Another reference, and nobody there.
    registry.state().answers.clear();
    let second = pushed(&rig, &registry, 2, &Credentials::Anonymous);
    registry.answer("/v2/", Answer::Plain(503, Vec::new(), Vec::new()));
    rig.put("a.toml", second.as_bytes());
    let (mut loader, mut heard) = rig.begin_with(allow(&registry.host(), Credentials::Anonymous));
    assert_eq!(heard.now(), serves(1));
    until(&mut loader, &mut heard, "it is said", |heard| !heard.refusals().is_empty());
    let asked = registry.state().requests.len();
    until(&mut loader, &mut heard, "it is tried again", |_| registry.state().requests.len() > asked + 2);
    assert_eq!((heard.now(), heard.refusals().len()), (serves(1), 1), "{:?}", heard.refusals());
    registry.state().answers.clear();
    until(&mut loader, &mut heard, "the registry is back", |heard| heard.now() == serves(2));
}

#[test]
fn what_must_not_be_fetched_or_does_not_fit_is_refused_with_a_reason() {
    let rig = Rig::new("oci-refused");
    let registry = registry(&rig);
    let good = pushed(&rig, &registry, 1, &Credentials::Anonymous);
    let host = registry.host();
    let refused = |text: &str, change: &dyn Fn(&mut LoaderOptions)| {
        rig.put("a.toml", text.as_bytes());
        let (mut loader, mut heard) = rig.begin_with(|options| {
            allow(&host, Credentials::Anonymous)(options);
            change(options);
        });
        until(&mut loader, &mut heard, "it is refused", |heard| !heard.refusals().is_empty());
        assert!(heard.now().is_empty());
        let why = heard.refusals().remove(0);
        assert!(why.contains("default/a (its manifest a.toml)"), "{why}");
        why
    };
    // By default no registry may be asked, and then none is.
    let asked = registry.state().requests.len();
    let why = refused(&good, &|options| options.registries = OciOptions::default());
    assert!(why.contains("plugins.registries"), "{why}");
    assert_eq!(registry.state().requests.len(), asked);
    let why = refused(&good, &|options| options.registries.max_component_bytes = 100);
    assert!(why.contains("make it smaller"), "{why}");
    let gone = named(&host, Version::of(b"nothing"));
    let why = refused(&gone, &|_| {});
    assert!(why.contains("does not have it"), "{why}");
    // The bytes are not what the manifest names.
    registry.answer("/blobs/", Answer::Plain(200, Vec::new(), vec![0; handler(1).len()]));
    let why = refused(&good, &|_| {});
    assert!(why.contains("not what was named"), "{why}");
    registry.state().answers.clear();
    // A tenant that wants signatures gets nothing unsigned, from a registry either; nor what somebody else has signed.
    rig.put(
        "tenant.toml",
        b"[signatures]\nrequired = true\nkeys = [\"RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\"]\n",
    );
    let why = refused(&good, &|_| {});
    assert!(why.contains("sign"), "{why}");
    rig.put("a.wasm.minisig", b"untrusted comment: none\nnonsense\ntrusted comment: none\nnonsense\n");
    let other = refused(&good, &|_| {});
    assert!(other.contains("a.wasm.minisig") && other.contains("sign the component again"), "{other}");
}

#[test]
fn what_a_trusted_key_has_signed_is_taken_from_a_registry() {
    let rig = Rig::new("oci-signed");
    let registry = registry(&rig);
    let keys = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let signed = |number: usize| {
        let bytes = Cursor::new(handler(number));
        minisign::sign(Some(&keys.pk), &keys.sk, bytes, Some("today"), None).unwrap().into_string()
    };
    let key = keys.pk.to_base64();
    rig.put("tenant.toml", format!("[signatures]\nrequired = true\nkeys = [\"{key}\"]\n").as_bytes());
    rig.put("a.toml", pushed(&rig, &registry, 1, &Credentials::Anonymous).as_bytes());
    rig.put("a.wasm.minisig", signed(2).as_bytes());
    let (mut loader, mut heard) = rig.begin_with(allow(&registry.host(), Credentials::Anonymous));
    until(&mut loader, &mut heard, "another's signature is refused", |heard| heard.refusals().len() == 1);
    rig.put("a.wasm.minisig", signed(1).as_bytes());
    loader.look(Instant::now(), &mut heard);
    until(&mut loader, &mut heard, "it is taken", |heard| heard.now() == serves(1));
}

#[test]
fn a_look_without_a_keeper_waits_for_the_registry() {
    let rig = Rig::new("oci-once");
    let registry = registry(&rig);
    rig.put("a.toml", pushed(&rig, &registry, 1, &Credentials::Anonymous).as_bytes());
    let (_loader, heard) = rig.begin_with(|options| {
        allow(&registry.host(), Credentials::Anonymous)(options);
        options.waits_for_registries = true;
    });
    assert_eq!(heard.now(), serves(1));
    assert!(heard.0.lock().unwrap().1.iter().all(|news| !matches!(news, News::Refused { .. })));
}

#[test]
fn a_registry_that_hangs_holds_up_no_file_and_what_waits_behind_it_comes() {
    let rig = Rig::new("oci-hangs");
    let registry = registry(&rig);
    let texts = [1, 2].map(|number| pushed(&rig, &registry, number, &Credentials::Anonymous));
    registry.answer("/v2/", Answer::Silence);
    let before = registry.state().requests.len();
    let (mut loader, mut heard) = rig.begin_with(|options| {
        allow(&registry.host(), Credentials::Anonymous)(options);
        options.registries.time_limit = Duration::from_secs(5);
    });
    rig.put("a.toml", texts[0].as_bytes());
    rig.put("b.toml", texts[1].as_bytes());
    loader.look(Instant::now(), &mut heard);
    until(&mut loader, &mut heard, "it is asked for", |_| registry.state().requests.len() > before);
    rig.put("f.wasm", &handler(3));
    loader.look(Instant::now(), &mut heard);
    let file = format!("default/f {}", version(&handler(3)));
    until(&mut loader, &mut heard, "the file serves", |heard| heard.now() == [file.as_str()]);
    assert!(heard.refusals().is_empty() && loader.is_working(), "the registry is still waited for");
    assert_eq!(registry.state().requests.len(), before + 1, "of a tenant one is fetched at a time");
    registry.state().answers.clear();
    until(&mut loader, &mut heard, "both come when the registry answers", |heard| heard.now().len() == 3);
}
