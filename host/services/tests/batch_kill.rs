//! A host that is killed while it calls, as a real process. This test's own binary is the host: [`the_host`] runs in a
//! child.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod killed;

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use killed::Host;
use tokio::sync::watch;
use voxtra_core::verbs::AnsweredBy;
use voxtra_core::{BoxFuture, CallError, CallId, DialOutcome, DialRequest, Dialled, Dialler, TenantId, Trace};
use voxtra_services::batch::{
    BatchControl, BatchFile, BatchId, BatchOptions, Batches, Clock, Outcome, Phase, Progress, RowResult, RowRules,
};
use voxtra_services::database::Database;

const FOLDER: &str = "VOXTRA_TEST_BATCH_FOLDER";
const NUMBERS: usize = 400;
const KILLS: usize = 3;

/// Dials by writing a line to a file, all at once; then it rings.
struct FileDialler {
    file: PathBuf,
    ring: Duration,
    /// Whether it can say afterwards that a call was never placed, as some PBXs can and some cannot.
    knows: bool,
}

impl FileDialler {
    fn lines(&self) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        let line = |line: &str| line.split_once(' ').map(|(attempt, number)| (attempt.to_owned(), number.to_owned()));
        text.lines().filter_map(line).collect()
    }
}

impl Dialler for FileDialler {
    fn dial(&self, request: DialRequest) -> BoxFuture<'_, Result<Dialled, CallError>> {
        Box::pin(async move {
            let line = format!("{} {}\n", request.attempt, request.number);
            let mut file = OpenOptions::new().append(true).create(true).open(&self.file).unwrap();
            file.write_all(line.as_bytes()).unwrap();
            tokio::time::sleep(self.ring).await;
            // Every third number is busy the first time.
            let busy = request.number.ends_with(['0', '3', '6', '9']) && request.attempt.as_str().ends_with("-1");
            let outcome = if busy { DialOutcome::Busy } else { DialOutcome::Answered { by: AnsweredBy::Human } };
            Ok(Dialled { outcome, duration_ms: 1, end_reason: None })
        })
    }

    fn trace<'a>(&'a self, _tenant: &'a TenantId, attempt: &'a CallId) -> BoxFuture<'a, Result<Trace, CallError>> {
        let was_placed = self.lines().iter().any(|(placed, _)| placed == attempt.as_str());
        let trace = if self.knows && !was_placed { Trace::NotPlaced } else { Trace::Unknown };
        Box::pin(async move { Ok(trace) })
    }
}

/// Not a test: what the child does.
#[test]
#[ignore = "the child of the others"]
fn the_host() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (batches, dialler) = open(&folder, Duration::from_millis(20)).await;
        run(&batches, &the_batch(&batches).await, &dialler).await;
    });
}

async fn open(folder: &Path, ring: Duration) -> (Batches, FileDialler) {
    let batches = Batches::open(Database::open(&folder.join("host.db")).unwrap()).await.unwrap();
    let knows = folder.join("knows").exists();
    (batches, FileDialler { file: folder.join("dialled"), ring, knows })
}

async fn the_batch(batches: &Batches) -> BatchId {
    batches.list().await.unwrap()[0].id.clone()
}

async fn run(batches: &Batches, id: &BatchId, dialler: &FileDialler) -> Progress {
    let progress = watch::Sender::new(Progress::default());
    batches.run(id, dialler, &Clock::system(), &BatchControl::new(), &progress).await.unwrap()
}

/// Starts the host, kills it (SIGKILL) when it has dialled some more, and again; then lets it finish.
async fn killed_again_and_again(knows: bool) -> (Vec<RowResult>, HashMap<String, u32>) {
    let folder = std::env::temp_dir().join(format!("voxtra-batch-kill-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    if knows {
        std::fs::write(folder.join("knows"), "").unwrap();
    }
    {
        let (batches, _) = open(&folder, Duration::ZERO).await;
        let csv: String =
            std::iter::once("number\n".to_owned()).chain((0..NUMBERS).map(|n| format!("{}\n", 1_000 + n))).collect();
        let file = BatchFile::parse(csv.as_bytes(), RowRules::ANY).unwrap();
        let retries = "busy=1@0s".parse().unwrap();
        let options = BatchOptions { concurrency: 25, calls_per_second: 400.0, retries, ..BatchOptions::default() };
        batches.create(TenantId::default(), "kill", file, options).await.unwrap();
    }
    let watched = FileDialler { file: folder.join("dialled"), ring: Duration::ZERO, knows };
    for kill in 1..=KILLS {
        let mut host = Host::start(FOLDER, &folder);
        let give_up = Instant::now() + Duration::from_secs(60);
        while watched.lines().len() < kill * NUMBERS / (KILLS + 1) {
            assert!(Instant::now() < give_up, "the host does not call");
            assert!(host.is_up(), "the host ended by itself");
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        drop(host);
    }
    let (batches, dialler) = open(&folder, Duration::from_millis(1)).await;
    let id = the_batch(&batches).await;
    let last = run(&batches, &id, &dialler).await;
    assert_eq!((last.phase, last.done as usize), (Phase::Finished, NUMBERS));
    let mut times = HashMap::new();
    let mut attempts = std::collections::HashSet::new();
    for (attempt, number) in dialler.lines() {
        assert!(attempts.insert(attempt), "an id was used twice");
        *times.entry(number).or_default() += 1;
    }
    let results = batches.results(&id).await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    (results, times)
}

#[tokio::test]
async fn after_kill_9_every_number_was_called_exactly_as_often_as_its_row_says() {
    let (results, times) = killed_again_and_again(true).await;
    assert_eq!(results.len(), NUMBERS);
    for result in &results {
        let called = times.get(&result.number).copied().unwrap_or(0);
        assert_eq!(called, result.attempts, "{result:?}");
        assert!(called >= 1, "{result:?}");
    }
    // The kills hit calls that were up: they are told as such, and were not made again.
    let interrupted: Vec<_> = results.iter().filter(|row| row.outcome == Some(Outcome::Interrupted)).collect();
    assert!(!interrupted.is_empty() && interrupted.len() <= KILLS * 25, "{}", interrupted.len());
    assert!(results.iter().all(|row| matches!(row.outcome, Some(Outcome::Answered | Outcome::Interrupted))));
}

#[tokio::test]
async fn after_kill_9_nobody_is_called_more_often_than_the_row_says_though_the_pbx_knows_nothing() {
    let (results, times) = killed_again_and_again(false).await;
    assert_eq!(results.len(), NUMBERS);
    for result in &results {
        let called = times.get(&result.number).copied().unwrap_or(0);
        match result.outcome {
            Some(Outcome::Interrupted) => assert!(called == result.attempts || called + 1 == result.attempts),
            _ => assert_eq!(called, result.attempts, "{result:?}"),
        }
    }
}
