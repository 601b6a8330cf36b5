//! Bridges, snoops and recordings of a real Asterisk: who hears whom.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod real;

use std::future::poll_fn;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::Result;
use real::{Call, LONG, Scene, pause};
use voxtra_core::media::{Frame, MediaLink};
use voxtra_core::telephony::PbxRecording;
use voxtra_core::verbs::{Sides, SnoopOptions};
use voxtra_core::{CallError, HangupCause, LegEvent, RecordingId};
use voxtra_test_support::files::TempDir;
use voxtra_test_support::match_audio::find;
use voxtra_test_support::signals::{read_wav, speech};

/// How like a signal the most similar part of a recording is.
fn likeness(signal: &[i16], heard: &[i16]) -> f64 {
    find(signal, heard).map_or(0.0, |found| found.correlation)
}

/// How many thirds of a signal are in a recording. Of what a snoop hears, Asterisk now and then leaves out a frame or two
/// when it brings the two sides together, after which the rest is shifted.
fn thirds(signal: &[i16], heard: &[i16]) -> usize {
    let parts: Vec<f64> = signal.chunks_exact(signal.len() / 3).map(|part| likeness(part, heard)).collect();
    println!("thirds: {parts:.3?}");
    parts.into_iter().filter(|like| *like > 0.9).count()
}

/// Speaks and waits until it is said, and heard.
async fn say(call: &Call, signal: &[i16]) {
    call.phone.speak(signal);
    assert!(call.phone.rtp().until_quiet(LONG).await);
    pause(400).await;
}

/// Says it into a link, paced by the link.
async fn say_into(link: &MediaLink, signal: &[i16]) {
    for samples in signal.chunks(160) {
        poll_fn(|cx| link.sink.poll_ready(cx)).await.unwrap();
        let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
        link.sink.push(Frame::new(bytes.into())).unwrap();
    }
    pause(700).await;
}

/// What comes out of a link while something is done.
async fn hear<T>(link: &MediaLink, during: impl Future<Output = T>) -> (T, Vec<i16>) {
    let source = link.source.clone();
    let mut heard = Vec::new();
    tokio::pin!(during);
    loop {
        tokio::select! {
            done = &mut during => return (done, heard),
            frame = poll_fn(|cx| source.poll_frame(cx)) => {
                let Some(frame) = frame else { continue };
                heard.extend(frame.pcm().chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])));
            }
        }
    }
}

fn recording(name: &str) -> PbxRecording {
    PbxRecording {
        id: RecordingId::from(name),
        stored_name: name.to_owned(),
        beep: false,
        max_duration: Duration::from_secs(60),
        max_silence: None,
    }
}

