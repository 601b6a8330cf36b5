//! Claims about what Prometheus reads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use voxtra_core::{BoxFuture, CallRecord, Direction, EndReason, HangupCause, MeterSink, Usage};
use voxtra_services::metrics::{DEFAULT_ADDRESS, Registry, Samples, Source, serve};

#[path = "metrics/exposition.rs"]
mod exposition;

use exposition::Exposition;

fn call(tenant: &str, handler: &str) -> CallRecord {
    let start = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    CallRecord {
        call: "1".into(),
        tenant: tenant.into(),
        handler: handler.into(),
        version: "0123456789ab".to_owned(),
        direction: Direction::Inbound,
        parent: None,
        started_at: start,
        answered_at: Some(start + Duration::from_millis(2_500)),
        ended_at: start + Duration::from_secs(10),
        end: EndReason::CallerHungUp,
        handler_failed: false,
        usage: Usage { cpu: Duration::from_nanos(1_500_000_001), llm_tokens: 70, ..Usage::default() },
    }
}

async fn told(registry: &Registry) -> Exposition {
    Exposition::parse(&registry.text().await).unwrap()
}

#[tokio::test]
async fn calls_are_counted_by_tenant_end_and_handler() {
    let registry = Registry::new();
    registry.record(call("acme", "support"));
    registry.record(CallRecord {
        handler_failed: true,
        end: EndReason::HandlerFailed("it trapped".to_owned()),
        ..call("acme", "sales")
    });
    registry.record(CallRecord {
        answered_at: None,
        end: EndReason::NotAnswered(HangupCause::Busy),
        ..call("acme", "support")
    });
    registry.record(call("beta", "support"));
    let told = told(&registry).await;
    let acme = [("tenant", "acme")];
    for (end, calls) in [("caller-hung-up", 1.0), ("handler-failed", 1.0), ("not-answered", 1.0)] {
        assert_eq!(told.value("voxtra_calls_total", &[("tenant", "acme"), ("end", end)]), Some(calls));
    }
    assert_eq!(told.value("voxtra_answered_calls_total", &acme), Some(2.0));
    assert_eq!(told.value("voxtra_call_seconds_total", &acme), Some(30.0));
    assert_eq!(told.value("voxtra_billable_seconds_total", &acme), Some(15.0));
    assert_eq!(told.text("voxtra_cpu_seconds_total", &acme), Some("4.500000003"));
    assert_eq!(told.value("voxtra_llm_tokens_total", &acme), Some(210.0));
    for (handler, calls, failures) in [("support", 2.0, 0.0), ("sales", 1.0, 1.0)] {
        let labels = [("tenant", "acme"), ("handler", handler)];
        assert_eq!(told.value("voxtra_handler_calls_total", &labels), Some(calls));
        assert_eq!(told.value("voxtra_handler_failures_total", &labels), Some(failures));
    }
    assert_eq!(told.value("voxtra_calls_total", &[("tenant", "beta"), ("end", "caller-hung-up")]), Some(1.0));
    assert_eq!(told.kind("voxtra_calls_total"), Some("counter"));
    assert_eq!(told.kind("voxtra_peak_memory_bytes"), Some("gauge"));
}

#[tokio::test]
async fn however_many_tenants_there_are_the_lines_have_an_end_and_no_call_is_missing() {
    let registry = Registry::new();
    for n in 0..1_500 {
        registry.record(call(&format!("tenant {n}"), "only"));
    }
    let told = told(&registry).await;
    let calls = told.samples("voxtra_call_seconds_total");
    assert_eq!(calls.len(), 1_001);
    assert_eq!(told.value("voxtra_call_seconds_total", &[("tenant", "other")]), Some(5_000.0));
    assert_eq!(calls.iter().map(|sample| sample.value).sum::<f64>(), 15_000.0);
    assert_eq!(told.value("voxtra_metrics_dropped_samples", &[]), Some(0.0));
}

