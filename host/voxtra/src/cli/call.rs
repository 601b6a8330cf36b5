//! `voxtra call`: one simulated call to one component.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{anyhow, bail};
use serde_json::{Value, json};
use tracing::level_filters::LevelFilter;
use voxtra_core::TenantId;
use voxtra_plugins::Handler;
use voxtra_telephony::simulator::{CallReport, CallerEvent, CallerOptions, PlayedPrompt};

use super::simulated::SimulatedPbx;
use super::steps::{self, Steps};
use super::{EXIT_FAILED, LogArgs};
use crate::host::{self, Plan};
use crate::output;
use crate::rig::{self, Call, Files, Recording, Rig, RigOptions};

const EXAMPLES: &str = "\
Examples:
  voxtra call hello.wasm                                    a caller who listens
  voxtra call menu.wasm --wait-for-prompt vm-press --press 1
  voxtra call echo.wasm --say speech.wav --wait 2s --hang-up
  voxtra call menu.wasm --press 2 --real-time               at the speed of a real call
  voxtra call menu.wasm --press 2 --json | jq .prompts

Examples of who is called, and of what the PBX is like:
  voxtra call switchboard.wasm --callee 100=busy            also no-answer, rejected, congestion
  voxtra call switchboard.wasm --callee '100=answer@2s: wait for prompt vm-press; press 1; wait 5s; hang up'
  voxtra call survey.wasm --callee PJSIP/desk@trunk=machine@1s
  voxtra call support.wasm --absent-queue support           the handler is told that it is not there
  voxtra call menu.wasm --absent-place sales,100            so is one that goes to 100@sales
  voxtra call menu.wasm --context sales                     it may go to any other place of sales
  voxtra call menu.wasm --variable LEVEL=gold --metadata language=de
  voxtra call voicemail.wasm --prompts /usr/share/sounds --say message.wav --press '#'

What the handler records is in --out as HANDLER-recording-1.wav and so on, and what passed between it and who was
called as HANDLER-callee-1.wav.
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
    /// A note of the call, as its route would give it. Repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    metadata: Vec<String>,
    /// How long the caller stays after the last step, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=3_000))]
    stay: u64,
    /// Where the recordings and the drawing go
    #[arg(long, value_name = "DIR", default_value = "calls")]
    out: PathBuf,
    /// Let time pass as it does, instead of skipping what is only waiting
    #[arg(long)]
    real_time: bool,
    /// Print one JSON object at the end, and nothing before
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pbx: SimulatedPbx,
}

pub(super) fn run(args: CallArgs, log: LogArgs) -> anyhow::Result<ExitCode> {
    log.start(LevelFilter::INFO, args.real_time);
    let script = args.steps.script(Duration::from_secs(args.stay))?;
    let metadata = args.metadata()?;
    let (rig, variables) = args.rig()?;
    let handler = load(&args)?;
    let caller = CallerOptions {
        caller_id: args.from.clone(),
        called_number: args.to.clone(),
        script,
        variables,
        ..CallerOptions::default()
    };
    let plan = Plan::for_one(handler.clone(), metadata).map_err(|error| anyhow!("--metadata: {error}"))?;
    let rig = RigOptions { recordings: Some((args.out.clone(), handler.name().to_string())), ..rig };
    let call = rig::runtime(args.real_time)?.block_on(async { Rig::new(plan, rig)?.call(caller).await })?;
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
    Ok(host::simulated_runtime(4)?.load_file(&TenantId::default(), &args.handler)?)
}

impl CallArgs {
    /// The route's notes.
    fn metadata(&self) -> anyhow::Result<Vec<(String, String)>> {
        let mut notes: Vec<(String, String)> = Vec::with_capacity(self.metadata.len());
        for written in &self.metadata {
            let (key, value) = written
                .split_once('=')
                .ok_or_else(|| anyhow!("--metadata {written:?}: it has no value; write KEY=VALUE"))?;
            if notes.iter().any(|(other, _)| other == key) {
                bail!("--metadata {key}: it is given twice; leave one out");
            }
            notes.push((key.to_owned(), value.to_owned()));
        }
        Ok(notes)
    }

    /// The PBX and who may be called there, and the caller's variables.
    fn rig(&self) -> anyhow::Result<(RigOptions, BTreeMap<String, String>)> {
        let pbx = self.pbx.options()?;
        let described = self.pbx.described(&pbx, [&self.to, &self.from])?;
        let rig = RigOptions { live: !self.json, pbx, dial: described.dial, recordings: None };
        Ok((rig, described.variables))
    }
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
    for (placed, wav) in call.placed.iter().zip(&files.placed) {
        tell_placed(placed, wav.as_deref());
    }
    for recording in &call.recordings {
        tell_recording(call, recording);
    }
    output::line(format_args!("ended:     {} after {:.1} s", report.ended_by, report.duration.as_secs_f64()));
    match failure {
        None => output::line(format_args!("handler:   {} did its work", handler.name())),
        Some(why) => output::line(format_args!("handler:   {} failed: {why}", handler.name())),
    }
    output::line(format_args!("recording: {}", files.wav.display()));
    output::line(format_args!("timeline:  {}", files.svg.display()));
}

