//! A real Asterisk for tests: private, on free ports of loopback, several side by side, gone with the test.

mod config;
mod ports;
mod tree;

use std::fs::{self, File};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

pub use tree::Tree;

use crate::files::{TempDir, cache_dir, lock};
use crate::process::{spawn, wait_for_exit};
use crate::skips::skipped;
use config::Folders;
use ports::Ports;

const USER: &str = "voxtra";
const PASSWORD: &str = "secret";

/// A start takes under a second; a machine that compiles beside it may need more.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How much of a log a failing test shows.
const TAIL_LINES: usize = 40;

/// What differs between one test's Asterisk and another's.
#[derive(Debug, Clone)]
pub struct AsteriskOptions {
    /// The Stasis applications. Every call from SIP goes to the first; the context `stasis-NAME` leads to any.
    /// Default: `voxtra`.
    pub stasis_apps: Vec<String>,
    /// Whether `chan_audiosocket` is loaded. Default: true.
    pub audiosocket: bool,
    /// Whether `chan_websocket` is loaded. Default: true.
    pub websocket_media: bool,
    /// What a test adds to configuration files: the file's name without `.conf`, and the lines for its end.
    /// Default: nothing.
    pub extra_config: Vec<(String, String)>,
}

impl Default for AsteriskOptions {
    fn default() -> Self {
        Self { stasis_apps: vec!["voxtra".into()], audiosocket: true, websocket_media: true, extra_config: Vec::new() }
    }
}

/// A running Asterisk (or one that has been killed and may be started again). Dropping it kills it and removes its
/// folder; while a test panics, the end of its log is printed first.
#[derive(Debug)]
pub struct Asterisk {
    tree: Tree,
    child: Mutex<Option<Child>>,
    folders: Folders,
    ports: Ports,
    _dir: TempDir,
}

impl Asterisk {
    /// Whether the packages have been unpacked into the cache.
    ///
    /// # Errors
    /// When there is no place for a cache.
    pub fn installed() -> Result<bool> {
        Ok(Tree::installed()?.is_some())
    }

    /// Fetches and unpacks the packages, unless that has been done; see [`Tree::install`].
    ///
    /// # Errors
    /// One sentence about what is missing.
    pub fn install() -> Result<()> {
        Tree::install().map(drop)
    }

    /// Installs Asterisk if need be, starts one, and waits until ARI answers.
    ///
    /// # Errors
    /// When it cannot be installed, no ports are free, or it does not start; the sentence holds the log's end.
    pub async fn start(options: AsteriskOptions) -> Result<Self> {
        let tree = tokio::task::spawn_blocking(Tree::install).await??;
        let ports = Ports::take()?;
        let dir = TempDir::new("asterisk")?;
        let folders = Folders::new(dir.path());
        config::write(&folders, &tree, &ports, &options)?;
        let asterisk = Self { tree, child: Mutex::default(), folders, ports, _dir: dir };
        asterisk.launch().await?;
        Ok(asterisk)
    }

    /// Starts an Asterisk for the test of this name, alone: tests with an Asterisk wait for each other, in all
    /// processes of this user.
    ///
    /// `None` when there can be none on this machine; the test is then noted as skipped and should return.
    ///
    /// # Errors
    /// When it does not start, or cannot be had and `VOXTRA_REQUIRE_ASTERISK=1` is set.
    pub async fn for_test(name: &str, options: AsteriskOptions) -> Result<Option<PbxUnderTest>> {
        if let Err(e) = tokio::task::spawn_blocking(install_once).await? {
            let e = e.context("there is no Asterisk to test with");
            if std::env::var("VOXTRA_REQUIRE_ASTERISK").is_ok_and(|v| v == "1") {
                return Err(e);
            }
            skipped(name, &format!("{e:#}"));
            return Ok(None);
        }
        let turn = tokio::task::spawn_blocking(|| lock(&cache_dir()?.join("asterisk/one-at-a-time"))).await??;
        Ok(Some(PbxUnderTest { pbx: Self::start(options).await?, _turn: turn }))
    }

    /// Where ARI answers: `http://127.0.0.1:PORT`, without `/ari`.
    #[must_use]
    pub fn ari_url(&self) -> String {
        format!("http://{}", self.http_address())
    }

