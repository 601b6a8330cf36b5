//! Moves the audio of calls: between the sockets of a PBX and the queues of a [`MediaLink`].
//!
//! A few threads own all connections ([`MediaThreads`]). They read, they tick, they never run a handler. A frame takes
//! the shortest way: what is heard is cut out of the read buffer without a copy and handed to the reader's queue; what
//! is said is written to the socket by whoever says it, in one system call and without a thread in between, as long as
//! the pacer lets it. Only what the pacer holds back, and silence, is left to the tick: one for all connections of a
//! thread, every 20 ms.
//!
//! | file | what it does |
//! | --- | --- |
//! | `threads` | the threads, their tick, which connection goes where |
//! | `attached` | what the owner of a connection holds: its link, and how to close it |
//! | `audiosocket` | one AudioSocket connection; `writer` is its sending half |
//! | `websocket` | one connection to `chan_websocket` |
//! | `inbound` | what was heard: cut to frames, brought to the link's rate |
//! | `stats` | counters |
//!
//! What it does not do: it knows no calls, channels or bridges; it mixes nothing and listens to nothing.
//!
//! [`MediaLink`]: voxtra_core::media::MediaLink

mod attached;
mod audiosocket;
mod inbound;
mod stats;
mod threads;
mod websocket;
mod writer;

#[cfg(test)]
mod tests;

pub use attached::{AttachedMedia, MediaEvents};
pub use stats::MediaStats;
pub use threads::MediaThreads;
