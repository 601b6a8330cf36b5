//! Calls of a real PBX to a menu: what the caller hears, the keys that count, and how either side ends it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::sleep;
use voxtra_e2e::served::{MENU, MINIMAL};
use voxtra_e2e::{Setup, hear, recorded, serve};
use voxtra_test_support::phone::Codec;
use voxtra_test_support::{RtpEndpoint, Scenario, Sipp};

/// A prompt is heard well before that.
const SOON: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_hears_the_menu_presses_keys_both_ways_and_is_hung_up() -> Result<()> {
    /// By then the first key, by RFC 4733, has led back to the menu: greeting and menu 4 s, "invalid" 4.1 s.
    const SECOND_KEY_AFTER: Duration = Duration::from_secs(11);

    let name = "a_caller_hears_the_menu_presses_keys_both_ways_and_is_hung_up";
    serve(name, Setup::default(), async |served| {
        let tree = served.pbx.tree().clone();
        let rtp = RtpEndpoint::open(Codec::Pcmu).await?;
        let keys = Scenario::KeysInfo { keys: "2".into(), after: SECOND_KEY_AFTER };
        let sipp = Sipp { media: Some(rtp.address()), ..Sipp::new(keys, MENU) }.start(&tree, served.sip())?;
        let mut after_ms = 0.0;
        for prompt in ["hello-world", "vm-press", "digits/1", "vm-press"] {
            after_ms = hear(&rtp, prompt, &recorded(&tree, prompt)?, after_ms, SOON).await?.offset_ms + 1.0;
        }
        // No key of the menu, in the middle of it, by RFC 4733 in the audio's stream.
        let pressed_ms = rtp.now_ms();
        rtp.press("5");
        let invalid = hear(&rtp, "invalid", &recorded(&tree, "invalid")?, after_ms, SOON).await?;
        println!("`invalid` began {:.0} ms after the key by RFC 4733", invalid.offset_ms - pressed_ms);
        after_ms = invalid.offset_ms;
        // A key of the menu, by SIP INFO.
        let last = ["vm-press", "you-entered", "digits/2", "pls-hold-while-try", "vm-goodbye"];
        for prompt in last {
            let heard = hear(&rtp, prompt, &recorded(&tree, prompt)?, after_ms, SOON).await?;
            println!("{prompt} at {:.0} ms, likeness {:.4}", heard.offset_ms, heard.correlation);
            after_ms = heard.offset_ms + 1.0;
        }
        // It succeeds only if BYE comes.
        let report = sipp.finish().await?;
        ensure!(report.is_clean(1), "{report:?}");
        served.until_over(1).await?;
        let digits: Vec<&str> = served.log.of_kind("dtmf.received").map(|event| event.text("digit")).collect();
        assert_eq!(digits, ["5", "2"]);
        assert_eq!(served.log.reasons(), [("handler-hung-up".to_owned(), 1)].into());
        assert_eq!(served.log.handler_lines("the caller chose 2").count(), 1);
        assert_eq!(served.log.handler_lines("the caller chose").count(), 1);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_of_sipp_alone_presses_a_key_in_its_own_audio() -> Result<()> {
    let name = "a_caller_of_sipp_alone_presses_a_key_in_its_own_audio";
    let keys = Scenario::KeysRfc4733 { keys: "1".into(), after: Duration::from_secs(3) };
    if !keys.is_possible() {
        voxtra_test_support::skips::skipped(name, "SIPp may not open a raw socket here");
        return Ok(());
    }
    serve(name, Setup::default(), async |served| {
        let report = Sipp::new(keys.clone(), MENU).run(served.pbx.tree(), served.sip()).await?;
        ensure!(report.is_clean(1), "{report:?}");
        served.until_over(1).await?;
        assert_eq!(served.log.handler_lines("the caller chose 1").count(), 1);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_hang_up_in_the_middle_of_a_prompt_end_their_calls_once() -> Result<()> {
    const CALLERS: usize = 5;

    let name = "callers_who_hang_up_in_the_middle_of_a_prompt_end_their_calls_once";
    serve(name, Setup::default(), async |served| {
        // The greeting takes 1.4 s.
        let early = Scenario::HangUpAfter(Duration::from_millis(700));
        let sipp = Sipp { calls: CALLERS as u32, ..Sipp::new(early, MENU) };
        let report = sipp.run(served.pbx.tree(), served.sip()).await?;
        ensure!(report.is_clean(CALLERS as u64), "{report:?}");
        served.until_over(CALLERS).await?;
        // Whatever came twice would have come by then.
        sleep(Duration::from_secs(1)).await;
        served.log.follow(&served.host);
        assert_eq!(served.log.reasons(), [("caller-hung-up".to_owned(), CALLERS)].into());
        assert_eq!(served.log.count("call.ended"), CALLERS);
        let mut hooks: Vec<&str> =
            served.log.handler_lines("the caller chose none").map(|line| line.call.as_str()).collect();
        hooks.sort_unstable();
        let mut ended: Vec<&str> = served.log.of_kind("call.ended").map(|event| event.call.as_str()).collect();
        ended.sort_unstable();
        assert_eq!(hooks, ended, "on-hangup runs once for each call");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_smallest_handler_is_heard_by_a_law_and_mu_law_phones() -> Result<()> {
    use voxtra_test_support::{CallOptions, Phone};

    let name = "the_smallest_handler_is_heard_by_a_law_and_mu_law_phones";
    serve(name, Setup::default(), async |served| {
        let hello = recorded(served.pbx.tree(), "hello-world")?;
        for codec in [Codec::Pcmu, Codec::Pcma] {
            let call = Phone::call(served.sip(), MINIMAL, CallOptions { codec, ..CallOptions::default() }).await?;
            let heard = hear(call.rtp(), "hello-world", &hello, 0.0, SOON).await?;
            println!("{codec:?}: hello-world at {:.0} ms, likeness {:.4}", heard.offset_ms, heard.correlation);
            ensure!(call.wait_for_bye(SOON).await, "the handler did not hang up");
        }
        served.until_over(2).await?;
        assert_eq!(served.log.reasons(), [("handler-hung-up".to_owned(), 2)].into());
        Ok(())
    })
    .await
}
