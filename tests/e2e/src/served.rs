//! A real host in front of a real Asterisk, for one claim: started alone, watched, and found to have left nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;
use voxtra_test_support::asterisk::PbxUnderTest;
use voxtra_test_support::files::TempDir;
use voxtra_test_support::{Asterisk, AsteriskOptions, Host};

use crate::ari::Ari;
use crate::events::HostLog;

/// Longer than anything takes when it works.
pub const LONG: Duration = Duration::from_secs(20);

/// How soon the log is looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The number that leads to each guest.
pub const MENU: &str = "1000";
/// As [`MENU`].
pub const ECHO: &str = "2000";
/// As [`MENU`].
pub const TRAP: &str = "3000";
/// As [`MENU`].
pub const MINIMAL: &str = "4000";

/// What differs from one claim to another.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The PBX.
    pub pbx: AsteriskOptions,
    /// `media.transport`. Default: `auto`.
    pub transport: &'static str,
    /// More guests, each with the number that leads to it.
    pub handlers: &'static [(&'static str, &'static str)],
    /// A further PBX, which the configuration calls `second`.
    pub second: Option<AsteriskOptions>,
    /// More lines for the section `telephony`.
    pub telephony: String,
    /// More lines for `voxtra.yaml`.
    pub more: String,
    /// More files, by their places beside `voxtra.yaml`.
    pub files: Vec<(&'static str, Vec<u8>)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            pbx: AsteriskOptions::default(),
            transport: "auto",
            handlers: &[],
            second: None,
            telephony: String::new(),
            more: String::new(),
            files: Vec::new(),
        }
    }
}

/// A host and its PBX.
#[derive(Debug)]
pub struct Served {
    /// The host.
    pub host: Host,
    /// What it says.
    pub log: HostLog,
    /// The line with which it said that it is ready.
    pub ready: String,
    /// The PBX.
    pub pbx: PbxUnderTest,
    /// The further one, where one was asked for.
    pub second: Option<Asterisk>,
    folder: TempDir,
}

/// Starts both, lets a claim be tried on them, and then finds out whether anything was left behind: every call has
/// begun and ended once, the PBX has no channel and no bridge, nothing has panicked, and SIGTERM ends the host with
/// code 0. Where there can be no Asterisk the claim is noted as skipped.
///
/// # Errors
/// When any of that is not so; the sentence ends with the last lines of both logs.
pub async fn serve(name: &str, setup: Setup, claim: impl AsyncFnOnce(&mut Served) -> Result<()>) -> Result<()> {
    let Some(pbx) = Asterisk::for_test(name, setup.pbx.clone()).await? else { return Ok(()) };
    let mut served = Served::start(pbx, &setup).await?;
    let mut done = claim(&mut served).await;
    if done.is_ok() {
        done = served.leave_nothing().await;
    }
    done.map_err(|e| served.explain(e))
}

impl Served {
    async fn start(pbx: PbxUnderTest, setup: &Setup) -> Result<Self> {
        let folder = TempDir::new("served")?;
        let (config, plugins) = (folder.path().join("voxtra.yaml"), folder.path().join("plugins"));
        fs::create_dir(&plugins)?;
        for (guest, name) in
            [("minimal", "minimal"), ("ivr-menu", "ivr-menu"), ("echo", "echo"), ("hostile/trap", "trap")]
        {
            install(guest, &plugins.join(format!("{name}.wasm")))?;
        }
        for (_, guest) in setup.handlers {
            install(guest, &plugins.join(format!("{guest}.wasm")))?;
        }
        for (place, bytes) in &setup.files {
            fs::write(folder.path().join(place), bytes)?;
        }
        let second = match &setup.second {
            Some(options) => Some(Asterisk::start(options.clone()).await?),
            None => None,
        };
        fs::write(&config, yaml(&pbx, second.as_ref(), setup))?;
        let mut host = start_host(&config)?;
        let ready = host.wait_for_text("voxtra: ready", LONG).await;
        let ready = ready.with_context(|| format!("the end of Asterisk's log:\n{}", pbx.log_tail()))?;
        Ok(Self { host, log: HostLog::default(), ready, pbx, second, folder })
    }

