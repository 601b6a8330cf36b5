//! One connection to `chan_websocket` on a media thread.
//!
//! Asterisk re-times what it is sent, so no silence is sent; the pacer keeps it from being far ahead all the same, so
//! that what is queued here means the same on both transports. Asterisk loses what is less than a frame: audio is sent
//! in whole frames, and the rest of the last one is filled with silence when nothing follows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;
use voxtra_ari::media_ws::{MediaCommand, MediaEvent, MediaItem, MediaSocket};
use voxtra_audio::pacer::duration_of;
use voxtra_audio::{InboundQueue, OutboundQueue, Pacer};
use voxtra_core::media::{AudioSink, Frame, LinkClosed, frame_bytes};

use super::attached::{Clock, End, MediaEvents, State};
use super::inbound::Inbound;
use super::stats::{Counters, add};
use super::threads::{Seat, Ticked};
use super::writer::STALL_LIMIT;

/// What the task, the tick and those who speak share.
pub(super) struct Line {
    pub(super) state: Arc<State>,
    pub(super) source: Arc<InboundQueue>,
    queue: OutboundQueue,
    ticked: AtomicBool,
    clock: Clock,
    counters: Arc<Counters>,
}

impl Line {
    pub(super) fn new(rate_hz: u32, clock: Clock, counters: Arc<Counters>) -> Self {
        Self {
            state: Arc::new(State::new()),
            source: Arc::new(InboundQueue::new(rate_hz)),
            queue: OutboundQueue::new(rate_hz),
            ticked: AtomicBool::new(false),
            clock,
            counters,
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
        Ok(())
    }

    fn clear(&self) {
        self.queue.clear();
    }

    fn queued_ms(&self) -> u32 {
        self.queue.queued_ms()
    }
}

impl Ticked for Line {
    fn tick(&self, now: Duration) {
        if self.state.is_due(now) {
            self.ticked.store(true, Ordering::Release);
            self.state.wake();
        }
    }

    fn is_over(&self) -> bool {
        self.queue.is_closed()
    }
}

/// Closes what is to be closed, however the task ends.
struct Open {
    line: Arc<Line>,
    socket: Option<MediaSocket>,
    _seat: Seat,
    /// Dropped last: the owner waits for it.
    _closed: watch::Sender<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.line.queue.close();
        self.socket.take();
        self.line.source.close();
    }
}

/// The connection's task. Dropped before it ever runs, it closes the connection all the same.
pub(super) fn run(
    line: Arc<Line>,
    socket: MediaSocket,
    rate_hz: u32,
    events: Arc<dyn MediaEvents>,
    closed: watch::Sender<()>,
    seat: Seat,
) -> impl Future<Output = ()> + Send {
    let open = Open { line, socket: None, _seat: seat, _closed: closed };
    serve(open, socket, rate_hz, events)
}

async fn serve(mut open: Open, socket: MediaSocket, rate_hz: u32, events: Arc<dyn MediaEvents>) {
    let line = Arc::clone(&open.line);
    let end = Session::new(&line, open.socket.insert(socket), rate_hz).run(&*events).await;
    line.queue.close();
    let is_lost = match end {
        End::Asked => {
            if let Some(socket) = open.socket.take() {
                socket.close().await;
            }
            None
        }
        End::Lost(reason) => line.state.lose().then_some(reason),
    };
    let counters = Arc::clone(&line.counters);
    drop(open);
    if let Some(reason) = is_lost {
        add(&counters.lost_connections, 1);
        tracing::info!(reason, "a media WebSocket is lost");
        events.lost();
    }
}

/// What there is to do next.
enum Step {
    Take(MediaItem),
    Flush,
    Send,
}

/// The state that only the task has.
struct Session<'a> {
    line: &'a Line,
    socket: &'a mut MediaSocket,
    rate_hz: u32,
    frame_bytes: usize,
    inbound: Inbound,
    pacer: Pacer,
    /// Asterisk's queue is full.
    is_stopped: bool,
    /// Audio that is not a whole frame yet.
    rest: BytesMut,
    /// A message that the socket did not take, and since when.
    unsent: Option<(Bytes, Duration)>,
}

impl<'a> Session<'a> {
    fn new(line: &'a Line, socket: &'a mut MediaSocket, rate_hz: u32) -> Self {
        Self {
            line,
            socket,
            rate_hz,
            frame_bytes: frame_bytes(rate_hz),
            inbound: Inbound::new(rate_hz),
            pacer: Pacer::new(line.clock.now()),
            is_stopped: false,
            rest: BytesMut::new(),
            unsent: None,
        }
    }

