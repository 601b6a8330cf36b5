//! The host under test: the real switchboard, sandbox, media threads and AudioSocket server, with a stand-in for the PBX
//! that has nothing to do but to say that calls are there.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::Mutex;
use voxtra_ari::audiosocket::{AudioSocketServer, ServerOptions};
use voxtra_core::fake::FakeExchange;
use voxtra_core::telephony::PbxRecording;
use voxtra_core::verbs::{AnsweredBy, DialplanPlace, SnoopOptions};
use voxtra_core::{
    BoxFuture, CallError, CallId, Direction, Event, EventSink, HandlerName, HangupCause, Leg, LegEvent, LegEvents,
    MediaLink, NewLeg, PlaybackId, RecordingId, Snoop, Switchboard, TenantId,
};
use voxtra_plugins::{Catalog, GuestRuntime, GuestThreads, Runtime, RuntimeOptions};
use voxtra_session::router::DEFAULT_NAME;
use voxtra_session::{Host, HostOptions, Router, Runtimes};
use voxtra_telephony::media::{AttachedMedia, MediaEvents, MediaThreads};

use crate::echo::announce;
use crate::generator::caller_id;

/// The stand-in's application.
const APP: &str = "bench";

const POLL: Duration = Duration::from_millis(5);

/// The callers connect one after the other.
const HELLO_LIMIT: Duration = Duration::from_secs(60);

/// Serves so many echo calls until it is killed.
pub(crate) fn serve(echo: &Path, calls: usize) -> Result<()> {
    let guests = GuestThreads::default().start()?;
    let control = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    control.block_on(async {
        let host = host(echo, &guests)?;
        let desk = Desk::open().await?;
        let _lines = desk.take_calls(&host, APP, calls).await?;
        announce(desk.server.local_addr());
        std::future::pending::<()>().await;
        Ok(())
    })
}

/// Where the calls' audio comes in.
pub(crate) struct Desk {
    pub(crate) server: Arc<AudioSocketServer>,
    pub(crate) media: Arc<MediaThreads>,
}

impl Desk {
    pub(crate) async fn open() -> Result<Self> {
        let media = MediaThreads::start(1)?;
        let server = AudioSocketServer::bind("127.0.0.1:0".parse()?, ServerOptions::default()).await?;
        Ok(Self { server: Arc::new(server), media })
    }

    /// The calls of the generator's callers, once all of them wait for their audio: a connection that nobody waits for
    /// would be turned away. They last as long as what is returned.
    pub(crate) async fn take_calls(&self, host: &Host, app: &str, calls: usize) -> Result<Vec<Arc<dyn LegEvents>>> {
        let ready = Arc::new(AtomicUsize::new(0));
        let mut lines: Vec<Arc<dyn LegEvents>> = Vec::with_capacity(calls);
        for n in 0..calls {
            let leg = StandIn::new(n, self, &ready);
            let events = host.incoming(new_leg(&leg, format!("bench-{n}"), app, "echo"));
            let events = events.context("the host refuses a call")?;
            leg.report_to(&events);
            lines.push(events);
        }
        while ready.load(Ordering::Relaxed) < calls {
            tokio::time::sleep(POLL).await;
        }
        Ok(lines)
    }
}

/// A leg as the stand-in reports it.
pub(crate) fn new_leg(leg: &Arc<StandIn>, id: String, app: &str, called_number: &str) -> NewLeg {
    NewLeg {
        id: CallId::from(id),
        app: app.into(),
        caller_id: leg.n.to_string(),
        called_number: called_number.into(),
        direction: Direction::Inbound,
        answered: false,
        leg: Arc::clone(leg) as Arc<dyn Leg>,
        exchange: FakeExchange::new(),
    }
}

fn host(echo: &Path, guests: &GuestRuntime) -> Result<Arc<Host>> {
    let runtime = Runtime::new(RuntimeOptions::default())?;
    let wasm = crate::read_guest(echo)?;
    let handler = runtime.load_bytes(&TenantId::default(), &HandlerName::from(DEFAULT_NAME), &wasm)?;
    let handlers = Arc::new(Catalog::from_handlers([handler]));
    let runtimes = Runtimes { control: tokio::runtime::Handle::current(), guests: guests.guests() };
    Ok(Host::new(HostOptions::default(), handlers, Router::single(APP), Arc::new(Nowhere), runtimes))
}

pub(crate) struct Nowhere;

impl EventSink for Nowhere {
    fn emit(&self, _event: Event) {}
}

/// A leg whose audio is an AudioSocket connection: of the generator, or one that it makes to itself.
pub(crate) struct StandIn {
    n: usize,
    server: Arc<AudioSocketServer>,
    media: Arc<MediaThreads>,
    /// How many legs wait for their audio connection; none: this one makes its own.
    ready: Option<Arc<AtomicUsize>>,
    open: Mutex<Option<AttachedMedia>>,
    events: OnceLock<Weak<dyn LegEvents>>,
}

impl StandIn {
    fn new(n: usize, desk: &Desk, ready: &Arc<AtomicUsize>) -> Arc<Self> {
        Self::with(n, desk, Some(Arc::clone(ready)))
    }

    /// A leg that nobody else calls. `n` is nobody else's, either.
    pub(crate) fn alone(n: usize, desk: &Desk) -> Arc<Self> {
        Self::with(n, desk, None)
    }

