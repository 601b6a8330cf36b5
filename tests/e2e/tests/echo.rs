//! Speech through a component and back, on both ways that audio takes between the PBX and the host.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::sleep;
use voxtra_e2e::caller::call;
use voxtra_e2e::served::ECHO;
use voxtra_e2e::{Echo, Served, Setup, echo, serve};
use voxtra_test_support::{Asterisk, AsteriskOptions, Host};

/// How alike speech and its echo are, at least in the middle one of all.
const ALIKE: f64 = 0.97;

/// What the way through the host may add at most before a talker would not call it an echo any more. What it really
/// adds is printed; this is no claim of speed.
const MAX_ADDED_MS: f64 = 250.0;

const UTTERANCES: u64 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn speech_comes_back_over_audiosocket() -> Result<()> {
    comes_back("speech_comes_back_over_audiosocket", "audiosocket", AsteriskOptions::default(), "audiosocket on").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn speech_comes_back_over_websocket() -> Result<()> {
    comes_back("speech_comes_back_over_websocket", "websocket", AsteriskOptions::default(), "media websocket").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pbx_without_audiosocket_is_served_over_websocket() -> Result<()> {
    let pbx = AsteriskOptions { audiosocket: false, ..AsteriskOptions::default() };
    comes_back("a_pbx_without_audiosocket_is_served_over_websocket", "auto", pbx, "media websocket").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pbx_without_websocket_media_is_served_over_audiosocket() -> Result<()> {
    let pbx = AsteriskOptions { websocket_media: false, ..AsteriskOptions::default() };
    comes_back("a_pbx_without_websocket_media_is_served_over_audiosocket", "auto", pbx, "audiosocket on").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pbx_without_either_is_refused_in_one_sentence() -> Result<()> {
    let none = AsteriskOptions { audiosocket: false, websocket_media: false, ..AsteriskOptions::default() };
    let name = "a_pbx_without_either_is_refused_in_one_sentence";
    let Some(pbx) = Asterisk::for_test(name, none).await? else { return Ok(()) };
    let plugins = voxtra_test_support::files::TempDir::new("plugins")?;
    let url = pbx.ari_url();
    let variables =
        [("VOXTRA_ARI_URL", url.as_str()), ("VOXTRA_ARI_USER", pbx.user()), ("VOXTRA_ARI_PASSWORD", pbx.password())];
    let mut host = Host::start_with(["start", "--plugins", &plugins.path().to_string_lossy()], variables)?;
    let code = host.wait(Duration::from_secs(20)).await?.code();
    let sentence = host.wait_for_text("chan_audiosocket", Duration::from_secs(5)).await?;
    println!("{sentence}");
    assert_eq!(code, Some(2), "{}", host.last_lines());
    assert!(sentence.contains("chan_websocket"), "it names both modules: {sentence}");
    Ok(())
}

async fn comes_back(name: &str, transport: &'static str, pbx: AsteriskOptions, ready: &str) -> Result<()> {
    serve(name, Setup { pbx, transport, ..Setup::default() }, async |served| {
        ensure!(served.ready.contains(ready), "{}", served.ready);
        let own = of_extension(served, "test-echo").await?;
        let through = of_extension(served, ECHO).await?;
        let added_ms = through.delay_ms() - own.delay_ms();
        println!(
            "{name}: through the host {:.1} ms, Asterisk's own Echo() {:.1} ms, added {added_ms:.1} ms; likeness at least {:.4}",
            through.delay_ms(),
            own.delay_ms(),
            through.worst()
        );
        let mut alike = through.correlations.clone();
        alike.sort_unstable_by(f64::total_cmp);
        assert!(alike[alike.len() / 2] >= ALIKE, "{through:?}");
        assert!(added_ms < MAX_ADDED_MS, "{through:?} against {own:?}");
        served.until_over(1).await?;
        assert_eq!(served.log.reasons(), [("caller-hung-up".to_owned(), 1)].into());
        Ok(())
    })
    .await
}

/// One call, after the audio has found its pace.
async fn of_extension(served: &Served, extension: &str) -> Result<Echo> {
    let call = call(served.sip(), extension).await?;
    sleep(Duration::from_millis(500)).await;
    let echo = echo(&call, UTTERANCES).await?;
    call.hang_up().await?;
    Ok(echo)
}
