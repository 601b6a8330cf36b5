//! What calls have used up, from outside: the records, and what a scraper reads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

#[allow(dead_code)]
#[path = "../../services/tests/metrics/exposition.rs"]
mod exposition;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use exposition::Exposition;
use serde_json::Value;
use support::{Folder, Running};
use voxtra_core::{CallRecord, Direction, EndReason, MeterSink, Usage};
use voxtra_services::database::Database;
use voxtra_services::metering::{MeterOptions, MeterStore};

/// 2026-11-01T12:00:00Z
const NOON: u64 = 1_793_534_400;

fn call(number: u64, tenant: &str, ended_at: SystemTime) -> CallRecord {
    let started_at = ended_at - Duration::from_secs(10);
    CallRecord {
        call: format!("{number}").into(),
        tenant: tenant.into(),
        handler: if number.is_multiple_of(2) { "even" } else { "odd" }.into(),
        version: "0123456789ab".to_owned(),
        direction: Direction::Inbound,
        parent: None,
        started_at,
        answered_at: Some(started_at + Duration::from_secs(4)),
        ended_at,
        end: EndReason::CallerHungUp,
        handler_failed: false,
        usage: Usage { cpu: Duration::from_millis(3), http_requests: 2, ..Usage::default() },
    }
}

/// A folder whose host has had these calls.
fn after(calls: &[CallRecord]) -> Folder {
    let folder = Folder::new();
    folder.write("voxtra.yaml", "state_dir: state\n");
    keep(&folder.path().join("state/voxtra.db"), calls);
    folder
}

fn keep(file: &Path, calls: &[CallRecord]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let meters = MeterStore::open(Database::open(file).unwrap(), MeterOptions::default()).await.unwrap();
        calls.iter().for_each(|call| meters.record(call.clone()));
        meters.flush().await.unwrap();
    });
}

