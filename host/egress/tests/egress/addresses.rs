//! Which address is connected to: one that was judged, and no other.

use std::process::Command;

use voxtra_egress::{Http, HttpRequest, Reason};

use crate::server::{Server, ok};
use crate::world::{ALSO_OPEN, CLOSED, OPEN, World, ip};

#[tokio::test]
async fn an_allowed_host_is_answered_for() {
    let server = Server::start(OPEN, |_| ok("hello")).await;
    let port = server.port();
    let world = World::new(&[format!("http://a.test:{port}")]);
    let answer = world.get(&format!("http://A.TEST.:{port}/x?y=1#z")).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, b"hello".as_slice()));
    assert_eq!(answer.url, format!("http://a.test:{port}/x?y=1"));
    let [request] = server.requests().try_into().unwrap();
    assert!(request.starts_with("GET /x?y=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("host: a.test:{port}\r\n")), "{request}");
    assert!(request.contains("user-agent: voxtra/1\r\n") && !request.contains("referer"), "{request}");
}

#[tokio::test]
async fn a_host_that_is_not_on_the_list_is_never_looked_up() {
    let world = World::new(&["http://a.test".into(), "http://*.below.test:81/v1/".into()]);
    for url in [
        "http://c.test/",
        "http://secret-data.a.test/",
        "https://a.test/",
        "http://a.test:81/",
        "http://x.below.test:81/v2/",
        "http://a.test@c.test/",
        "http://a.test:0/",
    ] {
        assert!(world.get(url).await.is_err(), "{url}");
    }
    for (request, reason) in [
        (HttpRequest::new("FETCH", "http://a.test/"), Reason::Request),
        (HttpRequest::new("GET", "http://a.test/").header("Host", "c.test"), Reason::Header),
        (HttpRequest::new("GET", "http://a.test/").header("A", "b\r\nHost: c.test"), Reason::Request),
    ] {
        assert_eq!(world.call().send(request).await.unwrap_err().reason(), reason);
    }
    assert_eq!(world.resolver.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_connected_to() {
    let inside = Server::start(CLOSED, |_| ok("inside")).await;
    let port = inside.port();
    let world = World::new(&[format!("http://inside.test:{port}"), format!("http://mixed.test:{port}")]);
    let error = world.get(&format!("http://inside.test:{port}/")).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Address);
    assert!(error.to_string().contains("a loopback address") && !error.to_string().contains(CLOSED), "{error}");
    // One bad answer among good ones is enough, wherever it stands.
    for answers in [[OPEN, CLOSED], [CLOSED, OPEN], ["8.8.8.8", "::ffff:127.0.0.9"], ["8.8.8.8", "169.254.169.254"]] {
        let world = World::new(&[format!("http://mixed.test:{port}")]);
        world.resolver.answer("mixed.test", &answers.map(ip));
        assert_eq!(world.reason(&format!("http://mixed.test:{port}/")).await, Reason::Address, "{answers:?}");
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn a_host_that_is_an_address_is_judged_in_every_notation() {
    let inside = Server::start(CLOSED, |_| ok("inside")).await;
    let port = inside.port();
    let world = World::new(&[
        format!("http://127.0.0.9:{port}"),
        format!("http://[::1]:{port}"),
        "http://[fd00:ec2::254]".into(),
    ]);
    for host in
        ["127.0.0.9", "127.9", "0x7f000009", "2130706441", "0177.0.0.011", "[::ffff:127.0.0.9]", "127.0.0.9.", "[::1]"]
    {
        assert_eq!(world.reason(&format!("http://{host}:{port}/")).await, Reason::Address, "{host}");
    }
    assert_eq!(world.reason("http://[fd00:ec2::254]/").await, Reason::Address);
    // What is not on the list is not even judged.
    assert_eq!(world.reason("http://169.254.169.254/").await, Reason::Host);
    assert_eq!(inside.connections(), 0);
    assert!(world.resolver.asked().is_empty());
}

#[tokio::test]
async fn an_address_that_the_operator_opened_is_reached() {
    let server = Server::start(OPEN, |_| ok("hello")).await;
    let port = server.port();
    let world = World::new(&[format!("http://127.0.0.1:{port}")]);
    let answer = world.get(&format!("http://0x7f.1:{port}/")).await.unwrap();
    assert_eq!(answer.url, format!("http://127.0.0.1:{port}/"));
    assert!(server.requests()[0].contains(&format!("host: 127.0.0.1:{port}\r\n")));
}

#[tokio::test]
async fn the_name_is_looked_up_once_and_a_second_answer_is_not_used() {
    let good = Server::start(OPEN, |_| ok("good")).await;
    let port = good.port();
    let inside = tokio::net::TcpListener::bind((CLOSED, port)).await.unwrap();
    let world = World::new(&[format!("http://rebinds.test:{port}")]);
    world.resolver.answer("rebinds.test", &[ip(OPEN)]);
    world.resolver.answer("rebinds.test", &[ip(CLOSED)]);
    let url = format!("http://rebinds.test:{port}/");
    assert_eq!(&world.get(&url).await.unwrap().body[..], b"good");
    assert_eq!(world.resolver.asked().len(), 1, "one request asks once, or the second answer could be another");
    // The next request is judged by the new answer, though a connection to the old address is still open.
    assert_eq!(world.reason(&url).await, Reason::Address);
    assert_eq!(good.requests().len(), 1);
    let nobody = tokio::time::timeout(std::time::Duration::from_millis(100), inside.accept()).await;
    assert!(nobody.is_err(), "the inside was connected to");
}

#[tokio::test]
async fn a_connection_is_used_again_only_while_the_name_leads_to_the_same_place() {
    let first = Server::start(OPEN, |_| ok("first")).await;
    let port = first.port();
    let listener = tokio::net::TcpListener::bind((ALSO_OPEN, port)).await.unwrap();
    let world = World::new(&[format!("http://moves.test:{port}")]);
    world.resolver.answer("moves.test", &[ip(OPEN)]);
    world.resolver.answer("moves.test", &[ip(OPEN)]);
    world.resolver.answer("moves.test", &[ip(ALSO_OPEN)]);
    let url = format!("http://moves.test:{port}/");
    for _ in 0..2 {
        assert_eq!(&world.get(&url).await.unwrap().body[..], b"first");
    }
    assert_eq!(first.connections(), 1, "the connection was not used again");
    let third = tokio::spawn(world.call().send(HttpRequest::new("GET", url)));
    let moved = tokio::time::timeout(std::time::Duration::from_secs(20), listener.accept()).await;
    assert!(moved.is_ok(), "the new address was not connected to");
    third.abort();
    assert_eq!(first.requests().len(), 2);
}

#[tokio::test]
async fn a_name_that_cannot_be_looked_up_is_told_so() {
    let world = World::new(&["http://gone.test".into(), "http://empty.test".into()]);
    world.resolver.answer("empty.test", &[]);
    assert_eq!(world.reason("http://gone.test/").await, Reason::Lookup);
    assert_eq!(world.reason("http://empty.test/").await, Reason::Lookup);
}

#[tokio::test]
async fn a_private_network_is_open_to_its_tenants_only() {
    use std::sync::Arc;

    use voxtra_core::TenantId;
    use voxtra_egress::*;

    let server = Server::start(OPEN, |_| ok("crm")).await;
    let url = format!("http://127.0.0.1:{}/", server.port());
    let (acme, beta) = (TenantId::new("acme"), TenantId::new("beta"));
    let open = AllowedNetwork { network: "127.0.0.1".parse().unwrap(), tenants: Some(vec![acme.clone()]) };
    let networks = OperatorNetworks { allowed: vec![open], refused: Vec::new() };
    let egress = Egress::new(EgressOptions { networks, ..EgressOptions::default() }).unwrap();
    let policy = EgressPolicy::parse([url.as_str()], EgressLimits::default()).unwrap();
    let rules = TenantRules { policy, secrets: Secrets::new() };
    for tenant in [&acme, &beta] {
        egress.set_tenant(tenant, rules.clone());
    }
    let send = |tenant: &TenantId| egress.call(tenant, Arc::default()).send(HttpRequest::new("GET", &url));
    assert_eq!(send(&acme).await.unwrap().status, 200);
    assert_eq!(send(&beta).await.unwrap_err().reason(), Reason::Address);
    assert_eq!(send(&TenantId::new("nobody")).await.unwrap_err().reason(), Reason::Off);
    assert_eq!(server.connections(), 1);
}

/// Runs this test again with proxies in the environment.
#[tokio::test]
async fn proxies_in_the_environment_are_not_used() {
    const MARK: &str = "VOXTRA_EGRESS_TEST_WITH_PROXY";
    if std::env::var_os(MARK).is_some() {
        let server = Server::start(OPEN, |_| ok("direct")).await;
        let world = World::new(&[format!("http://a.test:{}", server.port())]);
        let answer = world.get(&format!("http://a.test:{}/", server.port())).await.unwrap();
        assert_eq!(&answer.body[..], b"direct");
        return;
    }
    let proxy = Server::start(CLOSED, |_| ok("proxied")).await;
    let address = format!("http://{CLOSED}:{}", proxy.port());
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "addresses::proxies_in_the_environment_are_not_used", "--nocapture"]).env(MARK, "1");
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
        again.env(name, &address);
    }
    again.env_remove("NO_PROXY").env_remove("no_proxy");
    let output = tokio::task::spawn_blocking(move || again.output().unwrap()).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert_eq!(proxy.connections(), 0);
}
