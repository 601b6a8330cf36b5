//! Recording a call: one at a time, in a task of its own that outlives the call's owner, so that whatever has begun is
//! finished once.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;
use voxtra_core::recording::{CaptureEnd, CaptureLimits, OpenRecording, RecordingDesk, RecordingEnd, RecordingStart};
use voxtra_core::telephony::PbxRecording;
use voxtra_core::verbs::{HandlerEvent, RecordOptions, Recorder, RecordingInfo, Sides, SnoopOptions};
use voxtra_core::{CallError, EventType, Exchange, Leg, PlaybackId, RecordingId};
use voxtra_plugins::host::SnoopHost;

use super::audio::Audio;
use super::{CallTask, leg_verb};
use crate::call::{Message, Reply};
use crate::joined::{SessionSnoop, SnoopCore};
use crate::recording_id;

/// What the host records at, unless the call's own audio is finer.
const RATE_HZ: u32 = 8_000;
const FINE_RATE_HZ: u32 = 16_000;

/// What tells the caller that recording begins. One of Asterisk's own sounds.
const BEEP: &str = "sound:beep";

/// How long the desk may take to open a recording.
const OPEN_LIMIT: Duration = Duration::from_secs(10);

/// How long the PBX may take to say that its recording is over.
const PBX_LIMIT: Duration = Duration::from_secs(3);

/// Orders that wait for a recording.
const COMMANDS_MAX: usize = 16;

/// A recording that is being made, for the call's owner.
pub(super) struct Recording {
    id: RecordingId,
    name: String,
    recorder: Recorder,
    commands: mpsc::Sender<Command>,
    /// Where the PBX's word goes that its recording is over.
    pbx: Option<oneshot::Sender<Result<u32, String>>>,
    task: JoinHandle<Recorded>,
}

enum Command {
    Pause(bool, Reply<()>),
    Stop(Option<Reply<RecordingInfo>>),
}

/// A recording that is over.
pub(super) struct Recorded {
    id: RecordingId,
    /// Whether the handler knows of it.
    began: bool,
    outcome: Result<RecordingInfo, CallError>,
}

impl Recording {
    /// Waits for its end. Can be dropped and asked again, until it has answered.
    pub(super) async fn over(&mut self) -> Recorded {
        let lost = |error| CallError::Telephony(format!("its task was lost ({error}); this is a fault of the host"));
        (&mut self.task).await.unwrap_or_else(|error| Recorded {
            id: self.id.clone(),
            began: true,
            outcome: Err(lost(error)),
        })
    }
}

/// Ends a recording that is still made when its call ends, and waits for it. Dropped on the way, it goes on by itself.
pub(super) async fn finish_recording(mut recording: Box<Recording>) {
    let _ = recording.commands.try_send(Command::Stop(None));
    let _ = recording.over().await;
}

impl CallTask {
    pub(super) fn record_start(&mut self, options: RecordOptions, reply: Reply<RecordingId>) {
        let refusal = match (&self.life.host.ports.desk, &self.recording) {
            (None, _) => Some(CallError::NotConfigured(
                "this host keeps no recordings; the operator can set `recordings`".to_owned(),
            )),
            (_, Some(_)) => Some(CallError::LimitExceeded(
                "the call is being recorded already, and there is one recording at a time; stop that first".to_owned(),
            )),
            _ if !self.shared.is_answered() => Some(CallError::InvalidArgument(
                "the call is not answered, so there is nothing to record; answer it first".to_owned(),
            )),
            _ => None,
        };
        let desk = match (refusal, self.life.host.ports.desk.clone()) {
            (None, Some(desk)) => desk,
            (refusal, _) => return drop(reply.send(Err(refusal.unwrap_or(CallError::HungUp)))),
        };
        let id = recording_id::new(&self.shared.info.tenant);
        let (commands, orders) = mpsc::channel(COMMANDS_MAX);
        let (pbx, pbx_over) = oneshot::channel();
        let recorder = options.recorder;
        let start = self.recording_start(&id, &options);
        let name = start.name.clone();
        let job = Job {
            owner: self.to_self.downgrade(),
            start,
            limit: self.recording_limit(&options),
            rate_hz: self.recording_rate_hz(),
            options,
            desk,
            leg: Arc::clone(&self.leg),
            exchange: Arc::clone(&self.exchange),
            control: self.life.host.runtimes.control.clone(),
        };
        // Not among the call's own work: that is dropped at its end.
        let task = self.life.host.runtimes.control.spawn(job.run(orders, pbx_over, reply));
        let noted = id.clone();
        self.shared.note_belongings(|belongings| belongings.recording = Some(noted));
        self.recording = Some(Box::new(Recording { id, name, recorder, commands, pbx: Some(pbx), task }));
    }

