//! New versions on trial among real calls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;
use voxtra_e2e::served::{LONG, MINIMAL, put, version};
use voxtra_e2e::{Served, Setup, serve};
use voxtra_test_support::{Scenario, Sipp};

/// Half of the calls go to a new version; the bound is 5 in a hundred.
const MANIFEST: &str = "canary = { percent = 50, min_calls = 20, max_failures_percent = 5, promote_calls = 40 }\n";

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_traps_in_a_fifth_of_its_calls_is_gone_within_fifty_of_them_and_says_why() -> Result<()> {
    let name = "a_version_that_traps_in_a_fifth_of_its_calls_is_gone_within_fifty_of_them_and_says_why";
    serve(name, Setup::default(), async |served| {
        put(&served.plugin("minimal.toml"), MANIFEST.as_bytes())?;
        let good = callers(served, 1).await?.remove(0);
        put(&served.plugin("minimal.wasm"), &version("hostile/unreliable", 1)?)?;
        said(served, "a version is on trial", 0).await?;
        // Which call goes there is decided by its id, so that any number of them could miss it: twenty hardly will.
        let first = callers(served, 20).await?;
        let bad = first.iter().find(|version| **version != good).context("no call went to the new version")?.clone();
        let list = served.ask(&["handlers", "list"]).await?;
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
        ensure!(served.ask(&["handlers", "history", "minimal"]).await?.contains("canary failed"));
        // Neither the watcher nor the next start takes it again.
        let again = served.host.count("a version is on trial");
        put(&served.plugin("minimal.wasm"), &version("hostile/unreliable", 1)?)?;
        sleep(Duration::from_secs(1)).await;
        ensure!(served.host.count("a version is on trial") == again);
        served.kill_host().await?;
        served.start_host().await?;
        ensure!(callers(served, 10).await?.iter().all(|version| *version == good));
        // A good one proves itself.
        put(&served.plugin("minimal.wasm"), &version("minimal", 2)?)?;
        said(served, "a version is on trial", 0).await?;
        // Half of the calls, more or less: until forty were there.
        let promoted = "new calls get the version that was on trial";
        for _ in 0..5 {
            callers(served, 80).await?;
            if served.host.count(promoted) > 0 {
                break;
            }
        }
        said(served, promoted, 0).await?;
        let now = callers(served, 10).await?;
        ensure!(now.iter().all(|version| *version == now[0] && *version != good && *version != bad), "{now:?}");
        Ok(())
    })
    .await
}