#[tokio::test]
async fn one_tenants_handlers_do_not_take_the_places_of_anothers() {
    let registry = Registry::new();
    for tenant in 0..7 {
        for n in 0..1_200 {
            registry.record(call(&format!("tenant {tenant}"), &format!("handler {n}")));
        }
    }
    let told = told(&registry).await;
    let handlers = told.samples("voxtra_handler_calls_total");
    let others = handlers.iter().filter(|sample| sample.label("handler") == Some("other"));
    assert_eq!((handlers.len(), others.count()), (5_007, 7));
    assert_eq!(handlers.iter().map(|sample| sample.value).sum::<f64>(), 8_400.0);
    let of_first = handlers.iter().filter(|sample| sample.label("tenant") == Some("tenant 0"));
    assert_eq!(of_first.count(), 1_001);
    assert_eq!(
        told.value("voxtra_handler_calls_total", &[("tenant", "tenant 6"), ("handler", "other")]),
        Some(1_200.0)
    );
}

#[tokio::test]
async fn counts_from_many_threads_add_up() {
    let registry = Arc::new(Registry::new());
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let registry = Arc::clone(&registry);
            std::thread::spawn(move || {
                (0..1_000).for_each(|m| registry.record(call(&format!("t{}", (n + m) % 5), &format!("h{}", m % 7))));
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let told = told(&registry).await;
    let sum = |name: &str| told.samples(name).iter().map(|sample| sample.value).sum::<f64>();
    assert_eq!((sum("voxtra_calls_total"), sum("voxtra_handler_calls_total")), (8_000.0, 8_000.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_tenant_and_handler_gives_a_text_that_can_be_read(
        names in proptest::collection::vec((any::<String>(), r#"[\\"\n\t\r\x00-\x1f{}=, é☎]{0,200}"#), 1..12)
    ) {
        let registry = Registry::new();
        for (tenant, handler) in &names {
            registry.record(call(tenant, handler));
            registry.record(call(handler, tenant));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let told = Exposition::parse(&runtime.block_on(registry.text())).unwrap();
        // What is neither long nor has control characters comes out as it went in.
        for (tenant, handler) in &names {
            for (tenant, handler) in [(tenant, handler), (handler, tenant)] {
                let is_plain = |s: &str| s.chars().count() <= 128 && s.chars().all(|c| c == '\n' || !c.is_control());
                if is_plain(tenant) && is_plain(handler) {
                    let labels = [("tenant", tenant.as_str()), ("handler", handler.as_str())];
                    prop_assert!(told.value("voxtra_handler_calls_total", &labels).is_some());
                }
            }
        }
        let calls: f64 = told.samples("voxtra_calls_total").iter().map(|sample| sample.value).sum();
        prop_assert_eq!(calls, 2.0 * names.len() as f64);
    }

    #[test]
    fn any_source_gives_a_text_that_can_be_read(
        samples in proptest::collection::vec(
            (any::<bool>(), any::<String>(), any::<String>(), proptest::collection::vec(any::<(String, String)>(), 0..4), prop::num::f64::ANY), 0..20),
        again in any::<prop::sample::Index>(),
    ) {
        let registry = Registry::new();
        let mut all = samples.clone();
        if !samples.is_empty() {
            // The same name with another kind, and the same labels once more.
            let mut same = samples[again.index(samples.len())].clone();
            all.push(same.clone());
            same.0 = !same.0;
            all.push(same);
        }
        registry.add(Told(all));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let told = Exposition::parse(&runtime.block_on(registry.text())).unwrap();
        prop_assert_eq!(told.samples("voxtra_metrics_source_failures_total")[0].value, 0.0);
    }
}

type Sample = (bool, String, String, Vec<(String, String)>, f64);

struct Told(Vec<Sample>);

impl Source for Told {
    fn collect<'a>(&'a self, samples: &'a mut Samples) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            for (is_counter, name, help, labels, value) in &self.0 {
                let labels: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                if *is_counter {
                    samples.counter(name, help, &labels, *value);
                } else {
                    samples.gauge(name, help, &labels, *value);
                }
            }
        })
    }
}

/// Never knows.
struct Late;

impl Source for Late {
    fn collect<'a>(&'a self, samples: &'a mut Samples) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            samples.gauge("late", "Half of it.", &[], 1.0);
            std::future::pending().await
        })
    }
}

struct Broken;

