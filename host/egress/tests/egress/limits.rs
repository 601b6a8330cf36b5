//! Limits over a call and a tenant, and that nothing stays taken.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use voxtra_core::{BoxFuture, TenantId};
use voxtra_egress::{
    AllowedNetwork, Egress, EgressLimits, EgressOptions, EgressPolicy, Http, HttpRequest, HttpUsage, Narrowing,
    OperatorNetworks, Reason, Resolver, Secrets, TenantRules,
};

use crate::server::{Reply, Server, ok};
use crate::world::{OPEN, World, entries, get, ip, limits};

fn world(server: &Server, limits: EgressLimits) -> (World, String) {
    let origin = format!("http://a.test:{}", server.port());
    (World::with(std::slice::from_ref(&origin), limits, Secrets::new()), origin)
}

#[tokio::test]
async fn a_cancelled_request_frees_its_places_and_its_connection() {
    let server = Server::start(OPEN, |request| if request.contains("/hang") { Reply::Hang } else { ok("") }).await;
    let (world, origin) = world(&server, EgressLimits { concurrent_per_tenant: 2, concurrent_per_call: 1, ..limits() });
    let (first, second, third) = (world.call(), world.call(), world.call());
    let hang = || get(&format!("{origin}/hang"));
    let one = tokio::spawn(first.send(hang()));
    let two = tokio::spawn(second.send(hang()));
    server.requested(2).await;
    let quick = || get(&format!("{origin}/"));
    assert_eq!(first.send(quick()).await.unwrap_err().reason(), Reason::CallConcurrency);
    assert_eq!(third.send(quick()).await.unwrap_err().reason(), Reason::TenantConcurrency);
    assert_eq!(world.egress.counters()[0].1.under_way, 2);
    one.abort();
    assert!(one.await.unwrap_err().is_cancelled());
    assert_eq!(third.send(quick()).await.unwrap().status, 200);
    assert_eq!(first.send(quick()).await.unwrap().status, 200);
    two.abort();
    assert!(two.await.unwrap_err().is_cancelled());
    assert_eq!(world.egress.counters()[0].1.under_way, 0);
    drop(world);
    drop((first, second, third));
    server.all_closed().await;
}

#[tokio::test]
async fn failed_requests_free_their_places() {
    let server = Server::start(OPEN, |_| Reply::WriteAndClose(b"garbage\r\n\r\n".to_vec())).await;
    let (world, origin) = world(&server, EgressLimits { concurrent_per_tenant: 1, ..limits() });
    for _ in 0..5 {
        assert_eq!(world.reason(&format!("{origin}/")).await, Reason::Response);
        assert_eq!(world.reason("http://other.test/").await, Reason::Host);
    }
    assert_eq!(world.egress.counters()[0].1.under_way, 0);
}

#[tokio::test]
async fn one_tenants_requests_take_nothing_from_anothers() {
    let server = Server::start(OPEN, |request| if request.contains("/hang") { Reply::Hang } else { ok("") }).await;
    let (world, origin) = world(&server, EgressLimits { concurrent_per_tenant: 1, ..limits() });
    let _hanging = tokio::spawn(world.call().send(get(&format!("{origin}/hang"))));
    server.requested(1).await;
    let other = World { tenant: TenantId::new("beta"), ..world };
    other.set(std::slice::from_ref(&origin), limits(), Secrets::new());
    assert_eq!(other.get(&format!("{origin}/")).await.unwrap().status, 200);
}

#[tokio::test]
async fn the_host_has_a_bound_over_all_tenants() {
    let server = Server::start(OPEN, |_| Reply::Hang).await;
    let url = format!("http://{OPEN}:{}", server.port());
    let open = AllowedNetwork { network: OPEN.parse().unwrap(), tenants: None };
    let networks = OperatorNetworks { allowed: vec![open], refused: Vec::new() };
    let egress = Egress::new(EgressOptions { networks, concurrent: 2, ..EgressOptions::default() }).unwrap();
    let policy = EgressPolicy::parse([url.as_str()], limits()).unwrap();
    let tenants = ["one", "two", "three"].map(TenantId::new);
    for tenant in &tenants {
        egress.set_tenant(tenant, TenantRules { policy: policy.clone(), secrets: Secrets::new() });
    }
    let [one, two, three] = tenants.map(|tenant| egress.call(&tenant, Arc::default()));
    let hanging = [tokio::spawn(one.send(get(&url))), tokio::spawn(two.send(get(&url)))];
    server.requested(2).await;
    assert_eq!(three.send(get(&url)).await.unwrap_err().reason(), Reason::HostConcurrency);
    hanging.iter().for_each(tokio::task::JoinHandle::abort);
    for one in hanging {
        assert!(one.await.unwrap_err().is_cancelled());
    }
    let last = HttpRequest { timeout: Some(Duration::from_millis(50)), ..get(&url) };
    assert_eq!(three.send(last).await.unwrap_err().reason(), Reason::Time);
}

