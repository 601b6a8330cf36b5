//! What the runtime needs of a call: the port between a handler's bindings, whatever their version, and the session
//! that implements them.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use voxtra_core::verbs::{Digits, Gather, HandlerEvent, LogLevel, PlayOutcome};
use voxtra_core::{BoxFuture, CallError, CallInfo, CallState, HangupCause, MediaLink};

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

    /// Answers.
    fn answer(&self) -> BoxFuture<'_, Result<(), CallError>>;

    /// Hangs up; succeeds on a call that is over.
    fn hangup(&self, cause: HangupCause) -> BoxFuture<'_, Result<(), CallError>>;

    /// Plays prompts and waits for their end; the keys in `interrupt_on` stop them.
    fn play(&self, media: Vec<String>, interrupt_on: String) -> BoxFuture<'_, Result<PlayOutcome, CallError>>;

    /// Plays prompts and takes keys. Listening alone is a gather without prompts.
    fn gather(&self, gather: Gather) -> BoxFuture<'_, Result<Digits, CallError>>;

    /// Sends keys.
    fn send_dtmf(&self, digits: String) -> BoxFuture<'_, Result<(), CallError>>;

    /// Opens the audio.
    fn open_audio(&self, rate_hz: u32) -> BoxFuture<'_, Result<MediaLink, CallError>>;

    /// Closes it, without waiting. Nothing happens when none is open.
    fn close_audio(&self);

    /// The next event, or [`CallError::Timeout`].
    fn next_event(&self, timeout: Duration) -> BoxFuture<'_, Result<HandlerEvent, CallError>>;

    /// Ready when [`CallHost::next_event`] would not wait; takes nothing. One poller at a time.
    fn poll_event(&self, cx: &mut Context<'_>) -> Poll<()>;

    /// One log line of the handler, or of the runtime about it. The text is the guest's: it may hold anything.
    fn log(&self, level: LogLevel, message: &str, fields: &[(String, String)]);
}

/// A shared call.
pub type SharedCall = Arc<dyn CallHost>;
