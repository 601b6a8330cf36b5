//! Calls stay on a version that was replaced for as long as they may.

use voxtra_core::fake::LegVerb;
use voxtra_core::verbs::HandlerEvent;
use voxtra_core::{CallError, MediaLink};

use super::versions::{Version, kit_with, put, up};
use super::*;
use crate::Succession;
use crate::options::Then;

/// A version that stays with its call to the end.
fn staying(version: &'static str, drain_limit: Option<Duration>) -> Version {
    let staying = Version::new(version, |call| async move {
        call.answer().await.unwrap();
        loop {
            if let Ok(HandlerEvent::Ended(_)) | Err(CallError::HungUp) = call.next_event(99 * SECOND).await {
                return Outcome::Returned;
            }
        }
    });
    Version { succession: Succession { mid_call: false, drain_limit }, ..staying }
}

#[tokio::test(start_paused = true)]
async fn a_call_may_stay_on_a_replaced_version_for_so_long_and_then_its_failure_policy_has_it() {
    let policy = OnFailure { play: Some(Vec::new()), then: Then::Transfer("100".into()) };
    let kit = Kit::with(HostOptions::default(), policy, []);
    let old = staying("old", None);
    put(&kit, &old);
    let leg = kit.call("c1");
    sleep(SECOND).await;
    put(&kit, &staying("new", Some(60 * SECOND)));
    sleep(30 * SECOND).await;
    // A version after that does not give it more time.
    put(&kit, &staying("newer", Some(60 * SECOND)));
    let other = kit.call("c2");
    sleep(29 * SECOND).await;
    assert_eq!((up(&old), kit.host.calls().len()), (1, 2));
    sleep(2 * SECOND).await;
    assert_eq!(up(&old), 0, "its memory is free");
    assert!(
        kit.said(EventType::Error, "message").contains("version old was replaced, and its calls may stay for 60000 ms")
    );
    assert!(leg.verbs().iter().any(|verb| matches!(verb, LegVerb::Transfer(_))), "{:?}", leg.verbs());
    assert_eq!(kit.host.stats().drained, 1);
    leg.deliver(LegEvent::Ended(LegEnd::Transferred));
    sleep(90 * SECOND).await;
    assert_eq!(kit.host.calls().len(), 1, "a call of the current version stays");
    hang_up(&other);
    kit.host.idle().await;
    assert_eq!((kit.end_reason_of("c1").as_str(), kit.end_reason_of("c2").as_str()), ("transferred", "caller-hung-up"));
    // Nothing is held against the version.
    assert_eq!(kit.host.stats().handler_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_current_again_keeps_its_calls_and_without_a_limit_all_do() {
    let old = staying("old", Some(10 * SECOND));
    let kit = kit_with(&old);
    let leg = kit.call("c1");
    sleep(SECOND).await;
    put(&kit, &staying("new", Some(10 * SECOND)));
    sleep(8 * SECOND).await;
    put(&kit, &old);
    sleep(60 * SECOND).await;
    put(&kit, &staying("newer", Some(10 * SECOND)));
    sleep(9 * SECOND).await;
    put(&kit, &staying("newest", None));
    sleep(3_600 * SECOND).await;
    assert_eq!((up(&old), kit.host.stats().drained), (1, 0));
    hang_up(&leg);
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "caller-hung-up");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_is_gone_drains_as_its_last_version_said() {
    let old = staying("old", Some(10 * SECOND));
    let kit = kit_with(&old);
    kit.call_with(leg_with_prompts_of(SECOND), "c1");
    sleep(SECOND).await;
    kit.host.set_handlers(catalog([]));
    sleep(9 * SECOND).await;
    assert_eq!(up(&old), 1);
    kit.host.idle().await;
    assert_eq!((kit.end_reason().as_str(), kit.host.stats().drained), ("handler-failed", 1));
}

/// One that can be replaced, and who takes its calls then.
struct Both(Version, Arc<TestHandler>);

impl Handlers for Both {
    fn get(&self, _tenant: &TenantId, name: &HandlerName) -> Option<Arc<dyn HandlerVersion>> {
        match name.as_str() {
            "default" => Some(Arc::new(self.0.clone())),
            _ => Some(Arc::clone(&self.1) as Arc<dyn HandlerVersion>),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_lost_its_call_does_nothing_more_on_it_though_it_goes_late() {
    let kept: Arc<Mutex<Option<(SharedCall, MediaLink)>>> = Arc::default();
    let keeps = Arc::clone(&kept);
    // What it holds goes when it has its turn to, which may be late.
    let old = Version::new("old", move |call| {
        let keeps = Arc::clone(&keeps);
        async move {
            call.answer().await.unwrap();
            let audio = call.open_audio(8_000).await.unwrap();
            *keeps.lock().unwrap() = Some((call, audio));
            std::future::pending().await
        }
    });
    let second = Arc::new(TestHandler::new("second", |call| async move {
        call.open_audio(8_000).await.unwrap();
        sleep(10 * SECOND).await;
        Outcome::Returned
    }));
    let policy = OnFailure { play: Some(Vec::new()), then: Then::Handler("second".into()) };
    let kit = Kit::with(HostOptions::default(), policy, []);
    kit.host.set_handlers(Arc::new(Both(old.clone(), Arc::clone(&second))));
    let leg = kit.call("c1");
    sleep(SECOND).await;
    let new = Version { succession: Succession { mid_call: false, drain_limit: Some(SECOND) }, version: "new", ..old };
    kit.host.set_handlers(Arc::new(Both(new, second)));
    sleep(2 * SECOND).await;
    assert_eq!((kit.host.stats().drained, kit.host.calls()[0].handler.as_str()), (1, "second"));
    let (call, audio) = kept.lock().unwrap().take().unwrap();
    assert_eq!(call.play(sounds(&["a"]), String::new()).await, Err(CallError::HungUp));
    assert_eq!(call.next_event(SECOND).await, Err(CallError::HungUp));
    assert_eq!(call.metadata_set("by".into(), "the first".into()), Err(CallError::HungUp));
    assert_eq!(call.emit("late".into(), "{}".into()), Err(CallError::HungUp));
    call.close_audio();
    drop(audio);
    settle().await;
    let verbs = leg.verbs();
    let count = |wanted: fn(&LegVerb) -> bool| verbs.iter().filter(|verb| wanted(verb)).count();
    let opened = count(|verb| matches!(verb, LegVerb::OpenMedia(_)));
    let closed = count(|verb| matches!(verb, LegVerb::CloseMedia));
    assert_eq!((opened, closed, count(|verb| matches!(verb, LegVerb::Play(_)))), (2, 1, 0), "{verbs:?}");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_handed_on_when_its_time_is_over_stays_only_if_that_fails() {
    let old = Version::new("old", |call| async move {
        call.answer().await.unwrap();
        let _ = call.transfer("100".into()).await;
        std::future::pending().await
    });
    let kit = kit_with(&old);
    let leg = kit.call_with(leg_with_prompts_of(SECOND), "c1");
    sleep(SECOND).await;
    put(&kit, &staying("new", Some(SECOND)));
    sleep(5 * SECOND).await;
    assert_eq!((kit.host.stats().drained, kit.host.active()), (0, 1));
    leg.deliver(LegEvent::Ended(LegEnd::Transferred));
    kit.host.idle().await;
    assert_eq!((kit.end_reason().as_str(), kit.host.stats().drained), ("transferred", 0));
}
