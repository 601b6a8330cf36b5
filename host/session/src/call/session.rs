//! The call that one handler is given.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use voxtra_core::http::{HttpRequest, HttpResponse};
use voxtra_core::verbs::{
    AnsweredBy, DialplanPlace, Digits, Gather, HandlerEvent, LogLevel, MachineDetector, OriginateOptions, PlayOutcome,
    RecordOptions, RecordingInfo, SnoopOptions,
};
use voxtra_core::{
    BoxFuture, CallError, CallInfo, CallState, Capabilities, Capability, DialNarrowing, HandlerName, HangupCause, Http,
    HttpOut, MediaLink, PlaybackId, RecordingId,
};
use voxtra_plugins::host::{BridgeHost, CallHost, Inherited, SharedCall, SnoopHost, TenantHost};

use super::{CallShared, HandOn, Message, Reply};
use crate::dial::Dialling;
use crate::handlers::HandlerVersion;
use crate::host::Inner;
use crate::inbox::Signals;
use crate::tenant::narrowed;
use crate::{check, metadata, recording_id, words};

/// The longest that an answer over HTTP is waited for, whatever its sender allows.
const HTTP_LIMIT: Duration = Duration::from_secs(120);

/// See the module.
pub(crate) struct SessionCall {
    shared: Arc<CallShared>,
    handler: HandlerName,
    messages: mpsc::Sender<Message>,
    tenant: Arc<dyn TenantHost>,
    dialling: Arc<Dialling>,
    http: Option<Arc<dyn HttpOut>>,
    /// As this handler's manifest leaves it, since the first request.
    own_http: OnceLock<Arc<dyn Http>>,
    /// Of the handler that is given the call.
    capabilities: Capabilities,
    dial: Option<Arc<DialNarrowing>>,
    /// Whether the call is this handler's.
    tenure: u32,
    inherited: Mutex<Inherited>,
}

impl SessionCall {
    pub(crate) fn new(
        shared: Arc<CallShared>,
        handler: Option<&dyn HandlerVersion>,
        messages: mpsc::Sender<Message>,
        host: &Inner,
    ) -> Self {
        let capabilities = handler.map_or(Capabilities::NONE, HandlerVersion::capabilities);
        let dial = handler.and_then(HandlerVersion::dial_narrowing);
        Self {
            handler: handler.map_or_else(|| HandlerName::from(""), |handler| handler.name().clone()),
            messages,
            tenant: narrowed(host.tenant(&shared.info.tenant), capabilities, dial.clone()),
            dialling: Arc::clone(&host.dialling),
            http: host.ports.http.clone(),
            own_http: OnceLock::new(),
            capabilities,
            dial,
            tenure: shared.tenure(),
            inherited: Mutex::default(),
            shared,
        }
    }

    /// The same for the next version of the call's handler: the call is its own from the first that it does.
    pub(crate) fn taking_over(mut self, inherited: Inherited) -> Self {
        self.tenure = self.shared.tenure().saturating_add(1);
        self.inherited = Mutex::new(inherited);
        self
    }

    /// Which handler of the call this is for.
    pub(crate) fn tenure(&self) -> u32 {
        self.tenure
    }

    /// The handler does something: from the first that it does, the call is its own. Not when it is another's by now, and
    /// this one only has not heard yet that it is to stop.
    fn acts(&self) -> Result<(), CallError> {
        self.shared.begin_tenure(self.tenure);
        if self.is_past() { Err(CallError::HungUp) } else { Ok(()) }
    }

    /// Whether the call is another handler's by now.
    fn is_past(&self) -> bool {
        self.tenure < self.shared.tenure()
    }

    async fn ask<T>(&self, message: impl FnOnce(Reply<T>) -> Message) -> Result<T, CallError> {
        self.acts()?;
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
        self.shared.info()
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
        self.acts()?;
        self.shared.metadata.set(key, value)
    }

    fn metadata_list(&self) -> Vec<(String, String)> {
        self.shared.metadata.list()
    }

    fn answer(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(self.ask(Message::Answer))
    }

