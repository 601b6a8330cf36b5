//! Claims about recordings in an S3 store, each against a real S3 server (`s3s` with its file system) on loopback, with
//! the desk as the host uses it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::host::SingleDomain;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use voxtra_core::event::{Event, EventType, RecordingEventSink};
use voxtra_core::fake::{FakeAudio, FakeExchange};
use voxtra_core::recording::{CaptureLimits, RecordingDesk, RecordingEnd, RecordingStart};
use voxtra_core::verbs::{Recorder, RecordingInfo};
use voxtra_core::{BoxFuture, CallId, Frame, RecordingId};
use voxtra_services::recordings::sinks::Finished;
use voxtra_services::recordings::{Desk, DeskOptions, LocalSink, S3Options, S3Sink, Sink, SinkError};
use voxtra_services::webhooks::http_client;

const BUCKET: &str = "recordings";
const ACCESS_KEY: &str = "voxtra";
const SECRET_KEY: &str = "a secret of the store";
const RATE_HZ: u32 = 8_000;
const LONG: CaptureLimits = CaptureLimits { max_duration: Duration::from_secs(3_600), max_silence: None };

/// A folder that goes with the test: the store's, the spool, and a local sink's.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("voxtra-s3-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(dir.join("store").join(BUCKET)).unwrap();
        Self(dir)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What is in the bucket, by key.
    fn objects(&self, extension: &str) -> Vec<String> {
        let bucket = self.at("store").join(BUCKET);
        let mut keys: Vec<String> = files(&bucket)
            .iter()
            .map(|file| file.strip_prefix(&bucket).unwrap().to_str().unwrap().to_owned())
            .filter(|key| key.ends_with(extension))
            .collect();
        keys.sort();
        keys
    }

    fn object(&self, key: &str) -> Vec<u8> {
        std::fs::read(self.at("store").join(BUCKET).join(key)).unwrap()
    }

    fn spooled(&self) -> usize {
        files(&self.at("spool")).len()
    }

    /// The journal of the only recording.
    fn journal(&self) -> Value {
        let files = files(&self.at("spool"));
        let journal = files.iter().find(|file| file.extension().is_some_and(|extension| extension == "json"));
        serde_json::from_slice(&std::fs::read(journal.unwrap()).unwrap()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The S3 server; each request's method, path and status.
struct Store {
    address: std::net::SocketAddr,
    seen: Arc<Mutex<Vec<(String, u16)>>>,
    task: JoinHandle<()>,
}

impl Drop for Store {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Store {
    async fn start(folder: &Folder) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), folder, None)
    }

    fn on(listener: TcpListener, folder: &Folder, domain: Option<&str>) -> Self {
        let mut builder = S3ServiceBuilder::new(FileSystem::new(folder.at("store")).unwrap());
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        if let Some(domain) = domain {
            builder.set_host(SingleDomain::new(domain).unwrap());
        }
        let service = builder.build();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<(String, u16)>>>::default();
        let task = tokio::spawn(accept(listener, service, Arc::clone(&seen)));
        Self { address, seen, task }
    }

    fn options(&self) -> S3Options {
        options(&format!("http://{}", self.address))
    }

    /// How often audio was put with this status.
    fn audio_puts(&self, wanted: u16) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|(what, status)| what.ends_with(".wav") && *status == wanted).count()
    }

    /// Requests that were answered with it.
    fn answered(&self, wanted: u16) -> usize {
        self.seen.lock().unwrap().iter().filter(|(_, status)| *status == wanted).count()
    }
}

async fn accept(listener: TcpListener, service: S3Service, seen: Arc<Mutex<Vec<(String, u16)>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (service, seen) = (service.clone(), Arc::clone(&seen));
        let noted = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let what = format!("{} {}", request.method(), request.uri().path());
            let (answer, seen) = (Service::call(&service, request), Arc::clone(&seen));
            async move {
                let answer = answer.await?;
                seen.lock().unwrap().push((what, answer.status().as_u16()));
                Ok::<_, s3s::HttpError>(answer)
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), noted));
    }
}

