//! `voxtra info`: what this program is.

use std::process::ExitCode;

use serde_json::json;
use voxtra_plugins::Runtime;

use crate::output;

/// The adapters that are compiled in.
const TELEPHONY: [&str; 2] = ["asterisk", "simulator"];
const MEDIA: [&str; 2] = ["audiosocket", "websocket"];

const EXAMPLES: &str = "\
Examples:
  voxtra info
  voxtra info --json";

/// Show the version, the engine, the contract's versions and the adapters
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct InfoArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &InfoArgs) -> anyhow::Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    let engine = Runtime::engine_version();
    let contracts = Runtime::contract_versions();
    let platform = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    if args.json {
        output::json(&json!({
            "version": version,
            "engine": engine,
            "contract_versions": contracts,
            "telephony": TELEPHONY,
            "media": MEDIA,
            "platform": platform,
        }));
    } else {
        output::line(format_args!("voxtra     {version} ({platform})"));
        output::line(format_args!("engine     {engine}"));
        output::line(format_args!("contract   {}", contracts.join(", ")));
        output::line(format_args!("telephony  {}", TELEPHONY.join(", ")));
        output::line(format_args!("media      {}", MEDIA.join(", ")));
    }
    Ok(ExitCode::SUCCESS)
}
