//! Whatever is wrong in the texts of a plugin directory gets one sentence with its place, and nothing else changes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::fs;

use support::{Plugins, only_said, with_a_good_tenant};
use voxtra_core::{Capabilities, Capability, TenantId};
use voxtra_directory::{Applications, Checks, Directory, Part};

/// What `text` as `acme/tenant.toml` is said to be, and that there is no tenant then.
#[track_caller]
fn tenant_toml(text: &str, sentence: &str) {
    let plugins = with_a_good_tenant();
    plugins.write("acme/a.wasm", "a");
    plugins.write("acme/tenant.toml", text);
    let read = plugins.scan();
    only_said(&read, &format!("P/acme/tenant.toml{sentence}; the tenant `acme` is left out"));
    assert_eq!(read.problems[0].tenant(), Some(&TenantId::from("acme")));
    assert!(!read.has_tenant("acme"));
}

/// What `text` as `acme/a.toml` is said to be, and that only that handler is missing.
#[track_caller]
fn manifest(text: &str, sentence: &str) {
    let plugins = with_a_good_tenant();
    plugins.write("acme/tenant.toml", TENANT);
    plugins.write("acme/a.wasm", "a");
    plugins.write("acme/b.wasm", "b");
    plugins.write("acme/a.toml", text);
    let read = plugins.scan();
    only_said(&read, &format!("P/acme/a.toml{sentence}; the handler `a` is left out"));
    assert!(!read.has_handler("acme", "a") && read.has_handler("acme", "b"));
}

const TENANT: &str = r#"
    [limits]
    memory_mib = 32
    [capabilities]
    record = true
    [capabilities.dial]
    patterns = ["+49."]
    endpoint = "PJSIP/{number}@trunk"
"#;

#[test]
fn two_handlers_for_one_route_is_the_later_ones_fault() {
    let plugins = with_a_good_tenant();
    plugins.write("acme/b.wasm", "b");
    plugins.write("acme/b.toml", "\nroutes = [\n  {extension = \"100\", number = \"+49*\"},\n]");
    let before = plugins.scan().directory;
    plugins.write("acme/a.wasm", "a");
    plugins.write("acme/a.toml", "routes = [\n  {number = \"+49*\"},\n  {number = \"+49*\", extension = \"100\"},\n]");
    // The one that had it has it.
    let read = plugins.scan_after(&before);
    only_said(
        &read,
        "P/acme/a.toml, line 3: the route for extension `100` and number `+49*` is taken by the handler `b`, in line 3 of b.toml; remove one; the handler `a` is left out",
    );
    assert_eq!(read.directory, before);
    // At a start it is the first by name.
    let read = plugins.scan();
    only_said(
        &read,
        "P/acme/b.toml, line 3: the route for extension `100` and number `+49*` is taken by the handler `a`, in line 3 of a.toml; remove one; the handler `b` is left out",
    );
}

#[test]
fn routes_that_go_round_in_a_ring_end_with_each_having_one() {
    let plugins = with_a_good_tenant();
    let route = |handler: &str, extension: &str| {
        plugins.write(&format!("acme/{handler}.wasm"), handler);
        plugins.write(&format!("acme/{handler}.toml"), &format!("routes = [{{extension = \"{extension}\"}}]"));
    };
    route("a", "1");
    route("b", "2");
    let before = plugins.scan().directory;
    // `a` wants `b`'s, cannot have it and stays with its own, which `c` wants.
    route("a", "2");
    route("c", "1");
    let read = plugins.scan_after(&before);
    assert_eq!(
        read.sentences(),
        [
            "P/acme/a.toml, line 1: the route for extension `2` is taken by the handler `b`, in line 1 of b.toml; remove one; the handler `a` stays as it was",
            "P/acme/c.toml, line 1: the route for extension `1` is taken by the handler `a`, as it was; remove one; the handler `c` is left out",
        ]
    );
    assert_eq!(read.directory, before);
}