fn tell_placed(placed: &CallReport, wav: Option<&Path>) {
    let callee = &placed.called_number;
    for missed in &placed.missed {
        output::line(format_args!("missed:    {callee}: {missed}"));
    }
    let seconds = placed.duration.as_secs_f64();
    match placed.answered_at {
        Some(at) => output::line(format_args!(
            "placed:    {callee}: answered after {:.1} s; {} after {seconds:.1} s",
            at.as_secs_f64(),
            placed.ended_by
        )),
        None => output::line(format_args!("placed:    {callee}: {} after {seconds:.1} s", placed.ended_by)),
    }
    if let Some(wav) = wav {
        output::line(format_args!("           {}", wav.display()));
    }
}

fn tell_recording(call: &Call, recording: &Recording) {
    let (label, seconds) = (call.recording_label(recording), recording.duration_ms as f64 / 1000.0);
    match &recording.failure {
        Some(why) => output::line(format_args!("recorded:  {label}: failed: {why}")),
        None => output::line(format_args!("recorded:  {label}: {seconds:.1} s")),
    }
    if let Some(file) = &recording.file {
        output::line(format_args!("           {}", file.display()));
    }
}

fn account(handler: &Handler, call: &Call, files: &Files, failure: Option<&str>) -> Value {
    let report = &call.report;
    let events = call.events.iter().map(|heard| {
        json!({
            "at_ms": ms(heard.at),
            "call": heard.event.session_id.as_str(),
            "type": heard.event.kind.as_str(),
            "data": heard.event.data,
        })
    });
    let caller = report.events.iter().map(|e| json!({"at_ms": ms(e.at), "text": e.event.to_string()}));
    let placed = call.placed.iter().zip(&files.placed);
    let placed =
        placed.map(|(placed, wav)| placed_account(placed, placed.began.saturating_sub(report.began), wav.as_deref()));
    json!({
        "handler": handler.name().as_str(),
        "version": handler.version(),
        "handled": failure.is_none(),
        "failure": failure,
        "ended_by": report.ended_by.to_string(),
        "answered_ms": report.answered_at.map(ms),
        "duration_ms": ms(report.duration),
        "prompts": prompts_account(report, Duration::ZERO),
        "caller": caller.collect::<Vec<_>>(),
        "events": events.collect::<Vec<_>>(),
        "placed": placed.collect::<Vec<_>>(),
        "recordings": call.recordings.iter().map(recording_account).collect::<Vec<_>>(),
        "missed": report.missed,
        "steps_left": steps::left_of(report),
        "variables": report.variables,
        "dropped_frames": report.dropped_frames,
        "wav": files.wav.display().to_string(),
        "svg": files.svg.display().to_string(),
    })
}

/// A call that the handler placed; times are those of the caller's call.
fn placed_account(placed: &CallReport, began: Duration, wav: Option<&Path>) -> Value {
    let at = |time: Duration| ms(began.saturating_add(time));
    let pressed = placed.events.iter().filter_map(|event| match event.event {
        CallerEvent::Pressed(key) => Some(json!({"at_ms": at(event.at), "key": key.to_string()})),
        _ => None,
    });
    json!({
        "call": placed.call.as_str(),
        "to": placed.called_number,
        "caller_id": placed.caller_id,
        "placed_ms": at(Duration::ZERO),
        "answered_ms": placed.answered_at.map(at),
        "ended_ms": at(placed.duration),
        "ended_by": placed.ended_by.to_string(),
        "prompts": prompts_account(placed, began),
        "pressed": pressed.collect::<Vec<_>>(),
        "missed": placed.missed,
        "steps_left": placed.steps_left,
        "variables": placed.variables,
        "wav": wav.map(|wav| wav.display().to_string()),
    })
}

fn prompts_account(report: &CallReport, began: Duration) -> Vec<Value> {
    let at = |time: Duration| ms(began.saturating_add(time));
    let prompt = |p: &PlayedPrompt| json!({"media": p.media, "from_ms": at(p.from), "to_ms": at(p.to), "end": p.end.to_string()});
    report.prompts.iter().map(prompt).collect()
}

fn recording_account(recording: &Recording) -> Value {
    json!({
        "id": recording.id,
        "name": recording.name,
        "call": recording.call.as_str(),
        "recorder": recording.recorder,
        "from_ms": ms(recording.from),
        "to_ms": recording.to.map(ms),
        "duration_ms": recording.duration_ms,
        "size_bytes": recording.size_bytes,
        "failure": recording.failure,
        "wav": recording.file.as_ref().map(|file| file.display().to_string()),
    })
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
