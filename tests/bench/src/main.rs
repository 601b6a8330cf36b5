//! The project's figures, each beside the same work without the host, measured in one run.
//!
//! `cargo xtask bench [--json]` builds the guests and runs this.

mod attacks;
mod bare;
mod echo;
mod generator;
mod host_side;
mod many;
mod report;
mod sandbox;
mod setup;
mod stats;
mod swaps;
mod webhooks;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
usage: voxtra-bench [--json] [--calls 50,200,500] [--seconds S]
       voxtra-bench --echo CALLS
       voxtra-bench --sandbox
       voxtra-bench --handlers TENANTS
       voxtra-bench --swaps
       voxtra-bench --attacks [--short | --only WORD] [--rough] [--table FILE]

  --json       one JSON object instead of the table
  --calls N,…  how many echo calls at once                          [50,200,500]
  --seconds S  how long each echo run is measured                   [10]
  --echo N     N echo calls at once, and nothing else
  --sandbox    instances and host calls, and nothing else; fails when an
               instance costs over 3 times what bare wasmtime's does
  --handlers N ten handlers in each of N tenants, and nothing else
  --swaps      new versions, and nothing else; fails when 1 in 100 takes
               its first call over a second after its last byte
  --attacks    the attacks of handlers, and the audio of others meanwhile;
               fails when an outcome or the audio is not as it has to be
  --short      a few of them
  --rough      on a machine that does other things: audio may be worse
  --only WORD  those whose name holds the word
  --table FILE writes the table there, as Markdown; the whole one goes
               to docs/attacks.md otherwise

VOXTRA_BIN names the host under real calls                          [target/release/voxtra]
VOXTRA_GUESTS names the folder of built guests                      [target/guests]";

/// How long each run of echo calls is measured.
const SECONDS: u64 = 10;

/// What was asked for.
#[derive(Debug)]
struct Options {
    json: bool,
    calls: Vec<usize>,
    seconds: u64,
}

fn main() -> ExitCode {
    // As the compiler of a host under test: nothing else runs then.
    voxtra_plugins::compile_as_child();
    match command() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> Result<()> {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        // The two servers under test are processes of their own, so that their CPU time can be told apart.
        Some("serve-host") => host_side::serve(&guests().join("echo.wasm"), count(args.next())?),
        Some("serve-bare") => bare::serve_echo(),
        Some("serve-attacks") => attacks::serve(count(args.next())?, count(args.next())?),
        Some("serve-many") => many::serve(args),
        Some("--handlers") => {
            print!("{}", report::many_table(&many::measure(&minimal(), count(args.next())?, many::HANDLERS)?));
            Ok(())
        }
        Some("--echo") => {
            print!("{}", report::echo_table(&echo::measure(count(args.next())?, SECONDS)?));
            Ok(())
        }
        Some("--sandbox") => {
            let sandbox = sandbox::measure(&guests().join("echo.wasm"))?;
            print!("{}", report::sandbox_table(&sandbox));
            sandbox.fault().map_or(Ok(()), |fault| bail!(fault))
        }
        Some("--swaps") => {
            let swaps = swaps::measure(&minimal())?;
            print!("{}", report::swaps_table(&swaps));
            swaps.fault().map_or(Ok(()), |fault| bail!(fault))
        }
        Some("--attacks") => attacks::run(&attacks::Options::parse(args)?),
        first => run(&parse(first.map(str::to_owned).into_iter().chain(args))?),
    }
}

fn run(options: &Options) -> Result<()> {
    eprintln!("bench: making instances and calling the host");
    let sandbox = sandbox::measure(&guests().join("echo.wasm"))?;
    let mut echo = Vec::new();
    for &calls in &options.calls {
        eprintln!("bench: {calls} echo calls, {} s with the host and {} s without", options.seconds, options.seconds);
        echo.push(echo::measure(calls, options.seconds)?);
    }
    eprintln!("bench: events to a webhook");
    let webhooks = webhooks::measure()?;
    eprintln!("bench: calls from a real Asterisk, more and more a second");
    let setup = setup::measure(&guests().join("echo.wasm"))?;
    eprintln!("bench: new versions");
    let swaps = swaps::measure(&minimal())?;
    eprintln!("bench: very many handlers");
    let many = many::measure(&minimal(), many::TENANTS, many::HANDLERS)?;
    eprintln!("bench: attacks");
    let attacks = attacks::measure(&attacks::Options::short())?;
    let report = report::Report { sandbox, echo, webhooks, setup, swaps, many, attacks };
    if options.json {
        println!("{}", report.to_json())
    } else {
        print!("{}", report.to_table())
    }
    Ok(())
}

fn parse(args: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options { json: false, calls: vec![50, 200, 500], seconds: SECONDS };
    let mut args = args;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--json" => options.json = true,
            "--calls" => options.calls = list(&args.next().unwrap_or_default())?,
            "--seconds" => options.seconds = count(args.next())? as u64,
            "-h" | "--help" => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            other => bail!("{other:?} is not an option\n{USAGE}"),
        }
    }
    Ok(options)
}

fn list(text: &str) -> Result<Vec<usize>> {
    text.split(',').map(|n| count(Some(n.to_owned()))).collect()
}

fn count(text: Option<String>) -> Result<usize> {
    let text = text.unwrap_or_default();
    match text.trim().parse() {
        Ok(n) if (1..=5_000).contains(&n) => Ok(n),
        _ => bail!("{text:?} is not a number from 1 to 5000\n{USAGE}"),
    }
}

/// The folder of built guests.
fn guests() -> PathBuf {
    std::env::var_os("VOXTRA_GUESTS").map_or_else(|| PathBuf::from("target/guests"), PathBuf::from)
}

/// The handler of which there are many.
fn minimal() -> PathBuf {
    guests().join("minimal.wasm")
}

/// Reads a guest, or says what to do.
fn read_guest(path: &std::path::Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{}: build the guests first: cargo xtask guests", path.display()))
}
