//! Calls go over to a new version of their handler in their middle.

use std::sync::atomic::AtomicU32;

use voxtra_core::MediaLink;
use voxtra_core::fake::{BridgeVerb, LegVerb};
use voxtra_core::metering::FakeMeter;
use voxtra_core::verbs::HandlerEvent;
use voxtra_plugins::host::BridgeHost;

use super::versions::{Version, kit_with, put, taking_over, until_upgrade, up, waiting};
use super::*;
use crate::Succession;

fn keys(min: u32) -> voxtra_core::verbs::Gather {
    voxtra_core::verbs::Gather {
        prompt: Vec::new(),
        min_digits: min,
        max_digits: min,
        terminators: String::new(),
        first_timeout: SECOND,
        inter_digit_timeout: SECOND,
        total_timeout: None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_over_to_the_new_version_and_keeps_its_leg_its_metadata_its_events_and_its_keys() {
    let (before, after) = (Notes::default(), Notes::default());
    let old = waiting("old", &before);
    let seen = after.clone();
    let new =
        Version::new("new", |_| async { Outcome::Error("it is no new call".into()) }).restores(move |call, state| {
            let seen = seen.clone();
            async move {
                assert_eq!(
                    (state.as_slice(), call.metadata_get("note").as_deref()),
                    (b"state".as_slice(), Some("kept"))
                );
                assert!(matches!(call.next_event(SECOND).await, Ok(HandlerEvent::Dtmf(_))));
                seen.add(call.gather(keys(2)).await.unwrap().digits);
                sleep(2 * SECOND).await;
                Outcome::Returned
            }
        });
    let meter = Arc::<FakeMeter>::default();
    let port = Arc::clone(&meter);
    let kit = Kit::with_ports([], |ports| ports.meter = Some(port));
    let script = Arc::clone(&old.script);
    let old = Version {
        script: Arc::new(move |call| {
            call.metadata_set("note".into(), "kept".into()).unwrap();
            script(call)
        }),
        ..old
    };
    put(&kit, &old);
    let leg = kit.call("c1");
    settle().await;
    assert_eq!((up(&old), kit.host.calls()[0].version.as_str()), (1, "old"));
    // The keys come when the handler is told already, and are not its own any more.
    put(&kit, &new);
    press(&leg, "12");
    settle().await;
    assert_eq!((up(&old), up(&new), kit.host.calls()[0].version.as_str()), (0, 1, "new"));
    kit.host.idle().await;
    assert_eq!(after.all(), [r#""12""#]);
    assert!(!before.all().iter().any(|event| event.contains("Dtmf")), "{:?}", before.all());
    assert_eq!(kit.end_reason(), "handler-returned");
    let told = |key| kit.said(EventType::HandlerUpgraded, key);
    assert_eq!((told("handler"), told("from"), told("version")), ("default".into(), "old".into(), "new".into()));
    kit.assert_ended_once("c1");
    assert_eq!(leg.verbs().iter().filter(|verb| matches!(verb, LegVerb::Answer)).count(), 1);
    let hooked = |version: &Version| version.hooked.load(Ordering::Relaxed);
    assert_eq!((hooked(&old), hooked(&new), up(&new)), (0, 1, 0));
    let record = &meter.records()[0];
    assert_eq!((record.version.as_str(), record.handler_failed), ("new", false));
    assert_eq!((record.usage.cpu, record.usage.host_calls), (2 * HANDLE_CPU, 2), "both instances count");
    assert_eq!(kit.host.stats().upgraded, 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_over_again_and_again() {
    let notes = Notes::default();
    let kit = kit_with(&waiting("v1", &notes));
    let leg = kit.call("c1");
    settle().await;
    for (version, keeps) in [("v2", Duration::ZERO), ("v3", Duration::ZERO), ("v4", SECOND)] {
        put(&kit, &taking_over(version, &notes, keeps));
        settle().await;
        assert_eq!(kit.host.calls()[0].version, version);
    }
    // Twice while the handler is busy: it goes to the last one at once.
    sleep(SECOND / 2).await;
    put(&kit, &taking_over("v5", &notes, SECOND));
    put(&kit, &taking_over("v6", &notes, SECOND));
    sleep(2 * SECOND).await;
    assert_eq!(kit.host.calls()[0].version, "v6");
    hang_up(&leg);
    kit.host.idle().await;
    kit.assert_ended_once("c1");
    assert_eq!((kit.end_reason().as_str(), kit.host.stats().upgraded), ("caller-hung-up", 4));
}

#[tokio::test(start_paused = true)]
async fn placed_calls_bridges_and_audio_stay_up_and_are_the_new_versions() {
    type Kept = Arc<Mutex<Vec<(SharedCall, SharedCall, Arc<dyn BridgeHost>, MediaLink)>>>;
    let (kept, notes) = (Kept::default(), Notes::default());
    let keeps = Arc::clone(&kept);
    let old = Version::new("old", move |call| {
        let keeps = Arc::clone(&keeps);
        async move {
            call.answer().await.unwrap();
            let child = call.originate(placing::to("91")).await.unwrap();
            let bridge = call.create_bridge().await.unwrap();
            drop(call.create_bridge().await.unwrap());
            let audio = call.open_audio(8_000).await.unwrap();
            // As an instance keeps them in its memory.
            keeps.lock().unwrap().push((Arc::clone(&call), child, bridge, audio));
            until_upgrade(&call, &Notes::default()).await
        }
    });
    let (seen, goes) = (notes.clone(), Arc::clone(&kept));
    let new = Version::new("new", |_| async { Outcome::Returned }).restores(move |call, _| {
        let (seen, goes) = (seen.clone(), Arc::clone(&goes));
        async move {
            let inherited = call.inherited();
            seen.add((inherited.calls.len(), inherited.bridges.len(), inherited.snoops.len()));
            seen.add(call.inherited().calls.len());
            // The old instance goes, and with it what it held; its audio is let go of.
            goes.lock().unwrap().drain(..).for_each(|(call, ..)| call.close_audio());
            settle().await;
            call.open_audio(8_000).await.unwrap();
            inherited.bridges[0].add(&call).await.unwrap();
            assert!(!inherited.calls[0].state().is_final());
            assert_eq!(inherited.calls[0].next_event(SECOND).await, Ok(HandlerEvent::Answered));
            inherited.bridges[0].add(&inherited.calls[0]).await.unwrap();
            sleep(SECOND).await;
            Outcome::Returned
        }
    });
    let kit = kit_with(&old);
    let leg = kit.call("c1");
    settle().await;
    kit.placed(0).deliver(LegEvent::Answered);
    settle().await;
    put(&kit, &new);
    sleep(SECOND / 2).await;
    assert_eq!(notes.all(), ["(1, 1, 0)", "0"]);
    assert!(kit.host.calls().iter().all(|call| call.version == "new"), "the placed call is the new version's too");
    let verbs = kit.exchange.bridges()[0].verbs();
    assert!(matches!(verbs.as_slice(), [BridgeVerb::Add(_), BridgeVerb::Add(_)]), "{verbs:?}");
    let opened = leg.verbs().iter().filter(|verb| matches!(verb, LegVerb::OpenMedia(_))).count();
    assert_eq!((opened, kit.kinds("c1").contains(&EventType::MediaStopped)), (1, false));
    kit.host.idle().await;
    settle().await;
    assert_eq!(media_events(&kit), ["media.started", "media.stopped"]);
    assert_eq!(kit.exchange.bridges()[0].verbs().last(), Some(&BridgeVerb::Destroy));
    assert_eq!(kit.end_reason_of("c1"), "handler-returned");
}

fn media_events(kit: &Kit) -> Vec<&'static str> {
    kit.kinds("c1").into_iter().map(EventType::as_str).filter(|kind| kind.starts_with("media.")).collect()
}

#[tokio::test(start_paused = true)]
async fn the_beginning_and_the_end_of_the_audio_are_told_in_turn_whatever_the_new_version_does_with_it() {
    let (began, ended) = ("media.started", "media.stopped");
    for (reopened_at, wanted) in [
        (Some(8_000), vec![began, ended]),
        // Another rate is another connection.
        (Some(16_000), vec![began, ended, began, ended]),
        (None, vec![began, ended]),
    ] {
        let notes = Notes::default();
        let heard = notes.clone();
        let old = Version::new("old", |call| async move {
            call.answer().await.unwrap();
            call.open_audio(8_000).await.unwrap();
            until_upgrade(&call, &Notes::default()).await
        });
        let new = Version::new("new", |_| async { Outcome::Returned }).restores(move |call, _| {
            let heard = heard.clone();
            async move {
                if let Some(rate_hz) = reopened_at {
                    call.open_audio(rate_hz).await.unwrap();
                }
                heard.add(call.next_event(SECOND).await);
                Outcome::Returned
            }
        });
        let kit = kit_with(&old);
        kit.call("c1");
        sleep(SECOND / 2).await;
        assert_eq!(media_events(&kit), [began]);
        put(&kit, &new);
        kit.host.idle().await;
        assert_eq!(media_events(&kit), wanted, "{reopened_at:?}");
        let heard = if reopened_at.is_some() { "Ok(MediaStarted)" } else { "Err(Timeout)" };
        assert_eq!(notes.all(), [heard], "who opens it is told, as ever");
    }
}

#[tokio::test(start_paused = true)]
async fn the_old_version_goes_on_with_its_own_state_when_the_new_one_cannot() {
    let plain = || Version::new("bad", |_| async { Outcome::Returned });
    let bad = [
        ("it is broken", Version { starts: false, ..plain() }),
        ("of another form", plain().restores(|_, _| async { Outcome::Error("it is of another form".into()) })),
        ("panicked", plain().restores(|_, _| async { trap() })),
        ("nothing on the call for 5 s", plain().restores(|_, _| std::future::pending())),
    ];
    for (why, bad) in bad {
        let notes = Notes::default();
        let again = notes.clone();
        let old = waiting("old", &notes).restores(move |call, state| {
            let again = again.clone();
            async move {
                again.add(String::from_utf8(state).unwrap());
                until_upgrade(&call, &again).await
            }
        });
        let kit = kit_with(&old);
        let leg = kit.call("c1");
        settle().await;
        put(&kit, &bad);
        sleep(6 * SECOND).await;
        assert!(kit.said(EventType::Error, "message").contains(why), "{}", kit.said(EventType::Error, "message"));
        assert_eq!((kit.host.calls()[0].version.as_str(), up(&old), up(&bad)), ("old", 1, 0), "{why}");
        // That version is not tried again, another is.
        put(&kit, &bad);
        sleep(6 * SECOND).await;
        let errors = kit.kinds("c1").iter().filter(|kind| **kind == EventType::Error).count();
        assert_eq!((errors, up(&old)), (1, 1), "{why}");
        put(&kit, &taking_over("good", &notes, SECOND));
        sleep(SECOND).await;
        assert_eq!(kit.host.calls()[0].version, "good", "{why}");
        assert_eq!(notes.all().iter().filter(|note| note.as_str() == r#""state""#).count(), 2);
        hang_up(&leg);
        kit.host.idle().await;
        assert_eq!((kit.end_reason().as_str(), kit.host.stats().handler_failures), ("caller-hung-up", 0), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_finds_no_room_for_the_next_version_asks_again() {
    let notes = Notes::default();
    let again = notes.clone();
    let old = waiting("old", &notes).restores(move |call, _| {
        let again = again.clone();
        async move { until_upgrade(&call, &again).await }
    });
    let new = taking_over("new", &notes, SECOND);
    new.busy.store(2, Ordering::Relaxed);
    let kit = kit_with(&old);
    let leg = kit.call("c1");
    settle().await;
    put(&kit, &new);
    sleep(3 * SECOND).await;
    assert_eq!((kit.host.calls()[0].version.as_str(), up(&old)), ("old", 1));
    sleep(2 * SECOND).await;
    assert_eq!((kit.host.calls()[0].version.as_str(), up(&old)), ("new", 0));
    hang_up(&leg);
    kit.host.idle().await;
    assert!(!kit.kinds("c1").contains(&EventType::Error));
}

#[tokio::test(start_paused = true)]
async fn a_new_version_that_fails_once_it_has_the_call_fails_as_any_handler() {
    let new = Version::new("new", |_| async { Outcome::Returned }).restores(|call, _| async move {
        call.metadata_set("by".into(), "the next".into()).unwrap();
        trap()
    });
    let kit = kit_with(&waiting("old", &Notes::default()));
    kit.call_with(leg_with_prompts_of(SECOND), "c1");
    settle().await;
    put(&kit, &new);
    kit.host.idle().await;
    assert_eq!((kit.end_reason().as_str(), kit.host.stats().handler_failures), ("handler-failed", 1));
    assert_eq!(kit.said(EventType::HandlerUpgraded, "version"), "new");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_cannot_save_fails_and_one_that_had_finished_has_finished() {
    type Saved = Result<Option<Vec<u8>>, Outcome>;
    type Case = (fn() -> Saved, &'static str, &'static str);
    let cases: [Case; 3] = [
        (|| Err(Outcome::Error("its state could not be saved: no".into())), "handler-failed", "could not be saved"),
        (|| Err(trap()), "handler-failed", "panicked"),
        (|| Ok(None), "handler-returned", ""),
    ];
    for (saved, reason, why) in cases {
        let kit = kit_with(&waiting("old", &Notes::default()).saves(saved));
        kit.call_with(leg_with_prompts_of(SECOND), "c1");
        settle().await;
        put(&kit, &taking_over("new", &Notes::default(), SECOND));
        kit.host.idle().await;
        assert_eq!((kit.end_reason().as_str(), kit.host.stats().upgraded), (reason, 0));
        if !why.is_empty() {
            assert!(kit.said(EventType::CallEnded, "detail").contains(why));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_save_that_does_not_end_is_cut_off() {
    let mut old = waiting("old", &Notes::default());
    old.save = Arc::new(|| Box::pin(std::future::pending()));
    let kit = kit_with(&old);
    kit.call_with(leg_with_prompts_of(SECOND), "c1");
    settle().await;
    put(&kit, &taking_over("new", &Notes::default(), SECOND));
    kit.host.idle().await;
    assert!(kit.said(EventType::CallEnded, "detail").contains("`save` took longer than 2 s"));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_was_not_told_or_does_not_ask_keeps_its_calls() {
    // It returns by itself: nothing is saved, and the call is over.
    let old = Version::new("old", |call| async move {
        call.answer().await.unwrap();
        sleep(SECOND).await;
        Outcome::Returned
    });
    let kit = kit_with(&old);
    kit.call("c1");
    settle().await;
    put(&kit, &taking_over("new", &Notes::default(), SECOND));
    kit.host.idle().await;
    assert_eq!((kit.end_reason().as_str(), kit.host.stats().upgraded), ("handler-returned", 0));
    // The manifest does not say mid-call.
    let notes = Notes::default();
    let kit = kit_with(&waiting("old", &notes));
    let leg = kit.call("c2");
    settle().await;
    put(&kit, &Version { succession: Succession::default(), ..taking_over("new", &notes, SECOND) });
    sleep(60 * SECOND).await;
    assert_eq!(kit.host.calls()[0].version, "old");
    hang_up(&leg);
    kit.host.idle().await;
    assert_eq!(kit.host.stats().upgraded, 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_looks_between_its_prompts_hears_of_it_there() {
    let asked = Arc::new(AtomicU32::new(0));
    let counts = Arc::clone(&asked);
    let old = Version::new("old", move |call| {
        let counts = Arc::clone(&counts);
        async move {
            call.answer().await.unwrap();
            while !call.upgrade_pending() {
                counts.fetch_add(1, Ordering::Relaxed);
                let _ = call.gather(keys(1)).await;
            }
            // It is not told twice.
            assert!(!matches!(call.next_event(SECOND / 2).await, Ok(HandlerEvent::UpgradeReady)));
            Outcome::Returned
        }
    });
    let kit = kit_with(&old);
    let leg = kit.call("c1");
    sleep(5 * SECOND / 2).await;
    put(&kit, &taking_over("new", &Notes::default(), 9 * SECOND));
    sleep(3 * SECOND).await;
    assert_eq!((asked.load(Ordering::Relaxed), kit.host.calls()[0].version.as_str()), (3, "new"));
    hang_up(&leg);
    kit.host.idle().await;
}

/// What the handler waits for, and what it hears of that.
type Wait = fn(SharedCall) -> BoxFuture<'static, String>;

#[tokio::test(start_paused = true)]
async fn one_that_waits_in_one_verb_hears_of_it_when_that_returns_and_that_takes_ten_minutes_at_most() {
    const HOURS: Duration = Duration::from_secs(3 * 60 * 60);
    let play: Wait = |call| Box::pin(async move { format!("{:?}", call.play(sounds(&["a"]), String::new()).await) });
    let gather: Wait = |call| {
        Box::pin(async move {
            let patient = voxtra_core::verbs::Gather { first_timeout: HOURS, inter_digit_timeout: HOURS, ..keys(4) };
            let digits = call.gather(patient).await.unwrap();
            format!("{} {:?}", digits.digits, digits.ended_by)
        })
    };
    let wait: Wait = |call| {
        Box::pin(async move {
            let id = call.start_playback(sounds(&["a"])).await.unwrap();
            format!("{:?}", call.wait_playback(id, HOURS).await)
        })
    };
    let cases = [
        (play, 60, 60, "Ok(Finished)"),
        (play, HOURS.as_secs(), 600, "Ok(Stopped)"),
        (gather, 60, 600, "12 Timeout"),
        (wait, HOURS.as_secs(), 600, "Err(Timeout)"),
    ];
    for (waits, prompts_of, takes, hears) in cases {
        let notes = Notes::default();
        let heard = notes.clone();
        let old = Version::new("old", move |call| {
            let heard = heard.clone();
            async move {
                call.answer().await.unwrap();
                heard.add(waits(Arc::clone(&call)).await);
                assert!(call.upgrade_pending());
                Outcome::Returned
            }
        });
        let kit = kit_with(&old);
        let leg = kit.call_with(leg_with_prompts_of(Duration::from_secs(prompts_of)), "c1");
        settle().await;
        put(&kit, &taking_over("new", &Notes::default(), SECOND));
        press(&leg, "12");
        sleep(Duration::from_secs(takes) - SECOND).await;
        assert_eq!((notes.all().len(), kit.host.calls()[0].version.as_str()), (0, "old"), "{hears}");
        sleep(2 * SECOND).await;
        assert_eq!((notes.all(), kit.host.calls()[0].version.as_str()), (vec![format!("{hears:?}")], "new"));
        hang_up(&leg);
        kit.host.idle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_goes_on_for_a_handler_that_has_heard_and_where_no_version_waits() {
    for (hears, comes_back) in [(true, false), (false, true)] {
        let old = Version::new("old", move |call| async move {
            call.answer().await.unwrap();
            sleep(SECOND).await;
            assert_eq!(hears && call.upgrade_pending(), hears);
            let played = call.play(sounds(&["a"]), String::new()).await;
            Outcome::Error(format!("{played:?}"))
        });
        let kit = kit_with(&old);
        kit.call_with(leg_with_prompts_of(1_200 * SECOND), "c1");
        settle().await;
        put(&kit, &taking_over("new", &Notes::default(), SECOND));
        sleep(2 * SECOND).await;
        if comes_back {
            put(&kit, &old);
        }
        kit.host.idle().await;
        assert!(kit.said(EventType::CallEnded, "detail").contains("Ok(Finished)"), "{hears}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_hangs_up_in_the_middle_of_it_is_let_go_once() {
    for after_ms in [0, 1, 2_000, 4_999, 5_000, 5_001] {
        let old = waiting("old", &Notes::default())
            .restores(|call, _| async move { until_upgrade(&call, &Notes::default()).await });
        let slow = Version::new("slow", |_| async { Outcome::Returned }).restores(|_, _| std::future::pending());
        let kit = kit_with(&old);
        let leg = kit.call("c1");
        settle().await;
        put(&kit, &slow);
        sleep(Duration::from_millis(after_ms)).await;
        hang_up(&leg);
        kit.host.idle().await;
        settle().await;
        kit.assert_ended_once("c1");
        let hooked = old.hooked.load(Ordering::Relaxed) + slow.hooked.load(Ordering::Relaxed);
        assert_eq!((hooked, up(&old), up(&slow)), (1, 0, 0), "{after_ms}");
        assert_eq!(kit.end_reason(), "caller-hung-up");
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_back_before_the_handler_returns_keeps_the_call() {
    let notes = Notes::default();
    let again = notes.clone();
    let old = Version::new("old", |call| async move {
        call.answer().await.unwrap();
        while !call.upgrade_pending() {
            sleep(SECOND).await;
        }
        sleep(SECOND).await;
        Outcome::Returned
    })
    .restores(move |call, state| {
        again.add(String::from_utf8(state).unwrap());
        async move { until_upgrade(&call, &Notes::default()).await }
    });
    let kit = kit_with(&old);
    let leg = kit.call("c1");
    settle().await;
    put(&kit, &taking_over("new", &notes, SECOND));
    sleep(3 * SECOND / 2).await;
    put(&kit, &old);
    sleep(3 * SECOND).await;
    assert_eq!((notes.all(), kit.host.calls()[0].version.as_str()), (vec![r#""state""#.to_owned()], "old"));
    hang_up(&leg);
    kit.host.idle().await;
    assert_eq!(kit.host.stats().upgraded, 0);
}
