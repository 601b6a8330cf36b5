//! What leaves the host: events of handlers, shared metadata, and filters.

use std::future::pending;

use serde_json::{Map, Value, json};
use tokio::time::sleep;
use voxtra_core::{CallError, Event, EventSink, EventType};
use voxtra_plugins::Outcome;

use super::*;
use crate::FilteredSink;
use crate::ports::{EventFilters, FilterVerdict};

#[tokio::test(start_paused = true)]
async fn a_handlers_own_events_leave_in_order_and_not_after_the_end() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        for n in 0..3 {
            call.emit("step.done".into(), json!({"n": n}).to_string()).unwrap();
        }
        for (name, data) in [("a b", "{}"), ("a", "[]"), ("", "{}")] {
            assert_eq!(call.emit(name.into(), data.into()).unwrap_err().kind(), "invalid-argument");
        }
        call.answer().await.unwrap();
        call.hangup(voxtra_core::HangupCause::Normal).await.unwrap();
        assert_eq!(call.emit("late".into(), "{}".into()), Err(CallError::HungUp));
        Outcome::Returned
    })]);
    kit.call("c1");
    kit.host.idle().await;
    let custom: Vec<_> = kit.sink.events().into_iter().filter(|e| e.kind == EventType::Custom).collect();
    assert_eq!(custom.len(), 3);
    for (n, event) in custom.iter().enumerate() {
        assert_eq!(Value::Object(event.data.clone()), json!({"name": "step.done", "data": {"n": n}}));
    }
    kit.assert_ended_once("c1");
}

#[tokio::test(start_paused = true)]
async fn an_event_just_before_the_handlers_return_leaves() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        call.emit("last.word".into(), "{}".into()).unwrap();
        Outcome::Returned
    })]);
    kit.call("c1");
    kit.host.idle().await;
    let kinds: Vec<_> = kit.sink.events().iter().map(|event| event.kind).collect();
    let at = |kind| kinds.iter().position(|k| *k == kind).unwrap();
    assert!(at(EventType::Custom) < at(EventType::CallEnded), "{kinds:?}");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_events_is_refused_and_not_queued_for_ever() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        let refused = (0..1_000).filter(|_| call.emit("a".into(), "{}".into()).is_err()).count();
        assert!(refused >= 900, "{refused}");
        Outcome::Returned
    })]);
    kit.call("c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
}

#[tokio::test(start_paused = true)]
async fn only_what_the_handler_shares_goes_with_events() {
    let kit = Kit::new([TestHandler::default(|call| async move {
        call.metadata_set("order".into(), "7".into()).unwrap();
        call.metadata_set("card".into(), "secret".into()).unwrap();
        call.answer().await.unwrap();
        call.metadata_share(vec!["order".into()]).unwrap();
        Outcome::Returned
    })]);
    kit.call("c1");
    kit.host.idle().await;
    let events = kit.sink.events();
    let of = |kind| events.iter().find(|e| e.kind == kind).unwrap().metadata.clone();
    assert_eq!(of(EventType::CallAnswered), None);
    assert_eq!(of(EventType::CallEnded).map(Value::Object), Some(json!({"order": "7"})));
}

/// Does what its function says, after so long.
struct Filter<F>(Duration, F);

impl<F: Fn(&Event) -> Result<FilterVerdict, String> + Send + Sync> EventFilters for Filter<F> {
    fn applies(&self, tenant: &TenantId) -> bool {
        *tenant == TenantId::default()
    }

    fn filter<'a>(&'a self, event: &'a Event) -> BoxFuture<'a, Result<FilterVerdict, String>> {
        Box::pin(async move {
            sleep(self.0).await;
            (self.1)(event)
        })
    }
}

fn plain() -> TestHandler {
    TestHandler::default(|call| async move {
        call.answer().await.unwrap();
        Outcome::Returned
    })
}

async fn filtered(filters: impl EventFilters + 'static) -> Kit {
    let kit = Kit::with_ports([plain()], |ports| ports.filters = vec![Arc::new(filters)]);
    kit.call("c1");
    kit.host.idle().await;
    assert_eq!(kit.host.shutdown(5 * SECOND).await, 0);
    kit
}

