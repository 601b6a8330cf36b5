//! Tenants' fragments: nothing in a tenant's file can break out of them, and files change all or none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;
use voxtra_services::provisioning::{AddOptions, ProvisionError, Provisioner, TenantFile};
use voxtra_test_support::files::TempDir;

const FULL: &str = r#"
slug = "acme"
description = "Acme, of Berlin"
dids = ["+4930123", "1000"]
max_channels = 2
[fallback]
context = "operator"
[trunk]
host = "sip.example.com"
username = "acme"
password = "pa55"
transport = "tls"
codecs = ["alaw", "g722"]
register = true
match = ["192.0.2.0/24"]
from_user = "acme"
from_domain = "example.com"
[queue]
members = ["PJSIP/alice", "Local/1@agents"]
strategy = "rrmemory"
timeout = 15
music_class = "jazz"
[outbound]
caller_id = "+4930123"
allowed = ["+49X.", "0ZXX!"]
"#;

fn tenant(slug: &str) -> TenantFile {
    TenantFile::parse(&FULL.replace("\"acme\"\ndesc", &format!("\"{slug}\"\ndesc"))).unwrap()
}

/// Asterisk's configuration syntax, read independently: comments, sections, `key = value` and `key => value`.
fn sections(text: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut all: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for line in text.split(['\n', '\r']) {
        let mut plain = String::new();
        let mut escaped = false;
        for c in line.chars() {
            match (c, escaped) {
                (';', true) => {
                    plain.pop();
                    plain.push(';');
                }
                (';', false) => break,
                _ => plain.push(c),
            }
            escaped = c == '\\';
        }
        let line = plain.trim();
        assert!(!line.starts_with('#'), "a directive: {line}");
        if line.is_empty() {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            all.push((name.strip_suffix(']').expect("a section alone on its line").to_owned(), Vec::new()));
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("neither section nor key: {line}"));
        let value = value.strip_prefix('>').unwrap_or(value);
        all.last_mut().expect("a key before any section").1.push((key.trim().to_owned(), value.trim().to_owned()));
    }
    all
}

fn keys(text: &str) -> Vec<(String, Vec<String>)> {
    let strip = |(name, keys): (String, Vec<(String, String)>)| (name, keys.into_iter().map(|(key, _)| key).collect());
    sections(text).into_iter().map(strip).collect()
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let files = entries.filter(|e| e.file_type().unwrap().is_file());
    files.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap_or_default())).collect()
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn the_fragments_hold_what_the_file_says() {
    let dir = TempDir::new("tenants").unwrap();
    Provisioner::new(dir.path()).add(&tenant("acme"), AddOptions::default()).unwrap();
    let pjsip: BTreeMap<_, _> = sections(&read(dir.path(), "pjsip_acme.conf")).into_iter().collect();
    let has = |section: &str, key: &str, value: &str| {
        assert!(pjsip[section].contains(&(key.into(), value.into())), "{section} {key}: {:?}", pjsip[section]);
    };
    has("voxtra-acme", "allow", "alaw,g722");
    has("voxtra-acme", "context", "voxtra-acme-in");
    has("voxtra-acme", "outbound_auth", "voxtra-acme-auth");
    has("voxtra-acme-aor", "contact", "sip:sip.example.com:5061;transport=tls");
    has("voxtra-acme-registration", "client_uri", "sip:acme@sip.example.com:5061;transport=tls");
    has("voxtra-acme-identify", "match", "192.0.2.0/24");
    let plan = read(dir.path(), "extensions_acme.conf");
    let names: Vec<_> = sections(&plan).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["voxtra-acme-in", "voxtra-acme-queue", "voxtra-acme-out"]);
    assert!(plan.contains("exten => +4930123,1,") && plan.contains("Goto(operator,${EXTEN},1)"), "{plan}");
    assert_eq!(sections(&read(dir.path(), "queues_acme.conf"))[0].1.len(), 7);
    assert_eq!(sections(&read(dir.path(), "ari_acme.conf"))[0].1.len(), 4);
}

#[test]
fn a_fault_names_its_line_column_and_key() {
    let cases = [
        (
            "slug = \"a\"\ntrunk = { host = \"h\", pasword = \"x\" }",
            "line 2, column 23: trunk.pasword is not known; did you mean 'password'?",
        ),
        ("slug = \"a\"\ndids = [\"1\", \"2;3\"]", "line 2, column 14: dids must be"),
        ("slug = \"notify\"", "line 1, column 8: slug is a name that"),
        ("slug = \"a\"\nmax_channels = 0", "line 2, column 16: max_channels must be a whole number"),
        ("slug = ", "line 1, column 8: this is not TOML"),
        ("description = \"x\"", "line 1, column 1: slug is missing"),
        ("slug = \"a\"\napp = \"voxtra-b\"", "line 2, column 7: app is another tenant's"),
        ("slug = \"a\"\n[queue]\nmembers = [\"Local/1@voxtra-b-out\"]", "line 3, column 11: queue.members must not"),
        ("slug = \"a\"\n[outbound]\nallowed = [\"X.\"]", "line 2, column 1: outbound needs a [trunk]"),
    ];
    for (text, wanted) in cases {
        let said = TenantFile::parse(text).unwrap_err().to_string();
        assert!(said.starts_with(wanted), "{text:?}: {said}");
        assert!(!said.contains('\n'), "{said}");
    }
}

