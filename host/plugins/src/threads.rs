//! The threads on which guest code runs, and nothing else.
//!
//! They stand back behind every other thread of the host: a guest that spins has nothing to gain but what the threads that
//! move audio, and those that own calls, leave over. The kernel then wakes a media thread at once where it would otherwise
//! let a spinning guest finish its slice of some milliseconds.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{getpriority_process, setpriority_process};
use tokio::runtime::{Builder, Runtime as Tokio};

/// How the threads of guests are set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestThreads {
    /// How many. Default one for each processor.
    pub threads: usize,
    /// How far they stand back, as `nice` counts: 0 (like everybody else) to 19 (only what nobody wants). Default 10: on a
    /// machine that is full they get about a tenth of what a thread of the host gets, and all that is left.
    pub niceness: i32,
}

impl Default for GuestThreads {
    fn default() -> Self {
        Self { threads: std::thread::available_parallelism().map_or(2, usize::from), niceness: 10 }
    }
}

impl GuestThreads {
    /// The runtime for guests: threads named `voxtra-guest-1` and so on.
    ///
    /// # Errors
    /// When the threads cannot be started. A priority that cannot be changed is no error: it costs punctuality only.
    pub fn start(self) -> io::Result<Tokio> {
        let number = AtomicUsize::new(1);
        Builder::new_multi_thread()
            .worker_threads(self.threads.max(1))
            .thread_name_fn(move || format!("voxtra-guest-{}", number.fetch_add(1, Ordering::Relaxed)))
            .on_thread_start(move || stand_back(self.niceness))
            .enable_all()
            .build()
    }
}

/// On Linux a priority is a thread's own, whatever the call is named after.
fn stand_back(niceness: i32) {
    // Beside what the whole host was started with.
    let set =
        getpriority_process(None).and_then(|own| setpriority_process(None, (own + niceness.clamp(0, 19)).min(19)));
    if let Err(error) = set {
        tracing::warn!(%error, "handlers run at the priority of the host; audio may be late when they are busy");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn guests_stand_back_and_nobody_else_does() {
        let before = getpriority_process(None).unwrap();
        let guests = GuestThreads { threads: 1, niceness: 7 }.start().unwrap();
        let theirs = guests.block_on(async { tokio::spawn(async { getpriority_process(None) }).await });
        assert_eq!(theirs.unwrap().unwrap(), (before + 7).min(19));
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}