impl Source for Broken {
    fn collect<'a>(&'a self, _samples: &'a mut Samples) -> BoxFuture<'a, ()> {
        Box::pin(async { panic!("a source that is broken") })
    }
}

/// Tells a database's count, as webhooks do.
struct Waiting(voxtra_services::database::Database);

impl Source for Waiting {
    fn collect<'a>(&'a self, samples: &'a mut Samples) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Ok(count) = self.0.read(|tx| tx.query_row("SELECT 7", [], |row| row.get::<_, u32>(0))).await {
                samples.gauge("voxtra_webhooks_waiting", "Events.", &[], count.into());
            }
        })
    }
}

#[tokio::test]
async fn sources_are_asked_at_each_scrape() {
    let registry = Registry::new();
    let up = Arc::new(AtomicU64::new(3));
    let read = Arc::clone(&up);
    registry.gauge("voxtra_calls_up", "Calls that are up.", move || read.load(Ordering::Relaxed) as f64);
    registry.counter("voxtra_things_total", "Things.", || 1e300);
    registry.add(Waiting(voxtra_services::database::Database::in_memory().unwrap()));
    assert_eq!(told(&registry).await.value("voxtra_calls_up", &[]), Some(3.0));
    up.store(4, Ordering::Relaxed);
    let told = told(&registry).await;
    assert_eq!(told.value("voxtra_calls_up", &[]), Some(4.0));
    assert_eq!(told.value("voxtra_things_total", &[]), Some(1e300));
    assert_eq!(told.value("voxtra_webhooks_waiting", &[]), Some(7.0));
    assert_eq!((told.kind("voxtra_calls_up"), told.kind("voxtra_things_total")), (Some("gauge"), Some("counter")));
}

