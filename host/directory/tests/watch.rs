//! A directory on a real disk that is watched. The periodic look is an hour away where it is not the claim, so that only what
//! the system says can be what is noticed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::time::Duration;

use support::Plugins;
use voxtra_directory::{Directory, Hint, Watch, WatchOptions};

/// What nothing here takes, however busy the machine is.
const LONG: Duration = Duration::from_secs(60);

const NEVER: Duration = Duration::from_secs(3_600);

fn watched(plugins: &Plugins) -> Watch {
    Watch::start(&plugins.root(), WatchOptions { rescan: NEVER, gather: Duration::from_millis(5) }).unwrap()
}

async fn hint(watch: &mut Watch) -> Hint {
    tokio::time::timeout(LONG, watch.next()).await.expect("no hint came").expect("the thread is there")
}

/// Looks after each hint until the directory is as wanted.
async fn until(plugins: &Plugins, watch: &mut Watch, wanted: impl Fn(&Directory) -> bool) {
    let mut scanner = plugins.scanner();
    loop {
        hint(watch).await;
        let scan = scanner.scan(&Directory::default());
        if scan.is_ok_and(|scan| wanted(&scan.directory)) {
            return;
        }
    }
}

fn has(directory: &Directory, tenant: &str, handler: &str) -> bool {
    directory.tenants.get(&tenant.into()).is_some_and(|plan| plan.handlers.contains_key(&handler.into()))
}

#[tokio::test]
async fn the_first_hint_comes_by_itself_and_a_change_asks_for_the_next() {
    let plugins = Plugins::new();
    plugins.folder("acme");
    let mut watch = watched(&plugins);
    assert_eq!(hint(&mut watch).await, Hint::Changed);
    plugins.write("acme/a.wasm", "a");
    until(&plugins, &mut watch, |directory| has(directory, "acme", "a")).await;
    fs::remove_file(plugins.path("acme/a.wasm")).unwrap();
    until(&plugins, &mut watch, |directory| !has(directory, "acme", "a")).await;
    plugins.write("flat.wasm", "a");
    until(&plugins, &mut watch, |directory| has(directory, "default", "flat")).await;
    assert_eq!(watch.trouble(), None);
}

#[tokio::test]
async fn what_is_written_into_a_new_folder_is_noticed() {
    let plugins = Plugins::new();
    let mut watch = watched(&plugins);
    hint(&mut watch).await;
    for tenant in ["one", "two", "three"] {
        plugins.folder(tenant);
        until(&plugins, &mut watch, |directory| directory.tenants.contains_key(&tenant.into())).await;
        plugins.write(&format!("{tenant}/a.wasm"), "a");
        until(&plugins, &mut watch, |directory| has(directory, tenant, "a")).await;
    }
    fs::rename(plugins.path("one"), plugins.path("four")).unwrap();
    until(&plugins, &mut watch, |directory| has(directory, "four", "a") && !has(directory, "one", "a")).await;
    plugins.write("four/b.wasm", "b");
    until(&plugins, &mut watch, |directory| has(directory, "four", "b")).await;
}

#[tokio::test]
async fn a_directory_that_is_removed_and_made_again_is_watched_again() {
    let plugins = Plugins::new();
    plugins.write("acme/a.wasm", "a");
    let mut watch = watched(&plugins);
    until(&plugins, &mut watch, |directory| has(directory, "acme", "a")).await;
    fs::remove_dir_all(plugins.root()).unwrap();
    hint(&mut watch).await;
    plugins.write("acme/b.wasm", "b");
    until(&plugins, &mut watch, |directory| has(directory, "acme", "b")).await;
    plugins.write("acme/c.wasm", "c");
    until(&plugins, &mut watch, |directory| has(directory, "acme", "c")).await;
    // Another in its place, in one step.
    fs::create_dir_all(plugins.outside().join("next/beta")).unwrap();
    fs::rename(plugins.root(), plugins.outside().join("old")).unwrap();
    fs::rename(plugins.outside().join("next"), plugins.root()).unwrap();
    until(&plugins, &mut watch, |directory| directory.tenants.contains_key(&"beta".into())).await;
    plugins.write("beta/d.wasm", "d");
    until(&plugins, &mut watch, |directory| has(directory, "beta", "d")).await;
}

#[tokio::test]
async fn a_directory_that_is_not_there_yet_is_noticed_when_it_is() {
    let plugins = Plugins::new();
    fs::remove_dir(plugins.root()).unwrap();
    let mut watch = watched(&plugins);
    hint(&mut watch).await;
    plugins.write("acme/a.wasm", "a");
    until(&plugins, &mut watch, |directory| has(directory, "acme", "a")).await;
}

#[tokio::test]
async fn a_look_is_due_after_some_time_though_nothing_was_noticed() {
    let plugins = Plugins::new();
    let options = WatchOptions { rescan: Duration::from_millis(5), gather: Duration::from_millis(1) };
    let mut watch = Watch::start(&plugins.root(), options).unwrap();
    assert_eq!(hint(&mut watch).await, Hint::Changed);
    while hint(&mut watch).await != Hint::Periodic {}
}

#[tokio::test]
async fn a_storm_of_changes_waits_as_one_hint() {
    let plugins = Plugins::new();
    plugins.folder("acme");
    let options = WatchOptions { rescan: NEVER, gather: Duration::from_millis(1) };
    let mut watch = Watch::start(&plugins.root(), options).unwrap();
    for i in 0..2_000 {
        plugins.write("acme/a.wasm", &i.to_string());
    }
    plugins.write("acme/last.wasm", "z");
    // The hint of the start waits all the while.
    tokio::time::timeout(LONG, async {
        while watch.coalesced() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    until(&plugins, &mut watch, |directory| has(directory, "acme", "last")).await;
}
