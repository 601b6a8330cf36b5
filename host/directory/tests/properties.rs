//! What holds for any directory and any text.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use support::Plugins;
use voxtra_directory::{Directory, HandlerPlan};

/// Routes by handler.
type Claims = BTreeMap<String, BTreeSet<String>>;

fn claims() -> impl Strategy<Value = Claims> {
    proptest::collection::btree_map("[a-e]", proptest::collection::btree_set("[1-5]", 0..4), 0..6)
}

fn handlers(directory: &Directory) -> Claims {
    let handlers = directory.tenants.get(&"acme".into()).into_iter().flat_map(|plan| plan.handlers.values());
    let routes = |plan: &HandlerPlan| plan.routes.iter().map(|route| route.extension.clone()).collect();
    handlers.map(|plan| (plan.name.to_string(), routes(plan))).collect()
}

/// Texts that come close to what is read.
fn toml() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        (
            "(limits|capabilities|routes|canary|dial|weight|upgrade|memory_mib|cpu_ms|record|file|oci|metadata|secrets|patterns)",
            "(-?[0-9]{1,22}|true|false|\"[a-z+.*/]{0,8}\"|\\[\\]|\\{\\}|\\{then = \"hangup\"\\}|nan|1979-05-27|\\[\"a\", \"b\"\\])",
        )
            .prop_map(|(key, value)| format!("{key} = {value}")),
        "(\\[limits\\]|\\[capabilities\\]|\\[capabilities.dial\\]|\\[\\[routes\\]\\]|\\[canary\\]|\\[on_failure\\])",
        ".{0,12}",
    ];
    proptest::collection::vec(line, 0..6).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn no_text_widens_anything_or_is_faulted_beyond_its_end(tenant in toml(), manifest in toml()) {
        let plugins = Plugins::new();
        plugins.write("acme/tenant.toml", &tenant);
        plugins.write("acme/a.toml", &manifest);
        plugins.write("acme/a.wasm", "a");
        let read = plugins.scan();
        prop_assert!(read.problems.len() <= 1, "{:?}", read.sentences());
        for problem in &read.problems {
            let text = if problem.file.ends_with("tenant.toml") { &tenant } else { &manifest };
            prop_assert!(problem.line.is_none_or(|line| (1..=text.matches('\n').count() + 1).contains(&line)));
            prop_assert!(!problem.to_string().contains(['\n', '\r']), "{}", problem);
        }
        for plan in read.directory.tenants.values() {
            let own = plan.settings.limits;
            prop_assert_eq!(own.min(plugins.host.limits), own);
            for handler in plan.handlers.values() {
                prop_assert_eq!(handler.limits.min(own), handler.limits);
                prop_assert_eq!(&handler.grants.within(&plan.settings.grants), &handler.grants);
            }
        }
    }

    #[test]
    fn whoever_claims_what_routes_have_one_handler_and_those_that_did_not_change_keep_theirs(
        before in claims(), after in claims(),
    ) {
        let plugins = Plugins::new();
        plugins.folder("acme");
        let mut directory = Directory::default();
        for round in [&before, &after, &after] {
            let was = handlers(&directory);
            for name in ["a", "b", "c", "d", "e"] {
                let (component, manifest) = (plugins.path(&format!("acme/{name}.wasm")), plugins.path(&format!("acme/{name}.toml")));
                let Some(routes) = round.get(name) else {
                    let _ = (std::fs::remove_file(component), std::fs::remove_file(manifest));
                    continue;
                };
                let routes: Vec<String> = routes.iter().map(|route| format!("{{extension = \"{route}\"}}")).collect();
                std::fs::write(component, name).unwrap();
                std::fs::write(manifest, format!("routes = [{}]", routes.join(", "))).unwrap();
            }
            let read = plugins.scan_after(&directory);
            let is = handlers(&read.directory);
            let mut all: Vec<&String> = is.values().flatten().collect();
            let count = all.len();
            all.sort();
            all.dedup();
            prop_assert_eq!(all.len(), count, "{:?}", is);
            for (name, routes) in round {
                // It has what it asks for, or what it had, or is told of.
                let told = read.sentences().iter().any(|said| said.contains(&format!("the handler `{name}` ")));
                match is.get(name) {
                    Some(has) => prop_assert!(has == routes || (told && was.get(name) == Some(has)), "{name}"),
                    None => prop_assert!(told && was.get(name) != Some(routes), "{name}"),
                }
                if was.get(name) == Some(routes) {
                    prop_assert_eq!(is.get(name), Some(routes));
                }
            }
            prop_assert!(is.keys().all(|name| round.contains_key(name)));
            directory = read.directory;
        }
    }

    #[test]
    fn no_bytes_make_a_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let plugins = Plugins::new();
        plugins.folder("acme");
        std::fs::write(plugins.path("acme/tenant.toml"), &bytes).unwrap();
        std::fs::write(plugins.path("acme/a.toml"), &bytes).unwrap();
        plugins.write("acme/a.wasm", "a");
        prop_assert!(plugins.scan().problems.len() <= 1);
    }
}