fn options(endpoint: &str) -> S3Options {
    S3Options {
        endpoint: endpoint.to_owned(),
        region: "us-east-1".to_owned(),
        bucket: BUCKET.to_owned(),
        prefix: String::new(),
        access_key: ACCESS_KEY.to_owned(),
        secret_key: SECRET_KEY.to_owned(),
        path_style: true,
    }
}

fn s3(options: S3Options) -> Arc<dyn Sink> {
    Arc::new(S3Sink::new("s3", options, http_client().unwrap()).unwrap())
}

fn desk(
    folder: &Folder,
    sinks: Vec<Arc<dyn Sink>>,
    change: impl FnOnce(&mut DeskOptions),
) -> (Desk, Arc<RecordingEventSink>) {
    let events = Arc::new(RecordingEventSink::default());
    let mut options = DeskOptions::new(folder.at("spool"), sinks[0].name());
    options.default_sinks = sinks.iter().map(|sink| sink.name().to_owned()).collect();
    options.min_free_bytes = 0;
    options.retry_after = Duration::from_millis(20);
    change(&mut options);
    (Desk::new(options, sinks, Arc::<RecordingEventSink>::clone(&events), Handle::current()).unwrap(), events)
}

fn start(id: RecordingId, tenant: &str, name: &str, recorder: Recorder) -> RecordingStart {
    RecordingStart {
        id,
        tenant: tenant.into(),
        call: CallId::from("call-1"),
        name: name.to_owned(),
        recorder,
        exchange: "fake".to_owned(),
        sink: String::new(),
        started_at: SystemTime::now(),
    }
}

/// A call of half a second that is recorded by the host.
async fn record(desk: &Desk, tenant: &str, name: &str) -> RecordingInfo {
    let id = RecordingId::from(uuid::Uuid::new_v4().simple().to_string().as_str());
    let open = desk.open(start(id, tenant, name, Recorder::Host)).await.unwrap();
    let (said, heard) = (Arc::<FakeAudio>::default(), Arc::<FakeAudio>::default());
    open.capture(Arc::<FakeAudio>::clone(&said), Arc::<FakeAudio>::clone(&heard), RATE_HZ, LONG);
    for n in 0..25_i16 {
        said.hear(frame(1_000 + n));
        heard.hear(frame(-2_000 - n));
        sleep(Duration::from_millis(20)).await;
    }
    open.finish(RecordingEnd::ByHost).await.unwrap()
}

fn frame(value: i16) -> Frame {
    Frame::new(Bytes::from(value.to_le_bytes().repeat(160)))
}

