//! Callers that speak AudioSocket: each sends a frame of 20 ms every 20 ms, marked with a number, and notes when the
//! same frame comes back.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::LocalSet;
use uuid::Uuid;

const FRAME_MS: u64 = 20;
const PAYLOAD_BYTES: usize = 320;
const HEADER_BYTES: usize = 3;
const FRAME_BYTES: usize = HEADER_BYTES + PAYLOAD_BYTES;
const KIND_UUID: u8 = 0x01;
const KIND_AUDIO_8_KHZ: u8 = 0x10;

/// Tells our frames from the silence that a host fills in.
const MARK: [u8; 4] = *b"VXTR";

/// Frames before the measured ones: calls are set up, caches are warm.
const WARM_UP: Duration = Duration::from_secs(2);

/// How long to wait for the last frames.
const TAIL: Duration = Duration::from_millis(500);

/// A frame that takes longer is late: the caller's jitter buffer, usually 40 ms, would have given up on it.
const LATE: Duration = Duration::from_millis(40);

/// What came back.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Of each measured frame, in nanoseconds.
    pub(crate) delays_ns: Vec<u64>,
    pub(crate) sent: u64,
    pub(crate) late: u64,
    /// Between the arrivals of two frames of one call, silence that the host fills in included.
    pub(crate) gaps_ns: Vec<u64>,
}

/// The id of the caller with this number; a host under test expects the same ones.
pub(crate) fn caller_id(n: usize) -> Uuid {
    Uuid::from_u128(0x766f_7874_7261_4000_8000_0000_0000_0000 + n as u128)
}

/// Calls, speaks for `measured`, and reports. `at_start` and `at_end` are called around the measured time.
pub(crate) fn run(
    server: SocketAddr,
    calls: usize,
    measured: Duration,
    at_start: impl FnOnce(),
    at_end: impl FnOnce(),
) -> Result<Heard> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&tokio, async {
        let mut crowd = Crowd::connect(server, calls).await?;
        crowd.speak(WARM_UP).await?;
        at_start();
        crowd.measure(measured).await?;
        at_end();
        crowd.leave().await
    })
}

/// Callers on the line. Lives in a [`LocalSet`].
pub(crate) struct Crowd {
    callers: Vec<Caller>,
    heard: Rc<RefCell<Heard>>,
    /// Whether what comes now counts.
    measuring: Rc<Cell<bool>>,
}

impl Crowd {
    pub(crate) async fn connect(server: SocketAddr, calls: usize) -> Result<Self> {
        let (heard, measuring) = (Rc::default(), Rc::default());
        let mut callers = Vec::with_capacity(calls);
        for n in 0..calls {
            callers.push(Caller::connect(server, n, &heard, &measuring).await?);
        }
        Ok(Self { callers, heard, measuring })
    }

    /// Speaks, and nobody counts.
    pub(crate) async fn speak(&mut self, during: Duration) -> Result<()> {
        speak(&mut self.callers, during, false).await
    }

    /// Speaks, and counts.
    pub(crate) async fn measure(&mut self, during: Duration) -> Result<()> {
        self.measuring.set(true);
        let spoken = speak(&mut self.callers, during, true).await;
        self.measuring.set(false);
        spoken
    }

    /// What was counted since the last time.
    pub(crate) fn heard(&self) -> Heard {
        std::mem::take(&mut *self.heard.borrow_mut())
    }

    async fn leave(self) -> Result<Heard> {
        tokio::time::sleep(TAIL).await;
        Ok(self.heard())
    }
}

/// A twentieth of the callers speaks in each millisecond, as in life.
async fn speak(callers: &mut [Caller], during: Duration, measured: bool) -> Result<()> {
    let mut ticker = tokio::time::interval(Duration::from_millis(1));
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    for ms in 0..during.as_millis() as u64 {
        ticker.tick().await;
        let turn = (ms % FRAME_MS) as usize;
        for caller in callers.iter_mut().skip(turn).step_by(FRAME_MS as usize) {
            caller.say(measured).await?;
        }
    }
    Ok(())
}

struct Caller {
    write: OwnedWriteHalf,
    frame: [u8; FRAME_BYTES],
    number: u32,
    sent: Rc<RefCell<Vec<Option<Instant>>>>,
    heard: Rc<RefCell<Heard>>,
}

impl Caller {
    async fn connect(
        server: SocketAddr,
        n: usize,
        heard: &Rc<RefCell<Heard>>,
        measuring: &Rc<Cell<bool>>,
    ) -> Result<Self> {
        let connection = TcpStream::connect(server).await.with_context(|| format!("caller {n} cannot connect"))?;
        connection.set_nodelay(true)?;
        let (read, mut write) = connection.into_split();
        let mut hello = vec![KIND_UUID, 0, 16];
        hello.extend_from_slice(caller_id(n).as_bytes());
        write.write_all(&hello).await?;
        let sent = Rc::new(RefCell::new(Vec::new()));
        let (heard, measuring) = (Rc::clone(heard), Rc::clone(measuring));
        tokio::task::spawn_local(listen(read, Rc::clone(&sent), Rc::clone(&heard), measuring));
        let mut frame = [0x11; FRAME_BYTES];
        frame[..HEADER_BYTES].copy_from_slice(&[KIND_AUDIO_8_KHZ, 1, 0x40]);
        frame[HEADER_BYTES..HEADER_BYTES + 4].copy_from_slice(&MARK);
        Ok(Self { write, frame, number: 0, sent, heard })
    }

    async fn say(&mut self, measured: bool) -> Result<()> {
        self.frame[HEADER_BYTES + 4..HEADER_BYTES + 8].copy_from_slice(&self.number.to_le_bytes());
        self.number += 1;
        self.sent.borrow_mut().push(measured.then(Instant::now));
        self.heard.borrow_mut().sent += u64::from(measured);
        self.write.write_all(&self.frame).await.context("the server has closed a call")
    }
}

async fn listen(
    mut read: OwnedReadHalf,
    sent: Rc<RefCell<Vec<Option<Instant>>>>,
    heard: Rc<RefCell<Heard>>,
    measuring: Rc<Cell<bool>>,
) {
    let mut buffer = Vec::with_capacity(16 << 10);
    let mut last = None;
    while let Ok(1..) = read.read_buf(&mut buffer).await {
        let now = Instant::now();
        let mut at = 0;
        while let Some(frame) = next_frame(&buffer, &mut at) {
            if let Some(before) = last.replace(now).filter(|_| measuring.get()) {
                heard.borrow_mut().gaps_ns.push(now.duration_since(before).as_nanos() as u64);
            }
            if let Some(said) = marked(frame).and_then(|number| sent.borrow_mut().get_mut(number)?.take()) {
                let delay = now.duration_since(said);
                let mut heard = heard.borrow_mut();
                heard.delays_ns.push(delay.as_nanos() as u64);
                heard.late += u64::from(delay > LATE);
            }
        }
        buffer.drain(..at);
    }
}

fn next_frame<'a>(buffer: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let rest = buffer.get(*at..)?;
    let header = rest.first_chunk::<HEADER_BYTES>()?;
    let end = HEADER_BYTES + usize::from(u16::from_be_bytes([header[1], header[2]]));
    let frame = rest.get(..end)?;
    *at += end;
    Some(frame)
}

fn marked(frame: &[u8]) -> Option<usize> {
    let payload = frame.get(HEADER_BYTES..)?.strip_prefix(&MARK)?;
    Some(u32::from_le_bytes(*payload.first_chunk()?) as usize)
}