#[test]
fn two_tenants_cannot_have_one_application() {
    let plugins = with_a_good_tenant();
    plugins.write("beta/tenant.toml", "app_name = \"calls\"");
    let before = plugins.scan().directory;
    plugins.write("acme/tenant.toml", "weight = 1\napp_name = \"calls\"");
    let read = plugins.scan_after(&before);
    only_said(
        &read,
        "P/acme/tenant.toml, line 2: `app_name` is `calls`, which is the tenant `beta`'s; write another; the tenant `acme` is left out",
    );
    assert_eq!(read.directory, before);
}

#[test]
fn an_application_that_the_operator_gives_is_nobody_elses() {
    let mut plugins = with_a_good_tenant();
    let tenants =
        BTreeMap::from([("default".into(), None), ("delta".into(), Some("calls".to_owned())), ("gamma".into(), None)]);
    plugins.host.applications = Applications { base: "voxtra".to_owned(), tenants };
    let before = plugins.scan().directory;
    for (app, holder) in [("calls", "delta"), ("voxtra", "default"), ("voxtra-gamma", "gamma")] {
        plugins.write("acme/tenant.toml", &format!("app_name = \"{app}\""));
        let why = format!(
            "P/acme/tenant.toml, line 1: `app_name` is `{app}`, which is the tenant `{holder}`'s; write another; the tenant `acme` is left out"
        );
        only_said(&plugins.scan_after(&before), &why);
    }
    // And an operator's own tenant has what its file says of it.
    fs::remove_dir_all(plugins.path("acme")).unwrap();
    plugins.write("delta/tenant.toml", "app_name = \"voxtra\"");
    assert_eq!(plugins.scan_after(&before).sentences(), Vec::<String>::new());
}

#[test]
fn what_others_would_refuse_is_refused_where_it_is_written() {
    let mut plugins = with_a_good_tenant();
    plugins.host.pbxs = vec!["asterisk".to_owned(), "second".to_owned()];
    plugins.host.checks = Checks {
        prompts: |play| if play == ["sound:good"] { Ok(()) } else { Err("cannot be played".to_owned()) },
        metadata: |notes| if notes.len() < 3 { Ok(()) } else { Err("is too much".to_owned()) },
        dial: |dial| if dial.contexts.is_empty() { Ok(()) } else { Err("cannot be used".to_owned()) },
        ..Checks::default()
    };
    let before = plugins.scan().directory;
    for (text, why) in [
        ("\n[on_failure]\nplay = \"bad\"", ", line 3: `on_failure.play` cannot be played"),
        ("[capabilities.dial]\ncontexts = [\"a\"]", ", line 1: `capabilities.dial` cannot be used"),
        (
            "pbx = [\"second\",\n\"third\"]",
            ", line 2: `pbx` names `third`, and there is no such PBX; write one of asterisk, second",
        ),
    ] {
        plugins.write("acme/tenant.toml", text);
        only_said(&plugins.scan_after(&before), &format!("P/acme/tenant.toml{why}; the tenant `acme` is left out"));
    }
    plugins.write("acme/tenant.toml", "pbx = [\"second\"]\n[on_failure]\nplay = \"sound:good\"");
    plugins.write("acme/a.wasm", "a");
    for (text, why) in [
        ("[metadata]\na = 1\nb = 1\nc = 1", "line 1: `metadata` is too much"),
        (
            "metadata = { a = 1 }\n[[routes]]\nextension = \"1\"\nmetadata = { b = 1, c = 1 }",
            "line 3: the metadata of the route for extension `1` is too much",
        ),
        ("[on_failure]\nplay = [\"sound:good\", \"bad\"]", "line 2: `on_failure.play` cannot be played"),
    ] {
        plugins.write("acme/a.toml", text);
        only_said(&plugins.scan_after(&before), &format!("P/acme/a.toml, {why}; the handler `a` is left out"));
    }
}

