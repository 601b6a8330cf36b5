//! Whole calls in virtual time, against a switchboard whose host is a few lines of each test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::future::poll_fn;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use voxtra_audio::read_wav;
use voxtra_core::telephony::LegEnd;
use voxtra_core::verbs::Dtmf;
use voxtra_core::{
    BoxFuture, CallError, HangupCause, Leg, LegEvent, LegEvents, MediaLink, NewLeg, PlaybackId, Refusal, Switchboard,
};

use super::*;

mod bridges;
mod placed;
mod recordings;
mod snoops;
mod verbs;

/// What a host does with a call.
type Host = Box<dyn Fn(HostCall) -> BoxFuture<'static, ()> + Send + Sync>;

/// A switchboard that gives each call to a host, and remembers every event.
struct FakeSwitchboard {
    host: Host,
    log: EventLog,
    refuses: bool,
}

type EventLog = Arc<Mutex<Vec<(Duration, LegEvent)>>>;

struct FakeEvents {
    started: Instant,
    log: EventLog,
    queue: mpsc::UnboundedSender<LegEvent>,
}

struct HostCall {
    leg: NewLeg,
    events: mpsc::UnboundedReceiver<LegEvent>,
    started: Instant,
}

impl Switchboard for FakeSwitchboard {
    fn incoming(&self, leg: NewLeg) -> Result<Arc<dyn LegEvents>, Refusal> {
        if self.refuses {
            return Err(Refusal { reason: "no such number".to_owned(), cause: HangupCause::Rejected });
        }
        let (queue, events) = mpsc::unbounded_channel();
        let started = Instant::now();
        tokio::spawn((self.host)(HostCall { leg, events, started }));
        Ok(Arc::new(FakeEvents { started, log: self.log.clone(), queue }))
    }
}

impl LegEvents for FakeEvents {
    fn deliver(&self, event: LegEvent) {
        self.log.lock().unwrap().push((self.started.elapsed(), event.clone()));
        let _ = self.queue.send(event);
    }
}

impl HostCall {
    fn leg(&self) -> &dyn Leg {
        &*self.leg.leg
    }

    /// Waits for an event like this; the rest is thrown away.
    async fn until(&mut self, wanted: impl Fn(&LegEvent) -> bool) -> Option<LegEvent> {
        loop {
            match self.events.recv().await {
                Some(event) if wanted(&event) => return Some(event),
                Some(_) => {}
                None => return None,
            }
        }
    }

    /// Plays and waits for the end; the outcome and when it came.
    async fn play(&mut self, media: &[&str]) -> (Result<(), String>, Duration) {
        let id = PlaybackId::from("p");
        let media: Vec<String> = media.iter().map(|m| (*m).to_owned()).collect();
        self.leg().play(&id, &media).await.unwrap();
        match self.until(|e| matches!(e, LegEvent::PlaybackFinished { .. })).await {
            Some(LegEvent::PlaybackFinished { outcome, .. }) => (outcome, self.started.elapsed()),
            _ => (Err("the call is over".to_owned()), self.started.elapsed()),
        }
    }

