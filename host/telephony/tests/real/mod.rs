//! An adapter in front of a real Asterisk, and telephones that call it.
#![allow(dead_code, unreachable_pub)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use voxtra_core::telephony::{Exchange, Leg, LegEnd, PlacedLeg};
use voxtra_core::{CallId, HangupCause, LegEvent, LegEvents, NewLeg, Refusal, Switchboard};
use voxtra_telephony::asterisk::{AsteriskAdapter, AsteriskOptions, MediaTransport};
use voxtra_telephony::media::MediaThreads;
use voxtra_test_support::asterisk::PbxUnderTest;
use voxtra_test_support::{ActiveCall, Asterisk, AsteriskOptions as PbxOptions, CallOptions, Phone};

/// Longer than anything takes when it works.
pub const LONG: Duration = Duration::from_secs(15);
pub const APP: &str = "voxtra";

/// A switchboard that keeps its legs.
#[derive(Default)]
pub struct Desk {
    legs: Mutex<Vec<(NewLeg, Arc<Diary>)>>,
    pub refuse: Mutex<Option<HangupCause>>,
}

impl Desk {
    pub fn legs(&self) -> Vec<(NewLeg, Arc<Diary>)> {
        self.legs.lock().unwrap().clone()
    }
}

/// The events of one leg.
#[derive(Default)]
pub struct Diary(Mutex<Vec<LegEvent>>);

impl LegEvents for Diary {
    fn deliver(&self, event: LegEvent) {
        self.0.lock().unwrap().push(event);
    }
}

impl Diary {
    pub fn events(&self) -> Vec<LegEvent> {
        self.0.lock().unwrap().clone()
    }

    pub fn ends(&self) -> Vec<LegEnd> {
        let end = |event| if let LegEvent::Ended(end) = event { Some(end) } else { None };
        self.events().into_iter().filter_map(end).collect()
    }

    pub async fn until(&self, what: impl Fn(&LegEvent) -> bool) -> Result<LegEvent> {
        let until = Instant::now() + LONG;
        while Instant::now() < until {
            if let Some(event) = self.events().into_iter().find(&what) {
                return Ok(event);
            }
            sleep(Duration::from_millis(5)).await;
        }
        bail!("it did not happen; there was {:?}", self.events())
    }

    pub async fn end(&self) -> Result<LegEnd> {
        match self.until(|event| matches!(event, LegEvent::Ended(_))).await? {
            LegEvent::Ended(end) => Ok(end),
            _ => unreachable!(),
        }
    }
}

impl Switchboard for Desk {
    fn incoming(&self, leg: NewLeg) -> Result<Arc<dyn LegEvents>, Refusal> {
        if let Some(cause) = *self.refuse.lock().unwrap() {
            return Err(Refusal { reason: "the host is stopping".to_owned(), cause });
        }
        let diary = Arc::new(Diary::default());
        self.legs.lock().unwrap().push((leg, Arc::clone(&diary)));
        Ok(diary)
    }
}

/// A running adapter.
pub struct Scene {
    pub desk: Arc<Desk>,
    pub adapter: AsteriskAdapter,
    pub pbx: PbxUnderTest,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
}

/// A call from both of its ends.
pub struct Call {
    pub phone: ActiveCall,
    pub new: NewLeg,
    pub leg: Arc<dyn Leg>,
    pub diary: Arc<Diary>,
}

impl Call {
    pub fn id(&self) -> &CallId {
        &self.new.id
    }
}

impl Scene {
    pub async fn start(name: &str) -> Result<Option<Self>> {
        Self::start_with(name, |_| {}).await
    }

    pub async fn start_with(name: &str, change: impl FnOnce(&mut AsteriskOptions)) -> Result<Option<Self>> {
        let Some(pbx) = Asterisk::for_test(name, PbxOptions::default()).await? else { return Ok(None) };
        let (desk, adapter) = adapter_of(&pbx, change)?;
        let mut scene = Self { desk, adapter, pbx, stop: None, running: None };
        scene.run().await?;
        Ok(Some(scene))
    }

