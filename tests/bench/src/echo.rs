//! Echo calls over real AudioSocket TCP: through the whole host with the echo handler in the loop, and through a plain
//! echo server, under the same callers.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::generator::{self, Heard};
use crate::stats::{cpu_time, percentile, resident_bytes};

/// One number of calls, with and without the host.
#[derive(Debug)]
pub(crate) struct Echo {
    pub(crate) calls: usize,
    pub(crate) host: Side,
    pub(crate) bare: Side,
}

/// One server's run.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) delay_us_p50: u64,
    pub(crate) delay_us_p99: u64,
    /// Of one core, for each call.
    pub(crate) cpu_percent_per_call: f64,
    pub(crate) late_frames: u64,
    pub(crate) dropped_frames: u64,
    /// What each call has added to the server's resident memory.
    pub(crate) bytes_per_call: u64,
}

/// Runs both, one after the other.
pub(crate) fn measure(calls: usize, seconds: u64) -> Result<Echo> {
    let measured = Duration::from_secs(seconds);
    let bare = side(&["serve-bare"], calls, measured)?;
    let host = side(&["serve-host", &calls.to_string()], calls, measured)?;
    Ok(Echo { calls, host, bare })
}

fn side(args: &[&str], calls: usize, measured: Duration) -> Result<Side> {
    let server = Server::start(args)?;
    let idle_bytes = resident_bytes(server.pid())?;
    let pid = server.pid();
    let mut at_start = Ok((Instant::now(), Duration::ZERO));
    let mut at_end = Ok((Instant::now(), Duration::ZERO));
    let mut busy_bytes = Ok(0);
    let heard = generator::run(
        server.address,
        calls,
        measured,
        || at_start = now_and_cpu(pid),
        || {
            at_end = now_and_cpu(pid);
            busy_bytes = resident_bytes(pid);
        },
    )?;
    let ((began, cpu_before), (ended, cpu_after)) = (at_start?, at_end?);
    let cores = cpu_after.saturating_sub(cpu_before).as_secs_f64() / (ended - began).as_secs_f64();
    Ok(summary(heard, calls, cores, busy_bytes?.saturating_sub(idle_bytes)))
}

fn now_and_cpu(pid: u32) -> Result<(Instant, Duration)> {
    Ok((Instant::now(), cpu_time(pid)?))
}

fn summary(mut heard: Heard, calls: usize, cores: f64, grown_bytes: u64) -> Side {
    let dropped_frames = heard.sent - heard.delays_ns.len() as u64;
    Side {
        delay_us_p50: percentile(&mut heard.delays_ns, 0.5) / 1000,
        delay_us_p99: percentile(&mut heard.delays_ns, 0.99) / 1000,
        cpu_percent_per_call: cores * 100.0 / calls as f64,
        late_frames: heard.late,
        dropped_frames,
        bytes_per_call: grown_bytes / calls as u64,
    }
}

/// A server under test, in a process of its own; killed when it is dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(args: &[&str]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?).args(args).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("the server has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        match line.trim().parse() {
            Ok(address) => Ok(Self { child, address }),
            Err(_) => {
                let _ = child.kill();
                anyhow::bail!("the server under test did not start: {line:?}")
            }
        }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tells the measuring process where a server listens.
pub(crate) fn announce(address: SocketAddr) {
    println!("{address}");
}