    async fn until_the_end(mut self) {
        self.until(|e| matches!(e, LegEvent::Ended(_))).await;
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What is left of a call and of those that the host placed.
struct Outcome {
    report: CallReport,
    placed: Vec<CallReport>,
    log: EventLog,
    stored: Vec<String>,
}

/// One call on a virtual clock, at a simulator of these options.
fn call_at<F>(
    simulator: SimulatorOptions,
    options: CallerOptions,
    host: impl Fn(HostCall) -> F + Send + Sync + 'static,
) -> Outcome
where
    F: Future<Output = ()> + Send + 'static,
{
    let log = EventLog::default();
    // A host that panics lets go of the call without a word; the test is to hear of it.
    let (done, mut hosts) = mpsc::unbounded_channel();
    let host: Host = Box::new(move |call| {
        let (done, work) = (done.clone(), host(call));
        Box::pin(async move {
            let _ = done.send(tokio::spawn(work).await.is_ok());
        })
    });
    let switchboard = FakeSwitchboard { host, log: log.clone(), refuses: false };
    on_virtual_time(async move {
        let simulator = Simulator::new(simulator, Arc::new(switchboard)).unwrap();
        let report = simulator.place_call(options).await.unwrap();
        assert_eq!(hosts.recv().await, Some(true), "the host of the test has failed");
        let placed = simulator.placed_calls().await;
        Outcome { report, placed, log, stored: simulator.stored_recordings() }
    })
}

/// How strong a tone is in some samples, of its full amplitude (Goertzel).
fn level_of(hz: f64, samples: &[i16]) -> f64 {
    let step = std::f64::consts::TAU * hz / f64::from(LINE_RATE_HZ);
    let (mut re, mut im) = (0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        re += f64::from(*sample) * (step * n as f64).cos();
        im += f64::from(*sample) * (step * n as f64).sin();
    }
    2.0 * (re * re + im * im).sqrt() / samples.len().max(1) as f64
}

/// Whether a tone of [`hum`] is in so many milliseconds of what was heard.
fn hears(hz: u32, samples: &[i16], from_ms: usize, to_ms: usize) -> bool {
    level_of(f64::from(hz), &samples[from_ms * 8..to_ms * 8]) > 1_000.0
}

/// A tone of so many seconds, as something to say.
fn hum(hz: u32, seconds: u32) -> Vec<i16> {
    voxtra_audio::tone::Tone::sine(f64::from(hz), 4_000.0, LINE_RATE_HZ).take_ms(seconds * 1_000, LINE_RATE_HZ)
}

/// Says a tone of so many seconds from the answer on, and then stays.
fn hummer(hz: u32, seconds: u32) -> Script {
    Script::new().wait_for_answer().say(format!("{hz} Hz"), hum(hz, seconds))
}

/// One call on a virtual clock: its report, and the events that the host got.
fn call<F>(options: CallerOptions, host: impl Fn(HostCall) -> F + Send + Sync + 'static) -> (CallReport, EventLog)
where
    F: Future<Output = ()> + Send + 'static,
{
    let log = EventLog::default();
    let host: Host = Box::new(move |call| Box::pin(host(call)));
    let switchboard = FakeSwitchboard { host, log: log.clone(), refuses: false };
    let report = on_virtual_time(async move {
        let simulator = Simulator::new(SimulatorOptions::default(), Arc::new(switchboard)).unwrap();
        simulator.place_call(options).await.unwrap()
    });
    (report, log)
}

fn on_virtual_time<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

fn script(text: &str) -> CallerOptions {
    CallerOptions { script: Script::parse(text, Path::new(".")).unwrap(), ..CallerOptions::default() }
}

fn times_of(log: &EventLog, wanted: impl Fn(&LegEvent) -> bool) -> Vec<Duration> {
    log.lock().unwrap().iter().filter(|(_, e)| wanted(e)).map(|(at, _)| *at).collect()
}

fn is_end(event: &LegEvent) -> bool {
    matches!(event, LegEvent::Ended(_))
}

/// A second of noise that resembles nothing else in the call.
fn noise() -> Vec<i16> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 19) as i16 - 4_096
    };
    (0..8_000).map(|_| next()).collect()
}

async fn read(link: &MediaLink) -> Option<voxtra_core::Frame> {
    poll_fn(|cx| link.source.poll_frame(cx)).await
}

/// Answers, opens the audio and says all that it hears.
async fn echo(call: HostCall, rate_hz: u32) {
    call.leg().answer().await.unwrap();
    let link = call.leg().open_media(rate_hz).await.unwrap();
    while let Some(frame) = read(&link).await {
        let _ = link.sink.push(frame);
    }
    call.until_the_end().await;
}

#[test]
fn a_key_pressed_three_seconds_in_comes_at_three_seconds() {
    let (report, log) = call(script("wait 3s; press 5; wait 1s; hang up"), |call| async move {
        call.leg().answer().await.unwrap();
        call.until_the_end().await;
    });
    assert_eq!(times_of(&log, |e| *e == LegEvent::Dtmf(Dtmf { digit: '5', duration_ms: 120 })), [ms(3_000)]);
    assert_eq!(report.times_of(|e| *e == CallerEvent::Pressed('5')), [ms(3_000)]);
    assert_eq!(report.duration, ms(4_200));
}

#[test]
fn ten_minutes_of_echo_are_ten_minutes_on_the_virtual_clock() {
    let (report, log) = call(script("wait 10m; hang up"), |call| echo(call, 8_000));
    // The longest call and the script end together; the script comes first.
    assert_eq!((report.duration, report.ended_by), (ms(600_000), EndedBy::Caller));
    assert_eq!((report.heard.len(), report.said.len()), (4_800_000, 4_800_000));
    assert_eq!((times_of(&log, is_end), report.dropped_frames), (vec![ms(600_000)], 0));
}

