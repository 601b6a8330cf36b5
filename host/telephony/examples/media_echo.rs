//! Echoes the audio of many AudioSocket connections, once over the media threads and once over a plain tokio server,
//! under the same generator, and prints what each costs: `media_echo [CONNECTIONS [SECONDS]]`. For tuning, on Linux.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use uuid::Uuid;
use voxtra_ari::audiosocket::codec::encode;
use voxtra_ari::audiosocket::{AudioSocketServer, FrameDecoder, FrameKind, ServerOptions};
use voxtra_telephony::media::{MediaEvents, MediaThreads};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const AUDIO: FrameKind = FrameKind::Audio { rate_hz: 8_000 };
const FRAME_BYTES: usize = 320;
/// Tells our frames from filler.
const MARK: [u8; 4] = [0xa5, 0x5a, 0xa5, 0x5a];
/// Left out of the figures: connecting, first allocations.
const WARM_UP: Duration = Duration::from_secs(2);

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let connections = arguments.next().map_or(Ok(500), |text| text.parse::<usize>())?;
    let seconds = arguments.next().map_or(Ok(10), |text| text.parse::<u64>())?;
    let length = Duration::from_secs(seconds);

    println!("{connections} connections, {seconds} s each");
    plain(connections, length)?;
    media(connections, length)?;
    Ok(())
}

fn plain(connections: usize, length: Duration) -> Outcome<()> {
    let server = on_thread("plain-echo")?;
    let listener = server.handle.block_on(async { TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await })?;
    let address = listener.local_addr()?;
    server.handle.spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = socket.set_nodelay(true);
                let mut frame = [0; 3 + FRAME_BYTES];
                let (hello, _) = frame.split_at_mut(19);
                let mut read = socket.read_exact(hello).await;
                while read.is_ok() {
                    read = socket.read_exact(&mut frame).await;
                    if read.is_ok() && socket.write_all(&frame).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let uuids = (0..connections).map(|_| Uuid::new_v4()).collect();
    report("plain tokio echo", generate(address, uuids, length)?, &["plain-echo"], connections);
    Ok(())
}

fn media(connections: usize, length: Duration) -> Outcome<()> {
    let threads = MediaThreads::start(1)?;
    let handlers = on_thread("handlers")?;
    let server = handlers.handle.block_on(async {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        AudioSocketServer::bind(address, ServerOptions::default()).await
    })?;
    let mut uuids = Vec::new();
    for _ in 0..connections {
        let uuid = Uuid::new_v4();
        let expected = {
            let _in_runtime = handlers.handle.enter();
            server.expect(uuid)?
        };
        uuids.push(uuid);
        let threads = Arc::clone(&threads);
        handlers.handle.spawn(async move {
            let Ok(connection) = expected.await else { return };
            let Ok(attached) = threads.attach_audiosocket(connection, 8_000, Arc::new(Deaf)) else { return };
            while let Some(frame) = poll_fn(|cx| attached.link.source.poll_frame(cx)).await {
                if attached.link.sink.push(frame).is_err() {
                    return;
                }
            }
        });
    }
    let measured = generate(server.local_addr(), uuids, length)?;
    report("media threads", measured, &["voxtra-media-1", "handlers"], connections);
    println!("  {:?}", threads.stats());
    Ok(())
}

struct Deaf;

impl MediaEvents for Deaf {
    fn lost(&self) {}
    fn dtmf(&self, _: char, _: u32) {}
}

/// A current-thread runtime that is driven by a thread of its own, for as long as this lives.
struct Driven {
    handle: Handle,
    _running: oneshot::Sender<()>,
}

fn on_thread(name: &str) -> Outcome<Driven> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let (running, stopped) = oneshot::channel::<()>();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _ = runtime.block_on(stopped);
    })?;
    Ok(Driven { handle, _running: running })
}

struct Measured {
    delays_us: Vec<u64>,
    sent: u64,
    cpu: Vec<(String, Duration)>,
    length: Duration,
}

/// Sends a frame every 20 ms on each connection and takes the time until it is back.
fn generate(address: SocketAddr, uuids: Vec<Uuid>, length: Duration) -> Outcome<Measured> {
    let (results, received) = mpsc::channel();
    std::thread::Builder::new().name("generator".to_owned()).spawn(move || {
        let _ = results.send(
            Builder::new_current_thread().enable_all().build().map(|runtime| drive(&runtime, address, uuids, length)),
        );
    })?;
    std::thread::sleep(WARM_UP);
    let before = cpu_by_thread();
    std::thread::sleep(length);
    let after = cpu_by_thread();
    let (delays_us, sent) = received.recv()???;
    let cpu = after
        .into_iter()
        .map(|(name, cpu)| {
            let earlier = before.iter().find(|(of, _)| *of == name).map_or(Duration::ZERO, |(_, cpu)| *cpu);
            (name, cpu.saturating_sub(earlier))
        })
        .collect();
    Ok(Measured { delays_us, sent, cpu, length })
}

