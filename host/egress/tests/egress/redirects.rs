//! Redirects: each is a new request, checked from the start.

use bytes::Bytes;
use voxtra_egress::{EgressLimits, Http, HttpRequest, Reason, Secrets};

use crate::server::{Server, ok, redirect};
use crate::world::{ALSO_OPEN, CLOSED, OPEN, World, entries, get, limits};

#[tokio::test]
async fn a_redirect_is_followed_only_where_it_was_asked_for_and_allowed() {
    let server =
        Server::start(OPEN, |request| if request.starts_with("GET /end") { ok("end") } else { redirect(302, "/end") })
            .await;
    let (allow, url) = ([format!("http://a.test:{}", server.port())], format!("http://a.test:{}/", server.port()));
    let world = World::new(&allow);
    let followed = world.get(&url).await.unwrap();
    assert_eq!((followed.status, followed.url), (200, format!("{url}end")));
    let as_it_is = world.call().send(HttpRequest::new("GET", &url)).await.unwrap();
    assert_eq!(as_it_is.status, 302);
    assert!(as_it_is.headers.contains(&("location".to_owned(), Bytes::from("/end"))));
    world.set(&allow, EgressLimits { redirects: 0, ..limits() }, Secrets::new());
    assert_eq!(world.get(&url).await.unwrap().status, 302);
}

