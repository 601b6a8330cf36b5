//! What the runtime needs of a call: the port between a handler's bindings, whatever their version, and the session
//! that implements them.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use voxtra_core::http::{HttpRequest, HttpResponse};
use voxtra_core::store::{CasOutcome, Entry};
use voxtra_core::verbs::{
    AnsweredBy, BatchRequest, BatchStatus, DialplanPlace, Digits, Gather, HandlerEvent, LogLevel, MachineDetector,
    OriginateOptions, PlayOutcome, RecordOptions, RecordingInfo, SnoopOptions,
};
use voxtra_core::{
    BoxFuture, BridgeId, CallError, CallInfo, CallState, HangupCause, MediaLink, PlaybackId, RecordingId, SnoopId,
    TenantId,
};

/// One call, as the bindings of its handler see it. Every future can be dropped at any point, and every one ends when
/// the call does (with [`CallError::HungUp`]). Arguments come as the guest gave them: checking them is this side's
/// work.
pub trait CallHost: Send + Sync {
    /// What is known from the start.
    fn info(&self) -> &CallInfo;

    /// Where the call stands now.
    fn state(&self) -> CallState;

    /// Since the answer; 0 before it; fixed after the end.
    fn duration_ms(&self) -> u32;

    /// One value of the metadata.
    fn metadata_get(&self, key: &str) -> Option<String>;

    /// Sets one value.
    fn metadata_set(&self, key: String, value: String) -> Result<(), CallError>;

    /// All of it, in the order of the keys.
    fn metadata_list(&self) -> Vec<(String, String)>;

    /// Which keys go into webhooks; replaces an earlier choice.
    fn metadata_share(&self, keys: Vec<String>) -> Result<(), CallError>;

    /// Answers.
    fn answer(&self) -> BoxFuture<'_, Result<(), CallError>>;

    /// Lets the caller hear that it rings.
    fn ring(&self) -> BoxFuture<'_, Result<(), CallError>>;

    /// Plays music; an empty class is the PBX's default.
    fn hold(&self, music_class: String) -> BoxFuture<'_, Result<(), CallError>>;

    /// Takes the call back.
    fn unhold(&self) -> BoxFuture<'_, Result<(), CallError>>;

    /// Hands the call to an extension or endpoint.
    fn transfer(&self, target: String) -> BoxFuture<'_, Result<(), CallError>>;

    /// Hands it to a queue.
    fn transfer_to_queue(&self, queue: String, metadata: Vec<(String, String)>)
    -> BoxFuture<'_, Result<(), CallError>>;

    /// Lets it go on in the dialplan.
    fn continue_in_dialplan(&self, place: DialplanPlace) -> BoxFuture<'_, Result<(), CallError>>;

    /// Sets a variable at the PBX.
    fn set_variable(&self, name: String, value: String) -> BoxFuture<'_, Result<(), CallError>>;

    /// Reads one.
    fn get_variable(&self, name: String) -> BoxFuture<'_, Result<Option<String>, CallError>>;

    /// Hangs up; succeeds on a call that is over.
    fn hangup(&self, cause: HangupCause) -> BoxFuture<'_, Result<(), CallError>>;

    /// Plays prompts and waits for their end; the keys in `interrupt_on` stop them.
    fn play(&self, media: Vec<String>, interrupt_on: String) -> BoxFuture<'_, Result<PlayOutcome, CallError>>;

    /// Begins to play prompts; its end is [`HandlerEvent::PlaybackFinished`].
    fn start_playback(&self, media: Vec<String>) -> BoxFuture<'_, Result<PlaybackId, CallError>>;

    /// Stops a playing; one that is over is no error.
    fn stop_playback(&self, id: PlaybackId) -> BoxFuture<'_, Result<(), CallError>>;

    /// Waits for a playing's end, which may be past.
    fn wait_playback(&self, id: PlaybackId, timeout: Duration) -> BoxFuture<'_, Result<PlayOutcome, CallError>>;

    /// Plays prompts and takes keys. Listening alone is a gather without prompts.
    fn gather(&self, gather: Gather) -> BoxFuture<'_, Result<Digits, CallError>>;

    /// Sends keys.
    fn send_dtmf(&self, digits: String) -> BoxFuture<'_, Result<(), CallError>>;

    /// Begins to record.
    fn record_start(&self, options: RecordOptions) -> BoxFuture<'_, Result<RecordingId, CallError>>;

    /// Leaves out what follows, or goes on.
    fn record_pause(&self, paused: bool) -> BoxFuture<'_, Result<(), CallError>>;

    /// Ends the recording.
    fn record_stop(&self) -> BoxFuture<'_, Result<RecordingInfo, CallError>>;

    /// Places a call of the handler's own.
    fn originate(&self, options: OriginateOptions) -> BoxFuture<'_, Result<SharedCall, CallError>>;

    /// Makes a bridge where this call is.
    fn create_bridge(&self) -> BoxFuture<'_, Result<Arc<dyn BridgeHost>, CallError>>;

    /// Listens to the call and speaks into it.
    fn snoop(&self, options: SnoopOptions) -> BoxFuture<'_, Result<Arc<dyn SnoopHost>, CallError>>;

