//! One AudioSocket connection on a media thread.
//!
//! Its task only reads. Sending is done under a mutex by whoever has something to send: the one who speaks, on their
//! own thread, or the tick. The media thread never waits for that mutex: a tick that finds it taken leaves the work to
//! the one who has it.

use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::watch;
use tokio::time::timeout;
use voxtra_ari::audiosocket::{FrameDecoder, FrameKind};
use voxtra_audio::{InboundQueue, OutboundQueue};
use voxtra_core::media::{AudioSink, Frame, LinkClosed};

use super::attached::{Clock, End, MediaEvents, State};
use super::inbound::Inbound;
use super::stats::{Counters, add};
use super::threads::{Seat, Ticked};
use super::writer::Writer;

/// The read buffer. What is read stays in it until it has been heard, then it is used again.
const READ_BUFFER_BYTES: usize = 8 * 1024;

/// The least room to read into: more than two frames at 48 kHz. A read that leaves room needs no second one to learn
/// that there is no more.
const READ_ROOM_BYTES: usize = 4 * 1024;

/// How long the other side has to close too once it was told the end; closed it is in any case.
const FAREWELL_LIMIT: Duration = Duration::from_millis(100);

/// What the task, the tick and those who speak share.
pub(super) struct Line {
    pub(super) state: Arc<State>,
    pub(super) source: Arc<InboundQueue>,
    queue: OutboundQueue,
    /// `None` before the task runs and after the end.
    writer: Mutex<Option<Writer>>,
    clock: Clock,
    counters: Arc<Counters>,
}

impl Line {
    pub(super) fn new(rate_hz: u32, clock: Clock, counters: Arc<Counters>) -> Self {
        Self {
            state: Arc::new(State::new()),
            source: Arc::new(InboundQueue::new(rate_hz)),
            queue: OutboundQueue::new(rate_hz),
            writer: Mutex::new(None),
            clock,
            counters,
        }
    }

    fn send(&self, mut writer: MutexGuard<'_, Option<Writer>>, is_tick: bool) {
        let Some(open) = writer.as_mut() else { return };
        let sent = open.send(&self.queue, self.clock.now(), is_tick, &self.counters);
        self.state.set_due(open.due(&self.queue));
        if let Err(error) = sent {
            *writer = None;
            drop(writer);
            self.queue.close();
            self.state.fail(error.to_string());
        }
    }

    /// Nobody sends any more; what is sent last is up to the caller.
    async fn take_writer(&self) -> Option<Writer> {
        self.queue.close();
        loop {
            if let Some(mut writer) = self.try_lock() {
                return writer.take();
            }
            // Whoever has it is writing a few frames.
            tokio::task::yield_now().await;
        }
    }

    /// The sending half, unless somebody is sending.
    fn try_lock(&self) -> Option<MutexGuard<'_, Option<Writer>>> {
        match self.writer.try_lock() {
            Ok(writer) => Some(writer),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl AudioSink for Line {
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), LinkClosed>> {
        self.queue.poll_ready(cx)
    }

    fn push(&self, frame: Frame) -> Result<(), LinkClosed> {
        let dropped_before = self.queue.dropped_frames();
        self.queue.push(frame)?;
        add(&self.counters.dropped_outbound_frames, self.queue.dropped_frames().saturating_sub(dropped_before));
        self.send(self.writer.lock().unwrap_or_else(PoisonError::into_inner), false);
        Ok(())
    }

    fn clear(&self) {
        self.queue.clear();
        if let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            writer.clear();
        }
    }

    fn queued_ms(&self) -> u32 {
        self.queue.queued_ms()
    }
}

impl Ticked for Line {
    fn tick(&self, now: Duration) {
        if !self.state.is_due(now) {
            return;
        }
        if let Some(writer) = self.try_lock() {
            self.send(writer, true);
        }
    }

    fn is_over(&self) -> bool {
        self.queue.is_closed()
    }
}

/// What is to be closed at the end, however the task ends, and in which order.
struct Open {
    line: Arc<Line>,
    reader: Option<OwnedReadHalf>,
    _seat: Seat,
    /// Dropped last: the owner waits for it.
    _closed: watch::Sender<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.line.queue.close();
        // Taken already unless the runtime is being shut down.
        self.line.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.reader.take();
        self.line.source.close();
    }
}