#[test]
fn a_caller_who_hangs_up_ends_the_leg_once() {
    let (report, log) = call(script("wait 500ms; hang up"), |mut call| async move {
        call.leg().answer().await.unwrap();
        assert!(call.until(|e| *e == LegEvent::Ended(LegEnd::HungUp)).await.is_some());
        assert_eq!(call.leg().answer().await, Err(CallError::HungUp));
        assert_eq!(call.leg().open_media(8_000).await.map(|_| ()), Err(CallError::HungUp));
        assert_eq!(call.leg().end(HangupCause::Normal).await, Ok(()));
        assert_eq!(call.leg().end(HangupCause::Normal).await, Ok(()));
    });
    assert_eq!(times_of(&log, is_end), [ms(500)]);
    assert_eq!(report.ended_by, EndedBy::Caller);
}

#[test]
fn a_host_that_hangs_up_ends_the_leg_once() {
    let (report, log) = call(script("expect hang up 5s"), |call| async move {
        call.leg().answer().await.unwrap();
        sleep(ms(1_000)).await;
        call.leg().end(HangupCause::Busy).await.unwrap();
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
    assert_eq!((report.ended_by, report.duration), (EndedBy::Host(HangupCause::Busy), ms(1_000)));
    assert_eq!(times_of(&log, is_end), [ms(1_000)]);
    assert!(report.missed.is_empty());
}

#[test]
fn a_hang_up_that_is_expected_and_does_not_come_is_told() {
    let (report, _) = call(script("expect hang up 2s"), HostCall::until_the_end);
    assert_eq!((report.duration, report.missed.len()), (ms(2_000), 1));
}

#[test]
fn a_prompt_is_over_when_its_samples_are() {
    let beep_then_silence = ["tone:beep", "sound:silence/2"];
    let (report, _) = call(script(""), move |mut call| async move {
        call.leg().answer().await.unwrap();
        sleep(ms(100)).await;
        assert_eq!(call.play(&beep_then_silence).await, (Ok(()), ms(2_300)));
        assert_eq!(call.play(&[]).await.0, Ok(()));
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
    let spans: Vec<_> = report.prompts.iter().map(|p| (p.media.as_str(), p.from, p.to)).collect();
    assert_eq!(spans, [("tone:beep", ms(100), ms(300)), ("sound:silence/2", ms(300), ms(2_300))]);
    // The beep is heard at its time and nowhere else.
    assert!(report.heard[..800].iter().all(|s| *s == 0) && report.heard[900..2_300].iter().any(|s| *s > 3_000));
    assert!(report.heard[2_400..].iter().all(|s| *s == 0));
}

#[test]
fn what_is_heard_is_the_prompt_to_the_sample() {
    let prompt = sounds::Sounds::shipped().samples("sound:hello-world").unwrap();
    let (report, _) = call(script(""), |mut call| async move {
        call.play(&["sound:hello-world"]).await.0.unwrap();
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
    assert_eq!(report.heard[..prompt.len()], prompt[..]);
    assert_eq!((report.prompts_heard(), report.answered_at), (vec!["sound:hello-world"], None));
}

#[test]
fn an_unknown_prompt_fails_with_its_name_and_the_call_goes_on() {
    let (report, _) = call(script(""), |mut call| async move {
        let (outcome, at) = call.play(&["tone:beep", "sound:nothing", "tone:beep"]).await;
        assert!(outcome.unwrap_err().contains("`sound:nothing`"));
        // With the frame in which it would have begun.
        assert_eq!(at, ms(220));
        assert_eq!(call.play(&["tone:beep"]).await.0, Ok(()));
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
    assert_eq!(report.prompts_heard(), ["tone:beep", "tone:beep"]);
    assert!(report.prompts.iter().any(|p| matches!(&p.end, PromptEnd::Failed(why) if why.contains("nothing.wav"))));
}

#[test]
fn a_second_playing_waits_for_the_first() {
    let (_, log) = call(script(""), |mut call| async move {
        let (first, second) = (PlaybackId::from("first"), PlaybackId::from("second"));
        let one_second = ["sound:silence/1".to_owned()];
        call.leg().play(&first, &one_second).await.unwrap();
        call.leg().play(&second, &one_second).await.unwrap();
        call.until(|e| matches!(e, LegEvent::PlaybackFinished { id, .. } if *id == PlaybackId::from("second"))).await;
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
    let ends = times_of(&log, |e| matches!(e, LegEvent::PlaybackFinished { outcome: Ok(()), .. }));
    assert_eq!(ends, [ms(1_000), ms(2_000)]);
}

#[test]
fn a_stopped_prompt_is_not_heard_a_frame_longer() {
    let (report, log) = call(script(""), |mut call| async move {
        let id = PlaybackId::from("p");
        call.leg().play(&id, &["tone:dial".to_owned()]).await.unwrap();
        sleep(ms(730)).await;
        call.leg().stop_playback(&id).await.unwrap();
        assert!(call.until(|e| matches!(e, LegEvent::PlaybackFinished { .. })).await.is_some());
        // One that is over is no error, and ends no second time.
        call.leg().stop_playback(&id).await.unwrap();
        sleep(ms(500)).await;
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
    let ends = times_of(&log, |e| matches!(e, LegEvent::PlaybackFinished { .. }));
    assert!(ends.len() == 1 && ends[0] <= ms(750), "{ends:?}");
    let last = report.heard.iter().rposition(|s| *s != 0).unwrap();
    assert!((5_600..=5_920).contains(&last), "{last}");
    assert_eq!(report.prompts[0].end, PromptEnd::Stopped);
}

#[test]
fn what_the_caller_says_comes_back_from_an_echo() {
    let spoken = noise();
    let said = Script::new().wait_for_answer().wait(ms(400)).say("noise", spoken.clone()).wait(ms(500)).hang_up();
    let (report, _) = call(CallerOptions { script: said, ..CallerOptions::default() }, |call| echo(call, 8_000));
    let starts = report.said.iter().position(|s| *s != 0).unwrap();
    assert_eq!(report.said[starts..starts + 8_000], spoken[..]);
    // One frame later: it went in when its 20 ms were over and came out with the next.
    assert_eq!(report.heard[starts + 160..starts + 8_160], spoken[..]);
}

#[test]
fn an_echo_comes_back_at_every_rate() {
    for rate_hz in [16_000, 24_000, 48_000] {
        let speech =
            Script::parse("wait for answer; say sound:hello-world; wait 500ms; hang up", Path::new(".")).unwrap();
        let options = CallerOptions { script: speech, ..CallerOptions::default() };
        let (report, _) = call(options, move |call| echo(call, rate_hz));
        assert!(similarity(&report.said, &report.heard) > 0.98, "{rate_hz}");
    }
}

/// The largest normalised correlation of `b` with `a` when `b` is up to 50 ms later.
fn similarity(a: &[i16], b: &[i16]) -> f64 {
    let at_delay = |delay: usize| {
        let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
        for (a, b) in a.iter().zip(b.iter().skip(delay)) {
            let (a, b) = (f64::from(*a), f64::from(*b));
            ab += a * b;
            aa += a * a;
            bb += b * b;
        }
        ab / (aa * bb).sqrt()
    };
    (0..400).map(at_delay).fold(0.0, f64::max)
}

#[test]
fn a_prompt_and_raw_audio_are_heard_together() {
    let (report, _) = call(script(""), |mut call| async move {
        call.leg().answer().await.unwrap();
        let link = call.leg().open_media(8_000).await.unwrap();
        for _ in 0..10 {
            link.sink.push(voxtra_core::Frame::new([1, 0].repeat(160).into())).unwrap();
        }
        call.play(&["sound:silence/1"]).await.0.unwrap();
        assert_eq!(call.leg().open_media(8_000).await.map(|_| ()).unwrap_err().kind(), "telephony");
        call.leg().close_media().await;
        assert!(link.sink.push(voxtra_core::Frame::new(vec![1, 0].into())).is_err());
        call.leg().open_media(16_000).await.unwrap();
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
    // 200 ms were queued, and come out in 200 ms.
    assert!(report.heard[..1_600].iter().all(|s| *s == 1) && report.heard[1_600..].iter().all(|s| *s == 0));
}

#[test]
fn keys_of_the_host_are_heard() {
    let (report, _) = call(script("wait for silence 800ms; hang up"), |call| async move {
        call.leg().answer().await.unwrap();
        call.leg().send_dtmf("1w2").await.unwrap();
        assert_eq!(call.leg().send_dtmf("1x").await.unwrap_err().kind(), "invalid-argument");
        call.until_the_end().await;
    });
    let loud = |from: usize, to: usize| report.heard[from..to].iter().any(|s| s.unsigned_abs() > 5_000);
    // 100 ms of sound, 100 ms and 500 ms of pause, 100 ms of sound.
    assert!(loud(0, 800) && !loud(800, 5_600) && loud(5_600, 6_400) && !loud(6_400, report.heard.len()));
}

#[test]
fn a_transfer_ends_the_leg_and_is_told() {
    let (report, log) = call(script(""), |call| async move {
        call.leg().answer().await.unwrap();
        assert_eq!(call.leg().transfer("").await.unwrap_err().kind(), "invalid-argument");
        call.leg().transfer("PJSIP/200").await.unwrap();
        call.until_the_end().await;
    });
    assert_eq!(report.ended_by, EndedBy::Transferred("PJSIP/200".to_owned()));
    assert_eq!(times_of(&log, |e| *e == LegEvent::Ended(LegEnd::Transferred)).len(), 1);
}

#[test]
fn a_caller_waits_for_a_prompt_before_pressing() {
    let (report, _) = call(script("wait for prompt press-1; wait 100ms; press 1; hang up"), |mut call| async move {
        call.play(&["sound:silence/1", "sound:press-1"]).await.0.unwrap_err();
        call.play(&["tone:press-1"]).await.0.unwrap_err();
        call.play(&["sound:silence/2"]).await.0.unwrap();
        call.until_the_end().await;
    });
    assert_eq!(report.times_of(|e| matches!(e, CallerEvent::Pressed(_))), []);
    let (report, _) = call(script("wait for prompt silence/2; wait 100ms; press 1; hang up"), |mut call| async move {
        let _ = call.play(&["sound:silence/1", "sound:silence/2"]).await;
        call.until_the_end().await;
    });
    let pressed = report.times_of(|e| matches!(e, CallerEvent::Pressed(_)));
    assert!(pressed.len() == 1 && (ms(1_100)..=ms(1_120)).contains(&pressed[0]), "{pressed:?}");
}

#[test]
fn a_call_that_nobody_answers_or_ends_ends_all_the_same() {
    let options = CallerOptions { ring_limit: ms(5_000), ..CallerOptions::default() };
    let (report, log) = call(options, HostCall::until_the_end);
    assert_eq!((report.ended_by, report.duration), (EndedBy::NoAnswer, ms(5_000)));
    assert_eq!(times_of(&log, is_end).len(), 1);

    let options = CallerOptions { max_length: ms(8_000), ..CallerOptions::default() };
    let (report, _) = call(options, |call| async move { call.leg().answer().await.unwrap() });
    assert_eq!((report.ended_by, report.duration), (EndedBy::TimeLimit, ms(8_000)));
}

#[test]
fn a_call_that_is_refused_says_why() {
    let host: Host = Box::new(|_| Box::pin(async {}));
    let switchboard = Arc::new(FakeSwitchboard { host, log: EventLog::default(), refuses: true });
    let report = on_virtual_time(async {
        let simulator = Simulator::new(SimulatorOptions::default(), switchboard).unwrap();
        simulator.place_call(CallerOptions::default()).await.unwrap()
    });
    let wanted = EndedBy::Refused { reason: "no such number".to_owned(), cause: HangupCause::Rejected };
    assert_eq!(report.ended_by, wanted);
}

#[test]
fn a_call_that_is_dropped_or_told_to_hangs_up() {
    let log = EventLog::default();
    let host: Host = Box::new(|call| {
        Box::pin(async move {
            call.leg().answer().await.unwrap();
            call.until_the_end().await;
        })
    });
    let switchboard = Arc::new(FakeSwitchboard { host, log: log.clone(), refuses: false });
    on_virtual_time(async {
        let simulator = Simulator::new(SimulatorOptions::default(), switchboard).unwrap();
        let mut told = simulator.place_call(CallerOptions::default());
        let dropped = simulator.place_call(CallerOptions::default());
        assert_eq!((told.id().as_str(), dropped.id().as_str()), ("sim-1", "sim-2"));
        sleep(ms(1_000)).await;
        drop(dropped);
        sleep(ms(1_000)).await;
        told.hang_up();
        assert_eq!(told.await.unwrap().duration, ms(2_000));
    });
    assert_eq!(times_of(&log, is_end), [ms(1_000), ms(2_000)]);
}

#[test]
fn a_prompt_never_begins_before_it_was_asked_for() {
    let (report, log) = call(script(""), |mut call| async move {
        sleep(ms(731)).await;
        call.play(&["sound:silence/1"]).await.0.unwrap();
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
    assert_eq!(report.prompts[0].from, ms(740));
    assert_eq!(times_of(&log, |e| matches!(e, LegEvent::PlaybackFinished { .. })), [ms(1_740)]);
}

/// A call with a bit of everything.
fn busy_call() -> (CallReport, EventLog) {
    let text = "wait for answer; wait for prompt; wait 300ms; press 12#; wait for silence 500ms; \
                say sound:hello-world; wait 1505ms; press 3; expect hang up 9s";
    call(script(text), |mut call| async move {
        sleep(ms(730)).await;
        call.leg().answer().await.unwrap();
        let (menu, link) = (PlaybackId::from("menu"), call.leg().open_media(16_000).await.unwrap());
        call.leg().play(&menu, &["sound:basic-pbx-ivr-main".to_owned(), "number:42".to_owned()]).await.unwrap();
        call.until(|e| matches!(e, LegEvent::Dtmf(_))).await;
        call.leg().stop_playback(&menu).await.unwrap();
        call.until(|e| matches!(e, LegEvent::Dtmf(key) if key.digit == '#')).await;
        let echo = tokio::spawn(async move {
            while let Some(frame) = read(&link).await {
                let _ = link.sink.push(frame);
            }
        });
        call.until(|e| matches!(e, LegEvent::Dtmf(key) if key.digit == '3')).await;
        call.leg().close_media().await;
        echo.await.unwrap();
        let _ = call.play(&["sound:you-entered", "digits:123", "sound:nothing"]).await;
        call.leg().send_dtmf("9").await.unwrap();
        let _ = call.play(&["sound:goodbye"]).await;
        call.leg().end(HangupCause::Normal).await.unwrap();
    })
}

#[test]
fn two_runs_of_a_call_are_equal_to_the_sample() {
    let (first, first_log) = busy_call();
    let (second, second_log) = busy_call();
    assert_eq!(first, second);
    assert_eq!(*first_log.lock().unwrap(), *second_log.lock().unwrap());
    assert_eq!(Timeline::new(&first).to_svg(), Timeline::new(&second).to_svg());
    assert!(first.prompts.len() > 4 && first.steps_left == 0 && first.missed.is_empty(), "{first:?}");
}

#[test]
fn the_recording_has_the_length_of_the_call_and_a_side_for_each() {
    let (report, _) = call(script("say sound:hello-world; hang up"), HostCall::until_the_end);
    let wav = report.to_wav();
    assert_eq!(report.heard.len(), report.duration.as_millis() as usize * 8);
    assert_eq!(wav.len(), 44 + report.heard.len() * 4);
    // Read as mono it is the mean of both sides; the right one is silent here.
    let mono = read_wav(&wav[..], LINE_RATE_HZ).unwrap();
    assert!(mono.iter().zip(&report.said).all(|(mean, said)| *mean == said / 2));
}

#[test]
fn events_are_told_as_they_happen_and_in_order() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = told.clone();
    let options = CallerOptions {
        on_event: Some(Arc::new(move |event: &TimedEvent| listener.lock().unwrap().push(event.clone()))),
        ..script("wait for answer; press 1; hang up")
    };
    let (report, _) = call(options, |call| async move {
        call.leg().answer().await.unwrap();
        call.until_the_end().await;
    });
    assert_eq!(*told.lock().unwrap(), report.events);
    let wanted =
        [CallerEvent::Ringing, CallerEvent::Answered, CallerEvent::Pressed('1'), CallerEvent::Ended(EndedBy::Caller)];
    assert_eq!(report.events.iter().map(|e| e.event.clone()).collect::<Vec<_>>(), wanted);
}

#[test]
fn a_call_on_a_real_clock_ends_as_well() {
    let host: Host = Box::new(|call| Box::pin(echo(call, 8_000)));
    let switchboard = Arc::new(FakeSwitchboard { host, log: EventLog::default(), refuses: false });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let report = runtime.block_on(async {
        let simulator = Simulator::new(SimulatorOptions::default(), switchboard).unwrap();
        simulator.place_call(script("wait for answer; say sound:digits/1; wait 100ms; hang up")).await.unwrap()
    });
    assert_eq!(report.ended_by, EndedBy::Caller);
    assert!(report.heard.iter().any(|s| s.unsigned_abs() > 2_000));
}
