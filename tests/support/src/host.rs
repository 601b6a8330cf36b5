//! The real `voxtra` binary as a child: its lines, its signals, its exit code.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::files::workspace_dir;
use crate::process::{spawn, terminate, tethered, wait_for_exit};

pub use crate::files::guests;

/// A running `voxtra`. Dropping it kills it; while a test panics, its last lines are printed first.
#[derive(Debug)]
pub struct Host {
    child: Child,
    lines: Arc<Mutex<Vec<Line>>>,
}

/// A line that the host has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where to.
    pub stream: Stream,
    /// Without its end.
    pub text: String,
}

/// An output of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Results.
    Stdout,
    /// The log.
    Stderr,
}

impl Host {
    /// The binary: `$VOXTRA_BIN`, else `target/release/voxtra` of the workspace.
    ///
    /// # Errors
    /// When it is not there.
    pub fn binary() -> Result<PathBuf> {
        let path = std::env::var_os("VOXTRA_BIN").map(PathBuf::from);
        let path = path.unwrap_or_else(|| workspace_dir().join("target/release/voxtra"));
        ensure!(path.is_file(), "there is no {}: build it with `cargo build --release -p voxtra`", path.display());
        Ok(path)
    }

    /// Starts it with arguments.
    ///
    /// # Errors
    /// When there is no binary, or it cannot be started.
    pub fn start<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Result<Self> {
        Self::start_with(args, [])
    }

    /// Starts it with arguments and variables beside those of this process.
    ///
    /// # Errors
    /// As [`Host::start`].
    pub fn start_with<'a, A: AsRef<OsStr>>(
        args: impl IntoIterator<Item = A>,
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self> {
        let mut command = tethered(Self::binary()?);
        // Where a host keeps its state that is not told where: not among the user's own.
        let state = std::env::temp_dir().join(format!("voxtra-test-state-{}", std::process::id()));
        command.env("XDG_STATE_HOME", state).args(args).envs(variables);
        Self::watched(command)
    }

    /// Starts any other program, which is watched and ended in the same way.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn other<A: AsRef<OsStr>>(
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = A>,
        variables: impl IntoIterator<Item = (&'static str, OsString)>,
    ) -> Result<Self> {
        let mut command = tethered(program);
        command.args(args).envs(variables);
        Self::watched(command)
    }

    fn watched(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(command).context("the program does not start")?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        keep(child.stdout.take(), Stream::Stdout, &lines);
        keep(child.stderr.take(), Stream::Stderr, &lines);
        Ok(Self { child, lines })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All lines so far, in the order in which they came.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The lines from this one on, for who follows a long log.
    #[must_use]
    pub fn lines_from(&self, first: usize) -> Vec<Line> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.get(first..).unwrap_or_default().to_vec()
    }

    /// How many lines so far hold this text.
    #[must_use]
    pub fn count(&self, text: &str) -> usize {
        self.lines().iter().filter(|line| line.text.contains(text)).count()
    }

    /// Waits for a line, one that is there already included.
    ///
    /// # Errors
    /// When there is none within the limit, or the host ends without it; the sentence holds its last lines.
    pub async fn wait_for(&mut self, wanted: impl Fn(&str) -> bool, limit: Duration) -> Result<String> {
        let until = Instant::now() + limit;
        let mut seen = 0;
        loop {
            // Its last lines may come a moment after its end: they are all there when their readers, who hold the list too,
            // are gone.
            let said_all = self.child.try_wait()?.is_some() && Arc::strong_count(&self.lines) == 1;
            let lines = self.lines();
            let found = lines.iter().skip(seen).find(|line| wanted(&line.text));
            if let Some(line) = found {
                return Ok(line.text.clone());
            }
            ensure!(!said_all, "the program has ended before the line came:\n{}", self.last_lines());
            ensure!(Instant::now() < until, "no such line within {limit:?}:\n{}", self.last_lines());
            seen = lines.len();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for a line that holds this text; see [`Host::wait_for`].
    ///
    /// # Errors
    /// As there.
    pub async fn wait_for_text(&mut self, text: &str, limit: Duration) -> Result<String> {
        self.wait_for(|line| line.contains(text), limit).await.with_context(|| format!("waiting for {text:?}"))
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    /// When it is gone.
    pub fn terminate(&self) -> Result<()> {
        terminate(&self.child).context("the program cannot be told to end")
    }

    /// Sends SIGKILL.
    ///
    /// # Errors
    /// When it is gone.
    pub fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill()?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after the limit; the sentence holds its last lines.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let ended = wait_for_exit(&mut self.child, limit).await?;
        ended.with_context(|| format!("the program still runs after {limit:?}:\n{}", self.last_lines()))
    }

    /// Sends SIGTERM, waits, and returns the exit code; `None` when a signal ended it.
    ///
    /// # Errors
    /// As [`Host::wait`].
    pub async fn stop(&mut self, limit: Duration) -> Result<Option<i32>> {
        self.terminate()?;
        Ok(self.wait(limit).await?.code())
    }

    /// Waits for its end, and for the last of its output, of a program that is asked one thing. Returns all that it has said.
    ///
    /// # Errors
    /// When it still runs after the limit, or ends with another code than 0; the sentence holds its last lines.
    pub async fn answer(&mut self, limit: Duration) -> Result<String> {
        let until = Instant::now() + limit;
        let ended = self.wait(limit).await?;
        // As in `wait_for`: its readers are gone when they have read all of it.
        while Arc::strong_count(&self.lines) > 1 {
            ensure!(Instant::now() < until, "its output has no end after {limit:?}:\n{}", self.last_lines());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        ensure!(ended.success(), "it has ended with {ended}:\n{}", self.last_lines());
        Ok(self.lines().into_iter().map(|line| line.text).collect::<Vec<_>>().join("\n"))
    }

    /// The end of its output, to be shown with a failure.
    #[must_use]
    pub fn last_lines(&self) -> String {
        const SHOWN: usize = 40;
        let lines = self.lines();
        let shown = lines.iter().skip(lines.len().saturating_sub(SHOWN));
        shown.map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the program's last lines:\n{}", self.last_lines());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads an output to its end, in a thread, whatever it holds.
fn keep(output: Option<impl Read + Send + 'static>, stream: Stream, lines: &Arc<Mutex<Vec<Line>>>) {
    let Some(output) = output else { return };
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n') {
            let Ok(line) = line else { return };
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(Line { stream, text });
        }
    });
}
