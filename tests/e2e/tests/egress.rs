//! Handlers' HTTP: a real component asks real servers of this machine, by way of the host's rules and secrets.
//!
//! 127.0.0.2 is the network that the operator lets handlers into; 127.0.0.1, where everything else of this machine is, is not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use voxtra_e2e::served::LONG;
use voxtra_e2e::web::{Answer, Asked};
use voxtra_e2e::{Served, Setup, WebServer, serve};
use voxtra_test_support::host::guests;
use voxtra_test_support::{CallOptions, Phone};

/// The caller.
const CALLER: &str = "4930123";

/// The value of the secret `crm`, which only the service may see.
const SECRET: &str = "crm-key-0123456789";

fn guest(name: &str) -> Result<Vec<u8>> {
    let file = guests().join(name).with_extension("wasm");
    fs::read(&file).with_context(|| format!("{}: run `cargo xtask guests`", file.display()))
}

fn inside() -> IpAddr {
    IpAddr::from([127, 0, 0, 2])
}

/// Calls, and waits until the call is over.
async fn call(served: &mut Served, number: &str) -> Result<()> {
    let before = served.log.count("session.destroyed");
    match Phone::call(served.sip(), number, CallOptions::from(CALLER)).await {
        Ok(call) => ensure!(call.wait_for_bye(LONG).await, "the call to {number} is still up"),
        // A handler may refuse a call.
        Err(error) => println!("{number}: {error}"),
    }
    served.until("the call is over", LONG, |log| log.count("session.destroyed") > before).await
}