#[tokio::test]
async fn a_redirect_to_where_nothing_may_go_is_not_followed() {
    let inside = Server::start(CLOSED, |_| ok("inside")).await;
    let at = inside.port();
    for (location, reason) in [
        (format!("http://127.0.0.9:{at}/"), Reason::Address),
        (format!("http://2130706441:{at}/"), Reason::Address),
        (format!("http://[::ffff:7f00:9]:{at}/"), Reason::Address),
        (format!("//inside.test:{at}/"), Reason::Address),
        ("http://169.254.169.254/latest/meta-data/".to_owned(), Reason::Host),
        ("http://evil.test/?stolen".to_owned(), Reason::Host),
        (format!("https://inside.test:{at}/"), Reason::Origin),
        ("file:///etc/passwd".to_owned(), Reason::Url),
        ("http://user:password@a.test/".to_owned(), Reason::Url),
        ("http://a.test:0/".to_owned(), Reason::Url),
        ("/\\evil.test/".to_owned(), Reason::Url),
    ] {
        let to = location.clone();
        let server = Server::start(OPEN, move |_| redirect(302, &to)).await;
        let world = World::new(&[
            format!("http://a.test:{}", server.port()),
            format!("http://inside.test:{at}"),
            format!("http://127.0.0.9:{at}"),
        ]);
        let error = world.get(&format!("http://a.test:{}/", server.port())).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{location}: {error}");
        assert!(!world.resolver.asked().contains(&"evil.test".to_owned()));
        assert_eq!(server.requests().len(), 1);
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn a_loop_ends() {
    let server = Server::start(OPEN, |_| redirect(307, "/again")).await;
    let url = format!("http://a.test:{}/", server.port());
    let world = World::new(&[format!("http://a.test:{}", server.port())]);
    assert_eq!(world.reason(&url).await, Reason::Redirects);
    assert_eq!(server.requests().len(), 6, "the first and the five that are allowed");
    let fewer = HttpRequest { redirects: 1, ..get(&url) };
    assert_eq!(world.call().send(fewer).await.unwrap_err().reason(), Reason::Redirects);
    assert_eq!(server.requests().len(), 8);
}

#[tokio::test]
async fn no_policy_allows_endless_redirects() {
    let server = Server::start(OPEN, |_| redirect(307, "/again")).await;
    let limits = EgressLimits { redirects: u32::MAX, ..limits() };
    let world = World::with(&[format!("http://a.test:{}", server.port())], limits, Secrets::new());
    let endless = HttpRequest { redirects: u32::MAX, ..get(&format!("http://a.test:{}/", server.port())) };
    assert_eq!(world.call().send(endless).await.unwrap_err().reason(), Reason::Redirects);
    assert_eq!(server.requests().len(), 11);
}

#[tokio::test]
async fn methods_and_bodies_change_as_they_should() {
    for (status, method, expected, with_body) in [
        (301, "POST", "GET", false),
        (302, "POST", "GET", false),
        (303, "PUT", "GET", false),
        (303, "HEAD", "HEAD", false),
        (302, "DELETE", "DELETE", true),
        (307, "POST", "POST", true),
        (308, "PUT", "PUT", true),
    ] {
        let server = Server::start(
            OPEN,
            move |request| if request.contains(" /end ") { ok("") } else { redirect(status, "/end") },
        )
        .await;
        let world = World::new(&[format!("http://a.test:{}", server.port())]);
        let mut request =
            HttpRequest::new(method, format!("http://a.test:{}/", server.port())).header("Content-Type", "text/x");
        request.redirects = 1;
        if method != "HEAD" {
            request = request.body("the-body");
        }
        world.call().send(request).await.unwrap();
        let last = server.requests().pop().unwrap();
        assert!(last.starts_with(&format!("{expected} /end ")), "{status} {method}: {last}");
        assert_eq!(last.ends_with("the-body"), with_body, "{status} {method}: {last}");
        assert_eq!(last.contains("content-type"), with_body || method == "HEAD", "{status} {method}: {last}");
    }
}

#[tokio::test]
async fn a_redirect_may_not_change_to_a_method_that_is_not_allowed() {
    let server = Server::start(OPEN, |_| redirect(303, "/end")).await;
    let world = World::new(&[format!("POST http://a.test:{}", server.port())]);
    let mut request = HttpRequest::new("POST", format!("http://a.test:{}/", server.port()));
    request.redirects = 1;
    assert_eq!(world.call().send(request).await.unwrap_err().reason(), Reason::Method);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn what_identifies_somebody_does_not_go_to_another_origin() {
    let other = Server::start(ALSO_OPEN, |_| ok("other")).await;
    let to = format!("http://b.test:{}/", other.port());
    let server =
        Server::start(
            OPEN,
            move |request| {
                if request.starts_with("GET /same") { redirect(302, &to) } else { redirect(302, "/same") }
            },
        )
        .await;
    let origin = format!("http://a.test:{}", server.port());
    let mut secrets = Secrets::new();
    // Even a secret that the other server may have.
    let servers = [origin.clone(), format!("http://b.test:{}", other.port())];
    secrets.insert("key", "sk-0123456789", entries(&servers)).unwrap();
    let world = World::with(&servers, limits(), secrets);
    let request = get(&format!("{origin}/"))
        .header("Authorization", "Bearer own-token")
        .header("Cookie", "session=own-cookie")
        .header("X-Api-Key", "{{secret:key}}")
        .header("User-Agent", "{{secret:key}}")
        .header("Accept", "text/plain");
    world.call().send(request).await.unwrap();
    let [first, same] = server.requests().try_into().unwrap();
    for kept in [first, same] {
        for value in ["Bearer own-token", "session=own-cookie", "x-api-key: sk-0123456789"] {
            assert!(kept.contains(value), "{kept}");
        }
    }
    let [elsewhere] = other.requests().try_into().unwrap();
    assert!(elsewhere.contains("accept: text/plain") && elsewhere.contains("user-agent: voxtra/1"), "{elsewhere}");
    for value in ["own-token", "own-cookie", "sk-0123456789", "secret:"] {
        assert!(!elsewhere.contains(value), "{elsewhere}");
    }
}

#[tokio::test]
async fn another_port_is_another_origin() {
    let other = Server::start(OPEN, |_| ok("other")).await;
    let to = format!("http://a.test:{}/", other.port());
    let server = Server::start(OPEN, move |_| redirect(302, &to)).await;
    let allow = [format!("http://a.test:{}", server.port()), format!("http://a.test:{}", other.port())];
    let world = World::new(&allow);
    let request = get(&format!("http://a.test:{}/", server.port())).header("Authorization", "own-token");
    world.call().send(request).await.unwrap();
    assert!(!other.requests()[0].contains("own-token"));
}

#[tokio::test]
async fn each_redirect_counts_as_a_request() {
    let server = Server::start(OPEN, |_| redirect(307, "/again")).await;
    let limits = EgressLimits { requests_per_call: 3, ..limits() };
    let world = World::with(&[format!("http://a.test:{}", server.port())], limits, Secrets::new());
    let call = world.call();
    let error = call.send(get(&format!("http://a.test:{}/", server.port()))).await.unwrap_err();
    assert_eq!(error.reason(), Reason::CallRequests);
    assert_eq!((server.requests().len(), call.usage().requests), (3, 3));
}