#[test]
fn the_hosts_part_of_the_file_is_left_alone() {
    let hosts = "weight = 5\nsecrets = [\"crm\"]\n[limits]\nmemory_mib = 8\n[capabilities.dial]\npatterns = 7\n";
    let alone = TenantFile::parse("slug = \"a\"").unwrap();
    assert_eq!(TenantFile::parse(&format!("slug = \"a\"\n{hosts}")).unwrap(), alone);
}

#[test]
fn a_secret_is_in_no_debug_output_and_no_error() {
    assert!(!format!("{:?}", tenant("acme")).contains("pa55"));
    let said = TenantFile::parse(&FULL.replace("pa55", "pa55;")).unwrap_err().to_string();
    assert!(said.contains("trunk.password") && !said.contains("pa55"), "{said}");
}

#[test]
fn adding_again_keeps_the_password_unless_it_is_rotated() {
    let dir = TempDir::new("tenants").unwrap();
    let tenants = Provisioner::new(dir.path());
    let first = tenants.add(&tenant("acme"), AddOptions::default()).unwrap();
    assert!(first.new_password && first.tenant.ari_password.len() == 32);
    let before = files(dir.path());
    let again = tenants.add(&tenant("acme"), AddOptions::default()).unwrap();
    assert!(!again.new_password);
    assert_eq!(files(dir.path()), before);
    let rotated = tenants.add(&tenant("acme"), AddOptions { rotate: true }).unwrap();
    assert_ne!(rotated.tenant.ari_password, first.tenant.ari_password);
    assert!(read(dir.path(), "ari_acme.conf").contains(&rotated.tenant.ari_password));
    let shown = tenants.show("acme").unwrap();
    assert_eq!(shown.redacted().ari_password, "***");
    assert!(!format!("{shown:?}").contains(&shown.ari_password));
}

#[test]
fn removing_leaves_every_other_file_as_it_was() {
    let dir = TempDir::new("tenants").unwrap();
    let tenants = Provisioner::new(dir.path());
    fs::write(dir.path().join("pjsip_notify.conf"), "[x]\n").unwrap();
    let other = FULL.replace("\"acme\"\ndesc", "\"acme-2\"\ndesc");
    tenants.add(&TenantFile::parse(&other).unwrap(), AddOptions::default()).unwrap();
    let before = files(dir.path());
    tenants.add(&tenant("acme"), AddOptions::default()).unwrap();
    assert_eq!(tenants.list().unwrap().len(), 2);
    tenants.remove("acme").unwrap();
    assert_eq!(files(dir.path()), before);
    assert!(matches!(tenants.remove("acme"), Err(ProvisionError::Unknown(_))));
    assert!(matches!(tenants.remove("../etc"), Err(ProvisionError::Slug { .. })));
}

#[test]
fn secrets_are_not_for_everybody_to_read() {
    let dir = TempDir::new("tenants").unwrap();
    Provisioner::new(dir.path()).add(&tenant("acme"), AddOptions::default()).unwrap();
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("voxtra_acme.json"), 0o600);
    for name in ["ari_acme.conf", "pjsip_acme.conf", "extensions_acme.conf", "queues_acme.conf", "voxtra_ari.conf"] {
        assert_eq!(mode(name), 0o640, "{name}");
    }
}

#[test]
fn when_one_file_cannot_be_replaced_all_are_as_they_were() {
    // A folder in the place of a file: the rename over it fails, even for root, after others have been done.
    for blocked in ["voxtra_extensions.conf", "voxtra_queues.conf"] {
        let dir = TempDir::new("tenants").unwrap();
        let tenants = Provisioner::new(dir.path());
        tenants.add(&tenant("acme"), AddOptions::default()).unwrap();
        fs::remove_file(dir.path().join(blocked)).unwrap();
        fs::create_dir(dir.path().join(blocked)).unwrap();
        let before = files(dir.path());
        let changed = TenantFile::parse(&FULL.replace("1000", "2000")).unwrap();
        let error = tenants.add(&changed, AddOptions { rotate: true }).unwrap_err().to_string();
        assert!(error.contains(blocked), "{error}");
        assert_eq!(files(dir.path()), before);
        assert!(tenants.remove("acme").is_err());
        assert_eq!(files(dir.path()), before);
    }
}

#[test]
fn a_file_of_somebody_else_is_not_replaced() {
    let dir = TempDir::new("tenants").unwrap();
    fs::write(dir.path().join("queues_acme.conf"), "[mine]\n").unwrap();
    let error = Provisioner::new(dir.path()).add(&tenant("acme"), AddOptions::default());
    assert!(matches!(error, Err(ProvisionError::Foreign(_))), "{error:?}");
    assert_eq!(read(dir.path(), "queues_acme.conf"), "[mine]\n");
    assert!(!dir.path().join("ari_acme.conf").exists());
}

