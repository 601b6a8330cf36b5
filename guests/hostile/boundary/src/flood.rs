//! One class of host call, very often, whatever the host says to it.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use voxtra_sdk::prelude::*;
use voxtra_sdk::{Batch, poll, store};

use crate::report::{Report, kind, number};

/// How often, unless the call's note `times` says otherwise.
const TIMES: u64 = 100_000;

/// How many times one wait is named in one list.
const POLLED: usize = 10_000;

/// `state`, `note`, `notes`, `event`, `ring`, `variable`, `playback`, `store-get`, `store-set`, `emit`, `dial`, `bridge`,
/// `snoop`, `record`, `batch`, `clock` or `poll`.
pub(crate) fn flood(call: &Call, what: &str, report: &mut Report<'_>) -> Option<()> {
    let mut got: BTreeMap<&str, u64> = BTreeMap::new();
    for n in 0..number(call, "times", TIMES) {
        let result = match what {
            "state" => {
                black_box(call.state());
                Ok(())
            }
            "note" => call.set_metadata("flood", "x"),
            "notes" => {
                black_box(call.metadata_list());
                Ok(())
            }
            "event" => call.next_event(Duration::ZERO).map(drop),
            "ring" => call.ring(),
            "variable" => call.set_variable("FLOOD", "x"),
            "playback" => call.start_playback("sound:a").and_then(|playback| playback.stop()),
            "store-get" => store::get("flood").map(drop),
            "store-set" => store::set("flood", n.to_le_bytes()).map(drop),
            "emit" => call.emit("flood", "{}"),
            "dial" => call.originate(Originate::to("100")).map(drop),
            "bridge" => call.create_bridge().map(drop),
            "snoop" => call.snoop(Sides::In, Sides::None).map(drop),
            "record" => call.record(RecordOptions::new()).and_then(Recording::stop).map(drop),
            "batch" => Batch::handled_by("flood").number("100", &[]).start().map(drop),
            "clock" => {
                black_box(Instant::now());
                Ok(())
            }
            "poll" => {
                let ready = call.pollable();
                black_box(poll::wait(&vec![&ready; POLLED]).len());
                Ok(())
            }
            _ => return None,
        };
        *got.entry(result.as_ref().map_or_else(kind, |()| "ok")).or_default() += 1;
    }
    for (result, times) in got {
        report.got(result, times.to_string());
    }
    Some(())
}

/// Lines of 1 KiB through the log, or through the standard output.
pub(crate) fn log_lines(call: &Call, printed: bool) -> Option<()> {
    let line = "x".repeat(1 << 10);
    for n in 0..number(call, "times", TIMES) {
        match printed {
            true => println!("{n} {line}"),
            false => log::info!("{n} {line}"),
        }
    }
    Some(())
}