#[test]
fn prompts_that_are_no_folder_are_said_to_be_what_they_are() {
    let plugins = with_a_good_tenant();
    plugins.write("acme/tenant.toml", "[prompts]\ndir = \"none\"");
    let path = plugins.path("acme/none");
    std::os::unix::fs::symlink(plugins.outside(), &path).unwrap();
    only_said(
        &plugins.scan(),
        "P/acme/tenant.toml, line 2: `prompts.dir` names `none`, a symbolic link, which is not followed; put the folder itself here; the tenant `acme` is left out",
    );
    fs::remove_file(&path).unwrap();
    plugins.write("acme/none", "a file");
    only_said(
        &plugins.scan(),
        "P/acme/tenant.toml, line 2: `prompts.dir` names `none`: it is not a folder; put a folder here, or rename it; the tenant `acme` is left out",
    );
}

#[test]
fn a_failure_policy_that_names_no_handler_is_told_and_all_else_goes_on() {
    let plugins = with_a_good_tenant();
    plugins.write("acme/a.wasm", "a");
    plugins.write("acme/tenant.toml", "[on_failure]\nplay = []\nthen = \"handler:spare\"");
    plugins.write("acme/a.toml", "on_failure = {then = \"handler:vip.router\"}");
    plugins.write("acme/vip.router.wasm", "a rule");
    let read = plugins.scan();
    let why = |name: &str| {
        format!(
            "`on_failure.then` names the handler `{name}`, which is not in this folder; put it there, or correct the name; what follows the prompts is left out"
        )
    };
    let router = format!("P/acme/a.toml, line 1: {}", why("vip.router"));
    assert_eq!(read.sentences(), [router.clone(), format!("P/acme/tenant.toml, line 3: {}", why("spare"))]);
    assert!(read.has_handler("acme", "a"));
    assert_eq!(read.problems[1].tenant(), Some(&TenantId::from("acme")));
    plugins.write("acme/spare.wasm", "s");
    assert_eq!(plugins.scan_after(&read.directory).sentences(), [router]);
    // What it names may go while calls are up.
    fs::remove_file(plugins.path("acme/spare.wasm")).unwrap();
    let gone = plugins.scan_after(&plugins.scan().directory);
    assert!(!gone.has_handler("acme", "spare") && gone.has_handler("acme", "a") && gone.problems.len() == 2);
}

#[test]
fn the_prompts_of_a_flat_directory_need_a_folder_of_the_tenants_own() {
    let plugins = Plugins::new();
    plugins.write("a.wasm", "a");
    plugins.write("wav/hello.wav", "x");
    plugins.write("tenant.toml", "[prompts]\ndir = \"wav\"");
    let said = plugins.scan().sentences();
    let wanted = "P/tenant.toml, line 2: `prompts.dir` names `wav`, which is a tenant's folder here; move `default`'s files into a folder of its own; the tenant `default` is left out";
    assert!(said.contains(&wanted.to_owned()), "{said:#?}");
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    tenant_toml("weight = 1\n[limits\n", ", line 2: this is not TOML (unclosed table, expected `]`); correct the line");
    manifest(
        "upgrade = \"drain\"\nx = = 1\n",
        ", line 2: this is not TOML (extra `=`, expected nothing); correct the line",
    );
    manifest(
        "upgrade = \"drain\"\nupgrade = \"drain\"\n",
        ", line 2: this is not TOML (duplicate key); correct the line",
    );
}

#[test]
fn a_byte_that_is_no_text_is_told_with_its_line() {
    let plugins = with_a_good_tenant();
    plugins.write("acme/a.wasm", "a");
    fs::write(plugins.path("acme/a.toml"), b"upgrade = \"drain\"\n# caf\xe9\n").unwrap();
    only_said(
        &plugins.scan(),
        "P/acme/a.toml, line 2: there is a byte that is not UTF-8; save the file as UTF-8; the handler `a` is left out",
    );
}