fn finished(event: &LegEvent) -> bool {
    matches!(event, LegEvent::RecordingFinished { .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn three_legs_in_a_bridge_hear_each_other_and_one_that_is_out_does_not() -> Result<()> {
    let name = "three_legs_in_a_bridge_hear_each_other_and_one_that_is_out_does_not";
    let Some(scene) = Scene::start(name).await? else { return Ok(()) };
    let bridge = scene.exchange().create_bridge().await?;
    let mut calls = Vec::new();
    for from in ["1001", "1002", "1003"] {
        calls.push(scene.call(from).await?);
    }
    // The first has its handler with it.
    let link = calls[0].leg.open_media(8_000).await?;
    for call in &calls {
        bridge.add(call.id()).await?;
        bridge.add(call.id()).await?;
    }
    pause(300).await;
    for (n, speaker) in calls.iter().enumerate() {
        let said = speech(50 + n as u64, 1_200);
        let (_, handler_heard) = hear(&link, say(speaker, &said)).await;
        for (m, listener) in calls.iter().enumerate() {
            let like = likeness(&said, &listener.phone.heard());
            assert_eq!(like > 0.9, n != m, "{n} to {m}: {like}");
        }
        let like = likeness(&said, &handler_heard);
        println!("{n} to the handler: {like:.3}");
        assert!(like > 0.9, "{n} to the handler: {like}");
    }
    let said = speech(60, 1_000);
    say_into(&link, &said).await;
    for (m, listener) in calls.iter().enumerate() {
        let like = likeness(&said, &listener.phone.heard());
        assert!(like > 0.9, "the handler to {m}: {like}");
    }
    // A prompt for one of them is heard by that one only, and one for the bridge by all, to its end.
    calls[1].leg.play(&"p".into(), &["sound:digits/7".to_owned()]).await?;
    let played = calls[1].diary.until(|event| matches!(event, LegEvent::PlaybackFinished { .. })).await?;
    assert_eq!(played, LegEvent::PlaybackFinished { id: "p".into(), outcome: Ok(()) });
    let before: Vec<usize> = calls.iter().map(|call| call.phone.heard().len()).collect();
    let began = std::time::Instant::now();
    bridge.play(&["sound:vm-goodbye".to_owned(), "digits:12".to_owned()]).await?;
    println!("played for {:?}", began.elapsed());
    assert!(began.elapsed() > Duration::from_secs(1), "to its end: {:?}", began.elapsed());
    for (call, before) in calls.iter().zip(before) {
        assert!(voxtra_test_support::match_audio::rms(&call.phone.heard()[before..]) > 100.0);
    }
    let missing = bridge.play(&["sound:no-such-sound".to_owned()]).await;
    assert!(matches!(&missing, Err(CallError::Telephony(why)) if why.contains("no-such-sound")), "{missing:?}");
    // One out: it has its handler again, and hears nobody.
    bridge.remove(calls[0].id()).await?;
    bridge.remove(calls[0].id()).await?;
    let (said, private) = (speech(61, 1_000), speech(62, 1_000));
    say(&calls[1], &said).await;
    let (_, handler_heard) = hear(&link, say(&calls[0], &private)).await;
    assert!(likeness(&said, &calls[0].phone.heard()) < 0.5);
    assert!(likeness(&said, &calls[2].phone.heard()) > 0.9);
    assert!(likeness(&private, &handler_heard) > 0.9, "{}", likeness(&private, &handler_heard));
    assert!(likeness(&private, &calls[2].phone.heard()) < 0.5);
    bridge.destroy().await?;
    bridge.destroy().await?;
    assert!(matches!(bridge.add(calls[0].id()).await, Err(CallError::Telephony(_))));
    let said = speech(63, 1_000);
    say(&calls[1], &said).await;
    assert!(likeness(&said, &calls[2].phone.heard()) < 0.5, "the bridge is gone");
    for call in &calls {
        call.leg.end(HangupCause::Normal).await?;
    }
    scene.nothing_is_left().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_is_dropped_is_taken_down_and_its_legs_have_their_audio() -> Result<()> {
    let name = "a_bridge_that_is_dropped_is_taken_down_and_its_legs_have_their_audio";
    let Some(scene) = Scene::start(name).await? else { return Ok(()) };
    let call = scene.call("1001").await?;
    let bridge = scene.exchange().create_bridge().await?;
    bridge.add(call.id()).await?;
    // Opened while it is in there.
    let link = call.leg.open_media(8_000).await?;
    let said = speech(70, 1_000);
    let (_, heard) = hear(&link, say(&call, &said)).await;
    assert!(likeness(&said, &heard) > 0.9);
    drop(bridge);
    pause(500).await;
    let said = speech(71, 1_000);
    let (_, heard) = hear(&link, say(&call, &said)).await;
    assert!(likeness(&said, &heard) > 0.9, "{}", likeness(&said, &heard));
    call.leg.end(HangupCause::Normal).await?;
    drop(scene.exchange().create_bridge());
    scene.nothing_is_left().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_goes_on_when_its_leg_joins_and_leaves() -> Result<()> {
    let Some(scene) = Scene::start("a_prompt_goes_on_when_its_leg_joins_and_leaves").await? else { return Ok(()) };
    let (call, other) = (scene.call("1001").await?, scene.call("1002").await?);
    let bridge = scene.exchange().create_bridge().await?;
    bridge.add(other.id()).await?;
    // 31 s of it.
    call.leg.play(&"long".into(), &["sound:demo-congrats".to_owned()]).await?;
    pause(1_000).await;
    let began = std::time::Instant::now();
    bridge.add(call.id()).await?;
    println!("joined after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(10), "not at its end: {:?}", began.elapsed());
    let at = call.phone.heard().len();
    pause(1_000).await;
    assert!(voxtra_test_support::match_audio::rms(&call.phone.heard()[at..]) > 100.0, "it goes on");
    let began = std::time::Instant::now();
    bridge.remove(call.id()).await?;
    assert!(began.elapsed() < Duration::from_secs(10), "not at its end: {:?}", began.elapsed());
    let at = call.phone.heard().len();
    pause(1_000).await;
    assert!(voxtra_test_support::match_audio::rms(&call.phone.heard()[at..]) > 100.0, "it goes on");
    assert!(call.diary.events().iter().all(|event| !matches!(event, LegEvent::PlaybackFinished { .. })));
    call.leg.stop_playback(&"long".into()).await?;
    call.diary.until(|event| matches!(event, LegEvent::PlaybackFinished { outcome: Ok(()), .. })).await?;
    drop(bridge);
    for call in [&call, &other] {
        call.leg.end(HangupCause::Normal).await?;
    }
    scene.nothing_is_left().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snoop_whispers_to_one_side_only_and_hears_both() -> Result<()> {
    let Some(scene) = Scene::start("a_snoop_whispers_to_one_side_only_and_hears_both").await? else { return Ok(()) };
    let (agent, customer) = (scene.call("1001").await?, scene.call("1002").await?);
    let bridge = scene.exchange().create_bridge().await?;
    bridge.add(agent.id()).await?;
    bridge.add(customer.id()).await?;
    let neither = agent.leg.snoop(SnoopOptions::default()).await;
    assert!(matches!(neither.map(drop), Err(CallError::InvalidArgument(_))));
    for (n, (whisper, to_agent)) in [(Sides::Out, true), (Sides::In, false)].into_iter().enumerate() {
        let snoop = agent.leg.snoop(SnoopOptions { spy: Sides::Both, whisper }).await?;
        let link = snoop.open_media(8_000).await?;
        pause(300).await;
        let (whispered, said, answered) = (speech(80, 1_000), speech(81, 1_000), speech(82, 1_000));
        say_into(&link, &whispered).await;
        let (_, heard) = hear(&link, async {
            say(&agent, &said).await;
            say(&customer, &answered).await;
        })
        .await;
        let (agent_heard, customer_heard) = (agent.phone.heard(), customer.phone.heard());
        let likes = (likeness(&whispered, &agent_heard), likeness(&whispered, &customer_heard));
        println!("whisper {whisper:?}: {likes:?}, {:.3}, {:.3}", likeness(&said, &heard), likeness(&answered, &heard));
        if n == 0 {
            assert!(likes.0 > 0.9 && likes.1 < 0.5, "whisper {whisper:?}: {likes:?}");
        } else {
            // The first round's is in the agent's ears for good.
            assert!(likes.1 > 0.9, "whisper {whisper:?}, to the agent {to_agent}: {likes:?}");
        }
        assert!(thirds(&said, &heard) >= 2 && thirds(&answered, &heard) >= 2, "the snoop hears both");
        snoop.close_media().await;
        let before = agent.phone.heard().len();
        snoop.play(&["sound:vm-goodbye".to_owned()]).await?;
        let played = voxtra_test_support::match_audio::rms(&agent.phone.heard()[before..]);
        assert_eq!(played > 100.0, to_agent, "played to the agent: {played}");
        snoop.stop().await?;
        snoop.stop().await?;
    }
    // A snoop in another bridge: who is there listens.
    let (listener, room) = (scene.call("1003").await?, scene.exchange().create_bridge().await?);
    let snoop = agent.leg.snoop(SnoopOptions { spy: Sides::Both, whisper: Sides::None }).await?;
    room.add(listener.id()).await?;
    room.add_snoop(snoop.id()).await?;
    let said = speech(83, 1_000);
    say(&customer, &said).await;
    assert!(thirds(&said, &listener.phone.heard()) >= 2);
    // It goes with its leg.
    agent.leg.end(HangupCause::Normal).await?;
    snoop.stop().await?;
    for call in [&customer, &listener] {
        call.leg.end(HangupCause::Normal).await?;
    }
    drop((bridge, room));
    scene.nothing_is_left().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_holds_both_sides_words_and_not_what_was_said_in_its_pause() -> Result<()> {
    let name = "a_recording_holds_both_sides_words_and_not_what_was_said_in_its_pause";
    let Some(scene) = Scene::start(name).await? else { return Ok(()) };
    let exchange = scene.exchange();
    let folder = TempDir::new("recordings")?;
    let call = scene.call("1001").await?;
    let link = call.leg.open_media(8_000).await?;
    let one = recording("rec-one");
    call.leg.start_recording(&one).await?;
    let second = call.leg.start_recording(&recording("rec-two")).await;
    assert!(matches!(second, Err(CallError::LimitExceeded(_))), "{second:?}");
    let (caller, handler, secret, later) = (speech(90, 1_000), speech(91, 1_000), speech(92, 1_000), speech(93, 1_000));
    say(&call, &caller).await;
    say_into(&link, &handler).await;
    call.leg.pause_recording(&one.id, true).await?;
    pause(200).await;
    say(&call, &secret).await;
    call.leg.pause_recording(&one.id, false).await?;
    pause(200).await;
    say(&call, &later).await;
    assert!(call.diary.events().iter().all(|event| !finished(event)));
    call.leg.stop_recording(&one.id).await?;
    call.leg.stop_recording(&one.id).await?;
    let LegEvent::RecordingFinished { id, outcome } = call.diary.until(finished).await? else { panic!() };
    assert_eq!(id, one.id);
    let said_ms = outcome.unwrap();
    let file = folder.path().join("one.wav");
    let size = exchange.fetch_recording("rec-one", &file).await?.unwrap();
    let held = read_wav(&file)?;
    let parts = [&caller, &handler, &secret, &later].map(|signal| thirds(signal, &held));
    println!("{} ms told, {} ms held, {size} bytes", said_ms, held.len() / 8);
    assert!(parts[0] >= 2 && parts[1] >= 2 && parts[2] == 0 && parts[3] >= 2, "{parts:?}");
    let held_ms = held.len() as i64 / 8;
    assert!((i64::from(said_ms) - held_ms).abs() < 1_000, "{said_ms} {held_ms}");
    assert_eq!(std::fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(&file)?.len(), size);
    assert!(exchange.fetch_recording("rec-one", &file).await.is_err(), "an old file is not overwritten");
    exchange.delete_recording("rec-one").await?;
    exchange.delete_recording("rec-one").await?;
    assert_eq!(exchange.fetch_recording("rec-one", &folder.path().join("two.wav")).await?, None);
    assert!(exchange.fetch_recording("../etc/passwd", &folder.path().join("two.wav")).await.is_err());
    assert!(!folder.path().join("two.wav").exists());
    // A limit, with a beep that the caller hears; then one that a hang-up ends.
    let before = call.phone.heard().len();
    let beeps = PbxRecording { beep: true, max_duration: Duration::from_secs(1), ..recording("rec-limit") };
    call.leg.start_recording(&beeps).await?;
    call.diary.until(|event| matches!(event, LegEvent::RecordingFinished { id, .. } if *id == beeps.id)).await?;
    assert!(voxtra_test_support::match_audio::rms(&call.phone.heard()[before..]) > 50.0, "the beep");
    let last = recording("rec-last");
    call.leg.start_recording(&last).await?;
    let words = speech(94, 1_000);
    say(&call, &words).await;
    call.phone.hang_up().await?;
    call.diary.end().await?;
    let events = call.diary.events();
    let [.., LegEvent::RecordingFinished { id, outcome: Ok(ms) }, LegEvent::Ended(_)] = &events[..] else {
        panic!("{events:?}")
    };
    println!("hung up after {ms} ms");
    assert!(*id == last.id && *ms >= 1_000);
    let file = folder.path().join("last.wav");
    exchange.fetch_recording("rec-last", &file).await?.unwrap();
    assert!(thirds(&words, &read_wav(&file)?) >= 2);
    drop(call);
    scene.nothing_is_left().await
}
