//! Ever more handles, none of them given back.

use voxtra_sdk::prelude::*;

use crate::report::{Report, number};

/// More than any host lets a handler hold.
const TRIES: u64 = 200_000;

pub(crate) fn hold(call: &Call, what: &str, report: &mut Report<'_>) -> Option<()> {
    let (mut held, mut last) = (0_u64, Ok(()));
    // Stopped by the first refusal: a trap is what is hoped for where nothing is refused.
    while last.is_ok() && held < number(call, "times", TRIES) {
        last = match what {
            "call" => call.originate(Originate::to("100")).map(keep),
            "bridge" => call.create_bridge().map(keep),
            "snoop" => call.snoop(Sides::In, Sides::None).map(keep),
            "playback" => call.start_playback("sound:a").map(keep),
            "audio" => call.open_audio(8_000).map(keep),
            "poll" => {
                keep(call.pollable());
                Ok(())
            }
            _ => return None,
        };
        held += u64::from(last.is_ok());
    }
    report.got("held", held.to_string());
    report.host("last", last);
    Some(())
}

fn keep<T>(held: T) {
    std::mem::forget(held);
}
