//! What a call has made at the PBX beside its leg: bridges and snoops. Each is taken away once: when it is asked for, when
//! its resource is dropped, or at the latest when the call that made it ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;
use voxtra_core::{BoxFuture, Bridge, BridgeId, CallError, Capability, MediaLink, Snoop, SnoopId, TenantId};
use voxtra_plugins::host::{BridgeHost, SharedCall, SnoopHost};

use crate::host::Inner;
use crate::{check, recording_id};

/// How long a prompt may play to a bridge or a snoop.
const PROMPT_LIMIT: Duration = Duration::from_secs(600);

/// How long anything else may take there.
const VERB_LIMIT: Duration = Duration::from_secs(30);

/// A bridge, for its handler and for its call.
pub(crate) struct BridgeCore {
    bridge: Arc<dyn Bridge>,
    tenant: TenantId,
    host: Weak<Inner>,
    /// The PBX and application where it is.
    place: (String, String),
    control: Handle,
    gone: AtomicBool,
}

impl BridgeCore {
    pub(crate) fn new(
        bridge: Arc<dyn Bridge>,
        tenant: TenantId,
        host: &Arc<Inner>,
        place: (String, String),
    ) -> Arc<Self> {
        let control = host.runtimes.control.clone();
        Arc::new(Self { bridge, tenant, host: Arc::downgrade(host), place, control, gone: AtomicBool::new(false) })
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Takes it down; nobody has to wait.
    pub(crate) fn take_down(&self) -> Option<tokio::task::JoinHandle<Result<(), CallError>>> {
        if self.gone.swap(true, Ordering::Relaxed) {
            return None;
        }
        let bridge = Arc::clone(&self.bridge);
        Some(self.control.spawn(async move {
            let outcome = limited(VERB_LIMIT, bridge.destroy()).await;
            if let Err(error) = &outcome {
                tracing::warn!(bridge = %bridge.id(), %error, "a bridge could not be taken down");
            }
            outcome
        }))
    }

    fn check_there(&self) -> Result<(), CallError> {
        if self.is_gone() {
            return Err(CallError::InvalidArgument("the bridge was taken down; make another".to_owned()));
        }
        Ok(())
    }

    /// Whether a call can be joined here.
    fn check_member(&self, call: &SharedCall) -> Result<(), CallError> {
        self.check_there()?;
        if call.state().is_final() {
            return Err(CallError::HungUp);
        }
        if !call.state().is_answered() {
            return Err(CallError::InvalidArgument(
                "a call that is not answered cannot be put into a bridge; wait for its `answered`".to_owned(),
            ));
        }
        let place = self.host.upgrade().and_then(|host| host.place_of(&call.info().id));
        if place.is_none_or(|place| place != self.place) {
            return Err(CallError::InvalidArgument(
                "the call is at another PBX than the bridge; make a bridge where both are".to_owned(),
            ));
        }
        Ok(())
    }
}

/// The handler's end of a bridge.
pub(crate) struct SessionBridge(pub(crate) Arc<BridgeCore>);

impl Drop for SessionBridge {
    fn drop(&mut self) {
        drop(self.0.take_down());
    }
}

impl BridgeHost for SessionBridge {
    fn id(&self) -> &BridgeId {
        self.0.bridge.id()
    }

    fn add<'a>(&'a self, call: &'a SharedCall) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            self.0.check_member(call)?;
            limited(VERB_LIMIT, self.0.bridge.add(&call.info().id)).await
        })
    }

    fn remove<'a>(&'a self, call: &'a SharedCall) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            self.0.check_there()?;
            // A call that is over is in no bridge.
            if call.state().is_final() {
                return Ok(());
            }
            limited(VERB_LIMIT, self.0.bridge.remove(&call.info().id)).await
        })
    }

    fn add_snoop<'a>(&'a self, snoop: &'a Arc<dyn SnoopHost>) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            self.0.check_there()?;
            limited(VERB_LIMIT, self.0.bridge.add_snoop(snoop.id())).await
        })
    }

    fn play(&self, media: Vec<String>) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            check::pbx_prompts(&media)?;
            recording_id::check_own(&self.0.tenant, &media)?;
            self.0.check_there()?;
            limited(PROMPT_LIMIT, self.0.bridge.play(&media)).await
        })
    }

    fn destroy(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move { done(self.0.take_down()).await })
    }
}

/// A snoop, for its handler and for its call.
pub(crate) struct SnoopCore {
    snoop: Arc<dyn Snoop>,
    tenant: TenantId,
    control: Handle,
    gone: AtomicBool,
    listens: AtomicBool,
}