#[tokio::test]
async fn a_header_cannot_change_the_method_that_was_allowed() {
    let server = Server::start(OPEN, |_| ok("")).await;
    let origin = format!("http://a.test:{}", server.port());
    let world = World::new(&[format!("POST {origin}/v1"), format!("{origin}/v2")]);
    let send = |path: &str, name: &str| {
        world.call().send(HttpRequest::new("POST", format!("{origin}{path}")).header(name, "DELETE"))
    };
    for name in ["X-HTTP-Method-Override", "x-method-override", "X-Http-Method"] {
        assert_eq!(send("/v1", name).await.unwrap_err().reason(), Reason::Header, "{name}");
        assert_eq!(send("/v2", name).await.unwrap().status, 200, "{name}");
    }
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn a_tenants_rate_holds_over_all_of_its_calls() {
    let server = Server::start(OPEN, |_| ok("")).await;
    let (world, origin) = world(&server, EgressLimits { requests_per_minute: 30, ..limits() });
    let (mut allowed, began) = (0, Instant::now());
    for _ in 0..10 {
        match world.get(&format!("{origin}/")).await {
            Ok(_) => allowed += 1,
            Err(error) => assert_eq!(error.reason(), Reason::Rate),
        }
    }
    // A sixth of 30 at once, and one more every two seconds that it took.
    let most = 6 + usize::try_from(began.elapsed().as_secs() / 2).unwrap();
    assert!((5..=most).contains(&allowed), "{allowed}, of {most}");
    assert_eq!(server.requests().len(), allowed);
}

#[tokio::test]
async fn a_handlers_own_rate_holds_for_its_call() {
    let server = Server::start(OPEN, |_| ok("")).await;
    let (world, origin) = world(&server, limits());
    let limits = EgressLimits { requests_per_minute: 6, ..EgressLimits::NONE };
    let call = world.egress.call(&world.tenant, Arc::new(Narrowing { allow: None, limits }));
    assert_eq!(call.send(get(&format!("{origin}/"))).await.unwrap().status, 200);
    assert_eq!(call.send(get(&format!("{origin}/"))).await.unwrap_err().reason(), Reason::Rate);
    assert_eq!(call.usage().requests, 1);
    assert_eq!(world.get(&format!("{origin}/")).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_calls_requests_are_counted_over_all_of_its_handlers() {
    let server = Server::start(OPEN, |_| ok("")).await;
    let (world, origin) = world(&server, EgressLimits { requests_per_call: 2, ..limits() });
    let first = world.call();
    assert_eq!(first.send(get(&format!("{origin}/v1"))).await.unwrap().status, 200);
    let allow = Some(entries(&[format!("{origin}/v2")]));
    let second = first.narrowed(Arc::new(Narrowing { allow, ..Narrowing::default() }));
    assert_eq!(second.send(get(&format!("{origin}/v1"))).await.unwrap_err().reason(), Reason::Path);
    assert_eq!(second.send(get(&format!("{origin}/v2"))).await.unwrap().status, 200);
    assert_eq!(second.send(get(&format!("{origin}/v2"))).await.unwrap_err().reason(), Reason::CallRequests);
    assert_eq!((first.usage(), second.usage().requests), (second.usage(), 2));
}

#[tokio::test]
async fn a_handler_reaches_only_what_its_manifest_leaves() {
    let server = Server::start(OPEN, |_| ok("")).await;
    let (world, origin) = world(&server, limits());
    let allow = Some(entries(&[format!("{origin}/v1/")]));
    let call = world.egress.call(&world.tenant, Arc::new(Narrowing { allow, ..Narrowing::default() }));
    assert_eq!(call.send(get(&format!("{origin}/v1/x"))).await.unwrap().status, 200);
    assert_eq!(call.send(get(&format!("{origin}/v2"))).await.unwrap_err().reason(), Reason::Path);
    let wider = Narrowing { allow: Some(entries(&["http://b.test".to_owned()])), ..Narrowing::default() };
    let call = world.egress.call(&world.tenant, Arc::new(wider));
    assert_eq!(call.send(get("http://b.test/")).await.unwrap_err().reason(), Reason::Host);
}

#[tokio::test]
async fn a_body_that_is_too_long_is_not_sent() {
    let server = Server::start(OPEN, |_| ok("")).await;
    let (world, origin) = world(&server, EgressLimits { request_bytes: 10, ..limits() });
    let post = |body: &'static str| world.call().send(HttpRequest::new("POST", &origin).body(body));
    assert_eq!(post("0123456789a").await.unwrap_err().reason(), Reason::RequestBytes);
    assert_eq!(post("0123456789").await.unwrap().status, 200);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn what_is_taken_from_a_tenant_is_taken_from_its_calls_that_are_up() {
    let server = Server::start(OPEN, |_| ok("")).await;
    let (world, origin) = world(&server, limits());
    let call = world.call();
    assert_eq!(call.send(get(&origin)).await.unwrap().status, 200);
    world.egress.remove_tenant(&world.tenant);
    assert_eq!(call.send(get(&origin)).await.unwrap_err().reason(), Reason::Off);
    world.set(std::slice::from_ref(&origin), limits(), Secrets::new());
    assert_eq!(call.send(get(&origin)).await.unwrap().status, 200);
}

#[tokio::test]
async fn everything_is_counted() {
    let server = Server::start(OPEN, |_| ok("hello")).await;
    let (world, origin) = world(&server, limits());
    let call = world.call();
    call.send(HttpRequest::new("POST", &origin).body("four")).await.unwrap();
    for _ in 0..3 {
        call.send(get("http://other.test/")).await.unwrap_err();
    }
    let usage = call.usage();
    assert_eq!((usage.requests, usage.errors), (1, 3));
    assert_eq!(usage.out_bytes, 4);
    assert_eq!(usage.in_bytes, 5 + "content-length5".len() as u64);
    let counters = world.egress.counters();
    assert_eq!(counters.len(), 1);
    assert_eq!(counters[0].1.usage, usage);
    assert_eq!(counters[0].1.errors_for(Reason::Host), 3);
    assert_eq!(counters[0].1.errors_for(Reason::Rate), 0);
    assert_eq!(world.call().usage(), HttpUsage::default());
}

/// Answers nothing for one name, and remembers how many asked.
#[derive(Default)]
struct Silent(AtomicUsize);

impl Resolver for Silent {
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        if name == "other.test" {
            return Box::pin(std::future::ready(Ok(vec![ip("10.0.0.1")])));
        }
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn lookups_that_never_end_keep_only_their_own_tenant_from_looking_up() {
    let resolver = Arc::new(Silent::default());
    let egress = Egress::new(EgressOptions { resolver: resolver.clone(), ..EgressOptions::default() }).unwrap();
    let (hostile, other) = (TenantId::new("hostile"), TenantId::new("other"));
    let limits = EgressLimits { connect_time: Duration::from_millis(20), ..limits() };
    let policy = EgressPolicy::parse(["http://*.silent.test", "http://other.test"], limits).unwrap();
    for tenant in [&hostile, &other] {
        egress.set_tenant(tenant, TenantRules { policy: policy.clone(), secrets: Secrets::new() });
    }
    let send = |tenant, url: &str| egress.call(tenant, Arc::default()).send(get(url));
    for n in 0..20 {
        let error = send(&hostile, &format!("http://a{n}.silent.test/")).await.unwrap_err();
        assert_eq!(error.reason(), Reason::Lookup);
    }
    assert_eq!(resolver.0.load(Ordering::SeqCst), 8);
    assert_eq!(send(&other, "http://other.test/").await.unwrap_err().reason(), Reason::Address);
}

#[tokio::test]
async fn connecting_has_a_limit_of_its_own() {
    // A queue of connections that nobody takes and that is full: the next one gets no answer.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(format!("{OPEN}:0").parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let connect = tokio::net::TcpStream::connect(address);
        waiting.push(tokio::time::timeout(Duration::from_millis(100), connect).await);
    }
    let origin = format!("http://a.test:{}", address.port());
    let limits = EgressLimits { connect_time: Duration::from_millis(200), ..limits() };
    let world = World::with(std::slice::from_ref(&origin), limits, Secrets::new());
    let error = world.get(&origin).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Connect);
    assert!(error.to_string().contains("within 200 ms"), "{error}");
}
