//! Claims about calls that were up when the host died: each is ended once by the next start.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use voxtra_core::event::{Event, EventSink, EventType};
use voxtra_core::{CallRecord, Direction, MeterSink};
use voxtra_services::database::Database;
use voxtra_services::metering::{CallQuery, MeterOptions, MeterStore};
use voxtra_services::webhooks::{Letters, OutboxOptions, WebhookSink, WebhookTarget, http_client};

/// A database's file that goes with the test.
struct File(PathBuf);

impl File {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("voxtra-lost-{}", uuid::Uuid::new_v4())))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        for ending in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{ending}", self.0.display()));
        }
    }
}

/// A run of a host with a webhook that is away, and one that wants no call's events.
async fn run(file: &Path) -> (WebhookSink, Database) {
    let database = Database::open(file).unwrap();
    let all = WebhookTarget::new("all", "http://127.0.0.1:9/").unwrap();
    let mut keys = WebhookTarget::new("keys", "http://127.0.0.1:9/").unwrap();
    keys.events = WebhookTarget::kinds(&["dtmf.received".to_owned()]).unwrap();
    let (targets, client) = (vec![all, keys], http_client().unwrap());
    let (options, runtime) = (OutboxOptions::default(), Handle::current());
    let sink = WebhookSink::start(database.clone(), targets, client, options, &runtime).await.unwrap();
    (sink, database)
}

fn event(call: &str, kind: EventType, data: Value) -> Event {
    let Value::Object(data) = data else { panic!("no object") };
    Event::new(uuid::Uuid::new_v4().simple().to_string(), kind, "acme".into(), call.into(), data)
}

fn begin(sink: &WebhookSink, call: &str) {
    sink.emit(event(call, EventType::CallStarted, json!({"direction": "outbound", "parent": "p", "caller_id": "1"})));
    sink.emit(event(call, EventType::SessionCreated, json!({"handler": "support", "version": "0123456789ab"})));
    sink.emit(event(call, EventType::CallAnswered, json!({})));
}

fn end(sink: &WebhookSink, call: &str) {
    sink.emit(event(call, EventType::CallEnded, json!({"reason": "completed"})));
    sink.emit(event(call, EventType::SessionDestroyed, json!({})));
}

/// What was told the webhooks: type and call, in order.
async fn told(database: &Database) -> Vec<(String, String, String)> {
    let letters = Letters::open(database.clone()).await.unwrap();
    let all = letters.list(None, 10_000).await.unwrap();
    all.into_iter().map(|letter| (letter.target, letter.kind, letter.session_id)).collect()
}

fn ids(lost: &[CallRecord]) -> Vec<&str> {
    lost.iter().map(|call| call.call.as_str()).collect()
}

#[tokio::test]
async fn a_call_that_was_up_is_ended_once_and_one_that_was_over_is_not() {
    let file = File::new();
    {
        let (sink, database) = run(&file.0).await;
        assert_eq!(sink.lost_calls().await.unwrap(), []);
        begin(&sink, "up");
        begin(&sink, "over");
        end(&sink, "over");
        database.flush().await.unwrap();
    }
    let (sink, database) = run(&file.0).await;
    let lost = sink.lost_calls().await.unwrap();
    assert_eq!(ids(&lost), ["up"]);
    let call = &lost[0];
    assert_eq!(
        (call.tenant.as_str(), call.handler.as_str(), call.version.as_str()),
        ("acme", "support", "0123456789ab")
    );
    assert_eq!((call.direction, call.parent.as_ref().map(|parent| parent.as_str())), (Direction::Outbound, Some("p")));
    assert!(call.answered_at.is_some_and(|at| at >= call.started_at && at <= call.ended_at));

    let events = sink.end_lost_calls(&lost).await.unwrap();
    assert_eq!(events.len(), 3);
    let ended: &Map<String, Value> = &events[1].data;
    assert_eq!((&ended["reason"], &ended["parent"]), (&"telephony-failed".into(), &"p".into()));
    assert!(ended["detail"].as_str().unwrap().contains("crashed") && ended["duration_ms"].is_u64());
    // Again, as by one that did not know: nothing comes twice.
    assert_eq!(sink.end_lost_calls(&lost).await.unwrap(), []);
    assert_eq!(sink.lost_calls().await.unwrap(), []);
    let of_it: Vec<_> = told(&database).await.into_iter().filter(|(_, _, call)| call == "up").collect();
    let kinds: Vec<_> = of_it.iter().map(|(target, kind, _)| (target.as_str(), kind.as_str())).collect();
    let wanted = ["call.started", "session.created", "call.answered", "call.failed", "call.ended", "session.destroyed"];
    assert_eq!(kinds, wanted.map(|kind| ("all", kind)), "in the call's order, and only to who wants them");
}

