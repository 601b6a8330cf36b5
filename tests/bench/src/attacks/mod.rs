//! What a hostile handler gets, and what the calls of others notice of it.
//!
//! A hundred callers of one tenant talk to an echo over AudioSocket, while handlers of another tenant attack, again and
//! again, on the same host. Of each frame that comes back it is noted how long after the one before it came: 20 ms when all
//! is well. Quiet and attack take turns, so that what else the machine does falls on both alike. Callers and host share the
//! processors: an attacker that spins takes time from the callers as well.

mod report;
mod rows;
mod serve;
mod web;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::task::LocalSet;
use voxtra_test_support::files::workspace_dir;

use crate::generator::Crowd;
use crate::stats::percentile;
use rows::{By, ROWS, Row};

pub(crate) use report::{Measured, to_markdown, to_table, worst};
pub(crate) use serve::serve;

/// Where the whole table is kept.
const TABLE: &str = "docs/attacks.md";

/// Calls of the other tenant.
const VICTIMS: usize = 100;

/// Of the attacking one, at one time.
const ATTACKERS: usize = 10;

/// How often quiet and attack take turns, and how long each of them is measured.
const TURNS: Turns = Turns { count: 3, phase: Duration::from_secs(2) };

/// On a machine that does other things as well nothing is gained by patience.
const TURNS_ROUGHLY: Turns = Turns { count: 2, phase: Duration::from_secs(1) };

/// Until what has just begun, or ended, is what is measured.
const SETTLE: Duration = Duration::from_millis(300);

/// Longer than what is queued of a call.
const SILENCE: Duration = Duration::from_millis(400);

/// Callers are set up, caches are warm.
const WARM_UP: Duration = Duration::from_secs(2);

/// While the other side does something that takes its time.
const MEANWHILE: Duration = Duration::from_millis(100);

/// So much more than without it may 99 of 100 frames be apart during an attack.
const MORE: f64 = 1.10;

/// On a machine that does other things as well: what a guest that is in the way costs is more than that.
const MORE_ROUGHLY: f64 = 1.5;

/// A row that is over that is measured again before it counts: it may have been the machine.
const TRIES: usize = 3;

#[derive(Debug, Clone, Copy)]
struct Turns {
    count: usize,
    phase: Duration,
}

/// What was asked for.
#[derive(Debug, Default)]
pub(crate) struct Options {
    short: bool,
    is_rough: bool,
    only: Option<String>,
    table: Option<String>,
}

impl Options {
    /// A few of them.
    pub(crate) fn short() -> Self {
        Self { short: true, ..Self::default() }
    }

    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self::default();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--short" => options.short = true,
                "--rough" => options.is_rough = true,
                "--only" => options.only = Some(args.next().context("--only needs a word")?),
                "--table" => options.table = Some(args.next().context("--table needs a file")?),
                other => bail!("{other:?} is not an option of --attacks\n{}", crate::USAGE),
            }
        }
        Ok(options)
    }

    fn most(&self) -> f64 {
        if self.is_rough { MORE_ROUGHLY } else { MORE }
    }

    fn turns(&self) -> Turns {
        if self.is_rough { TURNS_ROUGHLY } else { TURNS }
    }

    fn wants(&self, row: &Row) -> bool {
        let named = self.only.as_ref().is_none_or(|word| row.attack.contains(word) || row.threat.contains(word));
        named && (row.in_short || !self.short)
    }
}

/// Measures, prints the table, and fails when something is not as claimed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let measured = measure(options)?;
    print!("{}", to_table(&measured));
    let is_whole = !options.short && !options.is_rough && options.only.is_none();
    let table = options.table.as_ref().map(PathBuf::from).or_else(|| is_whole.then(|| workspace_dir().join(TABLE)));
    if let Some(file) = table {
        let made = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        let written = made.and_then(|()| std::fs::write(&file, to_markdown(&measured)));
        written.with_context(|| format!("{} cannot be written", file.display()))?;
    }
    let faults: Vec<_> = measured.iter().filter_map(Measured::fault).collect();
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

