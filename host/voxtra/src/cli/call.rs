//! `voxtra call`: one simulated call to one component.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use tracing::level_filters::LevelFilter;
use voxtra_core::TenantId;
use voxtra_plugins::{Handler, Runtime, RuntimeOptions};
use voxtra_telephony::simulator::{CallerOptions, Script};

use super::steps::{self, Steps};
use super::{EXIT_FAILED, LogArgs};
use crate::config::{self, Config};
use crate::host::Plan;
use crate::output;
use crate::rig::{self, Call, Files, Rig};

const EXAMPLES: &str = "\
Examples:
  voxtra call hello.wasm                                    a caller who listens
  voxtra call menu.wasm --wait-for-prompt vm-press --press 1
  voxtra call echo.wasm --say speech.wav --wait 2s --hang-up
  voxtra call menu.wasm --press 2 --real-time               at the speed of a real call
  voxtra call menu.wasm --press 2 --json | jq .prompts

The steps happen in the order in which they are written, from the answer on.
Exit codes: 0 the handler did its work, 1 it failed, 2 it could not be loaded or the arguments are wrong.";

/// Call a handler from a simulated telephone and see what happens
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CallArgs {
    /// The component
    #[arg(value_name = "HANDLER.wasm")]
    handler: PathBuf,
    #[command(flatten)]
    steps: Steps,
    /// The caller's number
    #[arg(long, value_name = "NUMBER", default_value = "1000")]
    from: String,
    /// The number that is dialled
    #[arg(long, value_name = "NUMBER", default_value = "100")]
    to: String,
    /// How long the caller stays after the last step, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=3_000))]
    stay: u64,
    /// Where the recording and the drawing go
    #[arg(long, value_name = "DIR", default_value = "calls")]
    out: PathBuf,
    /// Let time pass as it does, instead of skipping what is only waiting
    #[arg(long)]
    real_time: bool,
    /// Print one JSON object at the end, and nothing before
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: CallArgs, log: LogArgs) -> anyhow::Result<ExitCode> {
    log.start(LevelFilter::INFO, args.real_time);
    let script = args.steps.script(Duration::from_secs(args.stay))?;
    let handler = load(&args)?;
    let call = rig::runtime(args.real_time)?.block_on(place(&args, script, &handler))?;
    let name = handler.name().as_str();
    let title = format!("{} calls {} ({})", args.from, args.to, rig::name_and_version(&handler));
    let files = call.write(&args.out, name, &title)?;
    let failure = call.handler_failure();
    if args.json {
        output::json(&account(&handler, &call, &files, failure.as_deref()));
    } else {
        tell(&handler, &call, &files, failure.as_deref());
    }
    Ok(if failure.is_none() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

fn load(args: &CallArgs) -> anyhow::Result<Handler> {
    let cache_dir = Config::without_file(&config::process_env)?.cache_dir(&config::process_env);
    let runtime = Runtime::new(RuntimeOptions { max_instances: 4, cache_dir, ..RuntimeOptions::default() })?;
    Ok(runtime.load_file(&TenantId::default(), &args.handler)?)
}

async fn place(args: &CallArgs, script: Script, handler: &Handler) -> anyhow::Result<Call> {
    let rig = Rig::new(Plan::for_one(handler.clone())?, !args.json)?;
    let caller = CallerOptions {
        caller_id: args.from.clone(),
        called_number: args.to.clone(),
        script,
        ..CallerOptions::default()
    };
    rig.call(caller).await
}

fn tell(handler: &Handler, call: &Call, files: &Files, failure: Option<&str>) {
    let report = &call.report;
    output::line("");
    for missed in &report.missed {
        output::line(format_args!("missed:    {missed}"));
    }
    match steps::left_of(report) {
        0 => {}
        left => output::line(format_args!("missed:    the call ended with {left} of the caller's steps left")),
    }
    output::line(format_args!("ended:     {} after {:.1} s", report.ended_by, report.duration.as_secs_f64()));
    match failure {
        None => output::line(format_args!("handler:   {} did its work", handler.name())),
        Some(why) => output::line(format_args!("handler:   {} failed: {why}", handler.name())),
    }
    output::line(format_args!("recording: {}", files.wav.display()));
    output::line(format_args!("timeline:  {}", files.svg.display()));
}

fn account(handler: &Handler, call: &Call, files: &Files, failure: Option<&str>) -> Value {
    let report = &call.report;
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let events = call
        .events
        .iter()
        .map(|heard| json!({"at_ms": ms(heard.at), "type": heard.event.kind.as_str(), "data": heard.event.data}));
    let caller = report.events.iter().map(|e| json!({"at_ms": ms(e.at), "text": e.event.to_string()}));
    let prompts = report
        .prompts
        .iter()
        .map(|p| json!({"media": p.media, "from_ms": ms(p.from), "to_ms": ms(p.to), "end": p.end.to_string()}));
    json!({
        "handler": handler.name().as_str(),
        "version": handler.version(),
        "handled": failure.is_none(),
        "failure": failure,
        "ended_by": report.ended_by.to_string(),
        "answered_ms": report.answered_at.map(ms),
        "duration_ms": ms(report.duration),
        "prompts": prompts.collect::<Vec<_>>(),
        "caller": caller.collect::<Vec<_>>(),
        "events": events.collect::<Vec<_>>(),
        "missed": report.missed,
        "steps_left": steps::left_of(report),
        "dropped_frames": report.dropped_frames,
        "wav": files.wav.display().to_string(),
        "svg": files.svg.display().to_string(),
    })
}
