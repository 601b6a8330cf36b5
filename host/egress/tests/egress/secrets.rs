//! A secret goes where its definition says and is seen nowhere else.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;
use voxtra_egress::{Http, HttpRequest, Reason, Secrets};

use crate::server::{Reply, Server, answer, ok, redirect};
use crate::world::{ALSO_OPEN, OPEN, World, entries, get, limits};

const VALUE: &str = "sk-live-4f9a77c1d2";

fn world(servers: &[&Server], keepers: &[&Server]) -> World {
    let origin = |server: &&Server| {
        [OPEN, ALSO_OPEN]
            .iter()
            .zip(["a.test", "b.test"])
            .find_map(|(ip, name)| (server.ip() == *ip).then(|| format!("http://{name}:{}", server.port())))
    };
    let list = |servers: &[&Server]| servers.iter().map(|server| origin(server).unwrap()).collect::<Vec<_>>();
    let mut secrets = Secrets::new();
    secrets.insert("key", VALUE, entries(&list(keepers))).unwrap();
    World::with(&list(servers), limits(), secrets)
}

fn with_key(url: &str) -> HttpRequest {
    get(url).header("Authorization", "Bearer {{secret:key}}")
}

#[tokio::test]
async fn the_host_fills_it_in_and_only_for_its_servers() {
    let keeper = Server::start(OPEN, |_| ok("")).await;
    let other = Server::start(ALSO_OPEN, |_| ok("")).await;
    let world = world(&[&keeper, &other], &[&keeper]);
    let url = format!("http://a.test:{}/", keeper.port());
    world.call().send(with_key(&url)).await.unwrap();
    assert!(keeper.requests()[0].contains(&format!("authorization: Bearer {VALUE}\r\n")));
    let error = world.call().send(with_key(&format!("http://b.test:{}/", other.port()))).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Secret);
    assert_eq!(other.connections(), 0);
    assert_eq!(world.resolver.asked(), ["a.test"]);
}

#[tokio::test]
async fn it_cannot_be_named_in_an_address_and_is_no_template_in_a_body() {
    let keeper = Server::start(OPEN, |_| ok("")).await;
    let world = world(&[&keeper], &[&keeper]);
    let url = format!("http://a.test:{}/", keeper.port());
    assert_eq!(world.reason(&format!("{url}?k={{{{secret:key}}}}")).await, Reason::Secret);
    world.call().send(HttpRequest::new("POST", &url).body("{{secret:key}}")).await.unwrap();
    assert!(keeper.requests()[0].ends_with("{{secret:key}}"));
}

#[tokio::test]
async fn an_echo_does_not_give_it_away() {
    let keeper = Server::start(OPEN, |request| {
        let line = request.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or("none").to_owned();
        answer("200 OK", &[&format!("x-echo: {line}")], &format!("[{line}|{line}]"))
    })
    .await;
    let world = world(&[&keeper], &[&keeper]);
    let url = format!("http://a.test:{}/", keeper.port());
    let response = world.call().send(with_key(&url)).await.unwrap();
    let stars = "*".repeat(VALUE.len());
    assert_eq!(response.body, format!("[Bearer {stars}|Bearer {stars}]"));
    let echoed = response.headers.iter().find(|(name, _)| name == "x-echo").unwrap();
    assert_eq!(echoed.1, format!("Bearer {stars}"));
}

/// The server got it by one request and gives it back in the answer to another, in two parts of the body.
#[tokio::test]
async fn an_echo_to_a_later_request_does_not_give_it_away_either() {
    let body = format!("{}\r\n{}\r\n{}\r\n{}\r\n0\r\n\r\n", "9", &VALUE[..9], "9", &VALUE[9..]);
    let reply = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}");
    let keeper = Server::start(OPEN, move |_| Reply::Write(reply.clone().into_bytes())).await;
    let world = world(&[&keeper], &[&keeper]);
    let response = world.get(&format!("http://a.test:{}/", keeper.port())).await.unwrap();
    assert_eq!(response.body, "*".repeat(VALUE.len()));
}

