//! Recording by the host: two streams of audio into one stereo file. The audio is looked at every 20 ms and written
//! once a second, elsewhere, so that a slow disk is never waited for.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval};
use voxtra_audio::StereoStream;
use voxtra_audio::wav::{HEADER_BYTES, header};
use voxtra_core::AudioSource;
use voxtra_core::recording::{CaptureEnd, CaptureLimits};

use super::journal::restrict;
use super::room::RoomWatch;

const TICK: Duration = Duration::from_millis(20);
/// Bytes of one pair of samples.
const PAIR_BYTES: u64 = 4;
/// Audio that may wait for the disk.
const UNWRITTEN_MAX: Duration = Duration::from_secs(10);
/// A WAV file's own limit, less some room.
const FILE_MAX_BYTES: u64 = 0xf000_0000;

/// What a capture is made of.
pub(super) struct Sides {
    pub(super) said: Arc<dyn AudioSource>,
    pub(super) heard: Arc<dyn AudioSource>,
    pub(super) rate_hz: u32,
}

/// A capture that goes on.
pub(super) struct Capture {
    pub(super) paused: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    ended: watch::Receiver<Option<CaptureEnd>>,
}

/// How long a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Length {
    pub(super) duration_ms: u32,
    pub(super) size_bytes: u64,
}

impl Capture {
    /// Begins to write a new file, and goes on for as long as there is room.
    pub(super) fn start(file: File, sides: Sides, limits: CaptureLimits, room: RoomWatch) -> Self {
        let (stop, stopping) = watch::channel(false);
        let (end, ended) = watch::channel(None);
        let paused = Arc::new(AtomicBool::new(false));
        let pump = Pump {
            stream: StereoStream::new(sides.rate_hz),
            writer: Writer::new(Disk { file, room }, sides.rate_hz),
            sides,
            limits,
            paused: Arc::clone(&paused),
            taken: Duration::ZERO,
            silent: Duration::ZERO,
        };
        tokio::spawn(async move {
            let how = pump.run(stopping).await;
            end.send_replace(Some(how));
        });
        Self { paused, stop, ended }
    }

    /// Waits for its end.
    pub(super) async fn ended(&self) -> CaptureEnd {
        let mut ended = self.ended.clone();
        let how = ended.wait_for(Option::is_some).await.ok().and_then(|how| how.clone());
        how.unwrap_or_else(|| CaptureEnd::Failed("the recording was lost with its task".to_owned()))
    }

    /// Ends it and waits until everything is with the system.
    pub(super) async fn finish(&self) -> CaptureEnd {
        self.stop.send_replace(true);
        self.ended().await
    }
}

struct Pump {
    sides: Sides,
    stream: StereoStream,
    writer: Writer,
    limits: CaptureLimits,
    paused: Arc<AtomicBool>,
    taken: Duration,
    silent: Duration,
}

impl Pump {
    async fn run(mut self, mut stopping: watch::Receiver<bool>) -> CaptureEnd {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut looked = Instant::now();
        let end = loop {
            let stop = tokio::select! {
                // The sender's loss is a stop too.
                _ = stopping.wait_for(|stop| *stop) => true,
                _ = ticks.tick() => false,
            };
            let now = Instant::now();
            let end = self.look(now.saturating_duration_since(looked));
            looked = now;
            if stop {
                break CaptureEnd::AudioEnded;
            }
            if let Some(end) = end {
                break end;
            }
            if let Err(error) = self.writer.write_when_due().await {
                break CaptureEnd::Failed(error);
            }
        };
        if !self.paused.load(Ordering::Relaxed) {
            self.stream.drain(&mut self.writer.waiting);
        }
        match (self.writer.finish().await, end) {
            // The first failure is the one that says what to do.
            (Ok(()), end) | (Err(_), end @ CaptureEnd::Failed(_)) => end,
            (Err(error), _) => CaptureEnd::Failed(error),
        }
    }

    /// Takes what has come in the time that has passed.
    fn look(&mut self, passed: Duration) -> Option<CaptureEnd> {
        let said_ends = drain(&*self.sides.said, |frame| self.stream.said(&frame));
        let heard_ends = drain(&*self.sides.heard, |frame| self.stream.heard(&frame));
        if self.paused.load(Ordering::Relaxed) {
            self.stream.clear();
        } else {
            self.take(passed);
        }
        if said_ends && heard_ends {
            return Some(CaptureEnd::AudioEnded);
        }
        if self.taken >= self.limits.max_duration || self.writer.bytes() >= FILE_MAX_BYTES {
            return Some(CaptureEnd::MaxDuration);
        }
        self.limits.max_silence.filter(|max| self.silent >= *max).map(|_| CaptureEnd::MaxSilence)
    }

    fn take(&mut self, passed: Duration) {
        let before = self.writer.waiting.len();
        let spoke = self.stream.take(passed, &mut self.writer.waiting);
        if self.writer.waiting.len() > before {
            self.taken += passed;
        }
        self.silent = if spoke { Duration::ZERO } else { self.silent + passed };
    }
}

