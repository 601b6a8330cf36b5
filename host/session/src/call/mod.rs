//! A call as others see it. Reading goes to cells that only the owner task writes; verbs go to it as messages.

mod message;
mod session;

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::Instant;
use voxtra_core::{CallId, CallInfo, CallState, RecordingId};

pub(crate) use self::message::{HandOn, MESSAGES_MAX, Message, Reply};
pub(crate) use self::session::SessionCall;
use crate::account::Account;
use crate::guest_log::GuestLog;
use crate::inbox::Signals;
use crate::mailbox::Mailbox;
use crate::metadata::Metadata;

/// A moment that has not come.
const NOT_YET: u64 = u64::MAX;

/// What operators may see of a call beside its state; most calls have none of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Belongings {
    pub(crate) children: Vec<CallId>,
    pub(crate) recording: Option<RecordingId>,
    pub(crate) bridges: usize,
    pub(crate) snoops: usize,
}

/// What the owner task writes and others read.
pub(crate) struct CallShared {
    pub(crate) info: CallInfo,
    pub(crate) started_at: SystemTime,
    pub(crate) metadata: Metadata,
    pub(crate) mailbox: Mailbox,
    pub(crate) log: GuestLog,
    pub(crate) signals: Arc<Signals>,
    pub(crate) account: Arc<Account>,
    state: AtomicU8,
    origin: Instant,
    answered_ms: AtomicU64,
    ended_ms: AtomicU64,
    /// Set when a rule has decided on the call after it had begun.
    decided: OnceLock<Box<CallInfo>>,
    belongings: OnceLock<Box<Mutex<Belongings>>>,
    /// Which handler has the call: grows when it goes over to another version.
    tenure: AtomicU32,
    taken_over: Notify,
}

impl CallShared {
    /// A call that begins now and rings; its log may have so many bytes.
    pub(crate) fn new(
        info: CallInfo,
        metadata: Vec<(String, String)>,
        signals: Arc<Signals>,
        log_bytes: Option<u32>,
    ) -> Self {
        Self {
            info,
            started_at: SystemTime::now(),
            metadata: Metadata::new(metadata),
            mailbox: Mailbox::default(),
            log: GuestLog::new(log_bytes),
            signals,
            account: Arc::default(),
            state: AtomicU8::new(CallState::Ringing as u8),
            origin: Instant::now(),
            answered_ms: AtomicU64::new(NOT_YET),
            ended_ms: AtomicU64::new(NOT_YET),
            decided: OnceLock::new(),
            belongings: OnceLock::new(),
            tenure: AtomicU32::new(0),
            taken_over: Notify::new(),
        }
    }

    /// Which handler has the call: at first 0, then one more whenever it goes over to another version.
    pub(crate) fn tenure(&self) -> u32 {
        self.tenure.load(Ordering::Acquire)
    }

    /// The handler of this tenure has the call from now on, and the owner hears of it before anything that it asks.
    pub(crate) fn begin_tenure(&self, tenure: u32) {
        if self.tenure() < tenure && self.tenure.fetch_max(tenure, Ordering::AcqRel) < tenure {
            self.signals.raise(|raised| raised.took_over = true);
            self.taken_over.notify_one();
        }
    }

    /// Waits until it has. One at a time.
    pub(crate) async fn wait_for_tenure(&self, tenure: u32) {
        while self.tenure() < tenure {
            self.taken_over.notified().await;
        }
    }

    /// What is known of the call, its route as it was decided in the end.
    pub(crate) fn info(&self) -> &CallInfo {
        self.decided.get().map_or(&self.info, |info| info)
    }

    /// Another route than the static one. Once, before the handler starts.
    pub(crate) fn set_route(&self, route: String) {
        let _ = self.decided.set(Box::new(CallInfo { route, ..self.info.clone() }));
    }

    /// What belongs to the call now.
    pub(crate) fn belongings(&self) -> Belongings {
        let belongings = self.belongings.get();
        belongings.map(|b| b.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap_or_default()
    }

    /// Notes what belongs to the call. Only for the owner.
    pub(crate) fn note_belongings(&self, note: impl FnOnce(&mut Belongings)) {
        let belongings = self.belongings.get_or_init(Box::default);
        note(&mut belongings.lock().unwrap_or_else(PoisonError::into_inner));
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

    /// When it was answered.
    pub(crate) fn answered_at(&self) -> Option<SystemTime> {
        self.moment(&self.answered_ms)
    }

    /// When it was over.
    pub(crate) fn ended_at(&self) -> Option<SystemTime> {
        self.moment(&self.ended_ms)
    }

    fn moment(&self, since_origin_ms: &AtomicU64) -> Option<SystemTime> {
        let since_origin_ms = since_origin_ms.load(Ordering::Relaxed);
        (since_origin_ms != NOT_YET).then(|| self.started_at + Duration::from_millis(since_origin_ms))
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

    /// Goes back to where a hand-over began that came to nothing. Only for the owner.
    pub(crate) fn restore_state(&self, before: CallState) {
        if !self.state().is_final() {
            self.state.store(before as u8, Ordering::Release);
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