impl SnoopCore {
    pub(crate) fn new(snoop: Arc<dyn Snoop>, tenant: TenantId, control: Handle) -> Arc<Self> {
        Arc::new(Self { snoop, tenant, control, gone: AtomicBool::new(false), listens: AtomicBool::new(false) })
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Takes it away; nobody has to wait.
    pub(crate) fn take_away(&self) -> Option<tokio::task::JoinHandle<Result<(), CallError>>> {
        if self.gone.swap(true, Ordering::Relaxed) {
            return None;
        }
        let (snoop, listens) = (Arc::clone(&self.snoop), self.listens.swap(false, Ordering::Relaxed));
        Some(self.control.spawn(async move {
            if listens {
                let _ = timeout(VERB_LIMIT, snoop.close_media()).await;
            }
            let outcome = limited(VERB_LIMIT, snoop.stop()).await;
            if let Err(error) = &outcome {
                tracing::warn!(snoop = %snoop.id(), %error, "a snoop could not be taken away");
            }
            outcome
        }))
    }

    fn check_there(&self) -> Result<(), CallError> {
        if self.is_gone() {
            return Err(CallError::InvalidArgument("the snoop was taken away; make another".to_owned()));
        }
        Ok(())
    }
}

/// An end of a snoop: a handler's, or the host's own.
pub(crate) struct SessionSnoop(pub(crate) Arc<SnoopCore>);

impl Drop for SessionSnoop {
    fn drop(&mut self) {
        drop(self.0.take_away());
    }
}

impl SnoopHost for SessionSnoop {
    fn id(&self) -> &SnoopId {
        self.0.snoop.id()
    }

    fn play(&self, media: Vec<String>) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            check::pbx_prompts(&media)?;
            recording_id::check_own(&self.0.tenant, &media)?;
            self.0.check_there()?;
            limited(PROMPT_LIMIT, self.0.snoop.play(&media)).await
        })
    }

    fn open_audio(&self, rate_hz: u32) -> BoxFuture<'_, Result<MediaLink, CallError>> {
        Box::pin(async move {
            check::rate(rate_hz)?;
            self.0.check_there()?;
            if self.0.listens.swap(true, Ordering::Relaxed) {
                let why = "the snoop's audio is open already, and there is one at a time; drop that stream first";
                return Err(CallError::LimitExceeded(why.to_owned()));
            }
            // Dropped on the way, it is closed again.
            let mut opening = Opening { snoop: self, done: false };
            let opened = limited(VERB_LIMIT, self.0.snoop.open_media(rate_hz)).await;
            opening.done = opened.is_ok();
            opened
        })
    }

    fn close_audio(&self) {
        if self.0.listens.swap(false, Ordering::Relaxed) {
            let snoop = Arc::clone(&self.0.snoop);
            self.0.control.spawn(async move {
                let _ = timeout(VERB_LIMIT, snoop.close_media()).await;
            });
        }
    }

    fn stop(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move { done(self.0.take_away()).await })
    }
}

/// A bridge as a version of the handler has it that has not got the capability: those in it stay together until they are
/// taken out or it is let go of.
pub(crate) struct HeldBridge(pub(crate) Arc<dyn BridgeHost>);

impl BridgeHost for HeldBridge {
    fn id(&self) -> &BridgeId {
        self.0.id()
    }

    fn add<'a>(&'a self, _call: &'a SharedCall) -> BoxFuture<'a, Result<(), CallError>> {
        denied(Capability::Bridge)
    }

    fn remove<'a>(&'a self, call: &'a SharedCall) -> BoxFuture<'a, Result<(), CallError>> {
        self.0.remove(call)
    }

    fn add_snoop<'a>(&'a self, _snoop: &'a Arc<dyn SnoopHost>) -> BoxFuture<'a, Result<(), CallError>> {
        denied(Capability::Bridge)
    }

    fn play(&self, _media: Vec<String>) -> BoxFuture<'_, Result<(), CallError>> {
        denied(Capability::Bridge)
    }

    fn destroy(&self) -> BoxFuture<'_, Result<(), CallError>> {
        self.0.destroy()
    }
}

/// A snoop likewise: it can be let go of, and nothing is heard or said through it.
pub(crate) struct HeldSnoop(pub(crate) Arc<dyn SnoopHost>);

impl SnoopHost for HeldSnoop {
    fn id(&self) -> &SnoopId {
        self.0.id()
    }

    fn play(&self, _media: Vec<String>) -> BoxFuture<'_, Result<(), CallError>> {
        denied(Capability::Snoop)
    }

    fn open_audio(&self, _rate_hz: u32) -> BoxFuture<'_, Result<MediaLink, CallError>> {
        denied(Capability::Snoop)
    }

    fn close_audio(&self) {
        self.0.close_audio();
    }

    fn stop(&self) -> BoxFuture<'_, Result<(), CallError>> {
        self.0.stop()
    }
}

fn denied<T: Send + 'static>(capability: Capability) -> BoxFuture<'static, Result<T, CallError>> {
    Box::pin(std::future::ready(Err(capability.denied())))
}

struct Opening<'a> {
    snoop: &'a SessionSnoop,
    done: bool,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.snoop.close_audio();
        }
    }
}

/// The outcome of a task, or that there was nothing to do.
async fn done(task: Option<tokio::task::JoinHandle<Result<(), CallError>>>) -> Result<(), CallError> {
    match task {
        None => Ok(()),
        Some(task) => task.await.unwrap_or_else(|error| {
            Err(CallError::Telephony(format!("the telephony adapter broke ({error}); this is a fault of the host")))
        }),
    }
}

async fn limited<T>(limit: Duration, verb: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    let late = || CallError::Telephony(format!("the telephony adapter took longer than {} s", limit.as_secs()));
    timeout(limit, verb).await.unwrap_or_else(|_| Err(late()))
}
