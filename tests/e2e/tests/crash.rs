//! The host is killed under load: what it had accepted is not lost, and what it had done is not done again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::time::sleep;
use voxtra_e2e::caller::call;
use voxtra_e2e::served::{ECHO, LONG, MINIMAL};
use voxtra_e2e::{HostLog, Receiver, Served, Setup, echo, serve};
use voxtra_test_support::{AsteriskOptions, Host, Scenario, Sipp};

/// Calls that are up at the kill; half of them are being recorded by the host.
const CALLS: usize = 100;

/// Short calls before, for their events.
const EARLIER: u32 = 100;

/// Events that wait for the receiver at the kill.
const QUEUED: usize = 1_000;

/// Numbers of the batch; every tenth is busy and is called once more.
const NUMBERS: usize = 80;

const RECORDED: &str = "9001";

/// Numbers that are answered for half a second, but for those that end with 7, which are busy. Each call leaves a line.
const COUNTED: &str = "
[counted]
exten => _5XXX,1,Log(NOTICE,voxtra-batch=${EXTEN})
 same => n,GotoIf($[${EXTEN:3}=7]?busy)
 same => n,Answer()
 same => n,Wait(0.5)
 same => n,Hangup()
 same => n(busy),Hangup(17)
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_killed_under_a_hundred_calls_loses_nothing_and_repeats_no_call() -> Result<()> {
    let name = "a_host_killed_under_a_hundred_calls_loses_nothing_and_repeats_no_call";
    let mut receiver = Receiver::closed()?;
    let pbx =
        AsteriskOptions { extra_config: vec![("extensions".into(), COUNTED.into())], ..AsteriskOptions::default() };
    let more = format!(
        "  - {{extension: '{RECORDED}', handler: every-verb, metadata: {{quiet: '1', do: 'answer; record host; wait 600000'}}}}\n\
         webhooks: [{{url: '{}', retry_backoff: 0.2, concurrency: 16}}]\n\
         dial: {{patterns: ['5XXX'], endpoint: 'Local/{{number}}@counted', max_concurrent: 50, max_per_minute: 6000}}\n",
        receiver.url()
    );
    let setup = Setup { pbx, handlers: &[("9000", "every-verb")], more, ..Setup::default() };
    serve(name, setup, async |served| {
        let mut callers = Vec::new();
        for n in 0..CALLS {
            callers.push(call(served.sip(), if n % 2 == 0 { ECHO } else { RECORDED }).await?);
        }
        let tree = served.pbx.tree().clone();
        let earlier = Sipp { calls: EARLIER, rate: 25, ..Sipp::new(Scenario::WaitForBye, MINIMAL) };
        let earlier = earlier.start(&tree, served.sip())?.finish().await?;
        ensure!(earlier.is_clean(EARLIER.into()), "{earlier:?}");
        served.until("the events are there", LONG, |log| log.events().len() >= QUEUED).await?;
        let mut batch = start_batch(served)?;
        half_of_the_batch_is_called(served).await?;
        let settled = settled_events(served).await;
        let before = served.kill_host().await?;
        println!("{name}: killed under {CALLS} calls with {} events queued", settled.len());
        assert!(receiver.events().is_empty(), "nothing was delivered before the kill");

        served.start_host().await?;
        receiver.open()?;
        let code = batch.wait(Duration::from_secs(60)).await?.code();
        ensure!(code.is_some_and(|code| code <= 1), "the batch's command ended with {code:?}: {}", batch.last_lines());
        every_number_was_called_as_often_as_its_outcome_says(served)?;
        drop(callers);
        every_event_is_delivered(&receiver, &settled).await?;
        every_call_that_began_ended_once(served, &receiver).await?;
        every_recording_is_readable(served, &receiver, &before).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_adopts_takes_over_the_calls_of_a_killed_one() -> Result<()> {
    let name = "a_host_that_adopts_takes_over_the_calls_of_a_killed_one";
    let setup = Setup { telephony: "  unknown_calls: adopt\n".into(), ..Setup::default() };
    serve(name, setup, async |served| {
        let caller = call(served.sip(), ECHO).await?;
        ensure!(echo(&caller, 1).await?.worst() > 0.8, "there is no echo before");
        served.kill_host().await?;
        served.start_host().await?;
        served.until("the call has begun again", LONG, |log| log.count("media.started") == 1).await?;
        let again = echo(&caller, 2).await?;
        ensure!(again.worst() > 0.8, "{again:?}");
        ensure!(caller.ended().is_none(), "the caller was hung up");
        caller.hang_up().await
    })
    .await
}

/// How often each number has been called, as the PBX tells it.
fn called(pbx_log: &str) -> BTreeMap<String, u32> {
    let mut called = BTreeMap::new();
    for line in pbx_log.lines() {
        if let Some((_, number)) = line.split_once("voxtra-batch=") {
            *called.entry(number.trim().to_owned()).or_default() += 1;
        }
    }
    called
}

async fn half_of_the_batch_is_called(served: &Served) -> Result<()> {
    let began = Instant::now();
    while called(&served.pbx.log()).len() < NUMBERS / 2 {
        ensure!(began.elapsed() < LONG, "the batch does not go on: {:?}", called(&served.pbx.log()));
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn start_batch(served: &Served) -> Result<Host> {
    let file = served.folder().join("numbers.csv");
    let numbers: String = (0..NUMBERS).map(|n| format!("{}\n", 5000 + n)).collect();
    fs::write(&file, format!("number\n{numbers}"))?;
    let (file, config) = (file.to_string_lossy().into_owned(), served.config().to_string_lossy().into_owned());
    let result = result_file(served).to_string_lossy().into_owned();
    Host::start([
        "batch",
        &file,
        "-c",
        &config,
        "--handler",
        "minimal",
        "--concurrency",
        "10",
        "--calls-per-10s",
        "150",
        "--retry",
        "busy=1@1s",
        "--result",
        &result,
    ])
}

fn result_file(served: &Served) -> PathBuf {
    served.folder().join("result.csv")
}

/// The events that were told at least a moment ago: the last ones may not be on the disk at a kill.
async fn settled_events(served: &mut Served) -> Vec<(String, String)> {
    const COMMITTED_WITHIN: Duration = Duration::from_millis(250);

    served.log.follow(&served.host);
    let settled = served.log.events().iter().map(|event| (event.call.clone(), event.kind.clone())).collect();
    sleep(COMMITTED_WITHIN).await;
    settled
}

fn every_number_was_called_as_often_as_its_outcome_says(served: &Served) -> Result<()> {
    let called = called(&served.pbx.log());
    let result = fs::read_to_string(result_file(served)).context("the batch has left no result")?;
    let mut lines = result.lines();
    let columns: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let column = |name: &str| columns.iter().position(|c| *c == name).with_context(|| format!("no column {name}"));
    let (number, outcome, attempts) = (column("number")?, column("outcome")?, column("attempts")?);
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut rows = BTreeSet::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let [number, outcome, attempts] = [number, outcome, attempts].map(|at| cells.get(at).copied().unwrap_or(""));
        let told: u32 = attempts.parse().with_context(|| line.to_owned())?;
        let heard = called.get(number).copied().unwrap_or(0);
        *outcomes.entry(outcome).or_default() += 1;
        rows.insert(number);
        // The order may have gone out a moment before the kill or not: at most once.
        let fits = if outcome == "interrupted" { (told - 1..=told).contains(&heard) } else { heard == told };
        ensure!(fits, "{number} was called {heard} times, and its outcome says {told}: {line}");
        let wanted = if outcome == "interrupted" {
            1..=2
        } else if number.ends_with('7') {
            2..=2
        } else {
            1..=1
        };
        ensure!(wanted.contains(&told), "{line}");
        ensure!(["answered", "busy", "interrupted", "failed"].contains(&outcome), "{line}");
    }
    assert_eq!(rows.len(), NUMBERS, "{result}");
    assert_eq!(called.keys().filter(|number| !rows.contains(number.as_str())).count(), 0);
    println!("the batch's outcomes: {outcomes:?}");
    Ok(())
}

async fn every_event_is_delivered(receiver: &Receiver, settled: &[(String, String)]) -> Result<()> {
    const WITHIN: Duration = Duration::from_secs(60);

    let began = Instant::now();
    loop {
        let mut missing: BTreeMap<(String, String), i64> = BTreeMap::new();
        for event in settled {
            *missing.entry(event.clone()).or_default() += 1;
        }
        let (events, mut ids) = (receiver.events(), BTreeSet::new());
        let text = |event: &Value, key: &str| event[key].as_str().unwrap_or("").to_owned();
        for event in events.iter().filter(|event| ids.insert(text(event, "id"))) {
            if let Some(count) = missing.get_mut(&(text(event, "session_id"), text(event, "type"))) {
                *count -= 1;
            }
        }
        missing.retain(|_, count| *count > 0);
        if missing.is_empty() {
            println!(
                "{} events in {} deliveries, all of the {} from before the kill among them, {:.1} s after the start",
                ids.len(),
                events.len(),
                settled.len(),
                began.elapsed().as_secs_f64()
            );
            return Ok(());
        }
        if began.elapsed() > WITHIN {
            bail!(
                "{} of {} events were not delivered, such as {:?}",
                missing.len(),
                settled.len(),
                missing.iter().next()
            );
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// The calls that were up at the kill too, by the next start.
async fn every_call_that_began_ended_once(served: &mut Served, receiver: &Receiver) -> Result<()> {
    let calls_of = |kind: &str| {
        let (mut calls, mut ids): (Vec<String>, BTreeSet<String>) = Default::default();
        let text = |event: &Value, key: &str| event[key].as_str().unwrap_or("").to_owned();
        for event in receiver.events().iter().filter(|event| event["type"] == kind) {
            // A delivery may come twice, an event not.
            if ids.insert(text(event, "id")) {
                calls.push(text(event, "session_id"));
            }
        }
        calls.sort();
        calls
    };
    let all_ended = |_: &HostLog| calls_of("call.ended").len() >= calls_of("call.started").len();
    served.until("every call has its end", LONG, all_ended).await?;
    let (started, ended) = (calls_of("call.started"), calls_of("call.ended"));
    ensure!(started == ended, "{} calls began and {} ended: {started:?} {ended:?}", started.len(), ended.len());
    let crashed = receiver.events().into_iter().filter(|event| {
        let detail = event["data"]["detail"].as_str().unwrap_or("");
        event["type"] == "call.ended" && detail.contains("the host ended before the call did")
    });
    let crashed = crashed.count();
    ensure!(crashed >= CALLS, "only {crashed} calls were ended by the start after the kill");
    println!("{} calls began and ended once, {crashed} of them by the start after the kill", started.len());
    each_has_a_record(served, &started).await
}

/// As the running host's database has it.
async fn each_has_a_record(served: &Served, started: &[String]) -> Result<()> {
    /// Calls whose end was on the disk at the kill, and whose record, which follows it, was not.
    const JUST_ENDED: usize = 5;

    let file = served.folder().join("calls.jsonl");
    served.ask(&["meters", "export", "-o", &file.to_string_lossy()]).await?;
    let mut recorded = BTreeSet::new();
    for line in fs::read_to_string(&file)?.lines() {
        let record: Value = serde_json::from_str(line)?;
        let call = record["call_id"].as_str().unwrap_or("").to_owned();
        ensure!(started.contains(&call), "a record of a call that never began: {line}");
        ensure!(recorded.insert(call), "a second record: {line}");
    }
    ensure!(recorded.len() + JUST_ENDED >= started.len(), "{} records of {} calls", recorded.len(), started.len());
    println!("{} records of {} calls", recorded.len(), started.len());
    Ok(())
}

async fn every_recording_is_readable(served: &mut Served, receiver: &Receiver, before: &HostLog) -> Result<()> {
    let begun = before.count("recording.started");
    assert_eq!(begun, CALLS / 2, "recordings that were going on at the kill");
    let finished = || receiver.events().iter().filter(|e| e["type"] == "recording.finished").count();
    served.until("every recording is delivered", LONG, |_| finished() >= begun).await?;
    let mut files = Vec::new();
    collect_wavs(&served.folder().join("state/recordings"), &mut files)?;
    assert_eq!(files.len(), begun, "{files:?}");
    for file in &files {
        let seconds = seconds_of_stereo_wav(&fs::read(file)?).with_context(|| file.display().to_string())?;
        ensure!(seconds > 1.0, "{} holds {seconds:.1} s", file.display());
    }
    println!("{} recordings that were cut off by the kill can be read", files.len());
    Ok(())
}

fn collect_wavs(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect_wavs(&path, files)?;
        } else if path.extension().is_some_and(|end| end == "wav") {
            files.push(path);
        }
    }
    Ok(())
}

/// How long the audio is, when the header and the file agree about it.
fn seconds_of_stereo_wav(bytes: &[u8]) -> Result<f64> {
    let number = |at: usize, size: usize| {
        let bytes = bytes.get(at..at + size).unwrap_or_default();
        bytes.iter().rev().fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
    };
    ensure!(bytes.starts_with(b"RIFF") && bytes.get(8..16) == Some(b"WAVEfmt "), "it is no WAV file");
    ensure!(
        number(4, 4) == bytes.len() - 8,
        "its header tells of {} bytes and it has {}",
        number(4, 4) + 8,
        bytes.len()
    );
    let (format, channels, rate_hz, bits) = (number(20, 2), number(22, 2), number(24, 4), number(34, 2));
    ensure!((format, channels, bits) == (1, 2, 16), "format {format}, {channels} channels, {bits} bits");
    let data = 20 + number(16, 4);
    ensure!(bytes.get(data..data + 4) == Some(b"data"), "its audio does not follow the format");
    ensure!(number(data + 4, 4) == bytes.len() - data - 8, "its audio is cut off");
    Ok(number(data + 4, 4) as f64 / (rate_hz * 4) as f64)
}
