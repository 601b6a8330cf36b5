//! `voxtra meters`: what calls have used up, as records and as sums.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::json;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use voxtra_core::TenantId;
use voxtra_services::database::Database;
use voxtra_services::metering::{CallQuery, ExportError, MeterOptions, MeterStore, Total, TotalsBy};

use super::on_the_spot;
use super::sessions::HostArgs;
use crate::files::Output;
use crate::output::{self, plain};

const EXAMPLES: &str = "\
Examples:
  voxtra meters totals                                    what each tenant has used up, as far as records are kept
  voxtra meters totals --since 24h --by handler
  voxtra meters totals --since 2026-11-01 --until 2026-12-01 --json
  voxtra meters export                                    one JSON line a call, the oldest first
  voxtra meters export --tenant acme --since 2026-11-01T00:00:00+01:00 -o acme-november.jsonl

A time is RFC 3339, a day (from its midnight, UTC), or a length such as 90m, 24h or 7d before now. A call belongs to the time at
which it ended; --since is included and --until is not. Works on a running host and on one that is stopped.";

/// Show and export what calls have used up
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct MetersArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    host: HostArgs,
    /// Print JSON; an export always is
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// One JSON line a call, the oldest first
    #[command(after_help = EXAMPLES)]
    Export {
        #[command(flatten)]
        which: Which,
        /// Write them into a file, which is replaced when all of them are written; into a device or a pipe at once
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Sums by tenant
    #[command(after_help = EXAMPLES)]
    Totals {
        #[command(flatten)]
        which: Which,
        /// A line for each tenant, or for each of its handlers
        #[arg(long, value_enum, default_value_t = By::Tenant)]
        by: By,
    },
}

/// Which calls.
#[derive(Debug, clap::Args)]
struct Which {
    /// Calls that ended then or later
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<SystemTime>,
    /// Calls that ended before
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<SystemTime>,
    /// One tenant's calls
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum By {
    Tenant,
    Handler,
}

impl Which {
    fn query(&self) -> CallQuery {
        let tenant = self.tenant.as_deref().map(TenantId::new);
        CallQuery { tenant, from: self.since, to: self.until, limit: None }
    }
}

pub(super) fn run(args: MetersArgs) -> anyhow::Result<ExitCode> {
    let (_, file) = args.host.socket_and_database()?;
    if !file.exists() {
        let shown = file.display();
        anyhow::bail!("there are no records at {shown}; start a host once, or name its configuration with -c");
    }
    on_the_spot(async {
        // How long they are kept is the host's to say; nothing is deleted here.
        let meters = MeterStore::open(Database::open(&file)?, MeterOptions::default()).await?;
        match args.what {
            What::Export { which, output: Some(to) } => {
                let lines = export_into(&meters, &which.query(), &to).await?;
                let count = json!({"calls": lines, "file": to});
                if args.json {
                    output::json(&count);
                } else {
                    output::line(format_args!("{lines} calls are in {}", to.display()));
                }
            }
            What::Export { which, output: None } => export_to_stdout(&meters, &which.query()).await?,
            What::Totals { which, by } => {
                let of = if by == By::Handler { TotalsBy::Handler } else { TotalsBy::Tenant };
                let totals = meters.totals(&which.query(), of).await?;
                if args.json {
                    output::json(&serde_json::to_value(&totals)?);
                } else {
                    show(&totals, by);
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn export_to_stdout(meters: &MeterStore, query: &CallQuery) -> anyhow::Result<()> {
    match meters.export(query, &mut tokio::io::stdout()).await {
        // Who reads has seen enough.
        Err(ExportError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

/// A file that is there is never half of it.
async fn export_into(meters: &MeterStore, query: &CallQuery, to: &Path) -> anyhow::Result<u64> {
    let unwritable = || format!("{} cannot be written; name another file with -o", to.display());
    // Numbers of callers may be in it.
    let output = Output::open(to, 0o600).with_context(unwritable)?;
    let mut file = File::from_std(output.file().with_context(unwritable)?);
    let lines = meters.export(query, &mut file).await.with_context(unwritable)?;
    file.flush().await.with_context(unwritable)?;
    output.finish().with_context(unwritable)?;
    Ok(lines)
}

fn show(totals: &[Total], by: By) {
    if totals.is_empty() {
        output::line("no call is recorded for that time");
        return;
    }
    let columns = [
        "tenant", "handler", "calls", "answered", "failed", "duration", "billable", "cpu_ms", "peak_mib", "http",
        "tokens",
    ];
    let shown = |column: &&str| by == By::Handler || *column != "handler";
    let headings: Vec<&str> = columns.into_iter().filter(shown).collect();
    output::table(
        &headings,
        totals.iter().map(|total| {
            let length = |ms: u64| humantime::format_duration(Duration::from_secs(ms / 1_000)).to_string();
            let mut cells = vec![plain(total.tenant.as_str())];
            if by == By::Handler {
                cells.push(total.handler.as_ref().map(|handler| plain(handler.as_str())).unwrap_or_default());
            }
            let counts = [total.calls, total.answered_calls, total.failed_calls];
            cells.extend(counts.map(|count| count.to_string()));
            cells.extend([length(total.duration_ms), length(total.billable_ms)]);
            let used = &total.usage;
            cells.push(used.cpu.as_millis().to_string());
            let rest = [used.peak_memory_bytes.div_ceil(1 << 20), used.http_requests, used.llm_tokens];
            cells.extend(rest.map(|count| count.to_string()));
            cells
        }),
    );
}

fn time(text: &str) -> Result<SystemTime, String> {
    let wanted = "is no time; write one such as 2026-11-01, 2026-11-01T09:30:00Z, or 24h for a day ago";
    if let Ok(length) = humantime::parse_duration(text) {
        return SystemTime::now().checked_sub(length).ok_or_else(|| "is too long ago; write less".to_owned());
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(at.into());
    }
    let midnight = text.parse::<Date>().ok().and_then(|day| day.to_zoned(TimeZone::UTC).ok());
    midnight.map(|at| at.timestamp().into()).ok_or_else(|| wanted.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_time_is_a_moment_a_day_or_a_length_before_now() {
        let secs = |text: &str| time(text).unwrap().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(secs("2026-11-01T00:00:00Z"), 1_793_491_200);
        assert_eq!(secs("2026-11-01T01:00:00+01:00"), 1_793_491_200);
        assert_eq!(secs("2026-11-01"), 1_793_491_200);
        let day_ago = SystemTime::now() - Duration::from_secs(86_400);
        for text in ["24h", "1d", "1440m"] {
            let off = time(text).unwrap().duration_since(day_ago).unwrap_or_else(|error| error.duration());
            assert!(off < Duration::from_secs(60), "{text}");
        }
        for bad in ["", "soon", "2026-13-01", "12", "2026-11-01T25:00:00Z", "-1h", "99999999999999999999d"] {
            assert!(time(bad).is_err(), "{bad:?}");
        }
    }
}
