//! The telephony port: a PBX, a carrier or a simulator gives [`NewLeg`]s to a [`Switchboard`], which answers with
//! where that leg's events go; what is done to a leg goes through [`Leg`].

use std::sync::Arc;

use crate::BoxFuture;
use crate::call::{Direction, HangupCause};
use crate::error::CallError;
use crate::ids::{CallId, PlaybackId};
use crate::media::MediaLink;
use crate::verbs::Dtmf;

/// One leg of a call, as its owner task drives it. Each method can be cancelled by dropping its future and has a time
/// limit of its own.
pub trait Leg: Send + Sync {
    /// Answers. An answered leg stays as it is.
    fn answer(&self) -> BoxFuture<'_, Result<(), CallError>>;

    /// Starts to play prompts one after the other, on an answered leg or as early media. The end comes as
    /// [`LegEvent::PlaybackFinished`], which may come before this returns. A second playing waits for the first.
    fn play<'a>(&'a self, id: &'a PlaybackId, media: &'a [String]) -> BoxFuture<'a, Result<(), CallError>>;

    /// Stops a playing; one that is over is no error. [`LegEvent::PlaybackFinished`] still comes.
    fn stop_playback<'a>(&'a self, id: &'a PlaybackId) -> BoxFuture<'a, Result<(), CallError>>;

    /// Sends keys to the other side. `w` is a pause of half a second.
    fn send_dtmf<'a>(&'a self, digits: &'a str) -> BoxFuture<'a, Result<(), CallError>>;

    /// Hands the leg to another extension or endpoint of the PBX (blind transfer). The leg then ends with
    /// [`LegEnd::Transferred`].
    fn transfer<'a>(&'a self, target: &'a str) -> BoxFuture<'a, Result<(), CallError>>;

    /// Opens the leg's audio at one of [`crate::media::LINK_RATES_HZ`]; returns when audio can flow both ways.
    fn open_media(&self, rate_hz: u32) -> BoxFuture<'_, Result<MediaLink, CallError>>;

    /// Closes the leg's audio; nothing happens when none is open.
    fn close_media(&self) -> BoxFuture<'_, ()>;

    /// Hangs up and frees everything that the leg holds at the PBX, the audio first. Nothing is left to be done after
    /// it, whatever it returns; a leg that is gone is no error.
    fn end(&self, cause: HangupCause) -> BoxFuture<'_, Result<(), CallError>>;
}

/// What happens on a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LegEvent {
    /// It was answered, by us or by the side that we called.
    Answered,
    /// A key was pressed.
    Dtmf(Dtmf),
    /// A playing is over.
    PlaybackFinished {
        /// Which.
        id: PlaybackId,
        /// How; the error is a sentence.
        outcome: Result<(), String>,
    },
    /// The audio connection is gone though nobody closed it.
    MediaLost,
    /// The leg is over.
    Ended(LegEnd),
}

/// Why a leg is over. An adapter may report several; its receiver takes the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LegEnd {
    /// The other side hung up.
    HungUp,
    /// It was handed to somebody else.
    Transferred,
    /// The PBX is gone, or failed it; the sentence says how.
    Failed(String),
}

/// Where a leg's events go. Never blocks; [`LegEvent::Ended`] is never lost, of the others at most as many as fit.
pub trait LegEvents: Send + Sync {
    /// Takes one event. Those of one leg come in order.
    fn deliver(&self, event: LegEvent);
}

/// A leg that has come to the host.
#[derive(Clone)]
pub struct NewLeg {
    /// The call's id.
    pub id: CallId,
    /// The application at the PBX that it came to: what tells the tenants apart.
    pub app: String,
    /// The caller's number or name; empty when withheld.
    pub caller_id: String,
    /// What was dialled.
    pub called_number: String,
    /// Who started it.
    pub direction: Direction,
    /// Whether it is answered already.
    pub answered: bool,
    /// What is done to it.
    pub leg: Arc<dyn Leg>,
}

/// Who takes new legs.
pub trait Switchboard: Send + Sync {
    /// Takes a leg, or refuses it; the adapter then ends it with the cause. Never blocks.
    fn incoming(&self, leg: NewLeg) -> Result<Arc<dyn LegEvents>, Refusal>;
}

/// A leg that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// A sentence.
    pub reason: String,
    /// What the caller's network is told.
    pub cause: HangupCause,
}