fn some_calls() -> Vec<CallRecord> {
    let at = |secs: u64| UNIX_EPOCH + Duration::from_secs(NOON + secs);
    let mut calls: Vec<_> = (0..3).map(|n| call(n, "acme", at(n * 3_600))).collect();
    calls.push(call(9, "beta", at(60)));
    calls
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_stopped_hosts_records_are_exported_by_time_and_tenant() {
    let folder = after(&some_calls());
    let ids = |args: &[&str]| -> Vec<String> {
        let ran = folder.run(&[&["meters", "export"], args].concat());
        lines(ran.done()).iter().map(|line| line["call_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&[]), ["0", "9", "1", "2"]);
    assert_eq!(ids(&["--tenant", "acme"]), ["0", "1", "2"]);
    assert_eq!(ids(&["--since", "2026-11-01T13:00:00Z"]), ["1", "2"]);
    assert_eq!(ids(&["--since", "2026-11-01T12:01:00Z", "--until", "2026-11-01T15:00:00+01:00"]), ["9", "1"]);
    assert_eq!(ids(&["--since", "2026-11-01", "--until", "2026-11-01"]), [""; 0]);
    assert_eq!(ids(&["--tenant", "nobody"]), [""; 0]);
}

#[test]
fn a_file_gets_all_of_an_export_or_stays_as_it_was() {
    let folder = after(&some_calls());
    folder.write("calls.jsonl", "old");
    let ran = folder.run(&["meters", "export", "-o", "calls.jsonl"]);
    assert_eq!(ran.done(), "4 calls are in calls.jsonl\n");
    let written = std::fs::read_to_string(folder.path().join("calls.jsonl")).unwrap();
    assert_eq!(lines(&written).len(), 4);
    for place in [".", "nowhere/calls.jsonl"] {
        let ran = folder.run(&["meters", "export", "-o", place]);
        assert!(ran.refused().contains("cannot be written; name another file with -o"), "{ran:?}");
    }
    let left = std::fs::read_dir(folder.path()).unwrap().flatten();
    assert!(!left.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().ends_with(".part")));
}

#[test]
fn sums_are_a_table_or_json_by_tenant_or_handler() {
    let folder = after(&some_calls());
    let totals = folder.run(&["meters", "totals"]);
    let rows: Vec<Vec<&str>> = totals.done().lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..4], ["tenant", "calls", "answered", "failed"]);
    assert_eq!(rows[1], ["acme", "3", "3", "0", "30s", "18s", "9", "0", "6", "0"]);
    assert_eq!(rows[2][..2], ["beta", "1"]);
    let json: Value = serde_json::from_str(folder.run(&["meters", "totals", "--json"]).done()).unwrap();
    assert_eq!((&json[0]["tenant"], &json[0]["billable_ms"]), (&"acme".into(), &18_000.into()));
    let by_handler = folder.run(&["meters", "totals", "--by", "handler", "--tenant", "acme", "--json"]);
    let json: Value = serde_json::from_str(by_handler.done()).unwrap();
    let handlers: Vec<_> = json.as_array().unwrap().iter().map(|row| (&row["handler"], &row["calls"])).collect();
    assert_eq!(handlers, [(&"even".into(), &2.into()), (&"odd".into(), &1.into())]);
    assert_eq!(folder.run(&["meters", "totals", "--since", "1s"]).done(), "no call is recorded for that time\n");
}

#[test]
fn a_host_that_never_was_and_a_time_that_is_none_are_refused() {
    let folder = Folder::new();
    folder.write("voxtra.yaml", "state_dir: state\n");
    assert!(folder.run(&["meters", "totals"]).refused().contains("start a host once"));
    assert!(!folder.path().join("state").exists(), "looking makes nothing");
    let ran = folder.run(&["meters", "totals", "--since", "soon"]);
    assert!(ran.code == Some(2) && ran.err.contains("is no time; write one such as"), "{ran:?}");
}

/// A host that waits for its PBX.
fn host(folder: &Folder, more: &str) -> Running {
    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let pbx = format!("telephony: {{asterisk: {{base_url: 'http://{away}'}}}}");
    folder.write("voxtra.yaml", format!("state_dir: state\n{pbx}\n{more}\n"));
    folder.write("plugins/readme.txt", "");
    Running::spawn(folder.command(&["start"]))
}

/// A request as a scraper makes it; gives the head and the body.
fn get(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn a_running_host_is_scraped_and_its_records_are_read_beside_it() {
    let folder = Folder::new();
    // Older than they are kept, and of today.
    let now = SystemTime::now();
    let old = now - Duration::from_secs(40 * 24 * 60 * 60);
    keep(&folder.path().join("state/voxtra.db"), &[call(1, "acme", old), call(2, "acme", now)]);
    let mut host = host(&folder, "metrics: {listen: 127.0.0.1:0}\nmetering: {retention_days: 30}");
    let line = host.wait_for("metrics are at http://");
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    host.wait_for("trying again");

    let (head, body) = get(&address, "/metrics");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/plain; version=0.0.4"), "{head}");
    let told = Exposition::parse(&body).unwrap();
    assert_eq!(told.value("voxtra_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), Some(1.0));
    let pbx = [("pbx", "asterisk")];
    assert_eq!(told.value("voxtra_pbx_connected_apps", &pbx), Some(0.0));
    for name in ["voxtra_active_calls", "voxtra_instances", "voxtra_webhooks_waiting", "voxtra_meter_waiting"] {
        assert_eq!(told.value(name, &[]), Some(0.0), "{name}");
        assert_eq!(told.kind(name), Some("gauge"), "{name}");
    }
    assert_eq!(told.value("voxtra_instances_max", &[]), Some(2_500.0));
    assert_eq!(told.kind("voxtra_calls_started_total"), Some("counter"));
    assert_eq!(told.value("voxtra_metrics_dropped_samples", &[]), Some(0.0));
    assert_eq!(told.value("voxtra_metrics_source_failures_total", &[]), Some(0.0));
    let (head, body) = get(&address, "/healthz");
    assert!(head.starts_with("HTTP/1.1 503"), "its PBX is away: {head}");
    assert_eq!(body, "pbx: no application is connected to asterisk; look at the host's log\n");

    // The sweep of its start has gone before what is asked now: one thread does the database's work.
    let ran = folder.run(&["meters", "export"]);
    let ids: Vec<_> = lines(ran.done()).iter().map(|line| line["call_id"].clone()).collect();
    assert_eq!(ids, ["2"]);
    host.signal("TERM");
    let (code, said) = host.end();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_port_in_use_is_a_warning_and_off_is_off() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let folder = Folder::new();
    let mut first = host(&folder, &format!("metrics:\n  listen: {address}"));
    let line = first.wait_for("no metrics are told");
    assert!(line.contains(&format!("voxtra.yaml:4: metrics.listen: no metrics are told, because {address}")), "{line}");
    first.wait_for("trying again");
    first.signal("TERM");
    assert_eq!(first.end().0, Some(0));

    let mut second = host(&folder, "metrics: {listen: off}");
    second.wait_for("trying again");
    second.signal("TERM");
    let (code, said) = second.end();
    assert!(code == Some(0) && !said.contains("metrics"), "{said}");
}

#[test]
fn an_address_that_is_none_is_refused_with_its_line() {
    let folder = Folder::new();
    for (written, found) in
        [("9464", "the number `9464`"), ("localhost", "the text `localhost`"), ("on", "the truth value `true`")]
    {
        folder.write("voxtra.yaml", format!("app_name: x\nmetrics:\n  listen: {written}\n"));
        let wanted = format!(
            "voxtra.yaml:3: metrics.listen: found {found}, wanted an address such as `127.0.0.1:9464`, or `off`; change it"
        );
        assert_eq!(folder.run(&["start"]).refused(), wanted);
    }
}
