//! Keys: gathered, listened for, typed ahead.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use voxtra_core::fake::LegVerb;
use voxtra_core::verbs::{Digits, DigitsEnd, Gather};
use voxtra_core::{CallError, EventType};
use voxtra_plugins::Outcome;

use super::*;

/// As `listen-dtmf` asks for it.
pub(super) fn listen(max_digits: u32, timeout: Duration) -> Gather {
    Gather {
        prompt: Vec::new(),
        min_digits: 0,
        max_digits,
        terminators: "#".into(),
        first_timeout: timeout,
        inter_digit_timeout: timeout,
        total_timeout: Some(timeout),
    }
}

fn gather(prompt: &[&str], min_digits: u32, max_digits: u32) -> Gather {
    Gather {
        prompt: sounds(prompt),
        min_digits,
        max_digits,
        terminators: "#".into(),
        first_timeout: 5 * SECOND,
        inter_digit_timeout: 3 * SECOND,
        total_timeout: None,
    }
}

/// Runs one gather in a call whose prompts last 2 s; `act` is the caller. The outcome, and the seconds it took.
async fn gathered<F: Future<Output = ()>>(
    gather: Gather,
    act: impl FnOnce(Arc<FakeLeg>) -> F,
) -> (Result<Digits, CallError>, f32, Kit, Arc<FakeLeg>) {
    let (tell, told) = std::sync::mpsc::channel();
    let kit = Kit::new([TestHandler::default(move |call| {
        let (gather, tell) = (gather.clone(), tell.clone());
        async move {
            sleep(SECOND).await;
            let began = Instant::now();
            let outcome = call.gather(gather).await;
            tell.send((outcome, began.elapsed().as_secs_f32())).unwrap();
            Outcome::Returned
        }
    })]);
    let leg = kit.call_with(leg_with_prompts_of(2 * SECOND), "c1");
    act(Arc::clone(&leg)).await;
    kit.host.idle().await;
    let (outcome, took) = told.try_recv().unwrap();
    (outcome, (took * 10.0).round() / 10.0, kit, leg)
}

fn digits(digits: &str, ended_by: DigitsEnd) -> Result<Digits, CallError> {
    Ok(Digits { digits: digits.into(), ended_by })
}

#[tokio::test(start_paused = true)]
async fn digits_typed_ahead_are_kept_and_skip_the_prompt() {
    let (outcome, took, _, leg) = gathered(gather(&["menu"], 1, 2), |leg| async move { press(&leg, "12345") }).await;
    assert_eq!((outcome, took), (digits("12", DigitsEnd::Maximum), 0.0));
    assert_eq!(leg.count(|v| matches!(v, LegVerb::Play(_))), 0);
}

#[tokio::test(start_paused = true)]
async fn what_one_gather_leaves_the_next_one_takes() {
    let notes = Notes::default();
    let seen = notes.clone();
    let kit = Kit::new([TestHandler::default(move |call| {
        let seen = seen.clone();
        async move {
            sleep(SECOND).await;
            seen.add(call.gather(listen(2, SECOND)).await.unwrap().digits);
            seen.add(call.gather(listen(9, SECOND)).await.unwrap());
            seen.add(call.gather(listen(9, Duration::ZERO)).await.unwrap());
            Outcome::Returned
        }
    })]);
    press(&kit.call("c1"), "123#4");
    kit.host.idle().await;
    let wanted =
        ["\"12\"", "Digits { digits: \"3\", ended_by: Terminator }", "Digits { digits: \"4\", ended_by: Timeout }"];
    assert_eq!(notes.all(), wanted);
}

#[tokio::test(start_paused = true)]
async fn the_first_key_stops_the_prompt() {
    let caller = |leg: Arc<FakeLeg>| async move {
        sleep(2 * SECOND).await;
        press(&leg, "7");
    };
    let (outcome, took, kit, leg) = gathered(gather(&["menu"], 1, 1), caller).await;
    assert_eq!((outcome, took), (digits("7", DigitsEnd::Maximum), 1.0));
    assert_eq!(leg.count(|v| *v == LegVerb::StopPlayback), 1);
    assert_eq!(kit.said(EventType::BargeIn, "digit"), "7");
}

#[tokio::test(start_paused = true)]
async fn the_first_key_is_waited_for_from_the_end_of_the_prompts() {
    let (outcome, took, _, _) = gathered(gather(&["menu"], 1, 4), |_| async {}).await;
    assert_eq!((outcome, took), (digits("", DigitsEnd::Timeout), 7.0));
}

#[tokio::test(start_paused = true)]
async fn each_further_key_is_waited_for_from_the_one_before() {
    let caller = |leg: Arc<FakeLeg>| async move {
        for _ in 0..3 {
            sleep(5 * SECOND / 2).await;
            press(&leg, "1");
        }
    };
    let (outcome, took, _, _) = gathered(gather(&[], 1, 4), caller).await;
    assert_eq!((outcome, took), (digits("111", DigitsEnd::Timeout), 9.5));
}

#[tokio::test(start_paused = true)]
async fn too_few_keys_before_a_terminator_count_as_a_time_out() {
    let (outcome, ..) = gathered(gather(&[], 3, 4), |leg| async move { press(&leg, "12#") }).await;
    assert_eq!(outcome, digits("12", DigitsEnd::Timeout));
}

#[tokio::test(start_paused = true)]
async fn listening_has_one_limit_for_all_of_it() {
    let caller = |leg: Arc<FakeLeg>| async move {
        loop {
            sleep(SECOND).await;
            press(&leg, "1");
            if leg.count(|v| matches!(v, LegVerb::End(_))) > 0 {
                return;
            }
        }
    };
    let (outcome, took, _, _) = gathered(listen(64, 4 * SECOND + SECOND / 2), caller).await;
    assert_eq!((outcome, took), (digits("11111", DigitsEnd::Timeout), 4.5));
}

#[tokio::test(start_paused = true)]
async fn keys_that_nobody_takes_are_bounded_and_the_newest_stay() {
    let caller = |leg: Arc<FakeLeg>| async move {
        for _ in 0..30 {
            press(&leg, "1111111111");
            settle().await;
        }
        press(&leg, "2#");
    };
    let (tell, told) = std::sync::mpsc::channel();
    let kit = Kit::new([TestHandler::default(move |call| {
        let tell = tell.clone();
        async move {
            sleep(SECOND).await;
            let mut all = String::new();
            loop {
                let some = call.gather(listen(64, Duration::ZERO)).await.unwrap();
                all.push_str(&some.digits);
                if some.ended_by == DigitsEnd::Terminator {
                    tell.send(all).unwrap();
                    return Outcome::Returned;
                }
            }
        }
    })]);
    caller(kit.call("c1")).await;
    kit.host.idle().await;
    let all = told.try_recv().unwrap();
    assert_eq!((all.len(), all.ends_with("12")), (255, true));
    assert_eq!(kit.host.stats().dropped_digits, 302 - 256);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_key_is_nothing() {
    let (outcome, _, kit, _) = gathered(gather(&[], 1, 2), |leg| async move { press(&leg, "x\u{0}é a") }).await;
    assert_eq!(outcome, digits("A", DigitsEnd::Timeout));
    assert_eq!(kit.kinds("c1").iter().filter(|k| **k == EventType::DtmfReceived).count(), 1);
}