#[tokio::test]
async fn dying_between_the_record_and_the_events_repeats_neither() {
    let file = File::new();
    {
        let (sink, database) = run(&file.0).await;
        begin(&sink, "up");
        database.flush().await.unwrap();
    }
    for _ in 0..2 {
        // This far, and dead.
        let (sink, database) = run(&file.0).await;
        let meters = MeterStore::open(database, MeterOptions::default()).await.unwrap();
        sink.lost_calls().await.unwrap().into_iter().for_each(|call| meters.record(call));
        meters.flush().await.unwrap();
    }
    let (sink, database) = run(&file.0).await;
    let lost = sink.lost_calls().await.unwrap();
    sink.end_lost_calls(&lost).await.unwrap();
    let meters = MeterStore::open(database.clone(), MeterOptions::default()).await.unwrap();
    let rows = meters.list(&CallQuery::default()).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].call_id.as_str(), rows[0].end_reason.as_str()), ("up", "telephony-failed"));
    let ends = told(&database).await.into_iter().filter(|(_, kind, _)| kind == "call.ended");
    assert_eq!(ends.count(), 1);
}

#[tokio::test]
async fn hundreds_of_calls_that_begin_and_end_at_one_time_leave_those_that_are_up() {
    let file = File::new();
    {
        let (sink, database) = run(&file.0).await;
        for n in 0..900 {
            begin(&sink, &format!("{n:03}"));
            if n % 3 == 0 {
                end(&sink, &format!("{n:03}"));
            }
        }
        database.flush().await.unwrap();
    }
    let (sink, database) = run(&file.0).await;
    let lost = sink.lost_calls().await.unwrap();
    assert_eq!(lost.len(), 600);
    assert_eq!(sink.end_lost_calls(&lost).await.unwrap().len(), 1_800);
    let mut ended: Vec<_> =
        told(&database).await.into_iter().filter(|(_, kind, _)| kind == "call.ended").map(|(.., call)| call).collect();
    ended.sort();
    assert_eq!(ended, (0..900).map(|n| format!("{n:03}")).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_end_a_filter_keeps_back_is_forgotten_and_a_long_one_is_seen_to_live() {
    let file = File::new();
    let (sink, database) = run(&file.0).await;
    begin(&sink, "dropped");
    begin(&sink, "long");
    let record = sink.lost_calls().await.unwrap().remove(0);
    assert_eq!(record.call.as_str(), "dropped");
    sink.record(record);
    // Still on its way, perhaps: one look of the host's, at most. Virtual time also goes on while the disk is waited for, so
    // nothing is known of where between two looks this begins.
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(ids(&sink.lost_calls().await.unwrap()), ["dropped", "long"]);
    tokio::time::sleep(Duration::from_secs(21)).await;
    database.flush().await.unwrap();
    let lost = sink.lost_calls().await.unwrap();
    assert_eq!(ids(&lost), ["long"]);
    // The file's times are the system's clock's, which has hardly moved.
    assert!(lost[0].ended_at >= lost[0].started_at);
    let alive = database.read(|tx| tx.query_row("SELECT at_ms FROM host_alive", [], |row| row.get::<_, i64>(0)));
    assert!(alive.await.unwrap() > 0);
}
