//! `voxtra batch`: calls the numbers of a file, through the running host.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tokio::time::sleep;
use voxtra_core::TenantId;

use super::sessions::{HostArgs, plain};
use super::{EXIT_FAILED, on_the_spot};
use crate::admin::{BatchQuestion, Question, ask, ask_when_there};
use crate::files;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  voxtra batch numbers.csv --handler survey --concurrency 20 --calls-per-10s 50
  voxtra batch numbers.csv --retry busy=3@5m*2,no-answer=1@1h --hours 'mon-fri 09:00-18:00 Europe/Berlin'
  voxtra batch numbers.csv --result result.csv     by default numbers.result.csv
  voxtra batch --list                              all batches
  voxtra batch --resume ID                         watch one again, after the host or this program was stopped
  voxtra batch --cancel ID                         begin no more of its calls

The file has a first line with the columns' names: number, and if wanted caller_id and handler; all others become metadata
of the call. The running host calls, and goes on after a restart; this program only watches.";

/// The most that the host takes.
const FILE_MAX_BYTES: u64 = 64 << 20;

/// How often the host is asked.
const POLL: Duration = Duration::from_millis(500);

/// How long a host that is not there may take to come back.
const PATIENCE: Duration = Duration::from_secs(60);

/// Call the numbers of a CSV file
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct BatchArgs {
    /// The numbers
    #[arg(required_unless_present_any = ["list", "resume", "cancel"])]
    file: Option<PathBuf>,
    /// Show all batches
    #[arg(long, conflicts_with = "file")]
    list: bool,
    /// Watch a batch that was begun before
    #[arg(long, value_name = "ID", conflicts_with = "file")]
    resume: Option<String>,
    /// Begin no more calls of a batch
    #[arg(long, value_name = "ID", conflicts_with_all = ["file", "resume"])]
    cancel: Option<String>,
    /// Who takes the answered calls; by default the tenant's routes decide
    #[arg(long, value_name = "NAME")]
    handler: Option<String>,
    /// On whose account
    #[arg(long, value_name = "NAME", default_value = TenantId::DEFAULT_NAME)]
    tenant: String,
    /// The number to be shown; by default the tenant's
    #[arg(long, value_name = "NUMBER", default_value = "")]
    caller_id: String,
    /// Calls at one time
    #[arg(long, value_name = "N", default_value_t = 1)]
    concurrency: u32,
    /// Calls begun in ten seconds
    #[arg(long, value_name = "N", default_value_t = 10)]
    calls_per_10s: u32,
    /// Which outcomes are tried again, how often and when, such as busy=3@5m*2,no-answer=1@1h
    #[arg(long, value_name = "RULES", default_value = "")]
    retry: String,
    /// When calls may begin, such as 'mon-fri 09:00-18:00 Europe/Berlin'
    #[arg(long, value_name = "HOURS")]
    hours: Option<String>,
    /// How long a call may ring
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    ring_timeout_ms: u32,
    /// Find out whether a machine answers
    #[arg(long)]
    detect_machine: bool,
    /// Where the result goes
    #[arg(long, value_name = "FILE")]
    result: Option<PathBuf>,
    #[command(flatten)]
    host: HostArgs,
    /// Print JSON, and no progress
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: BatchArgs) -> anyhow::Result<ExitCode> {
    let socket = args.host.socket()?;
    on_the_spot(async {
        if args.list {
            return list(&args, ask(&socket, &Question::Batches).await?);
        }
        if let Some(id) = args.cancel.clone() {
            ask(&socket, &Question::BatchCancel { id: id.clone() }).await?;
            output::line(format_args!("the batch {id} begins no more calls"));
            return Ok(ExitCode::SUCCESS);
        }
        let id = match (&args.resume, &args.file) {
            (Some(id), _) => id.clone(),
            (None, Some(file)) => begin(&args, &socket, file).await?,
            (None, None) => anyhow::bail!("name a file of numbers"),
        };
        watch(&args, &socket, &id).await
    })
}

fn list(args: &BatchArgs, batches: Value) -> anyhow::Result<ExitCode> {
    if args.json {
        output::json(&batches);
        return Ok(ExitCode::SUCCESS);
    }
    let columns = ["id", "tenant", "name", "phase", "done", "total", "answered", "attempts"];
    let rows = batches.as_array().into_iter().flatten();
    output::table(&columns, rows.map(|batch| columns.map(|column| plain(&batch[column])).to_vec()));
    Ok(ExitCode::SUCCESS)
}

