//! Versions of a handler that can hand calls over, made of closures.

use voxtra_core::DialNarrowing;
use voxtra_core::verbs::HandlerEvent;

use super::*;
use crate::Succession;

type Restore = Arc<dyn Fn(SharedCall, Vec<u8>) -> BoxFuture<'static, Outcome> + Send + Sync>;
type Save = Arc<dyn Fn() -> BoxFuture<'static, Result<Option<Vec<u8>>, Outcome>> + Send + Sync>;

/// A version of the handler `default` that can hand calls over.
#[derive(Clone)]
pub(super) struct Version {
    pub(super) name: HandlerName,
    pub(super) version: &'static str,
    pub(super) script: Script,
    pub(super) save: Save,
    pub(super) restore: Restore,
    pub(super) succession: Succession,
    /// What its manifest leaves.
    pub(super) capabilities: Capabilities,
    pub(super) dial: Option<Arc<DialNarrowing>>,
    pub(super) limits: VersionLimits,
    pub(super) starts: bool,
    /// There is no room for so many times.
    pub(super) busy: Arc<AtomicUsize>,
    /// Instances that are there.
    pub(super) up: Arc<AtomicUsize>,
    pub(super) hooked: Arc<AtomicUsize>,
}

const MID_CALL: Succession = Succession { mid_call: true, drain_limit: None };

impl Version {
    pub(super) fn new<F>(version: &'static str, script: impl Fn(SharedCall) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        Self {
            name: HandlerName::from("default"),
            version,
            script: Arc::new(move |call| Box::pin(script(call))),
            save: Arc::new(|| Box::pin(async { Ok(Some(b"state".to_vec())) })),
            restore: Arc::new(|_, _| Box::pin(async { Outcome::Error("it was not expected".into()) })),
            succession: MID_CALL,
            capabilities: Capabilities::ALL,
            dial: None,
            limits: VersionLimits::default(),
            starts: true,
            busy: Arc::default(),
            up: Arc::default(),
            hooked: Arc::default(),
        }
    }

    pub(super) fn saves(
        mut self,
        saved: impl Fn() -> Result<Option<Vec<u8>>, Outcome> + Send + Sync + 'static,
    ) -> Self {
        self.save = Arc::new(move || Box::pin(std::future::ready(saved())));
        self
    }

    pub(super) fn restores<F>(mut self, restore: impl Fn(SharedCall, Vec<u8>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.restore = Arc::new(move |call, state| Box::pin(restore(call, state)));
        self
    }
}

struct VersionInstance {
    version: Version,
    call: SharedCall,
    alive: bool,
}

impl Drop for VersionInstance {
    fn drop(&mut self) {
        self.version.up.fetch_sub(1, Ordering::Relaxed);
    }
}

impl HandlerVersion for Version {
    fn name(&self) -> &HandlerName {
        &self.name
    }

    fn version(&self) -> &str {
        self.version
    }

    fn has_hangup_hook(&self) -> bool {
        true
    }

    fn has_upgrade(&self) -> bool {
        true
    }

    fn succession(&self) -> Succession {
        self.succession
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn dial_narrowing(&self) -> Option<Arc<DialNarrowing>> {
        self.dial.clone()
    }

    fn limits(&self) -> VersionLimits {
        self.limits
    }

    fn start(&self, call: SharedCall) -> BoxFuture<'_, Result<Box<dyn HandlerInstance>, StartError>> {
        Box::pin(async move {
            if !self.starts {
                return Err(StartError::Failed("it is broken".to_owned()));
            }
            if self.busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |busy| busy.checked_sub(1)).is_ok() {
                return Err(StartError::Busy);
            }
            self.up.fetch_add(1, Ordering::Relaxed);
            let instance = VersionInstance { version: self.clone(), call, alive: true };
            Ok(Box::new(instance) as Box<dyn HandlerInstance>)
        })
    }
}

impl HandlerInstance for VersionInstance {
    fn handle(&mut self) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let outcome = (self.version.script)(Arc::clone(&self.call)).await;
            self.alive = !matches!(outcome, Outcome::Trapped(_));
            outcome
        })
    }

    fn on_hangup<'a>(&'a mut self, _ended: &'a EndedCall) -> BoxFuture<'a, Outcome> {
        self.version.hooked.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(Outcome::Returned))
    }

    fn is_alive(&self) -> bool {
        self.alive
    }

    fn save(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, Outcome>> {
        (self.version.save)()
    }

    fn restore<'a>(&'a mut self, state: &'a [u8]) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let outcome = (self.version.restore)(Arc::clone(&self.call), state.to_vec()).await;
            self.alive = !matches!(outcome, Outcome::Trapped(_));
            outcome
        })
    }

    fn usage(&self) -> Usage {
        Usage { cpu: HANDLE_CPU, host_calls: 1, ..Usage::default() }
    }
}

struct Current(Version);

impl Handlers for Current {
    fn get(&self, _tenant: &TenantId, name: &HandlerName) -> Option<Arc<dyn HandlerVersion>> {
        (*name == self.0.name).then(|| Arc::new(self.0.clone()) as Arc<dyn HandlerVersion>)
    }
}

pub(super) fn put(kit: &Kit, version: &Version) {
    kit.host.set_handlers(Arc::new(Current(version.clone())));
}

/// A host whose handler is this version.
pub(super) fn kit_with(version: &Version) -> Kit {
    let kit = Kit::new([]).may_dial();
    put(&kit, version);
    kit
}

pub(super) fn up(version: &Version) -> usize {
    version.up.load(Ordering::Relaxed)
}

/// Waits for the new version, and says so; other events are noted.
pub(super) async fn until_upgrade(call: &SharedCall, notes: &Notes) -> Outcome {
    loop {
        match call.next_event(99 * SECOND).await {
            Ok(HandlerEvent::UpgradeReady) => return Outcome::Returned,
            Ok(HandlerEvent::Ended(_)) | Err(_) => return Outcome::Error("it was never replaced".into()),
            Ok(event) => notes.add(event),
        }
    }
}

/// A version that answers and waits to be replaced.
pub(super) fn waiting(version: &'static str, notes: &Notes) -> Version {
    let notes = notes.clone();
    Version::new(version, move |call| {
        let notes = notes.clone();
        async move {
            call.answer().await.unwrap();
            until_upgrade(&call, &notes).await
        }
    })
}

/// What a version does that takes a call over and keeps it for so long.
pub(super) fn taking_over(version: &'static str, notes: &Notes, keeps: Duration) -> Version {
    let notes = notes.clone();
    Version::new(version, |_| async { Outcome::Error("it is no new call".into()) }).restores(move |call, state| {
        let notes = notes.clone();
        async move {
            notes.add(String::from_utf8(state).unwrap());
            call.metadata_set("by".into(), "the next".into()).unwrap();
            sleep(keeps).await;
            until_upgrade(&call, &notes).await
        }
    })
}
