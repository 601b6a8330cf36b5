//! Tenants' own files, from outside: what is wrong in them is told with file and line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::Cursor;

use minisign::KeyPair;
use serde_json::Value;
use support::Folder;

/// What `check` finds of a verdict.
fn findings(folder: &Folder, verdict: &str) -> Vec<String> {
    let ran = folder.run(&["check", "--offline", "--json"]);
    let json: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"));
    let found = json["findings"].as_array().unwrap().iter().filter(|finding| finding["verdict"] == verdict);
    found.map(|finding| finding["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_component_that_is_unsigned_or_signed_by_another_is_refused_by_name() {
    let folder = Folder::new();
    let (trusted, stranger) =
        (KeyPair::generate_unencrypted_keypair().unwrap(), KeyPair::generate_unencrypted_keypair().unwrap());
    let sign = |keys: &KeyPair, bytes: &[u8]| {
        minisign::sign(Some(&keys.pk), &keys.sk, Cursor::new(bytes), None, None).unwrap().into_string()
    };
    let key = trusted.pk.to_base64();
    folder.write("plugins/acme/tenant.toml", format!("[signatures]\nrequired = true\nkeys = [\"{key}\"]\n"));
    let component = b"\0asm\x0d\0\x01\0rest";
    for name in ["unsigned", "theirs", "changed", "good"] {
        folder.write(&format!("plugins/acme/{name}.wasm"), component);
    }
    folder.write("plugins/acme/theirs.wasm.minisig", sign(&stranger, component));
    folder.write("plugins/acme/changed.wasm.minisig", sign(&trusted, b"other bytes"));
    folder.write("plugins/acme/good.wasm.minisig", sign(&trusted, component));
    let bad = findings(&folder, "bad");
    for (name, why) in [
        ("unsigned", "unsigned.wasm is unsigned: this tenant's components need"),
        ("theirs", "theirs.wasm is signed by an unknown key: "),
        ("changed", "changed.wasm has a wrong signature: "),
        // Its signature is right, and so it is looked at: it is no component.
        ("good", "good.wasm: "),
    ] {
        let file = format!("acme/{name}.wasm");
        let told: Vec<_> = bad.iter().filter(|text| text.contains(&file)).collect();
        assert!(told.len() == 1 && told[0].contains(why), "{name}: {bad:#?}");
    }
    assert!(bad.iter().any(|text| text.contains("good.wasm") && text.contains("no valid component")), "{bad:#?}");
}

#[test]
fn a_key_and_a_reference_that_only_look_right_are_refused_with_file_and_line() {
    let folder = Folder::new();
    // The form of a key, and not its algorithm.
    let key = format!("RW{}", "A".repeat(54));
    folder.write("plugins/acme/tenant.toml", format!("[signatures]\nkeys = [\n  \"{key}\",\n]\n"));
    let digest = "a".repeat(64);
    folder.write("plugins/beta/support.toml", format!("oci = \"support/desk@sha256:{digest}\"\n"));
    let bad = findings(&folder, "bad");
    for part in [
        "plugins/acme/tenant.toml, line 3: `signatures.keys` holds an entry that is no minisign public key",
        "plugins/beta/support.toml, line 1: `oci` cannot be used: support/desk@sha256:",
        "it does not begin with a registry's host",
    ] {
        assert!(bad.iter().any(|text| text.contains(part)), "{part}: {bad:#?}");
    }
}

#[test]
fn providers_are_accepted_with_one_note_for_all_tenants() {
    let folder = Folder::new();
    for tenant in ["acme", "beta"] {
        folder.write(&format!("plugins/{tenant}/tenant.toml"), "[providers]\nllm = \"openai\"\n");
    }
    let notes = findings(&folder, "note");
    let told: Vec<_> = notes.iter().filter(|note| note.contains("providers")).collect();
    assert_eq!(told, ["providers of `acme`, `beta`: accepted; this version has no AI providers yet"]);
    assert_eq!(findings(&folder, "bad"), [""; 0]);
}
