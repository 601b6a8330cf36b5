//! `voxtra sessions` and `voxtra hangup`: the calls of a running host.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use super::{load_config, on_the_spot};
use crate::admin::{Question, ask};
use crate::config;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  voxtra sessions                       the calls that are up
  voxtra sessions show 1763701234.17    everything about one
  voxtra sessions --json                one JSON array";

const HANGUP_EXAMPLES: &str = "\
Example:
  voxtra hangup 1763701234.17";

/// Show the calls of the running host
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SessionsArgs {
    #[command(subcommand)]
    one: Option<One>,
    #[command(flatten)]
    host: HostArgs,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

/// Which host is meant.
#[derive(Debug, clap::Args)]
pub(super) struct HostArgs {
    /// The running host's configuration; by default ./voxtra.yaml where it is there
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

impl HostArgs {
    /// Its admin socket.
    pub(super) fn socket(&self) -> anyhow::Result<PathBuf> {
        socket(&self.config()?)
    }

    /// Its admin socket, and its database: beside the socket of a host that was found by it, else where its configuration
    /// has it.
    pub(super) fn socket_and_database(&self) -> anyhow::Result<(PathBuf, PathBuf)> {
        // Read once: it may come through a pipe.
        let config = self.config()?;
        let socket = socket(&config)?;
        let own = config.database(&config::process_env);
        let database = match socket.with_file_name(config::DATABASE) {
            beside if config.file.is_none() && !own.exists() && beside.exists() => beside,
            _ => own,
        };
        Ok((socket, database))
    }

    /// Its configuration.
    pub(super) fn config(&self) -> anyhow::Result<config::Config> {
        Ok(load_config(self.config.as_deref())?)
    }
}

fn socket(config: &config::Config) -> anyhow::Result<PathBuf> {
    let socket = config.admin_socket(&config::process_env)?;
    if config.file.is_some() || socket.exists() {
        return Ok(socket);
    }
    // Started by the environment alone, which this terminal may not have: when one host runs, it is that one.
    let mut running = live_sockets();
    Ok(if running.len() == 1 { running.remove(0) } else { socket })
}

/// The sockets of this user's hosts that were given no folder of their own.
fn live_sockets() -> Vec<PathBuf> {
    let Some(all) = config::Config::all_states(&config::process_env) else { return Vec::new() };
    let folders = std::fs::read_dir(all).into_iter().flatten().flatten();
    let sockets = folders.map(|folder| folder.path().join(config::SOCKET));
    sockets.filter(|socket| std::os::unix::net::UnixStream::connect(socket).is_ok()).collect()
}

#[derive(Debug, clap::Subcommand)]
enum One {
    /// Show everything about one call
    #[command(after_help = EXAMPLES)]
    Show {
        /// The call's id
        id: String,
    },
}

/// Hang a call up
#[derive(Debug, clap::Args)]
#[command(after_help = HANGUP_EXAMPLES)]
pub(super) struct HangupArgs {
    /// The call's id, as `voxtra sessions` shows it
    id: String,
    #[command(flatten)]
    host: HostArgs,
}

pub(super) fn run(args: SessionsArgs) -> anyhow::Result<ExitCode> {
    let socket = args.host.socket()?;
    let question = match args.one {
        Some(One::Show { id }) => Question::Session { id },
        None => Question::Sessions,
    };
    let answer = on_the_spot(ask(&socket, &question))?;
    match &answer {
        _ if args.json => output::json(&answer),
        Value::Array(calls) => list(calls),
        call => show(call),
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn hangup(args: HangupArgs) -> anyhow::Result<ExitCode> {
    let socket = args.host.socket()?;
    on_the_spot(ask(&socket, &Question::Hangup { id: args.id.clone() }))?;
    output::line(format_args!("{} is being hung up", args.id));
    Ok(ExitCode::SUCCESS)
}

fn list(calls: &[Value]) {
    if calls.is_empty() {
        output::line("no call is up");
        return;
    }
    let columns = ["id", "tenant", "state", "seconds", "caller_id", "called_number", "handler"];
    output::table(&columns, calls.iter().map(|call| columns.map(|column| text(call, column)).to_vec()));
}

fn show(call: &Value) {
    let Value::Object(fields) = call else { return };
    for (name, value) in fields {
        match value {
            Value::Object(inner) if inner.is_empty() => {}
            Value::Object(inner) => {
                output::line(format_args!("{name}"));
                for (key, value) in inner {
                    output::line(format_args!("  {key:<18} {}", plain(value)));
                }
            }
            value => output::line(format_args!("{name:<20} {}", plain(value))),
        }
    }
}

fn text(call: &Value, column: &str) -> String {
    match column {
        "seconds" => format!("{:.1}", call["duration_ms"].as_f64().unwrap_or_default() / 1_000.0),
        column => plain(&call[column]),
    }
}

/// What comes from callers and handlers stays on its line.
pub(super) fn plain(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    output::plain(&text)
}