#[test]
fn two_tenants_cannot_share_an_app() {
    let dir = TempDir::new("tenants").unwrap();
    let tenants = Provisioner::new(dir.path());
    let with = |slug: &str| TenantFile::parse(&format!("slug = \"{slug}\"\napp = \"shared\"")).unwrap();
    tenants.add(&with("a"), AddOptions::default()).unwrap();
    let error = tenants.add(&with("b"), AddOptions::default());
    assert!(matches!(error, Err(ProvisionError::AppTaken { .. })), "{error:?}");
}

#[test]
fn the_includes_that_are_missing_are_named() {
    let dir = TempDir::new("tenants").unwrap();
    let tenants = Provisioner::new(dir.path());
    assert_eq!(tenants.missing_includes().len(), 4);
    fs::write(dir.path().join("pjsip.conf"), "[global]\n#include voxtra_pjsip.conf ; ours\n").unwrap();
    fs::write(dir.path().join("ari.conf"), ";#tryinclude \"voxtra_ari.conf\"\n").unwrap();
    let missing: Vec<_> = tenants.missing_includes().into_iter().map(|i| i.file).collect();
    assert_eq!(missing.len(), 3);
    assert!(!missing.contains(&dir.path().join("pjsip.conf")));
}

/// Every text of the file that ends up in a fragment, with the key that a refusal names.
const FIELDS: [(&str, &str); 18] = [
    ("slug = \"acme\"", "slug"),
    ("\"Acme, of Berlin\"", "description"),
    ("\"1000\"", "dids"),
    ("\"operator\"", "fallback.context"),
    ("\"sip.example.com\"", "trunk.host"),
    ("username = \"acme\"", "trunk.username"),
    ("\"pa55\"", "trunk.password"),
    ("\"tls\"", "trunk.transport"),
    ("\"g722\"", "trunk.codecs"),
    ("\"192.0.2.0/24\"", "trunk.match"),
    ("from_user = \"acme\"", "trunk.from_user"),
    ("\"example.com\"", "trunk.from_domain"),
    ("\"PJSIP/alice\"", "queue.members"),
    ("\"rrmemory\"", "queue.strategy"),
    ("\"jazz\"", "queue.music_class"),
    ("caller_id = \"+4930123\"", "outbound.caller_id"),
    ("\"+49X.\"", "outbound.allowed"),
    ("\"Local/1@agents\"", "queue.members"),
];

/// TOML's basic string, whatever is in it.
fn quoted(text: &str) -> String {
    let escape = |c: char| format!("\\U{:08X}", u32::from(c));
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

fn hostile() -> impl Strategy<Value = String> {
    let tricks = prop::sample::select(vec![
        "\n",
        "\r",
        ";",
        ";--",
        "[",
        "]",
        "${",
        "$[",
        "}",
        "\\",
        "\"",
        ",",
        "=",
        ">",
        "#include x",
        "(!)",
        "&",
        "@",
        "|",
        "\0",
        " ",
        "\u{2028}",
        "+",
        "_",
        "é",
        "\n[general]\n",
        "\nexten => s,1,System(x)",
    ]);
    let plain = "[a-zA-Z0-9+./@-]{0,8}";
    prop_oneof![
        any::<String>(),
        plain.prop_map(String::from),
        "[0-9]{1,6}",
        (plain, tricks, plain).prop_map(|(a, b, c)| format!("{a}{b}{c}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_value_breaks_out_of_its_fragment(field in 0..FIELDS.len(), value in hostile()) {
        let (place, key) = FIELDS[field];
        prop_assert!(FULL.contains(place));
        let replaced = match place.split_once(" = ") {
            Some((name, _)) => format!("{name} = {}", quoted(&value)),
            None => quoted(&value),
        };
        match TenantFile::parse(&FULL.replacen(place, &replaced, 1)) {
            Err(e) => prop_assert!(e.why.starts_with(key) && !e.why.contains('\n'), "{}", e),
            Ok(changed) => {
                let (plain, dir) = (TempDir::new("tenants").unwrap(), TempDir::new("tenants").unwrap());
                Provisioner::new(plain.path()).add(&tenant("acme"), AddOptions::default()).unwrap();
                Provisioner::new(dir.path()).add(&changed, AddOptions::default()).unwrap();
                for kind in ["ari", "pjsip", "extensions", "queues"] {
                    let wanted = keys(&read(plain.path(), &format!("{kind}_acme.conf")));
                    let slug = format!("voxtra-{}", changed.slug());
                    let found = keys(&read(dir.path(), &format!("{kind}_{}.conf", changed.slug())));
                    let found: Vec<_> = found.into_iter().map(|(n, k)| (n.replacen(&slug, "voxtra-acme", 1), k)).collect();
                    prop_assert_eq!(found, wanted);
                }
                let plan = read(dir.path(), &format!("extensions_{}.conf", changed.slug()));
                let usual = read(plain.path(), "extensions_acme.conf");
                prop_assert_eq!(plan.matches("${").count(), usual.matches("${").count());
                prop_assert_eq!(plan.matches("$[").count(), usual.matches("$[").count());
            }
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        let _ = TenantFile::parse(&text);
    }
}
