//! A call as its handler sees it. Reading goes to cells that only the owner task writes; verbs go to it as messages.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use voxtra_core::verbs::{Digits, Gather, HandlerEvent, LogLevel, PlayOutcome};
use voxtra_core::{BoxFuture, CallError, CallInfo, CallState, HandlerName, HangupCause, MediaLink};
use voxtra_plugins::CallHost;

use crate::check;
use crate::guest_log::GuestLog;
use crate::inbox::Signals;
use crate::mailbox::Mailbox;
use crate::metadata::Metadata;

/// How many verbs may be on their way to the owner.
pub(crate) const MESSAGES_MAX: usize = 64;

/// A moment that has not come.
const NOT_YET: u64 = u64::MAX;

/// The way back of a verb's outcome.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, CallError>>;

/// A verb on its way to the owner. Its arguments have been checked.
pub(crate) enum Message {
    Answer(Reply<()>),
    Hangup(HangupCause, Reply<()>),
    Play { media: Vec<String>, interrupt_on: String, reply: Reply<PlayOutcome> },
    Gather(Gather, Reply<Digits>),
    SendDtmf(String, Reply<()>),
    OpenAudio(u32, Reply<MediaLink>),
}

impl Message {
    /// Answers it with an error. One that nobody waits for any more is no loss.
    pub(crate) fn refuse(self, error: CallError) {
        match self {
            Self::Answer(reply) | Self::Hangup(_, reply) | Self::SendDtmf(_, reply) => drop(reply.send(Err(error))),
            Self::Play { reply, .. } => drop(reply.send(Err(error))),
            Self::Gather(_, reply) => drop(reply.send(Err(error))),
            Self::OpenAudio(_, reply) => drop(reply.send(Err(error))),
        }
    }
}

/// What the owner task writes and others read.
pub(crate) struct CallShared {
    pub(crate) info: CallInfo,
    pub(crate) started_at: SystemTime,
    pub(crate) metadata: Metadata,
    pub(crate) mailbox: Mailbox,
    pub(crate) log: GuestLog,
    pub(crate) signals: Arc<Signals>,
    state: AtomicU8,
    origin: Instant,
    answered_ms: AtomicU64,
    ended_ms: AtomicU64,
}

impl CallShared {
    /// A call that begins now and rings.
    pub(crate) fn new(info: CallInfo, metadata: Vec<(String, String)>, signals: Arc<Signals>) -> Self {
        Self {
            info,
            started_at: SystemTime::now(),
            metadata: Metadata::new(metadata),
            mailbox: Mailbox::default(),
            log: GuestLog::default(),
            signals,
            state: AtomicU8::new(CallState::Ringing as u8),
            origin: Instant::now(),
            answered_ms: AtomicU64::new(NOT_YET),
            ended_ms: AtomicU64::new(NOT_YET),
        }
    }

    pub(crate) fn state(&self) -> CallState {
        CallState::from_u8(self.state.load(Ordering::Relaxed))
    }

    /// Milliseconds since the answer; see [`CallHost::duration_ms`].
    pub(crate) fn duration_ms(&self) -> u32 {
        let answered_ms = self.answered_ms.load(Ordering::Relaxed);
        if answered_ms == NOT_YET {
            return 0;
        }
        let ended_ms = self.ended_ms.load(Ordering::Relaxed);
        let until_ms = if ended_ms == NOT_YET { self.now_ms() } else { ended_ms };
        u32::try_from(until_ms.saturating_sub(answered_ms)).unwrap_or(u32::MAX)
    }

    /// Wall-clock time that does not jump during a call, and that follows a virtual clock.
    pub(crate) fn now(&self) -> SystemTime {
        self.started_at + self.origin.elapsed()
    }

    /// When the call began.
    pub(crate) fn origin(&self) -> Instant {
        self.origin
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.answered_ms.load(Ordering::Relaxed) != NOT_YET
    }

    /// Goes to another state, if the present one allows it. Only for the owner.
    pub(crate) fn set_state(&self, next: CallState) {
        if self.state().may_become(next) {
            self.state.store(next as u8, Ordering::Release);
        }
    }

    /// Notes the answer; false when it was noted before. Only for the owner.
    pub(crate) fn set_answered(&self) -> bool {
        if self.is_answered() {
            return false;
        }
        self.answered_ms.store(self.now_ms(), Ordering::Relaxed);
        if self.state() == CallState::Ringing {
            self.set_state(CallState::InProgress);
        }
        true
    }

