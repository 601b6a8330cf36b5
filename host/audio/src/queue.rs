//! The bounded queues behind a media link.
//!
//! Both are a ring of frames behind a mutex that is held for a few instructions, with one waker slot a side. Wakers
//! are called after the mutex is released, and only when that side really waits. Nothing allocates once made.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use voxtra_core::media::{
    AudioSink, AudioSource, Frame, INBOUND_QUEUE_MS, LinkClosed, OUTBOUND_QUEUE_MS, bytes_to_ms, frame_bytes,
};

/// The most frames in a queue, whatever their length: 200 ms of frames of 2 ms, which no one has a reason to use.
const MAX_FRAMES: usize = 100;

/// The bytes of so many milliseconds.
const fn limit_bytes(rate_hz: u32, limit_ms: u32) -> usize {
    frame_bytes(rate_hz) / voxtra_core::media::FRAME_MS as usize * limit_ms as usize
}

/// What the other side says, waiting to be read. Of more than [`INBOUND_QUEUE_MS`] the oldest goes.
#[derive(Debug)]
pub struct InboundQueue {
    limit_bytes: usize,
    ring: Mutex<Ring>,
    dropped_frames: AtomicU64,
}

/// What we say, waiting to be sent. Takes frames while it holds less than [`OUTBOUND_QUEUE_MS`].
#[derive(Debug)]
pub struct OutboundQueue {
    rate_hz: u32,
    limit_bytes: usize,
    ring: Mutex<Ring>,
    dropped_frames: AtomicU64,
}

#[derive(Debug)]
struct Ring {
    frames: VecDeque<Frame>,
    queued_bytes: usize,
    closed: bool,
    cleared: bool,
    /// Who waits for a frame (or, outbound, only for a clear or the end: see `reader_wants_frames`).
    reader: Option<Waker>,
    reader_wants_frames: bool,
    writer: Option<Waker>,
}

impl Ring {
    fn new() -> Self {
        Self {
            frames: VecDeque::with_capacity(MAX_FRAMES),
            queued_bytes: 0,
            closed: false,
            cleared: false,
            reader: None,
            reader_wants_frames: false,
            writer: None,
        }
    }

    fn put(&mut self, frame: Frame) {
        self.queued_bytes += frame.len_bytes();
        self.frames.push_back(frame);
    }

    fn take(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.queued_bytes -= frame.len_bytes();
        Some(frame)
    }

    fn is_full(&self, limit_bytes: usize) -> bool {
        self.queued_bytes >= limit_bytes || self.frames.len() >= MAX_FRAMES
    }

    fn reader_for_a_frame(&mut self) -> Option<Waker> {
        if self.reader_wants_frames { self.reader.take() } else { None }
    }
}

fn lock(ring: &Mutex<Ring>) -> MutexGuard<'_, Ring> {
    // Nothing panics while holding it; a poisoned ring would still be whole.
    ring.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait_in(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl InboundQueue {
    /// An empty queue of a link at this rate.
    pub fn new(rate_hz: u32) -> Self {
        Self {
            limit_bytes: limit_bytes(rate_hz, INBOUND_QUEUE_MS),
            ring: Mutex::new(Ring::new()),
            dropped_frames: AtomicU64::new(0),
        }
    }

    /// Adds what was heard. Returns how many older frames had to go for it; they are counted in
    /// [`AudioSource::dropped_frames`] too. After [`InboundQueue::close`] the frame itself is forgotten, uncounted.
    pub fn push(&self, frame: Frame) -> u64 {
        if frame.is_empty() {
            return 0;
        }
        let mut dropped = 0;
        let reader = {
            let mut ring = lock(&self.ring);
            if ring.closed {
                return 0;
            }
            while !ring.frames.is_empty()
                && (ring.queued_bytes + frame.len_bytes() > self.limit_bytes || ring.frames.len() >= MAX_FRAMES)
            {
                ring.take();
                dropped += 1;
            }
            ring.put(frame);
            ring.reader.take()
        };
        if dropped > 0 {
            self.dropped_frames.fetch_add(dropped, Ordering::Relaxed);
        }
        wake(reader);
        dropped
    }

    /// Nothing more comes. What is queued can still be read.
    pub fn close(&self) {
        let reader = {
            let mut ring = lock(&self.ring);
            ring.closed = true;
            ring.reader.take()
        };
        wake(reader);
    }
}

impl AudioSource for InboundQueue {
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        let mut ring = lock(&self.ring);
        match ring.take() {
            Some(frame) => Poll::Ready(Some(frame)),
            None if ring.closed => Poll::Ready(None),
            None => {
                wait_in(&mut ring.reader, cx);
                Poll::Pending
            }
        }
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut ring = lock(&self.ring);
        if !ring.frames.is_empty() || ring.closed {
            return Poll::Ready(());
        }
        wait_in(&mut ring.reader, cx);
        Poll::Pending
    }

    fn dropped_frames(&self) -> u64 {
        self.dropped_frames.load(Ordering::Relaxed)
    }
}

