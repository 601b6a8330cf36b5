//! Batches against a scripted dialler, on virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use voxtra_core::outbound::FakeDialler;
use voxtra_core::verbs::AnsweredBy;
use voxtra_core::{CallError, DialOutcome, DialRequest, DialTarget, Dialled, Dialler, TenantId, Trace};
use voxtra_services::batch::{
    BatchControl, BatchError, BatchFile, BatchId, BatchOptions, Batches, Clock, Outcome, Phase, Progress, RowResult,
    RowRules, write_results,
};
use voxtra_services::database::Database;

const HUMAN: DialOutcome = DialOutcome::Answered { by: AnsweredBy::Human };
const MACHINE: DialOutcome = DialOutcome::Answered { by: AnsweredBy::Machine };

/// Does the work while time moves in steps. The database works on a thread that the virtual clock does not see: left to
/// itself it would jump over whatever is due while a row is being written.
async fn stepwise<T>(database: &Database, step: Duration, work: impl Future<Output = T>) -> T {
    let (_release, held) = std::sync::mpsc::channel::<()>();
    // As long as a blocking task is out, time stands still unless it is told to move.
    tokio::task::spawn_blocking(move || held.recv());
    let time = async {
        loop {
            // What a step has set off is two writes deep at most: the end of one call, the beginning of the next.
            for _ in 0..3 {
                database.read(|_| Ok(())).await.unwrap();
                tokio::task::yield_now().await;
            }
            tokio::time::advance(step).await;
        }
    };
    tokio::select! {
        biased;
        done = work => done,
        () = time => unreachable!(),
    }
}

/// A batch and what it is called with.
struct Bench {
    database: Database,
    step: Duration,
    batches: Batches,
    id: BatchId,
    clock: Clock,
    control: BatchControl,
    progress: watch::Sender<Progress>,
}

impl Bench {
    async fn new(csv: &str, options: BatchOptions) -> Self {
        Self::on(Database::in_memory().unwrap(), csv, options).await
    }

    async fn on(database: Database, csv: &str, options: BatchOptions) -> Self {
        let batches = Batches::open(database.clone()).await.unwrap();
        let file = BatchFile::parse(csv.as_bytes(), RowRules::ANY).unwrap();
        let id = batches.create(TenantId::from("acme"), "a test", file, options).await.unwrap();
        // The rows are due now.
        let clock = Clock::of_runtime(SystemTime::now() + Duration::from_secs(1));
        let (control, progress) = (BatchControl::new(), watch::Sender::new(Progress::default()));
        Self { database, step: Duration::from_millis(250), batches, id, clock, control, progress }
    }

    async fn run(&self, dialler: &dyn Dialler) -> Result<Progress, BatchError> {
        let run = self.batches.run(&self.id, dialler, &self.clock, &self.control, &self.progress);
        stepwise(&self.database, self.step, run).await
    }

    async fn results(&self) -> HashMap<String, RowResult> {
        let results = self.batches.results(&self.id).await.unwrap();
        results.into_iter().map(|result| (result.number.clone(), result)).collect()
    }
}

fn fast() -> BatchOptions {
    BatchOptions { concurrency: 1_000, calls_per_second: 1_000.0, ..BatchOptions::default() }
}

fn ringing_for(length: Duration) -> FakeDialler {
    FakeDialler::ringing(move |_| Box::pin(tokio::time::sleep(length)))
}

