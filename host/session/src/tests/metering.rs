//! One record a call, when nothing of it is left.

use bytes::Bytes;
use voxtra_core::metering::FakeMeter;
use voxtra_core::verbs::LogLevel;
use voxtra_core::{Direction, EndReason, Frame};
use voxtra_plugins::Outcome;
use voxtra_plugins::fake::FakeCall;

use super::placing::to;
use super::*;
use crate::account::{Account, Metered};
use crate::options::Then;

/// A host with a meter.
fn metered(on_failure: OnFailure, handlers: impl IntoIterator<Item = TestHandler>) -> (Kit, Arc<FakeMeter>) {
    let meter = Arc::<FakeMeter>::default();
    let port = Arc::clone(&meter);
    let kit = Kit::with_all(HostOptions::default(), on_failure, handlers, |ports| ports.meter = Some(port));
    (kit, meter)
}

#[tokio::test(start_paused = true)]
async fn a_call_has_one_record_with_its_handler_its_hook_and_its_times() {
    let (kit, meter) = metered(
        OnFailure::default(),
        [TestHandler::default(|call| async move {
            sleep(SECOND).await;
            call.answer().await.unwrap();
            call.log(LogLevel::Info, "hello", &[("key".into(), "value".into())]);
            sleep(2 * SECOND).await;
            Outcome::Returned
        })
        .with_hook(|_| async {
            sleep(SECOND).await;
            Outcome::Returned
        })],
    );
    kit.call("c1");
    sleep(Duration::from_millis(3_500)).await;
    assert!(meter.records().is_empty(), "the hook still runs");
    kit.host.idle().await;
    let records = meter.records();
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!(
        (record.call.as_str(), record.handler.as_str(), record.version.as_str()),
        ("c1", "default", "0123456789ab")
    );
    assert_eq!(
        (record.direction, &record.end, record.handler_failed),
        (Direction::Inbound, &EndReason::HandlerReturned, false)
    );
    let since_start = |moment: std::time::SystemTime| moment.duration_since(record.started_at).unwrap().as_secs();
    assert_eq!((record.answered_at.map(since_start), since_start(record.ended_at)), (Some(1), 3));
    let wanted = Usage {
        cpu: HANDLE_CPU + HOOK_CPU,
        peak_memory_bytes: 1_000,
        host_calls: 1,
        log_bytes: 13,
        ..Usage::default()
    };
    assert_eq!(record.usage, wanted);
}

#[tokio::test(start_paused = true)]
async fn a_trap_its_failure_handler_and_its_hook_are_added_up() {
    let policy = OnFailure { play: Some(Vec::new()), then: Then::Handler("second".into()) };
    let second = TestHandler::new("second", |_| async { trap() }).with_hook(|_| async { Outcome::Returned });
    let (kit, meter) = metered(policy, [TestHandler::default(|_| async { trap() }), second]);
    kit.call("c1");
    kit.host.idle().await;
    let records = meter.records();
    assert_eq!(records.len(), 1);
    assert_eq!(
        (records[0].handler.as_str(), records[0].handler_failed, records[0].answered_at),
        ("second", true, None)
    );
    // Two handlers, and the hook in an instance of its own.
    assert_eq!((records[0].usage.cpu, records[0].usage.host_calls), (2 * HANDLE_CPU + HOOK_CPU, 3));
}

#[tokio::test(start_paused = true)]
async fn placed_calls_have_records_of_their_own_and_do_not_count_their_handler_twice() {
    let (kit, meter) = metered(
        OnFailure::default(),
        [TestHandler::default(|call| async move {
            call.originate(to("91")).await.unwrap();
            sleep(SECOND).await;
            Outcome::Returned
        })],
    );
    let kit = kit.may_dial();
    kit.call("c1");
    kit.host.idle().await;
    let records = meter.records();
    assert_eq!(records.len(), 2);
    let of = |parent: bool| records.iter().find(|record| record.parent.is_some() == parent).unwrap();
    assert_eq!((of(true).direction, of(true).handler.as_str()), (Direction::Outbound, "default"));
    assert_eq!((of(true).answered_at, of(true).usage), (None, Usage::default()));
    assert_eq!(of(false).usage.cpu, HANDLE_CPU + HOOK_CPU);
}

#[tokio::test(start_paused = true)]
async fn raw_audio_is_counted_both_ways() {
    let (kit, meter) = metered(
        OnFailure::default(),
        [TestHandler::default(|call| async move {
            call.answer().await.unwrap();
            let link = call.open_audio(8_000).await.unwrap();
            for _ in 0..3 {
                let frame = std::future::poll_fn(|cx| link.source.poll_frame(cx)).await.unwrap();
                link.sink.push(frame.clone()).unwrap();
                link.sink.push(frame).unwrap();
            }
            Outcome::Returned
        })],
    );
    let leg = kit.call("c1");
    settle().await;
    for _ in 0..3 {
        leg.audio().unwrap().hear(Frame::new(Bytes::from_static(&[0; 320])));
    }
    kit.host.idle().await;
    let usage = meter.records()[0].usage;
    assert_eq!((usage.audio_in_bytes, usage.audio_out_bytes), (960, 1_920));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_is_cut_off_or_lost_is_counted_and_its_call_has_its_record() {
    let forever = TestHandler::default(|_| std::future::pending());
    let (kit, meter) = metered(OnFailure::default(), [forever]);
    hang_up(&kit.call("c1"));
    kit.host.idle().await;
    let lost = TestHandler::default(|_| async { panic!("a fault of the host") });
    let (kit, lost_meter) = metered(OnFailure::default(), [lost]);
    kit.call_with(leg_with_prompts_of(SECOND), "c1");
    kit.host.idle().await;
    for meter in [meter, lost_meter] {
        let records = meter.records();
        assert_eq!((records.len(), records[0].handler_failed), (1, true));
        assert_eq!(records[0].usage.cpu, HANDLE_CPU + HOOK_CPU);
    }
}

#[test]
fn a_call_whose_owner_vanishes_has_its_record() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let (kit, meter, _leg) = runtime.block_on(async {
        let (kit, meter) = metered(OnFailure::default(), [TestHandler::default(|_| std::future::pending())]);
        let leg = kit.call("c1");
        settle().await;
        (kit, meter, leg)
    });
    drop(runtime);
    let records = meter.records();
    assert_eq!((records.len(), kit.host.stats().lost), (1, 1));
    assert!(matches!(records[0].end, EndReason::TelephonyFailed(_)), "{:?}", records[0].end);
}

#[tokio::test(start_paused = true)]
async fn an_account_is_settled_when_the_last_instance_has_gone() {
    let account = Arc::<Account>::default();
    account.settled().await;
    let handler = TestHandler::default(|_| std::future::pending());
    for after in [2 * SECOND, SECOND] {
        let instance = handler.start(Arc::new(FakeCall::new())).await.unwrap();
        let metered = Metered::new(instance, Arc::clone(&account), Arc::default());
        // As one that was told to stop and waits for its turn.
        tokio::spawn(async move {
            sleep(after).await;
            drop(metered);
        });
    }
    let began = tokio::time::Instant::now();
    account.settled().await;
    assert_eq!((began.elapsed().as_secs(), account.total().host_calls), (2, 2));
}