impl OutboundQueue {
    /// An empty queue of a link at this rate.
    pub fn new(rate_hz: u32) -> Self {
        Self {
            rate_hz,
            limit_bytes: limit_bytes(rate_hz, OUTBOUND_QUEUE_MS),
            ring: Mutex::new(Ring::new()),
            dropped_frames: AtomicU64::new(0),
        }
    }

    /// The next frame to send.
    pub fn try_pop(&self) -> Option<Frame> {
        self.pop_if(|_| true)
    }

    /// The next frame, if this says yes to it; it is asked once, under the queue's lock.
    pub fn pop_if(&self, wanted: impl FnOnce(&Frame) -> bool) -> Option<Frame> {
        let (frame, writer) = {
            let mut ring = lock(&self.ring);
            if !ring.frames.front().is_some_and(wanted) {
                return None;
            }
            let frame = ring.take();
            let writer = if ring.is_full(self.limit_bytes) { None } else { ring.writer.take() };
            (frame, writer)
        };
        wake(writer);
        frame
    }

    /// How many bytes the next frame has; `None` when nothing is queued.
    pub fn next_bytes(&self) -> Option<usize> {
        lock(&self.ring).frames.front().map(Frame::len_bytes)
    }

    /// Ready when a frame is queued, when [`OutboundQueue::take_cleared`] would say yes, or after the end. Else the
    /// sender is woken for the first of them.
    pub fn poll_available(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut ring = lock(&self.ring);
        if !ring.frames.is_empty() || ring.cleared || ring.closed {
            return Poll::Ready(());
        }
        ring.reader_wants_frames = true;
        wait_in(&mut ring.reader, cx);
        Poll::Pending
    }

    /// Like [`OutboundQueue::poll_available`] for a sender that holds its frames back and does not care for more.
    pub fn poll_cleared(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut ring = lock(&self.ring);
        if ring.cleared || ring.closed {
            return Poll::Ready(());
        }
        ring.reader_wants_frames = false;
        wait_in(&mut ring.reader, cx);
        Poll::Pending
    }

    /// Whether the queue was cleared since this was last asked.
    pub fn take_cleared(&self) -> bool {
        std::mem::take(&mut lock(&self.ring).cleared)
    }

    /// Nothing is taken any more, and what is queued is forgotten.
    pub fn close(&self) {
        let (reader, writer) = {
            let mut ring = lock(&self.ring);
            ring.closed = true;
            ring.frames.clear();
            ring.queued_bytes = 0;
            (ring.reader.take(), ring.writer.take())
        };
        wake(reader);
        wake(writer);
    }

    /// Whether [`OutboundQueue::close`] was called.
    pub fn is_closed(&self) -> bool {
        lock(&self.ring).closed
    }

    /// How many frames were dropped because they were pushed though the queue was full.
    pub fn dropped_frames(&self) -> u64 {
        self.dropped_frames.load(Ordering::Relaxed)
    }
}

