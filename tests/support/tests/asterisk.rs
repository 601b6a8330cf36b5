//! The telephone, SIPp and the private Asterisk, each tried on the others. Skipped by name where there is no Asterisk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use anyhow::Result;
use voxtra_test_support::match_audio::{delay_ms, find, longest_silence_ms, rms, tone_length_ms};
use voxtra_test_support::phone::{Codec, EndedBy};
use voxtra_test_support::signals::speech;
use voxtra_test_support::{Asterisk, AsteriskOptions, CallError, CallOptions, Phone, Scenario, Sipp};

/// Longer than anything takes when it works.
const LONG: Duration = Duration::from_secs(20);

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

#[tokio::test]
async fn a_caller_hears_their_echo() -> Result<()> {
    let Some(pbx) = Asterisk::for_test("a_caller_hears_their_echo", AsteriskOptions::default()).await? else {
        return Ok(());
    };
    for codec in [Codec::Pcmu, Codec::Pcma] {
        let call = Phone::call(pbx.sip_addr(), "test-echo", CallOptions { codec, ..CallOptions::default() }).await?;
        let said = speech(41, 1500);
        let number = call.speak(&said);
        assert!(call.rtp().until_quiet(LONG).await);
        pause(300).await;
        let heard = call.heard();
        let found = find(&said, &heard).unwrap();
        assert!(found.correlation > 0.98, "{found:?}");
        let delay = delay_ms(&said, call.rtp().spoken_at_ms(number).unwrap(), &heard).unwrap();
        println!("echo by {codec:?}: {found:?}, after {delay:.2} ms, {:?}", call.rtp().stats());
        assert!((-1.0..500.0).contains(&delay), "{delay}");
        assert!(find(&speech(42, 1500), &heard).is_none_or(|m| m.correlation < 0.5));
        call.hang_up().await?;
        assert_eq!(call.ended(), Some(EndedBy::Us));
    }
    assert!(pbx.wait_for_channels(0, LONG).await?);
    Ok(())
}

#[tokio::test]
async fn tones_silence_and_refusals_are_told_apart() -> Result<()> {
    let name = "tones_silence_and_refusals_are_told_apart";
    let Some(pbx) = Asterisk::for_test(name, AsteriskOptions::default()).await? else { return Ok(()) };
    let tone = Phone::call(pbx.sip_addr(), "test-tone", CallOptions::default()).await?;
    let quiet = Phone::call(pbx.sip_addr(), "test-silence", CallOptions::default()).await?;
    let talk = Phone::call(pbx.sip_addr(), "test-talk", CallOptions::default()).await?;
    pause(1500).await;
    let until = Instant::now() + LONG;
    while tone_length_ms(&tone.heard(), 440.0) < 1000 {
        assert!(Instant::now() < until, "{} ms of tone", tone_length_ms(&tone.heard(), 440.0));
        pause(100).await;
    }
    assert_eq!(tone_length_ms(&quiet.heard(), 440.0), 0);
    assert_eq!(longest_silence_ms(&quiet.heard()) as usize, quiet.heard().len() / 160 * 20);
    assert!(rms(&talk.heard()) > 200.0);
    assert!(tone.answered_after() < Duration::from_secs(5));
    assert_eq!(pbx.channel_count().await?, 3);

    for (extension, status) in [("test-busy", 486), ("test-declined", 403)] {
        match Phone::call(pbx.sip_addr(), extension, CallOptions::default()).await {
            Err(CallError::Refused { status: refused, .. }) => assert_eq!(refused, status, "{extension}"),
            other => panic!("{extension}: {other:?}"),
        }
    }
    let brief = CallOptions { cancel_after: Some(Duration::from_millis(300)), ..CallOptions::default() };
    match Phone::call(pbx.sip_addr(), "test-rings", brief).await {
        Err(CallError::Refused { status: 487, .. }) => {}
        other => panic!("a cancelled call: {other:?}"),
    }
    let short = CallOptions { ring: Duration::from_millis(300), ..CallOptions::default() };
    match Phone::call(pbx.sip_addr(), "test-rings", short).await {
        Err(CallError::NoAnswer { status: 180 }) => {}
        other => panic!("an unanswered call: {other:?}"),
    }
    // Dropped calls are hung up as well.
    drop((tone, quiet, talk));
    assert!(pbx.wait_for_channels(0, LONG).await?);
    Ok(())
}

