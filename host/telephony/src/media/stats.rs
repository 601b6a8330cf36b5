//! Counters of the media path, over all connections.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the media threads have done since they were started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MediaStats {
    /// Connections open now.
    pub connections: u64,
    /// Frames of audio received.
    pub frames_in: u64,
    /// Frames of audio sent, without filler.
    pub frames_out: u64,
    /// Frames of silence sent because there was nothing to say.
    pub filler_frames: u64,
    /// Received frames that were dropped because nobody read them in time.
    pub dropped_inbound_frames: u64,
    /// Frames to be said that were dropped because their writer did not wait for room.
    pub dropped_outbound_frames: u64,
    /// Ticks that came more than 10 ms late.
    pub late_ticks: u64,
    /// Connections that were lost though nobody closed them.
    pub lost_connections: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) connections: AtomicU64,
    pub(super) frames_in: AtomicU64,
    pub(super) frames_out: AtomicU64,
    pub(super) filler_frames: AtomicU64,
    pub(super) dropped_inbound_frames: AtomicU64,
    pub(super) dropped_outbound_frames: AtomicU64,
    pub(super) late_ticks: AtomicU64,
    pub(super) lost_connections: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self) -> MediaStats {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MediaStats {
            connections: value(&self.connections),
            frames_in: value(&self.frames_in),
            frames_out: value(&self.frames_out),
            filler_frames: value(&self.filler_frames),
            dropped_inbound_frames: value(&self.dropped_inbound_frames),
            dropped_outbound_frames: value(&self.dropped_outbound_frames),
            late_ticks: value(&self.late_ticks),
            lost_connections: value(&self.lost_connections),
        }
    }
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}
