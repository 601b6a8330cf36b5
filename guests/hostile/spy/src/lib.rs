//! A handler that looks for what is not its own. The note `attack`, or the number that was called, is one of
//!
//! | attack | what it looks for | the outcome that is claimed |
//! | --- | --- | --- |
//! | `surroundings` | environment, arguments, folders, files, standard input | nothing is there |
//! | `clocks` | how finely time can be told: the smallest step of each clock | coarse |
//! | `store` | keys of other tenants, by every name that might lead there | its own, or nothing |
//! | `others` | what the note `known` names of another tenant (`KIND:ID` with blanks between; `KIND` is `store`, `recording`, `batch`, `call`, `bridge` or `prompt`), its events, its notes | `denied`, or nothing |
//! | `ids` | batches, recordings and sinks of others, by guessing | refused, or nothing |
//! | `seeds` | whether two instances draw the same random numbers | told, to be compared |
//! | `statics` | what a former instance has left in its own variables | nothing |
//!
//! What is left in memory beyond an instance's own variables cannot be read in safe Rust: the host's tests write that one
//! out by hand (`host/plugins/tests/hostile/machine.rs`).

#[path = "../../report.rs"]
mod report;

use std::fs::{self, File};
use std::hash::BuildHasher;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use voxtra_sdk::prelude::*;
use voxtra_sdk::{StartedBatch, store};

use crate::report::{Report, unknown};

/// How many readings of a clock its smallest step is taken from.
const READINGS: usize = 20_000;

/// Calls of this instance; a fresh store for each call means that there is never more than one.
static CALLS: AtomicU64 = AtomicU64::new(0);

#[handler]
fn handle(call: &Call) -> Result<()> {
    let mut report = Report::new(call);
    if call.state() == CallState::Ringing {
        call.answer()?;
    }
    match report.attack().as_str() {
        "surroundings" => surroundings(&mut report),
        "clocks" => clocks(&mut report),
        "store" => others_keys(&mut report),
        "others" => known_of_others(call, &mut report),
        "ids" => guessed_ids(call, &mut report),
        "seeds" => report.got("seed", std::hash::RandomState::new().hash_one(0).to_string()),
        "statics" => report.got("calls before", CALLS.fetch_add(1, Ordering::Relaxed).to_string()),
        other => return unknown(other),
    }
    report.send();
    Ok(())
}

fn surroundings(report: &mut Report<'_>) {
    let variables: Vec<_> = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    report.got("environment", found(&variables));
    let arguments: Vec<_> = std::env::args_os().map(|text| text.to_string_lossy().into_owned()).collect();
    report.got("arguments", found(&arguments));
    report.got("folder", std::env::current_dir().map_or_else(refusal, |path| path.display().to_string()));
    for place in ["/", ".", "..", "/etc", "/proc/self", "/tmp"] {
        let entries = fs::read_dir(place).map(|entries| entries.count().to_string());
        report.got(format!("list {place}"), entries.unwrap_or_else(refusal));
    }
    for place in ["/etc/passwd", "/proc/self/environ", "../tenant.toml", "voxtra.yaml", "/dev/urandom"] {
        report.got(format!("read {place}"), File::open(place).map_or_else(refusal, |_| "ok".to_owned()));
    }
    for place in ["/tmp/owned", "owned", "../owned.wasm"] {
        report.got(format!("write {place}"), fs::write(place, "x").map_or_else(refusal, |()| "ok".to_owned()));
    }
    let mut typed = Vec::new();
    let read = std::io::stdin().take(100).read_to_end(&mut typed);
    report.got("standard input", read.map_or_else(refusal, |bytes| bytes.to_string()));
}

fn found(what: &[String]) -> String {
    match what {
        [] => "nothing".to_owned(),
        some => format!("ok {}", some.join(" ")),
    }
}

fn refusal(error: std::io::Error) -> String {
    format!("refused {:?}", error.kind())
}

/// The smallest step that was seen, in nanoseconds.
fn clocks(report: &mut Report<'_>) {
    let origin = Instant::now();
    report.got("monotonic ns", smallest_step(|| origin.elapsed().as_nanos()));
    let since_1970 = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    report.got("wall ns", smallest_step(since_1970));
}

