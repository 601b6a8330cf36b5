//! Which id at the PBX belongs to which leg of one application.
//!
//! A table, not call state: each lock is held for one look-up, never across a wait.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use super::leg::LegShared;
use super::leg_task::{LegInbox, LegInput};
use super::snoop::SnoopShared;

/// Where a media channel of ours stands at the PBX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MediaState {
    /// Asked for.
    Asked,
    /// In our application: can be put into a bridge.
    Ready,
    /// Gone.
    Gone,
}

/// The table of one application.
/// Who is told that a playback is over.
pub(super) enum Listener {
    /// The leg that it plays on.
    Leg(LegInbox),
    /// Somebody who waits for just that; an empty sentence means that Asterisk gave no reason.
    Waiting(oneshot::Sender<Result<(), String>>),
}

/// How a recording by the PBX has ended: how long it is in seconds, or why it failed.
pub(super) type RecordingOutcome = Result<u64, String>;

#[derive(Default)]
pub(super) struct Registry {
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    legs: HashMap<String, Arc<LegShared>>,
    snoops: HashMap<String, Arc<SnoopShared>>,
    media: HashMap<String, watch::Sender<MediaState>>,
    bridges: HashSet<String>,
    playbacks: HashMap<String, Listener>,
    recordings: HashMap<String, oneshot::Sender<RecordingOutcome>>,
}

impl Registry {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Nothing inside can leave it half-changed.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_leg(&self, leg: Arc<LegShared>) {
        self.tables().legs.insert(leg.channel.clone(), leg);
    }

    pub(super) fn remove_leg(&self, channel: &str) {
        // Dropped when the table is free again: it may be the last of it.
        let removed = self.tables().legs.remove(channel);
        drop(removed);
    }

    pub(super) fn leg(&self, channel: &str) -> Option<Arc<LegShared>> {
        self.tables().legs.get(channel).cloned()
    }

    pub(super) fn has_leg(&self, channel: &str) -> bool {
        self.tables().legs.contains_key(channel)
    }

    /// Gives a leg an input; false when there is no such leg.
    pub(super) fn to_leg(&self, channel: &str, input: LegInput) -> bool {
        let inbox = self.tables().legs.get(channel).map(|leg| leg.inbox.clone());
        inbox.map(|inbox| inbox.post(input)).is_some()
    }

    /// Every leg there is now.
    pub(super) fn legs(&self) -> Vec<(String, LegInbox)> {
        self.tables().legs.iter().map(|(id, leg)| (id.clone(), leg.inbox.clone())).collect()
    }

    pub(super) fn add_snoop(&self, snoop: Arc<SnoopShared>) {
        self.tables().snoops.insert(snoop.id.to_string(), snoop);
    }

    pub(super) fn remove_snoop(&self, snoop: &str) {
        let removed = self.tables().snoops.remove(snoop);
        drop(removed);
    }

    pub(super) fn snoop(&self, snoop: &str) -> Option<Arc<SnoopShared>> {
        self.tables().snoops.get(snoop).cloned()
    }

    /// From now on somebody waits for this recording's end.
    pub(super) fn add_recording(&self, name: &str) -> oneshot::Receiver<RecordingOutcome> {
        let (sender, outcome) = oneshot::channel();
        self.tables().recordings.insert(name.to_owned(), sender);
        outcome
    }

    /// Nobody waits any more, or it is over.
    pub(super) fn take_recording(&self, name: &str) -> Option<oneshot::Sender<RecordingOutcome>> {
        self.tables().recordings.remove(name)
    }

    /// Whether nothing of ours is at the PBX.
    pub(super) fn is_idle(&self) -> bool {
        let tables = self.tables();
        tables.legs.is_empty() && tables.media.is_empty() && tables.snoops.is_empty() && tables.bridges.is_empty()
    }

    pub(super) fn leg_count(&self) -> usize {
        self.tables().legs.len()
    }

    /// From now on this channel is a media leg of ours.
    pub(super) fn add_media(&self, channel: &str) -> watch::Receiver<MediaState> {
        let (state, watched) = watch::channel(MediaState::Asked);
        self.tables().media.insert(channel.to_owned(), state);
        watched
    }

    pub(super) fn remove_media(&self, channel: &str) {
        self.tables().media.remove(channel);
    }

    pub(super) fn has_media(&self, channel: &str) -> bool {
        self.tables().media.contains_key(channel)
    }

    /// Notes where a media channel stands; false when it is none of ours. One that is gone does not come back.
    pub(super) fn set_media(&self, channel: &str, state: MediaState) -> bool {
        let tables = self.tables();
        let Some(sender) = tables.media.get(channel) else { return false };
        sender.send_if_modified(|now| {
            let changes = *now != MediaState::Gone && *now != state;
            if changes {
                *now = state;
            }
            changes
        });
        true
    }

    /// A media channel that was ready is gone at the PBX.
    pub(super) fn set_media_gone_if_ready(&self, channel: &str) {
        let ready = self.tables().media.get(channel).is_some_and(|state| *state.borrow() == MediaState::Ready);
        if ready {
            self.set_media(channel, MediaState::Gone);
        }
    }

    /// The media channels there are now.
    pub(super) fn media(&self) -> Vec<String> {
        self.tables().media.keys().cloned().collect()
    }

    pub(super) fn add_bridge(&self, bridge: &str) {
        self.tables().bridges.insert(bridge.to_owned());
    }

    pub(super) fn remove_bridge(&self, bridge: &str) {
        self.tables().bridges.remove(bridge);
    }

    pub(super) fn has_bridge(&self, bridge: &str) -> bool {
        self.tables().bridges.contains(bridge)
    }

    pub(super) fn add_playback(&self, playback: &str, listener: Listener) {
        self.tables().playbacks.insert(playback.to_owned(), listener);
    }

    /// Whose playback it is; known once only.
    pub(super) fn take_playback(&self, playback: &str) -> Option<Listener> {
        self.tables().playbacks.remove(playback)
    }

    /// What is in the tables: legs, media channels, bridges, playbacks.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize, usize, usize) {
        let tables = self.tables();
        (tables.legs.len(), tables.media.len(), tables.bridges.len(), tables.playbacks.len())
    }
}
