//! Legs that the host places.

use voxtra_core::telephony::PlacedLeg;
use voxtra_core::verbs::{AnsweredBy, DialplanPlace};
use voxtra_core::{CallId, Direction, Exchange};

use super::*;

/// A leg that the host has placed, and its events with their times since then.
pub(super) struct Placed {
    pub(super) leg: Arc<dyn Leg>,
    pub(super) id: CallId,
    events: mpsc::UnboundedReceiver<LegEvent>,
    log: EventLog,
}

impl Placed {
    pub(super) async fn until(&mut self, wanted: impl Fn(&LegEvent) -> bool) -> bool {
        while let Some(event) = self.events.recv().await {
            if wanted(&event) {
                return true;
            }
        }
        false
    }

    fn log(&self) -> Vec<(u64, LegEvent)> {
        self.log.lock().unwrap().iter().map(|(at, e)| (at.as_millis() as u64, e.clone())).collect()
    }
}

pub(super) fn to(endpoint: &str) -> PlacedLeg {
    PlacedLeg {
        id: CallId::from(format!("placed-{endpoint}")),
        endpoint: endpoint.to_owned(),
        caller_id: "2000".to_owned(),
        ring_timeout: ms(5_000),
        variables: vec![("WHY".to_owned(), "test".to_owned())],
        into_dialplan: None,
    }
}

pub(super) async fn place(exchange: &dyn Exchange, leg: &PlacedLeg) -> Placed {
    let (queue, events) = mpsc::unbounded_channel();
    let log = EventLog::default();
    let sink = FakeEvents { started: Instant::now(), log: log.clone(), queue };
    let placed = exchange.originate(leg, Arc::new(sink)).await.unwrap();
    Placed { leg: placed, id: leg.id.clone(), events, log }
}

/// A placed leg, once it is answered.
pub(super) async fn place_answered(exchange: &dyn Exchange, endpoint: &str) -> Placed {
    let mut placed = place(exchange, &to(endpoint)).await;
    assert!(placed.until(|e| *e == LegEvent::Answered).await);
    placed
}

pub(super) fn callees<'a>(callees: impl IntoIterator<Item = (&'a str, Callee)>) -> SimulatorOptions {
    let callees = callees.into_iter().map(|(number, callee)| (number.to_owned(), callee)).collect();
    SimulatorOptions { callees, ..SimulatorOptions::default() }
}

/// What becomes of a call to this callee: the events with their times, and the report.
fn dialled(callee: Callee) -> (Vec<(u64, LegEvent)>, CallReport) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let seen = log.clone();
    let outcome = call_at(callees([("300", callee)]), script(""), move |call| {
        let seen = seen.clone();
        async move {
            let mut placed = place(&*call.leg.exchange, &to("PJSIP/300@trunk")).await;
            placed.until(is_end).await;
            *seen.lock().unwrap() = placed.log();
            call.leg().end(HangupCause::Normal).await.unwrap();
        }
    });
    let log = log.lock().unwrap().clone();
    (log, outcome.placed.into_iter().next().unwrap())
}

#[test]
fn a_callee_who_is_not_there_is_told_from_one_who_is_busy() {
    let ended = |cause| LegEvent::Ended(LegEnd::NotAnswered(cause));
    let rings = (100, LegEvent::Ringing);
    let cases = [
        (Response::Busy, vec![(100, ended(HangupCause::Busy))]),
        (Response::Congestion, vec![(100, ended(HangupCause::Congestion))]),
        (Response::Rejects, vec![rings.clone(), (1_000, ended(HangupCause::Rejected))]),
        (Response::NoAnswer, vec![rings.clone(), (5_000, ended(HangupCause::NoAnswer))]),
        // Whoever answers as the host gives up is too late.
        (Response::Answers(ms(5_000)), vec![rings, (5_000, ended(HangupCause::NoAnswer))]),
    ];
    for (response, wanted) in cases {
        let (log, report) = dialled(Callee { response, ..Callee::default() });
        assert_eq!(log, wanted, "{response:?}");
        assert!(matches!(report.ended_by, EndedBy::NotAnswered(_)), "{report:?}");
        assert_eq!((report.answered_at, report.direction), (None, Direction::Outbound));
    }
}

#[test]
fn a_call_that_may_ring_for_no_time_is_not_answered() {
    for response in [Response::Busy, Response::NoAnswer, Response::Rejects, Response::Answers(ms(0))] {
        let callee = Callee { response, ..Callee::default() };
        let outcome = call_at(callees([("300", callee)]), script(""), |call| async move {
            let leg = PlacedLeg { ring_timeout: Duration::ZERO, ..to("300") };
            let mut placed = place(&*call.leg.exchange, &leg).await;
            assert!(placed.until(|e| *e == LegEvent::Ended(LegEnd::NotAnswered(HangupCause::NoAnswer))).await);
            call.leg().end(HangupCause::Normal).await.unwrap();
        });
        assert_eq!(outcome.placed[0].ended_by, EndedBy::NotAnswered(HangupCause::NoAnswer));
    }
}

#[test]
fn a_callee_answers_presses_a_key_and_hangs_up() {
    let script = Script::new().wait(ms(500)).press("7").wait(ms(300)).hang_up();
    let (log, report) = dialled(Callee::answers(ms(1_000)).with_script(script));
    let events: Vec<_> = log.iter().map(|(at, e)| (*at, e)).collect();
    let key = LegEvent::Dtmf(Dtmf { digit: '7', duration_ms: 120 });
    let end = LegEvent::Ended(LegEnd::HungUp);
    assert_eq!(events, [(100, &LegEvent::Ringing), (1_000, &LegEvent::Answered), (1_500, &key), (2_000, &end)]);
    assert_eq!((report.ended_by, report.answered_at), (EndedBy::Callee, Some(ms(1_000))));
    assert_eq!((report.caller_id.as_str(), report.called_number.as_str()), ("2000", "PJSIP/300@trunk"));
    assert_eq!(report.variables["WHY"], "test");
}