fn drive(runtime: &Runtime, address: SocketAddr, uuids: Vec<Uuid>, length: Duration) -> Outcome<(Vec<u64>, u64)> {
    let start = Instant::now();
    let count = uuids.len() as u32;
    runtime.block_on(async move {
        let mut calls = Vec::new();
        for (number, uuid) in uuids.into_iter().enumerate() {
            let mut socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            let mut hello = BytesMut::new();
            encode(FrameKind::Uuid, uuid.as_bytes(), &mut hello)?;
            socket.write_all(&hello).await?;
            let phase = Duration::from_millis(20) * number as u32 / count;
            calls.push(tokio::spawn(call(socket, phase, start, length)));
        }
        let (mut delays_us, mut sent) = (Vec::new(), 0);
        for call in calls {
            let (of_call, sent_by_call) = call.await??;
            delays_us.extend(of_call);
            sent += sent_by_call;
        }
        Ok((delays_us, sent))
    })
}

async fn call(socket: TcpStream, phase: Duration, start: Instant, length: Duration) -> Outcome<(Vec<u64>, u64)> {
    let (mut reader, mut writer) = socket.into_split();
    let from = start + WARM_UP;
    let until = from + length;
    let sender = tokio::spawn(async move {
        let mut ticker = tokio::time::interval_at((start + WARM_UP / 2 + phase).into(), Duration::from_millis(20));
        let mut sent = 0_u64;
        let mut out = BytesMut::new();
        while Instant::now() < until {
            ticker.tick().await;
            let mut payload = [1; FRAME_BYTES];
            let now = Instant::now();
            let (mark, rest) = payload.split_at_mut(4);
            mark.copy_from_slice(&MARK);
            rest.split_at_mut(8).0.copy_from_slice(&(now.duration_since(start).as_micros() as u64).to_le_bytes());
            out.clear();
            encode(AUDIO, &payload, &mut out)?;
            writer.write_all(&out).await?;
            sent += u64::from(now >= from);
        }
        Outcome::Ok((sent, writer))
    });
    let decoder = FrameDecoder::new();
    let mut buffer = BytesMut::with_capacity(8 * 1024);
    let mut delays_us = Vec::new();
    let deadline = tokio::time::Instant::from(until + Duration::from_millis(500));
    loop {
        while let Some(frame) = decoder.decode(&mut buffer)? {
            let Some((mark, rest)) = frame.payload.split_first_chunk::<4>() else { continue };
            let Some((sent_us, _)) = rest.split_first_chunk::<8>() else { continue };
            let sent = start + Duration::from_micros(u64::from_le_bytes(*sent_us));
            if *mark == MARK && sent >= from {
                delays_us.push(sent.elapsed().as_micros() as u64);
            }
        }
        buffer.reserve(4 * 1024);
        match tokio::time::timeout_at(deadline, reader.read_buf(&mut buffer)).await {
            Ok(Ok(1..)) => {}
            _ => break,
        }
    }
    let (sent, _writer) = sender.await??;
    Ok((delays_us, sent))
}

/// The processor time of each thread of this process, those of one name together.
fn cpu_by_thread() -> Vec<(String, Duration)> {
    let mut threads: Vec<(String, Duration)> = Vec::new();
    for entry in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |file: &str| std::fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        let name = read("comm").trim().to_owned();
        let ns = read("schedstat").split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
        threads.push((name, Duration::from_nanos(ns)));
    }
    threads
}

fn report(name: &str, mut measured: Measured, threads: &[&str], connections: usize) {
    let delays_us = &mut measured.delays_us;
    delays_us.sort_unstable();
    let at =
        |share: f64| delays_us.get(((delays_us.len() as f64 * share) as usize).min(delays_us.len().saturating_sub(1)));
    let percent = |cpu: Duration| cpu.as_secs_f64() / measured.length.as_secs_f64() * 100.0;
    println!("{name}");
    println!(
        "  frames {} sent, {} back; delay in µs: p50 {}, p99 {}, p99.9 {}, max {}",
        measured.sent,
        delays_us.len(),
        at(0.5).copied().unwrap_or(0),
        at(0.99).copied().unwrap_or(0),
        at(0.999).copied().unwrap_or(0),
        at(1.0).copied().unwrap_or(0),
    );
    let mut total = 0.0;
    for (thread, cpu) in &measured.cpu {
        if percent(*cpu) >= 0.05 {
            println!("  {thread}: {:.1} % of a core", percent(*cpu));
        }
        if threads.contains(&thread.as_str()) {
            total += percent(*cpu);
        }
    }
    println!("  the server: {total:.1} % of a core, {:.4} % a connection", total / connections as f64);
}