/// The connection's task. Dropped before it ever runs, it closes the connection all the same.
pub(super) fn run(
    line: Arc<Line>,
    socket: std::net::TcpStream,
    unread: BytesMut,
    rate_hz: u32,
    events: Arc<dyn MediaEvents>,
    closed: watch::Sender<()>,
    seat: Seat,
) -> impl Future<Output = ()> + Send {
    let open = Open { line, reader: None, _seat: seat, _closed: closed };
    serve(open, socket, unread, rate_hz, events)
}

async fn serve(
    mut open: Open,
    socket: std::net::TcpStream,
    unread: BytesMut,
    rate_hz: u32,
    events: Arc<dyn MediaEvents>,
) {
    let line = Arc::clone(&open.line);
    let end = match take_over(&line, socket, rate_hz).await {
        Ok(reader) => read(&line, open.reader.insert(reader), unread, rate_hz, &*events).await,
        Err(error) => End::Lost(format!("the socket could not be taken over: {error}")),
    };
    let writer = line.take_writer().await;
    let is_lost = match end {
        End::Asked => {
            part(writer, open.reader.take()).await;
            None
        }
        End::Lost(reason) => line.state.lose().then_some(reason),
    };
    let counters = Arc::clone(&line.counters);
    drop(open);
    if let Some(reason) = is_lost {
        add(&counters.lost_connections, 1);
        tracing::info!(reason, "an AudioSocket connection is lost");
        events.lost();
    }
}

/// Moves the socket to this thread's runtime and begins to send.
async fn take_over(line: &Line, socket: std::net::TcpStream, rate_hz: u32) -> io::Result<OwnedReadHalf> {
    let (reader, writer) = TcpStream::from_std(socket)?.into_split();
    writer.writable().await?;
    let writer = Writer::new(writer, rate_hz, line.clock.now());
    let mut slot = line.writer.lock().unwrap_or_else(PoisonError::into_inner);
    *slot = Some(writer);
    // What was said before goes out now.
    line.send(slot, false);
    Ok(reader)
}

async fn read(
    line: &Line,
    reader: &mut OwnedReadHalf,
    mut buffer: BytesMut,
    rate_hz: u32,
    events: &dyn MediaEvents,
) -> End {
    let decoder = FrameDecoder::new();
    let mut inbound = Inbound::new(rate_hz);
    buffer.reserve(READ_BUFFER_BYTES);
    loop {
        loop {
            let frame = match decoder.decode(&mut buffer) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return End::Lost(error.to_string()),
            };
            match frame.kind {
                FrameKind::Audio { rate_hz: from_hz } => {
                    if let Err(error) = inbound.take(from_hz, frame.payload, &line.source, &line.counters) {
                        return End::Lost(error.to_string());
                    }
                }
                FrameKind::Dtmf => {
                    if let Some(digit) = frame.dtmf() {
                        events.dtmf(digit, 0);
                    }
                }
                FrameKind::Terminate => return End::Lost("the other side ended it".to_owned()),
                FrameKind::Error => return End::Lost("the other side reported an error".to_owned()),
                FrameKind::Uuid => return End::Lost("the other side named itself twice".to_owned()),
            }
        }
        if buffer.capacity() - buffer.len() < READ_ROOM_BYTES {
            buffer.reserve(READ_BUFFER_BYTES - READ_ROOM_BYTES);
        }
        let read = std::future::poll_fn(|cx| {
            if let Some(end) = line.state.end(cx) {
                return Poll::Ready(Err(end));
            }
            let bytes = pin!(reader.read_buf(&mut buffer)).poll(cx);
            bytes.map_err(|error| End::Lost(format!("receiving failed: {error}")))
        });
        match read.await {
            Ok(0) if buffer.is_empty() => return End::Lost("the other side closed it".to_owned()),
            Ok(0) => return End::Lost("the other side closed it in the middle of a frame".to_owned()),
            Ok(_) => {}
            Err(end) => return end,
        }
    }
}

/// Says the end, closes our side, and gives the other a moment to close its own: a socket closed with something unread
/// is reset, which could overtake the end.
async fn part(writer: Option<Writer>, reader: Option<OwnedReadHalf>) {
    if let Some(writer) = writer {
        writer.terminate();
    }
    if let Some(mut reader) = reader {
        let mut scratch = [0; 1024];
        let others_end = async { while reader.read(&mut scratch).await.is_ok_and(|bytes| bytes > 0) {} };
        let _ = timeout(FAREWELL_LIMIT, others_end).await;
    }
}
