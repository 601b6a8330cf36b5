//! Prompts that the host plays itself.

use std::collections::HashMap;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::time::{Instant, sleep};
use voxtra_core::fake::{Fate, LegVerb, VerbKind};
use voxtra_core::media::{AudioSink, LinkClosed, frame_bytes};
use voxtra_core::verbs::PlayOutcome;
use voxtra_core::{CallError, Frame};
use voxtra_plugins::Outcome;

use super::*;
use crate::ports::{PromptAudio, TenantPrompts};

/// Prompts by name, so many milliseconds long; how often each was asked for, and at what rate.
struct Shelf {
    prompts: HashMap<&'static str, u32>,
    asked: Mutex<Vec<(String, u32)>>,
    hangs: bool,
}

impl Shelf {
    fn new(prompts: &[(&'static str, u32)]) -> Arc<Self> {
        Arc::new(Self { prompts: prompts.iter().copied().collect(), asked: Mutex::default(), hangs: false })
    }
}

impl TenantPrompts for Shelf {
    fn open<'a>(
        &'a self,
        tenant: &'a TenantId,
        name: &'a str,
        rate_hz: u32,
    ) -> BoxFuture<'a, Result<PromptAudio, CallError>> {
        Box::pin(async move {
            assert_eq!(tenant, &TenantId::default());
            self.asked.lock().unwrap().push((name.to_owned(), rate_hz));
            if self.hangs {
                std::future::pending::<()>().await;
            }
            let ms = self.prompts.get(name).ok_or_else(|| CallError::Denied(format!("no {name}")))?;
            let bytes = frame_bytes(rate_hz) * *ms as usize / 20;
            Ok(PromptAudio { pcm: Bytes::from(vec![1; bytes]), rate_hz })
        })
    }
}

fn kit_with(shelf: &Arc<Shelf>, handler: TestHandler) -> Kit {
    let shelf = Arc::clone(shelf) as Arc<dyn TenantPrompts>;
    Kit::with_ports([handler], |ports| ports.prompts = Some(shelf))
}

