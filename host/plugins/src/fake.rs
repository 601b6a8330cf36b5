//! A call that goes nowhere, for tests and benchmarks of the runtime: every verb succeeds at once.

use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use voxtra_core::verbs::{Digits, DigitsEnd, Gather, HandlerEvent, LogLevel, PlayOutcome};
use voxtra_core::{BoxFuture, CallError, CallId, CallInfo, CallState, Direction, HangupCause, MediaLink, TenantId};

use crate::host::CallHost;

/// See the module.
pub struct FakeCall {
    info: CallInfo,
    logs: Mutex<Vec<String>>,
    metadata: Mutex<Vec<(String, String)>>,
}

impl FakeCall {
    /// A call from `100` to `200`.
    pub fn new() -> Self {
        let info = CallInfo {
            id: CallId::from("fake-1"),
            tenant: TenantId::default(),
            caller_id: "100".into(),
            called_number: "200".into(),
            direction: Direction::Inbound,
            route: "default".into(),
        };
        Self { info, logs: Mutex::default(), metadata: Mutex::default() }
    }

    /// What the handler has logged.
    pub fn logs(&self) -> Vec<String> {
        self.logs.lock().map(|logs| logs.clone()).unwrap_or_default()
    }
}

impl Default for FakeCall {
    fn default() -> Self {
        Self::new()
    }
}

fn at_once<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

impl CallHost for FakeCall {
    fn info(&self) -> &CallInfo {
        &self.info
    }

    fn state(&self) -> CallState {
        CallState::InProgress
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

    fn answer(&self) -> BoxFuture<'_, Result<(), CallError>> {
        at_once(Ok(()))
    }

    fn hangup(&self, _cause: HangupCause) -> BoxFuture<'_, Result<(), CallError>> {
        at_once(Ok(()))
    }

    fn play(&self, _media: Vec<String>, _interrupt_on: String) -> BoxFuture<'_, Result<PlayOutcome, CallError>> {
        at_once(Ok(PlayOutcome::Finished))
    }

    fn gather(&self, _gather: Gather) -> BoxFuture<'_, Result<Digits, CallError>> {
        at_once(Ok(Digits { digits: "1".into(), ended_by: DigitsEnd::Maximum }))
    }

    fn send_dtmf(&self, _digits: String) -> BoxFuture<'_, Result<(), CallError>> {
        at_once(Ok(()))
    }

    fn open_audio(&self, _rate_hz: u32) -> BoxFuture<'_, Result<MediaLink, CallError>> {
        at_once(Err(CallError::NotConfigured("this call has no audio".into())))
    }

    fn close_audio(&self) {}

    fn next_event(&self, timeout: Duration) -> BoxFuture<'_, Result<HandlerEvent, CallError>> {
        Box::pin(async move {
            tokio::time::sleep(timeout).await;
            Err(CallError::Timeout)
        })
    }

    fn poll_event(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn log(&self, _level: LogLevel, message: &str, _fields: &[(String, String)]) {
        if let Ok(mut logs) = self.logs.lock() {
            logs.push(message.to_owned());
        }
    }
}
