//! The telephony port: a PBX, a carrier or a simulator gives [`NewLeg`]s to a [`Switchboard`], which answers with
//! where that leg's events go; what is done to a leg goes through [`Leg`].

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::BoxFuture;
use crate::call::{Direction, HangupCause};
use crate::error::CallError;
use crate::ids::{BridgeId, CallId, PlaybackId, RecordingId, SnoopId};
use crate::media::MediaLink;
use crate::verbs::{AnsweredBy, DialplanPlace, Dtmf, SnoopOptions};

/// One leg of a call, as its owner task drives it. Each method can be cancelled by dropping its future and has a time
/// limit of its own.
pub trait Leg: Send + Sync {
    /// Answers. An answered leg stays as it is.
    fn answer(&self) -> BoxFuture<'_, Result<(), CallError>>;

    /// Lets the caller hear that it rings. Nothing happens on an answered leg.
    fn ring(&self) -> BoxFuture<'_, Result<(), CallError>>;

    /// Plays music of a class of the PBX's; empty: its default.
    fn hold<'a>(&'a self, music_class: &'a str) -> BoxFuture<'a, Result<(), CallError>>;

    /// Stops the music; none is no error.
    fn unhold(&self) -> BoxFuture<'_, Result<(), CallError>>;

    /// Sets a variable at the PBX. The name and the value were checked against what the PBX would act on.
    fn set_variable<'a>(&'a self, name: &'a str, value: &'a str) -> BoxFuture<'a, Result<(), CallError>>;

    /// Reads one; `None` when it is not set.
    fn get_variable<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<String>, CallError>>;

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

    /// Hands the leg to a queue of the PBX, with these variables set before. It then ends with
    /// [`LegEnd::Transferred`]. A queue that the PBX does not have is an error, and the leg stays.
    fn transfer_to_queue<'a>(
        &'a self,
        queue: &'a str,
        variables: &'a [(String, String)],
    ) -> BoxFuture<'a, Result<(), CallError>>;

    /// Lets the leg go on in the dialplan. It then ends with [`LegEnd::Transferred`]. A place that is not there is an
    /// error, and the leg stays.
    fn continue_in_dialplan<'a>(&'a self, place: &'a DialplanPlace) -> BoxFuture<'a, Result<(), CallError>>;

    /// The PBX begins to record both sides, mixed, as WAV under [`PbxRecording::stored_name`]. The end, by whatever it
    /// came, is [`LegEvent::RecordingFinished`]. One at a time.
    fn start_recording<'a>(&'a self, recording: &'a PbxRecording) -> BoxFuture<'a, Result<(), CallError>>;

    /// The PBX leaves out what follows, or goes on.
    fn pause_recording<'a>(&'a self, id: &'a RecordingId, paused: bool) -> BoxFuture<'a, Result<(), CallError>>;

    /// Ends it; one that is over is no error. [`LegEvent::RecordingFinished`] still comes.
    fn stop_recording<'a>(&'a self, id: &'a RecordingId) -> BoxFuture<'a, Result<(), CallError>>;

    /// A hidden ear, and mouth, at the leg; it goes with the leg.
    fn snoop(&self, options: SnoopOptions) -> BoxFuture<'_, Result<Arc<dyn Snoop>, CallError>>;

    /// The PBX finds out who answered, by its own means and within its own limits.
    fn detect_machine(&self) -> BoxFuture<'_, Result<AnsweredBy, CallError>>;

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
    /// The other side of a leg that we placed rings.
    Ringing,
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
    /// A recording by the PBX is over, or failed.
    RecordingFinished {
        /// Which.
        id: RecordingId,
        /// How long it is without its pauses, in milliseconds; the error is a sentence.
        outcome: Result<u32, String>,
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
    /// A leg that we placed was not answered.
    NotAnswered(HangupCause),
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
    /// Where it is: what can be done there beside it.
    pub exchange: Arc<dyn Exchange>,
}

/// One application at one PBX: where legs can be placed and joined.
pub trait Exchange: Send + Sync {
    /// Which PBX, as the operator calls it; also [`crate::recording::RecordingStart::exchange`].
    fn name(&self) -> &str;

    /// The application, as in [`NewLeg::app`].
    fn app(&self) -> &str;