fn tenant(allow: &[String], secrets: &str, more: &str) -> String {
    let allow: Vec<String> = allow.iter().map(|entry| format!("{entry:?}")).collect();
    format!("secrets = [{secrets}]\n[capabilities.http]\nallow = [{}]\n{more}", allow.join(", "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_asked_with_a_secret_that_the_handler_never_sees_until_tenant_toml_says_otherwise() -> Result<()> {
    const NUMBER: &str = "5000";

    let name = "a_service_is_asked_with_a_secret_that_the_handler_never_sees_until_tenant_toml_says_otherwise";
    let service = WebServer::start(inside(), |_| Answer::ok("gold")).await?;
    let manifest = format!(
        "metadata = {{ service = \"{}/callers\", secret = \"crm\" }}\n[[routes]]\nextension = \"{NUMBER}\"\n",
        service.url()
    );
    let allowed = tenant(&[format!("GET {}/callers", service.url())], "\"crm\"", "");
    let setup = Setup {
        more: format!(
            "egress: {{private_networks: ['127.0.0.2/32']}}\nsecrets: {{crm: {{file: crm.key, servers: ['{}/callers']}}}}\n",
            service.url()
        ),
        files: vec![
            ("crm.key", format!("{SECRET}\n").into_bytes()),
            ("plugins/lookup.wasm", guest("lookup")?),
            ("plugins/lookup.toml", manifest.into_bytes()),
            ("plugins/tenant.toml", allowed.into_bytes()),
        ],
        ..Setup::default()
    };
    serve(name, setup, async |served| {
        call(served, NUMBER).await?;
        assert_eq!(served.log.handler_lines("the caller is gold").count(), 1, "{}", served.host.last_lines());
        let asked = service.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!((asked[0].method.as_str(), asked[0].path.as_str()), ("GET", format!("/callers/{CALLER}").as_str()));
        assert_eq!(asked[0].header("authorization"), format!("Bearer {SECRET}"));
        assert_eq!(served.host.count(SECRET), 0, "the secret is in the log");
        // Taken away while the host runs.
        let elsewhere = tenant(&["https://elsewhere.example".to_owned()], "\"crm\"", "");
        fs::write(served.folder().join("plugins/tenant.toml"), elsewhere)?;
        let began = Instant::now();
        let refused = "denied: http: no entry of the tenant's egress allow-list names 127.0.0.2";
        while served.log.handler_lines(refused).count() == 0 {
            ensure!(began.elapsed() < LONG, "the service is still asked:\n{}", served.host.last_lines());
            call(served, NUMBER).await?;
        }
        let before = service.asked().len();
        call(served, NUMBER).await?;
        assert_eq!(service.asked().len(), before);
        // A list that cannot be read changes nothing, and says where.
        let wrong = tenant(&[format!("GET {}/callers", service.url()), "https://*".to_owned()], "\"crm\"", "");
        fs::write(served.folder().join("plugins/tenant.toml"), wrong)?;
        let told = served.host.wait_for_text("is no entry of an allow-list", LONG).await?;
        ensure!(told.contains("tenant.toml, line 3"), "{told}");
        call(served, NUMBER).await?;
        assert_eq!(service.asked().len(), before);
        Ok(())
    })
    .await
}

/// What an attack got, probe by probe.
fn results(served: &Served, attack: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for event in served.log.of_kind("custom").filter(|event| event.text("name") == "attack.result") {
        let data = &event.data["data"];
        if data["attack"] == attack {
            let got = data["got"].as_object().unwrap();
            all.extend(got.iter().map(|(probe, result)| (probe.clone(), text(result))));
        }
    }
    all
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// What the allowed server answers.
fn answer(asked: &Asked, loopback: &str) -> Answer {
    match asked.path.split('?').next().unwrap_or_default() {
        "/ok" => Answer::ok("fine"),
        "/to-loopback" => Answer::to(format!("{loopback}/")),
        "/to-metadata" => Answer::to("http://169.254.169.254/latest/meta-data/"),
        "/to-stranger" => Answer::to("https://attacker.example/"),
        "/echo" => Answer::ok(format!("{}|{}", asked.header("x-key"), String::from_utf8_lossy(&asked.body))),
        _ => Answer { status: 404, headers: Vec::new(), body: Vec::new() },
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_handler_reaches_nothing_that_is_not_public_or_not_allowed_and_sees_no_secret() -> Result<()> {
    const ATTACKS: [(&str, &str); 6] = [
        ("addresses", "5101"),
        ("redirects", "5102"),
        ("secrets", "5103"),
        ("smuggle", "5104"),
        ("flood", "5105"),
        ("wasi", "5106"),
    ];

    let name = "a_hostile_handler_reaches_nothing_that_is_not_public_or_not_allowed_and_sees_no_secret";
    let loopback = WebServer::start(IpAddr::from([127, 0, 0, 1]), |_| Answer::ok("the host's own")).await?;
    let port = loopback.address().port();
    let led_to = loopback.url();
    let server = WebServer::start(inside(), move |asked| answer(asked, &led_to)).await?;
    let routes: String = ATTACKS
        .iter()
        .map(|(attack, number)| {
            format!("[[routes]]\nextension = \"{number}\"\nmetadata = {{ attack = \"{attack}\" }}\n")
        })
        .collect();
    let manifest = format!("metadata = {{ server = \"{}\", port = \"{port}\" }}\n{routes}", server.url());
    // What is not public stays closed although the tenant's own list names it.
    let mut allow =
        vec![server.url(), "http://169.254.169.254".to_owned(), "http://[::ffff:169.254.169.254]".to_owned()];
    allow.extend(
        ["127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]"]
            .map(|host| format!("http://{host}:{port}")),
    );
    allow.extend(
        ["[fd00:ec2::254]", "10.0.0.1", "192.168.1.1", "100.64.0.1", "[fe80::1]", "[64:ff9b::7f00:1]"]
            .map(|host| format!("http://{host}")),
    );
    let tenant = tenant(&allow, "\"crm\", \"elsewhere\"", "redirects = 5\nrequests_per_call = 40\n");
    let setup = Setup {
        more: format!(
            "egress: {{private_networks: ['127.0.0.2/32']}}\n\
             secrets:\n  crm: {{value: {SECRET}, servers: ['{}']}}\n\
             \x20 elsewhere: {{value: elsewhere-0123456789, servers: ['https://elsewhere.example']}}\n\
             \x20 unnamed: {{value: unnamed-0123456789, servers: ['{}']}}\n\
             tenants: {{acme: {{secrets: {{others: {{value: others-0123456789, servers: ['{}']}}}}}}}}\n",
            server.url(),
            server.url(),
            server.url()
        ),
        files: vec![
            ("plugins/attacker.wasm", guest("hostile/egress")?),
            ("plugins/attacker.toml", manifest.into_bytes()),
            ("plugins/tenant.toml", tenant.into_bytes()),
        ],
        ..Setup::default()
    };
    serve(name, setup, async |served| {
        for (_, number) in ATTACKS {
            call(served, number).await?;
        }
        assert_eq!(loopback.connections(), 0, "somebody has reached loopback: {:?}", loopback.asked());

        let got = results(served, "addresses");
        assert_eq!(got.len(), 23, "{got:#?}");
        for (probe, result) in &got {
            let is_closed = result.starts_with("denied http: ")
                || (probe.contains("user") && result.starts_with("invalid-argument http: "));
            assert!(if probe == "server" { result == "ok 200 fine" } else { is_closed }, "{probe}: {result}");
        }
        for (probe, why) in [
            ("http://127.0.0.1:PORT/", "loopback"),
            ("http://[::ffff:127.0.0.1]:PORT/", "loopback"),
            ("http://169.254.169.254/latest/meta-data/", "metadata"),
            ("https://attacker.example/", "no entry of the tenant's egress allow-list"),
        ] {
            assert!(got[probe].contains(why), "{probe}: {}", got[probe]);
        }

        let got = results(served, "redirects");
        for (place, why) in
            [("to-loopback", "loopback"), ("to-metadata", "metadata"), ("to-stranger", "attacker.example")]
        {
            let is_denied = got[place].starts_with("denied http: ") && got[place].contains(why);
            assert!(is_denied, "{place}: {}", got[place]);
            assert!(got[&format!("{place} unfollowed")].starts_with("ok 302"), "{got:#?}");
        }

        let got = results(served, "secrets");
        assert_eq!(got["echo"], format!("ok 200 {}|", "*".repeat(SECRET.len())));
        for refused in ["others", "unnamed", "not for it", "stranger", "in the address", "in pieces"] {
            assert!(got[refused].starts_with("denied http: "), "{refused}: {}", got[refused]);
        }
        assert_eq!(got["in the body"], "ok 200 |{{secret:crm}}", "a body is sent as it is");
        let keys: Vec<_> =
            server.asked().iter().map(|asked| asked.header("x-key").to_owned()).filter(|key| !key.is_empty()).collect();
        assert_eq!(keys, [SECRET; 2], "the server has got the one secret that is for it, once by each door");

        let got = results(served, "smuggle");
        assert_eq!(got.len(), 13, "{got:#?}");
        for (probe, result) in &got {
            assert!(
                result.starts_with("denied http: ") || result.starts_with("invalid-argument http: "),
                "{probe}: {result}"
            );
        }

        let got = results(served, "flood");
        assert_eq!(got["answered"], "40");
        assert!(got["last"].starts_with("limit-exceeded http: "), "{got:#?}");

        let got = results(served, "wasi");
        for (probe, result) in got.iter().filter(|(probe, _)| probe.contains("://") || *probe == "others") {
            assert!(result.ends_with("HttpRequestDenied"), "{probe}: {result}");
        }
        assert_eq!((got.len(), got["server"].as_str(), got["redirect"].as_str()), (26, "ok 200 fine", "ok 302 "));
        assert_eq!(got["echo"], format!("ok 200 {}|hello", "*".repeat(SECRET.len())));
        assert!(got["host"].contains("Forbidden"), "{}", got["host"]);
        let taken: usize = got["taken"].parse()?;
        assert!((1..=4).contains(&taken), "{taken} answers are held for a handler that reads none");
        // A code has no room for the reason.
        assert!(served.log.handler_lines("wasi:http: http: no entry of the tenant's egress allow-list").count() > 0);
        for secret in [SECRET, "elsewhere-0123456789", "unnamed-0123456789", "others-0123456789"] {
            assert_eq!(served.host.count(secret), 0, "{secret} is in the log");
        }
        Ok(())
    })
    .await
}