/// Hands on what is there; true when nothing will come any more. The waker is none: it is looked again soon.
fn drain(source: &dyn AudioSource, mut on_frame: impl FnMut(voxtra_core::Frame)) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match source.poll_frame(&mut cx) {
            Poll::Ready(Some(frame)) => on_frame(frame),
            Poll::Ready(None) => return true,
            Poll::Pending => return false,
        }
    }
}

/// Writes a second of audio at a time on a thread for it.
struct Writer {
    rate_hz: u32,
    waiting: Vec<u8>,
    written_bytes: u64,
    state: WriterState,
}

enum WriterState {
    Idle(Disk),
    Writing(JoinHandle<Result<Disk, String>>),
    Broken,
}

/// What the writing thread has while it writes.
struct Disk {
    file: File,
    room: RoomWatch,
}

impl Disk {
    /// Writes it; then looks whether more may be written, if more is to come. Blocks.
    fn write(&mut self, chunk: &[u8], is_last: bool) -> Result<(), String> {
        self.file.write_all(chunk).map_err(|error| disk_error(&error))?;
        if is_last { Ok(()) } else { self.room.grow(chunk.len() as u64) }
    }
}

impl Writer {
    fn new(disk: Disk, rate_hz: u32) -> Self {
        let waiting = header(rate_hz, 2, 0).to_vec();
        Self { rate_hz, waiting, written_bytes: 0, state: WriterState::Idle(disk) }
    }

    fn bytes(&self) -> u64 {
        self.written_bytes + self.waiting.len() as u64
    }

    fn bytes_in(&self, duration: Duration) -> u64 {
        duration.as_secs() * u64::from(self.rate_hz) * PAIR_BYTES
    }

    async fn write_when_due(&mut self) -> Result<(), String> {
        if self.waiting.len() as u64 > self.bytes_in(UNWRITTEN_MAX) {
            return Err("the disk is too slow for the recording; give it a faster one".to_owned());
        }
        if (self.waiting.len() as u64) < self.bytes_in(Duration::from_secs(1)) {
            return Ok(());
        }
        self.write(false).await
    }

    /// Begins to write what waits; when the writing before goes on still, only if this is the last one.
    async fn write(&mut self, is_last: bool) -> Result<(), String> {
        let mut disk = match std::mem::replace(&mut self.state, WriterState::Broken) {
            WriterState::Idle(disk) => disk,
            WriterState::Writing(task) if !is_last && !task.is_finished() => {
                self.state = WriterState::Writing(task);
                return Ok(());
            }
            WriterState::Writing(task) => written(task).await?,
            WriterState::Broken => return Err("the recording's file is lost".to_owned()),
        };
        let chunk = std::mem::take(&mut self.waiting);
        self.written_bytes += chunk.len() as u64;
        self.state = WriterState::Writing(spawn_blocking(move || disk.write(&chunk, is_last).map(|()| disk)));
        Ok(())
    }

    async fn finish(mut self) -> Result<(), String> {
        self.write(true).await?;
        match self.state {
            WriterState::Writing(task) => written(task).await.map(drop),
            WriterState::Idle(_) | WriterState::Broken => Ok(()),
        }
    }
}

async fn written(task: JoinHandle<Result<Disk, String>>) -> Result<Disk, String> {
    task.await.unwrap_or_else(|error| Err(format!("the recording's file is lost ({error})")))
}

/// What a person can do about it.
pub(super) fn disk_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk of the recordings is full; make room or name another folder".to_owned()
        }
        io::ErrorKind::PermissionDenied => "the recordings' folder may not be written to; change its owner".to_owned(),
        _ => format!("the recording cannot be written ({error})"),
    }
}

/// A new, empty file that only the host's user may read.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    restrict(path, 0o600)?;
    Ok(file)
}

/// Writes the lengths into the header of what was captured, whole or not, and makes it last. A file that has no header
/// yet gets one. Blocks.
pub(super) fn seal(path: &Path) -> io::Result<Length> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut rate_hz = [0; 4];
    let whole = file.metadata()?.len();
    let has_header = whole >= HEADER_BYTES as u64;
    if has_header {
        file.seek(SeekFrom::Start(RATE_AT))?;
        file.read_exact(&mut rate_hz)?;
    }
    let rate_hz = u32::from_le_bytes(rate_hz).clamp(8_000, 48_000);
    let data_bytes = whole.saturating_sub(HEADER_BYTES as u64) / PAIR_BYTES * PAIR_BYTES;
    file.set_len(HEADER_BYTES as u64 + data_bytes)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&header(rate_hz, 2, data_bytes))?;
    file.sync_all()?;
    let duration_ms = data_bytes / PAIR_BYTES * 1_000 / u64::from(rate_hz);
    Ok(Length {
        duration_ms: u32::try_from(duration_ms).unwrap_or(u32::MAX),
        size_bytes: HEADER_BYTES as u64 + data_bytes,
    })
}

/// Where a WAV header has the sample rate.
const RATE_AT: u64 = 24;