#[tokio::test]
async fn keys_arrive_by_either_way_and_come_back() -> Result<()> {
    let name = "keys_arrive_by_either_way_and_come_back";
    let Some(pbx) = Asterisk::for_test(name, AsteriskOptions::default()).await? else { return Ok(()) };
    for (by_info, keys) in [(false, "15*0"), (true, "26#9")] {
        let call = Phone::call(pbx.sip_addr(), "test-keys", CallOptions::default()).await?;
        pause(200).await;
        // Read() ends at #.
        let expected = keys.split('#').next().unwrap_or(keys);
        if by_info {
            call.press_info(keys).await?;
        } else {
            call.press_rfc4733(keys);
        }
        assert!(call.wait_for_bye(LONG).await, "the call is still up");
        assert_eq!(call.ended(), Some(EndedBy::OtherSide));
        assert!(pbx.log().contains(&format!("voxtra-keys={expected}")), "by INFO: {by_info}\n{}", pbx.log());
    }
    let call = Phone::call(pbx.sip_addr(), "test-presses", CallOptions::default()).await?;
    pause(2500).await;
    assert_eq!(call.keys_heard(), "123#");
    call.hang_up().await
}

#[tokio::test]
async fn a_call_outlives_being_held() -> Result<()> {
    let Some(pbx) = Asterisk::for_test("a_call_outlives_being_held", AsteriskOptions::default()).await? else {
        return Ok(());
    };
    let call = Phone::call(pbx.sip_addr(), "test-echo", CallOptions::default()).await?;
    call.hold().await?;
    pause(300).await;
    call.resume().await?;
    let said = speech(43, 800);
    call.speak(&said);
    assert!(call.rtp().until_quiet(LONG).await);
    pause(300).await;
    assert!(find(&said, &call.heard()).is_some_and(|m| m.correlation > 0.98), "{:?}", call.rtp().stats());
    assert_eq!(call.ended(), None);
    call.hang_up().await
}

#[tokio::test]
async fn it_is_killed_and_comes_back_on_the_same_ports() -> Result<()> {
    let name = "it_is_killed_and_comes_back_on_the_same_ports";
    let Some(pbx) = Asterisk::for_test(name, AsteriskOptions::default()).await? else { return Ok(()) };
    let call = Phone::call(pbx.sip_addr(), "test-echo", CallOptions::default()).await?;
    let (address, url) = (pbx.sip_addr(), pbx.ari_url());
    pbx.kill()?;
    assert!(!pbx.is_running());
    assert!(pbx.cli("core show channels").await.is_err());
    assert!(!call.wait_for_bye(Duration::from_millis(300)).await, "a killed PBX says nothing");
    let began = Instant::now();
    pbx.restart().await?;
    println!("up again after {:?}", began.elapsed());
    assert_eq!((pbx.sip_addr(), pbx.ari_url()), (address, url));
    assert_eq!(pbx.channel_count().await?, 0);
    Phone::call(pbx.sip_addr(), "test-echo", CallOptions::default()).await?.hang_up().await?;
    // Stopping tells the callers.
    let call = Phone::call(pbx.sip_addr(), "test-echo", CallOptions::default()).await?;
    pbx.stop().await?;
    assert!(call.wait_for_bye(LONG).await);
    Ok(())
}

