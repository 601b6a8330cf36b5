//! Tenants' own files, from outside: what is wrong in them is told with file and line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::Cursor;

use minisign::KeyPair;
use serde_json::Value;
use support::{Folder, guest};

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
fn what_one_tenant_writes_wrongly_is_its_own_and_told_with_file_and_line() {
    let folder = Folder::new();
    let yaml = "tenants: {delta: {app_name: calls}, gamma: {}}\nmetrics: {listen: off}\n";
    folder.write("voxtra.yaml", yaml);
    let many: String = (0..65).map(|n| format!("k{n} = 1\n")).collect();
    let (all_calls, one_route) =
        (format!("[metadata]\n{many}"), format!("[[routes]]\nextension = \"1\"\n[routes.metadata]\n{many}"));
    for (file, text, wanted) in [
        ("acme/a.toml", "[on_failure]\nplay = \"sorry\"\n", ", line 2: `on_failure.play` cannot be used: the prompt"),
        ("acme/b.toml", all_calls.as_str(), "`metadata` cannot be used: "),
        ("acme/c.toml", one_route.as_str(), "the metadata of the route"),
        (
            "dots/tenant.toml",
            "[capabilities.dial]\ncontexts = [\"..\"]\n",
            "`capabilities.dial` cannot be used: the context",
        ),
        (
            "pbx/tenant.toml",
            "pbx = [\n\"second\",\n]\n",
            ", line 2: `pbx` names `second`, and there is no such PBX; write one of asterisk",
        ),
        ("one/tenant.toml", "app_name = \"calls\"\n", ", line 1: `app_name` is `calls`, which is the tenant `delta`'s"),
        ("two/tenant.toml", "app_name = \"voxtra\"\n", "`app_name` is `voxtra`, which is the tenant `default`'s"),
        (
            "three/tenant.toml",
            "app_name = \"voxtra-gamma\"\n",
            "`app_name` is `voxtra-gamma`, which is the tenant `gamma`'s",
        ),
        ("four/tenant.toml", "app_name = \"voxtra-five\"\n", ""),
    ] {
        let path = format!("plugins/{file}");
        folder.write(&path, text);
        if file.starts_with("acme/") {
            folder.write(&path.replace(".toml", ".wasm"), b"\0asm\x0d\0\x01\0rest");
        }
        let bad = findings(&folder, "bad");
        let told = bad.iter().any(|text| text.contains(file) && text.contains(wanted));
        assert!(told || wanted.is_empty(), "{file}: {bad:#?}");
    }
    // A folder that would have the application of one that was there before it by name.
    folder.write("plugins/five/readme.txt", "");
    let bad = findings(&folder, "bad");
    let wanted = "its application is `voxtra-five`, which is the tenant `four`'s; write an `app_name`";
    let other = "`app_name` is `voxtra-five`, which is the tenant `five`'s; write another";
    assert!(bad.iter().any(|text| text.contains(wanted) || text.contains(other)), "{bad:#?}");
    // It keeps nobody else from being served.
    folder.write("plugins/good/tenant.toml", "app_name = \"good-calls\"\n");
    folder.write("plugins/good/desk.toml", "[[routes]]\nextension = \"2\"\n");
    folder.write("plugins/good/desk.wasm", std::fs::read(guest("minimal")).unwrap());
    let told = folder.run(&["routes", "--test", "--to", "2", "--tenant", "good"]);
    assert!(told.code == Some(0) && told.out.contains("desk"), "{told:?}");
    let list = folder.run(&["routes"]);
    assert!(list.out.lines().any(|line| line.contains("good") && line.contains("desk")), "{list:?}");
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