fn media(list: &[&str]) -> Vec<String> {
    list.iter().map(|prompt| (*prompt).to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn mixed_prompts_play_in_order_and_what_was_opened_is_closed() {
    let shelf = Shelf::new(&[("menu/a.wav", 100), ("https://example.com/b.wav", 50)]);
    let kit = kit_with(
        &shelf,
        TestHandler::default(|call| async move {
            let list =
                media(&["sound:one", "sound:two", "file:menu/a.wav", "https://example.com/b.wav", "sound:three"]);
            let refused = call.play(list.clone(), String::new()).await.unwrap_err();
            assert!(refused.to_string().contains("answer it first"), "{refused}");
            call.answer().await.unwrap();
            assert_eq!(call.play(list, String::new()).await, Ok(PlayOutcome::Finished));
            Outcome::Returned
        }),
    );
    let leg = kit.call_with(leg_with_prompts_of(SECOND), "c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
    use LegVerb::*;
    let verbs: Vec<_> = leg.verbs().into_iter().filter(|v| matches!(v, Play(_) | OpenMedia(_) | CloseMedia)).collect();
    let first = &verbs[..2];
    assert_eq!(first, [Play(sounds(&["one", "two"])), OpenMedia(8_000)]);
    assert_eq!(verbs.iter().filter(|v| **v == Play(sounds(&["three"]))).count(), 1);
    let (opened, closed) = (leg.count(|v| matches!(v, OpenMedia(_))), leg.count(|v| *v == CloseMedia));
    assert_eq!(opened, closed);
    let asked = shelf.asked.lock().unwrap().clone();
    assert_eq!(asked, [("menu/a.wav".to_owned(), 8_000), ("https://example.com/b.wav".to_owned(), 8_000)]);
    // No audio of the handler's: nothing is told of it.
    assert!(!kit.kinds("c1").contains(&voxtra_core::EventType::MediaStarted));
}

#[tokio::test(start_paused = true)]
async fn a_prompt_plays_on_the_handlers_open_audio_and_leaves_it_open() {
    let shelf = Shelf::new(&[("a", 60)]);
    let kit = kit_with(
        &shelf,
        TestHandler::default(|call| async move {
            call.answer().await.unwrap();
            call.open_audio(16_000).await.unwrap();
            assert_eq!(call.play(media(&["file:a"]), String::new()).await, Ok(PlayOutcome::Finished));
            Outcome::Returned
        }),
    );
    let leg = kit.call("c1");
    settle().await;
    let said: usize = leg.verbs().iter().filter(|v| matches!(v, LegVerb::OpenMedia(_) | LegVerb::CloseMedia)).count();
    kit.host.idle().await;
    assert_eq!((said, kit.end_reason().as_str()), (1, "handler-returned"));
    assert_eq!(shelf.asked.lock().unwrap()[0].1, 16_000);
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_cannot_be_had_is_an_error_and_ends_nothing() {
    let shelf = Shelf::new(&[]);
    let kit = kit_with(
        &shelf,
        TestHandler::default(|call| async move {
            call.answer().await.unwrap();
            assert_eq!(call.play(media(&["file:none"]), String::new()).await.unwrap_err().kind(), "denied");
            assert_eq!(call.play(media(&["file:../x"]), String::new()).await.unwrap_err().kind(), "invalid-argument");
            // The audio that was opened for it does not keep the handler from its own.
            call.open_audio(48_000).await.unwrap();
            Outcome::Returned
        }),
    );
    kit.call("c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
}

#[tokio::test(start_paused = true)]
async fn audio_that_cannot_be_opened_fails_the_prompt() {
    let shelf = Shelf::new(&[("a", 60)]);
    let kit = kit_with(
        &shelf,
        TestHandler::default(|call| async move {
            call.answer().await.unwrap();
            for _ in 0..2 {
                assert_eq!(call.play(media(&["file:a"]), String::new()).await.unwrap_err().kind(), "telephony");
            }
            Outcome::Returned
        }),
    );
    let leg = FakeLeg::new();
    leg.set_fate(VerbKind::OpenMedia, Fate::Fails(CallError::Telephony("no".into())));
    kit.call_with(leg, "c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
}

#[tokio::test(start_paused = true)]
async fn a_shelf_that_never_answers_has_its_limit_and_a_key_does_not_wait_for_it() {
    let shelf = Arc::new(Shelf { prompts: HashMap::new(), asked: Mutex::default(), hangs: true });
    let kit = kit_with(
        &shelf,
        TestHandler::default(|call| async move {
            call.answer().await.unwrap();
            let began = Instant::now();
            assert_eq!(call.play(media(&["file:a"]), String::new()).await.unwrap_err().kind(), "provider");
            assert_eq!(began.elapsed().as_secs(), 15);
            let played = call.play(media(&["file:a", "sound:never"]), "1".into()).await;
            assert_eq!(played, Ok(PlayOutcome::Interrupted('1')));
            assert_eq!(began.elapsed().as_secs(), 16);
            let id = call.start_playback(media(&["file:a"])).await.unwrap();
            call.stop_playback(id.clone()).await.unwrap();
            assert_eq!(call.wait_playback(id, SECOND).await, Ok(PlayOutcome::Stopped));
            Outcome::Returned
        }),
    );
    let leg = kit.call("c1");
    sleep(16 * SECOND).await;
    press(&leg, "1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
    assert_eq!(leg.count(|v| matches!(v, LegVerb::Play(_) | LegVerb::StopPlayback)), 0);
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_open_its_audio_while_a_prompt_waits_for_its_own() {
    let shelf = Arc::new(Shelf { prompts: HashMap::new(), asked: Mutex::default(), hangs: true });
    let kit = kit_with(
        &shelf,
        TestHandler::default(|call| async move {
            call.answer().await.unwrap();
            let id = call.start_playback(media(&["file:a"])).await;
            settle().await;
            assert_eq!(call.open_audio(16_000).await.unwrap_err().kind(), "limit-exceeded");
            call.open_audio(8_000).await.unwrap();
            call.close_audio();
            settle().await;
            call.stop_playback(id.unwrap()).await.unwrap();
            sleep(SECOND).await;
            call.open_audio(16_000).await.unwrap();
            Outcome::Returned
        }),
    );
    let leg = kit.call("c1");
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "handler-returned");
    use LegVerb::{CloseMedia, OpenMedia};
    let media: Vec<_> = leg.verbs().into_iter().filter(|v| matches!(v, OpenMedia(_) | CloseMedia)).collect();
    assert_eq!(media, [OpenMedia(8_000), CloseMedia, OpenMedia(16_000)]);
}

#[tokio::test(start_paused = true)]
async fn the_caller_may_leave_while_a_prompt_of_the_hosts_plays() {
    let shelf = Arc::new(Shelf { prompts: HashMap::new(), asked: Mutex::default(), hangs: true });
    let kit = kit_with(
        &shelf,
        TestHandler::default(|call| async move {
            call.answer().await.unwrap();
            assert_eq!(call.play(media(&["file:a"]), String::new()).await, Err(CallError::HungUp));
            Outcome::Returned
        }),
    );
    let leg = kit.call("c1");
    sleep(SECOND).await;
    hang_up(&leg);
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "caller-hung-up");
    kit.assert_ended_once("c1");
}

/// A sink with room for 200 ms that says 20 ms each 20 ms.
#[derive(Default)]
struct SlowSink {
    inner: Mutex<(u32, Option<Waker>, bool)>,
}

impl AudioSink for SlowSink {
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), LinkClosed>> {
        let mut inner = self.inner.lock().unwrap();
        if inner.2 {
            return Poll::Ready(Err(LinkClosed));
        }
        if inner.0 < 200 {
            return Poll::Ready(Ok(()));
        }
        inner.1 = Some(cx.waker().clone());
        Poll::Pending
    }

    fn push(&self, frame: Frame) -> Result<(), LinkClosed> {
        self.inner.lock().unwrap().0 += frame.duration_ms(8_000);
        Ok(())
    }

    fn clear(&self) {
        self.inner.lock().unwrap().0 = 0;
    }

    fn queued_ms(&self) -> u32 {
        self.inner.lock().unwrap().0
    }
}

impl SlowSink {
    async fn drain(&self) {
        loop {
            sleep(Duration::from_millis(20)).await;
            let waker = {
                let mut inner = self.inner.lock().unwrap();
                inner.0 = inner.0.saturating_sub(20);
                inner.1.take()
            };
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_prompt_is_paced_by_its_sink_and_is_over_when_it_has_been_said() {
    let audio = || PromptAudio { pcm: Bytes::from(vec![0; frame_bytes(8_000) * 50 + 7]), rate_hz: 8_000 };
    let sink = SlowSink::default();
    let began = Instant::now();
    tokio::select! {
        said = crate::task::say(audio(), &sink) => said.unwrap(),
        () = sink.drain() => {}
    }
    let took_ms = began.elapsed().as_millis();
    assert!((1_000..=1_060).contains(&took_ms), "{took_ms} ms");
    sink.inner.lock().unwrap().2 = true;
    assert_eq!(crate::task::say(audio(), &sink).await.unwrap_err().kind(), "telephony");
}
