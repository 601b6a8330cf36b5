//! What a component's outside says, without compiling it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;

use voxtra_core::Capability;
use voxtra_plugins::{Inspection, Kind};

fn guests() -> PathBuf {
    let built_here = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/guests");
    std::env::var_os("VOXTRA_GUESTS").map_or_else(built_here, PathBuf::from)
}

fn guest(name: &str) -> Inspection {
    Inspection::of_file(&guests().join(name), 64 << 20).expect("run `cargo xtask guests` first")
}

fn could(found: &Inspection) -> Vec<&'static str> {
    found.could().iter().map(|(power, _)| power.what).collect()
}

#[test]
fn a_handler_could_do_what_it_imports_and_nothing_else() {
    let minimal = guest("minimal.wasm");
    assert_eq!((minimal.kind, minimal.refused.as_deref()), (Some(Kind::Handler), None));
    assert_eq!(
        (minimal.contract.as_slice(), minimal.exports.as_slice()),
        (&["voxtra:call@0.1.0".to_owned()][..], &["handle".to_owned()][..])
    );
    assert!(minimal.sha256.starts_with(&minimal.version) && minimal.version.len() == 12);
    let does = could(&minimal);
    for wanted in ["hang its call up", "play prompts to the caller"] {
        assert!(does.contains(&wanted), "{does:?}");
    }
    let does_not: Vec<_> = minimal.could_not().iter().map(|power| power.what).collect();
    for unwanted in ["place calls of its own", "record its call", "listen to its call unheard, or whisper into it"] {
        assert!(!does.contains(&unwanted) && does_not.contains(&unwanted), "{does:?} {does_not:?}");
    }
    assert_eq!(
        does.len() + does_not.len(),
        guest("every-verb.wasm").could().len() + guest("every-verb.wasm").could_not().len()
    );
}

#[test]
fn what_needs_a_capability_says_which() {
    let switchboard = guest("switchboard.wasm");
    let placed = switchboard.could().into_iter().find(|(power, _)| power.what == "place calls of its own").unwrap();
    assert_eq!(placed.0.capabilities, [Capability::Originate, Capability::Dial]);
    assert_eq!(placed.1, ["[method]call.originate"]);
}

#[test]
fn hooks_and_rules_are_seen() {
    let exports = guest("key-count.wasm").exports;
    for wanted in ["handle", "voxtra:call/health", "voxtra:call/upgrade"] {
        assert!(exports.iter().any(|name| name == wanted), "{exports:?}");
    }
    let router = guest("rules/vip.router.wasm");
    assert_eq!((router.kind, router.refused.as_deref()), (Some(Kind::Router), None));
    assert!(could(&router).iter().all(|what| !what.contains("call up")), "{:?}", could(&router));
}

/// As the runtime does it, but without compiling.
#[test]
fn every_guest_is_judged_as_the_runtime_judges_it() {
    for name in [
        "echo.wasm",
        "conference.wasm",
        "voicemail.wasm",
        "every-verb.wasm",
        "rules/redact.filter.wasm",
        "hostile/trap.wasm",
    ] {
        let found = guest(name);
        assert_eq!(found.refused, None, "{name}");
        assert!(found.kind.is_some() && !found.could().is_empty(), "{name}");
    }
    let network = guest("hostile/network.wasm");
    assert!(network.refused.as_ref().unwrap().contains("wasi:sockets"), "{network:?}");
    assert_eq!(network.kind, Some(Kind::Handler));
}

#[test]
fn what_is_no_component_is_a_sentence_and_what_is_another_is_shown_and_refused() {
    let refused = |wasm: &[u8]| Inspection::of_bytes(wasm).unwrap_err();
    assert!(refused(b"").contains("empty"));
    assert!(refused(b"hello").contains("not WebAssembly"));
    assert!(refused(&wat::parse_str("(module)").unwrap()).contains("core WebAssembly module"));
    assert!(refused(b"\0asm\x0d\0\x01\0garbage").contains("no valid component"));
    let other = Inspection::of_bytes(&wat::parse_str("(component)").unwrap()).unwrap();
    assert!(other.refused.unwrap().contains("another world") && other.kind.is_none());
    let old =
        r#"(component (import "voxtra:call/call-session@0.9.0" (instance (export "call" (type (sub resource))))))"#;
    let old = Inspection::of_bytes(&wat::parse_str(old).unwrap()).unwrap();
    assert!(old.refused.unwrap().contains("version 0.9.0"));
    assert_eq!(old.contract, ["voxtra:call@0.9.0"]);
}

/// Cut off and turned over wherever it may be: a sentence or an answer, never a panic.
#[test]
fn a_broken_file_is_never_more_than_a_sentence() {
    let wasm = std::fs::read(guests().join("minimal.wasm")).unwrap();
    let mut seed = 1_u64;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(seed >> 33).unwrap() % below
    };
    let mut well = 0;
    for _ in 0..150 {
        let _ = Inspection::of_bytes(&wasm[..next(wasm.len())]);
        let mut turned = wasm.clone();
        for _ in 0..3 {
            let at = next(turned.len());
            turned[at] ^= 1 << next(8);
        }
        well += usize::from(Inspection::of_bytes(&turned).is_ok_and(|found| found.kind.is_some()));
    }
    assert!(well < 150);
}
