//! The project's chores, as `cargo xtask COMMAND`: whatever a fresh machine needs is fetched or built by them, into the
//! cache or `target/`, and nothing is installed in the system.
//!
//! Results go to stdout, progress to stderr. The arguments are parsed by hand, as this is the first thing that a
//! newcomer compiles.

mod cargo;
mod chores;
mod deps;
mod guests;
mod help;
mod once;
mod scripted;
mod toolchain;
mod tools;

use std::process::ExitCode;

use anyhow::{Result, bail};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            eprintln!("xtask: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// The exit code of what was run.
fn run(args: &[String]) -> Result<u8> {
    let (command, rest) = match args.split_first() {
        None => ("help", &[][..]),
        Some((command, rest)) => (command.as_str(), rest),
    };
    // What belongs to a program that is run is not ours to read.
    let passes_on = matches!(command, "demo" | "bench");
    if matches!(command, "help" | "--help" | "-h") || (!passes_on && rest.iter().any(|a| a == "--help" || a == "-h")) {
        print!(
            "{}",
            help::of(if command.starts_with('-') || command == "help" { rest.first() } else { args.first() })?
        );
        return Ok(0);
    }
    match (command, rest) {
        ("guests", []) => chores::guests().map(done),
        ("guest-rustc", []) => toolchain::guest_rustc().map(|path| println!("{}", path.display())).map(done),
        ("guest-build", [folder]) => guests::build_one(folder).map(|path| println!("{}", path.display())).map(done),
        ("asterisk", []) => chores::asterisk().map(done),
        ("demo", rest) => chores::demo(rest),
        ("bench", rest) => chores::bench(rest),
        ("test", rest) if rest.len() <= 1 => chores::test(rest.first().map(String::as_str)),
        ("deps", []) => deps::check().map(done),
        ("ci", []) => chores::ci().map(done),
        (known, _) if help::knows(known) => {
            bail!("`{known}` does not take these arguments: see `cargo xtask {known} --help`")
        }
        (unknown, _) => bail!("there is no command `{unknown}`: see `cargo xtask --help`"),
    }
}

fn done((): ()) -> u8 {
    0
}
