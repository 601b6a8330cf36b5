//! The host stops while calls are up: live ones finish, new ones go elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::sleep;
use voxtra_e2e::served::{ECHO, LONG, signal};
use voxtra_e2e::{Reflector, Setup, serve};
use voxtra_test_support::{CallOptions, Phone, Scenario, Sipp};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_drops_none_of_a_hundred_calls_and_sends_new_ones_elsewhere() -> Result<()> {
    const CALLS: u32 = 100;
    /// Each is up for so long, long after the host was told to stop.
    const STAY: Duration = Duration::from_secs(8);

    let name = "a_drain_drops_none_of_a_hundred_calls_and_sends_new_ones_elsewhere";
    let setup = Setup { more: "drain: {limit_ms: 30000, refused: dialplan}\n".into(), ..Setup::default() };
    serve(name, setup, async |served| {
        let (tree, sip) = (served.pbx.tree().clone(), served.sip());
        let reflector = Reflector::open()?;
        let media = Some(reflector.address());
        let callers = Sipp { calls: CALLS, rate: 33, media, ..Sipp::new(Scenario::HangUpAfter(STAY), ECHO) };
        let callers = callers.start(&tree, sip)?;
        ensure!(served.pbx.wait_for_channels(2 * CALLS as usize, LONG).await?, "{CALLS} calls are not up");
        signal(&served.host, "TERM")?;
        served.host.wait_for_text("no more calls are taken", LONG).await?;
        sleep(Duration::from_millis(200)).await;
        // The test PBX's dialplan has a tone for calls that the host refuses.
        let elsewhere = Phone::call(sip, ECHO, CallOptions::default()).await?;
        sleep(Duration::from_secs(1)).await;
        ensure!(elsewhere.ended().is_none(), "a new call was hung up and not sent on");
        elsewhere.hang_up().await?;
        let report = callers.finish().await?;
        ensure!(report.is_clean(CALLS.into()), "a call was dropped: {report:?}");
        let code = served.host.wait(LONG).await?.code();
        assert_eq!(code, Some(0), "{}", served.host.last_lines());
        served.nothing_is_left().await?;
        assert_eq!(served.log.reasons(), [("caller-hung-up".to_owned(), CALLS as usize)].into());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_at_the_drains_limit_hears_a_prompt_and_ends() -> Result<()> {
    let name = "what_is_left_at_the_drains_limit_hears_a_prompt_and_ends";
    let setup = Setup { more: "drain: {limit_ms: 500, prompt: ['sound:vm-goodbye']}\n".into(), ..Setup::default() };
    serve(name, setup, async |served| {
        let caller = voxtra_e2e::caller::call(served.sip(), ECHO).await?;
        served.until("audio flows", LONG, |log| log.count("media.started") == 1).await?;
        signal(&served.host, "TERM")?;
        let goodbye = voxtra_e2e::recorded(served.pbx.tree(), "vm-goodbye")?;
        voxtra_e2e::hear(caller.rtp(), "vm-goodbye", &goodbye, 0.0, LONG).await?;
        ensure!(caller.wait_for_bye(LONG).await, "the caller was not told");
        assert_eq!(served.host.wait(LONG).await?.code(), Some(0), "{}", served.host.last_lines());
        served.nothing_is_left().await?;
        assert_eq!(served.log.reasons(), [("host-stopping".to_owned(), 1)].into());
        Ok(())
    })
    .await
}
