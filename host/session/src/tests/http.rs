//! Handlers' requests over HTTP: who may, through which way out, and what is counted.

use bytes::Bytes;
use voxtra_core::http::{CallHttp, FakeHttp, Http, HttpError, HttpOut, HttpRequest, HttpResponse, HttpUsage, Reason};
use voxtra_core::metering::FakeMeter;
use voxtra_core::{CallError, Capability};
use voxtra_plugins::Outcome;
use voxtra_plugins::fake::FakeCall;
use voxtra_plugins::host::CallHost;

use super::versions::{Version, put, until_upgrade};
use super::*;
use crate::options::Then;

fn get() -> HttpRequest {
    HttpRequest::new("GET", "https://crm.example/customers").header("authorization", "Bearer {{secret:crm}}")
}

fn ok(body: &'static str) -> HttpResponse {
    HttpResponse { status: 200, headers: Vec::new(), body: Bytes::from_static(body.as_bytes()), url: String::new() }
}

/// Gives each call a way out of its own, and remembers whose it is.
#[derive(Clone, Default)]
struct Ways {
    calls: Arc<AtomicUsize>,
    of: Arc<Mutex<Vec<(String, String)>>>,
    fake: Arc<FakeHttp>,
    never_answers: bool,
}

struct Way(Ways, TenantId);

impl HttpOut for Ways {
    fn of_call(&self, tenant: &TenantId) -> Arc<dyn CallHttp> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Arc::new(Way(self.clone(), tenant.clone()))
    }
}

impl CallHttp for Way {
    fn of_handler(&self, handler: &HandlerName) -> Arc<dyn Http> {
        self.0.of.lock().unwrap().push((self.1.to_string(), handler.to_string()));
        Arc::new(self.0.clone())
    }

    fn usage(&self) -> HttpUsage {
        HttpUsage { requests: 2, errors: 1, in_bytes: 300, out_bytes: 40 }
    }
}