fn smallest_step(mut now: impl FnMut() -> u128) -> String {
    let (mut smallest, mut before) = (None, now());
    for _ in 0..READINGS {
        let read = now();
        let step = read.saturating_sub(before);
        if step > 0 && smallest.is_none_or(|smallest| step < smallest) {
            smallest = Some(step);
        }
        before = read;
    }
    smallest.map_or_else(|| "none".to_owned(), |step| step.to_string())
}

fn others_keys(report: &mut Report<'_>) {
    report.host("mine", store::set("mine", "x").map(|_| String::new()));
    report.host("every key", store::keys("", u32::MAX).map(|keys| keys.join(" ")));
    for key in [
        "secret",
        "beta/secret",
        "../beta/secret",
        "/beta/secret",
        "beta:secret",
        "beta\0secret",
        "\0beta\0secret",
        "' OR tenant='beta' --",
        "secret' OR '1'='1",
        "%",
        "_ecret",
        "s*",
    ] {
        let found = store::get(key).map(|entry| match entry {
            Some(entry) => entry.text().unwrap_or("bytes").to_owned(),
            None => "nothing".to_owned(),
        });
        report.host(format!("get {key}"), found);
        report.host(format!("keys {key}"), store::keys(key, 100).map(|keys| keys.join(" ")));
    }
}

/// Somebody has told this tenant what the other one's things are called.
fn known_of_others(call: &Call, report: &mut Report<'_>) {
    let known = call.metadata("known").unwrap_or_default();
    for named in known.split_whitespace() {
        let Some((kind, id)) = named.split_once(':') else { continue };
        match kind {
            "store" => {
                let found = store::get(id).map(|entry| entry.map_or_else(|| "nothing".to_owned(), text_of));
                report.host(format!("get {id}"), found);
                report.host(format!("delete {id}"), store::delete(id).map(|was| was.to_string()));
            }
            "recording" => report.host(format!("recording {id}"), call.play(format!("recording:{id}"))),
            "prompt" => report.host(format!("prompt {id}"), call.play(format!("file:{id}"))),
            "batch" => {
                let batch = StartedBatch::of(id);
                report.host(format!("batch {id}"), batch.status().map(|_| String::new()));
                report.host(format!("cancel {id}"), batch.cancel());
            }
            // Nothing takes the id of a call or a bridge; these are what comes nearest.
            "call" | "bridge" => {
                report.host(format!("dial {kind} {id}"), call.originate(Originate::to(id)).map(drop));
                report.host(format!("play {kind} {id}"), call.play(format!("recording:{id}")));
                report.host(format!("batch of {kind} {id}"), StartedBatch::of(id).status().map(|_| String::new()));
            }
            _ => report.got(named, "is no kind that is known here"),
        }
    }
    report.host("every key", store::keys("", u32::MAX).map(|keys| keys.join(" ")));
    let notes: Vec<String> = call.metadata_list().into_iter().map(|(name, _)| name).collect();
    report.got("notes", notes.join(" "));
    // Whatever happens in the other's calls meanwhile.
    let event = call.next_event(Duration::from_millis(1_500)).map(|event| format!("{event:?}"));
    report.host("event", event);
}

fn text_of(entry: store::Entry) -> String {
    entry.text().unwrap_or("bytes").to_owned()
}

fn guessed_ids(call: &Call, report: &mut Report<'_>) {
    // Ids that come after one's own, or look like another's.
    let mut ids: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    ids.extend(["batch-1", "default", "beta", "00000000-0000-0000-0000-000000000000"].map(str::to_owned));
    ids.push(call.id());
    for id in &ids {
        report.host(format!("batch {id}"), StartedBatch::of(id).status().map(|_| String::new()));
        report.host(format!("recording {id}"), call.play(format!("recording:{id}")));
    }
    for sink in ["s3", "local", "default", "beta", "beta/default", "webhook", "file"] {
        let recorded = call.record(RecordOptions::new().sink(sink)).and_then(Recording::stop);
        report.host(format!("sink {sink}"), recorded.map(drop));
    }
    // Its own call's id says nothing of others when it cannot be counted on.
    report.got("own id", call.id());
}