    fn recording_start(&self, id: &RecordingId, options: &RecordOptions) -> RecordingStart {
        let name = if options.name.is_empty() { id.as_str() } else { &options.name };
        RecordingStart {
            id: id.clone(),
            tenant: self.shared.info.tenant.clone(),
            call: self.shared.info.id.clone(),
            name: name.to_owned(),
            recorder: options.recorder,
            exchange: self.exchange.name().to_owned(),
            sink: options.sink.clone(),
            started_at: self.shared.now(),
        }
    }

    fn recording_limit(&self, options: &RecordOptions) -> Duration {
        let longest = self.life.host.options.recording_limit;
        options.max_duration.map_or(longest, |asked| asked.min(longest))
    }

    fn recording_rate_hz(&self) -> u32 {
        match &self.audio {
            Audio::Open(link) if link.rate_hz >= FINE_RATE_HZ => FINE_RATE_HZ,
            _ => RATE_HZ,
        }
    }

    pub(super) fn record_pause(&mut self, paused: bool, reply: Reply<()>) {
        self.order_recording(reply, |reply| Command::Pause(paused, reply));
    }

    pub(super) fn record_stop(&mut self, reply: Reply<RecordingInfo>) {
        self.order_recording(reply, |reply| Command::Stop(Some(reply)));
    }

    fn order_recording<T>(&self, reply: Reply<T>, command: impl FnOnce(Reply<T>) -> Command) {
        let Some(recording) = &self.recording else {
            let why = "the call is not being recorded; start a recording first".to_owned();
            let _ = reply.send(Err(CallError::InvalidArgument(why)));
            return;
        };
        if let Err(error) = recording.commands.try_send(command(reply)) {
            let error = match error {
                mpsc::error::TrySendError::Full(command) => {
                    (command, CallError::LimitExceeded("the recording is busy; try again".to_owned()))
                }
                mpsc::error::TrySendError::Closed(command) => {
                    (command, CallError::InvalidArgument("the recording is over".to_owned()))
                }
            };
            match error {
                (Command::Pause(_, reply), error) => drop(reply.send(Err(error))),
                (Command::Stop(Some(reply)), error) => drop(reply.send(Err(error))),
                (Command::Stop(None), _) => {}
            }
        }
    }

    /// The PBX says that its recording is over.
    pub(super) fn pbx_recorded(&mut self, id: &RecordingId, outcome: Result<u32, String>) {
        let recording = self.recording.as_mut().filter(|recording| recording.id == *id);
        if let Some(pbx) = recording.and_then(|recording| recording.pbx.take()) {
            let _ = pbx.send(outcome);
        }
    }