#[test]
fn a_key_that_is_not_known_is_told_with_the_nearest() {
    tenant_toml("wieght = 1", ", line 1: `wieght` is not known; did you mean `weight`?");
    tenant_toml(
        "\n[limits]\nmemory = 1",
        ", line 3: `limits.memory` is not known; known here are `memory_mib`, `cpu_ms`, `table_elements`, `host_call_bytes`, `handles`, `call_ms`, `handler_grace_ms`, `hook_ms`, `log_bytes`, `verbs_per_second`, `audio_calls_per_second`, `store_calls_per_second`, `log_lines_per_second`, `provider_calls_per_second`, `events_per_second`, `retained_bytes`, `max_calls`, `cpu_ms_per_second`, `total_memory_mib`, `max_keys`, `stored_mib` and `max_components`",
    );
    tenant_toml("[dial]\npatterns = []", ", line 1: `dial` is not known; it belongs into `[capabilities.dial]`");
    tenant_toml(
        "[providers.stt]\nprovider = \"deepgram\"\napi_key = \"sesame\"",
        ", line 3: `providers.stt.api_key` is not known; it belongs into voxtra.yaml, which the operator alone reads",
    );
    manifest("[canary]\npercents = 1", ", line 2: `canary.percents` is not known; did you mean `percent`?");
    manifest("secrets = [\"x\"]", ", line 1: `secrets` is not known; it belongs into tenant.toml");
}

#[test]
fn a_limit_above_the_hosts_own_is_told_with_both() {
    tenant_toml(
        "[limits]\ncpu_ms = 1\nmemory_mib = 512",
        ", line 3: `limits.memory_mib` is 512 and the host allows 64; write 64 or less",
    );
    tenant_toml(
        "[capabilities.dial]\nmax_per_day = 5000",
        ", line 2: `capabilities.dial.max_per_day` is 5000 and the host allows 1000; write 1000 or less",
    );
    tenant_toml(
        "[capabilities.http]\nredirects = 1",
        ", line 2: `capabilities.http.redirects` is 1 and the host allows 0; write 0 or less",
    );
    manifest(
        "[limits]\nmemory_mib = 64",
        ", line 2: `limits.memory_mib` is 64 and the tenant allows 32; write 32 or less",
    );
    manifest(
        "drain_limit_ms = 14400001",
        ", line 1: `drain_limit_ms` is 14400001 and the host allows 14400000; write 14400000 or less",
    );
    manifest(
        "[limits]\nmax_calls = 1",
        ", line 2: `limits.max_calls` counts over all calls of the tenant; write it into tenant.toml",
    );
}

#[test]
fn a_value_that_is_none_is_told() {
    let whole = |least: u64| format!("must be a whole number from {least} to 1099511627776");
    tenant_toml("[limits]\nmemory_mib = -1", &format!(", line 2: `limits.memory_mib` {}", whole(1)));
    tenant_toml("[limits]\nmemory_mib = 18446744073709551616", &format!(", line 2: `limits.memory_mib` {}", whole(1)));
    tenant_toml("[limits]\nmemory_mib = \"64\"", &format!(", line 2: `limits.memory_mib` {}", whole(1)));
    tenant_toml("weight = 0", ", line 1: `weight` must be a whole number from 1 to 1000");
    tenant_toml("limits = 5", ", line 1: `limits` must be a table");
    tenant_toml("secrets = [\"a\", \"a/b\"]", ", line 1: `secrets` must be 1 to 64 letters, digits, `-`, `_` or `.`");
    tenant_toml("secrets = [\n\"a\",\n\"a\"]", ", line 3: `secrets` holds an entry twice; remove one");
    tenant_toml(
        "[prompts]\ndir = \"../other\"",
        ", line 2: `prompts.dir` must be the name of a folder in the tenant's own, without a path",
    );
    tenant_toml(
        "\n[prompts]\nurls = []\ndir = \"wav\"",
        ", line 4: `prompts.dir` names `wav`, and there is no such folder here; make it",
    );
    tenant_toml(
        "[prompts]\nurls = [\"http://x\"]",
        ", line 2: `prompts.urls` must be the beginning of an https: address",
    );
    tenant_toml(
        "[dialplan]\nqueue_context = \"a,b\"",
        ", line 2: `dialplan.queue_context` must be 1 to 64 letters, digits, `-`, `_` or `.`",
    );
    manifest("upgrade = \"now\"", ", line 1: `upgrade` must be `drain` or `mid-call`");
    manifest("routes = 1", ", line 1: `routes` must be a list of tables");
    manifest(
        "[[routes]]\nnumber = \"+*49\"",
        ", line 2: `routes.number` must be 1 to 64 letters, digits and + - _ . #, with or without a `*` at the end",
    );
    manifest(
        "[[routes]]\nextension = \"${X}\"",
        ", line 2: `routes.extension` must be 1 to 64 letters, digits and + - _ . * #",
    );
    manifest(
        "[[routes]]\nextension = \"1\"\n\n[[routes]]\nextension = \"1\"",
        ", line 5: the route for extension `1` is here twice, first in line 2; remove one",
    );
    manifest(
        "on_failure = {then = \"dance\"}",
        ", line 1: `on_failure.then` must be `hangup`, `transfer:TARGET` or `handler:NAME`",
    );
    manifest(
        "on_failure = {then = \"handler:../x\"}",
        ", line 1: `on_failure.then` must be `hangup`, `transfer:TARGET` or `handler:NAME`",
    );
    manifest("canary = {percent = 101}", ", line 1: `canary.percent` must be a whole number from 1 to 100");
    manifest(
        "metadata = {x = inf}",
        ", line 1: `metadata` holds a number that is none, too many entries, or too long a text",
    );
}

