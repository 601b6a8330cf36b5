//! Two tenants who know everything about each other's things but their contents, and try to get at them.
//!
//! What a tenant could learn from *when* things happen is claimed where it can be: its clocks are coarse
//! (`host/plugins/tests/hostile/spying.rs`), and compiled code is kept for each tenant by itself (`host/plugins/src/cache.rs`),
//! so that a component starts no sooner because another tenant has it. That the machine is busy can be felt by everybody on
//! it; tenants who must not even know that need processes, or machines, of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::time::sleep;
use voxtra_e2e::served::{LONG, Served, install};
use voxtra_e2e::{HostLog, Setup, serve};
use voxtra_test_support::AsteriskOptions;

const TENANTS: [&str; 2] = ["alpha", "beta"];

/// What must never leave its tenant; each has its own in everything that it keeps.
const TREASURE: &str = "treasure";

/// The owners' calls stay until they are hung up, so that what belongs to them is there while it is looked for: longer than all
/// the waiting of this test, even where this machine does other things.
const STAY_MS: u64 = 300_000;

/// The owner's number, and the spy's.
const OWNER: &str = "6000";
const SPY: &str = "6001";

/// A recording, a prompt of its own, a note, a key, an event, a bridge and a batch.
fn possessions(tenant: &str) -> String {
    format!(
        "answer; store-set {TREASURE}-{tenant} {TREASURE}-of-{tenant}; metadata-set {TREASURE}-{tenant} x; \
         record host name={TREASURE}-{tenant} 600; bridge; batch every-verb 100; \
         emit {TREASURE}.{tenant} {{\\\"x\\\": \\\"{TREASURE}-of-{tenant}\\\"}}; wait {STAY_MS}"
    )
}

/// The tenants of `voxtra.yaml`: who may call whom.
const CONFIG: &str = "tenants:\n  alpha:\n    dial: {patterns: ['X.'], endpoint: 'Local/{number}@callers', batches: true}\n  \
                      beta:\n    dial: {patterns: ['X.'], endpoint: 'Local/{number}@callers', batches: true}\n";

fn put(place: &Path, name: &str, guest: &str, manifest: &str) -> Result<()> {
    // First what says who may use it.
    fs::write(place.join(format!("{name}.toml")), manifest)?;
    install(guest, &place.join(format!("{name}.wasm")))
}

fn manifest(number: &str, notes: &[(&str, &str)]) -> String {
    let notes: Vec<_> = notes.iter().map(|(name, value)| format!("{name} = \"{value}\"")).collect();
    format!("[[routes]]\nextension = \"{number}\"\nmetadata = {{ {} }}\n", notes.join(", "))
}

async fn loaded(served: &mut Served, components: usize) -> Result<()> {
    let began = Instant::now();
    while served.host.count("new calls get another version") < components {
        ensure!(began.elapsed() < LONG, "it is not loaded:\n{}", served.host.last_lines());
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn call_of(served: &Served, tenant: &str, number: &str) -> Result<()> {
    let endpoint = format!("Local/{number}@stasis-voxtra-{tenant}");
    served.ari().originate(&endpoint, "silence", "callers").await
}

/// A tenant's calls, in order.
fn calls<'l>(log: &'l HostLog, tenant: &str) -> Vec<&'l str> {
    let own = log.of_kind("session.created").filter(|event| event.text("tenant") == tenant);
    own.map(|event| event.call.as_str()).collect()
}

/// What the owner's statements gave, by their first word.
fn results(log: &HostLog, call: &str) -> BTreeMap<String, String> {
    let own = log.of_kind("custom").filter(|event| event.call == call && event.text("name") == "every-verb.result");
    own.filter_map(|event| {
        let data = event.data.get("data")?;
        let text = |key: &str| data.get(key).and_then(Value::as_str).unwrap_or("");
        Some((text("statement").split_whitespace().next()?.to_owned(), text("result").to_owned()))
    })
    .collect()
}