#[tokio::test(start_paused = true)]
async fn filters_change_and_drop_events_and_keep_their_order() {
    let kit = filtered(Filter(Duration::from_millis(100), |event: &Event| match event.kind {
        EventType::CallRinging => Ok(FilterVerdict::Drop),
        EventType::CallStarted => Ok(FilterVerdict::Change(Map::from_iter([("x".to_owned(), json!(1))]))),
        _ => Ok(FilterVerdict::Keep),
    }))
    .await;
    let kinds = kit.kinds("c1");
    use EventType::*;
    assert_eq!((kinds[0], kinds[1]), (CallStarted, SessionCreated));
    assert!(!kinds.contains(&CallRinging));
    assert_eq!(Value::Object(kit.sink.events()[0].data.clone()), json!({"x": 1}));
    kit.assert_ended_once("c1");
    assert_eq!(kit.host.stats().filter_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn no_event_leaves_past_a_filter_that_fails_or_is_slow() {
    let fails = filtered(Filter(Duration::ZERO, |event: &Event| match event.kind {
        EventType::CallAnswered => Err("no".to_owned()),
        _ => Ok(FilterVerdict::Keep),
    }))
    .await;
    assert!(!fails.kinds("c1").contains(&EventType::CallAnswered));
    fails.assert_ended_once("c1");
    assert_eq!((fails.host.stats().filter_failures, fails.host.withheld_events()), (1, vec![(TenantId::default(), 1)]));
    let slow = filtered(Filter(2 * SECOND, |_: &Event| Ok(FilterVerdict::Keep))).await;
    assert!(slow.sink.events().is_empty(), "{:?}", slow.sink.events());
    let withheld = slow.host.withheld_events();
    assert!(withheld.len() == 1 && withheld[0].1 == slow.host.stats().filter_failures && withheld[0].1 > 3);
    assert_eq!((slow.host.stats().ended, slow.host.active()), (1, 0), "the call itself went its way");
}

/// Stands where a filter is that cannot run.
struct Absent;

impl EventFilters for Absent {
    fn applies(&self, tenant: &TenantId) -> bool {
        *tenant == TenantId::default()
    }

    fn absent(&self) -> Option<String> {
        Some("it may not run".to_owned())
    }

    fn filter<'a>(&'a self, _event: &'a Event) -> BoxFuture<'a, Result<FilterVerdict, String>> {
        Box::pin(async { panic!("nobody may ask it") })
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_held_for_a_filter_that_comes_and_dropped_without_it() {
    let kit = Kit::with_ports([TestHandler::default(|_| pending())], |ports| {
        ports.filters = vec![marks("first", Duration::ZERO), Arc::new(Absent)];
    });
    let beside_calls = FilteredSink::new(kit.sink.clone());
    beside_calls.filter_as(&kit.host);
    let told = |tenant: &str| {
        Event::new("1".into(), EventType::RecordingFinished, TenantId::from(tenant), "c1".into(), Map::new())
    };
    beside_calls.emit(told("default"));
    beside_calls.emit(told("other"));
    let leg = kit.call("c1");
    sleep(4 * SECOND).await;
    assert_eq!(kit.sink.events().len(), 1, "another tenant's, and nothing else: {:?}", kit.sink.events());
    // It comes: what was held leaves as it says, each once and in order.
    kit.host.set_filters(vec![marks("new", Duration::ZERO)]);
    settle().await;
    let events = kit.sink.events();
    assert!(events.len() > 3 && events[1..].iter().all(|event| event.data.contains_key("new")), "{events:?}");
    let kinds = kit.kinds("c1");
    let at = |kind| kinds.iter().position(|k| *k == kind).unwrap();
    assert!(at(EventType::CallStarted) < at(EventType::SessionCreated));
    assert!(kit.host.withheld_events().is_empty());
    // It goes, and does not come back.
    kit.host.set_filters(vec![Arc::new(Absent)]);
    press(&leg, "1");
    sleep(6 * SECOND).await;
    let withheld = kit.host.withheld_events();
    assert!(matches!(withheld.as_slice(), [(_, 1..)]), "{withheld:?}");
    kit.host.set_filters(vec![marks("back", Duration::ZERO)]);
    hang_up(&leg);
    kit.host.idle().await;
    assert_eq!(kit.host.shutdown(5 * SECOND).await, 0);
    let kinds = kit.kinds("c1");
    assert!(!kinds.contains(&EventType::DtmfReceived), "what was dropped does not come late: {kinds:?}");
    assert_eq!(kit.host.withheld_events(), withheld);
    kit.assert_ended_once("c1");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_stops_does_not_wait_for_a_filter_and_sends_nothing_past_it() {
    let kit = Kit::with_ports([plain()], |ports| ports.filters = vec![Arc::new(Absent)]);
    let beside_calls = FilteredSink::new(kit.sink.clone());
    beside_calls.filter_as(&kit.host);
    kit.call("c1");
    kit.host.idle().await;
    let before = tokio::time::Instant::now();
    assert_eq!(kit.host.shutdown(10 * SECOND).await, 0);
    assert!(before.elapsed() < SECOND, "{:?}", before.elapsed());
    let sink = kit.sink.clone();
    drop(kit);
    settle().await;
    beside_calls.emit(Event::new(
        "1".into(),
        EventType::RecordingFinished,
        TenantId::default(),
        "c1".into(),
        Map::new(),
    ));
    settle().await;
    assert!(sink.events().is_empty(), "{:?}", sink.events());
}

#[tokio::test(start_paused = true)]
async fn a_slow_filter_never_holds_up_the_call_and_its_queue_has_a_bound() {
    let kit = Kit::with_ports([TestHandler::default(|_| pending())], |ports| {
        ports.filters = vec![Arc::new(Filter(Duration::from_millis(150), |_: &Event| Ok(FilterVerdict::Keep)))];
    });
    let leg = kit.call("c1");
    settle().await;
    for _ in 0..50 {
        press(&leg, "1234567890");
        settle().await;
    }
    hang_up(&leg);
    kit.host.idle().await;
    assert_eq!(kit.host.shutdown(100 * SECOND).await, 0);
    let dropped = kit.host.stats().dropped_events;
    assert!((200..=300).contains(&dropped), "{dropped}");
    kit.assert_ended_once("c1");
}

#[tokio::test(start_paused = true)]
async fn what_recordings_and_batches_tell_passes_the_filters_too() {
    let told = |kind, tenant: &str| {
        Event::new("1".into(), kind, TenantId::from(tenant), "c1".into(), Map::from_iter([("x".to_owned(), json!(1))]))
    };
    let kit = Kit::with_ports([plain()], |ports| {
        ports.filters = vec![Arc::new(Filter(SECOND / 10, |event: &Event| match event.kind {
            EventType::RecordingFinished => Ok(FilterVerdict::Change(Map::new())),
            _ => Ok(FilterVerdict::Drop),
        }))];
    });
    let beside_calls = FilteredSink::new(kit.sink.clone());
    beside_calls.emit(told(EventType::RecordingFailed, "default"));
    assert_eq!(kit.sink.events().len(), 1, "before there is a host nothing is filtered");
    beside_calls.filter_as(&kit.host);
    beside_calls.emit(told(EventType::RecordingFailed, "default"));
    beside_calls.emit(told(EventType::RecordingFinished, "default"));
    beside_calls.emit(told(EventType::RecordingFailed, "other"));
    assert_eq!(kit.sink.events().len(), 2, "another tenant's is not filtered");
    kit.host.idle().await;
    assert_eq!(kit.host.shutdown(5 * SECOND).await, 0);
    let events = kit.sink.events();
    assert_eq!(events.len(), 3);
    assert!(events[2].kind == EventType::RecordingFinished && events[2].data.is_empty());
}

/// Marks events, each after so long.
fn marks(name: &'static str, after: Duration) -> Arc<dyn EventFilters> {
    Arc::new(Filter(after, move |_: &Event| Ok(FilterVerdict::Change(Map::from_iter([(name.to_owned(), json!(1))])))))
}

#[tokio::test(start_paused = true)]
async fn events_of_a_call_that_is_up_pass_the_new_filters_in_order_and_one_under_way_its_own() {
    let kit = Kit::new([TestHandler::default(|_| pending())]);
    let leg = kit.call("c1");
    settle().await;
    let unfiltered = kit.sink.events().len();
    // The call began without a filter; its next event waits with the old one while there is a new one.
    kit.host.set_filters(vec![marks("old", SECOND / 10)]);
    press(&leg, "1");
    settle().await;
    kit.host.set_filters(vec![marks("new", Duration::ZERO)]);
    press(&leg, "2");
    sleep(SECOND).await;
    kit.host.set_filters(Vec::new());
    hang_up(&leg);
    kit.host.idle().await;
    assert_eq!(kit.host.shutdown(5 * SECOND).await, 0);
    let events = kit.sink.events();
    let marked: Vec<_> = events[unfiltered..].iter().map(|event| event.data.keys().next().cloned()).collect();
    assert_eq!((marked[0].as_deref(), marked[1].as_deref()), (Some("old"), Some("new")), "{events:?}");
    assert!(marked[2..].iter().all(|mark| !matches!(mark.as_deref(), Some("old" | "new"))));
    assert!(events[..unfiltered].iter().all(|event| !event.data.contains_key("old")));
    kit.assert_ended_once("c1");
}

#[tokio::test(start_paused = true)]
async fn what_recordings_and_batches_tell_passes_the_new_filters() {
    let kit = Kit::new([plain()]);
    let beside_calls = FilteredSink::new(kit.sink.clone());
    beside_calls.filter_as(&kit.host);
    kit.host.set_filters(vec![marks("new", Duration::ZERO)]);
    let event = Event::new("1".into(), EventType::RecordingFinished, TenantId::default(), "c1".into(), Map::new());
    beside_calls.emit(event);
    assert_eq!(kit.host.shutdown(5 * SECOND).await, 0);
    assert!(kit.sink.events()[0].data.contains_key("new"));
}