#[test]
fn signatures_that_nobody_could_make_are_told() {
    tenant_toml(
        "[signatures]\nrequired = true",
        ", line 2: `signatures.required` needs `keys`, the public keys that count; add one",
    );
    tenant_toml(
        "[signatures]\nkeys = [\n  \"hello\"]",
        ", line 3: `signatures.keys` holds an entry that is no minisign public key; write the second line of its .pub file, which begins with RW",
    );
}

#[test]
fn a_capability_is_never_widened() {
    tenant_toml(
        "[capabilities]\nrecords = true",
        ", line 2: `capabilities.records` is not known; did you mean `record`?",
    );
    tenant_toml("[capabilities]\ndial = true", ", line 2: `capabilities.dial` needs a table with its patterns");
    tenant_toml(
        "[capabilities.dial]\npatterns = [\"+49.\"]",
        ", line 2: `capabilities.dial.patterns` need `endpoint`, what a number becomes at the PBX, such as PJSIP/{number}@trunk",
    );
    tenant_toml(
        "[capabilities.dial]\nendpoint = \"PJSIP/{number}@a,b\"",
        ", line 2: `capabilities.dial.endpoint` must be an endpoint with {number} in it, such as PJSIP/{number}@trunk",
    );
    tenant_toml(
        "[capabilities.dial]\npatterns = [\"+49x\"]",
        ", line 2: `capabilities.dial.patterns` must be 1 to 32 of digits, X, Z and N, with or without a `+` before them and a `.` or `*` after them",
    );
    tenant_toml(
        "[capabilities.http]\nallow = [\n  \" \",\n]",
        ", line 3: `capabilities.http.allow` holds an entry that is none; write one such as `https://api.example.com`",
    );
    manifest(
        "[capabilities]\nsnoop = true",
        ", line 2: `capabilities.snoop` is not granted to the tenant; grant it in tenant.toml, or remove it here",
    );
    manifest(
        "[capabilities.http]\nallow = []",
        ", line 1: `capabilities.http` is not granted to the tenant; grant it in tenant.toml, or remove it here",
    );
    manifest(
        "[capabilities.dial]\npatterns = [\n  \"+4930.\",\n  \"+1.\"]",
        ", line 4: `capabilities.dial.patterns` has `+1.`, and no pattern of the tenant's covers it; narrow or remove it",
    );
    let many: Vec<String> = (0..101).map(|i| format!("\"+49{i}\"")).collect();
    manifest(
        &format!("[capabilities.dial]\npatterns = [{}]", many.join(",")),
        ", line 2: `capabilities.dial.patterns` has more than 100 entries; write fewer and wider ones",
    );
    manifest(
        "[capabilities.dial]\ncaller_ids = [\"+49301\"]",
        ", line 2: `capabilities.dial.caller_ids` holds an entry that the tenant has not; remove it",
    );
    manifest(
        "[capabilities.dial]\nmax_concurrent = 11",
        ", line 2: `capabilities.dial.max_concurrent` is 11 and the tenant allows 10; write 10 or less",
    );
    manifest(
        "[capabilities.dial]\nbatches = true",
        ", line 2: `capabilities.dial.batches` is not granted to the tenant; grant it in tenant.toml, or remove it here",
    );
}