#[test]
fn nobody_in_particular_answers_after_two_seconds() {
    let outcome = call_at(SimulatorOptions::default(), script(""), |call| async move {
        let placed = place_answered(&*call.leg.exchange, "PJSIP/42").await;
        assert_eq!(call.started.elapsed(), ms(2_000));
        assert_eq!(call.leg.exchange.has_leg(&placed.id).await, Ok(true));
        assert_eq!(placed.leg.detect_machine().await, Ok(AnsweredBy::Human));
        // What is played to the callee is heard there, and only there.
        placed.leg.play(&PlaybackId::from("p"), &["tone:beep".to_owned()]).await.unwrap();
        sleep(ms(500)).await;
        placed.leg.end(HangupCause::Normal).await.unwrap();
        assert_eq!(call.leg.exchange.has_leg(&placed.id).await, Ok(false));
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
    let placed = &outcome.placed[0];
    assert_eq!((placed.ended_by.clone(), placed.duration), (EndedBy::Host(HangupCause::Normal), ms(2_500)));
    assert!(hears(1_000, &placed.heard, 2_050, 2_150) && outcome.report.heard.iter().all(|s| *s == 0));
}

#[test]
fn a_machine_is_found_out_and_speaks_before_it_beeps() {
    let outcome = call_at(callees([("300", Callee::machine(ms(500)))]), script(""), |call| async move {
        let placed = place_answered(&*call.leg.exchange, "300").await;
        assert_eq!(placed.leg.detect_machine().await, Ok(AnsweredBy::Machine));
        sleep(ms(12_000)).await;
        placed.leg.end(HangupCause::Normal).await.unwrap();
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
    let placed = &outcome.placed[0];
    let speaks = placed.times_of(|e| *e == CallerEvent::SpeechEnded)[0] - placed.answered_at.unwrap();
    assert!((ms(4_000)..ms(12_000)).contains(&speaks), "{speaks:?}");
}

#[test]
fn one_id_is_one_leg() {
    let outcome = call_at(SimulatorOptions::default(), script(""), |call| async move {
        let first = place(&*call.leg.exchange, &to("42")).await;
        let (queue, _events) = mpsc::unbounded_channel();
        let sink = FakeEvents { started: call.started, log: EventLog::default(), queue };
        let error = call.leg.exchange.originate(&to("42"), Arc::new(sink)).await.map(drop).unwrap_err();
        assert!(error.to_string().contains("placed-42"), "{error}");
        first.leg.end(HangupCause::Normal).await.unwrap();
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
    assert_eq!(outcome.placed.len(), 1);
}

#[test]
fn an_originate_that_nobody_waits_for_places_nothing() {
    let outcome = call_at(SimulatorOptions::default(), script(""), |call| async move {
        let (queue, _events) = mpsc::unbounded_channel();
        let sink = FakeEvents { started: call.started, log: EventLog::default(), queue };
        let leg = to("42");
        drop(call.leg.exchange.originate(&leg, Arc::new(sink)));
        assert_eq!(call.leg.exchange.has_leg(&leg.id).await, Ok(false));
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
    assert!(outcome.placed.is_empty());
}

#[test]
fn a_leg_that_is_given_up_while_it_rings_is_gone() {
    let outcome = call_at(SimulatorOptions::default(), script(""), |call| async move {
        let mut placed = place(&*call.leg.exchange, &to("42")).await;
        assert!(placed.until(|e| *e == LegEvent::Ringing).await);
        assert_eq!(placed.leg.answer().await.unwrap_err().kind(), "telephony");
        placed.leg.end(HangupCause::Normal).await.unwrap();
        assert!(placed.until(|e| *e == LegEvent::Ended(LegEnd::HungUp)).await);
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
    assert_eq!((outcome.placed[0].duration, outcome.placed[0].answered_at), (ms(100), None));
}

#[test]
fn a_leg_for_the_dialplan_goes_there_once_it_is_answered() {
    let outcome = call_at(SimulatorOptions::default(), script(""), |call| async move {
        let place_in = DialplanPlace { context: "sales".to_owned(), ..DialplanPlace::default() };
        let mut placed = place(&*call.leg.exchange, &PlacedLeg { into_dialplan: Some(place_in), ..to("42") }).await;
        assert!(placed.until(|e| *e == LegEvent::Answered).await);
        assert!(placed.until(|e| *e == LegEvent::Ended(LegEnd::Transferred)).await);
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
    assert_eq!(outcome.placed[0].ended_by, EndedBy::Transferred("s@sales".to_owned()));
}

#[test]
fn a_placed_call_has_a_lane_of_its_own_on_the_timeline() {
    let outcome = call_at(SimulatorOptions::default(), script(""), |call| async move {
        sleep(ms(1_000)).await;
        let placed = place_answered(&*call.leg.exchange, "PJSIP/42").await;
        placed.leg.end(HangupCause::Normal).await.unwrap();
        call.leg().end(HangupCause::Normal).await.unwrap();
    });
    assert_eq!(outcome.placed[0].began, ms(1_000));
    let svg = Timeline::new(&outcome.report).placed_calls(&outcome.placed).to_svg();
    assert!(svg.contains(">PJSIP/42</text>") && svg.contains("1.00 s to 3.00 s: ringing"), "{svg}");
}
