//! A tenant's fragments in a real Asterisk: loaded, called, and gone again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use voxtra_core::BoxFuture;
use voxtra_services::provisioning::{AddOptions, Provisioner, Reloader, TenantFile, reload};
use voxtra_test_support::asterisk::runtime;
use voxtra_test_support::phone::CallError;
use voxtra_test_support::{Asterisk, AsteriskOptions, CallOptions, PbxUnderTest, Phone};

const TENANT: &str = r#"
slug = "acme"
dids = ["+4930123", "1000"]
max_channels = 1
[trunk]
host = "127.0.0.2"
username = "acme"
password = "pa55"
register = true
[queue]
members = ["Local/tone@callers"]
[outbound]
caller_id = "+4930123"
allowed = ["+49X."]
"#;

/// ARI with the tests' own user.
struct Ari<'a>(&'a Asterisk);

impl Reloader for Ari<'_> {
    fn reload<'a>(&'a self, module: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let status = ask(self.0, "PUT", &format!("asterisk/modules/{module}"), "voxtra", "secret").await;
            if status == 204 { Ok(()) } else { Err(format!("status {status}")) }
        })
    }
}

/// The status that ARI answers with.
async fn ask(pbx: &Asterisk, method: &str, path: &str, user: &str, password: &str) -> u16 {
    let address = pbx.ari_url().replace("http://", "");
    let asked = async {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let request = format!(
            "{method} /ari/{path}?api_key={user}:{password} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap().parse().unwrap()
    };
    timeout(Duration::from_secs(10), asked).await.unwrap()
}

/// The tenant's Stasis application, registered by an events WebSocket for as long as this is kept.
async fn app(pbx: &Asterisk, name: &str, password: &str) -> TcpStream {
    let address = pbx.ari_url().replace("http://", "");
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let request = format!(
        "GET /ari/events?app={name}&api_key={name}:{password} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 101");
    stream
}

/// Reads events until one holds this word.
async fn event(stream: &mut TcpStream, word: &str) -> String {
    let mut heard = Vec::new();
    let waited = timeout(Duration::from_secs(10), async {
        while !String::from_utf8_lossy(&heard).contains(word) {
            assert_ne!(stream.read_buf(&mut heard).await.unwrap(), 0, "the events have ended");
        }
    });
    waited.await.unwrap_or_else(|_| panic!("no {word}"));
    String::from_utf8_lossy(&heard).into_owned()
}

fn config_folder(pbx: &Asterisk) -> PathBuf {
    pbx.spool().parent().unwrap().join("etc")
}

/// Asterisk with the includes, what the fragments need loaded, and calls from SIP led to the tenant's contexts.
async fn pbx(name: &str) -> Option<(PbxUnderTest, Provisioner)> {
    let pbx = Asterisk::for_test(name, AsteriskOptions::default()).await.unwrap()?;
    let tenants = Provisioner::new(config_folder(&pbx));
    for include in tenants.missing_includes() {
        let mut text = std::fs::read_to_string(&include.file).unwrap();
        if include.file.ends_with("extensions.conf") {
            text = text.replace("[from-sip]\n", "[from-sip]\ninclude => voxtra-acme-in\n");
        }
        std::fs::write(&include.file, format!("{text}\n{}\n", include.line)).unwrap();
    }
    assert!(tenants.missing_includes().is_empty());
    for module in ["func_groupcount.so", "res_pjsip_outbound_registration.so"] {
        pbx.cli(&format!("module load {module}")).await.unwrap();
    }
    Some((pbx, tenants))
}

#[test]
fn a_tenant_is_there_after_an_add_and_gone_after_a_remove() {
    runtime().unwrap().block_on(async {
        let Some((pbx, tenants)) = pbx("provisioning: add and remove").await else { return };
        let added = tenants.add(&TenantFile::parse(TENANT).unwrap(), AddOptions::default()).unwrap();
        reload(&Ari(&pbx), &added.reload).await.unwrap();
        let shows = [
            ("pjsip show endpoint voxtra-acme", "voxtra-acme-in"),
            ("pjsip show aor voxtra-acme-aor", "127.0.0.2:5060"),
            ("pjsip show auth voxtra-acme-auth", "voxtra-acme-auth/acme"),
            ("pjsip show registration voxtra-acme-registration", "sip:acme@127.0.0.2:5060"),
            ("pjsip show identify voxtra-acme-identify", "127.0.0.2"),
            ("dialplan show voxtra-acme-in", "Stasis(voxtra-acme,+4930123)"),
            ("dialplan show voxtra-acme-out", "PJSIP/${FILTER(+0-9,${EXTEN})}@voxtra-acme"),
            ("dialplan show voxtra-acme-queue", "Queue(voxtra-acme,,,,300)"),
            ("queue show voxtra-acme", "Local/tone@callers"),
            ("ari show users", "voxtra-acme"),
        ];
        for (command, wanted) in shows {
            let said = pbx.cli(command).await.unwrap();
            assert!(said.contains(wanted), "{command}: {said}");
        }
        let password = &added.tenant.ari_password;
        assert_eq!(ask(&pbx, "GET", "asterisk/info", "voxtra-acme", password).await, 200);
        assert_eq!(ask(&pbx, "GET", "asterisk/info", "voxtra-acme", "guess").await, 401);

        let modules = tenants.remove("acme").unwrap();
        reload(&Ari(&pbx), &modules).await.unwrap();
        for (command, wanted) in shows {
            let said = pbx.cli(command).await.unwrap();
            assert!(!said.contains(wanted), "still there: {command}: {said}");
        }
        assert_eq!(ask(&pbx, "GET", "asterisk/info", "voxtra-acme", password).await, 401);
        let log = pbx.log();
        let faults: Vec<_> = log.lines().filter(|l| l.contains("ERROR") && l.contains("acme")).collect();
        assert!(faults.is_empty(), "{faults:#?}");
    });
}

#[test]
fn a_call_to_a_did_reaches_the_app_up_to_the_limit_and_the_fallback_without_it() {
    runtime().unwrap().block_on(async {
        let Some((pbx, tenants)) = pbx("provisioning: calls").await else { return };
        let with = |more: &str| TenantFile::parse(&format!("{TENANT}{more}")).unwrap();
        let added = tenants.add(&with(""), AddOptions::default()).unwrap();
        reload(&Ari(&pbx), &added.reload).await.unwrap();

        // Nobody has the app: SIP 503, on which a provider tries elsewhere.
        assert_eq!(refused(&pbx, "1000").await, 503);

        let mut events = app(&pbx, "voxtra-acme", &added.tenant.ari_password).await;
        let address = pbx.sip_addr();
        let first = tokio::spawn(async move { Phone::call(address, "1000", CallOptions::default()).await });
        let heard = event(&mut events, "StasisStart").await;
        assert!(heard.contains("\"args\":[\"1000\"]"), "{heard}");
        // One is the most: the second is busy while the first is there.
        assert_eq!(refused(&pbx, "1000").await, 486);

        // A host that drains gives the call back: the fallback takes it.
        let id = heard.split("\"channel\":{\"id\":\"").nth(1).unwrap().split('"').next().unwrap();
        let password = &added.tenant.ari_password;
        let set = format!("channels/{id}/variable?variable=VOXTRA_REFUSED&value=draining&x=");
        assert_eq!(post(&pbx, &set, password).await, 204);
        assert_eq!(post(&pbx, &format!("channels/{id}/continue?x="), password).await, 204);
        match first.await.unwrap() {
            Err(CallError::Refused { status, .. }) => assert_eq!(status, 503),
            other => panic!("{other:?}"),
        }

        // With a place of the operator's own for it, the call goes there.
        drop(events);
        let changed = with("[fallback]\ncontext = \"callers\"\nextension = \"tone\"\n");
        let added = tenants.add(&changed, AddOptions::default()).unwrap();
        reload(&Ari(&pbx), &added.reload).await.unwrap();
        let call = Phone::call(pbx.sip_addr(), "1000", CallOptions::default()).await.unwrap();
        call.hang_up().await.unwrap();
    });
}

async fn refused(pbx: &Asterisk, number: &str) -> u16 {
    match Phone::call(pbx.sip_addr(), number, CallOptions::default()).await {
        Err(CallError::Refused { status, .. }) => status,
        other => panic!("{other:?}"),
    }
}

async fn post(pbx: &Asterisk, path: &str, password: &str) -> u16 {
    // The query goes on with the key.
    let address = pbx.ari_url().replace("http://", "");
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let request = format!(
        "POST /ari/{path}&api_key=voxtra-acme:{password} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap().parse().unwrap()
}