#[test]
fn a_capability_that_the_host_withholds_is_granted_to_nobody() {
    let mut plugins = with_a_good_tenant();
    plugins.host.withheld = Capabilities::NONE.with(Capability::Snoop);
    plugins.write("acme/tenant.toml", "[capabilities]\nrecord = true\nsnoop = true");
    let read = plugins.scan();
    only_said(
        &read,
        "P/acme/tenant.toml, line 3: `capabilities.snoop` is withheld by the host; remove it; the tenant `acme` is left out",
    );
    assert!(
        !read.tenant("good").settings.grants.plain.has(Capability::Snoop)
            && read.tenant("good").settings.grants.plain.has(Capability::Record)
    );
}

#[test]
fn a_manifests_component_is_a_file_beside_it() {
    manifest(
        "file = \"../x.wasm\"",
        ", line 1: `file` must be the name of a .wasm file in the same folder, without a path",
    );
    manifest(
        "file = \"/etc/passwd.wasm\"",
        ", line 1: `file` must be the name of a .wasm file in the same folder, without a path",
    );
    manifest(
        "\nfile = \"b.wasm\"",
        ", line 2: `file` names another component than `a.wasm`, which is here; remove one of them",
    );
    let reference = format!("ghcr.io/acme/a@sha256:{}", "0".repeat(64));
    manifest(
        &format!("oci = \"{reference}\""),
        ", line 1: `oci` names another component than `a.wasm`, which is here; remove one of them",
    );
    manifest(
        &format!("file = \"a.wasm\"\noci = \"{reference}\""),
        ", line 2: `oci` and `file` exclude each other; remove one",
    );
    manifest(
        "oci = \"ghcr.io/acme/a:latest\"",
        ", line 1: `oci` is `ghcr.io/acme/a:latest`, which is no reference; write REGISTRY/REPOSITORY@sha256: and the 64 digits of a digest",
    );

    let plugins = with_a_good_tenant();
    plugins.write("acme/a.toml", "upgrade = \"drain\"\nfile = \"missing.wasm\"");
    plugins.write("acme/b.toml", "upgrade = \"drain\"");
    plugins.write("acme/c.toml", "file = \"r.router.wasm\"");
    plugins.write("acme/r.router.wasm", "r");
    assert_eq!(
        plugins.scan().sentences(),
        [
            "P/acme/a.toml, line 2: `file` names `missing.wasm`, which is not in this folder; put it there, or correct the name; the handler `a` is left out",
            "P/acme/b.toml: there is no `b.wasm` beside it; put it there, or write `file` or `oci`; the handler `b` is left out",
            "P/acme/c.toml, line 1: `file` names `r.router.wasm`, which is no handler but a rule; name a handler's component; the handler `c` is left out",
        ]
    );
}

#[test]
fn a_tenant_whose_file_becomes_bad_stays_as_it_was_and_is_never_replaced_by_the_defaults() {
    let plugins = with_a_good_tenant();
    plugins.write("acme/tenant.toml", "[capabilities]\n[limits]\nmemory_mib = 8");
    plugins.write("acme/a.wasm", "a");
    let before = plugins.scan().directory;
    plugins.write("acme/tenant.toml", "[capabilities]\n[limits]\nmemory_mib = 8000");
    plugins.write("acme/a.wasm", "a, changed");
    let read = plugins.scan_after(&before);
    only_said(
        &read,
        "P/acme/tenant.toml, line 3: `limits.memory_mib` is 8000 and the host allows 64; write 64 or less; the tenant `acme` stays as it was",
    );
    assert_eq!(read.directory, before);
    assert_eq!(read.problems[0].part, Part::Tenant("acme".into()));
}

