//! Of two that claim the same, the one that had it has it, also over a restart.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::{Plugins, only_said, with_a_good_tenant};
use voxtra_directory::{Applications, Directory};

/// With applications as a host has them.
fn applications() -> Plugins {
    let mut plugins = with_a_good_tenant();
    plugins.host.applications = Applications { base: "voxtra".to_owned(), ..Applications::default() };
    plugins
}

#[test]
fn what_a_tenant_has_by_its_name_is_no_other_tenants_whoever_came_first() {
    let plugins = applications();
    plugins.write("beta/b.wasm", "b");
    let before = plugins.scan().directory;
    plugins.write("aaa/tenant.toml", "app_name = \"voxtra-beta\"");
    plugins.write("aaa/a.wasm", "a");
    let why = "P/aaa/tenant.toml, line 1: `app_name` is `voxtra-beta`, which is the tenant `beta`'s; write another; the tenant `aaa` is left out";
    for previous in [&before, &Directory::default()] {
        let read = plugins.scan_after(previous);
        only_said(&read, why);
        assert_eq!(read.directory, before);
    }
    // The other one has had it, for as long as there was no such tenant.
    std::fs::rename(plugins.path("beta"), plugins.outside().join("beta")).unwrap();
    let alone = plugins.scan();
    assert!(alone.has_tenant("aaa"));
    std::fs::rename(plugins.outside().join("beta"), plugins.path("beta")).unwrap();
    for handler in ["a", "none"] {
        let read = plugins.scan_served(&alone.directory, &[("aaa", handler)]);
        only_said(&read, why);
        assert_eq!(read.directory, before);
    }
}

#[test]
fn who_took_calls_before_a_restart_has_its_application_route_and_name_after_it() {
    let plugins = applications();
    let route = "routes = [{extension = \"100\"}]";
    plugins.write("beta/tenant.toml", "app_name = \"calls\"");
    plugins.write("beta/r9.wasm", "9");
    plugins.write("beta/r9.toml", route);
    let before = plugins.scan().directory;
    plugins.write("aaa/tenant.toml", "app_name = \"calls\"");
    plugins.write("BETA/r9.wasm", "9");
    plugins.write("beta/a0.wasm", "0");
    plugins.write("beta/a0.toml", route);
    plugins.write("beta/R9.wasm", "R");
    let refused = [
        "P/BETA: it differs from the folder `beta` only by case; rename one of them; the tenant `BETA` is left out",
        "P/aaa/tenant.toml, line 1: `app_name` is `calls`, which is the tenant `beta`'s; write another; the tenant `aaa` is left out",
        "P/beta/R9.wasm: it differs from the handler `r9` only by case; rename one of them; the handler `R9` is left out",
        "P/beta/a0.toml, line 1: the route for extension `100` is taken by the handler `r9`, in line 1 of r9.toml; remove one; the handler `a0` is left out",
    ];
    let running = plugins.scan_after(&before);
    let restarted = plugins.scan_served(&Directory::default(), &[("beta", "r9"), ("gone", "a")]);
    for read in [running, restarted] {
        let mut said = read.sentences();
        said.sort();
        assert_eq!(said, refused);
        assert_eq!(read.directory, before);
    }
    // Nobody is known: the first by name.
    let first = plugins.scan();
    assert!(first.has_tenant("BETA") && first.has_tenant("aaa"), "{:?}", first.sentences());
}

#[test]
fn who_runs_goes_before_who_only_ran_once() {
    let plugins = with_a_good_tenant();
    plugins.write("acme/b.wasm", "b");
    plugins.write("acme/b.toml", "routes = [{extension = \"1\"}]");
    let before = plugins.scan().directory;
    plugins.write("acme/a.wasm", "a");
    plugins.write("acme/a.toml", "routes = [{extension = \"1\"}]");
    let read = plugins.scan_served(&before, &[("acme", "a")]);
    assert_eq!(read.directory, before);
}