    /// Before the leg goes: what the PBX records is ended, and its word waited for.
    pub(super) async fn stop_pbx_recording(&mut self) {
        let waits = |recording: &Recording| recording.recorder == Recorder::Pbx && recording.pbx.is_some();
        if !self.recording.as_deref().is_some_and(waits) {
            return;
        }
        if let Some(recording) = &self.recording {
            let _ = recording.commands.try_send(Command::Stop(None));
        }
        let told = async {
            while self.recording.as_deref().is_some_and(waits) {
                let over = async {
                    match &mut self.recording {
                        Some(recording) => recording.over().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    event = self.leg_events.recv() => match event {
                        Some(voxtra_core::LegEvent::RecordingFinished { id, outcome }) => self.pbx_recorded(&id, outcome),
                        Some(_) => {}
                        None => return,
                    },
                    _ = over => {
                        self.recording = None;
                        return;
                    }
                }
            }
        };
        let _ = timeout(PBX_LIMIT, told).await;
    }

    /// It is over: the handler is told.
    pub(super) fn recording_over(&mut self, recorded: Recorded) {
        self.recording = None;
        self.shared.note_belongings(|belongings| belongings.recording = None);
        if !recorded.began {
            return;
        }
        self.tell_handler(match recorded.outcome {
            Ok(info) => HandlerEvent::RecordingFinished(info),
            Err(error) => HandlerEvent::RecordingFailed(recorded.id, error.to_string()),
        });
    }

    /// It records.
    pub(super) fn recording_began(&self) {
        let Some(recording) = &self.recording else { return };
        let recorder = if recording.recorder == Recorder::Host { "host" } else { "pbx" };
        let data = json!({"recording_id": recording.id.as_str(), "name": recording.name, "recorder": recorder});
        self.life.emit(EventType::RecordingStarted, data);
    }
}

/// A recording that is to be made.
struct Job {
    /// Weak: it would hold up nobody.
    owner: mpsc::WeakSender<Message>,
    start: RecordingStart,
    options: RecordOptions,
    limit: Duration,
    rate_hz: u32,
    desk: Arc<dyn RecordingDesk>,
    leg: Arc<dyn Leg>,
    exchange: Arc<dyn Exchange>,
    control: tokio::runtime::Handle,
}

/// A recording that is made.
struct Running {
    open: Arc<dyn OpenRecording>,
    /// What the host listens through.
    _ears: Vec<SessionSnoop>,
}

impl Job {
    async fn run(
        self,
        mut commands: mpsc::Receiver<Command>,
        mut pbx: oneshot::Receiver<Result<u32, String>>,
        reply: Reply<RecordingId>,
    ) -> Recorded {
        let id = self.start.id.clone();
        let began = tokio::select! {
            biased;
            began = self.begin() => began,
            // The call is over before it began.
            () = stopped(&mut commands) => Err(CallError::HungUp),
        };
        let running = match began {
            Ok(running) => running,
            Err(error) => {
                let _ = reply.send(Err(error.clone()));
                return Recorded { id, began: false, outcome: Err(error) };
            }
        };
        if let Some(owner) = self.owner.upgrade() {
            // It is told before the handler goes on. A call that is over does not care.
            let _ = owner.send(Message::RecordingBegan).await;
        }
        let known = reply.send(Ok(id.clone())).is_ok();
        let (waiting, end) = if known {
            self.go_on(&running, &mut commands, &mut pbx).await
        } else {
            // Nobody asks for it any more.
            (None, None)
        };
        let end = match end {
            Some(end) => end,
            None => self.stop(&mut pbx).await,
        };
        let outcome = running.open.finish(end).await;
        answer(waiting, &mut commands, &outcome);
        Recorded { id, began: known, outcome }
    }

    /// Everything that makes it record.
    async fn begin(&self) -> Result<Running, CallError> {
        let late = || CallError::Provider("the recording could not be opened in time; the disk may be slow".to_owned());
        let opened = timeout(OPEN_LIMIT, self.desk.open(self.start.clone())).await;
        let open = opened.unwrap_or_else(|_| Err(late()))?;
        let ears = match self.options.recorder {
            Recorder::Host => self.listen(open.as_ref()).await,
            Recorder::Pbx => self.ask_pbx().await.map(|()| Vec::new()),
        };
        match ears {
            Ok(ears) => Ok(Running { open, _ears: ears }),
            Err(error) => {
                let _ = open.finish(RecordingEnd::Failed(error.to_string())).await;
                Err(error)
            }
        }
    }

    async fn listen(&self, open: &dyn OpenRecording) -> Result<Vec<SessionSnoop>, CallError> {
        let (said_by, heard_by) = (self.ear(Sides::In).await?, self.ear(Sides::Out).await?);
        let (said, heard) = (said_by.open_audio(self.rate_hz).await?, heard_by.open_audio(self.rate_hz).await?);
        let limits = CaptureLimits { max_duration: self.limit, max_silence: self.options.max_silence };
        open.capture(said.source, heard.source, self.rate_hz, limits);
        if self.options.beep {
            let beep = PlaybackId::new(Uuid::new_v4().simple().to_string());
            if let Err(error) = leg_verb(self.leg.play(&beep, &[BEEP.to_owned()])).await {
                tracing::warn!(call = %self.start.call, %error, "the tone that announces a recording could not be played");
            }
        }
        Ok(vec![said_by, heard_by])
    }

    async fn ear(&self, spy: Sides) -> Result<SessionSnoop, CallError> {
        let snoop = leg_verb(self.leg.snoop(SnoopOptions { spy, whisper: Sides::None })).await?;
        Ok(SessionSnoop(SnoopCore::new(snoop, self.start.tenant.clone(), self.control.clone())))
    }

