//! `voxtra start` with next to no configuration, and how it stops.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use anyhow::{Result, ensure};
use voxtra_e2e::caller::call;
use voxtra_e2e::served::{ECHO, LONG, MENU, install, signal};
use voxtra_e2e::{Setup, hear, recorded, serve};
use voxtra_test_support::files::TempDir;
use voxtra_test_support::{Asterisk, AsteriskOptions, Host};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_component_and_three_variables_serve_calls() -> Result<()> {
    let name = "one_component_and_three_variables_serve_calls";
    let Some(pbx) = Asterisk::for_test(name, AsteriskOptions::default()).await? else { return Ok(()) };
    let plugins = TempDir::new("plugins")?;
    install("minimal", &plugins.path().join("default.wasm"))?;
    let url = pbx.ari_url();
    let variables =
        [("VOXTRA_ARI_URL", url.as_str()), ("VOXTRA_ARI_USER", pbx.user()), ("VOXTRA_ARI_PASSWORD", pbx.password())];
    let mut host = Host::start_with(["start", "--plugins", &plugins.path().to_string_lossy()], variables)?;
    println!("{}", host.wait_for_text("voxtra: ready", LONG).await?);
    let hello = recorded(pbx.tree(), "hello-world")?;
    for number in ["100", "+265991234567", "support"] {
        let call = call(pbx.sip_addr(), number).await?;
        hear(call.rtp(), "hello-world", &hello, 0.0, LONG).await?;
        ensure!(call.wait_for_bye(LONG).await, "{number}: the handler did not hang up");
    }
    ensure!(pbx.wait_for_channels(0, LONG).await?, "channels are left");
    assert_eq!(host.stop(LONG).await?, Some(0), "{}", host.last_lines());
    assert_eq!(host.count("call.ended"), 3, "{}", host.last_lines());
    assert!(!host.lines().iter().any(|line| line.text.contains(pbx.password())), "the password is in the log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_live_calls_stops_cleanly_at_the_drains_limit() -> Result<()> {
    stops_cleanly("sigterm_under_live_calls_stops_cleanly_at_the_drains_limit", "TERM").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigint_under_live_calls_stops_cleanly() -> Result<()> {
    stops_cleanly("sigint_under_live_calls_stops_cleanly", "INT").await
}

/// An echo and a menu are told to go by BYE, each ends once, nothing is left in Asterisk, and the exit code is 0.
async fn stops_cleanly(name: &str, signal_name: &str) -> Result<()> {
    let setup = Setup { more: "drain: {limit_ms: 500}\n".into(), ..Setup::default() };
    serve(name, setup, async |served| {
        let (echo, menu) = (call(served.sip(), ECHO).await?, call(served.sip(), MENU).await?);
        served.until("audio flows", LONG, |log| log.count("media.started") == 1).await?;
        ensure!(served.pbx.wait_for_channels(3, LONG).await?, "two calls and a media leg are not up");
        signal(&served.host, signal_name)?;
        ensure!(echo.wait_for_bye(LONG).await && menu.wait_for_bye(LONG).await, "a caller was not told");
        let code = served.host.wait(LONG).await?.code();
        assert_eq!(code, Some(0), "{}", served.host.last_lines());
        served.nothing_is_left().await?;
        assert_eq!(served.log.reasons(), [("host-stopping".to_owned(), 2)].into());
        assert_eq!(served.log.handler_lines("the caller chose none").count(), 1);
        assert!(served.log.panics().is_empty(), "{:?}", served.log.panics());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_no_handlers_are_named_and_the_others_serve() -> Result<()> {
    const TOO_BIG_BYTES: u64 = 200 << 20;

    let name = "files_that_are_no_handlers_are_named_and_the_others_serve";
    let Some(pbx) = Asterisk::for_test(name, AsteriskOptions::default()).await? else { return Ok(()) };
    let plugins = TempDir::new("plugins")?;
    let place = |name: &str| plugins.path().join(name);
    install("minimal", &place("default.wasm"))?;
    std::fs::write(place("text.wasm"), "not a component at all")?;
    std::fs::write(place("empty.wasm"), "")?;
    // The preambles of a core module, and of a component that has nothing in it.
    std::fs::write(place("module.wasm"), b"\0asm\x01\0\0\0")?;
    std::fs::write(place("bare.wasm"), b"\0asm\x0d\0\x01\0")?;
    std::fs::File::create(place("huge.wasm"))?.set_len(TOO_BIG_BYTES)?;
    let whole = std::fs::read(place("default.wasm"))?;
    std::fs::write(place("cut.wasm"), whole.get(..whole.len() / 2).unwrap())?;
    let url = pbx.ari_url();
    let variables =
        [("VOXTRA_ARI_URL", url.as_str()), ("VOXTRA_ARI_USER", pbx.user()), ("VOXTRA_ARI_PASSWORD", pbx.password())];
    let mut host = Host::start_with(["start", "--plugins", &plugins.path().to_string_lossy()], variables)?;
    host.wait_for_text("voxtra: ready", LONG).await?;
    for file in ["text", "empty", "module", "bare", "huge", "cut"] {
        let about = |line: &&voxtra_test_support::host::Line| line.text.contains(&format!("{file}.wasm"));
        let lines = host.lines();
        let told: Vec<_> = lines.iter().filter(about).collect();
        assert_eq!(told.len(), 1, "one sentence about {file}.wasm: {told:?}");
        println!("{}", told[0].text);
    }
    let call = call(pbx.sip_addr(), "100").await?;
    ensure!(call.wait_for_bye(Duration::from_secs(10)).await, "the good handler does not serve");
    assert_eq!(host.stop(LONG).await?, Some(0));
    assert_eq!(host.count("panicked"), 0, "{}", host.last_lines());
    Ok(())
}
