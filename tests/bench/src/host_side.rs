//! The host under test: the real switchboard, sandbox, media threads and AudioSocket server, with a stand-in for the PBX
//! that has nothing to do but to say that calls are there.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Runtime as Tokio};
use tokio::sync::Mutex;
use voxtra_ari::audiosocket::{AudioSocketServer, ServerOptions};
use voxtra_core::fake::FakeExchange;
use voxtra_core::telephony::PbxRecording;
use voxtra_core::verbs::{AnsweredBy, DialplanPlace, SnoopOptions};
use voxtra_core::{
    BoxFuture, CallError, CallId, Direction, Event, EventSink, HandlerName, HangupCause, Leg, LegEvent, LegEvents,
    MediaLink, NewLeg, PlaybackId, RecordingId, Snoop, Switchboard, TenantId,
};
use voxtra_plugins::{Catalog, Runtime, RuntimeOptions};
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
    let guests = guest_runtime()?;
    let control = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    control.block_on(async {
        let host = host(echo, &guests)?;
        let media = MediaThreads::start(1)?;
        let options = ServerOptions::default();
        let server = Arc::new(AudioSocketServer::bind("127.0.0.1:0".parse()?, options).await?);
        let ready = Arc::new(AtomicUsize::new(0));
        let mut lines: Vec<Arc<dyn LegEvents>> = Vec::with_capacity(calls);
        for n in 0..calls {
            let leg = StandIn::new(n, &server, &media, &ready);
            let new = NewLeg {
                id: CallId::from(format!("bench-{n}")),
                app: APP.into(),
                caller_id: n.to_string(),
                called_number: "echo".into(),
                direction: Direction::Inbound,
                answered: false,
                leg: Arc::clone(&leg) as Arc<dyn Leg>,
                exchange: FakeExchange::new(),
            };
            let events = host.incoming(new).context("the host refuses a call")?;
            leg.report_to(&events);
            lines.push(events);
        }
        // A connection whose call has not asked for its audio yet would be turned away.
        while ready.load(Ordering::Relaxed) < calls {
            tokio::time::sleep(POLL).await;
        }
        announce(server.local_addr());
        std::future::pending::<()>().await;
        Ok(())
    })
}

/// As the product's own: one thread for each processor.
fn guest_runtime() -> Result<Tokio> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    Ok(Builder::new_multi_thread().worker_threads(threads).enable_all().build()?)
}

fn host(echo: &Path, guests: &Tokio) -> Result<Arc<Host>> {
    let runtime = Runtime::new(RuntimeOptions::default())?;
    let wasm = crate::read_guest(echo)?;
    let handler = runtime.load_bytes(&TenantId::default(), &HandlerName::from(DEFAULT_NAME), &wasm)?;
    let handlers = Arc::new(Catalog::from_handlers([handler]));
    let runtimes = Runtimes { control: tokio::runtime::Handle::current(), guests: guests.handle().clone() };
    Ok(Host::new(HostOptions::default(), handlers, Router::single(APP), Arc::new(Nowhere), runtimes))
}

struct Nowhere;

impl EventSink for Nowhere {
    fn emit(&self, _event: Event) {}
}

/// A leg whose audio is an AudioSocket connection of the generator.
struct StandIn {
    n: usize,
    server: Arc<AudioSocketServer>,
    media: Arc<MediaThreads>,
    /// How many legs wait for their audio connection.
    ready: Arc<AtomicUsize>,
    open: Mutex<Option<AttachedMedia>>,
    events: OnceLock<Weak<dyn LegEvents>>,
}

impl StandIn {
    fn new(
        n: usize,
        server: &Arc<AudioSocketServer>,
        media: &Arc<MediaThreads>,
        ready: &Arc<AtomicUsize>,
    ) -> Arc<Self> {
        Arc::new(Self {
            n,
            server: Arc::clone(server),
            media: Arc::clone(media),
            ready: Arc::clone(ready),
            open: Mutex::default(),
            events: OnceLock::new(),
        })
    }

    fn report_to(&self, events: &Arc<dyn LegEvents>) {
        let _ = self.events.set(Arc::downgrade(events));
    }

    async fn connect(&self, rate_hz: u32) -> Result<MediaLink> {
        let expected = self.server.expect_within(caller_id(self.n), HELLO_LIMIT)?;
        self.ready.fetch_add(1, Ordering::Relaxed);
        let events = self.events.get().cloned();
        let attached = self.media.attach_audiosocket(expected.await?, rate_hz, Arc::new(Lost(events)))?;
        let link = attached.link.clone();
        *self.open.lock().await = Some(attached);
        Ok(link)
    }
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