/// What the spy got, by its probes.
fn got(log: &HostLog, tenant: &str) -> BTreeMap<String, String> {
    let own = calls(log, tenant);
    let told = log.of_kind("custom").filter(|event| event.text("name") == "attack.result");
    let told = told.filter(|event| own.contains(&event.call.as_str()));
    told.filter_map(|event| event.data.get("data")?.get("got")?.as_object())
        .flatten()
        .map(|(probe, result)| (probe.clone(), result.as_str().unwrap_or_default().to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tenants_who_know_everything_of_each_other_get_nothing() -> Result<()> {
    let name = "two_tenants_who_know_everything_of_each_other_get_nothing";
    let apps = ["voxtra", "voxtra-alpha", "voxtra-beta"].map(str::to_owned).to_vec();
    let pbx = AsteriskOptions { stasis_apps: apps, ..AsteriskOptions::default() };
    serve(name, Setup { pbx, more: CONFIG.into(), ..Setup::default() }, async |served| {
        let plugins = served.folder().join("plugins");
        for tenant in TENANTS {
            fs::create_dir(plugins.join(tenant))?;
            let notes = [("do", possessions(tenant))];
            let notes = notes.each_ref().map(|(name, value)| (*name, value.as_str()));
            put(&plugins.join(tenant), "every-verb", "every-verb", &manifest(OWNER, &notes))?;
        }
        loaded(served, 2).await?;
        for tenant in TENANTS {
            call_of(served, tenant, OWNER).await?;
        }
        let there = |log: &HostLog| {
            TENANTS.iter().all(|t| log.of_kind("custom").any(|e| e.text("name") == format!("{TREASURE}.{t}")))
        };
        served.until("both have what they will hide", LONG, there).await?;

        let mut known = BTreeMap::new();
        for tenant in TENANTS {
            let call = *calls(&served.log, tenant).first().context("the owner has no call")?;
            let results = results(&served.log, call);
            let id =
                |verb: &str| results.get(verb).and_then(|got| got.strip_prefix("ok ")?.split(' ').next()).unwrap_or("");
            ensure!(!id("bridge").is_empty() && !id("record").is_empty(), "{tenant} has nothing to hide: {results:#?}");
            let ids = format!(
                "store:{TREASURE}-{tenant} recording:{TREASURE}-{tenant} recording:{} prompt:{TREASURE}-{tenant} \
                 prompt:../{tenant}/{TREASURE} call:{call} bridge:{} batch:{}",
                id("record"),
                id("bridge"),
                id("batch")
            );
            known.insert(tenant, ids);
        }
        for (tenant, other) in [("alpha", "beta"), ("beta", "alpha")] {
            put(
                &plugins.join(tenant),
                "spy",
                "hostile/spy",
                &manifest(SPY, &[("attack", "others"), ("known", &known[other])]),
            )?;
        }
        loaded(served, 4).await?;
        for tenant in TENANTS {
            call_of(served, tenant, SPY).await?;
        }
        let told = |log: &HostLog| TENANTS.iter().all(|tenant| got(log, tenant).contains_key("event"));
        served.until("both spies have told", LONG, told).await?;
        for (tenant, other) in [("alpha", "beta"), ("beta", "alpha")] {
            let got = got(&served.log, tenant);
            println!("{name}: {tenant}: {got:#?}");
            ensure!(got.len() >= 10, "{tenant} has hardly looked: {got:#?}");
            for (probe, result) in &got {
                let is_refused = ["denied", "invalid-argument", "not-configured", "telephony"]
                    .iter()
                    .any(|kind| result.starts_with(kind));
                let own = probe == "notes" && result == "attack known";
                let own = own || probe == "every key" && *result == format!("ok {TREASURE}-{tenant}");
                // Of its own call it hears, and of no other.
                let nothing = ["ok nothing", "ok false", "ok None", "ok Some(Answered)"].contains(&result.as_str());
                ensure!(is_refused || own || nothing, "{tenant} gets something of {other}: {probe}: {result}");
                ensure!(
                    !result.contains(&format!("{TREASURE}-of-{other}")),
                    "{tenant} reads {other}'s: {probe}: {result}"
                );
            }
        }
        // What was hidden is still there, and the owners' calls were not touched.
        for tenant in TENANTS {
            let call = calls(&served.log, tenant).first().context("the owner has no call")?.to_string();
            ensure!(
                !served.log.of_kind("call.ended").any(|event| event.call == call),
                "the call of {tenant} was ended"
            );
            served.ask(&["hangup", &call]).await?;
        }
        served.until("the owners are done", LONG, HostLog::is_quiet).await?;
        Ok(())
    })
    .await
}
