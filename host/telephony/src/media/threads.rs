//! The media threads: who owns which connection, and the tick.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use voxtra_ari::audiosocket::Connection;
use voxtra_ari::media_ws::{MediaError, MediaOptions, MediaSocket};
use voxtra_core::media::{FRAME_MS, LINK_RATES_HZ, MediaLink};

use super::attached::{AttachedMedia, Clock, MediaEvents};
use super::stats::{Counters, MediaStats, add};
use super::{audiosocket, websocket};

/// How often a thread looks after its connections.
const TICK: Duration = Duration::from_millis(FRAME_MS as u64);

/// From when a tick counts as late: half of its period.
const LATE: Duration = Duration::from_millis(10);

/// How many connections are ticked before those that have something to read get their turn.
const TICKS_IN_A_ROW: usize = 16;

/// The kernel's send buffer of a connection: half a second of frames with the kernel's overhead. With the default, of
/// megabytes, a peer that does not read would be noticed after minutes.
const SEND_BUFFER_BYTES: u32 = 16 * 1024;

/// The threads that move audio, and nothing else. Dropping it stops them; their connections are closed.
pub struct MediaThreads {
    workers: Vec<Arc<Worker>>,
    ticks: Vec<AbortHandle>,
    /// A thread runs until its sender is dropped.
    _running: Vec<oneshot::Sender<()>>,
    counters: Arc<Counters>,
}

/// One thread.
struct Worker {
    runtime: Handle,
    clock: Clock,
    connections: AtomicUsize,
    newcomers: Mutex<Vec<Arc<dyn Ticked>>>,
    has_newcomers: Notify,
}

/// A connection, as the tick sees it. Runs on the media thread: never waits.
pub(super) trait Ticked: Send + Sync {
    fn tick(&self, now: Duration);
    fn is_over(&self) -> bool;
}

/// A connection's place on a thread, for as long as it is open.
pub(super) struct Seat {
    worker: Arc<Worker>,
    counters: Arc<Counters>,
}

impl MediaThreads {
    /// Starts so many threads (at least one), named `voxtra-media-1` and so on. One carries hundreds of calls.
    pub fn start(threads: usize) -> io::Result<Arc<Self>> {
        let counters = Arc::new(Counters::default());
        let (mut workers, mut ticks, mut running) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1..=threads.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (worker, tick) = Worker::start(runtime.handle().clone(), &counters);
            let (keep_running, stopped) = oneshot::channel::<()>();
            thread::Builder::new().name(format!("voxtra-media-{number}")).spawn(move || {
                let _ = runtime.block_on(stopped);
            })?;
            workers.push(worker);
            ticks.push(tick);
            running.push(keep_running);
        }
        Ok(Arc::new(Self { workers, ticks, _running: running, counters }))
    }

    /// Uses the current runtime instead of threads: for tests and simulations on virtual time. Panics outside of one,
    /// as `tokio::spawn` does.
    pub fn on_current_runtime() -> Arc<Self> {
        let counters = Arc::new(Counters::default());
        let (worker, tick) = Worker::start(Handle::current(), &counters);
        Arc::new(Self { workers: vec![worker], ticks: vec![tick], _running: Vec::new(), counters })
    }

    /// Moves the audio of this connection from now on, at one of [`LINK_RATES_HZ`]. Audio that comes at another of
    /// these rates is resampled. The error says why the socket could not be taken.
    pub fn attach_audiosocket(
        &self,
        connection: Connection,
        rate_hz: u32,
        events: Arc<dyn MediaEvents>,
    ) -> io::Result<AttachedMedia> {
        check_rate(rate_hz)?;
        let (socket, unread) = connection.into_std()?;
        socket.set_nodelay(true)?;
        // The option belongs to the socket; only tokio's own type sets it, so that gets a second handle for a moment.
        TcpSocket::from_std_stream(socket.try_clone()?).set_send_buffer_size(SEND_BUFFER_BYTES)?;

        let seat = self.seat()?;
        let worker = Arc::clone(&seat.worker);
        let line = Arc::new(audiosocket::Line::new(rate_hz, worker.clock, Arc::clone(&self.counters)));
        let (closing, closed) = watch::channel(());
        let link = MediaLink { rate_hz, source: line.source.clone(), sink: line.clone() };
        let attached = AttachedMedia::new(link, Arc::clone(&line.state), closed);
        worker.runtime.spawn(audiosocket::run(Arc::clone(&line), socket, unread, rate_hz, events, closing, seat));
        worker.tick_too(line);
        Ok(attached)
    }

    /// Connects to a channel of `chan_websocket` that was made for this rate, one of [`LINK_RATES_HZ`], and moves its
    /// audio from then on. The connection is made on a media thread, which then owns it.
    pub async fn connect_websocket(
        &self,
        url: &str,
        options: MediaOptions,
        rate_hz: u32,
        events: Arc<dyn MediaEvents>,
    ) -> Result<AttachedMedia, MediaError> {
        let refused = |error: io::Error| MediaError::Transport(error.to_string());
        check_rate(rate_hz).map_err(refused)?;
        let seat = self.seat().map_err(refused)?;
        let worker = Arc::clone(&seat.worker);
        let url = url.to_owned();
        let (connected, result) = oneshot::channel();
        let on_thread = worker.runtime.spawn(async move {
            let outcome = MediaSocket::connect(&url, options).await;
            // Nobody waits any more: the socket is dropped here.
            let _ = connected.send(outcome);
        });
        // A caller that gives up takes the attempt with it.
        let attempt = AbortOnDrop(on_thread.abort_handle());
        let socket = result.await.map_err(|_| MediaError::Closed("the media threads were stopped".to_owned()))??;
        drop(attempt);

        let line = Arc::new(websocket::Line::new(rate_hz, worker.clock, Arc::clone(&self.counters)));
        let (closing, closed) = watch::channel(());
        let link = MediaLink { rate_hz, source: line.source.clone(), sink: line.clone() };
        let attached = AttachedMedia::new(link, Arc::clone(&line.state), closed);
        worker.runtime.spawn(websocket::run(Arc::clone(&line), socket, rate_hz, events, closing, seat));
        worker.tick_too(line);
        Ok(attached)
    }

    /// What all connections together have done.
    pub fn stats(&self) -> MediaStats {
        self.counters.read()
    }

    /// How many connections each thread has.
    #[cfg(test)]
    pub(super) fn loads(&self) -> Vec<usize> {
        self.workers.iter().map(|worker| worker.connections.load(Ordering::Relaxed)).collect()
    }

    /// A place on the thread with the fewest connections.
    fn seat(&self) -> io::Result<Seat> {
        let worker = self.workers.iter().min_by_key(|worker| worker.connections.load(Ordering::Relaxed));
        let worker = worker.ok_or_else(|| io::Error::other("there is no media thread"))?;
        worker.connections.fetch_add(1, Ordering::Relaxed);
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        Ok(Seat { worker: Arc::clone(worker), counters: Arc::clone(&self.counters) })
    }
}