    async fn ask_pbx(&self) -> Result<(), CallError> {
        let recording = PbxRecording {
            id: self.start.id.clone(),
            stored_name: self.start.id.as_str().to_owned(),
            beep: self.options.beep,
            max_duration: self.limit,
            max_silence: self.options.max_silence,
        };
        leg_verb(self.leg.start_recording(&recording)).await
    }

    /// Until it is to end; who asked for that, and how it ended when it did so by itself.
    async fn go_on(
        &self,
        running: &Running,
        commands: &mut mpsc::Receiver<Command>,
        pbx: &mut oneshot::Receiver<Result<u32, String>>,
    ) -> (Option<Reply<RecordingInfo>>, Option<RecordingEnd>) {
        let by_host = self.options.recorder == Recorder::Host;
        loop {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Pause(paused, reply)) => drop(reply.send(self.pause(running, paused).await)),
                    Some(Command::Stop(reply)) => return (reply, None),
                    None => return (None, None),
                },
                end = running.open.stopped(), if by_host => return (None, Some(match end {
                    CaptureEnd::Failed(why) => RecordingEnd::Failed(why),
                    CaptureEnd::MaxDuration | CaptureEnd::MaxSilence | CaptureEnd::AudioEnded => RecordingEnd::ByHost,
                })),
                over = &mut *pbx, if !by_host => return (None, Some(self.by_pbx(over))),
            }
        }
    }

    async fn pause(&self, running: &Running, paused: bool) -> Result<(), CallError> {
        match self.options.recorder {
            Recorder::Host => {
                running.open.set_paused(paused);
                Ok(())
            }
            Recorder::Pbx => leg_verb(self.leg.pause_recording(&self.start.id, paused)).await,
        }
    }

    /// Ends what records.
    async fn stop(&self, pbx: &mut oneshot::Receiver<Result<u32, String>>) -> RecordingEnd {
        if self.options.recorder == Recorder::Host {
            return RecordingEnd::ByHost;
        }
        // It may have ended with the call.
        if let Ok(over) = pbx.try_recv() {
            return self.by_pbx(Ok(over));
        }
        let stopped = timeout(PBX_LIMIT, self.leg.stop_recording(&self.start.id)).await;
        if let Ok(Err(error)) = stopped {
            tracing::warn!(call = %self.start.call, %error, "the PBX could not be told to stop recording");
        }
        match timeout(PBX_LIMIT, pbx).await {
            Ok(over) => self.by_pbx(over),
            Err(_) => RecordingEnd::Failed("the PBX did not say that its recording is over".to_owned()),
        }
    }

    fn by_pbx(&self, over: Result<Result<u32, String>, oneshot::error::RecvError>) -> RecordingEnd {
        match over {
            Ok(Ok(duration_ms)) => RecordingEnd::ByPbx { exchange: Arc::clone(&self.exchange), duration_ms },
            Ok(Err(why)) => RecordingEnd::Failed(why),
            Err(_) => RecordingEnd::Failed("the call ended before the PBX said that its recording is over".to_owned()),
        }
    }
}

/// Returns when a recording that has not begun is not wanted any more.
async fn stopped(commands: &mut mpsc::Receiver<Command>) {
    loop {
        match commands.recv().await {
            Some(Command::Pause(_, reply)) => {
                let why = "the recording has not begun yet".to_owned();
                let _ = reply.send(Err(CallError::InvalidArgument(why)));
            }
            Some(Command::Stop(None)) | None => return,
            Some(Command::Stop(Some(reply))) => {
                let _ = reply.send(Err(CallError::InvalidArgument("the recording has not begun yet".to_owned())));
            }
        }
    }
}

/// Everybody who asked for its end gets the same.
fn answer(
    first: Option<Reply<RecordingInfo>>,
    commands: &mut mpsc::Receiver<Command>,
    outcome: &Result<RecordingInfo, CallError>,
) {
    first.into_iter().for_each(|reply| drop(reply.send(outcome.clone())));
    commands.close();
    while let Ok(command) = commands.try_recv() {
        match command {
            Command::Stop(Some(reply)) => drop(reply.send(outcome.clone())),
            Command::Stop(None) => {}
            Command::Pause(_, reply) => {
                drop(reply.send(Err(CallError::InvalidArgument("the recording is over".to_owned()))));
            }
        }
    }
}
