//! Tenants come and go while the host runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;
use voxtra_e2e::caller::call;
use voxtra_e2e::served::{ECHO, LONG, install};
use voxtra_e2e::{Served, Setup, echo, serve};
use voxtra_test_support::AsteriskOptions;

/// What leads to the tenant that is not there at the start.
const BETA: &str = "9500";

const DIALPLAN: &str = "
[from-sip](+)
exten => 9500,1,Stasis(voxtra-beta)
 same => n,Hangup()
";

async fn said(served: &Served, text: &str) -> Result<()> {
    let began = Instant::now();
    while served.host.count(text) == 0 {
        ensure!(began.elapsed() < LONG, "{text:?} was not said:\n{}", served.host.last_lines());
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_comes_takes_calls_at_once_and_one_that_goes_keeps_those_it_has() -> Result<()> {
    let name = "a_tenant_that_comes_takes_calls_at_once_and_one_that_goes_keeps_those_it_has";
    let extra_config = vec![("extensions".into(), DIALPLAN.into())];
    let pbx = AsteriskOptions { extra_config, ..AsteriskOptions::default() };
    serve(name, Setup { pbx, ..Setup::default() }, async |served| {
        let other = call(served.sip(), ECHO).await?;
        ensure!(call(served.sip(), BETA).await.is_err(), "nobody is there for it yet");
        // Put aside and then into its place, as an operator would.
        let (aside, folder) = (served.folder().join("beta"), served.folder().join("plugins/beta"));
        fs::create_dir(&aside)?;
        fs::write(aside.join("tenant.toml"), "app_name = \"voxtra-beta\"\n")?;
        install("echo", &aside.join("default.wasm"))?;
        let began = Instant::now();
        fs::rename(&aside, &folder)?;
        let stays = loop {
            match call(served.sip(), BETA).await {
                Ok(call) => break call,
                Err(error) => ensure!(began.elapsed() < LONG, "the new tenant takes no calls: {error:#}"),
            }
            sleep(Duration::from_millis(50)).await;
        };
        println!("{name}: its first call was taken {:?} after its folder was there", began.elapsed());
        ensure!(echo(&stays, 1).await?.worst() > 0.8, "the new tenant's handler does not work");
        fs::remove_dir_all(&folder)?;
        said(served, "the application takes no new calls").await?;
        ensure!(call(served.sip(), BETA).await.is_err(), "a tenant that is gone has taken a call");
        ensure!(echo(&stays, 2).await?.worst() > 0.8, "the call of the tenant that is gone was disturbed");
        stays.hang_up().await?;
        said(served, "the application is not served any more").await?;
        ensure!(echo(&other, 1).await?.worst() > 0.8, "the other tenant's call was disturbed");
        other.hang_up().await?;
        Ok(())
    })
    .await
}
