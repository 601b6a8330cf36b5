//! Claims about webhooks: at least once, in order, by the seed's wire form, and no target at another's expense.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use voxtra_core::event::{Event, EventSink, EventType};
use voxtra_services::database::Database;
use voxtra_services::signature::signature;
use voxtra_services::webhooks::{LetterState, Letters, OutboxOptions, Secret, WebhookSink, WebhookTarget, http_client};

/// One request that came.
#[derive(Debug, Clone)]
struct Got {
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Got {
    fn event_id(&self) -> &str {
        &self.headers["x-voxtra-event-id"]
    }
}

/// What a server answers to the n-th request.
type Script = Arc<dyn Fn(usize, &Got) -> (u16, Duration) + Send + Sync>;

/// A web server of the operator's.
struct Server {
    url: String,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Server {
    async fn start(script: impl Fn(usize, &Got) -> (u16, Duration) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let got = Arc::<Mutex<Vec<Got>>>::default();
        let script: Script = Arc::new(script);
        let all = Arc::clone(&got);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&script), Arc::clone(&all)));
            }
        });
        Self { url, got }
    }

    async fn good() -> Self {
        Self::start(|_, _| (204, Duration::ZERO)).await
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    fn ids(&self) -> Vec<String> {
        self.got().iter().map(|got| got.event_id().to_owned()).collect()
    }
}