/// Gives the host the file; tells of rows that cannot be called.
async fn begin(args: &BatchArgs, socket: &Path, file: &Path) -> anyhow::Result<String> {
    let shown = file.display();
    let csv = files::read_or_pipe(file, FILE_MAX_BYTES).map_err(|why| anyhow::anyhow!("{shown}: {why}"))?;
    let csv = String::from_utf8(csv).with_context(|| format!("{shown} is not UTF-8; save it as UTF-8"))?;
    let question = Question::BatchStart {
        tenant: args.tenant.clone(),
        name: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        csv,
        options: BatchQuestion {
            handler: args.handler.clone(),
            caller_id: args.caller_id.clone(),
            concurrency: args.concurrency,
            calls_per_10_s: args.calls_per_10s,
            retries: args.retry.clone(),
            hours: args.hours.clone(),
            ring_timeout_ms: args.ring_timeout_ms,
            detect_machine: args.detect_machine,
        },
    };
    let begun = ask(socket, &question).await.with_context(|| shown.to_string())?;
    for row in begun["refused"].as_array().into_iter().flatten() {
        output::complaint(format_args!(
            "{shown}:{}: {} is not called: {}",
            row["line"],
            plain(&row["number"]),
            plain(&row["reason"])
        ));
    }
    let id = begun["id"].as_str().context("the host gave the batch no id; use the same version of voxtra")?;
    Ok(id.to_owned())
}

async fn watch(args: &BatchArgs, socket: &Path, id: &str) -> anyhow::Result<ExitCode> {
    let mut bar = Bar { on: !args.json && std::io::stderr().is_terminal(), width: 0 };
    let status = loop {
        let status = ask_when_there(socket, &Question::BatchStatus { id: id.to_owned() }, PATIENCE).await?;
        bar.show(&status);
        let phase = status["phase"].as_str().unwrap_or_default();
        if phase == "finished" {
            break status;
        }
        sleep(POLL).await;
    };
    bar.end();
    let csv = ask_when_there(socket, &Question::BatchResult { id: id.to_owned() }, PATIENCE).await?;
    let to = args.result.clone().unwrap_or_else(|| result_file(args.file.as_deref(), id));
    files::write(&to, csv.as_str().unwrap_or_default().as_bytes(), 0o666)
        .with_context(|| format!("the result {} cannot be written; name another with --result", to.display()))?;
    if args.json {
        output::json(&status);
    } else {
        let outcomes = status["outcomes"].as_object().into_iter().flatten();
        let outcomes: Vec<_> = outcomes.map(|(outcome, count)| format!("{count} {outcome}")).collect();
        output::line(format_args!("{}: {} calls, result in {}", outcomes.join(", "), status["attempts"], to.display()));
    }
    let failed = status["outcomes"]["failed"].as_u64().unwrap_or_default();
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

fn result_file(file: Option<&Path>, id: &str) -> PathBuf {
    match file {
        Some(file) => file.with_extension("result.csv"),
        None => PathBuf::from(format!("{id}.result.csv")),
    }
}

/// A line on the terminal that is written over and over.
struct Bar {
    on: bool,
    width: usize,
}

impl Bar {
    fn show(&mut self, status: &Value) {
        const CELLS: u64 = 30;
        if !self.on {
            return;
        }
        let number = |key: &str| status[key].as_u64().unwrap_or_default();
        let (done, total) = (number("done"), number("total").max(1));
        let full = usize::try_from(done * CELLS / total).unwrap_or_default();
        let empty = usize::try_from(CELLS).unwrap_or_default().saturating_sub(full);
        let line = format!(
            "[{}{}] {done}/{total}, {} up, {} answered, {} calls",
            "#".repeat(full),
            "-".repeat(empty),
            number("live"),
            number("answered"),
            number("attempts")
        );
        self.width = self.width.max(line.len());
        let mut terminal = std::io::stderr().lock();
        // Nobody looks any more.
        let _ = write!(terminal, "\r{line:<width$}", width = self.width).and_then(|()| terminal.flush());
    }

    fn end(&self) {
        if self.on {
            output::complaint("");
        }
    }
}