    /// Finds out who answered.
    fn detect_machine(&self, detector: MachineDetector) -> BoxFuture<'_, Result<AnsweredBy, CallError>>;

    /// Sends an event of the handler's own; `data_json` has to be an object.
    fn emit(&self, name: String, data_json: String) -> Result<(), CallError>;

    /// Sends a request over HTTP and waits for the answer, also when the call is over: the one future that does not end with
    /// it. It has a limit of its own.
    fn http_send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, CallError>>;

    /// What the tenant has beside its calls.
    fn tenant(&self) -> &Arc<dyn TenantHost>;

    /// Opens the audio.
    fn open_audio(&self, rate_hz: u32) -> BoxFuture<'_, Result<MediaLink, CallError>>;

    /// Closes it, without waiting. Nothing happens when none is open.
    fn close_audio(&self);

    /// The next event, or [`CallError::Timeout`].
    fn next_event(&self, timeout: Duration) -> BoxFuture<'_, Result<HandlerEvent, CallError>>;

    /// Ready when [`CallHost::next_event`] would not wait; takes nothing. One poller at a time.
    fn poll_event(&self, cx: &mut Context<'_>) -> Poll<()>;

    /// Whether a new version of the handler waits to take the call over; takes [`HandlerEvent::UpgradeReady`] with it.
    fn upgrade_pending(&self) -> bool {
        false
    }

    /// What earlier versions of the handler have left up; each is given out once.
    fn inherited(&self) -> Inherited {
        Inherited::default()
    }

    /// One log line of the handler, or of the runtime about it. The text is the guest's: it may hold anything.
    fn log(&self, level: LogLevel, message: &str, fields: &[(String, String)]);
}

/// A shared call.
pub type SharedCall = Arc<dyn CallHost>;

/// What a call brings with it from an earlier version of its handler.
#[derive(Default)]
pub struct Inherited {
    /// Calls that were placed and are up.
    pub calls: Vec<SharedCall>,
    /// Bridges that are there.
    pub bridges: Vec<Arc<dyn BridgeHost>>,
    /// Snoops that are there.
    pub snoops: Vec<Arc<dyn SnoopHost>>,
}

/// A bridge of a handler's. Dropping it takes the bridge down.
pub trait BridgeHost: Send + Sync {
    /// Its id.
    fn id(&self) -> &BridgeId;

    /// Puts a call in.
    fn add<'a>(&'a self, call: &'a SharedCall) -> BoxFuture<'a, Result<(), CallError>>;

    /// Takes it out.
    fn remove<'a>(&'a self, call: &'a SharedCall) -> BoxFuture<'a, Result<(), CallError>>;

    /// Puts a snoop in.
    fn add_snoop<'a>(&'a self, snoop: &'a Arc<dyn SnoopHost>) -> BoxFuture<'a, Result<(), CallError>>;

    /// Plays prompts to all, to their end.
    fn play(&self, media: Vec<String>) -> BoxFuture<'_, Result<(), CallError>>;

    /// Takes it down.
    fn destroy(&self) -> BoxFuture<'_, Result<(), CallError>>;
}

/// A snoop of a handler's. Dropping it takes it away.
pub trait SnoopHost: Send + Sync {
    /// Its id.
    fn id(&self) -> &SnoopId;

    /// Plays prompts, to their end.
    fn play(&self, media: Vec<String>) -> BoxFuture<'_, Result<(), CallError>>;

    /// Opens its audio.
    fn open_audio(&self, rate_hz: u32) -> BoxFuture<'_, Result<MediaLink, CallError>>;

    /// Closes it, without waiting.
    fn close_audio(&self);

    /// Takes it away.
    fn stop(&self) -> BoxFuture<'_, Result<(), CallError>>;
}

/// What a tenant's components have beside calls. The tenant is fixed in it: never an argument.
pub trait TenantHost: Send + Sync {
    /// Whose it is.
    fn tenant(&self) -> &TenantId;

    /// One value of the store.
    fn store_get(&self, key: String) -> BoxFuture<'_, Result<Option<Entry>, CallError>>;

    /// Sets one; returns its version.
    fn store_set(&self, key: String, value: Vec<u8>, ttl: Option<Duration>) -> BoxFuture<'_, Result<u64, CallError>>;

    /// Sets one if it is still this version; `None`: if there is nothing.
    fn store_compare_and_set(
        &self,
        key: String,
        expected: Option<u64>,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> BoxFuture<'_, Result<CasOutcome, CallError>>;

    /// Deletes one; whether there was something.
    fn store_delete(&self, key: String) -> BoxFuture<'_, Result<bool, CallError>>;

    /// Keys that begin so.
    fn store_keys(&self, prefix: String, limit: usize) -> BoxFuture<'_, Result<Vec<String>, CallError>>;

    /// Begins a batch of calls; returns its id.
    fn batch_start(&self, batch: BatchRequest) -> BoxFuture<'_, Result<String, CallError>>;

    /// How it stands.
    fn batch_status(&self, id: String) -> BoxFuture<'_, Result<BatchStatus, CallError>>;

    /// Begins no more of its calls.
    fn batch_cancel(&self, id: String) -> BoxFuture<'_, Result<(), CallError>>;
}