    fn metadata_share(&self, keys: Vec<String>) -> Result<(), CallError> {
        self.acts()?;
        self.shared.metadata.share(keys)
    }

    fn ring(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(self.ask(Message::Ring))
    }

    fn hold(&self, music_class: String) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            words::music_class(&music_class)?;
            self.ask(|reply| Message::Hold(music_class, reply)).await
        })
    }

    fn unhold(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(self.ask(Message::Unhold))
    }

    fn transfer(&self, target: String) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            let checked = words::target(&target)?;
            if matches!(checked, words::Target::Endpoint(_)) {
                self.capabilities.check(Capability::Dial)?;
            }
            self.dialling.may_transfer(&self.shared.info.tenant, self.dial.as_deref(), &checked)?;
            self.ask(|reply| Message::HandOn(Box::new(HandOn::Target(target)), reply)).await
        })
    }

    fn transfer_to_queue(
        &self,
        queue: String,
        metadata: Vec<(String, String)>,
    ) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            words::name("the queue", &queue)?;
            let variables = words::queue_variables(metadata)?;
            self.ask(|reply| Message::HandOn(Box::new(HandOn::Queue { queue, variables }), reply)).await
        })
    }

    fn continue_in_dialplan(&self, place: DialplanPlace) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            words::place(&place)?;
            if !place.context.is_empty() {
                self.dialling.may_enter(&self.shared.info.tenant, self.dial.as_deref(), &place.context)?;
            }
            self.ask(|reply| Message::HandOn(Box::new(HandOn::Dialplan(place)), reply)).await
        })
    }

    fn set_variable(&self, name: String, value: String) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            words::variable(&name, &value)?;
            self.ask(|reply| Message::SetVariable { name, value, reply }).await
        })
    }

    fn get_variable(&self, name: String) -> BoxFuture<'_, Result<Option<String>, CallError>> {
        Box::pin(async move {
            words::variable_name(&name)?;
            self.ask(|reply| Message::GetVariable(name, reply)).await
        })
    }

    fn start_playback(&self, media: Vec<String>) -> BoxFuture<'_, Result<PlaybackId, CallError>> {
        Box::pin(async move {
            check::prompts(&media)?;
            recording_id::check_own(&self.shared.info.tenant, &media)?;
            self.ask(|reply| Message::StartPlayback(media, reply)).await
        })
    }

    fn stop_playback(&self, id: PlaybackId) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            match self.ask(|reply| Message::StopPlayback(id, reply)).await {
                // What played is over with the call.
                Err(CallError::HungUp) => Ok(()),
                outcome => outcome,
            }
        })
    }

    fn wait_playback(&self, id: PlaybackId, timeout: Duration) -> BoxFuture<'_, Result<PlayOutcome, CallError>> {
        Box::pin(async move {
            let outcome = self.ask(|reply| Message::WaitPlayback(id, reply));
            tokio::time::timeout(timeout, outcome).await.unwrap_or(Err(CallError::Timeout))
        })
    }

    fn record_start(&self, options: RecordOptions) -> BoxFuture<'_, Result<RecordingId, CallError>> {
        Box::pin(async move {
            self.capabilities.check(Capability::Record)?;
            words::recording(&options)?;
            self.ask(|reply| Message::RecordStart(Box::new(options), reply)).await
        })
    }

    fn record_pause(&self, paused: bool) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            if !paused {
                // An earlier version of the handler may have begun it.
                self.capabilities.check(Capability::Record)?;
            }
            self.ask(move |reply| Message::RecordPause(paused, reply)).await
        })
    }

    fn record_stop(&self) -> BoxFuture<'_, Result<RecordingInfo, CallError>> {
        Box::pin(self.ask(Message::RecordStop))
    }

    fn originate(&self, options: OriginateOptions) -> BoxFuture<'_, Result<SharedCall, CallError>> {
        Box::pin(async move {
            self.capabilities.check(Capability::Originate)?;
            if words::is_number(&options.to) {
                self.capabilities.check(Capability::Dial)?;
            }
            words::variables(&options.variables)?;
            metadata::check_all(&options.metadata).map_err(CallError::InvalidArgument)?;
            self.ask(|reply| Message::Originate(Box::new(options), reply)).await
        })
    }

    fn create_bridge(&self) -> BoxFuture<'_, Result<Arc<dyn BridgeHost>, CallError>> {
        Box::pin(async move {
            self.capabilities.check(Capability::Bridge)?;
            self.ask(Message::CreateBridge).await
        })
    }

    fn snoop(&self, options: SnoopOptions) -> BoxFuture<'_, Result<Arc<dyn SnoopHost>, CallError>> {
        Box::pin(async move {
            self.capabilities.check(Capability::Snoop)?;
            words::snoop(options)?;
            self.ask(|reply| Message::Snoop(options, reply)).await
        })
    }

    fn detect_machine(&self, detector: MachineDetector) -> BoxFuture<'_, Result<AnsweredBy, CallError>> {
        Box::pin(self.ask(move |reply| Message::DetectMachine(detector, reply)))
    }

    fn emit(&self, name: String, data_json: String) -> Result<(), CallError> {
        let data = words::event(&name, &data_json)?;
        self.acts()?;
        match self.messages.try_send(Message::Emit(name, data)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(CallError::HungUp),
            Err(TrySendError::Full(_)) => {
                Err(CallError::LimitExceeded("the call has too many verbs under way; emit less at once".to_owned()))
            }
        }
    }

    fn http_send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, CallError>> {
        Box::pin(async move {
            self.capabilities.check(Capability::Http)?;
            let missing = "there is no way out for HTTP here; `voxtra start` is one, for what tenant.toml allows";
            let out = self.http.as_ref().ok_or_else(|| CallError::NotConfigured(missing.to_owned()))?;
            self.acts()?;
            let (account, tenant) = (&self.shared.account, &self.shared.info.tenant);
            let way = self.own_http.get_or_init(|| account.http(out.as_ref(), tenant).of_handler(&self.handler));
            match tokio::time::timeout(HTTP_LIMIT, way.send(request)).await {
                Ok(answer) => Ok(answer?),
                Err(_) => Err(CallError::Timeout),
            }
        })
    }

    fn tenant(&self) -> &Arc<dyn TenantHost> {
        &self.tenant
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
            recording_id::check_own(&self.shared.info.tenant, &media)?;
            let interrupt_on = check::keys("interrupt-on", &interrupt_on)?;
            self.ask(|reply| Message::Play { media, interrupt_on, reply }).await
        })
    }

    fn gather(&self, gather: Gather) -> BoxFuture<'_, Result<Digits, CallError>> {
        Box::pin(async move {
            let gather = check::gather(gather)?;
            recording_id::check_own(&self.shared.info.tenant, &gather.prompt)?;
            self.ask(|reply| Message::Gather(Box::new(gather), reply)).await
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
            let link = self.ask(|reply| Message::OpenAudio(rate_hz, reply)).await?;
            Ok(self.shared.account.counted(link))
        })
    }

    fn close_audio(&self) {
        if self.is_past() {
            // It stays open for the version that has the call now.
            return;
        }
        self.shared.signals.raise(|raised| raised.close_audio = true);
    }

    fn next_event(&self, timeout: Duration) -> BoxFuture<'_, Result<HandlerEvent, CallError>> {
        let acts = self.acts();
        let next = poll_fn(|cx| self.shared.mailbox.poll_next(cx));
        Box::pin(async move {
            acts?;
            tokio::time::timeout(timeout, next).await.unwrap_or(Err(CallError::Timeout))
        })
    }

    fn poll_event(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.mailbox.poll_waiting(cx)
    }

    fn upgrade_pending(&self) -> bool {
        self.acts().is_ok() && self.shared.mailbox.hear_of_upgrade()
    }

    fn inherited(&self) -> Inherited {
        if self.acts().is_err() {
            return Inherited::default();
        }
        std::mem::take(&mut *self.inherited.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn log(&self, level: LogLevel, message: &str, fields: &[(String, String)]) {
        let info = &self.shared.info;
        self.shared.account.logged(message, fields);
        self.shared.log.write((&info.tenant, self.handler.as_str(), &info.id), level, message, fields);
    }
}