impl Drop for MediaThreads {
    fn drop(&mut self) {
        for tick in &self.ticks {
            tick.abort();
        }
    }
}

impl fmt::Debug for MediaThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MediaThreads").field("threads", &self.workers.len()).field("stats", &self.stats()).finish()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.worker.connections.fetch_sub(1, Ordering::Relaxed);
        self.counters.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Worker {
    fn start(runtime: Handle, counters: &Arc<Counters>) -> (Arc<Self>, AbortHandle) {
        let worker = Arc::new(Self {
            runtime,
            clock: Clock::start(),
            connections: AtomicUsize::new(0),
            newcomers: Mutex::new(Vec::new()),
            has_newcomers: Notify::new(),
        });
        let tick = worker.runtime.spawn(tick_all(Arc::clone(&worker), Arc::clone(counters)));
        (worker, tick.abort_handle())
    }

    fn tick_too(&self, connection: Arc<dyn Ticked>) {
        self.newcomers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        self.has_newcomers.notify_one();
    }
}

/// One ticker for all connections of a thread.
async fn tick_all(worker: Arc<Worker>, counters: Arc<Counters>) {
    let mut connections: Vec<Arc<dyn Ticked>> = Vec::new();
    let mut ticker = interval(TICK);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        connections.append(&mut worker.newcomers.lock().unwrap_or_else(PoisonError::into_inner));
        if connections.is_empty() {
            worker.has_newcomers.notified().await;
            ticker.reset();
            continue;
        }
        let due = ticker.tick().await;
        let is_late = Instant::now().saturating_duration_since(due) > LATE;
        add(&counters.late_ticks, u64::from(is_late));
        for some in connections.chunks(TICKS_IN_A_ROW) {
            let now = worker.clock.now();
            some.iter().for_each(|connection| connection.tick(now));
            if connections.len() > TICKS_IN_A_ROW {
                tokio::task::yield_now().await;
            }
        }
        connections.retain(|connection| !connection.is_over());
    }
}

fn check_rate(rate_hz: u32) -> io::Result<()> {
    if LINK_RATES_HZ.contains(&rate_hz) {
        return Ok(());
    }
    let message = format!("{rate_hz} Hz is not a link's rate; use 8000, 16000, 24000 or 48000");
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}
