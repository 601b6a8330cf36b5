//! What goes wrong: a handler that breaks, a wrong password, strangers at the audio's port. Nobody else notices.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use voxtra_e2e::caller::call;
use voxtra_e2e::served::{ECHO, LONG, TRAP};
use voxtra_e2e::{Setup, echo, hear, recorded, serve};
use voxtra_test_support::files::TempDir;
use voxtra_test_support::{Asterisk, AsteriskOptions, Host};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_does_not_drop_the_caller_and_nobody_else_hears_of_it() -> Result<()> {
    const TRAPS: usize = 3;

    let name = "a_trap_does_not_drop_the_caller_and_nobody_else_hears_of_it";
    serve(name, Setup::default(), async |served| {
        let sorry = recorded(served.pbx.tree(), "tt-somethingwrong")?;
        let other = call(served.sip(), ECHO).await?;
        sleep(Duration::from_millis(500)).await;
        let trapped = async {
            for _ in 0..TRAPS {
                let call = call(served.sip(), TRAP).await?;
                let heard = hear(call.rtp(), "tt-somethingwrong", &sorry, 0.0, LONG).await?;
                ensure!(call.wait_for_bye(LONG).await, "the trapped handler's caller was not hung up");
                println!("the failure prompt was heard, likeness {:.4}", heard.correlation);
            }
            Ok(())
        };
        let (trapped, undisturbed) = tokio::join!(trapped, echo(&other, 8));
        trapped?;
        let undisturbed = undisturbed?;
        println!(
            "meanwhile another call's echo: {:.1} ms, likeness at least {:.4}",
            undisturbed.delay_ms(),
            undisturbed.worst()
        );
        assert!(undisturbed.worst() > 0.8, "{undisturbed:?}");
        other.hang_up().await?;
        served.until_over(TRAPS + 1).await?;
        let expected = [("caller-hung-up".to_owned(), 1), ("handler-failed".to_owned(), TRAPS)];
        assert_eq!(served.log.reasons(), expected.into());
        assert_eq!(served.log.count("call.failed"), TRAPS);
        // The guest's own functions, in the log.
        for function in ["divide_the_bill", "look_up_the_account", "nobody pays for"] {
            assert!(served.host.count(function) >= 1, "{function} is not in the log:\n{}", served.host.last_lines());
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_ends_the_start_with_one_sentence() -> Result<()> {
    const WRONG: &str = "not-the-password";

    let name = "a_wrong_password_ends_the_start_with_one_sentence";
    let Some(pbx) = Asterisk::for_test(name, AsteriskOptions::default()).await? else { return Ok(()) };
    let plugins = TempDir::new("plugins")?;
    let url = pbx.ari_url();
    let variables = [("VOXTRA_ARI_URL", url.as_str()), ("VOXTRA_ARI_USER", pbx.user()), ("VOXTRA_ARI_PASSWORD", WRONG)];
    let mut host = Host::start_with(["start", "--plugins", &plugins.path().to_string_lossy()], variables)?;
    let code = host.wait(LONG).await?.code();
    let sentence = host.wait_for_text("password", LONG).await?;
    println!("{sentence}");
    assert_eq!(code, Some(2), "{}", host.last_lines());
    assert_eq!(host.count(WRONG), 0, "the password is in the log");
    assert_eq!(host.count("panicked"), 0, "{}", host.last_lines());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_at_the_audiosocket_port_disturb_nobody() -> Result<()> {
    /// Who says nothing is given two seconds by the host.
    const CLOSED_WITHIN: Duration = Duration::from_secs(8);
    /// More than connections that the host lets wait to name themselves.
    const SILENT: usize = 1_100;

    let setup = Setup { transport: "audiosocket", ..Setup::default() };
    serve("strangers_at_the_audiosocket_port_disturb_nobody", setup, async |served| {
        let port = audiosocket_port(&served.ready)?;
        let caller = call(served.sip(), ECHO).await?;
        sleep(Duration::from_millis(500)).await;
        let strangers = async {
            for round in 0..5 {
                for (what, bytes, half_closed) in strangers() {
                    stranger(port, &bytes, half_closed, CLOSED_WITHIN)
                        .await
                        .with_context(|| format!("{what}, round {round}"))?;
                }
            }
            let mut silent = Vec::new();
            for _ in 0..SILENT {
                silent.push(TcpStream::connect(port).await?);
            }
            for mut connection in silent {
                closed(&mut connection, CLOSED_WITHIN).await.context("silence for ever")?;
            }
            Ok::<(), anyhow::Error>(())
        };
        let (strangers, undisturbed) = tokio::join!(strangers, echo(&caller, 20));
        strangers?;
        let undisturbed = undisturbed?;
        println!(
            "among strangers: echo after {:.1} ms, likeness at least {:.4}",
            undisturbed.delay_ms(),
            undisturbed.worst()
        );
        assert!(undisturbed.worst() > 0.8, "{undisturbed:?}");
        ensure!(caller.ended().is_none(), "the call was lost");
        caller.hang_up().await?;
        // New calls find their connections.
        let next = call(served.sip(), ECHO).await?;
        sleep(Duration::from_millis(500)).await;
        ensure!(echo(&next, 2).await?.worst() > 0.8, "a new call has no audio");
        next.hang_up().await?;
        served.until_over(2).await?;
        assert_eq!(served.log.reasons(), [("caller-hung-up".to_owned(), 2)].into());
        Ok(())
    })
    .await
}

/// What a stranger says, and whether it then closes its sending side.
fn strangers() -> Vec<(&'static str, Vec<u8>, bool)> {
    let unknown: Vec<u8> = [&[1, 0, 16][..], &[0x5a; 16]].concat();
    let with_audio = [&unknown[..], &[0x10, 1, 64], &[0; 320]].concat();
    vec![
        ("an unknown UUID", unknown, false),
        ("an unknown UUID with audio", with_audio, false),
        ("a frame that is cut off", vec![1, 0, 16, 1, 2, 3, 4, 5], true),
        ("a frame that never ends", vec![1, 0, 16, 1, 2, 3, 4, 5], false),
        ("an unknown type", vec![0x42, 0, 0], false),
        ("a length of 64 KiB", [&[1, 0xff, 0xff][..], &[7; 65_535]].concat(), false),
        ("a length of 64 KiB without its bytes", vec![1, 0xff, 0xff], false),
        ("audio before a name", [&[0x10, 1, 64][..], &[0; 320]].concat(), false),
        ("a lone byte", vec![1], false),
        ("half open from the start", Vec::new(), true),
        ("a request of another protocol", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), false),
    ]
}

/// Connects, says something, and is closed in time.
async fn stranger(port: SocketAddr, bytes: &[u8], half_closed: bool, limit: Duration) -> Result<()> {
    let mut connection = TcpStream::connect(port).await?;
    // It may be closed while it still speaks.
    let _ = connection.write_all(bytes).await;
    if half_closed {
        let _ = connection.shutdown().await;
    }
    closed(&mut connection, limit).await
}

async fn closed(connection: &mut TcpStream, limit: Duration) -> Result<()> {
    let mut answer = Vec::new();
    let end = timeout(limit, connection.read_to_end(&mut answer)).await;
    let end = end.with_context(|| format!("the connection is still open after {limit:?}"))?;
    // A reset is an end as well.
    ensure!(end.is_err() || answer.is_empty(), "a stranger was sent {} bytes", answer.len());
    Ok(())
}

/// The address at the end of `… media audiosocket on ADDRESS`.
fn audiosocket_port(ready: &str) -> Result<SocketAddr> {
    let address = ready.rsplit("audiosocket on ").next().and_then(|rest| rest.split_whitespace().next());
    address.and_then(|text| text.parse().ok()).with_context(|| format!("no AudioSocket address in {ready:?}"))
}
