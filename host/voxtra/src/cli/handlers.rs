//! `voxtra handlers`: which versions take calls, and going back to an earlier one, through the running host.

use std::process::ExitCode;

use serde_json::Value;

use super::on_the_spot;
use super::sessions::{HostArgs, plain};
use crate::admin::{HandlerQuestion, Question, ask};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  voxtra handlers                       which version of each takes new calls
  voxtra handlers history support       what became current when, and why
  voxtra handlers rollback support      new calls get the version before; those that are up stay on theirs
  voxtra handlers rollback acme/support 3f9a
  voxtra handlers pin support           keep the current version whatever is put into the directory
  voxtra handlers unpin support
  voxtra handlers inspect new.wasm      what a component could do, before it is put into the directory

A handler is NAME, of the tenant default, or TENANT/NAME; a version is the first digits of its content's SHA-256.";

/// What is shown of each; the last four only of one that has a version on trial.
const LIST: [&str; 9] =
    ["tenant", "name", "version", "pinned", "versions", "on_trial", "trial_percent", "trial_calls", "trial_failures"];

/// Show and choose the versions of handlers
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct HandlersArgs {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    host: HostArgs,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Which version of each takes new calls
    List,
    /// What became current when, and why
    History {
        #[arg(value_name = "HANDLER", value_parser = handler)]
        handler: Handler,
    },
    /// Give new calls an earlier version
    Rollback {
        #[arg(value_name = "HANDLER", value_parser = handler)]
        handler: Handler,
        /// The version; by default the one before
        version: Option<String>,
    },
    /// Keep a version whatever is put into the directory
    Pin {
        #[arg(value_name = "HANDLER", value_parser = handler)]
        handler: Handler,
        /// The version; by default the current one
        version: Option<String>,
    },
    Inspect(super::inspect::InspectArgs),
    /// Take what is in the directory again
    Unpin {
        #[arg(value_name = "HANDLER", value_parser = handler)]
        handler: Handler,
    },
}

#[derive(Debug, Clone)]
struct Handler {
    tenant: String,
    name: String,
}

fn handler(text: &str) -> Result<Handler, String> {
    let (tenant, name) = text.split_once('/').unwrap_or(("default", text));
    if tenant.is_empty() || name.is_empty() {
        return Err("write NAME or TENANT/NAME".to_owned());
    }
    Ok(Handler { tenant: tenant.to_owned(), name: name.to_owned() })
}

impl Handler {
    fn question(self, version: Option<String>) -> HandlerQuestion {
        let by = std::env::var("USER").ok().filter(|user| !user.is_empty()).unwrap_or_else(|| "operator".to_owned());
        HandlerQuestion { tenant: self.tenant, name: self.name, version, by }
    }
}

pub(super) fn run(args: HandlersArgs) -> anyhow::Result<ExitCode> {
    if let Some(What::Inspect(inspect)) = &args.what {
        return super::inspect::run(inspect, args.json);
    }
    let socket = args.host.socket()?;
    let (question, columns): (_, &[&str]) = match args.what.unwrap_or(What::List) {
        What::List | What::Inspect(_) => (Question::Handlers, &LIST),
        What::History { handler } => {
            (Question::HandlerHistory(handler.question(None)), &["at", "why", "version", "current", "by", "note"])
        }
        What::Rollback { handler, version } => (Question::HandlerRollBack(handler.question(version)), &[]),
        What::Pin { handler, version } => (Question::HandlerPin(handler.question(version)), &[]),
        What::Unpin { handler } => (Question::HandlerUnpin(handler.question(None)), &[]),
    };
    let answer = on_the_spot(ask(&socket, &question))?;
    match &answer {
        _ if args.json => output::json(&answer),
        Value::Array(rows) => output::table(
            columns,
            rows.iter().map(|row| columns.iter().map(|column| plain(&row[*column])).collect::<Vec<_>>()),
        ),
        Value::Null => output::line("what is in the directory counts again"),
        version => output::line(format_args!("new calls get version {}", plain(&version["version"]))),
    }
    Ok(ExitCode::SUCCESS)
}
