//! Answers that are slow, endless or no HTTP at all: the request ends in time, with a named reason, and the connection is
//! closed.

use std::time::Duration;

use voxtra_egress::{EgressLimits, Http, HttpRequest, Reason, Secrets};

use crate::server::{Reply, Server, answer, ok};
use crate::world::{OPEN, World, limits};

const HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

async fn meet(reply: Reply, limits: EgressLimits) -> (Reason, Server) {
    let server = Server::start(OPEN, move |_| reply.clone()).await;
    let world = World::with(&[format!("http://a.test:{}", server.port())], limits, Secrets::new());
    let reason = world.reason(&format!("http://a.test:{}/", server.port())).await;
    (reason, server)
}

fn short() -> EgressLimits {
    EgressLimits { total_time: Duration::from_millis(300), response_bytes: 10_000, ..limits() }
}

#[tokio::test]
async fn whoever_is_too_slow_is_left() {
    let pause = Duration::from_millis(20);
    for (what, reply) in [
        ("nothing", Reply::Hang),
        ("headers, one by one", Reply::Drip(b"HTTP/1.1 200 OK\r\n".to_vec(), b"x-a: b\r\n".to_vec(), pause)),
        ("a header without end", Reply::Drip(b"HTTP/1.1 200 OK\r\nx-a: ".to_vec(), b"b".to_vec(), pause)),
        (
            "a body, byte by byte",
            Reply::Drip(b"HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n".to_vec(), b"x".to_vec(), pause),
        ),
        ("chunks, one by one", Reply::Drip(HEAD.into(), b"1\r\nx\r\n".to_vec(), pause)),
        ("empty answers first", Reply::Drip(Vec::new(), b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), pause)),
    ] {
        let (reason, server) = meet(reply, short()).await;
        assert_eq!(reason, Reason::Time, "{what}");
        server.all_closed().await;
    }
}

#[tokio::test]
async fn whoever_sends_too_much_is_left() {
    let limits = EgressLimits { response_bytes: 10_000, ..limits() };
    let none = Duration::ZERO;
    let long = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "a".repeat(100_000));
    for (what, reply, expected) in [
        ("a stated length", answer("200 OK", &[], &"x".repeat(10_001)), Reason::ResponseBytes),
        (
            "a huge length",
            Reply::Write(b"HTTP/1.1 200 OK\r\ncontent-length: 9223372036854775807\r\n\r\n".to_vec()),
            Reason::ResponseBytes,
        ),
        (
            "endless chunks",
            Reply::Drip(HEAD.into(), [b"400\r\n".as_slice(), &[b'x'; 0x400], b"\r\n"].concat(), none),
            Reason::ResponseBytes,
        ),
        (
            "no length at all",
            Reply::Drip(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 1000], none),
            Reason::ResponseBytes,
        ),
        ("a long header", Reply::Write(long.into_bytes()), Reason::ResponseBytes),
        (
            "endless headers",
            Reply::Drip(b"HTTP/1.1 200 OK\r\n".to_vec(), b"x-a: b\r\n".repeat(1_000), none),
            Reason::Response,
        ),
        (
            "an endless header",
            Reply::Drip(b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'x'; 10_000], none),
            Reason::Response,
        ),
    ] {
        let (reason, server) = meet(reply, limits).await;
        assert_eq!(reason, expected, "{what}");
        server.all_closed().await;
    }
}

#[tokio::test]
async fn an_answer_of_exactly_the_limit_is_taken() {
    let body = "x".repeat(10_000);
    let server = Server::start(OPEN, move |_| ok(&body)).await;
    let limits = EgressLimits { response_bytes: 10_000, ..limits() };
    let world = World::with(&[format!("http://a.test:{}", server.port())], limits, Secrets::new());
    assert_eq!(world.get(&format!("http://a.test:{}/", server.port())).await.unwrap().body.len(), 10_000);
}

#[tokio::test]
async fn the_answer_to_a_head_request_may_state_any_length() {
    let reply = Reply::Write(b"HTTP/1.1 200 OK\r\ncontent-length: 5000000000\r\n\r\n".to_vec());
    let server = Server::start(OPEN, move |_| reply.clone()).await;
    let world = World::new(&[format!("http://a.test:{}", server.port())]);
    let head = HttpRequest::new("HEAD", format!("http://a.test:{}/", server.port()));
    let response = world.call().send(head).await.unwrap();
    assert!(response.body.is_empty());
    assert!(response.headers.iter().any(|(name, value)| name == "content-length" && value == "5000000000"));
}

#[tokio::test]
async fn what_is_no_http_is_told_so() {
    for garbage in [
        "",
        "SSH-2.0-OpenSSH_9.7\r\n",
        "\0\0\0\0\r\n\r\n",
        "HTTP/1.1 999999 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nXYZ\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloWORLD\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    ] {
        let (reason, server) = meet(Reply::WriteAndClose(garbage.into()), limits()).await;
        assert_eq!(reason, Reason::Response, "{garbage:?}");
        server.all_closed().await;
    }
}

#[tokio::test]
async fn a_request_can_be_given_less_time() {
    let server = Server::start(OPEN, |_| Reply::Hang).await;
    let world = World::new(&[format!("http://a.test:{}", server.port())]);
    let mut request = HttpRequest::new("GET", format!("http://a.test:{}/", server.port()));
    request.timeout = Some(Duration::from_millis(50));
    let error = world.call().send(request).await.unwrap_err();
    assert!(error.to_string().contains("within 50 ms"), "{error}");
}

#[tokio::test]
async fn compression_is_not_undone_and_connection_headers_are_left_out() {
    let bomb = "\u{1f}fake-gzip";
    let headers =
        ["content-encoding: gzip", "connection: keep-alive", "keep-alive: timeout=5", "x-own: 1", "set-cookie: a=b"];
    let server = Server::start(OPEN, move |_| answer("200 OK", &headers, bomb)).await;
    let world = World::new(&[format!("http://a.test:{}", server.port())]);
    let call = world.call();
    for _ in 0..2 {
        let response = call.send(HttpRequest::new("GET", format!("http://a.test:{}/", server.port()))).await.unwrap();
        assert_eq!(&response.body[..], bomb.as_bytes());
        let names: Vec<&str> = response.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["content-encoding", "x-own", "set-cookie", "content-length"]);
    }
    assert!(
        server.requests().iter().all(|request| !request.contains("cookie") && !request.contains("accept-encoding"))
    );
}

#[tokio::test]
async fn nobody_at_the_port_is_told_so() {
    let world = World::new(&["http://a.test:1".into()]);
    assert_eq!(world.reason("http://a.test:1/").await, Reason::Connect);
}