impl AudioSink for OutboundQueue {
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), LinkClosed>> {
        let mut ring = lock(&self.ring);
        if ring.closed {
            return Poll::Ready(Err(LinkClosed));
        }
        if !ring.is_full(self.limit_bytes) {
            return Poll::Ready(Ok(()));
        }
        wait_in(&mut ring.writer, cx);
        Poll::Pending
    }

    /// A frame of more than 20 ms is queued as several.
    fn push(&self, frame: Frame) -> Result<(), LinkClosed> {
        let mut dropped = 0;
        let reader = {
            let mut ring = lock(&self.ring);
            if ring.closed {
                return Err(LinkClosed);
            }
            let mut pcm = frame.into_pcm();
            while !pcm.is_empty() {
                let piece = pcm.split_to(pcm.len().min(frame_bytes(self.rate_hz).max(2)));
                if ring.is_full(self.limit_bytes) {
                    dropped += 1;
                } else {
                    ring.put(Frame::new(piece));
                }
            }
            ring.reader_for_a_frame()
        };
        if dropped > 0 {
            self.dropped_frames.fetch_add(dropped, Ordering::Relaxed);
        }
        wake(reader);
        Ok(())
    }

    fn clear(&self) {
        let (reader, writer) = {
            let mut ring = lock(&self.ring);
            ring.frames.clear();
            ring.queued_bytes = 0;
            ring.cleared = true;
            (ring.reader.take(), ring.writer.take())
        };
        wake(reader);
        wake(writer);
    }

    fn queued_ms(&self) -> u32 {
        bytes_to_ms(lock(&self.ring).queued_bytes, self.rate_hz)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;
    use std::task::Wake;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Woken {
        fn times(&self) -> u32 {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn watched() -> (Arc<Woken>, Waker) {
        let woken = Arc::new(Woken::default());
        (woken.clone(), Waker::from(woken))
    }

    fn frame(value: u8) -> Frame {
        Frame::new(Bytes::from(vec![value; frame_bytes(8_000)]))
    }

    fn read(queue: &InboundQueue) -> Poll<Option<Frame>> {
        queue.poll_frame(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn of_more_than_200_ms_heard_the_oldest_goes_and_is_counted() {
        let queue = InboundQueue::new(8_000);
        for value in 0..15 {
            queue.push(frame(value));
        }
        assert_eq!(queue.dropped_frames(), 5);
        assert_eq!(read(&queue), Poll::Ready(Some(frame(5))));
    }

    #[test]
    fn what_was_heard_before_the_end_can_still_be_read() {
        let queue = InboundQueue::new(8_000);
        queue.push(frame(1));
        queue.close();
        assert_eq!(queue.push(frame(2)), 0);
        assert_eq!(read(&queue), Poll::Ready(Some(frame(1))));
        assert_eq!(read(&queue), Poll::Ready(None));
    }

    #[test]
    fn a_reader_is_woken_once_and_only_when_it_waits() {
        let queue = InboundQueue::new(8_000);
        let (woken, waker) = watched();
        queue.push(frame(1));
        assert_eq!(woken.times(), 0);
        assert!(queue.poll_readable(&mut Context::from_waker(&waker)).is_ready());
        assert!(queue.poll_frame(&mut Context::from_waker(&waker)).is_ready());
        assert!(queue.poll_readable(&mut Context::from_waker(&waker)).is_pending());
        queue.push(frame(2));
        queue.push(frame(3));
        assert_eq!(woken.times(), 1);
    }

    #[test]
    fn a_later_reader_replaces_an_earlier_one() {
        let queue = InboundQueue::new(8_000);
        let (first, first_waker) = watched();
        let (second, second_waker) = watched();
        assert!(queue.poll_frame(&mut Context::from_waker(&first_waker)).is_pending());
        assert!(queue.poll_frame(&mut Context::from_waker(&second_waker)).is_pending());
        queue.close();
        assert_eq!((first.times(), second.times()), (0, 1));
    }

    #[test]
    fn a_writer_waits_at_200_ms_and_is_woken_by_room() {
        let queue = OutboundQueue::new(8_000);
        let (woken, waker) = watched();
        let mut cx = Context::from_waker(&waker);
        for value in 0..10 {
            assert_eq!(queue.poll_ready(&mut cx), Poll::Ready(Ok(())));
            queue.push(frame(value)).unwrap();
        }
        assert_eq!(queue.queued_ms(), 200);
        assert!(queue.poll_ready(&mut cx).is_pending());
        queue.push(frame(99)).unwrap();
        assert_eq!(queue.dropped_frames(), 1);
        assert_eq!(queue.try_pop(), Some(frame(0)));
        assert_eq!(woken.times(), 1);
        assert_eq!(queue.poll_ready(&mut cx), Poll::Ready(Ok(())));
    }

    #[test]
    fn a_clear_wakes_a_waiting_writer_and_even_a_sender_that_holds_back() {
        let queue = OutboundQueue::new(8_000);
        let (writer, writer_waker) = watched();
        let (sender, sender_waker) = watched();
        for value in 0..10 {
            queue.push(frame(value)).unwrap();
        }
        assert!(queue.poll_ready(&mut Context::from_waker(&writer_waker)).is_pending());
        assert!(queue.poll_cleared(&mut Context::from_waker(&sender_waker)).is_pending());
        queue.clear();
        assert_eq!((writer.times(), sender.times()), (1, 1));
        assert_eq!(queue.queued_ms(), 0);
        assert!(queue.poll_available(&mut Context::from_waker(&sender_waker)).is_ready());
        assert!(queue.take_cleared());
        assert!(!queue.take_cleared());
    }

    #[test]
    fn a_sender_that_holds_back_is_not_woken_by_more_of_the_same() {
        let queue = OutboundQueue::new(8_000);
        let (sender, waker) = watched();
        queue.push(frame(0)).unwrap();
        assert!(queue.poll_cleared(&mut Context::from_waker(&waker)).is_pending());
        queue.push(frame(1)).unwrap();
        assert_eq!(sender.times(), 0);
        queue.try_pop();
        queue.try_pop();
        assert!(queue.poll_available(&mut Context::from_waker(&waker)).is_pending());
        queue.push(frame(2)).unwrap();
        assert_eq!(sender.times(), 1);
    }

    #[test]
    fn a_closed_link_takes_nothing_and_tells_so() {
        let queue = OutboundQueue::new(8_000);
        queue.push(frame(1)).unwrap();
        queue.close();
        assert_eq!(queue.push(frame(2)), Err(LinkClosed));
        assert_eq!(queue.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(LinkClosed)));
        assert_eq!(queue.try_pop(), None);
    }

    #[test]
    fn a_long_frame_is_queued_as_several() {
        let queue = OutboundQueue::new(8_000);
        queue.push(Frame::new(Bytes::from(vec![7; 700]))).unwrap();
        let lengths: Vec<_> = std::iter::from_fn(|| queue.try_pop()).map(|f| f.len_bytes()).collect();
        assert_eq!(lengths, [320, 320, 60]);
    }

    proptest! {
        #[test]
        fn neither_queue_ever_holds_more_than_its_bound(lengths in prop::collection::vec(0_usize..2_000, 0..300)) {
            let inbound = InboundQueue::new(8_000);
            let outbound = OutboundQueue::new(8_000);
            for length in lengths {
                inbound.push(Frame::new(Bytes::from(vec![0; length])));
                outbound.push(Frame::new(Bytes::from(vec![0; length]))).unwrap();
                let ring = lock(&inbound.ring);
                prop_assert!(ring.frames.len() <= MAX_FRAMES);
                prop_assert!(ring.queued_bytes <= 3_200);
                prop_assert_eq!(ring.queued_bytes, ring.frames.iter().map(Frame::len_bytes).sum::<usize>());
                drop(ring);
                let ring = lock(&outbound.ring);
                prop_assert!(ring.frames.len() <= MAX_FRAMES);
                prop_assert!(ring.queued_bytes < 3_200 + 320);
            }
        }
    }
}
