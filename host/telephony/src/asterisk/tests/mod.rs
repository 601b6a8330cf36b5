//! The adapter against a small PBX of our own (`fake`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod apps;
mod calls;
mod ends;
mod fake;
mod losses;
mod media;
mod verbs;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use voxtra_core::telephony::LegEnd;
use voxtra_core::{HangupCause, LegEvent, LegEvents, NewLeg, Refusal, Switchboard};

use self::fake::{APP, FakePbx, Pbx};
use super::{AsteriskAdapter, AsteriskOptions, MediaTransport};
use crate::media::MediaThreads;

/// More than anything here takes; less than anybody wants to wait.
const PATIENCE: Duration = Duration::from_secs(20);

/// A switchboard that keeps its legs and what happened to them.
#[derive(Default)]
struct Desk {
    legs: Mutex<Vec<NewLeg>>,
    diaries: Mutex<Vec<(String, Arc<Diary>)>>,
    refuse: Mutex<Option<HangupCause>>,
}

/// The events of one leg.
#[derive(Default)]
struct Diary(Mutex<Vec<LegEvent>>);

impl LegEvents for Diary {
    fn deliver(&self, event: LegEvent) {
        self.0.lock().unwrap().push(event);
    }
}

impl Diary {
    fn events(&self) -> Vec<LegEvent> {
        self.0.lock().unwrap().clone()
    }

    fn ends(&self) -> Vec<LegEnd> {
        let end = |event| if let LegEvent::Ended(end) = event { Some(end) } else { None };
        self.events().into_iter().filter_map(end).collect()
    }
}

impl Switchboard for Desk {
    fn incoming(&self, leg: NewLeg) -> Result<Arc<dyn LegEvents>, Refusal> {
        if let Some(cause) = *self.refuse.lock().unwrap() {
            return Err(Refusal { reason: "no route".to_owned(), cause });
        }
        let diary = Arc::new(Diary::default());
        self.diaries.lock().unwrap().push((leg.id.to_string(), Arc::clone(&diary)));
        self.legs.lock().unwrap().push(leg);
        Ok(diary)
    }
}

/// A running adapter.
struct Scene {
    fake: FakePbx,
    desk: Arc<Desk>,
    adapter: AsteriskAdapter,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Scene {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut AsteriskOptions)) -> Self {
        Self::prepared(|_| {}, change).await
    }

    async fn prepared(prepare: impl FnOnce(&Pbx), change: impl FnOnce(&mut AsteriskOptions)) -> Self {
        let fake = FakePbx::start().await;
        prepare(&fake.pbx);
        let mut options = AsteriskOptions::new(&fake.base_url, "bob", "secret", [APP]);
        options.media_transport = MediaTransport::AudioSocket;
        options.limits.request = Duration::from_secs(10);
        options.limits.media_setup = Duration::from_secs(10);
        options.limits.unknown_grace = Duration::from_millis(50);
        options.limits.transfer_grace = Duration::from_millis(300);
        change(&mut options);
        let desk = Arc::new(Desk::default());
        let threads = MediaThreads::on_current_runtime();
        let adapter = AsteriskAdapter::new(options, threads, Arc::clone(&desk) as Arc<dyn Switchboard>).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let runs = adapter.clone();
        let running = tokio::spawn(async move {
            runs.run(async {
                let _ = stopped.await;
            })
            .await;
        });
        let scene = Self { fake, desk, adapter, stop: Some(stop), running };
        scene.until(|s| s.pbx().has_events_connection()).await;
        scene
    }

    fn pbx(&self) -> &Pbx {
        &self.fake.pbx
    }

    async fn until(&self, what: impl Fn(&Self) -> bool) {
        let waited = timeout(PATIENCE, async {
            while !what(self) {
                sleep(Duration::from_millis(2)).await;
            }
        });
        if waited.await.is_err() {
            panic!("it did not happen; the PBX saw {:#?}", self.pbx().seen());
        }
    }

    /// A call comes in and is taken.
    async fn call(&self, id: &str) -> (NewLeg, Arc<Diary>) {
        self.pbx().call(id);
        self.until(|s| s.desk.legs.lock().unwrap().iter().any(|leg| leg.id.as_str() == id)).await;
        self.leg(id)
    }

    fn leg(&self, id: &str) -> (NewLeg, Arc<Diary>) {
        let leg = self.desk.legs.lock().unwrap().iter().rfind(|leg| leg.id.as_str() == id).unwrap().clone();
        let diary = self.desk.diaries.lock().unwrap().iter().rfind(|(of, _)| of == id).unwrap().1.clone();
        (leg, diary)
    }

    async fn until_nothing_is_left(&self) {
        self.until(|s| s.pbx().channels().is_empty() && s.pbx().bridges().is_empty()).await;
        self.until(|s| s.adapter.app(0).registry.sizes() == (0, 0, 0, 0)).await;
    }
}
