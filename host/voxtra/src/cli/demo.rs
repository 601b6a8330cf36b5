//! `voxtra demo`: three simulated calls to three real components, each looked at afterwards.

mod judge;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use tracing::level_filters::LevelFilter;
use voxtra_core::TenantId;
use voxtra_plugins::Handler;
use voxtra_telephony::simulator::{CallerOptions, Script};

use super::{EXIT_FAILED, LogArgs};
use crate::host::{self, Plan};
use crate::output;
use crate::rig::{self, Call, Rig, RigOptions};

const EXAMPLES: &str = "\
Examples:
  voxtra demo --guests target/guests
  voxtra demo --guests target/guests --out /tmp/demo

The guests are this repository's ivr-menu.wasm, echo.wasm and hostile/trap.wasm; `cargo xtask demo` builds them.";

/// What the caller of the echo says: a shipped prompt.
const SPEECH: &str = "sound:demo-congrats";

/// What a caller hears whose handler failed.
pub(crate) const FAILURE_PROMPT: &str = "sound:tt-somethingwrong";

/// The key that the menu's caller presses.
const KEY: &str = "1";

/// Run three simulated calls: a menu, an echo, a handler that breaks
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DemoArgs {
    /// The folder with ivr-menu.wasm, echo.wasm and hostile/trap.wasm
    #[arg(long, value_name = "DIR", default_value = "target/guests")]
    guests: PathBuf,
    /// Where the recordings and the drawings go
    #[arg(long, value_name = "DIR", default_value = "demo")]
    out: PathBuf,
}

/// One call of the demo.
struct Scene {
    /// Its handler's name; its recording's too.
    name: &'static str,
    /// Its handler's file.
    file: &'static str,
    /// The number that leads to it.
    number: &'static str,
    story: &'static str,
    script: fn() -> anyhow::Result<Script>,
    /// What must have happened; each line is one thing that has, the error one that has not.
    judge: fn(&Call) -> Result<Vec<String>, String>,
}

const SCENES: [Scene; 3] = [
    Scene {
        name: "ivr-menu",
        file: "ivr-menu.wasm",
        number: "1000",
        story: "a caller hears a menu and presses a key",
        script: || {
            Ok(Script::new().wait_for_answer().wait_for_prompt("vm-press").wait(Duration::from_millis(400)).press(KEY))
        },
        judge: |call| judge::menu(call, KEY),
    },
    Scene {
        name: "echo",
        file: "echo.wasm",
        number: "2000",
        story: "a caller speaks and hears the own words come back through the component",
        script: || {
            Ok(Script::parse(&format!("wait for answer; wait 500ms; say {SPEECH}; wait 1s; hang up"), Path::new(""))?)
        },
        judge: judge::echo,
    },
    Scene {
        name: "trap",
        file: "hostile/trap.wasm",
        number: "3000",
        story: "a handler breaks down in the middle of the call; its caller is not dropped",
        script: || Ok(Script::new().wait_for_answer()),
        judge: |call| judge::failure_prompt(call, FAILURE_PROMPT),
    },
];

pub(super) fn run(args: DemoArgs, log: LogArgs) -> anyhow::Result<ExitCode> {
    log.start(LevelFilter::WARN, false);
    let handlers = load(&args)?;
    let good = rig::runtime(false)?.block_on(play(&args, handlers))?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

fn load(args: &DemoArgs) -> anyhow::Result<Vec<Handler>> {
    if !args.guests.is_dir() {
        bail!("{}: there is no such folder; run `cargo xtask demo`, or name one with --guests", args.guests.display());
    }
    let runtime = host::simulated_runtime(8)?;
    let tenant = TenantId::default();
    let load = |scene: &Scene| runtime.load_file(&tenant, &args.guests.join(scene.file));
    Ok(SCENES.iter().map(load).collect::<Result<_, _>>()?)
}

async fn play(args: &DemoArgs, handlers: Vec<Handler>) -> anyhow::Result<bool> {
    let routes = SCENES.iter().map(|scene| (scene.number, scene.name));
    let rig = Rig::new(
        Plan::by_number(handlers, routes, FAILURE_PROMPT)?,
        RigOptions { live: true, ..RigOptions::default() },
    )?;
    let mut all_good = true;
    for (index, scene) in SCENES.iter().enumerate() {
        output::line(format_args!("call {}: {}: {}", index + 1, scene.name, scene.story));
        let caller = CallerOptions {
            called_number: scene.number.to_owned(),
            script: (scene.script)()?,
            max_length: Duration::from_secs(120),
            ..CallerOptions::default()
        };
        let call = rig.call(caller).await?;
        let files = call.write(&args.out, scene.name, &format!("{}: {}", scene.name, scene.story))?;
        match (scene.judge)(&call) {
            Ok(seen) => seen.iter().for_each(|line| output::line(format_args!("  ok: {line}"))),
            Err(why) => {
                all_good = false;
                output::line(format_args!("  NOT OK: {why}"));
            }
        }
        output::line(format_args!("  {} after {:.1} s", call.report.ended_by, call.report.duration.as_secs_f64()));
        output::line(format_args!("  listen: {}", files.wav.display()));
        output::line(format_args!("  look:   {}", files.svg.display()));
        output::line("");
    }
    let stats = rig.stats();
    let lost = stats.lost + stats.started.saturating_sub(stats.ended);
    let told = rig.calls() == (stats.started, stats.ended);
    if !told {
        output::line(format_args!("NOT OK: {} call.started and {} call.ended were sent", rig.calls().0, rig.calls().1));
    }
    output::line(format_args!("demo: {} calls, {} ended, {lost} lost", stats.started, stats.ended));
    let all_ended = stats.started == SCENES.len() as u64 && stats.ended == stats.started && lost == 0;
    Ok(all_good && all_ended && told)
}