async fn until(what: &str, mut there: impl FnMut() -> bool) {
    let waited = timeout(Duration::from_secs(20), async {
        while !there() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never came: {what}"));
}

async fn event(events: &RecordingEventSink, kind: EventType) -> Event {
    until(&format!("{kind:?}"), || events.count(&"call-1".into(), kind) == 1).await;
    events.events().into_iter().find(|event| event.kind == kind).unwrap()
}

#[tokio::test]
async fn the_object_is_the_local_file_byte_for_byte() {
    let folder = Folder::new();
    let store = Store::start(&folder).await;
    let local: Arc<dyn Sink> = Arc::new(LocalSink::new("local", folder.at("kept"), None));
    let prefixed = s3(S3Options { prefix: "/calls/2026/".to_owned(), ..store.options() });
    let (desk, events) = desk(&folder, vec![local, prefixed], |_| {});
    let info = record(&desk, "acme", "interview").await;
    let finished = event(&events, EventType::RecordingFinished).await;

    let keys = folder.objects(".wav");
    assert_eq!(keys.len(), 1);
    assert!(keys[0].starts_with("calls/2026/acme/20") && keys[0].contains("/interview-"), "{keys:?}");
    assert_eq!(finished.data["locations"]["s3"], format!("s3://{BUCKET}/{}", keys[0]));
    let kept = files(&folder.at("kept"));
    let kept = kept.iter().find(|file| file.extension().is_some_and(|extension| extension == "wav")).unwrap();
    let object = folder.object(&keys[0]);
    assert_eq!(object, std::fs::read(kept).unwrap());
    assert_eq!(object.len() as u64, info.size_bytes);
    assert_eq!(hound::WavReader::new(object.as_slice()).unwrap().spec().sample_rate, RATE_HZ);
    let about: Value = serde_json::from_slice(&folder.object(&folder.objects(".json")[0])).unwrap();
    assert_eq!((&about["name"], &about["sha256"]), (&"interview".into(), &finished.data["sha256"]));
    // The bucket is part of the path, and nothing else was asked of the store.
    let seen = store.seen.lock().unwrap().clone();
    assert!(seen.iter().all(|(what, status)| what.starts_with("PUT /recordings/calls/") && *status == 200), "{seen:?}");
    assert_eq!(seen.len(), 2);
    until("an empty spool", || folder.spooled() == 0).await;
}

#[tokio::test]
async fn the_bucket_may_be_part_of_the_hosts_name() {
    let folder = Folder::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let domain = format!("s3.test:{}", listener.local_addr().unwrap().port());
    let store = Store::on(listener, &folder, Some(&domain));
    // The crypto library is set up by the host's own client.
    drop(http_client().unwrap());
    let named = reqwest::Client::builder().no_proxy().resolve(&format!("{BUCKET}.s3.test"), store.address);
    let options = S3Options { path_style: false, ..options(&format!("http://{domain}")) };
    let sink = S3Sink::new("s3", options, named.build().unwrap()).unwrap();
    let (desk, events) = desk(&folder, vec![Arc::new(sink)], |_| {});
    record(&desk, "acme", "interview").await;
    event(&events, EventType::RecordingFinished).await;
    assert_eq!(folder.objects(".wav").len(), 1);
    assert!(store.seen.lock().unwrap().iter().all(|(what, _)| what.starts_with("PUT /acme/")));
}

#[tokio::test]
async fn a_wrong_secret_key_is_told_tried_again_and_loses_nothing() {
    let folder = Folder::new();
    let store = Store::start(&folder).await;
    {
        let wrong = s3(S3Options { secret_key: "another".to_owned(), ..store.options() });
        let (desk, events) = desk(&folder, vec![wrong], |options| options.max_attempts = 3);
        record(&desk, "acme", "interview").await;
        let failed = event(&events, EventType::RecordingFailed).await;
        let reason = failed.data["reason"].as_str().unwrap();
        assert!(reason.contains("403") && reason.contains("look at `secret_key`"), "{reason}");
        assert!(!reason.contains("another") && !reason.contains("Signature="), "{reason}");
    }
    assert_eq!((store.answered(403), folder.objects("").len()), (3, 0));
    let journal = folder.journal();
    assert_eq!((&journal["sinks"][0]["attempts"], &journal["sinks"][0]["given_up"]), (&3.into(), &true.into()));
    assert!(journal["sinks"][0]["location"].is_null() && journal["state"]["complete"]["size_bytes"].is_u64());
    assert_eq!(folder.spooled(), 2);

    // The next start, with the right key.
    let (desk, events) = desk(&folder, vec![s3(store.options())], |_| {});
    assert_eq!(desk.recover(|_| None).await.unwrap(), 1);
    let finished = event(&events, EventType::RecordingFinished).await;
    let object = folder.object(&folder.objects(".wav")[0]);
    assert_eq!(Value::from(object.len()), finished.data["size_bytes"]);
    assert_eq!(journal["state"]["complete"]["sha256"], finished.data["sha256"]);
    until("an empty spool", || folder.spooled() == 0).await;
}

#[tokio::test]
async fn an_access_key_that_the_store_does_not_know_is_told_apart_from_a_wrong_secret() {
    let folder = Folder::new();
    let store = Store::start(&folder).await;
    let unknown = s3(S3Options { access_key: "nobody".to_owned(), ..store.options() });
    let (desk, events) = desk(&folder, vec![unknown], |options| options.max_attempts = 1);
    record(&desk, "acme", "interview").await;
    let failed = event(&events, EventType::RecordingFailed).await;
    let reason = failed.data["reason"].as_str().unwrap();
    assert!(reason.contains("403") && !reason.contains("secret_key"), "{reason}");
    assert!(reason.contains("look at `access_key`"), "{reason}");
    assert_eq!((folder.spooled(), folder.objects("").len()), (2, 0));
}

/// Between host and store: cuts the connection of the first large upload in its middle.
async fn cutting(store: std::net::SocketAddr) -> (std::net::SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cuts = Arc::new(AtomicBool::new(true));
    let task = tokio::spawn(async move {
        while let Ok((mut host, _)) = listener.accept().await {
            let cuts = Arc::clone(&cuts);
            tokio::spawn(async move {
                let mut store = TcpStream::connect(store).await.unwrap();
                if cuts.load(Ordering::SeqCst) {
                    let (from_host, mut to_host) = host.split();
                    let (mut from_store, mut to_store) = store.split();
                    let mut first = from_host.take(CUT_AFTER_BYTES);
                    tokio::select! {
                        copied = tokio::io::copy(&mut first, &mut to_store) => {
                            if copied.is_ok_and(|bytes| bytes == CUT_AFTER_BYTES) {
                                cuts.store(false, Ordering::SeqCst);
                            }
                        }
                        _ = tokio::io::copy(&mut from_store, &mut to_host) => {}
                    }
                } else {
                    let _ = tokio::io::copy_bidirectional(&mut host, &mut store).await;
                }
            });
        }
    });
    (address, task)
}

const CUT_AFTER_BYTES: u64 = 1 << 20;

#[tokio::test]
async fn a_long_upload_that_is_cut_is_done_again_and_no_part_of_it_stays() {
    let folder = Folder::new();
    let store = Store::start(&folder).await;
    let (address, proxy) = cutting(store.address).await;
    let (desk, events) = desk(&folder, vec![s3(options(&format!("http://{address}")))], |options| {
        options.retry_after = Duration::from_secs(2);
    });
    let audio: Vec<u8> = (0..5_000_003_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let exchange = FakeExchange::new();
    let id = RecordingId::from("long");
    exchange.store(id.as_str(), &audio);
    let open = desk.open(start(id, "acme", "interview", Recorder::Pbx)).await.unwrap();
    open.finish(RecordingEnd::ByPbx { exchange, duration_ms: 600_000 }).await.unwrap();
    until("the cut", || folder.journal()["sinks"][0]["attempts"] == 1).await;
    assert_eq!(folder.objects(".wav").len(), 0);
    event(&events, EventType::RecordingFinished).await;
    proxy.abort();
    let keys = folder.objects(".wav");
    assert_eq!(keys.len(), 1);
    assert!(folder.object(&keys[0]) == audio, "other bytes than were sent");
    assert_eq!(store.audio_puts(200), 1);
    until("an empty spool", || folder.spooled() == 0).await;
}

#[tokio::test]
async fn a_store_that_comes_late_gets_it_once() {
    let folder = Folder::new();
    // A place that is nobody's until the store takes it.
    let place = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let (desk, events) = desk(&folder, vec![s3(options(&format!("http://{address}")))], |_| {});
    record(&desk, "acme", "interview").await;
    until("a failed attempt", || {
        let error = folder.journal()["sinks"][0]["last_error"].as_str().unwrap_or_default().to_owned();
        error.contains("refused") && error.contains("look at `endpoint`")
    })
    .await;
    assert_eq!(folder.spooled(), 2);
    let store = Store::on(TcpListener::bind(address).await.unwrap(), &folder, None);
    event(&events, EventType::RecordingFinished).await;
    until("an empty spool", || folder.spooled() == 0).await;
    assert_eq!((store.audio_puts(200), folder.objects(".wav").len()), (1, 1));
    assert_eq!(events.count(&"call-1".into(), EventType::RecordingFailed), 0);
}

#[tokio::test]
async fn odd_names_stay_in_their_place() {
    let folder = Folder::new();
    let store = Store::start(&folder).await;
    let prefix = "Anrufe & Gespräche/100 %2e%2e/a+b=c?d#e/~(x)";
    let (desk, events) = desk(&folder, vec![s3(S3Options { prefix: prefix.to_owned(), ..store.options() })], |_| {});
    record(&desk, "../größe/%2f", "../../..\\%2e%2e/ä?x=1&y#z \u{202e}\"<Key>").await;
    let finished = event(&events, EventType::RecordingFinished).await;
    let keys = folder.objects(".wav");
    assert_eq!(keys.len(), 1);
    assert_eq!(finished.data["locations"]["s3"], format!("s3://{BUCKET}/{}", keys[0]));
    let rest = keys[0].strip_prefix(&format!("{prefix}/")).unwrap();
    assert_eq!(rest.matches('/').count(), 2, "{rest}");
    assert!(rest.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c)), "{rest}");
    // What it is called is in the description, unchanged.
    let about: Value = serde_json::from_slice(&folder.object(&folder.objects(".json")[0])).unwrap();
    assert_eq!(about["name"], "../../..\\%2e%2e/ä?x=1&y#z \u{202e}\"<Key>");
    assert_eq!(about["tenant"], "../größe/%2f");
    // Nothing of it beside the bucket.
    let inside = files(&folder.at("store").join(BUCKET)).len();
    let own = files(&folder.at("store"))
        .iter()
        .filter(|file| file.file_name().unwrap().to_str().unwrap().starts_with('.'))
        .count();
    assert_eq!(files(&folder.at("store")).len(), inside + own);
}

/// The host dies when the store has it and the journal does not say so yet.
struct DiesAfterwards {
    store: Arc<dyn Sink>,
    has_it: Arc<Mutex<bool>>,
}

impl Sink for DiesAfterwards {
    fn name(&self) -> &str {
        self.store.name()
    }

    fn keep<'a>(&'a self, recording: &'a Finished<'a>) -> BoxFuture<'a, Result<String, SinkError>> {
        Box::pin(async move {
            self.store.keep(recording).await.unwrap();
            *self.has_it.lock().unwrap() = true;
            pending().await
        })
    }
}

