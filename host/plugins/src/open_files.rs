//! How many files the host has open. The memory of each component that is loaded is a file to the machine, and one tenant's
//! thousand components must not be what keeps all calls from their sockets.

use std::fs;

use rustix::process::{Resource, getrlimit};

/// Of the files that the host may open, calls have a quarter to themselves.
const FOR_CALLS: u64 = 4;

/// Refuses, with a sentence, to load one more component where that leaves too few for calls.
pub(crate) fn leave_room_for_calls() -> Result<(), String> {
    let Some(most) = getrlimit(Resource::Nofile).current else { return Ok(()) };
    // Where the machine does not tell, the sockets of calls will.
    let Ok(open) = fs::read_dir("/proc/self/fd").map(|files| files.count() as u64) else { return Ok(()) };
    if open < most - most / FOR_CALLS {
        return Ok(());
    }
    Err(format!(
        "it is not loaded because the host has {open} of {most} files open, and the rest is for calls; raise its limit \
         (LimitNOFILE= of systemd, ulimit -Hn), or remove handlers"
    ))
}