/// Measures the rows that are wanted.
pub(crate) fn measure(options: &Options) -> Result<Vec<Measured>> {
    let mut host = AttackedHost::start()?;
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&tokio, async {
        let mut crowd = Crowd::connect(host.address, VICTIMS).await?;
        crowd.speak(WARM_UP).await?;
        let mut measured = Vec::new();
        for (number, row) in ROWS.iter().enumerate().filter(|(_, row)| options.wants(row)) {
            eprintln!("bench: {}: {}", row.threat, row.attack);
            host.tell(&format!("once {number}"))?;
            let outcome = host.answer(&mut crowd).await?;
            let mut best: Option<Measured> = None;
            for _ in 0..TRIES {
                let blank = Measured::new(row, &outcome, options.most());
                let now = row_once(&mut host, &mut crowd, number, options.turns(), blank).await?;
                eprintln!("bench:   {} us, during the attack {} us", now.quiet_us_p99(), now.attack_us_p99());
                if best.as_ref().is_none_or(|best| now.ratio() < best.ratio()) {
                    best = Some(now);
                }
                if best.as_ref().is_some_and(Measured::is_on_time) {
                    break;
                }
            }
            measured.extend(best);
        }
        Ok(measured)
    })
}

async fn row_once(
    host: &mut AttackedHost,
    crowd: &mut Crowd,
    number: usize,
    turns: Turns,
    mut measured: Measured,
) -> Result<Measured> {
    for _ in 0..turns.count {
        phase(crowd, turns.phase, &mut measured.quiet).await?;
        host.tell(&format!("on {number}"))?;
        phase(crowd, turns.phase, &mut measured.attack).await?;
        host.tell("off")?;
        let begun = host.answer(crowd).await?;
        measured.begun += begun.parse::<u64>().with_context(|| format!("the attacked host says {begun:?}"))?;
    }
    Ok(measured)
}

async fn phase(crowd: &mut Crowd, lasts: Duration, into: &mut Frames) -> Result<()> {
    // An echo that was late once is late for as long as its caller talks: what was queued goes while nobody does.
    tokio::time::sleep(SILENCE).await;
    crowd.speak(SETTLE).await?;
    drop(crowd.heard());
    crowd.measure(lasts).await?;
    let mut heard = crowd.heard();
    into.p99_ns.push(percentile(&mut heard.gaps_ns, 0.99));
    into.gaps_ns.append(&mut heard.gaps_ns);
    into.delays_ns.append(&mut heard.delays_ns);
    Ok(())
}

/// What came back in all phases of one kind.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// Between two frames of a call.
    gaps_ns: Vec<u64>,
    /// There and back, through the handler of the call.
    delays_ns: Vec<u64>,
    /// Of each phase's gaps.
    p99_ns: Vec<u64>,
}

/// The host, in a process of its own; killed when it is dropped.
struct AttackedHost {
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
    address: SocketAddr,
}

impl AttackedHost {
    fn start() -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve-attacks", &VICTIMS.to_string(), &ATTACKERS.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (sender, answers) = channel();
        let output = BufReader::new(output.context("the attacked host has no output")?);
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let first = answers.recv();
        let address = first.ok().and_then(|line| line.trim().parse().ok());
        match (input, address) {
            (Some(input), Some(address)) => Ok(Self { child, input, answers, address }),
            _ => {
                let _ = child.kill();
                bail!("the attacked host did not start")
            }
        }
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        writeln!(self.input, "{line}").context("the attacked host has gone")
    }

    /// The callers go on talking while it is waited for.
    async fn answer(&mut self, crowd: &mut Crowd) -> Result<String> {
        loop {
            crowd.speak(MEANWHILE).await?;
            match self.answers.try_recv() {
                Ok(answer) => return Ok(answer),
                Err(std::sync::mpsc::TryRecvError::Empty) => {}
                Err(std::sync::mpsc::TryRecvError::Disconnected) => bail!("the attacked host has gone"),
            }
        }
    }
}

impl Drop for AttackedHost {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