#[test]
fn after_a_crash_there_is_one_object() {
    let folder = Folder::new();
    let serves = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let store = serves.block_on(Store::start(&folder));
    let dies = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    dies.block_on(async {
        let has_it = Arc::<Mutex<bool>>::default();
        let sink = DiesAfterwards { store: s3(store.options()), has_it: Arc::clone(&has_it) };
        let (desk, _) = desk(&folder, vec![Arc::new(sink)], |_| {});
        record(&desk, "acme", "interview").await;
        until("the upload", || *has_it.lock().unwrap()).await;
    });
    dies.shutdown_background();
    assert_eq!((folder.objects(".wav").len(), folder.spooled()), (1, 2));
    assert!(folder.journal()["sinks"][0]["location"].is_null());
    let before = folder.object(&folder.objects(".wav")[0]);

    let returns = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    returns.block_on(async {
        let (desk, events) = desk(&folder, vec![s3(store.options())], |_| {});
        assert_eq!(desk.recover(|_| None).await.unwrap(), 1);
        event(&events, EventType::RecordingFinished).await;
        until("an empty spool", || folder.spooled() == 0).await;
        assert_eq!(desk.recover(|_| None).await.unwrap(), 0);
    });
    let keys = folder.objects(".wav");
    assert_eq!((keys.len(), store.audio_puts(200)), (1, 2));
    assert_eq!(folder.object(&keys[0]), before);
}
