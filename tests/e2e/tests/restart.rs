//! The PBX dies under calls, comes late, comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;
use voxtra_e2e::caller::call;
use voxtra_e2e::served::{ECHO, LONG, MENU};
use voxtra_e2e::{Served, Setup, echo, serve};
use voxtra_test_support::{Asterisk, AsteriskOptions, CallOptions, Host, Phone};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_under_a_killed_pbx_end_once_and_new_ones_work_when_it_is_back() -> Result<()> {
    const OF_EACH: usize = 50;
    /// How long the PBX is away: long enough that the waits between attempts have grown.
    const AWAY: Duration = Duration::from_secs(3);

    let name = "calls_under_a_killed_pbx_end_once_and_new_ones_work_when_it_is_back";
    serve(name, Setup::default(), async |served| {
        let mut callers = Vec::new();
        for n in 0..2 * OF_EACH {
            callers.push(call(served.sip(), if n % 2 == 0 { ECHO } else { MENU }).await?);
        }
        ensure!(served.pbx.wait_for_channels(3 * OF_EACH, LONG).await?, "100 calls with 50 media legs are not up");
        served.pbx.kill()?;
        let killed = Instant::now();
        sleep(AWAY).await;
        drop(callers);
        served.pbx.restart().await?;
        let took = new_calls_work(served, Instant::now()).await?;
        println!("{name}: a new call was answered {:.2} s after the PBX was back", took.as_secs_f64());
        served.until_over(2 * OF_EACH + 1).await?;
        println!(
            "{name}: all 100 were over {:.1} s after the kill: {:?}",
            killed.elapsed().as_secs_f64(),
            served.log.reasons()
        );
        // Whatever came twice would have come by then.
        sleep(Duration::from_secs(2)).await;
        served.log.follow(&served.host);
        let wrong = served.log.account();
        ensure!(wrong.is_empty(), "{wrong:#?}");
        let blamed = served.log.reasons().into_keys().find(|reason| reason.starts_with("handler-"));
        assert_eq!(blamed, None, "no handler has ended a call that the PBX lost");
        let hooks = served.log.handler_lines("the caller chose").count();
        assert_eq!(hooks, OF_EACH, "the menu's on-hangup runs once for each of its calls");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_end_though_the_pbx_never_comes_back() -> Result<()> {
    /// The host gives a lost PBX ten seconds.
    const GIVEN_UP: Duration = Duration::from_secs(25);

    serve("calls_end_though_the_pbx_never_comes_back", Setup::default(), async |served| {
        let callers = [call(served.sip(), ECHO).await?, call(served.sip(), MENU).await?];
        served.until("audio flows", LONG, |log| log.count("media.started") == 1).await?;
        served.pbx.kill()?;
        let killed = Instant::now();
        served.until("both are over", GIVEN_UP, |log| log.count("session.destroyed") == 2).await?;
        println!(
            "without a PBX the calls ended after {:.1} s: {:?}",
            killed.elapsed().as_secs_f64(),
            served.log.reasons()
        );
        for event in served.log.of_kind("call.ended") {
            println!("  {}: {}", event.text("reason"), event.text("detail"));
        }
        drop(callers);
        // For the account at the end.
        served.pbx.restart().await?;
        new_calls_work(served, Instant::now()).await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_there_first_waits_for_its_pbx() -> Result<()> {
    let name = "a_host_that_is_there_first_waits_for_its_pbx";
    let Some(pbx) = Asterisk::for_test(name, AsteriskOptions::default()).await? else { return Ok(()) };
    pbx.kill()?;
    let plugins = voxtra_test_support::files::TempDir::new("plugins")?;
    voxtra_e2e::served::install("minimal", &plugins.path().join("default.wasm"))?;
    let url = pbx.ari_url();
    let variables =
        [("VOXTRA_ARI_URL", url.as_str()), ("VOXTRA_ARI_USER", pbx.user()), ("VOXTRA_ARI_PASSWORD", pbx.password())];
    let mut host = Host::start_with(["start", "--plugins", &plugins.path().to_string_lossy()], variables)?;
    println!("{}", host.wait_for_text("trying again", LONG).await?);
    pbx.restart().await?;
    host.wait_for_text("voxtra: ready", LONG).await?;
    ensure!(call(pbx.sip_addr(), "1").await?.wait_for_bye(LONG).await, "the first call is still up");
    assert_eq!(host.stop(LONG).await?, Some(0));
    Ok(())
}

/// Tries until a call is answered and its echo comes back; how long the answer took since the PBX was back.
async fn new_calls_work(served: &mut Served, back: Instant) -> Result<Duration> {
    const WITHIN: Duration = Duration::from_secs(5);
    /// A call that finds no application is refused at once.
    const NEXT_TRY: Duration = Duration::from_millis(100);

    loop {
        let options = CallOptions { ring: Duration::from_secs(2), ..CallOptions::default() };
        match Phone::call(served.sip(), ECHO, options).await {
            Ok(call) => {
                let took = back.elapsed();
                ensure!(took <= WITHIN, "the first call was answered only {took:?} after the PBX was back");
                sleep(Duration::from_millis(500)).await;
                let echo = echo(&call, 2).await?;
                ensure!(echo.worst() > 0.8, "{echo:?}");
                call.hang_up().await?;
                return Ok(took);
            }
            Err(e) => ensure!(back.elapsed() < WITHIN, "no call works within {WITHIN:?} of the PBX's return: {e}"),
        }
        sleep(NEXT_TRY).await;
    }
}
