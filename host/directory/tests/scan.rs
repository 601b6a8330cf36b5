//! A plugin directory as people write it, on a real disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::Plugins;
use voxtra_core::{Capability, DialNarrowing};
use voxtra_directory::{Canary, DialLimits, HttpLimits, Limits, Source, Then, Upgrade};

#[test]
fn a_tenants_folder_is_its_settings_handlers_and_rules() {
    let plugins = Plugins::new();
    plugins.write(
        "acme/tenant.toml",
        r#"
            slug = "acme"            # provisioning's
            [trunk]
            host = "sip.example.net"
            nonsense = "nobody's business here"

            [limits]
            memory_mib = 32
            max_calls = 50

            [capabilities]
            record = true
            store = true
            [capabilities.dial]
            patterns = ["+49."]
            endpoint = "PJSIP/{number}@trunk"
            max_per_day = 200
        "#,
    );
    plugins.write("acme/support.wasm", "support 1");
    plugins.write("acme/support.wasm.minisig", "signed");
    plugins.write(
        "acme/support.toml",
        r#"
            on_failure = {play = "sound:sorry", then = "handler:default"}
            canary = {percent = 5, min_calls = 50, max_failures_percent = 10}
            upgrade = "mid-call"
            drain_limit_ms = 60000
            metadata = {team = "blue", level = 2}
            routes = [{extension = "100", name = "desk"}, {number = "+4930*", metadata = {vip = true}}]
            [limits]
            memory_mib = 16
            [capabilities]
            record = true
            dial = {patterns = ["+4930."], max_per_day = 20}
        "#,
    );
    plugins.write("acme/default.wasm", "default 1");
    plugins.write("acme/20-night.router.wasm", "r2");
    plugins.write("acme/10-vip.router.wasm", "r1");
    plugins.write("acme/redact.filter.wasm", "f");
    plugins.write("acme/README.md", "hello");

    let scan = plugins.scan();
    assert_eq!(scan.sentences(), Vec::<String>::new());
    let acme = scan.tenant("acme");
    assert_eq!((acme.settings.limits.memory_mib, acme.settings.limits.max_calls), (32, 50));
    assert_eq!(
        acme.settings.grants.capabilities().iter().map(Capability::as_str).collect::<Vec<_>>(),
        ["dial", "record", "store"]
    );
    assert_eq!(acme.handlers.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["default", "support"]);
    assert_eq!(acme.routers.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>(), ["10-vip", "20-night"]);
    assert_eq!(acme.filters.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>(), ["redact"]);

    let support = scan.handler("acme", "support");
    assert!(
        matches!(&support.source, Source::File(file) if file.size_bytes == 9 && file.path.ends_with("acme/support.wasm"))
    );
    assert!(support.signature.is_some());
    assert_eq!(support.limits.memory_mib, 16);
    assert_eq!(support.limits.cpu_ms, acme.settings.limits.cpu_ms);
    assert_eq!(support.grants.capabilities().iter().map(Capability::as_str).collect::<Vec<_>>(), ["dial", "record"]);
    let dial = support.grants.dial.as_ref().unwrap();
    assert_eq!((dial.patterns.as_slice(), dial.limits.max_per_day), (&["+4930.".to_owned()][..], 20));
    assert_eq!(dial.endpoint, "PJSIP/{number}@trunk");
    let tenants = acme.settings.grants.dial.as_ref().unwrap();
    let narrowing =
        DialNarrowing { patterns: Some(vec!["+4930.".to_owned()]), max_per_day: 20, ..DialNarrowing::default() };
    assert_eq!(dial.narrowing(tenants), Some(narrowing), "what the manifest does not name stays the tenant's");
    assert_eq!(tenants.narrowing(tenants), None);
    assert_eq!(
        support.canary,
        Some(Canary { percent: 5, min_calls: 50, max_failures_percent: 10, promote_calls: 250 })
    );
    assert_eq!((support.upgrade, support.drain_limit_ms), (Upgrade::MidCall, Some(60_000)));
    assert_eq!(support.on_failure.as_ref().unwrap().then, Then::Handler("default".into()));
    assert_eq!(support.routes.len(), 2);
    assert_eq!(support.routes[1].metadata["vip"], true);
    assert_eq!(support.metadata["level"], 2);

    let default = scan.handler("acme", "default");
    assert_eq!(default.grants, acme.settings.grants);
    assert_eq!(default.canary, None);
}

