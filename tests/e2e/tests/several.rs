//! One host in front of two PBXs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;
use voxtra_e2e::caller::call;
use voxtra_e2e::served::{ECHO, LONG, MENU};
use voxtra_e2e::{Reflector, Setup, echo, serve};
use voxtra_test_support::{AsteriskOptions, Scenario, Sipp};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pbx_that_goes_away_leaves_the_calls_of_the_other_untouched() -> Result<()> {
    /// Of callers who talk all the time.
    const CALLS: u32 = 30;
    const STAY: Duration = Duration::from_secs(10);

    let name = "a_pbx_that_goes_away_leaves_the_calls_of_the_other_untouched";
    serve(name, Setup { second: Some(AsteriskOptions::default()), ..Setup::default() }, async |served| {
        let other = served.second.take().context("there is no second PBX")?;
        let (tree, reflector) = (served.pbx.tree().clone(), Reflector::open()?);
        let media = Some(reflector.address());
        let stays = Sipp { calls: CALLS, rate: 30, media, ..Sipp::new(Scenario::HangUpAfter(STAY), ECHO) };
        let stays = stays.start(&tree, other.sip_addr())?;
        let listens = call(other.sip_addr(), ECHO).await?;
        let mut lost = Vec::new();
        for n in 0..20 {
            lost.push(call(served.sip(), if n % 2 == 0 { ECHO } else { MENU }).await?);
        }
        ensure!(other.wait_for_channels(2 * (CALLS as usize + 1), LONG).await?, "the second PBX's calls are not up");
        let quiet = echo(&listens, 3).await?;

        served.pbx.kill()?;
        let alone = echo(&listens, 6).await?;
        println!("{name}: echo after {:.1} ms, after the kill {:.1} ms", quiet.delay_ms(), alone.delay_ms());
        ensure!(alone.worst() > 0.8, "the other's audio has suffered: {alone:?}");
        let new = call(other.sip_addr(), ECHO).await?;
        ensure!(echo(&new, 1).await?.worst() > 0.8, "a new call on the other does not work");
        new.hang_up().await?;
        let report = stays.finish().await?;
        ensure!(report.is_clean(CALLS.into()), "a call of the other was dropped: {report:?}");
        ensure!(listens.ended().is_none(), "a call of the other was hung up");
        listens.hang_up().await?;

        served.pbx.restart().await?;
        let what = "all calls are over";
        served
            .until(what, LONG, |log| log.is_quiet() && log.count("call.ended") == lost.len() + CALLS as usize + 2)
            .await?;
        sleep(Duration::from_secs(1)).await;
        let back = call(served.sip(), ECHO).await?;
        ensure!(echo(&back, 1).await?.worst() > 0.8, "the PBX that came back does not work");
        back.hang_up().await?;
        ensure!(other.wait_for_channels(0, LONG).await?, "channels are left in the second PBX");
        println!("{name}: {:?}", served.log.reasons());
        Ok(())
    })
    .await
}
