//! Handlers are replaced while calls are up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;
use voxtra_e2e::caller::call;
use voxtra_e2e::served::{ECHO, LONG, MINIMAL, put, version};
use voxtra_e2e::{Reflector, Served, Setup, hear, recorded, serve};
use voxtra_test_support::{Host, Scenario, Sipp};

/// How long until the host says that new calls get what was put there.
async fn swapped(served: &mut Served, swaps_before: usize) -> Result<Duration> {
    let began = Instant::now();
    while served.host.count("new calls get another version") <= swaps_before {
        ensure!(began.elapsed() < LONG, "no swap:\n{}", served.host.last_lines());
        sleep(Duration::from_millis(5)).await;
    }
    Ok(began.elapsed())
}

/// Makes a call that is over at once, and returns the version that took it.
async fn version_of_new_call(served: &mut Served) -> Result<String> {
    served.log.follow(&served.host);
    let before = served.log.count("session.created");
    ensure!(call(served.sip(), MINIMAL).await?.wait_for_bye(LONG).await, "the call is still up");
    served.until("the call is known", LONG, |log| log.count("session.created") > before).await?;
    Ok(served.log.of_kind("session.created").last().unwrap().text("version").to_owned())
}

/// What a host holds in memory.
struct Held {
    /// Pieces of compiled code: one for each version that is loaded.
    versions: usize,
    resident_kib: u64,
}

