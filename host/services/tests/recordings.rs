//! Claims about recordings: what is in them, that each sink gets each once, and that a crash loses none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use voxtra_core::event::{EventType, RecordingEventSink};
use voxtra_core::fake::{FakeAudio, FakeExchange};
use voxtra_core::recording::{CaptureEnd, CaptureLimits, OpenRecording, RecordingDesk, RecordingEnd, RecordingStart};
use voxtra_core::telephony::Exchange;
use voxtra_core::verbs::Recorder;
use voxtra_core::{BoxFuture, CallError, CallId, Frame, RecordingId};
use voxtra_services::recordings::sinks::Finished;
use voxtra_services::recordings::{Desk, DeskOptions, FreeSpace, LocalSink, Sink, SinkError};

const RATE_HZ: u32 = 8_000;
const LONG: CaptureLimits = CaptureLimits { max_duration: Duration::from_secs(3_600), max_silence: None };

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("voxtra-recordings-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn spool(&self) -> PathBuf {
        self.0.join("spool")
    }

    fn kept(&self) -> PathBuf {
        self.0.join("kept")
    }

    fn spooled(&self) -> usize {
        std::fs::read_dir(self.spool()).unwrap().count()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Every WAV file below a folder.
fn wavs(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(wavs(&path));
        } else if path.extension().is_some_and(|extension| extension == "wav") {
            found.push(path);
        }
    }
    found
}

fn start(id: &str, recorder: Recorder) -> RecordingStart {
    RecordingStart {
        id: RecordingId::from(id),
        tenant: "acme".into(),
        call: CallId::from("call-1"),
        name: "greeting".to_owned(),
        recorder,
        exchange: "fake".to_owned(),
        sink: String::new(),
        started_at: SystemTime::now(),
    }
}

struct Rig {
    folder: Folder,
    events: Arc<RecordingEventSink>,
    desk: Desk,
}

fn desk(
    folder: &Folder,
    sinks: Vec<Arc<dyn Sink>>,
    change: impl FnOnce(&mut DeskOptions),
) -> (Desk, Arc<RecordingEventSink>) {
    let events = Arc::new(RecordingEventSink::default());
    let mut options = DeskOptions::new(folder.spool(), sinks[0].name());
    options.default_sinks = sinks.iter().map(|sink| sink.name().to_owned()).collect();
    options.retry_after = Duration::from_millis(10);
    change(&mut options);
    (Desk::new(options, sinks, Arc::<RecordingEventSink>::clone(&events), Handle::current()).unwrap(), events)
}

fn local(folder: &Folder) -> Arc<dyn Sink> {
    Arc::new(LocalSink::new("local", folder.kept(), None))
}

fn rig() -> Rig {
    let folder = Folder::new();
    let (desk, events) = desk(&folder, vec![local(&folder)], |_| {});
    Rig { folder, events, desk }
}

fn frame(value: i16) -> Frame {
    Frame::new(Bytes::from(value.to_le_bytes().repeat(160)))
}

/// Both sides of a call, one frame each every 20 ms.
async fn talk(said: &FakeAudio, heard: &FakeAudio, frames: u32) {
    for _ in 0..frames {
        said.hear(frame(1_000));
        heard.hear(frame(-2_000));
        sleep(Duration::from_millis(20)).await;
    }
}

fn pairs(wav: &Path) -> Vec<(i16, i16)> {
    let mut reader = hound::WavReader::open(wav).unwrap();
    assert_eq!((reader.spec().channels, reader.spec().sample_rate), (2, RATE_HZ));
    let samples: Vec<i16> = reader.samples().map(Result::unwrap).collect();
    samples.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
}