#[tokio::test]
async fn forms_in_which_it_would_not_be_recognised_are_not_asked_for_nor_taken() {
    let keeper = Server::start(OPEN, |_| answer("200 OK", &["content-encoding: gzip"], "xyz")).await;
    let world = world(&[&keeper], &[&keeper]);
    let url = format!("http://a.test:{}/", keeper.port());
    for name in ["Accept-Encoding", "Range", "If-Range"] {
        let error = world.call().send(with_key(&url).header(name, "x")).await.unwrap_err();
        assert_eq!(error.reason(), Reason::Header, "{name}");
    }
    assert_eq!(keeper.connections(), 0);
    assert_eq!(world.call().send(with_key(&url)).await.unwrap_err().reason(), Reason::Response);
    assert!(keeper.requests()[0].contains("accept-encoding: identity"));
}

#[tokio::test]
async fn a_redirect_does_not_carry_it_off() {
    let other = Server::start(ALSO_OPEN, |_| ok("")).await;
    let to = format!("http://b.test:{}/?k=", other.port());
    let keeper = Server::start(OPEN, move |request| {
        let upper = request.contains(" /upper ");
        let value = if upper { VALUE.to_uppercase() } else { VALUE.to_owned() };
        redirect(302, &if upper { format!("http://{value}.test/") } else { format!("{to}{value}") })
    })
    .await;
    let world = world(&[&keeper, &other], &[&keeper]);
    for path in ["", "upper"] {
        let error = world.call().send(with_key(&format!("http://a.test:{}/{path}", keeper.port()))).await.unwrap_err();
        assert_eq!(error.reason(), Reason::Redirect);
        assert!(!error.to_string().to_lowercase().contains(VALUE), "{error}");
    }
    assert_eq!(other.connections(), 0);
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Everything that is logged, the libraries' finest detail too, and everything that is said of a failure.
#[tokio::test]
async fn neither_logs_nor_errors_nor_debug_output_show_it() {
    let log = Log::default();
    // For the whole process: the other tests' lines are none the worse for being looked at too.
    tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).init();
    let replies = [
        Reply::WriteAndClose(format!("{VALUE}\r\n\r\n").into_bytes()),
        Reply::WriteAndClose(format!("HTTP/1.1 200 OK\r\n{VALUE}\r\n\r\n").into_bytes()),
        Reply::WriteAndClose(format!("HTTP/1.1 200 {VALUE}\r\ncontent-length: 99\r\n\r\n").into_bytes()),
        Reply::WriteAndClose(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{VALUE}").into_bytes()),
        redirect(302, &format!("https://{VALUE}.test/")),
        redirect(302, &format!("http://user:{VALUE}@a.test/")),
        ok(VALUE),
    ];
    let said = Mutex::new(String::new());
    for reply in replies {
        let keeper = Server::start(OPEN, move |_| reply.clone()).await;
        let world = world(&[&keeper], &[&keeper]);
        let call = world.call();
        let result = call.send(with_key(&format!("http://a.test:{}/", keeper.port()))).await;
        assert!(keeper.requests()[0].contains(VALUE), "it was sent");
        let text = match &result {
            Ok(response) => format!("{response:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        said.lock().unwrap().push_str(&format!("{text} {call:?} {:?} {:?}", world.egress, world.egress.counters()));
    }
    // A guest that knows a value (it should not) does not get it into our words either.
    let keeper = Server::start(OPEN, |_| ok("")).await;
    let known = world(&[&keeper], &[&keeper]).get(&format!("http://{VALUE}.test/")).await.unwrap_err();
    said.lock().unwrap().push_str(&known.to_string());
    let said = said.into_inner().unwrap();
    let logged = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(logged.contains("no answer for a handler's request"), "nothing was logged: {logged}");
    for text in [&said, &logged] {
        assert!(!text.to_lowercase().contains(VALUE), "{text}");
    }
}