    /// Places a leg. Returns when the PBX has accepted it; [`LegEvent::Ringing`], [`LegEvent::Answered`] or
    /// [`LegEvent::Ended`] follow, which may come before it returns. Dropping the future leaves no leg behind.
    fn originate<'a>(
        &'a self,
        leg: &'a PlacedLeg,
        events: Arc<dyn LegEvents>,
    ) -> BoxFuture<'a, Result<Arc<dyn Leg>, CallError>>;

    /// Whether a leg of this id is at the PBX now, known to the host or not.
    fn has_leg<'a>(&'a self, id: &'a CallId) -> BoxFuture<'a, Result<bool, CallError>>;

    /// Makes a bridge in which everybody hears the others.
    fn create_bridge(&self) -> BoxFuture<'_, Result<Arc<dyn Bridge>, CallError>>;

    /// Copies a stored recording of the PBX's to a new file and returns its size in bytes. `Ok(None)`: the PBX has none
    /// of that name.
    fn fetch_recording<'a>(
        &'a self,
        stored_name: &'a str,
        to: &'a Path,
    ) -> BoxFuture<'a, Result<Option<u64>, CallError>>;

    /// Deletes a stored recording; one that is gone is no error.
    fn delete_recording<'a>(&'a self, stored_name: &'a str) -> BoxFuture<'a, Result<(), CallError>>;
}

/// A leg to be placed. Every string was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedLeg {
    /// Its id from now on: chosen by the host, so that no event is lost and a second asking places no second leg.
    pub id: CallId,
    /// What the PBX dials, such as `PJSIP/100` or `PJSIP/+265@trunk`.
    pub endpoint: String,
    /// The number to be shown; empty: the PBX's own.
    pub caller_id: String,
    /// How long it may ring.
    pub ring_timeout: Duration,
    /// Variables at the PBX.
    pub variables: Vec<(String, String)>,
    /// Where the answered leg goes in the dialplan; none: it stays with the host.
    pub into_dialplan: Option<DialplanPlace>,
}

/// Legs that hear each other.
pub trait Bridge: Send + Sync {
    /// Its id.
    fn id(&self) -> &BridgeId;

    /// Puts an answered leg of the same exchange in; its open audio comes with it.
    fn add<'a>(&'a self, leg: &'a CallId) -> BoxFuture<'a, Result<(), CallError>>;

    /// Takes it out, and gives it back its own audio; one that is not in is no error.
    fn remove<'a>(&'a self, leg: &'a CallId) -> BoxFuture<'a, Result<(), CallError>>;

    /// Puts a snoop of the same exchange in.
    fn add_snoop<'a>(&'a self, snoop: &'a SnoopId) -> BoxFuture<'a, Result<(), CallError>>;

    /// Plays prompts to all, to their end.
    fn play<'a>(&'a self, media: &'a [String]) -> BoxFuture<'a, Result<(), CallError>>;

    /// Takes it down; the legs stay, out of any bridge. Done once, whoever asks and whether or not anybody waits.
    fn destroy(&self) -> BoxFuture<'_, Result<(), CallError>>;
}

/// A hidden ear, and mouth, at a leg.
pub trait Snoop: Send + Sync {
    /// Its id.
    fn id(&self) -> &SnoopId;

    /// Opens what it hears and what it says, as [`Leg::open_media`].
    fn open_media(&self, rate_hz: u32) -> BoxFuture<'_, Result<MediaLink, CallError>>;

    /// Closes it; nothing happens when none is open.
    fn close_media(&self) -> BoxFuture<'_, ()>;

    /// Plays prompts to whom it whispers, to their end.
    fn play<'a>(&'a self, media: &'a [String]) -> BoxFuture<'a, Result<(), CallError>>;

    /// Takes it away. Done once, whoever asks and whether or not anybody waits.
    fn stop(&self) -> BoxFuture<'_, Result<(), CallError>>;
}

/// A recording that the PBX makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PbxRecording {
    /// Its id.
    pub id: RecordingId,
    /// Its name at the PBX, made by the host.
    pub stored_name: String,
    /// Whether a tone tells the caller.
    pub beep: bool,
    /// The longest.
    pub max_duration: Duration,
    /// It ends when nobody has spoken for so long; none: never.
    pub max_silence: Option<Duration>,
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