async fn until(what: &str, mut there: impl FnMut() -> bool) {
    let waited = timeout(Duration::from_secs(20), async {
        while !there() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never came: {what}"));
}

fn count(events: &RecordingEventSink, kind: EventType) -> usize {
    events.count(&"call-1".into(), kind)
}

type Captured = (Arc<dyn OpenRecording>, Arc<FakeAudio>, Arc<FakeAudio>);

async fn captured(desk: &Desk, id: &str, limits: CaptureLimits) -> Captured {
    let open = desk.open(start(id, Recorder::Host)).await.unwrap();
    let (said, heard) = (Arc::<FakeAudio>::default(), Arc::<FakeAudio>::default());
    open.capture(Arc::<FakeAudio>::clone(&said), Arc::<FakeAudio>::clone(&heard), RATE_HZ, limits);
    (open, said, heard)
}

#[tokio::test(start_paused = true)]
async fn the_caller_is_left_and_what_it_hears_is_right() {
    let Rig { folder, events, desk } = rig();
    let (open, said, heard) = captured(&desk, "r1", LONG).await;
    talk(&said, &heard, 150).await;
    let info = open.finish(RecordingEnd::ByHost).await.unwrap();
    until("the event", || count(&events, EventType::RecordingFinished) == 1).await;
    let kept = wavs(&folder.kept());
    assert_eq!(kept.len(), 1);
    let pairs = pairs(&kept[0]);
    assert!(pairs.iter().filter(|pair| **pair == (1_000, -2_000)).count() > 145 * 160, "{}", pairs.len());
    assert!((2_900..=3_100).contains(&info.duration_ms), "{}", info.duration_ms);
    assert_eq!(info.size_bytes, std::fs::metadata(&kept[0]).unwrap().len());
    until("an empty spool", || folder.spooled() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn finishing_twice_is_finishing_once() {
    let Rig { folder, events, desk } = rig();
    let (open, said, heard) = captured(&desk, "r1", LONG).await;
    talk(&said, &heard, 50).await;
    let (first, second) = tokio::join!(open.finish(RecordingEnd::ByHost), open.finish(RecordingEnd::ByHost));
    assert_eq!(first.unwrap(), second.unwrap());
    drop(open);
    until("the event", || count(&events, EventType::RecordingFinished) >= 1).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(count(&events, EventType::RecordingFinished), 1);
    assert_eq!(wavs(&folder.kept()).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_dropped_is_kept_with_what_is_there() {
    let Rig { folder, events, desk } = rig();
    let (open, said, heard) = captured(&desk, "r1", LONG).await;
    talk(&said, &heard, 50).await;
    drop(open);
    until("the event", || count(&events, EventType::RecordingFinished) == 1).await;
    assert_eq!(wavs(&folder.kept()).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_left_out() {
    let Rig { desk, folder: _folder, .. } = rig();
    let (open, said, heard) = captured(&desk, "r1", LONG).await;
    talk(&said, &heard, 50).await;
    open.set_paused(true);
    talk(&said, &heard, 500).await;
    open.set_paused(false);
    talk(&said, &heard, 50).await;
    let info = open.finish(RecordingEnd::ByHost).await.unwrap();
    assert!((1_800..=2_200).contains(&info.duration_ms), "{}", info.duration_ms);
}

#[tokio::test(start_paused = true)]
async fn it_ends_at_its_longest_and_at_silence() {
    let Rig { desk, folder: _folder, .. } = rig();
    let limits = CaptureLimits { max_duration: Duration::from_secs(1), ..LONG };
    let (open, said, heard) = captured(&desk, "r1", limits).await;
    let (end, ()) = tokio::join!(open.stopped(), talk(&said, &heard, 100));
    assert_eq!(end, CaptureEnd::MaxDuration);

    let limits = CaptureLimits { max_silence: Some(Duration::from_millis(500)), ..LONG };
    let (open, said, heard) = captured(&desk, "r2", limits).await;
    talk(&said, &heard, 100).await;
    assert_eq!(open.stopped().await, CaptureEnd::MaxSilence);

    let (open, said, heard) = captured(&desk, "r3", LONG).await;
    said.close();
    heard.close();
    assert_eq!(open.stopped().await, CaptureEnd::AudioEnded);
}

#[tokio::test]
async fn a_disk_without_room_refuses_a_recording_with_a_sentence() {
    let folder = Folder::new();
    let (desk, _) = desk(&folder, vec![local(&folder)], |options| options.min_free_bytes = u64::MAX);
    let error = desk.open(start("r1", Recorder::Host)).await.err().unwrap();
    assert!(matches!(&error, CallError::LimitExceeded(why) if why.contains("make room")), "{error}");
    assert_eq!(folder.spooled(), 0);
}

/// A disk of which so much is free, whatever is written.
fn free_bytes(options: &mut DeskOptions, bytes: u64) -> Arc<AtomicU64> {
    let free = Arc::new(AtomicU64::new(bytes));
    let told = Arc::clone(&free);
    options.free_space = FreeSpace::by(move |_| Ok(told.load(Ordering::SeqCst)));
    options.min_free_bytes = 64 << 20;
    free
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fills_up_ends_a_recording_and_what_there_is_of_it_is_kept() {
    let folder = Folder::new();
    let mut free = Arc::default();
    let (desk, events) = desk(&folder, vec![local(&folder)], |options| free = free_bytes(options, 65 << 20));
    let (open, said, heard) = captured(&desk, "r1", LONG).await;
    talk(&said, &heard, 500).await;
    assert!(timeout(Duration::from_millis(1), open.stopped()).await.is_err());
    free.store(63 << 20, Ordering::SeqCst);
    // Within the next seconds, while the call goes on.
    let (end, ()) = tokio::join!(open.stopped(), talk(&said, &heard, 500));
    let CaptureEnd::Failed(why) = end else { panic!("{end:?}") };
    assert!(why.contains("63 MiB left") && why.contains("make room"), "{why}");
    // A new one is refused with the same words.
    let refused = desk.open(start("r2", Recorder::Host)).await.err().unwrap();
    assert!(matches!(&refused, CallError::LimitExceeded(begins) if begins.contains(&why)), "{refused}");

    let outcome = open.finish(RecordingEnd::Failed(why.clone())).await;
    assert!(outcome.is_err_and(|error| error.to_string().contains(&why)));
    until("the event", || count(&events, EventType::RecordingFailed) == 1).await;
    let failed = events.events().into_iter().find(|e| e.kind == EventType::RecordingFailed).unwrap();
    assert_eq!(failed.data["reason"], *why);
    assert!(failed.data["locations"]["local"].is_string());
    let pairs = pairs(&wavs(&folder.kept())[0]);
    assert!((9 * 8_000..16 * 8_000).contains(&pairs.len()), "{}", pairs.len());
    assert!(pairs.contains(&(1_000, -2_000)));
    until("an empty spool", || folder.spooled() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_recording_that_was_over_before_the_disk_was_full_is_whole() {
    let folder = Folder::new();
    let mut free = Arc::default();
    let (desk, events) = desk(&folder, vec![local(&folder)], |options| free = free_bytes(options, 65 << 20));
    let (open, said, heard) = captured(&desk, "r1", LONG).await;
    talk(&said, &heard, 50).await;
    free.store(0, Ordering::SeqCst);
    open.finish(RecordingEnd::ByHost).await.unwrap();
    until("the event", || count(&events, EventType::RecordingFinished) == 1).await;
    assert_eq!(count(&events, EventType::RecordingFailed), 0);
}

/// Fails so often, then takes everything; keeps what it took.
struct Flaky {
    name: &'static str,
    failures: AtomicU32,
    taken: Mutex<Vec<String>>,
}

impl Flaky {
    fn new(name: &'static str, failures: u32) -> Arc<Self> {
        Arc::new(Self { name, failures: AtomicU32::new(failures), taken: Mutex::default() })
    }
}

impl Sink for Flaky {
    fn name(&self) -> &str {
        self.name
    }

    fn keep<'a>(&'a self, recording: &'a Finished<'a>) -> BoxFuture<'a, Result<String, SinkError>> {
        let fails = self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        Box::pin(async move {
            if fails {
                return Err(SinkError { why: "not now".to_owned(), lasting: false });
            }
            self.taken.lock().unwrap().push(recording.start.id.to_string());
            Ok(format!("{}:{}", self.name, recording.file_name()))
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_sink_is_asked_again_and_holds_up_no_other() {
    let folder = Folder::new();
    let (never, late) = (Flaky::new("never", u32::MAX), Flaky::new("late", 3));
    let sinks: Vec<Arc<dyn Sink>> = vec![never.clone(), local(&folder), late.clone()];
    let (desk, events) = desk(&folder, sinks, |options| options.max_attempts = 5);
    let (open, said, heard) = captured(&desk, "r1", LONG).await;
    talk(&said, &heard, 20).await;
    open.finish(RecordingEnd::ByHost).await.unwrap();
    until("the failure", || count(&events, EventType::RecordingFailed) == 1).await;
    assert_eq!(wavs(&folder.kept()).len(), 1);
    assert_eq!(*late.taken.lock().unwrap(), ["r1"]);
    let failed = events.events().into_iter().find(|e| e.kind == EventType::RecordingFailed).unwrap();
    assert!(failed.data["reason"].as_str().unwrap().contains("never: not now"));
    assert!(failed.data["locations"]["local"].is_string() && failed.data["locations"]["never"].is_null());
    // It is not lost: the next start asks again.
    assert_eq!(folder.spooled(), 2);
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_only_the_sinks_that_have_not_got_it_are_asked() {
    let folder = Folder::new();
    let (has_it, not_yet) = (Flaky::new("a", 0), Flaky::new("b", u32::MAX));
    {
        let (desk, events) = desk(&folder, vec![has_it.clone(), not_yet.clone()], |options| options.max_attempts = 1);
        let (open, said, heard) = captured(&desk, "r1", LONG).await;
        talk(&said, &heard, 20).await;
        open.finish(RecordingEnd::ByHost).await.unwrap();
        until("the failure", || count(&events, EventType::RecordingFailed) == 1).await;
    }
    not_yet.failures.store(0, Ordering::SeqCst);
    let (desk, events) = desk(&folder, vec![has_it.clone(), not_yet.clone()], |_| {});
    assert_eq!(desk.recover(|_| None).await.unwrap(), 1);
    until("the event", || count(&events, EventType::RecordingFinished) == 1).await;
    assert_eq!((has_it.taken.lock().unwrap().len(), not_yet.taken.lock().unwrap().len()), (1, 1));
    until("an empty spool", || folder.spooled() == 0).await;
}

#[test]
fn a_host_that_dies_in_the_middle_loses_only_the_last_moment() {
    let folder = Folder::new();
    let dies = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    dies.block_on(async {
        let (desk, _) = desk(&folder, vec![local(&folder)], |_| {});
        let (open, said, heard) = captured(&desk, "r1", LONG).await;
        talk(&said, &heard, 150).await;
        std::mem::forget(open);
    });
    dies.shutdown_background();
    let returns = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    returns.block_on(async {
        let (desk, events) = desk(&folder, vec![local(&folder)], |_| {});
        assert_eq!(desk.recover(|_| None).await.unwrap(), 1);
        until("the event", || count(&events, EventType::RecordingFinished) == 1).await;
    });
    let pairs = pairs(&wavs(&folder.kept())[0]);
    assert!(pairs.len() >= 8_000 && pairs.contains(&(1_000, -2_000)), "{}", pairs.len());
}

#[tokio::test]
async fn a_recording_of_the_pbx_is_fetched_kept_and_deleted_there() {
    let Rig { folder, events, desk } = rig();
    let exchange = FakeExchange::new();
    exchange.store("r1", b"RIFF of the PBX");
    let open = desk.open(start("r1", Recorder::Pbx)).await.unwrap();
    let end = RecordingEnd::ByPbx { exchange: exchange.clone(), duration_ms: 4_200 };
    let info = open.finish(end).await.unwrap();
    assert_eq!((info.duration_ms, info.size_bytes), (4_200, 15));
    until("the event", || count(&events, EventType::RecordingFinished) == 1).await;
    assert_eq!(std::fs::read(&wavs(&folder.kept())[0]).unwrap(), b"RIFF of the PBX");
    assert!(exchange.stored().is_empty());
}

#[tokio::test]
async fn a_recording_of_the_pbx_outlives_the_host() {
    let folder = Folder::new();
    {
        let (desk, _) = desk(&folder, vec![local(&folder)], |_| {});
        std::mem::forget(desk.open(start("r1", Recorder::Pbx)).await.unwrap());
    }
    let exchange = FakeExchange::new();
    exchange.store("r1", b"RIFF of the PBX");
    let (desk, events) = desk(&folder, vec![local(&folder)], |_| {});
    let found = exchange.clone();
    desk.recover(move |name| (name == "fake").then(|| found.clone() as Arc<dyn Exchange>)).await.unwrap();
    until("the event", || count(&events, EventType::RecordingFinished) == 1).await;
    assert_eq!(wavs(&folder.kept()).len(), 1);
}

#[tokio::test]
async fn one_that_the_pbx_has_lost_is_told() {
    let Rig { folder, events, desk } = rig();
    let open = desk.open(start("r1", Recorder::Pbx)).await.unwrap();
    let end = RecordingEnd::ByPbx { exchange: FakeExchange::new(), duration_ms: 1 };
    assert!(open.finish(end).await.is_err());
    until("the event", || count(&events, EventType::RecordingFailed) == 1).await;
    assert_eq!(folder.spooled(), 0);
}

#[tokio::test]
async fn an_unknown_sink_is_refused() {
    let Rig { desk, folder: _folder, .. } = rig();
    let named = RecordingStart { sink: "nowhere".to_owned(), ..start("r1", Recorder::Host) };
    assert!(
        matches!(desk.open(named).await.err().unwrap(), CallError::InvalidArgument(why) if why.contains("nowhere"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_tenants_sinks_follow_what_is_said_of_them() {
    let folder = Folder::new();
    let own = folder.0.join("own");
    let sinks: Vec<Arc<dyn Sink>> = vec![local(&folder), Arc::new(LocalSink::new("own", own.clone(), None))];
    let (desk, events) = desk(&folder, sinks, |options| {
        options.default_sinks = vec!["local".to_owned()];
        options.composites.insert("both".to_owned(), vec!["local".to_owned(), "own".to_owned()]);
    });
    let names = |names: &[&str]| vec![("acme".into(), names.iter().map(|&name| name.to_owned()).collect())];
    let mut kept = Vec::new();
    for (n, said) in
        [names(&[]), names(&["own", "gone"]), names(&["gone"]), names(&["both"]), Vec::new()].into_iter().enumerate()
    {
        let unknown = desk.set_tenant_sinks(said);
        assert_eq!(unknown.len(), usize::from(n == 1 || n == 2), "{unknown:?}");
        assert!(unknown.iter().all(|(_, error)| error.to_string().contains("\"gone\" is not configured")));
        let (open, said, heard) = captured(&desk, &format!("r{n}"), LONG).await;
        talk(&said, &heard, 5).await;
        open.finish(RecordingEnd::ByHost).await.unwrap();
        until("the event", || count(&events, EventType::RecordingFinished) == n + 1).await;
        kept.push((wavs(&folder.kept()).len(), wavs(&own).len()));
    }
    // The default; its own; as before; both; the default.
    assert_eq!(kept, [(1, 0), (1, 1), (1, 2), (2, 3), (3, 3)]);
}
