//! `voxtra`: the host as a program.
//!
//! This crate is the composition root: it reads the configuration, makes the runtimes, the adapters and the switchboard
//! of calls, and puts them together. It is the only crate that names adapters. It decides nothing about a call.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`config`] | `voxtra.yaml` |
//! | [`cli`] | the commands, one file each |
//! | [`host`] | what all commands that take calls share: runtimes, handlers, switchboard; and what `start` adds: PBXs, services |
//! | [`admin`] | the operator's socket |
//! | [`rig`] | simulated calls for `call` and `demo` |
//! | [`files`] | files that an operator names |
//! | [`events`] | where the host's events go: the log, a call's timeline |
//! | [`logging`], [`output`] | stderr and stdout |

mod admin;
mod cli;
mod config;
mod events;
mod files;
mod host;
mod logging;
mod output;
mod rig;

use std::process::ExitCode;

fn main() -> ExitCode {
    // As the compiler of a host that has started this program again: nothing else of it runs then.
    voxtra_plugins::compile_as_child();
    cli::run()
}
