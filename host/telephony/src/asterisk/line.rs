//! A channel that audio can be opened on (a call's or a snoop's), and which bridge it is in.
//!
//! With its audio open it shares a bridge of its own with its media channel. In a bridge that the handler made, its
//! media channel is in there with it, so what the handler says and hears goes on; when it is taken out, both go back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::timeout;
use voxtra_ari::AriError;
use voxtra_core::CallError;

use super::app::App;
use super::error::to_call_error;
use super::leg_task::{LegInbox, LegInput};
use super::media_leg::MediaSlot;

/// How long a prompt may take to stop. Longer than its end may take to be told.
const QUIET_LIMIT: Duration = Duration::from_millis(1_500);

/// Lets prompts go on when dropped.
struct Suspended<'a>(&'a LegInbox);

impl Drop for Suspended<'_> {
    fn drop(&mut self) {
        self.0.post(LegInput::ResumePlaying);
    }
}

/// See the module.
pub(super) struct AudioLine {
    pub(super) app: Arc<App>,
    pub(super) channel: String,
    /// For the log.
    pub(super) label: String,
    pub(super) slot: MediaSlot,
    /// Who is told that the audio is lost.
    inbox: Option<LegInbox>,
    /// Held while it moves from one bridge to another, so that two moves cannot cross.
    place: Mutex<Place>,
    /// Whether its prompts are suspended and none plays.
    pub(super) quiet: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Place {
    /// The handler's bridge that it is in.
    room: Option<String>,
    /// Its open audio.
    audio: Option<Audio>,
}

#[derive(Debug, Clone)]
struct Audio {
    channel: String,
    /// The bridge of its own.
    bridge: String,
}

impl AudioLine {
    pub(super) fn new(app: Arc<App>, channel: String, label: String, inbox: Option<LegInbox>) -> Arc<Self> {
        Arc::new(Self {
            app,
            channel,
            label,
            slot: MediaSlot::default(),
            inbox,
            place: Mutex::default(),
            quiet: watch::Sender::new(false),
        })
    }

    pub(super) fn media_lost(&self) {
        if let Some(inbox) = &self.inbox {
            inbox.post(LegInput::MediaLost);
        }
    }

    /// Whether it is in a bridge that the handler made.
    pub(super) async fn is_in_room(&self) -> bool {
        self.place.lock().await.room.is_some()
    }

    /// The audio is ready: it meets its line, wherever that is.
    pub(super) async fn join_audio(&self, channel: &str, own_bridge: &str) -> Result<(), AriError> {
        let mut place = self.place.lock().await;
        let _prompts = self.suspend_prompts().await;
        match &place.room {
            Some(room) => self.app.client.add_to_bridge(room, &[channel]).await?,
            None => self.app.client.add_to_bridge(own_bridge, &[self.channel.as_str(), channel]).await?,
        }
        place.audio = Some(Audio { channel: channel.to_owned(), bridge: own_bridge.to_owned() });
        Ok(())
    }

    /// The audio is being closed.
    pub(super) async fn audio_leaves(&self, channel: &str) {
        let mut place = self.place.lock().await;
        if place.audio.as_ref().is_some_and(|audio| audio.channel == channel) {
            place.audio = None;
        }
    }

    /// Goes into a handler's bridge, with its audio.
    pub(super) async fn enter(&self, room: &str) -> Result<(), CallError> {
        let mut place = self.place.lock().await;
        match &place.room {
            Some(in_it) if in_it == room => return Ok(()),
            Some(_) => {
                return Err(CallError::Telephony(
                    "it is in another bridge already; take it out of that first".to_owned(),
                ));
            }
            None => {}
        }
        let mut channels = vec![self.channel.as_str()];
        channels.extend(place.audio.as_ref().map(|audio| audio.channel.as_str()));
        let _prompts = self.suspend_prompts().await;
        let added = self.app.client.add_to_bridge(room, &channels).await;
        added.map_err(|e| self.failed("adding to the bridge", e))?;
        place.room = Some(room.to_owned());
        Ok(())
    }

    /// Leaves a handler's bridge, and meets its audio again in the bridge of its own.
    pub(super) async fn leave(&self, room: &str) -> Result<(), CallError> {
        let mut place = self.place.lock().await;
        if place.room.as_deref() != Some(room) {
            return Ok(());
        }
        if self.slot.is_over() {
            // Asterisk has taken it out itself.
            place.room = None;
            return Ok(());
        }
        let client = &self.app.client;
        let _prompts = self.suspend_prompts().await;
        let outcome = match &place.audio {
            // Moved at once, so that nothing is between.
            Some(audio) => client.add_to_bridge(&audio.bridge, &[self.channel.as_str(), audio.channel.as_str()]).await,
            None => client.remove_from_bridge(room, &self.channel).await,
        };
        match outcome {
            Err(error) if !error.gone() => Err(self.failed("taking out of the bridge", error)),
            _ => {
                place.room = None;
                Ok(())
            }
        }
    }

    /// Asterisk moves a channel only when nothing plays on it, so what plays is interrupted until this is dropped.
    async fn suspend_prompts(&self) -> Option<Suspended<'_>> {
        let inbox = self.inbox.as_ref()?;
        inbox.post(LegInput::SuspendPlaying);
        let suspended = Suspended(inbox);
        let mut quiet = self.quiet.subscribe();
        // One that cannot be stopped in time is waited for by the move itself.
        let _ = timeout(QUIET_LIMIT, quiet.wait_for(|quiet| *quiet)).await;
        Some(suspended)
    }

    fn failed(&self, doing: &str, error: AriError) -> CallError {
        if self.slot.is_over() { CallError::HungUp } else { to_call_error(doing, error) }
    }
}
