//! New versions on trial among real calls, and tenants that come and go while the host runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;
use voxtra_e2e::served::{LONG, MINIMAL};
use voxtra_e2e::{Served, Setup, serve};
use voxtra_test_support::host::guests;
use voxtra_test_support::{Host, Scenario, Sipp};

/// Half of the calls go to a new version; the bound is 5 in a hundred.
const MANIFEST: &str = "canary = { percent = 50, min_calls = 20, max_failures_percent = 5, promote_calls = 40 }\n";

/// A guest's bytes as another version of it.
fn built(guest: &str, number: usize) -> Result<Vec<u8>> {
    let file = guests().join(guest).with_extension("wasm");
    let mut wasm = fs::read(&file).with_context(|| format!("{}: run `cargo xtask guests`", file.display()))?;
    let payload = format!("\x07version{number:06}");
    wasm.extend([0, u8::try_from(payload.len())?]);
    wasm.extend(payload.as_bytes());
    Ok(wasm)
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let aside = path.with_extension("new");
    fs::write(&aside, bytes)?;
    Ok(fs::rename(aside, path)?)
}

fn plugin(served: &Served, file: &str) -> PathBuf {
    served.folder().join("plugins").join(file)
}

/// Waits until the host has said something once more than before, and returns how often it has.
async fn said(served: &mut Served, text: &str, before: usize) -> Result<usize> {
    let began = Instant::now();
    while served.host.count(text) <= before {
        ensure!(began.elapsed() < LONG, "{text:?} was not said:\n{}", served.host.last_lines());
        sleep(Duration::from_millis(20)).await;
    }
    Ok(served.host.count(text))
}

/// So many callers who wait until the host hangs up; the versions that took them, in order.
async fn callers(served: &mut Served, calls: u32) -> Result<Vec<String>> {
    served.log.follow(&served.host);
    let before = served.log.count("session.created");
    let tree = served.pbx.tree().clone();
    let callers = Sipp { calls, rate: 20, ..Sipp::new(Scenario::WaitForBye, MINIMAL) };
    let report = callers.start(&tree, served.sip())?.finish().await?;
    ensure!(report.is_clean(calls.into()), "a caller was dropped: {report:?}");
    served.until("the calls are over", LONG, |log| log.is_quiet()).await?;
    let versions = served.log.of_kind("session.created").skip(before);
    Ok(versions.map(|event| event.text("version").to_owned()).collect())
}

async fn handlers(served: &Served, words: &[&str]) -> Result<String> {
    let config = served.config();
    let config = config.to_string_lossy();
    let words = ["handlers"].iter().chain(words).copied().chain(["-c", &config]);
    let mut asked = Host::start(words)?;
    ensure!(asked.wait(LONG).await?.success(), "{}", asked.last_lines());
    sleep(Duration::from_millis(50)).await;
    Ok(asked.last_lines())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_traps_in_a_fifth_of_its_calls_is_gone_within_fifty_of_them_and_says_why() -> Result<()> {
    let name = "a_version_that_traps_in_a_fifth_of_its_calls_is_gone_within_fifty_of_them_and_says_why";
    serve(name, Setup::default(), async |served| {
        put(&plugin(served, "minimal.toml"), MANIFEST.as_bytes())?;
        let good = callers(served, 1).await?.remove(0);
        put(&plugin(served, "minimal.wasm"), &built("hostile/unreliable", 1)?)?;
        said(served, "a version is on trial", 0).await?;
        let first = callers(served, 10).await?;
        let bad = first.iter().find(|version| **version != good).context("no call went to the new version")?.clone();
        let list = handlers(served, &["list"]).await?;
        ensure!(list.contains(&bad) && list.contains(&good), "{list}");
        // A crash in the middle of the trial: the last good version serves, and the trial begins anew.
        served.kill_host().await?;
        served.start_host().await?;
        let versions = callers(served, 110).await?;
        let tried = versions.iter().filter(|version| **version == bad).count();
        println!("{name}: withdrawn after {tried} of its calls, {} calls in all", versions.len());
        ensure!((20..=50).contains(&tried), "{tried} calls went to the version on trial");
        ensure!(versions.iter().all(|version| *version == bad || *version == good));
        let withdrawn: Vec<_> = served.log.of_kind("handler.withdrawn").collect();
        ensure!(withdrawn.len() == 1 && withdrawn[0].text("version") == bad, "{withdrawn:?}");
        ensure!(withdrawn[0].text("reason").contains("no more than 5 %"), "{withdrawn:?}");
        said(served, "a version is not on trial any more", 0).await?;
        ensure!(handlers(served, &["history", "minimal"]).await?.contains("canary failed"));
        // Neither the watcher nor the next start takes it again.
        let again = served.host.count("a version is on trial");
        put(&plugin(served, "minimal.wasm"), &built("hostile/unreliable", 1)?)?;
        sleep(Duration::from_secs(1)).await;
        ensure!(served.host.count("a version is on trial") == again);
        served.kill_host().await?;
        served.start_host().await?;
        ensure!(callers(served, 10).await?.iter().all(|version| *version == good));
        // A good one proves itself.
        put(&plugin(served, "minimal.wasm"), &built("minimal", 2)?)?;
        said(served, "a version is on trial", 0).await?;
        callers(served, 110).await?;
        said(served, "new calls get the version that was on trial", 0).await?;
        let now = callers(served, 10).await?;
        ensure!(now.iter().all(|version| *version == now[0] && *version != good && *version != bad), "{now:?}");
        Ok(())
    })
    .await
}