#[tokio::test]
async fn two_stand_side_by_side_with_what_they_were_asked_for() -> Result<()> {
    let name = "two_stand_side_by_side_with_what_they_were_asked_for";
    let none = AsteriskOptions { audiosocket: false, websocket_media: false, ..AsteriskOptions::default() };
    let Some(bare) = Asterisk::for_test(name, none).await? else { return Ok(()) };
    let began = Instant::now();
    let full = Asterisk::start(AsteriskOptions::default()).await?;
    println!("up after {:?}", began.elapsed());
    assert_ne!(bare.sip_addr(), full.sip_addr());
    for (pbx, loaded) in [(&*bare, false), (&full, true)] {
        let modules = pbx.cli("module show").await?;
        for module in ["chan_audiosocket.so", "chan_websocket.so"] {
            assert_eq!(modules.contains(module), loaded, "{module}");
        }
        for module in ["res_ari_channels.so", "app_stasis.so", "chan_pjsip.so", "codec_ulaw.so"] {
            assert!(modules.contains(module), "{module}");
        }
        let complaints: Vec<String> =
            pbx.log().lines().filter(|l| !l.contains("NOTICE")).skip(1).map(str::to_owned).collect();
        assert_eq!(complaints, [""; 0], "a start without complaints");
    }
    Ok(())
}

#[tokio::test]
async fn sipp_calls_and_counts() -> Result<()> {
    let Some(pbx) = Asterisk::for_test("sipp_calls_and_counts", AsteriskOptions::default()).await? else {
        return Ok(());
    };
    let (tree, sip) = (pbx.tree(), pbx.sip_addr());
    let hang_up = Scenario::HangUpAfter(Duration::from_millis(400));
    let run = Sipp { calls: 20, rate: 20, ..Sipp::new(hang_up, "test-echo") }.run(tree, sip).await?;
    assert!(run.is_clean(20), "{run:?}");
    assert!(run.answered_after < Duration::from_secs(5), "{run:?}");

    let run =
        Sipp { calls: 5, at_once: Some(2), ..Sipp::new(Scenario::WaitForBye, "test-short") }.run(tree, sip).await?;
    assert!(run.is_clean(5), "{run:?}");

    let after = Duration::from_millis(300);
    let info = Scenario::KeysInfo { keys: "4711".into(), after };
    let run = Sipp::new(info, "test-keys").run(tree, sip).await?;
    assert!(run.is_clean(1) && pbx.log().contains("voxtra-keys=4711"), "{run:?}\n{}", pbx.log());

    let events = Scenario::KeysRfc4733 { keys: "0815".into(), after };
    if events.is_possible() {
        let run = Sipp::new(events, "test-keys").run(tree, sip).await?;
        assert!(run.is_clean(1) && pbx.log().contains("voxtra-keys=0815"), "{run:?}\n{}", pbx.log());
    }

    // Nobody there: every call fails, and that is no error of the run.
    let run = Sipp::new(Scenario::WaitForBye, "test-busy").run(tree, sip).await?;
    assert_eq!((run.successful, run.failed, run.exit_code), (0, 1, Some(1)), "{run:?}");
    assert!(run.errors.contains("486"), "{run:?}");
    Ok(())
}

#[tokio::test]
async fn sipp_signals_while_an_endpoint_of_ours_listens() -> Result<()> {
    let name = "sipp_signals_while_an_endpoint_of_ours_listens";
    let Some(pbx) = Asterisk::for_test(name, AsteriskOptions::default()).await? else { return Ok(()) };
    let rtp = voxtra_test_support::RtpEndpoint::open(Codec::Pcmu).await?;
    let wait = Scenario::HangUpAfter(Duration::from_secs(2));
    let sipp = Sipp { media: Some(rtp.address()), ..Sipp::new(wait, "test-talk") };
    let run = sipp.run(pbx.tree(), pbx.sip_addr()).await?;
    assert!(run.is_clean(1), "{run:?}");
    let heard = rtp.heard();
    assert!(heard.len() > 8000 && rms(&heard) > 200.0, "{:?}", rtp.stats());

    // The events of the endpoint arrive though the signalling is SIPp's.
    let running = Sipp { media: Some(rtp.address()), ..Sipp::new(Scenario::WaitForBye, "test-menu") };
    let running = running.start(pbx.tree(), pbx.sip_addr())?;
    let before = rtp.stats().received;
    while rtp.stats().received == before {
        pause(20).await;
    }
    rtp.press("31*5");
    let run = running.finish().await?;
    assert!(run.is_clean(1) && pbx.log().contains("voxtra-keys=31*5"), "{run:?}\n{}", pbx.log());
    Ok(())
}