async fn serve(stream: TcpStream, script: Script, all: Arc<Mutex<Vec<Got>>>) {
    let (read, mut write) = stream.into_split();
    let mut reader = BufReader::new(read);
    while let Some(got) = request(&mut reader).await {
        let (status, delay) = {
            let mut all = all.lock().unwrap();
            all.push(got.clone());
            script(all.len() - 1, &got)
        };
        sleep(delay).await;
        let answer = format!("HTTP/1.1 {status} X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n");
        if write.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn request(reader: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Got> {
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some((name, value)) => drop(headers.insert(name.to_ascii_lowercase(), value.to_owned())),
            None if line.trim_end().is_empty() => break,
            None => {}
        }
    }
    let mut body = vec![0; headers["content-length"].parse().ok()?];
    reader.read_exact(&mut body).await.ok()?;
    Some(Got { headers, body })
}

fn event(call: &str, n: usize) -> Event {
    let data = Map::from_iter([("n".to_owned(), json!(n))]);
    Event::new(format!("{call}-{n}"), EventType::DtmfReceived, "acme".into(), call.into(), data)
}

fn target(name: &str, server: &Server) -> WebhookTarget {
    WebhookTarget { retry_backoff: Duration::from_millis(10), ..WebhookTarget::new(name, &server.url).unwrap() }
}

async fn sink(database: &Database, targets: Vec<WebhookTarget>) -> WebhookSink {
    let client = http_client().unwrap();
    WebhookSink::start(database.clone(), targets, client, OutboxOptions::default(), &Handle::current()).await.unwrap()
}

async fn until(what: &str, mut there: impl FnMut() -> bool) {
    let waited = timeout(Duration::from_secs(30), async {
        while !there() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never came: {what}"));
}

#[tokio::test]
async fn headers_body_and_signatures_are_the_seeds_and_one_more() {
    let server = Server::good().await;
    let database = Database::in_memory().unwrap();
    let mut to = target("a", &server);
    to.secret = Some(Secret::new("s3cret"));
    let sink = sink(&database, vec![to]).await;
    let mut event = event("call-1", 7);
    event.metadata = Some(Map::from_iter([("order".to_owned(), json!("42"))]));
    sink.emit(event);
    until("the request", || !server.got().is_empty()).await;
    let got = server.got().remove(0);
    let header = |name: &str| got.headers[name].as_str();
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("user-agent"), "voxtra-webhook/1");
    assert_eq!(header("x-voxtra-event"), "dtmf.received");
    assert_eq!(header("x-voxtra-event-id"), "call-1-7");
    assert_eq!(header("x-voxtra-session-id"), "call-1");
    assert_eq!(header("x-voxtra-signature"), signature(b"s3cret", &got.body));
    let (time, mac) = header("x-voxtra-signature-v2").split_once(",v1=").unwrap();
    assert_eq!(time.strip_prefix("t="), Some(header("x-voxtra-timestamp")));
    let signed = [time.strip_prefix("t=").unwrap().as_bytes(), b".", &got.body].concat();
    assert_eq!(mac, signature(b"s3cret", &signed));
    let body: Value = serde_json::from_slice(&got.body).unwrap();
    assert_eq!((&body["type"], &body["data"]["n"]), (&json!("dtmf.received"), &json!(7)));
    assert_eq!(body["call"]["metadata"]["order"], "42");
}

#[tokio::test]
async fn a_4xx_and_a_redirection_are_dead_letters_at_once() {
    let server = Server::start(|n, _| (if n == 0 { 410 } else { 302 }, Duration::ZERO)).await;
    let database = Database::in_memory().unwrap();
    let sink = sink(&database, vec![target("a", &server)]).await;
    sink.emit(event("call-1", 1));
    sink.emit(event("call-2", 1));
    until("the dead", || sink.stats().dead == 2).await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(server.got().len(), 2);
    let letters = Letters::open(database).await.unwrap();
    let dead = letters.list(Some(LetterState::Dead), 10).await.unwrap();
    assert!(dead[0].error.as_deref().unwrap().contains("410") && dead[1].error.as_deref().unwrap().contains("302"));
    assert_eq!((dead[0].attempts, dead[0].kind.as_str(), dead[0].target.as_str()), (1, "dtmf.received", "a"));
}

#[tokio::test]
async fn a_5xx_is_tried_again_so_often_and_no_more() {
    let server = Server::start(|_, _| (500, Duration::ZERO)).await;
    let database = Database::in_memory().unwrap();
    let sink = sink(&database, vec![WebhookTarget { max_retries: 2, ..target("a", &server) }]).await;
    sink.emit(event("call-1", 1));
    until("the dead", || sink.stats().dead == 1).await;
    assert_eq!(server.got().len(), 3);
}

#[tokio::test]
async fn a_calls_events_stay_in_order_over_failures_and_others_do_not_wait() {
    // The first event of call-1 fails four times.
    let server = Server::start(|_, got| {
        static FAILURES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(4);
        let fails = got.event_id() == "call-1-0"
            && FAILURES.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        (if fails { 503 } else { 200 }, Duration::ZERO)
    })
    .await;
    let database = Database::in_memory().unwrap();
    let mut to = target("a", &server);
    to.retry_backoff = Duration::from_millis(100);
    let sink = sink(&database, vec![to]).await;
    for n in 0..20 {
        sink.emit(event("call-1", n));
        sink.emit(event("call-2", n));
    }
    until("all", || sink.stats().delivered == 40).await;
    let ids = server.ids();
    for call in ["call-1", "call-2"] {
        let mut own: Vec<&String> = ids.iter().filter(|id| id.starts_with(call)).collect();
        own.dedup();
        let wanted: Vec<String> = (0..20).map(|n| format!("{call}-{n}")).collect();
        assert_eq!(own, wanted.iter().collect::<Vec<_>>());
    }
    let last_of_2 = ids.iter().position(|id| id == "call-2-19").unwrap();
    let second_of_1 = ids.iter().position(|id| id == "call-1-1").unwrap();
    assert!(last_of_2 < second_of_1, "call-2 waited for call-1");
}

#[tokio::test]
async fn a_target_that_is_slow_or_down_delays_no_other_and_no_call() {
    let slow = Server::start(|_, _| (200, Duration::from_secs(3_600))).await;
    let fast = Server::good().await;
    let database = Database::in_memory().unwrap();
    let down = WebhookTarget::new("down", "http://127.0.0.1:9/").unwrap();
    let sink = sink(&database, vec![target("slow", &slow), down, target("fast", &fast)]).await;
    let begun = std::time::Instant::now();
    for n in 0..500 {
        sink.emit(event(&format!("call-{n}"), n));
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "emit waited");
    until("the fast one", || fast.got().len() == 500).await;
    assert!(slow.got().len() <= 4, "more than its concurrency: {}", slow.got().len());
}

#[tokio::test]
async fn a_call_with_thousands_of_events_that_fail_holds_up_no_other_and_keeps_its_order() {
    let well = Arc::new(AtomicBool::new(false));
    let is_well = Arc::clone(&well);
    let server = Server::start(move |_, got| {
        let fails = got.event_id().starts_with("bad-") && !is_well.load(Ordering::SeqCst);
        (if fails { 503 } else { 200 }, Duration::ZERO)
    })
    .await;
    let database = Database::in_memory().unwrap();
    let sink = sink(&database, vec![target("a", &server)]).await;
    (0..3_000).for_each(|n| sink.emit(event("bad", n)));
    (0..50).for_each(|n| sink.emit(event(&format!("good{}", n % 5), n)));
    until("the others", || sink.stats().delivered == 50).await;
    well.store(true, Ordering::SeqCst);
    until("all", || sink.stats().delivered == 3_050).await;
    let mut bad: Vec<String> = server.ids().into_iter().filter(|id| id.starts_with("bad-")).collect();
    bad.dedup();
    assert_eq!(bad, (0..3_000).map(|n| format!("bad-{n}")).collect::<Vec<_>>());
    let letters = Letters::open(database).await.unwrap();
    until_async("nothing is left", || async { letters.count().await.unwrap() == (0, 0) }).await;
}

#[tokio::test]
async fn garbage_and_answers_without_end_are_harmless() {
    let nothing = answering(b"", false).await;
    let garbage = answering(b"\x00\xff\xfeSSH-2.0-nonsense\r\n\r\n", false).await;
    let header_without_end = answering(b"HTTP/1.1 200 OK\r\nx: ", true).await;
    let body_without_end = answering(b"HTTP/1.1 200 OK\r\n\r\n", true).await;
    let database = Database::in_memory().unwrap();
    let to = |name: &str, url: &str| WebhookTarget {
        max_retries: 1,
        timeout: Duration::from_secs(2),
        retry_backoff: Duration::from_millis(10),
        ..WebhookTarget::new(name, url).unwrap()
    };
    let targets = vec![
        to("nothing", &nothing),
        to("garbage", &garbage),
        to("header", &header_without_end),
        to("body", &body_without_end),
    ];
    let sink = sink(&database, targets).await;
    sink.emit(event("call-1", 1));
    let letters = Letters::open(database).await.unwrap();
    until_async("all have an end", || async { letters.count().await.unwrap() == (0, 3) }).await;
    // Who says 200 has taken it, whatever follows.
    assert_eq!(sink.stats().delivered, 1);
    let dead = letters.list(Some(LetterState::Dead), 10).await.unwrap();
    assert!(dead.iter().all(|letter| letter.attempts == 2 && letter.target != "body"), "{dead:?}");
}

/// A server that says this to whatever comes, and then nothing, or something for ever.
async fn answering(words: &'static [u8], for_ever: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 1_024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(words).await;
                while for_ever && stream.write_all(b"xxxxxxxx").await.is_ok() {
                    sleep(Duration::from_millis(1)).await;
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn what_waits_for_a_target_that_has_gone_is_a_dead_letter_until_it_is_back() {
    let database = Database::in_memory().unwrap();
    {
        let before = sink(&database, vec![WebhookTarget::new("old", "http://127.0.0.1:9/").unwrap()]).await;
        before.emit(event("call-1", 1));
        before.stop(Duration::from_secs(5)).await;
    }
    let letters = Letters::open(database.clone()).await.unwrap();
    assert_eq!(letters.count().await.unwrap(), (1, 0));
    let server = Server::good().await;
    let between = sink(&database, vec![target("new", &server)]).await;
    assert_eq!(letters.count().await.unwrap(), (0, 1));
    between.stop(Duration::from_secs(5)).await;
    let after = sink(&database, vec![target("old", &server)]).await;
    assert_eq!(letters.resend(None).await.unwrap(), 1);
    after.wake();
    until("it", || server.ids() == ["call-1-1"]).await;
}

#[tokio::test]
async fn targets_come_change_and_go_under_way_and_nothing_is_lost_or_sent_twice() {
    let old = Server::start(|_, _| (200, Duration::from_millis(300))).await;
    let (new, other) = (Server::good().await, Server::good().await);
    let database = Database::in_memory().unwrap();
    let sink = sink(&database, vec![target("a", &old)]).await;
    sink.emit(event("call-1", 1));
    until("the first is under way", || old.got().len() == 1).await;
    sink.set_targets(vec![target("a", &new), target("b", &other)]).await.unwrap();
    sink.emit(event("call-1", 2));
    until("the second", || sink.stats().delivered == 3).await;
    assert_eq!((old.ids(), new.ids(), other.ids()), (own(&[1]), own(&[2]), own(&[2])));
    // One that is as before goes on; what is gone gets nothing more.
    sink.set_targets(vec![target("b", &other)]).await.unwrap();
    sink.emit(event("call-1", 3));
    until("the third", || sink.stats().delivered == 4).await;
    assert_eq!((new.ids(), other.ids()), (own(&[2]), own(&[2, 3])));
    sink.stop(Duration::from_secs(5)).await;
    // After the end nobody is begun any more.
    sink.set_targets(vec![target("a", &new)]).await.unwrap();
    sink.emit(event("call-1", 4));
    sleep(Duration::from_millis(100)).await;
    assert_eq!(new.ids(), own(&[2]));
}

/// The ids of the events of `call-1`.
fn own(numbers: &[usize]) -> Vec<String> {
    numbers.iter().map(|n| format!("call-1-{n}")).collect()
}

#[tokio::test]
async fn only_wanted_events_of_its_tenant_reach_a_target() {
    let server = Server::good().await;
    let database = Database::in_memory().unwrap();
    let mut to = target("a", &server);
    to.tenant = Some("acme".into());
    to.events = WebhookTarget::kinds(&["call.ended".to_owned()]).unwrap();
    let sink = sink(&database, vec![to]).await;
    let ended = |id: &str, tenant: &str| {
        Event::new(id.to_owned(), EventType::CallEnded, tenant.into(), "call-1".into(), Map::new())
    };
    sink.emit(event("call-1", 1));
    sink.emit(ended("other", "beta"));
    sink.emit(ended("mine", "acme"));
    until("it", || !server.got().is_empty()).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(server.ids(), ["mine"]);
    assert!(WebhookTarget::kinds(&["call.exploded".to_owned()]).is_err());
}

#[tokio::test]
async fn a_dead_letter_can_be_sent_again_while_the_host_runs_or_purged() {
    let server = Server::start(|n, _| (if n < 2 { 400 } else { 200 }, Duration::ZERO)).await;
    let database = Database::in_memory().unwrap();
    let sink = sink(&database, vec![target("a", &server)]).await;
    sink.emit(event("call-1", 1));
    sink.emit(event("call-2", 1));
    until("the dead", || sink.stats().dead == 2).await;
    let letters = Letters::open(database).await.unwrap();
    until_async("both are noted", || async { letters.count().await.unwrap() == (0, 2) }).await;
    let first = letters.list(None, 1).await.unwrap().remove(0);
    assert_eq!(letters.resend(Some(first.id)).await.unwrap(), 1);
    sink.wake();
    until("the second delivery", || server.got().len() == 3).await;
    assert_eq!(server.ids()[2], first.event_id);
    assert_eq!(letters.purge(None).await.unwrap(), 1);
    assert_eq!(letters.resend(None).await.unwrap(), 0);
}

async fn until_async<F: Future<Output = bool>>(what: &str, mut there: impl FnMut() -> F) {
    let waited = timeout(Duration::from_secs(30), async {
        while !there().await {
            sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never came: {what}"));
}

#[tokio::test]
async fn an_outbox_that_is_full_buries_its_oldest() {
    let database = Database::in_memory().unwrap();
    let down = WebhookTarget { max_retries: 1_000, ..WebhookTarget::new("down", "http://127.0.0.1:9/").unwrap() };
    let options = OutboxOptions { max_waiting: 100, max_dead: 50 };
    // Put in while nobody works on it, by a host that has another target of that name.
    {
        let sink = WebhookSink::start(
            database.clone(),
            vec![down.clone()],
            http_client().unwrap(),
            OutboxOptions::default(),
            &Handle::current(),
        )
        .await
        .unwrap();
        sink.stop(Duration::from_secs(1)).await;
        for n in 0..2_000 {
            sink.emit(event("call-1", n));
        }
    }
    let _sink = WebhookSink::start(database.clone(), vec![down], http_client().unwrap(), options, &Handle::current())
        .await
        .unwrap();
    let letters = Letters::open(database).await.unwrap();
    until_async("room", || async {
        let (waiting, dead) = letters.count().await.unwrap();
        waiting <= 1_024 && dead == 50
    })
    .await;
}

/// The child of the test below: keeps events until it is killed.
const CHILD: &str = "VOXTRA_TEST_OUTBOX";

#[test]
fn every_event_that_was_kept_is_delivered_after_a_kill() {
    if let Ok(file) = std::env::var(CHILD) {
        return keep_events_until_killed(&file);
    }
    let dir = std::env::temp_dir().join(format!("voxtra-outbox-{}", uuid::Uuid::new_v4()));
    let file: PathBuf = dir.join("host.db");
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["every_event_that_was_kept_is_delivered_after_a_kill", "--exact", "--nocapture"])
        .env(CHILD, &file)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // The child says when 1,000 are on disk, and goes on.
    let mut said = std::io::BufReader::new(child.stdout.take().unwrap());
    loop {
        let mut line = String::new();
        assert!(std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0, "the child ended");
        if line.contains("1000 are kept") {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Server::start(|n, _| (if n % 10 == 3 { 500 } else { 200 }, Duration::ZERO)).await;
        let database = Database::open(&file).unwrap();
        let kept = Letters::open(database.clone()).await.unwrap().count().await.unwrap().0;
        assert!(kept >= 1_000, "{kept}");
        let sink = sink(&database, vec![target("a", &server)]).await;
        until("all", || sink.stats().delivered >= kept).await;
        let mut ids = server.ids();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len() as u64, kept);
    });
    std::fs::remove_dir_all(dir).unwrap();
}

fn keep_events_until_killed(file: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let database = Database::open(file.as_ref()).unwrap();
        let nobody = WebhookTarget {
            max_retries: 1_000,
            retry_backoff: Duration::from_millis(50),
            ..WebhookTarget::new("a", "http://127.0.0.1:9/").unwrap()
        };
        let sink = sink(&database, vec![nobody]).await;
        let letters = Letters::open(database).await.unwrap();
        let mut n = 0;
        loop {
            sink.emit(event(&format!("call-{}", n % 50), n));
            n += 1;
            if n == 1_000 {
                assert_eq!(letters.count().await.unwrap().0, 1_000);
                println!("1000 are kept");
            }
            sleep(Duration::from_micros(200)).await;
        }
    });
}
