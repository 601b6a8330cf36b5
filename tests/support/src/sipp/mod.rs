//! SIPp out of the unpacked tree: many callers at once, or one whose signalling is not our own.
//!
//! The scenarios are the XML files in this crate's `scenarios/`; a `<!-- comment -->` that names a part is replaced by
//! it.

mod capture;
mod report;
mod scenario;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

pub use report::SippReport;
pub use scenario::Scenario;

use crate::asterisk::Tree;
use crate::files::TempDir;
use crate::process::{spawn, wait_for_exit};

/// What to run.
#[derive(Debug, Clone)]
pub struct Sipp {
    /// What each caller does.
    pub scenario: Scenario,
    /// The number or name called.
    pub extension: String,
    /// How many calls are made. Default: 1.
    pub calls: u32,
    /// New calls a second. Default: 10.
    pub rate: u32,
    /// Calls up at once. Default: as many as there are.
    pub at_once: Option<u32>,
    /// The callers' number, to which SIPp adds the number of the call. Default: `1`.
    pub from: String,
    /// Where the callers have their audio, such as an [`crate::RtpEndpoint`] for a single call. Without it nobody
    /// listens. Key presses by RFC 4733 come from SIPp all the same.
    pub media: Option<SocketAddr>,
    /// The whole run ends after so long, calls or not. Default: a minute.
    pub limit: Duration,
}

impl Sipp {
    /// One call, the rest by default.
    #[must_use]
    pub fn new(scenario: Scenario, extension: impl Into<String>) -> Self {
        Self {
            scenario,
            extension: extension.into(),
            calls: 1,
            rate: 10,
            at_once: None,
            from: "1".into(),
            media: None,
            limit: Duration::from_secs(60),
        }
    }

    /// Runs to the end of the last call.
    ///
    /// # Errors
    /// When SIPp cannot be started or does not end; failed calls are not errors but in the report.
    pub async fn run(&self, tree: &Tree, pbx: SocketAddr) -> Result<SippReport> {
        self.start(tree, pbx)?.finish().await
    }

    /// Starts the calls.
    ///
    /// # Errors
    /// When SIPp cannot be started, or may not send what the scenario wants (see [`Scenario::KeysRfc4733`]).
    pub fn start(&self, tree: &Tree, pbx: SocketAddr) -> Result<RunningSipp> {
        ensure!(
            self.scenario.is_possible(),
            "SIPp needs a raw socket to send key presses by RFC 4733, and may open none"
        );
        let dir = TempDir::new("sipp")?;
        let folder = dir.path();
        // Nobody listens on the discard port.
        let media_port = self.media.map_or(9, |media| media.port());
        fs::write(folder.join("scenario.xml"), self.scenario.xml(media_port))?;
        if let Scenario::KeysRfc4733 { keys, .. } = &self.scenario {
            fs::write(folder.join("keys.pcap"), capture::keys(keys))?;
        }
        let errors = fs::File::create(folder.join("stderr.txt"))?;
        let screen = fs::File::create(folder.join("stdout.txt"))?;
        let mut command = tree.command("sipp")?;
        command.arg(pbx.to_string()).args(["-sf", "scenario.xml", "-i", "127.0.0.1", "-mi", "127.0.0.1", "-t", "u1"]);
        command.arg("-p").arg(free_port()?.to_string()).arg("-mp").arg(free_port()?.to_string());
        command.args(["-s", &self.extension, "-key", "from", &self.from]);
        command.arg("-m").arg(self.calls.to_string()).arg("-r").arg(self.rate.max(1).to_string());
        command.arg("-l").arg(self.at_once.unwrap_or(self.calls).max(1).to_string());
        command.arg("-d").arg(self.scenario.pause().as_millis().to_string());
        command.arg("-timeout").arg(format!("{}s", self.limit.as_secs().max(1))).arg("-timeout_error");
        command.arg("-recv_timeout").arg(self.limit.as_millis().to_string());
        command.args(["-trace_stat", "-stf", "statistics.csv", "-fd", "1", "-trace_err", "-error_file", "errors.log"]);
        command.args(["-nostdin", "-watchdog_interval", "0"]);
        command.current_dir(folder).stdin(Stdio::null()).stdout(screen).stderr(errors);
        let child = spawn(command).context("SIPp does not start")?;
        Ok(RunningSipp { child, dir, limit: self.limit })
    }
}

/// SIPp with its calls. Dropping it kills it.
#[derive(Debug)]
pub struct RunningSipp {
    child: Child,
    dir: TempDir,
    limit: Duration,
}

impl RunningSipp {
    /// Waits for the end of the last call.
    ///
    /// # Errors
    /// When SIPp does not end or has left no statistics.
    pub async fn finish(mut self) -> Result<SippReport> {
        /// What SIPp may take beyond its own limit.
        const GRACE: Duration = Duration::from_secs(15);
        let Some(status) = wait_for_exit(&mut self.child, self.limit + GRACE).await? else {
            bail!("SIPp does not end after {:?}", self.limit + GRACE);
        };
        let read = |name| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        let errors = read("errors.log") + &read("stderr.txt");
        let statistics = read("statistics.csv");
        ensure!(!statistics.is_empty(), "SIPp has left no statistics ({status}): {}", errors.trim());
        SippReport::read(&statistics, status.code(), errors)
    }

    /// Kills it, its calls left as they are: callers whose machine has died.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill()?)
    }
}

impl Drop for RunningSipp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> Result<u16> {
    Ok(UdpSocket::bind("127.0.0.1:0").context("there is no free port")?.local_addr()?.port())
}