#[test]
fn the_examples_are_good_and_have_every_key() {
    let plugins = Plugins::new();
    let (tenant, handler) =
        (include_str!("../examples/acme/tenant.toml"), include_str!("../examples/acme/support.toml"));
    plugins.write("acme/tenant.toml", tenant);
    plugins.write("acme/support.toml", handler);
    plugins.write("acme/support.wasm", "s");
    plugins.write("acme/default.wasm", "d");
    plugins.folder("acme/prompts");
    let read = plugins.scan();
    assert_eq!(read.sentences(), Vec::<String>::new());
    let settings = &read.tenant("acme").settings;
    assert_eq!(settings.limits, Limits::default());
    assert_eq!(settings.prompts.dir, Some(plugins.root().join("acme/prompts")));
    let capabilities = &settings.grants;
    assert_eq!(capabilities.dial.as_ref().unwrap().limits, DialLimits::default());
    assert_eq!(capabilities.http.as_ref().unwrap().limits, HttpLimits::default());
    let figures = settings.limits.figures().chain(capabilities.dial.as_ref().unwrap().limits.figures());
    for (key, value) in figures.chain(capabilities.http.as_ref().unwrap().limits.figures()) {
        assert!(tenant.contains(&format!("\n{key} = {value}")), "{key}");
    }
    let http = read.handler("acme", "support").grants.http.as_ref().unwrap();
    assert_eq!((http.allow.len(), http.narrowed.as_ref().unwrap().len(), http.limits.requests_per_call), (2, 1, 20));
}

#[test]
fn files_beside_the_folders_are_the_tenant_default() {
    let plugins = Plugins::new();
    plugins.write("echo.wasm", "e");
    plugins.write("tenant.toml", "weight = 7");
    plugins.write("acme/echo.wasm", "e");
    let scan = plugins.scan();
    assert_eq!(scan.sentences(), Vec::<String>::new());
    assert_eq!(scan.tenant("default").settings.weight, 7);
    assert_eq!(scan.tenant("acme").settings.weight, 100);
    assert_eq!(scan.directory.tenants.len(), 2);
}

#[test]
fn an_empty_folder_is_a_tenant_without_handlers_and_other_files_are_nobodys_business() {
    let plugins = Plugins::new();
    plugins.folder("acme/prompts");
    plugins.write("notes.txt", "x");
    let scan = plugins.scan();
    assert_eq!(scan.sentences(), Vec::<String>::new());
    assert!(scan.tenant("acme").handlers.is_empty());
    assert_eq!(scan.directory.tenants.len(), 1);
}

#[test]
fn a_handler_may_come_from_a_registry_or_from_another_file() {
    let plugins = Plugins::new();
    let reference = format!("ghcr.io/acme/support@sha256:{}", "a".repeat(64));
    plugins.write("acme/far.toml", &format!("oci = \"{reference}\""));
    plugins.write("acme/near.toml", "file = \"shared.wasm\"\nroutes = [{extension = \"1\"}]");
    plugins.write("acme/shared.wasm", "s");
    let scan = plugins.scan();
    assert_eq!(scan.sentences(), Vec::<String>::new());
    assert_eq!(scan.handler("acme", "far").source, Source::Oci(reference));
    assert_eq!(scan.handler("acme", "near").source, scan.handler("acme", "shared").source);
}

#[test]
fn what_looks_as_before_is_told_as_before() {
    let plugins = Plugins::new();
    plugins.write("acme/a.wasm", "1");
    let mut scanner = plugins.scanner();
    let first = scanner.scan(&Default::default()).unwrap();
    assert_eq!(scanner.scan(&first.directory).unwrap(), first);
    plugins.write("acme/a.wasm", "2");
    let second = scanner.scan(&first.directory).unwrap();
    assert_ne!(second, first);
}

#[test]
fn a_directory_that_is_not_there_is_no_empty_one() {
    let plugins = Plugins::new();
    std::fs::remove_dir_all(plugins.root()).unwrap();
    let error = plugins.scanner().scan(&Default::default()).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "the plugin directory {} cannot be read: it is not there; what runs goes on as it is",
            plugins.root().display()
        )
    );
}

#[test]
fn a_tenant_and_a_handler_come_and_go() {
    let plugins = Plugins::new();
    plugins.write("acme/a.wasm", "1");
    plugins.write("beta/b.wasm", "1");
    let first = plugins.scan();
    std::fs::remove_dir_all(plugins.path("beta")).unwrap();
    plugins.write("acme/c.wasm", "1");
    std::fs::remove_file(plugins.path("acme/a.wasm")).unwrap();
    let second = plugins.scan_after(&first.directory);
    assert_eq!(second.sentences(), Vec::<String>::new());
    assert_eq!(second.directory.tenants.len(), 1);
    assert_eq!(second.tenant("acme").handlers.keys().map(|n| n.as_str()).collect::<Vec<_>>(), ["c"]);
}
