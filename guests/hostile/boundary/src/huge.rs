//! Much in one host call, and a little less, often.

use voxtra_sdk::prelude::*;
use voxtra_sdk::{Batch, store};

use crate::report::{Report, number};

/// Twice what one host call takes by default.
const HUGE_BYTES: usize = 2 << 20;

/// What a handler returns is lifted like what it hands over.
pub(crate) const ERROR_BYTES: usize = 16 << 20;

/// In the guest, an empty text is 8 bytes in a list; in the host three times that.
const MANY: usize = 200_000;

/// Below what one host call takes.
const RETAINED_BYTES: usize = 512 << 10;

/// One huge thing: `log`, `field`, `prompt`, `emit`, `note`, `store`, `key`, `audio`, `variable`, `row`, `target`.
pub(crate) fn huge(call: &Call, what: &str, report: &mut Report<'_>) -> Option<()> {
    let text = "x".repeat(HUGE_BYTES);
    let result = match what {
        "log" => {
            log::info!("{text}");
            Ok(())
        }
        "field" => {
            log::info!("a field"; field = text);
            Ok(())
        }
        "prompt" => call.play(text.as_str()),
        "emit" => call.emit("huge", &format!("{{\"x\":\"{text}\"}}")),
        "note" => call.set_metadata("huge", &text),
        "store" => store::set("huge", &text).map(drop),
        "key" => store::get(&text).map(drop),
        "audio" => call.open_audio(8_000).and_then(|audio| audio.write(text.as_bytes())),
        "variable" => call.originate(Originate::to("100").variable("HUGE", text)).map(drop),
        "row" => Batch::handled_by("huge").number("100", &[("huge", &text)]).start().map(drop),
        "target" => call.transfer_to(&text),
        _ => return None,
    };
    report.host(what, result);
    Some(())
}

/// Very many empty things: `fields`, `prompts`, `keys`, `variables`, `rows`, `notes`.
pub(crate) fn many(call: &Call, what: &str, report: &mut Report<'_>) -> Option<()> {
    let result = match what {
        "fields" => {
            log::write(log::Level::Info, "fields", &vec![(String::new(), String::new()); MANY]);
            Ok(())
        }
        "prompts" => call.play(&vec![""; MANY][..]),
        "keys" => call.share_metadata(&vec![""; MANY]),
        "notes" => call.transfer_to_queue("sales", &vec![("", ""); MANY]),
        "variables" => {
            let leg = (0..MANY).fold(Originate::to("100"), |leg, _| leg.variable("", ""));
            call.originate(leg).map(drop)
        }
        "rows" => {
            let batch = (0..MANY).fold(Batch::handled_by("many"), |batch, _| batch.number("", &[]));
            batch.start().map(drop)
        }
        _ => return None,
    };
    report.host(what, result);
    Some(())
}

/// Hands over what the host may have to keep: `playbacks`, `calls`, `notes`, `events`, `rows`. Tells how often that went
/// well and what the last one got.
pub(crate) fn retain(call: &Call, what: &str, report: &mut Report<'_>) -> Option<()> {
    let text = "x".repeat(RETAINED_BYTES);
    let mut kept: Vec<Box<dyn std::any::Any>> = Vec::new();
    let (mut times, mut last) = (0_u64, Ok(()));
    while last.is_ok() && times < number(call, "times", 500) {
        last = match what {
            "playbacks" => call.start_playback(text.as_str()).map(|playback| kept.push(Box::new(playback))),
            "calls" => call.originate(Originate::to("100").metadata("x", &text)).map(|leg| kept.push(Box::new(leg))),
            "notes" => call.set_metadata(&format!("note.{times}"), &text),
            "events" => call.emit("retain", &format!("{{\"x\":\"{text}\"}}")),
            "rows" => Batch::handled_by("x").number("100", &[("x", &text)]).start().map(drop),
            _ => return None,
        };
        times += u64::from(last.is_ok());
    }
    report.got("kept", times.to_string());
    report.host("last", last);
    Some(())
}
