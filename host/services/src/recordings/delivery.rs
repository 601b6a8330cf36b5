//! A whole recording to its sinks: each by itself, so that one that fails does not hold up the others.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use voxtra_core::event::EventType;

use super::desk::Inner;
use super::journal::{Entry, SinkState, State};
use super::sinks::{Finished, SinkError};

/// The longest wait between two attempts.
const RETRY_MAX: Duration = Duration::from_secs(600);

/// The longest that a sink may take once.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Brings a recording to the sinks that do not have it yet, and tells what came of it. It is removed from the spool
/// when all have it.
pub(super) async fn deliver(desk: Arc<Inner>, mut entry: Entry) {
    let mut wait = desk.options.retry_after;
    while entry.sinks.iter().any(SinkState::is_open) {
        let Ok(_place) = desk.deliveries.acquire().await else { return };
        attempt(&desk, &mut entry).await;
        note(&desk, &entry).await;
        drop(_place);
        if entry.sinks.iter().any(SinkState::is_open) {
            sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
    }
    tell(&desk, &entry);
    if entry.sinks.iter().all(|sink| sink.location.is_some()) {
        let (journal, id) = (desk.journal.clone(), entry.start.id.clone());
        if let Ok(Err(error)) = spawn_blocking(move || journal.remove(&id)).await {
            tracing::warn!(recording = %entry.start.id, %error, "a recording that all sinks have stays in the spool");
        }
    }
    desk.set_live(&entry.start.id, false);
}

/// Asks each sink once.
async fn attempt(desk: &Inner, entry: &mut Entry) {
    let file = desk.journal.file(&entry.start.id);
    let State::Complete { duration_ms, size_bytes, sha256 } = &entry.state else { return };
    let finished = Finished {
        start: &entry.start,
        file: &file,
        duration_ms: *duration_ms,
        size_bytes: *size_bytes,
        sha256,
        failure: entry.failure.as_deref(),
    };
    let asked = entry.sinks.iter().map(|sink| async {
        if !sink.is_open() {
            return None;
        }
        let Some(known) = desk.sinks.get(&sink.name) else {
            let why = "it is not configured any more; configure it again and start the host".to_owned();
            return Some(Err(SinkError { why, lasting: true }));
        };
        let late = || Err(SinkError { why: "it took too long".to_owned(), lasting: false });
        Some(timeout(ATTEMPT_LIMIT, known.keep(&finished)).await.unwrap_or_else(|_| late()))
    });
    let outcomes = join_all(asked).await;
    for (sink, outcome) in entry.sinks.iter_mut().zip(outcomes) {
        let Some(outcome) = outcome else { continue };
        sink.attempts += 1;
        match outcome {
            Ok(location) => sink.location = Some(location),
            Err(error) => {
                let (id, name) = (&entry.start.id, &sink.name);
                sink.given_up = error.lasting || sink.attempts >= desk.options.max_attempts;
                let again = if sink.given_up { "given up until the next start" } else { "it is tried again" };
                tracing::warn!(recording = %id, sink = name, error = error.why, "a recording was not taken; {again}");
                sink.last_error = Some(error.why);
            }
        }
    }
}

/// What a sink has must not be given to it again after a crash.
async fn note(desk: &Arc<Inner>, entry: &Entry) {
    let (inner, noted) = (Arc::clone(desk), entry.clone());
    if let Ok(Err(error)) = spawn_blocking(move || inner.journal.put(&noted)).await {
        tracing::warn!(recording = %entry.start.id, %error, "a recording's journal cannot be written");
    }
}

fn tell(desk: &Inner, entry: &Entry) {
    let State::Complete { duration_ms, size_bytes, sha256 } = &entry.state else { return };
    let mut data = Map::new();
    data.insert("duration_ms".to_owned(), Value::from(*duration_ms));
    data.insert("size_bytes".to_owned(), Value::from(*size_bytes));
    data.insert("sha256".to_owned(), Value::from(sha256.as_str()));
    data.insert("format".to_owned(), Value::from("wav"));
    let kept = |sink: &SinkState| Some((sink.name.clone(), Value::from(sink.location.clone()?)));
    data.insert("locations".to_owned(), Value::Object(entry.sinks.iter().filter_map(kept).collect()));
    let failed = entry.sinks.iter().filter(|sink| sink.location.is_none());
    let mut reasons: Vec<String> = failed
        .map(|sink| format!("{}: {}", sink.name, sink.last_error.as_deref().unwrap_or("it was not asked")))
        .collect();
    reasons.extend(entry.failure.clone());
    if reasons.is_empty() {
        desk.emit(entry, EventType::RecordingFinished, data);
    } else {
        data.insert("reason".to_owned(), Value::from(reasons.join("; ")));
        desk.emit(entry, EventType::RecordingFailed, data);
    }
}
