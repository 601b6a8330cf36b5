//! The verbs about calls, against a real Asterisk, each by its effect: mostly by what a telephone hears.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod real_pbx;

use std::collections::BTreeMap;
use std::time::Duration;

use real_pbx::{APP, LIMIT, Pbx, event, gone, hears, hears_nothing, until};
use voxtra_ari::model::RecordingState;
use voxtra_ari::{
    AriError, AudioDirection, BridgeType, ChannelState, ContinueTo, CreateBridge, CreateChannel, Dial, EventOptions,
    EventStream, HangupReason, IfExists, JoinOptions, Originate, Play, PlaybackControl, PlaybackState, Record,
    SendDtmf, Snoop,
};
use voxtra_test_support::match_audio::tone_share;
use voxtra_test_support::signals;

/// Of a telephone's audio in a known tone; the steady tone of the known callers has 440 Hz.
const TONE_HZ: f64 = 440.0;

#[tokio::test]
async fn channels_are_made_dialled_moved_and_sent_on() {
    let Some(mut pbx) = Pbx::start("ari: making and moving channels").await else { return };
    let client_of_app = pbx.client.clone();
    let client = &client_of_app;

    // Made without calling anybody, then dialled.
    let made =
        CreateChannel::new("Local/late@callers/n", APP).channel_id("a/1").formats("slin").variable("COLOUR", "red");
    assert_eq!(client.create_channel(&made).await.unwrap().id, "a/1");
    pbx.event("StasisStart", Some("a/1")).await;
    assert_eq!(client.get_channel("a/1").await.unwrap().state, ChannelState::Down);
    let twice = client.create_channel(&made).await;
    assert!(matches!(twice, Err(AriError::Conflict { .. })), "{twice:?}");
    client.dial("a/1", &Dial { timeout_s: Some(20), ..Dial::default() }).await.unwrap();
    until("it rings", || async { client.get_channel("a/1").await.unwrap().state == ChannelState::Ringing }).await;
    until("it is answered", || async { client.get_channel("a/1").await.unwrap().state == ChannelState::Up }).await;
    assert!(client.list_channels().await.unwrap().iter().any(|channel| channel.id == "a/1"));

    // Variables, one and several.
    assert_eq!(client.get_variable("a/1", "COLOUR").await.unwrap().as_deref(), Some("red"));
    assert_eq!(client.get_variable("a/1", "NEVER_SET").await.unwrap(), None);
    client.set_variable("a/1", "COLOUR", "a&b=\"c\", 100 %").await.unwrap();
    assert_eq!(client.get_variable("a/1", "COLOUR").await.unwrap().as_deref(), Some("a&b=\"c\", 100 %"));
    let several = BTreeMap::from([("X".to_owned(), "1".to_owned()), ("Y".to_owned(), "2, 3".to_owned())]);
    client.set_variables("a/1", &several).await.unwrap();
    assert_eq!(client.get_variables("a/1", &["X", "Y"]).await.unwrap(), several);

    // To another application, with arguments.
    let other = real_pbx::client(&pbx.asterisk, "other");
    let mut others = EventStream::connect(&other, EventOptions::default()).await.unwrap();
    client.move_to_app("a/1", "other", Some("x,y")).await.unwrap();
    let start = event(&mut others, "StasisStart", Some("a/1")).await;
    assert!(format!("{start:?}").contains(r#"["x", "y"]"#), "{start:?}");

    // Into the dialplan, which sees the variable.
    client.set_variable("a/1", "SHOWN", "it-goes-on").await.unwrap();
    let place = ContinueTo {
        context: Some("callers".into()),
        extension: Some("shows".into()),
        priority: Some(1),
        ..ContinueTo::default()
    };
    client.continue_in_dialplan("a/1", &place).await.unwrap();
    until("the dialplan has it", || async { pbx.asterisk.log().contains("voxtra-shown=it-goes-on") }).await;
    let outside = client.hold("a/1").await;
    assert!(matches!(outside, Err(AriError::Conflict { .. })), "{outside:?}");
    client.hangup("a/1", HangupReason::Normal).await.unwrap();
    until("it is gone", || async { client.get_channel("a/1").await.is_err() }).await;
    client.hangup("a/1", HangupReason::Normal).await.unwrap();

    // Originate into the dialplan, with variables.
    let place =
        ContinueTo { context: Some("callers".into()), extension: Some("shows".into()), priority: Some(1), label: None };
    let mut call =
        Originate::to_dialplan("Local/silence@callers/n", place).variable("SHOWN", "by-originate").channel_id("a/2");
    call.formats = Some("slin".into());
    client.originate(&call).await.unwrap();
    until("the dialplan has it", || async { pbx.asterisk.log().contains("voxtra-shown=by-originate") }).await;
}

#[tokio::test]
async fn a_telephone_hears_music_prompts_whispers_and_silence_as_it_is_told() {
    let Some(mut pbx) = Pbx::start("ari: what a telephone hears").await else { return };
    let client = pbx.client.clone();
    let (phone, id) = pbx.caller("1001").await;

    client.start_moh(&id, None).await.unwrap();
    hears(&phone, "music on hold").await;
    client.stop_moh(&id).await.unwrap();
    hears_nothing(&phone, "the music ends").await;

    client.hold(&id).await.unwrap();
    client.unhold(&id).await.unwrap();

    // A playback is paused, goes on, is stopped, and has then ended.
    let mut tone = Play::new("p/1", "tone:440/60000");
    tone.skip_ms = Some(500);
    client.play(&id, &tone).await.unwrap();
    hears(&phone, "a playback").await;
    assert_eq!(client.get_playback("p/1").await.unwrap().state, PlaybackState::Playing);
    client.stop_playback("p/1").await.unwrap();
    hears_nothing(&phone, "the tone ends").await;
    until("the playback has ended", || async { client.get_playback("p/1").await.is_err() }).await;
    gone(client.get_playback("p/1").await);
    client.stop_playback("p/1").await.unwrap();
    client.play(&id, &Play::list("p/2", ["sound:demo-congrats", "sound:demo-congrats"])).await.unwrap();
    hears(&phone, "a prompt").await;
    client.control_playback("p/2", PlaybackControl::Pause).await.unwrap();
    hears_nothing(&phone, "the prompt is paused").await;
    assert_eq!(client.get_playback("p/2").await.unwrap().state, PlaybackState::Paused);
    client.control_playback("p/2", PlaybackControl::Unpause).await.unwrap();
    hears(&phone, "the prompt goes on").await;
    client.control_playback("p/2", PlaybackControl::Restart).await.unwrap();

    client.stop_playback("p/2").await.unwrap();
    until("the playback has ended", || async { client.get_playback("p/2").await.is_err() }).await;
    gone(client.control_playback("p/2", PlaybackControl::Pause).await);
    hears_nothing(&phone, "the prompt ends").await;
    let nowhere = client.mute(&id, AudioDirection::None).await;
    assert!(matches!(nowhere, Err(AriError::BadRequest { .. })), "{nowhere:?}");

    // A snoop channel whispers to it.
    let snoop = Snoop::new(AudioDirection::None, AudioDirection::Out).snoop_id("s/1").app_args("whisper");
    assert_eq!(client.snoop(&id, &snoop).await.unwrap().id, "s/1");
    pbx.event("StasisStart", Some("s/1")).await;
    // Whispers are mixed into what the telephone is sent anyway.
    client.start_silence(&id).await.unwrap();
    client.play("s/1", &Play::new("p/3", "tone:440/60000")).await.unwrap();
    hears(&phone, "a whisper").await;
    client.hangup("s/1", HangupReason::Normal).await.unwrap();
    hears_nothing(&phone, "the whisper ends").await;
    client.stop_silence(&id).await.unwrap();
    let useless = client.snoop(&id, &Snoop::new(AudioDirection::None, AudioDirection::None)).await;
    assert!(matches!(useless, Err(AriError::BadRequest { .. })), "{useless:?}");

    // Digits arrive; silence is packets with nothing in them.
    client.send_dtmf(&id, &SendDtmf { dtmf: "12#".into(), ..SendDtmf::default() }).await.unwrap();
    until("the digits arrive", || async { phone.keys_heard() == "12#" }).await;
    client.start_silence(&id).await.unwrap();
    let before = phone.heard().len();
    until("silence arrives", || async { phone.heard().len() > before + 4_000 }).await;
    client.stop_silence(&id).await.unwrap();

    // What RTP has counted, both ways.
    phone.speak(&signals::tone(TONE_HZ, 1_000, 8_000));
    until("packets are counted both ways", || async {
        let counted = client.rtp_statistics(&id).await.unwrap();
        counted.txcount > 50 && counted.rxcount > 20
    })
    .await;
    pbx.called("silence", "no-rtp").await;
    let without = client.rtp_statistics("no-rtp").await;
    assert!(matches!(without, Err(AriError::Forbidden { .. })), "{without:?}");

    client.hangup(&id, HangupReason::Normal).await.unwrap();
    assert!(phone.wait_for_bye(LIMIT).await);
    for outcome in [client.unhold(&id).await, client.stop_moh(&id).await, client.stop_silence(&id).await] {
        outcome.unwrap();
    }
    client.unmute(&id, AudioDirection::In).await.unwrap();
}

#[tokio::test]
async fn a_bridge_has_its_channels_and_they_hear_each_other() {
    let Some(mut pbx) = Pbx::start("ari: bridges").await else { return };
    let client = pbx.client.clone();
    let (alice, a) = pbx.caller("1001").await;
    let (bob, b) = pbx.caller("1002").await;
    let bridge =
        CreateBridge::new(BridgeType::MixingProxyMedia).bridge_id("b/1").name("meeting").variable("COLOUR", "red");
    assert_eq!(client.create_bridge_with(&bridge).await.unwrap().name, "meeting");
    let unnamed = client.create_bridge_with(&CreateBridge::new(BridgeType::Holding)).await.unwrap();
    assert_eq!(unnamed.bridge_type, "holding");
    let taken = client.create_bridge_with(&bridge).await;
    assert!(matches!(taken, Err(AriError::Conflict { .. })), "{taken:?}");
    assert_eq!(client.list_bridges().await.unwrap().len(), 2);

    client.add_to_bridge("b/1", &[&a]).await.unwrap();
    client.add_to_bridge_as("b/1", &[&b], &JoinOptions { mute: true, ..JoinOptions::default() }).await.unwrap();
    let mut members = client.get_bridge("b/1").await.unwrap().channels;
    members.sort();
    let mut both = [a.clone(), b.clone()];
    both.sort();
    assert_eq!(members, both);

    // Bob has joined muted: he hears and is not heard.
    bob.speak(&signals::tone(TONE_HZ, 1_500, 8_000));
    alice.speak(&signals::tone(TONE_HZ, 1_500, 8_000));
    hears(&bob, "Alice").await;
    let heard = alice.heard();
    assert!(tone_share(heard.get(heard.len().saturating_sub(8_000)..).unwrap(), TONE_HZ) < 0.1);
    client.remove_from_bridge("b/1", &b).await.unwrap();
    client.add_to_bridge("b/1", &[&b]).await.unwrap();
    bob.speak(&signals::tone(TONE_HZ, 1_500, 8_000));
    hears(&alice, "Bob").await;
    hears_nothing(&alice, "Bob has spoken").await;

    // Muted the other way, Alice hears nothing of him.
    client.mute(&a, AudioDirection::Out).await.unwrap();
    bob.speak(&signals::tone(TONE_HZ, 3_000, 8_000));
    tokio::time::sleep(Duration::from_millis(500)).await;
    hears_nothing(&alice, "she is muted").await;
    client.unmute(&a, AudioDirection::Out).await.unwrap();
    hears(&alice, "Bob again").await;
    hears_nothing(&alice, "Bob has spoken").await;

    // All hear what is played to the bridge, and its music.
    client.play_on_bridge("b/1", &Play::new("p/1", "tone:440/60000")).await.unwrap();
    tokio::join!(hears(&alice, "a tone"), hears(&bob, "a tone"));
    assert_eq!(client.get_playback("p/1").await.unwrap().bridge_id(), Some("b/1"));
    client.stop_playback("p/1").await.unwrap();
    hears_nothing(&bob, "the tone ends").await;
    client.start_bridge_moh("b/1", None).await.unwrap();
    tokio::join!(hears(&alice, "music"), hears(&bob, "music"));
    client.stop_bridge_moh("b/1").await.unwrap();
    hears_nothing(&alice, "the music ends").await;

    // A recording of the bridge holds what is said in it.
    client.record_bridge("b/1", &Record::new("meetings/one", "wav").max_duration_s(2)).await.unwrap();
    bob.speak(&signals::tone(TONE_HZ, 3_000, 8_000));
    let file = recording(&client, "meetings/one").await;
    assert!(tone_share(&file, TONE_HZ) > 0.3, "{}", tone_share(&file, TONE_HZ));

    // Variables and the picture.
    assert_eq!(client.get_bridge_variable("b/1", "COLOUR").await.unwrap().as_deref(), Some("red"));
    client.set_bridge_variable("b/1", "COLOUR", "blue").await.unwrap();
    let several = BTreeMap::from([("X".to_owned(), "1".to_owned())]);
    client.set_bridge_variables("b/1", &several).await.unwrap();
    let read = client.get_bridge_variables("b/1", &["COLOUR", "X"]).await.unwrap();
    assert_eq!(read, BTreeMap::from([("COLOUR".into(), "blue".into()), ("X".into(), "1".into())]));
    assert_eq!(client.get_bridge_variable("b/1", "NEVER_SET").await.unwrap(), None);
    client.set_video_source("b/1", &b).await.unwrap();
    assert_eq!(client.get_bridge("b/1").await.unwrap().video_source_id, b);
    client.clear_video_source("b/1").await.unwrap();

    // Out, and over.
    client.remove_from_bridge("b/1", &a).await.unwrap();
    client.remove_from_bridge("b/1", &a).await.unwrap();
    assert_eq!(client.get_bridge("b/1").await.unwrap().channels, std::slice::from_ref(&b));
    // What was cleared is told with the next change of the bridge only.
    assert_eq!(client.get_bridge("b/1").await.unwrap().video_source_id, "");
    let absent = client.set_video_source("b/1", &a).await;
    assert!(matches!(absent, Err(AriError::Unprocessable { .. })), "{absent:?}");
    client.destroy_bridge("b/1").await.unwrap();
    until("the bridge is gone", || async { client.get_bridge("b/1").await.is_err() }).await;
    gone(client.get_bridge("b/1").await);
    client.destroy_bridge("b/1").await.unwrap();
    client.stop_bridge_moh("b/1").await.unwrap();
    client.clear_video_source("b/1").await.unwrap();
    client.remove_from_bridge("b/1", &b).await.unwrap();
    gone(client.start_bridge_moh("b/1", None).await);
    assert_eq!(client.get_channel(&b).await.unwrap().state, ChannelState::Up);
}

#[tokio::test]
async fn a_recording_is_paused_muted_stopped_fetched_copied_and_deleted() {
    let Some(mut pbx) = Pbx::start("ari: recordings").await else { return };
    let client = pbx.client.clone();
    let name = "tenant/2026/first call";
    pbx.called("tone", "t").await;
    let started = client.record("t", &Record::new(name, "wav").beep()).await.unwrap();
    assert_eq!((started.name.as_str(), started.channel_id()), (name, Some("t")));
    until("it records", || async { client.get_live_recording(name).await.unwrap().state == RecordingState::Recording })
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.pause_recording(name).await.unwrap();
    until("it is paused", || async { client.get_live_recording(name).await.unwrap().state == RecordingState::Paused })
        .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    client.unpause_recording(name).await.unwrap();
    client.mute_recording(name).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.unmute_recording(name).await.unwrap();
    client.stop_recording(name).await.unwrap();
    let samples = recording(&client, name).await;
    // One second of tone (and the beep), none of the pause, one second of silence.
    let seconds = samples.len() as f64 / 8_000.0;
    assert!((1.5..4.0).contains(&seconds), "{seconds} s");
    let half = samples.len() / 2;
    assert!(tone_share(&samples[..half], TONE_HZ) > 0.3, "{}", tone_share(&samples[..half], TONE_HZ));
    assert!(voxtra_test_support::match_audio::longest_silence_ms(&samples) > 600);

    // Ended already: stopping is success, asking is not.
    client.stop_recording(name).await.unwrap();
    client.cancel_recording(name).await.unwrap();
    client.unpause_recording(name).await.unwrap();
    client.unmute_recording(name).await.unwrap();
    gone(client.get_live_recording(name).await);
    gone(client.pause_recording(name).await);
    let stored = client.get_stored_recording(name).await.unwrap();
    assert_eq!((stored.name.as_str(), stored.format.as_str()), (name, "wav"));

    // Copied, listed, bounded, deleted.
    assert_eq!(client.copy_recording(name, "copies/one").await.unwrap().name, "copies/one");
    let taken = client.copy_recording(name, "copies/one").await;
    assert!(matches!(taken, Err(AriError::Conflict { .. })), "{taken:?}");
    let mut names: Vec<String> =
        client.list_stored_recordings().await.unwrap().into_iter().map(|recording| recording.name).collect();
    names.sort();
    assert_eq!(names, ["copies/one", name]);
    assert_eq!(recording(&client, "copies/one").await, samples);
    let bounded = client.download_recording(name, 1_000).await;
    assert!(matches!(bounded, Err(AriError::Malformed { .. })), "{bounded:?}");
    client.delete_recording("copies/one").await.unwrap();
    gone(client.get_stored_recording("copies/one").await);
    gone(client.download_recording("copies/one", 1_000).await);
    client.delete_recording("copies/one").await.unwrap();

    // The name is taken unless it may be overwritten; a cancelled one is not kept; nor does one leave its folder.
    let taken = client.record("t", &Record::new(name, "wav")).await;
    assert!(matches!(taken, Err(AriError::Conflict { .. })), "{taken:?}");
    client.record("t", &Record::new(name, "wav").if_exists(IfExists::Overwrite).max_duration_s(1)).await.unwrap();
    until("the limit has ended it", || async { client.get_live_recording(name).await.is_err() }).await;
    client.record("t", &Record::new("cancelled", "wav")).await.unwrap();
    until("it records", || async {
        client.get_live_recording("cancelled").await.unwrap().state == RecordingState::Recording
    })
    .await;
    client.cancel_recording("cancelled").await.unwrap();
    until("it is gone", || async { client.get_live_recording("cancelled").await.is_err() }).await;
    gone(client.get_stored_recording("cancelled").await);
    let unknown = client.record("t", &Record::new("x", "mp9")).await;
    assert!(matches!(unknown, Err(AriError::Unprocessable { .. })), "{unknown:?}");
    let outside = client.record("t", &Record::new("../../etc/x", "wav")).await;
    assert!(outside.is_err(), "{outside:?}");
}

/// The samples of a stored recording, once it is whole: 16-bit mono at 8 kHz.
async fn recording(client: &voxtra_ari::AriClient, name: &str) -> Vec<i16> {
    until("the recording ends", || async { client.get_live_recording(name).await.is_err() }).await;
    let mut file = Vec::new();
    let length_bytes = client.save_recording(name, 1_000_000, &mut file).await.unwrap();
    assert_eq!(length_bytes, file.len() as u64);
    assert_eq!((&file[..4], &file[8..12]), (&b"RIFF"[..], &b"WAVE"[..]));
    file[44..].chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}
