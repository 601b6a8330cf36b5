//! Many calls at once, begun and ended in waves by either side: none is lost, nothing is left, nothing gets stuck.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;
use voxtra_e2e::caller::call;
use voxtra_e2e::served::{ECHO, LONG, MENU, MINIMAL};
use voxtra_e2e::{Probe, Reflector, Setup, echo, serve};
use voxtra_test_support::{ActiveCall, Scenario, Sipp, SippReport};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_calls_at_once_all_succeed_and_end_once() -> Result<()> {
    const CALLS: u32 = 50;

    serve("fifty_calls_at_once_all_succeed_and_end_once", Setup::default(), async |served| {
        let (tree, sip) = (served.pbx.tree().clone(), served.sip());
        let reflector = Reflector::open()?;
        let stay = Scenario::HangUpAfter(Duration::from_secs(8));
        let sipp = Sipp { calls: CALLS, rate: 25, media: Some(reflector.address()), ..Sipp::new(stay, ECHO) };
        let sipp = sipp.start(&tree, sip)?;
        // Each with its media leg.
        ensure!(
            served.pbx.wait_for_channels(2 * CALLS as usize, LONG).await?,
            "fewer than {CALLS} calls are up at once"
        );
        // Somebody among them who listens.
        let caller = call(sip, ECHO).await?;
        let heard = echo(&caller, 3).await?;
        caller.hang_up().await?;
        println!("an echo among {CALLS}: after {:.1} ms, likeness at least {:.4}", heard.delay_ms(), heard.worst());
        let report = sipp.finish().await?;
        ensure!(report.is_clean(CALLS.into()), "{report:?}");
        ensure!(reflector.packets() > u64::from(CALLS) * 100, "too little audio: {} packets", reflector.packets());
        served.until_over(CALLS as usize + 1).await?;
        assert_eq!(served.log.reasons(), [("caller-hung-up".to_owned(), CALLS as usize + 1)].into());
        served.nothing_is_left().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_prompts_at_once_are_all_hung_up_by_their_handlers() -> Result<()> {
    const CALLS: u32 = 50;

    serve("fifty_prompts_at_once_are_all_hung_up_by_their_handlers", Setup::default(), async |served| {
        let sipp = Sipp { calls: CALLS, rate: 50, ..Sipp::new(Scenario::WaitForBye, MINIMAL) };
        let report = sipp.run(served.pbx.tree(), served.sip()).await?;
        ensure!(report.is_clean(CALLS.into()), "{report:?}");
        let hasty = Scenario::HangUpAfter(Duration::ZERO);
        let sipp = Sipp { calls: CALLS, rate: 50, ..Sipp::new(hasty, MENU) };
        let report = sipp.run(served.pbx.tree(), served.sip()).await?;
        ensure!(report.is_clean(CALLS.into()), "{report:?}");
        served.until_over(2 * CALLS as usize).await?;
        assert_eq!(served.log.reasons().get("handler-hung-up"), Some(&(CALLS as usize)));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waves_of_two_hundred_echoes_over_audiosocket_leave_nothing_stuck() -> Result<()> {
    waves("waves_of_two_hundred_echoes_over_audiosocket_leave_nothing_stuck", &OVER_AUDIOSOCKET).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waves_of_two_hundred_echoes_over_websocket_leave_nothing_stuck() -> Result<()> {
    waves("waves_of_two_hundred_echoes_over_websocket_leave_nothing_stuck", &OVER_WEBSOCKET).await
}

/// How waves go over one transport.
struct Waves {
    transport: &'static str,
    count: usize,
    /// Calls of each kind that begin in a second.
    rate: u32,
    /// When all are up.
    all_up_after: Duration,
    callers_stay: Duration,
    /// The host ends each call that is longer.
    limit: &'static str,
}

const OVER_AUDIOSOCKET: Waves = Waves {
    transport: "audiosocket",
    count: 6,
    rate: 33,
    all_up_after: Duration::from_millis(3_200),
    callers_stay: Duration::from_secs(4),
    limit: "limits: {call_ms: 5500}\n",
};

/// Asterisk's HTTP server, which takes media connections and requests alike, sometimes stops answering for seconds when more
/// than about fifty media connections begin in one.
const OVER_WEBSOCKET: Waves = Waves {
    transport: "websocket",
    count: 2,
    rate: 20,
    all_up_after: Duration::from_millis(5_200),
    callers_stay: Duration::from_millis(6_500),
    limit: "limits: {call_ms: 8000}\n",
};

/// Each wave: a hundred callers who hang up, and a hundred whom the host hangs up, with audio going both ways in all;
/// and one more who listens.
async fn waves(name: &str, waves: &Waves) -> Result<()> {
    /// Of each kind.
    const CALLERS: u32 = 100;

    let Waves { transport, count, .. } = *waves;
    serve(name, Setup { transport, more: waves.limit.into(), ..Setup::default() }, async |served| {
        let (tree, sip) = (served.pbx.tree().clone(), served.sip());
        let probe = Probe::start(served.ari());
        let reflector = Reflector::open()?;
        let media = Some(reflector.address());
        let run = |scenario| Sipp { calls: CALLERS, rate: waves.rate, media, ..Sipp::new(scenario, ECHO) };
        for wave in 1..=count {
            let by_caller = run(Scenario::HangUpAfter(waves.callers_stay)).start(&tree, sip)?;
            let by_host = run(Scenario::WaitForBye).start(&tree, sip)?;
            sleep(waves.all_up_after).await;
            let up = served.pbx.channel_count().await?;
            if transport == "websocket" {
                // Nobody speaks first there.
                for (_, address) in served.ari().audio_ports().await? {
                    reflector.greet(address)?;
                }
            }
            let caller = call(sip, ECHO).await?;
            line_is_open(&caller).await?;
            let heard = echo(&caller, 1).await?;
            caller.hang_up().await?;
            let (by_caller, by_host) = (by_caller.finish().await?, by_host.finish().await?);
            let packets = reflector.packets();
            println!(
                "{name}: wave {wave}: {up} channels at its height, {packets} packets so far, an echo after {:.1} ms; {}; {}",
                heard.delay_ms(),
                told(&by_caller),
                told(&by_host)
            );
            ensure!(packets as usize > wave * 2_000, "too little audio: {packets} packets");
            ensure!(by_caller.is_clean(CALLERS.into()), "wave {wave}, hung up by the callers: {by_caller:?}");
            ensure!(by_host.is_clean(CALLERS.into()), "wave {wave}, hung up by the host: {by_host:?}");
            let (by_callers, all) = (wave * (CALLERS as usize + 1), wave * (2 * CALLERS as usize + 1));
            served.until_over(all).await?;
            let reasons = served.log.reasons();
            assert_eq!(reasons.get("caller-hung-up"), Some(&by_callers), "{reasons:?}");
            assert_eq!(reasons.values().sum::<usize>(), all, "{reasons:?}");
            served.nothing_is_left().await?;
        }
        let answers = probe.finish().await?;
        println!("{name}: ARI all along: {answers:?}");
        ensure!(answers.failed == 0, "requests were stuck: {answers:?}");
        assert_eq!(served.log.reasons().get("media-lost"), None);
        Ok(())
    })
    .await
}

/// Waits for the first audio: Asterisk may be long in opening a media connection while two hundred others are up.
async fn line_is_open(caller: &ActiveCall) -> Result<()> {
    let began = Instant::now();
    while caller.rtp().stats().received == 0 {
        ensure!(began.elapsed() < LONG, "no audio within {LONG:?}: {:?}", caller.rtp().stats());
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn told(report: &SippReport) -> String {
    format!("answered after {:?} in the mean, {} retransmissions", report.answered_after, report.retransmissions)
}