    async fn run(&mut self, events: &dyn MediaEvents) -> End {
        loop {
            let step = match std::future::poll_fn(|cx| self.poll_step(cx)).await {
                Ok(step) => step,
                Err(end) => return end,
            };
            let outcome = match step {
                Step::Take(item) => self.take(item, events),
                Step::Flush => self.flush().await,
                Step::Send => self.send(),
            };
            if let Err(reason) = outcome {
                return End::Lost(reason);
            }
        }
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, End>> {
        if let Some(end) = self.line.state.end(cx) {
            return Poll::Ready(Err(end));
        }
        if let Poll::Ready(item) = self.socket.poll_next(cx) {
            return Poll::Ready(Ok(Step::Take(item)));
        }
        if self.line.queue.take_cleared() {
            return Poll::Ready(Ok(Step::Flush));
        }
        if self.line.ticked.swap(false, Ordering::Acquire) {
            return Poll::Ready(Ok(Step::Send));
        }
        let may_send = !self.is_stopped && self.unsent.is_none();
        let now = self.line.clock.now();
        let available = may_send && self.line.queue.poll_available(cx).is_ready();
        if let Some(due) = self.next_due().filter(|_| available) {
            if due <= now {
                return Poll::Ready(Ok(Step::Send));
            }
            self.line.state.set_due(due);
        }
        // What is held back goes out on a tick; a clear cannot wait for that.
        if (available || !may_send) && self.line.queue.poll_cleared(cx).is_ready() {
            return Poll::Ready(Ok(Step::Flush));
        }
        Poll::Pending
    }

    /// When the next frame may go out, if there is one.
    fn next_due(&self) -> Option<Duration> {
        let bytes = self.line.queue.next_bytes()?;
        Some(self.pacer.due(Some(duration_of(bytes, self.rate_hz))))
    }

    fn take(&mut self, item: MediaItem, events: &dyn MediaEvents) -> Result<(), String> {
        match item {
            MediaItem::Audio(audio) if audio.len() % 2 != 0 => {
                Err(format!("an audio message has {} bytes, an odd number", audio.len()))
            }
            MediaItem::Audio(audio) => self
                .inbound
                .take(self.rate_hz, audio, &self.line.source, &self.line.counters)
                .map_err(|error| error.to_string()),
            MediaItem::Closed { reason } => Err(reason),
            MediaItem::Event(event) => self.heed(event, events),
            _ => Ok(()),
        }
    }

    fn heed(&mut self, event: MediaEvent, events: &dyn MediaEvents) -> Result<(), String> {
        match event {
            MediaEvent::Start(start) => {
                let bytes = start.optimal_frame_size_bytes as usize;
                if bytes != 0 && bytes != self.frame_bytes {
                    let wanted = self.frame_bytes;
                    return Err(format!("the channel's frames have {bytes} bytes instead of {wanted}"));
                }
            }
            MediaEvent::DtmfEnd { digit, duration_ms } => events.dtmf(digit, duration_ms.unwrap_or(0)),
            MediaEvent::Xoff => self.is_stopped = true,
            MediaEvent::Xon => {
                self.is_stopped = false;
                return self.send();
            }
            MediaEvent::Error { text } => tracing::debug!(text, "Asterisk refused a media command"),
            _ => {}
        }
        Ok(())
    }

    /// Forgets what is on its way, here and at Asterisk.
    async fn flush(&mut self) -> Result<(), String> {
        self.line.queue.take_cleared();
        self.rest.clear();
        self.unsent = None;
        // Asterisk plays nothing now: the schedule starts anew.
        self.pacer = Pacer::new(self.line.clock.now());
        self.is_stopped = false;
        self.socket.command(&MediaCommand::FlushMedia).await.map_err(|error| error.to_string())
    }

    /// Sends what may go out now.
    fn send(&mut self) -> Result<(), String> {
        let now = self.line.clock.now();
        if let Some((message, since)) = self.unsent.take() {
            self.send_message(message, since, now)?;
        }
        let may_send = self.unsent.is_none() && !self.is_stopped;
        if let Some(message) = may_send.then(|| self.next_message(now)).flatten() {
            self.send_message(message, now, now)?;
        }
        let due = match (&self.unsent, self.is_stopped) {
            (Some(_), _) => Duration::ZERO,
            (None, true) => Duration::MAX,
            (None, false) => match self.next_due() {
                Some(due) => due,
                None if self.rest.is_empty() => Duration::MAX,
                None => self.pacer.sent_until(),
            },
        };
        self.line.state.set_due(due);
        Ok(())
    }

    /// All whole frames that may go out now, as one message.
    fn next_message(&mut self, now: Duration) -> Option<Bytes> {
        let (pacer, rate_hz) = (&mut self.pacer, self.rate_hz);
        // Nothing was sent for a while: a later start is not made up for.
        pacer.fill(now);
        let mut frames = 0;
        while let Some(frame) = self.line.queue.pop_if(|next| pacer.send(now, duration_of(next.len_bytes(), rate_hz))) {
            frames += 1;
            if self.rest.is_empty() && frame.len_bytes() == self.frame_bytes && self.line.queue.next_bytes().is_none() {
                // The usual case: one whole frame, which nothing has to be copied for.
                add(&self.line.counters.frames_out, frames);
                return Some(frame.into_pcm());
            }
            self.rest.extend_from_slice(frame.pcm());
        }
        add(&self.line.counters.frames_out, frames);
        if frames == 0 && !self.rest.is_empty() && self.pacer.sent_until() <= now {
            self.rest.resize(self.rest.len().next_multiple_of(self.frame_bytes), 0);
        }
        let whole_bytes = self.rest.len() / self.frame_bytes * self.frame_bytes;
        (whole_bytes > 0).then(|| self.rest.split_to(whole_bytes).freeze())
    }

    fn send_message(&mut self, message: Bytes, since: Duration, now: Duration) -> Result<(), String> {
        if self.socket.try_send_audio(message.clone()).map_err(|error| error.to_string())? {
            return Ok(());
        }
        if now.saturating_sub(since) > STALL_LIMIT {
            return Err(format!("the other side took no audio for {} ms", STALL_LIMIT.as_millis()));
        }
        self.unsent = Some((message, since));
        Ok(())
    }
}
