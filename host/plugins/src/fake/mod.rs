//! A call that goes nowhere, and what is beside it, for tests and benchmarks of the runtime: every verb succeeds at
//! once and is remembered, with its arguments, as a line.

mod beside;
mod tenant;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use voxtra_core::fake::FakeAudio;
use voxtra_core::http::{FakeHttp, Http, HttpRequest, HttpResponse};
use voxtra_core::verbs::{
    AnsweredBy, DialplanPlace, Digits, DigitsEnd, Gather, HandlerEvent, LogLevel, MachineDetector, OriginateOptions,
    PlayOutcome, RecordOptions, RecordingInfo, SnoopOptions,
};
use voxtra_core::{
    BoxFuture, CallError, CallId, CallInfo, CallState, Direction, HangupCause, MediaLink, PlaybackId, RecordingId,
    TenantId,
};

pub use self::beside::{FakeBridge, FakeSnoop};
pub use self::tenant::FakeTenant;
use crate::host::{BridgeHost, CallHost, SharedCall, SnoopHost, TenantHost};

/// What was asked of a call and of all that came out of it, in order. Cheap to clone; clones share the lines.
#[derive(Clone, Default)]
pub struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    /// The lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.inner().clone()
    }

    pub(crate) fn write(&self, line: impl Into<String>) {
        self.inner().push(line.into());
    }

    fn inner(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the module.
pub struct FakeCall {
    info: CallInfo,
    logs: Mutex<Vec<String>>,
    metadata: Mutex<Vec<(String, String)>>,
    events: Mutex<Vec<HandlerEvent>>,
    state: CallState,
    refuses: Option<CallError>,
    agents_are_busy: bool,
    journal: Journal,
    tenant: Arc<dyn TenantHost>,
    audio: Arc<FakeAudio>,
    http: Arc<FakeHttp>,
    /// How many things have come out of it; their ids are made of it.
    made: AtomicU32,
}

impl FakeCall {
    /// A call from `100` to `200`.
    pub fn new() -> Self {
        let journal = Journal::default();
        let tenant = Arc::new(FakeTenant::new(journal.clone()));
        Self::of("fake-1", journal, tenant)
    }

    fn of(id: &str, journal: Journal, tenant: Arc<dyn TenantHost>) -> Self {
        let info = CallInfo {
            id: CallId::from(id),
            tenant: TenantId::default(),
            caller_id: "100".into(),
            called_number: "200".into(),
            direction: Direction::Inbound,
            route: "default".into(),
        };
        Self {
            info,
            logs: Mutex::default(),
            metadata: Mutex::default(),
            events: Mutex::default(),
            state: CallState::InProgress,
            refuses: None,
            agents_are_busy: false,
            journal,
            tenant,
            audio: Arc::default(),
            http: Arc::default(),
            made: AtomicU32::new(1),
        }
    }

    /// The same with metadata.
    pub fn with_metadata<K: Into<String>, V: Into<String>>(self, metadata: impl IntoIterator<Item = (K, V)>) -> Self {
        if let Ok(mut mine) = self.metadata.lock() {
            mine.extend(metadata.into_iter().map(|(k, v)| (k.into(), v.into())));
        }
        self
    }

    /// The same with events that wait to be read.
    pub fn with_events(self, events: impl IntoIterator<Item = HandlerEvent>) -> Self {
        if let Ok(mut mine) = self.events.lock() {
            mine.extend(events);
        }
        self
    }

    /// The same, but every verb that may fail fails so.
    pub fn refusing(mut self, error: CallError) -> Self {
        self.refuses = Some(error);
        self
    }

    /// The same, but whoever is called from it is busy.
    pub fn with_busy_agents(mut self) -> Self {
        self.agents_are_busy = true;
        self
    }

    /// What the handler has logged.
    pub fn logs(&self) -> Vec<String> {
        self.logs.lock().map(|logs| logs.clone()).unwrap_or_default()
    }

    /// What it has asked for.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// What it hears and says once its audio is open.
    pub fn audio(&self) -> &Arc<FakeAudio> {
        &self.audio
    }

    /// What it has asked of servers, and what they are to answer: nothing, until a test says so.
    pub fn http(&self) -> &Arc<FakeHttp> {
        &self.http
    }

    fn done<T: Send + 'static>(&self, line: String, value: T) -> BoxFuture<'_, Result<T, CallError>> {
        let result = self.done_now(line).map(|()| value);
        Box::pin(std::future::ready(result))
    }

    fn done_now(&self, line: String) -> Result<(), CallError> {
        self.journal.write(line);
        self.refuses.clone().map_or(Ok(()), Err)
    }

    fn next(&self) -> u32 {
        self.made.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }
}

impl Default for FakeCall {
    fn default() -> Self {
        Self::new()
    }
}

impl CallHost for FakeCall {
    fn info(&self) -> &CallInfo {
        &self.info
    }

    fn state(&self) -> CallState {
        self.state
    }

    fn duration_ms(&self) -> u32 {
        1_000
    }

    fn metadata_get(&self, key: &str) -> Option<String> {
        let metadata = self.metadata.lock().ok()?;
        metadata.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone())
    }

    fn metadata_set(&self, key: String, value: String) -> Result<(), CallError> {
        if let Ok(mut metadata) = self.metadata.lock() {
            metadata.retain(|(k, _)| *k != key);
            metadata.push((key, value));
        }
        Ok(())
    }

    fn metadata_list(&self) -> Vec<(String, String)> {
        self.metadata.lock().map(|m| m.clone()).unwrap_or_default()
    }

    fn metadata_share(&self, keys: Vec<String>) -> Result<(), CallError> {
        self.done_now(format!("metadata-share {keys:?}"))
    }

    fn answer(&self) -> BoxFuture<'_, Result<(), CallError>> {
        self.done("answer".into(), ())
    }

    fn ring(&self) -> BoxFuture<'_, Result<(), CallError>> {
        self.done("ring".into(), ())
    }

    fn hold(&self, music_class: String) -> BoxFuture<'_, Result<(), CallError>> {
        self.done(format!("hold {music_class:?}"), ())
    }

    fn unhold(&self) -> BoxFuture<'_, Result<(), CallError>> {
        self.done("unhold".into(), ())
    }

    fn transfer(&self, target: String) -> BoxFuture<'_, Result<(), CallError>> {
        self.done(format!("transfer {target:?}"), ())
    }

    fn transfer_to_queue(
        &self,
        queue: String,
        metadata: Vec<(String, String)>,
    ) -> BoxFuture<'_, Result<(), CallError>> {
        self.done(format!("transfer-to-queue {queue:?} {metadata:?}"), ())
    }

    fn continue_in_dialplan(&self, place: DialplanPlace) -> BoxFuture<'_, Result<(), CallError>> {
        self.done(format!("continue-in-dialplan {place:?}"), ())
    }

    fn set_variable(&self, name: String, value: String) -> BoxFuture<'_, Result<(), CallError>> {
        self.done(format!("set-variable {name:?} {value:?}"), ())
    }

    fn get_variable(&self, name: String) -> BoxFuture<'_, Result<Option<String>, CallError>> {
        let value = (name != "UNSET").then(|| format!("value of {name}"));
        self.done(format!("get-variable {name:?}"), value)
    }

    fn hangup(&self, cause: HangupCause) -> BoxFuture<'_, Result<(), CallError>> {
        self.done(format!("hangup {cause:?}"), ())
    }

    fn play(&self, media: Vec<String>, interrupt_on: String) -> BoxFuture<'_, Result<PlayOutcome, CallError>> {
        let pressed = interrupt_on.chars().next();
        let outcome = pressed.map_or(PlayOutcome::Finished, PlayOutcome::Interrupted);
        self.done(format!("play {media:?} {interrupt_on:?}"), outcome)
    }

    fn start_playback(&self, media: Vec<String>) -> BoxFuture<'_, Result<PlaybackId, CallError>> {
        let id = PlaybackId::from(format!("playback-{}", self.next()));
        self.done(format!("start-playback {media:?}"), id)
    }

    fn stop_playback(&self, id: PlaybackId) -> BoxFuture<'_, Result<(), CallError>> {
        self.done(format!("{id} stop"), ())
    }

    fn wait_playback(&self, id: PlaybackId, timeout: Duration) -> BoxFuture<'_, Result<PlayOutcome, CallError>> {
        self.done(format!("{id} wait {timeout:?}"), PlayOutcome::Stopped)
    }

    fn gather(&self, gather: Gather) -> BoxFuture<'_, Result<Digits, CallError>> {
        let digits = Digits { digits: "1".into(), ended_by: DigitsEnd::Maximum };
        self.done(format!("gather {:?} {}-{}", gather.prompt, gather.min_digits, gather.max_digits), digits)
    }

    fn send_dtmf(&self, digits: String) -> BoxFuture<'_, Result<(), CallError>> {
        self.done(format!("send-dtmf {digits:?}"), ())
    }

    fn record_start(&self, options: RecordOptions) -> BoxFuture<'_, Result<RecordingId, CallError>> {
        self.done(format!("record-start {options:?}"), RecordingId::from("recording-1"))
    }

    fn record_pause(&self, paused: bool) -> BoxFuture<'_, Result<(), CallError>> {
        self.done(format!("record-pause {paused}"), ())
    }

    fn record_stop(&self) -> BoxFuture<'_, Result<RecordingInfo, CallError>> {
        let info = RecordingInfo {
            id: RecordingId::from("recording-1"),
            name: "fake".into(),
            duration_ms: 2_000,
            size_bytes: 64_044,
        };
        self.done("record-stop".into(), info)
    }

    fn originate(&self, options: OriginateOptions) -> BoxFuture<'_, Result<SharedCall, CallError>> {
        let id = format!("fake-{}", self.next());
        let mut call = Self::of(&id, self.journal.clone(), Arc::clone(&self.tenant));
        if self.agents_are_busy {
            call.state = CallState::Failed;
        }
        self.done(format!("originate {options:?}"), Arc::new(call) as SharedCall)
    }

    fn create_bridge(&self) -> BoxFuture<'_, Result<Arc<dyn BridgeHost>, CallError>> {
        let bridge = FakeBridge::new(format!("bridge-{}", self.next()), self.journal.clone());
        self.done("create-bridge".into(), Arc::new(bridge) as Arc<dyn BridgeHost>)
    }

    fn snoop(&self, options: SnoopOptions) -> BoxFuture<'_, Result<Arc<dyn SnoopHost>, CallError>> {
        let snoop = FakeSnoop::new(format!("snoop-{}", self.next()), self.journal.clone());
        self.done(format!("snoop {options:?}"), Arc::new(snoop) as Arc<dyn SnoopHost>)
    }

    fn detect_machine(&self, detector: MachineDetector) -> BoxFuture<'_, Result<AnsweredBy, CallError>> {
        self.done(format!("detect-machine {detector:?}"), AnsweredBy::Machine)
    }

    fn emit(&self, name: String, data_json: String) -> Result<(), CallError> {
        self.done_now(format!("emit {name:?} {data_json}"))
    }

    fn http_send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, CallError>> {
        if let Err(refused) = self.done_now(format!("http-send {request:?}")) {
            return Box::pin(std::future::ready(Err(refused)));
        }
        let answer = self.http.send(request);
        Box::pin(async move { answer.await.map_err(CallError::from) })
    }

    fn tenant(&self) -> &Arc<dyn TenantHost> {
        &self.tenant
    }

    fn open_audio(&self, rate_hz: u32) -> BoxFuture<'_, Result<MediaLink, CallError>> {
        self.done(format!("open-audio {rate_hz}"), self.audio.link(rate_hz))
    }

    fn close_audio(&self) {
        self.journal.write("close-audio");
        self.audio.close();
    }

    fn next_event(&self, timeout: Duration) -> BoxFuture<'_, Result<HandlerEvent, CallError>> {
        Box::pin(async move {
            let waiting = self.events.lock().ok().and_then(|mut e| (!e.is_empty()).then(|| e.remove(0)));
            if let Some(event) = waiting {
                return Ok(event);
            }
            tokio::time::sleep(timeout).await;
            Err(CallError::Timeout)
        })
    }

    fn poll_event(&self, _cx: &mut Context<'_>) -> Poll<()> {
        match self.events.lock() {
            Ok(events) if !events.is_empty() => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }

    fn log(&self, _level: LogLevel, message: &str, _fields: &[(String, String)]) {
        if let Ok(mut logs) = self.logs.lock() {
            logs.push(message.to_owned());
        }
    }
}
