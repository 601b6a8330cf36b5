//! Handlers' requests over HTTP: who may, through which way out, and what is counted.

use bytes::Bytes;
use voxtra_core::http::{FakeHttp, Http, HttpError, HttpOut, HttpRequest, HttpResponse, HttpUsage, Reason};
use voxtra_core::metering::FakeMeter;
use voxtra_core::{CallError, Capability};
use voxtra_plugins::Outcome;
use voxtra_plugins::fake::FakeCall;
use voxtra_plugins::host::CallHost;

use super::*;
use crate::options::Then;

fn get() -> HttpRequest {
    HttpRequest::new("GET", "https://crm.example/customers").header("authorization", "Bearer {{secret:crm}}")
}

fn ok(body: &'static str) -> HttpResponse {
    HttpResponse { status: 200, headers: Vec::new(), body: Bytes::from_static(body.as_bytes()), url: String::new() }
}

/// Gives each call a way out of its own, and remembers whose it is.
#[derive(Default)]
struct Ways {
    of: Mutex<Vec<(String, String)>>,
    fake: Arc<FakeHttp>,
    never_answers: bool,
}

struct Way {
    fake: Arc<FakeHttp>,
    never_answers: bool,
}

impl HttpOut for Ways {
    fn of_call(&self, tenant: &TenantId, handler: &HandlerName) -> Arc<dyn Http> {
        self.of.lock().unwrap().push((tenant.to_string(), handler.to_string()));
        Arc::new(Way { fake: Arc::clone(&self.fake), never_answers: self.never_answers })
    }
}

impl Http for Way {
    fn send(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, HttpError>> {
        if self.never_answers { Box::pin(std::future::pending()) } else { self.fake.send(request) }
    }

    fn usage(&self) -> HttpUsage {
        HttpUsage { requests: 2, errors: 1, in_bytes: 300, out_bytes: 40 }
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
    let usage = meter.records()[0].usage;
    assert_eq!((usage.http_requests, usage.http_out_bytes, usage.http_in_bytes), (4, 80, 600));
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