    /// Where the configuration, the plugins and the state are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder().join("voxtra.yaml")
    }

    /// A file in the plugin directory, such as `minimal.wasm`.
    #[must_use]
    pub fn plugin(&self, file: &str) -> PathBuf {
        self.folder().join("plugins").join(file)
    }

    /// What the command line answers about this host, such as to `handlers list`.
    ///
    /// # Errors
    /// When it refuses, or takes longer than [`LONG`].
    pub async fn ask(&self, words: &[&str]) -> Result<String> {
        let config = self.config();
        let config = config.to_string_lossy();
        Host::start(words.iter().copied().chain(["-c", &config]))?.answer(LONG).await
    }

    /// Kills the host, as a failing machine would, and returns all that it had said.
    ///
    /// # Errors
    /// When it is gone already.
    pub async fn kill_host(&mut self) -> Result<HostLog> {
        self.host.kill()?;
        self.host.wait(LONG).await?;
        self.log.follow(&self.host);
        Ok(std::mem::take(&mut self.log))
    }

    /// Starts another in the place of one that was killed.
    ///
    /// # Errors
    /// When it is not ready within [`LONG`].
    pub async fn start_host(&mut self) -> Result<()> {
        self.host = start_host(&self.config())?;
        self.ready = self.host.wait_for_text("voxtra: ready", LONG).await?;
        Ok(())
    }

    /// Waits until the log is as wanted.
    ///
    /// # Errors
    /// When it is not within the limit.
    pub async fn until(&mut self, what: &str, limit: Duration, wanted: impl Fn(&HostLog) -> bool) -> Result<()> {
        let until = Instant::now() + limit;
        loop {
            self.log.follow(&self.host);
            if wanted(&self.log) {
                return Ok(());
            }
            ensure!(Instant::now() < until, "not within {limit:?}: {what}; ends so far: {:?}", self.log.reasons());
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until so many calls have begun and all are over.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn until_over(&mut self, calls: usize) -> Result<()> {
        let what = format!("{calls} calls have begun and ended");
        self.until(&what, LONG, |log| log.count("call.started") >= calls && log.is_quiet()).await
    }

    /// Where the PBX takes calls.
    #[must_use]
    pub fn sip(&self) -> std::net::SocketAddr {
        self.pbx.sip_addr()
    }

    /// Requests to the PBX past the host.
    #[must_use]
    pub fn ari(&self) -> Ari {
        Ari::of(&self.pbx)
    }

    /// The PBX has no channel and no bridge any more, and every call that has begun has ended, once.
    ///
    /// # Errors
    /// When it is not so within [`LONG`].
    pub async fn nothing_is_left(&mut self) -> Result<()> {
        self.until("every call is over", LONG, HostLog::is_quiet).await?;
        let wrong = self.log.account();
        ensure!(wrong.is_empty(), "calls that did not begin and end once: {wrong:#?}");
        if !self.pbx.wait_for_channels(0, LONG).await? {
            anyhow::bail!("channels are left in Asterisk:\n{}", self.pbx.cli("core show channels").await?);
        }
        let until = Instant::now() + LONG;
        let ari = self.ari();
        loop {
            let bridges = ari.get("bridges").await?;
            if bridges.as_array().is_some_and(Vec::is_empty) {
                return Ok(());
            }
            ensure!(Instant::now() < until, "bridges are left in Asterisk: {bridges}");
            sleep(LOOK_EVERY).await;
        }
    }

    async fn leave_nothing(&mut self) -> Result<()> {
        self.nothing_is_left().await?;
        // A claim about stopping has stopped it already.
        let code = match self.host.wait(Duration::ZERO).await {
            Ok(ended) => ended.code(),
            Err(_) => self.host.stop(LONG).await?,
        };
        self.log.follow(&self.host);
        ensure!(code == Some(0), "SIGTERM has ended the host with {code:?}");
        ensure!(self.log.panics().is_empty(), "the host has panicked: {:?}", self.log.panics());
        Ok(())
    }

    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let (host, pbx) = (self.host.last_lines(), self.pbx.log_tail());
        anyhow::anyhow!("{error:#}\n\nthe last lines of voxtra:\n{host}\n\nthe end of Asterisk's log:\n{pbx}")
    }
}

fn start_host(config: &Path) -> Result<Host> {
    Host::start(["start", "--log-format", "json", "-c", &config.to_string_lossy()])
}

fn yaml(pbx: &Asterisk, second: Option<&Asterisk>, setup: &Setup) -> String {
    let (url, user, password, transport) = (pbx.ari_url(), pbx.user(), pbx.password(), setup.transport);
    let second = second.map_or_else(String::new, |pbx| {
        let (url, user, password) = (pbx.ari_url(), pbx.user(), pbx.password());
        format!("  more: {{second: {{base_url: '{url}', username: {user}, password: {password}}}}}\n")
    });
    let routes: String = [(MENU, "ivr-menu"), (ECHO, "echo"), (TRAP, "trap"), (MINIMAL, "minimal")]
        .iter()
        .chain(setup.handlers)
        .map(|(number, handler)| format!("  - {{extension: '{number}', handler: {handler}}}\n"))
        .collect();
    format!(
        "state_dir: state\ntelephony:\n  asterisk: {{base_url: '{url}', username: {user}, password: {password}}}\n{second}{}\
         media: {{transport: {transport}}}\nplugins: {{dir: plugins, start_ms: 120000}}\nroutes:\n{routes}{}",
        setup.telephony, setup.more
    )
}

/// Copies a built guest to where a host looks for it.
///
/// # Errors
/// When it was not built.
pub fn install(guest: &str, place: &Path) -> Result<()> {
    let file = voxtra_test_support::host::guests().join(format!("{guest}.wasm"));
    let copied = fs::copy(&file, place);
    copied.with_context(|| format!("there is no {}: build it with `cargo xtask guests`", file.display()))?;
    Ok(())
}

/// A built guest's bytes as another version of it: with a custom section that nobody reads.
///
/// # Errors
/// When it was not built.
pub fn version(guest: &str, number: usize) -> Result<Vec<u8>> {
    let file = voxtra_test_support::host::guests().join(guest).with_extension("wasm");
    let mut wasm = fs::read(&file).with_context(|| format!("{}: run `cargo xtask guests`", file.display()))?;
    let payload = format!("\x07version{number:06}");
    wasm.extend([0, u8::try_from(payload.len())?]);
    wasm.extend(payload.as_bytes());
    Ok(wasm)
}

/// Puts a whole file into its place at once, whatever was there.
///
/// # Errors
/// When the disk refuses.
pub fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let aside = path.with_extension("new");
    fs::write(&aside, bytes)?;
    Ok(fs::rename(aside, path)?)
}

/// Sends a signal by name, such as `INT`, to a host.
///
/// # Errors
/// When it is gone.
pub fn signal(host: &Host, name: &str) -> Result<()> {
    let script = format!("kill -{name} {}", host.pid());
    let sent = Command::new("sh").arg("-c").arg(script).status()?;
    ensure!(sent.success(), "the host is gone");
    Ok(())
}