    /// Runs the adapter.
    pub async fn run(&mut self) -> Result<()> {
        let (stop, stopped) = oneshot::channel::<()>();
        let runs = self.adapter.clone();
        self.stop = Some(stop);
        self.running = Some(tokio::spawn(async move {
            runs.run(async {
                let _ = stopped.await;
            })
            .await;
        }));
        self.until("a connection", |s| !s.adapter.stats().connected_apps.is_empty()).await
    }

    pub async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<()> {
        let until = Instant::now() + LONG;
        while Instant::now() < until {
            if is_so(self) {
                return Ok(());
            }
            sleep(Duration::from_millis(5)).await;
        }
        bail!("{what} did not happen\n{}", self.pbx.log_tail())
    }

    pub fn exchange(&self) -> Arc<dyn Exchange> {
        self.adapter.exchange(APP).unwrap()
    }

    /// The leg of the caller of this number.
    pub async fn leg_of(&self, from: &str) -> Result<(NewLeg, Arc<Diary>)> {
        let find = |s: &Self| s.desk.legs.lock().unwrap().iter().find(|(leg, _)| leg.caller_id == from).cloned();
        self.until("a call", |s| find(s).is_some()).await?;
        find(self).context("no call")
    }

    /// A telephone calls and is answered.
    pub async fn call(&self, from: &str) -> Result<Call> {
        let (sip, caller) = (self.pbx.sip_addr(), from.to_owned());
        let phone = tokio::spawn(async move { Phone::call(sip, "100", CallOptions::from(caller)).await });
        let (new, diary) = self.leg_of(from).await?;
        new.leg.answer().await?;
        let phone = phone.await??;
        diary.until(|event| *event == LegEvent::Answered).await?;
        let leg = Arc::clone(&new.leg);
        Ok(Call { phone, new, leg, diary })
    }

    /// Places a leg to somebody of the context `callers`.
    pub async fn place(
        &self,
        id: &str,
        to: &str,
        change: impl FnOnce(&mut PlacedLeg),
    ) -> Result<(Arc<dyn Leg>, Arc<Diary>)> {
        let mut placed = PlacedLeg {
            id: CallId::from(id),
            endpoint: format!("Local/{to}@callers/n"),
            caller_id: "4711".to_owned(),
            ring_timeout: Duration::from_secs(10),
            variables: Vec::new(),
            into_dialplan: None,
        };
        change(&mut placed);
        let diary = Arc::new(Diary::default());
        let leg = self.exchange().originate(&placed, Arc::clone(&diary) as Arc<dyn LegEvents>).await?;
        Ok((leg, diary))
    }

    /// Nothing is left at the PBX.
    pub async fn nothing_is_left(&self) -> Result<()> {
        let none = self.pbx.wait_for_channels(0, LONG).await?;
        let until = Instant::now() + LONG;
        let mut bridges = self.pbx.cli("bridge show all").await?;
        while bridges.contains("stasis") && Instant::now() < until {
            pause(50).await;
            bridges = self.pbx.cli("bridge show all").await?;
        }
        if !none || bridges.contains("stasis") {
            bail!("something is left:\n{}\n{bridges}", self.pbx.cli("core show channels").await?);
        }
        Ok(())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

/// An adapter for this PBX.
pub fn adapter_of(pbx: &Asterisk, change: impl FnOnce(&mut AsteriskOptions)) -> Result<(Arc<Desk>, AsteriskAdapter)> {
    let mut options = AsteriskOptions::new(pbx.ari_url(), pbx.user(), pbx.password(), [APP]);
    options.media_transport = MediaTransport::AudioSocket;
    options.defaults.machine_detection_context = Some(format!("amd-{APP}"));
    change(&mut options);
    let desk = Arc::new(Desk::default());
    let adapter = AsteriskAdapter::new(options, MediaThreads::start(1)?, Arc::clone(&desk) as Arc<dyn Switchboard>)?;
    Ok((desk, adapter))
}

pub async fn pause(ms: u64) {
    sleep(Duration::from_millis(ms)).await;
}
