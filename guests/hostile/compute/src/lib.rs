//! Attacks on the machine's time and memory. The note `attack`, or the number that was called, is one of
//!
//! | attack | what it does | the outcome that is claimed |
//! | --- | --- | --- |
//! | `spin` | a loop without end | `cpu-limit` |
//! | `spin-in-hook` | returns, and loops in the hang-up hook | `cpu-limit` of the hook |
//! | `spin-on-host` | a loop of the cheapest host calls | `cpu-limit` |
//! | `fill`, `copy` | `memory.fill`, `memory.copy` of 32 MiB without end | `cpu-limit` |
//! | `memory-once` | asks for 1 GiB at once | told as refused |
//! | `memory-steps` | asks for 1 MiB until it is refused; tells how much it got | told as refused |
//! | `memory-abort` | the same, and dies of it | `memory-limit` |
//! | `recursion` | calls itself without end | `stack-overflow` |
//! | `exit` | ends its process | `exit` |
//!
//! Tables, several memories and tail calls cannot be written in Rust: the host's tests write them out by hand
//! (`host/plugins/tests/hostile/machine.rs`).

#[path = "../../report.rs"]
mod report;

use std::hint::black_box;

use voxtra_sdk::prelude::*;

use crate::report::{Report, unknown};

const MIB: usize = 1 << 20;

#[handler]
fn handle(call: &Call) -> Result<()> {
    let mut report = Report::new(call);
    match report.attack().as_str() {
        "spin" => spin(),
        "spin-in-hook" => return Ok(()),
        "spin-on-host" => loop {
            black_box(call.state());
        },
        "fill" => fill(),
        "copy" => copy(),
        "memory-once" => at_once(&mut report),
        "memory-steps" => in_steps(&mut report),
        "memory-abort" => loop {
            // Kept, so that nothing is given back.
            Box::leak(vec![1_u8; MIB].into_boxed_slice());
        },
        "recursion" => report.got("depth", recursion(0).to_string()),
        "exit" => std::process::exit(7),
        other => return unknown(other),
    }
    report.send();
    Ok(())
}

#[on_hangup]
fn ended(call: &EndedCall) {
    let attack = call.metadata("attack").unwrap_or(&call.info.called_number);
    if attack == "spin-in-hook" {
        spin();
    }
}

fn spin() -> ! {
    loop {
        black_box(0);
    }
}

/// One instruction that writes 32 MiB, again and again: the budget is looked at only between two of them.
fn fill() {
    let mut block = vec![0_u8; 32 * MIB];
    for value in (0..=u8::MAX).cycle() {
        block.fill(black_box(value));
        black_box(&mut block);
    }
}

fn copy() {
    let mut block = vec![1_u8; 32 * MIB];
    loop {
        block.copy_within(..16 * MIB, 16 * MIB);
        black_box(&mut block);
    }
}

fn at_once(report: &mut Report<'_>) {
    let mut block: Vec<u8> = Vec::new();
    let asked = block.try_reserve_exact(1 << 30);
    report.got("1 GiB", asked.map_or_else(|_| "refused".to_owned(), |()| "ok".to_owned()));
}

fn in_steps(report: &mut Report<'_>) {
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    loop {
        let mut block: Vec<u8> = Vec::new();
        if block.try_reserve_exact(MIB).is_err() {
            break;
        }
        // Touched, so that it is there and not only promised.
        block.resize(MIB, 1);
        blocks.push(block);
    }
    let kept = blocks.len();
    drop(blocks);
    report.got("1 MiB each", format!("refused after {kept}"));
}

#[inline(never)]
fn recursion(depth: u64) -> u64 {
    // Used afterwards, so that it is no loop.
    let frame = black_box([depth; 8]);
    if depth == u64::MAX {
        return 0;
    }
    recursion(depth + 1) + frame.iter().sum::<u64>()
}