#[tokio::test]
async fn a_source_cannot_take_the_place_of_the_calls_counters() {
    let registry = Registry::new();
    registry.gauge("voxtra_calls_total", "Not so.", || 99.0);
    registry.record(call("acme", "support"));
    let told = told(&registry).await;
    assert_eq!(told.kind("voxtra_calls_total"), Some("counter"));
    assert_eq!(told.samples("voxtra_calls_total").len(), 1);
    assert_eq!(told.value("voxtra_metrics_dropped_samples", &[]), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_late_or_broken_is_left_out_and_counted() {
    let registry = Registry::new();
    registry.add(Late);
    registry.add(Broken);
    registry.gauge("voxtra_calls_up", "Calls that are up.", || 2.0);
    let told = told(&registry).await;
    assert_eq!(told.value("voxtra_calls_up", &[]), Some(2.0));
    assert_eq!(told.value("late", &[]), None);
    assert_eq!(told.value("voxtra_metrics_source_failures_total", &[]), Some(2.0));
}

/// A server on loopback; it ends with the test.
struct Server {
    address: SocketAddr,
    registry: Arc<Registry>,
    task: AbortHandle,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let registry = Arc::new(Registry::new());
        let task = tokio::spawn(serve(listener, Arc::clone(&registry))).abort_handle();
        Self { address, registry, task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends that and reads to the end.
    async fn ask(&self, request: &str) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        Answer::read(&mut stream).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    async fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        // Some may be left when a refused request had a body that nobody has read.
        let _ = stream.read_to_end(&mut bytes).await;
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_lowercase(), body: body.to_owned() }
    }
}

#[tokio::test]
async fn metrics_are_told_over_http() {
    let server = Server::start().await;
    server.registry.record(call("acme", "support"));
    let answer = server.get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{}", answer.head);
    assert!(answer.head.contains(&format!("content-length: {}", answer.body.len())), "{}", answer.head);
    let told = Exposition::parse(&answer.body).unwrap();
    assert_eq!(told.value("voxtra_call_seconds_total", &[("tenant", "acme")]), Some(10.0));
    let head = server.ask("HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(DEFAULT_ADDRESS.ip().is_loopback());
}

#[tokio::test]
async fn healthz_says_what_is_wrong() {
    let server = Server::start().await;
    let is_up = Arc::new(AtomicU64::new(1));
    let read = Arc::clone(&is_up);
    server.registry.check("pbx", move || match read.load(Ordering::Relaxed) {
        0 => Err("it does not answer".to_owned()),
        _ => Ok(()),
    });
    let well = server.get("/healthz").await;
    assert_eq!((well.status, well.body.as_str()), (200, "ok\n"));
    is_up.store(0, Ordering::Relaxed);
    let ill = server.get("/healthz?verbose=1").await;
    assert_eq!((ill.status, ill.body.as_str()), (503, "pbx: it does not answer\n"));
}

#[tokio::test]
async fn everything_else_is_refused() {
    let server = Server::start().await;
    for path in ["/", "/metrics/", "/metricsx", "/../metrics", "/healthz/x", "*"] {
        let status = server.get(path).await.status;
        assert!(matches!(status, 400 | 404), "{path}: {status}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = server.ask(&format!("{method} /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")).await;
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
    }
    for nonsense in ["\r\n\r\n\r\nnonsense\r\n\r\n", "GET /metrics HTTP/9.9\r\n\r\n", "\u{16}\u{3}\u{1}\r\n\r\n"] {
        assert_eq!(server.ask(nonsense).await.status, 400, "{nonsense:?}");
    }
    let long = format!("GET /metrics HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let mut stream = server.connect().await;
    // The server may close before it has taken all of it.
    let _ = stream.write_all(long.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn one_connection_is_one_request() {
    let server = Server::start().await;
    let one = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answer = server.ask(&one.repeat(3)).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
    assert!(answer.head.contains("connection: close"), "{}", answer.head);
}

#[tokio::test(start_paused = true)]
async fn whoever_sends_too_slowly_is_cut_off() {
    let server = Server::start().await;
    for begun in ["", "GET /met", "GET /metrics HTTP/1.1\r\nHost: a\r\n"] {
        let mut stream = server.connect().await;
        stream.write_all(begun.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Virtual time: without a limit this would never come back.
        let end = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        assert!(end.is_ok(), "{begun:?} is still waited for");
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{begun:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_reads_too_slowly_is_cut_off() {
    let server = Server::start().await;
    for n in 0..5_000 {
        server.registry.record(call(&format!("{:100}", n % 1_000), &format!("{:100}", n / 1_000)));
    }
    // More than the system takes on the way.
    let whole = server.registry.text().await.len();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let mut bytes = Vec::new();
    // It may have been reset, too.
    let _ = stream.read_to_end(&mut bytes).await;
    assert!(bytes.len() < whole, "{} of {whole} bytes", bytes.len());
}

#[tokio::test]
async fn connections_that_say_nothing_make_others_wait_and_take_no_more_room() {
    let server = Server::start().await;
    let mut idle = Vec::new();
    for _ in 0..16 {
        idle.push(server.connect().await);
    }
    let next = server.get("/healthz");
    tokio::pin!(next);
    assert!(timeout(Duration::from_millis(300), &mut next).await.is_err(), "a seventeenth was served");
    drop(idle.pop());
    // Whatever else this machine does meanwhile.
    let answer = timeout(Duration::from_secs(60), next).await.expect("the place that was free is taken");
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_register_is_told_while_calls_are_counted() {
    let server = Server::start().await;
    for n in 0..1_000 {
        for handler in 0..5 {
            server.registry.record(call(&format!("tenant {n}"), &format!("handler {handler}")));
        }
    }
    let counting = {
        let registry = Arc::clone(&server.registry);
        tokio::task::spawn_blocking(move || (0..20_000).for_each(|n| registry.record(call(&format!("new {n}"), "x"))))
    };
    let begun = Instant::now();
    let answer = server.get("/metrics").await;
    println!("{} bytes in {:?}", answer.body.len(), begun.elapsed());
    counting.await.unwrap();
    // Those that found no place share one line, which may have been there already.
    let handlers = Exposition::parse(&answer.body).unwrap().samples("voxtra_handler_calls_total").len();
    assert!(matches!(handlers, 5_000 | 5_001), "{handlers}");
    let after = Exposition::parse(&server.registry.text().await).unwrap();
    assert_eq!(after.value("voxtra_calls_total", &[("tenant", "other"), ("end", "caller-hung-up")]), Some(20_000.0));
    assert!(after.names().all(|name| name.starts_with("voxtra_")));
}