fn times(dialler: &FakeDialler) -> HashMap<String, u32> {
    let mut times = HashMap::new();
    for request in dialler.dialled() {
        *times.entry(request.number).or_default() += 1;
    }
    times
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_numbers_each_get_their_outcome() {
    let numbers: Vec<String> = (0..10_000).map(|n| format!("{}", 100_000 + n)).collect();
    let options = BatchOptions { retries: "busy=1@5m,no-answer=2@10m*2".parse().unwrap(), ..fast() };
    let bench = Bench::new(&format!("number\n{}\n", numbers.join("\n")), options).await;
    let dialler = ringing_for(Duration::from_millis(700));
    for (n, number) in numbers.iter().enumerate() {
        dialler.script(
            number,
            match n % 5 {
                0 => vec![Ok(HUMAN)],
                1 => vec![Ok(DialOutcome::Busy), Ok(HUMAN)],
                2 => vec![Ok(DialOutcome::Busy), Ok(DialOutcome::Busy)],
                3 => vec![Ok(DialOutcome::NoAnswer), Ok(DialOutcome::NoAnswer), Ok(DialOutcome::NoAnswer)],
                _ => vec![Ok(DialOutcome::Failed("no such number".to_owned()))],
            },
        );
    }
    let last = bench.run(&dialler).await.unwrap();
    assert_eq!((last.phase, last.total, last.done), (Phase::Finished, 10_000, 10_000));
    let rows = |outcome| last.outcomes.get(&outcome).copied().unwrap_or(0);
    assert_eq!(
        [Outcome::Answered, Outcome::Busy, Outcome::NoAnswer, Outcome::Failed].map(rows),
        [4_000, 2_000, 2_000, 2_000]
    );
    assert_eq!(last.attempts, 2_000 * (1 + 2 + 2 + 3 + 1));
    let dialled = times(&dialler);
    for result in bench.batches.results(&bench.id).await.unwrap() {
        assert_eq!(result.attempts, dialled[&result.number], "{}", result.number);
    }
    assert!(dialler.most_live() <= 1_000);
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_are_up_than_asked_for() {
    let numbers: Vec<String> = (100..160).map(|n| n.to_string()).collect();
    let options = BatchOptions { concurrency: 7, ..fast() };
    let bench = Bench::new(&format!("number\n{}\n", numbers.join("\n")), options).await;
    let dialler = ringing_for(Duration::from_secs(30));
    bench.run(&dialler).await.unwrap();
    assert_eq!(dialler.most_live(), 7);
    assert_eq!(dialler.dialled().len(), 60);
}

#[tokio::test(start_paused = true)]
async fn calls_begin_at_the_rate_asked_for() {
    let numbers: Vec<String> = (1_000..1_400).map(|n| n.to_string()).collect();
    let options = BatchOptions { calls_per_second: 4.0, ..fast() };
    let mut bench = Bench::new(&format!("number\n{}\n", numbers.join("\n")), options).await;
    bench.step = Duration::from_millis(10);
    let begun = Arc::new(Mutex::new(Vec::new()));
    let (zero, noted) = (tokio::time::Instant::now(), Arc::clone(&begun));
    let dialler = FakeDialler::ringing(move |_| {
        noted.lock().unwrap().push(zero.elapsed());
        Box::pin(tokio::time::sleep(Duration::from_secs(3)))
    });
    bench.run(&dialler).await.unwrap();
    let begun = begun.lock().unwrap();
    for (nth, at) in begun.iter().enumerate() {
        let due_ms = nth as u128 * 250;
        assert!(at.as_millis().abs_diff(due_ms) <= 120, "call {nth} began after {at:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_as_long_as_its_rule_says() {
    let options = BatchOptions { retries: "busy=2@5m*2,machine=1@1h".parse().unwrap(), ..fast() };
    let bench = Bench::new("number\n100\n", options).await;
    let begun = Arc::new(Mutex::new(Vec::new()));
    let (zero, noted) = (tokio::time::Instant::now(), Arc::clone(&begun));
    let dialler = FakeDialler::ringing(move |_| {
        noted.lock().unwrap().push(zero.elapsed().as_secs());
        Box::pin(tokio::time::sleep(Duration::from_secs(10)))
    });
    dialler.script("100", [Ok(DialOutcome::Busy), Ok(MACHINE), Ok(DialOutcome::Busy), Ok(MACHINE), Ok(HUMAN)]);
    bench.run(&dialler).await.unwrap();
    let waits = begun.lock().unwrap().clone();
    for (at, meant) in waits.iter().zip([0, 310, 310 + 3_610, 310 + 3_610 + 610]) {
        assert!(at.abs_diff(meant) <= 2, "{waits:?}");
    }
    let result = &bench.results().await["100"];
    assert_eq!((result.outcome, result.answered_by.as_str()), (Some(Outcome::Answered), "machine"));
    assert_eq!(result.attempts, 4);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_called_outside_the_hours() {
    let friday_evening = humantime::parse_rfc3339("2036-11-21T17:59:00Z").unwrap();
    let hours = "mon-fri 09:00-18:00 UTC".parse().unwrap();
    let options = BatchOptions { concurrency: 1, calls_per_second: 1.0, hours: Some(hours), ..fast() };
    let mut bench = Bench::new("number\n100\n200\n300\n", options).await;
    (bench.clock, bench.step) = (Clock::of_runtime(friday_evening), Duration::from_secs(5));
    let begun = Arc::new(Mutex::new(Vec::new()));
    let (clock, noted) = (bench.clock.clone(), Arc::clone(&begun));
    let dialler = FakeDialler::ringing(move |_| {
        noted.lock().unwrap().push(humantime::format_rfc3339_seconds(clock.now()).to_string());
        Box::pin(tokio::time::sleep(Duration::from_secs(50)))
    });
    let phases = bench.progress.subscribe();
    let watching = async {
        let mut phases = phases;
        let waiting = phases.wait_for(|progress| progress.phase == Phase::Waiting).await.unwrap();
        humantime::format_rfc3339_seconds(waiting.next_due.unwrap()).to_string()
    };
    let (ended, next_due) = tokio::join!(bench.run(&dialler), watching);
    ended.unwrap();
    assert_eq!(next_due, "2036-11-24T09:00:00Z");
    let begun = begun.lock().unwrap();
    assert!(begun[0].starts_with("2036-11-21T17:59:0"), "{begun:?}");
    assert!(begun[1].starts_with("2036-11-21T17:59:5"), "{begun:?}");
    assert!(begun[2].starts_with("2036-11-24T09:00:0"), "{begun:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_row_says_is_what_is_dialled() {
    let options = BatchOptions { caller_id: "4000".into(), detect_machine: true, ring_timeout_ms: 20_000, ..fast() };
    let csv = "number,caller_id,handler,name\n100,5000,reminder,Anna\n200,,,\n";
    let bench = Bench::new(csv, options).await;
    let dialler = FakeDialler::new();
    bench.run(&dialler).await.unwrap();
    let dialled = dialler.dialled();
    let first: &DialRequest = dialled.iter().find(|request| request.number == "100").unwrap();
    assert_eq!(first.attempt.as_str(), format!("batch-{}-1-1", bench.id));
    assert_eq!(first.tenant, TenantId::from("acme"));
    assert_eq!(first.caller_id, "5000");
    assert_eq!(first.target, DialTarget::Handler("reminder".into()));
    assert_eq!(first.metadata, [("name".to_owned(), "Anna".to_owned())]);
    assert_eq!((first.ring_timeout, first.detect_machine), (Duration::from_secs(20), true));
    let second = dialled.iter().find(|request| request.number == "200").unwrap();
    assert_eq!((second.caller_id.as_str(), &second.target), ("4000", &DialTarget::Routes));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_refused_before_it_was_placed_is_no_attempt() {
    let bench = Bench::new("number\n100\n200\n", fast()).await;
    let dialler = FakeDialler::new();
    dialler.script("100", [Err(CallError::Denied("acme may not call out".into()))]);
    let full = || Err(CallError::LimitExceeded("acme has 10 calls up".into()));
    dialler.script("200", [full(), full(), full(), Ok(HUMAN)]);
    let last = bench.run(&dialler).await.unwrap();
    let results = bench.results().await;
    assert_eq!((results["100"].outcome, results["100"].attempts), (Some(Outcome::Failed), 0));
    assert_eq!(results["100"].detail, "acme may not call out");
    assert_eq!(results["100"].started_at, None);
    assert_eq!((results["200"].outcome, results["200"].attempts), (Some(Outcome::Answered), 1));
    assert_eq!(last.attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_never_goes_away_fails_the_row() {
    let bench = Bench::new("number\n100\n", fast()).await;
    let dialler = FakeDialler::new();
    dialler.script("100", (0..100).map(|_| Err(CallError::LimitExceeded("acme has 10 calls up".into()))));
    assert_eq!(bench.run(&dialler).await.unwrap().phase, Phase::Finished);
    assert_eq!(bench.results().await["100"].outcome, Some(Outcome::Failed));
    assert!(dialler.dialled().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_killed_host_calls_nobody_twice_who_may_have_been_called() {
    let database = Database::in_memory().unwrap();
    let numbers: Vec<String> = (100..130).map(|n| n.to_string()).collect();
    let options = BatchOptions { concurrency: 10, ..fast() };
    let bench = Bench::on(database.clone(), &format!("number\n{}\n", numbers.join("\n")), options).await;
    let first = ringing_for(Duration::from_secs(10));
    // Ten are over, ten ring.
    assert!(tokio::time::timeout(Duration::from_secs(15), bench.run(&first)).await.is_err());
    assert_eq!((first.dialled().len(), first.live()), (20, 0));

    let bench = Bench { batches: Batches::open(database).await.unwrap(), ..bench };
    let second = ringing_for(Duration::from_secs(10));
    let attempt = |row: u32| format!("batch-{}-{row}-1", bench.id);
    second.leave_trace(attempt(11), Trace::NotPlaced);
    let busy = Dialled { outcome: DialOutcome::Busy, duration_ms: 0, end_reason: None };
    second.leave_trace(attempt(12), Trace::Placed(busy));
    let last = bench.run(&second).await.unwrap();
    assert_eq!((last.phase, last.done), (Phase::Finished, 30));
    let again = times(&second);
    assert_eq!(again.len(), 11);
    assert_eq!(again["110"], 1);
    let results = bench.results().await;
    assert!(results.values().all(|result| result.attempts == 1));
    assert_eq!(results["110"].outcome, Some(Outcome::Answered));
    assert_eq!(results["111"].outcome, Some(Outcome::Busy));
    assert!((112..120).all(|n| results[&n.to_string()].outcome == Some(Outcome::Interrupted)));
    assert_eq!(last.attempts, 30);
    // An id is never used for a second call, not even when the first was not placed.
    let again = second.dialled().into_iter().find(|request| request.number == "110").unwrap();
    assert_eq!(again.attempt.as_str(), format!("batch-{}-11-2", bench.id));
}

#[tokio::test(start_paused = true)]
async fn interrupted_calls_are_made_again_when_the_batch_says_so() {
    let options = BatchOptions { retries: "interrupted=1@1m".parse().unwrap(), ..fast() };
    let bench = Bench::new("number\n100\n", options).await;
    let dialler = ringing_for(Duration::from_secs(10));
    assert!(tokio::time::timeout(Duration::from_secs(5), bench.run(&dialler)).await.is_err());
    bench.run(&dialler).await.unwrap();
    let result = &bench.results().await["100"];
    assert_eq!((result.outcome, result.attempts), (Some(Outcome::Answered), 2));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_batch_waits_for_its_calls_and_goes_on_later() {
    let options = BatchOptions { concurrency: 2, ..fast() };
    let bench = Bench::new("number\n100\n200\n300\n", options).await;
    let dialler = ringing_for(Duration::from_secs(10));
    let stop = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.control.stop();
    };
    let (ended, ()) = tokio::join!(bench.run(&dialler), stop);
    let ended = ended.unwrap();
    assert_eq!((ended.phase, ended.done), (Phase::Stopped, 2));
    assert_eq!(bench.results().await["300"].outcome, None);
    let bench = Bench { control: BatchControl::new(), ..bench };
    assert_eq!(bench.run(&dialler).await.unwrap().phase, Phase::Finished);
    assert_eq!(dialler.dialled().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_batch_never_calls_again() {
    let options = BatchOptions { concurrency: 2, retries: "busy=5@1h".parse().unwrap(), ..fast() };
    let bench = Bench::new("number\n100\n200\n300\n", options).await;
    let dialler = ringing_for(Duration::from_secs(10));
    dialler.script("100", [Ok(DialOutcome::Busy)]);
    let cancel = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.batches.cancel(&bench.id).await.unwrap();
    };
    let (ended, ()) = tokio::join!(bench.run(&dialler), cancel);
    assert_eq!(ended.unwrap().phase, Phase::Finished);
    let results = bench.results().await;
    assert_eq!(results["100"].outcome, Some(Outcome::Busy));
    assert_eq!(results["200"].outcome, Some(Outcome::Answered));
    assert_eq!((results["300"].outcome, results["300"].attempts), (Some(Outcome::Cancelled), 0));
    let bench = Bench { control: BatchControl::new(), ..bench };
    bench.run(&dialler).await.unwrap();
    assert_eq!(dialler.dialled().len(), 2);
    assert!(bench.batches.summary(&bench.id).await.unwrap().cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_batch_runs_once_at_a_time() {
    let bench = Bench::new("number\n100\n", fast()).await;
    let dialler = ringing_for(Duration::from_secs(10));
    let (first, second) = tokio::join!(bench.run(&dialler), bench.run(&dialler));
    first.unwrap();
    assert!(matches!(second, Err(BatchError::Running(_))));
    assert_eq!(dialler.dialled().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn every_row_of_the_file_is_in_the_result() {
    let bench = Bench::new("number\n+49123\nabc\n100\n100\n", fast()).await;
    let dialler = FakeDialler::new();
    dialler.script("100", [Ok(DialOutcome::Failed("=1+1, \"quoted\"\nand more".into()))]);
    bench.run(&dialler).await.unwrap();
    let results = bench.batches.results(&bench.id).await.unwrap();
    let folder = std::env::temp_dir().join(format!("voxtra-batch-{}", bench.id));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("result.csv");
    std::fs::write(&path, "older").unwrap();
    write_results(&path, &results).unwrap();
    let mut reader = csv::Reader::from_path(&path).unwrap();
    let header = "number,outcome,answered_by,attempts,started_at,duration_ms,detail";
    assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>().join(","), header);
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let outcomes: Vec<_> = rows.iter().map(|row| (row[0].to_owned(), row[1].to_owned())).collect();
    let meant = [("+49123", "answered"), ("100", "failed"), ("abc", "refused"), ("100", "refused")];
    assert_eq!(outcomes, meant.map(|(number, outcome)| (number.to_owned(), outcome.to_owned())));
    assert!(humantime::parse_rfc3339(&rows[0][4]).is_ok());
    assert_eq!(&rows[0][5], "1000");
    assert!(rows[2][6].starts_with("line 3: "));
    // Nothing is left beside it.
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn a_batch_that_is_not_there_is_told() {
    let batches = Batches::open(Database::in_memory().unwrap()).await.unwrap();
    let id = BatchId::new("nothing");
    assert!(matches!(batches.summary(&id).await, Err(BatchError::Unknown(_))));
    assert!(matches!(batches.cancel(&id).await, Err(BatchError::Unknown(_))));
    assert!(matches!(batches.results(&id).await, Err(BatchError::Unknown(_))));
    assert!(matches!(batches.remove(&id).await, Err(BatchError::Unknown(_))));
    assert!(batches.list().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn batches_are_listed_and_forgotten() {
    let bench = Bench::new("number\n100\n", fast()).await;
    assert_eq!(bench.batches.list().await.unwrap()[0].progress.phase, Phase::Stopped);
    bench.run(&FakeDialler::new()).await.unwrap();
    let listed = bench.batches.list().await.unwrap();
    assert_eq!((listed.len(), listed[0].progress.phase, listed[0].name.as_str()), (1, Phase::Finished, "a test"));
    bench.batches.remove(&bench.id).await.unwrap();
    assert!(bench.batches.list().await.unwrap().is_empty());
}
