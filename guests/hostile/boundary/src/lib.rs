//! Attacks on what lies between a handler and its host: sizes, counts, and texts that mean something else further on. The
//! note `attack`, or the number that was called, is one of
//!
//! | attack | what it does | the outcome that is claimed |
//! | --- | --- | --- |
//! | `huge-WHAT` | 2 MiB in one host call, `WHAT` as in `huge` | `host-call-limit` |
//! | `many-WHAT` | a list of very many empty things | `host-call-limit` or `invalid-argument` |
//! | `huge-error` | returns an error of 16 MiB | `host-call-limit` |
//! | `retain-WHAT` | hands over 512 KiB, `times` times, to be kept | `limit-exceeded` or `invalid-argument` |
//! | `handles-WHAT` | holds ever more: `call`, `bridge`, `snoop`, `playback`, `audio`, `poll` | `host-call-limit` or `limit-exceeded` |
//! | `flood-WHAT` | `times` calls of one class, as in `flood`; tells how many got what | verbs wait for their turns, the rest is `cpu-limit` |
//! | `log-flood`, `print-flood` | `times` lines of 1 KiB | cut at 64 KiB |
//! | `log-control` | lines with control characters, escape sequences and forged lines | escaped |
//! | `inject`, `paths` | every text of `inject` through every verb that takes one; the note `verb` chooses one verb | told by verb, as refused |
//! | `store-keys`, `store-values`, `store-oversize` | fills the tenant's store | `limit-exceeded`, `invalid-argument` |
//! | `dial` | calls and transfers to expensive and forged targets | `denied` or `invalid-argument` |

#[path = "../../report.rs"]
mod report;

mod fill;
mod flood;
mod handles;
mod huge;
mod inject;
mod texts;
mod verbs;

use voxtra_sdk::prelude::*;

use crate::report::{Report, unknown};

#[handler]
fn handle(call: &Call) -> Result<()> {
    let mut report = Report::new(call);
    let attack = report.attack();
    if call.state() == CallState::Ringing {
        call.answer()?;
    }
    let done = match attack.split_once('-') {
        Some(("huge", "error")) => return Err("e".repeat(huge::ERROR_BYTES).into()),
        Some(("huge", what)) => huge::huge(call, what, &mut report),
        Some(("many", what)) => huge::many(call, what, &mut report),
        Some(("retain", what)) => huge::retain(call, what, &mut report),
        Some(("handles", what)) => handles::hold(call, what, &mut report),
        Some(("flood", what)) => flood::flood(call, what, &mut report),
        Some(("log", "flood")) => flood::log_lines(call, false),
        Some(("print", "flood")) => flood::log_lines(call, true),
        Some(("log", "control")) => texts::log_them(),
        Some(("store", what)) => fill::store(call, what, &mut report),
        None if attack == "inject" => {
            let first = inject::inject(call, &texts::EVIL, verbs::ALL, &mut report);
            report.send();
            first.and_then(|()| inject::inject(call, &texts::EVIL, verbs::LAST, &mut report))
        }
        None if attack == "paths" => inject::inject(call, &texts::PATHS, verbs::NAMES, &mut report),
        None if attack == "dial" => inject::dial(call, &mut report),
        _ => None,
    };
    if done.is_none() {
        return unknown(&attack);
    }
    report.send();
    Ok(())
}