#[test]
fn what_has_gone_while_it_is_written_does_not_widen_anything() {
    let plugins = with_a_good_tenant();
    let (tenant, manifest) = ("[capabilities]\nrecord = true", "[capabilities]");
    plugins.write("acme/tenant.toml", tenant);
    plugins.write("acme/a.wasm", "a");
    plugins.write("acme/a.toml", manifest);
    let mut scanner = plugins.scanner();
    let before = scanner.scan(&Directory::default()).unwrap().directory;

    fs::remove_file(plugins.path("acme/a.toml")).unwrap();
    let scan = scanner.scan(&before).unwrap();
    assert_eq!(scan.directory, before);
    assert!(scan.problems[0].to_string().ends_with("acme/a.toml: it has gone; put it back, or the handler is without it from the next look on; the handler `a` stays as it was"));
    fs::remove_file(plugins.path("acme/tenant.toml")).unwrap();
    let scan = scanner.scan(&scan.directory).unwrap();
    assert_eq!(scan.directory, before);
    assert!(scan.problems[0].to_string().ends_with("acme/tenant.toml: it has gone; put it back, or the tenant has the host's defaults from the next look on; the tenant `acme` stays as it was"));
    // It is back: nothing was ever different.
    plugins.write("acme/tenant.toml", tenant);
    plugins.write("acme/a.toml", manifest);
    assert_eq!(scanner.scan(&before).unwrap().directory, before);

    // Both stay away: the second reading believes it.
    fs::remove_file(plugins.path("acme/a.toml")).unwrap();
    fs::remove_file(plugins.path("acme/tenant.toml")).unwrap();
    let scan = scanner.scan(&before).unwrap();
    assert_eq!(scan.directory, before);
    let scan = scanner.scan(&scan.directory).unwrap();
    assert_eq!(scan.problems, vec![]);
    let acme = &scan.directory.tenants[&"acme".into()];
    assert_eq!(acme.handlers[&"a".into()].grants, plugins.host.grants);
    // With all it has it may be removed at once.
    fs::remove_dir_all(plugins.path("acme")).unwrap();
    assert_eq!(scanner.scan(&scan.directory).unwrap().directory.tenants.len(), 1);
}

#[test]
fn a_handler_that_stays_as_it_was_loses_what_its_tenant_has_lost() {
    let plugins = with_a_good_tenant();
    plugins.write("acme/tenant.toml", TENANT);
    plugins.write("acme/a.wasm", "a");
    plugins.write("acme/a.toml", "capabilities = {record = true, dial = {patterns = [\"+4930.\", \"+4940.\"]}}");
    let before = plugins.scan().directory;
    // Its author breaks the manifest just when the operator takes numbers, recording and memory away.
    plugins.write("acme/a.toml", "?");
    let narrower =
        "limits = {memory_mib = 4}\n[capabilities.dial]\npatterns = [\"+4930.\"]\nendpoint = \"PJSIP/{number}@b\"";
    plugins.write("acme/tenant.toml", narrower);
    let read = plugins.scan_after(&before);
    assert_eq!(read.problems.len(), 1);
    assert!(read.problems[0].kept);
    let a = read.handler("acme", "a");
    assert_eq!(a.limits.memory_mib, 4);
    assert_eq!(a.grants.capabilities().iter().map(Capability::as_str).collect::<Vec<_>>(), ["dial"]);
    let dial = a.grants.dial.as_ref().unwrap();
    assert_eq!((dial.patterns.as_slice(), dial.endpoint.as_str()), (&["+4930.".to_owned()][..], "PJSIP/{number}@b"));
}
