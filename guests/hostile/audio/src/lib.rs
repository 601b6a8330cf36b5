//! Attacks on a call's audio and on its end. The note `attack`, or the number that was called, is one of
//!
//! | attack | what it does | the outcome that is claimed |
//! | --- | --- | --- |
//! | `flood` | writes the largest pieces without end (`times` of them) | paced: it waits, or `cpu-limit` |
//! | `odd`, `oversize` | writes half a sample; one sample too many | `invalid-argument` |
//! | `rates` | opens audio at rates that are none | `invalid-argument` |
//! | `starve` | opens its audio and never reads | the oldest frames go, the call goes on |
//! | `reopen` | opens and closes, `times` times | each works or is refused; nothing stays open |
//! | `wait-events`, `wait-audio`, `wait-playback`, `wait-poll`, `sleep` | one host call that waits for ever, in a loop | ended with the call |
//! | `ignore-end` | goes on after `hung-up`, for ever | stopped after its grace |
//! | `trap`, `trap-in-hook` | panics there | the failure policy; the hook's end is logged |
//! | `trap-with-playback`, `-bridge`, `-snoop`, `-audio`, `-call`, `-recording` | panics while it holds one | it is taken down with the instance |

// It is here to panic.
#![allow(clippy::panic)]

#[path = "../../report.rs"]
mod report;

use voxtra_sdk::prelude::*;

use crate::report::{Report, number, unknown};

/// The most that one write takes.
const WRITE_BYTES: usize = 65_536;

#[handler]
fn handle(call: &Call) -> Result<()> {
    let mut report = Report::new(call);
    let attack = report.attack();
    if call.state() == CallState::Ringing {
        call.answer()?;
    }
    match attack.as_str() {
        "flood" => flood(call, &mut report)?,
        "odd" => report.host("1 byte", call.open_audio(8_000)?.write(&[0])),
        "oversize" => report.host("one sample too many", call.open_audio(8_000)?.write(&[0; WRITE_BYTES + 2])),
        "rates" => {
            for rate_hz in [0, 1, 7_999, 44_100, u32::MAX] {
                report.host(rate_hz.to_string(), call.open_audio(rate_hz).map(drop));
            }
        }
        "starve" => {
            let _never_read = call.open_audio(8_000)?;
            for_ever(|| call.next_event(Duration::MAX).map(drop));
        }
        "reopen" => {
            for n in 0..number(call, "times", 100) {
                if let Err(error) = call.open_audio(8_000) {
                    report.host(format!("open {n}"), Err::<(), _>(error));
                    break;
                }
            }
        }
        "wait-events" => for_ever(|| call.next_event(Duration::MAX).map(drop)),
        "wait-audio" => {
            let audio = call.open_audio(8_000)?;
            for_ever(|| audio.read_timeout(Duration::MAX).map(drop));
        }
        "wait-playback" => {
            let playback = call.start_playback("sound:a")?;
            for_ever(|| playback.wait(Duration::MAX).map(drop));
        }
        "wait-poll" => for_ever(|| {
            call.pollable().block();
            call.next_event(Duration::ZERO).map(drop)
        }),
        "sleep" => std::thread::sleep(Duration::MAX),
        "ignore-end" => loop {
            // Whatever it says.
            let _ = call.next_event(Duration::from_secs(1));
            std::thread::sleep(Duration::from_millis(100));
        },
        "trap" => die(&attack),
        "trap-in-hook" => return Ok(()),
        "trap-with-playback" => held(&attack, call.start_playback("sound:a")?),
        "trap-with-bridge" => {
            let bridge = call.create_bridge()?;
            bridge.add(call)?;
            held(&attack, bridge);
        }
        "trap-with-snoop" => held(&attack, call.snoop(Sides::Both, Sides::None)?),
        "trap-with-audio" => held(&attack, call.open_audio(8_000)?),
        "trap-with-call" => held(&attack, call.originate(Originate::to("100"))?),
        "trap-with-recording" => held(&attack, call.record(RecordOptions::new())?),
        other => return unknown(other),
    }
    report.send();
    Ok(())
}

#[on_hangup]
fn ended(call: &EndedCall) {
    let attack = call.metadata("attack").unwrap_or(&call.info.called_number);
    if attack == "trap-in-hook" {
        die(attack);
    }
}

/// Until the call has ended: a time-out is no reason to stop.
fn for_ever(mut wait: impl FnMut() -> Result<(), Error>) {
    while !wait().is_err_and(|error| error.is_hung_up()) {}
}

fn flood(call: &Call, report: &mut Report<'_>) -> Result<()> {
    let audio = call.open_audio(8_000)?;
    let piece = [0x55; WRITE_BYTES];
    let mut written = 0_u64;
    let mut last = Ok(());
    while last.is_ok() && written < number(call, "times", u64::MAX) {
        last = audio.write(&piece);
        written += u64::from(last.is_ok());
    }
    report.got("written", written.to_string());
    report.host("last", last);
    Ok(())
}

/// Panics while it holds something: a panic aborts, so that nothing is dropped here.
fn held<T>(attack: &str, _held: T) {
    die(attack);
}

fn die(attack: &str) {
    panic!("{attack}: as it was asked to");
}