    /// Notes the end; only the first counts. Only for the owner.
    pub(crate) fn set_over(&self, last: CallState) {
        if self.ended_ms.load(Ordering::Relaxed) == NOT_YET {
            self.ended_ms.store(self.now_ms(), Ordering::Relaxed);
            self.set_state(last);
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(NOT_YET - 1)
    }
}

/// The call that one handler is given.
pub(crate) struct SessionCall {
    shared: Arc<CallShared>,
    handler: HandlerName,
    messages: mpsc::Sender<Message>,
}

impl SessionCall {
    pub(crate) fn new(shared: Arc<CallShared>, handler: HandlerName, messages: mpsc::Sender<Message>) -> Self {
        Self { shared, handler, messages }
    }

    async fn ask<T>(&self, message: impl FnOnce(Reply<T>) -> Message) -> Result<T, CallError> {
        let (reply, outcome) = oneshot::channel();
        if self.messages.send(message(reply)).await.is_err() {
            return Err(CallError::HungUp);
        }
        let mut waiting = Waiting { signals: &self.shared.signals, done: false };
        let outcome = outcome.await;
        waiting.done = true;
        match outcome {
            Ok(outcome) => outcome,
            Err(_) if self.shared.state().is_final() => Err(CallError::HungUp),
            Err(_) => Err(CallError::Telephony("the host lost the request; this is a fault of the host".to_owned())),
        }
    }
}

/// Tells the owner when a verb's future is dropped before its end.
struct Waiting<'a> {
    signals: &'a Signals,
    done: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.signals.raise(|raised| raised.verb_dropped = true);
        }
    }
}

impl CallHost for SessionCall {
    fn info(&self) -> &CallInfo {
        &self.shared.info
    }

    fn state(&self) -> CallState {
        self.shared.state()
    }

    fn duration_ms(&self) -> u32 {
        self.shared.duration_ms()
    }

    fn metadata_get(&self, key: &str) -> Option<String> {
        self.shared.metadata.get(key)
    }

    fn metadata_set(&self, key: String, value: String) -> Result<(), CallError> {
        self.shared.metadata.set(key, value)
    }

    fn metadata_list(&self) -> Vec<(String, String)> {
        self.shared.metadata.list()
    }

    fn answer(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(self.ask(Message::Answer))
    }

    fn hangup(&self, cause: HangupCause) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            match self.ask(|reply| Message::Hangup(cause, reply)).await {
                Err(CallError::HungUp) => Ok(()),
                outcome => outcome,
            }
        })
    }

    fn play(&self, media: Vec<String>, interrupt_on: String) -> BoxFuture<'_, Result<PlayOutcome, CallError>> {
        Box::pin(async move {
            check::prompts(&media)?;
            let interrupt_on = check::keys("interrupt-on", &interrupt_on)?;
            self.ask(|reply| Message::Play { media, interrupt_on, reply }).await
        })
    }

    fn gather(&self, gather: Gather) -> BoxFuture<'_, Result<Digits, CallError>> {
        Box::pin(async move {
            let gather = check::gather(gather)?;
            self.ask(|reply| Message::Gather(gather, reply)).await
        })
    }

    fn send_dtmf(&self, digits: String) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            let digits = check::sent_keys(&digits)?;
            self.ask(|reply| Message::SendDtmf(digits, reply)).await
        })
    }

    fn open_audio(&self, rate_hz: u32) -> BoxFuture<'_, Result<MediaLink, CallError>> {
        Box::pin(async move {
            check::rate(rate_hz)?;
            self.ask(|reply| Message::OpenAudio(rate_hz, reply)).await
        })
    }

    fn close_audio(&self) {
        self.shared.signals.raise(|raised| raised.close_audio = true);
    }

    fn next_event(&self, timeout: Duration) -> BoxFuture<'_, Result<HandlerEvent, CallError>> {
        let next = poll_fn(|cx| self.shared.mailbox.poll_next(cx));
        Box::pin(async move { tokio::time::timeout(timeout, next).await.unwrap_or(Err(CallError::Timeout)) })
    }

    fn poll_event(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.mailbox.poll_waiting(cx)
    }

    fn log(&self, level: LogLevel, message: &str, fields: &[(String, String)]) {
        let info = &self.shared.info;
        self.shared.log.write((&info.tenant, self.handler.as_str(), &info.id), level, message, fields);
    }
}
