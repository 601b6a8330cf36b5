//! Who comes from Voxtra 0.3.1 keeps the configuration and the webhooks' receivers: both are claimed with its own package.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use voxtra_e2e::caller::call;
use voxtra_e2e::served::{LONG, MINIMAL};
use voxtra_e2e::{Setup, serve};
use voxtra_test_support::Host;
use voxtra_test_support::files::{TempDir, workspace_dir};
use voxtra_test_support::skips::skipped;

/// What the receiver and the host share.
const SECRET: &str = "s3cret: #1";

/// The package's folder, where this machine can have it; that it cannot is noted.
fn package(test: &str) -> Result<Option<PathBuf>> {
    if let Ok(why) = std::env::var("VOXTRA_0_3_1_MISSING") {
        skipped(test, &why);
        return Ok(None);
    }
    let site = std::env::var_os("VOXTRA_0_3_1").context("VOXTRA_0_3_1 is not set: run `cargo xtask test`")?;
    Ok(Some(site.into()))
}

/// A script that uses the package, with an argument.
fn python(site: &Path, script: &str, argument: &str) -> Result<Host> {
    let script = workspace_dir().join("tests/e2e/voxtra-0.3.1").join(script);
    let variables = [("PYTHONPATH", site.into()), ("PYTHONDONTWRITEBYTECODE", "1".into())];
    Host::other("python3", [script.as_os_str(), argument.as_ref()], variables)
}

#[tokio::test]
async fn files_that_its_configuration_class_writes_pass_the_check() -> Result<()> {
    let Some(site) = package("files_that_its_configuration_class_writes_pass_the_check")? else { return Ok(()) };
    let folder = TempDir::new("voxtra-0-3-1")?;
    let mut writer = python(&site, "write_configs.py", &folder.path().to_string_lossy())?;
    ensure!(writer.wait(LONG).await?.success(), "{}", writer.last_lines());
    let mut written = 0;
    for entry in std::fs::read_dir(folder.path())? {
        let path = entry?.path();
        written += 1;
        let checked = Command::new(Host::binary()?).args(["check", "--offline", "-c"]).arg(&path).output()?;
        let said = String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.success(), "{said}\n{}", std::fs::read_to_string(&path)?);
    }
    assert!(written >= 10, "only {written} files were written: {}", writer.last_lines());
    // And they mean what they meant.
    let everything = folder.path().join("everything.yaml");
    std::fs::create_dir(folder.path().join("plugins"))?;
    for (to, from, handler) in [
        ("1000", "1", "support"),
        ("0755", "1", "octal"),
        ("1:30", "1", "clock"),
        ("77", "+265991", "malawi"),
        ("77", "1", "default"),
    ] {
        let mut routes = Command::new(Host::binary()?);
        routes.args(["routes", "--json", "--test", "--to", to, "--from", from, "-c"]).arg(&everything);
        let routes = routes.output()?;
        let said: Value = serde_json::from_slice(&routes.stdout)
            .with_context(|| String::from_utf8_lossy(&routes.stderr).into_owned())?;
        assert_eq!(said["handler"], handler, "{said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_checks_as_its_documentation_says_accepts_our_webhooks() -> Result<()> {
    let name = "a_receiver_that_checks_as_its_documentation_says_accepts_our_webhooks";
    let Some(site) = package(name)? else { return Ok(()) };
    let mut receiver = python(&site, "receive.py", SECRET)?;
    let url = receiver.wait_for(|line| line.starts_with("http://"), LONG).await?;
    let more = format!("backend: {{webhook: {{url: '{url}', signing_secret: '{SECRET}'}}}}\n");
    serve(name, Setup { more, ..Setup::default() }, async |served| {
        ensure!(call(served.sip(), MINIMAL).await?.wait_for_bye(LONG).await, "the call is still up");
        served.until_over(1).await?;
        receiver.wait_for(|line| line.contains("session.destroyed"), LONG).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let received: Vec<Value> =
            receiver.lines().iter().filter_map(|line| serde_json::from_str(&line.text).ok()).collect();
        let errors: Vec<_> = received.iter().filter(|said| said.get("error").is_some()).collect();
        assert!(errors.is_empty(), "{errors:#?}");
        let kinds: Vec<&str> = received.iter().filter_map(|said| said["event"].as_str()).collect();
        let sent: Vec<&str> = served.log.events().iter().map(|event| event.kind.as_str()).collect();
        assert_eq!(kinds, sent, "each event of the call arrives once, in order");
        println!("{name}: {kinds:?}");
        Ok(())
    })
    .await
}