    /// The ARI user.
    #[must_use]
    pub fn user(&self) -> &'static str {
        USER
    }

    /// The ARI user's password.
    #[must_use]
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// Where calls are made to, by UDP.
    #[must_use]
    pub fn sip_addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.sip()))
    }

    /// The programs that it runs from.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The log and what was written to the console; either may not be there yet.
    #[must_use]
    pub fn log_files(&self) -> [PathBuf; 2] {
        [self.folders.log(), self.folders.console()]
    }

    /// The folder of recordings and other files that Asterisk writes.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.folders.spool()
    }

    /// Everything logged so far: notices, warnings, errors.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.folders.log()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The end of the log and the console, to be shown with a failure.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.log_files().map(|file| tail(&file)).join("\n")
    }

    /// One command to Asterisk's console, and what it prints.
    ///
    /// # Errors
    /// When Asterisk does not run or refuses the console.
    pub async fn cli(&self, command: &str) -> Result<String> {
        let mut console = self.tree.command("asterisk")?;
        console.arg("-C").arg(self.folders.main_file()).arg("-rx").arg(command).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || console.output()).await??;
        ensure!(
            output.status.success(),
            "asterisk -rx {command:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// How many channels are up, media legs included.
    ///
    /// # Errors
    /// As [`Asterisk::cli`].
    pub async fn channel_count(&self) -> Result<usize> {
        let lines = self.cli("core show channels concise").await?;
        Ok(lines.lines().filter(|line| line.contains('!')).count())
    }

    /// Waits until so many channels are up; false when there is another number after the limit.
    ///
    /// # Errors
    /// As [`Asterisk::cli`].
    pub async fn wait_for_channels(&self, count: usize, limit: Duration) -> Result<bool> {
        let until = Instant::now() + limit;
        loop {
            if self.channel_count().await? == count {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Kills it with SIGKILL, at once: all its calls are lost without a word to anybody.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self) -> Result<()> {
        let mut child = self.take_child().context("Asterisk does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Starts it again on the same ports, after killing it if it runs, and waits until ARI answers.
    ///
    /// # Errors
    /// As [`Asterisk::start`].
    pub async fn restart(&self) -> Result<()> {
        if self.is_running() {
            self.kill()?;
        }
        self.launch().await
    }

    /// Asks it to stop now, which tells its callers, and kills it if it has not stopped within five seconds.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn stop(&self) -> Result<()> {
        ensure!(self.is_running(), "Asterisk does not run");
        // The console goes down with it.
        let _ = self.cli("core stop now").await;
        let mut child = self.take_child().context("Asterisk does not run")?;
        if wait_for_exit(&mut child, Duration::from_secs(5)).await?.is_none() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Whether the process is alive.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.child().as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    async fn launch(&self) -> Result<()> {
        let console = File::options().create(true).append(true).open(self.folders.console())?;
        let mut command = self.tree.command("asterisk")?;
        command.arg("-f").arg("-C").arg(self.folders.main_file());
        command.stdin(Stdio::null()).stdout(console.try_clone()?).stderr(console);
        let child = spawn(command).context("Asterisk does not start")?;
        *self.child() = Some(child);
        let until = Instant::now() + START_LIMIT;
        while !self.answers().await {
            if !self.is_running() {
                bail!("Asterisk has ended while starting:\n{}", self.log_tail());
            }
            ensure!(Instant::now() < until, "ARI does not answer after {START_LIMIT:?}:\n{}", self.log_tail());
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Whether ARI is there and the whole of Asterisk with it: the web server comes up before the last modules.
    async fn answers(&self) -> bool {
        let asked = timeout(Duration::from_secs(2), ask(self.http_address())).await;
        if !matches!(asked, Ok(Ok(true))) {
            return false;
        }
        self.cli("core waitfullybooted").await.is_ok_and(|said| said.contains("fully booted"))
    }

    fn http_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.http()))
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_child(&self) -> Option<Child> {
        self.child().take()
    }
}

impl Drop for Asterisk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the end of Asterisk's log:\n{}", self.log_tail());
        }
        if let Some(mut child) = self.take_child() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An Asterisk for one test, and the test's turn.
#[derive(Debug)]
pub struct PbxUnderTest {
    pbx: Asterisk,
    _turn: File,
}

impl Deref for PbxUnderTest {
    type Target = Asterisk;

    fn deref(&self) -> &Asterisk {
        &self.pbx
    }
}

impl DerefMut for PbxUnderTest {
    fn deref_mut(&mut self) -> &mut Asterisk {
        &mut self.pbx
    }
}

/// A runtime for those who have none: on this thread, with what an Asterisk and a telephone need.
///
/// # Errors
/// When the system gives no resources for it.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot make a runtime")
}

/// Tries once a process, and not at all where `cargo xtask test` has already tried in vain.
fn install_once() -> Result<()> {
    static FAILED: OnceLock<Option<String>> = OnceLock::new();
    let failed = FAILED.get_or_init(|| match std::env::var("VOXTRA_ASTERISK_MISSING") {
        Ok(reason) if !reason.is_empty() => Some(reason),
        _ => Tree::install().err().map(|e| format!("{e:#}")),
    });
    failed.as_ref().map_or(Ok(()), |reason| bail!("{reason}"))
}

/// One ARI request without a client.
async fn ask(address: SocketAddr) -> std::io::Result<bool> {
    let connection = TcpStream::connect(address).await?;
    let request = format!(
        "GET /ari/asterisk/ping?api_key={USER}:{PASSWORD} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    );
    connection.writable().await?;
    if connection.try_write(request.as_bytes())? != request.len() {
        return Ok(false);
    }
    let mut start = [0; 64];
    loop {
        connection.readable().await?;
        match connection.try_read(&mut start) {
            Ok(length) => return Ok(start.get(..length).is_some_and(|s| s.starts_with(b"HTTP/1.1 200"))),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
}

fn tail(file: &PathBuf) -> String {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or(&[]);
    shown.join("\n")
}