impl Held {
    fn by(host: &Host) -> Result<Self> {
        let of = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", host.pid()));
        // Address, permissions, offset, device, inode, and a name when it is a file's or the system's.
        let is_made = |map: &&str| map.split_whitespace().nth(1) == Some("r-xp") && map.split_whitespace().count() == 5;
        let status = of("status")?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let resident_kib = resident.trim().trim_end_matches(" kB").parse()?;
        Ok(Self { versions: of("maps")?.lines().filter(is_made).count(), resident_kib })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_swaps_in_a_minute_drop_none_of_two_hundred_calls() -> Result<()> {
    const CALLS: u32 = 200;
    const SWAPS: usize = 50;
    const EVERY: Duration = Duration::from_millis(1_200);

    let name = "fifty_swaps_in_a_minute_drop_none_of_two_hundred_calls";
    serve(name, Setup::default(), async |served| {
        let (tree, reflector) = (served.pbx.tree().clone(), Reflector::open()?);
        let callers = |stay: Duration| {
            let (scenario, limit) = (Scenario::HangUpAfter(stay), stay + Duration::from_secs(40));
            Sipp { calls: CALLS, rate: 33, media: Some(reflector.address()), limit, ..Sipp::new(scenario, ECHO) }
        };
        // As many calls as there will be, so that what the host keeps for the next ones is there.
        let report = callers(Duration::from_secs(8)).start(&tree, served.sip())?.finish().await?;
        ensure!(report.is_clean(CALLS.into()), "a call was dropped before the first swap: {report:?}");
        served.until_over(CALLS as usize).await?;
        let before = Held::by(&served.host)?;
        let callers = callers(EVERY * u32::try_from(SWAPS)? + Duration::from_secs(12)).start(&tree, served.sip())?;
        ensure!(served.pbx.wait_for_channels(2 * CALLS as usize, LONG).await?, "{CALLS} calls are not up");
        let mut took = Vec::new();
        let mut versions = Vec::new();
        for n in 1..=SWAPS {
            let began = Instant::now();
            let before = served.host.count("new calls get another version");
            put(&served.plugin("minimal.wasm"), &version("minimal", n)?)?;
            // The handler of the calls that are up is replaced as well.
            if n % 10 == 0 {
                put(&served.plugin("echo.wasm"), &version("echo", n)?)?;
            }
            took.push(swapped(served, before).await?);
            if n % 10 == 5 {
                versions.push(version_of_new_call(served).await?);
            }
            sleep(EVERY.saturating_sub(began.elapsed())).await;
        }
        took.sort();
        println!("{name}: a swap took {:?} (p50), {:?} (the longest)", took[took.len() / 2], took[took.len() - 1]);
        // Beside what was there before: the calls' own version of the handler that was replaced five times.
        let swapped = Held::by(&served.host)?;
        versions.dedup();
        assert_eq!(versions.len(), SWAPS / 10, "each new call gets the version of the moment: {versions:?}");
        let report = callers.finish().await?;
        ensure!(report.is_clean(CALLS.into()), "a call was dropped: {report:?}");
        served.until_over(2 * CALLS as usize + versions.len()).await?;
        let began = Instant::now();
        let mut over = Held::by(&served.host)?;
        while over.versions != before.versions && began.elapsed() < LONG {
            sleep(Duration::from_millis(50)).await;
            over = Held::by(&served.host)?;
        }
        for (when, held) in [("before", &before), ("swapped", &swapped), ("over", &over)] {
            println!("{name}: {when}: {} versions, {} KiB", held.versions, held.resident_kib);
        }
        assert_eq!(
            (swapped.versions, over.versions),
            (before.versions + 1, before.versions),
            "versions that nobody has"
        );
        // The allocator does not give back everything at once; fifty versions would be far more.
        let most_kib = before.resident_kib + before.resident_kib / 4;
        assert!(over.resident_kib <= most_kib, "{} KiB are left of {most_kib}", over.resident_kib);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_file_changes_nothing_and_the_last_good_version_outlives_a_kill() -> Result<()> {
    let name = "a_bad_file_changes_nothing_and_the_last_good_version_outlives_a_kill";
    serve(name, Setup::default(), async |served| {
        put(&served.plugin("minimal.wasm"), &version("minimal", 1)?)?;
        swapped(served, 0).await?;
        let good = version_of_new_call(served).await?;
        let half = version("minimal", 2)?;
        put(&served.plugin("minimal.wasm"), &half[..half.len() / 2])?;
        served.host.wait_for_text("not loaded: ", LONG).await?;
        assert_eq!(version_of_new_call(served).await?, good);
        // In the middle of one more swap.
        put(&served.plugin("minimal.wasm"), &version("minimal", 3)?[..5_000])?;
        sleep(Duration::from_millis(230)).await;
        served.kill_host().await?;
        served.start_host().await?;
        assert_eq!(version_of_new_call(served).await?, good);
        put(&served.plugin("minimal.wasm"), &version("minimal", 4)?)?;
        swapped(served, 0).await?;
        let newest = version_of_new_call(served).await?;
        assert_ne!(newest, good);
        // The operator goes back, and on.
        ensure!(served.ask(&["handlers", "rollback", "minimal"]).await?.contains(&good), "it goes back to another one");
        assert_eq!(version_of_new_call(served).await?, good);
        let history = served.ask(&["handlers", "history", "minimal"]).await?;
        ensure!(history.contains("rollback") && history.contains(&newest), "{history}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_goes_over_to_new_versions_in_its_middle_and_keeps_its_leg_and_its_count() -> Result<()> {
    const COUNT: &str = "6000";
    let name = "a_call_goes_over_to_new_versions_in_its_middle_and_keeps_its_leg_and_its_count";
    serve(name, Setup { handlers: &[(COUNT, "key-count")], ..Setup::default() }, async |served| {
        let tree = served.pbx.tree().clone();
        put(&served.plugin("key-count.toml"), b"upgrade = \"mid-call\"\n")?;
        let phone = call(served.sip(), COUNT).await?;
        let mut pressed = 0;
        for n in 1..=3 {
            phone.press_info("12").await?;
            pressed += 2;
            served.until("the keys are there", LONG, |log| log.count("dtmf.received") == pressed).await?;
            let began = Instant::now();
            put(&served.plugin("key-count.wasm"), &version("key-count", n)?)?;
            served.until("the call has gone over", LONG, |log| log.count("handler.upgraded") == n).await?;
            println!("{name}: {:?} from the file to the call's new version", began.elapsed());
        }
        // A version that cannot take calls over gets the new ones only.
        let before = served.host.count("new calls get another version");
        put(&served.plugin("key-count.wasm"), &version("minimal", 1)?)?;
        swapped(served, before).await?;
        phone.press_info("3#").await?;
        hear(phone.rtp(), "digits/7", &recorded(&tree, "digits/7")?, 0.0, LONG).await?;
        ensure!(phone.wait_for_bye(LONG).await, "the call is still up");
        served.until_over(1).await?;
        let counted: Vec<_> = served.log.of_kind("custom").map(|event| event.data["data"].to_string()).collect();
        assert_eq!(counted, [r#"{"keys":7}"#]);
        let versions: Vec<_> = served.log.of_kind("handler.upgraded").map(|event| event.text("version")).collect();
        assert_eq!((versions.len(), served.log.count("call.answered")), (3, 1));
        assert_eq!(served.log.reasons(), [("handler-returned".to_owned(), 1)].into());
        assert_eq!(served.log.handler_lines("goes on at").count(), 3);
        Ok(())
    })
    .await
}