    fn with(n: usize, desk: &Desk, ready: Option<Arc<AtomicUsize>>) -> Arc<Self> {
        Arc::new(Self {
            n,
            server: Arc::clone(&desk.server),
            media: Arc::clone(&desk.media),
            ready,
            open: Mutex::default(),
            events: OnceLock::new(),
        })
    }

    pub(crate) fn report_to(&self, events: &Arc<dyn LegEvents>) {
        let _ = self.events.set(Arc::downgrade(events));
    }

    async fn connect(&self, rate_hz: u32) -> Result<MediaLink> {
        let expected = self.server.expect_within(caller_id(self.n), HELLO_LIMIT)?;
        match &self.ready {
            Some(ready) => drop(ready.fetch_add(1, Ordering::Relaxed)),
            None => drop(tokio::spawn(listen_and_say_nothing(self.server.local_addr(), self.n))),
        }
        let events = self.events.get().cloned();
        let attached = self.media.attach_audiosocket(expected.await?, rate_hz, Arc::new(Lost(events)))?;
        let link = attached.link.clone();
        *self.open.lock().await = Some(attached);
        Ok(link)
    }
}

/// The other end of a leg's own connection, until it is closed.
async fn listen_and_say_nothing(server: SocketAddr, n: usize) -> std::io::Result<()> {
    let mut connection = TcpStream::connect(server).await?;
    connection.write_all(&[0x01, 0, 16]).await?;
    connection.write_all(caller_id(n).as_bytes()).await?;
    let mut heard = [0; 8_192];
    while connection.read(&mut heard).await? > 0 {}
    Ok(())
}

struct Lost(Option<Weak<dyn LegEvents>>);

impl MediaEvents for Lost {
    fn lost(&self) {
        if let Some(events) = self.0.as_ref().and_then(Weak::upgrade) {
            events.deliver(LegEvent::MediaLost);
        }
    }

    fn dtmf(&self, _digit: char, _duration_ms: u32) {}
}

impl Leg for StandIn {
    fn answer(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async { Ok(()) })
    }

    fn play<'a>(&'a self, _id: &'a PlaybackId, _media: &'a [String]) -> BoxFuture<'a, Result<(), CallError>> {
        nothing_to_play()
    }

    fn stop_playback<'a>(&'a self, _id: &'a PlaybackId) -> BoxFuture<'a, Result<(), CallError>> {
        nothing_to_play()
    }

    fn send_dtmf<'a>(&'a self, _digits: &'a str) -> BoxFuture<'a, Result<(), CallError>> {
        nothing_to_play()
    }

    fn transfer<'a>(&'a self, _target: &'a str) -> BoxFuture<'a, Result<(), CallError>> {
        nothing_to_play()
    }

    fn ring(&self) -> BoxFuture<'_, Result<(), CallError>> {
        nothing_to_play()
    }

    fn hold<'a>(&'a self, _music_class: &'a str) -> BoxFuture<'a, Result<(), CallError>> {
        nothing_to_play()
    }

    fn unhold(&self) -> BoxFuture<'_, Result<(), CallError>> {
        nothing_to_play()
    }

    fn set_variable<'a>(&'a self, _name: &'a str, _value: &'a str) -> BoxFuture<'a, Result<(), CallError>> {
        nothing_to_play()
    }

    fn get_variable<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Result<Option<String>, CallError>> {
        nothing_to_play()
    }

    fn transfer_to_queue<'a>(
        &'a self,
        _queue: &'a str,
        _variables: &'a [(String, String)],
    ) -> BoxFuture<'a, Result<(), CallError>> {
        nothing_to_play()
    }

    fn continue_in_dialplan<'a>(&'a self, _place: &'a DialplanPlace) -> BoxFuture<'a, Result<(), CallError>> {
        nothing_to_play()
    }

    fn start_recording<'a>(&'a self, _recording: &'a PbxRecording) -> BoxFuture<'a, Result<(), CallError>> {
        nothing_to_play()
    }

    fn pause_recording<'a>(&'a self, _id: &'a RecordingId, _paused: bool) -> BoxFuture<'a, Result<(), CallError>> {
        nothing_to_play()
    }

    fn stop_recording<'a>(&'a self, _id: &'a RecordingId) -> BoxFuture<'a, Result<(), CallError>> {
        nothing_to_play()
    }

    fn snoop(&self, _options: SnoopOptions) -> BoxFuture<'_, Result<Arc<dyn Snoop>, CallError>> {
        nothing_to_play()
    }

    fn detect_machine(&self) -> BoxFuture<'_, Result<AnsweredBy, CallError>> {
        nothing_to_play()
    }

    fn open_media(&self, rate_hz: u32) -> BoxFuture<'_, Result<MediaLink, CallError>> {
        Box::pin(async move { self.connect(rate_hz).await.map_err(|e| CallError::Telephony(format!("{e:#}"))) })
    }

    fn close_media(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(attached) = self.open.lock().await.take() {
                attached.close().await;
            }
        })
    }

    fn end(&self, _cause: HangupCause) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async {
            self.close_media().await;
            Ok(())
        })
    }
}

fn nothing_to_play<'a, T: Send + 'a>() -> BoxFuture<'a, Result<T, CallError>> {
    Box::pin(async { Err(CallError::Telephony("the stand-in has audio only".into())) })
}