impl Http for Ways {
    fn send(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, HttpError>> {
        if self.never_answers { Box::pin(std::future::pending()) } else { self.fake.send(request) }
    }
}

/// A handler that sends one request and says what came of it.
fn asks(name: &str, capabilities: Capabilities, notes: &Notes, then: fn() -> Outcome) -> TestHandler {
    let notes = notes.clone();
    let mut handler = TestHandler::new(name, move |call| {
        let notes = notes.clone();
        async move {
            let answer = call.http_send(get()).await;
            notes.add(answer.map(|answer| answer.body).map_err(|error| (error.kind(), error.to_string())));
            then()
        }
    });
    handler.capabilities = capabilities;
    handler
}

fn kit(ways: &Arc<Ways>, handlers: impl IntoIterator<Item = TestHandler>) -> Kit {
    let http = Arc::clone(ways);
    let policy = OnFailure { play: Some(Vec::new()), then: Then::Handler("second".into()) };
    Kit::with_all(HostOptions::default(), policy, handlers, |ports| ports.http = Some(http))
}

#[tokio::test(start_paused = true)]
async fn without_the_capability_nothing_is_asked_of_anybody() {
    let (ways, notes) = (Arc::<Ways>::default(), Notes::default());
    let all_but_http = Capabilities::ALL.without(Capability::Http);
    let kit = kit(&ways, [asks("default", all_but_http, &notes, || Outcome::Returned)]);
    kit.call("c1");
    kit.host.idle().await;
    assert!(notes.all()[0].contains("denied") && notes.all()[0].contains("http: this handler"), "{:?}", notes.all());
    assert!(ways.fake.asked().is_empty() && ways.of.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_way_out_it_is_not_configured() {
    let notes = Notes::default();
    let kit = Kit::new([asks("default", Capabilities::ALL, &notes, || Outcome::Returned)]);
    kit.call("c1");
    kit.host.idle().await;
    assert!(notes.all()[0].contains("not-configured"), "{:?}", notes.all());
}

#[tokio::test(start_paused = true)]
async fn a_request_goes_out_as_it_was_made_and_its_answer_or_refusal_comes_back() {
    let (ways, notes) = (Arc::<Ways>::default(), Notes::default());
    ways.fake.answer(Ok(ok("gold")));
    ways.fake.answer(Err(HttpError::new(Reason::Host, "no entry names it; add one")));
    let kit = kit(&ways, [asks("default", Capabilities::ALL, &notes, || Outcome::Returned)]);
    kit.call("c1");
    kit.host.idle().await;
    kit.call("c2");
    kit.host.idle().await;
    assert_eq!(notes.all()[0], "Ok(b\"gold\")");
    assert_eq!(notes.all()[1], "Err((\"denied\", \"http: no entry names it; add one\"))");
    // What a handler writes is what leaves the session: a secret's value is filled in behind the port, never here.
    assert_eq!(ways.fake.asked(), [get(), get()]);
    let of = ("default".to_owned(), "default".to_owned());
    assert_eq!(*ways.of.lock().unwrap(), [of.clone(), of], "one for each call");
    assert_eq!(ways.calls.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn after_a_hand_over_requests_are_the_new_handlers_and_all_are_counted() {
    let (ways, notes, meter) = (Arc::<Ways>::default(), Notes::default(), Arc::<FakeMeter>::default());
    let handlers = [
        asks("default", Capabilities::ALL, &notes, trap),
        asks("second", Capabilities::ALL, &notes, || Outcome::Returned),
    ];
    let policy = OnFailure { play: Some(Vec::new()), then: Then::Handler("second".into()) };
    let (http, records) = (Arc::clone(&ways), Arc::clone(&meter));
    let kit = Kit::with_all(HostOptions::default(), policy, handlers, |ports| {
        ports.http = Some(http);
        ports.meter = Some(records);
    });
    kit.call("c1");
    kit.host.idle().await;
    let of: Vec<_> = ways.of.lock().unwrap().iter().map(|(_, handler)| handler.clone()).collect();
    assert_eq!(of, ["default", "second"]);
    assert_eq!(ways.calls.load(Ordering::Relaxed), 1, "what a call may send is the call's, over its handlers");
    let usage = meter.records()[0].usage;
    assert_eq!((usage.http_requests, usage.http_out_bytes, usage.http_in_bytes), (2, 40, 300));
}

/// Sends one request, and goes over when it is told to.
fn sends_then_goes_over(capabilities: Capabilities, notes: &Notes) -> Version {
    let notes = notes.clone();
    let old = Version::new("old", move |call| {
        let notes = notes.clone();
        async move {
            notes.add(call.http_send(get()).await.map(|answer| answer.status).map_err(|error| error.kind()));
            until_upgrade(&call, &notes).await
        }
    });
    Version { capabilities, ..old }
}

#[tokio::test(start_paused = true)]
async fn after_an_upgrade_the_new_versions_manifest_says_whether_it_may_send() {
    let (all, none) = (Capabilities::ALL, Capabilities::ALL.without(Capability::Http));
    let (may, may_not) = ("Ok(200)", "Err(\"denied\")");
    for (before, after, told, ways_of) in
        [(all, none, [may, may_not], 1), (none, all, [may_not, may], 1), (all, all, [may, may], 2)]
    {
        let (ways, notes) = (Arc::<Ways>::default(), Notes::default());
        (0..2).for_each(|_| ways.fake.answer(Ok(ok("gold"))));
        let kit = kit(&ways, []);
        put(&kit, &sends_then_goes_over(before, &notes));
        let seen = notes.clone();
        let new = Version::new("new", |_| async { trap() }).restores(move |call, _| {
            let seen = seen.clone();
            async move {
                seen.add(call.http_send(get()).await.map(|answer| answer.status).map_err(|error| error.kind()));
                Outcome::Returned
            }
        });
        kit.call("c1");
        settle().await;
        put(&kit, &Version { capabilities: after, ..new });
        kit.host.idle().await;
        assert_eq!(notes.all(), told);
        assert_eq!(kit.said(EventType::HandlerUpgraded, "version"), "new");
        // The manifest is asked anew, and what the call has sent stays counted.
        assert_eq!((ways.of.lock().unwrap().len(), ways.calls.load(Ordering::Relaxed)), (ways_of, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_a_verb_of_who_has_the_call_and_of_nobody_else() {
    let (ways, notes) = (Arc::<Ways>::default(), Notes::default());
    (0..2).for_each(|_| ways.fake.answer(Ok(ok("gold"))));
    let kit = kit(&ways, []);
    let kept: Arc<Mutex<Option<SharedCall>>> = Arc::default();
    let (old, keeps) = (sends_then_goes_over(Capabilities::ALL, &notes), Arc::clone(&kept));
    let script = Arc::clone(&old.script);
    let old = Version {
        script: Arc::new(move |call| {
            *keeps.lock().unwrap() = Some(Arc::clone(&call));
            script(call)
        }),
        ..old
    };
    put(&kit, &old);
    let new = Version::new("new", |_| async { trap() }).restores(|call, _| async move {
        call.http_send(get()).await.unwrap();
        std::future::pending().await
    });
    let leg = kit.call("c1");
    settle().await;
    put(&kit, &new);
    sleep(9 * SECOND).await;
    assert_eq!(kit.host.calls()[0].version, "new", "it has done something, and so has the call");
    let late = kept.lock().unwrap().take().unwrap();
    assert_eq!(late.http_send(get()).await.unwrap_err(), CallError::HungUp);
    assert_eq!(ways.fake.asked().len(), 2);
    hang_up(&leg);
    kit.host.idle().await;
}

#[tokio::test(start_paused = true)]
async fn a_way_out_that_never_answers_keeps_nobody() {
    let ways = Arc::new(Ways { never_answers: true, ..Ways::default() });
    let notes = Notes::default();
    let kit = kit(&ways, [asks("default", Capabilities::ALL, &notes, || Outcome::Returned)]);
    let began = tokio::time::Instant::now();
    kit.call("c1");
    kit.host.idle().await;
    assert!(notes.all()[0].contains("timeout"), "{:?}", notes.all());
    assert!((120..=121).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_hook_may_still_send() {
    let (ways, notes) = (Arc::<Ways>::default(), Notes::default());
    ways.fake.answer(Ok(ok("noted")));
    let seen = notes.clone();
    // The same call, whose instance lives on into its hook.
    let kept: Arc<Mutex<Option<SharedCall>>> = Arc::default();
    let of_hook = Arc::clone(&kept);
    let handler = TestHandler::new("default", move |call| {
        *kept.lock().unwrap() = Some(call);
        async { Outcome::Returned }
    })
    .with_hook(move |_| {
        let (call, seen) = (of_hook.lock().unwrap().take().unwrap(), seen.clone());
        async move {
            seen.add(call.answer().await.map_err(|error| error.kind()));
            seen.add(call.http_send(get()).await.map(|answer| answer.status).map_err(|error| error.kind()));
            Outcome::Returned
        }
    });
    let kit = kit(&ways, [handler]);
    kit.call("c1");
    kit.host.idle().await;
    assert_eq!(notes.all(), ["Err(\"hung-up\")", "Ok(200)"]);
}

#[tokio::test]
async fn the_fake_refuses_as_the_real_one_does() {
    let call = FakeCall::new();
    let refused = call.http_send(get()).await.unwrap_err();
    assert!(matches!(refused, CallError::Denied(_)), "{refused:?}");
    assert_eq!(call.http().asked().len(), 1);
}
