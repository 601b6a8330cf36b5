//! The commands. Each has a file with its arguments and its work; an error that comes out of one is a sentence and ends
//! the program with code 2.

mod batch;
mod call;
mod check;
mod demo;
mod handlers;
mod info;
mod init;
mod inspect;
mod meters;
mod routes;
mod sessions;
mod simulated;
mod start;
mod steps;
mod tenant;
mod webhooks;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{ArgAction, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::config::{self, Config, ConfigError};
use crate::logging::{self, LogFormat, LogOptions};
use crate::output;

/// What is wrong lies with the input: the arguments, the configuration, a file.
const EXIT_BAD_INPUT: u8 = 2;

/// What was asked for was done, and did not go well.
const EXIT_FAILED: u8 = 1;

const EXAMPLES: &str = "\
Examples:
  voxtra init                                  write a starter voxtra.yaml
  voxtra check --offline                       look at the configuration and the handlers
  voxtra call my-handler.wasm --press 1        try a handler, no PBX needed
  voxtra start -c voxtra.yaml                  take calls from Asterisk
  voxtra sessions                              the calls of the running host

Exit codes: 0 done, 1 done but not well, 2 bad input (the last line on stderr says what to do).";

/// Runs phone calls whose logic is a WebAssembly component.
#[derive(Debug, Parser)]
#[command(name = "voxtra", version, after_help = EXAMPLES, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, clap::Args)]
struct LogArgs {
    /// How the log on stderr looks
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: LogFormat,
    /// Say more; twice: say everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
}

impl LogArgs {
    fn start(self, quiet: LevelFilter, with_time: bool) {
        let level = logging::level(quiet, self.verbose);
        logging::start(LogOptions { format: self.log_format, level, with_time });
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Start(start::StartArgs),
    Check(check::CheckArgs),
    Info(info::InfoArgs),
    Init(init::InitArgs),
    Call(call::CallArgs),
    Routes(routes::RoutesArgs),
    Handlers(handlers::HandlersArgs),
    Sessions(sessions::SessionsArgs),
    Hangup(sessions::HangupArgs),
    Batch(batch::BatchArgs),
    Webhooks(webhooks::WebhooksArgs),
    Meters(meters::MetersArgs),
    Tenant(tenant::TenantArgs),
    Demo(demo::DemoArgs),
}

/// Runs the command line.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Start(args) => start::run(args, cli.log),
        Command::Check(args) => check::run(args, cli.log),
        Command::Info(args) => info::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Call(args) => call::run(args, cli.log),
        Command::Routes(args) => routes::run(args, cli.log),
        Command::Handlers(args) => handlers::run(args),
        Command::Sessions(args) => sessions::run(args),
        Command::Batch(args) => batch::run(args),
        Command::Webhooks(args) => webhooks::run(args),
        Command::Meters(args) => meters::run(args),
        Command::Tenant(args) => tenant::run(args),
        Command::Hangup(args) => sessions::hangup(args),
        Command::Demo(args) => demo::run(args, cli.log),
    };
    done.unwrap_or_else(|error| {
        output::complaint(sentence(&error));
        ExitCode::from(EXIT_BAD_INPUT)
    })
}

/// An error with its causes, none said twice.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, more| match said.as_str() {
        "" => more,
        text if text.contains(&more) => said,
        _ => format!("{said}: {more}"),
    })
}

/// The configuration of a file that was named; else of `voxtra.yaml` where it is there; else of the environment alone.
fn load_config(named: Option<&Path>) -> Result<Config, ConfigError> {
    let default = PathBuf::from(config::DEFAULT_FILE);
    match named {
        Some(path) => Config::load(path, &config::process_env),
        None if default.exists() => Config::load(&default, &config::process_env),
        None => Config::without_file(&config::process_env),
    }
}

/// Waits for something short, on a runtime of its own.
fn on_the_spot<T>(what: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("no runtime can be started; free memory")?.block_on(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_cause_is_said_twice() {
        let inner = anyhow::anyhow!("no such file");
        assert_eq!(sentence(&inner.context("a (no such file); do b")), "a (no such file); do b");
        assert_eq!(sentence(&anyhow::anyhow!("why").context("what")), "what: why");
    }

    #[test]
    fn every_command_has_examples_in_its_help() {
        for command in Cli::command().get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example"), "{help}");
        }
    }
}
